//! The database of Mender's client: what it had not finished, and the way back (R-40).

use thimble_core::checkpoint::{Checkpoint, RebootKind, Tag};
use thimble_core::deployment::{Mode, Verdict};
use thimble_core::hal::{Change, Key, Storage};

use super::directory::Access;
use super::lmdb::{Database, Shape};
use super::lmdb_file;
use super::sim::{Disk, End, Survival};
use super::{ExportError, Finding, LMDB, Notice, RECORD_MAX, StorageError, Store, TEMPORARY, Unfinished};

/// The datastore of Debian's `mender` 3.4 after `mender install` of a single file.
const BY_HAND: &[u8] = include_bytes!("../../../tests/mender-3.4/uncommitted/mender-store");

const MAPS: &str = r#"{"active":[{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":0,"states":{"ArtifactCommit_Enter":{"action":"pause","on_map_expire":"","on_action_executed":""}}}],"expired":null}"#;

/// The record of a deployment, as that client writes it.
fn state(version: u8, at: &str) -> String {
    format!(
        r#"{{"Version":{version},"Name":"{at}","UpdateInfo":{{"Artifact":{{"Source":{{"URI":"https://s/a","Expire":""}},"device_types_compatible":["lab"],"PayloadTypes":["rootfs-image"],"artifact_name":"release-2","artifact_group":"","artifact_provides":{{"rootfs-image.version":"2"}},"clears_artifact_provides":["rootfs-image.*"]}},"ID":"d-1","RebootRequested":["reboot-type-custom"],"SupportsRollback":"rollback-supported","StateDataStoreCount":7,"HasDBSchemaUpdate":false}}}}"#
    )
}

fn database(transaction: u64, values: &[(&str, &str)]) -> Vec<u8> {
    let values: Vec<_> = values.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
    lmdb_file::write(Shape::NATIVE, transaction, &values).unwrap()
}

fn open(disk: &Disk) -> (Store<Disk>, Vec<Notice>) {
    Store::open(disk.clone(), Access::ReadWrite).unwrap()
}

fn record(store: &mut Store<Disk>, key: Key) -> Option<Vec<u8>> {
    store.read(key, &mut vec![0; RECORD_MAX]).unwrap().map(<[u8]>::to_vec)
}

fn text(store: &mut Store<Disk>, key: Key) -> String {
    String::from_utf8(record(store, key).unwrap_or_default()).unwrap()
}

fn checkpoint(store: &mut Store<Disk>) -> Option<Checkpoint> {
    record(store, Key::Checkpoint).map(|record| Checkpoint::decode(&record).unwrap())
}

fn update(store: &Store<Disk>) -> Unfinished {
    match store.unfinished() {
        Some(Finding::Update(update)) => (**update).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn r40_an_update_by_hand_that_waits_goes_on_once_and_the_database_stays() {
    let disk = Disk::with_file(LMDB, BY_HAND);
    let (mut store, _) = open(&disk);
    let found = update(&store);
    assert_eq!(
        (found.mode, found.name.as_str(), found.payload_type.as_str()),
        (Mode::Standalone, "m-1", "single-file")
    );
    assert!(found.goes_on());
    assert_eq!(checkpoint(&mut store), None, "nothing is decided by looking");
    store.take_over(&found).unwrap();
    assert_eq!(store.unfinished(), None);
    let went_on = checkpoint(&mut store).unwrap();
    assert_eq!(
        (went_on.mode, went_on.tag, went_on.verdict),
        (Mode::Standalone, Tag::BeforeCommit, Verdict::Good)
    );
    assert!(went_on.header && went_on.module);
    assert_eq!(
        text(&mut store, Key::TypeInfo),
        r#"{"type":"single-file","artifact_provides":{"my.key":"1","rootfs-image.single-file.version":"m-1"},"clears_artifact_provides":["rootfs-image.single-file.*"]}"#
    );
    // The same after a restart, and settled once its record goes.
    let (mut store, notices) = open(&disk);
    assert_eq!((checkpoint(&mut store), notices, store.unfinished()), (Some(went_on), vec![], None));
    store.commit(&[Change::Delete(Key::Checkpoint)]).unwrap();
    let (store, notices) = open(&disk);
    assert_eq!((store.unfinished(), notices), (None, vec![]));
    assert_eq!(disk.bytes(LMDB).unwrap(), BY_HAND);
}

#[test]
fn r40_each_state_of_a_deployment_goes_on_or_waits_for_a_person() {
    use Verdict::{Good, RolledBack};
    for (at, expected) in [
        ("reboot", Some((Tag::Reboot, Good))),
        ("after-reboot", Some((Tag::AfterReboot, Good))),
        ("update-commit", Some((Tag::Commit, Good))),
        ("update-after-first-commit", Some((Tag::AfterCommit, Good))),
        ("update-after-commit", Some((Tag::AfterCommit, Good))),
        ("rollback-reboot", Some((Tag::RollbackReboot, RolledBack))),
        ("verify-rollback-reboot", Some((Tag::AfterRollbackReboot, RolledBack))),
        ("after-rollback-reboot", Some((Tag::AfterRollbackReboot, RolledBack))),
        ("update-fetch", None),
        ("update-store", None),
        ("update-after-store", None),
        ("update-install", None),
        ("rollback", None),
        ("update-error", None),
        ("something", None),
    ] {
        for version in [1, 2] {
            let disk = Disk::with_file(LMDB, &database(9, &[("state", &state(version, at))]));
            let (mut store, _) = open(&disk);
            let found = update(&store);
            assert_eq!((found.goes_on(), found.deployment.as_str()), (expected.is_some(), "d-1"), "{at}");
            assert!(store.unfinished().unwrap().to_string().contains(at), "{at}");
            let Some((tag, verdict)) = expected else { continue };
            store.take_over(&found).unwrap();
            let went_on = checkpoint(&mut store).unwrap();
            assert_eq!((went_on.mode, went_on.tag, went_on.verdict), (Mode::Managed, tag, verdict), "{at}");
            assert_eq!((went_on.stores, went_on.reboot), (7, RebootKind::Custom), "{at}");
            assert_eq!(went_on.deployment.as_str(), "d-1");
        }
    }
}

#[test]
fn r40_a_deployment_that_is_over_goes_on_to_its_report_with_the_outcome_on_record() {
    use Verdict::{Failed, Good, RolledBack};
    let taken_back = |at: &str| state(2, at).replace(r#""ID""#, r#""AllRollbacksSuccessful":true,"ID""#);
    for at in ["cleanup", "update-status-report", "update-retry-report"] {
        for (installed, json, verdict) in [
            ("release-2", state(2, at), Good),
            ("release-2", state(1, at), Good),
            ("old", state(2, at), Failed),
            ("release-2_INCONSISTENT", state(2, at), Failed),
            ("old", taken_back(at), RolledBack),
        ] {
            let disk = Disk::with_file(LMDB, &database(9, &[("artifact-name", installed), ("state", &json)]));
            let (mut store, _) = open(&disk);
            let found = update(&store);
            assert!(found.goes_on() && found.is_over(), "{at}");
            store.take_over(&found).unwrap();
            let went_on = checkpoint(&mut store).unwrap();
            assert_eq!((went_on.mode, went_on.tag), (Mode::Managed, Tag::Cleanup), "{at}");
            assert_eq!((went_on.verdict, went_on.stores), (verdict, 0), "{at} {installed}");
            // It was cleaned up before its report.
            let cleans = at == "cleanup";
            assert_eq!((went_on.module, went_on.header), (cleans, cleans), "{at}");
            assert_eq!(record(&mut store, Key::TypeInfo).is_some(), cleans, "{at}");
        }
    }
    // One that failed before its header was read has no handler.
    let unread = state(2, "cleanup").replace(r#"["rootfs-image"]"#, "[]");
    let disk = Disk::with_file(LMDB, &database(9, &[("state", &unread)]));
    let (mut store, _) = open(&disk);
    let found = update(&store);
    store.take_over(&found).unwrap();
    let went_on = checkpoint(&mut store).unwrap();
    assert_eq!((went_on.verdict, went_on.module, went_on.header), (Failed, false, false));
}

#[test]
fn r40_a_new_database_that_counts_from_the_start_is_another_one() {
    let disk = Disk::with_file(
        LMDB,
        &database(2, &[("artifact-name", "old"), ("state", &state(2, "update-store"))]),
    );
    let (mut store, _) = open(&disk);
    assert!(!store.take_back().unwrap());
    assert_eq!(open(&disk).0.unfinished(), None);
    // The same number, another update.
    let next = state(2, "reboot").replace("d-1", "d-2");
    disk.put(LMDB, &database(2, &[("artifact-name", "old"), ("state", &next)]));
    let (mut store, _) = open(&disk);
    assert_eq!(update(&store).deployment, "d-2");
    let found = update(&store);
    store.take_over(&found).unwrap();
    assert_eq!(open(&disk).0.unfinished(), None);
    // The same number, and no update, but another name.
    disk.put(LMDB, &database(2, &[("artifact-name", "new")]));
    let (store, notices) = open(&disk);
    assert!(
        matches!(notices.as_slice(), [Notice::Superseded, Notice::Imported { name: Some(name), .. }] if name == "new"),
        "{notices:?}"
    );
    assert_eq!(store.unfinished(), None);
    assert_eq!(open(&disk).1, []);
}

#[test]
fn r40_the_second_version_by_hand_says_where_it_stands() {
    for (at, expected, has_begun) in [
        ("Before_ArtifactInstall_Enter", None, false),
        ("ArtifactInstall_Enter", None, true),
        ("Before_ArtifactCommit_Enter", Some(Tag::BeforeCommit), true),
        ("ArtifactCommit_Enter", Some(Tag::Commit), true),
        ("Before_ArtifactCommit_Leave", Some(Tag::BeforeCommitLeave), true),
        ("ArtifactCommit_Leave", Some(Tag::AfterCommit), true),
        ("ArtifactRollback_Enter", None, true),
        ("ArtifactFailure_Enter", None, true),
        ("Cleanup", None, false),
    ] {
        let json = format!(
            r#"{{"Version":2,"ArtifactName":"n","ArtifactGroup":"g","PayloadTypes":["deb"],"ArtifactClearsProvides":[],"InState":"{at}","Failed":false,"RolledBack":false}}"#
        );
        let disk =
            Disk::with_file(LMDB, &database(3, &[("standalone-state", &json), ("artifact-name", "old")]));
        let (mut store, _) = open(&disk);
        let found = update(&store);
        assert_eq!((found.goes_on(), found.has_begun()), (expected.is_some(), has_begun), "{at}");
        let Some(tag) = expected else { continue };
        store.take_over(&found).unwrap();
        assert_eq!(checkpoint(&mut store).unwrap().tag, tag, "{at}");
        assert!(text(&mut store, Key::TypeInfo).ends_with(r#""clears_artifact_provides":[]}"#), "{at}");
        assert!(text(&mut store, Key::HeaderInfo).contains(r#""artifact_group":"g""#), "{at}");
    }
}

#[test]
fn r40_a_record_that_makes_no_sense_says_why() {
    let two = state(2, "reboot").replace(r#"["rootfs-image"]"#, r#"["a","b"]"#);
    for (key, json, why) in [
        ("state", "{".to_owned(), "is damaged"),
        ("state", "[]".into(), "is no JSON object"),
        ("state", state(3, "reboot"), "has version 3, and this client knows 1 and 2"),
        ("state", state(2, "reboot").replace("d-1", ""), "names no deployment"),
        ("state", state(2, "reboot").replace("d-1", &"d".repeat(65)), "by more than 64 bytes"),
        ("state", state(2, "reboot").replace("rootfs-image", "../x"), "no update module can have"),
        ("state", state(2, "reboot").replace("release-2", ""), "describes no artifact"),
        ("state", state(2, "reboot").replace("reboot-type-custom", "kick"), "unknown kind \"kick\""),
        ("state", two, "more than one payload"),
        ("state", r#"{"Version":2,"Name":"reboot","Name":"cleanup"}"#.into(), "has Name twice"),
        ("standalone-state", r#"{"ArtifactName":"n"}"#.into(), "has no version"),
        ("standalone-state", r#"{"Version":3}"#.into(), "has version 3"),
        ("standalone-state", r#"{"Version":1,"PayloadTypes":[]}"#.into(), "exactly one payload"),
        ("standalone-state", r#"{"Version":2,"PayloadTypes":["a"]}"#.into(), "does not say where"),
    ] {
        let disk = Disk::with_file(LMDB, &database(2, &[(key, &json)]));
        let (mut store, _) = open(&disk);
        let Some(Finding::Unreadable(said)) = store.unfinished() else {
            panic!("{json}: {:?}", store.unfinished())
        };
        assert!(said.contains(&format!("its record {key} ")) && said.contains(why), "{json}: {said}");
        // A person settles it, once.
        assert!(!store.take_back().unwrap());
        assert_eq!(open(&disk).0.unfinished(), None, "{json}");
    }
}

#[test]
fn r40_whatever_a_record_says_what_goes_on_has_records() {
    let two = r#"{"Version":2,"ArtifactName":"n","ArtifactGroup":"g","PayloadTypes":["deb"],"InState":"ArtifactCommit_Enter","Failed":true,"RolledBack":false}"#;
    let (mut go_on, mut unreadable) = (0, 0);
    for text in [state(2, "reboot"), state(1, "update-install"), two.to_owned()] {
        for at in 0..text.len() {
            for piece in ["", "\"", "0", "{", "]", ",", "null", "\u{0}", "\\u0000"] {
                let changed = format!("{}{piece}{}", &text[..at], &text[at + 1..]);
                for finding in [
                    Finding::of(None, Some(&changed), Some(&text), None),
                    Finding::of(None, Some(&text), Some(&changed), None),
                    Finding::of(None, None, None, Some(&changed)),
                ] {
                    match finding {
                        Some(Finding::Update(update)) if update.goes_on() => {
                            assert!(update.records().is_some(), "{changed}");
                            go_on += 1;
                        }
                        Some(Finding::Update(update)) => {
                            assert_eq!(
                                update.has_begun(),
                                update.records_to_take_back().is_some(),
                                "{changed}"
                            );
                        }
                        Some(Finding::Unreadable(_)) => unreadable += 1,
                        None => panic!("{changed}"),
                    }
                }
            }
        }
    }
    assert!(go_on > 1000 && unreadable > 1000, "{go_on} {unreadable}");
}

#[test]
fn r40_a_record_that_is_no_text_or_very_long_leaves_the_rest_of_the_database() {
    let long = state(2, "reboot").replace("d-1", &"d".repeat(300_000));
    for record in [&b"\xff\xfe"[..], long.as_bytes()] {
        let values = [("artifact-name", &b"old"[..]), ("state", record), ("update-control-maps", b"\xff")];
        let disk = Disk::with_file(LMDB, &lmdb_file::write(Shape::NATIVE, 2, &values).unwrap());
        let (mut store, notices) = open(&disk);
        assert!(matches!(notices.as_slice(), [Notice::Imported { name: Some(name), .. }] if name == "old"));
        assert!(matches!(store.unfinished(), Some(Finding::Unreadable(_))));
        assert!(text(&mut store, Key::Provides).contains("old"));
    }
}

#[test]
fn r40_what_was_installed_is_taken_back_and_what_was_not_is_forgotten() {
    for (at, has_begun) in [("update-install", true), ("update-store", false)] {
        let disk = Disk::with_file(LMDB, &database(2, &[("state", &state(2, at))]));
        let (mut store, _) = open(&disk);
        assert_eq!(store.take_back().unwrap(), has_begun, "{at}");
        let record = checkpoint(&mut store).map(|record| (record.mode, record.tag));
        assert_eq!(record, has_begun.then_some((Mode::Standalone, Tag::Install)), "{at}");
        assert_eq!(open(&disk).0.unfinished(), None, "{at}");
    }
}

#[test]
fn r40_an_install_replaces_it_with_its_first_record_and_not_before() {
    let disk = Disk::with_file(LMDB, &database(2, &[("state", &state(2, "update-install"))]));
    let (mut store, _) = open(&disk);
    store.replace_unfinished();
    store.commit(&[Change::Put(Key::Reason, b"of the flight")]).unwrap();
    let (mut store, _) = open(&disk);
    assert!(store.unfinished().is_some(), "the install came to nothing");
    store.replace_unfinished();
    store.commit(&[Change::Put(Key::Checkpoint, b"x")]).unwrap();
    store.commit(&[Change::Delete(Key::Checkpoint)]).unwrap();
    assert_eq!(open(&disk).0.unfinished(), None);
}

#[test]
fn r40_a_client_that_was_used_since_has_gone_on_with_its_update() {
    let disk =
        Disk::with_file(LMDB, &database(10, &[("artifact-name", "old"), ("state", &state(2, "reboot"))]));
    let (mut store, _) = open(&disk);
    let found = update(&store);
    store.take_over(&found).unwrap();
    // The boot loader went back into the image with that client, which reported the failure and has begun another one.
    let next = state(2, "reboot").replace("d-1", "d-2");
    disk.put(LMDB, &database(20, &[("artifact-name", "old"), ("state", &next)]));
    let (mut store, notices) = open(&disk);
    assert_eq!(notices, [Notice::Superseded]);
    assert_eq!((checkpoint(&mut store), update(&store).deployment.as_str()), (None, "d-2"));
    let found = update(&store);
    store.take_over(&found).unwrap();
    assert_eq!(checkpoint(&mut store).unwrap().deployment.as_str(), "d-2");
    // And it ended that one, too, with success this time.
    disk.put(LMDB, &database(30, &[("artifact-name", "release-2")]));
    let (mut store, notices) = open(&disk);
    assert!(
        matches!(notices.as_slice(), [Notice::Superseded, Notice::Imported { name: Some(name), .. }] if name == "release-2")
    );
    assert_eq!((checkpoint(&mut store), store.unfinished()), (None, None));
    assert!(text(&mut store, Key::Provides).contains("release-2"));
}

#[test]
fn r40_beside_an_update_of_ours_that_client_waits() {
    let disk = Disk::with_file(LMDB, &database(10, &[("artifact-name", "old")]));
    let (mut store, _) = open(&disk);
    store.commit(&[Change::Put(Key::Checkpoint, b"x")]).unwrap();
    disk.put(LMDB, &database(11, &[("artifact-name", "old"), ("state", &state(2, "reboot"))]));
    let (mut store, notices) = open(&disk);
    assert_eq!((notices, store.unfinished()), (vec![Notice::Beside], None));
    store.commit(&[Change::Delete(Key::Checkpoint)]).unwrap();
    assert!(open(&disk).0.unfinished().is_some(), "its turn comes");
}

#[test]
fn r40_control_maps_come_with_a_deployment_that_goes_on() {
    for (maps, taken) in [(MAPS, true), ("{\"active\":3}", false)] {
        let disk = Disk::with_file(
            LMDB,
            &database(2, &[("state", &state(2, "reboot")), ("update-control-maps", maps)]),
        );
        let (mut store, _) = open(&disk);
        let found = update(&store);
        store.take_over(&found).unwrap();
        assert_eq!(text(&mut store, Key::ControlMaps), if taken { maps } else { "" });
    }
}

#[test]
fn r40_nothing_is_taken_over_while_that_client_runs() {
    let bytes = database(2, &[("state", &state(2, "reboot")), ("artifact-name", "old")]);
    let disk = Disk::with_file(LMDB, &bytes);
    disk.use_elsewhere(true);
    let error = Store::open(disk.clone(), Access::ReadWrite).map(|_| ()).unwrap_err();
    assert!(matches!(error, StorageError::InUse) && error.to_string().contains("systemctl stop"), "{error}");
    assert_eq!(disk.names(), [LMDB]);
    // Looking is free.
    let (mut store, _) = Store::open(disk.clone(), Access::ReadOnly).unwrap();
    assert!(text(&mut store, Key::Provides).contains("old"));
    // Nor is a database set aside that is being written.
    let disk = Disk::with_file(LMDB, b"garbage");
    disk.use_elsewhere(true);
    assert!(Store::open(disk.clone(), Access::ReadWrite).is_err());
    assert_eq!(disk.names(), [LMDB]);
}

#[test]
fn r40_a_database_of_another_version_stays_where_it_is() {
    let mut bytes = database(2, &[("artifact-name", "old")]);
    for page in [0, 4096] {
        bytes[page + 20] = 2;
    }
    let disk = Disk::with_file(LMDB, &bytes);
    let (store, notices) = open(&disk);
    assert_eq!(notices, [Notice::OtherVersion { version: 2 }]);
    assert!(store.unfinished().is_none() && notices[0].to_string().contains("format 2"), "{}", notices[0]);
    assert_eq!(disk.bytes(LMDB).unwrap(), bytes);
}

/// Everything of the store that a client sees.
fn all(disk: &Disk) -> (Vec<Option<Vec<u8>>>, Option<String>) {
    let (mut store, _) = open(disk);
    let records = Key::ALL.iter().map(|&key| record(&mut store, key)).collect();
    (records, store.unfinished().map(ToString::to_string))
}

#[test]
fn d7_power_loss_at_each_write_of_a_takeover_leaves_it_there_or_here() {
    let values = [("artifact-name", "old"), ("state", &*state(2, "reboot")), ("update-control-maps", MAPS)];
    let bytes = database(2, &values);
    let take_over = |disk: &Disk| -> Result<(), StorageError> {
        let (mut store, _) = Store::open(disk.clone(), Access::ReadWrite)?;
        match store.unfinished().cloned() {
            Some(Finding::Update(found)) => store.take_over(&found),
            other => panic!("{other:?}"),
        }
    };
    let there = Disk::with_file(LMDB, &bytes);
    let here = Disk::with_file(LMDB, &bytes);
    take_over(&here).unwrap();
    let (there, here) = (all(&there), all(&here));
    assert_ne!(there, here);
    let (mut before, mut after) = (0, 0);
    for calls in 0.. {
        let mut is_over = false;
        for part in [0, 10, 100, usize::MAX] {
            let disk = Disk::with_file(LMDB, &bytes);
            disk.limit(calls, End::Power(part));
            is_over = take_over(&disk).is_ok();
            for bits in 0..64_u64 {
                let sectors = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7);
                for (length, names) in [(false, false), (false, true), (true, false), (true, true)] {
                    let disk = disk.after_power_loss(Survival { sectors, length, names });
                    assert_eq!(disk.bytes(LMDB).unwrap(), bytes, "the database stays");
                    let found = all(&disk);
                    assert!(found == there || found == here, "{calls} {part}");
                    if found == here {
                        after += 1
                    } else {
                        before += 1
                    }
                    if found == there {
                        take_over(&disk).unwrap();
                        assert_eq!(all(&disk), here, "it can be done again");
                    }
                }
            }
        }
        if is_over {
            break;
        }
    }
    assert!(before > 0 && after > 0, "{before} {after}");
}

fn installed() -> Disk {
    let disk = Disk::with_file(
        LMDB,
        &database(
            5,
            &[
                ("artifact-name", "old"),
                ("state", &state(2, "update-store")),
                ("authtoken", "t"),
                ("update-control-maps", MAPS),
            ],
        ),
    );
    let (mut store, _) = open(&disk);
    assert!(!store.take_back().unwrap());
    let provides = br#"{"artifact_name":"ours","a":"1","artifact_group":"g","b":"\"2\""}"#;
    store.commit(&[Change::Put(Key::Provides, provides)]).unwrap();
    disk
}

fn value(disk: &Disk, key: &str) -> Option<String> {
    let super::Found::File(mut file) = super::Directory::open(disk, LMDB, Access::ReadOnly).unwrap() else {
        panic!("no database")
    };
    let mut database = Database::open(&mut file).unwrap().unwrap();
    database.read(key.as_bytes(), RECORD_MAX).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn the_way_back_has_what_is_installed_and_nothing_unfinished() {
    let disk = installed();
    let (mut store, _) = open(&disk);
    let exported = store.export().unwrap();
    assert_eq!((exported.name.as_deref(), exported.provides), (Some("ours"), 2));
    assert_eq!(value(&disk, "artifact-name").as_deref(), Some("ours"));
    assert_eq!(value(&disk, "artifact-group").as_deref(), Some("g"));
    assert_eq!(value(&disk, "artifact-provides").as_deref(), Some(r#"{"a":"1","b":"\"2\""}"#));
    for gone in ["state", "state-uncommitted", "standalone-state", "update-control-maps", "authtoken"] {
        assert_eq!(value(&disk, gone), None, "{gone}");
    }
    let (store, notices) = open(&disk);
    assert_eq!((notices, store.unfinished()), (vec![], None), "it is no news");
    // That client was used: its newer name counts.
    disk.put(LMDB, &database(7, &[("artifact-name", "theirs")]));
    let (mut store, notices) = open(&disk);
    assert!(matches!(notices.as_slice(), [Notice::Imported { name: Some(name), .. }] if name == "theirs"));
    assert_eq!(text(&mut store, Key::Provides), r#"{"artifact_name":"theirs"}"#);
}

#[test]
fn the_way_back_of_a_device_that_has_no_name_leaves_the_name_to_its_image() {
    let disk = Disk::default();
    let (store, _) = open(&disk);
    let mut store = store.named("of the image".to_owned());
    let exported = store.export().unwrap();
    assert_eq!((exported.name, exported.provides), (None, 0));
    assert_eq!(value(&disk, "artifact-name"), None);
    assert_eq!(open(&disk).1, []);
}

#[test]
fn the_way_back_is_closed_while_something_is_not_over() {
    type Closed = fn(&ExportError) -> bool;
    let cases: [(&[Change<'_>], Closed); 2] = [
        (&[Change::Put(Key::Checkpoint, b"x")], |error| matches!(error, ExportError::InProgress)),
        (&[Change::Put(Key::Report, b"x")], |error| matches!(error, ExportError::ReportOwed)),
    ];
    for (batch, is_expected) in cases {
        let disk = installed();
        let before = disk.bytes(LMDB);
        let (mut store, _) = open(&disk);
        store.commit(batch).unwrap();
        let error = store.export().unwrap_err();
        assert!(is_expected(&error), "{error}");
        assert_eq!(disk.bytes(LMDB), before);
    }
    let disk = Disk::with_file(LMDB, BY_HAND);
    let error = open(&disk).0.export().unwrap_err();
    assert!(matches!(&error, ExportError::Unfinished(_)), "{error}");
    for words in ["\"m-1\"", "finish it first, with 'commit' or 'rollback'"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    for (at, words) in
        [("reboot", "let the daemon finish it"), ("update-install", "settle it first, with 'rollback'")]
    {
        let disk = Disk::with_file(LMDB, &database(2, &[("state", &state(2, at))]));
        let error = open(&disk).0.export().unwrap_err();
        assert!(error.to_string().contains(words), "{at}: {error}");
    }
    assert_eq!(disk.bytes(LMDB).unwrap(), BY_HAND);
    let disk = installed();
    let (mut store, _) = open(&disk);
    disk.use_elsewhere(true);
    assert!(matches!(store.export().unwrap_err(), ExportError::Storage(StorageError::InUse)));
    disk.use_elsewhere(false);
    disk.put(LMDB, b"garbage");
    assert!(matches!(store.export().unwrap_err(), ExportError::NoDatabase));
    assert_eq!(disk.bytes(LMDB).unwrap(), b"garbage");
}

#[test]
fn d7_power_loss_or_a_full_disk_at_each_write_of_the_way_back_leaves_the_old_database_or_the_new_one() {
    let old = installed().bytes(LMDB).unwrap();
    let done = installed();
    open(&done).0.export().unwrap();
    let new = done.bytes(LMDB).unwrap();
    let records = all(&done).0;
    let mut not_noted = 0;
    for end in [
        End::Power(0),
        End::Power(100),
        End::Power(usize::MAX),
        End::Fail { short: 0, calls: 1 },
        End::Fail { short: 9, calls: 3 },
    ] {
        for calls in 0.. {
            let disk = installed();
            let (mut store, _) = open(&disk);
            disk.limit(calls, end);
            let result = store.export();
            if matches!(end, End::Fail { .. }) {
                disk.repair();
                if let Err(error) = &result {
                    let is_new = disk.bytes(LMDB).unwrap() == new;
                    assert_eq!(is_new, matches!(error, ExportError::NotNoted(_)), "{calls}: {error}");
                    not_noted += usize::from(is_new);
                }
            }
            let is_over = result.is_ok();
            for (sectors, length, names) in [
                (0, false, false),
                (0, true, true),
                (0x5555, true, true),
                (u64::MAX, true, false),
                (u64::MAX, true, true),
            ] {
                let disk = disk.after_power_loss(Survival { sectors, length, names });
                let found = disk.bytes(LMDB).unwrap();
                assert!(found == old || found == new, "{end:?} {calls}");
                let (store, mut notices) = open(&disk);
                notices.retain(|notice| *notice != Notice::CutOff);
                assert_eq!((notices, store.unfinished()), (vec![], None), "{end:?} {calls}: neither is news");
                assert_eq!(all(&disk).0, records);
                open(&disk).0.export().unwrap();
                assert_eq!(value(&disk, "artifact-name").as_deref(), Some("ours"));
                assert!(!disk.names().iter().any(|name| name == TEMPORARY || name == "mender-store-export"));
            }
            if is_over {
                break;
            }
        }
    }
    assert!(not_noted > 0);
}

#[test]
fn values_of_every_length_are_read_back_from_either_meta_page() {
    for shape in [
        Shape { word: 8, page_size: 4096, map_size: 0 },
        Shape { word: 4, page_size: 4096, map_size: 0 },
        Shape { word: 8, page_size: 65536, map_size: 1 << 30 },
        Shape { word: 8, page_size: 16384, map_size: 0 },
    ] {
        for length in [0, 1, 2, 1999, 2013, 2014, 2015, 2016, 2017, 4064, 4080, 4081, 60_000, 200_000] {
            let long = "v".repeat(length);
            let bytes =
                lmdb_file::write(shape, 7, &[("b", b"short"), ("a", long.as_bytes()), ("c", b"")]).unwrap();
            assert_eq!(bytes.len() % shape.page_size, 0);
            for broken in [None, Some(0), Some(1)] {
                let mut bytes = bytes.clone();
                if let Some(page) = broken {
                    // A torn meta page: its number is that of the state before.
                    let at = page * shape.page_size
                        + shape.word
                        + 8
                        + 8
                        + 2 * shape.word
                        + 2 * (8 + 5 * shape.word)
                        + shape.word;
                    bytes[at..at + 4].copy_from_slice(&3_u32.to_le_bytes());
                }
                let disk = Disk::with_file(LMDB, &bytes);
                assert_eq!(value(&disk, "a").as_deref(), Some(long.as_str()));
                assert_eq!(value(&disk, "b").as_deref(), Some("short"));
                assert_eq!(value(&disk, "c").as_deref(), Some(""));
                assert_eq!(value(&disk, "d"), None);
            }
        }
    }
    let many: Vec<_> = (0..9).map(|n| (format!("{n}"), "v".repeat(1000))).collect();
    let many: Vec<_> = many.iter().map(|(key, value)| (key.as_str(), value.as_bytes())).collect();
    assert!(lmdb_file::write(Shape::NATIVE, 1, &many).is_err());
}
