//! The real daemon through one deployment after the other, with random faults: nothing grows, nothing gets stuck.
//!
//! ```text
//! cargo build --release -p thimble && cargo bench -p thimble-tests --bench soak [-- MINUTES [SEED]]
//! ```
//!
//! One daemon lives through it all, over TLS; the first of its two servers refuses connections, the second has the
//! second version of the API when the seed is odd. Every deployment must end with exactly one final status, which is
//! the one its faults call for and agrees with the artifact name the daemon polls with next. Faults that the client
//! meets with a wait of a minute come rarely, and not in the two minutes at either end: the first and the last minute
//! are compared, and such a wait would only tell how they were spent. The seed repeats the faults, not the timing.

#[path = "soak/faults.rs"]
mod faults;
#[path = "soak/sample.rs"]
mod sample;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use faults::{Event, Plan, Random};
use sample::Sampler;
use thimble_hal_sim::listen::{Entry, When};
use thimble_hal_sim::server::{Acceptance, Artifact, Deployment, Endpoint, Server};
use thimble_tests::lab::{DEVICE_TYPE, Package};
use thimble_tests::managed::Managed;

/// A deployment that takes longer is stuck: the waits of two slow faults, and room.
const STUCK: Duration = Duration::from_secs(240);

/// One deployment in so many has a slow fault.
const SLOW: usize = 15;

const FINAL: [&str; 2] = ["success", "failure"];

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let minutes = numbers.first().copied().unwrap_or(10);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let seed = numbers.get(1).copied().unwrap_or(now);
    println!("{minutes} minutes, seed {seed}");

    let soak = Soak::start(seed);
    match soak.run(Duration::from_secs(60 * minutes.max(1)), Random(seed)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reasons) => {
            for reason in reasons {
                println!("FAILED: {reason}");
            }
            println!("again: -- {minutes} {seed}");
            ExitCode::FAILURE
        }
    }
}

struct Soak {
    managed: Arc<Managed>,
    daemon: Running,
    /// In the environment of the daemon and all that it starts.
    mark: String,
    /// What still happens in the running deployment.
    pending: Arc<Mutex<Pending>>,
}

#[derive(Default)]
struct Pending {
    id: String,
    /// Requests since the first report.
    seen: usize,
    events: Vec<(usize, Event)>,
}

/// What is known of the deployments so far.
#[derive(Default)]
struct Tally {
    ends: BTreeMap<String, usize>,
    faults: BTreeMap<&'static str, usize>,
}

impl Soak {
    fn start(seed: u64) -> Self {
        let managed = Arc::new(Managed::new());
        prepare(&managed);
        managed.server.with(|server| server.v2 = seed % 2 == 1);
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let program =
            std::env::var_os("THIMBLE").map_or_else(|| workspace.join("target/release/thimble"), Into::into);
        assert!(program.exists(), "build it first: cargo build --release -p thimble");
        let mark = format!("THIMBLE_SOAK={}-{seed}", std::process::id());
        let (name, value) = mark.split_once('=').expect("a name and a value");
        let mut command = managed.command(&program);
        let daemon = Running(command.env(name, value).spawn().expect("the daemon starts"));
        let pending = Arc::new(Mutex::new(Pending::default()));
        observe(&managed, &pending);
        Self { managed, daemon, mark, pending }
    }

    fn run(mut self, length: Duration, mut random: Random) -> Result<(), Vec<String>> {
        let sampler = Sampler::start(self.daemon.0.id(), self.mark.clone(), self.managed.lab.path("store"));
        let begin = Instant::now();
        let edge = Duration::from_secs(120);
        let mut tally = Tally::default();
        let mut failed = Vec::new();
        let mut number = 0;
        while begin.elapsed() < length && failed.is_empty() {
            number += 1;
            let may_be_slow = begin.elapsed() > edge && begin.elapsed() + edge + STUCK / 2 < length;
            let slow = may_be_slow && number % SLOW == 0;
            if let Err(reason) = self.deploy(number, &mut random, slow, &mut tally) {
                failed.push(reason);
            }
        }
        self.managed.server.observe(None);
        println!("{} deployments: {:?}", number, tally.ends);
        println!("faults: {:?}", tally.faults);
        self.managed.server.with(|server| println!("requests: {:?}", counts(server)));
        failed.extend(sampler.finish());
        failed.extend(self.end());
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// One deployment from its plan to the poll behind its end.
    fn deploy(
        &mut self,
        number: usize,
        random: &mut Random,
        slow: bool,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let id = format!("{number:08}-5f7e-4f6c-9d0a-2a5b6c7d8e9f");
        let name = format!("soak-{number:08}");
        let length = if random.below(4) == 0 { random.below(1_000_000) } else { random.below(5000) };
        let payload = random.bytes(length);
        let package = Package::new(&name).files(&[("payload", &payload)]);
        // Enough for the store to be rewritten several times in ten minutes.
        let note = "n".repeat(200);
        let package = (0..random.below(40))
            .fold(package, |package, number| package.provides(&format!("soak.note-{number}"), &note));
        let (plan, package) = faults::plan(random, &self.managed, package, slow);
        for fault in &plan.names {
            *tally.faults.entry(fault).or_default() += 1;
        }
        let wrong = |what: String| format!("deployment {number} ({:?}): {what}", plan.names);
        if plan.rejected {
            self.reject().map_err(&wrong)?;
        }

        *self.pending.lock().unwrap_or_else(PoisonError::into_inner) =
            Pending { id: id.clone(), seen: 0, events: plan.events.clone() };
        let mut from = 0;
        self.managed.server.wait_until(Duration::ZERO, |_, journal| {
            from = journal.len();
            true
        });
        let artifact = Artifact {
            name: name.clone(),
            device_types: vec![DEVICE_TYPE.into()],
            bytes: package.bytes(&self.managed.lab).into(),
        };
        self.managed.server.with(|server| server.deployments.insert(id.clone(), Deployment::new(artifact)));
        let storm = self.storm(plan.storm);
        let last_poll = self.wait(&id, from).map_err(&wrong);
        if let Some(mut storm) = storm {
            // It has an end of its own.
            let _ = storm.wait();
        }
        let last_poll = last_poll?;
        self.check(&id, &name, &plan, &last_poll, tally).map_err(&wrong)?;
        self.tidy(&id);
        Ok(())
    }

    /// Waits until the deployment is over and the daemon polls again; that request.
    fn wait(&mut self, id: &str, from: usize) -> Result<String, String> {
        let end = Instant::now() + STUCK;
        loop {
            let mut poll = None;
            let is_over = self.managed.server.wait_until(Duration::from_millis(100), |server, journal| {
                poll = server.deployments[id].is_over().then(|| poll_behind_end(&journal[from..])).flatten();
                poll.is_some()
            });
            if is_over {
                return Ok(poll.unwrap_or_default());
            }
            if let Ok(Some(status)) = self.daemon.0.try_wait() {
                return Err(format!("the daemon ended by itself: {status}\n{}", self.log()));
            }
            if Instant::now() > end {
                return Err(format!("it is stuck\n{}", self.log()));
            }
        }
    }

    fn check(&self, id: &str, name: &str, plan: &Plan, poll: &str, tally: &mut Tally) -> Result<(), String> {
        let (status, statuses, violations) = self.managed.server.with(|server| {
            let deployment = &server.deployments[id];
            (deployment.status().to_owned(), deployment.statuses.clone(), server.violations().to_vec())
        });
        *tally.ends.entry(status.clone()).or_default() += 1;
        let finals = statuses.iter().filter(|(status, _)| FINAL.contains(&status.as_str())).count();
        let wrong = |what: &str| Err(format!("{what}: {status}, {statuses:?}, {poll}\n{}", self.log()));
        if finals != usize::from(status != "aborted") {
            return wrong("not one final status");
        }
        if !plan.allows(&status) {
            return wrong("another end than its faults call for");
        }
        let has_it = poll.contains(name) && !poll.contains("INCONSISTENT");
        if status != "aborted" && has_it != (status == "success") {
            return wrong("the report is not what the device has");
        }
        if !violations.is_empty() {
            return wrong(&format!("violations {violations:?}"));
        }
        Ok(())
    }

    /// The server forgets that it accepts the device, until it has asked twice for a token.
    fn reject(&self) -> Result<(), String> {
        let server = &self.managed.server;
        let asked = server.with(|server| {
            server.set_acceptance(Acceptance::Rejected);
            server.count(Endpoint::Auth)
        });
        let has_asked = server.wait_until(STUCK, |server, _| server.count(Endpoint::Auth) >= asked + 2);
        server.with(|server| server.set_acceptance(Acceptance::Accepted));
        if has_asked { Ok(()) } else { Err(format!("a rejected device does not ask again\n{}", self.log())) }
    }

    fn storm(&self, pairs: usize) -> Option<Child> {
        let pid = self.daemon.0.id();
        let script =
            format!("i=0; while [ $i -lt {pairs} ]; do kill -USR1 {pid}; kill -USR2 {pid}; i=$((i+1)); done");
        (pairs > 0).then(|| Command::new("sh").args(["-c", &script]).spawn().expect("sh runs"))
    }

    /// Nothing of this deployment is left for the next, nor in the memory of this bench.
    fn tidy(&self, id: &str) {
        self.managed.server.calm();
        self.managed.server.with(|server| {
            if let Some(deployment) = server.deployments.get_mut(id) {
                deployment.artifact.bytes = Arc::from([]);
                deployment.log.clear();
            }
        });
        for file in fs::read_dir(self.managed.lab.path("behave")).into_iter().flatten().flatten() {
            if file.file_name() != "SupportsRollback" {
                fs::remove_file(file.path()).expect("a file of the lab");
            }
        }
    }

    /// Ends the daemon; what was left behind.
    fn end(mut self) -> Vec<String> {
        let mut failed = Vec::new();
        let pid = self.daemon.0.id();
        // Fails when the daemon has ended before, which its status says.
        let _ = Command::new("kill").args(["-s", "TERM", &pid.to_string()]).status();
        match self.daemon.0.wait() {
            Ok(status) if status.success() => {}
            ended => failed.push(format!("the daemon did not end well: {ended:?}")),
        }
        // The longest life of a process that a script leaves behind is two seconds.
        std::thread::sleep(Duration::from_secs(3));
        let left = sample::descendants(pid, &self.mark);
        if left > 0 {
            failed.push(format!("{left} processes outlive the daemon"));
        }
        let known = |name: &String| !name.starts_with("deployments.") && name != "mender-agent.pem";
        let staged: Vec<String> = self.managed.lab.leftovers().into_iter().filter(known).collect();
        if !staged.is_empty() {
            failed.push(format!("left in the datastore: {staged:?}"));
        }
        failed
    }

    /// The end of the daemon's log.
    fn log(&self) -> String {
        let bytes = fs::read(self.managed.lab.path("daemon.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&bytes).into_owned();
        let lines: Vec<&str> = log.lines().filter(|line| line.len() < 1000).collect();
        lines[lines.len().saturating_sub(120)..].join("\n")
    }
}

/// Two servers, the first of which is not there; an inventory that is never the same; a script to be told what to do.
fn prepare(managed: &Managed) {
    let nobody =
        TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    managed.lab.configure(&format!(
        r#"{{"Servers":[{{"ServerURL":"https://{nobody}"}},{{"ServerURL":"{}"}}],"ServerCertificate":"{}",
            "UpdatePollIntervalSeconds":1,"InventoryPollIntervalSeconds":3,"RetryPollIntervalSeconds":1,
            "StateScriptRetryIntervalSeconds":1}}"#,
        managed.server.url(),
        managed.lab.path("server.pem").display()
    ));
    managed.lab.program("data/inventory/mender-inventory-lab", "#!/bin/sh\necho now=$(date +%s.%N)\n");
    managed.lab.rootfs_script("Download_Enter_00");
}

/// Makes the events of a plan happen at their requests.
fn observe(managed: &Arc<Managed>, pending: &Arc<Mutex<Pending>>) {
    let (server, pending) = (Arc::downgrade(managed), pending.clone());
    managed.server.observe(Some(Box::new(move |when, entry| {
        let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
        let is_report = entry.endpoint == Some(Endpoint::Status) && entry.target.contains(&pending.id);
        if when != When::Before || pending.id.is_empty() || (pending.seen == 0 && !is_report) {
            return;
        }
        let at = pending.seen;
        pending.seen += 1;
        let id = pending.id.clone();
        let Some(managed) = server.upgrade() else { return };
        for (_, event) in pending.events.extract_if(.., |(planned, _)| *planned == at) {
            managed.server.with(|server| match event {
                Event::Expire => server.expire_tokens(),
                // A deployment that has ended is not aborted any more.
                Event::Abort if server.deployments.get(&id).is_none_or(Deployment::is_over) => {}
                Event::Abort => server.abort(&id),
            });
        }
    })));
}

/// The first poll behind all that belongs to the deployment.
fn poll_behind_end(journal: &[Entry]) -> Option<String> {
    let is_its =
        |entry: &Entry| matches!(entry.endpoint, Some(Endpoint::Status | Endpoint::Log | Endpoint::Artifact));
    let polls = |entry: &&Entry| matches!(entry.endpoint, Some(Endpoint::NextV1 | Endpoint::NextV2));
    let last = journal.iter().rposition(is_its)?;
    let poll = journal[last..].iter().find(polls)?;
    Some(format!("{} {}", poll.target, String::from_utf8_lossy(&poll.body)))
}

fn counts(server: &Server) -> Vec<(Endpoint, u32)> {
    [
        Endpoint::Auth,
        Endpoint::NextV2,
        Endpoint::NextV1,
        Endpoint::Artifact,
        Endpoint::Status,
        Endpoint::Log,
        Endpoint::Inventory,
    ]
    .map(|endpoint| (endpoint, server.count(endpoint)))
    .to_vec()
}

/// A process that is killed at the end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Only fails when it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
