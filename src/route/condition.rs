//! When a route takes a message, in the Common Expression Language: `at('PV1-3.1') == 'ICU' && at('MSH-11') != 'T'`.
//!
//! `at` gives the text that stands at a path, empty when nothing does. There are comparisons, logic and a few functions
//! of texts, no loops and no patterns: evaluating takes no longer than the expression is.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use cel::Value;
use cel::common::ast::{Expr, IdedExpr, LiteralValue};

use crate::expression::{self, Expression};
use crate::hl7v2::{Message, Path};

/// A condition on a message.
#[derive(Clone)]
pub struct Condition {
    expression: Expression,
    paths: Vec<Path>,
    text: Arc<str>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is wrong, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tree = expression::parse(text).map_err(|fault| fault.message)?;
        let mut paths = Vec::new();
        resolve(&mut tree, &mut paths)?;
        if !expression::is_truth(&tree, false) {
            return Err("`when` must be true or false: compare, such as at('MSH-11') == 'P'".into());
        }
        Ok(Self { expression: Expression::new(tree), paths, text: text.into() })
    }

    /// Whether it holds.
    ///
    /// # Errors
    /// Why that cannot be told, without what the message says.
    pub fn holds(&self, message: &Message<'_>) -> Result<bool, &'static str> {
        let texts = self.paths.iter().enumerate().map(|(number, path)| {
            let element = message.get(path);
            let text = if element.is_null() { String::new() } else { element.text().trim().to_owned() };
            (variable(number), Value::String(Arc::new(text)))
        });
        let untold = "the route's condition compares things of different kinds";
        self.expression.holds(texts).map_err(|_| untold)
    }
}

fn variable(number: usize) -> String {
    format!("path{number}")
}

/// Checks the expression and puts numbered variables in the place of `at('…')`.
fn resolve(expression: &mut IdedExpr, paths: &mut Vec<Path>) -> Result<(), String> {
    match &mut expression.expr {
        Expr::Literal(LiteralValue::String(_) | LiteralValue::Boolean(_)) => Ok(()),
        Expr::Literal(_) => Err("a condition compares texts; write them in 'quotes'".into()),
        Expr::List(list) => list.elements.iter_mut().try_for_each(|one| resolve(one, paths)),
        Expr::Call(call) if call.func_name == "at" && call.target.is_none() => {
            let [one] = call.args.as_slice() else {
                return Err("at('…') takes one path, such as at('PID-3.1')".into());
            };
            let Expr::Literal(LiteralValue::String(text)) = &one.expr else {
                return Err("at('…') takes a path in quotes, such as at('PID-3.1')".into());
            };
            let path = Path::from_str(text.inner()).map_err(|wrong| wrong.to_string())?;
            let number = paths.iter().position(|known| *known == path).unwrap_or_else(|| {
                paths.push(path);
                paths.len() - 1
            });
            expression.expr = Expr::Ident(variable(number));
            Ok(())
        }
        Expr::Call(call) => {
            expression::allowed(call, false)?;
            let operands = call.target.as_deref_mut().into_iter().chain(&mut call.args);
            operands.into_iter().try_for_each(|one| resolve(one, paths))
        }
        Expr::Ident(name) => Err(format!("`{name}` is unknown; write a place as at('PID-3.1')")),
        _ => Err("a condition compares what stands in the message; write a place as at('PID-3.1')".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hl7v2::Charset;

    fn holds(text: &str) -> Result<bool, &'static str> {
        let message = "MSH|^~\\&|MON|W|||1||ORU^R01|1|P|2.6\rPID|1||7^^^H||\"\"\rPV1|1|I|ICU^1^2\rOBX|1|NM|a\rOBX|2|NM|b\\T\\c\r";
        let parsed = Message::parse(message.as_bytes(), Charset::default());
        Condition::parse(text).unwrap_or_else(|wrong| panic!("{wrong}")).holds(&parsed.message.unwrap())
    }

    #[test]
    fn a_condition_speaks_of_places_in_the_message() {
        for (text, truth) in [
            ("at('PV1-3.1') == 'ICU'", true),
            ("at('PV1-3.1') in ['ICU', 'CCU'] && at('MSH-11') != 'T'", true),
            ("at('PID-3.4').startsWith('H')", true),
            ("at('OBX[2]-3') == 'b&c'", true),
            ("at('PID-5') == '' && at('ZZZ-9') == ''", true),
            ("!(at('MSH-3') == 'MON')", false),
            ("at('PID-3') == '7^^^H'", true),
            ("true", true),
        ] {
            assert_eq!(holds(text), Ok(truth), "{text}");
        }
    }

    #[test]
    fn a_wrong_condition_says_what_is_wrong() {
        for (text, word) in [
            ("at('PV1-3.1')", "true or false"),
            ("at('PV1')", "no field"),
            ("at(PV1) == 'x'", "in quotes"),
            ("at('A', 'B') == 'x'", "one path"),
            ("PV1 == 'x'", "`PV1` is unknown"),
            ("at('MSH-3') == ", "no CEL condition"),
            ("at('MSH-3').matches('a')", "knows no `matches`"),
            ("[1].all(x, x > 0)", "compare"),
            ("at('OBX-5') > 7", "in 'quotes'"),
            ("at('OBX-5') + 'a' == 'b'", "knows no `_+_`"),
            ("'a'", "true or false"),
        ] {
            let wrong = Condition::parse(text).unwrap_err();
            assert!(wrong.contains(word), "{text}: {wrong}");
        }
    }
}
