//! The process of the client as a value: its flow, and what the driver keeps for it. Whatever takes time or can fail is
//! left to do outside, one thing at a time. What follows from what is decided by the flow, as in the real client.

use thimble_core::api::Reply;
use thimble_core::begun::Begun;
use thimble_core::checkpoint::Checkpoint;
use thimble_core::config::Config;
use thimble_core::control::Map;
use thimble_core::deployment::Call;
use thimble_core::flow::{Due, Event, Flow, Offer, Step, Task};
use thimble_core::last_report::Ended;
use thimble_core::limits;
use thimble_core::machine::{ApiCall, Check, Machine, OfferedMap, Op, Refusal, Report, Run, Saved, StopSet};
use thimble_core::session::{self, Content, RequestKind, Session};
use thimble_core::state::{Outcome, Place};
use thimble_core::text::{Text, TextExt};
use thimble_core::time::Instant;
use thimble_core::transfer;

use super::artifact::{Chunk, MARK_EVERY, Parser, Stored, Version};
use crate::mistake::Mistake;
use crate::sayings::{DEPLOYMENT, Doors};

/// So many servers are configured.
pub(super) const SERVERS: u8 = 2;

/// The ids of the server's deployments: the second comes when the first is over.
pub(super) const DEPLOYMENTS: [&str; 2] = [DEPLOYMENT, "fedcba98-7654-3210-fedc-ba9876543210"];

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
    flow: Flow,
    mistake: Option<Mistake>,
    /// What the machine's operation or its transfer needs, or [`Todo::Wait`].
    pub(super) work: Todo,
    /// What the session needs, or [`Todo::Wait`]. Something to do beside `work` when a program fetches a token.
    pub(super) request: Todo,
    /// What of the two the checker has not seen yet.
    news: [bool; 2],
    /// The link to the artifact is known, and good as far as the server is concerned.
    pub(super) link: Option<bool>,
    /// The answer that gave the artifact from its first byte on last, in this process or an earlier one.
    pub(super) etag: Option<Version>,
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
    /// The number of the deployment that the server offers.
    pub(super) deployment: u8,
    /// The map that comes with the answer at hand.
    pub(super) map: Option<Map>,
    /// The record of the control maps.
    pub(super) maps: Option<Vec<u8>>,
}

/// What came of what was done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An operation ended.
    Op(Outcome),
    /// For the session.
    Session(session::Event),
    /// For the session: the answer to a request is here.
    Content(Content),
    /// For the transfer.
    Transfer(transfer::Event),
    /// For the transfer, whose request was sent.
    Head(transfer::Event),
    /// The header was accepted. `same_header`: it is on record already.
    Accepted { accepted: transfer::Accepted, same_header: bool },
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
    /// The last report on record, and the server that made the offer.
    pub(super) report: Option<(Ended, Option<u8>)>,
    /// The `ETag` and the link of the offer on record.
    pub(super) offer: Option<(Option<Version>, bool)>,
    pub(super) payload: bool,
    /// The number of the deployment that the server has.
    pub(super) deployment: u8,
    pub(super) mistake: Option<Mistake>,
    /// The record of the control maps.
    pub(super) maps: Option<Vec<u8>>,
    /// The deployments on record that began, and the server that offered the last of them.
    pub(super) begun: (Begun, Option<u8>),
}

impl Todo {
    /// It is the session's.
    const fn is_request(self) -> bool {
        matches!(self, Self::Identity | Self::Inventory | Self::Send(..) | Self::Read(..))
    }
}

impl Client {
    /// Starts at `now`, up to the first thing that is to be done outside.
    pub(super) fn start(now: Instant, start: Start<'_>) -> Result<Self, Refusal> {
        let Start {
            config,
            run,
            stop_before,
            update,
            report,
            offer,
            payload,
            deployment,
            mistake,
            maps,
            begun,
        } = start;
        let update = update.map(|update| Checkpoint { offer: offer.is_some(), ..update });
        let (header, module) =
            update.as_ref().map_or((false, false), |update| (update.header, update.module));
        let (report, reported_to) = report.unzip();
        let (begun, by) = begun;
        let goes_on = update.as_ref().is_some_and(|update| begun.is_last(update.deployment.as_str()));
        let offered_by = reported_to.flatten().or(by.filter(|_| goes_on));
        let maps_on_record = Doors::maps(maps.as_deref());
        let saved = Saved { update, report, offered_by, maps: maps_on_record, begun };
        let servers = session::Config { servers: SERVERS };
        let (flow, first) = Flow::start(now, config, servers, run, stop_before, saved)?;
        let etag = offer.and_then(|(etag, _)| etag).filter(|_| flow.goes_on());
        let mut client = Self {
            flow,
            mistake,
            work: Todo::Wait,
            request: Todo::Wait,
            news: [false; 2],
            link: if run == Run::Install { Some(true) } else { offer.map(|(_, link)| link) },
            etag,
            next_byte: 0,
            chunk: None,
            parser: Parser::default(),
            file: None,
            mixed: false,
            payload,
            deployment,
            map: None,
            maps,
        };
        client.tell(now, Event::Restored { header, module });
        client.perform(now, first);
        Ok(client)
    }

    pub(super) const fn flow(&self) -> &Flow {
        &self.flow
    }

    pub(super) const fn machine(&self) -> &Machine {
        self.flow.machine()
    }

    pub(super) const fn session(&self) -> &Session {
        self.flow.session()
    }

    pub(super) const fn place(&self) -> Place {
        self.machine().place()
    }

    /// The first thing that is to be done outside, or [`Todo::Wait`].
    pub(super) const fn todo(&self) -> Todo {
        if matches!(self.work, Todo::Wait) { self.request } else { self.work }
    }

    /// This is still to be done.
    pub(super) fn has(&self, todo: Todo) -> bool {
        [self.work, self.request].contains(&todo)
    }

    /// What was to be done outside is done.
    pub(super) fn answered(&mut self, now: Instant, todo: Todo, answer: Answer) {
        if answer == Answer::Silence {
            return;
        }
        self.put(todo, Todo::Wait);
        let authenticates = self.session().is_authenticating();
        match answer {
            Answer::Op(outcome) => self.tell(now, Event::Ended(outcome)),
            Answer::Session(event) => self.tell(now, Event::Request(event)),
            Answer::Content(content) => {
                let offer = if content == Content::Good { self.offer(now, todo) } else { Offer::Nothing };
                self.tell(now, Event::Answered(content, offer));
            }
            Answer::Transfer(event) => self.tell(now, Event::Transfer(event)),
            Answer::Head(event) => {
                self.tell(now, Event::Transfer(transfer::Event::Done));
                self.tell(now, Event::Transfer(event));
            }
            Answer::Accepted { accepted, same_header } => {
                self.tell(now, Event::Accepted { accepted, same_header });
            }
            Answer::Module(true) => self.tell(now, Event::ModuleStarted { mark_every: MARK_EVERY }),
            Answer::Module(false) => self.tell(now, Event::ModuleNotStarted),
            Answer::Silence => {}
        }
        let in_vain =
            authenticates && !self.session().is_authenticating() && self.session().server().is_none();
        if in_vain && self.mistake == Some(Mistake::RoundIsForgotten) {
            self.tell(now, Event::Check(Check::Inventory));
        }
    }

    /// In place of one thing, or of what stands where it belongs, this is to be done.
    fn put(&mut self, like: Todo, todo: Todo) {
        let Self { work, request, news: [new_work, new_request], .. } = self;
        let (place, new) = if like.is_request() { (request, new_request) } else { (work, new_work) };
        (*place, *new) = (todo, todo != Todo::Wait);
    }

    /// What is to be done since this was asked last.
    pub(super) fn news(&mut self) -> [Todo; 2] {
        let [work, request] = std::mem::take(&mut self.news);
        let new = |is_new, todo| if is_new { todo } else { Todo::Wait };
        [new(work, self.work), new(request, self.request)]
    }

    /// The record of the control maps becomes what it should be.
    pub(super) fn write_maps(&mut self) {
        let mut buf = [0; limits::MAPS_RECORD];
        let record = match self.machine().maps_to_save() {
            Some(maps) => maps.write(&mut buf).map(|record| record.map(|text| text.as_bytes().to_vec())),
            None => return,
        };
        self.maps = record.unwrap_or_default();
    }

    /// The update waits at a door, and something may be said about it.
    pub(super) fn waits_at_door(&self) -> bool {
        self.todo() == Todo::Wait && self.machine().held().is_some()
    }

    /// Somebody at the device lets the update pass.
    pub(super) fn approve(&mut self, now: Instant) {
        self.tell(now, Event::Approved);
    }

    /// Somebody at the device asks for updates.
    pub(super) fn check(&mut self, now: Instant) {
        self.tell(now, Event::Check(Check::Update));
    }

    /// A program on the device wants a token.
    pub(super) fn fetch_token(&mut self, now: Instant) {
        self.tell(now, Event::FetchToken);
    }

    /// The client is told to end. `Err`: it goes on.
    pub(super) fn terminate(&mut self, now: Instant) -> Result<(), &'static str> {
        if self.mistake != Some(Mistake::EndIsIgnored) {
            self.tell(now, Event::Terminate);
        }
        if !self.flow.is_over() {
            return Err("the client was told to end, and goes on");
        }
        if self.todo() != Todo::Wait {
            return Err("the client was told to end, and something is begun");
        }
        Ok(())
    }

    /// What the answer that was read brings.
    fn offer(&mut self, now: Instant, todo: Todo) -> Offer {
        let map = self.map.take();
        if let Todo::Read(RequestKind::ControlMap, _, Reply::Done) = todo {
            return Offer::Map(map);
        }
        let Todo::Read(RequestKind::NextV2 | RequestKind::NextV1, _, Reply::Done) = todo else {
            return Offer::Nothing;
        };
        let number = usize::from(self.deployment);
        let id = DEPLOYMENTS.get(number).copied().unwrap_or_default();
        let is_poll = self.flow.op() == Some(Op::Request(ApiCall::Next));
        if is_poll && self.machine().turns_down(now, id).is_some() {
            return Offer::Deployment(Text::copy(id).unwrap_or_default(), OfferedMap::Absent);
        }
        self.link = Some(true);
        if is_poll {
            let map = map.map_or(OfferedMap::Absent, OfferedMap::Map);
            Offer::Deployment(Text::copy(id).unwrap_or_default(), map)
        } else {
            if let Some(map) = map {
                self.tell(now, Event::ServerMap(map));
            }
            Offer::Nothing
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.flow.deadline()
    }

    /// Time has come to a deadline.
    pub(super) fn tick(&mut self, now: Instant) {
        // As often as there are machines: nothing is due again at once.
        for _ in 0..3 {
            match self.flow.due(now) {
                None => break,
                Some(Due::Room) if self.mistake == Some(Mistake::WishIsForgotten) => break,
                Some(Due::Machine | Due::Session | Due::Room | Due::Transfer) => {}
            }
            self.tell(now, Event::Tick);
        }
    }

    /// Moves all times.
    pub(super) fn rebase(&mut self, from: Instant, to: Instant) {
        self.flow.rebase(from, to);
    }

    fn tell(&mut self, now: Instant, event: Event) {
        let step = self.flow.step(now, event);
        self.perform(now, step);
    }

    /// Does what the flow says, up to the first thing that is left to do outside.
    fn perform(&mut self, now: Instant, step: Step) {
        let mut step = step;
        while let Some(event) = self.begin(step) {
            step = self.flow.step(now, event);
        }
    }

    fn begin(&mut self, step: Step) -> Option<Event> {
        if step.drop {
            self.request = Todo::Wait;
            if matches!(self.work, Todo::Download(_) | Todo::Receive) {
                self.work = Todo::Wait;
            }
        }
        let todo = match step.task {
            Task::Wait | Task::PutOff(_) => return None,
            Task::Begin(Op::Request(_)) => return Some(Event::Ready),
            Task::Begin(Op::Prepare) => {
                if self.mistake != Some(Mistake::ParserIsKept) {
                    self.parser = Parser::default();
                }
                self.chunk = None;
                self.etag = self.etag.filter(|_| self.flow.goes_on());
                return Some(Event::Ready);
            }
            Task::Begin(Op::Stream(call)) => Todo::StartModule(call),
            Task::Begin(op) => Todo::Op(op),
            // The operation's end is still told: what was killed has failed.
            Task::Kill(_) => {
                self.work = Todo::Wait;
                return Some(Event::Ended(Outcome::Failure));
            }
            Task::SaveMaps => {
                self.write_maps();
                return Some(Event::MapsSaved(true));
            }
            Task::FindIdentity => Todo::Identity,
            Task::CollectInventory => Todo::Inventory,
            Task::Send(kind, server) => Todo::Send(kind, server),
            Task::Read => match self.session().awaits() {
                session::Awaits::Body(kind, server, reply) => Todo::Read(kind, server, reply),
                session::Awaits::Nothing
                | session::Awaits::Identity
                | session::Awaits::Inventory
                | session::Awaits::Head(_) => return None,
            },
            Task::ReceiveFirst => Todo::Receive,
            Task::Transfer(action) => return self.move_on(action),
            Task::Exit(report) => Todo::Exit(report),
        };
        self.put(todo, todo);
        None
    }

    fn move_on(&mut self, action: transfer::Action) -> Option<Event> {
        use transfer::Action;
        let todo = match action {
            Action::Request { offset, again: _ } => Todo::Download(offset),
            Action::AwaitHead | Action::Wait | Action::AwaitLink | Action::Pause(_) | Action::End(_) => {
                return None;
            }
            Action::Receive => Todo::Receive,
            Action::GiveUp { .. } => {
                self.work = Todo::Wait;
                return Some(Event::Transfer(transfer::Event::Done));
            }
            Action::AskForLink | Action::AwaitModule => {
                return Some(Event::Transfer(transfer::Event::Done));
            }
            Action::Parse { from, to } => {
                let payload = self.payload;
                let found = self.chunk.and_then(|chunk| self.parser.take(payload, chunk, from, to));
                self.mixed |= found.is_none();
                return Some(Event::Transfer(match found {
                    Some((taken, found)) => transfer::Event::Parsed { taken, found },
                    None => transfer::Event::Failed,
                }));
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
        };
        self.put(todo, todo);
        None
    }
}
