//! What an update changed on the throwaway device.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Files that are looked at.
const MOST: usize = 1_000_000;

/// What is not the update's: the kernel's, the simulator's and the client's own, logs, and what a reboot empties.
const NOT: [&str; 9] =
    ["/proc", "/dev", "/sys", "/sim", "/tmp", "/run", "/var/tmp", "/var/log", "/var/lib/mender"];

/// How files were.
pub(super) struct Snapshot(BTreeMap<PathBuf, (u64, i64, i64, u32)>);

impl Snapshot {
    /// How files are. File systems that are mounted read-only are not looked at.
    pub(super) fn take() -> Self {
        let mut files = BTreeMap::new();
        if let Ok(root) = fs::symlink_metadata("/") {
            walk(Path::new("/"), root.dev(), &mut files);
        }
        Self(files)
    }

    /// What is different now: `+` is new, `-` is gone, `~` has changed.
    pub(super) fn changes(&self) -> Vec<String> {
        let now = Self::take();
        let mut changes = Vec::new();
        for (path, facts) in &now.0 {
            match self.0.get(path) {
                None => changes.push(format!("+ {}", shown(path))),
                Some(before) if before != facts => changes.push(format!("~ {}", shown(path))),
                Some(_) => {}
            }
        }
        changes.extend(
            self.0
                .keys()
                .filter(|path| fs::symlink_metadata(path).is_err())
                .map(|path| format!("- {}", shown(path))),
        );
        changes
    }
}

/// A path in one line, whatever stands in it.
fn shown(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

fn walk(folder: &Path, device: u64, files: &mut BTreeMap<PathBuf, (u64, i64, i64, u32)>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if files.len() >= MOST || NOT.iter().any(|not| path == Path::new(not)) {
            continue;
        }
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.is_dir() {
            let inside = files.len();
            if about.dev() == device {
                walk(&path, device, files);
            }
            // A folder is told by what is in it, unless there is nothing.
            if files.len() > inside {
                continue;
            }
            files.insert(path, (0, 0, 0, about.mode()));
            continue;
        }
        files.insert(path, (about.len(), about.mtime(), about.mtime_nsec(), about.mode()));
    }
}
