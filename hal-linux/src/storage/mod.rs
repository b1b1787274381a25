//! Durable records in one file, `mender-store-thimble` in the datastore directory.
//!
//! The file is a journal: a commit appends one record that holds the whole batch, with one write and one flush, and
//! replaying the file gives the current records. What power loss leaves:
//!
//! | lost inside | found at the next start |
//! |---|---|
//! | the first commit | no file, or the whole first commit; perhaps `mender-store-tmp`, removed later |
//! | a later commit | the records before it, or after it; a cut-off end is ignored, and cut before the next write |
//! | rewriting a grown file | the old file or the new one, with the same records |
//!
//! A damaged file does not stop the client: it is set aside as `mender-store-broken` and the client starts without
//! records. A file in a newer format is not touched: it can be neither read nor written.
//!
//! When there is no file yet, name, group and provides are taken over from `mender-store`, the LMDB database of
//! Mender's own client: when that was used again, they are taken over anew, as long as nothing of them was changed here. So is
//! the update that it had not finished. That file is only ever read: when an update from Mender to thimble is rolled back,
//! Mender's client finds its database as it left it (it does not start with anything else in that place).

mod directory;
mod export;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod import;
mod journal;
mod json;
mod lmdb;
mod lmdb_file;
mod name;
mod record;
#[cfg(test)]
mod sim;
mod taken;
mod takeover;
#[cfg(test)]
mod takeover_tests;
#[cfg(test)]
mod tests;
mod unfinished;

pub use directory::{Access, DataDirectory, Directory, Found, Locked, Medium};
pub use export::{ExportError, Exported};
pub use lmdb_file::TooMany;
pub use name::{NameFault, of_image};
pub use record::{RECORD_MAX, TOTAL_MAX};
pub use unfinished::{Finding, Unfinished};

use std::fmt;
use std::io;

use crate::fsat::kind_of;
use journal::{Journal, JournalFault};
use lmdb::Shape;
use record::{Edits, Live};
use taken::{Pending, TAKEN};
use thimble_core::hal::{self, Change, ErrorType, Key, Kind};

const NAME: &str = "mender-store-thimble";
const TEMPORARY: &str = "mender-store-tmp";
const BROKEN: &str = "mender-store-broken";
const LMDB: &str = "mender-store";
const LOCK: &str = "mender-store-lock";

/// How many damaged files are kept. The first ones are kept, since they tell most about the cause.
const ASIDE_MAX: usize = 4;

/// A file shorter than this is never rewritten: the records of an update are much shorter.
const COMPACT_ABOVE: u64 = 256 * 1024;

/// A file is rewritten when it is this many times longer than its live records.
const COMPACT_RATIO: u64 = 4;

/// How often a reader without the lock looks again at a file that seems damaged.
const LOOKS_AGAIN: usize = 3;

/// The store. See the module's documentation for what power loss may leave.
#[derive(Debug)]
pub struct Store<D: Directory = DataDirectory> {
    directory: D,
    access: Access,
    file: File<D::File>,
    live: Live,
    /// The name where none is on record.
    name: Option<String>,
    /// What Mender's client had not finished, until it is decided what becomes of it.
    pending: Option<Pending>,
    /// A file was renamed and the directory could not be flushed.
    names_unsafe: bool,
    /// A commit failed and could not be undone.
    lost: bool,
}

/// The store's file.
#[derive(Debug)]
enum File<M> {
    /// There is none yet; the first commit creates it.
    None,
    Journal(Journal<M>),
    /// In a newer format of this number.
    Newer(u32),
}

/// What was noticed when the store was opened, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The store was damaged; whoever may change it goes on without its records. An error.
    Broken {
        /// What was wrong with it.
        why: String,
        /// Where it is now; `None`: left where it was (read-only).
        aside: Option<String>,
    },
    /// Power was lost while records were written; the records before that are in force. Worth a warning.
    CutOff,
    /// A database of Mender's own client was taken over. Information.
    Imported {
        /// The artifact name found in it.
        name: Option<String>,
        /// It holds unreadable provides. A warning.
        trouble: Option<&'static str>,
    },
    /// Mender's own client was used again after its database was taken over, and the records here have changed since, so that
    /// they stay in force. A warning.
    NotImported {
        /// The artifact name in the database.
        name: Option<String>,
    },
    /// The database of Mender's client is in another format, and stays as it is. An error.
    OtherVersion {
        /// The number of the format.
        version: u32,
    },
    /// An update that was taken over was ended by Mender's client meanwhile. A warning.
    Superseded,
    /// Mender's client has an unfinished update, and another one is in progress here. A warning.
    Beside,
}

impl Notice {
    /// The level at which it is logged.
    #[must_use]
    pub fn level(&self) -> hal::Level {
        match self {
            Self::Broken { .. } | Self::OtherVersion { .. } => hal::Level::Error,
            Self::CutOff
            | Self::Imported { trouble: Some(_), .. }
            | Self::NotImported { .. }
            | Self::Superseded
            | Self::Beside => hal::Level::Warning,
            Self::Imported { trouble: None, .. } => hal::Level::Info,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { why, aside } => {
                write!(f, "the store is damaged ({why})")?;
                match aside {
                    Some(aside) => {
                        write!(f, ": it was set aside as {aside}, and the client goes on without its records")
                    }
                    None => write!(
                        f,
                        ": the next start of the daemon, or the next 'install', sets it aside as {BROKEN} and begins an empty one"
                    ),
                }
            }
            Self::CutOff => {
                write!(
                    f,
                    "the end of {NAME} is cut off, as by a power loss: the records before that are in force"
                )
            }
            Self::Imported { name, trouble } => {
                write!(f, "took over from {LMDB}, the database of another Mender client, artifact name ")?;
                match name {
                    Some(name) => write!(f, "\"{name}\"")?,
                    None => f.write_str("unknown")?,
                }
                trouble.map_or(Ok(()), |trouble| write!(f, "; {trouble}"))
            }
            Self::NotImported { name } => {
                let name = name.as_deref().unwrap_or("unknown");
                write!(
                    f,
                    "another Mender client was used after its database {LMDB} was taken over, and has the artifact name \
                     \"{name}\" now: this name is not taken over, because updates were installed here as well; move {LMDB} \
                     away when that client is not used any more"
                )
            }
            Self::OtherVersion { version } => write!(
                f,
                "{LMDB}, the database of another Mender client, has format {version}, and this client reads format 1: going on \
                 without its records; it stays as it is"
            ),
            Self::Superseded => write!(
                f,
                "an update that was taken over from another Mender client is given up here: that client was used since, and \
                 went on with it"
            ),
            Self::Beside => write!(
                f,
                "another Mender client has left an update unfinished in {LMDB}, which is not looked at before the update in \
                 progress here has ended"
            ),
        }
    }
}

/// Why the store cannot do what was asked.
#[derive(Debug)]
pub enum StorageError {
    /// The file system reported an error. The old records are unchanged.
    Io {
        /// What was tried, as in "cannot ...".
        doing: &'static str,
        /// Its answer, the first one where several failed.
        cause: io::Error,
    },
    /// A record is longer than the limit, or than the buffer it was to be read into.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// All records together would be longer than [`TOTAL_MAX`].
    Full,
    /// The store was opened for reading.
    ReadOnly,
    /// An earlier commit failed and could not be taken back; only a restart tells what is on disk.
    Lost,
    /// Mender's client runs, and may change what is to be taken over from its database.
    InUse,
    /// A newer client wrote the store: it is neither read nor written.
    Newer {
        /// The format found.
        format: u32,
    },
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, cause } if cause.kind() == io::ErrorKind::StorageFull => {
                write!(f, "cannot {doing}: {cause}; free some space where the datastore is")
            }
            Self::Io { doing, cause } => write!(f, "cannot {doing}: {cause}"),
            Self::TooLong { limit } => write!(f, "a record of the store is longer than {limit} bytes"),
            Self::Full => write!(f, "the records of the store are longer than {TOTAL_MAX} bytes together"),
            Self::ReadOnly => f.write_str("the store is open for reading only"),
            Self::Lost => {
                write!(f, "an earlier write to {NAME} failed and could not be undone; restart the client")
            }
            Self::InUse => write!(
                f,
                "another Mender client is running (it holds {LOCK}), and this one cannot take over its database meanwhile: stop \
                 it first, with `systemctl stop mender-client mender-updated`"
            ),
            Self::Newer { format } => write!(
                f,
                "{NAME} was written by a newer client (format {format}, this one knows up to {}): run that client, \
                 or move the file away to start without records",
                record::FORMAT
            ),
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { cause, .. } => Some(cause),
            Self::TooLong { .. }
            | Self::Full
            | Self::ReadOnly
            | Self::Lost
            | Self::InUse
            | Self::Newer { .. } => None,
        }
    }
}

impl hal::Error for StorageError {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { cause, .. } => kind_of(cause),
            Self::TooLong { .. } | Self::Full => Kind::TooLarge,
            Self::ReadOnly | Self::InUse => Kind::Refused,
            Self::Lost => Kind::Other,
            Self::Newer { .. } => Kind::Newer,
        }
    }
}

/// A new database of Mender's client with these values, as [`Store::export`] writes it.
///
/// # Errors
/// They do not fit into one.
pub fn new_database(values: &[(&str, &[u8])]) -> Result<Vec<u8>, TooMany> {
    lmdb_file::write(Shape::NATIVE, 1, values)
}

fn cannot(doing: &'static str) -> impl Fn(io::Error) -> StorageError {
    move |cause| StorageError::Io { doing, cause }
}

impl<D: Directory> Store<D> {
    /// Opens the store in `directory`. If there is none yet, nothing is written before the first commit.
    /// The notices are for the log.
    pub fn open(directory: D, access: Access) -> Result<(Self, Vec<Notice>), StorageError> {
        let mut store = Self {
            directory,
            access,
            file: File::None,
            live: Live::new(),
            name: None,
            pending: None,
            names_unsafe: false,
            lost: false,
        };
        let notice = match access {
            Access::ReadWrite => store.load()?,
            Access::ReadOnly => store.load_beside_a_writer()?,
        };
        let of_database = store.look_at_database()?;
        Ok((store, notice.into_iter().chain(of_database).collect()))
    }

    /// The same store, in which a device without a name on record has this one: the record of the provides is read with it
    /// . It is never stored.
    #[must_use]
    pub fn named(mut self, name: String) -> Self {
        self.name = Some(name);
        self
    }

    /// Whether a name is on record. `unknown`, which other clients store, is none.
    #[must_use]
    pub fn has_name(&self) -> bool {
        self.live.get(&(Key::Provides as u8)).is_some_and(|provides| name::has_name(provides))
    }

    /// Whether the file ends in the middle of a record. Beside a daemon that writes one that is so for a moment.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        match &self.file {
            File::Journal(journal) => journal.has_tail(),
            File::None | File::Newer(_) => false,
        }
    }

    /// Reads the store without the lock, while a daemon may be writing to it. An incomplete record is then no sign of a
    /// power loss, and the file only counts as damaged if it still looks so when it is read again.
    fn load_beside_a_writer(&mut self) -> Result<Option<Notice>, StorageError> {
        let mut notice = self.load()?;
        for _ in 0..LOOKS_AGAIN {
            if notice.is_none() {
                break;
            }
            notice = self.load()?;
        }
        Ok(notice.filter(|notice| *notice != Notice::CutOff))
    }

    fn load(&mut self) -> Result<Option<Notice>, StorageError> {
        let reading = cannot("read mender-store-thimble");
        let file = match self.directory.open(NAME, self.access).map_err(&reading)? {
            Found::Missing => return Ok(None),
            Found::Foreign => return self.set_broken_aside(NAME, "it is not a regular file").map(Some),
            Found::File(file) => file,
        };
        match Journal::replay(file) {
            Ok((journal, live)) => {
                let notice = journal.has_tail().then_some(Notice::CutOff);
                self.file = File::Journal(journal);
                self.live = live;
                Ok(notice)
            }
            Err(JournalFault::Io(cause)) => Err(reading(cause)),
            Err(JournalFault::Newer(format)) => {
                self.file = File::Newer(format);
                Ok(None)
            }
            Err(JournalFault::Broken(why)) => self.set_broken_aside(NAME, why).map(Some),
        }
    }

    fn set_broken_aside(&self, name: &'static str, why: &str) -> Result<Notice, StorageError> {
        let why = format!("{name}: {why}");
        if self.access == Access::ReadOnly {
            return Ok(Notice::Broken { why, aside: None });
        }
        let failed = cannot("set the damaged store aside");
        let aside = self.free_name(BROKEN).map_err(&failed)?;
        self.directory.rename(name, &aside).map_err(&failed)?;
        Ok(Notice::Broken { why, aside: Some(aside) })
    }

    /// The first name from `stem`, `stem.1`, ... that is free, or the last one after making it free.
    fn free_name(&self, stem: &str) -> io::Result<String> {
        let mut name = stem.to_owned();
        for number in 1..ASIDE_MAX {
            if !self.directory.exists(&name)? {
                return Ok(name);
            }
            name = format!("{stem}.{number}");
        }
        self.directory.remove(&name)?;
        Ok(name)
    }

    /// A new file of `edits` in the place of the store. Durable when the directory is flushed, the caller's duty.
    fn write_new(&self, sequence: u64, edits: &Edits<'_>) -> io::Result<Journal<D::File>> {
        self.directory.remove(TEMPORARY)?;
        let file = self.directory.create(TEMPORARY)?;
        let written = Journal::create(file, self.directory.salt(), sequence, edits)
            .and_then(|journal| self.directory.rename(TEMPORARY, NAME).map(|()| journal));
        if written.is_err() {
            // The first error is returned. A stale file is removed before the next one is created.
            let _ = self.directory.remove(TEMPORARY);
        }
        written
    }

    /// What of `batch` changes anything, after checking the limits.
    fn edits<'c>(&self, batch: &[Change<'c>]) -> Result<Edits<'c>, StorageError> {
        let mut edits = Edits::new();
        for change in batch {
            match *change {
                Change::Put(_, bytes) if bytes.len() > RECORD_MAX => {
                    return Err(StorageError::TooLong { limit: RECORD_MAX });
                }
                Change::Put(key, bytes) => edits.insert(key as u8, Some(bytes)),
                Change::Delete(key) => edits.insert(key as u8, None),
            };
        }
        edits.retain(|key, edit| self.live.get(key).map(Vec::as_slice) != *edit);
        let kept = self.live.iter().filter(|(key, _)| !edits.contains_key(key)).map(|(_, bytes)| bytes.len());
        let new = edits.values().flatten().map(|bytes| bytes.len());
        if kept.chain(new).sum::<usize>() > TOTAL_MAX { Err(StorageError::Full) } else { Ok(edits) }
    }

    /// That the file is in a format this version knows.
    fn is_known(&self) -> Result<(), StorageError> {
        match self.file {
            File::None | File::Journal(_) => Ok(()),
            File::Newer(format) => Err(StorageError::Newer { format }),
        }
    }

    fn create(&mut self, edits: &Edits<'_>) -> Result<(), StorageError> {
        let failed = cannot("create mender-store-thimble");
        let journal = self.write_new(0, edits).map_err(&failed)?;
        if let Err(cause) = self.directory.sync() {
            self.lost = self.directory.remove(NAME).is_err();
            return Err(failed(cause));
        }
        self.file = File::Journal(journal);
        Ok(())
    }

    /// Rewrites a grown file with the same records. That this fails is no reason to refuse a commit, except
    /// when the new file is in place and its name may be lost again.
    fn compact(&mut self) {
        let File::Journal(journal) = &self.file else { return };
        let live = self.live.values().map(|bytes| bytes.len() as u64).sum::<u64>();
        if journal.length() <= COMPACT_ABOVE.max(live.saturating_mul(COMPACT_RATIO)) {
            return;
        }
        let edits = self.live.iter().map(|(&key, bytes)| (key, Some(bytes.as_slice()))).collect();
        if let Ok(journal) = self.write_new(journal.next(), &edits) {
            self.file = File::Journal(journal);
            self.names_unsafe = true;
        }
    }
}

impl<D: Directory> ErrorType for Store<D> {
    type Error = StorageError;
}

impl<D: Directory> hal::Storage for Store<D> {
    fn read<'b>(&mut self, key: Key, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, StorageError> {
        self.is_known()?;
        let stored = self.live.get(&(key as u8)).map(Vec::as_slice);
        let name = self.name.as_deref().filter(|_| key == Key::Provides);
        let named = name.and_then(|name| name::with_name(stored, name));
        let Some(record) = named.as_deref().or(stored) else { return Ok(None) };
        let limit = buf.len();
        let front = buf.get_mut(..record.len()).ok_or(StorageError::TooLong { limit })?;
        front.copy_from_slice(record);
        Ok(Some(front))
    }

    fn commit(&mut self, batch: &[Change<'_>]) -> Result<(), StorageError> {
        self.is_known()?;
        let mut edits = self.edits(batch)?;
        let settled = self.settled(&edits);
        edits.extend(settled.as_deref().map(|record| (TAKEN, Some(record))));
        if edits.is_empty() {
            return Ok(());
        }
        if self.access == Access::ReadOnly {
            return Err(StorageError::ReadOnly);
        }
        if self.lost {
            return Err(StorageError::Lost);
        }
        self.compact();
        let failed = cannot("write mender-store");
        if self.names_unsafe {
            self.directory.sync().map_err(&failed)?;
            self.names_unsafe = false;
        }
        match &mut self.file {
            File::None => self.create(&edits)?,
            File::Journal(journal) => journal.append(&edits).map_err(|error| {
                self.lost = error.lost;
                failed(error.cause)
            })?,
            File::Newer(format) => return Err(StorageError::Newer { format: *format }),
        }
        for (key, edit) in edits {
            match edit {
                Some(bytes) => self.live.insert(key, bytes.to_vec()),
                None => self.live.remove(&key),
            };
        }
        Ok(())
    }
}
