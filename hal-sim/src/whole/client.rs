//! The process of the client as a value: the three machines, what passes between them, and what the driver keeps for
//! them. Whatever takes time or can fail is left to do outside, one thing at a time.

use thimble_core::api::Reply;
use thimble_core::checkpoint::Checkpoint;
use thimble_core::config::Config;
use thimble_core::deployment::Call;
use thimble_core::machine::{
    self, ApiCall, Machine, OfferedMap, Op, OpId, Refusal, Report, Run, Saved, StopSet,
};
use thimble_core::session::{self, RequestKind, Session};
use thimble_core::state::{Outcome, Phase, Place, State};
use thimble_core::text::Text;
use thimble_core::time::{Instant, earliest};
use thimble_core::transfer::{self, Begin, Downloader, End, Link, Stream, Transfer};

use super::artifact::{Chunk, MARK_EVERY, Parser, Stored, Version};
use crate::sayings::DEPLOYMENT;

/// So many servers are configured.
pub(super) const SERVERS: u8 = 2;

/// What is to be done outside next, or what is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Todo {
    /// Nothing before a deadline.
    Wait,
    /// An operation of the machine's that is no request and no transfer.
    Op(Op),
    /// The module of a transfer starts.
    StartModule(Call),
    /// The identity is found out, and the request for a token written.
    Identity,
    /// The inventory scripts run.
    Inventory,
    /// A request goes to a server, and the head of its answer comes.
    Send(RequestKind, u8),
    /// The body of the answer comes.
    Read(RequestKind, u8, Reply),
    /// The artifact is asked for from this byte on, and the head of the answer comes.
    Download(u64),
    /// Bytes of it come.
    Receive,
    /// The header is judged, and the work tree built.
    Accept { again: bool },
    /// The sink takes the beginning of a file.
    BeginFile,
    /// The sink takes bytes.
    Write { from: usize, to: usize },
    /// The sink makes what it has durable.
    Mark,
    /// The sink takes the end of a file.
    EndFile,
    /// The sink takes the end of the payload.
    Finish,
    /// The sink gives back so many stored bytes.
    ReadBack(u64),
    /// The digest of the stored bytes is compared.
    Compare,
    /// The sink forgets what is stored.
    Forget(u64),
    /// The run is over.
    Exit(Report),
}

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Client {
    pub(super) machine: Machine,
    pub(super) session: Session,
    pub(super) transfer: Transfer,
    /// The machine's operation that is outstanding.
    op: Option<(OpId, Op)>,
    pub(super) todo: Todo,
    /// The link to the artifact is known, and good as far as the server is concerned.
    pub(super) link: Option<bool>,
    /// The answer that gave the artifact from its first byte on last, in this process or an earlier one.
    pub(super) etag: Option<Version>,
    /// The download of an earlier process goes on.
    pub(super) earlier: bool,
    /// The header of the artifact at hand is on record.
    pub(super) header_stored: bool,
    /// So is the server's offer.
    pub(super) offer_stored: bool,
    /// The module was selected.
    pub(super) module: bool,
    /// The place in the artifact of the next byte that the network brings.
    pub(super) next_byte: u8,
    pub(super) chunk: Option<Chunk>,
    pub(super) parser: Parser,
    /// What the sink has of the file; gone with the power.
    pub(super) file: Option<Stored>,
    /// The parser was given other bytes than the next ones of one artifact.
    pub(super) mixed: bool,
    /// The artifact has a payload.
    payload: bool,
}

/// What came of what was done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An operation ended.
    Op(Outcome),
    /// For the session.
    Session(session::Event),
    /// For the transfer.
    Transfer(transfer::Event),
    /// For the transfer, whose request was sent.
    Head(transfer::Event),
    /// The module of the transfer was started, or not.
    Module(bool),
    /// Nothing, for as long as it may take.
    Silence,
}

/// What a client starts from.
pub(super) struct Start<'a> {
    pub(super) config: &'a Config,
    pub(super) run: Run,
    pub(super) stop_before: StopSet,
    pub(super) update: Option<Checkpoint>,
    /// The `ETag` and the link of the offer on record.
    pub(super) offer: Option<(Option<Version>, bool)>,
    pub(super) payload: bool,
}

impl Client {
    /// Starts at `now`, up to the first thing that is to be done outside.
    pub(super) fn start(now: Instant, start: Start<'_>) -> Result<Self, Refusal> {
        let Start { config, run, stop_before, update, offer, payload } = start;
        let update = update.map(|update| Checkpoint { offer: offer.is_some(), ..update });
        let (header, module) =
            update.as_ref().map_or((false, false), |update| (update.header, update.module));
        let saved = Saved { update, ..Saved::nothing() };
        let (machine, action) = Machine::start(now, config, run, stop_before, saved)?;
        let goes_on = matches!(machine.place().0, State::Download | State::Prepare) && run == Run::Daemon;
        let mut client = Self {
            machine,
            session: Session::new(),
            transfer: Transfer::new(),
            op: None,
            todo: Todo::Wait,
            link: if run == Run::Install { Some(true) } else { offer.map(|(_, link)| link) },
            etag: offer.and_then(|(etag, _)| etag).filter(|_| goes_on),
            earlier: offer.is_some() && goes_on,
            header_stored: header,
            offer_stored: offer.is_some(),
            module,
            next_byte: 0,
            chunk: None,
            parser: Parser::default(),
            file: None,
            mixed: false,
            payload,
        };
        client.perform(now, config, action);
        Ok(client)
    }

    pub(super) const fn place(&self) -> Place {
        self.machine.place()
    }

    /// What was to be done outside is done.
    pub(super) fn answered(&mut self, now: Instant, config: &Config, answer: Answer) {
        let todo = std::mem::replace(&mut self.todo, Todo::Wait);
        match answer {
            Answer::Op(outcome) => self.ended(now, config, outcome),
            Answer::Session(event) => self.tell_session(now, config, event),
            Answer::Transfer(event) => self.tell_transfer(now, config, event),
            Answer::Head(event) => {
                let _ = self.transfer.step(now, transfer::Event::Done);
                self.tell_transfer(now, config, event);
            }
            Answer::Module(true) => {
                let mark_every = if self.machine.checkpoint().offer { MARK_EVERY } else { 0 };
                let stream = Stream { mark_every, time: config.module_timeout };
                self.tell_transfer(now, config, transfer::Event::Stream(stream));
            }
            Answer::Module(false) => self.tell_transfer(now, config, transfer::Event::Stop),
            Answer::Silence => self.todo = todo,
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest(self.machine.deadline(), earliest(self.session.deadline(), self.transfer.deadline()))
    }

    /// Time has come to a deadline.
    pub(super) fn tick(&mut self, now: Instant, config: &Config) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.machine.deadline()) {
            self.tell_machine(now, config, machine::Event::Tick);
        }
        if is_due(self.session.deadline()) {
            self.tell_session(now, config, session::Event::Tick);
        }
        if is_due(self.transfer.deadline()) {
            self.tell_transfer(now, config, transfer::Event::Tick);
        }
    }

    /// Moves all times.
    pub(super) fn rebase(&mut self, from: Instant, to: Instant) {
        self.machine.rebase(from, to);
        self.session.rebase(from, to);
        self.transfer.rebase(from, to);
    }

    fn ended(&mut self, now: Instant, config: &Config, outcome: Outcome) {
        let Some((id, op)) = self.op.take() else { return };
        let event = if op == Op::Request(ApiCall::Next) && outcome == Outcome::Success {
            self.link = Some(true);
            self.offer_stored = false;
            let deployment = Text::copy(DEPLOYMENT).unwrap_or_default();
            machine::Event::Offered { op: id, id: deployment, map: OfferedMap::Absent }
        } else {
            machine::Event::Done(id, outcome)
        };
        self.tell_machine(now, config, event);
    }

    fn tell_machine(&mut self, now: Instant, config: &Config, event: machine::Event) {
        let action = self.machine.step(now, event);
        self.perform(now, config, action);
    }

    fn perform(&mut self, now: Instant, config: &Config, action: machine::Action) {
        let round = match self.place() {
            (State::Idle, Phase::Main) => session::Event::RoundOver,
            _ => session::Event::RoundBegins,
        };
        self.tell_session(now, config, round);
        match action {
            machine::Action::Start(id, op) => {
                self.op = Some((id, op));
                self.begin(now, config, op);
            }
            // The operation's end is still told: what was killed has failed.
            machine::Action::Kill => {
                self.todo = Todo::Wait;
                self.ended(now, config, Outcome::Failure);
            }
            machine::Action::SaveMaps => self.tell_machine(now, config, machine::Event::MapsSaved(true)),
            machine::Action::Wait => {}
            machine::Action::Exit(report) => self.todo = Todo::Exit(report),
        }
    }

    fn begin(&mut self, now: Instant, config: &Config, op: Op) {
        match op {
            Op::Request(call) => self.tell_session(now, config, session::Event::Ask(call)),
            Op::Prepare => {
                self.parser = Parser::default();
                self.chunk = None;
                self.module &= self.earlier;
                self.etag = self.etag.filter(|_| self.earlier);
                let downloader = match self.machine.run() {
                    Run::Daemon | Run::NoUpdates(_) => Downloader::Daemon,
                    Run::Install | Run::Continue(_) | Run::Bootstrap => Downloader::CommandLine,
                };
                let attempts = config.retry_download_count;
                let begin = Begin { downloader, attempts, earlier: self.earlier };
                self.tell_transfer(now, config, transfer::Event::Begin(begin));
            }
            Op::Stream(call) => self.todo = Todo::StartModule(call),
            Op::Save
            | Op::SaveMaps
            | Op::SaveProvides(_)
            | Op::ClearData
            | Op::RunScript(..)
            | Op::CheckVersion
            | Op::CallModule(_)
            | Op::Reboot
            | Op::AskPolicy(_)
            | Op::End => self.todo = Todo::Op(op),
        }
    }

    pub(super) fn tell_session(&mut self, now: Instant, config: &Config, event: session::Event) {
        let servers = session::Config { servers: SERVERS };
        match self.session.step(&servers, now, event) {
            session::Action::FindIdentity => self.todo = Todo::Identity,
            session::Action::CollectInventory => self.todo = Todo::Inventory,
            session::Action::Send(kind, server) => self.todo = Todo::Send(kind, server),
            session::Action::Read => {
                if let session::Awaits::Body(kind, server, reply) = self.session.awaits() {
                    self.todo = Todo::Read(kind, server, reply);
                }
            }
            session::Action::Ended(outcome) => {
                self.todo = Todo::Wait;
                if matches!(self.op, Some((_, Op::Request(_)))) {
                    self.ended(now, config, outcome);
                } else {
                    let link = self.fresh_link(outcome);
                    self.tell_transfer(now, config, transfer::Event::Link(link));
                }
            }
            session::Action::Cancel => self.todo = Todo::Wait,
            session::Action::Wait => {}
        }
    }

    /// The request for a fresh link ended.
    fn fresh_link(&mut self, outcome: Outcome) -> Link {
        match outcome {
            Outcome::Success | Outcome::Automatic => {
                self.link = Some(true);
                Link::Fresh
            }
            Outcome::Later(seconds) => {
                Link::NotNow(seconds.map(|seconds| thimble_core::http::RetryAfter { seconds }))
            }
            Outcome::Failure => Link::NotNow(None),
            Outcome::Nothing | Outcome::Aborted | Outcome::Refused => Link::NotOffered,
        }
    }

    pub(super) fn tell_transfer(&mut self, now: Instant, config: &Config, event: transfer::Event) {
        use transfer::Action;
        let mut event = event;
        loop {
            self.todo = match self.transfer.step(now, event) {
                Action::Request { offset, again: _ } => Todo::Download(offset),
                Action::AwaitHead | Action::Wait | Action::AwaitLink | Action::Pause(_) => return,
                Action::Receive => Todo::Receive,
                Action::AskForLink => {
                    // The transfer awaits the link before the session can have it.
                    let Action::AwaitLink = self.transfer.step(now, transfer::Event::Done) else { return };
                    return self.tell_session(now, config, session::Event::AskForLink);
                }
                Action::Parse { from, to } => {
                    let payload = self.payload;
                    let found = self.chunk.and_then(|chunk| self.parser.take(payload, chunk, from, to));
                    event = match found {
                        Some((taken, found)) => transfer::Event::Parsed { taken, found },
                        None => {
                            self.mixed = true;
                            transfer::Event::Failed
                        }
                    };
                    continue;
                }
                Action::Accept { again } => Todo::Accept { again },
                Action::BeginFile(_) => Todo::BeginFile,
                Action::Write { place: _, from, to } => Todo::Write { from, to },
                Action::Mark => Todo::Mark,
                Action::EndFile => Todo::EndFile,
                Action::Finish => Todo::Finish,
                Action::ReadBack(most) => Todo::ReadBack(most),
                Action::Compare => Todo::Compare,
                Action::ForgetStored(bytes) => Todo::Forget(bytes),
                Action::GiveUp { .. } | Action::AwaitModule => {
                    event = transfer::Event::Done;
                    continue;
                }
                Action::End(end) => {
                    return self.ended(
                        now,
                        config,
                        match end {
                            End::Accepted | End::Stored => Outcome::Success,
                            End::NoPayload => Outcome::Nothing,
                            End::Failed => Outcome::Failure,
                        },
                    );
                }
            };
            return;
        }
    }
}
