//! A scenario happens: the device, and what is done to it.

use std::cell::RefCell;
use std::rc::Rc;

use thimble_core::client::OPERATOR;
use thimble_core::control::{Lifetime, Order};
use thimble_core::deployment::Point;
use thimble_core::hal::Key;
use thimble_core::machine::{Report, Run, Stop, StopSet};
use thimble_core::state::{Phase, Verb};
use thimble_core::time::{Duration, Instant};

use super::rules::{Rules, Shared};
use super::{Part, transcript, values};
use crate::runner::{self, DEPLOYMENT, End, Process, Then};
use crate::sample;
use crate::server::{Artifact, Deployment};
use crate::sim::{self as policy, DEVICE_TYPE, Fate, Handle};
use crate::world::Profile;

/// Runs a scenario and gives it back with the transcripts of what happened.
///
/// # Errors
/// A line that makes no sense, or a run that does not end.
pub fn run(parts: &[Part]) -> Result<Vec<Part>, String> {
    let mut setup: Option<Setup> = None;
    let mut profile = Given::default();
    let mut result = Vec::new();
    for part in parts {
        let mut stops = StopSet::default();
        for line in part.done.iter().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["device", kind] => profile.device(kind)?,
                ["show", "idle"] => profile.show_idle = true,
                ["no-deployment"] => profile.nothing = true,
                ["resume-downloads"] => profile.resume_downloads = true,
                ["stop-before", point] => {
                    let stop = Stop::ALL.into_iter().find(|stop| stop.name() == *point);
                    stops = stops.with(stop.ok_or_else(|| format!("no such point: {point}"))?);
                }
                _ => {
                    let setup = setup.get_or_insert_with(|| Setup::new(&profile));
                    setup.line(&words, stops)?;
                }
            }
        }
        let setup = setup.get_or_insert_with(|| Setup::new(&profile));
        result.push(Part { done: part.done.clone(), expected: setup.transcript(profile.show_idle) });
    }
    Ok(result)
}

/// What is said before the device is there.
struct Given {
    profile: Profile,
    wrong: bool,
    nothing: bool,
    show_idle: bool,
    resume_downloads: bool,
}

impl Default for Given {
    fn default() -> Self {
        Self {
            profile: Profile::SLOTS,
            wrong: false,
            nothing: false,
            show_idle: false,
            resume_downloads: false,
        }
    }
}

impl Given {
    fn device(&mut self, kind: &str) -> Result<(), String> {
        self.wrong = kind == "wrong";
        self.profile = match kind {
            "slots" | "wrong" => Profile::SLOTS,
            "files" => Profile::FILES,
            "custom" => Profile::CUSTOM,
            "one-way" => Profile::ONE_WAY,
            "empty" => Profile::EMPTY,
            other => return Err(format!("no such device: {other}")),
        };
        Ok(())
    }
}

/// A device, and how the last verb ended.
struct Setup {
    bench: Handle,
    rules: Rc<RefCell<Rules>>,
    daemon: bool,
    process: Option<Process<'static>>,
    exit: Option<Exit>,
}

enum Exit {
    Report(Report),
    NotStarted(String),
}

impl Setup {
    fn new(given: &Given) -> Self {
        let artifact =
            sample::artifact(given.profile.payload, if given.wrong { "other" } else { DEVICE_TYPE });
        let rules = Rc::new(RefCell::new(Rules::default()));
        let mut durable = runner::durable(given.profile, &artifact);
        if given.nothing {
            durable.server.deployments.clear();
        }
        let bench = Handle::new(durable, artifact, Box::new(Shared(Rc::clone(&rules))));
        bench.0.borrow_mut().config.resume_downloads = given.resume_downloads;
        Self { bench, rules, daemon: false, process: None, exit: None }
    }

    fn line(&mut self, words: &[&str], stops: StopSet) -> Result<(), String> {
        match words {
            ["fail", what, times @ ..] => self.rules.borrow_mut().add(what, times, Fate::Fails),
            ["retry-later", what, times @ ..] => self.rules.borrow_mut().add(what, times, Fate::Refuses),
            ["abort", "at", what, times @ ..] => self.rules.borrow_mut().add(what, times, Fate::Refuses),
            ["lose-power", "before", what, times @ ..] => {
                self.rules.borrow_mut().add(what, times, Fate::LostBefore)
            }
            ["lose-power", "in", what, times @ ..] => {
                self.rules.borrow_mut().add(what, times, Fate::LostInside)
            }
            ["lose-power", "after", what, times @ ..] => {
                self.rules.borrow_mut().add(what, times, Fate::LostAfter)
            }
            ["run"] => {
                self.daemon = true;
                self.run(None)
            }
            ["deploy", name] => {
                let server = &mut self.bench.0.borrow_mut().durable.server;
                let bytes = sample::named(name, true, DEVICE_TYPE);
                let types = vec![DEVICE_TYPE.to_owned()];
                let artifact = Artifact { name: (*name).to_owned(), device_types: types, bytes };
                // Behind what is there: they are offered in this order.
                let id = format!("{DEPLOYMENT}-{}", server.deployments.len());
                server.deployments.insert(id, Deployment::new(artifact));
                Ok(())
            }
            ["wait", time @ ..] => {
                let until = self.bench.0.borrow().now + values::duration(time)?;
                self.run(Some(until))
            }
            ["map", said @ ..] => {
                let map = values::map(said, None)?;
                let set = self.client()?.client.set_control_map(map.as_bytes());
                set.map(drop).map_err(|error| error.to_string())
            }
            ["server-map", said @ ..] => {
                let map =
                    if *said == ["aborted"] { None } else { Some(values::map(said, Some(DEPLOYMENT))?) };
                let server = &mut self.bench.0.borrow_mut().durable.server;
                server.v2 = true;
                if map.is_none() {
                    server.abort(DEPLOYMENT);
                }
                server.deployments.values_mut().for_each(|d| d.control_map.clone_from(&map));
                Ok(())
            }
            ["order", what, said @ ..] => {
                let order = match *what {
                    "pause" => Order::Pause,
                    "pass" => Order::Pass,
                    "fail" => Order::Fail,
                    "lift" => Order::Lift,
                    other => return Err(format!("no such order: {other}")),
                };
                let points = match said.iter().position(|word| *word == "before") {
                    Some(at) => values::points(said.get(at + 1).ok_or("before what?")?)?,
                    None => Point::ALL.to_vec(),
                };
                let lifetime = match said.iter().position(|word| *word == "for") {
                    Some(at) => Lifetime::For(values::duration(&said[at + 1..])?),
                    None => Lifetime::Unlimited,
                };
                let ordered = self.client()?.client.order(OPERATOR, &points, order, lifetime);
                ordered.map_err(|error| error.to_string())
            }
            ["approve"] => self.client()?.client.approve().map(drop).ok_or("no update waits".into()),
            ["spoil", "maps"] => {
                self.bench.0.borrow_mut().durable.records.insert(Key::ControlMaps, b"{".to_vec());
                Ok(())
            }
            ["clock", time] => {
                let booted = Duration::from_secs(u64::from(values::minute(time)?) * 60);
                self.bench.0.borrow_mut().booted = Instant::ZERO + booted;
                Ok(())
            }
            ["window", times, "before", at] => {
                let (from, to) = times.split_once('-').ok_or("from when to when?")?;
                self.policy(at, policy::Rule::Window(values::minute(from)?, values::minute(to)?))
            }
            ["free", "before", at] => self.policy(at, policy::Rule::None),
            ["busy", "before", at, why @ ..] => self.policy(at, policy::Rule::Busy(why.join(" "))),
            ["never", "before", at, why @ ..] => self.policy(at, policy::Rule::Never(why.join(" "))),
            ["install"] => self.verb(Run::Install, stops),
            ["commit"] => self.verb(Run::Continue(Verb::Commit), stops),
            ["rollback"] => self.verb(Run::Continue(Verb::Rollback), stops),
            ["resume"] => self.verb(Run::Continue(Verb::Resume), stops),
            ["reboot"] => {
                self.process = None;
                runner::boot(&self.bench);
                Ok(())
            }
            _ => Err(format!("this makes no sense: {}", words.join(" "))),
        }
    }

    fn policy(&self, at: &str, rule: policy::Rule) -> Result<(), String> {
        for point in values::points(at.trim_end_matches(':'))? {
            self.bench.0.borrow_mut().policies[point as usize] = rule.clone();
        }
        Ok(())
    }

    /// The daemon; it is started if it does not run.
    fn client(&mut self) -> Result<&mut Process<'static>, String> {
        self.daemon = true;
        if self.process.is_none() {
            // A scenario is short: the memory of its daemons is not given back.
            let memory = Box::leak(Box::default());
            let process = Process::start(&self.bench, Run::Daemon, StopSet::default(), memory);
            self.process = Some(process.map_err(|end| format!("{end:?}"))?);
        }
        self.process.as_mut().ok_or_else(String::new)
    }

    /// The daemon goes on, restarted whenever the device is: until it is idle or waits before a point, or `until`.
    fn run(&mut self, until: Option<Instant>) -> Result<(), String> {
        let bench = self.bench.clone();
        for _ in 0..10_000 {
            let process = self.client()?;
            if let Some(end) = process.poll() {
                self.process = None;
                match end {
                    End::Down(_) => runner::boot(&bench),
                    end @ (End::Exit(_) | End::Idle | End::NotStarted(_) | End::Pruned | End::Stuck(_)) => {
                        return Err(format!("{end:?}"));
                    }
                }
                continue;
            }
            let later = process.wake().is_none_or(|wake| wake > bench.0.borrow().now);
            let waits = later && process.client.machine().place().1 == Phase::Leave;
            if until.is_none() && waits && process.client.waiting().is_some() {
                return Ok(());
            }
            if process.is_idle() && until.is_none() {
                self.process = None;
                return Ok(());
            }
            match (until, process.wake()) {
                (Some(until), wake) if wake.is_none_or(|wake| wake > until) => {
                    let mut bench = bench.0.borrow_mut();
                    bench.now = bench.now.max(until);
                    return Ok(());
                }
                _ if process.pass_time() => {}
                _ => return Err(format!("waits for ever at {:?}", process.client.machine().place())),
            }
        }
        Err("the daemon goes on for ever".into())
    }

    fn verb(&mut self, run: Run, stops: StopSet) -> Result<(), String> {
        self.exit = None;
        match runner::process(&self.bench, run, stops, &mut |_, _| Then::GoOn) {
            End::Exit(report) => self.exit = Some(Exit::Report(report)),
            End::NotStarted(why) => self.exit = Some(Exit::NotStarted(why)),
            End::Down(_) => runner::boot(&self.bench),
            end @ (End::Idle | End::Pruned | End::Stuck(_)) => return Err(format!("{end:?}")),
        }
        Ok(())
    }

    /// The lines since the last transcript, and how things stand.
    fn transcript(&mut self, show_idle: bool) -> Vec<String> {
        let mut lines = transcript::group(std::mem::take(&mut self.bench.0.borrow_mut().lines), show_idle);
        let bench = self.bench.0.borrow();
        let durable = &bench.durable;
        if self.daemon {
            let mut statuses: Vec<&str> = Vec::new();
            for (status, _) in durable.server.deployments.values().flat_map(|deployment| &deployment.statuses)
            {
                if statuses.last() != Some(&status.as_str()) {
                    statuses.push(status);
                }
            }
            lines.push(format!("status: {}", statuses.join(" ")).trim_end().to_owned());
        }
        match &self.exit {
            Some(Exit::Report(report)) => lines.push(format!("exit: {}", u8::from(!report.is_success()))),
            Some(Exit::NotStarted(why)) => lines.push(format!("refused: {why}")),
            None => {}
        }
        if let Some((point, why)) = self.process.as_ref().and_then(|process| process.client.waiting()) {
            lines.push(format!("waits before {}: {why}", point.name()));
        }
        let slot = if durable.device.profile.slots {
            format!("   slot: {}", durable.device.slot())
        } else {
            String::new()
        };
        lines.push(format!("name: {}{slot}", runner::name(durable)));
        lines
    }
}
