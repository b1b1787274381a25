use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use thimble_core::hal::{Change, Error as _, Key, Kind, Level, Storage};

use super::directory::{Access, DataDirectory, Directory};
use super::sim::{Disk, End, SECTOR, Survival};
use super::{LMDB, NAME, Notice, RECORD_MAX, StorageError, Store, TEMPORARY};

/// All records, as a reader sees them.
type View = Vec<Option<Vec<u8>>>;

fn open<D: Directory>(directory: D) -> (Store<D>, Vec<Notice>) {
    Store::open(directory, Access::ReadWrite).unwrap()
}

fn view<D: Directory>(store: &mut Store<D>) -> View {
    let mut buf = vec![0; RECORD_MAX];
    Key::ALL.iter().map(|&key| store.read(key, &mut buf).unwrap().map(<[u8]>::to_vec)).collect()
}

fn view_of(disk: &Disk) -> View {
    view(&mut open(disk.clone()).0)
}

const BATCHES: [&[Change<'static>]; 4] = [
    &[Change::Put(Key::Checkpoint, b"first checkpoint"), Change::Put(Key::Provides, b"{}")],
    &[
        Change::Put(Key::Checkpoint, b"second"),
        Change::Put(Key::HeaderInfo, b"a longer record, over sectors"),
    ],
    &[Change::Delete(Key::Checkpoint), Change::Put(Key::Provides, b"{\"artifact_name\":\"n\"}")],
    &[Change::Put(Key::Offer, b"http://example.com/"), Change::Delete(Key::HeaderInfo)],
];

#[test]
fn a_commit_is_one_write_and_one_flush_and_is_there_after_a_restart() {
    let disk = Disk::default();
    let (mut store, notices) = open(disk.clone());
    assert_eq!((notices, disk.names()), (vec![], vec![]), "opening writes nothing");
    store.commit(BATCHES[0]).unwrap();
    assert_eq!(disk.counts(), (1, 2), "the first commit also makes the name durable");
    store.commit(BATCHES[1]).unwrap();
    assert_eq!(disk.counts(), (2, 3));
    let before = view(&mut store);
    assert_eq!(before[0].as_deref(), Some(&b"second"[..]));
    assert_eq!(before[1].as_deref(), Some(&b"{}"[..]));
    assert_eq!(view_of(&disk), before);
    assert_eq!(disk.names(), [NAME]);
}

#[test]
fn d9_a_batch_that_changes_nothing_writes_nothing() {
    let disk = Disk::default();
    let (mut store, _) = open(disk.clone());
    store.commit(&[Change::Delete(Key::Offer)]).unwrap();
    assert_eq!(disk.counts(), (0, 0));
    store.commit(BATCHES[0]).unwrap();
    let counts = disk.counts();
    store.commit(BATCHES[0]).unwrap();
    store.commit(&[Change::Put(Key::Offer, b"x"), Change::Delete(Key::Offer)]).unwrap();
    assert_eq!(disk.counts(), counts);
}

#[test]
fn the_last_of_several_changes_to_one_key_wins() {
    let (mut store, _) = open(Disk::default());
    store.commit(&[Change::Put(Key::Offer, b"x"), Change::Put(Key::Offer, b"y")]).unwrap();
    assert_eq!(store.read(Key::Offer, &mut [0; 8]).unwrap(), Some(&b"y"[..]));
    store.commit(&[Change::Delete(Key::Offer), Change::Put(Key::Offer, b"")]).unwrap();
    assert_eq!(store.read(Key::Offer, &mut [0; 8]).unwrap(), Some(&b""[..]));
}

#[test]
fn i14_an_empty_provides_record_is_stored_and_differs_from_none() {
    let disk = Disk::default();
    let (mut store, _) = open(disk.clone());
    store.commit(&[Change::Put(Key::Provides, b"{\"a\":\"b\"}")]).unwrap();
    store.commit(&[Change::Put(Key::Provides, b"{}")]).unwrap();
    assert_eq!(view_of(&disk)[1].as_deref(), Some(&b"{}"[..]));
    store.commit(&[Change::Put(Key::Provides, b"")]).unwrap();
    assert_eq!(view_of(&disk)[1].as_deref(), Some(&b""[..]));
}

#[test]
fn limits_are_typed_errors_and_change_nothing() {
    let disk = Disk::default();
    let (mut store, _) = open(disk.clone());
    let long = vec![7; RECORD_MAX + 1];
    let error = store.commit(&[Change::Put(Key::Offer, &long)]).unwrap_err();
    assert!(matches!(error, StorageError::TooLong { limit: RECORD_MAX }));
    assert_eq!(error.kind(), Kind::TooLarge);
    let most = &long[..RECORD_MAX];
    for key in &Key::ALL[..4] {
        store.commit(&[Change::Put(*key, most)]).unwrap();
    }
    let error = store.commit(&[Change::Put(Key::ALL[4], b"x")]).unwrap_err();
    assert!(matches!(error, StorageError::Full), "{error}");
    assert_eq!(view(&mut store)[4], None);
    let error = store.read(Key::ALL[0], &mut [0; 10]).unwrap_err();
    assert!(matches!(error, StorageError::TooLong { limit: 10 }));
    assert_eq!(view_of(&disk), view(&mut store));
}

/// Runs `batches` until the power goes, and says what the records were before and after the last one.
fn run_until_power_loss(disk: &Disk, batches: &[&[Change<'_>]]) -> Option<(View, View)> {
    let Ok((mut store, _)) = Store::open(disk.clone(), Access::ReadWrite) else {
        panic!("opening changes nothing and so cannot meet the power loss")
    };
    for batch in batches {
        let before = view(&mut store);
        let mut after = before.clone();
        for change in *batch {
            match *change {
                Change::Put(key, bytes) => after[key as usize] = Some(bytes.to_vec()),
                Change::Delete(key) => after[key as usize] = None,
            }
        }
        let done = store.commit(batch);
        if disk.is_off() {
            assert!(done.is_err());
            assert_eq!(view(&mut store), before, "a failed commit is not seen");
            return Some((before, after));
        }
        done.unwrap();
    }
    None
}

/// Every way in which the unflushed part of a small commit can survive.
fn survivals(all_sectors: bool) -> impl Iterator<Item = Survival> {
    // Some mixtures, always with nothing and everything; or every mixture of the eight sectors around the end.
    let masks: Vec<u64> = if all_sectors {
        (0..256).map(|bits: u64| bits.wrapping_mul(0x0101_0101_0101_0101)).collect()
    } else {
        vec![0, u64::MAX, 0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa, 0x3333_3333_3333_3333]
    };
    masks.into_iter().flat_map(|sectors| {
        [(false, false), (false, true), (true, false), (true, true)].map(|(length, names)| Survival {
            sectors,
            length,
            names,
        })
    })
}

#[test]
fn d7_power_loss_at_every_byte_of_every_write_leaves_old_or_new() {
    let mut cuts = 0;
    for calls in 0.. {
        for part in 0..200 {
            let disk = Disk::default();
            disk.limit(calls, End::Power(part));
            let Some((before, after)) = run_until_power_loss(&disk, &BATCHES) else {
                assert!(cuts > 1000, "{cuts} cuts");
                return;
            };
            for survival in survivals(false) {
                let found = view_of(&disk.after_power_loss(survival));
                assert!(
                    found == before || found == after,
                    "call {calls} byte {part} {survival:?}: {found:?}"
                );
                cuts += 1;
            }
        }
    }
}

#[test]
fn d7_any_mixture_of_sectors_of_a_torn_write_leaves_old_or_new() {
    for calls in 0.. {
        let disk = Disk::default();
        disk.limit(calls, End::Power(usize::MAX));
        let Some((before, after)) = run_until_power_loss(&disk, &BATCHES) else { return };
        for survival in survivals(true) {
            let (mut store, notices) = open(disk.after_power_loss(survival));
            let found = view(&mut store);
            assert!(found == before || found == after, "call {calls} {survival:?}: {found:?}");
            assert!(!notices.iter().any(|n| matches!(n, Notice::Broken { .. })), "{notices:?}");
        }
    }
}

#[test]
fn d7_two_power_losses_in_a_row_leave_old_or_new() {
    let rest = &BATCHES[2..];
    for (calls, part) in (0..8).flat_map(|calls| [0, 20, 30, usize::MAX].map(|part| (calls, part))) {
        let first = Disk::default();
        first.limit(calls, End::Power(part));
        let Some((before, after)) = run_until_power_loss(&first, &BATCHES) else { continue };
        for survival in survivals(false).step_by(3) {
            let once = first.after_power_loss(survival);
            let found = view_of(&once);
            assert!(found == before || found == after);
            for (calls, part) in (0..8).flat_map(|calls| (0..90).step_by(8).map(move |part| (calls, part))) {
                let second = once.after_power_loss(survival);
                second.limit(calls, End::Power(part));
                let Some((before, after)) = run_until_power_loss(&second, rest) else { break };
                for survival in survivals(false).step_by(3) {
                    let found = view_of(&second.after_power_loss(survival));
                    assert!(found == before || found == after, "{calls} {part} {survival:?}: {found:?}");
                }
            }
        }
    }
}

#[test]
fn a_failed_commit_leaves_the_old_records_here_and_on_disk() {
    for calls in 0..6 {
        for short in [0, 1, SECTOR, 40] {
            let disk = Disk::default();
            let (mut store, _) = open(disk.clone());
            store.commit(BATCHES[0]).unwrap();
            let old = view(&mut store);
            disk.limit(calls, End::Fail { short, calls: 1 });
            if store.commit(BATCHES[1]).is_ok() {
                continue;
            }
            assert_eq!(view(&mut store), old);
            for survival in survivals(false) {
                assert_eq!(view_of(&disk.after_power_loss(survival)), old, "{calls} {short} {survival:?}");
            }
            disk.repair();
            store.commit(BATCHES[1]).expect("the next commit works again");
            assert_eq!(view_of(&disk), view(&mut store));
        }
    }
}

#[test]
fn a_failed_first_commit_leaves_no_record_and_the_next_one_works() {
    for calls in 0..5 {
        let disk = Disk::default();
        let (mut store, _) = open(disk.clone());
        disk.limit(calls, End::Fail { short: 0, calls: 1 });
        assert!(store.commit(BATCHES[0]).is_err(), "call {calls}");
        assert_eq!(view(&mut store), vec![None; Key::ALL.len()]);
        assert_eq!(disk.names(), [""; 0], "nothing is left behind");
        store.commit(BATCHES[0]).unwrap();
        assert_eq!(view_of(&disk), view(&mut store));
    }
}

#[test]
fn i13_a_full_disk_is_reported_as_such_after_a_short_write() {
    let disk = Disk::default();
    let (mut store, _) = open(disk.clone());
    store.commit(BATCHES[0]).unwrap();
    disk.limit(0, End::Fail { short: 5, calls: 1 });
    let error = store.commit(BATCHES[1]).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSpace, "{error}");
}

#[test]
fn a_commit_that_cannot_be_taken_back_ends_all_commits_until_a_restart() {
    let disk = Disk::default();
    let (mut store, _) = open(disk.clone());
    store.commit(BATCHES[0]).unwrap();
    let old = view(&mut store);
    disk.limit(0, End::Fail { short: 9, calls: 2 });
    assert!(store.commit(BATCHES[1]).is_err());
    assert!(matches!(store.commit(BATCHES[1]), Err(StorageError::Lost)));
    assert_eq!(view(&mut store), old);
    let (mut store, notices) = open(disk.clone());
    assert_eq!(notices, [Notice::CutOff]);
    assert_eq!(view(&mut store), old);
    store.commit(BATCHES[1]).unwrap();
    assert_eq!(open(disk).1, [], "the cut-off end is gone");
}

#[test]
fn a_grown_file_is_rewritten_small_and_power_loss_inside_keeps_the_records() {
    let big = |n: u8| vec![n; 60_000];
    let grown = || {
        let disk = Disk::default();
        let (mut store, _) = open(disk.clone());
        for n in 0..5 {
            store.commit(&[Change::Put(Key::TypeInfo, &big(n))]).unwrap();
        }
        assert!(disk.bytes(NAME).unwrap().len() > 256 * 1024);
        disk
    };
    let disk = grown();
    let (mut store, _) = open(disk.clone());
    store.commit(&[Change::Put(Key::Offer, b"x")]).unwrap();
    assert!(disk.bytes(NAME).unwrap().len() < 61_000);
    assert_eq!(disk.names(), [NAME]);
    assert_eq!(view_of(&disk), view(&mut store));

    for calls in 0..8 {
        for part in [0, 1, 1000, usize::MAX] {
            let disk = grown();
            disk.limit(calls, End::Power(part));
            let lost = run_until_power_loss(&disk, &[&[Change::Put(Key::Offer, b"x")]]);
            let Some((before, after)) = lost else { continue };
            for survival in survivals(false) {
                let found = view_of(&disk.after_power_loss(survival));
                assert!(found == before || found == after, "call {calls} part {part} {survival:?}");
            }
        }
    }
    // A rewrite that fails (a full disk, say) does not stop the commit if appending works.
    let disk = grown();
    let (mut store, _) = open(disk.clone());
    disk.limit(1, End::Fail { short: 0, calls: 1 });
    store.commit(&[Change::Put(Key::Offer, b"x")]).unwrap();
    assert_eq!(view_of(&disk), view(&mut store));
}

fn stored() -> Vec<u8> {
    let disk = Disk::default();
    let (mut store, _) = open(disk.clone());
    BATCHES.iter().for_each(|batch| store.commit(batch).unwrap());
    disk.bytes(NAME).unwrap()
}

#[test]
fn d7_every_prefix_of_a_store_is_read_as_an_earlier_state_or_set_aside() {
    let whole = stored();
    let mut states = vec![vec![None; Key::ALL.len()]];
    let (mut store, _) = open(Disk::default());
    for batch in BATCHES {
        store.commit(batch).unwrap();
        states.push(view(&mut store));
    }
    let mut newest = 0;
    for length in 0..=whole.len() {
        let (mut store, notices) = open(Disk::with_file(NAME, &whole[..length]));
        let at = states.iter().position(|state| *state == view(&mut store)).expect("an earlier state");
        assert!(at >= newest, "more bytes never give less");
        newest = at;
        let broken = notices.iter().any(|n| matches!(n, Notice::Broken { .. }));
        assert_eq!(broken, length < 24, "{length}: {notices:?}");
    }
    assert_eq!(newest, BATCHES.len());
}

#[test]
fn d1_one_flipped_bit_is_never_a_wrong_record() {
    let whole = stored();
    let all: Vec<View> = (0..=BATCHES.len())
        .map(|n| {
            let (mut store, _) = open(Disk::default());
            BATCHES[..n].iter().for_each(|batch| store.commit(batch).unwrap());
            view(&mut store)
        })
        .collect();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let disk = Disk::with_file(NAME, &bytes);
        let Ok((mut store, notices)) = Store::open(disk.clone(), Access::ReadWrite) else {
            panic!("a flipped bit stopped the client")
        };
        match notices.as_slice() {
            // The last record may be a write that power loss cut off: nobody can tell.
            [Notice::CutOff] => assert_eq!(view(&mut store), all[BATCHES.len() - 1]),
            [Notice::Broken { aside: Some(aside), .. }] => {
                assert_eq!(view(&mut store), all[0]);
                assert_eq!(disk.bytes(aside).unwrap(), bytes, "kept for study");
                store.commit(BATCHES[0]).unwrap();
                assert_eq!(view_of(&disk), all[1]);
            }
            other => panic!("bit {bit}: {other:?}"),
        }
    }
}

#[test]
fn d1_garbage_is_set_aside_and_only_a_few_are_kept() {
    let disk = Disk::default();
    for round in 0..7u8 {
        disk.put(NAME, &[round; 300]);
        let (mut store, notices) = open(disk.clone());
        let [Notice::Broken { aside: Some(_), .. }] = notices.as_slice() else { panic!("{notices:?}") };
        assert_eq!(notices[0].level(), Level::Error);
        assert_eq!(view(&mut store), vec![None; Key::ALL.len()]);
    }
    let broken =
        |n: u8| disk.bytes(&if n == 0 { super::BROKEN.into() } else { format!("{}.{n}", super::BROKEN) });
    assert_eq!(broken(0).unwrap(), [0; 300], "the first is kept");
    assert_eq!(broken(2).unwrap(), [2; 300]);
    assert_eq!(broken(3).unwrap(), [6; 300], "the last name is used again");
    assert_eq!(disk.names().len(), 4);
}

#[test]
fn a_record_inside_a_record_is_not_taken_for_one() {
    let inner = stored();
    let disk = Disk::default();
    // The salt of the inner file is that of another file.
    disk.salt();
    let (mut store, _) = open(disk.clone());
    store.commit(BATCHES[0]).unwrap();
    let old = view(&mut store);
    disk.limit(0, End::Power(usize::MAX));
    assert!(store.commit(&[Change::Put(Key::HeaderInfo, &inner)]).is_err());
    // Only the head of the outer record is torn off.
    let mut bytes = disk.bytes(NAME).unwrap();
    let at = bytes.windows(4).rposition(|w| w == b"thim").unwrap() - 30;
    bytes[at + 2] ^= 1;
    let (mut store, notices) = open(Disk::with_file(NAME, &bytes));
    assert_eq!(notices, [Notice::CutOff]);
    assert_eq!(view(&mut store), old);
}

#[test]
fn a_newer_format_is_left_untouched() {
    let mut bytes = stored();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    let disk = Disk::with_file(NAME, &bytes);
    let (mut store, notices) = open(disk.clone());
    assert_eq!(notices, []);
    let read = store.read(Key::Provides, &mut [0; 64]).unwrap_err();
    let written = store.commit(&[Change::Put(Key::Provides, b"{}")]).unwrap_err();
    let deleted = store.commit(&[Change::Delete(Key::Checkpoint)]).unwrap_err();
    for error in [read, written, deleted] {
        assert!(matches!(error, StorageError::Newer { format: 2 }));
        assert_eq!(error.kind(), Kind::Newer);
        assert!(error.to_string().contains("newer client"), "{error}");
    }
    assert_eq!((disk.bytes(NAME), disk.names().len()), (Some(bytes), 1));
}

#[test]
fn records_of_a_newer_client_are_kept() {
    let salt = 5;
    let mut bytes = super::record::file_header(salt).to_vec();
    let edits = [(200, Some(&b"unknown"[..])), (1, Some(&b"{}"[..]))].into();
    bytes.extend(super::record::encode(salt, 1, &edits));
    let disk = Disk::with_file(NAME, &bytes);
    let (mut store, _) = open(disk.clone());
    for n in 0..6 {
        store.commit(&[Change::Put(Key::TypeInfo, &vec![n; 60_000])]).unwrap();
    }
    let bytes = disk.bytes(NAME).unwrap();
    assert!(bytes.len() < 200_000, "it was rewritten");
    assert!(bytes.windows(7).any(|w| w == b"unknown"));
}

#[test]
fn reading_only_changes_nothing() {
    let disk = Disk::with_file(NAME, b"garbage");
    disk.limit(0, End::Power(0));
    let (mut store, notices) = Store::open(disk.clone(), Access::ReadOnly).unwrap();
    assert!(matches!(notices.as_slice(), [Notice::Broken { aside: None, .. }]));
    assert_eq!(store.read(Key::Provides, &mut []).unwrap(), None);
    assert!(matches!(store.commit(BATCHES[0]), Err(StorageError::ReadOnly)));
    assert!(!disk.is_off() && disk.names() == [NAME]);
}

#[test]
fn a_reader_beside_a_writer_sees_neither_damage_nor_a_loss_of_power() {
    let whole = stored();
    let expected = view_of(&Disk::with_file(NAME, &whole));
    // Half of the last record, as a reader may find it.
    let disk = Disk::with_file(NAME, &whole[..whole.len() - 5]);
    assert_eq!(Store::open(disk, Access::ReadOnly).unwrap().1, []);
    // A record that was half there when it was read, with good ones behind it when the rest was.
    let mut racing = whole.clone();
    racing[60] ^= 1;
    let disk = Disk::with_file(NAME, &racing);
    disk.write_after_open(whole);
    let (mut store, notices) = Store::open(disk, Access::ReadOnly).unwrap();
    assert_eq!((notices, view(&mut store)), (vec![], expected));
}

const SMALL: &[u8] = include_bytes!("fixtures/mender-3.4-small");
const OVERFLOW: &[u8] = include_bytes!("fixtures/mender-3.4-overflow");

#[test]
fn a_database_of_menders_client_is_taken_over_and_kept() {
    let disk = Disk::with_file(LMDB, SMALL);
    let (mut store, notices) = open(disk.clone());
    let [Notice::Imported { name: Some(name), trouble: None }] = notices.as_slice() else {
        panic!("{notices:?}")
    };
    assert_eq!(name.as_str(), "release-1");
    let provides = String::from_utf8(view(&mut store)[1].clone().unwrap()).unwrap();
    assert_eq!(
        provides,
        r#"{"artifact_name":"release-1","artifact_group":"grp","quote":"a\"b\\c é","rootfs-image.noop.version":"release-1","rootfs-image.version":"1.0"}"#
    );
    let (mut store, notices) = open(disk.clone());
    assert_eq!(notices, [], "only once");
    assert_eq!(view(&mut store)[1].as_deref(), Some(provides.as_bytes()));
    store.commit(BATCHES[0]).unwrap();
    assert_eq!(view_of(&disk), view(&mut store));
    assert_eq!(disk.bytes(LMDB).unwrap(), SMALL, "for Mender's client, should it come back");
}

#[test]
fn a_broken_store_is_not_replaced_by_an_older_database() {
    let disk = Disk::with_file(LMDB, SMALL);
    disk.put(NAME, b"garbage");
    let (mut store, notices) = open(disk.clone());
    assert!(matches!(notices.as_slice(), [Notice::Broken { aside: Some(_), .. }]));
    assert_eq!(view(&mut store)[1], None);
    let (mut again, notices) = open(disk);
    assert_eq!((notices, view(&mut again)[1].clone()), (vec![], None));
}

#[test]
fn d1_garbage_in_the_place_of_menders_database_is_set_aside_too() {
    let disk = Disk::with_file(LMDB, b"garbage");
    let (_, notices) = open(disk.clone());
    assert!(matches!(notices.as_slice(), [Notice::Broken { aside: Some(_), .. }]));
    assert_eq!(disk.names(), [super::BROKEN]);
}

#[test]
fn long_provides_in_overflow_pages_are_read() {
    let (mut store, _) = open(Disk::with_file(LMDB, OVERFLOW));
    let provides = String::from_utf8(view(&mut store)[1].clone().unwrap()).unwrap();
    assert!(provides.len() > 8000);
    assert!(provides.contains(r#""data-partition.k119":"value 119 xxx"#));
    assert!(provides.starts_with(r#"{"artifact_name":"release-1","#));
}

#[test]
fn power_loss_while_taking_over_leaves_the_database_or_the_store() {
    let expected = view_of(&Disk::with_file(LMDB, SMALL));
    for calls in 0..10 {
        for part in [0, 10, usize::MAX] {
            let disk = Disk::with_file(LMDB, SMALL);
            disk.limit(calls, End::Power(part));
            let _ = Store::open(disk.clone(), Access::ReadWrite);
            for survival in survivals(false) {
                assert_eq!(
                    view_of(&disk.after_power_loss(survival)),
                    expected,
                    "{calls} {part} {survival:?}"
                );
            }
        }
    }
}

#[test]
fn d1_a_damaged_database_of_menders_client_never_panics() {
    for fixture in [SMALL, OVERFLOW] {
        for at in (0..fixture.len()).filter(|at| at % 4096 < 256 || at % 7 == 0) {
            for value in [0, 0xff, fixture[at] ^ 1, fixture[at] ^ 0x80] {
                let mut bytes = fixture.to_vec();
                bytes[at] = value;
                let disk = Disk::with_file(LMDB, &bytes);
                let (mut store, _) = open(disk);
                view(&mut store);
            }
        }
        for length in (0..fixture.len()).step_by(97) {
            open(Disk::with_file(LMDB, &fixture[..length]));
        }
    }
}

fn real() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("a/mender");
    (home, path)
}

#[test]
fn d5_the_directory_and_the_store_are_for_their_owner_only() {
    let (_home, path) = real();
    let (mut store, _) = open(DataDirectory::open_or_create(&path).unwrap());
    store.commit(BATCHES[0]).unwrap();
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(path.join(NAME).metadata().unwrap().mode() & 0o777, 0o600);
    std::fs::set_permissions(path.join(NAME), std::fs::Permissions::from_mode(0o666)).unwrap();
    let (mut again, notices) = open(DataDirectory::open_or_create(&path).unwrap());
    assert_eq!((notices, view(&mut again)), (vec![], view(&mut store)));
    assert_eq!(path.join(NAME).metadata().unwrap().mode() & 0o777, 0o600);
}

#[test]
fn d5_a_directory_that_others_may_use_is_told_of_and_stays_as_it_is() {
    let (_home, path) = real();
    let told = || DataDirectory::open_or_create(&path).unwrap().weakness(&path).unwrap();
    assert_eq!(told(), None);
    for (mode, level) in
        [(0o777, Level::Warning), (0o1777, Level::Warning), (0o720, Level::Warning), (0o755, Level::Info)]
    {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (found, text) = told().unwrap();
        assert_eq!(found, level, "{text}");
        let mend = format!("chmod 0700 {}", path.display());
        assert!(text.contains(&format!("{mode:04o}")) && text.contains(&mend), "{text}");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, mode);
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(1234), None).unwrap();
        let (level, text) = told().unwrap();
        assert_eq!(level, Level::Warning);
        assert!(text.contains("user 1234") && text.contains("chown 0 "), "{text}");
    }
}

#[test]
fn d6_planted_links_are_not_followed() {
    let (home, path) = real();
    let victim = home.path().join("victim");
    std::fs::write(&victim, "keep me").unwrap();
    let directory = || DataDirectory::open_or_create(&path).unwrap();
    directory();
    for name in [TEMPORARY, NAME, super::BROKEN] {
        symlink(&victim, path.join(name)).unwrap();
    }
    let (mut store, notices) = open(directory());
    let [Notice::Broken { aside: Some(aside), .. }] = notices.as_slice() else { panic!("{notices:?}") };
    assert_eq!(aside, "mender-store-broken.1", "the planted link was not replaced");
    store.commit(BATCHES[0]).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "keep me");
    assert!(path.join(NAME).symlink_metadata().unwrap().is_file());
    assert_eq!(view(&mut open(directory()).0), view(&mut store));
}

#[test]
fn records_behind_a_link_that_leads_nowhere_are_not_taken_for_damaged() {
    for name in [NAME, LMDB] {
        let (home, path) = real();
        let directory = || DataDirectory::open_or_create(&path).unwrap();
        directory();
        symlink(home.path().join("not mounted"), path.join(name)).unwrap();
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let error = Store::open(directory(), access).map(|_| ()).unwrap_err().to_string();
            let why = "it is a link to what is not there; is its file system mounted?";
            assert!(error.contains(name) && error.ends_with(why), "{error}");
        }
        let names: Vec<_> =
            std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [name], "nothing was set aside, and nothing was begun");
    }
}

#[test]
fn d6_a_datastore_path_that_is_a_link_is_followed() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("data")).unwrap();
    symlink("data", home.path().join("mender")).unwrap();
    let (mut store, _) = open(DataDirectory::open_or_create(&home.path().join("mender")).unwrap());
    store.commit(BATCHES[0]).unwrap();
    assert!(home.path().join("data").join(NAME).is_file());
}

#[test]
fn a_real_file_is_rewritten_and_taken_over_too() {
    let (_home, path) = real();
    let directory = || DataDirectory::open_or_create(&path).unwrap();
    directory();
    std::fs::write(path.join(LMDB), OVERFLOW).unwrap();
    let (mut store, notices) = open(directory());
    assert!(matches!(notices.as_slice(), [Notice::Imported { .. }]));
    assert_eq!(std::fs::read(path.join(LMDB)).unwrap(), OVERFLOW);
    for n in 0..20 {
        store.commit(&[Change::Put(Key::TypeInfo, &vec![n; 60_000])]).unwrap();
    }
    assert!(path.join(NAME).metadata().unwrap().len() < 400_000);
    assert_eq!(view(&mut open(directory()).0), view(&mut store));
    assert!(!path.join(TEMPORARY).exists());
}

/// `SMALL` as Mender's client leaves it after its next change: another number, and another name of the same length.
fn used_again(name: &[u8; 9]) -> Vec<u8> {
    let mut bytes = SMALL.to_vec();
    let before = b"release-1";
    for at in 0..bytes.len() - before.len() {
        if bytes[at..].starts_with(before) {
            bytes[at..at + before.len()].copy_from_slice(name);
        }
    }
    // The number of the newer of the two states, behind the last page: see `lmdb.rs`.
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let number = [0, 4096].map(|page| page + 16 + 8 + 16 + 2 * 48 + 8);
    let at = if word(number[0]) > word(number[1]) { number[0] } else { number[1] };
    let next = word(at) + 2;
    bytes[at..at + 8].copy_from_slice(&next.to_le_bytes());
    bytes
}

fn name_in(store: &mut Store<Disk>) -> String {
    let provides = String::from_utf8(view(store)[1].clone().unwrap()).unwrap();
    provides.split('"').nth(3).unwrap().to_owned()
}

#[test]
fn menders_client_that_was_used_again_is_taken_over_again_while_nothing_was_changed_here() {
    let disk = Disk::with_file(LMDB, SMALL);
    drop(open(disk.clone()));
    disk.put(LMDB, &used_again(b"release-2"));
    // A reader sees the new name, and writes nothing.
    let before = disk.bytes(NAME);
    let (mut store, notices) = Store::open(disk.clone(), Access::ReadOnly).unwrap();
    assert!(matches!(notices.as_slice(), [Notice::Imported { name: Some(name), .. }] if name == "release-2"));
    assert_eq!((name_in(&mut store).as_str(), disk.bytes(NAME)), ("release-2", before));
    let (mut store, notices) = open(disk.clone());
    assert!(matches!(notices.as_slice(), [Notice::Imported { name: Some(name), .. }] if name == "release-2"));
    assert_eq!(name_in(&mut store), "release-2");
    let (mut store, notices) = open(disk);
    assert_eq!((name_in(&mut store).as_str(), notices), ("release-2", vec![]), "once for each state");
}

#[test]
fn menders_client_that_was_used_again_is_told_and_not_taken_over_once_something_was_installed_here() {
    for batch in [
        [Change::Put(Key::Provides, br#"{"artifact_name":"ours"}"#)],
        // An update in progress.
        [Change::Put(Key::Checkpoint, b"x")],
    ] {
        let disk = Disk::with_file(LMDB, SMALL);
        let (mut store, _) = open(disk.clone());
        store.commit(&batch).unwrap();
        let expected = view(&mut store);
        drop(store);
        assert_eq!(open(disk.clone()).1, [], "nobody used Mender's client");
        disk.put(LMDB, &used_again(b"release-2"));
        let (mut store, notices) = open(disk);
        let [notice @ Notice::NotImported { name: Some(name) }] = notices.as_slice() else {
            panic!("{notices:?}")
        };
        assert!(name == "release-2" && notice.to_string().contains("\"release-2\""), "{notice}");
        assert_eq!(view(&mut store), expected);
    }
}
