//! The way back to Mender's client: its database is written anew from the records here.
//!
//! | lost inside | found at the next start |
//! |---|---|
//! | writing the new file | the old database; perhaps `mender-store-export`, removed by the next export |
//! | renaming it | the old database or the new one |
//! | noting it on record | the new one, which has what is on record here, and is noted then |

use std::fmt;

use thimble_core::deployment::Mode;
use thimble_core::hal::Key;
use thimble_core::json::Value;

use super::directory::{Access, Directory, Found, Medium};
use super::import;
use super::journal::write_all;
use super::json::{GROUP, NAME, object};
use super::lmdb::{Database, LmdbFault, Shape};
use super::lmdb_file::{self, TooMany};
use super::taken::StateId;
use super::takeover::ended_at;
use super::unfinished::Finding;
use super::{LMDB, LOCK, StorageError, Store, cannot};

const NEW: &str = "mender-store-export";

/// What was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Exported {
    /// The name; `None`: none is on record, and Mender's client takes that of its image.
    pub name: Option<String>,
    /// How many provides beside name and group.
    pub provides: usize,
}

/// Why the database was not written, and is what it was before; but for [`Self::NotNoted`].
#[derive(Debug)]
pub enum ExportError {
    /// An update is in progress here.
    InProgress,
    /// The server has not heard how a deployment ended.
    ReportOwed,
    /// Mender's client has an unfinished update, about which nothing was decided.
    Unfinished(Finding),
    /// What is in the place of the database is no database.
    NoDatabase,
    /// The record of what is installed is damaged.
    Damaged,
    /// The database cannot hold what is on record.
    TooMany,
    /// It could not be written.
    Storage(StorageError),
    /// It was written, and what must follow failed.
    NotNoted(StorageError),
}

impl From<StorageError> for ExportError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl From<TooMany> for ExportError {
    fn from(TooMany: TooMany) -> Self {
        Self::TooMany
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProgress => f.write_str(
                "an update is in progress, which Mender's client could not go on with: finish it first, one of the command \
                 line with 'commit' or 'rollback', a deployment by letting the daemon run until 'status' says that it ended",
            ),
            Self::ReportOwed => f.write_str(
                "the server has not heard yet how the last deployment ended, and Mender's client would not tell it: let the \
                 daemon run until it has",
            ),
            Self::Unfinished(found) => write!(
                f,
                "another Mender client has not finished {found}, and that record would be lost: {}, or start that client, whose \
                 database is as it left it",
                settle(found)
            ),
            Self::NoDatabase => write!(
                f,
                "{LMDB} is no database of a Mender client that can be read; move it away to have a new one written"
            ),
            Self::Damaged => f.write_str("the record of what is installed is damaged"),
            Self::TooMany => f.write_str("name and group on record are too long for the database of Mender's client"),
            Self::Storage(error) => error.fmt(f),
            Self::NotNoted(error) => write!(
                f,
                "{LMDB} is written anew with what is on record here, but this is not yet certain to last: {error}; run \
                 'export-mender' again"
            ),
        }
    }
}

/// What a person does first about an update that is not decided.
fn settle(found: &Finding) -> &'static str {
    match found {
        Finding::Update(update) if update.goes_on() => match update.mode {
            Mode::Standalone => "finish it first, with 'commit' or 'rollback'",
            Mode::Managed => "let the daemon finish it first",
        },
        Finding::Update(_) | Finding::Unreadable(_) => "settle it first, with 'rollback'",
    }
}

impl<D: Directory> Store<D> {
    /// Writes the database of Mender's client anew: name, group and provides as they are on record here, and nothing else, so
    /// that it goes on with no old update and no old control map. The caller holds the lock of this client.
    ///
    /// # Errors
    /// [`ExportError`], which says whether the database is what it was before.
    pub fn export(&mut self) -> Result<Exported, ExportError> {
        if self.access == Access::ReadOnly {
            return Err(StorageError::ReadOnly.into());
        }
        self.is_known()?;
        if self.live.contains_key(&(Key::Checkpoint as u8)) {
            return Err(ExportError::InProgress);
        }
        if self.live.contains_key(&(Key::Report as u8)) {
            return Err(ExportError::ReportOwed);
        }
        if let Some(found) = self.unfinished() {
            return Err(ExportError::Unfinished(found.clone()));
        }
        // Whoever opens the database takes this lock first: nobody has it open until this is dropped.
        let lock = self.directory.lock(LOCK).map_err(cannot("lock mender-store-lock"))?;
        if !lock.is_ours() {
            return Err(StorageError::InUse.into());
        }
        let (shape, transaction) = self.shape()?;
        let (own, free) = self.installed()?;
        let provides = object(free.iter().cloned());
        let mut values: Vec<(&str, &[u8])> = Vec::new();
        for (key, value) in &own {
            let key = if key == NAME { "artifact-name" } else { "artifact-group" };
            values.push((key, value.as_bytes()));
        }
        if !free.is_empty() {
            values.push(("artifact-provides", &provides));
        }
        let bytes = lmdb_file::write(shape, transaction, &values)?;
        self.replace(&bytes).map_err(cannot("write mender-store"))?;
        let name = own.iter().find(|(key, _)| key == NAME).map(|(_, name)| name.clone());
        let state = StateId { transaction, sum: import::sum(name.as_deref(), [None; 3]) };
        let exported = Exported { name, provides: free.len() };
        let written = match own.is_empty() && free.is_empty() {
            true => Vec::new(),
            false => object(own.into_iter().chain(free)),
        };
        self.directory.sync().map_err(cannot("write mender-store")).map_err(ExportError::NotNoted)?;
        self.change(&ended_at(state, &written)).map_err(ExportError::NotNoted)?;
        drop(lock);
        Ok(exported)
    }

    /// How the new database is laid out, and the number of its state: as the old one, and one more.
    fn shape(&self) -> Result<(Shape, u64), ExportError> {
        let reading = cannot("read mender-store");
        let mut file = match self.directory.open(LMDB, Access::ReadOnly).map_err(&reading)? {
            Found::Missing => return Ok((Shape::NATIVE, 1)),
            Found::Foreign => return Err(ExportError::NoDatabase),
            Found::File(file) => file,
        };
        match Database::open(&mut file) {
            Ok(Some(database)) => Ok((database.shape(), database.transaction.saturating_add(1))),
            Ok(None) | Err(LmdbFault::Damaged | LmdbFault::Version(_)) => Err(ExportError::NoDatabase),
            Err(LmdbFault::Io(cause)) => Err(reading(cause).into()),
        }
    }

    /// Name and group, and the other provides.
    #[expect(clippy::type_complexity, reason = "two lists of pairs")]
    fn installed(&self) -> Result<(Vec<(String, String)>, Vec<(String, String)>), ExportError> {
        let Some(record) = self.live.get(&(Key::Provides as u8)) else { return Ok((Vec::new(), Vec::new())) };
        let members = Value::parse(record).ok().and_then(Value::members).ok_or(ExportError::Damaged)?;
        let pairs = members.map(|(key, value)| Some((key.to_string(), value.as_str()?.to_string())));
        let pairs: Vec<_> = pairs.collect::<Option<_>>().ok_or(ExportError::Damaged)?;
        let is_named = super::name::has_name(record);
        let (mut own, free): (Vec<_>, Vec<_>) =
            pairs.into_iter().partition(|(key, _)| key == NAME || key == GROUP);
        own.retain(|(key, _)| key != NAME || is_named);
        // As it is read back: the name first.
        own.sort_by_key(|(key, _)| key != NAME);
        Ok((own, free))
    }

    fn replace(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.directory.remove(NEW)?;
        let mut file = self.directory.create_like(NEW, LMDB)?;
        let written = write_all(&mut file, 0, bytes).and_then(|()| file.sync());
        let renamed = written.and_then(|()| self.directory.rename(NEW, LMDB));
        if renamed.is_err() {
            // The first error is returned; the next export removes it, too.
            let _ = self.directory.remove(NEW);
        }
        renamed
    }
}
