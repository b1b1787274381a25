//! What a user hands over to be explained, explored or shown: artifact, state scripts, settings, device. The options for it are the
//! same everywhere.

use std::fs;
use std::path::Path;

use thimble_core::config::Config;
use thimble_hal_linux::config::{MenderConf, Source};
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_sim::given::artifact::{self, Artifact};
use thimble_hal_sim::given::scripts;
use thimble_hal_sim::sim::DEVICE_TYPE;
use thimble_hal_sim::world::{NEW, Profile};

use crate::failure::Failure;

/// What the options of every page say about it.
macro_rules! subject_help {
    () => {
        "  --artifact FILE       the artifact: its scripts, its type of payload, and its device [a made-up one]
  --scripts DIR         state scripts, by their names; repeatable
  --config FILE         the device's mender.conf: how long programs may take
  --device KIND         slots, files, custom or one-way, as in scenarios [files; slots for rootfs-image]
  --standalone          installed by the command line, in place of the daemon
"
    };
}
pub(crate) use subject_help;

/// What was handed over.
#[derive(Default)]
pub(crate) struct Subject {
    pub(crate) artifact: Option<Artifact>,
    /// Names of the scripts of all folders.
    folders: Vec<String>,
    pub(crate) config: Config,
    profile: Option<Profile>,
    pub(crate) standalone: bool,
    /// The options that were taken, as they were written.
    words: Vec<String>,
}

impl Subject {
    /// Takes an option, with the value behind it where it has one. `Ok(false)`: it is none of these.
    pub(crate) fn take<'w>(
        &mut self,
        word: &'w str,
        value: &mut impl FnMut() -> Result<&'w str, Failure>,
    ) -> Result<bool, Failure> {
        let mut value = || {
            let value = value()?;
            self.words.push(word.to_owned());
            self.words.push(value.to_owned());
            Ok::<&str, Failure>(value)
        };
        match word {
            "--artifact" => {
                let path = value()?;
                if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
                    return Err(format!("{path}: it is no file").into());
                }
                let file = fs::File::open(path).map_err(|error| format!("{path}: {error}"))?;
                let read = artifact::read(file, &mut Decompressor::default());
                self.artifact = Some(read.map_err(|error| {
                    Failure::Input(format!("{path}: no device takes this artifact: {error}"))
                })?);
            }
            "--scripts" => {
                let path = value()?;
                let found =
                    scripts::folder(Path::new(path), None).map_err(|error| format!("{path}: {error}"))?;
                self.folders.extend(found.into_iter().map(|script| script.name));
            }
            "--config" => {
                let main = Source { path: Path::new(value()?), required: true };
                self.config =
                    MenderConf::load(main, main).map_err(|error| error.to_string())?.0.core_config();
            }
            "--device" => {
                self.profile = Some(Profile::named(value()?).map_err(|why| format!("--device {why}"))?);
            }
            "--standalone" => {
                self.standalone = true;
                self.words.push(word.to_owned());
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Nothing was handed over.
    pub(crate) const fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The options, for a command that does the same again.
    pub(crate) fn words(&self) -> &[String] {
        &self.words
    }

    /// The device and its update module.
    pub(crate) fn profile(&self) -> Profile {
        let payload_type = self.artifact.as_ref().map(|artifact| artifact.payload_type.as_deref());
        match (payload_type, self.profile) {
            (Some(None), _) => Profile::EMPTY,
            (_, Some(profile)) => profile,
            (Some(Some("rootfs-image")), None) => Profile::SLOTS,
            (_, None) => Profile::FILES,
        }
    }

    /// Names of all scripts, those of the folders and those of the artifact.
    pub(crate) fn scripts(&self) -> Vec<String> {
        let inside = self.artifact.iter().flat_map(|artifact| &artifact.scripts);
        self.folders.iter().cloned().chain(inside.map(|(name, _)| name.clone())).collect()
    }

    /// The type of the device: the first that the artifact names.
    pub(crate) fn device_type(&self) -> &str {
        let first = self.artifact.as_ref().and_then(|artifact| artifact.device_types.first());
        first.map_or(DEVICE_TYPE, String::as_str)
    }

    /// `release-2 for board, ...`, on a device of this type.
    pub(crate) fn title(&self, device_type: &str) -> String {
        let name = self.artifact.as_ref().map_or(NEW, |artifact| &artifact.name);
        let payload = match self.artifact.as_ref().map(|artifact| &artifact.payload_type) {
            Some(Some(kind)) => kind.as_str(),
            Some(None) => "no payload",
            None => "a made-up payload",
        };
        let who = if self.standalone { "the command line" } else { "the daemon" };
        let Profile { slots, rollback, .. } = self.profile();
        let kind = match (slots, rollback) {
            (true, _) => "a device with two slots",
            (false, true) => "a device that overwrites in place and can put back",
            (false, false) => "a device that overwrites in place and cannot put back",
        };
        format!("{name} for {device_type}: {payload}, installed by {who} on {kind}")
    }
}
