//! The real daemon is killed at each system call that changes something in its datastore, by `strace`, and started
//! again: every deployment ends, and what the server is told is what the device is. Left out, said aloud, where there is
//! no `strace` or nothing may be traced.
//!
//! The kill comes on the way into the call, so that each point is behind one change and before the next: inside a save,
//! between a write and its flush, between a flush and a rename. At flushes it is also a loss of power: the last write to
//! the file, which nothing made durable, is half there. (More of what a disk may lose has the simulated one of the store's
//! own tests.)
//!
//! All points, and pairs of them, take minutes: `cargo test -p thimble-tests --test daemon_writes -- --ignored`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use thimble_hal_sim::listen::Security;
use thimble_tests::cuts::{CALLS, Point, can_trace, each, points, tear};
use thimble_tests::foreign;
use thimble_tests::lab::{DEVICE_TYPE, MODULE, Package};
use thimble_tests::managed::{ID, Managed};

/// Those that a file system orders by.
const FLUSHES: [&str; 7] = ["fsync", "fdatasync", "syncfs", "rename", "renameat", "renameat2", "unlinkat"];

/// How the device behaves.
#[derive(Clone, Copy, Debug)]
enum Device {
    /// Installs, without a reboot.
    Good,
    /// Installs, and the client reboots it.
    Reboots,
    /// Fails to install, and rolls back with a reboot.
    RollsBack,
    /// Goes on with a download of more than one mark.
    Resumes,
    /// Goes on with a deployment that Mender's client left behind its reboot.
    TakesOver,
}

impl Device {
    fn set_up(self) -> Managed {
        let managed = Managed::with(Security::Plain);
        let lab = &managed.lab;
        match self {
            Self::Good => {}
            Self::Reboots => lab.on("NeedsArtifactReboot", "echo Automatic"),
            Self::RollsBack => {
                lab.on("NeedsArtifactReboot", "echo Automatic");
                lab.on("ArtifactInstall", "exit 1");
            }
            Self::Resumes => managed.configure(r#","ResumeDownloads":true"#),
            Self::TakesOver => {
                foreign::database(lab, &[("state", &foreign::state("reboot", MODULE))]);
                foreign::work_tree(lab, &["ArtifactCommit_Enter_00"]);
            }
        }
        let package = Package::new("release-2").script("ArtifactInstall_Enter_00");
        if let Self::Resumes = self {
            let payload: Vec<u8> = (0..5 << 20_u32).map(|at: u32| (at.wrapping_mul(at) >> 7) as u8).collect();
            let package = package.files(&[("payload", &payload)]);
            managed.deploy_bytes("release-2", package.bytes(lab).into());
        } else {
            managed.deploy(&package);
        }
        if let Self::TakesOver = self {
            managed.server.with(|server| {
                let deployment = server.deployments.get_mut(ID).expect("the deployment");
                deployment.taken =
                    Some(("{\"mac\":\"00:01\"}".into(), ("release-1".into(), DEVICE_TYPE.into())));
                deployment.statuses.push(("rebooting".into(), None));
            });
        }
        managed
    }

    const fn status(self) -> &'static str {
        match self {
            Self::Good | Self::Reboots | Self::Resumes | Self::TakesOver => "success",
            Self::RollsBack => "failure",
        }
    }
}

/// Kills the processes of these numbers at these points, and tears what they did last; the status of the deployment,
/// and the traces of all processes.
fn run_torn(managed: &Managed, kills: &[(usize, Point)], torn: &AtomicUsize) -> (String, Vec<PathBuf>) {
    run_with(managed, kills, &mut |trace| {
        if tear(trace) {
            torn.fetch_add(1, Ordering::SeqCst);
        }
    })
}

/// The same without tearing.
fn run(managed: &Managed, kills: &[(usize, Point)]) -> (String, Vec<PathBuf>) {
    run_with(managed, kills, &mut |_| {})
}

fn run_with(
    managed: &Managed,
    kills: &[(usize, Point)],
    killed: &mut dyn FnMut(&Path),
) -> (String, Vec<PathBuf>) {
    let trace = format!("trace={CALLS}");
    let mut traces: Vec<PathBuf> = Vec::new();
    let status = managed.finish_starting(&mut |number| {
        if let Some(before) = number.checked_sub(1)
            && kills.iter().any(|(process, _)| *process == before)
        {
            killed(&traces[before]);
        }
        let output = managed.lab.path(format!("trace.{number}"));
        traces.push(output.clone());
        match kills.iter().find(|(process, _)| *process == number) {
            Some((_, point)) => managed.start_traced(&output, &["-e", &trace, "-e", &point.injection()]),
            None => managed.start_traced(&output, &["-e", &trace]),
        }
    });
    (status, traces)
}

/// The device and the server agree on how it ended, and nothing is left behind.
#[track_caller]
fn is_true(managed: &Managed, status: &str, what: &str) {
    managed.no_violations();
    let name = managed.lab.name();
    let expected: &[&str] = match status {
        "success" => &["release-2"],
        "failure" => &["unknown", "release-2_INCONSISTENT"],
        other => panic!("{what}: {other}\n{}", managed.story()),
    };
    assert!(expected.contains(&name.as_str()), "{what}: {status}, name {name}\n{}", managed.story());
    let left: Vec<String> = managed
        .lab
        .leftovers()
        .into_iter()
        .filter(|name| !name.starts_with("deployments") && name != "mender-agent.pem")
        // Of a daemon that was killed while it ended; the next one takes its place.
        .filter(|name| name != "mender-update.sock" && name != "mender-update.control")
        .collect();
    assert!(left.is_empty(), "{what}: {left:?}\n{}", managed.story());
    let journal = managed.lab.journal();
    let calls: Vec<&String> =
        journal.iter().filter(|line| !line.starts_with('[') && *line != "reboot").collect();
    assert!(calls.is_empty() || calls.last().is_some_and(|call| *call == "Cleanup"), "{what}: {journal:?}");
}

/// All points of a deployment in which nothing goes wrong: the number of the process, and the point.
fn all_points(device: Device) -> Vec<(usize, Point)> {
    let managed = device.set_up();
    let (status, traces) = run(&managed, &[]);
    assert_eq!(status, device.status(), "{}", managed.story());
    is_true(&managed, &status, "nothing goes wrong");
    let of_process = |(process, trace): (usize, &PathBuf)| {
        points(trace, &managed.lab.path("store"))
            .into_iter()
            .map(move |point| (process, point))
            .collect::<Vec<_>>()
    };
    traces.iter().enumerate().flat_map(of_process).collect()
}

/// Kills at each `stride`-th point, the first and the last among them.
fn killed_once(device: Device, stride: usize) {
    if !can_trace() {
        return;
    }
    let points = all_points(device);
    let last = points.len() - 1;
    let chosen: Vec<_> = points
        .into_iter()
        .enumerate()
        .filter(|(at, _)| at % stride == 0 || *at == last)
        .map(|(_, point)| point)
        .collect();
    let (cases, killed) = (chosen.len(), AtomicUsize::new(0));
    each(chosen, |kill| {
        let managed = device.set_up();
        let what = format!("{device:?}, {kill:?}");
        let (status, traces) = run(&managed, std::slice::from_ref(&kill));
        is_true(&managed, &status, &what);
        let trace = fs::read(&traces[kill.0]).unwrap_or_default();
        if String::from_utf8_lossy(&trace).contains("killed by SIGKILL") {
            killed.fetch_add(1, Ordering::SeqCst);
        }
    });
    let killed = killed.into_inner();
    println!("{device:?}: {cases} of {} points, {killed} kills", last + 1);
    // Now and then a process makes a call less than the one before it.
    assert!(cases > 4 && killed * 10 >= cases * 9, "{device:?}: {killed} of {cases}");
}

/// Kills at each flush, rename and removal, and the next process at each of its own.
fn killed_twice(device: Device) {
    if !can_trace() {
        return;
    }
    let is_flush = |point: &Point| FLUSHES.contains(&point.call.as_str());
    let firsts: Vec<_> = all_points(device).into_iter().filter(|(_, point)| is_flush(point)).collect();
    let pairs = AtomicUsize::new(0);
    each(firsts, |first| {
        let managed = device.set_up();
        let (status, traces) = run(&managed, std::slice::from_ref(&first));
        is_true(&managed, &status, &format!("{device:?}, {first:?}"));
        let Some(next) = traces.get(first.0 + 1) else { return };
        for second in points(next, &managed.lab.path("store")).into_iter().filter(is_flush) {
            let managed = device.set_up();
            let kills = [first.clone(), (first.0 + 1, second)];
            let (status, _) = run(&managed, &kills);
            is_true(&managed, &status, &format!("{device:?}, {kills:?}"));
            pairs.fetch_add(1, Ordering::SeqCst);
        }
    });
    println!("{device:?}: {} pairs", pairs.into_inner());
}

/// Kills at each flush of a file, and tears what was not flushed.
fn killed_and_torn(device: Device) {
    if !can_trace() {
        return;
    }
    let points = all_points(device).into_iter();
    let points: Vec<_> =
        points.filter(|(_, point)| matches!(point.call.as_str(), "fsync" | "fdatasync")).collect();
    let (cases, torn) = (points.len(), AtomicUsize::new(0));
    each(points, |kill| {
        let managed = device.set_up();
        let (status, _) = run_torn(&managed, std::slice::from_ref(&kill), &torn);
        is_true(&managed, &status, &format!("{device:?}, {kill:?}, torn"));
    });
    let torn = torn.into_inner();
    println!("{device:?}: {cases} flushes, {torn} torn");
    // Each save of the record is one; what else is flushed are directories.
    assert!(torn >= 5, "{device:?}: {torn} of {cases}");
}

#[test]
fn i2_d7_power_is_lost_in_writes_of_an_update_with_reboot() {
    killed_and_torn(Device::Reboots);
}

#[test]
fn i2_d7_power_is_lost_in_writes_of_a_download_that_goes_on() {
    killed_and_torn(Device::Resumes);
}

#[test]
fn i2_d7_killed_at_writes_of_an_update_with_reboot() {
    killed_once(Device::Reboots, 5);
}

#[test]
fn i2_d7_killed_at_writes_of_a_rollback() {
    killed_once(Device::RollsBack, 7);
}

#[test]
fn i2_d7_killed_at_writes_of_a_download_that_goes_on() {
    killed_once(Device::Resumes, 5);
}

#[test]
fn r40_d7_killed_at_writes_of_a_takeover() {
    killed_once(Device::TakesOver, 3);
}

#[test]
#[ignore = "every point, 380 of them: a minute or two"]
fn i2_d7_killed_at_every_write() {
    for device in [Device::Good, Device::Reboots, Device::RollsBack, Device::Resumes, Device::TakesOver] {
        killed_once(device, 1);
    }
}

#[test]
#[ignore = "every pair of flushes, 2,900 of them: a quarter of an hour"]
fn i2_d7_killed_twice_in_a_row() {
    for device in [Device::Reboots, Device::RollsBack, Device::Resumes] {
        killed_twice(device);
    }
}
