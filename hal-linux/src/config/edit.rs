//! Changes keys of a configuration file and leaves all others as they are. A file is replaced as a whole, and only by one
//! that can be read.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use thimble_core::json::{Escape, Value};

use super::fault::NotJson;
use super::{ConfigError, ConfigFault, FILE_MAX};
use crate::fsat::open_regular;

const BUSY: &str = "another program is changing it; try again when that has ended";

/// A key's new value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewValue {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// A list with one server in it, as `Servers` has it.
    Server(String),
    /// The key is taken out.
    Nothing,
}

impl NewValue {
    /// As JSON; nothing for [`NewValue::Nothing`].
    fn json(&self) -> Option<String> {
        let quoted = |text: &str| {
            let mut out = String::from("\"");
            // Writing into a `String` cannot fail.
            let _ = Escape(&mut out).write_str(text);
            out.push('"');
            out
        };
        match self {
            Self::Text(text) => Some(quoted(text)),
            Self::Number(number) => Some(number.to_string()),
            Self::Server(url) => Some(format!("[{{\"ServerURL\": {}}}]", quoted(url))),
            Self::Nothing => None,
        }
    }
}

/// `text`, an object, with new values. A key that is there keeps its place and its spelling; letters count as equal in
/// either case, as they do when the file is read; of a key that stands there more than once, none of the others stays.
///
/// # Errors
/// `text` is no JSON, or no object.
fn edited(text: &[u8], changes: &[(&str, NewValue)]) -> Result<String, ConfigFault> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let value = Value::parse(text).map_err(|error| ConfigFault::Json(NotJson::new(text, error)))?;
    let members = value.members().ok_or(ConfigFault::NoObject)?;
    let mut lines = Vec::new();
    let mut done = vec![false; changes.len()];
    let line = |key: &str, json: &str| {
        let mut line = String::from("  \"");
        let _ = Escape(&mut line).write_str(key);
        let _ = write!(line, "\": {json}");
        line
    };
    for (key, value) in members {
        let name = key.to_string();
        let change = changes.iter().zip(&mut done).find(|((changed, _), _)| key.is_ignoring_case(changed));
        match change {
            None => lines.push(line(&name, value.raw())),
            Some(((_, new), done)) => {
                lines.extend(new.json().filter(|_| !*done).map(|json| line(&name, &json)));
                *done = true;
            }
        }
    }
    for ((key, new), done) in changes.iter().zip(done) {
        lines.extend(new.json().filter(|_| !done).map(|json| line(key, &json)));
    }
    Ok(format!("{{\n{}\n}}\n", lines.join(",\n")))
}

/// A new file, put together beside the one it replaces, and not yet in its place. Dropping it removes it.
#[derive(Debug)]
pub struct Draft {
    /// The file it is to become, links followed.
    target: PathBuf,
    staging: PathBuf,
    /// Locked as long as the draft is there: another one of the same file has to wait.
    _file: File,
    /// It is in its place: what has its old name now is another's.
    is_kept: bool,
}

impl Draft {
    /// Writes what the configuration file `path` has, with new values; a file that is not there counts as an empty object.
    /// Owner, group and mode stay; a new file can be read by its owner alone. The directory is made. Nothing is changed
    /// before [`Self::keep`].
    ///
    /// # Errors
    /// The file cannot be read, or is not understood; nothing can be written.
    pub fn of(path: &Path, changes: &[(&str, NewValue)]) -> Result<Self, ConfigError> {
        let in_words = |fault| ConfigError { path: path.to_owned(), fault };
        let read = |error| in_words(ConfigFault::Read(error));
        let target = target(path).map_err(read)?;
        let mut old = Vec::new();
        let found = match open_regular(&target) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(read(error)),
        };
        match &found {
            None => old.extend(b"{}"),
            Some(file) => {
                file.take(FILE_MAX + 1).read_to_end(&mut old).map_err(read)?;
            }
        }
        if old.len() as u64 > FILE_MAX {
            return Err(in_words(ConfigFault::TooLong));
        }
        let text = edited(&old, changes).map_err(in_words)?;
        Self::write(target, text.as_bytes(), 0o600, found.as_ref())
            .map_err(|error| in_words(ConfigFault::Write(error)))
    }

    /// `mode` is that of a new file.
    fn write(target: PathBuf, text: &[u8], mode: u32, old: Option<&File>) -> io::Result<Self> {
        fs::create_dir_all(directory_of(&target))?;
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(".new");
        let staging = target.with_file_name(name);
        let mut file = take(&staging)?;
        let draft = Self { staging, target, _file: file.try_clone()?, is_kept: false };
        file.set_len(0)?;
        let mut mode = mode;
        if let Some(old) = old {
            let (old, new) = (old.metadata()?, file.metadata()?);
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                fchown(&file, Some(old.uid()), Some(old.gid()))?;
            }
            mode = old.mode() & 0o7777;
        }
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(text)?;
        file.sync_all()?;
        Ok(draft)
    }

    /// Where it is now, to be read before it is kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.staging
    }

    /// Puts it into its place, in one step also for a loss of power.
    ///
    /// # Errors
    /// Those of the file system; the old file stays.
    pub fn keep(mut self) -> io::Result<()> {
        fs::rename(&self.staging, &self.target)?;
        self.is_kept = true;
        let synced = File::open(directory_of(&self.target)).and_then(|directory| directory.sync_all());
        synced.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the new one is in its place, but may be lost with the power: {error}"),
            )
        })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.staging);
        }
    }
}

/// The directory that a file is in.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Opens the file that a draft is written into, for this process alone.
fn take(staging: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    // Whoever had it before may have put it into its place while we waited for the lock.
    for _ in 0..100 {
        let file = options.open(staging)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(io::Error::new(ErrorKind::WouldBlock, BUSY)),
            Err(error) => return Err(error.into()),
        }
        let (ours, there) = (file.metadata()?, fs::symlink_metadata(staging));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
    Err(io::Error::new(ErrorKind::WouldBlock, BUSY))
}

/// The file that a path leads to.
fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        found => found,
    }
}

/// Replaces a small file in one step, also for a loss of power. Owner, group and mode stay; a new one can be read by all.
///
/// # Errors
/// Those of the file system; the old file stays.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = target(path)?;
    let old = match open_regular(&target) {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        found => Some(found?),
    };
    Draft::write(target, text.as_bytes(), 0o644, old.as_ref())?.keep()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_keys_stay_as_they_are() {
        let text = br#"{"serverurl": "http://old", "HttpsClient": {"Key" : "a\"b"}, "TenantToken": "x", "Unknown": [1.50, null], "SERVERURL": "http://older"}"#;
        let changes = [
            ("ServerURL", NewValue::Text("https://new/\"".into())),
            ("TenantToken", NewValue::Nothing),
            ("UpdatePollIntervalSeconds", NewValue::Number(5)),
        ];
        let new = edited(text, &changes).unwrap();
        assert_eq!(
            new,
            "{\n  \"serverurl\": \"https://new/\\\"\",\n  \"HttpsClient\": {\"Key\" : \"a\\\"b\"},\n  \"Unknown\": [1.50, null],\n  \
             \"UpdatePollIntervalSeconds\": 5\n}\n"
        );
        assert_eq!(edited(new.as_bytes(), &changes).unwrap(), new);
        assert!(matches!(edited(b"[]", &changes), Err(ConfigFault::NoObject)));
        assert!(matches!(edited(b"{,}", &changes), Err(ConfigFault::Json(_))));
    }

    #[test]
    fn two_at_once_do_not_mix() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mender.conf");
        let first = Draft::of(&path, &[("A", NewValue::Number(1))]).unwrap();
        let second = Draft::of(&path, &[("A", NewValue::Number(2))]).unwrap_err();
        assert!(second.to_string().contains("another program is changing it"), "{second}");
        first.keep().unwrap();
        Draft::of(&path, &[("A", NewValue::Number(2))]).unwrap().keep().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"A\": 2\n}\n");
        // What a loss of power left is in nobody's way.
        fs::write(dir.path().join(".mender.conf.new"), "{\"A\": 3, \"B\": 4, \"C\": 5}").unwrap();
        Draft::of(&path, &[("A", NewValue::Number(6))]).unwrap().keep().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\n  \"A\": 6\n}\n");
    }

    #[test]
    fn a_link_stays_and_so_does_the_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.conf"), dir.path().join("mender.conf"));
        fs::write(&real, "{}").unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let changes = [("A", NewValue::Number(1))];
        let draft = Draft::of(&link, &changes).unwrap();
        assert_eq!(fs::read_to_string(&real).unwrap(), "{}");
        draft.keep().unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), real);
        assert_eq!(fs::read_to_string(&real).unwrap(), "{\n  \"A\": 1\n}\n");
        assert_eq!(fs::metadata(&real).unwrap().mode() & 0o777, 0o640);
        drop(Draft::of(&link, &[("A", NewValue::Number(2))]).unwrap());
        assert_eq!(fs::read_to_string(&real).unwrap(), "{\n  \"A\": 1\n}\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
