//! A root file system with nothing but busybox, the kernel's files, and what a test puts there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use thimble_tests::lab::{has, is_root};

use super::run;

pub(crate) struct SmallRoot(TempDir);

impl SmallRoot {
    /// `None`, said aloud, where something is missing.
    pub(crate) fn new() -> Option<Self> {
        if !(is_root() && has("unshare") && has("busybox")) {
            thimble_tests::lab::left_out("root, unshare and busybox");
            return None;
        }
        let root = Self(tempfile::tempdir().expect("a directory"));
        for folder in ["bin", "dev", "etc/init.d", "proc", "tmp", "usr/bin", "var/run", "var/lib"] {
            fs::create_dir_all(root.path().join(folder)).expect("it is made");
        }
        for device in ["null", "urandom"] {
            fs::write(root.path().join("dev").join(device), "").expect("a place for it");
        }
        let (good, busybox) = run(Command::new("sh").args(["-c", "command -v busybox"]));
        assert!(good, "{busybox}");
        root.put_program(Path::new(busybox.trim()), "bin/busybox");
        for name in run(Command::new("busybox").arg("--list")).1.lines().filter(|name| *name != "busybox") {
            symlink("busybox", root.path().join("bin").join(name)).expect("a link");
        }
        Some(root)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Copies a program to `at`, and the libraries that it needs to where it looks for them.
    pub(crate) fn put_program(&self, program: &Path, at: &str) {
        fs::copy(program, self.path().join(at)).expect("it is copied");
        for library in run(Command::new("ldd").arg(program)).1.split_whitespace() {
            if library.starts_with('/') {
                let to = self.path().join(library.trim_start_matches('/'));
                fs::create_dir_all(to.parent().expect("a folder")).expect("it is made");
                fs::copy(library, to).expect("it is copied");
            }
        }
    }

    /// Runs a script in it, alone among the processes that it sees; it must end well.
    pub(crate) fn run(&self, script: &str) {
        fs::write(self.path().join("script"), format!("set -eu\n{script}\necho all good\n"))
            .expect("it is written");
        let enter = "cd \"$0\" && mount -t proc proc proc && mount --bind /dev/null dev/null \
                     && mount --bind /dev/urandom dev/urandom \
                     && exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ chroot . /bin/sh /script";
        let (good, text) = run(Command::new("timeout")
            .args(["--signal=KILL", "120", "unshare", "--mount", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", enter])
            .arg(self.path()));
        assert!(good && text.ends_with("all good\n"), "{text}");
    }
}
