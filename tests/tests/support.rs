//! What comes with the client for a device: the systemd service, and scripts that build.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use thimble_tests::lab::has;

const SERVICE: &str = "mender-updated.service";

fn support() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../support")
}

/// The names of the settings in a file, without those that only say when and how the service is started.
fn settings(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("the file");
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    lines.filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
}

/// `systemd-analyze` on a copy of the service whose program exists, with or without what else is installed for it.
fn analyze(drop_in: bool, args: &[&str]) -> Option<(bool, String)> {
    if !has("systemd-analyze") {
        thimble_tests::lab::left_out("systemd-analyze");
        return None;
    }
    let lab = tempfile::tempdir().expect("a directory");
    let service = fs::read_to_string(support().join(SERVICE)).expect("the service");
    let path = lab.path().join(SERVICE);
    let service = service.replace("/usr/bin/thimble", "/bin/true");
    fs::write(&path, service.replace("/usr/lib/thimble/check-datastore", "/bin/true"))
        .expect("it is written");
    if drop_in {
        let directory = format!("{SERVICE}.d");
        fs::create_dir(lab.path().join(&directory)).expect("a directory");
        let name = format!("{directory}/any-module.conf");
        fs::copy(support().join(&name), lab.path().join(&name)).expect("it is copied");
    }
    let output = Command::new("systemd-analyze").args(args).arg(&path).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    // systemd before 254 passes over these two and says so.
    let known = |line: &&str| !(line.contains("ignoring") && line.contains("'Restart"));
    let text: Vec<&str> = text.lines().filter(known).collect();
    Some((output.status.success(), text.join("\n")))
}

#[test]
fn the_service_is_exposed_below_six_of_ten() {
    // Six, in tenths.
    let args = ["security", "--offline=true", "--no-pager", "--threshold=59"];
    if let Some((good, text)) = analyze(false, &args) {
        assert!(good && text.contains("Overall exposure level"), "{text}");
    }
}

#[test]
fn systemd_understands_every_line_of_the_service() {
    for drop_in in [false, true] {
        if let Some((good, text)) = analyze(drop_in, &["verify", "--man=no"]) {
            assert!(good && text.is_empty(), "{text}");
        }
    }
}

#[test]
fn the_file_for_any_module_takes_back_what_the_service_closes() {
    let service = settings(&support().join(SERVICE));
    let taken_back = settings(&support().join(format!("{SERVICE}.d/any-module.conf")));
    let closes = |name: &str| {
        [
            "Protect",
            "Private",
            "Restrict",
            "ReadWrite",
            "Device",
            "Capability",
            "NoNew",
            "Memory",
            "SystemCallFilter",
        ]
        .iter()
        .any(|start| name.starts_with(start))
    };
    let closed: BTreeSet<String> = service.into_iter().filter(|name| closes(name)).collect();
    assert!(closed.len() > 15, "{closed:?}");
    assert_eq!(taken_back, closed);
}

#[test]
fn no_picture_of_the_memory_with_its_keys_is_written() {
    let service = fs::read_to_string(support().join(SERVICE)).expect("the service");
    assert!(service.lines().any(|line| line == "LimitCORE=0"));
}

#[test]
fn a_datastore_behind_a_link_is_no_reason_not_to_start() {
    // systemd refuses to start a service whose StateDirectory= is a link, as /var/lib/mender is on many devices.
    assert!(!settings(&support().join(SERVICE)).iter().any(|name| name.starts_with("StateDirectory")));
}

/// The scripts below a folder, with their texts.
fn scripts(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_symlink() || path.ends_with("target") || path.ends_with(".git") {
            continue;
        }
        if path.is_dir() {
            scripts(&path, found);
        } else if let Ok(text) = fs::read_to_string(&path)
            && text.starts_with("#!")
        {
            found.push((path, text));
        }
    }
}

#[test]
fn no_script_takes_a_program_that_grep_did_not_read_to_its_end_for_a_failed_one() {
    let mut all = Vec::new();
    scripts(&support().join(".."), &mut all);
    let with_pipefail: Vec<_> = all.iter().filter(|(_, text)| text.contains("pipefail")).collect();
    assert!(with_pipefail.iter().any(|(path, _)| path.ends_with("support/build")), "{all:?}");
    let mut wrong = Vec::new();
    for (path, text) in with_pipefail {
        let lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.contains("| grep -q") || line.contains("| grep -m"));
        wrong.extend(lines.map(|(at, line)| format!("{}:{}: {line}", path.display(), at + 1)));
    }
    assert!(
        wrong.is_empty(),
        "with pipefail, what grep leaves unread fails the line at times: {}",
        wrong.join("\n")
    );
}
