//! `support/check-datastore`, which runs before each start of the daemon.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use thimble_tests::lab::{has, is_root};

use super::{run, support};

struct Device(TempDir);

impl Device {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().expect("a path").join(name)
    }

    fn check(&self) -> (bool, String) {
        run(Command::new(support().join("check-datastore"))
            .arg(self.path("var/mender"))
            .env("THIMBLE_NOTES", self.path("notes")))
    }

    fn note(&self) -> String {
        fs::read_to_string(self.path("notes/datastore")).unwrap_or_default()
    }
}

fn is_private(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_dir() && found.permissions().mode() & 0o7777 == 0o700)
}

#[test]
fn a_datastore_is_made_where_there_was_none_also_behind_a_link() {
    let device = Device::new();
    assert_eq!(device.check(), (true, String::new()));
    assert!(is_private(&device.path("var/mender")));
    assert!(device.note().starts_with('\n'), "{}", device.note());
    for link in ["data/mender", "../data/relative"] {
        let device = Device::new();
        fs::create_dir(device.path("var")).expect("it is made");
        let to = if link.starts_with('.') { link.into() } else { device.path(link) };
        symlink(&to, device.path("var/mender")).expect("a link");
        assert_eq!(device.check(), (true, String::new()));
        assert!(is_private(&device.path("data").join(Path::new(link).file_name().expect("a name"))));
        assert_eq!(device.note().lines().next(), to.to_str());
    }
}

#[test]
fn a_link_that_was_noted_and_is_gone_is_put_back() {
    let device = Device::new();
    fs::create_dir_all(device.path("data/mender")).expect("it is made");
    fs::write(device.path("data/mender/mender-agent.pem"), "key").expect("it is written");
    fs::create_dir(device.path("var")).expect("it is made");
    symlink(device.path("data/mender"), device.path("var/mender")).expect("a link");
    assert_eq!(device.check(), (true, String::new()));
    fs::remove_file(device.path("var/mender")).expect("it is gone");
    let (good, text) = device.check();
    assert!(good && text.contains("was gone; it is there again"), "{text}");
    assert_eq!(fs::read_to_string(device.path("var/mender/mender-agent.pem")).expect("the key"), "key");
}

#[test]
fn a_link_that_leads_to_itself_is_an_error_in_words() {
    let device = Device::new();
    fs::create_dir(device.path("var")).expect("it is made");
    symlink("mender", device.path("var/mender")).expect("a link");
    let (good, text) = device.check();
    assert!(!good && text.contains("is a link that leads to itself"), "{text}");
}

#[test]
fn a_file_system_that_was_there_at_the_last_start_and_is_not_now_ends_in_words() {
    let device = Device::new();
    fs::create_dir_all(device.path("data")).expect("it is made");
    fs::create_dir(device.path("var")).expect("it is made");
    symlink(device.path("data/mender"), device.path("var/mender")).expect("a link");
    fs::create_dir(device.path("notes")).expect("it is made");
    let data = device.path("data");
    let note = format!("{}\n{}\n", data.join("mender").display(), data.display());
    fs::write(device.path("notes/datastore"), &note).expect("it is written");
    let (good, text) = device.check();
    assert!(
        !good && text.contains("is on a file system that is not mounted: nothing is mounted at"),
        "{text}"
    );
    assert!(text.contains("it was there at the last start"), "{text}");
    assert!(!device.path("data/mender").exists(), "nothing is made below the mount point");
    assert_eq!(device.note(), note);
}

#[test]
fn a_file_system_of_fstab_that_is_not_mounted_ends_in_words_until_it_is() {
    if !(is_root() && has("unshare")) {
        thimble_tests::lab::left_out("root and unshare");
        return;
    }
    let device = Device::new();
    fs::create_dir_all(device.path("data/deep")).expect("it is made");
    fs::create_dir(device.path("var")).expect("it is made");
    symlink(device.path("data/deep/mender"), device.path("var/mender")).expect("a link");
    let table = format!("# {0}\nLABEL=data {0} ext4 nofail 0 2\n", device.path("data").display());
    fs::write(device.path("fstab"), table).expect("it is written");
    let script = "mount --bind \"$1/fstab\" /etc/fstab; \"$2\" \"$1/var/mender\"; echo \"ended $?\"\n\
                  ls -A \"$1/data/deep\"\n\
                  mount -t tmpfs none \"$1/data\"; \"$2\" \"$1/var/mender\"; echo \"ended $?\"; ls -A \"$1/data/deep\"";
    let (good, text) = run(Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(device.path(""))
        .arg(support().join("check-datastore"))
        .env("THIMBLE_NOTES", device.path("notes")));
    assert!(good, "{text}");
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    assert!(text.contains("/etc/fstab has it"), "{text}");
    assert_eq!([next(), next(), next()], ["ended 1", "ended 0", "mender"], "{text}");
    let data = device.path("data");
    assert_eq!(device.note(), format!("{}\n{}\n", data.join("deep/mender").display(), data.display()));
}
