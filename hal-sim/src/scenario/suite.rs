//! Scenarios in files and folders: found, run, compared with what stands in them, and written anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use similar::TextDiff;

use super::complaint::{Complaint, Complaints};
use super::file::Scenario;
use super::limits;
use super::run::Happened;

/// How the scenario of a file went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it stands in the file.
    Good,
    /// It went otherwise, or its timeline was missing, and the file has the new timeline now.
    Updated,
    /// It went otherwise.
    Failed {
        /// What is wrong, but for the timeline.
        complaints: Complaints,
        /// The timeline in the file against what happened, as a unified diff; empty where both are alike.
        diff: String,
    },
    /// It makes no sense, and nothing was done.
    Nonsense(Complaints),
    /// The file cannot be read or written.
    Unreadable(String),
}

/// The bytes of a scenario's file, or of standard input for `-`; at most one more than a scenario may have.
///
/// # Errors
/// It cannot be read.
pub fn load(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = limits::BYTES as u64 + 1;
    if path == Path::new("-") {
        io::stdin().lock().take(most).read_to_end(&mut bytes)?;
    } else {
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The scenarios that these paths name: files as they are, and of folders all `*.txt` in them and in the folders below,
/// in the order of their names. Links to folders are not followed.
///
/// # Errors
/// A path that cannot be read, or a folder without a scenario.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for path in paths {
        let failed = |at: &Path, error: io::Error| format!("{}: {error}", at.display());
        if !fs::metadata(path).map_err(|error| failed(path, error))?.is_dir() {
            found.push(path.clone());
            continue;
        }
        let before = found.len();
        let mut folders = vec![path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(|error| failed(&folder, error))? {
                let path = entry.map_err(|error| failed(&folder, error))?.path();
                let kind = fs::symlink_metadata(&path).map_err(|error| failed(&path, error))?;
                if kind.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "txt") && path.is_file() {
                    found.push(path);
                }
            }
        }
        if found.len() == before {
            return Err(format!("{}: no scenario (*.txt) is in this folder", path.display()));
        }
        found[before..].sort();
    }
    Ok(found)
}

/// Runs the scenario of a file. With `update` what happened is written into the file, unless something that was to go wrong
/// never happened.
#[must_use]
pub fn check(path: &Path, update: bool) -> Outcome {
    let bytes = match load(path) {
        Ok(bytes) => bytes,
        Err(error) => return Outcome::Unreadable(error.to_string()),
    };
    let scenario = match Scenario::read(&bytes) {
        Ok(scenario) => scenario,
        Err(complaints) => return Outcome::Nonsense(complaints),
    };
    let Happened { scenario: happened, unused, stopped, runs: _ } = scenario.run();
    let was_stopped = stopped.is_some();
    let mut complaints: Vec<Complaint> = unused.into_iter().chain(stopped).collect();
    if scenario == happened && complaints.is_empty() {
        return Outcome::Good;
    }
    if update && complaints.is_empty() {
        return match write(path, happened.to_string().as_bytes()) {
            Ok(()) => Outcome::Updated,
            Err(error) => Outcome::Unreadable(error.to_string()),
        };
    }
    if let Some(line) = scenario.without_timeline().filter(|_| !was_stopped) {
        let text = "no timeline stands here yet: `thimble-sim test --update` writes it".to_owned();
        complaints.push(Complaint { line, text });
    }
    let diff = if scenario == happened || was_stopped { String::new() } else { diff(&scenario, &happened) };
    Outcome::Failed { complaints: Complaints(complaints), diff }
}

fn diff(expected: &Scenario, happened: &Scenario) -> String {
    let (expected, happened) = (expected.to_string(), happened.to_string());
    let diff = TextDiff::from_lines(&expected, &happened);
    diff.unified_diff().context_radius(3).header("expected", "happened").to_string()
}

/// Writes the file anew, in one step: whoever reads it, and whatever ends this process, sees all of it or the old one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a link leads to is changed, not the link.
    let path = fs::canonicalize(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.new", std::process::id()));
    let written = write_beside(&beside, &path, bytes).and_then(|()| fs::rename(&beside, &path));
    if written.is_err() {
        // The error that counts is the first one.
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_beside(beside: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(beside)?;
    file.set_permissions(fs::metadata(path)?.permissions())?;
    file.write_all(bytes)?;
    file.sync_all()
}
