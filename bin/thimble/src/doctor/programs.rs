//! State scripts, update modules, and the programs that say who the device is and what it has: whether they ever run.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use thimble_core::hal::UpdateModule;
use thimble_hal_linux::agent;
use thimble_hal_linux::module::Modules;
use thimble_hal_linux::process::cannot_start;
use thimble_hal_linux::scripts;
use thimble_hal_linux::trust::{Untrusted, check_program};

use crate::device::Device;
use crate::doctor::{Findings, is_hidden};

/// Programs of one kind that are told one by one.
const MOST: usize = 64;

pub(super) fn look(device: &Device, found: &mut Findings) {
    identity(device, found);
    state_scripts(&device.paths.rootfs_scripts(), found);
    modules(device, found);
    for fault in agent::inventory_faults(device.paths.data()).into_iter().take(MOST) {
        found.doubtful("inventory", fault, "its values are missing at the server until that is mended");
    }
}

fn state_scripts(dir: &Path, found: &mut Findings) {
    const NAME: &str = "state scripts";
    if is_hidden(dir) {
        return found.unseen(NAME, format_args!("{} is not readable", dir.display()));
    }
    let faults = scripts::faults(dir);
    let is_good = faults.is_empty();
    for fault in faults.into_iter().take(MOST) {
        if fault.stops {
            found.stops(NAME, fault.text, "until then every update fails that comes to it");
        } else {
            found.doubtful(NAME, fault.text, "rename it, make it executable, or move it elsewhere");
        }
    }
    if is_good && dir.is_dir() {
        found.good(NAME, format_args!("nothing is against those in {}", dir.display()));
    }
}

fn modules(device: &Device, found: &mut Findings) {
    const NAME: &str = "update modules";
    let dir = device.paths.modules();
    let has_slots = device.conf.rootfs_part_a.is_some() && device.conf.rootfs_part_b.is_some();
    let none = |found: &mut Findings| {
        let mend = "install modules, or set RootfsPartA and RootfsPartB";
        found.stops(
            NAME,
            format_args!("there is none in {}, and no root file systems are set", dir.display()),
            mend,
        );
    };
    let entries = match fs::read_dir(&dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return found.unseen(NAME, format_args!("{}: {error}", dir.display()));
        }
        Err(_) if has_slots => return,
        Err(_) => return none(found),
    };
    let paths = &device.paths;
    let Ok(mut modules) = Modules::new(paths.data(), paths.datastore(), device.log.clone()) else { return };
    let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort_unstable();
    let mut good = Vec::new();
    for name in names.iter().take(MOST) {
        match name.to_str().map(|name| (name, modules.select(name))) {
            Some((name, Ok(()))) => match cannot_start(&dir.join(name)) {
                None => good.push(name),
                Some(why) => {
                    let text = format!("{}: {why}", dir.join(name).display());
                    found.doubtful(NAME, text, "until then artifacts of this type fail");
                }
            },
            Some((_, Err(error))) => {
                found.doubtful(NAME, error, "until then artifacts of this type are refused")
            }
            None => {
                let text = format!("{} is no payload type", name.display());
                found.doubtful(NAME, text, "rename it");
            }
        }
    }
    if !good.is_empty() {
        found.good(NAME, good.join(", "));
    } else if !has_slots {
        none(found);
    }
}

fn identity(device: &Device, found: &mut Findings) {
    const NAME: &str = "identity";
    // Nobody asks who a device is that has no server.
    if device.conf.servers.is_empty() {
        return;
    }
    let path = device.paths.identity();
    match check_program(&path) {
        Ok(()) => match cannot_start(&path) {
            None => found.good(NAME, path.display()),
            Some(why) => found.stops(
                NAME,
                format_args!("{}: {why}", path.display()),
                "no server accepts a device without it",
            ),
        },
        Err(Untrusted::Io(_, error)) if error.kind() == ErrorKind::PermissionDenied => {
            found.unseen(NAME, format_args!("{}: {error}", path.display()));
        }
        Err(untrusted) => {
            let mend = "put a program there that prints key=value, such as mac=...: no server accepts a device without";
            found.stops(NAME, untrusted, mend);
        }
    }
}
