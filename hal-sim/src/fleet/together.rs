//! Many devices, one server, and a program of quality assurance that lets all of them commit, or none.
//!
//! The program holds each device back before `ArtifactCommit` with a control map that it renews in time. When all
//! devices wait there, running what is new, it looks at them, and then lets all go on or has all roll back. When it
//! dies, its maps expire, and nobody commits.

use std::fmt;

use thimble_core::deployment::Point;
use thimble_core::machine::{Run, StopSet};
use thimble_core::state::Phase;
use thimble_core::time::{Duration, Instant};

use crate::runner::{self, End, Memory, Process};
use crate::sample;
use crate::server::{Artifact, Deployment, Server};
use crate::sim::{DEVICE_TYPE, Handle, SERVER, Smooth};
use crate::world::{NEW, Profile};

/// One device starts so much after the one before.
const STAGGER: Duration = Duration::from_secs(47);

/// More turns than any fleet takes.
const TURNS: usize = 1_000_000;

/// Starts of one device: the first, after the reboot, and after the reboot of a rollback; one more is a fault.
const STARTS: usize = 4;

/// What is tried.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many devices: 1 to 99.
    pub devices: u8,
    /// Quality assurance finds this one broken.
    pub broken: Option<u8>,
    /// The program dies when all devices wait.
    pub dies: bool,
    /// The map that holds the commit back.
    pub hold: String,
    /// The map that lets it go on.
    pub go: String,
    /// The map that has it fail.
    pub fail: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the first device started.
    pub at: Duration,
    /// The device; `None`: the program.
    pub device: Option<u8>,
    /// What.
    pub what: String,
}

/// How a device ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number, from 1.
    pub device: u8,
    /// When it came to its commit and had to wait.
    pub waited: Option<Duration>,
    /// When its deployment was over.
    pub over: Option<Duration>,
    /// What the server was told last.
    pub status: String,
    /// The artifact name on record.
    pub name: String,
    /// The slot that runs.
    pub slot: char,
}

/// How a fleet ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// What happened, in order.
    pub events: Vec<Event>,
    /// The devices.
    pub rows: Vec<Row>,
    /// What the server saw that a good client does not do.
    pub violations: Vec<String>,
}

impl Story {
    /// All committed, or all are what they were, and the server knows.
    #[must_use]
    pub fn agrees(&self) -> bool {
        let Some(first) = self.rows.first() else { return false };
        let is_good = (first.status == "success") == (first.name == NEW);
        is_good
            && self.violations.is_empty()
            && self.rows.iter().all(|row| (&row.status, &row.name) == (&first.status, &first.name))
    }
}

struct Clock(Duration);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Event { at, device, what } in &self.events {
            match device {
                Some(device) => writeln!(f, "{}  device {device:02}  {what}", Clock(*at))?,
                None => writeln!(f, "{}  quality assurance  {what}", Clock(*at))?,
            }
        }
        writeln!(f, "\ndevice  waited    over      status    name  slot")?;
        for row in &self.rows {
            let time = |at: Option<Duration>| at.map_or("-".to_owned(), |at| Clock(at).to_string());
            let (waited, over) = (time(row.waited), time(row.over));
            let Row { device, status, name, slot, .. } = row;
            writeln!(f, "{device:02}      {waited:8}  {over:8}  {status:8}  {name:4}  {slot}")?;
        }
        Ok(())
    }
}

struct Member<'m> {
    number: u8,
    bench: Handle,
    process: Option<Process<'m>>,
    /// Memory of its next clients, one for each start.
    memories: std::slice::IterMut<'m, Memory>,
    deployment: Option<String>,
    /// When the program renews its map.
    renew: Option<Duration>,
    waited: Option<Duration>,
    over: Option<Duration>,
}

impl<'m> Member<'m> {
    fn new(number: u8, artifact: &std::sync::Arc<[u8]>, memories: &'m mut [Memory]) -> Self {
        let durable = runner::durable(Profile::SLOTS, artifact);
        let bench = Handle::new(durable, artifact.clone(), Box::new(Smooth));
        bench.0.borrow_mut().number = number;
        let memories = memories.iter_mut();
        Self {
            number,
            bench,
            process: None,
            memories,
            deployment: None,
            renew: None,
            waited: None,
            over: None,
        }
    }

    fn starts(&self) -> Duration {
        Duration::from_millis(STAGGER.as_millis() * u64::from(self.number - 1))
    }

    /// When it wants to go on, by the clock of all.
    fn wakes(&self) -> Option<Duration> {
        let Some(process) = &self.process else { return Some(self.starts()) };
        let booted = self.bench.0.borrow().booted;
        process.wake().map(|at| (booted + at.since(Instant::ZERO)).since(Instant::ZERO))
    }

    fn tell_time(&self, now: Duration) {
        let mut bench = self.bench.0.borrow_mut();
        let booted = bench.booted.since(Instant::ZERO);
        bench.now = Instant::from_millis(now.as_millis().saturating_sub(booted.as_millis()));
    }

    fn is_at_commit(&self) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let machine = process.client.machine();
            machine.held().is_some_and(|(point, _)| point == Point::Commit)
                && machine.place().1 == Phase::Leave
        })
    }
}

struct Fleet<'p, 'm> {
    plan: &'p Plan,
    server: Server,
    members: Vec<Member<'m>>,
    now: Duration,
    /// The map of the program on every device now; `None`: it is dead.
    map: Option<&'p str>,
    decided: bool,
    events: Vec<Event>,
}

/// Runs a fleet to its end.
///
/// # Errors
/// A map that is refused, a device that does not go on.
pub fn run(plan: &Plan) -> Result<Story, String> {
    if !(1..=99).contains(&plan.devices) {
        return Err(format!("{} devices: 1 to 99 are possible", plan.devices));
    }
    let artifact = sample::fitting(true);
    let mut server = Server::new(SERVER);
    for number in 1..=plan.devices {
        let types = vec![DEVICE_TYPE.to_owned()];
        let artifact = Artifact { name: NEW.into(), device_types: types, bytes: artifact.clone() };
        server.deployments.insert(format!("00000000-0000-4000-8000-{number:012}"), Deployment::new(artifact));
    }
    let mut memories: Vec<Memory> = Vec::new();
    memories.resize_with(usize::from(plan.devices) * STARTS, Memory::default);
    let members = (1..=plan.devices).zip(memories.chunks_mut(STARTS));
    let mut fleet = Fleet {
        plan,
        server,
        members: members.map(|(number, memories)| Member::new(number, &artifact, memories)).collect(),
        now: Duration::ZERO,
        map: Some(&plan.hold),
        decided: false,
        events: Vec::new(),
    };
    for _ in 0..TURNS {
        for index in 0..fleet.members.len() {
            fleet.advance(index)?;
        }
        if fleet.members.iter().all(|member| member.over.is_some()) {
            return Ok(fleet.story());
        }
        if !fleet.decided && fleet.members.iter().all(Member::is_at_commit) {
            fleet.decide()?;
            continue;
        }
        fleet.pass_time()?;
    }
    Err("the fleet goes on for ever".into())
}

impl Fleet<'_, '_> {
    fn tell(&mut self, device: Option<u8>, what: impl Into<String>) {
        self.events.push(Event { at: self.now, device, what: what.into() });
    }

    /// All devices wait, and run what is new.
    fn decide(&mut self) -> Result<(), String> {
        self.decided = true;
        if self.plan.dies {
            self.map = None;
            self.members.iter_mut().for_each(|member| member.renew = None);
            self.tell(None, "dies");
            return Ok(());
        }
        let plan = self.plan;
        let (map, what) = match plan.broken {
            Some(device) => (&plan.fail, format!("device {device:02} is broken: nobody commits")),
            None => (&plan.go, "all devices are good: all commit".to_owned()),
        };
        self.map = Some(map);
        self.tell(None, what);
        for index in 0..self.members.len() {
            self.set_map(index)?;
            self.members[index].renew = None;
            self.turn(index)?;
        }
        Ok(())
    }

    /// The program on the device sets its map.
    fn set_map(&mut self, index: usize) -> Result<(), String> {
        let (member, now) = (&mut self.members[index], self.now);
        member.tell_time(now);
        let (Some(process), Some(map)) = (&mut member.process, self.map) else { return Ok(()) };
        let renew = process.client.set_control_map(map.as_bytes());
        let renew = renew.map_err(|error| error.to_string())?;
        member.renew = Some(Duration::from_millis(now.as_millis() + renew * 1000));
        Ok(())
    }

    /// A device does what it can do now.
    fn advance(&mut self, index: usize) -> Result<(), String> {
        let at = |member: &Member| member.wakes().filter(|_| member.over.is_none());
        while at(&self.members[index]).is_some_and(|at| at <= self.now) {
            self.turn(index)?;
        }
        Ok(())
    }

    fn turn(&mut self, index: usize) -> Result<(), String> {
        let now = self.now;
        let member = &mut self.members[index];
        member.tell_time(now);
        if member.process.is_none() {
            let memory = member.memories.next();
            let memory = memory
                .ok_or_else(|| format!("device {}: started more than {STARTS} times", member.number))?;
            let process = Process::start(&member.bench, Run::Daemon, StopSet::default(), memory);
            member.process = Some(process.map_err(|end| format!("{end:?}"))?);
            if !self.decided {
                self.set_map(index)?;
            }
        }
        let member = &mut self.members[index];
        std::mem::swap(&mut member.bench.0.borrow_mut().durable.server, &mut self.server);
        let end = member.process.as_mut().and_then(Process::poll);
        std::mem::swap(&mut member.bench.0.borrow_mut().durable.server, &mut self.server);
        match end {
            None => {}
            Some(End::Down(_)) => {
                member.process = None;
                runner::boot(&member.bench);
            }
            Some(end @ (End::Exit(_) | End::Idle | End::NotStarted(_) | End::Pruned | End::Stuck(_))) => {
                return Err(format!("device {}: {end:?}", member.number));
            }
        }
        if member.deployment.is_none() {
            let machine = member.process.as_ref().map(|process| process.client.machine());
            member.deployment =
                machine.map(|machine| machine.deployment().to_owned()).filter(|id| !id.is_empty());
        }
        if member.waited.is_none() && member.is_at_commit() {
            member.waited = Some(now);
        }
        let number = member.number;
        let lines = std::mem::take(&mut member.bench.0.borrow_mut().lines);
        for line in lines {
            let Some(what) = line.text.strip_prefix("-- ").or_else(|| line.text.strip_prefix("** ")) else {
                continue;
            };
            if matches!(what, "success" | "failure") {
                self.members[index].over = Some(now);
            }
            self.tell(Some(number), what);
        }
        Ok(())
    }

    /// On to the next thing that happens; maps that are due are renewed.
    fn pass_time(&mut self) -> Result<(), String> {
        let open = |member: &&Member| member.over.is_none();
        let next =
            self.members.iter().filter(open).flat_map(|member| [member.wakes(), member.renew]).flatten();
        let next = next.min().ok_or("the fleet waits for ever")?;
        self.now = self.now.max(next);
        for index in 0..self.members.len() {
            if self.members[index].renew.is_some_and(|at| at <= self.now) {
                self.set_map(index)?;
            }
        }
        Ok(())
    }

    fn story(self) -> Story {
        let server = &self.server;
        let rows = self.members.iter().map(|member| {
            let bench = member.bench.0.borrow();
            let deployment = member.deployment.as_ref().and_then(|id| server.deployments.get(id));
            Row {
                device: member.number,
                waited: member.waited,
                over: member.over,
                status: deployment.map_or("", Deployment::status).to_owned(),
                name: runner::name(&bench.durable),
                slot: bench.durable.device.slot(),
            }
        });
        Story { rows: rows.collect(), violations: self.server.violations().to_vec(), events: self.events }
    }
}
