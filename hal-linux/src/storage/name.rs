//! The name of a device that was never updated (R-39): a file of the image says it, and it is never stored.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thimble_core::artifact::provides::UNKNOWN;
use thimble_core::json::Value;
use thimble_core::limits;

use super::json::{NAME, object};
use crate::fsat::open_regular;

/// Longest file that is read, in bytes.
const FILE: u64 = 16 * 1024;

/// Why the file with the name says none.
#[derive(Debug)]
pub enum NameFault {
    /// It cannot be read.
    Read(PathBuf, io::Error),
    /// It does not hold one name of at most [`limits::NAME`] bytes.
    Content(PathBuf),
}

impl fmt::Display for NameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => {
                write!(f, "cannot read the name of the installed artifact from {}: {error}", path.display())
            }
            Self::Content(path) => write!(
                f,
                "{} must hold the name of the installed artifact: one line, artifact_name=<name>, of at most {} bytes",
                path.display(),
                limits::NAME
            ),
        }
    }
}

/// The name of a device whose image says it in `artifact_info`, as Mender 3 reads it: the one line `artifact_name=...`,
/// between comments and other keys. `unknown` where there is no such file; then, and where it is no good, nobody knows
/// the name.
///
/// # Errors
/// [`NameFault`]: the file is there, and says no name.
pub fn of_image(artifact_info: &Path) -> Result<String, NameFault> {
    let file = match open_regular(artifact_info) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(UNKNOWN.to_owned()),
        other => other.map_err(|error| NameFault::Read(artifact_info.to_owned(), error))?,
    };
    let mut text = Vec::new();
    file.take(FILE + 1)
        .read_to_end(&mut text)
        .map_err(|error| NameFault::Read(artifact_info.to_owned(), error))?;
    let name = parse(&text).filter(|_| text.len() as u64 <= FILE);
    name.map(str::to_owned).ok_or_else(|| NameFault::Content(artifact_info.to_owned()))
}

fn parse(text: &[u8]) -> Option<&str> {
    let lines = str::from_utf8(text).ok()?.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut names = lines.filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim_end() == NAME).then(|| value.trim_start())
    });
    let name = names.next()?;
    let is_good = !name.is_empty()
        && name.len() <= limits::NAME
        && !name.contains(char::is_control)
        && names.next().is_none();
    is_good.then_some(name)
}

/// Whether a record of provides has a name: `unknown`, which other clients store, is none.
pub(super) fn has_name(provides: &[u8]) -> bool {
    Value::parse(provides).ok().and_then(Value::members).is_some_and(|mut members| {
        members.any(|(key, value)| key.is(NAME) && value.as_str().is_some_and(|name| !name.is(UNKNOWN)))
    })
}

/// The provides on record with this name, if they have none; `None` where the record stays what it is.
pub(super) fn with_name(provides: Option<&[u8]>, name: &str) -> Option<Vec<u8>> {
    let text = |text: &str| text.to_owned();
    let own = std::iter::once((text(NAME), text(name)));
    let Some(provides) = provides else { return Some(object(own)) };
    if has_name(provides) {
        return None;
    }
    // A damaged record is told by whoever reads it.
    let mut others = Vec::new();
    for (key, value) in Value::parse(provides).ok()?.members()? {
        if !key.is(NAME) {
            others.push((key.to_string(), value.as_str()?.to_string()));
        }
    }
    Some(object(own.chain(others)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r39_the_name_in_artifact_info() {
        assert_eq!(parse(b"artifact_name=release-1\n"), Some("release-1"));
        assert_eq!(parse(b"# made by\n\nDATE=1\n artifact_name = a=b \n#artifact_name=c\n"), Some("a=b"));
        for none in ["", "artifact_name=", "artifact_name=a\nartifact_name=a", "name=a", "artifact_name=a\tb"]
        {
            assert_eq!(parse(none.as_bytes()), None, "{none}");
        }
        let longest = format!("artifact_name={}", "n".repeat(limits::NAME));
        assert!(parse(longest.as_bytes()).is_some());
        assert_eq!(parse(format!("{longest}n").as_bytes()), None);
        assert_eq!(parse(b"artifact_name=\xff"), None);
    }

    #[test]
    fn r39_a_missing_file_says_unknown_and_a_bad_one_what_is_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("artifact_info");
        assert_eq!(of_image(&path).unwrap(), "unknown");
        std::fs::write(&path, "artifact_name=n\n").unwrap();
        assert_eq!(of_image(&path).unwrap(), "n");
        std::fs::write(&path, vec![b'\n'; 1 << 20]).unwrap();
        assert!(of_image(&path).unwrap_err().to_string().contains("one line, artifact_name=<name>"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(of_image(&path).unwrap_err().to_string().contains("directory"));
    }

    #[test]
    fn r39_a_name_is_put_where_there_is_none() {
        let named =
            |record: Option<&[u8]>| with_name(record, "n\"").map(|json| String::from_utf8(json).unwrap());
        assert_eq!(named(None).as_deref(), Some(r#"{"artifact_name":"n\""}"#));
        assert_eq!(named(Some(b"{}")).as_deref(), Some(r#"{"artifact_name":"n\""}"#));
        assert_eq!(
            named(Some(br#"{"a":"1","artifact_name":"unknown"}"#)).as_deref(),
            Some(r#"{"artifact_name":"n\"","a":"1"}"#)
        );
        assert_eq!(named(Some(br#"{"artifact_name":"known"}"#)), None);
        assert_eq!(named(Some(b"{")), None);
    }
}
