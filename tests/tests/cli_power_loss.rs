//! Power is lost at every line of the journal; then each verb goes on (CLI-20 to CLI-29).
//!
//! Losing power: client and child get SIGKILL while the child runs, so the record is what was made durable before.

use std::sync::OnceLock;

use thimble_tests::lab::{Lab, Package};

/// What a cut left and what the verb did with it.
struct Case {
    /// The journal's line the power was lost at.
    at: &'static str,
    resume: Expected,
    commit: Expected,
    rollback: Expected,
}

/// Exit status, journal, name on record.
type Expected = (i32, &'static str, &'static str);

const REFUSED: &str = "";
const GONE: Expected = (2, "", "unknown");
const ROLLED_BACK: &str = "SupportsRollback [ArtifactRollback_Enter_00] ArtifactRollback [ArtifactRollback_Leave_00] \
                           [ArtifactFailure_Enter_00] ArtifactFailure [ArtifactFailure_Leave_00] Cleanup";
const FAILURE: &str = "[ArtifactFailure_Enter_00] ArtifactFailure [ArtifactFailure_Leave_00] Cleanup";
const COMMITTED: &str = "[ArtifactCommit_Enter_00] ArtifactCommit [ArtifactCommit_Leave_00] Cleanup";
const LEFT: &str = "[ArtifactCommit_Leave_00] Cleanup";

/// A lab, and an artifact with one script for every transition.
fn lab() -> (Lab, Package) {
    let lab = Lab::new();
    let mut package = Package::new("new");
    for transition in thimble_tests::lab::TRANSITIONS {
        let name = format!("{transition}_00");
        if transition.starts_with("Artifact") {
            package = package.script(&name);
        } else {
            lab.rootfs_script(&name);
        }
    }
    (lab, package)
}

/// The install is cut at the line of the journal that says `at`, counted from 1.
fn cut_install(at: &str) -> Lab {
    static GOOD: OnceLock<Vec<String>> = OnceLock::new();
    let good = GOOD.get_or_init(|| {
        let (lab, package) = lab();
        lab.install(&package).status(0);
        lab.journal()
    });
    let (lab, package) = lab();
    let line =
        good.iter().position(|line| line == at).unwrap_or_else(|| panic!("{at} is not in {good:?}")) + 1;
    lab.cut_at(line);
    lab.install(&package).status(128 + 9);
    assert_eq!(lab.journal(), good[..line], "up to the cut nothing is different");
    let _ = lab.take_journal();
    lab
}

#[track_caller]
fn check(lab: &Lab, verb: &str, (status, journal, name): Expected, context: &str) {
    let ran = lab.run([verb]);
    assert_eq!(ran.code, status, "{context}, {verb}: {ran:?}");
    assert_eq!(lab.take_journal(), journal, "{context}, {verb}");
    assert_eq!(lab.name(), name, "{context}, {verb}");
    if journal.ends_with("Cleanup") {
        assert_eq!(lab.leftovers(), [""; 0], "{context}, {verb}");
        lab.run(["resume"]).status(2);
    }
}

#[test]
fn install_cut_anywhere_then_each_verb() {
    let cases = [
        Case { at: "[Download_Enter_00]", resume: GONE, commit: GONE, rollback: GONE },
        Case { at: "ProvidePayloadFileSizes", resume: GONE, commit: GONE, rollback: GONE },
        Case { at: "Download", resume: GONE, commit: GONE, rollback: GONE },
        Case { at: "[Download_Leave_00]", resume: GONE, commit: GONE, rollback: GONE },
        Case {
            at: "[ArtifactInstall_Enter_00]",
            resume: (1, ROLLED_BACK, "unknown"),
            commit: (1, REFUSED, "unknown"),
            rollback: (0, ROLLED_BACK, "unknown"),
        },
        Case {
            at: "ArtifactInstall",
            resume: (1, ROLLED_BACK, "unknown"),
            commit: (1, REFUSED, "unknown"),
            rollback: (0, ROLLED_BACK, "unknown"),
        },
        Case {
            at: "[ArtifactInstall_Leave_00]",
            resume: (1, ROLLED_BACK, "unknown"),
            commit: (1, REFUSED, "unknown"),
            rollback: (0, ROLLED_BACK, "unknown"),
        },
        Case {
            at: "NeedsArtifactReboot",
            resume: (0, COMMITTED, "new"),
            commit: (0, COMMITTED, "new"),
            rollback: (0, ROLLED_BACK, "unknown"),
        },
        Case {
            at: "SupportsRollback",
            resume: (0, COMMITTED, "new"),
            commit: (0, COMMITTED, "new"),
            rollback: (0, ROLLED_BACK, "unknown"),
        },
    ];
    for case in cases {
        for (verb, expected) in
            [("resume", case.resume), ("commit", case.commit), ("rollback", case.rollback)]
        {
            let lab = cut_install(case.at);
            check(&lab, verb, expected, case.at);
        }
    }
}

#[test]
fn after_a_cut_download_the_next_install_starts_from_scratch() {
    let lab = cut_install("Download");
    lab.install(&Package::new("other")).status(0);
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "other");
    let scripts = std::fs::read_dir(lab.path("store/scripts")).map(Iterator::count).unwrap_or(0);
    assert!(scripts <= 1, "scripts of the artifact before are gone, only `version` may be there");
}

#[test]
fn c_2_after_a_cut_install_another_install_is_refused_and_touches_nothing() {
    let lab = cut_install("ArtifactInstall");
    lab.install(&Package::new("other")).failed("in progress");
    assert_eq!(lab.take_journal(), "");
    check(&lab, "resume", (1, ROLLED_BACK, "unknown"), "after the refusal");
}

/// Installs, then cuts `verb` at its line `at`.
fn cut_verb(verb: &str, at: &str) -> Lab {
    let (lab, package) = lab();
    lab.install(&package).status(0);
    let _ = lab.take_journal();
    let journal = if verb == "commit" { COMMITTED } else { ROLLED_BACK };
    let line = journal.split(' ').position(|line| line == at).expect("a line of the journal") + 1;
    lab.cut_at(line);
    lab.run([verb]).status(128 + 9);
    let _ = lab.take_journal();
    lab
}

#[test]
fn commit_cut_anywhere_then_each_verb() {
    let interrupted = (1, ROLLED_BACK, "unknown");
    let undone = (0, ROLLED_BACK, "unknown");
    let refused = (1, REFUSED, "unknown");
    for (at, resume, commit, rollback) in [
        ("[ArtifactCommit_Enter_00]", interrupted, interrupted, undone),
        ("ArtifactCommit", interrupted, interrupted, undone),
        ("[ArtifactCommit_Leave_00]", (0, LEFT, "new"), refused, refused),
        ("Cleanup", (0, "Cleanup", "new"), refused, refused),
    ] {
        for (verb, expected) in [("resume", resume), ("commit", commit), ("rollback", rollback)] {
            check(&cut_verb("commit", at), verb, expected, at);
        }
    }
}

#[test]
fn rollback_cut_anywhere_then_each_verb() {
    let again = ROLLED_BACK.strip_prefix("SupportsRollback ").expect("the query");
    let refused = (1, REFUSED, "unknown");
    let waiting = (0, COMMITTED, "new");
    for (at, resume, commit, rollback) in [
        // The decision was not made yet: the update is as it was.
        ("SupportsRollback", waiting, waiting, (0, ROLLED_BACK, "unknown")),
        ("[ArtifactRollback_Enter_00]", (0, again, "unknown"), refused, (0, ROLLED_BACK, "unknown")),
        ("ArtifactRollback", (0, again, "unknown"), refused, (0, ROLLED_BACK, "unknown")),
        ("[ArtifactRollback_Leave_00]", (0, again, "unknown"), refused, (0, ROLLED_BACK, "unknown")),
        ("[ArtifactFailure_Enter_00]", (0, FAILURE, "unknown"), refused, refused),
        ("ArtifactFailure", (0, FAILURE, "unknown"), refused, refused),
        ("[ArtifactFailure_Leave_00]", (0, FAILURE, "unknown"), refused, refused),
        ("Cleanup", (0, "Cleanup", "unknown"), refused, refused),
    ] {
        for (verb, expected) in [("resume", resume), ("commit", commit), ("rollback", rollback)] {
            check(&cut_verb("rollback", at), verb, expected, at);
        }
    }
}

#[test]
fn cut_again_and_again_while_it_is_resumed() {
    // Every line of the way back is cut once, each time in the run that resumed the run before.
    let lab = cut_install("ArtifactInstall");
    for line in 1.. {
        assert!(line < 20, "this never ends");
        lab.cut_at(line);
        let ran = lab.run(["resume"]);
        let journal = lab.take_journal();
        if ran.code != 128 + 9 {
            assert!(ran.code <= 2 && journal.ends_with("Cleanup"), "{journal}: {ran:?}");
            break;
        }
    }
    std::fs::remove_file(lab.path("cut")).expect("the cut that was not reached");
    lab.run(["resume"]).status(2);
    assert_eq!((lab.name().as_str(), lab.leftovers()), ("unknown", vec![]));
}

/// Only the client is killed, as by a kernel that is out of memory. What it started would go on beside what the next
/// client calls.
#[test]
fn what_a_killed_client_left_running_is_ended_before_anything_is_called() {
    // The client has noted it by then.
    let stay = "until grep -q \"^runs $$ \" \"$lab/store/mender-update.lock\"; do :; done\n\
                sleep 1000 & echo $! > \"$lab/pid\"; kill -KILL $PPID; wait";
    let look =
        "tr '\\0' ' ' < /proc/$(cat \"$lab/pid\")/cmdline | grep -q sleep && echo ALIVE >> \"$lab/journal\"";
    for (at, called) in
        [("ArtifactInstall", "ArtifactRollback_Enter_00"), ("ArtifactInstall_Leave_00", "ArtifactRollback")]
    {
        let (lab, package) = lab();
        lab.on(at, stay);
        lab.on(called, look);
        lab.install(&package).status(128 + 9);
        let pid = std::fs::read_to_string(lab.path("pid")).expect("it runs");
        let program =
            || std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim_end())).unwrap_or_default();
        assert_eq!(lab.name(), "unknown");
        assert_eq!(program(), "sleep\x001000\0", "who only looks ends nothing");
        let _ = lab.take_journal();
        let ran = lab.run(["rollback"]);
        ran.status(0);
        assert_eq!(lab.take_journal(), ROLLED_BACK, "{at}");
        assert!(ran.stderr.contains("which a client left running"), "{}", ran.stderr);
        assert_eq!(program(), "", "{at}: the whole group has ended");
    }
}
