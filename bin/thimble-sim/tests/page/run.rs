//! The page of `thimble-sim run --artifact --html`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::Value;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

use super::browser::Browser;

/// Says what it does; the text would be markup, were it not shown as text.
const MODULE: &str = "#!/bin/sh
case \"$1\" in
  SupportsRollback) echo Yes ;;
  ArtifactInstall) echo '<b>installs</b>'; cp files/* /data/ ;;
esac
";

fn has_namespaces() -> bool {
    let tried = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--fork"])
        .args(["sh", "-c", "mount -t proc proc /proc && mount -t tmpfs tmpfs /mnt && unshare --user --map-root-user --mount true"])
        .output();
    tried.is_ok_and(|output| output.status.success())
}

#[test]
fn a_run_is_shown_step_by_step_with_what_programs_print() {
    if !has_namespaces() {
        println!("left out: there are no namespaces for users' programs here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let artifact = ArtifactWriter::new("release-2", "app", &["board"])
        .script("ArtifactCommit_Enter_00", b"#!/bin/sh\nexit 1\n")
        .file("payload", b"new");
    fs::write(folder.path().join("new artifact.mender"), artifact.build()).unwrap();
    fs::write(folder.path().join("module"), MODULE).unwrap();
    fs::set_permissions(folder.path().join("module"), fs::Permissions::from_mode(0o755)).unwrap();
    let run = |words: &[&str]| {
        let mut run = Command::new(env!("CARGO_BIN_EXE_thimble-sim"));
        run.current_dir(folder.path()).args([
            "run",
            "--artifact",
            "new artifact.mender",
            "--module",
            "module",
        ]);
        let output = run.args(words).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    // The page comes beside what is printed, whatever that is.
    let plain = run(&[]);
    assert_eq!(plain.0, Some(1), "{}", plain.1);
    assert_eq!(run(&["--html", "page.html"]), plain);
    let document: Value = serde_json::from_str(&run(&["--json", "--html", "page.html"]).1).unwrap();
    assert_eq!(document["end"], "failure");

    let Some(mut browser) = Browser::start() else { return };
    let url = format!("file://{}", folder.path().join("page.html").display());
    browser.open(&url);
    assert_eq!(browser.text("h1"), "release-2 for board: app, handled by the module that was handed over");
    let reason = document["reason"].as_str().unwrap();
    assert_eq!(browser.text("#way-title"), format!("↩ failure: {reason}; installed: old"));
    assert_eq!(browser.count("#verdict li") as usize, document["wrong"].as_array().unwrap().len());
    let events = document["events"].as_array().unwrap();
    assert_eq!(browser.count("#view tr[data-step]") as usize, events.len());

    let installs = events.iter().position(|event| event["what"] == "ArtifactInstall").unwrap();
    for _ in 0..installs {
        browser.click("#step-on");
    }
    assert_eq!(browser.text("#step h3"), format!("Step {installs}: ArtifactInstall"));
    assert_eq!(browser.text("#step pre"), "<b>installs</b>");
    assert_eq!(browser.text("#again li"), "+ /data/payload");
    let fragment = browser.fragment();
    browser.click("#views a:nth-child(2)");
    browser.until("document.querySelector('table.wide')");
    browser.open(&format!("{url}{fragment}"));
    assert_eq!(browser.text("#step h3"), format!("Step {installs}: ArtifactInstall"));

    let again = browser.text("#again code");
    assert_eq!(again, "thimble-sim run --artifact 'new artifact.mender' --module module");
    browser.size(400, 800);
    assert!(browser.value("document.documentElement.scrollWidth <= innerWidth").as_bool().unwrap());
    assert_eq!(browser.complaints, [] as [String; 0]);
    for loaded in &browser.requests {
        assert!(*loaded == url || loaded.starts_with("data:"), "the page loads {loaded}");
    }
}
