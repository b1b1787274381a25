//! An artifact of the user's, read whole by the parser that the device uses.

use std::fmt;
use std::io::{self, Read};

use serde_json::Value;
use thimble_core::artifact::{self, ManifestEntry, Parsed, Parser, Trust, Workspace};
use thimble_core::hal::Decompress;
use thimble_core::limits;

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// What there is to know of an artifact without installing it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifact {
    /// `artifact_name` of its provides.
    pub name: String,
    /// `artifact_group` of its provides.
    pub group: Option<String>,
    /// The types of devices it is for.
    pub device_types: Vec<String>,
    /// What must be installed before, besides the device type: a key and its values, of which one must be there.
    pub depends: Vec<(String, Vec<String>)>,
    /// What will be installed after it, besides name and group.
    pub provides: Vec<(String, String)>,
    /// Patterns of what it removes from the device's provides.
    pub clears: Vec<String>,
    /// The payload's type, which names the update module; `None` for an artifact without payload.
    pub payload_type: Option<String>,
    /// Names and lengths in bytes of the payload's files.
    pub files: Vec<(String, u64)>,
    /// Names and contents of its state scripts, in the order in which they stand in it.
    pub scripts: Vec<(String, Vec<u8>)>,
}

/// Why there is no [`Artifact`].
#[derive(Debug)]
pub enum Error {
    /// The file could not be read.
    Io(io::Error),
    /// A device would refuse it, in these words.
    Refused(artifact::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Refused(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads an artifact to its end: every checksum in it is compared. Signatures are not looked at. Takes the memory of its
/// state scripts ([`limits::SCRIPTS`] of [`limits::SCRIPT_SIZE`]) and 2 MiB.
///
/// # Errors
/// The source cannot be read, or the artifact breaks a rule.
pub fn read(source: impl Read, decompress: &mut impl Decompress) -> Result<Artifact, Error> {
    read_until(source, decompress, false)
}

/// Reads an artifact up to the end of its header, so that nothing is known of its payload's files.
///
/// # Errors
/// The source cannot be read, or what was read breaks a rule.
pub fn read_header(source: impl Read, decompress: &mut impl Decompress) -> Result<Artifact, Error> {
    read_until(source, decompress, true)
}

fn read_until(
    mut source: impl Read,
    decompress: &mut impl Decompress,
    header_only: bool,
) -> Result<Artifact, Error> {
    const KIB: usize = 1024;
    let (mut name, mut header_info, mut type_info, mut meta_data) =
        (vec![0; 4 * KIB], vec![0; 64 * KIB], vec![0; 64 * KIB], vec![0; KIB * KIB]);
    let (mut files, mut window) = (vec![ManifestEntry::default(); limits::JSON_MEMBERS], vec![0; 256 * KIB]);
    let mut parser = Parser::new(Workspace {
        name: &mut name,
        header_info: &mut header_info,
        type_info: &mut type_info,
        meta_data: &mut meta_data,
        files: &mut files,
        window: &mut window,
    });
    parser.reset(Trust::Unsigned, true);
    let mut chunk = vec![0; CHUNK];
    let mut artifact = Artifact::default();
    loop {
        let length = match source.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::Io(error)),
        };
        if length == 0 {
            parser.finish().map_err(Error::Refused)?;
            return Ok(artifact);
        }
        let mut rest = chunk.get(..length).unwrap_or_default();
        loop {
            let (taken, event) = parser.push(rest, &mut (), decompress).map_err(Error::Refused)?;
            rest = rest.get(taken..).unwrap_or_default();
            match event {
                Parsed::NeedInput if rest.is_empty() => break,
                Parsed::NeedInput | Parsed::FileData(_) | Parsed::FileEnd => {}
                Parsed::Script { name, .. } => artifact.scripts.push((name.to_owned(), Vec::new())),
                Parsed::ScriptData(bytes) => {
                    if let Some((_, script)) = artifact.scripts.last_mut() {
                        script.extend_from_slice(bytes);
                    }
                }
                Parsed::FileBegin { name, size } => artifact.files.push((name.to_owned(), size)),
                Parsed::Header => {
                    if let Some(header) = parser.header() {
                        artifact.take_header(header.header_info(), header.type_info());
                    }
                    if header_only {
                        return Ok(artifact);
                    }
                }
            }
        }
    }
}

impl Artifact {
    /// What is installed on a device that takes this artifact: a JSON object with `artifact_name` and the first of the values
    /// that it depends on.
    #[must_use]
    pub fn fitting_provides(&self, artifact_name: &str) -> Vec<u8> {
        let mut installed = serde_json::Map::new();
        installed.insert("artifact_name".to_owned(), artifact_name.into());
        for (key, values) in &self.depends {
            if let Some(first) = values.first() {
                installed.insert(key.clone(), first.as_str().into());
            }
        }
        Value::Object(installed).to_string().into_bytes()
    }

    /// Takes what stands in `header-info` and `type-info`, which the parser has checked.
    fn take_header(&mut self, header_info: &[u8], type_info: &[u8]) {
        let parse = |text: &[u8]| serde_json::from_slice(text).unwrap_or(Value::Null);
        let (info, kind) = (parse(header_info), parse(type_info));
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts = |value: &Value| match value {
            Value::Array(items) => items.iter().filter_map(text).collect(),
            Value::String(one) => vec![one.clone()],
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
        };
        self.name = text(&info["artifact_provides"]["artifact_name"]).unwrap_or_default();
        self.group = text(&info["artifact_provides"]["artifact_group"]);
        self.device_types = texts(&info["artifact_depends"]["device_type"]);
        self.payload_type = text(&info["payloads"][0]["type"]);
        for depends in [&info["artifact_depends"], &kind["artifact_depends"]] {
            let members = depends.as_object().into_iter().flatten();
            self.depends.extend(
                members
                    .filter(|(key, _)| *key != "device_type")
                    .map(|(key, value)| (key.clone(), texts(value))),
            );
        }
        let provides = kind["artifact_provides"].as_object().into_iter().flatten();
        self.provides.extend(provides.filter_map(|(key, value)| Some((key.clone(), text(value)?))));
        self.clears = texts(&kind["clears_artifact_provides"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact_writer::ArtifactWriter;
    use thimble_core::artifact::Gzip;

    #[test]
    fn an_artifact_says_what_it_is() {
        let bytes = ArtifactWriter::new("new \"1\"", "module", &["a", "b"])
            .script("ArtifactInstall_Enter_00", b"#!/bin/sh\n")
            .file("data", b"xyz")
            .build();
        let artifact = read(bytes.as_slice(), &mut Gzip::default()).unwrap();
        assert_eq!(artifact.name, "new \"1\"");
        assert_eq!(artifact.device_types, ["a", "b"]);
        assert_eq!(artifact.payload_type.as_deref(), Some("module"));
        assert_eq!(artifact.files, [("data".to_owned(), 3)]);
        assert_eq!(artifact.scripts, [("ArtifactInstall_Enter_00".to_owned(), b"#!/bin/sh\n".to_vec())]);
    }

    #[test]
    fn a_cut_or_changed_artifact_is_refused() {
        let bytes = ArtifactWriter::new("new", "module", &["a"]).file("data", &[7; 5000]).build();
        for length in [0, 1, 600, 3000, bytes.len() - 1500] {
            assert!(
                matches!(read(&bytes[..length], &mut Gzip::default()), Err(Error::Refused(_))),
                "{length}"
            );
        }
        for at in (0..bytes.len()).step_by(97) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            // Either it is refused, or what changed means nothing (padding, time stamps).
            let _ = read(changed.as_slice(), &mut Gzip::default());
        }
        assert!(matches!(read(&b"hello"[..], &mut Gzip::default()), Err(Error::Refused(_))));
    }
}
