//! The throwaway device as a folder: what of a root file system or of this machine is in it, stand-ins, settings, scripts and module.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use thimble_core::script::{ScriptState, parse_name};
use thimble_hal_sim::given::Root;
use thimble_hal_sim::given::scripts::ENTRIES;

use super::handed::{COPIED, copy};
use super::options::Options;

/// Most bytes of this machine's `/etc`.
const ETC: u64 = 64 * 1024 * 1024;

/// What is there of this machine, read-only.
pub(super) const HOST: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"];

/// Where the stand-in for `date` reads the device's time, in seconds since 1970.
pub(super) const CLOCK: &str = "/sim/clock";

/// Where the stand-in for `date` finds the device's own.
pub(super) const REAL_DATE: &str = "sim/real/date";

/// What would change or restart a real device.
pub(super) const STAND_INS: [&str; 8] =
    ["reboot", "shutdown", "poweroff", "halt", "systemctl", "fw_printenv", "fw_setenv", "service"];

/// The device's settings.
pub(super) const CONFIG: &str = "/etc/mender/mender.conf";

/// Where the device's own things of the simulator are.
pub(super) const SIM: &str = "/sim";

/// A folder below `root`, made if it is not there. No link leads out of `root`: one to nowhere is replaced.
fn make(root: &Path, path: &str) -> io::Result<PathBuf> {
    let (mut at, mut inside) = (root.to_owned(), PathBuf::from("/"));
    for name in Path::new(path).components() {
        inside.push(name);
        let next = at.join(name);
        match fs::symlink_metadata(&next) {
            Ok(about) if about.is_dir() => at = next,
            Ok(_) => match Root::new(root).find(&inside).filter(|found| found.is_dir()) {
                Some(found) => at = found,
                None => {
                    fs::remove_file(&next)?;
                    fs::create_dir(&next)?;
                    at = next;
                }
            },
            Err(_) => {
                fs::create_dir(&next)?;
                at = next;
            }
        }
    }
    Ok(at)
}

/// Builds the folder that becomes `/`.
pub(super) fn build(root: &Path, options: &Options, payload_type: Option<&str>) -> Result<(), String> {
    let wrong = |what: &Path| {
        let what = what.display().to_string();
        move |error: io::Error| format!("{what}: {error}")
    };
    if let Some(from) = &options.root {
        copy(from, root, &mut COPIED.clone()).map_err(wrong(from))?;
    } else {
        copy(Path::new("/etc"), &root.join("etc"), &mut ETC.clone()).map_err(wrong(Path::new("/etc")))?;
        // This machine's own client is not the device's.
        let _ = fs::remove_dir_all(root.join("etc/mender"));
        for name in HOST {
            let of_host = Path::new("/").join(name);
            match fs::read_link(&of_host) {
                Ok(to) => symlink(to, root.join(name)).map_err(wrong(&of_host))?,
                Err(_) if of_host.is_dir() => fs::create_dir(root.join(name)).map_err(wrong(&of_host))?,
                Err(_) => {}
            }
        }
    }
    // What is the simulator's own is no link of the image's.
    for name in ["sim", "dev", "proc", "sys"] {
        if root.join(name).is_symlink() {
            fs::remove_file(root.join(name)).map_err(wrong(&root.join(name)))?;
        }
    }
    let make = |path: &str| make(root, path).map_err(wrong(&root.join(path)));
    for folder in [
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "root",
        "home",
        "mnt",
        "data",
        "boot",
        "var/lib/mender",
        "var/log",
        "var/tmp",
    ] {
        make(folder)?;
    }
    let (sim, bin, settings) = (make("sim")?, make("sim/bin")?, make("etc/mender")?);
    make("sim/real")?;
    let (modules, scripts) = (make("sim/mender/modules/v3")?, make("sim/scripts")?);
    let of_root = make("etc/mender/scripts")?;
    put(&sim.join("stand-in"), include_bytes!("stand-in.sh"), 0o755)?;
    for name in STAND_INS {
        put(&bin.join(name), include_bytes!("stand-in.sh"), 0o755)?;
    }
    if options.clock.is_some() {
        put(&bin.join("date"), include_bytes!("date.sh"), 0o755)?;
    }
    if let Some(config) = &options.config {
        let bytes = fs::read(config).map_err(wrong(config))?;
        put(&settings.join("mender.conf"), &bytes, 0o600)?;
    }
    for folder in &options.scripts {
        take_scripts(folder, &of_root, &scripts)?;
    }
    if let Some(module) = &options.module {
        let name = payload_type.ok_or("--module: the artifact has no payload, and calls no module")?;
        let bytes = fs::read(module).map_err(wrong(module))?;
        put(&modules.join(name), &bytes, 0o755)?;
    }
    Ok(())
}

/// A file in a folder that is no link; a link of its name is replaced.
pub(super) fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    if path.is_symlink() {
        fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Scripts of `Artifact` states wait for the artifact; all other files are the root file system's.
fn take_scripts(folder: &Path, of_root: &Path, of_artifact: &Path) -> Result<(), String> {
    let wrong = |error: io::Error| format!("--scripts {}: {error}", folder.display());
    let mut entries = fs::read_dir(folder).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if entries.len() > ENTRIES {
        return Err(format!("--scripts {}: more than {ENTRIES} files", folder.display()));
    }
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let about = fs::metadata(&path).map_err(wrong)?;
        if !about.is_file() {
            continue;
        }
        let is_artifact = name.to_str().and_then(parse_name).is_some_and(|t| t.state.is_artifact());
        let to = if is_artifact { of_artifact } else { of_root }.join(&name);
        let mode = if is_artifact { 0o700 } else { about.permissions().mode() & 0o7777 };
        put(&to, &fs::read(&path).map_err(wrong)?, mode)?;
    }
    Ok(())
}

/// The folders with scripts of these states.
pub(super) fn scripts_folder(state: ScriptState) -> &'static Path {
    Path::new(if state.is_artifact() { "/var/lib/mender/scripts" } else { "/etc/mender/scripts" })
}
