use crate::status::Download;

use super::*;

fn facts() -> Facts<'static> {
    Facts {
        state: "Download",
        doing: "downloading the artifact".into(),
        by_hand: None,
        no_updates: None,
        waiting: None,
        wait_ends: None,
        deployment: Some("d-1"),
        artifact: None,
        reason: None,
        download: Some(Download { received: 5, total: Some(25), speed: Some(10) }),
        last: None,
        next_poll: Some(Instant::from_millis(61_500)),
        next_inventory: None,
        trouble: None,
        server: None,
        last_contact: None,
        maps: None,
        policies: "[]",
    }
}

#[test]
fn every_property_is_described_with_its_type_and_has_a_value() {
    let facts = facts();
    let values = values(&facts, Instant::from_millis(1000));
    let described: Vec<&str> = describe::properties(CLIENT.path, CLIENT.interface).unwrap().collect();
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    assert_eq!(described, names);
    let xml = describe::introspect(CLIENT.path);
    for (name, value) in values {
        let line = format!("<property name=\"{name}\" type=\"{}\" access=\"read\">", value.signature());
        assert!(xml.contains(&line), "{line}");
    }
}

#[test]
fn what_is_not_known_is_empty_zero_or_minus_one() {
    let value = |facts: &Facts<'_>, name| {
        let all = values(facts, Instant::from_millis(1000));
        all.iter().find(|(of, _)| *of == name).map(|(_, value)| Owned::of(*value)).unwrap()
    };
    assert!(value(&facts(), NEXT_POLL) == Owned::Number(61));
    assert!(value(&Facts { next_poll: None, ..facts() }, NEXT_POLL) == Owned::Number(-1));
    assert!(value(&facts(), RECEIVED) == Owned::Count(5));
    assert!(value(&facts(), LEFT) == Owned::Number(2));
    let other = Facts { download: None, ..facts() };
    assert!(value(&other, "TotalBytes") == Owned::Count(0));
    assert!(value(&other, LEFT) == Owned::Number(-1));
    assert!(value(&facts(), "LastOutcome") == Owned::Text(String::new()));
}

/// The tables go into XML as they are.
#[test]
fn no_text_needs_to_be_escaped() {
    for path in ["/", AUTHENTICATION.path, UPDATE.path, CLIENT.path] {
        let xml = describe::introspect(path);
        for line in xml.lines().skip(2) {
            let tags = line.matches('<').count();
            assert!(tags <= 1 && line.matches('>').count() == tags && !line.contains('&'), "{line}");
            assert_eq!(line.matches('"').count() % 2, 0, "{line}");
        }
    }
}
