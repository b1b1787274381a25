//! Where the commands of a page are run: a folder with what the page takes for granted, and the two programs in the search path.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;
use thimble_hal_sim::artifact_writer::ArtifactWriter;
use thimble_tests::lab::{has, left_out, thimble};

use super::pages::root;

/// Where the servers of the pages listen.
const PORT: &str = "8089";

/// What each script begins with.
const BEGIN: &str = r#"
set -euo pipefail
at() { line=$1; }
is() { [ "$1" = "$2" ] || { echo "ended with status $1, and should with $2"; return 1; }; }
prints() { grep -qF -e "$1" printed || { echo "not printed: $1"; command cat printed; return 1; }; }
trap 'echo "line $line and what follows: $BASH_COMMAND"' ERR
# The device of this desk is a folder.
cat() { command cat "${@/#\/var\/lib\/mender/device/var/lib/mender}"; }
"#;

/// A device that was updated once.
const DEVICE: &str = r#"
export MENDER_CONF_DIR=$PWD/device/etc/mender MENDER_DATA_DIR=$PWD/device/usr/share/mender
export MENDER_DATASTORE_DIR=$PWD/device/var/lib/mender
mkdir -p device/etc/mender device/var/lib/mender
chmod 700 device/var/lib/mender
echo device_type=another-board > device/var/lib/mender/device_type
{ thimble install release-1.mender && thimble commit; } > said 2>&1 || cat said
"#;

/// The update module of the pages.
const MODULE: &str = "#!/bin/sh
case \"$1\" in
  SupportsRollback) echo Yes ;;
  ArtifactInstall) mkdir -p /data/app; cp files/* /data/app/ ;;
  ArtifactRollback) rm -rf /data/app ;;
esac
";

/// State scripts that leave nothing behind.
const SCRIPTS: [(&str, &str); 4] = [
    ("ArtifactInstall_Enter_00_stop", "#!/bin/sh\necho stopping the application\n"),
    ("ArtifactInstall_Leave_00_start", "#!/bin/sh\necho starting the application\n"),
    ("ArtifactCommit_Enter_00_check", "#!/bin/sh\ntest -f /data/app/payload\n"),
    ("ArtifactRollback_Enter_00_stop", "#!/bin/sh\nexit 0\n"),
];

pub(crate) struct Desk {
    folder: TempDir,
    /// What is run first.
    begin: &'static str,
}

impl Desk {
    /// The desk of a page; `None` where something is missing for it.
    pub(crate) fn for_page(page: &str) -> Option<Self> {
        let mut desk = Self { folder: tempfile::tempdir().expect("a folder"), begin: "" };
        if page == "docs/first-update.md" {
            if !has("mender-artifact") {
                left_out("mender-artifact");
                return None;
            }
            desk.repository();
        } else {
            desk.update();
        }
        Some(desk)
    }

    /// The desk for the examples in help texts: what all of them take for granted together.
    pub(crate) fn for_examples() -> Self {
        let mut desk = Self { folder: tempfile::tempdir().expect("a folder"), begin: "" };
        desk.update();
        std::os::unix::fs::symlink(
            fs::canonicalize(root().join("tests")).expect("a path"),
            desk.path("tests"),
        )
        .expect("a link");
        desk.put("scenarios/new.txt", "run\n");
        desk.put("device.txt", "artifact_name=release-1\ndevice_type=another-board\n");
        desk.put("bin/reboot", "#!/bin/sh\nexit 0\n");
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().expect("a folder above it")).expect("it is made");
        path
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::write(&path, text).expect("it is written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is made executable");
    }

    /// A checkout in which the programs have been built.
    fn repository(&self) {
        for name in [
            "support",
            "docs",
            "README.md",
            "CHANGELOG.md",
            "COMPATIBILITY.md",
            "LICENSE-APACHE",
            "LICENSE-MIT",
        ] {
            let copied = Command::new("cp").arg("-R").arg(root().join(name)).arg(self.folder.path()).status();
            assert!(copied.expect("cp runs").success(), "{name}");
        }
        for program in ["thimble", "thimble-sim"] {
            let built = thimble().with_file_name(program);
            fs::copy(&built, self.path(&format!("target/release/{program}"))).expect("it is copied");
        }
        // They are built.
        self.put("bin/cargo", "#!/bin/sh\nexit 0\n");
    }

    /// What somebody has who makes an update.
    fn update(&mut self) {
        for program in ["thimble", "thimble-sim"] {
            let path = self.path(&format!("bin/{program}"));
            std::os::unix::fs::symlink(thimble().with_file_name(program), path).expect("a link");
        }
        for name in ["support", "docs"] {
            std::os::unix::fs::symlink(fs::canonicalize(root().join(name)).expect("a path"), self.path(name))
                .expect("a link");
        }
        self.put("app", MODULE);
        self.put("modules/app", MODULE);
        self.put("mender.conf", "{\"StateScriptTimeoutSeconds\": 600}\n");
        fs::set_permissions(self.path("mender.conf"), fs::Permissions::from_mode(0o600)).expect("a mode");
        for (name, text) in SCRIPTS {
            self.put(&format!("state-scripts/{name}"), text);
        }
        self.put("build/rootfs/etc/mender/scripts/Download_Enter_00_ask", "#!/bin/sh\nexit 0\n");
        self.put("build/rootfs/etc/mender/scripts/version", "3");
        self.put("build/rootfs/bin/sh", "");
        for (name, device_type) in [("release-1", "another-board"), ("release-2", "board")] {
            let artifact = ArtifactWriter::new(name, "app", &[device_type]).file("payload", b"new").build();
            fs::write(self.path(&format!("{name}.mender")), artifact).expect("it is written");
        }
        for (name, from) in [
            ("deployments.0000.6f1c2a.log", "bin/thimble-sim/tests/replay/thimble-failed.log"),
            ("scenarios/install-fails.txt", "tests/scenarios/daemon-11-install-fails-reboot.txt"),
        ] {
            fs::copy(root().join(from), self.path(name)).unwrap_or_else(|error| panic!("{from}: {error}"));
        }
        self.put("device/usr/share/mender/modules/v3/app", "#!/bin/sh\nexit 0\n");
        self.begin = DEVICE;
    }

    /// Runs a script in bash.
    pub(crate) fn run(&self, page: &str, script: &str) {
        // The port that pages name may be taken here: another one is free.
        let free =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let script = script.replace(PORT, &free.port().to_string());
        self.put("script", &format!("{BEGIN}{}{script}\necho all good\n", self.begin));
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("timeout")
            .args(["--signal=TERM", "--kill-after=5", "240", "bash", "script"])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.path("bin").display()))
            .env("LC_ALL", "C.UTF-8")
            .output()
            .expect("it runs");
        let [said, wrong] =
            [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(output.status.success() && said.ends_with("all good\n"), "{page}:\n{said}{wrong}");
    }
}
