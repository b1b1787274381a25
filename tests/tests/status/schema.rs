//! `docs/status.schema.json` as a check: as much of JSON Schema as that file uses.

use std::fs;
use std::path::Path;

use thimble_core::json::Value;

/// Fails the test unless the answer is what the schema says, with no member that it does not know.
#[track_caller]
pub(crate) fn conforms(answer: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/status.schema.json");
    let schema = fs::read(path).expect("the schema");
    let schema = Value::parse(&schema).expect("the schema is JSON");
    assert!(answer.ends_with("}\n") && answer.matches('\n').count() == 1, "it is no line: {answer}");
    let answer = Value::parse(answer.as_bytes()).expect("the answer is JSON");
    if let Err(wrong) = check(schema, answer) {
        panic!("{wrong}: {answer:?}");
    }
}

fn member<'a>(value: Value<'a>, name: &str) -> Option<Value<'a>> {
    value.member(name).expect("no member stands twice")
}

fn check(schema: Value<'_>, value: Value<'_>) -> Result<(), String> {
    let kind = match value.raw().as_bytes().first() {
        Some(b'{') => "object",
        Some(b'[') => "array",
        Some(b'"') => "string",
        Some(b'n') => "null",
        Some(b't' | b'f') => "boolean",
        _ => "integer",
    };
    if kind == "integer" && value.as_integer().is_none() {
        return Err(format!("{} is no integer", value.raw()));
    }
    let wanted = member(schema, "type").expect("a type");
    let is_wanted = match wanted.items() {
        Some(kinds) => kinds.into_iter().any(|of| of.as_str().is_some_and(|of| of.is(kind))),
        None => wanted.as_str().is_some_and(|of| of.is(kind)),
    };
    if !is_wanted {
        return Err(format!("{} is not of type {}", value.raw(), wanted.raw()));
    }
    if let Some(of) = member(schema, "enum").and_then(Value::items)
        && !of.into_iter().any(|of| of.raw() == value.raw())
    {
        return Err(format!("{} is none of the words", value.raw()));
    }
    if let (Some(items), Some(of)) = (value.items(), member(schema, "items")) {
        items.into_iter().try_for_each(|item| check(of, item))?;
    }
    let Some(members) = value.members() else { return Ok(()) };
    let properties = member(schema, "properties").expect("properties");
    for (name, value) in members {
        let name = name.to_string();
        let of = member(properties, &name).ok_or_else(|| format!("{name} is not in the schema"))?;
        check(of, value).map_err(|wrong| format!("{name}: {wrong}"))?;
    }
    for name in member(schema, "required").and_then(Value::items).into_iter().flatten() {
        let name = name.as_str().expect("a name").to_string();
        member(value, &name).ok_or_else(|| format!("{name} is missing"))?;
    }
    Ok(())
}

#[test]
fn the_check_finds_what_is_wrong() {
    let schema =
        br#"{"type":"object","required":["a"],"properties":{"a":{"type":["string","null"],"enum":["x",null]},
        "b":{"type":"array","items":{"type":"integer"}}}}"#;
    let schema = Value::parse(schema).unwrap();
    let of = |text: &str| check(schema, Value::parse(text.as_bytes()).unwrap());
    assert_eq!(of(r#"{"a":"x","b":[1,2]}"#), Ok(()));
    for bad in ["[]", "{}", r#"{"a":"y"}"#, r#"{"a":1}"#, r#"{"a":null,"b":[1.5]}"#, r#"{"a":null,"c":1}"#] {
        assert!(of(bad).is_err(), "{bad}");
    }
}
