//! `thimble-sim replay`, as a user runs it.

use std::fs;
use std::path::Path;
use std::process::Command;

use thimble_core::checkpoint::Tag;
use thimble_core::deployment::{Call, Verdict};
use thimble_core::flight::{Event, How, Purpose, Ring, Saved};
use thimble_core::hal::{Change, Key, Storage as _};
use thimble_core::time::Instant;
use thimble_hal_linux::storage::{Access, DataDirectory, Store};

/// Exit status, and what it prints.
fn replay(folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
        .arg("replay")
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// The record of a daemon that has installed and is about to commit.
fn installed() -> Vec<u8> {
    let mut ring = Ring::new();
    for (at, event) in [
        (0, Event::Starts { run: Purpose::Daemon, version: "0.1.0", found: None }),
        (0, Event::Begins { deployment: [7; 8] }),
        (1, Event::Saves(Saved::Update(Tag::Store, Verdict::Good))),
        (90, Event::Call(Call::Download, How::Well)),
        (91, Event::Saves(Saved::Update(Tag::Install, Verdict::Good))),
        (95, Event::Call(Call::ArtifactInstall, How::Well)),
        (96, Event::Call(Call::NeedsArtifactReboot, How::No)),
        (97, Event::Saves(Saved::Update(Tag::Commit, Verdict::Good))),
    ] {
        ring.note(Instant::from_millis(at * 1000), &event);
    }
    ring.bytes().to_vec()
}

fn digits(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("thimble flight record\n{digits}\n")
}

#[test]
fn a_flight_record_is_shown_and_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("flight.txt"), digits(&installed())).unwrap();
    let (status, text) = replay(folder.path(), &["flight.txt"]);
    assert_eq!(status, Some(0), "{text}");
    for line in [
        "0:00:00                -- the daemon starts (version 0.1.0)\n",
        "0:01:30                                                        Download  ok\n",
        "If the client runs on:\n\n 1. ArtifactCommit ",
        "If the client starts again, after a crash or a loss of power:\n\n 1. SupportsRollback ",
        "Without another failure: success, new is installed.\n",
        "Without another failure: failure, old is installed (interrupted in ArtifactCommit",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let (_, json) = replay(folder.path(), &["--json", "--html", "page.html", "flight.txt"]);
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(
        page.contains("<title>flight.txt: flight record</title>") && page.contains("next: ArtifactCommit"),
        "{page}"
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["what"], "flight record");
    assert_eq!(json["events"][3]["what"], "Download");
    assert_eq!(json["next"][0]["steps"][0]["what"], "ArtifactCommit");
    assert_eq!(json["next"][1]["installed"], "old");
}

#[test]
fn the_datastore_of_a_device_is_read_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let directory = DataDirectory::open(folder.path()).unwrap();
    let (mut store, _) = Store::open(directory, Access::ReadWrite).unwrap();
    store.commit(&[Change::Put(Key::Flight, &installed())]).unwrap();
    drop(store);
    for path in [".", "mender-store-thimble"] {
        let (status, text) = replay(folder.path(), &[path]);
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains("1. ArtifactCommit "), "{text}");
    }
    fs::rename(folder.path().join("mender-store-thimble"), folder.path().join("other")).unwrap();
    for (path, why) in
        [("other", "name it mender-store-thimble"), (".", "no flight record in this datastore")]
    {
        let (status, text) = replay(folder.path(), &[path]);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(why), "{text}");
    }
}

#[test]
fn what_is_no_account_of_an_update_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut damaged = installed();
    damaged[9] ^= 1;
    for (content, why) in [
        (digits(&damaged), "the flight record is damaged, or of another version of the client"),
        (digits(&installed()[..20]), "the flight record is damaged"),
        ("thimble flight record\n0x".to_owned(), "no hexadecimal digits"),
        (String::new(), "neither a flight record nor a deployment log"),
        ("hello".to_owned(), "neither a flight record nor a deployment log"),
        ("{\"dropped\":0,".to_owned(), "--raw"),
    ] {
        fs::write(folder.path().join("file"), content).unwrap();
        let (status, text) = replay(folder.path(), &["file"]);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(why), "{why}: {text}");
    }
    let long = fs::File::create(folder.path().join("long")).unwrap();
    long.set_len(17 << 20).unwrap();
    for (words, why) in [
        (&["long"][..], "it has 17825792 bytes, and at most 16777216 are taken"),
        (&["missing"], "missing: No such file"),
        (&["/dev/null"], "/dev/null: it is no file"),
        (&[], "replay wants a flight record"),
        (&["file", "file"], "replay takes one file"),
        (&["--jsn", "file"], "is --json meant?"),
    ] {
        let (status, text) = replay(folder.path(), words);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(why), "{why}: {text}");
    }
}

#[test]
fn a_log_that_is_damaged_is_shown_and_the_exit_status_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/replay/mender-3.4-failed.log");
    let (status, text) = replay(folder.path(), &[good]);
    assert_eq!(status, Some(0), "{text}");
    let log = fs::read_to_string(good).unwrap();
    fs::write(folder.path().join("cut"), &log[..log.len() / 2]).unwrap();
    let (status, text) = replay(folder.path(), &["cut"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("Not as it should be:\n  line ") && text.contains("no JSON object of a log"),
        "{text}"
    );
    assert!(text.contains("This is the log of Mender's client."), "{text}");
}
