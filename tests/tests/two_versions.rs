//! Two versions of the client on one device: this one and the last one, each in a slot of its own, with one
//! datastore between them. An update leads from one to the other, in both directions, with the daemon and with the command
//! line. The process is killed, or the power is lost, at each write of the datastore, before and after the switch; a
//! boot loader goes back to the old slot when a trial boot is not committed. Whichever version runs next starts, ends the
//! update, and says the truth about it.
//!
//! The last version is built by `tests/last-version`, which `./test` calls; without it, and without `strace`, these tests
//! are left out, said aloud. More of them: `cargo test -p thimble-tests --test two_versions -- --ignored --nocapture`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use thimble_hal_sim::listen::Security;
use thimble_tests::cuts::{CALLS, Point, can_trace, each, points, tear};
use thimble_tests::lab::{Package, Ran, thimble};
use thimble_tests::managed::{Daemon, Managed};

/// The way an update goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From the last version to this one.
    Up,
    /// From this version to the last one.
    Down,
}

const WAYS: [Way; 2] = [Way::Up, Way::Down];

/// What happens to the device when the process is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing: only the process is started again.
    Process,
    /// Power is lost, and all was durable that was written.
    Power,
    /// Power is lost, and half of what was not flushed.
    TornPower,
}

const LOSSES: [Loss; 3] = [Loss::Process, Loss::Power, Loss::TornPower];

/// A kill: of the process of this number, at this point.
#[derive(Clone, Debug)]
struct Kill {
    process: usize,
    point: Point,
    loss: Loss,
}

/// A device with two slots, A and B. What a slot holds is the name of a version of the client.
struct Device {
    managed: Managed,
}

/// The module's calls: they write slot and boot environment of the device, `boot/` in its directory.
const MODULE: [(&str, &str); 8] = [
    ("SupportsRollback", "echo Yes"),
    ("NeedsArtifactReboot", "echo Automatic"),
    (
        "ArtifactInstall",
        "cd \"$lab/boot\"; if [ \"$(cat running)\" = A ]; then other=B; else other=A; fi\n\
         cp \"$2/files/payload\" slot.$other; echo $other > \"$2/tmp/target\"\n\
         rm -f tried; echo $other > trial",
    ),
    ("ArtifactVerifyReboot", "[ \"$(cat \"$lab/boot/running\")\" = \"$(cat \"$2/tmp/target\")\" ] || exit 1"),
    (
        "ArtifactCommit",
        "cd \"$lab/boot\"; [ \"$(cat running)\" = \"$(cat \"$2/tmp/target\")\" ] || exit 1\n\
         cp running permanent; rm -f trial tried",
    ),
    (
        "ArtifactRollback",
        "cd \"$lab/boot\"; rm -f trial tried; [ -f \"$2/tmp/target\" ] || exit 0\n\
         if [ \"$(cat \"$2/tmp/target\")\" = A ]; then echo B > permanent; else echo A > permanent; fi",
    ),
    (
        "ArtifactVerifyRollbackReboot",
        "[ \"$(cat \"$lab/boot/running\")\" = \"$(cat \"$lab/boot/permanent\")\" ] || exit 1",
    ),
    ("Cleanup", "[ ! -e \"$lab/boot/trial\" ] || exit 1"),
];

/// The last version of the client; `None`, said aloud, where these tests cannot be made.
fn last_version() -> Option<PathBuf> {
    let path = thimble().ancestors().nth(2)?.join("last-version/thimble");
    if !path.is_file() {
        eprintln!("left out: {} is not there; ./test builds it (tests/last-version)", path.display());
        return None;
    }
    can_trace().then_some(path)
}

impl Device {
    /// A device that runs `release-1`, and a deployment of `release-2`, which is the other version of the client.
    fn new(way: Way) -> Self {
        let managed = Managed::with(Security::Plain);
        let (from, to) = match way {
            Way::Up => ("last", "this"),
            Way::Down => ("this", "last"),
        };
        let lab = &managed.lab;
        fs::create_dir(lab.path("boot")).expect("a directory of the lab");
        for (name, text) in [("slot.A", from), ("running", "A\n"), ("permanent", "A\n")] {
            lab.write(&format!("boot/{name}"), text);
        }
        for (call, shell) in MODULE {
            lab.on(call, shell);
        }
        let reboot = "#!/bin/sh\necho reboot >> 'LAB/journal'\n: > 'LAB/boot/asked'\nkill -KILL $PPID\n";
        lab.program("bin/reboot", &reboot.replace("LAB", lab.path("").to_str().expect("a path")));
        let bootstrap = Package::empty("release-1").provides("device", "1").build(lab);
        fs::rename(bootstrap, lab.path("store/bootstrap.mender")).expect("the bootstrap artifact");
        managed.deploy(&Self::package(to));
        let device = Self { managed };
        assert_eq!(device.name(), "release-1");
        device
    }

    fn package(content: &str) -> Package {
        Package::new("release-2").files(&[("payload", content.as_bytes())])
    }

    fn boot_file(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.managed.lab.path("boot").join(name)).ok()?;
        Some(text.trim_end().to_owned())
    }

    fn remove(&self, name: &str) -> bool {
        fs::remove_file(self.managed.lab.path("boot").join(name)).is_ok()
    }

    /// The boot loader: a slot on trial is started once; when it was not committed by the next start, that is the end of
    /// the trial.
    fn boot(&self) {
        let lab = &self.managed.lab;
        let permanent = self.boot_file("permanent").expect("the permanent slot");
        let running = match self.boot_file("trial") {
            Some(trial) if !lab.path("boot/tried").exists() => {
                lab.write("boot/tried", "");
                trial
            }
            Some(_) | None => {
                self.remove("trial");
                self.remove("tried");
                permanent
            }
        };
        lab.write("boot/running", &running);
    }

    /// The slot that runs, as the boot loader started it.
    fn running(&self) -> String {
        self.boot_file("running").expect("a slot runs")
    }

    /// The client in the slot that runs.
    fn client(&self) -> PathBuf {
        let content = self.boot_file(&format!("slot.{}", self.running()));
        match content.as_deref() {
            Some("this") => thimble().to_owned(),
            Some("last") => last_version().expect("it was there"),
            other => panic!("the slot holds {other:?}"),
        }
    }

    fn run(&self, args: &[&OsStr]) -> Ran {
        Ran::of(self.managed.lab.command_of(self.client(), args).spawn().expect("the client starts"))
    }

    /// Runs a verb that is traced, and killed at a point.
    fn run_traced(&self, verb: &str, trace: &Path, kill: Option<&Kill>) -> Ran {
        let calls = format!("trace={CALLS}");
        let injection = kill.map(|kill| kill.point.injection());
        let client = self.client();
        let artifact = self.managed.lab.path("made/release-2.mender");
        let mut args = vec!["-y".as_ref(), "-o".as_ref(), trace.as_os_str(), "-e".as_ref(), calls.as_ref()];
        if let Some(injection) = &injection {
            args.extend(["-e".as_ref(), OsStr::new(injection)]);
        }
        args.extend([client.as_os_str(), verb.as_ref()]);
        if verb == "install" {
            args.push(artifact.as_os_str());
        }
        Ran::of(self.managed.lab.command_of("strace", args).spawn().expect("strace starts"))
    }

    fn name(&self) -> String {
        let ran = self.run(&["show-artifact".as_ref()]);
        ran.status(0).stdout.trim_end().to_owned()
    }

    fn store(&self) -> PathBuf {
        self.managed.lab.path("store/mender-store")
    }

    /// Runs the daemon to the end of the deployment, with these kills; the status, and the trace of each process.
    fn finish(&self, kills: &[Kill]) -> (String, Vec<PathBuf>) {
        let calls = format!("trace={CALLS}");
        let mut traces: Vec<PathBuf> = Vec::new();
        let status = self.managed.finish_starting(&mut |number| -> Daemon {
            let ended = kills.iter().find(|kill| kill.process + 1 == number);
            if self.remove("asked") {
                self.boot();
            } else if let Some(kill) = ended {
                self.lose(kill.loss, &traces[kill.process]);
            }
            let trace = self.managed.lab.path(format!("trace.{number}"));
            traces.push(trace.clone());
            let next = kills.iter().find(|kill| kill.process == number);
            let injection = next.map(|kill| kill.point.injection());
            let mut args = vec!["-e", &calls];
            if let Some(injection) = &injection {
                args.extend(["-e", injection]);
            }
            self.managed.start_traced_of(&self.client(), &trace, &args)
        });
        (status, traces)
    }

    fn lose(&self, loss: Loss, trace: &Path) {
        match loss {
            Loss::Process => {}
            Loss::Power => self.boot(),
            Loss::TornPower => {
                let _ = tear(trace);
                self.boot();
            }
        }
    }

    /// What the device says of itself is what it is: the name on record is that of the slot that runs, or says that it is
    /// inconsistent; nothing is on trial. `true`: it was updated.
    #[track_caller]
    fn is_true(&self, what: &str) -> bool {
        let story = || format!("{what}\n{}", self.managed.story());
        assert_eq!(self.boot_file("trial"), None, "{}", story());
        let (name, running) = (self.name(), self.running());
        assert_eq!(Some(&running), self.boot_file("permanent").as_ref(), "{}", story());
        let installed = if running == "A" { "release-1" } else { "release-2" };
        assert!([installed, "release-2_INCONSISTENT"].contains(&name.as_str()), "{name}: {}", story());
        running == "B"
    }

    /// Nothing is left of the update.
    #[track_caller]
    fn is_clean(&self, what: &str) {
        let left: Vec<String> = self
            .managed
            .lab
            .leftovers()
            .into_iter()
            .filter(|name| !name.starts_with("deployments") && name != "mender-agent.pem")
            .filter(|name| name != "mender-update.sock" && name != "mender-update.control")
            .collect();
        assert!(left.is_empty(), "{what}: {left:?}\n{}", self.managed.story());
    }

    /// The same, and the server knows it.
    #[track_caller]
    fn is_reported(&self, status: &str, what: &str) -> bool {
        self.managed.no_violations();
        let updated = self.is_true(what);
        self.is_clean(what);
        assert_eq!(status, if updated { "success" } else { "failure" }, "{what}\n{}", self.managed.story());
        updated
    }
}

/// How many runs of each kind there were.
#[derive(Default)]
struct Count {
    updated: AtomicUsize,
    not: AtomicUsize,
}

impl Count {
    fn add(&self, updated: bool) {
        let count = if updated { &self.updated } else { &self.not };
        count.fetch_add(1, Ordering::SeqCst);
    }

    /// Both happened: a kill that ends every update, or none, is no test.
    fn say(self, what: &str) {
        let (updated, not) = (self.updated.into_inner(), self.not.into_inner());
        println!("{what}: {updated} updated, {not} not");
        assert!(updated > 2 && not > 2, "{what}: {updated} updated, {not} not");
    }
}

/// The writes of the datastore in a deployment in which nothing goes wrong: number of the process, and point.
fn writes_of_the_daemon(way: Way) -> Vec<(usize, Point)> {
    let device = Device::new(way);
    let (status, traces) = device.finish(&[]);
    assert!(device.is_reported(&status, "nothing goes wrong"), "{way:?}\n{}", device.managed.story());
    assert_eq!(traces.len(), 2, "one process before the reboot, and one after it");
    let of_process = |(process, trace): (usize, &PathBuf)| {
        points(trace, &device.store()).into_iter().map(move |point| (process, point)).collect::<Vec<_>>()
    };
    traces.iter().enumerate().flat_map(of_process).collect()
}

/// One deployment for each of these cuts.
fn deployments(way: Way, cuts: Vec<Vec<Kill>>) {
    let (cases, count) = (cuts.len(), Count::default());
    each(cuts, |kills| {
        let device = Device::new(way);
        let (status, _) = device.finish(&kills);
        count.add(device.is_reported(&status, &format!("{way:?}, {kills:?}")));
    });
    count.say(&format!("{way:?}, {cases} deployments"));
}

/// A kill at each write; which loss it is goes round.
fn killed_daemon(way: Way) {
    if last_version().is_none() {
        return;
    }
    let points = writes_of_the_daemon(way);
    assert!(points.len() > 15, "{points:?}");
    let losses = LOSSES.into_iter().cycle();
    let kills = points.into_iter().zip(losses).map(|((process, point), loss)| Kill { process, point, loss });
    deployments(way, kills.map(|kill| vec![kill]).collect());
}

/// The steps of an update by the command line, with a reboot between them.
const STEPS: [&str; 2] = ["install", "commit"];

/// What a person says after the kill.
const VERBS: [&str; 3] = ["resume", "commit", "rollback"];

/// The writes of the datastore in each of [`STEPS`].
fn writes_of_the_command_line(way: Way) -> Vec<(usize, Point)> {
    let device = Device::new(way);
    let mut found = Vec::new();
    for (number, step) in STEPS.into_iter().enumerate() {
        let trace = device.managed.lab.path(format!("trace.{number}"));
        device.run_traced(step, &trace, None).status(0);
        found.extend(points(&trace, &device.store()).into_iter().map(|point| (number, point)));
        device.boot();
    }
    assert!(device.is_true("nothing goes wrong"), "{way:?}");
    found
}

/// An update by the command line that is killed; then somebody says `verb`, and finishes what that left.
fn by_hand(way: Way, kill: &Kill, verb: &str) -> bool {
    let device = Device::new(way);
    let what = format!("{way:?}, {kill:?}, {verb}");
    for (number, step) in STEPS.into_iter().enumerate() {
        let trace = device.managed.lab.path(format!("trace.{number}"));
        if number == kill.process {
            device.run_traced(step, &trace, Some(kill)).status(128 + 9);
            device.lose(kill.loss, &trace);
            break;
        }
        device.run_traced(step, &trace, None).status(0);
        device.boot();
    }
    let ran = device.run(&[verb.as_ref()]);
    assert!([0, 1, 2].contains(&ran.code), "{what}: {ran:?}");
    // What is refused at this point of the update says so; `resume` always knows how to go on.
    let ends = (0..3).map(|_| device.run(&["resume".as_ref()]).code).find(|code| *code == 2);
    assert_eq!(ends, Some(2), "{what}: the update does not end\n{ran:?}\n{}", device.managed.story());
    device.boot();
    // A download that never got on record is cleaned up by the next one.
    if ran.code != 2 {
        device.is_clean(&what);
    }
    device.is_true(&what)
}

fn updates_by_hand(way: Way, cases: Vec<(Kill, &'static str)>) {
    let (number, count) = (cases.len(), Count::default());
    each(cases, |(kill, verb)| count.add(by_hand(way, &kill, verb)));
    count.say(&format!("{way:?}, {number} updates by hand"));
}

/// A kill at each write; which loss it is, and what is said then, go round.
fn killed_command_line(way: Way) {
    if last_version().is_none() {
        return;
    }
    let points = writes_of_the_command_line(way);
    assert!(points.len() > 10, "{points:?}");
    let kinds = LOSSES.into_iter().flat_map(|loss| VERBS.map(|verb| (loss, verb))).cycle();
    let case = |((process, point), (loss, verb)): ((usize, Point), _)| (Kill { process, point, loss }, verb);
    updates_by_hand(way, points.into_iter().zip(kinds).map(case).collect());
}

#[test]
fn r49_i2_the_daemon_is_killed_at_each_write_of_an_update_to_this_version() {
    killed_daemon(Way::Up);
}

#[test]
fn r49_i2_the_daemon_is_killed_at_each_write_of_an_update_to_the_last_version() {
    killed_daemon(Way::Down);
}

#[test]
fn r49_i2_the_command_line_is_killed_at_each_write_of_an_update_to_this_version() {
    killed_command_line(Way::Up);
}

#[test]
fn r49_i2_the_command_line_is_killed_at_each_write_of_an_update_to_the_last_version() {
    killed_command_line(Way::Down);
}

/// Nobody commits the trial, so that the boot loader goes back.
#[test]
fn r49_a_trial_that_is_not_committed_ends_where_it_began() {
    if last_version().is_none() {
        return;
    }
    for (way, verb) in WAYS.into_iter().flat_map(|way| VERBS.map(|verb| (way, verb))) {
        let device = Device::new(way);
        let artifact = device.managed.lab.path("made/release-2.mender");
        device.run(&["install".as_ref(), artifact.as_os_str()]).status(0);
        device.boot();
        assert_eq!(device.running(), "B");
        assert_eq!(device.name(), "release-1");
        device.boot();
        assert_eq!(device.running(), "A");
        device.run(&[verb.as_ref()]).status(if verb == "rollback" { 0 } else { 1 });
        device.run(&["resume".as_ref()]).status(2);
        assert!(!device.is_true(&format!("{way:?}, {verb}")));
        // And it can be updated again.
        device.run(&["install".as_ref(), artifact.as_os_str()]).status(0);
        device.boot();
        device.run(&["commit".as_ref()]).status(0);
        assert!(device.is_true(&format!("{way:?}, {verb}, again")));
    }
}

#[test]
#[ignore = "every loss at each write, then every verb: minutes"]
fn r49_i2_killed_at_each_write_in_every_way() {
    if last_version().is_none() {
        return;
    }
    for way in WAYS {
        let all = |points: Vec<(usize, Point)>| -> Vec<Kill> {
            let with = |(process, point): (usize, Point)| {
                LOSSES.map(|loss| Kill { process, point: point.clone(), loss })
            };
            points.into_iter().flat_map(with).collect()
        };
        let kills = all(writes_of_the_daemon(way));
        deployments(way, kills.into_iter().map(|kill| vec![kill]).collect());
        let kills = all(writes_of_the_command_line(way));
        let cases = kills.into_iter().flat_map(|kill| VERBS.map(|verb| (kill.clone(), verb)));
        updates_by_hand(way, cases.collect());
    }
}

/// The process that comes after the first kill is killed at each of its own writes: the other version most often.
#[test]
#[ignore = "every pair of losses of power: minutes"]
fn r49_i2_power_is_lost_twice_in_a_row() {
    if last_version().is_none() {
        return;
    }
    for way in WAYS {
        let firsts = writes_of_the_daemon(way);
        let pairs = std::sync::Mutex::new(Vec::new());
        each(firsts, |(process, point)| {
            let first = Kill { process, point, loss: Loss::Power };
            let device = Device::new(way);
            let (status, traces) = device.finish(std::slice::from_ref(&first));
            device.is_reported(&status, &format!("{way:?}, {first:?}"));
            let Some(next) = traces.get(process + 1) else { return };
            for point in points(next, &device.store()) {
                let second = Kill { process: process + 1, point, loss: Loss::Power };
                pairs.lock().expect("nobody panics").push(vec![first.clone(), second]);
            }
        });
        deployments(way, pairs.into_inner().expect("nobody panics"));
    }
}
