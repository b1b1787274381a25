//! One update of one machine, with as many losses of power as wanted, to its end; and whether the end is right.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use thimble_hal_sim::listen::{Entry, Listener, Security, When};
use thimble_hal_sim::server::{Artifact, Deployment, Endpoint, Server};

use crate::disk::{Disk, Fate};
use crate::image::{DEVICE_TYPE, Images, Loader, NEW, OLD};
use crate::machine::Machine;
use crate::power::{Area, Counts, Event, Power};
use crate::random::Random;
use crate::slot::{Init, Kind, Slots};

/// A machine that is on for so long without coming to an end or losing its power hangs: an update takes half a minute
/// where nothing else runs.
const LIMIT: Duration = Duration::from_secs(600);

const ID: &str = "7d0a3c52-3c1e-4a58-9a57-51d3f1b0c001";

/// A loss of power: when, counted from when the machine was switched on, and what becomes of the disk's cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) event: Event,
    pub(crate) number: u64,
    pub(crate) fate: Fate,
}

/// What a machine goes through.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) loader: Loader,
    pub(crate) init: Init,
    pub(crate) kind: Kind,
    pub(crate) security: Security,
    /// One after the other. The machine is switched on again after each.
    pub(crate) cuts: Vec<Cut>,
    /// Of what chance decides within.
    pub(crate) seed: u64,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// The last status.
    pub(crate) status: String,
    /// Events since the machine was switched on for the last time, to the end of the update.
    pub(crate) counts: Counts,
    /// Starts of a system, by its last lines: `release-2 runs in slot 3`.
    pub(crate) starts: Vec<String>,
    /// For each cut that was made: sectors in the cache that survived, and all.
    pub(crate) made: Vec<(usize, usize)>,
}

impl Trial {
    /// An update of this kind without a loss of power.
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            loader: Loader::Grub,
            init: Init::Script,
            kind,
            security: Security::Plain,
            cuts: Vec::new(),
            seed: 0,
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What is wrong about its end, with the story.
    pub(crate) fn run(&self, images: &Images) -> Result<End, String> {
        let mut bench = Bench::new(self, images);
        match bench.run() {
            Ok(end) => Ok(end),
            Err(why) => Err(format!("{why}\n{self:?}\n{}", bench.story())),
        }
    }
}

struct Bench<'a> {
    trial: &'a Trial,
    images: &'a Images,
    work: TempDir,
    server: Listener,
    disk: Disk,
    power: Arc<Power>,
    random: Random,
    /// The consoles of the machine, from each time it was switched on.
    consoles: Vec<Vec<String>>,
    made: Vec<(usize, usize)>,
}

impl<'a> Bench<'a> {
    fn new(trial: &'a Trial, images: &'a Images) -> Self {
        let work = tempfile::tempdir().expect("a temporary directory");
        let server = Listener::start_as("server", 0, trial.security, Server::new("")).expect("a free port");
        let artifact = Artifact {
            name: NEW.into(),
            device_types: vec![DEVICE_TYPE.into()],
            bytes: images.slots(trial.init).update(trial.kind).artifact.clone(),
        };
        server.with(|server| server.deployments.insert(ID.into(), Deployment::new(artifact)));
        let disk = images.disk(trial.loader, trial.init, &server, work.path());
        let power = Arc::new(Power::default());
        let told = power.clone();
        server.observe(Some(Box::new(move |when, _| {
            told.tell(match when {
                When::Before => Event::Request,
                When::After => Event::Answered,
            });
        })));
        let random = Random::new(trial.seed);
        Self { trial, images, work, server, disk, power, random, consoles: Vec::new(), made: Vec::new() }
    }

    fn run(&mut self) -> Result<End, String> {
        let mut cuts = self.trial.cuts.iter();
        let counts = loop {
            let cut = cuts.next();
            if let Some(counts) = self.switch_on(cut.map(|cut| (cut.event, cut.number)))? {
                break counts;
            }
            let fate = cut.map_or(Fate::Lost, |cut| cut.fate);
            self.made.push(self.disk.lose_power(fate, &mut self.random));
            self.is_old_slot_whole()?;
        };
        let status = self.server.with(|server| server.deployments[ID].status().to_owned());
        self.is_true(&status)?;
        // Whatever was reported must outlive the power and everything that was not flushed.
        self.disk.lose_power(Fate::Lost, &mut self.random);
        self.is_settled(&status)?;
        Ok(End { status, counts, starts: self.starts(), made: self.made.clone() })
    }

    /// Until the update is over (what was counted) or the power is lost (`None`).
    fn switch_on(&mut self, plan: Option<(Event, u64)>) -> Result<Option<Counts>, String> {
        let requests = self.server.journal().len();
        let disk =
            self.disk.serve(self.work.path(), &self.power).map_err(|error| format!("the disk: {error}"))?;
        let machine = Machine::start(&self.images.packages, self.trial.loader, &disk, &self.power, plan);
        let machine = machine.map_err(|error| format!("QEMU does not start: {error}"))?;
        let end = Instant::now() + LIMIT;
        let result = loop {
            let is_over = self
                .server
                .wait_until(Duration::from_millis(20), |server, journal| is_over(server, journal, requests));
            if self.power.was_cut() {
                break Ok(None);
            }
            if is_over {
                break Ok(Some(self.power.counts()));
            }
            if self.power.has_ended() {
                break Err("QEMU ended".to_owned());
            }
            if Instant::now() > end {
                break Err("nothing happens".to_owned());
            }
        };
        self.power.off();
        self.consoles.push(machine.lines());
        drop(machine);
        drop(disk);
        result
    }

    fn slots(&self) -> &Slots {
        self.images.slots(self.trial.init)
    }

    /// Nothing ever writes to the slot that the machine can go back to.
    fn is_old_slot_whole(&self) -> Result<(), String> {
        let digest = thimble_hal_sim::artifact_writer::hex(&self.disk.durable(Area::A));
        if digest == thimble_hal_sim::artifact_writer::hex(&self.slots().old) {
            Ok(())
        } else {
            Err("slot A is not what it was".into())
        }
    }

    /// What the server was told is what the machine runs.
    fn is_true(&self, status: &str) -> Result<(), String> {
        let violations = self.server.with(|server| server.violations().to_vec());
        if !violations.is_empty() {
            return Err(format!("a good client does not do that: {violations:?}"));
        }
        let (release, slot) = expected(status)?;
        if status == "success" && self.trial.kind != Kind::Good {
            return Err("success of an image that is bad".into());
        }
        if status == "failure" && self.made.is_empty() && self.trial.kind == Kind::Good {
            return Err("failure without a cause".into());
        }
        let runs = self.starts().pop().unwrap_or_default();
        if runs != format!("{release} runs in slot {slot}") {
            return Err(format!("{status}, but {runs}"));
        }
        let journal = self.server.journal();
        let poll = journal.iter().rfind(|entry| is_poll(entry)).map_or("", |entry| &entry.target);
        if !poll.contains(&format!("artifact_name={release}&")) {
            return Err(format!("{status}, but {poll}"));
        }
        Ok(())
    }

    /// The image that runs is whole and will be started again, by what is on the disk.
    fn is_settled(&self, status: &str) -> Result<(), String> {
        self.is_old_slot_whole()?;
        let (_, slot) = expected(status)?;
        let digest = thimble_hal_sim::artifact_writer::hex(&self.disk.durable(Area::B));
        if status == "success" && digest != self.slots().update(self.trial.kind).digest {
            return Err("slot B is not the new image".into());
        }
        let environment =
            self.images.environment(self.trial.loader, &self.disk.durable(Area::Boot), self.work.path());
        for variable in [&format!("mender_boot_part={slot}"), "upgrade_available=0"] {
            if !environment.iter().any(|line| line == variable) {
                return Err(format!("{status}, but {environment:?}"));
            }
        }
        Ok(())
    }

    fn starts(&self) -> Vec<String> {
        let lines = self.consoles.iter().flatten();
        lines
            .filter_map(|line| line.strip_prefix("vm: "))
            .filter(|line| line.contains(" runs in slot "))
            .map(str::to_owned)
            .collect()
    }

    /// For a test that fails.
    fn story(&self) -> String {
        let requests: Vec<String> = self.server.journal().iter().map(line).collect();
        let reported = self.server.with(|server| server.deployments[ID].statuses.clone());
        let mut story =
            format!("made: {:?}\nreported: {reported:?}\nrequests:\n{}\n", self.made, requests.join("\n"));
        for (number, console) in self.consoles.iter().enumerate() {
            let tail = &console[console.len().saturating_sub(400)..];
            story.push_str(&format!("console after power-on {}:\n{}\n", number + 1, tail.join("\n")));
        }
        story
    }
}

/// The release and the slot that must run with this status.
fn expected(status: &str) -> Result<(&'static str, u32), String> {
    match status {
        "success" => Ok((NEW, 3)),
        "failure" => Ok((OLD, 2)),
        other => Err(format!("the update ended with {other}")),
    }
}

/// The final report was accepted, and the client has asked for the next update since it was switched on, at this
/// number of requests.
fn is_over(server: &Server, journal: &[Entry], before: usize) -> bool {
    let last = journal.iter().rposition(|entry| {
        matches!(entry.endpoint, Some(Endpoint::Status | Endpoint::Log | Endpoint::Artifact))
    });
    let from = last.unwrap_or(usize::MAX).max(before);
    server.deployments[ID].is_over() && journal.iter().skip(from).any(is_poll)
}

fn is_poll(entry: &Entry) -> bool {
    entry.endpoint == Some(Endpoint::NextV1) && entry.status != 401
}

fn line(entry: &Entry) -> String {
    let body: String = String::from_utf8_lossy(&entry.body).chars().take(300).collect();
    format!("{} {} -> {} {body}", entry.method, entry.target, entry.status)
}
