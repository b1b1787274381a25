use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::process::Command;

use thimble_core::time::Duration as Time;

use super::super::tests::look;
use super::*;

struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn lock(&self) -> PathBuf {
        self.0.path().join("fw_printenv.lock")
    }

    fn mode(&self) -> u32 {
        fs::metadata(self.lock()).unwrap().permissions().mode() & 0o7777
    }
}

#[test]
fn r_46_what_is_no_file_of_ours_is_moved_away() {
    type Put = fn(&Path);
    let put: [(&str, Put); 6] = [
        ("a FIFO", |at| assert!(Command::new("mkfifo").arg(at).status().unwrap().success())),
        ("a link", |at| symlink(at.with_file_name("elsewhere"), at).unwrap()),
        ("a link to a file", |at| symlink(at.with_file_name("victim"), at).unwrap()),
        ("a second name", |at| fs::hard_link(at.with_file_name("victim"), at).unwrap()),
        ("a directory", |at| fs::create_dir(at).unwrap()),
        ("a directory with content", |at| {
            fs::create_dir(at).unwrap();
            fs::write(at.join("file"), "x").unwrap();
        }),
    ];
    for (what, put) in put {
        for clear in [false, true] {
            let lab = Lab::new();
            fs::write(lab.0.path().join("victim"), "content").unwrap();
            put(&lab.lock());
            let mut look = look();
            if clear {
                HostLock::clear(&lab.lock(), &mut look).unwrap();
            }
            let held = HostLock::take(&lab.lock(), &mut look).unwrap();
            assert!(
                look.notes.len() == 1 && look.notes[0].contains("moved away"),
                "{what}: {:?}",
                look.notes
            );
            assert!(fs::symlink_metadata(lab.lock()).unwrap().is_file(), "{what}");
            assert_eq!(lab.mode(), 0o600, "{what}");
            assert!(!lab.0.path().join("elsewhere").exists(), "{what}: nothing is made behind a link");
            assert_eq!(fs::read_to_string(lab.0.path().join("victim")).unwrap(), "content", "{what}");
            // It is a lock.
            let mut short = Look::new(Time::from_millis(60));
            assert!(matches!(HostLock::take(&lab.lock(), &mut short), Err(BootError::Locked(_))), "{what}");
            drop(held);
            HostLock::take(&lab.lock(), &mut short).unwrap();
        }
    }
}

#[test]
fn r_46_a_lock_that_another_user_holds_holds_nobody_up() {
    let lab = Lab::new();
    fs::write(lab.lock(), "").unwrap();
    if chown(lab.lock(), Some(65_534), Some(65_534)).is_err() {
        return eprintln!("left out: needs root");
    }
    let theirs = fs::File::open(lab.lock()).unwrap();
    flock(&theirs, FlockOperation::NonBlockingLockExclusive).unwrap();
    let mut look = Look::new(Time::ZERO);
    let _held = HostLock::take(&lab.lock(), &mut look).unwrap();
    assert_eq!((look.notes.len(), fs::metadata(lab.lock()).unwrap().uid()), (1, geteuid().as_raw()));
}

#[test]
fn a_lock_of_ours_is_kept_and_a_missing_directory_needs_none() {
    let lab = Lab::new();
    fs::write(lab.lock(), "").unwrap();
    let before = fs::metadata(lab.lock()).unwrap().ino();
    let mut look = look();
    HostLock::clear(&lab.lock(), &mut look).unwrap();
    drop(HostLock::take(&lab.lock(), &mut look).unwrap());
    assert_eq!((fs::metadata(lab.lock()).unwrap().ino(), look.notes.len()), (before, 0));
    assert!(HostLock::take(&lab.0.path().join("none/lock"), &mut look).is_ok());
    HostLock::clear(&lab.0.path().join("none/lock"), &mut look).unwrap();
    HostLock::clear(&lab.0.path().join("missing"), &mut look).unwrap();
    assert!(!lab.0.path().join("missing").exists(), "the tools make it");
}

#[test]
fn r_46_only_its_owner_may_open_the_lock_once_the_daemon_has_started() {
    let lab = Lab::new();
    let machine = Machine::in_directory(lab.0.path().to_owned());
    fs::create_dir_all(lab.0.path().join("var/lock")).unwrap();
    let at = |name: &str| lab.0.path().join("var/lock").join(name);
    fs::write(at("fw_printenv.lock"), "").unwrap();
    fs::set_permissions(at("fw_printenv.lock"), fs::Permissions::from_mode(0o666)).unwrap();
    fs::write(lab.0.path().join("victim"), "").unwrap();
    fs::set_permissions(lab.0.path().join("victim"), fs::Permissions::from_mode(0o644)).unwrap();
    symlink(lab.0.path().join("victim"), at("grub-mender-grubenv-set.lock")).unwrap();
    close_locks(&machine);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(at("fw_printenv.lock")), mode(lab.0.path().join("victim"))], [0o600, 0o644]);
}
