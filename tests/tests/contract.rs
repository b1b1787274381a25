//! One suite per trait, run on every implementation: what a port to a new board has to keep.

use std::sync::Arc;

use thimble_core::hal::{Change, Error, Key, Kind, Storage};
use thimble_hal_linux::storage::{Access, DataDirectory, Store};
use thimble_hal_sim::runner;
use thimble_hal_sim::sim::{Handle, Smooth};
use thimble_hal_sim::world::Profile;

/// `Storage`: `open` gives the records again as a restart would find them.
fn storage<S: Storage<Error: std::fmt::Debug>>(mut open: impl FnMut() -> S) {
    let read = |storage: &mut S, key| {
        let mut buf = [0; 256];
        storage.read(key, &mut buf).expect("a record can be read").map(<[u8]>::to_vec)
    };
    let commit =
        |storage: &mut S, batch: &[Change<'_>]| storage.commit(batch).expect("a batch can be written");

    // Nothing there is not an error, and deleting it neither.
    let mut first = open();
    commit(&mut first, &Key::ALL.map(Change::Delete));
    assert!(Key::ALL.iter().all(|&key| read(&mut first, key).is_none()));

    // A batch is seen whole, here and after a restart; the last change of a key wins.
    let batch = [
        Change::Put(Key::Checkpoint, b"old"),
        Change::Put(Key::Provides, b"{}"),
        Change::Put(Key::Checkpoint, b"new"),
        Change::Put(Key::Offer, b"gone"),
        Change::Delete(Key::Offer),
        Change::Put(Key::TypeInfo, b""),
    ];
    commit(&mut first, &batch);
    for mut storage in [first, open()] {
        assert_eq!(read(&mut storage, Key::Checkpoint).as_deref(), Some(&b"new"[..]));
        assert_eq!(read(&mut storage, Key::Provides).as_deref(), Some(&b"{}"[..]));
        assert_eq!(read(&mut storage, Key::Offer), None);
        assert_eq!(read(&mut storage, Key::TypeInfo).as_deref(), Some(&b""[..]), "empty is not absent");
        assert_eq!(read(&mut storage, Key::HeaderInfo), None);
    }

    // A buffer that is too small is told apart, and nothing is cut.
    let mut second = open();
    let error = second.read(Key::Checkpoint, &mut [0; 2]).expect_err("three bytes do not fit in two");
    assert_eq!(error.kind(), Kind::TooLarge);

    // Records of one key do not touch those of another.
    commit(&mut second, &[Change::Put(Key::ControlMaps, &[0xff; 200]), Change::Delete(Key::Provides)]);
    let mut third = open();
    assert_eq!(read(&mut third, Key::Provides), None);
    assert_eq!(read(&mut third, Key::ControlMaps).map(|record| record.len()), Some(200));
    assert_eq!(read(&mut third, Key::Checkpoint).as_deref(), Some(&b"new"[..]));
}

#[test]
fn the_store_of_linux_keeps_the_contract() {
    let lab = tempfile::tempdir().expect("a temporary directory");
    storage(|| {
        let directory = DataDirectory::open_or_create(lab.path()).expect("a datastore");
        let (store, notices) = Store::open(directory, Access::ReadWrite).expect("a store");
        assert_eq!(notices, []);
        store
    });
}

#[test]
fn the_simulated_storage_keeps_the_contract() {
    let artifact: Arc<[u8]> = Arc::from([]);
    let bench = Handle::new(runner::durable(Profile::SLOTS, &artifact), artifact, Box::new(Smooth));
    storage(|| bench.clone());
}
