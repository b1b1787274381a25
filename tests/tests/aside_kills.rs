//! A verb beside the daemon: either of them is killed at each system call of the hand-over and of the verb's work, by
//! `strace`. Afterwards the daemon polls, a verb gets its turn, and what is on record is whole. Left out, said aloud, where
//! there is no `strace` or nothing may be traced.

use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, Instant};

use thimble_hal_sim::listen::Security;
use thimble_hal_sim::server::Endpoint;
use thimble_tests::cuts::{CALLS, Point, can_trace, each, points_of};
use thimble_tests::lab::{Package, Ran, thimble};
use thimble_tests::managed::{Daemon, LIMIT, Managed};

/// What the two say to each other, beside [`CALLS`].
const TALK: &str = "flock,connect,sendto,accept4,shutdown";

fn device() -> Managed {
    let managed = Managed::with(Security::Plain);
    managed.configure(r#","UpdatePollIntervalSeconds":3600,"InventoryPollIntervalSeconds":3600"#);
    managed
}

fn calls() -> String {
    let known: String = CALLS.chars().filter(|c| !c.is_whitespace()).collect();
    format!("{known},{TALK}")
}

/// Waits until the daemon rests; false when it is killed before.
fn rests(managed: &Managed, daemon: &mut Daemon) -> bool {
    let end = Instant::now() + LIMIT;
    loop {
        if managed.lab.run(["status"]).stdout.contains("waiting for the next poll") {
            return true;
        }
        if !managed.wait_while(daemon, |_, _| true) || daemon.is_over() {
            return false;
        }
        assert!(Instant::now() < end, "{}", managed.story());
    }
}

/// `install` of the package under `strace`, which kills it there.
fn install(managed: &Managed, package: &Package, trace: &Path, kill: Option<&Point>) -> Ran {
    let path = package.build(&managed.lab);
    let mut args: Vec<String> = vec!["-y".into(), "-o".into(), trace.display().to_string()];
    args.extend(["-e".into(), format!("trace={}", calls())]);
    args.extend(kill.iter().flat_map(|point| ["-e".into(), point.injection()]));
    args.extend([thimble().display().to_string(), "install".into(), path.display().to_string()]);
    Ran::of(managed.lab.command_of("strace", args).spawn().expect("strace starts"))
}

/// The daemon goes on, whatever was killed: it polls, and lets verbs in, which finish what is there and what comes.
#[track_caller]
fn goes_on(managed: &Managed, daemon: &mut Daemon, what: &str) {
    assert!(rests(managed, daemon), "{what}: the daemon is gone\n{}", managed.story());
    let before = managed.server.with(|server| server.count(Endpoint::NextV1));
    managed.lab.run(["check-update"]).status(0);
    managed.wait(daemon, |server, _| server.count(Endpoint::NextV1) > before);
    // Nothing, or an update whose commit is not wanted; one that ended in the middle may fail to roll back.
    let settled = managed.lab.run(["rollback"]);
    assert!([0, 1, 2].contains(&settled.code), "{what}: {settled:?}\n{}", managed.story());
    let name = managed.lab.name();
    assert!(["unknown", "release-2", "release-2_INCONSISTENT"].contains(&name.as_str()), "{what}: {name}");
    let path = Package::new("release-3").build(&managed.lab);
    managed.lab.run([OsStr::new("install"), path.as_os_str()]).status(0);
    managed.lab.run(["commit"]).status(0);
    assert_eq!(managed.lab.name(), "release-3", "{what}");
    managed.wait(daemon, |_, journal| {
        let last = journal.iter().rev().find(|entry| entry.endpoint == Some(Endpoint::NextV1));
        last.is_some_and(|poll| poll.target.contains("artifact_name=release-3"))
    });
    managed.no_violations();
}

#[test]
fn c_8_a_verb_is_killed_at_each_call() {
    if !can_trace() {
        return;
    }
    let managed = device();
    let mut daemon = managed.start();
    assert!(rests(&managed, &mut daemon));
    let trace = managed.lab.path("trace");
    install(&managed, &Package::new("release-2"), &trace, None).status(0);
    let store = managed.lab.path("store").display().to_string();
    let points =
        points_of(&trace, &calls(), |rest| rest.contains(&store) || rest.contains("mender-update.control"));
    drop(daemon);
    assert!(points.len() > 20, "{points:?}");
    println!("{} points", points.len());
    each(points, |point| {
        let managed = device();
        let mut daemon = managed.start();
        assert!(rests(&managed, &mut daemon));
        let killed = install(&managed, &Package::new("release-2"), &managed.lab.path("trace"), Some(&point));
        assert_ne!(killed.code, 0, "{point:?}");
        goes_on(&managed, &mut daemon, &format!("{point:?}"));
        daemon.stop();
    });
}

#[test]
fn c_8_the_daemon_is_killed_at_each_call_of_the_hand_over() {
    if !can_trace() {
        return;
    }
    let trace_of = |managed: &Managed| managed.lab.path("trace.daemon");
    let start = |managed: &Managed, kill: Option<&Point>| {
        let trace = format!("trace={}", calls());
        let injection = kill.map(Point::injection);
        let mut args = vec!["-e", &trace];
        args.extend(injection.iter().flat_map(|kill| ["-e", kill]));
        managed.start_traced(&trace_of(managed), &args)
    };
    let managed = device();
    let mut daemon = start(&managed, None);
    assert!(rests(&managed, &mut daemon));
    let store = managed.lab.path("store").display().to_string();
    let talks = |rest: &str| rest.contains(&store);
    let before = points_of(&trace_of(&managed), &calls(), talks).len();
    let verb = managed.lab.path("trace");
    install(&managed, &Package::new("release-2"), &verb, None).status(0);
    assert!(rests(&managed, &mut daemon));
    let points = points_of(&trace_of(&managed), &calls(), talks);
    // From the rest before the verb on, to the poll behind it.
    let points = points[before.saturating_sub(2)..].to_vec();
    daemon.stop();
    assert!(points.len() > 5, "{points:?}");
    println!("{} points", points.len());
    each(points, |point| {
        let managed = device();
        let mut daemon = start(&managed, Some(&point));
        let what = format!("{point:?}");
        let verb = managed.lab.path("trace");
        if rests(&managed, &mut daemon) {
            let ran = install(&managed, &Package::new("release-2"), &verb, None);
            assert!([0, 1].contains(&ran.code), "{what}: {ran:?}");
            assert!(ran.code == 0 || !ran.reason().is_empty(), "{what}: {ran:?}");
        }
        let end = Instant::now() + LIMIT;
        // It may live on where its calls came in another order.
        let killed = loop {
            if daemon.is_over() {
                break true;
            }
            if managed.lab.run(["status"]).stdout.contains("waiting for the next poll") {
                break false;
            }
            assert!(Instant::now() < end, "{what}: {}", managed.story());
            std::thread::sleep(Duration::from_millis(10));
        };
        if killed {
            drop(daemon);
            daemon = managed.start();
        }
        goes_on(&managed, &mut daemon, &what);
        drop(daemon);
    });
}
