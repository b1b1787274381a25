//! What tests with real processes need: scripts, a log to look at, and a loop that cannot hang.

use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::task::Poll;

use thimble_core::hal::{Clock, Level, Log};
use thimble_core::time::{Duration, Instant, earliest};

use crate::SharedLog;
use crate::clock::BootClock;
use crate::wait::PollSet;

/// A test that takes longer than this counts as hanging.
const HARD_LIMIT: Duration = Duration::from_secs(30);

/// Log lines as `level: message`.
#[derive(Default)]
pub(crate) struct TestLog(pub(crate) Vec<String>);

impl Log for TestLog {
    fn log(&mut self, level: Level, message: fmt::Arguments<'_>) {
        self.0.push(format!("{}: {message}", level.name()));
    }
}

pub(crate) fn log() -> (Rc<RefCell<TestLog>>, SharedLog) {
    let log = Rc::new(RefCell::new(TestLog::default()));
    (log.clone(), log)
}

pub(crate) fn now() -> Instant {
    BootClock.now()
}

/// A component in the main loop: its descriptors and its deadline.
pub(crate) trait Waits {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>);
    fn deadline(&self) -> Option<Instant>;
}

/// A main loop for one component: polls it until it is ready. Fails the test when it hangs, or when the loop spins.
pub(crate) fn run<C: Waits, T>(component: &mut C, mut poll: impl FnMut(&mut C, Instant) -> Poll<T>) -> T {
    let limit = now() + HARD_LIMIT;
    for _ in 0..200_000 {
        let at = now();
        if let Poll::Ready(value) = poll(component, at) {
            return value;
        }
        assert!(at < limit, "still pending after {} s", HARD_LIMIT.as_secs());
        let mut set = PollSet::new();
        component.wants(&mut set);
        set.wait(at, earliest(component.deadline(), Some(limit))).unwrap();
    }
    panic!("the loop spins");
}

/// Writes an executable file with `mode`. Another process writes it: were the descriptor ours, a child started
/// by another test at this moment would hold it, and the file could not be run ("text file busy").
pub(crate) fn executable(path: &Path, mode: u32, text: &str) {
    let mut tee = Command::new("tee").arg(path).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    tee.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(tee.wait().unwrap().success());
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A shell script that may be run.
pub(crate) fn script(path: &Path, body: &str) {
    executable(path, 0o755, &format!("#!/bin/sh\n{body}\n"));
}

/// Whether a process of this number lives (a zombie does not).
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Runs `openssl` with arguments that hold no blanks.
pub(crate) fn openssl(arguments: &str) {
    let output = Command::new("openssl").args(arguments.split_whitespace()).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A loop device over a file; detached when dropped.
pub(crate) struct Loop(std::path::PathBuf);

impl Loop {
    /// `None` where there are none (no root, no loop driver); the test says that it is left out.
    pub(crate) fn attach(file: &Path) -> Option<Self> {
        let output = Command::new("losetup").args(["-f", "--show"]).arg(file).output();
        match output {
            Ok(output) if output.status.success() => {
                Some(Self(String::from_utf8(output.stdout).unwrap().trim().into()))
            }
            Ok(_) | Err(_) => {
                eprintln!("left out: no loop device can be set up");
                None
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("-d").arg(&self.0).status();
    }
}
