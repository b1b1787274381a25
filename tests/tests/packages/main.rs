//! What puts the client on a device: the program that installs it, its manual page and completions, the check of the datastore
//! before it starts, init scripts, and packages.

mod datastore;
mod debian;
mod init;
mod install;
mod pages;
mod parts;
mod recipes;
mod small_root;
mod switching;
mod tarball;

use std::path::PathBuf;
use std::process::Command;

fn support() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../support").canonicalize().expect("the folder")
}

/// Runs it: whether it ended well, and what it said.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}
