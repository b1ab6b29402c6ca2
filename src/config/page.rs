//! What comes as JSON (from the desk, from a scan) as the TOML that would stand in the configuration file.

use serde_json::Value as Json;
use toml::{Table, Value};

/// A JSON object as a page of TOML. A member that is null is left out: TOML has no such thing.
///
/// # Errors
/// What is no object, and what TOML cannot say: a null in a list, a number beyond 64 bits.
pub fn page_of(json: &Json) -> Result<String, String> {
    match value(json)? {
        Value::Table(table) => toml::to_string(&table).map_err(|fault| fault.to_string()),
        _ => Err("it is no object".into()),
    }
}

fn value(json: &Json) -> Result<Value, String> {
    Ok(match json {
        Json::Null => return Err("null has no place in a list".into()),
        Json::Bool(truth) => Value::Boolean(*truth),
        // Not by serde: numbers that keep their digits are maps to every format but JSON.
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Value::Integer(whole),
            (None, Some(float)) if float.is_finite() && !number.is_u64() => Value::Float(float),
            _ => return Err(format!("{number} is too large")),
        },
        Json::String(text) => Value::String(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(value).collect::<Result<_, _>>()?),
        Json::Object(members) => {
            let said = members.iter().filter(|(_, member)| !member.is_null());
            let table = said.map(|(name, member)| Ok((name.clone(), value(member)?)));
            Value::Table(table.collect::<Result<Table, String>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_stays_a_number_also_in_a_table_of_its_own() {
        let link = json!({ "name": "a", "serial": { "baud": 9600, "port": "/dev/x" }, "patience_s": 2.5 });
        let page = page_of(&link).unwrap();
        let read: Table = toml::from_str(&page).unwrap();
        assert_eq!(read["serial"]["baud"].as_integer(), Some(9600));
        assert_eq!(read["patience_s"].as_float(), Some(2.5));
    }

    #[test]
    fn null_is_left_out_and_what_toml_cannot_say_is_refused() {
        assert_eq!(page_of(&json!({ "a": null, "b": [true, "x"] })).unwrap(), "b = [true, \"x\"]\n");
        assert!(page_of(&json!({ "a": [null] })).unwrap_err().contains("list"));
        assert!(page_of(&json!({ "a": u64::MAX })).unwrap_err().contains("too large"));
        let huge: Json = serde_json::from_str(r#"{"a":1e999}"#).unwrap();
        assert!(page_of(&huge).unwrap_err().contains("too large"));
        assert!(page_of(&json!(["a"])).unwrap_err().contains("object"));
    }
}
