//! The order of scripts and module calls on the command line (SCRIPT-43), and what is left of them.

use thimble_tests::lab::{Lab, Package};

/// A lab and an artifact with two scripts for every transition.
fn full() -> (Lab, Package) {
    let lab = Lab::new();
    let package = lab.with_all_scripts(Package::new("new"));
    (lab, package)
}

/// Both scripts of every `[Transition]` in a trace, written out.
fn trace(text: &str) -> String {
    let words =
        text.split_whitespace().map(|word| match word.strip_prefix('[').and_then(|w| w.strip_suffix(']')) {
            Some(transition) => format!("[{transition}_00] [{transition}_01_b]"),
            None => word.to_owned(),
        });
    words.collect::<Vec<_>>().join(" ")
}

const DOWNLOAD: &str = "[Download_Enter] ProvidePayloadFileSizes Download [Download_Leave]";
const INSTALL: &str =
    "[ArtifactInstall_Enter] ArtifactInstall [ArtifactInstall_Leave] NeedsArtifactReboot SupportsRollback";
const COMMIT: &str = "[ArtifactCommit_Enter] ArtifactCommit [ArtifactCommit_Leave] Cleanup";
const ROLLBACK: &str = "[ArtifactRollback_Enter] ArtifactRollback [ArtifactRollback_Leave]";
const FAILURE: &str = "[ArtifactFailure_Enter] ArtifactFailure [ArtifactFailure_Leave] Cleanup";

#[test]
fn trace_1_without_rollback_support_the_commit_follows_at_once() {
    let (lab, package) = full();
    lab.on("SupportsRollback", "echo No");
    let ran = lab.install(&package);
    ran.status(0);
    assert_eq!(lab.take_journal(), trace(&format!("{DOWNLOAD} {INSTALL} {COMMIT}")));
    assert_eq!(lab.name(), "new");
    assert_eq!(lab.leftovers(), [""; 0]);
    assert!(
        ran.stdout.contains(
            "\nUpdate Module doesn't support rollback. Committing immediately.\nInstalled and committed.\n"
        ),
        "{ran:?}"
    );
}

#[test]
fn trace_2_with_rollback_support_commit_comes_from_the_user() {
    let (lab, package) = full();
    lab.install(&package).status(0);
    assert_eq!(lab.take_journal(), trace(&format!("{DOWNLOAD} {INSTALL}")));
    assert_eq!(lab.name(), "unknown");
    lab.run(["commit"]).status(0);
    assert_eq!(lab.take_journal(), trace(COMMIT));
    assert_eq!(lab.name(), "new");
    assert_eq!(lab.leftovers(), [""; 0]);
    lab.run(["commit"]).status(2);
    assert_eq!(lab.take_journal(), "");
}

#[test]
fn trace_2_or_the_rollback_does() {
    let (lab, package) = full();
    lab.install(&package).status(0);
    let _ = lab.take_journal();
    lab.run(["rollback"]).status(0);
    assert_eq!(lab.take_journal(), trace(&format!("SupportsRollback {ROLLBACK} {FAILURE}")));
    assert_eq!(lab.name(), "unknown");
    assert_eq!(lab.leftovers(), [""; 0]);
    lab.run(["rollback"]).status(2);
}

#[test]
fn trace_3_a_failed_installation_is_rolled_back() {
    for (failing, done) in [
        ("ArtifactInstall_Enter_00", "[ArtifactInstall_Enter_00]"),
        ("ArtifactInstall_Enter_01_b", "[ArtifactInstall_Enter]"),
        ("ArtifactInstall", "[ArtifactInstall_Enter] ArtifactInstall"),
        ("ArtifactInstall_Leave_00", "[ArtifactInstall_Enter] ArtifactInstall [ArtifactInstall_Leave_00]"),
        ("ArtifactInstall_Leave_01_b", "[ArtifactInstall_Enter] ArtifactInstall [ArtifactInstall_Leave]"),
    ] {
        let (lab, package) = full();
        lab.on(failing, "exit 1");
        let ran = lab.install(&package);
        ran.status(1);
        let expected =
            format!("{DOWNLOAD} {done} [ArtifactInstall_Error] SupportsRollback {ROLLBACK} {FAILURE}");
        assert_eq!(lab.take_journal(), expand(&expected), "{failing}");
        assert_eq!(lab.name(), "unknown", "{failing}");
        assert!(ran.stdout.contains("Installation failed.\nRolled back.\n"), "{ran:?}");
        lab.run(["resume"]).status(2);
    }
}

/// As [`trace`], for traces that also have names of single scripts.
fn expand(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let is_script = word.ends_with("_00]") || word.ends_with("_b]");
        if is_script { word.to_owned() } else { trace(word) }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn trace_3_without_rollback_support_the_device_is_inconsistent() {
    let (lab, package) = full();
    lab.on("ArtifactInstall", "exit 1");
    lab.on("SupportsRollback", "echo No");
    lab.install(&package).status(1);
    let expected = format!(
        "{DOWNLOAD} [ArtifactInstall_Enter] ArtifactInstall [ArtifactInstall_Error] SupportsRollback {FAILURE}"
    );
    assert_eq!(lab.take_journal(), trace(&expected));
    assert_eq!(lab.name(), "new_INCONSISTENT");
}

#[test]
fn trace_4_a_failed_commit_is_rolled_back() {
    for (failing, done) in [
        ("ArtifactCommit_Enter_00", "[ArtifactCommit_Enter_00]"),
        ("ArtifactCommit", "[ArtifactCommit_Enter] ArtifactCommit"),
    ] {
        let (lab, package) = full();
        lab.install(&package).status(0);
        let _ = lab.take_journal();
        lab.on(failing, "exit 1");
        lab.run(["commit"]).status(1);
        let expected = format!("{done} [ArtifactCommit_Error] SupportsRollback {ROLLBACK} {FAILURE}");
        assert_eq!(lab.take_journal(), expand(&expected), "{failing}");
        assert_eq!(lab.name(), "unknown");
    }
}

#[test]
fn a_failure_after_the_commit_marks_the_artifact_but_undoes_nothing() {
    let (lab, package) = full();
    lab.install(&package).status(0);
    let _ = lab.take_journal();
    lab.on("ArtifactCommit_Leave_00", "exit 1");
    let ran = lab.run(["commit"]);
    ran.status(1);
    assert_eq!(lab.take_journal(), trace(COMMIT), "the second script runs as well");
    assert_eq!(lab.name(), "new_INCONSISTENT");
    assert!(ran.stdout.ends_with("Committed.\nOne or more post-commit steps failed.\n"), "{ran:?}");
}

#[test]
fn download_errors_only_clean_up() {
    for (failing, done) in [
        ("Download_Enter_00", "[Download_Enter_00]"),
        ("ProvidePayloadFileSizes", "[Download_Enter] ProvidePayloadFileSizes"),
        ("Download", "[Download_Enter] ProvidePayloadFileSizes Download"),
        ("Download_Leave_01_b", "[Download_Enter] ProvidePayloadFileSizes Download [Download_Leave]"),
    ] {
        let (lab, package) = full();
        lab.on(failing, "exit 1");
        let ran = lab.install(&package);
        ran.status(1);
        assert_eq!(lab.take_journal(), expand(&format!("{done} [Download_Error] Cleanup")), "{failing}");
        assert_eq!(lab.name(), "unknown");
        assert_eq!(lab.leftovers(), [""; 0]);
        assert!(ran.stdout.contains("Streaming failed.\nSystem not modified.\n"), "{ran:?}");
        lab.run(["commit"]).status(2);
    }
}

#[test]
fn errors_of_the_way_back_mark_the_device() {
    for failing in [
        "ArtifactRollback_Enter_00",
        "ArtifactRollback",
        "ArtifactRollback_Leave_01_b",
        "ArtifactFailure_Enter_00",
        "ArtifactFailure",
        "ArtifactFailure_Leave_00",
    ] {
        let (lab, package) = full();
        lab.install(&package).status(0);
        let _ = lab.take_journal();
        lab.on(failing, "exit 1");
        lab.run(["rollback"]).status(1);
        assert_eq!(lab.take_journal(), trace(&format!("SupportsRollback {ROLLBACK} {FAILURE}")), "{failing}");
        assert_eq!(lab.name(), "new_INCONSISTENT", "{failing}");
    }
}

#[test]
fn r3_a_failed_cleanup_after_success_keeps_the_new_name() {
    let (lab, package) = full();
    lab.install(&package).status(0);
    lab.on("Cleanup", "exit 1");
    let ran = lab.run(["commit"]);
    ran.status(1);
    assert!(ran.stdout.contains("Committed.\nCleanup failed.\n"), "{ran:?}");
    assert_eq!(lab.name(), "new");
    assert_eq!(lab.leftovers(), [""; 0]);
}

#[test]
fn an_empty_payload_is_committed_at_once_without_scripts() {
    let (lab, _) = full();
    let ran = lab.install(&Package::empty("facts").provides("a.version", "7"));
    ran.status(0);
    assert_eq!(lab.take_journal(), "");
    assert_eq!(lab.name(), "facts");
    let provides = lab.run(["show-provides"]).stdout;
    assert_eq!(provides, "a.version=7\nartifact_name=facts\n");
    assert!(
        ran.stdout
            .ends_with("Artifact with empty payload. Committing immediately.\nInstalled and committed.\n"),
        "{ran:?}"
    );
}

#[test]
fn a_module_that_wants_a_reboot_is_told_on_and_exit_4_is_on_request() {
    for (answer, wanted) in [("Yes", true), ("Automatic", true), ("No", false), ("", false)] {
        for flag in [true, false] {
            let lab = Lab::new();
            lab.on("NeedsArtifactReboot", &format!("echo '{answer}'"));
            let artifact = Package::new("new").build(&lab);
            let mut args = vec!["install", artifact.to_str().expect("text")];
            if flag {
                args.push("--reboot-exit-code");
            }
            let ran = lab.run(args);
            ran.status(if flag && wanted { 4 } else { 0 });
            assert_eq!(ran.stdout.contains("requested a reboot of the device"), wanted, "{answer}: {ran:?}");
        }
    }
}

#[test]
fn a_rollback_the_module_does_not_support_leaves_everything_as_it_is() {
    let lab = Lab::new();
    lab.install(&Package::new("new")).status(0);
    let _ = lab.take_journal();
    lab.on("SupportsRollback", "echo No");
    let ran = lab.run(["rollback"]);
    ran.status(1);
    assert_eq!(lab.take_journal(), "SupportsRollback");
    assert!(
        ran.stdout.contains("does not support rollback") && ran.stderr.contains("stays as it is"),
        "{ran:?}"
    );
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "new");
}

#[test]
fn a_script_that_fails_is_named_in_the_reason() {
    for (name, shell, reason) in [
        ("Download_Enter_07_x", "exit 3", "state script Download_Enter_07_x ended with exit status 3"),
        (
            "ArtifactInstall_Leave_00",
            "kill -9 $$",
            "state script ArtifactInstall_Leave_00 ended with signal 9",
        ),
    ] {
        let (lab, package) = (Lab::new(), Package::new("new").script("ArtifactInstall_Leave_00"));
        lab.rootfs_script("Download_Enter_07_x");
        lab.on(name, shell);
        let ran = lab.install(&package);
        ran.status(1);
        assert_eq!(ran.reason(), format!("thimble: {reason}"));
    }
}

#[test]
fn a_script_that_asks_for_later_too_long_is_the_reason() {
    let lab = Lab::new();
    lab.configure(r#"{"StateScriptRetryIntervalSeconds": 60, "StateScriptRetryTimeoutSeconds": 1}"#);
    lab.rootfs_script("Download_Enter_00");
    lab.on("Download_Enter_00", "exit 21");
    let ran = lab.install(&Package::new("new"));
    ran.status(1);
    assert_eq!(
        ran.reason(),
        "thimble: state script Download_Enter_00 still asked to be run later after 1 s \
         (StateScriptRetryTimeoutSeconds)"
    );
    assert_eq!(lab.take_journal(), "[Download_Enter_00] Cleanup");
}

#[test]
fn a_module_that_refuses_the_download_is_said_to() {
    let lab = Lab::new();
    lab.on("Download", "exit 5");
    lab.install(&Package::new("new")).failed("Download ended with exit status 5");
}

#[test]
fn a_program_that_the_kernel_refuses_is_explained() {
    for (text, reason) in
        [("#!/bin/sh\r\n", "its interpreter is not there"), ("echo\n", "a script begins with a line such as")]
    {
        let lab = Lab::new();
        lab.program("conf/scripts/Download_Enter_00", text);
        lab.install(&Package::new("new")).failed(reason);
    }
}
