//! `support/tarball`: a program and what installs it, for everything that has no package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use thimble_tests::lab::thimble;

use super::{run, small_root::SmallRoot, support};

fn tarball(name: &str) -> PathBuf {
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (good, text) = run(Command::new(support().join("tarball"))
        .arg("--program")
        .arg(thimble())
        .env("CARGO_TARGET_DIR", &into)
        .env("SOURCE_DATE_EPOCH", "1700000000"));
    assert!(good, "{text}");
    text.lines().last().expect("a path").into()
}

/// Made once.
fn first() -> &'static Path {
    static FIRST: OnceLock<PathBuf> = OnceLock::new();
    FIRST.get_or_init(|| tarball("tarball"))
}

#[test]
fn what_is_unpacked_installs_the_same_as_the_repository() {
    let (one, other) = (first(), tarball("tarball-again"));
    assert!(fs::read(one).expect("it") == fs::read(other).expect("it"), "the same program, other bytes");
    let lab = tempfile::tempdir().expect("a directory");
    assert!(run(Command::new("tar").arg("-xzf").arg(one).arg("-C").arg(lab.path())).0);
    let folder =
        lab.path().join(one.file_name().expect("a name").to_str().expect("text").trim_end_matches(".tar.gz"));
    let (ours, theirs) = (lab.path().join("ours"), lab.path().join("theirs"));
    let install = |program: &Path, destdir: &Path| {
        let (good, text) = run(Command::new(program.join("install"))
            .args(["--program"])
            .arg(if program.starts_with(lab.path()) { folder.join("thimble") } else { thimble().into() })
            .arg("--destdir")
            .arg(destdir));
        assert!(good, "{text}");
    };
    install(&support(), &ours);
    install(&folder.join("support"), &theirs);
    let (same, text) =
        run(Command::new("diff").args(["--recursive", "--no-dereference"]).args([&ours, &theirs]));
    assert!(same, "{text}");
    // Without an option it takes the program that is beside it.
    let (good, text) =
        run(Command::new(folder.join("support/install")).arg("--destdir").arg(lab.path().join("third")));
    assert!(good && lab.path().join("third/usr/bin/thimble").is_file(), "{text}");
}

/// As docs/install.md says.
#[test]
fn it_is_installed_and_taken_away_with_nothing_but_busybox() {
    let Some(device) = SmallRoot::new() else { return };
    fs::copy(first(), device.path().join("tmp/thimble.tar.gz")).expect("it is copied");
    // A static program needs none of them.
    device.put_program(thimble(), "tmp/thimble");
    // Its owner's, which stays.
    let module = device.path().join("usr/share/mender/modules/v3/single-file");
    fs::create_dir_all(module.parent().expect("a folder")).expect("it is made");
    fs::write(module, "#!/bin/sh\n").expect("it is written");
    fs::remove_file(device.path().join("bin/sync")).expect("busybox's");
    let sync = device.path().join("bin/sync");
    let text = "#!/bin/sh\nexec >> /tmp/flushed\nif cmp -s /tmp/thimble /usr/bin/thimble.new; then echo beside; fi\n\
                readlink /usr/bin/mender.new\nif cmp -s /tmp/thimble /usr/bin/thimble; then echo new; else cat /usr/bin/thimble 2> /dev/null; fi\nexit 0\n";
    fs::write(&sync, text).expect("it is written");
    fs::set_permissions(&sync, fs::Permissions::from_mode(0o755)).expect("it may run");
    device.run(
        r#"
        files() { find / -xdev "(" -type f -o -type l ")" ! -path "/tmp/*" ! -path "/proc/*" | sort; }
        files > /tmp/before
        cd /tmp
        tar -xzf thimble.tar.gz
        thimble-*/support/install --sysv /etc/init.d/S60thimble
        thimble --version
        mender-update --help > /dev/null
        thimble-*/support/install --sysv /etc/init.d/S60thimble
        # Nothing is replaced before all that is new is on the disk.
        rm /tmp/flushed
        echo old > /usr/bin/thimble
        thimble-*/support/install --sysv /etc/init.d/S60thimble
        said=$(tr '\n' ' ' < /tmp/flushed)
        [ "$said" = "beside thimble old new " ] || { echo "$said"; exit 1; }
        thimble-*/support/install --list --sysv /etc/init.d/S60thimble | sort > /tmp/listed
        files > /tmp/between
        sort /tmp/before /tmp/listed > /tmp/all
        diff /tmp/all /tmp/between
        thimble-*/support/install --list --sysv /etc/init.d/S60thimble | xargs rm -f
        files > /tmp/after
        diff /tmp/before /tmp/after
        "#,
    );
}
