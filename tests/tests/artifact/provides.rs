//! What becomes of the stored provides, and whether an artifact fits them.

use crate::harness::{Keys, Memory, run};
use thimble_core::artifact::provides::merge;
use thimble_core::artifact::{Header, Trust, depends};
use thimble_core::deployment::Naming;
use thimble_core::json::Value;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

fn with_header<T>(artifact: ArtifactWriter<'_>, look: impl FnOnce(&Header<'_>, &mut [u8]) -> T) -> T {
    let mut memory = Memory::new();
    let mut parser = memory.parser();
    let (_, result) = run(&mut parser, &artifact.build(), Trust::Unsigned, &mut Keys::default(), || 4096);
    assert_eq!(result, Ok(()));
    let (header, scratch) = parser.header_and_scratch().unwrap();
    look(&header, scratch)
}

fn merged(installed: &str, artifact: ArtifactWriter<'_>, naming: Naming) -> String {
    with_header(artifact, |header, scratch| {
        let mut out = [0; 4096];
        let out = merge(installed.as_bytes(), header, naming, &mut out, scratch).unwrap();
        Value::parse(out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    })
}

fn artifact() -> ArtifactWriter<'static> {
    ArtifactWriter::new("new", "t", &["d"])
}

const OLD: &str = r#"{"artifact_name":"old","artifact_group":"g","a.x":"1","b":"2"}"#;

#[test]
fn provides_follow_the_table_of_clears() {
    let good = |artifact| merged(OLD, artifact, Naming::Good);
    assert_eq!(good(artifact()), r#"{"artifact_name":"new"}"#);
    assert_eq!(good(artifact().provides("c", "3")), r#"{"artifact_name":"new","c":"3"}"#);
    assert_eq!(good(artifact().clears(&["a.*"])), r#"{"artifact_name":"new","artifact_group":"g","b":"2"}"#);
    assert_eq!(
        good(artifact().clears(&["a.*"]).provides("b", "3")),
        r#"{"artifact_name":"new","artifact_group":"g","b":"3"}"#
    );
    assert_eq!(
        good(artifact().clears(&[])),
        r#"{"artifact_name":"new","artifact_group":"g","a.x":"1","b":"2"}"#
    );
    assert_eq!(good(artifact().clears(&["*"])), r#"{"artifact_name":"new"}"#);
    assert_eq!(good(artifact().clears(&["*"]).group("h")), r#"{"artifact_name":"new","artifact_group":"h"}"#);
}

#[test]
fn a12_patterns_match_whole_keys_and_end_soon() {
    let clears = |pattern: &str, key: &str| {
        let installed = format!(r#"{{"artifact_name":"old","{key}":"1"}}"#);
        !merged(&installed, artifact().clears(&[pattern]), Naming::Good).contains(key)
    };
    assert!(clears("ab", "ab") && !clears("ab", "abab") && !clears("ab", "xab"));
    assert!(clears("*", "k1") && clears("**", "k1") && clears("k*1", "k1") && clears("*k1*", "k1"));
    assert!(clears("a*b*c", "axxbyybc") && !clears("a*b*c", "axxbyy") && !clears("*.checksum", "x"));
    assert!(!clears("a*longer", "ab") && !clears("", "k"));
    assert!(!clears(&format!("{}a", "*".repeat(900)), &"b".repeat(900)));
    assert!(!clears(&format!("{}b", "*a".repeat(400)), &"a".repeat(900)));
}

#[test]
fn an_inconsistent_name_has_its_suffix_once() {
    let inconsistent =
        |name| merged(OLD, ArtifactWriter::new(name, "t", &["d"]).provides("c", "3"), Naming::Inconsistent);
    let expected = r#"{"artifact_name":"new_INCONSISTENT","artifact_group":"g","a.x":"1","b":"2"}"#;
    assert_eq!(inconsistent("new"), expected);
    assert_eq!(inconsistent("new_INCONSISTENT"), expected);
}

#[test]
fn a18_names_survive_storing_whatever_their_characters() {
    for text in ["\"", "\\", "\u{2028}", "a\u{2029}b", "ä😀", "\\u0022", "{}", "\",\"artifact_name\":\"x"]
    {
        let json = merged("{}", ArtifactWriter::new(text, "t", &["d"]).provides(text, text), Naming::Good);
        let value = Value::parse(json.as_bytes()).unwrap();
        let members: Vec<_> =
            value.members().unwrap().map(|(k, v)| (k.to_string(), v.as_str().unwrap().to_string())).collect();
        assert_eq!(members, [("artifact_name".into(), text.into()), (text.to_string(), text.to_string())]);
    }
}

#[test]
fn an_artifact_must_fit_device_and_provides() {
    let check = |artifact, device: &str| {
        with_header(artifact, |header, scratch| {
            depends::check(header, device, OLD.as_bytes(), scratch).map_err(|e| e.to_string())
        })
    };
    assert_eq!(check(artifact(), "d"), Ok(()));
    assert!(check(artifact(), "D").unwrap_err().contains("device type"));
    assert_eq!(check(artifact().header_depends("artifact_name", &["x", "old"]), "d"), Ok(()));
    assert!(
        check(artifact().header_depends("artifact_name", &["x"]), "d").unwrap_err().contains("artifact_name")
    );
    assert_eq!(check(artifact().depends("b", &["2"]).depends("a.x", &["0", "1"]), "d"), Ok(()));
    assert!(check(artifact().depends("b", &["3"]), "d").unwrap_err().contains("\"b\""));
    assert!(check(artifact().depends("none", &["3"]), "d").unwrap_err().contains("provides no \"none\""));
}
