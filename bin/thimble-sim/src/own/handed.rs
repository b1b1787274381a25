//! What was handed over to a run, as copies that the later stages find: the originals are not seen by them.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use thimble_core::limits;
use thimble_hal_sim::given::scripts::ENTRIES;

use super::options::Options;

/// Most bytes of a root file system that are copied.
pub(super) const COPIED: u64 = 4 * 1024 * 1024 * 1024;

/// Longest module and longest settings, in bytes.
const MODULE: u64 = 256 * 1024 * 1024;
const SETTINGS: u64 = 1024 * 1024;

/// The copies of what was handed over, in the folder: the originals are not seen by any later stage.
pub(super) fn use_copies(options: &mut Options, folder: &Path) {
    let input = folder.join("in");
    options.artifact = input.join("artifact");
    for (path, name) in
        [(&mut options.module, "module"), (&mut options.config, "mender.conf"), (&mut options.root, "root")]
    {
        if path.is_some() {
            *path = Some(input.join(name));
        }
    }
    for (number, path) in options.scripts.iter_mut().enumerate() {
        *path = input.join(format!("scripts-{number}"));
    }
}

/// Copies what was handed over to where the later stages find it.
pub(super) fn take(options: &Options, input: &Path) -> Result<(), String> {
    fs::create_dir(input).map_err(|error| format!("{}: {error}", input.display()))?;
    let file = |option: &str, from: &Path, most: u64, to: &str| {
        let wrong = |why: &dyn std::fmt::Display| format!("{option} {}: {why}", from.display());
        let about = fs::metadata(from).map_err(|error| wrong(&error))?;
        if !about.is_file() {
            return Err(wrong(&"it is no file"));
        }
        if about.len() > most {
            return Err(wrong(&format!("it has {} bytes, and at most {most} are taken", about.len())));
        }
        fs::copy(from, input.join(to)).map(drop).map_err(|error| wrong(&error))
    };
    file("--artifact", &options.artifact, u64::MAX, "artifact")?;
    if let Some(module) = &options.module {
        file("--module", module, MODULE, "module")?;
    }
    if let Some(config) = &options.config {
        file("--config", config, SETTINGS, "mender.conf")?;
    }
    for (number, folder) in options.scripts.iter().enumerate() {
        let to = format!("scripts-{number}");
        let wrong = |path: &Path, error: io::Error| format!("--scripts {}: {error}", path.display());
        fs::create_dir(input.join(&to)).map_err(|error| wrong(folder, error))?;
        for (count, entry) in fs::read_dir(folder).map_err(|error| wrong(folder, error))?.enumerate() {
            let path = entry.map_err(|error| wrong(folder, error))?.path();
            if count == ENTRIES {
                return Err(format!("--scripts {}: more than {ENTRIES} files", folder.display()));
            }
            if fs::metadata(&path).map_err(|error| wrong(&path, error))?.is_file() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                file("--scripts", &path, limits::SCRIPT_SIZE, &format!("{to}/{name}"))?;
            }
        }
    }
    if let Some(root) = &options.root {
        copy(root, &input.join("root"), &mut COPIED.clone())
            .map_err(|error| format!("--root {}: {error}", root.display()))?;
    }
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let own = input.join("thimble-sim");
    fs::copy(&program, &own)
        .and_then(|_| fs::set_permissions(&own, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("{}: {error}", program.display()))
}

/// Makes all of it this user's.
pub(super) fn give(path: &Path, user: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(user), Some(user))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// Copies folders, files and links; what may not be read, and devices, are left out.
pub(super) fn copy(from: &Path, to: &Path, left: &mut u64) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let device = fs::metadata(from)?.dev();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Not the type in the folder: something else may be mounted there.
        let about = entry.metadata()?;
        let (path, to, kind) = (entry.path(), to.join(entry.file_name()), about.file_type());
        if kind.is_symlink() {
            symlink(fs::read_link(&path)?, &to)?;
        } else if kind.is_dir() {
            // Other file systems are not part of it.
            if about.dev() != device {
                fs::create_dir_all(&to)?;
                continue;
            }
            match copy(&path, &to, left) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                done => done?,
            }
        } else if kind.is_file() {
            *left = left
                .checked_sub(about.len())
                .ok_or_else(|| io::Error::other("it is larger than what is copied at most"))?;
            match fs::copy(&path, &to) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                Err(error) => return Err(error),
                // Without the bits that lend rights.
                Ok(_) => {
                    fs::set_permissions(&to, fs::Permissions::from_mode(about.permissions().mode() & 0o777))?
                }
            }
        }
    }
    let mode = fs::metadata(from)?.permissions().mode() & 0o777;
    // The client refuses programs that others could exchange.
    fs::set_permissions(to, fs::Permissions::from_mode((mode | 0o700) & !0o022))
}

/// Bytes of the files in a folder.
pub(super) fn length(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let length = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => length(&entry.path()),
        // Each file takes whole pages, and something for its name.
        Ok(about) => about.len().saturating_add(8192),
        Err(_) => 0,
    };
    entries.map(length).fold(0, u64::saturating_add)
}
