//! What a run of the bench found, beside its floors and aims: a table (Markdown), the figures (JSON) and a picture (SVG)
//! in `target/bench`.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::json;

/// What is hoped for.
#[derive(Clone, Copy)]
pub(crate) enum Aim {
    /// Part of the floor, measured in turn with it.
    Share(f64),
    AtLeast(f64),
    AtMost(f64),
    /// For knowledge.
    None,
}

struct Row {
    what: String,
    unit: &'static str,
    floor: Option<f64>,
    ours: f64,
    aim: Aim,
}

impl Row {
    /// How far the aim is reached; 1 is just.
    fn reached(&self) -> Option<f64> {
        match self.aim {
            Aim::Share(share) => Some(self.ours / self.floor? / share),
            Aim::AtLeast(least) => Some(self.ours / least),
            Aim::AtMost(most) => Some(most / self.ours.max(1e-9)),
            Aim::None => None,
        }
    }

    fn aim(&self) -> String {
        match self.aim {
            Aim::Share(share) => format!("≥ {:.0} % of the floor", share * 100.0),
            Aim::AtLeast(least) => format!("≥ {}", figure(least)),
            Aim::AtMost(most) => format!("≤ {}", figure(most)),
            Aim::None => String::new(),
        }
    }
}

/// Three digits that say something.
fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        ..1.0 => format!("{value:.3}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The rows of a run, in the order they were measured.
#[derive(Default)]
pub(crate) struct Report(Vec<Row>);

impl Report {
    pub(crate) fn add(
        &mut self,
        what: impl Into<String>,
        unit: &'static str,
        (floor, ours): (Option<f64>, f64),
        aim: Aim,
    ) {
        self.0.push(Row { what: what.into(), unit, floor, ours, aim });
    }

    /// Writes all three; says where.
    pub(crate) fn write(&self) {
        if self.0.is_empty() {
            return;
        }
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/bench");
        std::fs::create_dir_all(&dir).unwrap();
        let rows = self.0.iter().map(|row| {
            json!({ "what": row.what, "unit": row.unit, "floor": row.floor, "ours": row.ours, "aim": row.aim(), "reached": row.reached() })
        });
        let all = serde_json::to_string_pretty(&rows.collect::<Vec<_>>()).unwrap();
        for (name, text) in [("speed.md", self.table()), ("speed.svg", self.picture()), ("speed.json", all)] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        println!("\n{}\ntarget/bench: speed.md, speed.svg, speed.json", self.table());
    }

    fn table(&self) -> String {
        let mut text =
            String::from("| what | floor | Bedside | share | aim | |\n|---|---|---|---|---|---|\n");
        for row in &self.0 {
            let floor = row.floor.map_or_else(|| "–".into(), figure);
            let share =
                row.floor.map_or_else(|| "–".into(), |floor| format!("{:.0} %", row.ours / floor * 100.0));
            let met = row.reached().map_or("", |reached| if reached >= 1.0 { "met" } else { "**missed**" });
            let (what, unit, ours, aim) = (&row.what, row.unit, figure(row.ours), row.aim());
            writeln!(text, "| {what}, {unit} | {floor} | {ours} | {share} | {aim} | {met} |").unwrap();
        }
        text
    }

    /// One bar a row, as long as its aim is reached; the line is the aim.
    fn picture(&self) -> String {
        const ROW: usize = 26;
        const LEFT: f64 = 430.0;
        const AIM: f64 = 220.0;
        let rows: Vec<_> =
            self.0.iter().filter_map(|row| row.reached().map(|reached| (row, reached))).collect();
        let height = 60 + rows.len() * ROW;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1100 {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"1100\" height=\"{height}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">How far each aim is reached; the line is the aim</text>\n"
        );
        for (number, (row, reached)) in rows.iter().enumerate() {
            let y = 40 + number * ROW;
            let length = AIM * reached.min(2.0);
            let colour = if *reached >= 1.0 { "#2a7f62" } else { "#b5532a" };
            let floor = row.floor.map_or_else(String::new, |floor| format!(", floor {}", figure(floor)));
            let label = row.what.replace('&', "&amp;").replace('<', "&lt;");
            writeln!(
                svg,
                "<text x=\"{0}\" y=\"{1}\" text-anchor=\"end\">{label}</text>\
                 <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.0}\" height=\"18\" fill=\"{colour}\"/>\
                 <text x=\"{2:.0}\" y=\"{1}\">{3} {4}{floor} (aim {5})</text>",
                LEFT - 8.0,
                y + 14,
                LEFT + length + 8.0,
                figure(row.ours),
                row.unit,
                row.aim(),
            )
            .unwrap();
        }
        let x = LEFT + AIM;
        writeln!(
            svg,
            "<line x1=\"{x}\" y1=\"34\" x2=\"{x}\" y2=\"{}\" stroke=\"black\" stroke-dasharray=\"4 3\"/>\n</svg>",
            height - 14
        )
        .unwrap();
        svg
    }
}
