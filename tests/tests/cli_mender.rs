//! The same artifact, module and scripts, given to thimble and to Debian's `mender` 3.4: the journals must be the same
//! but for the differences that COMPATIBILITY.md lists. Needs root, as that client's directories cannot be moved.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use thimble_tests::lab::{Lab, Package, Ran, has, is_root};

/// The one module directory of that client: tests take turns.
static TURN: Mutex<()> = Mutex::new(());

const MODULES: &str = "/usr/share/mender/modules/v3";

/// Where that client looks for the name of a system that was never updated; without it, it installs nothing.
const ARTIFACT_INFO: &str = "/etc/mender/artifact_info";

/// Debian's client on the directories of a lab.
struct Mender {
    lab: Lab,
    module: PathBuf,
    /// [`ARTIFACT_INFO`] was not there before.
    info_is_ours: bool,
    _turn: MutexGuard<'static, ()>,
}

impl Mender {
    /// `None` where that client is not installed or we are not root.
    fn new() -> Option<Self> {
        if !(has("mender") && has("mender-artifact") && is_root() && fs::metadata(MODULES).is_ok()) {
            thimble_tests::lab::left_out("root, mender and mender-artifact");
            return None;
        }
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let lab = Lab::new();
        let module = PathBuf::from(MODULES).join(thimble_tests::lab::MODULE);
        let text = fs::read_to_string(lab.path("data/modules/v3").join(thimble_tests::lab::MODULE))
            .expect("the module");
        lab.program(module.to_str().expect("text"), &text);
        let info_is_ours = fs::metadata(ARTIFACT_INFO).is_err();
        if info_is_ours {
            fs::create_dir_all("/etc/mender").expect("the directory of that client's configuration");
            fs::write(ARTIFACT_INFO, "artifact_name=old\n").expect("artifact_info");
        }
        // Its scripts of artifacts are below its data directory; those of the root file system cannot be moved.
        let device_type = lab.path("store/device_type");
        lab.configure(&format!(
            r#"{{"ServerURL": "https://localhost", "DeviceTypeFile": "{}"}}"#,
            device_type.display()
        ));
        Some(Self { lab, module, info_is_ours, _turn: turn })
    }

    fn run(&self, args: &[&str]) -> Ran {
        let (config, store) = (self.lab.path("conf/mender.conf"), self.lab.path("store"));
        let mut all = vec!["--no-syslog", "--config", config.to_str().expect("text")];
        all.extend(["--data", store.to_str().expect("text")]);
        all.extend(args);
        Ran::of(self.lab.command_of("mender", all).spawn().expect("mender starts"))
    }
}

impl Drop for Mender {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.module));
        if self.info_is_ours {
            drop(fs::remove_file(ARTIFACT_INFO));
        }
    }
}

/// What both clients do: exit statuses and journals of `install`, then of `verb`, and the name in the end.
fn both(behaviour: &[(&str, &str)], verb: &str) -> Option<[(Vec<i32>, String, String); 2]> {
    let mender = Mender::new()?;
    let ours = Lab::new();
    let package = [
        "ArtifactInstall_Enter_00",
        "ArtifactInstall_Leave_00",
        "ArtifactInstall_Error_00",
        "ArtifactCommit_Enter_00",
        "ArtifactCommit_Leave_00",
        "ArtifactCommit_Error_00",
        "ArtifactRollback_Enter_00",
        "ArtifactRollback_Leave_00",
        "ArtifactFailure_Enter_00",
        "ArtifactFailure_Leave_00",
    ]
    .iter()
    .fold(Package::new("new"), |package, name| package.script(name));
    let results = [&mender.lab, &ours].map(|lab| {
        for (name, shell) in behaviour {
            lab.on(name, shell);
        }
        let artifact = package.build(lab);
        let artifact = artifact.to_str().expect("text");
        let run = |args: &[&str]| {
            if std::ptr::eq(lab, &mender.lab) { mender.run(args) } else { lab.run(args) }
        };
        let codes = vec![run(&["install", artifact]).code, run(&[verb]).code];
        let name = run(&["show-artifact"]).stdout.trim().to_owned();
        (codes, lab.take_journal(), name)
    });
    Some(results)
}

/// Without the module's queries: that client asks at other moments.
fn actions(journal: &str) -> Vec<&str> {
    let queries = ["ProvidePayloadFileSizes", "SupportsRollback", "NeedsArtifactReboot"];
    journal.split(' ').filter(|line| !queries.contains(line)).collect()
}

#[test]
fn what_both_clients_do_the_same() {
    for (behaviour, verb) in [
        (&[][..], "commit"),
        (&[("SupportsRollback", "echo No")], "commit"),
        (&[("ArtifactInstall", "exit 1")], "commit"),
        (&[("ArtifactInstall_Leave_00", "exit 1")], "commit"),
        (&[("ArtifactInstall_Enter_00", "exit 1"), ("SupportsRollback", "echo No")], "rollback"),
        (&[("ArtifactCommit_Enter_00", "exit 1")], "commit"),
        (&[("ArtifactCommit", "exit 1")], "commit"),
        // With a module that leaves without a look at the FIFO, that client now and then waits for ever (seen in 12 of 300).
        (&[("Download", "cat stream-next; exit 1")], "commit"),
    ] {
        let Some([theirs, ours]) = both(behaviour, verb) else { return };
        assert_eq!(actions(&theirs.1), actions(&ours.1), "{behaviour:?} {verb}");
        assert_eq!(theirs.0, ours.0, "{behaviour:?} {verb}: exit statuses");
        // Where nothing was installed, that client reads the name from a file of the root file system.
        if ours.2 != "unknown" {
            assert_eq!(theirs.2, ours.2, "{behaviour:?} {verb}: name");
        }
    }
}
