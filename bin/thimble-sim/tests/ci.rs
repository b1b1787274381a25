//! `support/ci/check-update`, in a clean folder with an artifact of Mender's own tool where there is one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

const MODULE: &str = "#!/bin/sh
case \"$1\" in
  SupportsRollback) echo Yes ;;
  ArtifactInstall) cp files/* /data/ ;;
  ArtifactRollback) rm -f /data/payload ;;
esac
";

/// Five scripts; the last is wrong.
const SCRIPTS: [(&str, &str); 5] = [
    ("ArtifactInstall_Enter_00", "#!/bin/sh\ntouch /etc/installing\n"),
    ("ArtifactInstall_Leave_00", "#!/bin/sh\nrm /etc/installing\n"),
    ("ArtifactCommit_Enter_00", "#!/bin/sh\ntest -f /data/payload\n"),
    ("ArtifactRollback_Enter_00", "#!/bin/sh\nrm -f /etc/installing\n"),
    ("ArtifactFailure_Enter_00", "exit 0\n"),
];

fn has_namespaces() -> bool {
    let tried = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork"])
            .args(["sh", "-c", "mount -t proc proc /proc && mount -t tmpfs tmpfs /mnt && unshare --user --map-root-user --mount true"])
            .output();
    tried.is_ok_and(|output| output.status.success())
}

fn put(folder: &TempDir, name: &str, text: &str) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// By Mender's tool, or by our own writer.
fn pack(folder: &TempDir) {
    let mut tool = Command::new("mender-artifact");
    tool.args([
        "write",
        "module-image",
        "-T",
        "app",
        "-n",
        "release-2",
        "-t",
        "board",
        "-o",
        "release.mender",
        "-f",
        "payload",
    ]);
    for (name, _) in SCRIPTS {
        tool.arg("-s").arg(format!("state-scripts/{name}"));
    }
    if tool.current_dir(folder.path()).output().is_ok_and(|output| output.status.success()) {
        return;
    }
    println!("mender-artifact is missing: the artifact is our own");
    let mut writer = ArtifactWriter::new("release-2", "app", &["board"]).file("payload", b"new");
    for (name, _) in SCRIPTS {
        writer = writer.script(name, &fs::read(folder.path().join("state-scripts").join(name)).unwrap());
    }
    fs::write(folder.path().join("release.mender"), writer.build()).unwrap();
}

fn check(folder: &TempDir, words: &[&str]) -> (Option<i32>, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../support/ci/check-update");
    let output = Command::new(script)
        .args(words)
        .current_dir(folder.path())
        .env("THIMBLE_SIM", env!("CARGO_BIN_EXE_thimble-sim"))
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[test]
fn one_wrong_script_of_five_fails_the_check_for_its_reason() {
    if !has_namespaces() {
        println!("left out: there are no namespaces for users' programs here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    put(&folder, "payload", "new");
    put(&folder, "module", MODULE);
    for (name, body) in SCRIPTS {
        put(&folder, &format!("state-scripts/{name}"), body);
    }
    put(&folder, "scenarios/power.txt", "device files\nlose-power in ArtifactInstall\nrun\n");
    pack(&folder);
    let words = ["release.mender", "scripts=state-scripts", "module=module", "reports=reports"];
    let (status, text) = check(&folder, &words);
    assert_eq!(status, Some(1), "{text}");
    assert!(
        text.contains(
            "release.mender: ArtifactFailure_Enter_00:1: error RUN2: its first line does not begin with #!"
        ),
        "{text}"
    );
    assert!(text.contains("WRONG: the device ends as release-2_INCONSISTENT"), "{text}");
    assert!(text.ends_with("Something is wrong: see above.\n"), "{text}");
    let sarif = fs::read_to_string(folder.path().join("reports/lint.sarif")).unwrap();
    assert!(
        sarif.contains("RUN2")
            && fs::read_to_string(folder.path().join("reports/update.svg")).unwrap().starts_with("<svg")
    );

    assert!(text.contains("\nNothing wrong found in "), "{text}");
    let page = fs::read_to_string(folder.path().join("reports/explore.html")).unwrap();
    assert!(page.contains("ArtifactCommit_Enter_00"));

    put(&folder, "state-scripts/ArtifactFailure_Enter_00", "#!/bin/sh\nexit 0\n");
    pack(&folder);
    let (status, text) = check(&folder, &words);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.ends_with("All is well.\n"), "{text}");

    let (status, text) = check(&folder, &["release.mender", "module=module", "forbid=inconsistent"]);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("WRONG: the update can end inconsistent, which is forbidden\n"), "{text}");

    // A scenario whose timeline is not written yet is told.
    let (status, text) = check(&folder, &["release.mender", "module=module", "scenarios=scenarios"]);
    assert_eq!(status, Some(1), "{text}");
    for (words, part) in
        [(&["missing"][..], "which artifact?"), (&["release.mender", "script=x"], "script=x makes no sense")]
    {
        let (status, text) = check(&folder, words);
        assert_eq!(status, Some(2), "{text}");
        assert!(text.contains(part), "{text}");
    }
}
