//! Reads an artifact to its end, through the parser of the client, and keeps what it says of itself.

use std::os::unix::fs::FileTypeExt as _;

use thimble_core::artifact::accept::{self, Facts};
use thimble_core::artifact::{self, Parsed, Parser, Trust, Workspace};
use thimble_core::hal::{Clock, Level, Network, Verifier};
use thimble_core::http::{Method, Request, Target};
use thimble_core::json::Value;
use thimble_core::limits;
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_linux::network::HttpNetwork;
use thimble_hal_linux::platform::Memory;

use crate::device::Device;
use crate::exchange::ready;
use crate::output::Failure;

/// What an artifact says of itself. All of it stood in a header whose checksum is right.
#[derive(Debug, Default)]
pub(super) struct Artifact {
    pub(super) name: String,
    pub(super) group: Option<String>,
    pub(super) device_types: Vec<String>,
    /// Besides the device types: a key, and the values of which one must be there.
    pub(super) depends: Vec<(String, Vec<String>)>,
    /// Besides name and group.
    pub(super) provides: Vec<(String, String)>,
    /// Patterns of what it removes from the device's provides.
    pub(super) clears: Vec<String>,
    /// `None`: it has no payload.
    pub(super) payload_type: Option<String>,
    /// Names, and lengths in bytes as they are installed.
    pub(super) files: Vec<(String, u64)>,
    /// Names, and lengths in bytes.
    pub(super) scripts: Vec<(String, u64)>,
}

/// How far it could be read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// As far as its header is good.
    pub(super) artifact: Option<Artifact>,
    /// What the installation would say of the header.
    pub(super) judged: Option<Result<accept::Payload, accept::NotAccepted>>,
    /// Why it is no good artifact.
    pub(super) fault: Option<artifact::Error>,
}

/// Reads all of it. Every checksum in it is compared, with `verifier` also its signature.
pub(super) fn read(
    network: &mut HttpNetwork,
    source: Target<'_>,
    verifier: &mut impl Verifier,
    trust: Trust,
    facts: Option<&Facts<'_>>,
) -> Result<Reading, Failure> {
    let mut memory = Memory::default();
    let lent = memory.lend();
    let mut parser = Parser::new(Workspace {
        name: lent.name,
        header_info: lent.header_info,
        type_info: lent.type_info,
        meta_data: lent.meta_data,
        files: lent.files,
        window: lent.window,
    });
    verifier.reset();
    parser.reset(trust, true);
    let mut decompress = Decompressor::default();
    let mut reading = Reading::default();
    let mut scripts = Vec::new();
    start(network, source)?;
    loop {
        let length = ready(network, |network, now| network.poll_read(now, lent.chunk))?;
        let mut rest = lent.chunk.get(..length).unwrap_or_default();
        if rest.is_empty() {
            reading.fault = parser.finish().err();
            return Ok(reading);
        }
        loop {
            let (taken, event) = match parser.push(rest, verifier, &mut decompress) {
                Ok(step) => step,
                Err(fault) => {
                    network.cancel();
                    reading.fault = Some(fault);
                    return Ok(reading);
                }
            };
            match event {
                Parsed::NeedInput if taken >= rest.len() => break,
                Parsed::NeedInput | Parsed::ScriptData(_) | Parsed::FileData(_) | Parsed::FileEnd => {}
                Parsed::Script { name, size } => scripts.push((name.to_owned(), size)),
                Parsed::FileBegin { name, size } => {
                    let file = (name.to_owned(), size);
                    reading.artifact.iter_mut().for_each(|artifact| artifact.files.push(file.clone()));
                }
                Parsed::Header => {
                    let Some((header, scratch)) = parser.header_and_scratch() else { continue };
                    let mut artifact =
                        Artifact { scripts: std::mem::take(&mut scripts), ..Artifact::default() };
                    artifact.take(header.header_info(), header.type_info());
                    reading.artifact = Some(artifact);
                    reading.judged = facts.map(|facts| accept::judge(&header, facts, lent.out, scratch));
                }
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }
}

/// Whether it has a signature, whoever made it. `None`: that could not be seen.
pub(super) fn is_signed(network: &mut HttpNetwork, source: Target<'_>) -> Option<bool> {
    let mut heard = Heard(false);
    let reading = read(network, source, &mut heard, Trust::Signed, None).ok()?;
    match reading.fault {
        _ if heard.0 => Some(true),
        Some(artifact::Error::Unsigned) => Some(false),
        // In no form that is known.
        Some(artifact::Error::BadSignature) => Some(true),
        Some(_) | None => None,
    }
}

/// Takes any signature, and remembers that there was one.
struct Heard(bool);

impl Verifier for Heard {
    fn has_keys(&self) -> bool {
        true
    }

    fn reset(&mut self) {}

    fn update(&mut self, _: &[u8]) -> bool {
        true
    }

    fn verify(&mut self, _: &[u8]) -> bool {
        self.0 = true;
        // The artifact is read again, as one that nobody signed.
        false
    }
}

fn start(network: &mut HttpNetwork, source: Target<'_>) -> Result<(), Failure> {
    let request = Request {
        method: Method::Get,
        target: source,
        authorization: None,
        signature: None,
        body: None,
        offset: 0,
        etag: None,
    };
    network.start(BootClock.now(), &request).map_err(Failure::new)?;
    let head = ready(network, |network, now| network.poll_head(now))?;
    if head.status != 200 {
        network.cancel();
        return Err(Failure::new(format_args!("the server answers {} instead of the artifact", head.status)));
    }
    Ok(())
}

impl Artifact {
    /// Takes what stands in `header-info` and `type-info`, which the parser has checked.
    fn take(&mut self, header_info: &[u8], type_info: &[u8]) {
        let (Ok(info), Ok(kind)) = (Value::parse(header_info), Value::parse(type_info)) else { return };
        let provides = child(Some(info), "artifact_provides");
        self.name = text(child(provides, "artifact_name")).unwrap_or_default();
        self.group = text(child(provides, "artifact_group"));
        let payload = child(Some(info), "payloads").and_then(Value::items).and_then(|mut all| all.next());
        self.payload_type = text(child(payload, "type"));
        for depends in [child(Some(info), "artifact_depends"), child(Some(kind), "artifact_depends")] {
            for (key, value) in depends.and_then(Value::members).into_iter().flatten() {
                if key.is("device_type") {
                    self.device_types.extend(texts(value));
                } else {
                    self.depends.push((key.to_string(), texts(value)));
                }
            }
        }
        let provides = child(Some(kind), "artifact_provides").and_then(Value::members).into_iter().flatten();
        self.provides.extend(provides.filter_map(|(key, value)| Some((key.to_string(), text(Some(value))?))));
        self.clears = child(Some(kind), "clears_artifact_provides").map_or(Vec::new(), texts);
    }

    /// Bytes of all files of its payload.
    pub(super) fn payload_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, (_, size)| sum.saturating_add(*size))
    }
}

fn child<'a>(value: Option<Value<'a>>, name: &str) -> Option<Value<'a>> {
    value?.member(name).ok().flatten()
}

fn text(value: Option<Value<'_>>) -> Option<String> {
    Some(value?.as_str()?.to_string())
}

/// A string, or a list of strings.
fn texts(value: Value<'_>) -> Vec<String> {
    match text(Some(value)) {
        Some(one) => vec![one],
        None => value.items().into_iter().flatten().filter_map(|item| text(Some(item))).collect(),
    }
}

/// What a name of the command line is.
pub(super) fn target(source: &str) -> Target<'_> {
    let is_url = ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme));
    if is_url { Target::Url(source) } else { Target::File(source) }
}

/// Says that a named pipe is waited for, before it is.
pub(super) fn tell_of_wait(device: &Device, source: Target<'_>) {
    let Target::File(path) = source else { return };
    // Links as /dev/stdin have somebody at their other end.
    if std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_fifo()) {
        device.log(
            Level::Warning,
            format_args!("{path} is a named pipe: waiting until somebody writes the artifact into it, 5 minutes at most"),
        );
    }
}

/// Whether it can be read a second time.
pub(super) fn can_be_read_again(source: Target<'_>) -> bool {
    match source {
        Target::Url(_) => true,
        Target::File(path) => std::fs::metadata(path).is_ok_and(|found| found.is_file()),
    }
}

/// Longest name of a source in bytes: what `install` takes.
pub(super) const SOURCE_MAX: usize = limits::URL;
