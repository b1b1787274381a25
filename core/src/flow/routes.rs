//! What one machine says goes to the other, or to the driver. At most one step of the update's machine is taken in one
//! step of the flow, and it comes last: so that whoever looks at that machine sees each of its steps.

use super::Flow;
use super::words::{Due, Offer, Step, Task};
use crate::http::RetryAfter;
use crate::machine::{self, ApiCall, Check, Op, Run};
use crate::session::{self, Content};
use crate::state::Outcome;
use crate::time::Instant;
use crate::transfer::{self, Accepted, Begin, Downloader, End, Link, Stream, Transfer};

impl Flow {
    /// The outstanding operation ended, outside.
    pub(super) fn ended(&mut self, now: Instant, outcome: Outcome) -> Step {
        let op = self.op().filter(|_| outcome == Outcome::Success);
        if op == Some(Op::Save) {
            self.facts.saved(self.machine.checkpoint());
        } else if op == Some(Op::SaveReport)
            || op == Some(Op::ClearData) && self.machine.run() != Run::Bootstrap
        {
            // The bootstrap run has no record.
            self.facts.cleared();
        }
        self.end(now, outcome, Offer::Nothing)
    }

    /// The outstanding operation ended: the machine hears of it.
    fn end(&mut self, now: Instant, outcome: Outcome, offer: Offer) -> Step {
        let Some((id, _)) = self.op.take() else { return Step::WAIT };
        let event = match (offer, outcome) {
            (Offer::Deployment(deployment, map), Outcome::Success) => {
                self.facts.offered();
                self.transfer = Transfer::new();
                machine::Event::Offered { op: id, id: deployment, map }
            }
            (Offer::Map(map), Outcome::Success) => machine::Event::Refreshed { op: id, map },
            (Offer::Nothing | Offer::Deployment(..) | Offer::Map(_), outcome) => {
                machine::Event::Done(id, outcome)
            }
        };
        Step { ended: Some(outcome), ..self.tell_machine(now, event) }
    }

    /// The operation may begin.
    pub(super) fn ready(&mut self, now: Instant) -> Step {
        match self.doer() {
            Doer::Session(call) if self.machine.is_late() => {
                self.tell_session(now, session::Event::AskLate(call))
            }
            Doer::Session(call) => self.tell_session(now, session::Event::Ask(call)),
            Doer::Transfer if self.op() == Some(Op::Prepare) => self.begin_transfer(now),
            Doer::Transfer | Doer::Driver(_) | Doer::Nobody => Step::WAIT,
        }
    }

    fn begin_transfer(&mut self, now: Instant) -> Step {
        self.facts.transfer_begins();
        let downloader = match self.machine.run() {
            Run::Daemon | Run::NoUpdates(_) => Downloader::Daemon,
            Run::Install | Run::Continue(_) | Run::Bootstrap => Downloader::CommandLine,
        };
        let attempts = self.machine.config().retry_download_count;
        let begin = Begin { downloader, attempts, earlier: self.facts.earlier };
        self.tell_transfer(now, transfer::Event::Begin(begin))
    }

    pub(super) fn module_started(&mut self, now: Instant, mark_every: u64) -> Step {
        // Only a daemon's download can go on after a restart.
        let mark_every = if self.machine.checkpoint().offer { mark_every } else { 0 };
        let stream = Stream { mark_every, time: self.machine.config().module_timeout };
        self.tell_transfer(now, transfer::Event::Stream(stream))
    }

    pub(super) fn accepted(&mut self, now: Instant, accepted: Accepted, same_header: bool) -> Step {
        self.facts.accepted(self.machine.checkpoint(), accepted, same_header);
        self.tell_transfer(now, transfer::Event::Accepted(accepted))
    }

    pub(super) fn check(&mut self, now: Instant, check: Check) -> Step {
        let _: session::Action = self.session.step(&self.servers, now, session::Event::SomebodyAsks);
        self.tell_machine(now, machine::Event::Check(check))
    }

    /// A program wants a token: at once, if there is room.
    pub(super) fn fetch_token(&mut self, now: Instant) -> Step {
        let _: session::Action = self.session.step(&self.servers, now, session::Event::FetchToken);
        if self.fetch_may_begin() { self.begin_fetch(now) } else { Step::WAIT }
    }

    fn begin_fetch(&mut self, now: Instant) -> Step {
        let action = self.session.step(&self.servers, now, session::Event::Room);
        if let session::Action::Ended(Outcome::Later(Some(seconds))) = action {
            return Step::of(Task::PutOff(seconds)).dropping(true);
        }
        self.follow_session(now, action, Offer::Nothing)
    }

    pub(super) fn tick(&mut self, now: Instant) -> Step {
        match self.due(now) {
            Some(Due::Machine) => self.tell_machine(now, machine::Event::Tick),
            Some(Due::Session) => self.tell_session(now, session::Event::Tick),
            Some(Due::Room) => self.begin_fetch(now),
            Some(Due::Transfer) => self.tell_transfer(now, transfer::Event::Tick),
            None => Step::WAIT,
        }
    }

    pub(super) fn terminate(&mut self, now: Instant) -> Step {
        let _: machine::Action = self.machine.step(now, machine::Event::Terminate);
        let step = self.kill(now);
        let _: session::Action = self.session.step(&self.servers, now, session::Event::Terminate);
        step.dropping(true)
    }

    /// The update's machine hears this.
    pub(super) fn tell_machine(&mut self, now: Instant, event: machine::Event) -> Step {
        let action = self.machine.step(now, event);
        let door = self.machine.door_note();
        let asked_too_long = self.machine.script_asked_too_long();
        let report_given_up = self.machine.report_was_given_up();
        self.note_round(now);
        Step { door, asked_too_long, report_given_up, ..self.follow_machine(now, action) }
    }

    /// A round of requests lasts from leaving Idle to the next wait there.
    pub(super) fn note_round(&mut self, now: Instant) {
        let round =
            if self.machine.is_idle() { session::Event::RoundOver } else { session::Event::RoundBegins };
        let _: session::Action = self.session.step(&self.servers, now, round);
    }

    /// What the update's machine said. The one place where an operation begins.
    pub(super) fn follow_machine(&mut self, now: Instant, action: machine::Action) -> Step {
        use machine::Action;
        match action {
            Action::SaveMaps => Step::of(Task::SaveMaps),
            Action::Start(id, op) => {
                self.op = Some((id, op));
                let drop = self.make_way(now, op);
                Step::of(Task::Begin(op)).dropping(drop)
            }
            Action::Kill => self.kill(now),
            Action::Wait => Step::WAIT,
            Action::Exit(report) => Step::of(Task::Exit(report)),
        }
    }

    /// An operation begins: a fetch that shares its buffers or the network with it is put off. True: it is under way,
    /// and to be dropped.
    fn make_way(&mut self, now: Instant, op: Op) -> bool {
        let needs_room = match op {
            Op::Prepare | Op::Stream(_) | Op::SaveProvides(_) | Op::ClearData => true,
            Op::Save => self.facts.writes_offer(self.machine.checkpoint()),
            // A request goes on with the token that is being fetched.
            Op::Request(_)
            | Op::SaveReport
            | Op::ForgetReport
            | Op::SaveBegun
            | Op::SaveMaps
            | Op::AskPolicy(_)
            | Op::RunScript(..)
            | Op::CheckVersion
            | Op::CheckRunning
            | Op::CallModule(_)
            | Op::Reboot
            | Op::End => false,
        };
        needs_room
            && self.session.step(&self.servers, now, session::Event::MakeWay) == session::Action::Cancel
    }

    /// What is outstanding is ended.
    fn kill(&mut self, now: Instant) -> Step {
        match self.doer() {
            Doer::Nobody => Step::WAIT,
            Doer::Transfer => self.tell_transfer(now, transfer::Event::Stop),
            Doer::Session(call) => {
                let _: session::Action = self.session.step(&self.servers, now, session::Event::GiveUp);
                Step::of(Task::Kill(Op::Request(call))).dropping(true)
            }
            Doer::Driver(op) => Step::of(Task::Kill(op)),
        }
    }

    /// The session hears this.
    pub(super) fn tell_session(&mut self, now: Instant, event: session::Event) -> Step {
        let action = self.session.step(&self.servers, now, event);
        self.follow_session(now, action, Offer::Nothing)
    }

    /// The session hears that an answer is here.
    pub(super) fn answered(&mut self, now: Instant, content: Content, offer: Offer) -> Step {
        let authenticates = self.session.is_authenticating();
        let action = self.session.step(&self.servers, now, session::Event::Answer(content));
        if authenticates && !self.session.is_authenticating() && self.session.server().is_some() {
            // It only notes that, and says nothing.
            let _: machine::Action = self.machine.step(now, machine::Event::Authenticated);
        }
        self.follow_session(now, action, offer)
    }

    /// What the session said. `offer`: what the answer brought that it heard of last.
    fn follow_session(&mut self, now: Instant, action: session::Action, offer: Offer) -> Step {
        use session::Action;
        match action {
            // An answer that was refused is not read to its end.
            Action::FindIdentity => Step::of(Task::FindIdentity).dropping(true),
            Action::CollectInventory => Step::of(Task::CollectInventory),
            Action::Send(kind, server) => Step::of(Task::Send(kind, server)),
            Action::Read => Step::of(Task::Read),
            Action::Cancel => Step::WAIT.dropping(true),
            Action::Ended(outcome) => self.request_ended(now, outcome, offer).dropping(true),
            Action::Wait => Step::WAIT,
        }
    }

    /// A request ended: whoever asked hears of it.
    fn request_ended(&mut self, now: Instant, outcome: Outcome, offer: Offer) -> Step {
        match self.doer() {
            Doer::Session(_) => self.end(now, outcome, offer),
            Doer::Transfer => self.tell_transfer(now, transfer::Event::Link(link(outcome))),
            // A program's wish for a token. It looks at what came of it when it likes.
            Doer::Driver(_) | Doer::Nobody => Step::WAIT,
        }
    }

    /// The transfer hears this.
    pub(super) fn tell_transfer(&mut self, now: Instant, event: transfer::Event) -> Step {
        let is_first = self.transfer.received() == 0;
        let action = self.transfer.step(now, event);
        if let transfer::Event::Head(_, etag) = event
            && is_first
            && action == transfer::Action::Receive
        {
            self.facts.source_begins(etag);
            return Step::of(Task::ReceiveFirst);
        }
        self.follow_transfer(now, action)
    }

    /// What the transfer said.
    fn follow_transfer(&mut self, now: Instant, action: transfer::Action) -> Step {
        use transfer::Action;
        match action {
            Action::Wait => Step::WAIT,
            Action::AwaitLink => self.tell_session(now, session::Event::AskForLink),
            Action::GiveUp { .. } => {
                let _: session::Action = self.session.step(&self.servers, now, session::Event::GiveUp);
                Step::of(Task::Transfer(action)).dropping(true)
            }
            Action::Pause(_) | Action::AskForLink | Action::ReadBack(_) => {
                Step::of(Task::Transfer(action)).dropping(true)
            }
            Action::End(end) => {
                let outcome = match end {
                    End::Accepted | End::Stored => Outcome::Success,
                    End::NoPayload => Outcome::Nothing,
                    End::Failed => Outcome::Failure,
                };
                self.end(now, outcome, Offer::Nothing)
            }
            Action::Request { .. }
            | Action::AwaitHead
            | Action::Receive
            | Action::Parse { .. }
            | Action::Accept { .. }
            | Action::BeginFile(_)
            | Action::Write { .. }
            | Action::Mark
            | Action::EndFile
            | Action::Finish
            | Action::Compare
            | Action::ForgetStored(_)
            | Action::AwaitModule => Step::of(Task::Transfer(action)),
        }
    }
}

/// Who carries out the outstanding operation.
enum Doer {
    Session(ApiCall),
    Transfer,
    Driver(Op),
    /// None is outstanding.
    Nobody,
}

impl Flow {
    fn doer(&self) -> Doer {
        match self.op() {
            None => Doer::Nobody,
            Some(Op::Request(call)) => Doer::Session(call),
            Some(Op::Prepare | Op::Stream(_)) => Doer::Transfer,
            Some(
                op @ (Op::Save
                | Op::SaveReport
                | Op::ForgetReport
                | Op::SaveBegun
                | Op::SaveMaps
                | Op::SaveProvides(_)
                | Op::ClearData
                | Op::RunScript(..)
                | Op::CheckVersion
                | Op::CheckRunning
                | Op::CallModule(_)
                | Op::Reboot
                | Op::AskPolicy(_)
                | Op::End),
            ) => Doer::Driver(op),
        }
    }
}

/// What the transfer hears about the link it asked for.
fn link(outcome: Outcome) -> Link {
    match outcome {
        Outcome::Success | Outcome::Automatic => Link::Fresh,
        Outcome::Later(seconds) => Link::NotNow(seconds.map(|seconds| RetryAfter { seconds })),
        Outcome::Failure => Link::NotNow(None),
        Outcome::Nothing | Outcome::Aborted | Outcome::Refused => Link::NotOffered,
    }
}
