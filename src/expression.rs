//! Conditions in the Common Expression Language (CEL, github.com/google/cel-spec), as far as all rooms that have some
//! share them: what may be written, how it is told what is wrong, and when one holds.
//!
//! There are comparisons, logic, where a room wants it arithmetic, and a few functions of texts; no loops and no patterns:
//! evaluating takes no longer than the expression is. What a name stands for is the room's own affair: it puts variables
//! in the place of its names before it makes an [`Expression`].

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue};
use cel::parser::PrattParser;
use cel::{Context, Env, Value};

/// Longer conditions are two.
pub const TEXT_MAX: usize = 1_000;
const DEPTH_MAX: u16 = 32;
const NODES_MAX: usize = 200;

/// Operators by CEL's own names, and functions, whose outcome is true or false.
const TRUTHS: [&str; 13] = [
    "_&&_",
    "_||_",
    "!_",
    "_==_",
    "_!=_",
    "_<_",
    "_<=_",
    "_>_",
    "_>=_",
    "@in",
    "startsWith",
    "endsWith",
    "contains",
];
const OTHERS: [&str; 2] = ["_?_:_", "size"];
const ARITHMETIC: [&str; 5] = ["_+_", "_-_", "_*_", "_/_", "-_"];
const FUNCTIONS: &str = "startsWith, endsWith, contains and size";

/// What is wrong with a condition, from which of its bytes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub message: String,
}

/// Reads a condition as CEL; what it calls is not looked at yet.
///
/// # Errors
/// [`Fault`]: it is too long, too deep or no CEL.
pub fn parse(text: &str) -> Result<IdedExpr, Fault> {
    if text.len() > TEXT_MAX {
        return Err(Fault { at: 0, message: format!("a condition has at most {TEXT_MAX} characters") });
    }
    let parser = PrattParser::new().max_recursion_depth(DEPTH_MAX).max_expression_node_count(NODES_MAX);
    parser.parse(text).map_err(|errors| {
        let first = errors.errors.first();
        let at = first.map_or(0, |error| offset(text, error.pos));
        let what = first.map_or("it cannot be read", |error| error.msg.as_str());
        let what = what.lines().next().unwrap_or_default().trim_start_matches("Syntax error: ");
        let what = what.replace("mismatched input '<EOF>'", "it ends too early,");
        Fault { at, message: format!("`when` is no CEL condition: {what}") }
    })
}

/// Whether a call is one that conditions know.
///
/// # Errors
/// A sentence that says what they know.
pub fn allowed(call: &CallExpr, arithmetic: bool) -> Result<(), String> {
    let name = call.func_name.as_str();
    let known =
        TRUTHS.contains(&name) || OTHERS.contains(&name) || (arithmetic && ARITHMETIC.contains(&name));
    if known {
        return Ok(());
    }
    Err(format!("a condition knows no `{name}`; it knows {FUNCTIONS}"))
}

/// Whether an expression can be true or false, as far as its form says; `names` tells whether a name can.
pub fn is_truth(expression: &IdedExpr, names: bool) -> bool {
    match &expression.expr {
        Expr::Call(call) => TRUTHS.contains(&call.func_name.as_str()) || call.func_name == "_?_:_",
        Expr::Literal(literal) => matches!(literal, LiteralValue::Boolean(_)),
        _ => names,
    }
}

/// A checked condition with variables in the place of its names.
#[derive(Clone)]
pub struct Expression {
    tree: Arc<IdedExpr>,
    environment: Arc<Env>,
}

/// Why it cannot be told whether a condition holds. The library's own words would quote what a device sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untold {
    /// It is neither true nor false.
    NoTruth,
    /// Something it compares is missing or of another kind.
    Incomparable,
}

impl Expression {
    pub fn new(tree: IdedExpr) -> Self {
        Self { tree: Arc::new(tree), environment: Arc::new(Env::stdlib()) }
    }

    /// Whether it holds with these values in its variables.
    ///
    /// # Errors
    /// [`Untold`].
    pub fn holds(&self, variables: impl IntoIterator<Item = (String, Value)>) -> Result<bool, Untold> {
        let mut context = Context::with_env(Arc::clone(&self.environment));
        for (name, value) in variables {
            context.add_variable_from_value(name, value);
        }
        match Value::resolve(&self.tree, &context) {
            Ok(Value::Bool(truth)) => Ok(truth),
            Ok(_) => Err(Untold::NoTruth),
            Err(_) => Err(Untold::Incomparable),
        }
    }
}

/// (line, column) of the parser, from 1 and 0 → byte.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let lines = usize::try_from(line - 1).unwrap_or(0);
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let start: usize = text.split_inclusive('\n').take(lines).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    start + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_cel_is_told_with_its_place() {
        for (text, at) in [("a >", 3), ("a > 0 &&& b", 8), ("", 0)] {
            let fault = parse(text).unwrap_err();
            assert!(fault.message.contains("no CEL condition"), "{text}: {}", fault.message);
            assert_eq!(fault.at, at, "{text}");
        }
        assert!(parse(&"a && ".repeat(300)).unwrap_err().message.contains("at most 1000"));
    }

    #[test]
    fn only_what_ends_soon_may_be_called() {
        let call = |text: &str| match parse(text).unwrap().expr {
            Expr::Call(call) => call,
            _ => panic!("{text}"),
        };
        for text in ["a == b", "!a", "a in ['x']", "size(a)", "a.contains('x')"] {
            assert_eq!(allowed(&call(text), false), Ok(()), "{text}");
        }
        assert!(allowed(&call("a.matches('x')"), true).unwrap_err().contains("no `matches`"));
        assert!(allowed(&call("a + b"), false).is_err() && allowed(&call("a + b"), true).is_ok());
    }

    #[test]
    fn it_holds_or_not_or_cannot_be_told() {
        let holds = |text: &str| {
            let value = Value::String(Arc::new("x".into()));
            Expression::new(parse(text).unwrap()).holds([("a".to_owned(), value)])
        };
        assert_eq!((holds("a == 'x'"), holds("a == 'y'")), (Ok(true), Ok(false)));
        assert_eq!((holds("a"), holds("a > 5")), (Err(Untold::NoTruth), Err(Untold::Incomparable)));
        assert!(is_truth(&parse("a == 'x'").unwrap(), false) && !is_truth(&parse("a").unwrap(), false));
        assert!(is_truth(&parse("a").unwrap(), true) && !is_truth(&parse("'a'").unwrap(), false));
    }
}
