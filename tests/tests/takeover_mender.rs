//! A device goes from Debian's `mender` 3.4 to thimble in the middle of an update, back, and again: with that client
//! itself, and where it is there with LMDB's own tools. Needs `mender` with its update module `single-file`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use thimble_tests::foreign::database;
use thimble_tests::lab::{Lab, Package, Ran, has, is_root};

const DATA: &str = "/usr/share/mender";

/// Without this file that client installs nothing.
const ARTIFACT_INFO: &str = "/etc/mender/artifact_info";

/// There is one [`ARTIFACT_INFO`]: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A device with both clients on one datastore.
struct Device {
    lab: Lab,
    /// [`ARTIFACT_INFO`] was not there before.
    info_is_ours: bool,
    _turn: MutexGuard<'static, ()>,
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.info_is_ours {
            drop(fs::remove_file(ARTIFACT_INFO));
        }
    }
}

impl Device {
    /// `None`, said aloud, where that client is not installed.
    fn new() -> Option<Self> {
        if !(is_root()
            && has("mender")
            && has("mender-artifact")
            && Path::new(DATA).join("modules/v3/single-file").exists())
        {
            println!("left out: needs root, mender, mender-artifact and the module single-file");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let info_is_ours = fs::metadata(ARTIFACT_INFO).is_err();
        if info_is_ours {
            fs::create_dir_all("/etc/mender").expect("the directory of that client's configuration");
            fs::write(ARTIFACT_INFO, "artifact_name=old\n").expect("artifact_info");
        }
        let lab = Lab::new();
        lab.configure(&format!(
            r#"{{"ServerURL": "https://localhost", "DeviceTypeFile": "{}"}}"#,
            lab.path("store/device_type").display()
        ));
        fs::create_dir(lab.path("app")).expect("a directory");
        lab.write("app/f", "of the factory");
        // That client finds its database; this one has not been here yet.
        database(&lab, &[("artifact-name", "release-1"), ("artifact-provides", r#"{"kept":"1"}"#)]);
        Some(Self { lab, info_is_ours, _turn: turn })
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
