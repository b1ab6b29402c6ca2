//! `when` of a template line in the Common Expression Language (CEL, github.com/google/cel-spec), with HL7 paths in
//! braces: `{PV1-2.1} == 'I' && {PV1-44} != ''`. What a path finds is a text; nothing found is the empty text.
//!
//! Only comparisons, logic and a few functions of texts: no loops and no patterns, so that it always ends.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use cel::Value;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use super::path::Place;
use crate::expression::{self, Expression, TEXT_MAX};

/// A condition and the places its texts come from.
#[derive(Clone)]
pub(super) struct Condition {
    expression: Expression,
    pub(super) places: Vec<Place>,
    names: Arc<[String]>,
    /// The same as `expression`, without an interpreter, where it is comparisons and logic alone.
    test: Option<Arc<Test>>,
    text: Arc<str>,
}

/// A condition of comparisons and logic.
#[derive(Debug)]
enum Test {
    Not(Box<Test>),
    Both(Box<Test>, Box<Test>),
    Either(Box<Test>, Box<Test>),
    Equal(Term, Term),
    Differ(Term, Term),
    In(Term, Vec<Term>),
    Starts(Term, Term),
    Ends(Term, Term),
    Contains(Term, Term),
}

#[derive(Debug)]
enum Term {
    Place(usize),
    Text(Box<str>),
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// Reads a condition; the error says where in `text` it is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, (Range<usize>, String)> {
        let whole = 0..text.len();
        if text.len() > TEXT_MAX {
            return Err((whole, format!("a condition has at most {TEXT_MAX} characters")));
        }
        let (mut plain, mut places, mut rest, mut at) = (String::new(), Vec::new(), text, 0);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((path, tail)) = after.split_once('}') else {
                return Err((at + before.len()..text.len(), "a `{` without its `}`".into()));
            };
            let start = at + before.len() + 1;
            let place = Place::parse(path).map_err(|why| (start..start + path.len(), why))?;
            let number = places.iter().position(|known| *known == place).unwrap_or_else(|| {
                places.push(place);
                places.len() - 1
            });
            plain.push_str(before);
            plain.push_str(&format!("p{number}"));
            at = start + path.len() + 1;
            rest = tail;
        }
        plain.push_str(rest);
        let tree = expression::parse(&plain).map_err(|fault| (whole.clone(), fault.message))?;
        allowed(&tree, places.len()).map_err(|why| (whole, why))?;
        let names = (0..places.len()).map(|number| format!("p{number}")).collect();
        let test = test(&tree).map(Arc::new);
        Ok(Self { expression: Expression::new(tree), places, names, test, text: text.into() })
    }

    /// Whether it holds; `look` gives the text of each of [`Self::places`]. What is not true does not hold.
    pub(super) fn holds<'t>(&self, look: &impl Fn(&Place) -> Cow<'t, str>) -> bool {
        let text = |number: usize| self.places.get(number).map(look).unwrap_or_default();
        match &self.test {
            Some(test) => test.holds(&text),
            None => self.interpreted(&text),
        }
    }

    fn interpreted<'t>(&self, text: &impl Fn(usize) -> Cow<'t, str>) -> bool {
        let named = self.names.iter().cloned().enumerate();
        let values = named.map(|(number, name)| (name, Value::String(Arc::new(text(number).into_owned()))));
        self.expression.holds(values).unwrap_or(false)
    }
}

impl Test {
    fn holds<'t>(&self, text: &impl Fn(usize) -> Cow<'t, str>) -> bool {
        match self {
            Self::Not(one) => !one.holds(text),
            Self::Both(one, other) => one.holds(text) && other.holds(text),
            Self::Either(one, other) => one.holds(text) || other.holds(text),
            Self::Equal(one, other) => one.text(text) == other.text(text),
            Self::Differ(one, other) => one.text(text) != other.text(text),
            Self::In(one, all) => {
                let one = one.text(text);
                all.iter().any(|other| other.text(text) == one)
            }
            Self::Starts(one, other) => one.text(text).starts_with(&*other.text(text)),
            Self::Ends(one, other) => one.text(text).ends_with(&*other.text(text)),
            Self::Contains(one, other) => one.text(text).contains(&*other.text(text)),
        }
    }
}

impl Term {
    fn text<'s, 't: 's>(&'s self, text: &impl Fn(usize) -> Cow<'t, str>) -> Cow<'s, str> {
        match self {
            Self::Place(number) => text(*number),
            Self::Text(own) => Cow::Borrowed(own),
        }
    }
}

/// The expression as a [`Test`]; `None` where it is more than comparisons and logic.
fn test(expression: &IdedExpr) -> Option<Test> {
    let Expr::Call(call) = &expression.expr else { return None };
    let inner = |number: usize| Some(Box::new(test(call.args.get(number)?)?));
    let part = |number: usize| term(call.args.get(number)?);
    let target = || term(call.target.as_deref()?);
    Some(match call.func_name.as_str() {
        "!_" => Test::Not(inner(0)?),
        "_&&_" => Test::Both(inner(0)?, inner(1)?),
        "_||_" => Test::Either(inner(0)?, inner(1)?),
        "_==_" => Test::Equal(part(0)?, part(1)?),
        "_!=_" => Test::Differ(part(0)?, part(1)?),
        "@in" => {
            let Expr::List(list) = &call.args.get(1)?.expr else { return None };
            Test::In(part(0)?, list.elements.iter().map(term).collect::<Option<_>>()?)
        }
        "startsWith" => Test::Starts(target()?, part(0)?),
        "endsWith" => Test::Ends(target()?, part(0)?),
        "contains" => Test::Contains(target()?, part(0)?),
        _ => return None,
    })
}

fn term(expression: &IdedExpr) -> Option<Term> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(Term::Text(text.inner().into())),
        Expr::Ident(name) => Some(Term::Place(name.strip_prefix('p')?.parse().ok()?)),
        _ => None,
    }
}

fn allowed(expression: &IdedExpr, places: usize) -> Result<(), String> {
    match &expression.expr {
        Expr::Literal(LiteralValue::Bytes(_)) => Err("bytes have no place in a condition".into()),
        Expr::Literal(_) => Ok(()),
        Expr::Ident(name) => match name.strip_prefix('p').and_then(|n| n.parse::<usize>().ok()) {
            Some(number) if number < places => Ok(()),
            _ => Err(format!("`{name}` is no place: write it in braces, such as {{PV1-2.1}}")),
        },
        Expr::List(list) => list.elements.iter().try_for_each(|one| allowed(one, places)),
        Expr::Call(call) => {
            expression::allowed(call, false)?;
            call.target.as_deref().into_iter().chain(&call.args).try_for_each(|one| allowed(one, places))
        }
        _ => Err("a condition compares texts; it has no loops, maps and fields".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_compares_what_stands_at_its_places() {
        let condition =
            Condition::parse("{PV1-2.1} == 'I' && {1} in ['a', 'b'] || {PV1-2.1} == 'X'").unwrap();
        assert_eq!(condition.places.len(), 2);
        assert!(holds(&condition, &["I", "b"]));
        assert!(!holds(&condition, &["I", "c"]));
        assert!(holds(&condition, &["X", ""]));
        assert!(holds(&Condition::parse("{.}.startsWith('0')").unwrap(), &["07"]));
    }

    fn holds(condition: &Condition, texts: &[&str]) -> bool {
        let look = |place: &Place| {
            let number = condition.places.iter().position(|own| own == place).unwrap();
            Cow::Owned(texts[number].to_owned())
        };
        condition.holds(&look)
    }

    #[test]
    fn a_condition_means_the_same_with_and_without_the_interpreter() {
        let texts = ["", "a", "b", "ab"];
        for (text, simple) in [
            ("{1} == 'a' && {2} != 'b'", true),
            ("!({1} in ['a', 'b']) || {1} == {2}", true),
            ("{1}.startsWith('a') && !{2}.endsWith('b') || {2}.contains('ab')", true),
            ("{1} != '' || {2} == '' && {1} == 'a'", true),
            ("size({1}) > 1", false),
            ("{1} < {2}", false),
            ("{1} == '' ? {2} == 'a' : {2} == 'b'", false),
            ("({1} == 'a') == ({2} == 'a')", false),
        ] {
            let condition = Condition::parse(text).unwrap();
            assert_eq!(condition.test.is_some(), simple, "{text}");
            for one in texts {
                for other in texts {
                    let own = [one, other];
                    let look = |number: usize| Cow::Borrowed(*own.get(number).unwrap());
                    let interpreted = condition.interpreted(&look);
                    let tested = condition.test.as_ref().is_none_or(|test| test.holds(&look) == interpreted);
                    assert!(tested, "{text} for {own:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_condition_is_told() {
        for (text, says) in [
            ("{PV1-2", "without its"),
            ("{pv1-2} == 'x'", "path"),
            ("PV1 == 'x'", "in braces"),
            ("{PV1-2} ==", "no CEL"),
            ("{PV1-2}.matches('x+')", "knows no `matches`"),
            ("[1].exists(x, x > 0)", "no loops"),
        ] {
            let (_, why) = Condition::parse(text).err().unwrap();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
