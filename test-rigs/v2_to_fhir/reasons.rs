//! Why what others expect is not what we say: `reasons.txt`, a pattern for each kind of difference.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::compare::Difference;

const TABLE: &str = include_str!("reasons.txt");

struct Rule {
    reason: &'static str,
    /// Source and message, element, what is expected, what is ours.
    patterns: [&'static str; 4],
}

/// The table, and how many differences of each source each reason explains.
pub(crate) struct Reasons {
    rules: Vec<Rule>,
    /// In the order of the table.
    texts: Vec<(&'static str, &'static str)>,
    counts: BTreeMap<(String, &'static str), usize>,
    unexplained: Vec<String>,
}

impl Reasons {
    pub(crate) fn load() -> Self {
        let (mut rules, mut texts) = (Vec::new(), Vec::new());
        for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            if let Some(head) = line.strip_prefix("@ ") {
                texts.push(head.split_once(": ").expect("a reason is `name: sentence`"));
                continue;
            }
            let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
            let patterns = parts.try_into().unwrap_or_else(|_| panic!("four patterns are asked for: {line}"));
            rules.push(Rule { reason: texts.last().expect("a reason before its patterns").0, patterns });
        }
        Self { rules, texts, counts: BTreeMap::new(), unexplained: Vec::new() }
    }

    /// Finds the reason of a difference; tells it when there is none.
    pub(crate) fn explain(&mut self, source: &str, message: &str, one: &Difference) -> Option<&'static str> {
        let place = format!("{source}/{message}");
        let ours = one.ours.to_string();
        let texts = [place.as_str(), &one.path, &one.expected, &ours];
        let fits = |rule: &&Rule| rule.patterns.iter().zip(texts).all(|(pattern, text)| glob(pattern, text));
        let Some(rule) = self.rules.iter().find(fits) else {
            self.unexplained.push(format!("{place} {} expected `{}`, is `{ours}`", one.path, one.expected));
            return None;
        };
        *self.counts.entry((source.to_owned(), rule.reason)).or_default() += 1;
        Some(rule.reason)
    }

    pub(crate) fn unexplained(&self) -> &[String] {
        &self.unexplained
    }

    /// The names of the reasons that explain something.
    pub(crate) fn used(&self) -> impl Iterator<Item = &'static str> {
        let used = |name: &str| self.counts.keys().any(|(_, reason)| *reason == name);
        self.texts
            .iter()
            .map(|(name, _)| *name)
            .filter(move |name| used(name))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// A table in Markdown: reason, sentence, differences of each source.
    pub(crate) fn table(&self) -> String {
        let mut sources: Vec<&str> = self.counts.keys().map(|(source, _)| source.as_str()).collect();
        sources.dedup();
        let mut text = format!("| reason | why | {} |\n", sources.join(" | "));
        writeln!(text, "|---|---|{}", "---|".repeat(sources.len())).unwrap();
        for (name, why) in &self.texts {
            let of = |source: &&str| self.counts.get(&((*source).to_owned(), *name)).copied().unwrap_or(0);
            let counts: Vec<String> = sources.iter().map(|source| of(source).to_string()).collect();
            if sources.iter().any(|source| of(source) > 0) {
                writeln!(text, "| {name} | {why} | {} |", counts.join(" | ")).unwrap();
            }
        }
        text
    }
}

/// Whether `text` is `pattern`, in which `*` stands for anything and `?` for one character.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return same(pattern, text);
    };
    let length = first.chars().count();
    let Some((at, _)) = text.char_indices().chain([(text.len(), ' ')]).nth(length) else { return false };
    let (head, tail) = text.split_at(at);
    if !same(first, head) {
        return false;
    }
    let starts = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
    rest.is_empty() || starts.into_iter().any(|start| glob(rest, &tail[start..]))
}

fn same(pattern: &str, text: &str) -> bool {
    pattern.chars().count() == text.chars().count()
        && pattern.chars().zip(text.chars()).all(|(one, other)| one == '?' || one == other)
}

#[test]
fn a_pattern_stands_for_what_it_says() {
    for (pattern, text, fits) in [
        ("*", "", true),
        ("a*c", "abbc", true),
        ("a*c", "abb", false),
        ("*.system", "Patient.identifier.system", true),
        ("*?", "", false),
        ("*?", "é", true),
        ("x", "y", false),
    ] {
        assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
    }
}
