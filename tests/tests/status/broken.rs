//! `status` on a device that is broken in some way: it answers, writes nothing, and names the first thing to mend.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use thimble_core::hal::{Change, Key, Storage};
use thimble_hal_linux::storage::{Access, DataDirectory, Store};
use thimble_hal_sim::listen::Security;
use thimble_tests::cuts::can_trace;
use thimble_tests::foreign;
use thimble_tests::lab::{Lab, Package, Ran, has, is_root, left_out, thimble};
use thimble_tests::managed::Managed;

use super::schema::conforms;

const STORE: &str = "store/mender-store-thimble";

/// A file, as far as anybody could have changed it: name, kind, inode, length, when, and where it leads to.
type Seen = (PathBuf, u32, u64, u64, i64, i64, Option<PathBuf>);

/// All files below this directory.
fn files(directory: &Path, seen: &mut Vec<Seen>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        let found = path.symlink_metadata().expect("a file");
        let target = fs::read_link(&path).ok();
        let kind = found.mode();
        seen.push((path.clone(), kind, found.ino(), found.size(), found.mtime(), found.mtime_nsec(), target));
        if found.is_dir() {
            files(&path, seen);
        }
    }
}

fn all(lab: &Lab) -> Vec<Seen> {
    let mut seen = Vec::new();
    files(&lab.path(""), &mut seen);
    seen
}

/// `status`, for people and for programs, which changes nothing and says this on both ways.
#[track_caller]
fn says(lab: &Lab, to_mend: &str) -> Ran {
    let before = all(lab);
    let json = lab.run(["status", "--json"]);
    let ran = lab.run(["status"]);
    assert_eq!(all(lab), before, "something was written");
    if !json.stdout.is_empty() {
        conforms(&json.stdout);
        let line = ran.stdout.lines().find(|line| line.starts_with("To mend:"));
        assert!(
            line.is_some_and(|line| line.contains(to_mend)),
            "\"{to_mend}\" is not to mend: {}",
            ran.stdout
        );
    }
    assert_eq!(json.failed(to_mend).reason(), ran.failed(to_mend).reason());
    ran
}

/// A device that was updated once.
fn updated() -> Lab {
    let lab = Lab::new();
    lab.configure(r#"{"ServerURL":"https://updates.example.com"}"#);
    lab.install(&Package::new("release-1")).status(0);
    lab.run(["commit"]).status(0);
    lab
}

fn put(lab: &Lab, key: Key, record: &[u8]) {
    let directory = DataDirectory::open(&lab.path("store")).expect("the datastore");
    let (mut store, _) = Store::open(directory, Access::ReadWrite).expect("the store");
    store.commit(&[Change::Put(key, record)]).expect("the record can be written");
}

fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    }) ^ !0
}

fn fifo(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().expect("mkfifo runs").success());
}

#[test]
fn the_datastore_is_missing_or_something_else() {
    let lab = updated();
    fs::remove_dir_all(lab.path("store")).expect("it was there");
    // Never used: the first thing is the device type, which setup writes.
    says(&lab, "'setup' writes it");
    assert!(!lab.path("store").exists());
    symlink("/nowhere/at/all", lab.path("store")).expect("a link");
    says(&lab, "is its file system mounted?");
    fs::remove_file(lab.path("store")).expect("it was there");
    lab.write("store", "a file");
    says(&lab, "cannot be used");
}

#[test]
fn records_are_damaged() {
    // Of a format that this version does not know.
    let mut newer = vec![2, 0, 99];
    newer.extend(crc32(&newer).to_le_bytes());
    for (key, record, to_mend) in [
        (Key::Checkpoint, &b"nonsense"[..], "the record of the update in progress is damaged"),
        (Key::Checkpoint, &newer[..], "a newer version of the client"),
        (Key::ControlMaps, b"nonsense", "saved update control maps are unreadable"),
        (Key::Provides, b"nonsense", "the stored provides are damaged"),
        (Key::Flight, b"nonsense", "no daemon is running"),
        (Key::Report, b"nonsense", "no daemon is running"),
    ] {
        let lab = updated();
        put(&lab, key, record);
        let ran = says(&lab, to_mend);
        assert!(ran.stdout.contains("\nDevice type:     lab\n"), "{}", ran.stdout);
    }
    // The whole file, in every kind of way.
    let lab = updated();
    let whole = fs::read(lab.path(STORE)).expect("the store");
    for bytes in [&b"nonsense"[..], &whole[8..], &[0xff; 4096][..]] {
        fs::write(lab.path(STORE), bytes).expect("it can be written");
        says(&lab, "the store is damaged");
        says(&lab, "sets it aside as mender-store-broken and begins an empty one");
    }
    // Records that are whole, and the beginning of one.
    fs::write(lab.path(STORE), &whole[..whole.len() - 5]).expect("it can be written");
    says(&lab, "the end of mender-store-thimble is cut off");
    says(&lab, "else install an artifact");
    fifo(&lab.path(STORE));
    says(&lab, "it is not a regular file");
}

#[test]
fn another_client_has_left_what_does_not_go_on() {
    let lab = Lab::new();
    foreign::database(&lab, &[("state", &foreign::state("update-install", "recorder"))]);
    let ran = says(&lab, "another Mender client has not finished");
    assert!(
        ran.stdout.contains("\nUnfinished:      another Mender client has not finished"),
        "{}",
        ran.stdout
    );
    // One that goes on with 'commit' is an answer, and nothing to be mended.
    let lab = Lab::new();
    lab.module("single-file");
    foreign::by_hand(&lab);
    let ran = lab.run(["status"]);
    assert_eq!(ran.status(0).stderr, "");
    assert!(ran.stdout.contains("with 'commit' or 'rollback'"), "{}", ran.stdout);
    fs::write(lab.path("store/mender-store"), "no database").expect("it can be written");
    says(&lab, "mender-store: it is not a database of a Mender client");
}

#[test]
fn other_files_are_missing_or_something_else() {
    let lab = updated();
    fifo(&lab.path("store/device_type"));
    says(&lab, "the device type: ");
    fs::remove_file(lab.path("store/device_type")).expect("it was there");
    says(&lab, "'setup' writes it");
    lab.write("store/device_type", "device_type=lab\n");
    lab.configure("{ nonsense");
    let ran = says(&lab, "conf/mender.conf: ");
    assert!(ran.stdout.contains("\nArtifact:        release-1\n"), "{}", ran.stdout);
    lab.configure(r#"{"ServerURL":"nonsense"}"#);
    says(&lab, "ServerURL cannot be used");
    // A log that is no file is no log.
    let managed = Managed::with(Security::Plain);
    managed.deploy(&Package::new("release-2"));
    assert_eq!(managed.finish(), "success");
    let log = managed.lab.path(format!("store/deployments.0000.{}.log", thimble_tests::managed::ID));
    fifo(&log);
    let ran = says(&managed.lab, "no daemon is running");
    assert!(ran.stdout.contains("\nLast update:     success\n"), "{}", ran.stdout);
}

#[test]
fn there_is_no_boot_loader_for_two_root_file_systems() {
    let lab = updated();
    lab.configure(&format!(
        r#"{{"RootfsPartA":"{0}/none-a","RootfsPartB":"{0}/none-b"}}"#,
        lab.path("").display()
    ));
    let ran = says(&lab, "none-a");
    assert!(ran.stdout.contains("\nBoot trouble:    "), "{}", ran.stdout);
}

#[test]
fn the_disk_is_full_or_read_only() {
    let lab = updated();
    let store = lab.path("store");
    let mount = |args: &[&str]| {
        let mut command = Command::new("mount");
        command.args(args).arg("lab").arg(&store).stderr(Stdio::null());
        is_root() && command.status().is_ok_and(|status| status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=64k,mode=700"]) {
        return left_out("root and mount");
    }
    struct Mounted<'p>(&'p Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.0).status();
        }
    }
    let _mounted = Mounted(&store);
    lab.write("store/device_type", "device_type=lab\n");
    says(&lab, "is full: ");
    // What 'doctor' wants as well.
    assert!(mount(&["-o", "remount,size=1m"]));
    says(&lab, "and records and logs want 1.0 MiB: make room there");
    assert!(mount(&["-o", "remount,size=2m"]));
    says(&lab, "no daemon is running");
    assert!(mount(&["-o", "remount,ro"]));
    says(&lab, "is read-only");
    assert!(mount(&["-o", "remount,rw"]));
}

#[test]
fn an_ordinary_user_is_told_to_be_root() {
    if !is_root() || !has("setpriv") {
        return left_out("root and setpriv");
    }
    let lab = updated();
    for path in ["", "conf", "data"] {
        fs::set_permissions(lab.path(path), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let run = |verb: &[&str]| {
        let mut args: Vec<&str> = user.to_vec();
        let program = thimble().to_str().expect("a path").to_owned();
        args.push(&program);
        args.extend(verb);
        Ran::of(lab.command_of("setpriv", &args).spawn().expect("setpriv runs"))
    };
    let before = all(&lab);
    let ran = run(&["status"]);
    if ran.reason().contains("setpriv") {
        return left_out("a client that other users can start");
    }
    ran.failed("Permission denied");
    ran.failed("run this as root");
    assert!(ran.stdout.contains("\nServer:          https://updates.example.com\n"), "{}", ran.stdout);
    assert!(ran.stdout.starts_with("Daemon:          cannot be asked\n"), "{}", ran.stdout);
    conforms(&run(&["status", "--json"]).stdout);
    // Not the file there that nobody has written.
    let control = run(&["control", "show"]);
    control.failed(&format!(
        "the datastore {} is not for this user: run this as root",
        lab.path("store").display()
    ));
    assert!(!control.stderr.contains("mender.conf"), "{}", control.stderr);
    assert_eq!(all(&lab), before);
}

/// What the C library says of the time.
const CLOCK: &str = "#include <time.h>
int clock_gettime(clockid_t clock, struct timespec *time) { time->tv_sec = 7; time->tv_nsec = 0; return 0; }
";

#[test]
fn the_clock_was_never_set() {
    let lab = updated();
    let program = fs::read(thimble()).expect("the client");
    if !program.windows(7).any(|name| name == b"libc.so") {
        return left_out("a client that is linked against the C library of this machine");
    }
    lab.write("clock.c", CLOCK);
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([lab.path("clock.so"), lab.path("clock.c")])
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return left_out("a C compiler");
    }
    let clock = format!("LD_PRELOAD={}", lab.path("clock.so").display());
    let status = |options: &[&str]| {
        let mut command = lab.command_of("env", [&clock]);
        Ran::of(command.arg(thimble()).arg("status").args(options).spawn().expect("env runs"))
    };
    let ran = status(&[]);
    ran.failed("the clock is not set");
    assert!(ran.stdout.contains("\nLast update:     success\n"), "{}", ran.stdout);
    conforms(&status(&["--json"]).stdout);
}

#[test]
fn somebody_else_answers_in_the_place_of_the_daemon() {
    let lab = updated();
    for nonsense in ["{}\n", "nonsense", "{\"running\":true,\"state\":\"Idle\"}\n", "}"] {
        let _ = fs::remove_file(lab.path("store/mender-update.sock"));
        let listener = UnixListener::bind(lab.path("store/mender-update.sock")).expect("a socket");
        let answer = thread::spawn(move || {
            for stream in listener.incoming().take(2) {
                let _ = stream.expect("somebody asks").write_all(nonsense.as_bytes());
            }
        });
        for options in [&["status"][..], &["status", "--json"]] {
            let ran = lab.run(options);
            ran.failed("the daemon does not answer");
            assert!(ran.stdout.contains("release-1"), "{nonsense}: {}", ran.stdout);
        }
        answer.join().expect("it has answered");
    }
}

#[test]
fn no_system_call_of_it_changes_a_file() {
    if !can_trace() {
        return;
    }
    let lab = updated();
    lab.install(&Package::new("release-2")).status(0);
    let trace = lab.path("trace");
    let calls = "trace=%file,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,syncfs,flock,fchmod,fchown";
    let mut command = lab.command_of("strace", ["-f", "-y", "-s", "0", "-e", calls, "-o"]);
    command.arg(&trace).arg(thimble()).arg("status");
    Ran::of(command.spawn().expect("strace runs")).status(0);
    let trace = fs::read_to_string(trace).expect("the trace");
    let store = lab.path("store").display().to_string();
    assert!(trace.contains(&store), "it reads there: {trace}");
    let harmless = [
        "open",
        "openat",
        "access",
        "faccessat2",
        "statx",
        "newfstatat",
        "stat",
        "lstat",
        "readlink",
        "readlinkat",
        "execve",
        "getcwd",
    ];
    for line in trace.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        let call = call.split_whitespace().last().unwrap_or_default();
        let reads = harmless.contains(&call)
            && !["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| rest.contains(flag));
        // What it says goes to the pipes of the test.
        let tells = call == "write" && rest.contains("<pipe:");
        assert!(reads || tells, "{line}");
    }
}
