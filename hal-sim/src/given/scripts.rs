//! State scripts of the user's, from a folder or from an artifact.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Artifact;

/// Entries of a folder that are looked at.
pub const ENTRIES: usize = 4096;

/// Bytes of a script that are looked at.
pub const LOOKED_AT: u64 = 1024 * 1024;

/// Whose scripts they are; it decides which states may have them, and who makes them executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// The root file system's (`/etc/mender/scripts`): those of `Idle`, `Sync` and `Download`.
    RootFileSystem,
    /// An artifact's: those of `Artifact` states. The client that takes them out makes them executable.
    Artifact,
}

/// A file among state scripts; it need not be one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Its name, with whatever is no UTF-8 replaced.
    pub name: String,
    /// Where it stands, for people: a path, or an artifact's path.
    pub place: String,
    /// Whose it is.
    pub home: Home,
    /// What it is.
    pub kind: Kind,
}

/// What a file among state scripts is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file with these bytes, the first [`LOOKED_AT`] of them, and these permission bits; inside an artifact 0700.
    File(Vec<u8>, u32),
    /// A directory, a device, a pipe or a link to nowhere.
    Other(&'static str),
}

/// The files of a folder, in the order of their names. Scripts of `Artifact` states are meant for an artifact, and all others
/// for the root file system, unless `home` says whose they are.
///
/// # Errors
/// The folder or a file in it cannot be read, or there are more than [`ENTRIES`].
pub fn folder(path: &Path, home: Option<Home>) -> io::Result<Vec<Script>> {
    let mut scripts = Vec::new();
    for entry in fs::read_dir(path)? {
        let file = entry?.path();
        if scripts.len() == ENTRIES {
            return Err(io::Error::other(format!(
                "more than {ENTRIES} files: this is no folder of state scripts"
            )));
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let kind = look(&file).map_err(|error| io::Error::new(error.kind(), format!("{name}: {error}")))?;
        scripts.push(Script {
            place: file.to_string_lossy().into_owned(),
            home: Home::RootFileSystem,
            name,
            kind,
        });
    }
    scripts.sort_by(|a, b| a.name.cmp(&b.name));
    for script in &mut scripts {
        let is_artifact = script.name.to_ascii_lowercase().starts_with("artifact");
        let guess = if is_artifact { Home::Artifact } else { Home::RootFileSystem };
        script.home = home.unwrap_or(guess);
    }
    Ok(scripts)
}

fn look(file: &Path) -> io::Result<Kind> {
    let about = match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kind::Other("a link to nowhere")),
        about => about?,
    };
    if about.is_dir() {
        return Ok(Kind::Other("a directory"));
    }
    // Opening a pipe would wait for whoever writes to it.
    if !about.is_file() {
        return Ok(Kind::Other("no regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(file)?.take(LOOKED_AT).read_to_end(&mut bytes)?;
    Ok(Kind::File(bytes, about.permissions().mode() & 0o7777))
}

/// The scripts in an artifact that stands at `place`.
#[must_use]
pub fn of_artifact(artifact: &Artifact, place: &str) -> Vec<Script> {
    let script = |(name, bytes): &(String, Vec<u8>)| Script {
        name: name.clone(),
        place: place.to_owned(),
        home: Home::Artifact,
        kind: Kind::File(bytes.clone(), 0o700),
    };
    artifact.scripts.iter().map(script).collect()
}
