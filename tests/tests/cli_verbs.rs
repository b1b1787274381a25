//! Verbs, options, exit statuses and output (`docs/rules/command-line.md`).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use thimble_hal_sim::artifact_writer::ArtifactWriter;
use thimble_tests::lab::{DEVICE_TYPE, Lab, MODULE, Package, Ran};

/// An installed update that waits for `commit` or `rollback`.
fn waiting() -> Lab {
    let lab = Lab::new();
    lab.install(&Package::new("new")).status(0);
    let _ = lab.take_journal();
    lab
}

#[test]
fn r32_wrong_usage_is_one_line_on_standard_error_and_nothing_else() {
    let lab = Lab::new();
    for args in [
        &[][..],
        &["bogus"],
        &["install"],
        &["install", "a", "b"],
        &["commit", "x"],
        &["--no-such-option", "commit"],
        &["install", "--stop-before", "Nowhere", "a"],
        &["--log-level", "loud", "show-artifact"],
        &["show-artifact", "--version"],
    ] {
        let ran = lab.run(args);
        ran.status(1);
        assert!(ran.stdout.is_empty() && ran.stderr.lines().count() == 1, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains(" --help'"), "{args:?}: {ran:?}");
    }
    lab.run(["install"]).failed("see 'thimble install --help'");
    lab.run(["roll-back"]).failed("did you mean rollback?");
}

#[test]
fn help_and_version_alone_exit_0() {
    let lab = Lab::new();
    for args in [&["--help"][..], &["-h"], &["help"], &["install", "--help"], &["help", "install"]] {
        let ran = lab.run(args);
        ran.status(0);
        assert!(ran.stdout.contains("Usage: thimble") && ran.stderr.is_empty(), "{ran:?}");
    }
    for args in [["--version"], ["-v"]] {
        let ran = lab.run(args);
        assert_eq!((ran.code, ran.stdout.lines().count()), (0, 1), "{ran:?}");
    }
    assert!(!lab.path("store/mender-update.lock").exists(), "nothing was touched");
}

#[test]
fn installed_links_behave_the_same() {
    let lab = Lab::new();
    for name in ["mender", "mender-update"] {
        let link = lab.path(name);
        std::os::unix::fs::symlink(thimble_tests::lab::thimble(), &link).expect("a link");
        let ran = Ran::of(lab.command_of(&link, ["--help"]).spawn().expect("it starts"));
        ran.status(0);
        assert!(ran.stdout.contains(&format!("Usage: {name} [OPTIONS]")), "{ran:?}");
        let ran = Ran::of(lab.command_of(&link, ["commit"]).spawn().expect("it starts"));
        ran.status(2);
        assert_eq!(ran.reason(), format!("{name}: no update in progress"));
    }
}

#[test]
fn a_reader_that_had_enough_is_no_failure_but_a_full_disk_is() {
    let lab = Lab::new();
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(read);
    let child = lab.command(["show-artifact"]).stdout(Stdio::from(write)).spawn().expect("it starts");
    Ran::of(child).status(0);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let child = lab.command(["show-artifact"]).stdout(Stdio::from(full)).spawn().expect("it starts");
    Ran::of(child).failed("standard output");
}

#[test]
fn without_an_update_in_progress_verbs_exit_2() {
    let lab = Lab::new();
    for verb in ["commit", "rollback", "resume"] {
        let ran = lab.run([verb]);
        ran.status(2);
        assert!(
            ran.reason().ends_with("no update in progress") && ran.stdout == "No update in progress.\n",
            "{ran:?}"
        );
    }
    assert_eq!(lab.journal(), [""; 0]);
}

#[test]
fn c_2_a_second_install_is_refused_and_touches_nothing() {
    let lab = waiting();
    let before = lab.leftovers();
    lab.install(&Package::new("second")).failed("finish it first with 'resume' or 'commit' or 'rollback'");
    assert_eq!((lab.journal().len(), lab.leftovers()), (0, before));
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "new");
}

#[test]
fn what_is_no_artifact_is_refused_before_anything_runs() {
    let lab = Lab::new();
    lab.rootfs_script("Download_Enter_00");
    let good = fs::read(Package::new("cut").build(&lab)).expect("the artifact");
    lab.write("empty", "");
    lab.write("garbage", &"garbage ".repeat(1000));
    fs::write(lab.path("short"), &good[..good.len() / 2]).expect("a file");
    for (name, part) in
        [("none", "No such file"), (".", "directory"), ("empty", "artifact"), ("garbage", "artifact")]
    {
        let ran = lab.run(["install", name]);
        ran.failed(part);
        assert_eq!(ran.stdout, "Streaming failed.\nSystem not modified.\n", "{name}");
    }
    assert_eq!(lab.journal(), [""; 0]);
    lab.run(["install", "short"]).status(1);
    assert_eq!((lab.name().as_str(), lab.leftovers()), ("unknown", vec![]));
    lab.run(["resume"]).status(2);
}

#[test]
fn u1_a_missing_module_is_named_and_nothing_is_left() {
    let lab = Lab::new();
    lab.install(&Package::new("new").payload_type("nobody")).failed("nobody");
    fs::write(lab.path("data/modules/v3/nobody"), "#!/bin/sh\n").expect("a file");
    lab.install(&Package::new("new").payload_type("nobody")).failed("chmod +x");
    assert_eq!((lab.journal().len(), lab.leftovers()), (0, vec![]));
}

#[test]
fn another_device_type_is_refused() {
    let lab = Lab::new();
    let artifact = Package::new("new").build(&lab);
    lab.write("store/device_type", "device_type=other\n");
    lab.run(["install".as_ref(), artifact.as_os_str()]).status(1);
    fs::remove_file(lab.path("store/device_type")).expect("the file");
    lab.run(["install".as_ref(), artifact.as_os_str()]).failed("device_type");
    lab.write("elsewhere", "# a comment\ndevice_type=lab\n");
    lab.configure(&format!(r#"{{"DeviceTypeFile": "{}"}}"#, lab.path("elsewhere").display()));
    lab.run(["install".as_ref(), artifact.as_os_str()]).status(0);
}

#[test]
fn stops_before_every_point_of_the_good_way_and_again_and_goes_on() {
    let package = Package::new("new").script("ArtifactCommit_Leave_00");
    let lab = Lab::new();
    let artifact = package.build(&lab);
    let artifact = artifact.to_str().expect("text");
    let ran = lab.run(["install", "--stop-before", "ArtifactInstall_Enter", artifact]);
    ran.status(0);
    assert!(ran.stdout.contains("Streamed to storage, but not installed/enabled."), "{ran:?}");
    assert_eq!(lab.take_journal(), "ProvidePayloadFileSizes Download");
    for (stop, journal, said) in [
        ("ArtifactInstall_Enter", "", ""),
        (
            "ArtifactCommit_Enter",
            "ArtifactInstall NeedsArtifactReboot SupportsRollback",
            "Installed, but not committed.",
        ),
        ("ArtifactCommit_Enter", "", ""),
        ("ArtifactCommit_Leave", "ArtifactCommit", "Committed."),
        ("ArtifactCommit_Leave", "", ""),
        ("Cleanup", "[ArtifactCommit_Leave_00]", ""),
        ("Cleanup", "", ""),
    ] {
        // The install waits for its user by itself; `resume` then goes on to the commit.
        let mut ran = lab.run(["resume", "--stop-before", stop]);
        ran.status(0);
        let mut done = lab.take_journal();
        if stop == "ArtifactCommit_Enter" && journal.is_empty() {
            ran = lab.run(["resume", "--stop-before", stop]);
            done += &lab.take_journal();
        }
        assert_eq!(done, journal, "{stop}");
        assert!(ran.stdout.starts_with(said) && ran.stdout.is_empty() == said.is_empty(), "{stop}: {ran:?}");
        assert_eq!(lab.name(), "unknown", "{stop}");
    }
    lab.run(["resume"]).status(0);
    assert_eq!(lab.take_journal(), "Cleanup");
    assert_eq!((lab.name().as_str(), lab.leftovers()), ("new", vec![]));
}

#[test]
fn a_stop_where_the_run_before_stopped_is_a_success_whatever_failed_there() {
    let lab = Lab::new();
    lab.on("ArtifactInstall", "exit 1");
    lab.on("SupportsRollback", "echo No");
    let artifact = Package::new("new").build(&lab);
    let ran = lab.run(["install", "--stop-before", "ArtifactFailure_Enter", artifact.to_str().unwrap()]);
    ran.failed("ArtifactInstall");
    drop(lab.take_journal());
    for (stop, status, journal) in
        [("ArtifactFailure_Enter", 0, ""), ("Cleanup", 0, "ArtifactFailure"), ("Cleanup", 0, "")]
    {
        let ran = lab.run(["resume", "--stop-before", stop]);
        ran.status(status);
        assert_eq!((lab.take_journal().as_str(), ran.stdout.as_str()), (journal, ""), "{ran:?}");
    }
    // In the end it is what it is.
    lab.run(["resume"]).status(1);
    assert_eq!(lab.name(), "new_INCONSISTENT");
}

#[test]
fn stops_on_the_way_back_and_again_and_goes_on() {
    let lab = waiting();
    for (verb, stop, journal, said) in [
        ("rollback", "ArtifactRollback_Enter", "SupportsRollback", ""),
        ("resume", "ArtifactRollback_Enter", "", ""),
        ("resume", "ArtifactFailure_Enter", "ArtifactRollback", "Rolled back.\n"),
        ("resume", "ArtifactFailure_Enter", "", ""),
        ("resume", "Cleanup", "ArtifactFailure", ""),
        ("resume", "Cleanup", "", ""),
    ] {
        let ran = lab.run([verb, "--stop-before", stop]);
        ran.status(0);
        assert_eq!(lab.take_journal(), journal, "{verb} {stop}");
        assert_eq!(ran.stdout, said, "{verb} {stop}: {ran:?}");
    }
    lab.run(["resume"]).status(0);
    assert_eq!(lab.take_journal(), "Cleanup");
    assert_eq!((lab.name().as_str(), lab.leftovers()), ("unknown", vec![]));
}

#[test]
fn of_several_points_the_first_on_the_way_counts() {
    let lab = waiting();
    lab.run(["commit", "--stop-before", "Cleanup", "--stop-before=ArtifactCommit_Leave"]).status(0);
    assert_eq!(lab.take_journal(), "ArtifactCommit");
    lab.run(["commit"]).failed("not possible");
    lab.run(["resume", "--stop-before", "ArtifactCommit_Enter"]).status(0);
    assert_eq!((lab.take_journal().as_str(), lab.name().as_str()), ("Cleanup", "new"));
}

#[test]
fn i15_one_client_at_a_time() {
    let lab = Lab::new();
    lab.on("ArtifactInstall", "touch \"$lab/inside\"; while [ -e \"$lab/inside\" ]; do sleep 0.02; done");
    let artifact = Package::new("new").build(&lab);
    let first = lab.start(["install".as_ref(), artifact.as_os_str()]);
    while !lab.path("inside").exists() {
        std::thread::yield_now();
    }
    let journal = lab.journal();
    lab.run(["install".as_ref(), artifact.as_os_str()]).failed("another client");
    for verb in ["commit", "rollback", "resume"] {
        lab.run([verb]).failed("`install`");
    }
    assert_eq!(lab.name(), "unknown", "what only shows something takes no lock");
    assert_eq!(lab.journal(), journal);
    fs::remove_file(lab.path("inside")).expect("the file");
    Ran::of(first).status(0);
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "new");
}

#[test]
fn show_verbs_on_a_device_that_was_never_updated() {
    let lab = Lab::new();
    assert_eq!(lab.run(["show-artifact"]).stdout, "unknown\n");
    assert_eq!(lab.run(["show-provides"]).stdout, "artifact_name=unknown\n");
    fs::remove_dir_all(lab.path("store")).expect("the datastore");
    let ran = lab.run(["show-artifact"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "unknown\n"));
    assert!(!lab.path("store").exists(), "showing creates no directory");
}

#[test]
fn r39_the_image_names_a_device_that_was_never_updated_and_the_name_is_not_stored() {
    let lab = Lab::new();
    lab.write("conf/artifact_info", "# the build\nartifact_name=factory-1\n");
    assert_eq!(lab.name(), "factory-1");
    assert_eq!(lab.run(["show-provides"]).stdout, "artifact_name=factory-1\n");
    assert!(!lab.path("store/mender-store-thimble").exists(), "nothing is stored");
    // Modules and artifacts that depend on a name see it too.
    lab.on("ArtifactInstall", &format!("cp current_artifact_name {}", lab.path("seen").display()));
    for (name, code) in [("factory-2", 1), ("factory-1", 0)] {
        let artifact =
            ArtifactWriter::new("new", MODULE, &[DEVICE_TYPE]).header_depends("artifact_name", &[name]);
        fs::write(lab.path("new.mender"), artifact.file("payload", b"payload").build())
            .expect("the artifact");
        lab.run(["install", "new.mender"]).status(code);
    }
    assert_eq!(fs::read_to_string(lab.path("seen")).expect("what the module saw"), "factory-1\n");
    lab.run(["rollback"]).status(0);
    // Another image was started: its name counts.
    lab.write("conf/artifact_info", "artifact_name=factory-2\n");
    assert_eq!(lab.name(), "factory-2");
    lab.install(&Package::new("new")).status(0);
    lab.run(["commit"]).status(0);
    assert_eq!(lab.name(), "new");
    lab.write("conf/artifact_info", "no name\n");
    assert_eq!(lab.run(["show-artifact"]).stderr, "", "the file is not looked at once a name is on record");
}

#[test]
fn r39_a_file_without_a_name_is_told_and_the_name_is_unknown() {
    let lab = Lab::new();
    lab.write("conf/artifact_info", "name=factory-1\n");
    let ran = lab.run(["show-artifact"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "unknown\n"));
    assert!(
        ran.stderr.contains("artifact_info must hold the name of the installed artifact"),
        "{}",
        ran.stderr
    );
}

#[test]
fn r42_every_verb_that_reads_the_configuration_refuses_the_orchestrators_tier() {
    let lab = Lab::new();
    lab.configure(r#"{"DeviceTier": "system", "ServerURL": "https://localhost"}"#);
    for verb in [
        &["install", "x.mender"][..],
        &["commit"],
        &["rollback"],
        &["resume"],
        &["show-artifact"],
        &["show-provides"],
        &["show-flight-record"],
        &["check-update"],
        &["send-inventory"],
        &["daemon"],
        &["bootstrap"],
        &["control", "show"],
    ] {
        let ran = lab.run(verb);
        let last = ran.stderr.lines().last().unwrap_or_default().to_owned();
        assert_eq!((ran.code, ran.stdout.as_str()), (1, ""), "{verb:?}");
        assert!(last.contains("DeviceTier \"system\" is not supported"), "{verb:?}: {last}");
    }
    // Refused as well, and what is known is on standard output.
    let ran = lab.run(["status"]);
    ran.failed("DeviceTier \"system\" is not supported");
    let to_mend = ran.stdout.lines().find(|line| line.starts_with("To mend:")).unwrap_or_default();
    assert!(to_mend.contains("DeviceTier \"system\" is not supported"), "{}", ran.stdout);
    let json = lab.run(["status", "--json"]);
    json.failed("DeviceTier \"system\" is not supported");
    assert!(json.stdout.contains("\"device_type\":\"lab\""), "{}", json.stdout);
    assert!(!lab.path("store/mender-store-thimble").exists());
}

#[test]
fn show_provides_prints_sorted_lines_and_only_them() {
    let lab = Lab::new();
    let package = Package::new("new").provides("b.x", "2").provides("B", "1").provides("a", "k=v");
    lab.install(&package).status(0);
    lab.run(["commit"]).status(0);
    let ran = lab.run(["show-provides"]);
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("B=1\na=k=v\nartifact_name=new\nb.x=2\n", ""));
}

#[test]
fn the_bootstrap_artifact_says_what_is_installed_and_goes() {
    for verb in ["show-artifact", "show-provides"] {
        let lab = Lab::new();
        let built = Package::empty("factory").provides("app.version", "1").build(&lab);
        fs::copy(built, lab.path("store/bootstrap.mender")).expect("the bootstrap artifact");
        let ran = lab.run([verb]);
        ran.status(0);
        assert!(ran.stdout.contains("factory"), "{ran:?}");
        assert!(!lab.path("store/bootstrap.mender").exists());
        assert_eq!(lab.run(["show-provides"]).stdout, "app.version=1\nartifact_name=factory\n");
    }
    let lab = Lab::new();
    let built = Package::empty("factory").provides("app.version", "1").build(&lab);
    fs::copy(&built, lab.path("store/bootstrap.mender")).expect("the bootstrap artifact");
    lab.install(&Package::new("new")).status(0);
    lab.run(["rollback"]).status(0);
    assert_eq!(lab.name(), "factory", "it came before the install");
    fs::copy(&built, lab.path("store/bootstrap.mender")).expect("the bootstrap artifact");
    for verb in ["commit", "rollback", "resume"] {
        lab.run([verb]).status(2);
        assert!(lab.path("store/bootstrap.mender").exists(), "not for {verb}");
    }
    assert_eq!(lab.name(), "factory");
    assert!(!lab.path("store/bootstrap.mender").exists(), "not needed, deleted all the same");
}

#[test]
fn c_5_a_bad_bootstrap_artifact_means_unknown_and_the_verb_goes_on() {
    let lab = Lab::new();
    let payload = fs::read(Package::new("evil").build(&lab)).expect("the artifact");
    let scripts =
        fs::read(Package::new("evil").script("ArtifactInstall_Enter_00").build(&lab)).expect("the artifact");
    for bytes in [b"garbage".to_vec(), Vec::new(), payload, scripts] {
        let lab = Lab::new();
        fs::write(lab.path("store/bootstrap.mender"), &bytes).expect("the bootstrap artifact");
        let ran = lab.run(["show-artifact"]);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "unknown\n"), "{ran:?}");
        assert!(ran.stderr.contains("level=error") && ran.stderr.contains("bootstrap"), "{ran:?}");
        assert!(!lab.path("store/bootstrap.mender").exists());
        assert_eq!((lab.journal().len(), lab.leftovers()), (0, vec![]));
    }
}

#[test]
fn c_6_a_wrong_configuration_stops_every_verb_and_is_named() {
    for (json, part) in [
        ("{", "mender.conf"),
        ("[]", "mender.conf"),
        (r#"{"SkipVerify": "no"}"#, "SkipVerify"),
        (r#"{"ArtifactVerifyKey": "/a", "artifactverifykeys": ["/b"]}"#, "ArtifactVerifyKey"),
        (r#"{"RetryDownloadCount": 0}"#, "RetryDownloadCount"),
    ] {
        let lab = Lab::new();
        lab.configure(json);
        let artifact = Package::new("new").build(&lab);
        for verb in ["install", "commit", "rollback", "resume", "show-artifact", "show-provides"] {
            let mut args = vec![verb];
            if verb == "install" {
                args.push(artifact.to_str().expect("text"));
            }
            lab.run(args).failed(part);
        }
        assert_eq!(lab.journal(), [""; 0]);
    }
}

#[test]
fn configuration_files_are_found_named_and_missed() {
    let lab = waiting();
    lab.write("store/mender.conf", "{\"bad\":");
    lab.run(["show-artifact"]).failed("store/mender.conf");
    fs::remove_file(lab.path("store/mender.conf")).expect("the file");
    lab.run(["--config", "none.conf", "show-artifact"]).failed("none.conf");
    lab.run(["--fallback-config", "none.conf", "show-artifact"]).failed("none.conf");
    lab.write("good.conf", r#"{"unknown key": 1}"#);
    lab.run(["-config", "good.conf", "show-artifact"]).status(0);
}

#[test]
fn r4_missing_verify_keys_stop_install_and_resume_only() {
    let lab = waiting();
    lab.configure(r#"{"ArtifactVerifyKey": "/nowhere/key.pem"}"#);
    lab.run(["show-artifact"]).status(0);
    lab.run(["show-provides"]).status(0);
    lab.run(["resume"]).failed("/nowhere/key.pem");
    lab.run(["rollback"]).status(0);
    let _ = lab.take_journal();
    lab.install(&Package::new("other")).failed("/nowhere/key.pem");
    assert_eq!((lab.journal().len(), lab.leftovers()), (0, vec![]));
}

#[test]
fn the_datastore_can_be_elsewhere_and_flags_win() {
    let lab = Lab::new();
    let artifact = Package::new("new").build(&lab);
    fs::create_dir(lab.path("other")).expect("a directory");
    fs::copy(lab.path("store/device_type"), lab.path("other/device_type")).expect("a file");
    let artifact = artifact.to_str().expect("text");
    lab.run(["--data", "other", "install", artifact]).status(0);
    lab.run(["commit"]).status(2);
    lab.run(["-d", "other", "commit"]).status(0);
    assert_eq!(lab.run(["show-artifact", "--datastore=other"]).stdout, "new\n");
    assert_eq!(lab.name(), "unknown");
    let child = lab.command(["show-artifact"]).env("MENDER_DATASTORE_DIR", lab.path("other")).spawn();
    assert_eq!(Ran::of(child.expect("it starts")).stdout, "new\n");
}

#[test]
fn d5_nobody_else_can_read_the_datastore() {
    let lab = Lab::new();
    fs::create_dir(lab.path("fresh")).expect("a directory");
    fs::copy(lab.path("store/device_type"), lab.path("fresh/device_type")).expect("a file");
    lab.configure(&format!(r#"{{"DeviceTypeFile": "{}"}}"#, lab.path("fresh/device_type").display()));
    let artifact = Package::new("new").build(&lab);
    lab.run(["-d", "made/store", "install", artifact.to_str().expect("text")]).status(0);
    let mode = |name: &str| fs::metadata(lab.path(name)).expect("it exists").permissions().mode() & 0o777;
    assert_eq!(mode("made/store"), 0o700);
    for file in fs::read_dir(lab.path("made/store")).expect("the datastore").flatten() {
        let mode = file.metadata().expect("it exists").permissions().mode() & 0o077;
        assert_eq!(mode, 0, "{}", file.path().display());
    }
}

#[test]
fn c_7_the_log_goes_to_standard_error_or_to_a_file_at_the_level_asked_for() {
    let lab = Lab::new();
    let artifact = Package::new("new").build(&lab);
    let artifact = artifact.to_str().expect("text");
    let ran = lab.run(["--log-level", "debug", "install", artifact]);
    assert!(
        ran.stderr.lines().any(|line| line.starts_with("time=\"2") && line.contains(" level=debug msg=\"")),
        "{ran:?}"
    );
    lab.run(["rollback"]).status(0);
    let ran = lab.run(["--log-level=fatal", "install", artifact]);
    assert!(!ran.stderr.contains("level="), "{ran:?}");
    lab.write("log", "old");
    let ran = lab.run(["--log-file", "log", "rollback"]);
    assert!(!ran.stderr.contains("level="), "{ran:?}");
    let log = fs::read_to_string(lab.path("log")).expect("the log");
    assert!(!log.contains("old"), "{log}");
    lab.run(["--log-file", "no/such/dir", "show-artifact"]).failed("no/such/dir");
}

#[test]
fn a_signal_ends_the_children_and_resume_goes_on() {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let lab = Lab::new();
        lab.on(
            "ArtifactInstall",
            "echo $$ > \"$lab/pid.new\"; mv \"$lab/pid.new\" \"$lab/pid\"; exec sleep 1000",
        );
        let artifact = Package::new("new").build(&lab);
        let child = install_and_signal(&lab, &artifact, "--default-signal", signal);
        Ran::of(child).failed("ended by a signal");
        let pid = fs::read_to_string(lab.path("pid")).expect("the module's pid");
        assert!(!std::path::Path::new("/proc").join(pid.trim()).exists(), "the module is gone");
        let _ = lab.take_journal();
        lab.run(["resume"]).failed("interrupted");
        assert_eq!(lab.take_journal(), "SupportsRollback ArtifactRollback ArtifactFailure Cleanup");
    }
}

#[test]
fn a_hangup_is_ignored_when_the_client_was_started_to_ignore_it() {
    let lab = Lab::new();
    lab.on("ArtifactInstall", "echo > \"$lab/pid\"; while [ ! -e \"$lab/go\" ]; do sleep 0.02; done");
    let artifact = Package::new("new").build(&lab);
    // As `nohup` does.
    let child = install_and_signal(&lab, &artifact, "--ignore-signal", "HUP");
    lab.write("go", "");
    Ran::of(child).status(0);
    lab.run(["commit"]).status(0);
}

/// Starts an install, and sends it a signal when the module has begun. `option` of `env` says what is done about that
/// signal when the client begins.
fn install_and_signal(
    lab: &Lab,
    artifact: &std::path::Path,
    option: &str,
    signal: &str,
) -> std::process::Child {
    // Without `timeout` in between: the signal is for the client.
    let child = std::process::Command::new("env")
        .arg(format!("{option}={signal}"))
        .arg(thimble_tests::lab::thimble())
        .args(["install".as_ref(), artifact.as_os_str()])
        .current_dir(lab.path(""))
        .env("MENDER_CONF_DIR", lab.path("conf"))
        .env("MENDER_DATA_DIR", lab.path("data"))
        .env("MENDER_DATASTORE_DIR", lab.path("store"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    while !lab.path("pid").exists() {
        std::thread::yield_now();
    }
    let kill =
        std::process::Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(kill.expect("kill runs").success());
    child
}

#[test]
fn check_update_and_send_inventory_signal_the_daemon_that_systemd_knows() {
    let lab = Lab::new();
    fs::create_dir(lab.path("bin")).expect("a directory");
    lab.program(
        "bin/systemctl",
        "#!/bin/sh\n[ \"$*\" = 'show --property=MainPID mender-updated' ] && cat pid\n",
    );
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").expect("PATH"));
    let run = |verb: &str| Ran::of(lab.command([verb]).env("PATH", &path).spawn().expect("it starts"));
    for verb in ["check-update", "send-inventory"] {
        for unknown in ["MainPID=0\n", "MainPID=\n", "", "MainPID=1\n", "MainPID=-5\n", "x\nMainPID=2\n"] {
            lab.write("pid", unknown);
            run(verb).failed("no daemon is running");
        }
        let daemon = "trap 'echo USR1 >> said' USR1; trap 'echo USR2 >> said' USR2; touch ready; \
                      while [ ! -s said ]; do sleep 0.02; done";
        let mut daemon = Fake(
            std::process::Command::new("sh")
                .args(["-c", daemon])
                .current_dir(lab.path(""))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("sh starts"),
        );
        while !lab.path("ready").exists() {
            std::thread::yield_now();
        }
        lab.write("pid", &format!("MainPID={}\n", daemon.0.id()));
        run(verb).status(0);
        assert!(daemon.0.wait().expect("it ends").success());
        let said = fs::read_to_string(lab.path("said")).expect("what it heard");
        assert_eq!(said, if verb == "check-update" { "USR1\n" } else { "USR2\n" });
        fs::remove_file(lab.path("said")).and(fs::remove_file(lab.path("ready"))).expect("its files");
    }
}

/// A process that does not outlive a failed test.
struct Fake(std::process::Child);

impl Drop for Fake {
    fn drop(&mut self) {
        // It has usually ended already.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}
