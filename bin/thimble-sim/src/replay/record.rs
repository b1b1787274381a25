//! A flight record becomes a timeline.

use thimble_core::deployment::{Call, Verdict};
use thimble_core::flight::{Answer, Event as Seen, How, Purpose, Record, Request, Saved};
use thimble_core::state::State;
use thimble_core::texts;
use thimble_core::time::Duration;
use thimble_hal_sim::explain::Happened;
use thimble_hal_sim::sim::Fate;
use thimble_hal_sim::story::Lane;

use super::Account;
use super::order::Order;
use crate::timeline::Event;

/// Repeats that are played again; the rest leads nowhere else.
const REPEATS: u32 = 100;

/// Reads it; `None`: it is no flight record.
pub(super) fn read(bytes: &[u8]) -> Option<Account> {
    let record = Record::decode(bytes)?;
    let mut account = Account { what: "flight record", ..Account::default() };
    if record.dropped() > 0 {
        account
            .notes
            .push(format!("{} older events had to make room: the beginning is missing", record.dropped()));
    }
    let mut order = Order::default();
    let mut at = 0;
    for entry in record.entries() {
        let Some(event) = entry.event else {
            account.notes.push(format!("event {}: only a newer version knows it", entry.number));
            continue;
        };
        at = if matches!(event, Seen::Starts { .. }) { 0 } else { at + u64::from(entry.after) };
        if let Err(why) = order.next(&event) {
            account.complaints.push(format!("event {}: {why}", entry.number));
        }
        note(&mut account, &event);
        account.events.push(line(&event, Duration::from_secs(at)));
    }
    Some(account)
}

fn line(event: &Seen<'_>, at: Duration) -> Event {
    let lane = match event {
        Seen::Request(..) | Seen::Downloads(_) | Seen::BreaksOff(_) => Lane::Server,
        Seen::Call(..) => Lane::Module,
        Seen::Starts { .. }
        | Seen::Begins { .. }
        | Seen::Enters(_)
        | Seen::Script { .. }
        | Seen::Waits(..)
        | Seen::Approved(_)
        | Seen::Forbidden(..)
        | Seen::Saves(_)
        | Seen::NotSaved
        | Seen::Reason(_)
        | Seen::Ends(_)
        | Seen::NotRebooted
        | Seen::Terminated
        | Seen::Again(_) => Lane::Device,
    };
    let mut text = String::new();
    // A text takes everything.
    let _ = texts::decode(&event.to_string(), &mut text);
    let has_result = matches!(event, Seen::Script { .. } | Seen::Call(..) | Seen::Request(..));
    let (what, result) = match text.split_once(": ").filter(|_| has_result) {
        Some((what, result)) => (what.to_owned(), Some(result.to_owned())),
        None if matches!(event, Seen::Starts { .. }) => (format!("-- {text}"), None),
        None => (text, None),
    };
    Event { result, is_fault: event.is_fault(), ..Event::new(at, lane, what) }
}

/// What it says of the way of the update.
fn note(account: &mut Account, event: &Seen<'_>) {
    if let (Seen::Again(times), Some(last)) = (event, account.way.last().cloned()) {
        account.way.extend((0..(*times).min(REPEATS)).map(|_| last.clone()));
        return;
    }
    match event {
        Seen::Starts { run, found, .. } => {
            if found.is_some() {
                account.way.push(Happened::Restart);
            } else {
                account.forget();
            }
            account.standalone = match run {
                Purpose::Daemon | Purpose::DaemonWithoutUpdates => false,
                Purpose::Install
                | Purpose::Resume
                | Purpose::Commit
                | Purpose::Rollback
                | Purpose::Bootstrap => true,
            };
            account.begins |= *run == Purpose::Install && found.is_none();
        }
        Seen::Begins { .. } => {
            account.forget();
            account.begins = true;
        }
        Seen::Script { transition, number, how } => {
            account.scripts.push(format!("{transition}_{number:02}"));
            account.way.push(Happened::Script(*transition, fate(*how)));
        }
        Seen::Call(call, how) => {
            if *call == Call::NeedsArtifactReboot && !how.is_fault() {
                account.reboot = Some(*how);
            } else if *call == Call::SupportsRollback && !how.is_fault() {
                account.rollback = Some(*how == How::Well);
            }
            account.way.push(Happened::Call(*call, fate(*how)));
        }
        Seen::Request(Request::Status(status), answer) => {
            let fate = match answer {
                Answer::Status(200..=299) => Fate::Works,
                Answer::Status(409) => Fate::Refuses,
                Answer::Status(_) | Answer::Broken | Answer::TooSlow | Answer::NotSent => Fate::Fails,
            };
            account.way.push(Happened::Status(status.name().to_owned(), fate));
        }
        Seen::Saves(saved) => {
            account.is_open = !matches!(saved, Saved::Nothing);
            account.way.push(Happened::Saved);
        }
        Seen::NotSaved => {
            if account.way.last() == Some(&Happened::Saved) {
                account.way.pop();
            }
        }
        Seen::Ends(verdict) => {
            account.end = Some(if *verdict == Verdict::Good { "success" } else { "failure" })
        }
        Seen::Enters(State::End) => account.is_open = false,
        Seen::Request(..)
        | Seen::Enters(_)
        | Seen::Downloads(_)
        | Seen::BreaksOff(_)
        | Seen::Waits(..)
        | Seen::Approved(_)
        | Seen::Forbidden(..)
        | Seen::Reason(_)
        | Seen::NotRebooted
        | Seen::Terminated
        | Seen::Again(_) => {}
    }
}

const fn fate(how: How) -> Fate {
    match how {
        How::Well | How::No | How::Automatic => Fate::Works,
        How::Later => Fate::Refuses,
        How::Exited(_) | How::Killed(_) | How::TooSlow | How::Failed => Fate::Fails,
    }
}
