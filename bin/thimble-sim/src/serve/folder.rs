//! The server's own folder: the certificate to trust, and artifacts that are put there.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tempfile::TempDir;
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_sim::given;
use thimble_hal_sim::server::Artifact;

use crate::values;

/// Most bytes of all artifacts: they are kept in memory.
const BYTES: u64 = 4 << 30;

/// Most artifacts.
const ARTIFACTS: usize = 1000;

/// How the name of an artifact ends.
const SUFFIX: &str = ".mender";

/// See the file's documentation. A temporary one goes with this.
pub(super) struct Folder {
    path: PathBuf,
    temporary: Option<TempDir>,
    /// Files that were seen, by length and time of change; `true`: and taken, or told to be none.
    seen: BTreeMap<OsString, (u64, Option<SystemTime>, bool)>,
    bytes: u64,
    count: usize,
}

impl Folder {
    /// This folder, which is made where it is missing; or a temporary one.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn open(path: Option<&str>) -> Result<Self, String> {
        let (path, temporary) = match path {
            Some(path) => {
                fs::create_dir_all(path).map_err(|error| format!("--folder {path}: {error}"))?;
                (fs::canonicalize(path).map_err(|error| format!("--folder {path}: {error}"))?, None)
            }
            None => {
                let made = tempfile::Builder::new().prefix("thimble-serve-").tempdir();
                let made = made.map_err(|error| format!("a temporary folder: {error}"))?;
                (made.path().to_owned(), Some(made))
            }
        };
        Ok(Self { path, temporary, seen: BTreeMap::new(), bytes: 0, count: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// It is removed at the end.
    pub(super) const fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Artifacts that were put there and have not changed since the last look, or what is wrong with them; each once.
    /// At the first look, what is there is whole.
    pub(super) fn look(&mut self, is_first: bool) -> Vec<Result<Artifact, String>> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(&self.path) else { return found };
        let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.retain(|name| name.to_str().is_some_and(|name| name.ends_with(SUFFIX)));
        names.sort();
        self.seen.retain(|name, _| names.contains(name));
        for name in names.into_iter().take(ARTIFACTS) {
            let path = self.path.join(&name);
            let Ok(about) = fs::metadata(&path) else { continue };
            let now = (about.len(), about.modified().ok());
            let before = self.seen.get(&name).copied();
            let is_same = before.is_some_and(|(length, time, _)| (length, time) == now);
            let is_taken = before.is_some_and(|(.., taken)| taken) && is_same;
            let is_whole = is_same || is_first;
            self.seen.insert(name, (now.0, now.1, is_taken || is_whole));
            if is_whole && !is_taken {
                found.push(self.take(&path));
            }
        }
        found
    }

    /// Reads name and device types out of an artifact's header. Its payload may be damaged: the client must find out.
    ///
    /// # Errors
    /// It is none, or there are too many.
    pub(super) fn take(&mut self, path: &Path) -> Result<Artifact, String> {
        let wrong = |why: String| format!("{}: {why}", path.display());
        let about = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        let left = BYTES - self.bytes;
        if self.count >= ARTIFACTS || about.is_file() && about.len() > left {
            return Err(wrong(format!("at most {ARTIFACTS} artifacts with {} GiB are served", BYTES >> 30)));
        }
        let bytes = values::bytes(path, left)?;
        let header = given::artifact::read_header(bytes.as_slice(), &mut Decompressor::default());
        let given::Artifact { name, device_types, .. } = header.map_err(|error| wrong(error.to_string()))?;
        self.count += 1;
        self.bytes += bytes.len() as u64;
        Ok(Artifact { name, device_types, bytes: Arc::from(bytes) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_hal_sim::artifact_writer::ArtifactWriter;

    fn artifact(name: &str) -> Vec<u8> {
        ArtifactWriter::new(name, "module", &["a", "b"]).file("data", b"x").build().to_vec()
    }

    fn names(found: &[Result<Artifact, String>]) -> Vec<String> {
        found
            .iter()
            .map(|found| found.as_ref().map_or_else(Clone::clone, |artifact| artifact.name.clone()))
            .collect()
    }

    #[test]
    fn an_artifact_says_what_it_is() {
        let mut folder = Folder::open(None).unwrap();
        let path = folder.path().join("x");
        fs::write(&path, artifact("new \"1\"")).unwrap();
        let artifact = folder.take(&path).unwrap();
        assert_eq!(
            (artifact.name.as_str(), artifact.device_types),
            ("new \"1\"", vec!["a".to_owned(), "b".into()])
        );
        assert!(folder.take(Path::new("/dev")).unwrap_err().ends_with("it is no file"));
    }

    #[test]
    fn what_is_put_into_the_folder_is_taken_once_it_has_stopped_growing() {
        let mut folder = Folder::open(None).unwrap();
        let put =
            |folder: &Folder, name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        put(&folder, "first.mender", &artifact("first"));
        put(&folder, "notes.txt", b"x");
        assert_eq!(names(&folder.look(true)), ["first"]);
        assert!(folder.look(false).is_empty());
        let whole = artifact("second");
        put(&folder, "second.mender", &whole[..100]);
        assert!(folder.look(false).is_empty());
        put(&folder, "second.mender", &whole);
        assert!(folder.look(false).is_empty(), "it has grown since the last look");
        assert_eq!(names(&folder.look(false)), ["second"]);
        // What is none is told once, and again when it has changed.
        put(&folder, "third.mender", b"nothing");
        assert!(folder.look(false).is_empty());
        let told = names(&folder.look(false));
        assert!(told.len() == 1 && told[0].contains("third.mender: "), "{told:?}");
        assert!(folder.look(false).is_empty());
    }

    #[test]
    fn a_temporary_folder_goes_and_a_given_one_stays() {
        let folder = Folder::open(None).unwrap();
        let temporary = folder.path().to_owned();
        let given = temporary.join("a/b");
        let stays = Folder::open(given.to_str()).unwrap();
        assert!(folder.is_temporary() && !stays.is_temporary());
        drop(stays);
        assert!(given.is_dir());
        drop(folder);
        assert!(!temporary.exists());
    }
}
