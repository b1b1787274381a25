//! `support/tarball`: a program and what installs it, for everything that has no package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use thimble_tests::lab::thimble;

use super::{run, support};

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

#[test]
fn what_is_unpacked_installs_the_same_as_the_repository() {
    let (one, other) = (tarball("tarball"), tarball("tarball-again"));
    assert!(fs::read(&one).expect("it") == fs::read(other).expect("it"), "the same program, other bytes");
    let lab = tempfile::tempdir().expect("a directory");
    assert!(run(Command::new("tar").arg("-xzf").arg(&one).arg("-C").arg(lab.path())).0);
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
