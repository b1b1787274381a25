//! `control`, update windows and inhibitors, with the real daemon against the strict server: what people and policies
//! at the device say about an update, and what the server hears of it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use thimble_hal_sim::listen::{Entry, Security};
use thimble_hal_sim::server::Server;
use thimble_tests::lab::{Package, has, is_root, thimble};
use thimble_tests::managed::{Daemon, ID, Managed};

/// A device with a deployment that wants a reboot.
fn device(more: &str) -> Managed {
    let managed = Managed::with(Security::Plain);
    managed.configure(more);
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.deploy(&managed.lab.with_all_scripts(Package::new("release-2")));
    managed
}

fn run(managed: &Managed, verb: &str) -> Output {
    Command::new(thimble())
        .args(verb.split_whitespace())
        .env("MENDER_CONF_DIR", managed.lab.path("conf"))
        .env("MENDER_DATA_DIR", managed.lab.path("data"))
        .env("MENDER_DATASTORE_DIR", managed.lab.path("store"))
        .output()
        .expect("thimble runs")
}

#[track_caller]
fn control(managed: &Managed, verb: &str) -> String {
    let output = run(managed, &format!("control {verb}"));
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "control {verb}: {said}{wrong}\n{}", managed.story());
    said.into_owned()
}

/// Holds from the moment the device reported `status`.
fn reported(status: &'static str) -> impl FnMut(&Server, &[Entry]) -> bool {
    move |server, _| server.deployments[ID].statuses.iter().any(|(name, _)| name == status)
}

/// Until this device's socket of `control` is there.
fn until_listening(managed: &Managed, daemon: &mut Daemon) {
    let path = managed.lab.path("store/mender-update.control");
    managed.wait(daemon, |_, _| path.exists());
}

#[test]
fn a_person_holds_an_update_up_at_each_point_and_lets_it_go_on() {
    let managed = device("");
    let mut daemon = managed.start();
    until_listening(&managed, &mut daemon);
    assert!(control(&managed, "pause").contains("updates wait before install, reboot and commit"));
    managed.wait(&mut daemon, reported("pause_before_installing"));

    let shown = control(&managed, "show");
    assert!(
        shown.contains("An update waits before install: an operator at the device said pause"),
        "{shown}"
    );
    let json = control(&managed, "show --json");
    assert!(
        json.contains(r#""waiting":{"at":"install""#) && json.contains(r#""ends_in_seconds":null"#),
        "{json}"
    );
    let status = String::from_utf8(run(&managed, "status").stdout).unwrap();
    assert!(status.contains("before install: an operator at the device said pause"), "{status}");

    assert_eq!(control(&managed, "continue --at install"), "the update goes on with install\n");
    managed.wait(&mut daemon, reported("pause_before_rebooting"));
    assert_eq!(control(&managed, "continue --at reboot,commit"), "the update goes on with reboot\n");
    // What was said of the commit in advance outlives the reboot, which kills the daemon.
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
    let statuses = managed.statuses();
    let pauses: Vec<_> = statuses.iter().filter(|status| status.starts_with("pause")).collect();
    assert_eq!(pauses, ["pause_before_installing", "pause_before_rebooting"], "{statuses:?}");
    managed.no_violations();
}

#[test]
fn what_holds_an_update_up_is_reported_as_the_substate() {
    let managed = device("");
    let mut daemon = managed.start();
    until_listening(&managed, &mut daemon);
    control(&managed, "pause --at install");
    managed.wait(&mut daemon, reported("pause_before_installing"));
    let substate = managed.server.with(|server| server.deployments[ID].statuses.last().unwrap().1.clone());
    assert_eq!(substate.as_deref(), Some("an operator at the device said pause"));
    control(&managed, "continue");
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
}

#[test]
fn a_person_fails_an_update_that_waits_for_its_commit() {
    let managed = device("");
    let mut daemon = managed.start();
    until_listening(&managed, &mut daemon);
    control(&managed, "pause --at commit");
    // The reboot of the device ends the daemon; its order is still there afterwards.
    assert!(!managed.wait_while(&mut daemon, reported("pause_before_committing")), "it reboots first");
    let mut daemon = managed.start();
    managed.wait(&mut daemon, reported("pause_before_committing"));
    assert_eq!(control(&managed, "fail --at commit"), "the update that waits before commit fails\n");
    assert_eq!(managed.finish_with(daemon), "failure", "{}", managed.story());
    assert_eq!(managed.lab.name(), "unknown", "it was rolled back");
    managed.no_violations();
    // It was meant for one update.
    let mut daemon = managed.start();
    until_listening(&managed, &mut daemon);
    let shown = control(&managed, "show");
    assert!(shown.contains("No update waits") && !shown.contains("fail"), "{shown}");
}

#[test]
fn others_hold_updates_up_in_their_own_name_and_an_operator_overrides_them() {
    let managed = device("");
    let mut daemon = managed.start();
    until_listening(&managed, &mut daemon);
    let id = "11111111-2222-3333-4444-555555555555";
    control(&managed, &format!("pause --at install --id {id} --priority -3 --for 1d"));
    managed.wait(&mut daemon, reported("pause_before_installing"));
    let shown = control(&managed, "show");
    assert!(shown.contains(&format!("update control map {id} of priority -3 said pause")), "{shown}");
    control(&managed, "continue");
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
}

#[test]
fn outside_its_window_an_update_waits_and_inside_it_goes_on() {
    // By UTC; of two windows that together are the whole day, one is open. Neither is, on no day but a far one.
    let windows = |at: &str| {
        format!(
            r#","UpdateControl":{{"Windows":[{{"At":["{at}"],"From":"00:00","To":"12:00"}},
                {{"At":["{at}"],"From":"12:00","To":"24:00"}}]}}"#
        )
    };
    for at in ["install", "reboot", "commit"] {
        let managed = device(&windows(at));
        assert_eq!(managed.finish(), "success", "{}", managed.story());
        assert!(
            !managed.statuses().iter().any(|status| status.starts_with("pause")),
            "{:?}",
            managed.statuses()
        );
    }
    // Three days from now, whatever the time: closed.
    let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86400;
    let day = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][usize::try_from((today + 3) % 7).unwrap()];
    let managed = device(&format!(
        r#","UpdateControl":{{"Windows":[{{"At":["install"],"From":"02:00","To":"04:00","Days":["{day}"]}}]}}"#
    ));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, reported("pause_before_installing"));
    let shown = control(&managed, "show");
    assert!(shown.contains(&format!("outside the update window 02:00-04:00 {day}")), "{shown}");
    assert!(shown.contains("install: only 02:00-04:00"), "{shown}");
    control(&managed, "continue");
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
}

#[test]
fn the_deadline_of_a_policy_lets_the_update_go_on_or_fails_it() {
    for (then, expected) in [("continue", "success"), ("fail", "failure")] {
        let managed = Managed::with(Security::Plain);
        managed.lab.write("busy", "");
        managed.configure(&format!(
            r#","UpdateControl":{{"Inhibitors":[{{"At":["install"],"File":"{}","DeadlineSeconds":1,
                "AtDeadline":"{then}"}}]}}"#,
            managed.lab.path("busy").display()
        ));
        managed.deploy(&managed.lab.with_all_scripts(Package::new("release-2")));
        assert_eq!(managed.finish(), expected, "{}", managed.story());
        let statuses = managed.statuses();
        assert!(statuses.iter().any(|status| status == "pause_before_installing"), "{statuses:?}");
        if expected == "failure" {
            let substate =
                managed.server.with(|server| server.deployments[ID].statuses.last().unwrap().1.clone());
            let substate = substate.unwrap_or_default();
            assert!(substate.contains("busy exists; its deadline has passed"), "{substate}");
        }
        managed.no_violations();
    }
}

#[test]
fn a_program_holds_an_update_up_until_it_agrees() {
    let managed = Managed::with(Security::Plain);
    managed.lab.program("agree", "#!/bin/sh\n[ -e \"${0%/*}/parked\" ] || { echo the car moves; exit 1; }\n");
    managed.configure(&format!(
        r#","UpdateControl":{{"Inhibitors":[{{"At":["install"],"Program":"{}"}}]}}"#,
        managed.lab.path("agree").display()
    ));
    managed.deploy(&managed.lab.with_all_scripts(Package::new("release-2")));
    let mut daemon = managed.start();
    managed.wait(&mut daemon, reported("pause_before_installing"));
    assert!(control(&managed, "show").contains("agree: the car moves"));
    managed.lab.write("parked", "");
    // It would be asked again in a minute; a change of the maps asks at once.
    control(&managed, "pause --at commit --for 1h --id 11111111-2222-3333-4444-555555555555");
    managed.wait(&mut daemon, reported("pause_before_committing"));
    control(&managed, "continue");
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
}

#[test]
fn a_daemon_that_is_ended_while_an_update_waits_fails_it_before_install() {
    let managed = device("");
    let mut daemon = managed.start();
    until_listening(&managed, &mut daemon);
    control(&managed, "pause");
    managed.wait(&mut daemon, reported("pause_before_installing"));
    assert_eq!(daemon.terminate().code(), Some(0));
    // As with Mender's client: what waited before the install is cleaned up, and the server is told.
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    assert_eq!(managed.lab.name(), "unknown");
    managed.no_violations();
}

/// Sets the limit of a running process's descriptors.
fn limit_descriptors(pid: u32, limit: usize) {
    let set =
        Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={limit}:")]).status();
    assert!(set.expect("prlimit runs").success());
}

/// The number that the process's next descriptor will have.
fn next_descriptor(pid: u32) -> usize {
    let is_free = |number: &usize| !Path::new(&format!("/proc/{pid}/fd/{number}")).exists();
    (0..).find(is_free).expect("there are fewer descriptors than numbers")
}

#[test]
fn a_daemon_that_is_out_of_descriptors_answers_when_it_has_some_again() {
    let managed = device("");
    // While it waits for a module it opens and closes nothing.
    managed.lab.on("ArtifactInstall", "sleep 600");
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |_, _| managed.lab.journal().iter().any(|line| line == "ArtifactInstall"));
    let pid = daemon.pid();
    limit_descriptors(pid, next_descriptor(pid));
    let mut streams = ["mender-update.control", "mender-update.sock"]
        .map(|name| UnixStream::connect(managed.lab.path("store").join(name)).unwrap());
    streams[0].write_all(b"{\"do\":\"show\"}\n").unwrap();
    let log = managed.lab.path("daemon.log");
    for verb in ["control", "status"] {
        let wanted = format!("`{verb}` has to wait: ");
        managed.wait(&mut daemon, |_, _| {
            // It may have closed something since.
            limit_descriptors(pid, next_descriptor(pid));
            fs::read_to_string(&log).unwrap().contains(&wanted)
        });
    }
    limit_descriptors(pid, 100);
    for stream in &mut streams {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with('{'), "{answer:?}\n{}", managed.story());
    }
    daemon.stop();
}

#[test]
fn requests_that_make_no_sense_are_refused_and_change_nothing() {
    let managed = Managed::with(Security::Plain);
    assert!(control(&managed, "show").starts_with("No daemon is running."));

    let mut daemon = managed.start();
    until_listening(&managed, &mut daemon);
    for verb in [
        "control",
        "control stop",
        "control show --at install",
        "control pause --at x",
        "control pause now",
        "control pause --for 0",
        "control pause --id 5",
        "control pause --priority 11",
        "install --at reboot x",
    ] {
        let output = run(&managed, verb);
        assert_eq!(output.status.code(), Some(1), "{verb}");
    }
    let socket = managed.lab.path("store/mender-update.control");
    let mode = fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for line in [
        "\n",
        "[]\n",
        "{\"do\":\"pause\",\"at\":[\"x\"]}\n",
        "\u{0}\u{ff}\n",
        &format!("{}\n", "x".repeat(5000)),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        // What was sent too much may reset the connection behind the answer.
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("{\"ok\":false,\"reason\":\""), "{line:?}: {answer}");
    }
    // Those who connect and say nothing keep nobody else out for long.
    let silent: Vec<_> = (0..20).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    drop(silent);
    assert!(control(&managed, "show").starts_with("No update waits."));
}

#[test]
fn only_root_controls_updates() {
    if !is_root() || !has("setpriv") || !has("perl") {
        thimble_tests::lab::left_out("root, setpriv and perl");
        return;
    }
    let managed = Managed::with(Security::Plain);
    let mut daemon = managed.start();
    until_listening(&managed, &mut daemon);
    let socket = managed.lab.path("store/mender-update.control");
    // Somebody opened the datastore to everybody.
    for (path, mode) in
        [(managed.lab.path(""), 0o755), (managed.lab.path("store"), 0o755), (socket.clone(), 0o666)]
    {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    let program = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die \"no way in: $!\";\
                   print $s \"{\\\"do\\\":\\\"pause\\\"}\\n\"; $s->flush; print <$s>;";
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", program])
        .arg(&socket)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("only root may control updates"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(control(&managed, "show --json").contains("\"maps\":[]"));
}
