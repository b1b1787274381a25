//! What this device says to an artifact: each thing that `install` asks for and that can be known before.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::path::Path;

use thimble_core::artifact::accept::{NotAccepted, Payload};
use thimble_core::artifact::provides::UNKNOWN;
use thimble_core::checkpoint::Unusable;
use thimble_core::client::{LoadError, saved_checkpoint};
use thimble_core::hal::{Key, Slot, Storage, System, UpdateModule};
use thimble_core::limits;
use thimble_hal_linux::handler::is_built_in;
use thimble_hal_linux::module::{Modules, free_space_at};
use thimble_hal_linux::storage::{Access, RECORD_MAX};
use thimble_hal_linux::system::SystemError;

use super::read::Artifact;
use crate::device::Device;
use crate::json::quoted;
use crate::output::Failure;
use crate::people;
use crate::roots::Roots;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As it must be.
    Good,
    /// The installation may fail.
    Doubtful,
    /// Nobody could see it.
    Unknown,
    /// The installation would be refused.
    Refused,
}

impl Standing {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Doubtful => "doubtful",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) standing: Standing,
    /// Which value was wanted, and which is there.
    pub(super) text: String,
}

impl Check {
    fn new(name: &'static str, standing: Standing, text: impl ToString) -> Self {
        Self { name, standing, text: text.to_string() }
    }
}

/// What is known of the device before the artifact is read.
pub(super) struct Known {
    pub(super) device_type: Result<String, SystemError>,
    /// The record of what is installed, as `install` would read it.
    pub(super) installed: Result<Vec<u8>, String>,
    /// What stands in the way of any installation.
    in_progress: Option<Check>,
}

impl Known {
    /// Looks at the device; writes nothing and waits for nobody.
    pub(super) fn of(device: &Device) -> Self {
        let mut buf = [0; limits::DEVICE_TYPE];
        let device_type = device.facts().device_type(&mut buf).map(str::to_owned);
        let mut in_progress = None;
        let installed = installed(device, &mut in_progress).map_err(|failure| failure.to_string());
        Self { device_type, installed, in_progress }
    }
}

fn installed(device: &Device, in_progress: &mut Option<Check>) -> Result<Vec<u8>, Failure> {
    let of_name = |name: String| format!("{{\"artifact_name\":{}}}", quoted(&name)).into_bytes();
    if device.was_never_used()? {
        return Ok(of_name(device.name_of_image()));
    }
    let (mut store, _) = device.open_store(Access::ReadOnly)?;
    let mut buf = vec![0; RECORD_MAX];
    *in_progress = match saved_checkpoint(&mut store, &mut buf) {
        Ok(None) => None,
        Ok(Some(_)) => Some((
            Standing::Refused,
            "there is one, which 'commit', 'rollback' or 'resume' ends, or the daemon: see 'status'"
                .to_owned(),
        )),
        // The installation goes on without it.
        Err(LoadError::Unusable(Unusable::Corrupt)) => {
            Some((Standing::Doubtful, "the record of one is damaged, and would be given up".to_owned()))
        }
        Err(LoadError::Unusable(Unusable::Newer(newer))) => Some((Standing::Refused, newer.to_string())),
        Err(LoadError::Storage(error)) => return Err(Failure::new(error)),
    }
    .map(|(standing, text)| Check::new("update in progress", standing, text));
    let provides = store.read(Key::Provides, &mut buf).map_err(Failure::new)?.map(<[u8]>::to_vec);
    Ok(provides.unwrap_or_else(|| of_name(UNKNOWN.to_owned())))
}

/// Everything that `install` would ask for. `judged`: what the client's own judgement of the header is, if what is installed
/// is known. `is_whole`: the artifact could be read to its end.
pub(super) fn checks(
    device: &Device,
    known: Known,
    artifact: &Artifact,
    judged: Option<Result<Payload, NotAccepted>>,
    is_whole: bool,
) -> Vec<Check> {
    let mut all = Vec::new();
    let wanted =
        artifact.device_types.iter().map(|kind| format!("\"{kind}\"")).collect::<Vec<_>>().join(" or ");
    match &known.device_type {
        Ok(kind) if artifact.device_types.contains(kind) => {
            all.push(Check::new(
                "device type",
                Standing::Good,
                format_args!("the artifact is for {wanted}, and this device is a \"{kind}\""),
            ));
        }
        // The judgement says it.
        Ok(_) if judged.is_some() => {}
        Ok(kind) => {
            let text = format!("the artifact is for {wanted}, and this device is a \"{kind}\"");
            all.push(Check::new("device type", Standing::Refused, text));
        }
        Err(error) => {
            let is_hidden =
                matches!(error, SystemError::Read(_, error) if error.kind() == ErrorKind::PermissionDenied);
            let standing = if is_hidden { Standing::Unknown } else { Standing::Refused };
            all.push(Check::new("device type", standing, error));
        }
    }
    all.extend(known.in_progress);
    match (judged, &known.installed) {
        (_, Err(error)) => all.push(Check::new("what is installed", Standing::Unknown, error)),
        (Some(Err(refusal)), Ok(_)) => {
            let name = if matches!(known.device_type, Ok(ref kind) if !artifact.device_types.contains(kind)) {
                "device type"
            } else {
                "what is installed"
            };
            all.push(Check::new(name, Standing::Refused, refusal));
        }
        (Some(Ok(_)), Ok(_)) if artifact.depends.is_empty() => {
            all.push(Check::new("what is installed", Standing::Good, "the artifact depends on nothing else"));
        }
        (Some(Ok(_)), Ok(_)) => {
            let text = "what the artifact depends on is installed";
            all.push(Check::new("what is installed", Standing::Good, text));
        }
        (None, Ok(_)) => {}
    }
    if let Some(kind) = &artifact.payload_type {
        let wanted = if is_whole { Some(artifact.payload_bytes()) } else { None };
        payload(device, wanted, kind, &mut all);
    }
    all
}

/// `wanted`: the bytes of the payload, where they are known.
fn payload(device: &Device, wanted: Option<u64>, kind: &str, all: &mut Vec<Check>) {
    let paths = &device.paths;
    let mut modules = match Modules::new(paths.data(), paths.datastore(), device.log.clone()) {
        Ok(modules) => modules,
        Err(error) => return all.push(Check::new("update module", Standing::Unknown, error)),
    };
    if is_built_in(&modules, kind) {
        return slots(device, wanted, all);
    }
    let path = paths.data().join("modules/v3").join(kind);
    all.push(match modules.select(kind) {
        Ok(()) => Check::new("update module", Standing::Good, path.display()),
        Err(error) => Check::new("update module", Standing::Refused, error),
    });
    let Some(wanted) = wanted else { return all.push(unknown_length()) };
    all.push(match free_space_at(paths.datastore()) {
        Ok(Some(free)) if free < wanted => Check::new("space", Standing::Doubtful, format_args!(
            "the payload has {}, and there are {} free at {}: a module that stores its files there before it \
             installs them has no room",
            people::size(wanted), people::size(free), paths.datastore().display()
        )),
        Ok(Some(free)) => Check::new("space", Standing::Good, format_args!(
            "the payload has {}, and there are {} free at {}",
            people::size(wanted), people::size(free), paths.datastore().display()
        )),
        Ok(None) => Check::new("space", Standing::Unknown, format_args!(
            "the payload has {}; how much is free at {} is not known",
            people::size(wanted), paths.datastore().display()
        )),
        Err(error) => Check::new("space", Standing::Unknown, format_args!("{}: {error}", paths.datastore().display())),
    });
}

fn unknown_length() -> Check {
    let text = "how long the payload is is not known: the artifact cannot be read to its end";
    Check::new("space", Standing::Unknown, text)
}

/// The image of a root file system needs two slots, a boot loader that can try one, and room in it.
fn slots(device: &Device, wanted: Option<u64>, all: &mut Vec<Check>) {
    const NAME: &str = "root file systems";
    let Some(roots) = Roots::look(device) else {
        let text = "RootfsPartA and RootfsPartB are not set in mender.conf: there is no slot for an image";
        return all.push(Check::new(NAME, Standing::Refused, text));
    };
    let (Some(devices), Some(boot)) = (&roots.devices, &roots.boot) else {
        let text = roots.trouble.unwrap_or_else(|| "how they stand is not known".to_owned());
        return all.push(Check::new(NAME, Standing::Refused, text));
    };
    let [a, b] = devices;
    let other = match boot.running {
        Slot::A => b,
        Slot::B => a,
    };
    all.push(Check::new(NAME, Standing::Good, format_args!("the image goes to {other}")));
    let Some(wanted) = wanted else { return all.push(unknown_length()) };
    all.push(match size(Path::new(other)) {
        Ok(there) if there < wanted => Check::new(
            "space",
            Standing::Refused,
            format_args!("the image has {wanted} bytes, and {other} has {there}"),
        ),
        Ok(there) => Check::new(
            "space",
            Standing::Good,
            format_args!("the image has {wanted} bytes, and {other} has {there}"),
        ),
        Err(error) => Check::new("space", Standing::Unknown, format_args!("{other}: {error}")),
    });
}

/// The bytes of a block device.
pub(crate) fn size(path: &Path) -> std::io::Result<u64> {
    match File::open(path)?.seek(SeekFrom::End(0))? {
        // A UBI volume says nothing in this way.
        0 => Err(std::io::Error::other("how large it is cannot be seen")),
        size => Ok(size),
    }
}
