//! The second line of the lock file: which script or module this client has started last.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::process::Pid;

use super::leftover::{Leftover, TEXT_MAX};

/// What the line begins with.
pub(crate) const RUNS: &str = "runs ";

/// Longest line, in bytes.
pub(crate) const LINE_MAX: usize = RUNS.len() + TEXT_MAX;

/// Writes the lock file while the lock is held. The note is a help for the next client: on a full disk it is missing,
/// and the lock still holds.
#[derive(Debug)]
pub struct Note {
    file: File,
    holder: String,
}

impl Note {
    /// `holder` is the first line, with its end.
    pub(crate) const fn new(file: File, holder: String) -> Self {
        Self { file, holder }
    }

    /// The lock file.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// A child was started.
    pub(crate) fn runs(&self, pid: Pid) {
        self.write(Leftover::of(pid).as_ref());
    }

    pub(crate) fn write(&self, runs: Option<&Leftover>) {
        let runs = runs.map_or(String::new(), |runs| format!("{RUNS}{runs}\n"));
        let text = format!("{}{runs}", self.holder);
        let _ = self.file.write_all_at(text.as_bytes(), 0);
        let _ = self.file.set_len(text.len() as u64);
    }
}

/// What an earlier client noted in the text of the lock file.
pub(crate) fn leftover_in(text: &str) -> Option<Leftover> {
    let (_, runs) = text.split_once('\n')?;
    Leftover::parse(runs.strip_prefix(RUNS)?.strip_suffix('\n')?)
}
