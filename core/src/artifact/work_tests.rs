//! The work of one call against the length of what it works on: no artifact that is allowed may take long.

use super::header::Checked;
use super::{Header, depends, provides};
use crate::deployment::Naming;
use crate::json::{ENTRY, counter::bytes_of};
use crate::limits;
use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// As long as Linux lends them.
const RECORD: usize = 64 << 10;
const INFO: &str = r#"{"payloads":[{"type":"t"}],"artifact_provides":{"artifact_name":"n"},"artifact_depends":{"device_type":["d"]}}"#;

fn strings(count: usize, string: impl Fn(usize) -> String) -> String {
    (0..count).map(|i| format!("\"{}\"", string(i))).collect::<Vec<_>>().join(",")
}

fn members(count: usize) -> String {
    (0..count).map(|i| format!("\"key-{i:04}\":\"{}\"", "v".repeat(40))).collect::<Vec<_>>().join(",")
}

/// Looks at an artifact with this `type-info`, and says how many bytes were looked at to check it.
fn with<T>(type_info: &str, look: impl FnOnce(&Header<'_>, &mut [u8]) -> T) -> (usize, T) {
    let parts = [INFO.as_bytes(), type_info.as_bytes(), b""];
    let mut scratch = vec![0; 2 * limits::JSON_MEMBERS * ENTRY];
    let (bytes, checked) = bytes_of(|| Checked::check(parts, &mut scratch));
    let checked = checked.unwrap_or_else(|error| panic!("{error}"));
    (bytes, look(&checked.view(parts).unwrap(), &mut scratch))
}

#[test]
fn a_header_is_checked_in_a_fixed_number_of_walks_and_looked_at_for_nothing() {
    let depends: Vec<_> =
        (0..1000).map(|i| format!("\"key-{i}\":[{}]", strings(5, |n| format!("{n}")))).collect();
    let text = format!(r#"{{"type":"t","artifact_depends":{{{}}}}}"#, depends.join(","));
    let info = INFO
        .replace("\"device_type\":", &format!("{},\"device_type\":", depends.join(",").replace("key", "k")));
    let parts = [info.as_bytes(), text.as_bytes(), b""];
    let mut scratch = vec![0; 2 * limits::JSON_MEMBERS * ENTRY];
    let (bytes, checked) = bytes_of(|| Checked::check(parts, &mut scratch).unwrap());
    assert!(bytes <= 30 * (info.len() + text.len()), "{bytes} of {}", info.len() + text.len());
    assert_eq!(bytes_of(|| checked.view(parts).is_some()), (0, true));
}

#[test]
fn what_an_artifact_depends_on_is_compared_without_a_product() {
    let stored = format!("{{{}}}", members(1000));
    let text = format!(r#"{{"type":"t","artifact_depends":{{{}}}}}"#, members(1000));
    let (_, (bytes, fits)) =
        with(&text, |header, scratch| bytes_of(|| depends::check(header, "d", stored.as_bytes(), scratch)));
    assert_eq!(fits, Ok(()));
    assert!(bytes <= 10 * (stored.len() + text.len()), "{bytes} of {}", stored.len() + text.len());
}

#[test]
fn an_artifact_that_is_installed_again_replaces_its_provides_without_a_product() {
    let stored = format!("{{{}}}", members(1000));
    let text =
        format!(r#"{{"type":"t","clears_artifact_provides":[],"artifact_provides":{{{}}}}}"#, members(1000));
    let (_, (bytes, length)) = with(&text, |header, scratch| {
        let mut out = vec![0; 2 * RECORD];
        bytes_of(|| {
            let merged = provides::merge(stored.as_bytes(), header, Naming::Good, &mut out, scratch);
            merged.map(<[u8]>::len)
        })
    });
    assert_eq!(length.unwrap(), stored.len() + r#""artifact_name":"n","#.len());
    assert!(bytes <= 10 * (stored.len() + text.len()), "{bytes} of {}", stored.len() + text.len());
}

#[test]
fn a12_patterns_times_keys_are_bounded_and_the_refusal_names_the_bound() {
    let merge = |patterns: usize, keys: usize| {
        let patterns = strings(patterns, |i| format!("*a*b{i:04}*c"));
        let text = format!(r#"{{"type":"t","clears_artifact_provides":[{patterns}]}}"#);
        let stored = format!("{{{}}}", members(keys));
        with(&text, |header, scratch| {
            let mut out = vec![0; 2 * RECORD];
            bytes_of(|| {
                provides::merge(stored.as_bytes(), header, Naming::Good, &mut out, scratch).map(<[u8]>::len)
            })
        })
        .1
    };
    let (bytes, merged) = merge(100, 200);
    assert!(merged.is_ok() && bytes <= limits::CLEARS, "{bytes}");
    let (bytes, merged) = merge(300, 600);
    assert!(merged.is_ok() && bytes <= 2 * limits::CLEARS, "{bytes}");
    let (bytes, merged) = merge(1000, 1000);
    assert!(bytes < 10 * RECORD, "{bytes}");
    let refusal = format!("{}", merged.unwrap_err());
    assert!(refusal.contains("clears_artifact_provides") && refusal.contains("8388608"), "{refusal}");
}
