//! The flow: the three machines of a client as one value, and all that passes between them.
//!
//! [`Flow::step`] takes one [`Event`], what the driver saw, and returns one [`Step`], what is to be done outside next.
//! No clock, no I/O, no traits. The driver keeps texts and buffers, and performs; nothing is decided there.
//!
//! ```text
//!                                   what the driver saw
//!                                            |
//!                                            v
//!    +---------------------------------- Flow::step ----------------------------------+
//!    |                                                                                |
//!    |                Ask, MakeWay, GiveUp,              Begin, Stream, Stop          |
//!    |                RoundBegins, RoundOver                                          |
//!    |   Session <-------------------------- Machine --------------------> Transfer   |
//!    |      |                                ^     ^                         ^   |    |
//!    |      | how a request ended            |     |  how the half ended     |   |    |
//!    |      +--------------------------------+     +-------------------------|---+    |
//!    |      |                                                                |   |    |
//!    |      | Link: how the question for a fresh link ended                  |   |    |
//!    |      +----------------------------------------------------------------+   |    |
//!    |      ^                                                                    |    |
//!    |      +------------------------- AskForLink, GiveUp -----------------------+    |
//!    +---------------------------------------|----------------------------------------+
//!                                            v
//!                                 what is to be done outside
//! ```
//!
//! | what one machine says | where it goes |
//! |---|---|
//! | Machine: start an operation | [`Task::Begin`]; a fetch of a token that stands in its way is put off first |
//! | Machine: start a request | the same; when that is [`Event::Ready`], the session is asked for it |
//! | Machine: start a half of a transfer | the same; when it is ready, or the module started, the transfer begins |
//! | Machine: kill | a transfer is stopped; a request is given up; anything else is [`Task::Kill`] |
//! | Machine: it waits in Idle, or not | the session: the round is over, or has begun |
//! | Machine: save the control maps | [`Task::SaveMaps`] |
//! | Session: the request ended | whose it was: the machine's operation ended, or the transfer has the answer about its link; a fetch is nobody's |
//! | Session: a server gave a token | noted by the machine, and the same as the next two |
//! | Session: anything else | the driver |
//! | Transfer: ask for a link | [`Task::Transfer`]; when that is done, the session is asked |
//! | Transfer: give up | the driver; the session gives up the question for a link |
//! | Transfer: the half ended | the machine: the operation ended |
//! | Transfer: anything else | the driver |
//!
//! After [`Event::Terminate`] what runs is ended, and nothing is begun any more but [`Task::SaveMaps`]: no word of a
//! program or a person is lost.

mod facts;
mod routes;
mod words;

#[cfg(test)]
mod tests;

pub use facts::Beside;
pub use words::{Due, Event, Offer, Step, Task};

use crate::config::Config;
use crate::machine::{self, Machine, Op, OpId, Refusal, Run, Saved, StopSet};
use crate::retry::with_jitter;
use crate::session::{self, Session};
use crate::state::{Phase, State};
use crate::time::{Duration, Instant, earliest};
use crate::transfer::{self, Transfer};

use facts::Facts;

/// Polls are exact in the first minute of a process, so that a device that is switched on is served at once.
const EXACT: Duration = Duration::from_secs(60);

/// Decides what a client does. See the module's documentation.
///
/// Two of one configuration are equal when they do the same from now on, as [`Machine`]s are. Times count: see
/// [`Flow::rebase`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    machine: Machine,
    session: Session,
    servers: session::Config,
    transfer: Transfer,
    /// The machine's operation that is outstanding.
    op: Option<(OpId, Op)>,
    facts: Facts,
}

impl Flow {
    /// Starts a run, from what is on record. In `saved`, `offer` of the update says whether the record of the server's
    /// offer was read.
    ///
    /// # Errors
    /// [`Refusal`]: the verb cannot be carried out; nothing was changed.
    pub fn start(
        now: Instant,
        config: &Config,
        servers: session::Config,
        run: Run,
        stop_before: StopSet,
        saved: Saved,
    ) -> Result<(Self, Step), Refusal> {
        let mut flow = Self::over();
        let step = flow.launch(now, config, servers, run, stop_before, saved)?;
        Ok((flow, step))
    }

    /// [`Self::start`] in place of [`Self::over`].
    pub(crate) fn launch(
        &mut self,
        now: Instant,
        config: &Config,
        servers: session::Config,
        run: Run,
        stop_before: StopSet,
        saved: Saved,
    ) -> Result<Step, Refusal> {
        let session = Session::new(saved.offered_by);
        let action = self.machine.launch(now, config, run, stop_before, saved)?;
        self.session = session;
        self.servers = servers;
        self.facts = Facts::at_start(&self.machine);
        self.note_round(now);
        Ok(self.follow_machine(now, action))
    }

    /// A run that is over: nothing follows from any event.
    #[must_use]
    pub fn over() -> Self {
        let machine = Machine::over();
        let facts = Facts::at_start(&machine);
        let servers = session::Config { servers: 0 };
        Self { machine, session: Session::new(None), servers, transfer: Transfer::new(), op: None, facts }
    }

    /// What happened, and what is to be done outside next. An event that means nothing at this point gives
    /// [`Task::Wait`].
    pub fn step(&mut self, now: Instant, event: Event) -> Step {
        match event {
            Event::Restored { header, module } => {
                self.facts.restored(header, module);
                Step::WAIT
            }
            Event::Ended(outcome) => self.ended(now, outcome),
            Event::Ready => self.ready(now),
            Event::ModuleStarted { mark_every } => self.module_started(now, mark_every),
            Event::ModuleNotStarted => self.tell_transfer(now, transfer::Event::Stop),
            Event::Transfer(event) => self.tell_transfer(now, event),
            Event::Accepted { accepted, same_header } => self.accepted(now, accepted, same_header),
            Event::Request(event) => self.tell_session(now, event),
            Event::Answered(content, offer) => self.answered(now, content, offer),
            Event::MapsSaved(saved) => self.tell_machine(now, machine::Event::MapsSaved(saved)),
            Event::ServerMap(map) => self.tell_machine(now, machine::Event::ServerMap(map)),
            Event::LocalMap(map) => self.tell_machine(now, machine::Event::LocalMap(map)),
            Event::Order { name, points, order, lifetime } => {
                self.tell_machine(now, machine::Event::Order { name, points, order, lifetime })
            }
            Event::Approved => self.tell_machine(now, machine::Event::Approved),
            Event::Check(_) | Event::FetchToken if self.is_terminated() || self.machine.is_over() => {
                Step::WAIT
            }
            Event::Check(check) => self.check(now, check),
            Event::FetchToken => self.fetch_token(now),
            Event::Tick => self.tick(now),
            Event::Terminate => self.terminate(now),
        }
    }

    /// What [`Event::Tick`] is for at `now`; `None`: nothing is due.
    #[must_use]
    pub fn due(&self, now: Instant) -> Option<Due> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.machine.deadline()) {
            Some(Due::Machine)
        } else if is_due(self.session.deadline()) {
            Some(Due::Session)
        } else if self.fetch_may_begin() {
            Some(Due::Room)
        } else if is_due(self.transfer.deadline()) {
            Some(Due::Transfer)
        } else {
            None
        }
    }

    /// When to send [`Event::Tick`], at the latest; the start of the clock: now. `None`: only events move the flow.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.fetch_may_begin() {
            return Some(Instant::ZERO);
        }
        earliest(self.machine.deadline(), earliest(self.session.deadline(), self.transfer.deadline()))
    }

    /// As [`Machine::put_off`].
    pub fn schedule(&mut self, update: Option<Instant>, inventory: Option<Instant>) {
        self.machine.put_off(update, inventory);
    }

    /// When a main loop polls a daemon again in place of `until`, where it waits in Idle: up to a tenth of the wait later, as
    /// `random` says, so that many devices that were switched on together do not stay together. `None`: at `until`, as
    /// always in the first minute after `started`. Whatever else wakes the main loop still does.
    #[must_use]
    pub fn put_off(&self, started: Instant, now: Instant, until: Instant, random: u16) -> Option<Instant> {
        // A token that another program wants is waited for as ever.
        let idle = self.machine.place() == (State::Idle, Phase::Main) && !self.session.is_authenticating();
        if !idle || until <= now || now.since(started) < EXACT {
            return None;
        }
        Some(now + with_jitter(until.since(now), random))
    }

    /// Moves every time that is kept: see [`Machine::rebase`].
    pub fn rebase(&mut self, from: Instant, to: Instant) {
        self.machine.rebase(from, to);
        self.session.rebase(from, to);
        self.transfer.rebase(from, to);
    }

    /// True when nothing runs and nothing will.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.machine.is_over() || (self.is_terminated() && self.op.is_none())
    }

    /// The client was told to end.
    #[must_use]
    pub const fn is_terminated(&self) -> bool {
        self.machine.is_terminated()
    }

    /// The machine of the update, to look at.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The machine of requests, to look at.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The machine of the artifact's bytes, to look at.
    #[must_use]
    pub const fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// The machine's operation that is outstanding.
    #[must_use]
    pub fn op(&self) -> Option<Op> {
        self.op.as_ref().map(|(_, op)| *op)
    }

    /// The download of an earlier process goes on.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        self.facts.earlier
    }

    /// The module of the artifact at hand was selected in this process.
    #[must_use]
    pub const fn has_module(&self) -> bool {
        self.facts.module
    }

    /// What [`Op::Save`] makes durable beside the record and the control maps.
    #[must_use]
    pub fn saves_beside(&self) -> Beside {
        self.facts.saves_beside(self.machine.checkpoint())
    }

    /// Whether the header of an artifact that was just downloaded is on record. `same_header`: what is on record is the
    /// same.
    #[must_use]
    pub fn header_is_stored(&self, same_header: bool) -> bool {
        self.facts.header_is_stored(self.machine.checkpoint(), same_header)
    }

    /// What must be made durable, with the record, before an artifact that was just downloaded is accepted: the machine
    /// sees no difference to what is on record then, and saves nothing itself. `same_header` as before.
    #[must_use]
    pub fn saves_before_accepting(&self, same_header: bool) -> Option<Beside> {
        self.facts.saves_before_accepting(self.machine.checkpoint(), same_header)
    }

    /// A program's wish for a token waits, and neither the network nor the buffers of requests are in use, nor will be
    /// before an operation begins that puts a fetch off.
    fn fetch_may_begin(&self) -> bool {
        if !self.session.waits_for_room() {
            return false;
        }
        let (state, phase) = self.machine.place();
        // Between the two halves of a transfer its connection stays open.
        let transfers = matches!(state, State::Prepare | State::CheckSizes | State::Download)
            && matches!(phase, Phase::Main);
        match self.op() {
            None | Some(Op::RunScript(..) | Op::CallModule(_) | Op::AskPolicy(_)) => !transfers,
            Some(
                Op::Save
                | Op::SaveReport
                | Op::ForgetReport
                | Op::SaveBegun
                | Op::SaveProvides(_)
                | Op::ClearData
                | Op::CheckVersion
                | Op::CheckRunning
                | Op::Prepare
                | Op::Stream(_)
                | Op::Reboot
                | Op::Request(_)
                | Op::SaveMaps
                | Op::End,
            ) => false,
        }
    }
}
