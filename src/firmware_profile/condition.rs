//! Conditions on a metric in the Common Expression Language (CEL, github.com/google/cel-spec): `when = "spo2 > 0 &&
//! site == 'left'"`.
//!
//! The expression is parsed when the page is read and may hold only comparisons, logic, arithmetic and a few
//! functions of texts: no loops and no patterns, so that evaluating it takes no longer than it is.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use cel::Value;
use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};

use super::flat::Fields;
use super::locate::{GrammarKind, Locator};
use super::value::{Marks, Number, ValueRules};
use crate::expression::{self, Expression, Untold};

/// A condition with the places its names stand for.
#[derive(Clone)]
pub(super) struct Condition {
    expression: Expression,
    names: Vec<Name>,
    pub(super) text: Arc<str>,
}

/// One use of a name: what it stands for and whether its text or its number is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    /// `None`: the text the metric itself is read from (`value`).
    at: Option<Locator>,
    as_text: bool,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.text)
    }
}

/// What is wrong with a condition, and at which of its bytes.
pub(super) struct Wrong {
    pub(super) at: Range<usize>,
    pub(super) message: String,
}

impl Condition {
    /// Reads a condition in the words of `grammar`.
    pub(super) fn parse(text: &str, grammar: GrammarKind) -> Result<Self, Wrong> {
        let whole = |message: String| Wrong { at: 0..text.len(), message };
        let mut tree = expression::parse(text)
            .map_err(|fault| Wrong { at: fault.at..text.len().max(fault.at), message: fault.message })?;
        let mut names = Vec::new();
        resolve(&mut tree, false, grammar, &mut names)
            .map_err(|(word, message)| Wrong { at: place_of(text, &word), message })?;
        if !expression::is_truth(&tree, true) {
            return Err(whole("`when` must be true or false: compare, such as `value > 0`".into()));
        }
        Ok(Self { expression: Expression::new(tree), names, text: text.into() })
    }

    /// Every place it looks at.
    pub(super) fn places(&self) -> impl Iterator<Item = &Locator> {
        self.names.iter().filter_map(|name| name.at.as_ref())
    }

    /// Whether it holds for this record; the error says in words why that cannot be told.
    pub(super) fn holds(
        &self,
        fields: &impl Fields,
        own: &Locator,
        rules: &ValueRules,
    ) -> Result<bool, &'static str> {
        let values = self.names.iter().enumerate().map(|(number, name)| {
            let text = fields.text(name.at.as_ref().unwrap_or(own));
            let value = match text.as_deref().map(str::trim) {
                None => Value::Null,
                Some(text) if name.as_text => Value::String(Arc::new(text.to_owned())),
                Some(text) => plain(text, rules),
            };
            (variable(number), value)
        });
        self.expression.holds(values).map_err(|untold| match untold {
            Untold::NoTruth => "it is neither true nor false",
            Untold::Incomparable => "a value it compares is missing or of another kind",
        })
    }
}

/// A text as CEL sees it where no text is asked for.
fn plain(text: &str, rules: &ValueRules) -> Value {
    match text {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    match rules.number(text, &mut Marks::default()) {
        Number::Value { value, comparator: None, .. } => Value::Float(value.for_chart()),
        Number::Absent(_) => Value::Null,
        Number::Value { .. } | Number::Words => Value::String(Arc::new(text.to_owned())),
    }
}

fn variable(number: usize) -> String {
    format!("name{number}")
}

/// Checks the expression and puts numbered variables in the place of names.
fn resolve(
    expression: &mut IdedExpr,
    as_text: bool,
    grammar: GrammarKind,
    names: &mut Vec<Name>,
) -> Result<(), (String, String)> {
    match &mut expression.expr {
        Expr::Literal(LiteralValue::Bytes(_)) => {
            Err(("b".into(), "bytes have no place in a condition; write a text in 'quotes'".into()))
        }
        // What a device says is a double, and CEL does not mix the kinds in arithmetic.
        Expr::Literal(LiteralValue::Int(number)) => {
            let double: f64 = number.inner().to_string().parse().unwrap_or(f64::NAN);
            expression.expr = Expr::Literal(LiteralValue::Double(double.into()));
            Ok(())
        }
        Expr::Literal(_) => Ok(()),
        Expr::Ident(_) | Expr::Select(_) => {
            let path = path_of(&expression.expr)
                .ok_or_else(|| (String::new(), "a condition names fields, such as `mode`".to_owned()))?;
            let name = Name { at: place(&path, grammar).map_err(|m| (path.join("."), m))?, as_text };
            let number = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                names.push(name);
                names.len() - 1
            });
            expression.expr = Expr::Ident(variable(number));
            Ok(())
        }
        Expr::List(list) => {
            list.elements.iter_mut().try_for_each(|one| resolve(one, as_text, grammar, names))
        }
        Expr::Call(call) => {
            expression::allowed(call, true).map_err(|why| (call.func_name.clone(), why))?;
            let as_text = speaks_of_text(call);
            let operands = call.target.as_deref_mut().into_iter().chain(&mut call.args);
            operands.into_iter().try_for_each(|one| resolve(one, as_text, grammar, names))
        }
        Expr::Comprehension(_) | Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
            Err((String::new(), "a condition compares fields; it has no loops and no maps".into()))
        }
    }
}

/// Whether the names in a call are compared with texts: `"007"` is then not the number 7.
fn speaks_of_text(call: &CallExpr) -> bool {
    if matches!(call.func_name.as_str(), "startsWith" | "endsWith" | "contains" | "size") {
        return true;
    }
    let text = |one: &IdedExpr| matches!(one.expr, Expr::Literal(LiteralValue::String(_)));
    call.args.iter().any(|one| match &one.expr {
        Expr::List(list) => list.elements.iter().any(text),
        _ => text(one),
    })
}

/// `data.value` → `["data", "value"]`.
fn path_of(expression: &Expr) -> Option<Vec<String>> {
    match expression {
        Expr::Ident(name) => Some(vec![name.clone()]),
        Expr::Select(select) if !select.test => {
            let mut path = path_of(&select.operand.expr)?;
            path.push(select.field.clone());
            Some(path)
        }
        _ => None,
    }
}

/// The place a name stands for; `None` for `value`.
fn place(path: &[String], grammar: GrammarKind) -> Result<Option<Locator>, String> {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match (grammar, names.as_slice()) {
        (_, ["value"]) => Ok(None),
        (GrammarKind::Json, ["document", rest @ ..]) if !rest.is_empty() => {
            Locator::parse(&format!("/{}", rest.join("/")), grammar).map(Some)
        }
        (GrammarKind::Json, all) => Locator::parse(&format!("./{}", all.join("/")), grammar).map(Some),
        (GrammarKind::KeyValue | GrammarKind::Regex | GrammarKind::Columns, [one]) => {
            Locator::parse(one, grammar).map(Some)
        }
        (_, all) => Err(format!("`{}` is no field of this grammar", all.join("."))),
    }
}

fn place_of(text: &str, word: &str) -> Range<usize> {
    match text.find(word).filter(|_| !word.is_empty()) {
        Some(at) => at..at + word.len(),
        None => 0..text.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    struct Pairs<'p>(&'p [(&'p str, &'p str)]);

    impl Fields for Pairs<'_> {
        fn text(&self, at: &Locator) -> Option<Cow<'_, str>> {
            let name = at.own_code();
            self.0.iter().find(|(known, _)| *known == name).map(|(_, text)| Cow::Borrowed(*text))
        }
        fn place(&self, at: &Locator) -> String {
            at.own_code()
        }
        fn whole(&self) -> Cow<'_, str> {
            Cow::Borrowed("")
        }
        fn beyond(&self) -> Vec<(String, String)> {
            Vec::new()
        }
    }

    fn holds(text: &str) -> Result<bool, &'static str> {
        let fields = Pairs(&[
            ("SPO2", "97"),
            ("T", "36.6"),
            ("site", "left"),
            ("code", "007"),
            ("gap", "---"),
            ("ok", "true"),
        ]);
        let condition =
            Condition::parse(text, GrammarKind::KeyValue).unwrap_or_else(|w| panic!("{}", w.message));
        condition.holds(&fields, &Locator::Name("SPO2".into()), &ValueRules::default())
    }

    #[test]
    fn a_condition_speaks_of_the_fields_of_the_record() {
        for (text, truth) in [
            ("value > 0 && site == 'left'", true),
            ("value >= 97", true),
            ("value == 97 && T == 36.6", true),
            ("T < 36.5", false),
            ("site in ['left', 'right']", true),
            ("site.startsWith('l')", true),
            ("code == '007'", true),
            ("code == 7", true),
            ("code == '7'", false),
            ("!(site == 'right') || T > 50", true),
            ("gap == null && other == null", true),
            ("ok", true),
            ("T - 36 > 0.5 ? site == 'left' : false", true),
        ] {
            assert_eq!(holds(text), Ok(truth), "{text}");
        }
    }

    #[test]
    fn a_condition_that_cannot_be_told_is_neither_true_nor_false() {
        for text in ["gap > 1", "other < 5", "site > 5", "value / 0 > 1 && site > 1", "site"] {
            assert!(holds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_told_with_its_place() {
        for (text, says, at) in [
            ("value >", "no CEL condition", 7),
            ("value > 0 &&& T", "no CEL condition", 12),
            ("matches(site, 'l+')", "knows no `matches`", 0),
            ("[1,2].exists(x, x > value)", "no loops", 0),
            ("value + 1", "must be true or false", 0),
            ("T == 5 && b'x' == b'x'", "bytes", 10),
            ("a.b == 1", "no field of this grammar", 0),
            ("{1: 2} == {}", "no maps", 0),
        ] {
            let wrong =
                Condition::parse(text, GrammarKind::KeyValue).err().unwrap_or_else(|| panic!("{text}"));
            assert!(wrong.message.contains(says), "{text}: {}", wrong.message);
            assert_eq!(wrong.at.start, at, "{text}: {}", wrong.message);
        }
        let long = "value > 0 && ".repeat(100);
        assert!(Condition::parse(&long, GrammarKind::KeyValue).is_err());
        let deep = "(".repeat(200) + "1" + &")".repeat(200);
        assert!(Condition::parse(&deep, GrammarKind::KeyValue).is_err());
    }

    #[test]
    fn in_a_document_a_name_is_a_member_of_the_item() {
        let condition = Condition::parse("mode == 'Body' && document.data.kind == 'x'", GrammarKind::Json);
        let places: Vec<String> =
            condition.unwrap_or_else(|w| panic!("{}", w.message)).places().map(Locator::claim).collect();
        assert_eq!(places, [".//mode".replace("//", "/"), "/data/kind".into()]);
    }
}
