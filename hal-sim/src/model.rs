//! The daemon's update machine alone on a simulated device, while people, programs and the server say what they want of its
//! update: every end an operation can have, and power loss around each, as a [`Model`] to explore.
//!
//! [`crate::whole`] walks the three machines together, where nobody but the server holds the update up.

use std::fmt;

use thimble_core::checkpoint::Tag;
use thimble_core::control::parse_id;
use thimble_core::deployment::{Call, Naming};
use thimble_core::hal::Key;
use thimble_core::last_report::{self, LastReport};
use thimble_core::limits;
use thimble_core::machine::{Action, ApiCall, Event, Machine, Op, OpId, Refusal, Run, Saved, StopSet};
use thimble_core::state::{Outcome, Place, State};
use thimble_core::text::{Text, TextExt};
use thimble_core::time::Instant;

use crate::check::{self, Trouble};
use crate::explore::Model;
use crate::mistake::Mistake;
use crate::sayings::{self, Doors, Said};
use crate::world::{NEW, Name, Profile, Reboot, SUFFIX, World, provides};

/// How much may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Operations that fail, answers that say no.
    pub failures: u8,
    /// Losses of power.
    pub losses: u8,
}

/// Who runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Process {
    /// The client, and the operation it waits for, if any.
    Runs(Box<Machine>, Option<(OpId, Op)>),
    /// Everything is over.
    Ended,
}

/// One configuration of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Simulation {
    world: World,
    process: Process,
    budget: Budget,
    trouble: Trouble,
    mistake: Option<Mistake>,
    now: Instant,
    /// Who holds the update up.
    doors: Doors,
}

impl Simulation {
    /// A daemon whose server has a deployment, with everything that can be said about control maps meanwhile.
    #[must_use]
    pub fn controlled(profile: Profile, budget: Budget, doors: Doors) -> Self {
        let mut new = Self {
            world: World::new(profile),
            process: Process::Ended,
            budget,
            trouble: Trouble::default(),
            mistake: None,
            now: Instant::ZERO,
            doors,
        };
        new.start().expect("the daemon always starts");
        new
    }

    /// The same, with a mistake built in.
    #[cfg(feature = "mistakes")]
    #[must_use]
    pub fn with_mistake(self, mistake: Mistake) -> Self {
        Self { mistake: Some(mistake), ..self }
    }

    fn start(&mut self) -> Result<(), Refusal> {
        let update = self.world.checkpoint();
        let report = self.world.report();
        let record = self.world.records.get(&Key::ControlMaps).map(Vec::as_slice);
        let saved = Saved { update, report, maps: Doors::maps(record), ..Saved::nothing() };
        let (machine, action) = self.started(saved)?;
        self.trouble.started();
        let checkpoint = machine.checkpoint();
        if checkpoint.tag == Tag::Store && !checkpoint.module && !checkpoint.deployment.is_empty() {
            // No module and no script of the update has run: the driver removes what an artifact left.
            self.world.device.clean();
        }
        self.doors.started(&machine, record, self.world.records.contains_key(&Key::Checkpoint));
        self.turn(machine, action);
        Ok(())
    }

    fn started(&self, saved: Saved) -> Result<(Machine, Action), Refusal> {
        Machine::start(Instant::ZERO, &self.doors.config(), Run::Daemon, StopSet::default(), saved)
    }

    fn step(&mut self, machine: &mut Machine, event: Event) -> Action {
        let before = machine.place();
        let action = machine.step(self.now, event);
        self.doors.observe(before, machine, &action, self.now);
        action
    }

    /// Time goes on to `at`.
    fn tick(&mut self, machine: &mut Machine, at: Instant) -> Action {
        self.now = self.now.max(at);
        self.doors.wait(machine.point().is_some());
        self.step(machine, Event::Tick)
    }

    /// Takes an action of the machine: what is outstanding now.
    fn turn(&mut self, mut machine: Machine, mut action: Action) {
        loop {
            match action {
                Action::SaveMaps => action = self.save_maps_aside(&mut machine, true),
                Action::Start(id, op) => {
                    if !matches!(op, Op::Request(ApiCall::Status { .. } | ApiCall::Log | ApiCall::ControlMap))
                    {
                        self.world.server.down = false;
                    }
                    self.process = Process::Runs(Box::new(machine), Some((id, op)));
                    return;
                }
                // A daemon never does.
                Action::Exit(_) => {
                    self.process = Process::Ended;
                    return;
                }
                Action::Wait | Action::Kill => {
                    if machine.place().0 == State::Idle && !self.world.server.pending {
                        self.process = Process::Ended;
                        return;
                    }
                    // A door: who knows what is said meanwhile.
                    if machine.point().is_some() {
                        if self.mistake == Some(Mistake::PausesAreApproved) && machine.held().is_some() {
                            action = self.step(&mut machine, Event::Approved);
                            continue;
                        }
                        self.process = Process::Runs(Box::new(machine), None);
                        return;
                    }
                    // Nothing happens before the deadline.
                    let Some(at) = machine.deadline() else {
                        self.process = Process::Runs(Box::new(machine), None);
                        return;
                    };
                    action = self.tick(&mut machine, at);
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
            let (event, outcome) = new.end(&machine, id, op, outcome);
            new.doors.ended(op, machine.place(), outcome);
            let over = op == Op::End;
            let action = new.step(&mut machine, event);
            if over {
                new.process = Process::Ended;
            } else {
                new.turn(machine, action);
            }
        }
        new
    }

    /// How the machine hears of the end of an operation, and what became of it.
    fn end(&mut self, machine: &Machine, id: OpId, op: Op, outcome: Outcome) -> (Event, Outcome) {
        let now = self.now;
        if op == Op::Request(ApiCall::Next) && outcome == Outcome::Success {
            self.world.server.pending = false;
            let map = self.doors.offered(now);
            let deployment = Text::copy(sayings::DEPLOYMENT).unwrap_or_default();
            return (Event::Offered { op: id, id: deployment, map }, outcome);
        }
        if op == Op::Request(ApiCall::ControlMap) && outcome == Outcome::Success {
            return match self.doors.refreshed(now) {
                Ok(_) if self.mistake == Some(Mistake::RefreshIsDeaf) => {
                    let id_of_maps = parse_id(sayings::DEPLOYMENT);
                    let known = machine.maps().maps().find(|(map, ..)| Some(map.id) == id_of_maps);
                    (Event::Refreshed { op: id, map: known.map(|(map, ..)| *map) }, outcome)
                }
                Ok(map) => (Event::Refreshed { op: id, map }, outcome),
                Err(outcome) => (Event::Done(id, outcome), outcome),
            };
        }
        (Event::Done(id, outcome), outcome)
    }

    /// The maps are written beside what is under way, or cannot be.
    fn save_maps_aside(&mut self, machine: &mut Machine, written: bool) -> Action {
        if written {
            self.write_maps(machine);
        }
        self.step(machine, Event::MapsSaved(written))
    }

    /// The operation does what it is meant to do; its outcome.
    fn perform(&mut self, op: Op) -> Outcome {
        let Process::Runs(machine, _) = &self.process else { return Outcome::Failure };
        let machine = (**machine).clone();
        self.trouble.wrote(op, true);
        let device = &mut self.world.device;
        let profile = device.profile;
        let yes = |yes| if yes { Outcome::Success } else { Outcome::Nothing };
        match op {
            Op::Save => {
                self.save(&machine);
                self.write_maps(&machine);
                Outcome::Success
            }
            Op::SaveProvides(naming) => {
                let name = match naming {
                    Naming::Good => NEW.to_owned(),
                    Naming::Inconsistent | Naming::Loop => format!("{NEW}{SUFFIX}"),
                };
                self.world.records.insert(Key::Provides, provides(&name));
                self.save(&machine);
                Outcome::Success
            }
            Op::ClearData => {
                self.world.records.remove(&Key::Checkpoint);
                self.world.records.remove(&Key::Offer);
                self.save_report(&machine);
                self.write_maps(&machine);
                Outcome::Success
            }
            Op::SaveReport => {
                self.save_report(&machine);
                if !machine.is_late() {
                    self.world.records.remove(&Key::Checkpoint);
                    self.world.records.remove(&Key::Offer);
                    self.write_maps(&machine);
                }
                Outcome::Success
            }
            Op::ForgetReport => {
                self.world.records.remove(&Key::Report);
                Outcome::Success
            }
            Op::SaveMaps => {
                self.write_maps(&machine);
                Outcome::Success
            }
            // One script everywhere.
            Op::RunScript(_, index) => yes(index == 0),
            Op::CheckVersion | Op::CheckRunning | Op::SaveBegun | Op::AskPolicy(_) | Op::End => {
                Outcome::Success
            }
            Op::CallModule(Call::ProvidePayloadFileSizes) => Outcome::Nothing,
            Op::CallModule(Call::NeedsArtifactReboot) => match profile.reboot {
                Reboot::No => Outcome::Nothing,
                Reboot::Yes => Outcome::Success,
                Reboot::Automatic => Outcome::Automatic,
            },
            Op::CallModule(Call::SupportsRollback) => yes(profile.rollback),
            Op::CallModule(call) => {
                if call == Call::Cleanup {
                    self.trouble.cleaned();
                }
                if device.call(call) { Outcome::Success } else { Outcome::Failure }
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
            Op::Request(ApiCall::Status { .. } | ApiCall::Log | ApiCall::ControlMap)
                if self.world.server.down =>
            {
                Outcome::Failure
            }
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

    /// The record of the maps becomes what they are, where it is not.
    fn write_maps(&mut self, machine: &Machine) {
        let Some(maps) = machine.maps_to_save() else { return };
        let mut buf = [0; limits::MAPS_RECORD];
        let before = self.world.records.get(&Key::ControlMaps).cloned();
        match maps.write(&mut buf) {
            Ok(_) | Err(_) if self.mistake == Some(Mistake::MapsAreLost) => {}
            Ok(Some(record)) => {
                self.world.records.insert(Key::ControlMaps, record.as_bytes().to_vec());
            }
            Ok(None) | Err(_) => {
                self.world.records.remove(&Key::ControlMaps);
            }
        }
        let record = self.world.records.get(&Key::ControlMaps);
        self.doors.written(machine, before.as_deref(), record.map(Vec::as_slice));
    }

    /// Something is said, and its record is written or cannot be.
    fn say(&self, said: Said, written: bool) -> Self {
        let mut new = self.clone();
        if let Process::Runs(machine, op) = &self.process {
            let mut machine = (**machine).clone();
            let mut action = new.doors.say(said, &mut machine, self.now);
            if said == Said::Server(sayings::Server::Aborted) {
                new.world.server.aborted = true;
            }
            if action == Action::SaveMaps {
                action = new.save_maps_aside(&mut machine, written);
            }
            match action {
                Action::Wait => new.process = Process::Runs(Box::new(machine), op.clone()),
                // The driver ends a request and the question to a policy at once.
                Action::Kill => {
                    new.process = Process::Runs(Box::new(machine), op.clone());
                    return new.done(Outcome::Failure);
                }
                action @ (Action::Start(..) | Action::SaveMaps | Action::Exit(_)) => {
                    new.turn(machine, action);
                }
            }
        }
        new
    }

    /// Everything that can be said now.
    fn sayings(&self, machine: &Machine, visit: &mut impl FnMut(Label, &Self)) {
        let Some(doors) = self.doors.spend() else { return };
        // The driver carries these out when they begin; here they are carried out when they end, and would write what
        // could not be written before.
        let writes = match &self.process {
            Process::Runs(_, op) => {
                matches!(op, Some((_, Op::Save | Op::SaveReport | Op::SaveMaps | Op::ClearData)))
            }
            Process::Ended => false,
        };
        for said in doors.sayings(machine) {
            let mut spent = Self { doors: doors.clone(), ..self.clone() };
            visit(Label::Said(said, ""), &spent.say(said, true));
            let can_fail = self.budget.failures > 0 && !writes;
            if can_fail && matches!(said, Said::Map(_) | Said::Order(..)) {
                spent.budget.failures -= 1;
                visit(Label::Said(said, ", which cannot be saved"), &spent.say(said, false));
            }
        }
    }

    /// An update that waits at a door: time passes, or somebody says something, or power is lost.
    fn waiting(&self, machine: &Machine, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        let Some(point) = machine.point() else {
            return Err(format!("the machine waits for nothing at {:?}", machine.place()));
        };
        self.doors.waits(machine, point)?;
        match (self.doors.held_by(point), machine.deadline()) {
            ((Some(said), waits), deadline) if waits >= 2 || deadline.is_none() => {
                let mut new = self.say(said, true);
                // Who asks the server hears of it when the time has come.
                if matches!(said, Said::Server(_)) {
                    new.pass_time();
                }
                visit(Label::Said(said, ", at last"), &new);
            }
            (_, Some(_)) => {
                let mut new = self.clone();
                new.pass_time();
                visit(Label::Waits, &new);
            }
            (_, None) => return Err(format!("it waits for nothing before {}", point.name())),
        }
        self.sayings(machine, visit);
        if self.budget.losses > 0 {
            visit(Label::Lost, &self.lose()?);
            self.spoil(visit)?;
        }
        Ok(())
    }

    fn pass_time(&mut self) {
        if let Process::Runs(machine, None) = &self.process
            && let Some(at) = machine.deadline()
        {
            let mut machine = (**machine).clone();
            let action = self.tick(&mut machine, at);
            self.turn(machine, action);
        }
    }

    /// Power is lost, and the record of the maps is damaged.
    fn spoil(&self, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        let Some(doors) = self.doors.spend() else { return Ok(()) };
        if self.world.records.contains_key(&Key::ControlMaps) {
            let mut new = Self { doors, ..self.clone() };
            new.world.records.insert(Key::ControlMaps, b"{".to_vec());
            visit(Label::Spoiled, &new.lose()?);
        }
        Ok(())
    }

    /// The record of the last report is what the machine says.
    fn save_report(&mut self, machine: &Machine) {
        let Some(ended) = machine.last_report() else {
            self.world.records.remove(&Key::Report);
            return;
        };
        let report = LastReport { ended, substate: "", server: None };
        let mut buf = [0; last_report::MAX_LEN];
        let bytes = report.encode(&mut buf).expect("the longest record fits").to_vec();
        self.world.records.insert(Key::Report, bytes);
    }

    fn save(&mut self, machine: &Machine) {
        let mut buf = [0; thimble_core::checkpoint::MAX_LEN];
        let bytes = machine.checkpoint().encode(&mut buf).expect("the longest record fits").to_vec();
        self.world.records.insert(Key::Checkpoint, bytes);
        if machine.checkpoint().offer {
            self.world.records.insert(Key::Offer, Vec::new());
        }
    }

    /// Every way the operation can fail, with what it leaves behind.
    fn failures(&self, op: Op, visit: &mut impl FnMut(&'static str, Self, Outcome)) {
        let mut plain = self.clone();
        plain.budget.failures -= 1;
        let failed = Outcome::Failure;
        let changed = |change: fn(&mut World)| {
            let mut new = plain.clone();
            change(&mut new.world);
            new
        };
        let is_down = |world: &mut World| world.server.down = true;
        match op {
            Op::Save | Op::SaveReport | Op::SaveProvides(_) | Op::ClearData | Op::ForgetReport => {
                plain.trouble.wrote(op, false);
                visit(" cannot be written", plain, failed);
            }
            Op::RunScript(_, 0) => {
                visit(" fails", plain.clone(), failed);
                visit(" cannot be read", plain.clone(), Outcome::Refused);
                visit(" asks for later, for ever", plain, Outcome::Later(None));
            }
            Op::SaveMaps | Op::SaveBegun => visit(" cannot be written", plain, failed),
            Op::RunScript(..) | Op::End => {}
            Op::AskPolicy(_) => visit(" says no", plain, failed),
            Op::CheckVersion | Op::CheckRunning => visit(" fails", plain, failed),
            Op::Prepare => visit(" is refused", plain, failed),
            Op::Stream(_) => {
                plain.world.device.receive();
                visit(" breaks off", plain, failed);
            }
            Op::CallModule(call) if call.is_query() => visit(" fails", plain, failed),
            Op::CallModule(call) => {
                let mut half = plain.clone();
                half.world.device.half_call(call);
                let mut late = plain.clone();
                late.world.device.call(call);
                let all =
                    [(" fails", plain), (" fails in the middle", half), (" fails after its work", late)];
                for (what, mut new) in all {
                    if call == Call::Cleanup {
                        // The client removes the tree whatever the module says.
                        new.world.device.clean();
                        new.trouble.cleaned();
                        let name = Name::read(&new.world.name()).unwrap_or(Name::Inconsistent);
                        new.trouble.cleanup_failed(name, new.world.server.verdict());
                    }
                    visit(what, new, failed);
                }
            }
            Op::Reboot => visit(" does not happen", plain, failed),
            Op::Request(ApiCall::Status { .. }) => {
                visit(" is not answered once", plain.clone(), failed);
                visit(" is not answered any more", changed(is_down), failed);
                visit(" is answered 409", changed(|world| world.server.aborted = true), Outcome::Aborted);
                visit(" is refused", plain, Outcome::Refused);
            }
            Op::Request(ApiCall::Log) => {
                visit(" is not answered once", plain.clone(), failed);
                visit(" is not answered any more", changed(is_down), failed);
                visit(" is refused", plain, Outcome::Refused);
            }
            Op::Request(ApiCall::ControlMap) => {
                visit(" is not answered any more", changed(is_down), failed);
                visit(" fails", plain, failed);
            }
            Op::Request(ApiCall::Next | ApiCall::Inventory) => visit(" fails", plain, failed),
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
        let paused = match &self.process {
            Process::Runs(machine, op) => Doors::paused(machine, op.as_ref().map(|(_, op)| *op)),
            Process::Ended => None,
        };
        self.world.power_cycle();
        self.now = Instant::ZERO;
        if let Some(record) = self.world.checkpoint() {
            check::resumes_twice(&record, |record| {
                self.started(Some(record).into()).ok().map(|(machine, _)| machine)
            })?;
        }
        self.start().map_err(|refusal| format!("the daemon does not start: {refusal:?}"))?;
        if let (Some(point), Process::Runs(machine, _)) = (paused, &self.process) {
            Doors::restarted(point, machine)?;
        }
        Ok(())
    }
}

/// Something that happens, for a line of text.
#[derive(Clone, Copy, Debug)]
pub enum Label {
    /// An operation at a place, and how it ends when that is not plain success.
    Step(Place, Op, &'static str),
    /// Somebody says something about the update.
    Said(Said, &'static str),
    /// Time passes until the update at a door looks again.
    Waits,
    /// Power is lost while it waits there.
    Lost,
    /// Power is lost, and the record of the maps is damaged.
    Spoiled,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step((state, phase), op, what) => write!(f, "{state:?} {phase:?}: {}{what}", describe(*op)),
            Self::Said(said, how) => write!(f, "{said}{how}"),
            Self::Waits => f.write_str("** time passes"),
            Self::Lost => f.write_str("** power lost while the update waits"),
            Self::Spoiled => f.write_str("** power lost, the record of the maps is damaged"),
        }
    }
}

impl Model for Simulation {
    type Label = Label;

    fn next(&self, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        if let Some(wrong) = self.doors.wrong.clone() {
            return Err(wrong);
        }
        let (machine, op) = match &self.process {
            Process::Runs(machine, Some((_, op))) => (machine, *op),
            Process::Runs(machine, None) => return self.waiting(machine, visit),
            Process::Ended => {
                if !self.trouble.clear {
                    self.doors.at_end(self.world.records.get(&Key::ControlMaps).map(Vec::as_slice))?;
                }
                if !self.world.server.statuses.is_empty() || self.world.server.aborted {
                    at_end(&self.world, self.trouble)?;
                }
                return Ok(());
            }
        };
        let saved = self.world.checkpoint();
        check::before(op, saved.as_ref(), &self.world.device, machine, self.trouble)?;
        if op == Op::Save && saved.as_ref() == Some(machine.checkpoint()) {
            return Err("the record is written again though nothing has changed".into());
        }
        let label = |what| Label::Step(machine.place(), op, what);
        let mut good = self.clone();
        let outcome = good.perform(op);
        if op == Op::Reboot {
            let mut rebooted = self.clone();
            rebooted.reboot()?;
            visit(label(""), &rebooted);
        } else {
            visit(label(if outcome == Outcome::Failure { " fails" } else { "" }), &good.done(outcome));
        }
        self.sayings(machine, visit);
        if let (Op::AskPolicy(_), Some(doors)) = (op, self.doors.spend()) {
            let new = Self { doors, ..self.clone() };
            visit(label(" says not now"), &new.done(Outcome::Later(Some(60))));
        }
        if self.budget.failures > 0 {
            self.failures(op, &mut |what, new, outcome| visit(label(what), &later(&new, op, outcome)));
        }
        if self.budget.losses > 0 {
            visit(label(" ** power lost before"), &self.lose()?);
            visit(label(" ** power lost after"), &good.lose()?);
            self.spoil(visit)?;
            if let Op::CallModule(call) = op {
                let mut half = self.clone();
                half.world.device.half_call(call);
                visit(label(" ** power lost inside"), &half.lose()?);
            } else if let Op::Stream(_) = op {
                let mut half = self.clone();
                half.world.device.receive();
                visit(label(" ** power lost inside"), &half.lose()?);
            }
        }
        Ok(())
    }
}

/// The update is over; see [`check::at_end`].
fn at_end(world: &World, trouble: Trouble) -> Result<(), String> {
    let record = world.records.contains_key(&Key::Checkpoint);
    let offer = world.records.contains_key(&Key::Offer);
    let (name, verdict) = (Name::read(&world.name())?, world.server.verdict());
    let device = &world.device;
    check::at_end(
        check::End { record, offer, partial: false, device, name, verdict, tree_may_stay: false },
        trouble,
    )
}

/// The operation ends; a script that asks for later for ever does so until its time is up.
fn later(simulation: &Simulation, op: Op, outcome: Outcome) -> Simulation {
    let mut new = simulation.done(outcome);
    if outcome == Outcome::Later(None) {
        for _ in 0..100 {
            match &new.process {
                Process::Runs(_, Some((_, again))) if *again == op => {
                    let Process::Runs(machine, pending) = &mut new.process else { break };
                    let Some((id, _)) = pending.take() else { break };
                    let mut machine = (**machine).clone();
                    let action = new.step(&mut machine, Event::Done(id, outcome));
                    new.turn(machine, action);
                }
                Process::Runs(..) | Process::Ended => break,
            }
        }
    }
    new
}

/// The operation in the words of the scenarios (SCRIPT-43).
#[must_use]
pub fn describe(op: Op) -> String {
    match op {
        Op::Save => "save".into(),
        Op::SaveMaps => "save control maps".into(),
        Op::AskPolicy(point) => format!("ask the policies before {}", point.name()),
        Op::SaveProvides(naming) => format!("save name and provides ({naming:?})"),
        Op::SaveReport => "save the last report".into(),
        Op::ClearData => "delete the record".into(),
        Op::ForgetReport => "delete the record of the report".into(),
        Op::SaveBegun => "save how often deployments began".into(),
        Op::RunScript(transition, index) => format!("[{transition}] {index}"),
        Op::CheckVersion => "check the scripts' version".into(),
        Op::CheckRunning => "check what runs".into(),
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
