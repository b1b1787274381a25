//! A device goes from Debian's `mender` 3.4 to thimble in the middle of an update, back, and again: with that client
//! itself, and where it is there with LMDB's own tools. Needs `mender` with its update module `single-file`.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thimble_tests::foreign::{Fixed, database};
use thimble_tests::lab::{Lab, Package, Ran, has, is_root};
use thimble_tests::managed::Managed;

const DATA: &str = "/usr/share/mender";

/// That client's files have fixed places: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A device with both clients on one datastore.
struct Device {
    lab: Lab,
    _fixed: Fixed,
    _turn: MutexGuard<'static, ()>,
}

impl Device {
    /// `None`, said aloud, where that client is not installed.
    fn new() -> Option<Self> {
        if !(is_root()
            && has("mender")
            && has("mender-artifact")
            && Path::new(DATA).join("modules/v3/single-file").exists())
        {
            thimble_tests::lab::left_out("root, mender, mender-artifact and the module single-file");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::new();
        let fixed = Fixed::new(&lab);
        lab.configure(&format!(
            r#"{{"ServerURL": "https://localhost", "DeviceTypeFile": "{}"}}"#,
            lab.path("store/device_type").display()
        ));
        fs::create_dir(lab.path("app")).expect("a directory");
        lab.write("app/f", "of the factory");
        // That client finds its database; this one has not been here yet.
        database(&lab, &[("artifact-name", "release-1"), ("artifact-provides", r#"{"kept":"1"}"#)]);
        Some(Self { lab, _fixed: fixed, _turn: turn })
    }

    fn mender(&self, args: &[&str]) -> Ran {
        let (config, store) = (self.lab.path("conf/mender.conf"), self.lab.path("store"));
        let mut all = vec!["--no-syslog", "--config", config.to_str().expect("text")];
        all.extend(["--data", store.to_str().expect("text")]);
        all.extend(args);
        Ran::of(self.lab.command_of("mender", all).spawn().expect("mender starts"))
    }

    fn thimble(&self, args: &[&str]) -> Ran {
        let mut command = self.lab.command(args);
        command.env("MENDER_DATA_DIR", DATA);
        Ran::of(command.spawn().expect("the client starts"))
    }

    /// An artifact that puts a file with this text into its place.
    fn artifact(&self, name: &str, text: &str) -> String {
        let dir = self.lab.path("app").display().to_string();
        let package = Package::new(name).payload_type("single-file").provides("my.key", name);
        let files = [("dest_dir", dir.as_str()), ("filename", "f"), ("permissions", "0644"), ("f", text)];
        let files = files.map(|(name, text)| (name, text.as_bytes()));
        package.files(&files).build(&self.lab).display().to_string()
    }

    fn file(&self) -> String {
        fs::read_to_string(self.lab.path("app/f")).expect("the file")
    }

    fn database(&self) -> Vec<u8> {
        fs::read(self.lab.path("store/mender-store")).expect("the database")
    }
}

#[test]
fn r40_what_that_client_installed_is_committed_and_it_goes_on_after_the_way_back() {
    let Some(device) = Device::new() else { return };
    device.mender(&["install", &device.artifact("release-2", "second")]).status(0);
    let left = device.database();
    device.thimble(&["commit"]).status(0);
    assert_eq!(device.file(), "second");
    assert_eq!(device.database(), left, "the database is only read");
    assert_eq!(device.thimble(&["show-artifact"]).stdout, "release-2\n");

    device.thimble(&["export-mender"]).status(0);
    checked(&device);
    assert_eq!(device.mender(&["show-artifact"]).stdout, "release-2\n");
    let provides = device.thimble(&["show-provides"]).stdout;
    assert!(provides.contains("my.key=release-2\n"), "{provides}");
    assert_eq!(device.mender(&["show-provides"]).stdout, provides);
    // It has nothing of the old update.
    assert_ne!(device.mender(&["commit"]).code, 0);

    device.mender(&["install", &device.artifact("release-3", "third")]).status(0);
    device.mender(&["commit"]).status(0);
    let ran = device.thimble(&["show-artifact"]);
    assert_eq!((ran.stdout.as_str(), device.file().as_str()), ("release-3\n", "third"));
    assert_eq!(device.thimble(&["show-provides"]).stdout, device.mender(&["show-provides"]).stdout);
    // And again.
    device.mender(&["install", &device.artifact("release-4", "fourth")]).status(0);
    device.thimble(&["commit"]).status(0);
    assert_eq!(
        (device.thimble(&["show-artifact"]).stdout.as_str(), device.file().as_str()),
        ("release-4\n", "fourth")
    );
    device.thimble(&["install", &device.artifact("release-5", "fifth")]).status(0);
    device.thimble(&["commit"]).status(0);
    device.thimble(&["export-mender"]).status(0);
    checked(&device);
    assert_eq!(device.mender(&["show-artifact"]).stdout, "release-5\n");
}

#[test]
fn r40_what_that_client_installed_is_rolled_back() {
    let Some(device) = Device::new() else { return };
    device.mender(&["install", &device.artifact("release-2", "second")]).status(0);
    assert_eq!(device.file(), "second");
    let left = device.database();
    device.thimble(&["rollback"]).status(0);
    assert_eq!(device.file(), "of the factory");
    assert_eq!(device.thimble(&["show-provides"]).stdout, "artifact_name=release-1\nkept=1\n");
    assert_eq!(device.database(), left);
    device.thimble(&["export-mender"]).status(0);
    checked(&device);
    assert_eq!(device.mender(&["show-provides"]).stdout, "artifact_name=release-1\nkept=1\n");
    assert_ne!(device.mender(&["commit"]).code, 0, "nothing is left to commit");
    assert_eq!(device.file(), "of the factory");
}

#[test]
fn that_client_takes_provides_of_every_length() {
    let Some(device) = Device::new() else { return };
    for length in [1, 1900, 1990, 2000, 2010, 2050, 4000, 30_000] {
        let long = "v".repeat(length);
        let provides = format!(r#"{{"long":"{long}"}}"#);
        database(&device.lab, &[("artifact-name", "release-1"), ("artifact-provides", &provides)]);
        let expected = format!("artifact_name=release-1\nlong={long}\n");
        assert!(device.mender(&["show-provides"]).stdout == expected, "{length}");
        checked(&device);
        // It writes into it, too.
        device.mender(&["install", &device.artifact("release-2", "second")]).status(0);
        device.mender(&["commit"]).status(0);
        assert_eq!(device.mender(&["show-artifact"]).stdout, "release-2\n", "{length}");
        checked(&device);
    }
}

/// The daemon of that client carries out a deployment until a call of its module, a script or the reboot ends it with SIGKILL,
/// as a loss of power would; thimble has its datastore then. `None`: see [`Device::new`].
fn left_by_daemon(behaviour: &[(&str, &str)]) -> Option<(Managed, Fixed, MutexGuard<'static, ()>)> {
    if !(has("mender") && is_root()) {
        thimble_tests::lab::left_out("root and mender");
        return None;
    }
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let managed = Managed::new();
    managed.configure(&format!(
        r#","InventoryPollIntervalSeconds":3600,"DeviceTypeFile":"{}""#,
        managed.lab.path("store/device_type").display()
    ));
    // That client asks by the first version in a way that our server refuses.
    managed.server.with(|server| server.v2 = true);
    let fixed = Fixed::new(&managed.lab);
    managed.lab.on("NeedsArtifactReboot", "echo Automatic");
    for (name, shell) in behaviour {
        managed.lab.on(name, shell);
    }
    database(&managed.lab, &[("artifact-name", "release-1")]);
    let scripts = ["ArtifactReboot_Leave_00", "ArtifactCommit_Enter_00", "ArtifactRollback_Enter_00"];
    managed.deploy(&scripts.iter().fold(Package::new("release-2"), |package, name| package.script(name)));
    let path = format!("{}:{}", managed.lab.path("bin").display(), std::env::var("PATH").unwrap_or_default());
    let (config, store) = (managed.lab.path("conf/mender.conf"), managed.lab.path("store"));
    let args = [Path::new("--no-syslog"), Path::new("--config"), &config, Path::new("--data"), &store];
    let mut command = managed.lab.command_of("mender", args);
    let log = fs::File::create(managed.lab.path("mender.log")).expect("a log");
    command.arg("daemon").env("PATH", path).stderr(log);
    let ended = command.status().expect("it runs");
    let log = fs::read_to_string(managed.lab.path("mender.log")).expect("its log");
    assert_eq!(ended.signal(), Some(9), "it was killed, and nothing else happened to it\n{log}");
    for (name, _) in behaviour {
        fs::remove_file(managed.lab.path("behave").join(name)).expect("it was there");
    }
    Some((managed, fixed, turn))
}

#[test]
fn r40_a_deployment_of_its_daemon_goes_on_behind_the_reboot_and_is_reported() {
    let Some((managed, _fixed, _turn)) = left_by_daemon(&[]) else { return };
    let before = managed.lab.take_journal();
    assert!(before.ends_with("ArtifactInstall NeedsArtifactReboot reboot"), "{before}");
    let left = fs::read(managed.lab.path("store/mender-store")).expect("the database");
    assert_eq!(managed.finish(), "success", "{}", managed.story());
    assert_eq!(managed.statuses().last().map(String::as_str), Some("success"));
    assert_eq!(
        managed.lab.take_journal(),
        "ArtifactVerifyReboot [ArtifactReboot_Leave_00] [ArtifactCommit_Enter_00] ArtifactCommit Cleanup"
    );
    assert_eq!(managed.lab.name(), "release-2");
    assert_eq!(fs::read(managed.lab.path("store/mender-store")).expect("the database"), left);
}

#[test]
fn r40_a_deployment_of_its_daemon_that_is_no_good_is_rolled_back_and_reported() {
    let Some((managed, _fixed, _turn)) = left_by_daemon(&[]) else { return };
    managed.lab.on("ArtifactVerifyReboot", "exit 1");
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    let journal = managed.lab.take_journal();
    assert!(journal.contains("[ArtifactRollback_Enter_00] ArtifactRollback"), "{journal}");
    assert_eq!(managed.lab.name(), "release-1");
}

#[test]
fn r40_a_deployment_of_its_daemon_that_died_in_its_commit_is_rolled_back_and_reported() {
    let commit = [("NeedsArtifactReboot", "echo No"), ("ArtifactCommit", "kill -KILL $PPID")];
    let Some((managed, _fixed, _turn)) = left_by_daemon(&commit) else { return };
    assert_eq!(managed.finish(), "failure", "{}", managed.story());
    assert!(managed.lab.take_journal().contains("[ArtifactRollback_Enter_00] ArtifactRollback"));
    assert_eq!(managed.lab.name(), "release-1");
}

#[test]
fn r40_a_deployment_of_its_daemon_that_died_in_its_cleanup_is_reported_with_its_outcome() {
    for (install, end, name) in [("exit 0", "success", "release-2"), ("exit 1", "failure", "release-1")] {
        let calls = [
            ("NeedsArtifactReboot", "echo No"),
            ("ArtifactInstall", install),
            ("Cleanup", "kill -KILL $PPID"),
        ];
        let Some((managed, _fixed, _turn)) = left_by_daemon(&calls) else { return };
        let before = managed.lab.take_journal();
        assert!(before.ends_with(" Cleanup"), "{before}");
        assert_eq!(managed.finish(), end, "{}", managed.story());
        assert_eq!((managed.lab.take_journal().as_str(), managed.lab.name().as_str()), ("Cleanup", name));
    }
}

#[test]
fn r40_a_deployment_of_its_daemon_that_died_before_waits_for_a_person() {
    for (call, at, said) in [
        ("ArtifactInstall", "update-install", "Rolled back.\n"),
        ("Download", "update-store", "System not modified.\n"),
    ] {
        let Some((managed, _fixed, _turn)) = left_by_daemon(&[(call, "kill -KILL $PPID")]) else { return };
        managed.lab.run(["commit"]).failed(&format!("at \"{at}\", and it is not continued here"));
        let ran = managed.lab.run(["rollback"]);
        ran.status(0);
        assert_eq!((ran.stdout.as_str(), managed.lab.name().as_str()), (said, "release-1"));
    }
}

/// LMDB's own tools go through all of it.
fn checked(device: &Device) {
    let store = device.lab.path("store/mender-store");
    for (tool, args) in [("mdb_stat", &["-n", "-e", "-f"][..]), ("mdb_dump", &["-n", "-p"])] {
        if !has(tool) {
            println!("without {tool}");
            continue;
        }
        let output = Command::new(tool).args(args).arg(&store).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{tool}: {said}");
    }
}
