//! Where the programs and files of Debian's packages are: what the script `fetch` unpacked, or the host's own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use thimble_tests::lab::{has, is_root};

/// Programs that not every host has.
const PROGRAMS: [&str; 5] = ["qemu-system-x86_64", "grub-mkimage", "mkfs.ext4", "mkfs.vfat", "mcopy"];

/// GRUB's modules and boot sectors for a BIOS.
const GRUB: &str = "usr/lib/grub/i386-pc";

/// The packages.
pub(crate) struct Packages {
    root: PathBuf,
}

impl Packages {
    /// `None`, said aloud, where something is missing.
    pub(crate) fn find() -> Option<Self> {
        let left_out = |why: &str| {
            eprintln!("left out: {why}");
            None
        };
        if !is_root() {
            return left_out("needs root, which the files of a root file system belong to");
        }
        let test = std::env::current_exe().expect("the path of this test");
        let Some(unpacked) =
            test.ancestors().map(|dir| dir.join("vm")).find(|dir| dir.join("packages").is_file())
        else {
            return left_out("no packages for a virtual machine; run tests/tests/vm/fetch target/vm");
        };
        let packages = Self { root: unpacked.join("root") };
        for program in PROGRAMS {
            if packages.path(program).is_none() {
                return left_out(&format!("{program} is not installed"));
            }
        }
        Some(packages)
    }

    /// The kernel and the directory of its modules.
    pub(crate) fn kernel(&self) -> (PathBuf, PathBuf) {
        let release = fs::read_dir(self.root.join("lib/modules"))
            .ok()
            .and_then(|mut releases| releases.next()?.ok())
            .expect("a kernel in the packages");
        let name = release.file_name().into_string().expect("a release");
        (self.root.join(format!("boot/vmlinuz-{name}")), release.path().join("kernel"))
    }

    /// A shell and its tools in one file that needs no library.
    pub(crate) fn busybox(&self) -> PathBuf {
        self.root.join("bin/busybox")
    }

    /// GRUB for a BIOS.
    pub(crate) fn grub(&self) -> PathBuf {
        self.root.join(GRUB)
    }

    /// A program, ready to be run.
    pub(crate) fn command(&self, program: &str) -> Command {
        let (path, is_host) = self.path(program).expect("every program was looked for");
        let mut command = Command::new(path);
        if !is_host {
            command.env("LD_LIBRARY_PATH", self.libraries());
        }
        command
    }

    /// U-Boot, in place of a BIOS. The package's 64-bit one cannot start this kernel.
    pub(crate) fn uboot(&self) -> PathBuf {
        self.root.join("usr/lib/u-boot/qemu-x86/u-boot.rom")
    }

    /// QEMU, with its firmware. Where the host can do that, it dies with the thread that starts it.
    pub(crate) fn qemu(&self) -> Command {
        let (path, is_host) = self.path("qemu-system-x86_64").expect("every program was looked for");
        let mut command = if has("setpriv") {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        if !is_host {
            command.env("LD_LIBRARY_PATH", self.libraries());
            for dir in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(self.root.join(dir));
            }
        }
        command
    }

    /// Where a program is, and whether it is the host's own.
    fn path(&self, program: &str) -> Option<(PathBuf, bool)> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let host = std::env::split_paths(&path)
            .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
            .map(|dir| (dir.join(program), true));
        let unpacked =
            ["usr/bin", "usr/sbin", "bin", "sbin"].map(|dir| (self.root.join(dir).join(program), false));
        host.chain(unpacked).find(|(path, _)| path.is_file())
    }

    fn libraries(&self) -> OsString {
        let dirs = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|dir| self.root.join(dir));
        std::env::join_paths(dirs).expect("paths without a colon")
    }
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
}

/// The output of a program that must succeed.
pub(crate) fn output_of(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Copies a file with its mode.
pub(crate) fn copy(from: &Path, to: impl AsRef<OsStr>) {
    let to = Path::new(to.as_ref());
    fs::copy(from, to).unwrap_or_else(|error| panic!("{} to {}: {error}", from.display(), to.display()));
}
