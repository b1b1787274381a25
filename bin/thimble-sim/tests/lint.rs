//! `thimble-sim lint`, as a user and as a CI job run it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("thimble-lint-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn lint(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_thimble-sim"))
            .arg("lint")
            .args(words)
            .current_dir(&self.0)
            .output()
            .unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn out(output: &Output) -> (Option<i32>, String) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

const SH: &[u8] = b"#!/bin/sh\nexit 0\n";

#[test]
fn a_good_folder_passes_and_a_wrong_one_fails_for_its_reason() {
    let folder = Folder::new("folder");
    folder.put("good/ArtifactInstall_Enter_00", SH, 0o755);
    folder.put("bad/ArtifactInstall_Enter_1", SH, 0o755);
    folder.put("bad/ArtifactCommit_Enter_00", b"exit 0\n", 0o644);
    let (status, text) = out(&folder.lint(&["good"]));
    assert_eq!((status, text.as_str()), (Some(0), "Nothing wrong found in 1 file.\n"));
    let (status, text) = out(&folder.lint(&["good", "bad"]));
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("bad/ArtifactInstall_Enter_1: error NAME1: it never runs"), "{text}");
    assert!(text.contains("mend: name it ArtifactInstall_Enter_01\n"), "{text}");
    assert!(text.contains("bad/ArtifactCommit_Enter_00:1: error RUN2"), "{text}");
    assert!(text.ends_with("3 files: 2 errors, 0 warnings, 0 notes\n"), "{text}");
}

#[test]
fn severity_decides_the_exit_status() {
    let folder = Folder::new("severity");
    folder.put("scripts/Sync_Enter_00", SH, 0o755);
    assert_eq!(folder.lint(&["scripts"]).status.code(), Some(0));
    assert_eq!(folder.lint(&["--fail-on", "warning", "scripts"]).status.code(), Some(1));
    folder.put("scripts/version", b"3\n", 0o644);
    assert_eq!(folder.lint(&["--fail-on", "warning", "scripts"]).status.code(), Some(0));
    assert_eq!(folder.lint(&["--fail-on", "note", "scripts"]).status.code(), Some(1));
}

#[test]
fn an_artifact_and_a_root_file_system_are_looked_into() {
    let folder = Folder::new("artifact");
    let artifact = |name: &str, body: &[u8]| {
        ArtifactWriter::new("new", "module", &["board"]).script(name, body).file("data", b"x").build()
    };
    folder.put("new.mender", &artifact("ArtifactInstall_Enter_00", b"#!/usr/bin/python3\n"), 0o644);
    folder.put("root/etc/mender/scripts/Download_Enter_00", b"#!/bin/bash\n", 0o755);
    folder.put("root/etc/mender/scripts/version", b"3", 0o644);
    folder.put("root/bin/sh", b"", 0o755);
    let (status, text) = out(&folder.lint(&["--root", "root", "new.mender", "root"]));
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("new.mender: ArtifactInstall_Enter_00:1: error RUN3: /usr/bin/python3 is not"),
        "{text}"
    );
    assert!(
        text.contains("root/etc/mender/scripts/Download_Enter_00:1: error RUN3: /bin/bash is not"),
        "{text}"
    );
    // Cut: a device would refuse it, and so does the exit status.
    let cut = artifact("ArtifactInstall_Enter_00", SH);
    folder.put("cut.mender", &cut[..cut.len() / 2], 0o644);
    let (status, text) = out(&folder.lint(&["cut.mender"]));
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.starts_with("cut.mender: error: no device takes this artifact: it ends too early"),
        "{text}"
    );
}

#[test]
fn the_settings_of_the_device_count() {
    let folder = Folder::new("settings");
    folder.put("scripts/ArtifactInstall_Enter_00", b"#!/bin/sh\nsleep 10\nexit 21\n", 0o755);
    folder.put(
        "mender.conf",
        br#"{"StateScriptTimeoutSeconds": 5, "StateScriptRetryTimeoutSeconds": 60}"#,
        0o600,
    );
    let (status, text) = out(&folder.lint(&["--config", "mender.conf", "scripts"]));
    assert_eq!(status, Some(0), "{text}");
    assert!(
        text.contains(":2: warning TIME3: it sleeps for 10 s, and StateScriptTimeoutSeconds is 5"),
        "{text}"
    );
    assert!(text.contains(":3: warning TIME1"), "{text}");
    folder.put("mender.conf", b"{\"StateScriptTimeoutSeconds\": \"5\"}", 0o600);
    let (status, text) = out(&folder.lint(&["--config", "mender.conf", "scripts"]));
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("StateScriptTimeoutSeconds"), "{text}");
}

#[test]
fn reports_for_programs_say_the_same() {
    let folder = Folder::new("reports");
    folder.put("my scripts/ArtifactInstall_Enter_00", b"#!/bin/sh\ntouch /etc/flag\n", 0o755);
    let json: Value = serde_json::from_slice(&folder.lint(&["--json", "my scripts"]).stdout).unwrap();
    assert_eq!((&json["schema"], &json["warnings"], &json["errors"]), (&1.into(), &1.into(), &0.into()));
    let finding = &json["findings"][0];
    assert_eq!(finding["rule"], "EFFECT1");
    assert_eq!(finding["line"], 2);
    assert!(["what", "why", "mend", "file"].iter().all(|key| finding[key].is_string()), "{finding}");
    let sarif: Value = serde_json::from_slice(&folder.lint(&["--sarif", "my scripts"]).stdout).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    let result = &run["results"][0];
    assert_eq!((&result["ruleId"], &result["level"]), (&"EFFECT1".into(), &"warning".into()));
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "my%20scripts/ArtifactInstall_Enter_00");
    assert_eq!(place["region"]["startLine"], 2);
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["id"] == "EFFECT1"));
}

#[test]
fn bad_input_ends_in_a_line() {
    let folder = Folder::new("bad");
    folder.put("empty/.keep", b"", 0o644);
    let fifo = folder.0.join("pipes/ArtifactInstall_Enter_00");
    fs::create_dir_all(fifo.parent().unwrap()).unwrap();
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    std::os::unix::fs::symlink("/nowhere", folder.0.join("pipes/ArtifactInstall_Leave_00")).unwrap();
    let (status, text) = out(&folder.lint(&["pipes"]));
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains("RUN1: it is no regular file") && text.contains("RUN1: it is a link to nowhere"),
        "{text}"
    );
    for (words, part) in [
        (&[][..], "wants an artifact or a folder"),
        (&["/no/such"], "/no/such: "),
        (&["--fial-on", "note", "empty"], "is --fail-on meant?"),
        (&["--fail-on", "bad", "empty"], "error, warning or note"),
        (&["--root", "/no/such", "empty"], "no folder"),
        (&["--config", "/no/such", "empty"], "/no/such"),
        (&["/dev/null"], "neither a file nor a folder"),
    ] {
        let (status, text) = out(&folder.lint(words));
        assert_eq!(status, Some(2), "{words:?}: {text}");
        assert!(text.contains(part), "{words:?}: {text}");
    }
}

#[test]
fn the_page_of_the_rules_is_in_step() {
    let folder = Folder::new("rules");
    let (status, text) = out(&folder.lint(&["--rules"]));
    assert_eq!(status, Some(0));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lint.md");
    let page = fs::read_to_string(page).unwrap();
    let mut rules = 0;
    for rule in thimble_hal_sim::lint::RULES {
        let row = format!("| {} | {} | {} | {} |", rule.id, rule.severity.name(), rule.title, rule.why);
        assert!(page.contains(&row), "docs/lint.md wants this row:\n{row}");
        assert!(text.contains(&format!(
            "{} ({}): {}\n    {}",
            rule.id,
            rule.severity.name(),
            rule.title,
            rule.why
        )));
        rules += 1;
    }
    assert_eq!(page.matches("\n| ").count(), rules + 1, "docs/lint.md has a row of a rule that is gone");
}
