//! The examples in `support/update-control`, each file as it stands there: on the simulated device, in a fleet of twenty,
//! and with the real daemon.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use thimble_core::control::Map;
use thimble_hal_linux::config::{MenderConf, Source};
use thimble_hal_sim::fleet::together::{Plan, Row, run};
use thimble_hal_sim::listen::Security;
use thimble_hal_sim::scenario::Scenario;
use thimble_tests::lab::{Package, thimble};
use thimble_tests::managed::{Daemon, ID, Managed};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../support/update-control")
}

fn example(name: &str) -> String {
    let path = folder().join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a scenario whose lines `map NAME` stand for the maps of that name; the transcripts of its parts.
fn simulate(parts: &str) -> Vec<String> {
    let line = |line: &str| match line.strip_prefix("map ").filter(|name| name.ends_with(".json")) {
        Some(name) => format!("map {}", example(name).trim()),
        None => line.to_owned(),
    };
    let text: Vec<String> = parts.lines().map(|text| line(text.trim())).collect();
    let scenario = Scenario::read(text.join("\n").as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let happened = scenario.run();
    assert!(happened.unused.is_empty() && happened.stopped.is_none(), "{happened:?}");
    happened.scenario.timelines().map(|timeline| timeline.join("\n")).collect()
}

#[track_caller]
fn expect(parts: &[String], expected: &[&[&str]]) {
    assert_eq!(parts.len(), expected.len(), "{parts:#?}");
    for (part, expected) in parts.iter().zip(expected) {
        for text in *expected {
            match text.strip_prefix('!') {
                None => assert!(part.contains(text), "{text:?} is not in\n{part}"),
                Some(text) => assert!(!part.contains(text), "{text:?} is in\n{part}"),
            }
        }
    }
}

#[test]
fn every_file_is_an_example_and_every_map_is_a_map() {
    let text = example("README.md");
    let source = include_str!("update_control_examples.rs");
    let mut maps = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        assert!(text.contains(&format!("`{name}`")), "the README does not say what {name} is for");
        assert!(source.contains(&name), "{name} is not tried");
        if !name.starts_with("mender-conf-") {
            let map = Map::parse(example(&name).as_bytes());
            assert!(map.is_ok_and(|map| map.is_some()), "{name}");
            maps += 1;
        }
    }
    assert_eq!(maps, 10);
}

#[test]
fn the_user_is_asked_before_each_install() {
    let parts = simulate(
        "device files
        map ask-before-install.json
        run
        wait 29 min
        map ask-before-install.json
        wait 29 min
        ----

        map approve-once.json
        run
        ----

        deploy newer
        wait 1 min
        ----
        ",
    );
    expect(
        &parts,
        &[
            &["waits before ArtifactInstall_Enter", "name: old", "!ArtifactInstall_Leave"],
            &["-- success", "name: new"],
            &["pause_before_installing", "waits before ArtifactInstall_Enter", "name: new"],
        ],
    );
}

#[test]
fn nothing_is_installed_while_driving_whatever_the_server_says() {
    let parts = simulate(
        "server-map force_continue before ArtifactInstall_Enter
        map no-updates-while-driving.json
        run
        ----

        map parked.json
        run
        ----
        ",
    );
    expect(&parts, &[&["waits before ArtifactInstall_Enter", "!-- installing"], &["-- success"]]);
}

#[test]
fn it_reboots_at_night() {
    let parts = simulate(
        "map reboot-by-day.json
        run
        wait 29 min
        map reboot-by-day.json
        wait 29 min
        ----

        map reboot-at-night.json
        run
        ----
        ",
    );
    expect(
        &parts,
        &[
            &["waits before ArtifactReboot_Enter", "ArtifactInstall_Leave", "!** reboot"],
            &["** reboot", "-- success"],
        ],
    );
}

#[test]
fn the_device_has_the_last_word() {
    let parts = simulate(
        "server-map pause before ArtifactInstall_Enter,ArtifactReboot_Enter,ArtifactCommit_Enter
        map veto-the-server.json
        run
        ----
        ",
    );
    expect(&parts, &[&["-- success", "!pause"]]);
}

#[test]
fn twenty_devices_commit_together_or_all_roll_back() {
    let plan = Plan {
        devices: 20,
        broken: None,
        dies: false,
        hold: example("hold-commit.json"),
        go: example("commit-all.json"),
        fail: example("fail-all.json"),
    };
    for (broken, dies, status, name) in
        [(None, false, "success", "new"), (Some(7), false, "failure", "old"), (None, true, "failure", "old")]
    {
        let story = run(&Plan { broken, dies, ..plan.clone() }).unwrap();
        assert!(story.agrees(), "{story}{:?}", story.violations);
        assert_eq!(story.rows.len(), 20);
        let last = story.rows.iter().filter_map(|row| row.waited).max().unwrap();
        for row in &story.rows {
            assert_eq!((row.status.as_str(), row.name.as_str()), (status, name), "{story}");
            assert!(row.over.is_some_and(|over| over >= last), "before the last one waited: {story}");
        }
        let decided = |what: &str| story.events.iter().position(|event| event.what.contains(what));
        let decision = story.events.iter().position(|event| event.device.is_none()).unwrap();
        // Nobody commits or rolls back before; afterwards all do at once, unless it takes maps to expire. The last device has
        // asked for a token in the same second, and asks for the next one a second later (N14).
        assert!(decided(status).is_some_and(|first| first > decision), "{story}");
        let over = |row: &Row| row.over.is_some_and(|over| over.as_millis() <= last.as_millis() + 1000);
        assert_eq!(story.rows.iter().all(over), !dies, "{story}");
        if dies {
            let hour = |row: &Row| row.over.unwrap().as_secs() <= last.as_secs() + 3600;
            assert!(story.rows.iter().all(hour), "{story}");
        }
    }
}

/// The members of a fragment, for the device's `mender.conf`.
fn fragment(name: &str) -> String {
    let text = example(name);
    let members = text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap();
    format!(",{members}")
}

fn reported(
    status: &'static str,
) -> impl FnMut(&thimble_hal_sim::server::Server, &[thimble_hal_sim::listen::Entry]) -> bool {
    move |server, _| server.deployments[ID].statuses.iter().any(|(name, _)| name == status)
}

fn control(managed: &Managed, words: &[&str]) -> String {
    let output = Command::new(thimble())
        .arg("control")
        .args(words)
        .env("MENDER_CONF_DIR", managed.lab.path("conf"))
        .env("MENDER_DATA_DIR", managed.lab.path("data"))
        .env("MENDER_DATASTORE_DIR", managed.lab.path("store"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}\n{}", managed.story());
    String::from_utf8(output.stdout).unwrap()
}

fn started(managed: &Managed) -> Daemon {
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    managed.deploy(&managed.lab.with_all_scripts(Package::new("release-2")));
    let mut daemon = managed.start();
    let socket = managed.lab.path("store/mender-update.control");
    managed.wait(&mut daemon, |_, _| socket.exists());
    daemon
}

#[test]
fn the_fragments_of_mender_conf_are_understood() {
    for (name, windows, inhibitors, button) in [
        ("mender-conf-windows.json", 2, 0, false),
        ("mender-conf-inhibitors.json", 0, 2, false),
        ("mender-conf-button.json", 1, 0, true),
    ] {
        let (path, none) = (folder().join(name), folder().join("no-such-file"));
        let fallback = Source { path: &none, required: false };
        let (conf, warnings) = MenderConf::load(fallback, Source { path: &path, required: true }).unwrap();
        let policies = &conf.policies;
        assert_eq!((policies.windows.len(), policies.inhibitors.len()), (windows, inhibitors), "{name}");
        assert_eq!((conf.button.is_some(), conf.light.is_some()), (button, button), "{name}");
        assert!(warnings.is_empty(), "{name}: {warnings:?}");
    }
}

#[test]
fn the_daemon_takes_the_windows_and_the_inhibitors() {
    let managed = Managed::with(Security::Plain);
    managed.configure(&fragment("mender-conf-windows.json"));
    let daemon = started(&managed);
    let shown = control(&managed, &["show"]);
    assert!(shown.contains("reboot: only 02:00-04:00 Mon"), "{shown}");
    daemon.stop();

    // The example's paths, moved into the lab.
    let managed = Managed::with(Security::Plain);
    let at_work = managed.lab.path("at-work").display().to_string();
    let may_reboot = managed.lab.path("may-reboot").display().to_string();
    managed.configure(
        &fragment("mender-conf-inhibitors.json")
            .replace("/run/machine-at-work", &at_work)
            .replace("/usr/lib/machine/may-reboot", &may_reboot),
    );
    managed.lab.write("at-work", "");
    managed.lab.program("may-reboot", "#!/bin/sh\necho the door is open\nexit 1\n");
    let mut daemon = started(&managed);
    managed.wait(&mut daemon, reported("pause_before_installing"));
    assert!(control(&managed, &["show"]).contains("at-work"), "{}", managed.story());
    fs::remove_file(&at_work).unwrap();
    // It looks again in a minute, or when something is said.
    control(&managed, &["pause", "--at", "commit", "--for", "2h"]);
    managed.wait(&mut daemon, reported("pause_before_rebooting"));
    assert!(control(&managed, &["show"]).contains("the door is open"), "{}", managed.story());
    control(&managed, &["continue"]);
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
    managed.no_violations();
}

#[test]
fn the_commands_of_the_readme_do_what_it_says() {
    let text = example("README.md");
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("thimble control ")).collect();
    let commands: Vec<&str> = commands.iter().map(|line| line.split('#').next().unwrap().trim()).collect();
    assert_eq!(
        commands,
        ["pause", "pause --at reboot --for 2h", "show", "continue", "fail --at commit"],
        "this test is about these"
    );
    let managed = Managed::with(Security::Plain);
    let mut daemon = started(&managed);
    let say = |line: &str| control(&managed, &line.split_whitespace().collect::<Vec<_>>());
    say(commands[0]);
    managed.wait(&mut daemon, reported("pause_before_installing"));
    assert!(say(commands[2]).contains("An update waits before install"));
    say(commands[3]);
    say(commands[4]);
    assert_eq!(managed.finish_with(daemon), "failure", "{}", managed.story());
    assert_eq!(managed.lab.name(), "unknown");
    managed.no_violations();

    let managed = Managed::with(Security::Plain);
    let mut daemon = started(&managed);
    say_to(&managed, commands[1]);
    managed.wait(&mut daemon, reported("pause_before_rebooting"));
    say_to(&managed, commands[3]);
    assert_eq!(managed.finish_with(daemon), "success", "{}", managed.story());
}

fn say_to(managed: &Managed, line: &str) {
    control(managed, &line.split_whitespace().collect::<Vec<_>>());
}
