//! What an update will do, step by step, and what each failure leads to: found by letting the real client do it, once without
//! a fault and once with each; from the beginning, or from where a device was seen last.

mod past;

pub use past::Happened;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use thimble_core::config::Config;
use thimble_core::hal::Key;
use thimble_core::machine::{Run, StopSet};
use thimble_core::script::{Transition, parse_name};
use thimble_core::state::Verb;
use thimble_core::time::{Duration, Instant};

use past::Past;

use crate::artifact_writer::ArtifactWriter;
use crate::given;
use crate::runner::{self, End, Then};
use crate::server::{self, Deployment};
use crate::sim::{DEVICE_TYPE, Effect, Fate, Handle, Plan};
use crate::world::{NEW, Profile, SUFFIX};

/// Starts of the command line's verbs that an update takes at most.
const VERBS: usize = 20;

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Given {
    /// The device and its update module.
    pub profile: Profile,
    /// Its settings.
    pub config: Config,
    /// Its type.
    pub device_type: String,
    /// What is installed: a JSON object of texts, with `artifact_name` among them.
    pub installed: Vec<u8>,
    /// The artifact; without one, a made-up one for the device.
    pub artifact: Option<given::Artifact>,
    /// Names of all state scripts, the device's and the artifact's.
    pub scripts: Vec<String>,
    /// By the command line, and not by the daemon.
    pub command_line: bool,
    /// What has happened already. What is explained begins behind it.
    pub past: Vec<Happened>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened; of a run with a fault, what happened otherwise than without.
    pub happened: Vec<String>,
    /// `success` or `failure`; `waits for commit` of a command line that has nobody to commit; `does not end`.
    pub end: &'static str,
    /// The name on record.
    pub installed: String,
    /// Why it failed first; empty if it did not.
    pub reason: String,
    /// How long it took on the simulated clock.
    pub took: Duration,
}

impl Outcome {
    /// Whether it is not known any more what is installed, or the update does not end.
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.installed.ends_with(SUFFIX) || self.end == "does not end"
    }

    /// The end in a few words.
    #[must_use]
    pub fn verdict(&self) -> String {
        format!("{}, {} is installed", self.end, self.installed)
    }
}

/// Who does a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A state script.
    Script,
    /// A call of the update module.
    Module,
    /// A report to the server.
    Server,
    /// The reboot.
    Device,
}

/// A step of an update in which nothing goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Who does it.
    pub who: Who,
    /// The script's file, the call, the status, or `reboot`.
    pub what: String,
    /// How long it may take before it is ended, or given up; a report: how long it is repeated, 0 if it is not.
    pub at_most: Duration,
    /// What follows when it fails.
    pub fails: Outcome,
    /// What follows when power is lost in it.
    pub power_lost: Outcome,
    /// A script: how long it may ask to be run again, and what follows when it never stops to.
    pub again: Option<(Duration, Outcome)>,
}

/// What an update will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Nothing goes wrong.
    pub good: Outcome,
    /// Its steps.
    pub steps: Vec<Step>,
    /// What of the past the client on this device did not do: it is another device, or something that no client does.
    pub missing: Vec<Happened>,
}

impl Explained {
    /// How long the whole update may take at most when nothing fails and the network does not either.
    #[must_use]
    pub fn at_most(&self) -> Duration {
        let longest = self.steps.iter().filter(|step| step.who != Who::Server).map(|step| {
            let again = step.again.as_ref().map_or(0, |(again, _)| again.as_secs());
            step.at_most.as_secs().saturating_add(again)
        });
        Duration::from_secs(longest.fold(0, u64::saturating_add))
    }
}

/// Lets the client do it.
#[must_use]
pub fn explain(given: &Given) -> Explained {
    let artifact = stand_in(given);
    let Ran { lines, outcome: good, effects, missing } = run(given, &artifact, None);
    let mut steps = Vec::new();
    for (number, (what, effect)) in effects.iter().enumerate() {
        let who = match effect {
            Effect::Script(_) => Who::Script,
            Effect::Module(_) => Who::Module,
            Effect::Status(_) => Who::Server,
            Effect::Reboot => Who::Device,
            Effect::Commit(_) | Effect::Mark => continue,
        };
        let with = |fate, for_ever| {
            let fault = Some(Fault { number, fate, for_ever });
            let Ran { lines: other, mut outcome, .. } = run(given, &artifact, fault);
            let same = lines.iter().zip(&other).take_while(|(a, b)| a.1 == b.1).count();
            // How long it was repeated.
            let first = other.get(same.saturating_sub(1)).map_or(outcome.took, |(at, _)| *at);
            let repeats = other.iter().skip(same).take_while(|(_, line)| line.ends_with(what.as_str()));
            let last = repeats.last().map_or(first, |(at, _)| *at);
            let span = Duration::from_secs(last.as_secs().saturating_sub(first.as_secs()));
            outcome.happened = repeated(other.into_iter().skip(same).map(|(_, line)| line));
            (outcome, span)
        };
        let (fails, span) = with(Fate::Fails, who == Who::Server);
        let (power_lost, _) = with(Fate::LostInside, false);
        let Config { state_script_timeout, state_script_retry_timeout, module_timeout, .. } = &given.config;
        let at_most = match who {
            Who::Script => *state_script_timeout,
            Who::Module => *module_timeout,
            Who::Server => span,
            Who::Device => thimble_core::config::REBOOT_WAIT,
        };
        let again = (who == Who::Script).then(|| (*state_script_retry_timeout, with(Fate::Refuses, true).0));
        steps.push(Step { who, what: what.clone(), at_most, fails, power_lost, again });
    }
    Explained { good, steps, missing }
}

/// What happens again and again is counted.
fn repeated(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for line in lines {
        match counted.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => counted.push((line, 1)),
        }
    }
    let say = |(line, times)| if times == 1 { line } else { format!("{line} ({times} times)") };
    counted.into_iter().map(say).collect()
}

/// Why this device refuses the artifact; `None`: it takes it. In the words of the client.
#[must_use]
pub fn why_not(given: &Given) -> Option<String> {
    let Ran { outcome, effects, .. } = run(given, &stand_in(given), None);
    // What is refused is refused before the module is called.
    let is_taken =
        effects.iter().any(|(_, effect)| matches!(effect, Effect::Module(_))) || outcome.end == "success";
    (!is_taken).then_some(outcome.reason)
}

/// An artifact that a device judges as it judges the real one, with a payload of a few bytes.
fn stand_in(given: &Given) -> Arc<[u8]> {
    let Some(artifact) = &given.artifact else {
        let writer = if given.profile.payload {
            ArtifactWriter::new(NEW, "module", &[&given.device_type]).file("data", crate::world::PAYLOAD)
        } else {
            ArtifactWriter::empty(NEW, &[&given.device_type])
        };
        return writer.script("ArtifactInstall_Enter_00", b"#!/bin/sh\n").build().into();
    };
    let types: Vec<&str> = artifact.device_types.iter().map(String::as_str).collect();
    let mut writer = match &artifact.payload_type {
        Some(kind) => {
            let writer = ArtifactWriter::new(&artifact.name, kind, &types);
            artifact.files.iter().fold(writer, |writer, (name, _)| writer.file(name, crate::world::PAYLOAD))
        }
        None => ArtifactWriter::empty(&artifact.name, &types),
    };
    if let Some(group) = &artifact.group {
        writer = writer.group(group);
    }
    for (key, values) in &artifact.depends {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        writer = writer.depends(key, &values);
    }
    for (name, _) in &artifact.scripts {
        writer = writer.script(name, b"#!/bin/sh\n");
    }
    writer.build().into()
}

/// What goes wrong: the effect of this number; `for_ever`: and its repeats.
#[derive(Clone, Copy)]
struct Fault {
    number: usize,
    fate: Fate,
    for_ever: bool,
}

/// Lets happen what has happened, then notes every effect, and lets one fail.
#[derive(Clone)]
struct Noting(Rc<RefCell<Noted>>);

struct Noted {
    past: Past,
    effects: Vec<Effect>,
    fault: Option<Fault>,
}

impl Plan for Noting {
    fn fate(&mut self, effect: &Effect) -> Fate {
        let Noted { past, effects, fault } = &mut *self.0.borrow_mut();
        if let Some(fate) = past.fate(effect) {
            return fate;
        }
        let at = effects.len();
        effects.push(effect.clone());
        let Some(Fault { number, fate, for_ever }) = *fault else { return Fate::Works };
        // Again and again, until something else happens in between.
        let between = effects.get(number..at).unwrap_or_default();
        let is_same = |other: &Effect| other == effect || matches!(other, Effect::Commit(_) | Effect::Mark);
        let like =
            for_ever && at > number && effects.get(number) == Some(effect) && between.iter().all(is_same);
        if at == number || like { fate } else { Fate::Works }
    }
}

type Timed = Vec<(Duration, String)>;

/// What a run came to.
struct Ran {
    lines: Timed,
    outcome: Outcome,
    /// The effects behind the past, with names for people.
    effects: Vec<(String, Effect)>,
    missing: Vec<Happened>,
}

fn run(given: &Given, artifact: &Arc<[u8]>, fault: Option<Fault>) -> Ran {
    let mut durable = runner::durable(given.profile, artifact);
    durable.records.insert(Key::Provides, given.installed.clone());
    let name = given.artifact.as_ref().map_or(NEW, |artifact| &artifact.name);
    for deployment in durable.server.deployments.values_mut() {
        let types =
            given.artifact.as_ref().map_or_else(|| vec![DEVICE_TYPE.to_owned()], |a| a.device_types.clone());
        // The server offers it whatever the device is: it is the device's judgement that is asked for.
        let device_types = types.into_iter().chain([given.device_type.clone()]).collect();
        deployment.artifact =
            server::Artifact { name: name.to_owned(), device_types, bytes: Arc::clone(artifact) };
    }
    let before = runner::name(&durable);
    let noting =
        Noting(Rc::new(RefCell::new(Noted { past: Past::new(&given.past), effects: Vec::new(), fault })));
    let bench = Handle::new(durable, Arc::clone(artifact), Box::new(noting.clone()));
    {
        let mut bench = bench.0.borrow_mut();
        bench.config = given.config.clone();
        bench.device_type.clone_from(&given.device_type);
        bench.payload = None;
        let transition = |name: &String| Some((parse_name(name)?, name.clone()));
        let mut scripts: Vec<(Transition, String)> = given.scripts.iter().filter_map(transition).collect();
        scripts.sort_by(|a, b| a.1.cmp(&b.1));
        scripts.dedup();
        bench.scripts = Some(scripts);
    }
    let end = if given.command_line { command_line(&bench, given.profile) } else { daemon(&bench) };
    let bench = bench.0.borrow();
    let mut reason = String::new();
    let mut lines = Timed::new();
    for line in &bench.lines {
        match line.text.strip_prefix("!! ") {
            Some(why) if reason.is_empty() => why.clone_into(&mut reason),
            Some(_) => {}
            None => lines.push((line.at.since(Instant::ZERO), line.text.clone())),
        }
    }
    // The names of scripts are in the lines, in the order of their effects.
    let noted = noting.0.borrow();
    let Noted { past, effects, .. } = &*noted;
    let names = lines.iter().map(|(_, line)| line).filter(|line| parse_name(line).is_some());
    let mut names = names.skip(past.scripts);
    let effects = effects.iter().cloned().map(|effect| match &effect {
        Effect::Script(transition) => {
            (names.next().cloned().unwrap_or_else(|| transition.to_string()), effect)
        }
        Effect::Commit(_) | Effect::Module(_) | Effect::Mark | Effect::Status(_) | Effect::Reboot => {
            (effect.to_string(), effect)
        }
    });
    let effects = effects.collect();
    let installed = runner::name(&bench.durable);
    let end = match end {
        Some(end) => end,
        None if installed == name && installed != before => "success",
        None => "failure",
    };
    let status = bench.durable.server.deployments.values().next().map_or("", Deployment::status);
    let end = if !given.command_line && status == "failure" { "failure" } else { end };
    if end == "success" {
        reason.clear();
    }
    let happened = lines.iter().map(|(_, line)| line.clone()).collect();
    let took = lines.last().map_or(Duration::from_secs(0), |(at, _)| *at);
    let outcome = Outcome { happened, end, installed, reason, took };
    Ran { lines, outcome, effects, missing: past.missing().to_vec() }
}

fn daemon(bench: &Handle) -> Option<&'static str> {
    match runner::daemon(bench, &mut |_, _| Then::GoOn) {
        End::Idle | End::Exit(_) => None,
        End::Down(_) | End::NotStarted(_) | End::Pruned | End::Stuck(_) => Some("does not end"),
    }
}

/// `install`, a reboot where there are two slots, `commit`; after a loss of power, `resume`.
fn command_line(bench: &Handle, profile: Profile) -> Option<&'static str> {
    let mut run = Run::Install;
    for _ in 0..VERBS {
        let end = runner::process(bench, run, StopSet::default(), &mut |_, _| Then::GoOn);
        let is_open = bench.0.borrow().durable.records.contains_key(&Key::Checkpoint);
        match end {
            End::Exit(report) if run == Run::Install && report.is_success() && is_open => {
                if profile.slots {
                    runner::boot(bench);
                }
                run = Run::Continue(Verb::Commit);
            }
            End::Exit(_) | End::Idle => return None,
            End::Down(_) => {
                runner::boot(bench);
                if !is_open {
                    return None;
                }
                run = Run::Continue(Verb::Resume);
            }
            End::NotStarted(_) | End::Pruned | End::Stuck(_) => return Some("does not end"),
        }
    }
    Some("does not end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{OLD, provides};

    fn given(profile: Profile, scripts: &[&str]) -> Given {
        Given {
            profile,
            config: Config::default(),
            device_type: DEVICE_TYPE.to_owned(),
            installed: provides(OLD),
            artifact: None,
            scripts: scripts.iter().map(|name| (*name).to_owned()).collect(),
            command_line: false,
            past: Vec::new(),
        }
    }

    fn step<'e>(explained: &'e Explained, what: &str) -> &'e Step {
        explained
            .steps
            .iter()
            .find(|step| step.what == what)
            .unwrap_or_else(|| panic!("{what}: {explained:#?}"))
    }

    #[test]
    fn steps_are_those_of_the_client_and_the_scripts_those_that_were_given() {
        let scripts = [
            "ArtifactInstall_Enter_00_a",
            "ArtifactInstall_Enter_01_b",
            "ArtifactRollback_Enter_00",
            "Idle_Exit_00",
        ];
        let explained = explain(&given(Profile::FILES, &scripts));
        assert_eq!((explained.good.end, explained.good.installed.as_str()), ("success", NEW));
        let scripts: Vec<&str> = explained
            .steps
            .iter()
            .filter(|step| step.who == Who::Script)
            .map(|step| step.what.as_str())
            .collect();
        assert_eq!(scripts, ["ArtifactInstall_Enter_00_a", "ArtifactInstall_Enter_01_b"]);
        let second = step(&explained, "ArtifactInstall_Enter_01_b");
        assert_eq!(second.fails.verdict(), "failure, old is installed");
        assert!(second.fails.reason.contains("ArtifactInstall_Enter_01_b"), "{}", second.fails.reason);
        assert!(
            second.fails.happened.iter().any(|line| line == "ArtifactRollback_Enter_00"),
            "{:?}",
            second.fails
        );
        assert!(
            !second.fails.happened.iter().any(|line| line.starts_with("ArtifactInstall")),
            "{:?}",
            second.fails
        );
        let (budget, again) = second.again.as_ref().unwrap();
        assert_eq!(*budget, Config::default().state_script_retry_timeout);
        assert_eq!(again.end, "failure");
        assert!(again.took >= *budget, "{again:?}");
        assert_eq!(second.at_most, Config::default().state_script_timeout);
    }

    #[test]
    fn what_cannot_be_taken_back_is_bad() {
        let explained = explain(&given(Profile::ONE_WAY, &[]));
        let install = step(&explained, "ArtifactInstall");
        assert!(install.fails.is_bad() && install.power_lost.is_bad(), "{install:?}");
        let download = step(&explained, "Download");
        assert!(!download.fails.is_bad() && !download.power_lost.is_bad(), "{download:?}");
    }

    #[test]
    fn slots_and_the_command_line_are_explained_too() {
        let explained = explain(&given(Profile::SLOTS, &["ArtifactReboot_Enter_00"]));
        assert_eq!(step(&explained, "reboot").who, Who::Device);
        assert_eq!(step(&explained, "ArtifactReboot_Enter_00").power_lost.end, "success");
        let by_hand =
            explain(&Given { command_line: true, ..given(Profile::SLOTS, &["ArtifactReboot_Enter_00"]) });
        assert_eq!(by_hand.good.end, "success", "{by_hand:#?}");
        assert!(
            by_hand.steps.iter().all(|step| step.who != Who::Server && step.who != Who::Script),
            "{by_hand:#?}"
        );
    }

    #[test]
    fn a_device_says_what_it_wants() {
        let artifact = given::Artifact {
            name: "release-2".into(),
            device_types: vec!["board".into(), "other".into()],
            payload_type: Some("app".into()),
            files: vec![("data".into(), 5)],
            depends: vec![("board-revision".into(), vec!["3".into(), "4".into()])],
            ..given::Artifact::default()
        };
        let with = |device_type: &str, installed: &str| {
            why_not(&Given {
                artifact: Some(artifact.clone()),
                device_type: device_type.into(),
                installed: installed.into(),
                ..given(Profile::FILES, &[])
            })
        };
        assert_eq!(with("board", r#"{"artifact_name":"old","board-revision":"3"}"#), None);
        let why = with("board", r#"{"artifact_name":"old","board-revision":"2"}"#).unwrap();
        assert!(
            why.contains("board-revision") && why.contains("\"3\" or \"4\"") && why.contains("\"2\""),
            "{why}"
        );
        let why = with("board", r#"{"artifact_name":"old"}"#).unwrap();
        assert!(why.contains("provides no \"board-revision\""), "{why}");
        let why = with("toaster", r#"{"artifact_name":"old","board-revision":"3"}"#).unwrap();
        assert!(why.contains("toaster"), "{why}");
    }
}
