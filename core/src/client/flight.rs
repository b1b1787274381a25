//! Keeps the [flight record](crate::flight): looks on while the flow decides, and decides nothing. `no_flight.rs` takes the
//! place of this file where the feature `flight` is off.

use super::Client;
use super::messages::{RecordText, say};
use crate::begun;
use crate::checkpoint::{self, Checkpoint, Tag};
use crate::deployment::Naming;
use crate::flight::{Answer, Event, Holder, How, Purpose, REASON, Request, Ring, Saved, VERSION};
use crate::flow::{self, Step, Task};
use crate::hal::{Cause, Change, Exit, Key, Level, Platform, ScriptRunner, Storage};
use crate::machine::{DoorNote, Held, Op, Run};
use crate::message::{Code, Coded};
use crate::script;
use crate::session::{self, Awaits, RequestKind};
use crate::state::{Outcome, State, Verb};
use crate::text::{Text, TextExt};
use crate::time::Instant;
use crate::transfer;

/// The record, and what is known of the operation at hand.
#[derive(Debug)]
pub(super) struct Flight {
    ring: Ring,
    now: Instant,
    /// How the script or the call ended that runs, once it has.
    exit: Option<Exit>,
    too_slow: bool,
    /// The record of the update, or that of its end, is stored: deleting them is a write.
    is_open: bool,
    /// The checksum of the record of the update that is stored: storing the same again is none.
    stored: Option<Sum>,
    /// That of the one that is being written.
    writing: Option<Sum>,
}

/// The checksum at the end of a record of the update.
type Sum = [u8; 4];

fn sum(record: &[u8]) -> Sum {
    record.last_chunk().copied().unwrap_or_default()
}

/// What an earlier process has left on record.
pub(super) struct Found {
    update: Option<(Tag, Sum)>,
    report: bool,
}

impl Found {
    pub(super) fn of(update: Option<&Checkpoint>, report: bool) -> Self {
        let update = update.and_then(|update| {
            let mut buf = [0; checkpoint::MAX_LEN];
            Some((update.tag, sum(update.encode(&mut buf).ok()?)))
        });
        Self { update, report }
    }
}

/// What a step begins from.
pub(super) struct Before {
    op: Option<Op>,
    state: State,
    seen: Option<Event<'static>>,
}

/// The code of the first reason of a failure, until it is in the record.
#[derive(Debug, Default)]
pub(super) struct ReasonCode(Option<Text<REASON>>);

impl ReasonCode {
    pub(super) fn set(&mut self, reason: &dyn Coded) {
        self.0 = Some(Text::cut(&Code(reason)));
    }
}

impl Flight {
    pub(super) const fn new() -> Self {
        Self {
            ring: Ring::new(),
            now: Instant::ZERO,
            exit: None,
            too_slow: false,
            is_open: false,
            stored: None,
            writing: None,
        }
    }

    fn note(&mut self, event: &Event<'_>) {
        self.ring.note(self.now, event);
    }

    /// What goes with the batch that writes this record of the update, and `others` beside it. Nothing where that record is
    /// stored already and stands alone: the batch then writes nothing.
    pub(super) fn with_update(
        &mut self,
        update: &Checkpoint,
        record: &[u8],
        others: bool,
    ) -> Option<Change<'_>> {
        let sum = sum(record);
        self.writing = Some(sum);
        if self.stored == self.writing && !others {
            return None;
        }
        self.with(Saved::Update(update.tag, update.verdict))
    }

    /// With that of name and provides.
    pub(super) fn with_provides(&mut self, naming: Naming) -> Option<Change<'_>> {
        self.with(Saved::Provides(naming))
    }

    /// With that of how the deployment ended.
    pub(super) fn with_report(&mut self) -> Option<Change<'_>> {
        self.with(Saved::Report)
    }

    /// With the one that deletes the record of the update, or that of its end. Unless one is there, or `others` are written,
    /// it deletes nothing, and then nothing is to be written.
    pub(super) fn with_nothing(&mut self, others: bool) -> Option<Change<'_>> {
        if self.is_open || others { self.with(Saved::Nothing) } else { None }
    }

    fn with(&mut self, saved: Saved) -> Option<Change<'_>> {
        self.note(&Event::Saves(saved));
        self.change()
    }

    /// With a batch that is no step of an update.
    pub(super) fn change(&self) -> Option<Change<'_>> {
        Some(Change::Put(Key::Flight, self.ring.bytes()))
    }

    /// What came of that batch; whether there is a record of the update, or of its end, behind it.
    pub(super) fn saved<E>(&mut self, committed: &Result<(), E>, is_open: bool) {
        let writing = self.writing.take();
        match committed {
            Ok(()) => (self.is_open, self.stored) = (is_open, writing),
            Err(_) => self.note(&Event::NotSaved),
        }
    }

    /// A script or a call of the module ended.
    pub(super) const fn exited(&mut self, exit: Exit) {
        self.exit = Some(exit);
    }

    /// It is ended, since it took too long.
    pub(super) const fn too_slow(&mut self) {
        self.too_slow = true;
    }

    /// The head of an answer came.
    pub(super) fn answered(&mut self, kind: RequestKind, status: u16) {
        let is_report =
            matches!(kind, RequestKind::Status(_) | RequestKind::StatusAlone(_) | RequestKind::Log);
        // Of polls, what brings nothing would drive out what is worth keeping; a server may know the first version only.
        let is_older = kind == RequestKind::NextV2 && status == 404;
        if is_report || (status >= 400 && !is_older) {
            self.note(&Event::Request(request(kind), Answer::Status(status)));
        }
    }

    /// No answer came in time.
    pub(super) fn not_answered(&mut self, kind: RequestKind) {
        self.note(&Event::Request(request(kind), Answer::TooSlow));
    }

    /// A deployment begins.
    pub(super) fn begins(&mut self, id: &str) {
        self.note(&Event::Begins { deployment: begun::mark(id) });
    }

    /// A request for the artifact is sent.
    pub(super) fn downloads(&mut self, from: u64) {
        self.note(&Event::Downloads(from));
    }

    fn ended(&mut self, op: Op, outcome: Outcome, script: &str) {
        let how = how(outcome, self.exit.take(), core::mem::take(&mut self.too_slow));
        match op {
            // Those of a daemon that waits are run again and again.
            Op::RunScript(transition, index)
                if outcome != Outcome::Nothing
                    && (how != How::Well || self.is_open || transition.state.is_artifact()) =>
            {
                let number = digits(script).unwrap_or_else(|| u8::try_from(index).unwrap_or(u8::MAX));
                self.note(&Event::Script { transition, number, how });
            }
            Op::CallModule(call) | Op::Stream(call) => self.note(&Event::Call(call, how)),
            Op::Reboot => self.note(&Event::NotRebooted),
            Op::RunScript(..)
            | Op::Save
            | Op::SaveReport
            | Op::ForgetReport
            | Op::SaveBegun
            | Op::SaveProvides(_)
            | Op::ClearData
            | Op::CheckVersion
            | Op::CheckRunning
            | Op::Prepare
            | Op::Request(_)
            | Op::SaveMaps
            | Op::AskPolicy(_)
            | Op::End => {}
        }
    }

    fn at_door(&mut self, note: DoorNote) {
        let holder = |held| match held {
            Held::Map(_) => Holder::Map,
            Held::Policy => Holder::Policy,
            Held::Server => Holder::Server,
        };
        let event = match note {
            DoorNote::Waits(point, held) => Event::Waits(point, holder(held)),
            DoorNote::Fails(point, held) => Event::Forbidden(point, held.map_or(Holder::Unreadable, holder)),
            DoorNote::Approved(point) => Event::Approved(point),
            // The reason says it.
            DoorNote::NoRoom => return,
        };
        self.note(&event);
    }
}

impl<P: Platform> Client<'_, P> {
    /// The process starts, for this.
    #[inline(never)]
    pub(super) fn flight_starts(&mut self, now: Instant, run: Run, found: &Found) {
        let Self { hal, flight, lent, device, .. } = self;
        flight.now = now;
        match hal.storage.read(Key::Flight, lent.free().0) {
            Ok(None) => {}
            Ok(Some(stored)) => {
                if !flight.ring.go_on(stored) {
                    say(&mut hal.log, Level::Warning, &RecordText::BadFlight);
                }
            }
            Err(error) => say(&mut hal.log, Level::Warning, &RecordText::Flight { error: Cause::of(&error) }),
        }
        let Found { update, report } = found;
        flight.is_open = update.is_some() || *report;
        flight.stored = update.map(|(_, sum)| sum);
        let version: Text<VERSION> = Text::front(device.version);
        flight.note(&Event::Starts {
            run: purpose(run),
            version: version.as_str(),
            found: update.map(|(tag, _)| tag),
        });
    }

    /// Before a step of the flow.
    pub(super) fn flight_before(&self, event: &flow::Event) -> Before {
        use flow::Event::{Request as Asked, Terminate, Transfer};
        let asks = match self.flow.session().awaits() {
            Awaits::Head(kind) | Awaits::Body(kind, ..) => Some(kind),
            Awaits::Nothing | Awaits::Identity | Awaits::Inventory => None,
        };
        let asked = |answer| asks.map(|kind| Event::Request(request(kind), answer));
        let seen = if matches!(event, Asked(session::Event::Broken { .. })) {
            asked(Answer::Broken)
        } else if matches!(event, Asked(session::Event::NotSent)) {
            asked(Answer::NotSent)
        } else if matches!(event, Transfer(transfer::Event::Broken { .. })) {
            Some(Event::BreaksOff(self.flow.transfer().received()))
        } else {
            (*event == Terminate).then_some(Event::Terminated)
        };
        Before { op: self.flow.op(), state: self.machine().place().0, seen }
    }

    /// Behind it: what happened, and what came of it.
    #[inline(never)]
    pub(super) fn flight_step(&mut self, now: Instant, before: &Before, step: &Step) {
        let Self { hal, flight, flow, story, .. } = self;
        flight.now = now;
        if let Some(seen) = &before.seen {
            flight.note(seen);
        }
        if let (Some(op), Some(outcome)) = (before.op, step.ended) {
            flight.ended(op, outcome, hal.scripts.name());
        }
        if let Some(door) = step.door {
            flight.at_door(door);
        }
        if let Some(code) = story.code.0.take() {
            flight.note(&Event::Reason(code.as_str()));
        }
        let state = flow.machine().place().0;
        if state != before.state && !matches!(state, State::Idle | State::Inventory | State::Poll) {
            flight.note(&Event::Enters(state));
        }
        if step.task == Task::Begin(Op::ClearData) {
            flight.note(&Event::Ends(flow.machine().verdict()));
        }
    }
}

const fn purpose(run: Run) -> Purpose {
    match run {
        Run::Daemon => Purpose::Daemon,
        Run::NoUpdates(_) => Purpose::DaemonWithoutUpdates,
        Run::Install => Purpose::Install,
        Run::Continue(Verb::Resume) => Purpose::Resume,
        Run::Continue(Verb::Commit) => Purpose::Commit,
        Run::Continue(Verb::Rollback) => Purpose::Rollback,
        Run::Bootstrap => Purpose::Bootstrap,
    }
}

const fn request(kind: RequestKind) -> Request {
    match kind {
        RequestKind::Token => Request::Token,
        RequestKind::NextV2 | RequestKind::NextV1 => Request::Next,
        RequestKind::Status(status) | RequestKind::StatusAlone(status) => Request::Status(status),
        RequestKind::Log => Request::Log,
        RequestKind::Inventory => Request::Inventory,
        RequestKind::ControlMap => Request::ControlMap,
    }
}

const fn how(outcome: Outcome, exit: Option<Exit>, too_slow: bool) -> How {
    match (outcome, exit) {
        (Outcome::Success, _) => How::Well,
        (Outcome::Nothing, _) => How::No,
        (Outcome::Automatic, _) => How::Automatic,
        (Outcome::Later(_), _) => How::Later,
        (Outcome::Failure | Outcome::Refused | Outcome::Aborted, _) if too_slow => How::TooSlow,
        (Outcome::Failure | Outcome::Refused | Outcome::Aborted, Some(Exit::Code(status @ 1..))) => {
            How::Exited(status)
        }
        (Outcome::Failure | Outcome::Refused | Outcome::Aborted, Some(Exit::Signal(signal))) => {
            How::Killed(signal)
        }
        (Outcome::Failure | Outcome::Refused | Outcome::Aborted, Some(Exit::Code(0)) | None) => How::Failed,
    }
}

/// The two digits in the name of a script.
fn digits(name: &str) -> Option<u8> {
    script::parse_name(name)?;
    name.split('_').nth(2)?.parse().ok()
}
