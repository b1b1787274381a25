//! `control` without a daemon: an order goes on record and counts from the next start of the daemon on.

use std::fs;
use std::path::Path;

use thimble_core::hal::{Change, Key, Storage};
use thimble_hal_linux::storage::{Access, DataDirectory, RECORD_MAX, Store};
use thimble_hal_sim::listen::{Entry, Security};
use thimble_hal_sim::server::Server;
use thimble_tests::cuts::{CALLS, Point, can_trace, points, tear};
use thimble_tests::foreign;
use thimble_tests::lab::{Lab, Package, Ran, thimble};
use thimble_tests::managed::{ID, Managed};

const BEHIND: &str = "; no daemon is running: the order is on record, and counts from its next start on\n";

const STORE: &str = "store/mender-store-thimble";

fn store(lab: &Lab, access: Access) -> Store {
    let directory = DataDirectory::open(&lab.path("store")).expect("the datastore");
    Store::open(directory, access).expect("the store").0
}

/// The record of the control maps.
fn maps(lab: &Lab) -> Option<String> {
    let mut buf = vec![0; RECORD_MAX];
    let mut store = store(lab, Access::ReadOnly);
    let maps = store.read(Key::ControlMaps, &mut buf).expect("it can be read")?;
    Some(String::from_utf8(maps.to_vec()).expect("JSON"))
}

#[track_caller]
fn says(lab: &Lab, args: &[&str], words: &str) {
    let ran = lab.run([&["control"], args].concat());
    assert_eq!(
        (ran.status(0).stdout.as_str(), ran.stderr.as_str()),
        (format!("{words}{BEHIND}").as_str(), "")
    );
}

fn reported(status: &'static str) -> impl FnMut(&Server, &[Entry]) -> bool {
    move |server, _| server.deployments[ID].statuses.iter().any(|(name, _)| name == status)
}

#[test]
fn an_order_counts_from_the_next_start_on() {
    let managed = Managed::with(Security::Plain);
    let lab = &managed.lab;
    says(lab, &["pause", "--at", "install", "--for", "1h30m"], "updates wait before install, for 1 h 30 min");
    let shown = lab.run(["control", "show"]).status(0).stdout.clone();
    assert!(shown.starts_with("No daemon is running. This is on record"), "{shown}");
    assert!(shown.contains("pause          continue       continue       1 h 30 min\n"), "{shown}");
    let status = lab.run(["status"]).stdout;
    let hold = "Hold:            by an operator: an update waits before install, for 1 h 30 min from the next start of the daemon on\n";
    assert!(status.contains(hold), "{status}");

    managed.deploy(&Package::new("release-2"));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, reported("pause_before_installing"));
    let shown = lab.run(["control", "show"]).status(0).stdout.clone();
    assert!(shown.contains("an operator at the device said pause"), "{shown}");
    let json = lab.run(["control", "show", "--json"]).status(0).stdout.clone();
    assert!(json.starts_with("{\"ok\":true,\"running\":true,\"waiting\":{"), "{json}");
    lab.run(["control", "continue"]).status(0);
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
    managed.no_violations();
}

#[test]
fn each_order_says_what_it_comes_to() {
    let lab = Lab::new();
    says(&lab, &["pause"], "updates wait before install, reboot and commit, until 'control continue'");
    says(&lab, &["fail"], "the next update that comes to install fails there");
    says(&lab, &["fail", "--at", "commit"], "the next update that comes to commit fails there");
    let passes = "the next update passes reboot, unless a map of priority 10 or higher objects";
    says(&lab, &["continue", "--at", "reboot"], passes);
    let ran = lab.run(["control", "show", "--json"]);
    for word in [
        r#""running":false"#,
        r#""waiting":null"#,
        r#""install":"fail","reboot":"force_continue","commit":"fail""#,
    ] {
        assert!(ran.status(0).stdout.contains(word), "{word}: {}", ran.stdout);
    }
    lab.run(["control", "pause", "--for", "5m"]).status(0);
    lab.run(["control", "pause", "--at", "reboot", "--for", "6m"]).failed("counts for 300 s");
    lab.run(["control", "continue", "--at", "install", "--for", "6m"])
        .failed("('control continue' takes it back, --for gives the time)");
    says(&lab, &["fail"], "the next update that comes to install fails there; the order counts for 5 min");
    says(
        &lab,
        &["continue", "--at", "install"],
        "the next update passes install, unless a map of priority 10 or higher objects; the order counts for 5 min",
    );
    says(&lab, &["continue"], "nothing is held up by this name any more; no update waits");
    assert_eq!(maps(&lab), None);
    assert_eq!(
        lab.run(["control", "show"]).status(0).stdout,
        "No daemon is running. Nothing is on record that holds an update up.\n"
    );
    let ran = lab.run(["control", "pause", "--json"]);
    assert!(
        ran.status(0).stdout.starts_with("{\"ok\":true,\"running\":false,\"said\":\"updates wait"),
        "{ran:?}"
    );
}

#[test]
fn an_update_fails_because_of_an_order_on_record() {
    let managed = Managed::with(Security::Plain);
    managed.lab.run(["control", "fail"]).status(0);
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    assert_eq!(maps(&managed.lab), None, "it was meant for one update");
}

#[test]
fn the_same_order_once_more_writes_nothing() {
    let lab = Lab::new();
    lab.run(["control", "pause"]).status(0);
    let before = fs::read(lab.path(STORE)).expect("the store");
    lab.run(["control", "pause"]).status(0);
    lab.run(["control", "show"]).status(0);
    assert_eq!(fs::read(lab.path(STORE)).expect("the store"), before);
}

#[test]
fn nothing_is_changed_where_something_is_to_be_settled_first() {
    let damaged = |key: Key, record: &[u8]| {
        let lab = Lab::new();
        store(&lab, Access::ReadWrite).commit(&[Change::Put(key, record)]).expect("it can be written");
        lab
    };
    let refuses = |lab: &Lab, name: &str, why: &str| {
        let before = fs::read(lab.path(name)).expect("a file");
        for act in ["pause", "continue", "fail"] {
            lab.run(["control", act]).failed(why);
        }
        assert_eq!(fs::read(lab.path(name)).expect("a file"), before, "{why}");
    };
    // They may hold an update back.
    refuses(&damaged(Key::ControlMaps, b"nonsense"), STORE, "saved update control maps are unreadable");
    let lab = Lab::new();
    lab.write(STORE, "nonsense");
    refuses(&lab, STORE, "the store is damaged");
    refuses(&lab, STORE, "sets it aside as mender-store-broken and begins an empty one");
    let shown = lab.run(["control", "show"]);
    assert_eq!(shown.failed("the store is damaged").stdout, "");
    let lab = Lab::new();
    foreign::by_hand(&lab);
    refuses(&lab, "store/mender-store", "another Mender client has not finished");
    assert!(!lab.path(STORE).exists());
    // Another verb is at work.
    let lab = Lab::new();
    let lock = thimble_hal_linux::lock::Lock::acquire(
        &DataDirectory::open(&lab.path("store")).expect("the datastore"),
        "install",
    );
    lab.run(["control", "pause"]).failed("install");
    drop(lock);
    lab.run(["control", "pause"]).status(0);
}

/// `control pause` under `strace`, which kills it there.
fn pause(lab: &Lab, trace: &Path, kill: Option<&Point>) -> Ran {
    let mut args: Vec<String> = vec!["-y".into(), "-o".into(), trace.display().to_string()];
    args.extend(["-e".into(), format!("trace={CALLS}")]);
    args.extend(kill.iter().flat_map(|point| ["-e".into(), point.injection()]));
    args.push(thimble().display().to_string());
    args.extend(["control", "pause", "--at", "commit"].map(str::to_owned));
    Ran::of(lab.command_of("strace", args).spawn().expect("strace starts"))
}

#[test]
fn whatever_is_cut_off_the_orders_are_those_of_before_or_with_this_one() {
    if !can_trace() {
        return;
    }
    let device = || {
        let lab = Lab::new();
        lab.run(["control", "pause", "--at", "install"]).status(0);
        lab
    };
    let whole = device();
    let trace = whole.path("trace");
    let before = maps(&whole).expect("an order");
    pause(&whole, &trace, None).status(0);
    let after = maps(&whole).expect("an order");
    assert_ne!(before, after);
    let points = points(&trace, &whole.path("store"));
    assert!(points.iter().any(|point| point.call.contains("sync")), "it is made durable: {points:?}");
    for point in points {
        for torn in [false, true] {
            let lab = device();
            let trace = lab.path("trace");
            pause(&lab, &trace, Some(&point)).status(137);
            // Power loss may leave half of what was written and not flushed.
            if torn && !(point.call.contains("sync") && tear(&trace)) {
                continue;
            }
            let found = maps(&lab).expect("an order");
            assert!([&before, &after].contains(&&found), "{point:?}, torn: {torn}: {found}");
            lab.run(["control", "pause", "--at", "commit"]).status(0);
            assert_eq!(maps(&lab).as_ref(), Some(&after), "{point:?}, torn: {torn}");
        }
    }
}
