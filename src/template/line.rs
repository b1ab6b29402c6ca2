//! One line of a map: the element it fills and the rules that fill it.

use std::ops::Range;
use std::sync::Arc;

use super::condition::Condition;
use super::element::{Elements, Found, is_primitive};
use super::page::{Faults, condition, known, names_of, place};
use super::path::Place;
use super::yaml::{Key, Node, Wrong, Yaml};
use crate::device::Decimal;
use crate::firmware_profile::did_you_mean;

/// Deeper `lines` inside `lines` belong into a map of their own.
const DEPTH_MAX: usize = 5;

/// One element and what fills it: the rules are tried in order. Of an element that repeats every rule adds what it
/// finds; of any other the first that finds something wins.
#[derive(Debug)]
pub(super) struct Line {
    /// On the way to the element.
    pub(super) steps: Vec<Step>,
    pub(super) rules: Vec<Rule>,
}

/// An object on the way.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: Arc<str>,
    pub(super) list: bool,
    /// Which item of the list: one for each slice name, and one without.
    pub(super) slice: Option<Arc<str>>,
    pub(super) inside: Arc<str>,
    /// Some line of the same map that goes this way reads the message.
    pub(super) reads: bool,
}

/// One way to fill an element.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) leaf: Leaf,
    pub(super) when: Option<Condition>,
    /// Elements of the same object; the rule is passed over when one of them is there.
    pub(super) unless: Vec<Box<str>>,
    /// What a literal expresses: it counts as found, and these places as read, when something stands there.
    pub(super) reads: Vec<Place>,
    pub(super) what: What,
    /// Written when nothing is found, or when a table does not know what is found.
    pub(super) default: Option<String>,
    pub(super) at: Range<usize>,
}

/// The element a rule writes.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    /// In JSON.
    pub(super) name: Arc<str>,
    pub(super) kind: Arc<str>,
    pub(super) list: bool,
    pub(super) inside: Arc<str>,
    pub(super) path: Arc<str>,
}

#[derive(Debug)]
pub(super) enum What {
    Literal(String),
    /// The resources of these labels.
    Refer(Vec<Arc<str>>),
    Read(Read),
}

/// Reading from the message.
#[derive(Debug)]
pub(super) struct Read {
    /// Empty: where the line itself stands.
    pub(super) from: Vec<Place>,
    pub(super) how: How,
    pub(super) join: Option<String>,
    pub(super) times: Option<Decimal>,
    pub(super) plus: Option<Decimal>,
}

#[derive(Debug)]
pub(super) enum How {
    Plain(Form),
    Table(Arc<str>),
    Map(Arc<str>),
    Lines(Vec<Line>),
}

/// How a text becomes a value, where the element's type alone does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As the element's type asks.
    Natural,
    /// The whole value with its components, as a text.
    Text,
    /// A UCUM code, of UCUM or of a spelling seen on devices; else nothing.
    Ucum,
    /// The URI of a coding system by its HL7 name (table 0396).
    CodeSystem,
    /// The URI of an assigning authority: HD of namespace, universal id and type.
    Authority,
    /// A universal id and its type (`1.2.3`, `ISO`) as a URI.
    UniversalId,
    /// A media type of ED-2 and ED-3.
    MediaType,
    /// Base64 of ED-5 by ED-4.
    Encoded,
    /// A phone number of the parts of XTN.
    Phone,
    /// One of `<`, `<=`, `>=`, `>`.
    Comparator,
    /// The number behind a comparator.
    Bound,
}

const FORMS: &[(&str, Form)] = &[
    ("text", Form::Text),
    ("ucum", Form::Ucum),
    ("code-system", Form::CodeSystem),
    ("authority", Form::Authority),
    ("universal-id", Form::UniversalId),
    ("media-type", Form::MediaType),
    ("encoded", Form::Encoded),
    ("phone", Form::Phone),
    ("comparator", Form::Comparator),
    ("bound", Form::Bound),
];

/// The words `as` knows beside the types of FHIR.
#[cfg(test)]
pub(super) fn forms() -> impl Iterator<Item = &'static str> {
    FORMS.iter().map(|(word, _)| *word)
}

impl Rule {
    /// Whether an element that excludes this one is there: `value[x]` stands for all its types.
    pub(super) fn is_excluded(&self, has: impl Fn(&str, bool) -> bool) -> bool {
        self.unless.iter().any(|name| match name.strip_suffix("[x]") {
            Some(base) => has(base, true),
            None => has(name, false),
        })
    }
}

impl Line {
    /// Whether anything of it comes from the message.
    pub(super) fn reads(&self) -> bool {
        self.rules.iter().any(Rule::reads)
    }
}

impl Rule {
    pub(super) fn reads(&self) -> bool {
        if !self.reads.is_empty() {
            return true;
        }
        match &self.what {
            What::Literal(_) => false,
            What::Refer(_) => true,
            What::Read(read) => match &read.how {
                How::Lines(lines) if read.from.is_empty() => lines.iter().any(Line::reads),
                _ => true,
            },
        }
    }
}

/// The lines of a map that makes `inside`; their keys begin with `own` (an element's path) or with a dot.
pub(super) fn lines(
    body: &Yaml,
    own: &str,
    inside: &str,
    depth: usize,
    elements: &Elements,
    faults: &mut Faults,
) -> Result<Vec<Line>, Wrong> {
    let reader = Reader { elements, own, inside, depth };
    if depth > DEPTH_MAX {
        return Err(Wrong::new(body.at.clone(), "lines inside lines inside lines: make a map of it"));
    }
    let mut all = Vec::new();
    for (key, value) in body.entries("`lines`")? {
        match reader.line(key, value, faults) {
            Ok(line) => all.push(line),
            Err(wrong) => faults.push(wrong),
        }
    }
    mark(&mut all);
    Ok(all)
}

/// Says of every step whether a line that goes the same way reads.
fn mark(lines: &mut [Line]) {
    let way = |line: &Line, length: usize| -> Vec<(Arc<str>, Option<Arc<str>>)> {
        line.steps.iter().take(length).map(|step| (Arc::clone(&step.name), step.slice.clone())).collect()
    };
    let mut read = std::collections::HashSet::new();
    for line in lines.iter().filter(|line| line.reads()) {
        read.extend((1..=line.steps.len()).map(|length| way(line, length)));
    }
    for line in lines {
        let marks: Vec<bool> =
            (1..=line.steps.len()).map(|length| read.contains(&way(line, length))).collect();
        for (step, mark) in line.steps.iter_mut().zip(marks) {
            step.reads = mark;
        }
    }
}

struct Reader<'a> {
    elements: &'a Elements,
    own: &'a str,
    inside: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn line(&self, key: &Key, value: &Yaml, faults: &mut Faults) -> Result<Line, Wrong> {
        let own = self.own;
        let relative = [own, self.inside]
            .into_iter()
            .find_map(|prefix| key.text.strip_prefix(prefix)?.strip_prefix('.'))
            .or_else(|| key.text.strip_prefix('.'))
            .ok_or_else(|| {
                Wrong::new(
                    key.at.clone(),
                    format!("`{}` is no element of {own}: keys here begin with {own}.", key.text),
                )
            })?;
        let parts: Vec<&str> = relative.split('.').collect();
        let mut inside: Arc<str> = self.inside.into();
        let mut steps = Vec::new();
        let mut found = None;
        for (number, part) in parts.iter().enumerate() {
            let (name, slice) = match part.split_once(':') {
                Some((name, slice)) => (name, Some(Arc::from(slice))),
                None => (*part, None),
            };
            let Some(child) = self.elements.child(&inside, name) else {
                let near = did_you_mean(name, self.elements.children(&inside).iter().map(|name| &**name));
                let hint = near.map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
                return Err(Wrong::new(key.at.clone(), format!("R4 has no {inside}.{name}{hint}")));
            };
            inside = Arc::clone(&child.inside);
            if number + 1 == parts.len() {
                found = Some(child);
            } else {
                steps.push(Step {
                    name: child.name,
                    list: child.list,
                    slice,
                    inside: Arc::clone(&inside),
                    reads: false,
                });
            }
        }
        let found = found.ok_or_else(|| Wrong::new(key.at.clone(), "an element is missing"))?;
        let rules = value.items().iter().map(|one| self.rule(one, &found, &key.text, faults));
        Ok(Line { steps, rules: rules.collect::<Result<_, _>>()? })
    }

    fn rule(&self, one: &Yaml, found: &Found, key: &str, faults: &mut Faults) -> Result<Rule, Wrong> {
        let mut parts = Parts::default();
        match &one.node {
            Node::Scalar(text, plain) => {
                match text.strip_prefix('=').filter(|_| *plain || text.starts_with('=')) {
                    Some(literal) => parts.literal = Some(literal.to_owned()),
                    None => parts.from = Some(vec![place(one)?]),
                }
            }
            Node::List(_) => return Err(Wrong::new(one.at.clone(), "a rule is a path or a mapping")),
            Node::Map(entries) => {
                for (key, value) in entries {
                    parts.take(key, value)?;
                }
            }
        }
        let leaf = self.leaf(one, found, &parts)?;
        let what = match (parts.literal.take(), parts.refer.take()) {
            (Some(literal), None) => What::Literal(literal),
            (None, Some(labels)) => What::Refer(labels),
            (None, None) => What::Read(self.read(one, &leaf, key, &mut parts, faults)?),
            _ => return Err(Wrong::new(one.at.clone(), "`value` and `ref` exclude each other")),
        };
        let rule = Rule {
            leaf,
            when: parts.when,
            unless: parts.unless,
            reads: parts.reads,
            what,
            default: parts.default,
            at: one.at.clone(),
        };
        self.literals(&rule)?;
        Ok(rule)
    }

    fn read(
        &self,
        one: &Yaml,
        leaf: &Leaf,
        key: &str,
        parts: &mut Parts<'_>,
        faults: &mut Faults,
    ) -> Result<Read, Wrong> {
        let how = match (parts.table.take(), parts.map.take(), parts.lines) {
            (Some(table), None, None) => How::Table(table),
            (None, Some(map), None) => How::Map(map),
            (None, None, Some(body)) => {
                How::Lines(lines(body, key, &leaf.inside, self.depth + 1, self.elements, faults)?)
            }
            (None, None, None) if is_primitive(&leaf.kind) => How::Plain(parts.form.unwrap_or(Form::Natural)),
            (None, None, None) => {
                let message = format!("a {} needs `map`, `table` or `lines`", leaf.kind);
                return Err(Wrong::new(one.at.clone(), message));
            }
            _ => return Err(Wrong::new(one.at.clone(), "`table`, `map` and `lines` exclude each other")),
        };
        let from = parts.from.take();
        if from.is_none() && !matches!(how, How::Lines(_)) {
            return Err(Wrong::new(one.at.clone(), "a rule needs `from`, `value` or `ref`"));
        }
        Ok(Read {
            from: from.unwrap_or_default(),
            how,
            join: parts.join.take(),
            times: parts.times,
            plus: parts.plus,
        })
    }

    /// The element under its JSON name; the rule says the type of an open choice.
    fn leaf(&self, one: &Yaml, found: &Found, parts: &Parts<'_>) -> Result<Leaf, Wrong> {
        let leaf = |name: Arc<str>, kind: Arc<str>, inside: Arc<str>| Leaf {
            name,
            kind,
            list: found.list,
            inside,
            path: Arc::clone(&found.path),
        };
        if let Some(kind) = &found.kind {
            if let Some(word) = parts.kind.as_deref().filter(|word| *word != &**kind) {
                return Err(Wrong::new(one.at.clone(), format!("`as: {word}`: {} is a {kind}", found.path)));
            }
            return Ok(leaf(Arc::clone(&found.name), Arc::clone(kind), Arc::clone(&found.inside)));
        }
        let made = parts.map.as_deref().and_then(names_of).map(|(_, kind)| kind);
        let made = if parts.refer.is_some() { Some("Reference") } else { made };
        let Some(kind) = parts.kind.as_deref().or(made) else {
            return Err(Wrong::new(
                one.at.clone(),
                format!("{} has many types: say which with `as`", found.path),
            ));
        };
        let is_resource = parts.kind.is_none() && !found.choice.iter().any(|known| &**known == kind);
        let kind = if is_resource { "Reference" } else { kind };
        let Some(kind) = found.choice.iter().find(|known| &***known == kind) else {
            return Err(Wrong::new(one.at.clone(), format!("{} is never a {kind}", found.path)));
        };
        let name = format!("{}{}", found.name, super::element::capital(kind));
        Ok(leaf(name.into(), Arc::clone(kind), Arc::clone(kind)))
    }

    /// Literals and defaults of an element with a required binding are checked here and now.
    fn literals(&self, rule: &Rule) -> Result<(), Wrong> {
        let Some(element) = self.elements.at(&rule.leaf.path).filter(|element| !element.codes.is_empty())
        else {
            return Ok(());
        };
        let literal = match &rule.what {
            What::Literal(literal) => Some(literal),
            _ => None,
        };
        for text in literal.into_iter().chain(&rule.default) {
            if !element.codes.contains(&text.as_str()) {
                let near = did_you_mean(text, element.codes.iter().copied());
                let hint = near.map_or_else(
                    || format!("one of {}", element.codes.join(", ")),
                    |n| format!("did you mean `{n}`?"),
                );
                return Err(Wrong::new(
                    rule.at.clone(),
                    format!("{} is never `{text}`: {hint}", rule.leaf.path),
                ));
            }
        }
        Ok(())
    }
}

/// The keys of a rule.
#[derive(Default)]
struct Parts<'y> {
    from: Option<Vec<Place>>,
    literal: Option<String>,
    refer: Option<Vec<Arc<str>>>,
    form: Option<Form>,
    kind: Option<String>,
    map: Option<Arc<str>>,
    table: Option<Arc<str>>,
    lines: Option<&'y Yaml>,
    default: Option<String>,
    join: Option<String>,
    when: Option<Condition>,
    unless: Vec<Box<str>>,
    reads: Vec<Place>,
    times: Option<Decimal>,
    plus: Option<Decimal>,
}

/// The keys a rule knows.
pub(super) const RULE_KEYS: &[&str] = &[
    "from", "value", "ref", "as", "map", "table", "lines", "default", "join", "when", "unless", "reads",
    "times", "plus", "about",
];

impl<'y> Parts<'y> {
    fn take(&mut self, key: &Key, value: &'y Yaml) -> Result<(), Wrong> {
        known(key, RULE_KEYS)?;
        let text = |what: &str| value.scalar(what).map(str::to_owned);
        let number = || {
            let text = value.scalar("a number")?;
            text.parse().map_err(|why| Wrong::new(value.at.clone(), format!("`{text}`: {why}")))
        };
        match key.text.as_str() {
            "from" => self.from = Some(value.items().iter().map(place).collect::<Result<_, _>>()?),
            "value" => self.literal = Some(text("a literal")?),
            "ref" => {
                let labels = value.items().iter().map(|one| one.scalar("a label").map(Arc::from));
                self.refer = Some(labels.collect::<Result<_, _>>()?);
            }
            "as" => {
                let word = text("`as`")?;
                match FORMS.iter().find(|(known, _)| *known == word) {
                    Some((_, form)) => self.form = Some(*form),
                    None => self.kind = Some(word),
                }
            }
            "map" => self.map = Some(text("a map's name")?.into()),
            "table" => self.table = Some(text("a table's name")?.into()),
            "lines" => self.lines = Some(value),
            "default" => self.default = Some(text("a default")?),
            "join" => self.join = Some(text("`join`")?),
            "unless" => {
                let names = value.items().iter().map(|one| one.scalar("an element").map(Box::from));
                self.unless = names.collect::<Result<_, _>>()?;
            }
            "reads" => self.reads = value.items().iter().map(place).collect::<Result<_, _>>()?,
            "when" => self.when = Some(condition(value)?),
            "times" => self.times = Some(number()?),
            "plus" => self.plus = Some(number()?),
            _ => {}
        }
        Ok(())
    }
}
