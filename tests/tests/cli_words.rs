//! What the client says where something is wrong, and where: with the real binary.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::Path;

use thimble_tests::lab::{Lab, Package, Ran};

/// A file of `tests/cases`.
fn case(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(name)
}

/// A device that the cases are made for.
fn case_lab() -> Lab {
    let lab = Lab::new();
    lab.write("store/device_type", "device_type=qemux86-64\n");
    lab.module("t");
    lab
}

#[test]
fn artifacts_of_several_gzip_members_and_with_much_meta_data_are_installed() {
    for (name, installed) in [("two-gzip-members.mender", "m-1"), ("meta-data-3000-keys.mender", "many")] {
        let lab = case_lab();
        lab.run(["install".as_ref(), case(name).as_os_str()]).status(0);
        lab.run(["commit"]).status(0);
        assert_eq!(lab.name(), installed, "{name}");
    }
}

#[test]
fn what_is_no_artifact_is_called_what_it_is() {
    let lab = Lab::new();
    lab.write("page.html", "<!DOCTYPE html>\n<html><title>Login</title></html>\n");
    fs::write(lab.path("image.ext4"), vec![0; 5000].iter().copied().chain([1; 500]).collect::<Vec<u8>>())
        .expect("a file");
    for (name, part) in [("page.html", "it is an HTML page"), ("image.ext4", "it is a raw image")] {
        let ran = lab.run(["install", name]);
        ran.failed(part);
        assert_eq!(ran.stdout, "Streaming failed.\nSystem not modified.\n");
    }
}

#[test]
fn what_does_not_fit_is_told_with_what_is_wanted_and_what_there_is() {
    let lab = Lab::new();
    let artifact = Package::new("new").build(&lab);
    lab.write("store/device_type", "device_type=other\n");
    lab.run(["install".as_ref(), artifact.as_os_str()])
        .failed("is for the device type \"lab\", and this device is a \"other\"");
}

#[test]
fn a_refused_connection_a_missing_mode_and_a_full_disk_have_their_own_words() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    drop(listener);
    lab.run(["install", &format!("http://{address}/x.mender")]).failed("refused");
    fs::write(lab.path("data/modules/v3/nobody"), "#!/bin/sh\n").expect("a file");
    lab.install(&Package::new("new").payload_type("nobody")).failed("chmod +x");
}

/// No reason says the same thing twice in a row.
#[track_caller]
fn says_it_once(ran: &Ran) {
    let parts: Vec<_> = ran.reason().split(": ").collect();
    assert!(parts.windows(2).all(|two| two[0] != two[1]), "{}", ran.reason());
}

#[test]
fn no_level_of_the_log_shows_how_the_program_names_its_parts() {
    let lab = Lab::new();
    lab.rootfs_script("Download_Enter_00");
    lab.on("ArtifactInstall", "exit 1");
    let artifact = Package::new("new").script("ArtifactInstall_Enter_00").build(&lab);
    let artifact = artifact.to_str().expect("text");
    let ran = lab.run(["--log-level", "trace", "install", artifact]);
    says_it_once(&ran);
    for part in ["Prepare", "Phase", "Some(", "None", "{ ", "CallModule", "RunScript", "OpId"] {
        assert!(!ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(ran.stderr.contains("level=debug") && ran.stderr.contains("next: "), "{}", ran.stderr);
    lab.run(["install", "--stop-before", "ArtifactInstall_Enter", artifact]).status(0);
    let ran = lab.run(["commit"]);
    ran.failed("not possible at this point of the update (downloaded and not installed): try 'resume'");
    says_it_once(&ran);
}

#[test]
fn a_missing_module_and_an_unreadable_device_type_are_said_once() {
    let lab = Lab::new();
    let once = |ran: &Ran, words: &str| {
        ran.status(1);
        assert_eq!(ran.reason().matches(words).count(), 1, "{}", ran.reason());
    };
    let artifact = Package::new("new").payload_type("nobody");
    once(&lab.install(&artifact), "payload type");
    fs::write(lab.path("data/modules/v3/nobody"), "#!/bin/sh\n").expect("a file");
    once(&lab.install(&artifact), "payload type");
    let file = lab.path("store/device_type");
    fs::remove_file(&file).expect("it is there");
    fs::create_dir(&file).expect("a directory");
    once(&lab.install(&Package::new("new")), "device type");
}

#[test]
fn an_answer_of_the_module_that_is_none_is_quoted_as_it_was_meant() {
    let lab = Lab::new();
    for (printed, quoted) in
        [("Maybe\\n", "\"Maybe\""), ("Yes \\n", "\"Yes \""), ("Yes\\nNo\\n", "\"Yes?No\"")]
    {
        lab.on("SupportsRollback", &format!("printf '{printed}'"));
        lab.install(&Package::new("new"))
            .failed(&format!("answer to SupportsRollback makes no sense: {quoted}"));
    }
}

#[test]
fn a_damaged_store_is_told_once() {
    let lab = Lab::new();
    lab.write("store/mender-store-thimble", "no store");
    let ran = lab.run(["show-artifact"]);
    ran.status(0);
    let told: Vec<_> = ran.stderr.lines().filter(|line| line.contains("the store is damaged")).collect();
    assert!(
        matches!(told.as_slice(), [line] if line.contains("set aside as mender-store-broken")),
        "{told:?}"
    );
}

#[test]
fn the_last_line_of_the_progress_is_printed_however_short_the_download() {
    let lab = Lab::new();
    for name in ["one", "two"] {
        let ran = lab.install(&Package::new(name));
        ran.status(0);
        assert_eq!(ran.stderr.lines().filter(|line| *line == "100%").count(), 1, "{}", ran.stderr);
        lab.run(["commit"]).status(0);
    }
}

#[test]
fn an_artifact_name_that_cannot_be_read_is_an_error_and_not_unknown() {
    let lab = Lab::new();
    assert_eq!(lab.run(["--datastore", "never", "show-artifact"]).status(0).stdout, "unknown\n");
    symlink("/nowhere/data", lab.path("link")).expect("a link");
    for datastore in ["link", "link/below"] {
        lab.configure(r#"{"ServerURL": "https://127.0.0.1:1"}"#);
        for verb in [
            "show-artifact",
            "show-provides",
            "commit",
            "rollback",
            "resume",
            "daemon",
            "bootstrap",
            "check-update",
            "send-inventory",
        ] {
            let ran = lab.run(["--datastore", datastore, verb]);
            ran.failed("is a link to /nowhere/data, which is not there");
            assert_eq!(ran.stdout, "", "{ran:?}");
        }
        // What else is known is told.
        let ran = lab.run(["--datastore", datastore, "status"]);
        ran.failed("is a link to /nowhere/data, which is not there");
        assert!(!ran.stdout.contains("Artifact:") && !ran.stdout.contains("unknown"), "{ran:?}");
    }
    lab.write("file", "");
    lab.run(["--datastore", "file", "show-artifact"]).failed("ot a directory");
    lab.run(["--datastore", "file/below", "show-artifact"]).failed("Not a directory");
}

#[test]
fn r37_and_r38_what_looks_like_something_and_is_nothing_is_told() {
    let lab = Lab::new();
    lab.configure(r#"{"ServerURL": "https://127.0.0.1:1", "UpdatePollIntervallSeconds": 5}"#);
    lab.rootfs_script("Download_Enter_0");
    let ran = lab.install(&Package::new("new"));
    ran.status(0);
    assert_eq!(ran.stderr.matches("/Download_Enter_0 is no state script").count(), 1, "{}", ran.stderr);
    assert!(!ran.stderr.contains("UpdatePollIntervall"), "the daemon says it: {}", ran.stderr);
    // The client key cannot be read, so the daemon ends at once; it has warned before.
    lab.configure(
        r#"{"ServerURL": "https://127.0.0.1:1", "UpdatePollIntervallSeconds": 5, "ArtifactVerifyKey": "/nowhere"}"#,
    );
    let ran = lab.run(["daemon"]);
    ran.status(1);
    let warnings = ran.stderr.matches("did you mean UpdatePollIntervalSeconds?").count();
    assert_eq!(warnings, 1, "{}", ran.stderr);
}
