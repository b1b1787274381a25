//! `snapshot dump`: images of a file system that is in use, and what becomes of that file system.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use thimble_tests::lab::{Lab, has, is_root, thimble};

/// A file system on a loop device, mounted in a lab whose datastore is elsewhere.
struct Mounted {
    lab: Lab,
    device: String,
}

impl Mounted {
    /// `None` where that cannot be.
    fn new() -> Option<Self> {
        if !is_root() || !has("mkfs.ext4") || !has("losetup") {
            thimble_tests::lab::left_out("root, mkfs.ext4 and losetup");
            return None;
        }
        let lab = Lab::new();
        let image = lab.path("image");
        fs::File::create(&image).and_then(|file| file.set_len(8 << 20)).expect("an image");
        run("mkfs.ext4", &["-q", text(&image)]);
        let device = run("losetup", &["--find", "--show", text(&image)]);
        let mounted = Self { lab, device: device.trim().to_owned() };
        fs::create_dir(mounted.place()).expect("a directory");
        run("mount", &[&mounted.device, text(&mounted.place())]);
        let numbers: String = (0..20_000).map(|n| format!("{n}\n")).collect();
        fs::write(mounted.place().join("numbers"), numbers).expect("a file");
        Some(mounted)
    }

    fn place(&self) -> PathBuf {
        self.lab.path("mounted")
    }

    fn dump(&self, args: &[&str]) -> Command {
        let mut command = self.lab.command(["snapshot", "dump", "--quiet", "--source"]);
        command.arg(self.place()).args(args);
        command
    }

    /// Fails unless the file system can be written to.
    fn assert_thawed(&self) {
        // By another process, which can be killed when it waits.
        let done = Command::new("timeout")
            .args(["--signal=KILL", "50", "sh", "-c", "echo x > \"$0\"/later && sync \"$0\"/later"])
            .arg(self.place())
            .status()
            .expect("timeout runs");
        assert!(done.success(), "the file system is frozen");
    }

    fn refused(&self, mut command: Command, reason: &str) {
        let output = command.output().expect("the client runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(reason), "{told}");
        assert!(output.stdout.is_empty());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // A test that failed may have left it frozen; that of one that has not is an error.
        let quiet = |program: &str, args: &[&str]| {
            drop(Command::new(program).args(args).stderr(Stdio::null()).status());
        };
        quiet("fsfreeze", &["--unfreeze", text(&self.place())]);
        quiet("umount", &[text(&self.place())]);
        quiet("losetup", &["--detach", &self.device]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().expect("a program");
    assert!(output.status.success(), "{program} {args:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn done(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "--quiet");
    output.stdout
}

/// What stands in the file of an image.
fn file_of(image: &Path) -> Vec<u8> {
    run("e2fsck", &["-fn", text(image)]);
    let output = Command::new("debugfs").args(["-R", "cat /numbers"]).arg(image).output().expect("debugfs");
    output.stdout
}

#[test]
fn an_image_is_clean_and_has_what_was_written_last() {
    let Some(mounted) = Mounted::new() else { return };
    let image = mounted.lab.path("copy");
    let plain = done(mounted.dump(&[]).output().expect("the client runs"));
    assert_eq!(plain.len(), 8 << 20);
    fs::write(&image, &plain).expect("the image");
    let numbers = fs::read(mounted.place().join("numbers")).expect("the file");
    assert_eq!(file_of(&image), numbers);
    mounted.assert_thawed();
    for (compression, program) in [("gzip", "gzip"), ("zstd", "zstd")] {
        if !has(program) {
            println!("left out: {program}");
            continue;
        }
        let packed = done(mounted.dump(&["-C", compression]).output().expect("the client runs"));
        assert!(packed.len() < plain.len() / 4);
        let file = mounted.lab.path("copy.packed");
        fs::write(&file, packed).expect("the image");
        let plain =
            Command::new(program).args(["-dc"]).stdin(fs::File::open(&file).expect("the image")).output();
        let plain = plain.expect("the program");
        assert!(plain.status.success(), "{plain:?}");
        fs::write(&image, plain.stdout).expect("the image");
        assert_eq!(file_of(&image), numbers, "{compression}");
    }
    mounted.assert_thawed();
}

/// Starts a dump of which only the first bytes are read, so that the file system is frozen.
fn frozen(mounted: &Mounted) -> Child {
    // Without `timeout` in between, so that it is the client that a test kills.
    let mut child = Command::new(thimble())
        .args(["snapshot", "dump", "--quiet", "--source", text(&mounted.place())])
        .env("MENDER_DATASTORE_DIR", mounted.lab.path("store"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("the client starts");
    let mut first = [0; 4096];
    child.stdout.as_mut().expect("its output").read_exact(&mut first).expect("its first bytes");
    // Whoever freezes it now is told that somebody else has.
    let again =
        Command::new("fsfreeze").args(["--freeze", text(&mounted.place())]).output().expect("fsfreeze");
    assert!(!again.status.success(), "it is not frozen");
    child
}

#[test]
fn it_is_thawed_whatever_becomes_of_the_client() {
    let Some(mounted) = Mounted::new() else { return };
    if !has("fsfreeze") {
        println!("left out: fsfreeze");
        return;
    }
    // Those of a terminal may be ignored already, as by a test that runs in the background of a shell.
    for signal in ["-KILL", "-TERM"] {
        let mut child = frozen(&mounted);
        run("kill", &[signal, &child.id().to_string()]);
        child.wait().expect("it ends");
        mounted.assert_thawed();
    }
    let mut child = frozen(&mounted);
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    mounted.assert_thawed();
}

/// Takes half a minute: a client that is stopped may hold up whoever is to let it go on.
#[test]
#[ignore = "waits for the limit of 30 seconds"]
fn it_is_thawed_when_nobody_reads() {
    let Some(mounted) = Mounted::new() else { return };
    let mut child = frozen(&mounted);
    mounted.assert_thawed();
    let mut rest = Vec::new();
    child.stdout.take().expect("its output").read_to_end(&mut rest).expect("what is left");
    // By a signal of its keeper: it would wait for its reader without an end.
    assert_eq!(child.wait().expect("it ends").code(), None);
    assert!(rest.len() < 8 << 20);
}

#[test]
fn what_is_not_frozen_is_refused() {
    let Some(mounted) = Mounted::new() else { return };
    let place = mounted.place();
    let mut memory = mounted.lab.command(["snapshot", "dump", "--source", "/proc"]);
    memory.stdin(Stdio::null());
    mounted.refused(memory, "has no device of its own");
    mounted.refused(mounted.dump(&["-C", "xz"]), "there is no compression \"xz\" for snapshots");
    mounted.refused(mounted.lab.command(["snapshot"]), "'snapshot dump'");
    let mut without_zstd = Command::new(thimble());
    without_zstd.args(["snapshot", "dump", "-C", "zstd", "--source"]).arg(&place);
    without_zstd.env("MENDER_DATASTORE_DIR", mounted.lab.path("store")).env("PATH", mounted.lab.path("made"));
    mounted.refused(without_zstd, "there is no program zstd on this device");
    let mut inside = mounted.dump(&[]);
    inside.env("MENDER_DATASTORE_DIR", &place);
    mounted.refused(inside, "every device that installs the image would get this device's key");
    let mut into_itself = mounted.dump(&[]);
    let output = into_itself.stdout(fs::File::create(place.join("image")).expect("a file")).output();
    drop(into_itself);
    let told = String::from_utf8_lossy(&output.expect("the client runs").stderr).into_owned();
    assert!(told.contains("standard output is a file in the file system that is to be frozen"), "{told}");
    if has("fsfreeze") {
        run("fsfreeze", &["--freeze", text(&place)]);
        mounted.refused(mounted.dump(&[]), "somebody else has frozen it");
        // And it stays frozen: they rely on that.
        run("fsfreeze", &["--unfreeze", text(&place)]);
    }
    let mut elsewhere = Command::new("unshare");
    elsewhere.args(["--mount", "sh", "-c", "umount \"$1\" && exec \"$0\" snapshot dump --source \"$2\""]);
    elsewhere.arg(thimble()).arg(&place).arg(&mounted.device);
    elsewhere.env("MENDER_DATASTORE_DIR", mounted.lab.path("store"));
    mounted.refused(elsewhere, "is in use by something that cannot be frozen from here");
    run("umount", &[text(&place)]);
    let unmounted = mounted.lab.command(["snapshot", "dump", "-q", "--source", &mounted.device]).output();
    assert_eq!(done(unmounted.expect("the client runs")), fs::read(mounted.lab.path("image")).expect("it"));
    run("mount", &[&mounted.device, text(&place)]);
    mounted.assert_thawed();
}

/// `mender-artifact write rootfs-image -f ssh://...`, with a stand-in for `ssh` that runs here what is to run on the
/// device; and the program by the name that later ones of Mender's start.
#[test]
fn mender_artifact_makes_an_artifact_of_it() {
    let Some(mounted) = Mounted::new() else { return };
    if !has("mender-artifact") {
        thimble_tests::lab::left_out("mender-artifact");
        return;
    }
    let lab = &mounted.lab;
    fs::create_dir(lab.path("bin")).expect("a directory");
    lab.program("bin/ssh", "#!/bin/sh\nwhile [ \"$1\" != /bin/sh ]; do shift; done\neval \"$*\"\n");
    let exec = format!(
        "#!/bin/sh\nexec '{}' \"$@\" --source '{}'\n",
        thimble().display(),
        mounted.place().display()
    );
    lab.program("bin/mender", &exec);
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").expect("a path"));
    let artifact = lab.path("made/image.mender");
    let mut command =
        lab.command_of("mender-artifact", ["write", "rootfs-image", "-t", "lab", "-n", "copy-1", "-o"]);
    let output = command.arg(&artifact).args(["-f", "ssh://root@device"]).env("PATH", path).output();
    let output = output.expect("mender-artifact runs");
    assert!(output.status.success(), "{output:?}");
    run("mender-artifact", &["validate", text(&artifact)]);
    mounted.assert_thawed();

    let other_name = lab.path("bin/mender-snapshot");
    symlink(thimble(), &other_name).expect("a link");
    let output = lab.command_of(other_name, ["dump", "-q", "--source", &mounted.device]).output();
    assert_eq!(done(output.expect("the client runs")).len(), 8 << 20);
}
