//! One device: the client's own decisions, and what is outside of them, in as few words as will do.

use thimble_core::begun::Begun;
use thimble_core::checkpoint::Checkpoint;
use thimble_core::control::Pool;
use thimble_core::deployment::{Call, Point};
use thimble_core::flow::{Event, Flow, Offer, Step, Task};
use thimble_core::hal::Permit;
use thimble_core::http::{ContentRange, Head};
use thimble_core::limits;
use thimble_core::machine::{ApiCall, OfferedMap, Op, Run, Saved, StopSet};
use thimble_core::session::{self, Awaits, Content, RequestKind};
use thimble_core::state::{Outcome, State};
use thimble_core::text::{Text, TextExt};
use thimble_core::time::{Duration, Instant, earliest};
use thimble_core::transfer::{self, Accepted, Action, Etag, Found, Place};

use super::chance::Chance;
use super::figures::{Figures, Kind, Stage};
use super::network::Connection;
use super::plan::{HEADER, Plan, Start};
use super::server::{self, Answer, Known};
use crate::sayings::DEPLOYMENT;

/// A device at the end of a power cut has booted within so much time of the others.
const BOOTS_WITHIN: Duration = Duration::from_secs(10);

/// It takes so long until a lost connection is noticed.
const NOTICED: Duration = Duration::from_secs(10);

/// Most bytes that come at once: they are counted in a `usize`, which some hosts have small.
const AT_ONCE: u64 = 1 << 30;

/// Everything outside of the devices.
pub(super) struct World<'p> {
    pub(super) plan: &'p Plan<'p>,
    pub(super) figures: Figures,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outside {
    Nothing,
    /// The device is switched on, or has rebooted.
    Boot,
    /// The head of an answer of the server's.
    Head(Answer),
    /// The connection was lost before the head of an answer came.
    Lost,
    /// An operation of the client's ends.
    Op(Outcome),
    /// The head of the answer about the artifact, from this byte on.
    Artifact(u64),
    /// So many bytes of it.
    Bytes(u64),
    /// The connection was lost while the artifact came.
    Broken,
}

/// What outlives a reboot, while there is an update.
#[derive(Clone, Debug)]
struct Records {
    update: Checkpoint,
    begun: Begun,
    /// The control maps, as they are written.
    maps: Option<Vec<u8>>,
}

/// See the file's documentation.
#[derive(Clone, Debug)]
pub(super) struct Device {
    flow: Flow,
    outside: Outside,
    /// When that comes.
    at: Instant,
    /// When the process of the client started.
    started: Instant,
    chance: Chance,
    connection: Connection,
    known: Known,
    /// The answer whose body comes next.
    answer: Option<Answer>,
    records: Option<Box<Records>>,
    /// Bytes of the artifact that were parsed.
    parsed: u64,
    stage: Stage,
    zone: i16,
    /// Its `ArtifactInstall` fails.
    fails: bool,
    /// It was held back.
    waited: bool,
    /// What is installed, and what was when the server accepted the inventory.
    is_new: bool,
    inventory_of: Option<bool>,
}

impl Device {
    /// Number `number` of the fleet, switched off; and when it is switched on.
    pub(super) fn new(plan: &Plan<'_>, number: u32, fails: bool) -> (Self, Instant) {
        let mut chance = Chance::of(plan.seed, number.into());
        let within = match plan.start {
            Start::Spread => plan.config.update_poll_interval,
            Start::AllAtOnce => BOOTS_WITHIN,
        };
        let at = Instant::ZERO + chance.between(Duration::ZERO, within);
        let connection = Connection::new(plan.offline, &mut chance);
        let zone = plan.zones.get(number as usize % plan.zones.len().max(1)).copied().unwrap_or_default();
        let device = Self {
            flow: Flow::over(),
            outside: Outside::Boot,
            at,
            started: at,
            chance,
            connection,
            known: Known::default(),
            answer: None,
            records: None,
            parsed: 0,
            stage: Stage::Off,
            zone,
            fails,
            waited: false,
            is_new: false,
            inventory_of: None,
        };
        (device, at)
    }

    /// Does what it can do now. When it goes on; `None`: never.
    pub(super) fn turn(&mut self, now: Instant, world: &mut World<'_>) -> Result<Option<Instant>, String> {
        world.figures.turns += 1;
        if self.outside != Outside::Nothing && self.at <= now {
            match std::mem::replace(&mut self.outside, Outside::Nothing) {
                Outside::Nothing => {}
                Outside::Boot => self.boot(now, world)?,
                Outside::Head(answer) => {
                    self.answer = Some(answer);
                    self.tell(now, Event::Request(session::Event::Head(answer.reply)), world)?;
                }
                Outside::Lost => {
                    self.tell(now, Event::Request(session::Event::Broken { lost: true }), world)?;
                }
                Outside::Op(outcome) => self.tell(now, Event::Ended(outcome), world)?,
                Outside::Artifact(offset) => {
                    self.tell(now, Event::Transfer(artifact_head(world.plan, offset)), world)?;
                }
                Outside::Bytes(bytes) => {
                    world.figures.bytes += bytes;
                    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                    self.tell(now, Event::Transfer(transfer::Event::Came(bytes)), world)?;
                }
                Outside::Broken => {
                    self.tell(now, Event::Transfer(transfer::Event::Broken { again: true }), world)?;
                }
            }
        }
        // As often as there are machines: nothing is due again at once.
        for _ in 0..3 {
            if self.flow.due(now).is_none() {
                break;
            }
            self.tell(now, Event::Tick, world)?;
        }
        self.note_stage(world);
        Ok(self.wakes(now))
    }

    fn wakes(&mut self, now: Instant) -> Option<Instant> {
        let outside = (self.outside != Outside::Nothing).then_some(self.at);
        let due = self.flow.deadline();
        let due = match (due, outside) {
            (Some(at), None) => {
                let random = self.chance.bits();
                self.flow.put_off(self.started, now, at, random).or(due)
            }
            (Some(_), Some(_)) | (None, _) => due,
        };
        earliest(outside, due)
    }

    /// The client's process starts.
    fn boot(&mut self, now: Instant, world: &mut World<'_>) -> Result<(), String> {
        let config = &world.plan.config;
        let mut saved = Saved::nothing();
        if let Some(records) = &self.records {
            let boot = config.update_control_map_boot_expiration;
            let maps = records.maps.as_deref();
            let update = Checkpoint { offer: false, ..records.update.clone() };
            saved = Saved {
                update: Some(update),
                report: None,
                offered_by: Some(0),
                maps: maps.map_or(Some(Pool::new()), |maps| Pool::load(maps, now, boot).ok()),
                begun: records.begun.clone(),
            };
        }
        let (header, module) =
            saved.update.as_ref().map_or((false, false), |update| (update.header, update.module));
        let servers = session::Config { servers: 1 };
        let (flow, first) = Flow::start(now, config, servers, Run::Daemon, StopSet::default(), saved)
            .map_err(|_| "the client does not start from its own record")?;
        self.flow = flow;
        self.started = now;
        self.inventory_of = None;
        self.tell(now, Event::Restored { header, module }, world)?;
        self.follow(now, first, world)
    }

    fn tell(&mut self, now: Instant, event: Event, world: &mut World<'_>) -> Result<(), String> {
        let step = self.flow.step(now, event);
        self.follow(now, step, world)
    }

    /// Does what the flow says, up to the first thing that takes time.
    fn follow(&mut self, now: Instant, step: Step, world: &mut World<'_>) -> Result<(), String> {
        let mut step = step;
        while let Some(event) = self.perform(now, step, world)? {
            step = self.flow.step(now, event);
        }
        Ok(())
    }

    fn perform(&mut self, now: Instant, step: Step, world: &mut World<'_>) -> Result<Option<Event>, String> {
        if step.drop && self.outside != Outside::Boot {
            self.leave(now, world);
        }
        let event = match step.task {
            Task::Wait | Task::PutOff(_) => return Ok(None),
            Task::Begin(op) => return Ok(self.begin(now, op, world)),
            Task::Kill(_) => {
                self.leave(now, world);
                Event::Ended(Outcome::Failure)
            }
            Task::SaveMaps => Event::MapsSaved(true),
            Task::FindIdentity => Event::Request(session::Event::IdentityReady),
            Task::CollectInventory => {
                let same_as_accepted = self.inventory_of == Some(self.is_new);
                Event::Request(session::Event::InventoryReady { same_as_accepted })
            }
            Task::Send(kind, _) => {
                self.send(now, kind, world);
                return Ok(None);
            }
            Task::Read => return Ok(self.read(now, world)),
            Task::ReceiveFirst => return Ok(self.receive(now, world.plan)),
            Task::Transfer(action) => return Ok(self.transfer(now, action, world)),
            Task::Exit(_) => return Err("a daemon ends though nobody has told it to".into()),
        };
        Ok(Some(event))
    }

    fn wait(&mut self, outside: Outside, at: Instant) -> Option<Event> {
        (self.outside, self.at) = (outside, at);
        None
    }

    /// What is waited for is not waited for any longer, because the client does something else, or because the time of the
    /// whole run is over. Bytes of the artifact that have come by now are counted.
    pub(super) fn leave(&mut self, now: Instant, world: &mut World<'_>) {
        if let Outside::Bytes(bytes) = self.outside {
            let to_come = u128::from(self.at.since(now).as_millis()) * u128::from(world.plan.link);
            let to_come = u64::try_from(to_come.div_ceil(1000)).unwrap_or(u64::MAX);
            world.figures.bytes += bytes.saturating_sub(to_come);
        }
        self.outside = Outside::Nothing;
    }

    /// An operation of the client's begins. Those that take no time here end at once.
    fn begin(&mut self, now: Instant, op: Op, world: &World<'_>) -> Option<Event> {
        let plan = world.plan;
        let outcome = match op {
            Op::Request(_) => return Some(Event::Ready),
            Op::Prepare => {
                self.parsed = 0;
                return Some(Event::Ready);
            }
            // Nothing is marked: no device loses its power while it downloads.
            Op::Stream(_) => return Some(Event::ModuleStarted { mark_every: 0 }),
            Op::Save => {
                self.save();
                Outcome::Success
            }
            Op::SaveProvides(_) => {
                self.is_new = self.flow.machine().verdict().is_good();
                self.save();
                Outcome::Success
            }
            Op::SaveReport | Op::ClearData => {
                self.records = None;
                Outcome::Success
            }
            Op::ForgetReport
            | Op::SaveBegun
            | Op::SaveMaps
            | Op::CheckVersion
            | Op::CheckRunning
            | Op::End => Outcome::Success,
            Op::RunScript(..) => Outcome::Nothing,
            Op::CallModule(Call::ArtifactInstall) => {
                let outcome = if self.fails { Outcome::Failure } else { Outcome::Success };
                return self.wait(Outside::Op(outcome), now + plan.install);
            }
            Op::CallModule(Call::NeedsArtifactReboot) if plan.reboot.is_some() => Outcome::Automatic,
            Op::CallModule(Call::NeedsArtifactReboot | Call::ProvidePayloadFileSizes) => Outcome::Nothing,
            Op::CallModule(_) => Outcome::Success,
            Op::Reboot => {
                self.save_maps();
                self.flow = Flow::over();
                return self.wait(Outside::Boot, now + plan.reboot.unwrap_or_default());
            }
            Op::AskPolicy(point) => self.ask_policy(now, point, plan),
        };
        Some(Event::Ended(outcome))
    }

    fn ask_policy(&self, now: Instant, point: Point, plan: &Plan<'_>) -> Outcome {
        const WEEK: i64 = 7 * 24 * 60;
        let Some(policy) = plan.policy else { return Outcome::Success };
        let minute = i64::try_from(now.as_millis() / 60_000).unwrap_or_default() + i64::from(self.zone);
        let waited = self.flow.machine().at_door_since().map_or(Duration::ZERO, |since| now.since(since));
        match policy(point, u32::try_from(minute.rem_euclid(WEEK)).unwrap_or_default(), waited) {
            Permit::Go => Outcome::Success,
            Permit::Wait(wait) => Outcome::Later(u32::try_from(wait.as_secs()).ok()),
            Permit::Fail => Outcome::Failure,
        }
    }

    /// The record of the update is what the client says.
    fn save(&mut self) {
        let machine = self.flow.machine();
        let update = machine.checkpoint().clone();
        match (&mut self.records, machine.begun_to_save()) {
            (Some(records), begun) => {
                records.update = update;
                if let Some(begun) = begun {
                    records.begun = begun.clone();
                }
            }
            (records @ None, begun) => {
                let begun = begun.cloned().unwrap_or_default();
                *records = Some(Box::new(Records { update, begun, maps: None }));
            }
        }
    }

    fn save_maps(&mut self) {
        let mut buf = [0; limits::MAPS_RECORD];
        let maps = self.flow.machine().maps().record(true).write(&mut buf);
        let maps = maps.ok().flatten().map(|text| text.as_bytes().to_vec());
        if let Some(records) = &mut self.records {
            records.maps = maps;
        }
    }

    /// A request leaves the device.
    fn send(&mut self, now: Instant, kind: RequestKind, world: &mut World<'_>) {
        let plan = world.plan;
        if self.connection.lasts(now, plan.offline, &mut self.chance).is_none() {
            world.figures.lost += 1;
            self.wait(Outside::Lost, now + NOTICED);
            return;
        }
        let answer = server::answer(plan, &mut world.figures, now, kind, &mut self.known);
        let at = now + self.latency(plan);
        self.wait(Outside::Head(answer), at);
    }

    /// Between half of the average and one and a half.
    fn latency(&mut self, plan: &Plan<'_>) -> Duration {
        let average = plan.latency.as_millis();
        Duration::from_millis((average / 2 + self.chance.below(average + 1)).max(1))
    }

    /// The body of the answer is here.
    fn read(&mut self, now: Instant, world: &mut World<'_>) -> Option<Event> {
        use thimble_core::api::Reply;
        let Awaits::Body(kind, _, reply) = self.flow.session().awaits() else { return None };
        let holds = self.answer.take().is_some_and(|answer| answer.holds);
        let map = world.plan.hold.map(|hold| server::map(hold, holds));
        let offer = match (kind, reply) {
            (RequestKind::NextV2 | RequestKind::NextV1, Reply::Done) => {
                if self.flow.op() == Some(Op::Request(ApiCall::Next)) {
                    let map = map.map_or(OfferedMap::Absent, OfferedMap::Map);
                    Offer::Deployment(Text::copy(DEPLOYMENT).unwrap_or_default(), map)
                } else {
                    // A fresh link.
                    if let Some(map) = map {
                        let step = self.flow.step(now, Event::ServerMap(map));
                        if step.task == Task::SaveMaps {
                            let _: Step = self.flow.step(now, Event::MapsSaved(true));
                        }
                    }
                    Offer::Nothing
                }
            }
            (RequestKind::ControlMap, Reply::Done) => Offer::Map(map),
            (RequestKind::Inventory, Reply::Done) => {
                self.inventory_of = Some(self.is_new);
                Offer::Nothing
            }
            (
                RequestKind::Token
                | RequestKind::NextV2
                | RequestKind::NextV1
                | RequestKind::Status(_)
                | RequestKind::StatusAlone(_)
                | RequestKind::Log
                | RequestKind::Inventory
                | RequestKind::ControlMap,
                Reply::Done
                | Reply::Nothing
                | Reply::Unauthorized
                | Reply::NotFound
                | Reply::SubstateRefused
                | Reply::Aborted
                | Reply::TooLarge
                | Reply::Later(_)
                | Reply::Failed(_),
            ) => Offer::Nothing,
        };
        Some(Event::Answered(Content::Good, offer))
    }

    /// The transfer of the artifact goes on.
    fn transfer(&mut self, now: Instant, action: Action, world: &mut World<'_>) -> Option<Event> {
        let event = match action {
            Action::Wait | Action::AwaitLink | Action::Pause(_) | Action::End(_) => return None,
            // It leaves the device whatever the connection is like; whether an answer comes is another question.
            Action::Request { .. } => transfer::Event::Done,
            Action::AwaitHead => {
                if self.connection.lasts(now, world.plan.offline, &mut self.chance).is_none() {
                    world.figures.lost += 1;
                    return self.wait(Outside::Broken, now + NOTICED);
                }
                world.figures.request(now, Kind::Artifact);
                let at = now + self.latency(world.plan);
                return self.wait(Outside::Artifact(self.flow.transfer().received()), at);
            }
            Action::Receive => return self.receive(now, world.plan),
            Action::GiveUp { .. } => {
                self.leave(now, world);
                transfer::Event::Done
            }
            Action::Parse { from, to } => self.parse(world.plan.size, to.saturating_sub(from)),
            Action::Accept { .. } => {
                let same_header = false;
                if self.flow.saves_before_accepting(same_header).is_some() {
                    self.save();
                }
                return Some(Event::Accepted { accepted: Accepted::Payload { kept: false }, same_header });
            }
            Action::BeginFile(_) => transfer::Event::FileBegan { stored: 0 },
            Action::Write { from, to, place: _ } => transfer::Event::Took(to.saturating_sub(from)),
            Action::Mark | Action::EndFile | Action::Finish | Action::AskForLink | Action::AwaitModule => {
                transfer::Event::Done
            }
            // Nothing is stored by an earlier process.
            Action::ReadBack(_) | Action::Compare | Action::ForgetStored(_) => transfer::Event::Failed,
        };
        Some(Event::Transfer(event))
    }

    /// Bytes of the artifact are waited for: the header, and then the rest, as long as the connection lasts.
    fn receive(&mut self, now: Instant, plan: &Plan<'_>) -> Option<Event> {
        let received = self.flow.transfer().received();
        let left = plan.size.saturating_sub(received);
        if left == 0 {
            return Some(Event::Transfer(transfer::Event::Complete));
        }
        let Some(until) = self.connection.lasts(now, plan.offline, &mut self.chance) else {
            return self.wait(Outside::Broken, now + NOTICED);
        };
        let wanted = if received < HEADER { HEADER - received } else { left.min(AT_ONCE) };
        let time = Duration::from_millis((wanted * 1000).div_ceil(plan.link).max(1));
        if now + time <= until {
            return self.wait(Outside::Bytes(wanted), now + time);
        }
        let come = u128::from(until.since(now).as_millis()) * u128::from(plan.link) / 1000;
        match u64::try_from(come).unwrap_or(u64::MAX).min(wanted) {
            0 => self.wait(Outside::Broken, until + NOTICED),
            come => self.wait(Outside::Bytes(come), until),
        }
    }

    /// Bytes of the artifact are parsed, up to the next thing that is found: a header, one byte for the head of a file,
    /// the file, one byte for its end.
    fn parse(&mut self, size: u64, given: usize) -> transfer::Event {
        let (at, given, file_end) = (self.parsed, given as u64, size - 1);
        let (taken, found) = if at < HEADER {
            let taken = given.min(HEADER - at);
            (taken, if at + taken == HEADER { Found::Header } else { Found::Nothing })
        } else if at == HEADER {
            (1, Found::File { size: file_end - HEADER - 1, plain: true })
        } else if at < file_end {
            let taken = given.min(file_end - at);
            let length = usize::try_from(taken).unwrap_or(usize::MAX);
            (taken, Found::Bytes { length, place: Place::Chunk })
        } else {
            (1, Found::FileEnd)
        };
        self.parsed += taken;
        transfer::Event::Parsed { taken: usize::try_from(taken).unwrap_or(usize::MAX), found }
    }

    fn note_stage(&mut self, world: &mut World<'_>) {
        let stage = self.stage_now();
        if stage == Stage::Waits && !self.waited {
            self.waited = true;
            world.figures.waited += 1;
        }
        world.figures.moves(std::mem::replace(&mut self.stage, stage), stage);
    }

    fn stage_now(&self) -> Stage {
        if self.outside == Outside::Boot {
            return if self.stage == Stage::Off { Stage::Off } else { Stage::Reboots };
        }
        match self.known.ended {
            Some(true) => return Stage::Good,
            Some(false) => return Stage::Failed,
            None => {}
        }
        if self.flow.machine().held().is_some() {
            return Stage::Waits;
        }
        match self.flow.machine().place().0 {
            State::Idle | State::Inventory | State::Poll => Stage::Idle,
            State::Offer
            | State::ReportDownloading
            | State::Prepare
            | State::CheckSizes
            | State::Download => Stage::Downloads,
            State::EmptyPayload
            | State::InstallDoor
            | State::ReportInstalling
            | State::Install
            | State::CheckReboot
            | State::CheckAutoCommit
            | State::AwaitCommit
            | State::CheckRunning
            | State::RebootDoor
            | State::ReportRebooting
            | State::Reboot
            | State::VerifyReboot
            | State::CommitDoor
            | State::ReportCommit
            | State::CheckVersion
            | State::Commit
            | State::CheckRollback
            | State::Rollback
            | State::CheckRollbackReboot
            | State::RollbackReboot
            | State::VerifyRollbackReboot
            | State::RollbackFailed
            | State::Failure
            | State::SaveProvides
            | State::StateLoop
            | State::Cleanup
            | State::ReportFinal
            | State::ReportLog
            | State::ClearData
            | State::End => Stage::Installs,
        }
    }
}

/// The head of the answer about the artifact.
fn artifact_head(plan: &Plan<'_>, offset: u64) -> transfer::Event {
    let head = |status, length, content_range| Head {
        status,
        content_length: Some(length),
        content_range,
        retry_after: None,
    };
    if offset == 0 {
        return transfer::Event::Head(head(200, plan.size, None), Etag::Unknown);
    }
    let range = ContentRange { first: offset, last: plan.size - 1, size: Some(plan.size) };
    transfer::Event::Head(head(206, plan.size - offset, Some(range)), Etag::Same)
}
