//! What must hold of the client's flight record at any moment, whatever was lost: it can be read, and tells nothing that did
//! not happen.

use std::collections::BTreeMap;

use thimble_core::checkpoint::Checkpoint;
use thimble_core::flight::{Event, Record, Saved};
use thimble_core::hal::{Change, Key};

/// The records of a client.
type Records = BTreeMap<Key, Vec<u8>>;

/// Holds the flight record against the records that are stored with it.
///
/// # Errors
/// What is wrong.
pub fn check(records: &Records) -> Result<(), String> {
    let Some(bytes) = records.get(&Key::Flight) else { return Ok(()) };
    let record = Record::decode(bytes).ok_or("the flight record on the disk is none")?;
    let mut saved = None;
    let mut before = None;
    for entry in record.entries() {
        match entry.event.ok_or("the flight record has an event that nobody knows")? {
            Event::Saves(what) => (before, saved) = (saved, Some(what)),
            Event::NotSaved => saved = before,
            Event::Starts { .. }
            | Event::Begins { .. }
            | Event::Enters(_)
            | Event::Script { .. }
            | Event::Call(..)
            | Event::Request(..)
            | Event::Downloads(_)
            | Event::BreaksOff(_)
            | Event::Waits(..)
            | Event::Approved(_)
            | Event::Forbidden(..)
            | Event::Reason(_)
            | Event::Ends(_)
            | Event::NotRebooted
            | Event::Terminated
            | Event::Again(_) => {}
        }
    }
    let update = records.get(&Key::Checkpoint).and_then(|bytes| Checkpoint::decode(bytes).ok());
    let owed = records.contains_key(&Key::Report);
    let fits = match saved {
        None | Some(Saved::Provides(_)) => true,
        Some(Saved::Update(tag, verdict)) => {
            update.as_ref().is_some_and(|update| (update.tag, update.verdict) == (tag, verdict))
        }
        Some(Saved::Report) => owed && update.is_none(),
        Some(Saved::Nothing) => !owed || update.is_none(),
    };
    if fits {
        return Ok(());
    }
    Err(format!("the flight record says {saved:?}, on record is {update:?}, a report is owed: {owed}"))
}

/// Whether nothing but the flight record would be written.
#[must_use]
pub fn is_alone(records: &Records, batch: &[Change<'_>]) -> bool {
    let is_flight = |change: &&Change<'_>| matches!(change, Change::Put(Key::Flight, _));
    let changes = |change: &Change<'_>| match *change {
        Change::Put(key, bytes) => records.get(&key).is_none_or(|stored| stored != bytes),
        Change::Delete(key) => records.contains_key(&key),
    };
    batch.iter().any(|change| is_flight(&change))
        && !batch.iter().filter(|change| !is_flight(change)).any(changes)
}
