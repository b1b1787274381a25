//! The machine alone on a simulated device: every end an operation can have, and power loss around each, as a
//! [`Model`] to explore.

use std::fmt;

use thimble_core::config::Config;
use thimble_core::deployment::{Call, Status};
use thimble_core::hal::Key;
use thimble_core::machine::{Action, ApiCall, Event, Machine, Naming, Op, OpId, Refusal, Run, Stop, StopSet};
use thimble_core::state::{Outcome, Place, State, Verb};
use thimble_core::text::Text;
use thimble_core::time::Instant;

use crate::check::{self, Trouble};
use crate::explore::Model;
use crate::world::{NEW, Profile, Reboot, SUFFIX, World, provides};

/// How much may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Operations that fail, answers that say no.
    pub failures: u8,
    /// Losses of power.
    pub losses: u8,
}

/// A mistake built into the device or the driver, to prove that the invariants notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// Saving reports success and writes nothing.
    SaveIsLost,
    /// The module's rollback reports success and does nothing.
    RollbackDoesNothing,
    /// The module's commit reports success and leaves the boot loader on trial.
    CommitDoesNothing,
    /// Name and provides are written whatever the verdict.
    NameIsAlwaysNew,
    /// A payload that broke off counts as verified.
    BrokenPayloadIsTaken,
    /// A query that failed counts as yes.
    FailedQueryIsYes,
}

/// Who runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Process {
    /// The client, and the operation it waits for, if any.
    Runs(Box<Machine>, Option<(OpId, Op)>),
    /// The command line has ended, with exit status 0 or not; the user may use another verb.
    Rests {
        /// Exit status 0.
        success: bool,
    },
    /// Everything is over.
    Ended,
}

/// One configuration of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Simulation {
    world: World,
    process: Process,
    standalone: bool,
    stop_before: StopSet,
    budget: Budget,
    trouble: Trouble,
    mistake: Option<Mistake>,
    resume_downloads: bool,
    steps: u16,
}

/// One run may take this many steps; more is a run that does not end.
const MAX_STEPS: u16 = 2000;

impl Simulation {
    /// A daemon whose server has a deployment.
    #[must_use]
    pub fn daemon(profile: Profile, budget: Budget, mistake: Option<Mistake>) -> Self {
        Self::new(profile, budget, mistake, false, StopSet::default(), false)
    }

    /// The same where downloads go on after a restart.
    #[must_use]
    pub fn resuming_daemon(profile: Profile, budget: Budget) -> Self {
        Self::new(profile, budget, None, false, StopSet::default(), true)
    }

    /// A user who calls `install`, and then whatever verb is taken.
    #[must_use]
    pub fn command_line(profile: Profile, budget: Budget, stop_before: Option<Stop>) -> Self {
        let stops = stop_before.map_or(StopSet::default(), |stop| StopSet::default().with(stop));
        Self::new(profile, budget, None, true, stops, false)
    }

    fn new(
        profile: Profile,
        budget: Budget,
        mistake: Option<Mistake>,
        standalone: bool,
        stop_before: StopSet,
        resume_downloads: bool,
    ) -> Self {
        let mut new = Self {
            world: World::new(profile),
            process: Process::Ended,
            standalone,
            stop_before,
            budget,
            trouble: Trouble::default(),
            mistake,
            resume_downloads,
            steps: 0,
        };
        if standalone {
            new.start(Run::Install).expect("nothing is in progress");
        } else {
            new.start(Run::Daemon).expect("the daemon always starts");
        }
        new
    }

    /// The world as it is.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    fn start(&mut self, run: Run) -> Result<(), Refusal> {
        let saved = self.world.checkpoint();
        let (machine, action) = Machine::start(Instant::ZERO, &self.config(), run, self.stop_before, saved)?;
        self.turn(machine, action);
        Ok(())
    }

    fn config(&self) -> Config {
        Config { resume_downloads: self.resume_downloads, ..Config::default() }
    }

    /// Takes an action of the machine: what is outstanding now.
    fn turn(&mut self, mut machine: Machine, mut action: Action) {
        loop {
            match action {
                Action::Start(id, op) => {
                    if !matches!(op, Op::Request(ApiCall::Status { .. } | ApiCall::Log)) {
                        self.world.server.down = false;
                    }
                    self.process = Process::Runs(Box::new(machine), Some((id, op)));
                    return;
                }
                Action::Exit(report) => {
                    self.process = Process::Rests { success: report.is_success() };
                    return;
                }
                Action::Wait | Action::Kill => {
                    if machine.place().0 == State::Idle && !self.world.server.pending {
                        self.process = Process::Ended;
                        return;
                    }
                    // Nothing happens before the deadline.
                    let Some(at) = machine.deadline() else {
                        self.process = Process::Runs(Box::new(machine), None);
                        return;
                    };
                    action = machine.step(at, Event::Tick);
                }
            }
        }
    }

    fn done(&self, outcome: Outcome) -> Self {
        let mut new = self.clone();
        if let Process::Runs(machine, op) = &mut new.process
            && let Some((id, op)) = op.take()
        {
            let mut machine = (**machine).clone();
            if op == Op::Request(ApiCall::Next) && outcome == Outcome::Success {
                machine.offer(Text::copy("d-1").unwrap_or_default());
                new.world.server.pending = false;
            }
            let over = op == Op::End;
            let action = machine.step(Instant::ZERO, Event::Done(id, outcome));
            if over {
                new.process = Process::Ended;
            } else {
                new.turn(machine, action);
            }
        }
        new
    }

    /// The operation does what it is meant to do; its outcome.
    fn perform(&mut self, op: Op) -> Outcome {
        let Process::Runs(machine, _) = &self.process else { return Outcome::Failure };
        let machine = (**machine).clone();
        let device = &mut self.world.device;
        let profile = device.profile;
        let yes = |yes| if yes { Outcome::Success } else { Outcome::Nothing };
        match op {
            Op::Save => {
                if self.mistake != Some(Mistake::SaveIsLost) {
                    self.save(&machine);
                }
                Outcome::Success
            }
            Op::SaveProvides(naming) => {
                let name = match naming {
                    Naming::Good => NEW.to_owned(),
                    Naming::Inconsistent | Naming::Loop if self.mistake == Some(Mistake::NameIsAlwaysNew) => {
                        NEW.to_owned()
                    }
                    Naming::Inconsistent | Naming::Loop => format!("{NEW}{SUFFIX}"),
                };
                self.world.records.insert(Key::Provides, provides(&name));
                if self.standalone {
                    self.world.records.remove(&Key::Checkpoint);
                } else {
                    self.save(&machine);
                }
                Outcome::Success
            }
            Op::ClearData => {
                self.world.records.remove(&Key::Checkpoint);
                self.world.records.remove(&Key::Offer);
                Outcome::Success
            }
            // One script everywhere.
            Op::RunScript(_, index) => yes(index == 0),
            Op::CheckVersion | Op::SaveMaps | Op::End => Outcome::Success,
            Op::CallModule(Call::ProvidePayloadFileSizes) => Outcome::Nothing,
            Op::CallModule(Call::NeedsArtifactReboot) => match profile.reboot {
                Reboot::No => Outcome::Nothing,
                Reboot::Yes => Outcome::Success,
                Reboot::Automatic => Outcome::Automatic,
            },
            Op::CallModule(Call::SupportsRollback) => yes(profile.rollback),
            Op::CallModule(Call::ArtifactRollback) if self.mistake == Some(Mistake::RollbackDoesNothing) => {
                Outcome::Success
            }
            Op::CallModule(Call::ArtifactCommit) if self.mistake == Some(Mistake::CommitDoesNothing) => {
                Outcome::Success
            }
            Op::CallModule(call) => {
                if device.call(call) {
                    Outcome::Success
                } else {
                    Outcome::Failure
                }
            }
            Op::Prepare if profile.payload => {
                device.prepare();
                Outcome::Success
            }
            Op::Prepare => Outcome::Nothing,
            Op::Stream(_) => {
                device.receive();
                device.received();
                Outcome::Success
            }
            // The machine reboots: never answered.
            Op::Reboot => Outcome::Success,
            Op::Request(ApiCall::Next) => yes(self.world.server.pending),
            Op::Request(ApiCall::Status { .. } | ApiCall::Log) if self.world.server.down => Outcome::Failure,
            Op::Request(ApiCall::Status { status, .. }) => {
                if self.world.server.take(status) {
                    Outcome::Success
                } else {
                    Outcome::Aborted
                }
            }
            Op::Request(ApiCall::Inventory | ApiCall::Log | ApiCall::ControlMap) => Outcome::Success,
        }
    }

    fn save(&mut self, machine: &Machine) {
        let mut buf = [0; thimble_core::checkpoint::MAX_LEN];
        let bytes = machine.checkpoint().encode(&mut buf).to_vec();
        self.world.records.insert(Key::Checkpoint, bytes);
        if machine.checkpoint().offer {
            self.world.records.insert(Key::Offer, Vec::new());
        }
    }

    /// Every way the operation can fail, with what it leaves behind.
    fn failures(&self, op: Op) -> Vec<(&'static str, Self, Outcome)> {
        let plain = || {
            let mut new = self.clone();
            new.budget.failures -= 1;
            new
        };
        let failed = |what| (what, plain(), Outcome::Failure);
        match op {
            Op::Save | Op::SaveProvides(_) | Op::ClearData => {
                let mut new = plain();
                let trouble = &mut new.trouble;
                trouble.provides |= matches!(op, Op::SaveProvides(_));
                trouble.clear |= op == Op::ClearData;
                trouble.save |= op == Op::Save;
                vec![(" cannot be written", new, Outcome::Failure)]
            }
            Op::RunScript(_, 0) => vec![
                failed(" fails"),
                (" cannot be read", plain(), Outcome::Refused),
                (" asks for later, for ever", plain(), Outcome::Later(None)),
            ],
            Op::RunScript(..) | Op::SaveMaps | Op::End => vec![],
            Op::CheckVersion => vec![failed(" fails")],
            Op::Prepare => vec![failed(" is refused")],
            Op::Stream(_) => {
                let mut new = plain();
                new.world.device.receive();
                if new.mistake == Some(Mistake::BrokenPayloadIsTaken) {
                    return vec![(" breaks off", new, Outcome::Success)];
                }
                vec![(" breaks off", new, Outcome::Failure)]
            }
            Op::CallModule(call) if call.is_query() => {
                if self.mistake == Some(Mistake::FailedQueryIsYes) {
                    return vec![(" fails", plain(), Outcome::Success)];
                }
                vec![failed(" fails")]
            }
            Op::CallModule(call) => {
                let mut half = plain();
                half.world.device.half_call(call);
                let mut late = plain();
                late.world.device.call(call);
                let mut all = vec![failed(" fails"), (" fails in the middle", half, Outcome::Failure)];
                all.push((" fails after its work", late, Outcome::Failure));
                if call == Call::Cleanup {
                    for (_, new, _) in &mut all {
                        // The client removes the tree whatever the module says.
                        new.world.device.clean();
                        new.trouble.cleanup = true;
                    }
                }
                all
            }
            Op::Reboot => vec![failed(" does not happen")],
            Op::Request(ApiCall::Status { .. }) => {
                let mut down = plain();
                down.world.server.down = true;
                let mut aborted = plain();
                aborted.world.server.aborted = true;
                vec![
                    failed(" is not answered once"),
                    (" is not answered any more", down, Outcome::Failure),
                    (" is answered 409", aborted, Outcome::Aborted),
                    (" is refused", plain(), Outcome::Refused),
                ]
            }
            Op::Request(ApiCall::Log) => {
                let mut down = plain();
                down.world.server.down = true;
                vec![
                    failed(" is not answered once"),
                    (" is not answered any more", down, Outcome::Failure),
                    (" is refused", plain(), Outcome::Refused),
                ]
            }
            Op::Request(ApiCall::Next | ApiCall::Inventory | ApiCall::ControlMap) => vec![failed(" fails")],
        }
    }

    /// Power is lost now.
    fn lose(&self) -> Result<Self, String> {
        let mut new = self.clone();
        new.budget.losses -= 1;
        new.reboot()?;
        Ok(new)
    }

    fn reboot(&mut self) -> Result<(), String> {
        self.world.power_cycle();
        if self.standalone {
            self.process = Process::Rests { success: false };
            return Ok(());
        }
        if let Some(record) = self.world.checkpoint() {
            check::resumes_twice(&record, |record| {
                let start = Machine::start(
                    Instant::ZERO,
                    &self.config(),
                    Run::Daemon,
                    self.stop_before,
                    Some(record),
                );
                start.ok().map(|(machine, _)| machine)
            })?;
        }
        self.start(Run::Daemon).map_err(|refusal| format!("the daemon does not start: {refusal:?}"))
    }

    /// What a user can do with an update that rests.
    fn verbs(&self, success: bool) -> Result<Vec<(Label, Self)>, String> {
        let mut next = Vec::new();
        if self.world.checkpoint().is_none() {
            // A device without a record is as it was, or is what its name says, once its user has rebooted it.
            let mut world = self.world.clone();
            world.power_cycle();
            check::at_end(&world, self.trouble)?;
            if success && world.name().ends_with(SUFFIX) {
                return Err("exit status 0 for an inconsistent device".into());
            }
            return Ok(next);
        }
        for verb in [Verb::Resume, Verb::Commit, Verb::Rollback] {
            let mut new = self.clone();
            // Whoever has stopped once does not stop there again.
            new.stop_before = StopSet::default();
            if new.start(Run::Continue(verb)).is_ok() {
                next.push((Label::Verb(verb), new));
            }
        }
        if next.is_empty() {
            return Err("an update in progress, and every verb is refused".into());
        }
        if self.world.device.profile.slots && !self.world.device.is_settled() && self.world.device.boots == 0
        {
            let mut new = self.clone();
            new.world.power_cycle();
            next.push((Label::UserReboots, new));
        }
        Ok(next)
    }
}

/// Something that happens, for a line of text.
#[derive(Clone, Copy, Debug)]
pub enum Label {
    /// An operation at a place, and how it ends when that is not plain success.
    Step(Place, Op, &'static str),
    /// The user's verb.
    Verb(Verb),
    /// The user reboots the device.
    UserReboots,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step((state, phase), op, what) => write!(f, "{state:?} {phase:?}: {}{what}", describe(*op)),
            Self::Verb(verb) => write!(f, "$ {verb:?}"),
            Self::UserReboots => f.write_str("$ reboot"),
        }
    }
}

impl Model for Simulation {
    type Label = Label;

    fn next(&self) -> Result<Vec<(Label, Self)>, String> {
        if self.steps > MAX_STEPS {
            return Err(format!("not over after {MAX_STEPS} steps"));
        }
        let (machine, op) = match &self.process {
            Process::Runs(machine, Some((_, op))) => (machine, *op),
            Process::Runs(machine, None) => {
                return Err(format!("the machine waits for nothing at {:?}", machine.place()));
            }
            Process::Rests { success } => return self.verbs(*success),
            Process::Ended => {
                if !self.world.server.statuses.is_empty() || self.world.server.aborted {
                    check::at_end(&self.world, self.trouble)?;
                }
                return Ok(Vec::new());
            }
        };
        check::before(op, &self.world, machine, self.trouble)?;
        let label = |what| Label::Step(machine.place(), op, what);
        let mut next = Vec::new();

        let mut good = self.clone();
        let outcome = good.perform(op);
        if op == Op::Reboot {
            let mut rebooted = self.clone();
            rebooted.reboot()?;
            next.push((label(""), rebooted));
        } else {
            next.push((label(if outcome == Outcome::Failure { " fails" } else { "" }), good.done(outcome)));
        }
        if self.budget.failures > 0 {
            for (what, new, outcome) in self.failures(op) {
                next.push((label(what), later(&new, op, outcome)));
            }
        }
        if self.budget.losses > 0 {
            next.push((label(" ** power lost before"), self.lose()?));
            next.push((label(" ** power lost after"), good.lose()?));
            if let Op::CallModule(call) = op {
                let mut half = self.clone();
                half.world.device.half_call(call);
                next.push((label(" ** power lost inside"), half.lose()?));
            } else if let Op::Stream(_) = op {
                let mut half = self.clone();
                half.world.device.receive();
                next.push((label(" ** power lost inside"), half.lose()?));
            }
        }
        Ok(next)
    }
}

/// The operation ends; a script that asks for later for ever does so until its time is up.
fn later(simulation: &Simulation, op: Op, outcome: Outcome) -> Simulation {
    let mut new = simulation.done(outcome);
    if outcome == Outcome::Later(None) {
        for _ in 0..100 {
            match &new.process {
                Process::Runs(_, Some((_, again))) if *again == op => {
                    // Time goes on from the deadline the machine named: the budget is in the machine.
                    let Process::Runs(machine, pending) = &mut new.process else { break };
                    let Some((id, _)) = pending.take() else { break };
                    let mut machine = (**machine).clone();
                    let now = machine
                        .deadline()
                        .map_or(Instant::ZERO, |at| at - Config::default().state_script_timeout);
                    let action = machine.step(now, Event::Done(id, outcome));
                    new.turn(machine, action);
                }
                Process::Runs(..) | Process::Rests { .. } | Process::Ended => break,
            }
        }
    }
    new
}

/// The operation in the words of the traces of the specification.
#[must_use]
pub fn describe(op: Op) -> String {
    match op {
        Op::Save => "save".into(),
        Op::SaveMaps => "save control maps".into(),
        Op::SaveProvides(naming) => format!("save name and provides ({naming:?})"),
        Op::ClearData => "delete the record".into(),
        Op::RunScript(transition, index) => format!("[{transition}] {index}"),
        Op::CheckVersion => "check the scripts' version".into(),
        Op::CallModule(call) => call.name().into(),
        Op::Prepare => "read the header".into(),
        Op::Stream(call) => call.name().into(),
        Op::Reboot => "~".into(),
        Op::Request(ApiCall::Status { status, .. }) => format!("«{}»", status.name()),
        Op::Request(ApiCall::Log) => "send the log".into(),
        Op::Request(ApiCall::Next) => "poll".into(),
        Op::Request(ApiCall::Inventory) => "inventory".into(),
        Op::Request(ApiCall::ControlMap) => "control map".into(),
        Op::End => "end".into(),
    }
}

/// What the server heard, for a line of text.
#[must_use]
pub fn statuses(statuses: &[Status]) -> String {
    statuses.iter().map(|status| status.name()).collect::<Vec<_>>().join(" ")
}
