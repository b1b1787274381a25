//! The bootstrap artifact: says what is installed on a device that was never updated (CLI-60 to CLI-62).

use std::fs;
use std::io;

use thimble_core::checkpoint::Unusable;
use thimble_core::client::{Client, LoadError, Start, saved_checkpoint};
use thimble_core::config::Config;
use thimble_core::hal::{Hal, Level};
use thimble_core::http::Target;
use thimble_core::machine::{Run, StopSet};
use thimble_hal_linux::platform::{Linux, Memory};
use thimble_hal_linux::storage::{RECORD_MAX, Store};

use crate::device::Device;
use crate::drive::drive;
use crate::output::Failure;
use crate::signals::Signals;
use crate::verbs::VerbName;

/// Installs the bootstrap artifact, if there is one, where no artifact name is on record. The artifact is
/// deleted, used or not. What is wrong with it is logged (C-5). The caller holds the lock.
/// Not while an update is in progress, whose scripts the bootstrap artifact would remove; nothing is changed then.
pub(crate) fn ensure(device: &Device, mut storage: Store, signals: &mut Signals) -> Result<Store, Failure> {
    if storage.unfinished().is_some() || has_update(&mut storage)? {
        return Ok(storage);
    }
    let path = device.paths.bootstrap();
    if !storage.has_name() {
        if let Err(reason) = install(device, signals) {
            device.log(Level::Error, format_args!("bootstrap artifact {}: {reason}", path.display()));
        }
        // What the client stored is in the file, not in this store.
        storage = device.store()?;
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            device.log(Level::Warning, format_args!("{} cannot be removed: {error}", path.display()));
        }
        Ok(()) | Err(_) => {}
    }
    Ok(storage)
}

/// Whether an update is in progress, this version's or a newer one's.
fn has_update(storage: &mut Store) -> Result<bool, Failure> {
    match saved_checkpoint(storage, &mut vec![0; RECORD_MAX]) {
        Ok(Some(_)) | Err(LoadError::Unusable(Unusable::Newer(_))) => Ok(true),
        Ok(None) | Err(LoadError::Unusable(Unusable::Corrupt)) => Ok(false),
        Err(LoadError::Storage(reason)) => Err(Failure::new(reason)),
    }
}

/// Installs the bootstrap artifact if there is one.
fn install(device: &Device, signals: &mut Signals) -> Result<(), String> {
    let path = device.paths.bootstrap();
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
        Ok(found) if !found.is_file() => return Err("not a regular file".into()),
        Ok(_) => {}
    }
    let path = path.to_str().ok_or("its path is no UTF-8 text")?;
    let mut memory = Memory::default();
    let config = Config::default();
    let start = Start {
        config: &config,
        run: Run::Bootstrap,
        stop_before: StopSet::default(),
        source: Some(Target::File(path)),
    };
    let hal: Hal<Linux> = device
        .store()
        .and_then(|storage| device.hal(storage, VerbName::ShowArtifact, None))
        .map_err(|failure| failure.to_string())?;
    let servers = device.servers();
    let mut client = Client::new(hal, device.about(&servers), memory.lend());
    client.start(start).map_err(|error| error.to_string())?;
    drive(&mut client, signals, |_| {}).map_err(|failure| failure.to_string())?;
    match client.report() {
        Some(report) if report.is_success() => Ok(()),
        Some(_) | None => Err(client.reason().to_owned()),
    }
}
