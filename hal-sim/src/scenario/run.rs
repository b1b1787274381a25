//! A scenario happens: the device, and what is done to it.

use std::cell::RefCell;
use std::rc::Rc;

use thimble_core::client::OPERATOR;
use thimble_core::deployment::Point;
use thimble_core::hal::Key;
use thimble_core::machine::{Run, StopSet};
use thimble_core::state::Phase;
use thimble_core::time::Instant;

use super::commands::{Begin, Change, Command, Given, Say, ServerMap};
use super::complaint::Complaint;
use super::file::Scenario;
use super::rules::{Rules, Shared};
use super::{deployment_id, limits, transcript};
use crate::runner::{self, End, Memory, Process, Then};
use crate::sample;
use crate::server::{Artifact, Deployment};
use crate::sim::{self, DEVICE_TYPE, Handle};
use crate::world::{Content, Profile};

/// What happened in a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The scenario with the timelines of what happened, to where it stopped.
    pub scenario: Scenario,
    /// What was to go wrong or to be asked, and never was: such a scenario does not show what it says.
    pub unused: Vec<Complaint>,
    /// Why it stopped before its end.
    pub stopped: Option<Complaint>,
    /// What runs after the next start of the device.
    pub runs: Content,
}

impl Scenario {
    /// Runs the scenario on a new device. The same every time.
    #[must_use]
    pub fn run(&self) -> Happened {
        let mut stage = Stage::new(self);
        let stopped = stage.play().err();
        if stopped.is_some() {
            // How far it came.
            stage.end_of_part(None);
            let timeline = stage.timelines.last_mut();
            timeline.into_iter().for_each(|timeline| timeline.truncate(limits::STOPPED));
        }
        let scenario = self.with(std::mem::take(&mut stage.timelines));
        let unused = if stopped.is_none() { stage.unused() } else { Vec::new() };
        let mut device = stage.bench.0.borrow().durable.device.clone();
        device.boot();
        Happened { scenario, unused, stopped, runs: device.content() }
    }
}

/// What comes next.
#[derive(Clone, Copy)]
enum Step<'s> {
    /// This line.
    Command(usize, &'s Command),
    /// The timeline of a part ends.
    EndOfPart,
}

/// What became of a line about the daemon.
enum Went {
    /// It is done, and the daemon runs on.
    Done,
    /// It is done, and the daemon has nothing to do.
    Idle,
    /// The device has gone down on the way.
    Down,
}

/// A line that says what a policy of the device says.
struct Policy {
    line: usize,
    points: Vec<Point>,
    rule: sim::Rule,
    was_asked: bool,
}

/// The device, and where the scenario is.
struct Stage<'s> {
    steps: Vec<Step<'s>>,
    at: usize,
    bench: Handle,
    profile: Profile,
    rules: Rc<RefCell<Rules>>,
    policies: Vec<Policy>,
    /// Of each point: the policy that counts there by its index, and how often one had been asked there before.
    in_force: [Option<(usize, u32)>; 3],
    stops: StopSet,
    /// When the `wait` at hand is over.
    until: Option<Instant>,
    turns: u32,
    show_idle: bool,
    /// The daemon has run: the server knows of statuses.
    daemon_ran: bool,
    timelines: Vec<Vec<String>>,
    /// When the last timeline ended.
    ended: Instant,
}

impl<'s> Stage<'s> {
    fn new(scenario: &'s Scenario) -> Self {
        let (mut profile, mut wrong, mut nothing) = (Profile::SLOTS, false, false);
        let (mut show_idle, mut resume_downloads, mut clock) = (false, false, Instant::ZERO);
        let (mut steps, mut has_policies, mut scripts) = (Vec::new(), false, None::<Vec<_>>);
        for part in &scenario.parts {
            for (line, command) in &part.commands {
                steps.push(Step::Command(*line, command));
                match command {
                    Command::Given(Given::Device(device)) => {
                        (profile, wrong) = (device.profile, device.wrong)
                    }
                    Command::Given(Given::ShowIdle) => show_idle = true,
                    Command::Given(Given::NoDeployment) => nothing = true,
                    Command::Given(Given::ResumeDownloads) => resume_downloads = true,
                    Command::Given(Given::Clock(time)) => clock = *time,
                    Command::Given(Given::Script(script)) => {
                        scripts.get_or_insert_default().extend(script.clone());
                    }
                    Command::Policy(..) => has_policies = true,
                    Command::Rule(_)
                    | Command::StopBefore(_)
                    | Command::World(_)
                    | Command::Verb(_)
                    | Command::Daemon(_) => {}
                }
            }
            steps.push(Step::EndOfPart);
        }
        let artifact = sample::artifact(profile.payload, if wrong { "other" } else { DEVICE_TYPE });
        let rules = Rc::new(RefCell::new(Rules::default()));
        let mut durable = runner::durable(profile, &artifact);
        if nothing {
            durable.server.deployments.clear();
        }
        let bench = Handle::new(durable, artifact, Box::new(Shared(Rc::clone(&rules))));
        {
            let mut bench = bench.0.borrow_mut();
            bench.config.resume_downloads = resume_downloads;
            bench.config.policies = has_policies;
            bench.booted = clock;
            if let Some(scripts) = &mut scripts {
                scripts.sort_by(|a, b| a.1.cmp(&b.1));
                scripts.dedup();
            }
            bench.scripts = scripts;
        }
        Self {
            steps,
            at: 0,
            bench,
            profile,
            rules,
            policies: Vec::new(),
            in_force: [None; 3],
            stops: StopSet::default(),
            until: None,
            turns: limits::TURNS,
            show_idle,
            daemon_ran: false,
            timelines: Vec::new(),
            ended: clock,
        }
    }

    fn step(&self) -> Option<Step<'s>> {
        self.steps.get(self.at).copied()
    }

    fn next(&mut self) {
        self.at += 1;
    }

    /// All of it, or to where it cannot go on.
    fn play(&mut self) -> Result<(), Complaint> {
        // Of one client after the other.
        let mut memory = Memory::default();
        while let Some(step) = self.step() {
            match step {
                Step::Command(line, Command::Daemon(_)) => self.daemon(line, &mut memory)?,
                Step::Command(line, Command::Verb(begin)) => {
                    self.next();
                    self.verb(line, *begin)?;
                }
                Step::Command(line, command) => {
                    self.next();
                    self.around(line, command);
                }
                Step::EndOfPart => {
                    self.next();
                    self.end_of_part(None);
                }
            }
        }
        Ok(())
    }

    /// The daemon runs, through all lines until it ends or the device goes down.
    fn daemon(&mut self, line: usize, memory: &mut Memory) -> Result<(), Complaint> {
        self.daemon_ran = true;
        let daemon = Process::start(&self.bench, Run::Daemon, StopSet::default(), memory);
        let mut daemon = daemon.map_err(|end| stopped(line, &end))?;
        while let Some(step) = self.step() {
            match step {
                Step::Command(line, Command::Daemon(say)) => match self.say(line, say, &mut daemon)? {
                    Went::Done => self.next(),
                    Went::Idle => {
                        self.next();
                        return Ok(());
                    }
                    // The next daemon goes on with this line.
                    Went::Down => {
                        runner::boot(&self.bench);
                        return Ok(());
                    }
                },
                Step::Command(_, Command::World(Change::Reboot)) => {
                    self.next();
                    runner::boot(&self.bench);
                    return Ok(());
                }
                Step::Command(line, Command::Verb(_)) => {
                    let text = "the daemon runs, and a verb of the command line would be refused: `reboot` ends it here";
                    return Err(Complaint { line, text: text.into() });
                }
                Step::Command(line, command) => {
                    self.next();
                    self.around(line, command);
                }
                Step::EndOfPart => {
                    self.next();
                    let waits = daemon.client.waiting();
                    let waits = waits.map(|(point, why)| format!("waits before {}: {why}", point.name()));
                    self.end_of_part(waits);
                }
            }
        }
        Ok(())
    }

    /// Something that does not concern a process of the client.
    fn around(&mut self, line: usize, command: &Command) {
        match command {
            Command::Rule(rule) => self.rules.borrow_mut().add(line, rule.clone()),
            Command::Policy(points, rule) => self.policy(line, points, rule),
            Command::StopBefore(stop) => self.stops = self.stops.with(*stop),
            Command::World(change) => self.change(change),
            // Read before the device was there, and what play and daemon do themselves.
            Command::Given(_) | Command::Verb(_) | Command::Daemon(_) => {}
        }
    }

    fn policy(&mut self, line: usize, points: &[Point], rule: &sim::Rule) {
        self.note_asked();
        self.policies.push(Policy { line, points: points.to_vec(), rule: rule.clone(), was_asked: false });
        let mut bench = self.bench.0.borrow_mut();
        for point in points {
            let point = *point as usize;
            bench.policies[point] = rule.clone();
            self.in_force[point] = Some((self.policies.len() - 1, bench.asked[point]));
        }
    }

    /// Notes which policies in force have been asked by now.
    fn note_asked(&mut self) {
        let asked = self.bench.0.borrow().asked;
        for (in_force, asked) in self.in_force.iter().zip(asked) {
            if let Some((index, before)) = in_force {
                self.policies[*index].was_asked |= asked > *before;
            }
        }
    }

    /// Rules and policies that were for nothing.
    fn unused(&mut self) -> Vec<Complaint> {
        self.note_asked();
        let policies =
            self.policies.iter().filter(|policy| policy.rule != sim::Rule::None && !policy.was_asked);
        let policies = policies.map(|Policy { line, points, .. }| {
            let points: Vec<&str> = points.iter().map(|point| point.name()).collect();
            let text =
                format!("never used: no update came to {} while this line counted", points.join(" or "));
            Complaint { line: *line, text }
        });
        let mut unused: Vec<Complaint> = self.rules.borrow().unused().chain(policies).collect();
        unused.sort_by_key(|complaint| complaint.line);
        unused
    }

    fn change(&self, change: &Change) {
        let mut bench = self.bench.0.borrow_mut();
        let server = &mut bench.durable.server;
        match change {
            Change::Deploy(name) => {
                let bytes = sample::named(name, self.profile.payload, DEVICE_TYPE);
                let types = vec![DEVICE_TYPE.to_owned()];
                let artifact = Artifact { name: name.clone(), device_types: types, bytes };
                // Behind what is there: they are offered in this order.
                let id = deployment_id(server.deployments.len() + 1);
                server.deployments.insert(id, Deployment::new(artifact));
            }
            Change::ServerMap(map) => {
                server.v2 = true;
                let ids: Vec<String> = server.deployments.keys().cloned().collect();
                for id in ids {
                    let json = match map {
                        ServerMap::Says(map) => Some(map.json(&id)),
                        ServerMap::Json(of, _) if thimble_core::control::parse_id(&id) != Some(*of) => {
                            continue;
                        }
                        ServerMap::Json(_, json) => Some(json.clone()),
                        ServerMap::Unreadable => Some(r#"{"id":"no map has this one"}"#.to_owned()),
                        ServerMap::Aborted => {
                            server.abort(&id);
                            None
                        }
                    };
                    if let Some(deployment) = server.deployments.get_mut(&id) {
                        deployment.control_map = json;
                    }
                }
            }
            Change::SpoilMaps => {
                bench.durable.records.insert(Key::ControlMaps, b"{".to_vec());
            }
            Change::Reboot => {
                drop(bench);
                runner::boot(&self.bench);
            }
        }
    }

    /// A verb of the command line, to its end.
    fn verb(&mut self, line: usize, begin: Begin) -> Result<(), Complaint> {
        let run = match begin {
            Begin::Install => Run::Install,
            Begin::Continue(verb) => Run::Continue(verb),
        };
        let stops = std::mem::take(&mut self.stops);
        let end = runner::process(&self.bench, run, stops, &mut |_, _| Then::GoOn);
        match end {
            End::Exit(report) => self.bench.line(format!("exit: {}", u8::from(!report.is_success()))),
            End::NotStarted(why) => self.bench.line(format!("refused: {why}")),
            End::Down(_) => runner::boot(&self.bench),
            End::Idle | End::Pruned | End::Stuck(_) => return Err(stopped(line, &end)),
        }
        Ok(())
    }

    /// Something that concerns the daemon.
    fn say(&mut self, line: usize, say: &Say, daemon: &mut Process<'_>) -> Result<Went, Complaint> {
        let refused = match say {
            Say::Run => return self.pass(line, daemon, None),
            Say::Wait(time) => {
                let until = *self.until.get_or_insert_with(|| self.bench.0.borrow().time() + *time);
                let went = self.pass(line, daemon, Some(until))?;
                if !matches!(went, Went::Down) {
                    self.until = None;
                }
                return Ok(went);
            }
            Say::Map(json) => daemon.client.set_control_map(json.as_bytes()).err().map(|why| why.to_string()),
            Say::Order(order, points, lifetime) => {
                let ordered = daemon.client.order(OPERATOR, points, *order, *lifetime);
                ordered.err().map(|why| why.to_string())
            }
            Say::Approve => match daemon.client.approve() {
                Some(_) => None,
                None => return Err(Complaint { line, text: "approve: no update waits here".into() }),
            },
        };
        if let Some(why) = refused {
            self.bench.line(format!("refused: {why}"));
        }
        Ok(Went::Done)
    }

    /// The daemon goes on until it is idle or waits before a point, or `until`.
    fn pass(
        &mut self,
        line: usize,
        daemon: &mut Process<'_>,
        until: Option<Instant>,
    ) -> Result<Went, Complaint> {
        loop {
            self.turns = self.turns.checked_sub(1).ok_or_else(|| Complaint {
                line,
                text: format!(
                    "the scenario does not end: the daemon has done something {} times",
                    limits::TURNS
                ),
            })?;
            match daemon.poll() {
                None => {}
                Some(End::Down(_)) => return Ok(Went::Down),
                Some(end) => return Err(stopped(line, &end)),
            }
            let (now, time) = {
                let mut bench = self.bench.0.borrow_mut();
                bench.log.clear();
                (bench.now, bench.time())
            };
            let wake = daemon.wake();
            match until {
                Some(until) => {
                    let left = until.since(time);
                    if wake.is_none_or(|wake| wake.since(now) > left) {
                        self.bench.0.borrow_mut().now = now + left;
                        return Ok(Went::Done);
                    }
                }
                None => {
                    let later = wake.is_none_or(|wake| wake > now);
                    let is_at_door = later && daemon.client.machine().place().1 == Phase::Leave;
                    if is_at_door && daemon.client.waiting().is_some() {
                        return Ok(Went::Done);
                    }
                    if daemon.is_idle() {
                        return Ok(Went::Idle);
                    }
                }
            }
            if !daemon.pass_time() {
                return Err(Complaint {
                    line,
                    text: "the daemon waits for something that never comes".into(),
                });
            }
        }
    }

    /// What happened since the last part, and how things stand.
    fn end_of_part(&mut self, waits: Option<String>) {
        let mut bench = self.bench.0.borrow_mut();
        let lines = std::mem::take(&mut bench.lines);
        let mut timeline = transcript::group(lines, self.ended, self.show_idle);
        self.ended = bench.time();
        let durable = &bench.durable;
        if self.daemon_ran {
            let mut statuses: Vec<&str> = Vec::new();
            for (status, _) in durable.server.deployments.values().flat_map(|deployment| &deployment.statuses)
            {
                if statuses.last() != Some(&status.as_str()) {
                    statuses.push(status);
                }
            }
            timeline.push(format!("status: {}", statuses.join(" ")).trim_end().to_owned());
        }
        timeline.extend(waits);
        let slot = if durable.device.profile.slots {
            format!("   slot: {}", durable.device.slot())
        } else {
            String::new()
        };
        timeline.push(format!("name: {}{slot}", runner::name(durable)));
        self.timelines.push(timeline);
    }
}

/// Why the scenario cannot go on: a process of the client ended where none should.
fn stopped(line: usize, end: &End) -> Complaint {
    let text = match end {
        End::Exit(_) | End::Idle | End::Pruned => "the client has ended by itself".to_owned(),
        End::Down(_) => "the device has gone down".to_owned(),
        End::NotStarted(why) => format!("the client does not start: {why}"),
        End::Stuck(_) => "the client does not come to an end".to_owned(),
    };
    Complaint { line, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_takes_as_long_as_it_says_also_across_a_reboot() {
        let text = "order pause before ArtifactReboot_Enter for 1 h\nwait 90 min\nwait 10 min\n";
        let scenario = Scenario::read(text.as_bytes()).unwrap();
        let mut stage = Stage::new(&scenario);
        stage.play().unwrap();
        assert!(stage.timelines[0].contains(&"** reboot".to_owned()), "{:?}", stage.timelines);
        assert_eq!(stage.bench.0.borrow().time().since(Instant::ZERO).as_secs(), 100 * 60);
    }
}
