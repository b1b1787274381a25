//! `explore`, as a user calls it: an update's ends, the ways to them, and what makes it fail in CI.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Exit status, standard output and standard error.
fn sim(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
        .current_dir(folder)
        .args(words)
        .output()
        .expect("the simulator starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the output is text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A folder with these state scripts in `scripts`.
fn scripts(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    let scripts = folder.path().join("scripts");
    fs::create_dir(&scripts).expect("the folder is new");
    for name in names {
        fs::write(scripts.join(name), "#!/bin/sh\n").expect("there is room");
    }
    folder
}

fn document(folder: &Path, words: &[&str]) -> Value {
    let (status, out, err) = sim(folder, &[words, &["--json"]].concat());
    assert!(matches!(status, Some(0 | 1)), "{err}");
    serde_json::from_str(&out).expect("one JSON document")
}

#[test]
fn a_forbidden_end_fails_with_the_way_to_it_and_a_command_that_tells_it_again() {
    let folder = scripts(&["ArtifactInstall_Enter_00_check"]);
    let words = ["explore", "--scripts", "scripts", "--device", "files"];
    let (status, out, err) = sim(folder.path(), &words);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("\nNothing wrong found in "), "{out}");
    assert!(out.ends_with(" configurations; 3 ways to end are not clean.\n"), "{out}");
    // Each --forbid counts.
    let twice = ["--forbid", "inconsistent", "--forbid", "failed"];
    let (status, out, _) = sim(folder.path(), &[&words[..], &twice].concat());
    assert_eq!(status, Some(1));
    assert!(out.contains("can end inconsistent, which") && out.contains("can end failed, which"), "{out}");

    let (status, out, _) = sim(folder.path(), &[&words[..], &["--forbid", "inconsistent"]].concat());
    assert_eq!(status, Some(1));
    assert!(out.contains("\nWRONG: the update can end inconsistent, which is forbidden\n"), "{out}");
    assert!(!out.contains("Nothing wrong"), "{out}");

    let again = out.lines().filter_map(|line| line.trim().strip_prefix("again: thimble-sim ")).next();
    let again = again.expect("a way is told").replace('\'', "");
    let words: Vec<&str> = again.split(' ').collect();
    let (status, told, _) = sim(folder.path(), &words);
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains(" = brick: "), "{told}");
}

#[test]
fn what_is_found_becomes_scenarios_that_pass() {
    let folder = scripts(&["ArtifactInstall_Enter_00", "ArtifactCommit_Enter_00"]);
    for device in ["slots", "files", "custom", "one-way"] {
        let found = format!("found-{device}");
        let words = ["explore", "--scripts", "scripts", "--device", device, "--scenarios", &found];
        let (status, out, err) = sim(folder.path(), &words);
        assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
        let files = fs::read_dir(folder.path().join(&found)).expect("something was found").count();
        assert!(files > 0, "{device}");
        let (status, out, err) = sim(folder.path(), &["test", &found]);
        assert_eq!(status, Some(0), "{out}{err}");
    }
}

#[test]
fn the_document_says_what_was_seen() {
    let folder = scripts(&["Sync_Enter_00", "ArtifactInstall_Leave_05"]);
    let words = ["explore", "--scripts", "scripts", "--standalone"];
    let seen = document(folder.path(), &words);
    assert_eq!((&seen["schema"], &seen["complete"]), (&1.into(), &true.into()));
    let script = |name: &str| {
        let all = seen["scripts"].as_array().expect("a list");
        all.iter().find(|script| script["name"] == name).expect("it was handed over")["works"].clone()
    };
    assert_eq!(script("Sync_Enter_00"), 0, "the command line never calls it");
    assert_ne!(script("ArtifactInstall_Leave_05"), 0);
    let ends = seen["ends"].as_array().expect("a list");
    let clean: Vec<bool> = ends.iter().map(|end| end["clean"] == true).collect();
    assert!(clean.is_sorted() && clean.contains(&true), "{clean:?}");
    for end in ends.iter().filter(|end| end["clean"] == false) {
        let at = end["way"]["good"]["differs_at"].as_u64().expect("there is a good way") as usize;
        assert_ne!(end["way"]["rows"][at], end["way"]["good"]["rows"][at]);
        assert_eq!(end["way"]["rows"][at - 1], end["way"]["good"]["rows"][at - 1]);
    }
    // The same every time, and another one where something else happens.
    assert_eq!(document(folder.path(), &words)["digest"], seen["digest"]);
    assert_ne!(document(folder.path(), &words[..3])["digest"], seen["digest"]);
}

#[test]
fn a_budget_that_is_too_small_is_no_clean_bill() {
    let folder = scripts(&["ArtifactInstall_Enter_00"]);
    let words = ["explore", "--device", "files", "--budget", "500"];
    let (status, out, _) = sim(folder.path(), &words);
    assert_eq!(status, Some(1));
    assert!(out.contains("WRONG: not everything was walked: more than 500 configurations"), "{out}");
    let (status, out, err) = sim(folder.path(), &["explore", "--device", "files", "--path", "5.999"]);
    assert_eq!((status, err.as_str()), (Some(1), ""));
    assert!(out.contains("the path has choice 999 at step 5"), "{out}");
}

#[test]
fn every_kind_of_device_is_walked_without_options() {
    let folder = scripts(&[]);
    let (status, out, err) = sim(folder.path(), &["explore", "--losses", "0"]);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    assert_eq!(out.matches(" configurations, ").count(), 15, "{out}");
    assert!(out.contains("\nNothing wrong found in "), "{out}");
}

#[test]
fn a_part_says_that_it_is_one_and_counts_nothing_of_the_others() {
    let folder = scripts(&[]);
    let words = ["explore", "--device", "files", "--shard", "9999/10000"];
    let (status, out, _) = sim(folder.path(), &words);
    assert_eq!(status, Some(0), "{out}");
    assert!(out.contains("; part 9999/10000 of everything\n"), "{out}");
    assert!(out.contains(" of part 9999/10000"), "{out}");
    // Nothing goes wrong in it.
    let seen = document(folder.path(), &words);
    assert_eq!(seen["part"], "9999/10000");
    assert_eq!(seen["steps"].as_u64(), seen["configurations"].as_u64().map(|number| number - 1), "{seen:#}");
    let situation = |name: &str| {
        let all = seen["situations"].as_array().expect("a list");
        all.iter().find(|situation| situation["name"] == name).expect("it is one")["count"].clone()
    };
    assert_eq!(situation("power is lost while the update is installed"), 0);
    assert_eq!(situation("the update is installed"), 1);
}

#[test]
fn options_that_would_be_for_nothing_are_refused() {
    let folder = scripts(&[]);
    for (words, told) in [
        (&["--scenarios", "found"][..], "--scenarios is about one device"),
        (&["--device", "files", "--device", "slots"], "--device stands there twice"),
        (&["--losses", "1", "--losses", "2"], "--losses stands there twice"),
        (
            &["--device", "files", "--path", "1.1", "--html", "x"],
            "--path tells one way, and --html is about all",
        ),
        (&["--device", "files", "--scenarios", "scripts/.."], "there are files already"),
    ] {
        let (status, _, err) = sim(folder.path(), &[&["explore"], words].concat());
        assert_eq!(status, Some(2), "{words:?}");
        assert!(err.contains(told), "{words:?}: {err}");
    }
}

#[test]
fn whoever_stops_reading_does_not_change_the_exit_status() {
    let folder = scripts(&[]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
        .current_dir(folder.path())
        .args(["explore", "--device", "files", "--forbid", "inconsistent"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the simulator starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}
