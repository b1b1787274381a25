//! Variables of the UEFI firmware, as files of `efivarfs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// The vendor of systemd-boot's variables.
const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// Non-volatile, and visible before and after the system has started.
const ATTRIBUTES: u32 = 7;
/// Longest value that is read.
const VALUE_MAX: usize = 4096;

/// The variables that the loader and the system share.
#[derive(Clone, Debug)]
pub(super) struct LoaderVariables {
    dir: PathBuf,
}

impl LoaderVariables {
    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}-{LOADER}"))
    }

    /// The text of a variable; `None` when it is not set.
    pub(super) fn get(&self, name: &str) -> io::Result<Option<String>> {
        let file = match File::open(self.path(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(VALUE_MAX as u64 + 1).read_to_end(&mut bytes)?;
        decode(&bytes).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("the firmware's variable {name} is no text"))
        })
    }

    /// Sets a variable, or deletes it; the firmware does so wholly or not at all. Nothing is done when nothing changes:
    /// the firmware's memory wears.
    pub(super) fn set(&self, name: &str, value: Option<&str>) -> io::Result<()> {
        let path = self.path(name);
        let old = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            other => Some(other?),
        };
        let Some(value) = value else {
            if old.is_none() {
                return Ok(());
            }
            allow_change(&path)?;
            return fs::remove_file(path);
        };
        let bytes = encode(value);
        if old.as_ref() == Some(&bytes) {
            return Ok(());
        }
        if old.is_some() {
            allow_change(&path)?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        // One write is one call of the firmware.
        let written = file.write(&bytes).and_then(|written| {
            if written == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
        });
        if let Err(error) = written {
            // When the firmware rejects a new variable, an empty file is left, which is no variable.
            if old.is_none() {
                let _ = fs::remove_file(&path);
            }
            return Err(error);
        }
        // A file of efivarfs is as long as what was written last.
        if file.metadata()?.len() > bytes.len() as u64 {
            file.set_len(bytes.len() as u64)?;
        }
        Ok(())
    }
}

/// The kernel marks variables that it does not know immutable, against deletion by mistake.
fn allow_change(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    match ioctl_getflags(&file) {
        Ok(flags) if flags.contains(IFlags::IMMUTABLE) => {
            Ok(ioctl_setflags(&file, flags - IFlags::IMMUTABLE)?)
        }
        // A file system without such flags does not protect the file.
        Ok(_) | Err(_) => Ok(()),
    }
}

fn encode(text: &str) -> Vec<u8> {
    let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
    ATTRIBUTES.to_le_bytes().into_iter().chain(units).collect()
}

/// Attributes, then UTF-16 up to its NUL.
fn decode(bytes: &[u8]) -> Option<String> {
    if bytes.len() > VALUE_MAX {
        return None;
    }
    let (_, text) = bytes.split_first_chunk::<4>()?;
    let (units, rest) = text.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|&unit| unit != 0);
    if rest.is_empty() { char::decode_utf16(units).collect::<Result<_, _>>().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn variables_are_four_bytes_and_text() {
        let dir = tempfile::tempdir().unwrap();
        let variables = LoaderVariables::at(dir.path().to_owned());
        assert_eq!(variables.get("LoaderEntryDefault").unwrap(), None);
        variables.set("LoaderEntryDefault", Some("slot-b*")).unwrap();
        let path = dir.path().join("LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
        assert_eq!(fs::read(&path).unwrap(), b"\x07\0\0\0s\0l\0o\0t\0-\0b\0*\0\0\0");
        variables.set("LoaderEntryDefault", Some("a")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\x07\0\0\0a\0\0\0");
        assert_eq!(variables.get("LoaderEntryDefault").unwrap().as_deref(), Some("a"));
        for _ in 0..2 {
            variables.set("LoaderEntryDefault", None).unwrap();
            assert_eq!(variables.get("LoaderEntryDefault").unwrap(), None);
        }
    }

    #[test]
    fn values_that_are_no_text_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let variables = LoaderVariables::at(dir.path().to_owned());
        let path = variables.path("X");
        for (bytes, text) in [
            (&b"\x06\0\0\0"[..], Some("")),
            (b"\x06\0\0\0a\0", Some("a")),
            (b"\x06\0\0\0a\0\0\0junk", Some("a")),
            (b"\x06\0\0", None),
            (b"\x06\0\0\0a", None),
            (b"\x06\0\0\0\x00\xd8", None),
            (&[7; VALUE_MAX + 2], None),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(variables.get("X").ok(), text.map(|text| Some(text.to_owned())), "{bytes:?}");
        }
    }

    #[test]
    fn variables_that_the_kernel_marks_immutable_are_changed_and_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let variables = LoaderVariables::at(dir.path().to_owned());
        variables.set("LoaderEntryOneShot", Some("b")).unwrap();
        let path = variables.path("LoaderEntryOneShot");
        for (value, is_there) in [(Some("c"), true), (None, false)] {
            let marked = Command::new("chattr").arg("+i").arg(&path).status();
            if !marked.is_ok_and(|status| status.success()) {
                return eprintln!("left out: files cannot be marked immutable here");
            }
            assert!(fs::write(&path, "x").is_err(), "the mark works");
            variables.set("LoaderEntryOneShot", value).unwrap();
            assert_eq!(path.exists(), is_there);
        }
    }

    #[test]
    fn nothing_is_written_when_nothing_changes() {
        let dir = tempfile::tempdir().unwrap();
        let variables = LoaderVariables::at(dir.path().to_owned());
        variables.set("X", Some("b")).unwrap();
        let written = fs::metadata(variables.path("X")).unwrap().modified().unwrap();
        let earlier = written - std::time::Duration::from_secs(60);
        File::options().write(true).open(variables.path("X")).unwrap().set_modified(earlier).unwrap();
        variables.set("X", Some("b")).unwrap();
        assert_eq!(fs::metadata(variables.path("X")).unwrap().modified().unwrap(), earlier);
    }
}
