//! Two root file systems, and the boot loader that tries one.

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

const SLOTS: &str = "root file systems";

/// How long a boot loader that answered once may take for another answer.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn look(device: &Device, found: &mut Findings) {
    const NAME: &str = "boot loader";
    let Some(roots) = Roots::look(device) else { return unset(device, found) };
    let is_root = rustix::process::geteuid().is_root();
    if let Some(devices) = &roots.devices {
        slots(devices, is_root, found);
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

/// No two root file systems are configured.
fn unset(device: &Device, found: &mut Findings) {
    let conf = &device.conf;
    let missing = match (&device.conf_trouble, &conf.rootfs_part_a, &conf.rootfs_part_b) {
        (Some(trouble), ..) => {
            return found.unset(trouble, SLOTS, "whether RootfsPartA and RootfsPartB are");
        }
        (None, None, None) => {
            let text = "RootfsPartA and RootfsPartB are not set: root file systems are not updated; other updates need neither";
            return found.good(SLOTS, text);
        }
        (None, None, Some(_)) => "RootfsPartA",
        (None, Some(_), _) => "RootfsPartB",
    };
    let text = format!("{missing} is not set, and its counterpart is: root file systems are not updated");
    found.doubtful(SLOTS, text, "set both RootfsPartA and RootfsPartB, or none");
}

fn slots(devices: &[String; 2], is_root: bool, found: &mut Findings) {
    for device in devices {
        let path = Path::new(device);
        let trouble = match (size_of_device(path), access(path, Access::WRITE_OK)) {
            (Ok(bytes), Ok(())) => {
                found.good(SLOTS, format_args!("{device} has {}", size(bytes)));
                continue;
            }
            (Err(error), _) if error.raw_os_error().is_some() => format!("{device} cannot be read: {error}"),
            // A UBI volume does not say how large it is.
            (Err(error), Ok(())) => {
                found.good(SLOTS, format_args!("{device}: {error}"));
                continue;
            }
            (_, Err(error)) => format!("{device} cannot be written: {error}"),
        };
        if is_root {
            found.stops(SLOTS, trouble, "correct RootfsPartA or RootfsPartB, or make that partition usable");
        } else {
            found.unseen(SLOTS, trouble);
        }
    }
}
