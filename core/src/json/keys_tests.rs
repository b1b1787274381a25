use super::super::counter::bytes_of;
use super::*;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

fn value(text: &str) -> Value<'_> {
    Value::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check(text: &str, most: usize, room: usize) -> Result<(), KeysError> {
    value(text).check_keys(most, &mut vec![0; room * ENTRY])
}

#[test]
fn a21_keys_that_stand_twice_are_found_wherever_they_stand() {
    let object = |keys: &[String]| {
        let members: Vec<_> = keys.iter().map(|key| format!("\"{key}\":[{{\"v\":\"}}\"}}]")).collect();
        format!("{{{}}}", members.join(" , "))
    };
    let mut keys: Vec<_> = (0..200).map(|i| format!("key{i}")).collect();
    // All at once, and in parts.
    for room in [1000, 400, 399, 200, 100, 70] {
        assert_eq!(check(&object(&keys), 200, room), Ok(()));
        assert_eq!(check(&object(&keys), 199, room), Err(KeysError::TooMany(199)));
        for (first, second) in [(0, 1), (0, 199), (62, 63), (5, 130), (198, 199)] {
            let same = keys[first].to_uppercase();
            let kept = std::mem::replace(&mut keys[second], same);
            assert_eq!(check(&object(&keys), 200, room), Err(KeysError::Repeated), "{first} {second}");
            keys[second] = kept;
        }
    }
    for (text, ambiguous) in [
        (r#"{"a":1,"\u0041":2}"#, true),
        (r#"[0,{"x":{"k":[],"y":0,"K":1}}]"#, true),
        (r#"{"a":{"a":{"a":"a"}},"b":[{"a":1},{"a":1}]}"#, false),
        (r#"{"a":"{\"b\":1,\"b\":2}"}"#, false),
        (r#"{"a":["a","a"],"b":"a"}"#, false),
        (r#"{"ä":1,"Ä":2}"#, false),
        ("[]", false),
    ] {
        assert_eq!(check(text, 9, 64).is_err(), ambiguous, "{text}");
    }
}

#[test]
fn more_keys_than_there_is_memory_for_are_refused_with_their_number() {
    let text = |keys: usize| {
        let objects: Vec<_> = (0..keys).map(|i| format!("{{\"k{}\":{i}}}", i % 7)).collect();
        format!("[{}]", objects.join(","))
    };
    // Eight parts, each filled to three quarters.
    assert_eq!(check(&text(6 * 100), 1, 100), Ok(()));
    assert_eq!(check(&text(6 * 100 + 1), 1, 100), Err(KeysError::TooMany(600)));
    assert_eq!(check(&text(limits::JSON_KEYS), 1, 16 * 1024), Ok(()));
    let refused = check(&text(limits::JSON_KEYS + 1), 1, 16 * 1024);
    assert_eq!(refused, Err(KeysError::TooMany(limits::JSON_KEYS)));
    assert!(check("{\"a\":1}", 1, 0).is_err() && check("[]", 1, 0).is_ok());
}

/// As much as can stand in a megabyte, 64 levels deep, with keys at every level.
fn nested() -> String {
    let keys = |level: usize| (0..480).map(|i| format!("\"{level}-{i}\":0")).collect::<Vec<_>>().join(",");
    let mut text = "0".to_string();
    for level in 1..DEPTH as usize {
        text = format!("{{{},\"v\":{text}}}", keys(level));
    }
    let rest = (900 << 10) - text.len();
    format!("{{\"v\":{text},\"w\":\"{}\"}}", "w".repeat(rest))
}

#[test]
fn a_deep_text_is_looked_at_a_fixed_number_of_times() {
    let text = nested();
    assert!(text.len() > 900_000, "{}", text.len());
    let (parsed, value) = bytes_of(|| value(&text));
    assert!(parsed <= text.len(), "{parsed}");
    // All keys at once: they are read once, and hashed once.
    let (bytes, checked) = bytes_of(|| value.check_keys(1024, &mut vec![0; 32 * 1024 * ENTRY]));
    assert_eq!(checked, Ok(()));
    assert!(bytes <= 2 * text.len(), "{bytes}");
    // In eight parts.
    let (bytes, checked) = bytes_of(|| value.check_keys(1024, &mut vec![0; 5120 * ENTRY]));
    assert_eq!(checked, Ok(()));
    assert!(bytes <= 10 * 2 * text.len(), "{bytes}");
}

#[test]
fn keys_chosen_to_sort_slowly_do_not() {
    // One long beginning for all of them.
    let keys: Vec<_> = (0..1000).map(|i| format!("\"{}{i}\":0", "a".repeat(900))).collect();
    let text = format!("{{{}}}", keys.join(","));
    let (bytes, checked) = bytes_of(|| check(&text, 1024, 2048));
    assert_eq!(checked, Ok(()));
    assert!(bytes <= 4 * text.len(), "{bytes} of {}", text.len());
}

/// Keys that all have one hash, made of blocks: at each place two blocks of eight letters lead to the same value.
fn of_one_hash(count: usize) -> Vec<String> {
    use std::collections::HashMap;
    let letters: Vec<char> = ('a'..='z').chain('0'..='9').collect();
    let step = |hash: u32, c: char| (hash ^ u32::from(c)).wrapping_mul(0x0100_0193);
    let mut blocks = Vec::new();
    let mut start = 0x811c_9dc5 ^ 0x9e37_79b1;
    for _ in 0..count.ilog2() {
        let mut seen: HashMap<u32, String> = HashMap::new();
        let mut state = 1_u64;
        let (pair, next) = loop {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let block: String =
                (0..8).map(|i| letters[(state >> (i * 7 + 3)) as usize % letters.len()]).collect();
            let value = block.chars().fold(start, step);
            match seen.get(&value) {
                Some(other) if *other != block => break ([other.clone(), block], value),
                _ => drop(seen.insert(value, block)),
            }
        };
        blocks.push(pair);
        start = next;
    }
    (0..count)
        .map(|n| blocks.iter().enumerate().map(|(i, pair)| pair[n >> i & 1].as_str()).collect())
        .collect()
}

#[test]
fn keys_chosen_to_have_one_hash_are_refused_after_a_look_at_each() {
    for (count, expected) in [(8, Ok(())), (16, Err(KeysError::Chosen)), (4096, Err(KeysError::Chosen))] {
        let keys: Vec<_> = of_one_hash(count).into_iter().map(|key| format!("\"{key}\":0")).collect();
        let text = format!("{{{}}}", keys.join(","));
        let (bytes, checked) = bytes_of(|| check(&text, 8192, 8192));
        assert_eq!(checked, expected, "{count}");
        assert!(bytes <= 16 * text.len() + 16 * 1024, "{bytes} of {}", text.len());
        let twice = format!("{{{},{}}}", keys.join(","), keys[0]);
        assert!(check(&twice, 8192, 8192).is_err());
    }
}

#[test]
fn an_index_finds_each_member_and_no_other() {
    let text = r#"{ "a" : 1 , "\u0062": [ {"x":2} ], "A":"3","\"":null}"#;
    let mut scratch = [0; 4 * ENTRY];
    let mut index = Index::of(Some(value(text)), &mut scratch).unwrap();
    let keys = value(r#"["a","b","A","\u0022","x","B",""]"#);
    let found: Vec<_> = keys
        .items()
        .unwrap()
        .map(|key| index.find(key.as_str().unwrap()).map(|at| index.value(at).unwrap().raw()))
        .collect();
    let all = [Some("1"), Some(r#"[ {"x":2} ]"#), Some("\"3\""), Some("null"), None, None, None];
    assert_eq!(found, all);

    let b = index.find(keys.items().unwrap().nth(1).unwrap().as_str().unwrap()).unwrap();
    assert!(index.mark(b) && !index.mark(b) && index.value(b).unwrap().raw().starts_with('['));
    let mut left: Vec<_> = index.unmarked().map(|key| key.to_string()).collect();
    left.sort();
    assert_eq!(left, ["\"", "A", "a"]);

    let mut short = [0; 3 * ENTRY];
    assert_eq!(Index::of(Some(value(text)), &mut short).err(), Some(KeysError::TooMany(3)));
    assert_eq!(Index::of(None, &mut []).unwrap().unmarked().count(), 0);
}

#[test]
fn looking_up_all_members_is_not_quadratic() {
    let members: Vec<_> = (0..1024).map(|i| format!("\"key-{i}\":\"{}\"", "v".repeat(40))).collect();
    let text = format!("{{{}}}", members.join(","));
    let object = value(&text);
    let mut scratch = vec![0; 1024 * ENTRY];
    let (bytes, found) = bytes_of(|| {
        let index = Index::of(Some(object), &mut scratch).unwrap();
        object.members().unwrap().filter(|(key, _)| index.find(*key).is_some()).count()
    });
    assert_eq!(found, 1024);
    // Each key is compared with a dozen others at most, and almost always by its hash alone.
    assert!(bytes <= 8 * text.len(), "{bytes} of {}", text.len());
}
