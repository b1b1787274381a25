//! Scenarios: what is done to a device, and the transcript of what it did, as text that anyone can read and write.
//!
//! ```text
//! # Power is lost while the update module installs: the device rolls back.
//! device slots
//! lose-power in ArtifactInstall
//! run
//! ----
//! -- downloading
//! Download_Enter
//! ...
//! ```
//!
//! Lines before `----` say what is done, lines behind it what happens; a blank line ends a part, and another may
//! follow. See [`HELP`] for the words.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use thimble_core::client::OPERATOR;
use thimble_core::control::{Id, Lifetime, Order};
use thimble_core::deployment::Point;
use thimble_core::hal::Key;
use thimble_core::machine::{Report, Run, Stop, StopSet};
use thimble_core::state::{Phase, Verb};
use thimble_core::time::{Duration, Instant};

use crate::runner::{self, DEPLOYMENT, End, Process, Then};
use crate::sample;
use crate::server::{Artifact, Deployment};
use crate::sim::{self as policy, DEVICE_TYPE, Effect, Fate, Handle, Plan};
use crate::world::Profile;

/// The words of a scenario.
pub const HELP: &str = "\
device slots|files|custom|one-way|empty|wrong
    slots: two slots, the client reboots; files: overwrites, no reboot; custom: overwrites, reboots itself;
    one-way: overwrites, no rollback; empty: an artifact without payload; wrong: an artifact for another device
fail WHAT [N|N-M|always]          the first time, the N-th, the N-th to M-th, always
retry-later WHAT [...]            a script exits with 21
abort at STATUS [...]             the server answers 409 from then on
lose-power before|in|after WHAT [...]
    WHAT: a script (ArtifactInstall_Enter), a call (ArtifactInstall), a status (installing), reboot, save, mark
deploy NAME                       the server has one more artifact for the device
resume-downloads                  a download goes on after a restart; \"mark\" is every 8 bytes of a payload
no-deployment                     the server has nothing for the device
show idle                         also the scripts of Idle and Sync
stop-before POINT                 for the next verb
map ACTION before POINTS [then ACTION] [expired ACTION] [priority N] [by N]
    a program on the device sets its update control map; map none [by N] deletes it; map {JSON} as it stands
    ACTION: continue, force_continue, pause, fail; POINTS: ArtifactInstall_Enter,ArtifactReboot_Enter,...
server-map ...                    the same, the server's map of the deployment; server-map aborted: it is gone
order pause|pass|fail|lift [before POINTS] [for TIME]
approve                           a person lets the update that waits go on
busy before POINTS: WHY           a policy of the device says not now; never before ...: it fails; free before ...
window HH:MM-HH:MM before POINTS  an update window; clock HH:MM: the time of day when the device starts
spoil maps                        the record of the control maps is damaged
run                               the daemon, until it is idle or waits before a point
wait TIME                         the daemon goes on for so long: 30 s, 10 min, 2 h
install | commit | rollback | resume
reboot                            by the user
";

/// One part of a scenario: what is done, and the transcript that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The lines before `----`, comments included.
    pub done: Vec<String>,
    /// The lines behind it.
    pub expected: Vec<String>,
}

/// Reads a scenario.
#[must_use]
pub fn parse(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut part = Part { done: Vec::new(), expected: Vec::new() };
    let mut behind = false;
    for line in text.lines().map(str::trim_end).chain([""]) {
        match line {
            "----" => behind = true,
            "" if behind => {
                parts.push(std::mem::replace(&mut part, Part { done: Vec::new(), expected: Vec::new() }));
                behind = false;
            }
            "" => {}
            line if behind => part.expected.push(line.to_owned()),
            line => part.done.push(line.to_owned()),
        }
    }
    if !part.done.is_empty() {
        parts.push(part);
    }
    parts
}

/// Writes a scenario.
#[must_use]
pub fn print(parts: &[Part]) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|part| format!("{}\n----\n{}\n", part.done.join("\n"), part.expected.join("\n")))
        .collect();
    parts.join("\n")
}

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
            ["fail", what, times @ ..] => self.rule(what, times, Fate::Fails),
            ["retry-later", what, times @ ..] => self.rule(what, times, Fate::Refuses),
            ["abort", "at", what, times @ ..] => self.rule(what, times, Fate::Refuses),
            ["lose-power", "before", what, times @ ..] => self.rule(what, times, Fate::LostBefore),
            ["lose-power", "in", what, times @ ..] => self.rule(what, times, Fate::LostInside),
            ["lose-power", "after", what, times @ ..] => self.rule(what, times, Fate::LostAfter),
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
                let until = self.bench.0.borrow().now + duration(time)?;
                self.run(Some(until))
            }
            ["map", said @ ..] => {
                let map = map(said, None)?;
                let set = self.client()?.client.set_control_map(map.as_bytes());
                set.map(drop).map_err(|error| error.to_string())
            }
            ["server-map", said @ ..] => {
                let map = if *said == ["aborted"] { None } else { Some(map(said, Some(DEPLOYMENT))?) };
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
                    Some(at) => points(said.get(at + 1).ok_or("before what?")?)?,
                    None => Point::ALL.to_vec(),
                };
                let lifetime = match said.iter().position(|word| *word == "for") {
                    Some(at) => Lifetime::For(duration(&said[at + 1..])?),
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
                let booted = Duration::from_secs(u64::from(minute(time)?) * 60);
                self.bench.0.borrow_mut().booted = Instant::ZERO + booted;
                Ok(())
            }
            ["window", times, "before", at] => {
                let (from, to) = times.split_once('-').ok_or("from when to when?")?;
                self.policy(at, policy::Rule::Window(minute(from)?, minute(to)?))
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
        for point in points(at.trim_end_matches(':'))? {
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

    fn rule(&self, what: &str, times: &[&str], fate: Fate) -> Result<(), String> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("not a number: {text}"));
        let (from, to) = match times {
            [] => (1, 1),
            ["always"] => (1, u32::MAX),
            [range] => match range.split_once('-') {
                Some((from, to)) => (number(from)?, number(to)?),
                None => (number(range)?, number(range)?),
            },
            _ => return Err(format!("how often? {}", times.join(" "))),
        };
        self.rules.borrow_mut().rules.push(Rule { what: what.to_owned(), from, to, fate });
        Ok(())
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
        let mut lines = group(std::mem::take(&mut self.bench.0.borrow_mut().lines), show_idle);
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

fn duration(words: &[&str]) -> Result<Duration, String> {
    let [number, unit] = words else { return Err(format!("how long? {}", words.join(" "))) };
    let number: u64 = number.parse().map_err(|_| format!("not a number: {number}"))?;
    let seconds = match *unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        other => return Err(format!("not a unit: {other}")),
    };
    Ok(Duration::from_secs(number * seconds))
}

/// Minutes since midnight.
fn minute(time: &str) -> Result<u16, String> {
    let parts = time.split_once(':').and_then(|(h, m)| Some((h.parse().ok()?, m.parse().ok()?)));
    let (hour, minute): (u16, u16) = parts.ok_or_else(|| format!("not a time of day: {time}"))?;
    Ok(hour * 60 + minute)
}

fn points(names: &str) -> Result<Vec<Point>, String> {
    let point = |name: &str| {
        let point = Point::ALL.into_iter().find(|point| point.name() == name);
        point.ok_or_else(|| format!("no such point: {name}"))
    };
    names.split(',').map(point).collect()
}

/// A map as JSON, from the words of a line.
fn map(words: &[&str], id: Option<&str>) -> Result<String, String> {
    if words.first().is_some_and(|word| word.starts_with('{')) {
        return Ok(words.join(" "));
    }
    let value = |key: &str| {
        let at = words.iter().position(|word| *word == key)?;
        words.get(at + 1).copied()
    };
    let by: u128 = value("by").unwrap_or("1").parse().map_err(|_| "by whom?".to_owned())?;
    let id = id.map_or_else(|| Id(by).to_string(), str::to_owned);
    let priority = value("priority").unwrap_or("0");
    let Some(action) = words.first().filter(|word| **word != "none") else {
        return Ok(format!(r#"{{"id":"{id}","priority":{priority}}}"#));
    };
    let more = |key: &str, name: &str| value(key).map_or(String::new(), |v| format!(r#","{name}":"{v}""#));
    let rule = format!(
        r#"{{"action":"{action}"{}{}}}"#,
        more("then", "on_action_executed"),
        more("expired", "on_map_expire")
    );
    let points = points(value("before").ok_or("before what?")?)?;
    let states: Vec<String> = points.iter().map(|point| format!(r#""{}":{rule}"#, point.name())).collect();
    Ok(format!(r#"{{"id":"{id}","priority":{priority},"states":{{{}}}}}"#, states.join(",")))
}

#[derive(Default)]
struct Rules {
    rules: Vec<Rule>,
    seen: BTreeMap<String, u32>,
}

struct Rule {
    what: String,
    from: u32,
    to: u32,
    fate: Fate,
}

struct Shared(Rc<RefCell<Rules>>);

impl Plan for Shared {
    fn fate(&mut self, effect: &Effect) -> Fate {
        let what = effect.to_string();
        let mut rules = self.0.borrow_mut();
        let seen = rules.seen.entry(what.clone()).or_insert(0);
        *seen += 1;
        let seen = *seen;
        let rule = rules.rules.iter().find(|rule| rule.what == what && (rule.from..=rule.to).contains(&seen));
        rule.map_or(Fate::Works, |rule| rule.fate)
    }
}

/// Scripts and calls of one state stand on one line; what repeats is counted.
fn group(items: Vec<String>, show_idle: bool) -> Vec<String> {
    let mut lines: Vec<(String, String, u32)> = Vec::new();
    for item in items {
        let state = item.split(['_', '?']).next().unwrap_or("").to_owned();
        if !show_idle && matches!(state.as_str(), "Idle" | "Sync") {
            continue;
        }
        let alone = item.starts_with("--") || item.starts_with("**") || item.contains('?');
        match lines.last_mut() {
            Some((_, line, times)) if *line == item => *times += 1,
            Some((last, line, 1)) if !alone && *last == state => {
                line.push_str("  ");
                line.push_str(&item);
            }
            _ => lines.push((if alone { String::new() } else { state }, item, 1)),
        }
    }
    let line = |(_, line, times): (String, String, u32)| {
        if times == 1 { line } else { format!("{line} ({times} times)") }
    };
    lines.into_iter().map(line).collect()
}
