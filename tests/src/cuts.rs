//! A process is killed at its system calls: `strace` lists those that change files, and kills the process on the way
//! into one of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use crate::lab::has;

/// Devices at a time: each mostly waits.
const DEVICES: usize = 8;

/// System calls that change files, or make changes durable.
pub const CALLS: &str = "write,pwrite64,writev,fsync,fdatasync,syncfs,rename,renameat,renameat2,unlink,unlinkat,rmdir,\
                         link,linkat,symlinkat,mkdir,mkdirat,mknodat,ftruncate";

/// Where a process is killed: on the way into its call of this name and number, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The name of the system call.
    pub call: String,
    /// Of the calls of this name, from 1.
    pub number: usize,
}

impl Point {
    /// The option of `strace` that kills there.
    #[must_use]
    pub fn injection(&self) -> String {
        format!("inject={}:signal=SIGKILL:when={}", self.call, self.number)
    }
}

/// The points of a process that was traced, in their order: calls about files whose path begins with `files`.
#[must_use]
pub fn points(trace: &Path, files: &Path) -> Vec<Point> {
    let files = files.to_str().expect("a path of the lab");
    points_of(trace, CALLS, |line| line.contains(files))
}

/// The same of these calls (names with commas between), where `wanted` holds of what stands behind the name.
#[must_use]
pub fn points_of(trace: &Path, calls: &str, wanted: impl Fn(&str) -> bool) -> Vec<Point> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let text = String::from_utf8_lossy(&fs::read(trace).expect("the trace")).into_owned();
    let mut points = Vec::new();
    for line in text.lines() {
        let Some((call, rest)) = line.split_once('(') else { continue };
        if !calls.split(',').any(|known| known.trim() == call) {
            continue;
        }
        let count = counts.entry(call).or_default();
        *count += 1;
        if wanted(rest) {
            points.push(Point { call: call.to_owned(), number: *count });
        }
    }
    points
}

/// The process was killed on the way into a flush: of the last write to that file only half is there. False when there
/// was none.
#[must_use]
pub fn tear(trace: &Path) -> bool {
    let text = String::from_utf8_lossy(&fs::read(trace).expect("the trace")).into_owned();
    let file = |line: &str| {
        let (_, rest) = line.split_once('<')?;
        rest.split_once('>').map(|(path, _)| PathBuf::from(path))
    };
    let mut lines = text.lines().rev().skip_while(|line| !line.contains("sync("));
    let Some(path) = lines.next().and_then(file) else { return false };
    let written = lines.find_map(|line| {
        let is_write = line.starts_with("write(") || line.starts_with("pwrite64(");
        let (_, length) = line.rsplit_once("= ")?;
        (is_write && file(line).as_ref() == Some(&path)).then(|| length.parse::<u64>().ok())?
    });
    let (Some(written), Ok(file)) = (written, fs::File::options().write(true).open(&path)) else {
        return false;
    };
    let length = file.metadata().expect("it is open").len();
    file.set_len(length.saturating_sub(written - written / 2)).expect("it can be cut");
    true
}

/// False, said aloud, where nothing can be traced.
#[must_use]
pub fn can_trace() -> bool {
    let traced = || Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    let can = has("strace") && traced().is_ok_and(|status| status.success());
    if !can {
        eprintln!("left out: strace is not installed, or nothing may be traced here");
    }
    can
}

/// Does something with each of `cases`, several at a time.
pub fn each<T: Send>(cases: Vec<T>, act: impl Fn(T) + Sync) {
    let cases = Mutex::new(cases);
    thread::scope(|scope| {
        for _ in 0..DEVICES {
            scope.spawn(|| {
                loop {
                    let next = cases.lock().ok().and_then(|mut cases| cases.pop());
                    let Some(case) = next else { return };
                    act(case);
                }
            });
        }
    });
}
