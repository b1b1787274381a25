//! `thimble-sim explain`, as a user runs it.

use std::fs;
use std::process::Command;

use tempfile::TempDir;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

fn explain(folder: &TempDir, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
        .arg("explain")
        .args(words)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

fn things() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let artifact = ArtifactWriter::new("release-2", "app", &["board", "board-b"])
        .depends("board-revision", &["3", "4"])
        .script("ArtifactInstall_Enter_00", b"#!/bin/sh\n")
        .script("ArtifactRollback_Enter_00", b"#!/bin/sh\n")
        .file("data", &[0; 5000]);
    fs::write(folder.path().join("new.mender"), artifact.build()).unwrap();
    folder
}

#[test]
fn every_step_says_how_long_it_may_take_and_what_its_failure_leads_to() {
    let folder = things();
    fs::create_dir(folder.path().join("scripts")).unwrap();
    fs::write(folder.path().join("scripts/Download_Enter_00_wait"), "").unwrap();
    fs::write(
        folder.path().join("mender.conf"),
        "{\"StateScriptTimeoutSeconds\": 90, \"ModuleTimeoutSeconds\": 60}",
    )
    .unwrap();
    let (status, text) =
        explain(&folder, &["--artifact", "new.mender", "--scripts", "scripts", "--config", "mender.conf"]);
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.starts_with(
            "release-2 for board: app, installed by the daemon on a device that overwrites in place"
        ),
        "{text}"
    );
    let steps: Vec<&str> = text.lines().filter(|line| line.get(2..4) == Some(". ")).collect();
    let names: Vec<&str> = steps.iter().map(|line| line[4..].split_whitespace().next().unwrap()).collect();
    assert_eq!(
        names,
        [
            "downloading",
            "Download_Enter_00_wait",
            "ProvidePayloadFileSizes",
            "Download",
            "installing",
            "ArtifactInstall_Enter_00",
            "ArtifactInstall",
            "NeedsArtifactReboot",
            "installing",
            "ArtifactCommit",
            "Cleanup",
            "success",
        ]
    );
    assert!(steps[1].ends_with("script, at most 1 min 30 s; may ask again for 30 min"), "{}", steps[1]);
    assert!(steps[6].ends_with("update module, at most 1 min"), "{}", steps[6]);
    assert!(
        text.contains(
            "fails: failure, old is installed\n        then ArtifactRollback_Enter_00, ArtifactRollback,"
        ),
        "{text}"
    );
    assert!(
        text.ends_with(
            "No failure of one of these steps, and no loss of power in one, leaves the device inconsistent.\n"
        ),
        "{text}"
    );
}

#[test]
fn a_device_that_cannot_go_back_fails_the_check() {
    let folder = things();
    let (status, text) = explain(&folder, &["--artifact", "new.mender", "--device", "one-way"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("!! fails: failure, release-2_INCONSISTENT is installed"), "{text}");
    assert!(text.contains(" failures leave the device inconsistent: see !! above."), "{text}");
}

#[test]
fn pictures_hold_every_step() {
    let folder = things();
    let (_, mermaid) = explain(&folder, &["--artifact", "new.mender", "--form", "mermaid"]);
    assert!(mermaid.starts_with("flowchart TD\n  s0[\"downloading\"]\n"), "{mermaid}");
    let (_, dot) = explain(&folder, &["--artifact", "new.mender", "--form", "dot"]);
    assert!(dot.starts_with("digraph update {") && dot.ends_with("}\n"), "{dot}");
    let (_, svg) = explain(&folder, &["--artifact", "new.mender", "--form", "svg"]);
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    for text in [&mermaid, &dot, &svg] {
        for step in ["ArtifactInstall_Enter_00", "NeedsArtifactReboot", "failure, old is installed"] {
            assert!(text.contains(step), "{step}: {text}");
        }
    }
}

#[test]
fn a_device_says_why_it_refuses() {
    let folder = things();
    for (device, status, part) in [
        (
            "device_type=board\nartifact_name=a\nboard-revision=4\n",
            0,
            "A board with these provides takes release-2.",
        ),
        (
            "device_type=toaster\nartifact_name=a\nboard-revision=3\n",
            1,
            "\"board\" or \"board-b\", and this device is a \"toaster\"",
        ),
        (
            "device_type=board\nartifact_name=a\nboard-revision=2\n",
            1,
            "\"board-revision\" being \"3\" or \"4\", and what is installed provides \"2\"",
        ),
        ("device_type=board\nartifact_name=a\n", 1, "provides no \"board-revision\""),
        ("artifact_name=a\n", 2, "a line device_type=... is missing"),
        ("device_type=board\n", 2, "a line artifact_name=... is missing"),
        ("device_type=board\nwhat\n", 2, "device.txt:2: a line KEY=VALUE is wanted"),
    ] {
        fs::write(folder.path().join("device.txt"), device).unwrap();
        let (found, text) = explain(&folder, &["--artifact", "new.mender", "--why-not", "device.txt"]);
        assert_eq!(found, Some(status), "{device}: {text}");
        assert!(text.contains(part), "{device}: {text}");
    }
}

#[test]
fn what_makes_no_sense_is_told() {
    let folder = things();
    fs::write(folder.path().join("page.html"), "<html>").unwrap();
    for (words, part) in [
        (&["--artifact", "page.html"][..], "no device takes this artifact"),
        (&["--artifact", "missing"], "missing: "),
        (&["--scripts", "missing"], "missing: "),
        (&["--form", "png"], "text, mermaid, dot or svg"),
        (&["--device", "slot"], "is slots meant?"),
        (&["--artefact", "new.mender"], "is --artifact meant?"),
        (&["--why-not", "device.txt"], "device.txt: "),
    ] {
        let (status, text) = explain(&folder, words);
        assert_eq!(status, Some(2), "{words:?}: {text}");
        assert!(text.contains(part), "{words:?}: {text}");
    }
}
