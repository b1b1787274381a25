//! What Mender's client had not finished goes on here, or a person settles it; and the way back to that client.

use std::fs;
use std::path::Path;
use std::process::Command;

use thimble_hal_sim::listen::{Entry, Security};
use thimble_hal_sim::server::Endpoint;
use thimble_tests::foreign::{BY_HAND, NAME, by_hand, database, state, work_tree};
use thimble_tests::lab::{DEVICE_TYPE, Lab, MODULE, Package};
use thimble_tests::managed::{ID, Managed};

/// A device on which Debian's `mender` 3.4 has installed a single file, and that has thimble now.
fn left_by_hand() -> Lab {
    let lab = Lab::new();
    by_hand(&lab);
    // For the lab's own artifacts.
    lab.write("store/device_type", &format!("device_type={DEVICE_TYPE}\n"));
    lab.module("single-file");
    lab
}

fn same_database(lab: &Lab, case: &Path) {
    let [theirs, ours] = [case.join("mender-store"), lab.path("store/mender-store")]
        .map(|path| fs::read(path).expect("a database"));
    assert!(theirs == ours, "nothing in the database changes");
}

#[test]
fn r40_an_update_by_hand_is_committed() {
    for verb in ["commit", "resume"] {
        let lab = left_by_hand();
        // The module finds the work tree as the other client left it.
        lab.on("ArtifactCommit", "cat files/filename tmp/backup/f header/artifact_name > $lab/seen");
        let ran = lab.run([verb]);
        ran.status(0);
        assert_eq!(ran.stdout, "Committed.\n");
        assert_eq!(lab.take_journal(), "ArtifactCommit Cleanup");
        let tree = Path::new(BY_HAND).join("modules/v3/payloads/0000/tree");
        let left: String = ["files/filename", "tmp/backup/f", "header/artifact_name"]
            .map(|name| fs::read_to_string(tree.join(name)).expect("a file of the case"))
            .concat();
        assert_eq!(fs::read_to_string(lab.path("seen")).expect("what the module saw"), left);
        assert_eq!(
            lab.run(["show-provides"]).stdout,
            "artifact_name=m-1\nmy.key=1\nrootfs-image.single-file.version=m-1\n"
        );
        same_database(&lab, Path::new(BY_HAND));
        lab.run([verb]).status(2);
        assert_eq!(lab.take_journal(), "");
        // What it has changed since is its own.
        lab.install(&Package::new("next")).status(0);
        lab.run(["commit"]).status(0);
        assert_eq!(lab.name(), "next");
    }
}

#[test]
fn r40_an_update_by_hand_is_rolled_back() {
    let lab = left_by_hand();
    let ran = lab.run(["rollback"]);
    ran.status(0);
    assert_eq!(ran.stdout, "Rolled back.\n");
    assert_eq!(lab.take_journal(), "SupportsRollback ArtifactRollback ArtifactFailure Cleanup");
    assert_eq!(lab.name(), "unknown");
    same_database(&lab, Path::new(BY_HAND));
    lab.run(["commit"]).status(2);
}

#[test]
fn r40_an_update_by_hand_is_not_overwritten_and_looking_decides_nothing() {
    let lab = left_by_hand();
    assert_eq!(lab.name(), "unknown");
    let status = lab.run(["status"]);
    assert!(
        status.stdout.contains("Unfinished:")
            && status.stdout.contains("an update by hand of artifact \"m-1\""),
        "{}",
        status.stdout
    );
    assert!(!lab.path("store/mender-store-thimble").exists(), "nothing was written");
    lab.install(&Package::new("other")).failed("finish it first with 'resume' or 'commit' or 'rollback'");
    assert_eq!(lab.take_journal(), "");
    lab.run(["commit"]).status(0);
}

#[test]
fn r40_artifact_scripts_are_those_that_the_other_client_left() {
    let lab = left_by_hand();
    lab.program("store/scripts/ArtifactCommit_Enter_00", &lab.script("ArtifactCommit_Enter_00"));
    lab.run(["commit"]).status(0);
    assert_eq!(lab.take_journal(), "[ArtifactCommit_Enter_00] ArtifactCommit Cleanup");
}

#[test]
fn r40_missing_parts_end_in_words_and_change_nothing() {
    for (missing, why) in [
        ("header/type-info", "header/type-info of its work tree cannot be read"),
        ("current_artifact_name", "current_artifact_name of its work tree cannot be read"),
        ("tmp", "tmp of its work tree cannot be read"),
        ("", "modules/v3/payloads/0000/tree is missing"),
    ] {
        let lab = left_by_hand();
        let path = lab.path("store/modules/v3/payloads/0000/tree").join(missing);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.expect("it was there");
        for verb in ["commit", "resume", "rollback"] {
            let ran = lab.run([verb]);
            assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{missing}");
            assert!(
                ran.reason().contains(why) && ran.reason().contains("mend that, or run 'install'"),
                "{}",
                ran.reason()
            );
        }
        same_database(&lab, Path::new(BY_HAND));
        // Another artifact takes its place.
        lab.install(&Package::new("next")).status(0);
        lab.run(["commit"]).status(0);
        assert_eq!(lab.name(), "next");
    }
    for (file, text) in [("header/artifact_name", "m-2"), ("header/payload_type", "deb"), ("version", "2")] {
        let lab = left_by_hand();
        lab.write(&format!("store/modules/v3/payloads/0000/tree/{file}"), text);
        lab.run(["commit"]).failed(&format!("{file} in the work tree is of another update"));
    }
    let lab = left_by_hand();
    fs::remove_file(lab.path("data/modules/v3/single-file")).expect("the module");
    lab.run(["commit"]).failed("there is no update module for it: install it as");
    lab.module("single-file");
    lab.run(["commit"]).status(0);
    let lab = left_by_hand();
    lab.write("store/scripts/version", "4");
    lab.run(["commit"]).failed("these state scripts are for another client");
}

fn is_poll(entry: &Entry) -> bool {
    matches!(entry.endpoint, Some(Endpoint::NextV1 | Endpoint::NextV2))
}

/// A managed device with a deployment that Mender's client left at `at`.
fn left_at(at: &str, security: Security) -> Managed {
    let managed = Managed::with(security);
    managed.deploy(&Package::new(NAME));
    managed.server.with(|server| {
        let deployment = server.deployments.get_mut(ID).expect("the deployment");
        deployment.taken = Some(("{\"mac\":\"00:01\"}".into(), ("release-1".into(), DEVICE_TYPE.into())));
        deployment.statuses.push(("rebooting".into(), None));
    });
    database(&managed.lab, &[("artifact-name", "release-1"), ("state", &state(at, MODULE))]);
    work_tree(
        &managed.lab,
        &["ArtifactReboot_Leave_00", "ArtifactCommit_Enter_00", "ArtifactRollback_Enter_00"],
    );
    managed
}

#[test]
fn r40_a_deployment_behind_its_reboot_is_committed_and_reported() {
    let managed = left_at("reboot", Security::Tls);
    let before = fs::read(managed.lab.path("store/mender-store")).expect("the database");
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    managed.no_violations();
    assert_eq!(managed.statuses(), ["rebooting", "installing", "success"]);
    assert_eq!(
        managed.lab.take_journal(),
        "ArtifactVerifyReboot [ArtifactReboot_Leave_00] [ArtifactCommit_Enter_00] ArtifactCommit Cleanup"
    );
    assert_eq!(
        managed.lab.run(["show-provides"]).stdout,
        format!("artifact_name={NAME}\nrootfs-image.{MODULE}.version={NAME}\n")
    );
    assert_eq!(fs::read(managed.lab.path("store/mender-store")).expect("the database"), before);
    // Once.
    let polls = |journal: &[Entry]| journal.iter().filter(|entry| is_poll(entry)).count();
    let before_polls = polls(&managed.server.journal());
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |_, journal| polls(journal) > before_polls + 1);
    daemon.stop();
    assert_eq!((managed.statuses().len(), managed.lab.take_journal()), (3, String::new()));
}

#[test]
fn r40_a_deployment_that_does_not_verify_is_rolled_back_and_reported() {
    let managed = left_at("reboot", Security::Tls);
    managed.lab.on("ArtifactVerifyReboot", "exit 1");
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    managed.no_violations();
    let journal = managed.lab.take_journal();
    assert!(journal.contains("[ArtifactRollback_Enter_00] ArtifactRollback"), "{journal}");
    assert_eq!(managed.lab.name(), "release-1");
}

#[test]
fn r40_a_deployment_that_was_interrupted_behind_its_reboot_is_rolled_back_and_reported() {
    for at in ["after-reboot", "update-commit"] {
        let managed = left_at(at, Security::Plain);
        assert_eq!(managed.finish(), "failure", "{at}: {}", managed.story());
        managed.no_violations();
        assert!(managed.lab.take_journal().contains("ArtifactRollback "), "{at}");
        assert_eq!(managed.lab.name(), "release-1", "{at}");
    }
}

#[test]
fn r40_a_deployment_that_was_committed_is_reported_as_that() {
    let managed = left_at("update-after-commit", Security::Plain);
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    assert_eq!((managed.lab.take_journal().as_str(), managed.lab.name().as_str()), ("Cleanup", NAME));
}

#[test]
fn r40_verbs_leave_a_deployment_to_the_daemon() {
    let managed = left_at("reboot", Security::Plain);
    for verb in ["commit", "rollback", "resume"] {
        managed.lab.run([verb]).failed("only the daemon goes on with it");
    }
    assert_eq!(managed.finish(), "success", "{}", managed.story());
}

#[test]
fn r40_what_does_not_wait_for_its_commit_waits_for_a_person() {
    let why = "at \"update-install\", and it is not continued here: it does not wait for its commit; run 'rollback' to take it \
               back, or 'install' to put another artifact in its place";
    let managed = left_at("update-install", Security::Plain);
    for verb in ["commit", "resume"] {
        managed.lab.run([verb]).failed(why);
    }
    let status = managed.lab.run(["status"]).stdout;
    assert!(status.contains("run 'rollback' to take it back"), "{status}");
    // The daemon runs without updates, and says why.
    let mut daemon = managed.start();
    managed.wait(&mut daemon, |_, journal| {
        journal.iter().any(|entry| entry.endpoint == Some(Endpoint::Inventory))
    });
    let status = managed.lab.run(["status"]);
    status.status(0);
    assert!(
        status.stdout.contains("No updates:      another client has left an update unfinished"),
        "{}",
        status.stdout
    );
    assert!(status.stdout.contains("Unfinished:"), "{}", status.stdout);
    let log = fs::read_to_string(managed.lab.path("daemon.log")).expect("the log");
    assert!(log.contains("run 'rollback' to take it back"), "{log}");
    assert!(!managed.server.journal().iter().any(is_poll), "{}", managed.story());
    assert_eq!(managed.lab.take_journal(), "");
    // Taken back by a person, for whom the daemon stands aside; then it asks for updates.
    let ran = managed.lab.run(["rollback"]);
    ran.status(0);
    assert_eq!(ran.stdout, "Rolled back.\n");
    managed.wait(&mut daemon, |_, journal| journal.iter().any(is_poll));
    daemon.stop();
    assert_eq!(
        managed.lab.take_journal(),
        "SupportsRollback [ArtifactRollback_Enter_00] ArtifactRollback ArtifactFailure Cleanup"
    );
    assert_eq!(managed.lab.name(), "release-1");
    assert!(!managed.lab.run(["status"]).stdout.contains("Unfinished:"));
}

#[test]
fn r40_what_was_not_installed_has_nothing_to_take_back() {
    let lab = Lab::new();
    database(&lab, &[("artifact-name", "release-1"), ("state", &state("update-store", MODULE))]);
    lab.run(["commit"]).failed("run 'rollback'");
    let ran = lab.run(["rollback"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "System not modified.\n"));
    assert_eq!((lab.take_journal().as_str(), lab.name().as_str()), ("", "release-1"));
    lab.run(["commit"]).status(2);
}

#[test]
fn r40_a_record_that_cannot_be_read_is_given_up_and_nobody_says_that_nothing_was_modified() {
    let lab = Lab::new();
    database(&lab, &[("artifact-name", "release-1"), ("state", "{\"Version\":7}")]);
    lab.run(["commit"]).failed("run 'rollback'");
    let ran = lab.run(["rollback"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (1, ""));
    assert!(ran.reason().contains("given up, nobody knows how far it got"), "{}", ran.reason());
    assert_eq!((lab.take_journal().as_str(), lab.name().as_str()), ("", "release-1"));
    lab.run(["commit"]).status(2);
}

#[test]
fn r40_status_says_what_the_daemon_says() {
    // It would go on, and cannot.
    let managed = left_at("reboot", Security::Plain);
    let lab = &managed.lab;
    let status = lab.run(["status"]).stdout;
    assert!(status.contains("it goes on here with the next start of the daemon"), "{status}");
    fs::remove_file(lab.path("store/modules/v3/payloads/0000/tree/header/type-info")).expect("it was there");
    let status = lab.run(["status"]).stdout;
    assert!(!status.contains("it goes on here"), "{status}");
    assert!(status.contains("header/type-info of its work tree cannot be read"), "{status}");
    let lab = left_by_hand();
    let status = lab.run(["status"]).stdout;
    assert!(status.contains("it goes on here, with 'commit' or 'rollback'"), "{status}");
}

#[test]
fn r40_a_deployment_that_is_over_is_cleaned_up_and_reported_and_the_daemon_polls_on() {
    for (at, installed, outcome, journal) in [
        ("cleanup", NAME, "success", "Cleanup"),
        ("cleanup", "release-1", "failure", "Cleanup"),
        ("update-status-report", NAME, "success", ""),
        ("update-retry-report", "release-1", "failure", ""),
    ] {
        let managed = left_at(at, Security::Plain);
        let lab = &managed.lab;
        database(lab, &[("artifact-name", installed), ("state", &state(at, MODULE))]);
        assert_eq!(managed.finish(), outcome, "{at}: {}", managed.story());
        managed.no_violations();
        assert_eq!(managed.statuses(), ["rebooting", outcome], "{at}");
        assert_eq!((lab.take_journal().as_str(), lab.name().as_str()), (journal, installed), "{at}");
        let polls = |journal: &[Entry]| journal.iter().filter(|entry| is_poll(entry)).count();
        let before = polls(&managed.server.journal());
        let mut daemon = managed.start();
        managed.wait(&mut daemon, |_, journal| polls(journal) > before);
        daemon.stop();
        assert_eq!((managed.statuses().len(), lab.take_journal().as_str()), (2, ""), "{at}");
    }
    // Nothing is left to clean up with.
    let managed = left_at("cleanup", Security::Plain);
    fs::remove_dir_all(managed.lab.path("store/modules")).expect("the work tree");
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    assert_eq!(managed.lab.take_journal(), "");
}

#[test]
fn r40_an_install_settles_it_once_it_is_on_record() {
    let lab = Lab::new();
    database(&lab, &[("artifact-name", "release-1"), ("state", &state("update-install", MODULE))]);
    work_tree(&lab, &[]);
    lab.write("bad.mender", "no artifact");
    lab.run(["install", "bad.mender"]).status(1);
    lab.run(["commit"]).failed("does not wait for its commit");
    lab.install(&Package::new("release-3")).status(0);
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "release-3");
    lab.run(["rollback"]).status(2);
}

/// Power is lost at each line of the journal: whatever ran, the update is committed or taken back, and what is on record is
/// what the module did last.
#[test]
fn r40_power_loss_at_each_call_of_an_update_by_hand_that_was_taken_over() {
    for verb in ["commit", "rollback"] {
        for line in 1.. {
            let lab = left_by_hand();
            lab.cut_at(line);
            lab.run([verb]);
            let was_cut = !lab.path("cut").exists();
            lab.run(["resume"]);
            let journal = lab.take_journal();
            let is_new = lab.name() == "m-1";
            let taken_back = journal.contains("ArtifactRollback");
            assert_eq!(is_new, !taken_back, "{verb} {line}: {journal}");
            assert!(journal.ends_with("Cleanup"), "{verb} {line}: {journal}");
            lab.run(["resume"]).status(2);
            if !was_cut {
                break;
            }
        }
    }
}

#[test]
fn the_way_back_is_said_and_needs_an_end_of_what_is_in_progress() {
    let lab = left_by_hand();
    lab.run(["export-mender"]).failed("finish it first, with 'commit' or 'rollback'");
    lab.run(["commit"]).status(0);
    let ran = lab.run(["export-mender"]);
    ran.status(0);
    let path = lab.path("store/mender-store");
    assert_eq!(
        ran.stdout,
        format!(
            "Mender's client can go on from here: artifact name \"m-1\" and 2 more of what is provided in {}.\n",
            path.display()
        )
    );
    lab.install(&Package::new("next")).status(0);
    let before = fs::read(&path).expect("the database");
    lab.run(["export-mender"]).failed("finish it first");
    assert_eq!(fs::read(&path).expect("the database"), before);
    lab.run(["rollback"]).status(0);
    lab.run(["export-mender"]).status(0);
    // A device without a datastore has nothing to go back to.
    fs::remove_dir_all(lab.path("store")).expect("the datastore");
    lab.run(["export-mender"]).failed("there is no datastore");
}

#[test]
fn another_client_that_runs_is_told_and_nothing_is_taken_over() {
    let lab = left_by_hand();
    // As LMDB does: a lock on the first byte, for as long as the database is open.
    let lock = lab.path("store/mender-store-lock");
    let script = "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.lockf(f, fcntl.LOCK_SH, 1); print('held', flush=True); sys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .arg(&lock)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut word = [0; 4];
    std::io::Read::read_exact(holder.stdout.as_mut().expect("its output"), &mut word)
        .expect("it holds the lock");
    for verb in ["commit", "export-mender"] {
        lab.run([verb]).failed("another Mender client is running (it holds mender-store-lock)");
    }
    assert_eq!(lab.name(), "unknown", "looking is free");
    drop(holder.stdin.take());
    holder.wait().expect("it ends");
    lab.run(["commit"]).status(0);
}
