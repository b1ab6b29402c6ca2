//! `when` of a template line in the Common Expression Language (CEL, github.com/google/cel-spec), with HL7 paths in
//! braces: `{PV1-2.1} == 'I' && {PV1-44} != ''`. What a path finds is a text; nothing found is the empty text.
//!
//! Only comparisons, logic and a few functions of texts: no loops and no patterns, so that it always ends.

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
    text: Arc<str>,
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
        Ok(Self { expression: Expression::new(tree), places, names, text: text.into() })
    }

    /// Whether it holds for these texts, one for each of [`Self::places`]. What is not true does not hold.
    pub(super) fn holds(&self, texts: &[String]) -> bool {
        let named = self.names.iter().cloned().zip(texts);
        let values = named.map(|(name, text)| (name, Value::String(Arc::new(text.clone()))));
        self.expression.holds(values).unwrap_or(false)
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
        assert!(condition.holds(&["I".into(), "b".into()]));
        assert!(!condition.holds(&["I".into(), "c".into()]));
        assert!(condition.holds(&["X".into(), String::new()]));
        assert!(Condition::parse("{.}.startsWith('0')").unwrap().holds(&["07".into()]));
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
