//! The mains: everything that happens is told to it, and at one planned event it takes the power away.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Child;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A part of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    /// The boot loader's environment; nothing else is written here.
    Boot,
    /// The slot that runs before the update.
    A,
    /// The slot that is updated.
    B,
    /// The client's datastore.
    Data,
}

/// What can be counted, and cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// The disk is read: by the firmware, by GRUB, by the kernel.
    Read,
    /// A write came; it is in the disk's cache.
    Write(Area),
    /// A flush came; it has had no effect.
    Flush,
    /// The cache is flushed; the machine has not been told.
    Flushed,
    /// A request came to the server; it has had no effect.
    Request,
    /// A request had its effect; the answer has not been sent.
    Answered,
    /// A line on the console.
    Line,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(area) => write!(f, "write to {area:?}"),
            Self::Read | Self::Flush | Self::Flushed | Self::Request | Self::Answered | Self::Line => {
                write!(f, "{self:?}")
            }
        }
    }
}

/// How often each event came.
pub(crate) type Counts = BTreeMap<Event, u64>;

/// The mains of one machine.
#[derive(Default)]
pub(crate) struct Power {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    counts: Counts,
    plan: Option<(Event, u64)>,
    machine: Option<Child>,
    was_cut: bool,
}

impl Power {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine is on. The power is to be lost at the event of this number (from 1), counted from now.
    pub(crate) fn on(&self, machine: Child, plan: Option<(Event, u64)>) {
        *self.state() = State { counts: Counts::new(), plan, machine: Some(machine), was_cut: false };
    }

    /// Something happened. False: there is no power, and it has no effect any more.
    pub(crate) fn tell(&self, event: Event) -> bool {
        let mut state = self.state();
        if state.machine.is_none() {
            return false;
        }
        let count = state.counts.entry(event).or_insert(0);
        *count += 1;
        let number = *count;
        if state.plan == Some((event, number)) {
            state.was_cut = true;
            state.end();
            return false;
        }
        true
    }

    /// Whether the plan was carried out.
    pub(crate) fn was_cut(&self) -> bool {
        self.state().was_cut
    }

    /// Whether the machine has ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        match &mut self.state().machine {
            Some(machine) => machine.try_wait().is_ok_and(|status| status.is_some()),
            None => true,
        }
    }

    /// Takes the power away now.
    pub(crate) fn off(&self) {
        self.state().end();
    }

    /// What was counted since the machine was switched on.
    pub(crate) fn counts(&self) -> Counts {
        self.state().counts.clone()
    }
}

impl State {
    fn end(&mut self) {
        if let Some(mut machine) = self.machine.take() {
            // Only fails when it has ended.
            let _ = machine.kill();
            let _ = machine.wait();
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.end();
    }
}
