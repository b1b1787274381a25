//! The datastore: what is on record, and whether more can be.

use std::fs;

use rustix::fs::{StatVfsMountFlags, statvfs};
use thimble_core::checkpoint::Unusable;
use thimble_core::client::{LoadError, saved_checkpoint};
use thimble_core::hal::{Level, System};
use thimble_core::limits;
use thimble_hal_linux::module::free_space_at;
use thimble_hal_linux::storage::{Access, DataDirectory, Notice, RECORD_MAX};

use crate::device::{Device, SPACE_WANTED};
use crate::doctor::{Findings, is_hidden};
use crate::people::size;
use crate::provides::Provides;

const NAME: &str = "datastore";

pub(super) fn look(device: &Device, found: &mut Findings) {
    let path = device.paths.datastore();
    match device.was_never_used() {
        Err(failure) if is_hidden(path) => found.unseen(NAME, failure),
        Err(failure) => found.stops(NAME, failure, "mount the file system, or correct the link"),
        Ok(true) => {
            found.good(NAME, format_args!("{} is not there yet: the first start makes it", path.display()))
        }
        Ok(false) if is_hidden(path) => {
            found.unseen(NAME, format_args!("{} is not readable", path.display()))
        }
        Ok(false) if path.is_file() => {
            let mend = "move it away: the first start makes a directory";
            return found.stops(NAME, format_args!("{} is a file", path.display()), mend);
        }
        Ok(false) => records(device, found),
    }
    space(device, found);
}

fn records(device: &Device, found: &mut Findings) {
    let path = device.paths.datastore();
    if let Ok(Some((level, text))) = DataDirectory::open(path).and_then(|directory| directory.weakness(path))
        && level == Level::Warning
    {
        // The text says what to run.
        found.doubtful(NAME, text, "");
    }
    let (mut store, notices) = match device.open_store(Access::ReadOnly) {
        Ok(opened) => opened,
        Err(failure) => {
            let mend = "if nothing else helps, move the files of its records away: the name of what is installed is lost then";
            return found.stops(NAME, failure, mend);
        }
    };
    let mend = "install an artifact, unless what 'thimble show-artifact' prints is what is installed";
    for notice in notices.iter().filter(|notice| notice.level() >= Level::Warning) {
        found.doubtful(NAME, notice, mend);
    }
    let is_cut_off = device.is_cut_off(&store);
    if is_cut_off {
        let text =
            "the last record is cut off, by a loss of power or by damage: those before it are in force";
        found.doubtful(NAME, text, mend);
    }
    let is_spoilt = is_cut_off || notices.iter().any(|notice| matches!(notice, Notice::Broken { .. }));
    let is_name_lost = is_spoilt && !store.has_name();
    match saved_checkpoint(&mut store, &mut vec![0; RECORD_MAX]) {
        Ok(None) => {}
        Ok(Some(_)) => {
            let mend = "see 'thimble status': 'commit', 'rollback' or 'resume' ends it, or the daemon";
            found.doubtful("update in progress", "there is one, and no other begins before its end", mend);
        }
        Err(LoadError::Unusable(Unusable::Corrupt)) => {
            let mend = "check what is installed, then install an artifact";
            found.doubtful("update in progress", "the record of one is damaged, and will be given up", mend);
        }
        Err(LoadError::Unusable(Unusable::Newer(newer))) => {
            found.stops("update in progress", newer, "go on with the version of the client that wrote it");
        }
        Err(LoadError::Storage(error)) => found.stops(NAME, error, "check the disk"),
    }
    match Provides::read(&mut store) {
        Ok(_) if is_name_lost => {
            let text = "its name is not known: records were lost";
            found.doubtful("what is installed", text, "install an artifact that depends on nothing");
        }
        Ok(provides) => {
            let name = provides.name().map_or_else(|| device.name_of_image(), str::to_owned);
            found.good("what is installed", format_args!("artifact \"{name}\""));
        }
        Err(failure) => {
            found.doubtful("what is installed", failure, "install an artifact that depends on nothing")
        }
    }
}

fn space(device: &Device, found: &mut Findings) {
    let path = device.paths.datastore();
    let there = path.ancestors().find(|part| fs::metadata(part).is_ok_and(|part| part.is_dir()));
    let is_read_only = there
        .and_then(|there| statvfs(there).ok())
        .is_some_and(|space| space.f_flag.contains(StatVfsMountFlags::RDONLY));
    if is_read_only {
        let mend = "mount it for writing, or make the datastore a link to a file system that is";
        return found.stops(
            "space",
            format_args!("the file system of {} is read-only", path.display()),
            mend,
        );
    }
    match free_space_at(path) {
        Ok(Some(free)) if free < SPACE_WANTED => found.stops(
            "space",
            format_args!(
                "{} are free at {}, and records and logs want {}",
                size(free),
                path.display(),
                size(SPACE_WANTED)
            ),
            "make room there",
        ),
        Ok(Some(free)) => found.good("space", format_args!("{} are free at {}", size(free), path.display())),
        // In a file system that compresses, say.
        Ok(None) => found.good("space", format_args!("how much is free at {} is not known", path.display())),
        Err(error) if is_hidden(path) => found.unseen("space", format_args!("{}: {error}", path.display())),
        Err(error) => {
            found.doubtful("space", format_args!("{}: {error}", path.display()), "check that file system");
        }
    }
}

/// What artifacts are made for.
pub(super) fn device_type(device: &Device, found: &mut Findings) {
    const NAME: &str = "device type";
    let mut buf = [0; limits::DEVICE_TYPE];
    let path = device.conf.device_type_file.clone().unwrap_or_else(|| device.paths.device_type());
    match device.facts().device_type(&mut buf) {
        Ok(kind) => found.good(NAME, format_args!("\"{kind}\"")),
        Err(error) if is_hidden(&path) => found.unseen(NAME, error),
        Err(error) => match &device.conf_trouble {
            Some(trouble) => found.unset(trouble, NAME, "which DeviceTypeFile is"),
            None => found.stops(NAME, error, "have it written: 'thimble setup'"),
        },
    }
}
