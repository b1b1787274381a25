//! The machine: told what happened, it says what to do next.
//!
//! [`Machine::step`] takes one [`Event`] and returns one [`Action`]. At most one operation is outstanding at a time;
//! its end comes back as [`Event::Done`]. No clock, no I/O, no traits: the machine can be cloned, compared, hashed
//! and walked through every path.

mod doors;

use crate::checkpoint::{Checkpoint, RebootKind, Tag};
use crate::config::{self, Config};
use crate::control::Point;
use crate::deployment::{Call, Status, Verdict};
use crate::hal::RetryAfter;
use crate::limits;
use crate::retry::{Backoff, Purpose, Schedule};
use crate::script::Transition;
use crate::state::{self, Mode, Outcome, Phase, Place, State, Verb};
use crate::text::Text;
use crate::time::{Instant, earliest};

/// What the process was started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// The daemon: goes on with a saved deployment, then polls for ever.
    Daemon,
    /// `install`: one artifact.
    Install,
    /// `resume`, `commit` or `rollback`.
    Continue(Verb),
    /// The bootstrap artifact: provides only, no signature, no scripts.
    Bootstrap,
}

impl Run {
    const fn mode(self) -> Mode {
        match self {
            Self::Daemon => Mode::Managed,
            Self::Install | Self::Continue(_) | Self::Bootstrap => Mode::Standalone,
        }
    }
}

/// Points where the command line can be told to stop (`--stop-before`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Mender's own names")]
pub enum Stop {
    ArtifactInstallEnter,
    ArtifactCommitEnter,
    ArtifactCommitLeave,
    ArtifactRollbackEnter,
    ArtifactFailureEnter,
    Cleanup,
}

impl Stop {
    /// All points, in the order an update passes them.
    pub const ALL: [Self; 6] = [
        Self::ArtifactInstallEnter,
        Self::ArtifactCommitEnter,
        Self::ArtifactCommitLeave,
        Self::ArtifactRollbackEnter,
        Self::ArtifactFailureEnter,
        Self::Cleanup,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ArtifactInstallEnter => "ArtifactInstall_Enter",
            Self::ArtifactCommitEnter => "ArtifactCommit_Enter",
            Self::ArtifactCommitLeave => "ArtifactCommit_Leave",
            Self::ArtifactRollbackEnter => "ArtifactRollback_Enter",
            Self::ArtifactFailureEnter => "ArtifactFailure_Enter",
            Self::Cleanup => "Cleanup",
        }
    }

    /// The point a place is, and the record that says "stopped before it".
    #[rustfmt::skip]
    const fn at(place: Place) -> Option<(Self, Tag)> {
        match place {
            (State::Install,  Phase::Enter) => Some((Self::ArtifactInstallEnter,  Tag::BeforeInstall)),
            (State::Commit,   Phase::Enter) => Some((Self::ArtifactCommitEnter,   Tag::BeforeCommit)),
            (State::Commit,   Phase::Leave) => Some((Self::ArtifactCommitLeave,   Tag::BeforeCommitLeave)),
            (State::Rollback, Phase::Enter) => Some((Self::ArtifactRollbackEnter, Tag::Rollback)),
            (State::Failure,  Phase::Enter) => Some((Self::ArtifactFailureEnter,  Tag::Failure)),
            (State::Cleanup,  Phase::Main)  => Some((Self::Cleanup,               Tag::Cleanup)),
            _ => None,
        }
    }
}

/// A set of [`Stop`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StopSet(u8);

impl StopSet {
    /// With `stop` in it.
    #[must_use]
    pub const fn with(self, stop: Stop) -> Self {
        Self(self.0 | 1 << stop as u8)
    }

    /// Whether `stop` is in it.
    #[must_use]
    pub const fn contains(self, stop: Stop) -> bool {
        self.0 & 1 << stop as u8 != 0
    }
}

/// Names one operation, so that a completion that comes too late is not taken for another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OpId(u32);

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Action {
    /// Begin this operation and report its end with [`Event::Done`] and the same id.
    Start(OpId, Op),
    /// End the outstanding operation; its end is still reported with [`Event::Done`], as [`Outcome::Failure`].
    Kill,
    /// Nothing new. Wait for the outstanding operation, for [`Machine::deadline`], or for another event.
    Wait,
    /// The process has nothing more to do.
    Exit(Report),
}

/// An operation. At most one is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Make [`Machine::checkpoint`] durable, in one batch with the header records when it has `header` and they are
    /// not stored yet.
    Save,
    /// Make name and provides of the artifact durable in one batch with the checkpoint (daemon) or with the end of
    /// the record (command line).
    SaveProvides(Naming),
    /// Delete the record and the header records; write the control maps in the same batch if they are to be saved.
    ClearData,
    /// Run script number `index` of the transition. [`Outcome::Nothing`]: there is none of that number.
    /// [`Outcome::Later`]: exit status 21. [`Outcome::Refused`]: the scripts cannot be run at all.
    RunScript(Transition, u16),
    /// Check the version file of the root filesystem's scripts.
    CheckVersion,
    /// Call the module. Queries: `Yes` is success, `No` is nothing.
    CallModule(Call),
    /// Ask for the artifact and read its header: verified, fitting this device, a handler there, work tree built,
    /// scripts published. [`Outcome::Nothing`]: the payload is empty (and the artifact was read to its end).
    Prepare,
    /// Hand the payload to the module, to the verified end; with sizes if it wants them.
    Stream(Call),
    /// Run the reboot command. [`Outcome::Success`] never comes on a machine that reboots.
    Reboot,
    /// A request to the server.
    Request(ApiCall),
    /// Make [`Machine::maps`] durable, then call [`Machine::maps_saved`].
    SaveMaps,
    /// The deployment is over: its log is closed.
    End,
}

/// What the name on record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Naming {
    /// Name, group and provides of the new artifact.
    Good,
    /// The new name with `_INCONSISTENT`, the new group; provides as they were.
    Inconsistent,
    /// The new name with `_INCONSISTENT`, group and provides of the new artifact (state loop).
    Loop,
}

/// Requests to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiCall {
    /// Run the inventory scripts and send what they say.
    Inventory,
    /// Is there a deployment? [`Outcome::Success`]: yes, see [`Machine::offer`].
    Next,
    /// Report a status of the deployment.
    Status {
        /// The status.
        status: Status,
        /// Drop the token first, so that the running system proves that it can authenticate.
        fresh_token: bool,
    },
    /// Send the log of the deployment.
    Log,
    /// Ask for the deployment's control map anew.
    ControlMap,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The operation ended.
    Done(OpId, Outcome),
    /// Time passed. Harmless when it did not.
    Tick,
    /// Somebody wants a poll or an inventory push now; held back until the machine is idle.
    Check(Check),
    /// The control maps changed.
    ControlChanged,
}

/// What a signal or a user can ask the daemon for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Check {
    Update,
    Inventory,
}

/// How a run of the command line ended, for its messages and its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// How far it got.
    pub reached: Reached,
    /// How the update stands.
    pub verdict: Verdict,
    /// Where this run failed first. The phase tells a failed commit from a failed step after the commit.
    pub failed_at: Option<Place>,
    /// Module `Cleanup` failed.
    pub cleanup_failed: bool,
    /// What the module answered to `NeedsArtifactReboot` in this run.
    pub reboot: RebootKind,
    /// The module could not roll back, so the commit followed at once.
    pub auto_commit: bool,
}

impl Report {
    /// True when the verb did what it was asked for and left nothing inconsistent.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.failed_at.is_none() && !self.cleanup_failed && !self.verdict.is_inconsistent()
    }
}

/// How far a run of the command line got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reached {
    /// The artifact was refused before anything of it was stored.
    Nothing,
    /// The artifact has no payload; its provides are committed.
    EmptyCommitted,
    /// Stopped before this point, as asked.
    Stopped(Stop),
    /// Installed; waits for `commit` or `rollback`.
    AwaitingCommit,
    /// A rollback was asked for and the module has none; the update stays as it is.
    RollbackUnsupported,
    /// Everything was done and the record is gone.
    Ended,
    /// The end could not be stored; `resume` tries again.
    Unfinished,
}

/// Why a verb cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No update is in progress.
    NoUpdate,
    /// An update is in progress: `install` must not begin.
    InProgress,
    /// The daemon's deployment is in progress.
    Deployment,
    /// The update has reached this point, where the verb makes no sense.
    WrongState(Tag),
}

/// What the machine is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// An operation of the place it stands at.
    Work { deadline: Option<Instant>, killed: bool },
    /// The record is being written before the place begins.
    Saving,
    /// The load is being counted before a saved update goes on.
    Loading,
    /// The record of a stop is being written.
    Stopping(Stop),
    /// A script or request is to be repeated then.
    Pause(Instant),
    /// Idle, or held back by a control map.
    Waiting,
    /// The run is over.
    Over,
}

/// What a place does on entry: an operation, or it has its outcome at once.
enum Begin {
    Start(Op),
    Wait,
    Already(Outcome),
}

/// The state machine of one client. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    config: Config,
    run: Run,
    stop_before: StopSet,
    state: State,
    phase: Phase,
    doing: Doing,
    op: u32,
    verdict: Verdict,
    checkpoint: Checkpoint,
    /// What is on record, as far as the machine was told; `None`: no update in progress.
    saved: Option<Checkpoint>,
    scripts: Scripts,
    file_sizes: bool,
    report: Report,
    /// `rollback` was asked for and has not been decided yet.
    rollback_asked: bool,
    /// The repeats of the report that must get through.
    report_backoff: Backoff,
    report_is_repeat: bool,
    doors: doors::Doors,
    daemon: Daemon,
}

/// The scripts of the transition at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Scripts {
    index: u16,
    first_start: Option<Instant>,
    failed: bool,
}

/// What only the daemon needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Daemon {
    update_due: bool,
    inventory_due: bool,
    inventory_accepted: bool,
    next_update: Option<Instant>,
    next_inventory: Option<Instant>,
    poll_backoff: Backoff,
    inventory_backoff: Backoff,
}

impl Machine {
    /// Starts the run, from the saved record if there is one: first boot, reboot, crash and power loss are one path.
    ///
    /// # Errors
    /// [`Refusal`]: the verb cannot be carried out; nothing was changed.
    pub fn start(
        now: Instant,
        config: &Config,
        run: Run,
        stop_before: StopSet,
        saved: Option<Checkpoint>,
    ) -> Result<(Self, Action), Refusal> {
        let (place, verdict) = match (run, &saved) {
            (Run::Daemon, Some(record)) if record.mode == Mode::Managed => {
                let (state, phase, verdict) = state::resume(record);
                ((state, phase), verdict)
            }
            (Run::Daemon, _) => ((State::Idle, Phase::Enter), Verdict::Good),
            (Run::Bootstrap, _) | (Run::Install, None) => ((State::Prepare, Phase::Main), Verdict::Good),
            (Run::Install, Some(_)) => return Err(Refusal::InProgress),
            (Run::Continue(_), None) => return Err(Refusal::NoUpdate),
            (Run::Continue(_), Some(record)) if record.mode == Mode::Managed => {
                return Err(Refusal::Deployment);
            }
            (Run::Continue(verb), Some(record)) => match state::resume_standalone(verb, record) {
                Some((state, phase, verdict)) => ((state, phase), verdict),
                None => return Err(Refusal::WrongState(record.tag)),
            },
        };
        // A standalone update that waits for its user is none of the daemon's.
        let saved = saved.filter(|record| record.mode == run.mode() && run != Run::Bootstrap);
        // An install or commit that was cut off has failed, unless a rollback is what was asked for.
        let interrupted =
            matches!(run, Run::Continue(Verb::Resume | Verb::Commit)) && place.0 == State::CheckRollback;
        let mut machine = Self {
            config: config.clone(),
            run,
            stop_before,
            state: place.0,
            phase: place.1,
            doing: Doing::Over,
            op: 0,
            verdict,
            checkpoint: saved.clone().unwrap_or_else(|| blank(run.mode())),
            saved,
            scripts: Scripts::default(),
            file_sizes: false,
            report: Report {
                reached: Reached::Unfinished,
                verdict,
                failed_at: None,
                cleanup_failed: false,
                reboot: RebootKind::None,
                auto_commit: false,
            },
            rollback_asked: run == Run::Continue(Verb::Rollback),
            report_backoff: Backoff::new(),
            report_is_repeat: false,
            doors: doors::Doors::default(),
            daemon: Daemon {
                update_due: true,
                inventory_due: true,
                inventory_accepted: false,
                next_update: None,
                next_inventory: None,
                poll_backoff: Backoff::new(),
                inventory_backoff: Backoff::new(),
            },
        };
        let action = match (&machine.saved, run.mode()) {
            (Some(record), Mode::Managed) => {
                if record.stores >= limits::STORES {
                    machine.state_loop(now)
                } else {
                    // Loads count as writes do, or a device that dies again and again would never give up.
                    machine.checkpoint.stores = record.stores.saturating_add(1);
                    machine.doing = Doing::Loading;
                    machine.start_op(Op::Save)
                }
            }
            (Some(record), Mode::Standalone) => {
                let begun = !record.stopped
                    && !matches!(record.tag, Tag::BeforeInstall | Tag::BeforeCommit | Tag::BeforeCommitLeave);
                if interrupted {
                    machine.report.failed_at = Some((
                        if record.tag == Tag::Install { State::Install } else { State::Commit },
                        Phase::Main,
                    ));
                }
                machine.enter(now, place, begun)
            }
            (None, _) => machine.enter(now, place, false),
        };
        Ok((machine, action))
    }

    /// What happened, and what to do next. Events that change nothing give [`Action::Wait`].
    pub fn step(&mut self, now: Instant, event: Event) -> Action {
        match event {
            Event::Done(OpId(op), outcome) if op == self.op => self.done(now, outcome),
            Event::Done(..) => Action::Wait,
            Event::Tick => self.tick(now),
            Event::Check(check) => {
                match check {
                    Check::Update => self.daemon.update_due = true,
                    Check::Inventory => self.daemon.inventory_due = true,
                }
                self.tick(now)
            }
            Event::ControlChanged => match self.woken(now, true) {
                Some(outcome) if self.is_paused() => self.go_on(now, outcome),
                Some(_) | None => Action::Wait,
            },
        }
    }

    /// When to send [`Event::Tick`], at the latest. `None`: only events move the machine.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match self.doing {
            Doing::Work { deadline, killed: _ } => deadline,
            Doing::Pause(until) => Some(until),
            Doing::Waiting if self.is_paused() => self.door_deadline(),
            Doing::Waiting => earliest(self.daemon.next_update, self.daemon.next_inventory),
            Doing::Saving | Doing::Loading | Doing::Stopping(_) | Doing::Over => None,
        }
    }

    /// What [`Op::Save`] must make durable.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Whether what is on record equals [`Machine::checkpoint`]: the invariant of every action that touches the
    /// device.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.saved.as_ref() == Some(&self.checkpoint)
    }

    /// Where the machine stands.
    #[must_use]
    pub const fn place(&self) -> Place {
        (self.state, self.phase)
    }

    /// How the update stands.
    #[must_use]
    pub const fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// When the server is asked for a deployment next; a deployment in progress goes first.
    #[must_use]
    pub const fn next_update(&self) -> Option<Instant> {
        self.daemon.next_update
    }

    /// When the inventory is sent next.
    #[must_use]
    pub const fn next_inventory(&self) -> Option<Instant> {
        self.daemon.next_inventory
    }

    /// What the run was started for.
    #[must_use]
    pub const fn run(&self) -> Run {
        self.run
    }

    /// The deployment's id, while [`ApiCall::Next`] or an update of the daemon's is in progress; else empty.
    #[must_use]
    pub fn deployment(&self) -> &str {
        self.checkpoint.deployment.as_str()
    }

    /// The driver got an offer from the server; called before it reports [`ApiCall::Next`] as a success.
    pub fn offer(&mut self, id: Text<{ limits::DEPLOYMENT_ID }>) {
        self.checkpoint = Checkpoint { deployment: id, ..blank(self.run.mode()) };
        self.reset_doors();
    }

    fn start_op(&mut self, op: Op) -> Action {
        self.op = self.op.wrapping_add(1);
        Action::Start(OpId(self.op), op)
    }

    /// Goes to a place and begins it; goes on as long as places have their outcome at once. `begun`: the place had
    /// begun before a restart, so it is too late to stop before it.
    fn enter(&mut self, now: Instant, place: Place, begun: bool) -> Action {
        let (mut place, mut begun) = (place, begun);
        loop {
            (self.state, self.phase) = place;
            if let Some((stop, tag)) = Stop::at(place)
                && self.stop_before.contains(stop)
                && self.run.mode() == Mode::Standalone
                && !begun
            {
                self.mark(tag);
                self.checkpoint.stopped = true;
                self.doing = Doing::Stopping(stop);
                return self.start_op(Op::Save);
            }
            begun = false;
            let outcome = match self.save_first() {
                Some(true) => {
                    self.doing = Doing::Saving;
                    return self.start_op(Op::Save);
                }
                Some(false) => return self.state_loop(now),
                None => match self.begin(now) {
                    Ok(action) => return action,
                    Err(outcome) => outcome,
                },
            };
            place = match self.leave(now, outcome) {
                Ok(next) => next,
                Err(action) => return action,
            };
        }
    }

    /// `Some(true)`: the record is to be written before the place begins; `Some(false)`: it was written too often.
    fn save_first(&mut self) -> Option<bool> {
        let mode = self.run.mode();
        let tag = match (self.state, self.phase) {
            // The device is touched now: what could not be written on entry is tried once more. A rollback that a
            // restart does not know of would be taken for the update (the record may still say `reboot`).
            (State::Rollback | State::RollbackReboot, Phase::Main) if !self.is_saved() => self.checkpoint.tag,
            // A script of `ArtifactRollbackReboot_Enter` that failed must not be forgotten over the reboot (D-6).
            (State::RollbackReboot, Phase::Main) if self.checkpoint.verdict != self.verdict => {
                self.checkpoint.tag
            }
            // A failed `Cleanup` is about to be reported: a restart must not tell the server something else, which
            // would open the deployment again.
            (State::ReportFinal, Phase::Main)
                if mode == Mode::Managed
                    && self.checkpoint.tag == Tag::Cleanup
                    && self.checkpoint.verdict != self.verdict
                    && self.checkpoint.stores < limits::STORES =>
            {
                Tag::Cleanup
            }
            // The device is what it was: nothing is written.
            (State::SaveProvides, _) if self.verdict == Verdict::RolledBack => return None,
            (state, phase) => state::tag(mode, state, phase)?,
        };
        self.mark(tag);
        let counts = mode == Mode::Managed && self.state != State::RebootDoor;
        let allowed = !counts || self.count_store();
        // Written together with name and provides.
        if allowed && self.state == State::SaveProvides { None } else { Some(allowed) }
    }

    /// Counts one more write of the record; false when there were too many.
    fn count_store(&mut self) -> bool {
        if self.checkpoint.stores >= limits::STORES {
            return false;
        }
        self.checkpoint.stores = self.checkpoint.stores.saturating_add(1);
        true
    }

    fn mark(&mut self, tag: Tag) {
        self.checkpoint.tag = tag;
        self.checkpoint.stopped = false;
        self.checkpoint.verdict = self.verdict;
    }

    /// The deployment wrote its record too often: it is given up as it is, without rollback or clean-up.
    fn state_loop(&mut self, now: Instant) -> Action {
        self.verdict = Verdict::RollbackFailed;
        self.enter(now, (State::StateLoop, Phase::Main), false)
    }

    /// Begins the work of the place the machine stands at; `Err` when it has its outcome at once.
    fn begin(&mut self, now: Instant) -> Result<Action, Outcome> {
        if let Some(transition) = state::transition(self.state, self.phase) {
            self.scripts = Scripts { first_start: Some(now), ..Scripts::default() };
            return Ok(self.work(now, Op::RunScript(transition, 0)));
        }
        match self.main_work(now) {
            Begin::Start(op) => Ok(self.work(now, op)),
            Begin::Wait => {
                self.doing = Doing::Waiting;
                Ok(Action::Wait)
            }
            Begin::Already(outcome) => Err(outcome),
        }
    }

    fn work(&mut self, now: Instant, op: Op) -> Action {
        let limit = match op {
            Op::RunScript(..) => Some(self.config.state_script_timeout),
            Op::CallModule(_) => Some(self.config.module_timeout),
            Op::Reboot => Some(config::REBOOT_WAIT),
            // The download's limits are those of the network and of the module's own work: the driver's.
            Op::Prepare | Op::Stream(_) | Op::Request(_) => None,
            Op::Save | Op::SaveMaps | Op::SaveProvides(_) | Op::ClearData | Op::CheckVersion | Op::End => {
                None
            }
        };
        self.doing = Doing::Work { deadline: limit.map(|limit| now + limit), killed: false };
        self.start_op(op)
    }

    /// The work of a place that has no scripts.
    fn main_work(&mut self, now: Instant) -> Begin {
        let call = |call| Begin::Start(Op::CallModule(call));
        match self.state {
            State::Idle => self.idle(now),
            State::Inventory => Begin::Start(Op::Request(ApiCall::Inventory)),
            State::Poll => Begin::Start(Op::Request(ApiCall::Next)),
            // The control map that came with the offer is no good: nothing was done, nothing is asked for.
            State::ReportDownloading if self.map_is_refused() => Begin::Already(Outcome::Aborted),
            State::ReportDownloading => self.status(Status::Downloading),
            State::Prepare => Begin::Start(Op::Prepare),
            State::CheckSizes => call(Call::ProvidePayloadFileSizes),
            State::Download => {
                let call = if self.file_sizes { Call::DownloadWithFileSizes } else { Call::Download };
                Begin::Start(Op::Stream(call))
            }
            State::InstallDoor => self.door(now, Point::Install),
            State::RebootDoor => self.door(now, Point::Reboot),
            State::CommitDoor => self.door(now, Point::Commit),
            State::ReportInstalling => self.status(Status::Installing),
            State::Install => call(Call::ArtifactInstall),
            State::CheckReboot | State::CheckRollbackReboot => call(Call::NeedsArtifactReboot),
            State::CheckAutoCommit | State::CheckRollback => call(Call::SupportsRollback),
            State::ReportRebooting => self.status(Status::Rebooting),
            State::Reboot => self.reboot(Call::ArtifactReboot),
            State::VerifyReboot => call(Call::ArtifactVerifyReboot),
            State::ReportCommit => Begin::Start(Op::Request(ApiCall::Status {
                status: Status::Installing,
                fresh_token: !self.report_is_repeat,
            })),
            State::CheckVersion => Begin::Start(Op::CheckVersion),
            State::Commit => call(Call::ArtifactCommit),
            State::Rollback => call(Call::ArtifactRollback),
            State::RollbackReboot => self.reboot(Call::ArtifactRollbackReboot),
            State::VerifyRollbackReboot => call(Call::ArtifactVerifyRollbackReboot),
            State::Failure => call(Call::ArtifactFailure),
            State::SaveProvides => self.save_provides(),
            State::StateLoop => Begin::Start(Op::SaveProvides(Naming::Loop)),
            State::Cleanup if self.checkpoint.module => call(Call::Cleanup),
            State::Cleanup => Begin::Already(Outcome::Nothing),
            State::ReportFinal if self.verdict.is_good() => self.status(Status::Success),
            State::ReportFinal => self.status(Status::Failure),
            State::ReportLog if self.verdict.is_good() => Begin::Already(Outcome::Nothing),
            State::ReportLog => Begin::Start(Op::Request(ApiCall::Log)),
            State::ClearData => {
                self.close_doors(now);
                Begin::Start(Op::ClearData)
            }
            State::End if self.run == Run::Daemon => Begin::Start(Op::End),
            State::AwaitCommit | State::End => Begin::Already(Outcome::Nothing),
            // Scripts only: never asked for their main work.
            State::Offer | State::EmptyPayload | State::RollbackFailed => Begin::Already(Outcome::Nothing),
        }
    }

    fn status(&self, status: Status) -> Begin {
        Begin::Start(Op::Request(ApiCall::Status { status, fresh_token: false }))
    }

    fn reboot(&self, custom: Call) -> Begin {
        match self.checkpoint.reboot {
            RebootKind::Custom => Begin::Start(Op::CallModule(custom)),
            RebootKind::Automatic => Begin::Start(Op::Reboot),
            RebootKind::None => Begin::Already(Outcome::Failure),
        }
    }

    const fn save_provides(&self) -> Begin {
        match self.verdict {
            Verdict::Good => Begin::Start(Op::SaveProvides(Naming::Good)),
            Verdict::Failed | Verdict::RollbackFailed => Begin::Start(Op::SaveProvides(Naming::Inconsistent)),
            // The device is what it was.
            Verdict::RolledBack => Begin::Already(Outcome::Nothing),
        }
    }

    /// Idle: on with what is due, or wait.
    fn idle(&mut self, now: Instant) -> Begin {
        let daemon = &mut self.daemon;
        daemon.update_due |= daemon.next_update.is_some_and(|at| at <= now);
        daemon.inventory_due |= daemon.next_inventory.is_some_and(|at| at <= now);
        // Timers are armed before anything of the cycle can fail: no error stops the polling for good.
        if daemon.inventory_due {
            daemon.next_inventory = Some(now + self.config.inventory_poll_interval);
            Begin::Already(Outcome::Nothing)
        } else if daemon.update_due {
            daemon.next_update = Some(now + self.config.update_poll_interval);
            Begin::Already(Outcome::Success)
        } else {
            Begin::Wait
        }
    }

    fn tick(&mut self, now: Instant) -> Action {
        match self.doing {
            Doing::Work { deadline: Some(at), killed: false } if at <= now => {
                self.doing = Doing::Work { deadline: None, killed: true };
                Action::Kill
            }
            Doing::Pause(until) if until <= now => self.repeat(now),
            Doing::Waiting if self.is_paused() => match self.woken(now, false) {
                Some(outcome) => self.go_on(now, outcome),
                None => Action::Wait,
            },
            Doing::Waiting => match self.begin(now) {
                Ok(action) => action,
                Err(outcome) => self.go_on(now, outcome),
            },
            Doing::Work { .. }
            | Doing::Pause(_)
            | Doing::Saving
            | Doing::Loading
            | Doing::Stopping(_)
            | Doing::Over => Action::Wait,
        }
    }

    /// A pause is over.
    fn repeat(&mut self, now: Instant) -> Action {
        let Some(transition) = state::transition(self.state, self.phase) else {
            return self.go_on(now, Outcome::Later(None));
        };
        if self.retry_budget_ends().is_some_and(|end| end <= now) {
            return self.script_done(now, Outcome::Failure);
        }
        self.work(now, Op::RunScript(transition, self.scripts.index))
    }

    /// When the script at hand must not be started again (S-4: counted from its first start).
    fn retry_budget_ends(&self) -> Option<Instant> {
        self.scripts.first_start.map(|start| start + self.config.state_script_retry_timeout)
    }

    fn done(&mut self, now: Instant, outcome: Outcome) -> Action {
        match core::mem::replace(&mut self.doing, Doing::Over) {
            Doing::Saving => {
                if outcome == Outcome::Success {
                    self.saved = Some(self.checkpoint.clone());
                } else if let Some(place) = self.standalone_save_failed() {
                    return self.enter(now, place, false);
                } else if !state::saves_if_possible(self.state) {
                    return self.go_on(now, Outcome::Failure);
                }
                match self.begin(now) {
                    Ok(action) => action,
                    Err(outcome) => self.go_on(now, outcome),
                }
            }
            Doing::Loading => {
                if outcome == Outcome::Success {
                    self.saved = Some(self.checkpoint.clone());
                }
                let place = self.place();
                self.enter(now, place, true)
            }
            Doing::Stopping(stop) => {
                if outcome == Outcome::Success {
                    self.saved = Some(self.checkpoint.clone());
                    return self.exit(Reached::Stopped(stop));
                }
                match self.standalone_save_failed() {
                    Some(place) => self.enter(now, place, false),
                    // What is on record is the step before, and `resume` comes here again.
                    None => {
                        self.report.failed_at.get_or_insert((self.state, self.phase));
                        self.exit(Reached::Unfinished)
                    }
                }
            }
            Doing::Work { killed, .. } => {
                let outcome = if killed { Outcome::Failure } else { outcome };
                if state::transition(self.state, self.phase).is_some() {
                    self.script_done(now, outcome)
                } else {
                    self.main_done(now, outcome)
                }
            }
            // No operation was outstanding: nobody can have ended it.
            doing @ (Doing::Pause(_) | Doing::Waiting | Doing::Over) => {
                self.doing = doing;
                Action::Wait
            }
        }
    }

    /// Command line: the record that a step begins, or is stopped before, cannot be written. Where the specification
    /// has steps of their own for "before" (I0, L0), they lead elsewhere than a failure of the step itself; a
    /// rollback without its record is not begun, or a restart would commit what it undid.
    fn standalone_save_failed(&mut self) -> Option<Place> {
        if self.run.mode() == Mode::Managed {
            return None;
        }
        let begun = |machine: &Self, tag| machine.saved.as_ref().is_some_and(|saved| saved.tag == tag);
        let place = match (self.state, self.phase) {
            // Nothing was touched.
            (State::Install, Phase::Enter) => (State::Cleanup, Phase::Main),
            (State::Commit, Phase::Enter) if self.checkpoint.stopped => (State::CheckRollback, Phase::Main),
            (State::Commit, Phase::Leave) if begun(self, Tag::Commit) => (State::Commit, Phase::Error),
            (State::Rollback, Phase::Enter) if !self.checkpoint.stopped && !begun(self, Tag::Rollback) => {
                (State::Failure, Phase::Enter)
            }
            _ => return None,
        };
        self.report.failed_at.get_or_insert((self.state, self.phase));
        self.verdict =
            if self.state == State::Install { Verdict::RolledBack } else { self.verdict.worsened() };
        Some(place)
    }

    /// A script ended, or there is none of its number.
    fn script_done(&mut self, now: Instant, outcome: Outcome) -> Action {
        let Some(transition) = state::transition(self.state, self.phase) else { return Action::Wait };
        match outcome {
            Outcome::Later(_) => {
                let budget = self.retry_budget_ends().unwrap_or(now);
                if now < budget {
                    let until = (now + self.config.state_script_retry_interval).min(budget);
                    self.doing = Doing::Pause(until);
                    return Action::Wait;
                }
                self.script_failed(now, transition)
            }
            Outcome::Success | Outcome::Automatic => self.next_script(now, transition),
            Outcome::Failure | Outcome::Aborted => self.script_failed(now, transition),
            Outcome::Refused => self.go_on(now, Outcome::Failure),
            Outcome::Nothing => {
                let failed = self.scripts.failed;
                self.go_on(now, if failed { Outcome::Failure } else { Outcome::Success })
            }
        }
    }

    fn script_failed(&mut self, now: Instant, transition: Transition) -> Action {
        if state::runs_all_scripts(self.state, self.phase) {
            self.scripts.failed = true;
            self.next_script(now, transition)
        } else {
            self.go_on(now, Outcome::Failure)
        }
    }

    fn next_script(&mut self, now: Instant, transition: Transition) -> Action {
        self.scripts.index = self.scripts.index.saturating_add(1);
        self.scripts.first_start = Some(now);
        self.work(now, Op::RunScript(transition, self.scripts.index))
    }

    /// The work of a place without scripts ended: notes what it said, then goes on.
    fn main_done(&mut self, now: Instant, outcome: Outcome) -> Action {
        let outcome = match self.state {
            State::Poll => self.polled(now, outcome),
            State::Inventory => self.inventory_sent(now, outcome),
            State::Prepare => {
                self.checkpoint.header = matches!(outcome, Outcome::Success | Outcome::Nothing);
                self.checkpoint.module = outcome == Outcome::Success;
                outcome
            }
            State::CheckSizes => {
                self.file_sizes = outcome == Outcome::Success;
                outcome
            }
            State::CheckReboot | State::CheckRollbackReboot => {
                self.checkpoint.reboot = match outcome {
                    Outcome::Success => RebootKind::Custom,
                    Outcome::Automatic => RebootKind::Automatic,
                    Outcome::Nothing
                    | Outcome::Failure
                    | Outcome::Refused
                    | Outcome::Later(_)
                    | Outcome::Aborted => RebootKind::None,
                };
                self.report.reboot = self.checkpoint.reboot;
                outcome
            }
            State::CheckAutoCommit => {
                self.report.auto_commit = outcome == Outcome::Nothing;
                outcome
            }
            State::CheckRollback
                if core::mem::take(&mut self.rollback_asked) && outcome != Outcome::Success =>
            {
                Outcome::Aborted
            }
            // Not a failure but a reason to reboot once more.
            State::VerifyRollbackReboot if outcome != Outcome::Success => Outcome::Later(None),
            State::ReportCommit | State::ReportFinal | State::ReportLog => match self.delivered(now, outcome)
            {
                Ok(outcome) => outcome,
                Err(until) => {
                    self.doing = Doing::Pause(until);
                    return Action::Wait;
                }
            },
            State::InstallDoor | State::RebootDoor | State::CommitDoor => {
                match self.door_done(now, outcome) {
                    Ok(outcome) => outcome,
                    Err(doing) => {
                        self.doing = doing;
                        return Action::Wait;
                    }
                }
            }
            State::SaveProvides => {
                if outcome == Outcome::Success {
                    self.saved = (self.run.mode() == Mode::Managed).then(|| self.checkpoint.clone());
                }
                outcome
            }
            State::ClearData => {
                if outcome == Outcome::Success {
                    self.saved = None;
                }
                outcome
            }
            State::Idle
            | State::Offer
            | State::ReportDownloading
            | State::Download
            | State::EmptyPayload
            | State::ReportInstalling
            | State::Install
            | State::AwaitCommit
            | State::ReportRebooting
            | State::Reboot
            | State::VerifyReboot
            | State::Commit
            | State::CheckVersion
            | State::CheckRollback
            | State::Rollback
            | State::RollbackFailed
            | State::RollbackReboot
            | State::VerifyRollbackReboot
            | State::Failure
            | State::Cleanup
            | State::End
            | State::StateLoop => outcome,
        };
        self.go_on(now, outcome)
    }

    /// Held back by a control map.
    fn is_paused(&self) -> bool {
        matches!(self.state, State::InstallDoor | State::RebootDoor | State::CommitDoor)
            && self.phase == Phase::Leave
            && self.doing == Doing::Waiting
    }

    fn polled(&mut self, now: Instant, outcome: Outcome) -> Outcome {
        let daemon = &mut self.daemon;
        match outcome {
            Outcome::Success | Outcome::Nothing | Outcome::Automatic => {
                daemon.poll_backoff.reset();
                daemon.inventory_due |= !daemon.inventory_accepted;
                outcome
            }
            Outcome::Later(_) | Outcome::Failure | Outcome::Refused | Outcome::Aborted => {
                // The retry takes the place of the poll timer; when there are no more, the timer stays.
                let schedule = Schedule::new(&self.config, Purpose::Poll);
                if let Some(wait) = daemon.poll_backoff.next(schedule, retry_after(outcome)) {
                    daemon.next_update = Some(now + wait);
                }
                Outcome::Failure
            }
        }
    }

    fn inventory_sent(&mut self, now: Instant, outcome: Outcome) -> Outcome {
        let daemon = &mut self.daemon;
        match outcome {
            Outcome::Success | Outcome::Nothing | Outcome::Automatic => {
                daemon.inventory_backoff.reset();
                daemon.inventory_accepted = true;
                Outcome::Success
            }
            Outcome::Later(_) | Outcome::Failure | Outcome::Refused | Outcome::Aborted => {
                let schedule = Schedule::new(&self.config, Purpose::Poll);
                if let Some(wait) = daemon.inventory_backoff.next(schedule, retry_after(outcome)) {
                    daemon.next_inventory = Some(now + wait);
                }
                Outcome::Failure
            }
        }
    }

    /// A report that must get through: its outcome, or when to try again.
    fn delivered(&mut self, now: Instant, outcome: Outcome) -> Result<Outcome, Instant> {
        match outcome {
            Outcome::Failure | Outcome::Later(_) => {
                let schedule = Schedule::new(&self.config, Purpose::Report);
                match self.report_backoff.next(schedule, retry_after(outcome)) {
                    Some(wait) => Err(now + wait),
                    None => Ok(Outcome::Failure),
                }
            }
            Outcome::Success
            | Outcome::Refused
            | Outcome::Nothing
            | Outcome::Automatic
            | Outcome::Aborted => Ok(outcome),
        }
    }

    fn go_on(&mut self, now: Instant, outcome: Outcome) -> Action {
        match self.leave(now, outcome) {
            Ok(place) => self.enter(now, place, false),
            Err(action) => action,
        }
    }

    /// Leaves a place with its outcome: the verdict, the timers, then where to go. `Err`: the run is over.
    fn leave(&mut self, now: Instant, outcome: Outcome) -> Result<Place, Action> {
        let outcome = self.settle(now, outcome);
        let place = state::next(self.run.mode(), self.state, self.phase, outcome);
        self.report_is_repeat = matches!(outcome, Outcome::Later(_));
        // Status and log share their retries: an accepted status does not give the log's back.
        if !self.report_is_repeat && self.state != State::ReportFinal {
            self.report_backoff.reset();
        }
        if let (State::AwaitCommit | State::End, Mode::Standalone) = (self.state, self.run.mode()) {
            return Err(self.exit(self.report.reached));
        }
        self.report.reached = match (self.state, outcome) {
            (State::Prepare, Outcome::Nothing) => Reached::EmptyCommitted,
            (State::Prepare, Outcome::Failure | Outcome::Refused) => Reached::Nothing,
            (State::CheckAutoCommit, Outcome::Success) => Reached::AwaitingCommit,
            (State::CheckRollback, Outcome::Aborted) => Reached::RollbackUnsupported,
            (State::ClearData, Outcome::Success) if self.report.reached != Reached::EmptyCommitted => {
                Reached::Ended
            }
            (State::SaveProvides | State::ClearData, Outcome::Failure | Outcome::Refused) => {
                Reached::Unfinished
            }
            _ => self.report.reached,
        };
        Ok(place)
    }

    /// What the outcome does to the verdict, and the few outcomes that depend on more than the place.
    fn settle(&mut self, now: Instant, outcome: Outcome) -> Outcome {
        let failed = matches!(outcome, Outcome::Failure | Outcome::Refused | Outcome::Aborted);
        let standalone_cleanup = self.state == State::Cleanup && self.run.mode() == Mode::Standalone;
        match (self.state, self.phase) {
            (State::Idle, Phase::Leave) => {
                let daemon = &mut self.daemon;
                // What was due when Idle was left; script errors do not matter here.
                return if core::mem::take(&mut daemon.inventory_due) {
                    Outcome::Nothing
                } else {
                    daemon.update_due = false;
                    Outcome::Success
                };
            }
            (State::Poll, Phase::Main) if outcome == Outcome::Success => {
                self.verdict = Verdict::Good;
                self.saved = None;
                self.file_sizes = false;
            }
            (State::CheckRollback, Phase::Main) if outcome == Outcome::Success => {
                self.verdict = Verdict::RolledBack
            }
            // Nothing was installed: there is nothing to roll back.
            (State::Download, Phase::Error) => self.verdict = Verdict::RolledBack,
            (State::Prepare, Phase::Main) if failed && self.run.mode() == Mode::Standalone => {
                self.verdict = Verdict::RolledBack;
            }
            (State::ReportDownloading | State::ReportInstalling, Phase::Main)
                if outcome == Outcome::Aborted =>
            {
                self.verdict = Verdict::RolledBack;
            }
            (State::ReportRebooting, Phase::Main) if outcome == Outcome::Aborted => {
                self.verdict = self.verdict.worsened();
            }
            // The command line still has to say how its update ended.
            (State::End, Phase::Main) if self.run.mode() == Mode::Managed => {
                self.checkpoint = blank(self.run.mode());
                self.verdict = Verdict::Good;
                self.daemon.inventory_due = true;
            }
            _ if failed && standalone_cleanup => self.report.cleanup_failed = true,
            _ if failed && state::failure_counts(self.state, self.phase) => {
                self.verdict = self.verdict.worsened()
            }
            _ => {}
        }
        if failed
            && !standalone_cleanup
            && (state::failure_counts(self.state, self.phase) || self.fails_the_run(outcome))
        {
            self.report.failed_at.get_or_insert((self.state, self.phase));
        }
        let _ = now;
        outcome
    }

    /// Failures that say nothing about the update but make the verb fail.
    fn fails_the_run(&self, outcome: Outcome) -> bool {
        matches!(
            (self.state, outcome),
            (State::ClearData, Outcome::Failure | Outcome::Refused)
                | (State::CheckRollback, Outcome::Aborted)
        )
    }

    fn exit(&mut self, reached: Reached) -> Action {
        self.doing = Doing::Over;
        self.report.reached = reached;
        self.report.verdict = self.verdict;
        Action::Exit(self.report)
    }
}

/// The wait the server asked for.
const fn retry_after(outcome: Outcome) -> Option<RetryAfter> {
    match outcome {
        Outcome::Later(Some(seconds)) => Some(RetryAfter { seconds }),
        Outcome::Later(None)
        | Outcome::Success
        | Outcome::Failure
        | Outcome::Refused
        | Outcome::Nothing
        | Outcome::Automatic
        | Outcome::Aborted => None,
    }
}

/// The record of an update that has not begun.
fn blank(mode: Mode) -> Checkpoint {
    Checkpoint {
        mode,
        tag: if matches!(mode, Mode::Managed) { Tag::Store } else { Tag::BeforeInstall },
        verdict: Verdict::Good,
        stopped: false,
        reboot: RebootKind::None,
        module: false,
        header: false,
        stores: 0,
        deployment: Text::default(),
    }
}
