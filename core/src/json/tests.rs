use super::*;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

fn value(text: &str) -> Value<'_> {
    Value::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn takes_what_the_standard_allows() {
    for good in [
        "null",
        " true\r\n",
        "\tfalse",
        "0",
        "-0",
        "-12.50e+7",
        "1E9",
        r#""""#,
        r#""\"\\\/\b\f\n\r\t\u00e4\uD83D\uDE00ä""#,
        "[]",
        "[ ]",
        "{ }",
        "[1,[2,{}],\"3\"]",
        "{\"a\" : {\"b\" : [ null , {} ] } , \"\" : 1}",
    ] {
        assert_eq!(value(good).raw(), good.trim());
    }
}

#[test]
fn refuses_everything_else() {
    for bad in [
        "",
        " ",
        "nul",
        "nulll",
        "True",
        "+1",
        "01",
        "-",
        "1.",
        ".5",
        "1e",
        "1e+",
        "NaN",
        "'a'",
        "\"",
        "\"\\",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "\"\\uD800\"",
        "\"\\uD800\\n\"",
        "\"\\uD800\\u0041\"",
        "\"\\uDC00\"",
        "\"a\nb\"",
        "\"a\u{0}\"",
        "[",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[1 2]",
        "]",
        "[}",
        "{]",
        "{",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "{\"a\"}",
        "1 2",
        "{} x",
        "null,",
        "\u{feff}1",
        "// c\n1",
    ] {
        assert!(Value::parse(bad.as_bytes()).is_err(), "{bad:?}");
    }
    assert_eq!(Value::parse(b"[\"a\xff\"]").unwrap_err().at, 3);
}

#[test]
fn every_truncation_is_refused() {
    let text = r#"{"a":[true,-1.5e3,{"b":"\uD83D\uDE00"}],"c":null}"#;
    for end in 0..text.len() {
        assert!(Value::parse(&text.as_bytes()[..end]).is_err(), "{}", &text[..end]);
    }
}

#[test]
fn depth_is_limited_and_costs_no_stack() {
    let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert!(Value::parse(nest(DEPTH as usize).as_bytes()).is_ok());
    let error = Value::parse(nest(DEPTH as usize + 1).as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), format!("not valid JSON: more than {DEPTH} levels at byte 64"));
    assert!(Value::parse("{\"a\":".repeat(1_000_000).as_bytes()).is_err());
}

#[test]
fn walks_objects_and_arrays_in_order() {
    let object = value(r#" { "a" : [1, "x,]"] , "b}":{"a":2}, "\u0061b":null } "#);
    let members: Vec<_> = object.members().unwrap().map(|(k, v)| (k.to_string(), v.raw())).collect();
    let expected = [("a", r#"[1, "x,]"]"#), ("b}", r#"{"a":2}"#), ("ab", "null")];
    assert_eq!(members.iter().map(|(k, v)| (k.as_str(), *v)).collect::<Vec<_>>(), expected);
    let items: Vec<_> = object.member("a").unwrap().unwrap().items().unwrap().map(Value::raw).collect();
    assert_eq!(items, ["1", "\"x,]\""]);
    assert!(object.items().is_none());
    assert!(value("[]").members().is_none());
    assert_eq!(value("{}").members().unwrap().count() + value("[]").items().unwrap().count(), 0);
}

#[test]
fn a_member_is_found_once_or_refused() {
    let object = value(r#"{"a":1,"b":2,"\u0062":3}"#);
    assert_eq!(object.member("a"), Ok(Some(value("1"))));
    assert_eq!(object.member("c"), Ok(None));
    assert_eq!(object.member("b"), Err(Duplicate));
    assert_eq!(value("7").member("a"), Ok(None));
}

#[test]
fn undoes_escapes() {
    let text = value(r#""\u0026\uD83D\uDE00\/\"\\\n\b\f\r\tä""#).as_str().unwrap();
    assert_eq!(text.to_string(), "&😀/\"\\\n\u{8}\u{c}\r\tä");
    assert!(value(r#""Priorit\u0079""#).as_str().unwrap().is_ignoring_case("priority"));
    assert!(!value(r#""priority ""#).as_str().unwrap().is_ignoring_case("priority"));
    assert!(value("\"\"").as_str().unwrap().is_empty());
}

#[test]
fn only_integers_are_integers() {
    assert_eq!(value("-10").as_integer(), Some(-10));
    assert_eq!(value("-0").as_integer(), Some(0));
    for no in ["1.0", "1e1", "\"1\"", "true", "null", "[1]", "99999999999999999999"] {
        assert_eq!(value(no).as_integer(), None, "{no}");
    }
}

#[test]
fn what_is_written_is_read_back() {
    let all: String = (0..0x250).chain(0x1_f600..0x1_f610).filter_map(char::from_u32).collect();
    let mut buf = [0; 4096];
    let mut out = Out::new(&mut buf);
    out.string(&all);
    let once = out.finish().unwrap();
    assert_eq!(value(once).as_str().unwrap().to_string(), all);

    let mut buf = [0; 8192];
    let mut out = Out::new(&mut buf);
    out.string(once);
    let twice = value(out.finish().unwrap()).as_str().unwrap().to_string();
    assert_eq!(value(&twice).as_str().unwrap().to_string(), all);
}

#[test]
fn too_much_is_an_error_also_when_a_shorter_piece_follows() {
    let mut buf = [0; 4];
    let mut out = Out::new(&mut buf);
    out.raw("abc");
    out.raw("de");
    out.raw("f");
    assert_eq!(out.finish(), Err(Overflow { limit: 4 }));
}

/// The same as `serde_json` on texts with a few bytes changed, cut out or doubled.
#[test]
fn agrees_with_another_reader_on_damaged_texts() {
    const SAMPLE: &[u8] =
        br#" {"a":[true,-1.5e3,{"b":"\uD83D\uDE00\n"}],"":null,"c":[0,[],{},"\u00e4/"],"d":1} "#;
    const BYTES: &[u8] = b"\"\\{}[]:,0-1.eEu+ \nadfnltrs\x00\x1f\x7f\xc3\xa4\xff/";
    // Xorshift: the same sequence for every run.
    let mut state = 1_u64;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let mut good = 0;
    for round in 0..100_000 {
        let mut text = SAMPLE.to_vec();
        for _ in 0..=below(3) {
            let at = below(text.len());
            match below(4) {
                0 => text[at] = BYTES[below(BYTES.len())],
                1 => text.insert(at, BYTES[below(BYTES.len())]),
                2 => drop(text.drain(at..(at + 1 + below(6)).min(text.len()))),
                _ => {
                    let part = text[at..(at + 1 + below(6)).min(text.len())].to_vec();
                    text.splice(at..at, part);
                }
            }
        }
        let ours = Value::parse(&text);
        let theirs = serde_json::from_slice::<serde_json::Value>(&text);
        // It stops at a number that no float can hold, whatever stands behind it.
        if theirs.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
            continue;
        }
        let shown = String::from_utf8_lossy(&text);
        assert_eq!(ours.is_ok(), theirs.is_ok(), "round {round}: {shown}");
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            good += 1;
            assert!(same(ours, &theirs), "round {round}: {shown}");
        }
    }
    assert!(good > 1000, "{good} of the texts were good");
}

fn same(ours: Value<'_>, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as Theirs;
    match theirs {
        Theirs::Null => ours.is_null(),
        Theirs::Bool(b) => ours.raw() == b.to_string(),
        Theirs::Number(n) => n.as_i64().is_none_or(|n| ours.as_integer().unwrap_or(0) == n),
        Theirs::String(s) => ours.as_str().is_some_and(|ours| ours.is(s)),
        Theirs::Array(list) => {
            let items: Vec<_> = ours.items().into_iter().flatten().collect();
            items.len() == list.len() && items.iter().zip(list).all(|(ours, theirs)| same(*ours, theirs))
        }
        // It keeps the last of repeated members.
        Theirs::Object(map) => map.iter().all(|(key, theirs)| {
            let members = ours.members().into_iter().flatten();
            members.filter(|(k, _)| k.is(key)).last().is_some_and(|(_, ours)| same(ours, theirs))
        }),
    }
}

#[test]
fn a19_whatever_could_break_a_text_is_escaped() {
    let breaking = |c: char| c < ' ' || matches!(c, '\u{7f}' | '\u{2028}' | '\u{2029}');
    for c in (0..0x100).chain([0x2028, 0x2029]).filter_map(char::from_u32) {
        let mut buf = [0; 16];
        let mut out = Out::new(&mut buf);
        out.string_of(&c);
        let json = out.finish().unwrap();
        assert!(!json.contains(breaking), "{json:?}");
        assert_eq!(value(json).as_str().unwrap().to_string(), c.to_string());
    }
}

#[test]
fn values_are_skipped_whole() {
    let text = r#" [ {"a":[1,{"b":"]}"}]} , "\\" , "\"," , -1.5e+3 , true,[[]], null ] "#;
    let items: Vec<_> = value(text).items().unwrap().map(Value::raw).collect();
    assert_eq!(items, [r#"{"a":[1,{"b":"]}"}]}"#, r#""\\""#, r#""\",""#, "-1.5e+3", "true", "[[]]", "null"]);
}
