//! Two root file systems, and the boot loader that tries one.

use std::io::ErrorKind;
use std::path::Path;

use rustix::fs::{Access, access};
use thimble_core::hal::BootCall;
use thimble_core::time::Duration;
use thimble_hal_linux::bootloader::LinuxBootloader;
use thimble_hal_linux::rootfs::slot::Machine;

use crate::device::Device;
use crate::doctor::Findings;
use crate::inspect::size_of_device;
use crate::people::size;
use crate::roots::Roots;

/// How long a boot loader that answered once may take for another answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn look(device: &Device, found: &mut Findings) {
    const NAME: &str = "boot loader";
    let Some(roots) = Roots::look(device) else {
        let text = "RootfsPartA and RootfsPartB are not set: root file systems are not updated, which all else does not need";
        return found.good("root file systems", text);
    };
    let is_root = rustix::process::geteuid().is_root();
    if let Some(devices) = &roots.devices {
        slots(devices, found);
    }
    match (&roots.boot, &roots.trouble) {
        (Some(boot), None) => {
            let loader = roots.boot_loader.as_deref().unwrap_or("found");
            if let Some(why) = read_only(device) {
                let text = format!("{loader}; it cannot be written: {why}");
                if is_root {
                    found.stops(NAME, text, "mount its file system for writing, or see support/rootfs.md");
                } else {
                    found.unseen(NAME, text);
                }
            } else if boot.trial {
                let text = format!("{loader}; it is set to try a root file system");
                found.doubtful(NAME, text, "commit or roll back the update first: see 'thimble status'");
            } else {
                found.good(NAME, format_args!("{loader}; root {} runs", boot.running.name()));
            }
        }
        (_, trouble) => {
            let trouble = trouble.as_deref().unwrap_or("how it stands is not known");
            if is_root {
                let mend = "see support/rootfs.md: what each boot loader needs, and the key Bootloader";
                found.stops(NAME, trouble, mend);
            } else {
                found.unseen(NAME, trouble);
            }
        }
    }
}

/// Why what the boot loader keeps its records in cannot be written. Only asked for, and nothing is written.
fn read_only(device: &Device) -> Option<String> {
    let mut loader = LinuxBootloader::new(device.boot_settings(), Machine::default()).patient(PATIENCE);
    loader.wait(BootCall::Status).ok()?;
    let places = match loader.places() {
        Ok(places) => places,
        Err(error) => return Some(error.to_string()),
    };
    places.into_iter().find_map(|place| {
        let error = access(&place, Access::WRITE_OK).err()?;
        Some(format!("{}: {error}", place.display()))
    })
}

fn slots(devices: &[String; 2], found: &mut Findings) {
    const NAME: &str = "root file systems";
    for device in devices {
        let path = Path::new(device);
        match (size_of_device(path), access(path, Access::WRITE_OK)) {
            (Ok(bytes), Ok(())) => found.good(NAME, format_args!("{device} has {}", size(bytes))),
            (Err(error), _) if error.kind() == ErrorKind::PermissionDenied => {
                found.unseen(NAME, format_args!("{device}: {error}"));
            }
            (Err(error), _) => found.unseen(NAME, format_args!("{device}: {error}")),
            (Ok(_), Err(error)) => found.unseen(NAME, format_args!("{device} cannot be written: {error}")),
        }
    }
}
