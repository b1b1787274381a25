use super::*;
use crate::control::Answer;
use std::format;
use std::string::{String, ToString};

const ID: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
const HOUR: Duration = Duration::from_secs(3600);

fn parse(text: &str) -> Result<Map, MapError> {
    Map::parse(text.as_bytes()).map(|map| map.expect("not null"))
}

/// A map with `rest` behind its id.
fn with(rest: &str) -> Result<Map, MapError> {
    parse(&format!(r#"{{"id":"01234567-89ab-cdef-0123-456789abcdef"{rest}}}"#))
}

fn install(rule: &str) -> Result<Rule, MapError> {
    with(&format!(r#","states":{{"ArtifactInstall_Enter":{rule}}}"#)).map(|map| map.rules.install)
}

#[test]
fn reads_a_full_map() {
    let map = with(
        r#","priority":-10,"states":{
            "ArtifactInstall_Enter":{"action":"pause","on_map_expire":"continue","on_action_executed":"fail"},
            "ArtifactReboot_Enter":{"action":"force_continue"},
            "ArtifactCommit_Enter":{"on_action_executed":"pause"}}"#,
    )
    .unwrap();
    use Vote::{Continue, Fail, ForceContinue, Pause};
    let rules = Rules {
        install: Rule { action: Pause, on_map_expire: Continue, on_action_executed: Fail },
        reboot: Rule {
            action: ForceContinue,
            on_map_expire: ForceContinue,
            on_action_executed: ForceContinue,
        },
        commit: Rule { action: Continue, on_map_expire: Continue, on_action_executed: Pause },
    };
    assert_eq!(map, Map { id: ID, priority: -10, rules });
}

#[test]
fn every_word_is_taken_where_it_is_allowed() {
    for action in Vote::ALL {
        let word = action.name();
        assert_eq!(install(&format!(r#"{{"action":"{word}"}}"#)).unwrap().action, action);
        let rule = install(&format!(r#"{{"on_action_executed":"{word}"}}"#)).unwrap();
        assert_eq!(rule.on_action_executed, action);
        let rule = install(&format!(r#"{{"on_map_expire":"{word}"}}"#)).map(|rule| rule.on_map_expire);
        match action {
            Vote::Pause => assert_eq!(rule, Err(MapError::Action("on_map_expire"))),
            Vote::Continue | Vote::ForceContinue | Vote::Fail => assert_eq!(rule, Ok(action)),
        }
    }
    for key in ["action", "on_map_expire", "on_action_executed"] {
        for word in ["Pause", "stop", " fail", "continue\\u0000"] {
            assert_eq!(install(&format!(r#"{{"{key}":"{word}"}}"#)), Err(MapError::Action(key)));
        }
        assert_eq!(install(&format!(r#"{{"{key}":1}}"#)), Err(MapError::Type(key)));
        assert_eq!(install(&format!(r#"{{"{key}":""}}"#)), Ok(Rule::default()), "empty is absent");
    }
}

#[test]
fn priorities_are_integers_from_minus_ten_to_ten() {
    for good in [-10, -1, 0, 10] {
        assert_eq!(with(&format!(r#","priority":{good}"#)).unwrap().priority, good);
    }
    for bad in ["-11", "11", "1.0", "1e0", "\"1\"", "true", "[]", "256", "99999999999999999999"] {
        assert_eq!(with(&format!(r#","priority":{bad}"#)), Err(MapError::Priority), "{bad}");
    }
}

#[test]
fn keys_are_known_and_stand_once_in_any_case() {
    assert_eq!(
        parse(
            r#"{"ID":"01234567-89ab-cdef-0123-456789abcdef","Priority":3,
                "States":{"artifactinstall_enter":{"Action":"fail"}}}"#
        )
        .unwrap()
        .rules
        .install
        .action,
        Vote::Fail
    );
    assert_eq!(with(r#","iD":"""#), Err(MapError::RepeatedKey("id")));
    assert_eq!(with(r#","priority":null,"Priority":1"#), Err(MapError::RepeatedKey("priority")));
    assert_eq!(install(r#"{"action":"fail","\u0061ction":"fail"}"#), Err(MapError::RepeatedKey("action")));
    for unknown in [
        with(r#","extra":null"#),
        with(r#","states":{"extra":{}}"#),
        with(r#","states":{"ArtifactInstall_Enter":{"extra":""}}"#),
    ] {
        assert_eq!(unknown, Err(MapError::UnknownKey(Text::copy("extra").unwrap())));
    }
    let error = with(&format!(r#","{}":1"#, "\\u0007".repeat(100))).unwrap_err().to_string();
    assert!(error.len() < 300 && !error.contains('\u{7}'), "{error}");
}

#[test]
fn the_id_is_required_and_a_uuid() {
    for bad in ["{}", r#"{"id":null}"#, r#"{"id":""}"#, r#"{"id":"0123"}"#] {
        assert_eq!(parse(bad), Err(MapError::Id), "{bad}");
    }
    assert_eq!(parse(r#"{"id":1}"#), Err(MapError::Type("id")));
    let long = format!(r#"{{"id":"{}"}}"#, "a".repeat(1000));
    assert_eq!(parse(&long), Err(MapError::Id));
}

#[test]
fn wrong_types_are_refused() {
    for bad in ["[]", "1", "\"x\"", "true"] {
        assert_eq!(parse(bad), Err(MapError::Type("map")));
        assert_eq!(with(&format!(r#","states":{bad}"#)), Err(MapError::Type("states")));
        assert_eq!(install(bad), Err(MapError::Type("ArtifactInstall_Enter")));
    }
}

#[test]
fn null_is_absent() {
    assert_eq!(Map::parse(b" null "), Ok(None));
    assert!(with(r#","priority":null,"states":null"#).unwrap().is_empty());
    assert_eq!(install("null"), Ok(Rule::default()));
}

#[test]
fn default_rules_are_dropped() {
    assert!(with("").unwrap().is_empty());
    assert!(with(r#","states":{}"#).unwrap().is_empty());
    assert_eq!(install(r#"{"action":"continue"}"#), Ok(Rule::default()));
    assert!(!with(r#","states":{"ArtifactReboot_Enter":{"on_map_expire":"fail"}}"#).unwrap().is_empty());
}

#[test]
fn nothing_may_follow_and_4096_bytes_are_the_most() {
    assert!(matches!(with("} {"), Err(MapError::Json(_))));
    let padded = |length: usize| {
        let map = r#"{"id":"01234567-89ab-cdef-0123-456789abcdef"}"#;
        Map::parse(format!("{map:<length$}").as_bytes())
    };
    assert!(padded(4096).unwrap().is_some());
    assert_eq!(padded(4097), Err(MapError::TooLong));
}

#[test]
fn a_server_map_belongs_to_its_deployment() {
    let raw = r#"{"id":"01234567-89AB-cdef-0123-456789abcdef"}"#;
    let id = "01234567-89ab-cdef-0123-456789abcdef";
    assert_eq!(Map::from_server(Some(raw), id).unwrap().unwrap().id, ID);
    assert_eq!(Map::from_server(Some("null"), id), Ok(None));
    assert_eq!(Map::from_server(None, id), Ok(None));
    for other in ["11234567-89ab-cdef-0123-456789abcdef", "no-uuid"] {
        assert_eq!(Map::from_server(Some(raw), other), Err(MapError::OtherDeployment));
    }
    assert_eq!(Map::from_server(Some(r#"{"id":""}"#), id), Err(MapError::Id));
}

#[test]
fn a_pool_is_saved_advanced_and_without_times() {
    let now = Instant::from_millis(5);
    let mut pool = Pool::new();
    let once = r#","priority":1,"states":{"ArtifactInstall_Enter":
        {"action":"pause","on_action_executed":"continue"}}"#;
    pool.insert_local(with(once).unwrap(), now, HOUR).unwrap();
    let _ = pool.query(Point::Install, now);
    let mut buf = [0; limits::MAPS_RECORD];
    assert_eq!(
        pool.record(true).write(&mut buf).unwrap().unwrap(),
        concat!(
            r#"{"active":[{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":1,"states":"#,
            r#"{"ArtifactInstall_Enter":{"action":"continue","on_map_expire":"fail","#,
            r#""on_action_executed":"continue"}}}],"expired":null}"#
        )
    );
    assert_eq!(Pool::new().record(true).write(&mut buf), Ok(None));
    assert_eq!(pool.record(true).write(&mut buf[..50]), Err(Overflow { limit: 50 }));
}

#[test]
fn a_loaded_pool_has_the_boot_expiration_and_expired_stays_expired() {
    let mut pool = Pool::new();
    let pause = r#","states":{"ArtifactInstall_Enter":{"action":"pause","on_map_expire":"force_continue"}}"#;
    let active = Map { priority: -1, ..with(pause).unwrap() };
    pool.insert_local(with(pause).unwrap(), Instant::ZERO, HOUR).unwrap();
    pool.insert_local(active, Instant::ZERO + HOUR, HOUR).unwrap();
    let now = Instant::ZERO + HOUR;
    let _ = pool.query(Point::Reboot, now);
    let mut buf = [0; limits::MAPS_RECORD];
    let saved = pool.record(true).write(&mut buf).unwrap().unwrap();

    let boot = Duration::from_secs(600);
    let mut loaded = Pool::load(saved.as_bytes(), now, boot).unwrap();
    assert_eq!(loaded.next_event(now), Some(now + Duration::from_secs(300)));
    assert_eq!(loaded.next_event(now + Duration::from_secs(300)), Some(now + boot));
    assert_eq!(loaded.query(Point::Install, now).answer, Answer::ForceContinue, "the expired one forces it");
    loaded.purge_expired(now);
    assert_eq!(loaded.query(Point::Install, now).answer, Answer::Pause);
    let mut again = [0; limits::MAPS_RECORD];
    assert!(loaded.record(true).write(&mut again).unwrap().unwrap().contains("\"priority\":-1"));
}

#[test]
fn the_largest_pool_fits_in_its_record_and_comes_back_equal() {
    let longest = Rule::new(Some(Vote::ForceContinue), None, None);
    let rules = Rules { install: longest, reboot: longest, commit: longest };
    let mut pool = Pool::new();
    for id in 0..limits::MAPS as u128 {
        pool.insert_local(Map { id: u128::MAX - id, priority: -10, rules }, Instant::ZERO, HOUR).unwrap();
    }
    let mut buf = [0; limits::MAPS_RECORD];
    let saved = pool.record(true).write(&mut buf).unwrap().unwrap();
    assert_eq!(Pool::load(saved.as_bytes(), Instant::ZERO, HOUR), Ok(pool));

    let maps = (0..=limits::MAPS).map(|i| format!(r#"{{"id":"01234567-89ab-cdef-0123-{i:012}"}}"#));
    let maps = maps.collect::<std::vec::Vec<String>>().join(",");
    let full = format!(r#"{{"active":[{maps}]}}"#);
    assert_eq!(Pool::load(full.as_bytes(), Instant::ZERO, HOUR), Err(LoadError::Full));
}

#[test]
fn damaged_pools_are_errors() {
    let load = |text: &str| Pool::load(text.as_bytes(), Instant::ZERO, HOUR);
    for empty in ["{}", r#"{"active":null,"expired":[]}"#] {
        assert!(load(empty).unwrap().is_empty());
    }
    for bad in ["", "{", "[]", "null", r#"{"active":{}}"#, r#"{"active":[null]}"#, r#"{"active":[{}]}"#] {
        assert!(load(bad).is_err(), "{bad}");
    }
}
