//! What is taken over from the database of Mender's client, and when. The database is only ever read, and each of
//! its states is taken over once: `taken.rs`.

use thimble_core::checkpoint::Checkpoint;
use thimble_core::deployment::Mode;
use thimble_core::hal::Key;
use thimble_core::json::Value;

use super::directory::{Access, Directory, Found};
use super::import::{self, Import};
use super::lmdb::LmdbFault;
use super::name;
use super::record::Edits;
use super::taken::{IMPORTED, Pending, StateId, TAKEN, Taken};
use super::unfinished::{Finding, Records, Unfinished};
use super::{BROKEN, File, LMDB, LOCK, Notice, StorageError, Store, cannot};

/// A record, and what becomes of it.
type Change = (u8, Option<Vec<u8>>);

/// The records of the client that belong to an update in progress.
const OF_UPDATE: [Key; 5] = [Key::Checkpoint, Key::HeaderInfo, Key::TypeInfo, Key::Offer, Key::Reason];

impl<D: Directory> Store<D> {
    /// Takes over what is new in the database since it was looked at last.
    pub(super) fn look_at_database(&mut self) -> Result<Vec<Notice>, StorageError> {
        if matches!(self.file, File::Newer(_)) {
            return Ok(Vec::new());
        }
        let is_first = matches!(self.file, File::None);
        let before = match self.live.get(&IMPORTED) {
            Some(provides) => provides.clone(),
            // A store of ours was there and broke: the database is older than what was lost.
            None if self.directory.exists(BROKEN).map_err(cannot("read mender-store"))? => {
                return Ok(Vec::new());
            }
            None => Vec::new(),
        };
        let import = match self.read_database(is_first)? {
            Some(Ok(import)) => import,
            Some(Err(notice)) => return Ok(vec![notice]),
            None => return Ok(Vec::new()),
        };
        let taken = self.live.get(&TAKEN).and_then(|record| Taken::decode(record));
        let is_decided = taken.as_ref().is_some_and(|taken| taken.state == import.state);
        let mut notices = Vec::new();
        let mut changes: Vec<Change> = Vec::new();
        let is_superseded = !is_decided && taken.as_ref().is_some_and(|taken| self.goes_on_with(taken));
        if is_superseded {
            changes.extend(OF_UPDATE.map(|key| (key as u8, None)));
            changes.push((TAKEN, None));
            notices.push(Notice::Superseded);
        }
        let in_progress = self.live.contains_key(&(Key::Checkpoint as u8)) && !is_superseded;
        let here = self.live.get(&(Key::Provides as u8)).map_or(&[][..], Vec::as_slice);
        let found = import.provides.as_deref().unwrap_or_default();
        let is_news = is_first || found != before;
        if is_news && !is_first && says_the_same(found, here) {
            // Written by an export that a loss of power kept from being noted.
            changes.push(known(found));
        } else if is_news {
            let is_untouched = says_the_same(here, &before) || !name::has_name(here);
            if is_untouched && !in_progress {
                changes.extend(imported(&import));
                notices.push(Notice::Imported { name: import.name, trouble: import.trouble });
            } else {
                notices.push(Notice::NotImported { name: import.name });
            }
        }
        self.pending = import.unfinished.filter(|_| !is_decided).map(|finding| Pending {
            finding,
            state: import.state,
            maps: import.maps,
            is_replaced: false,
        });
        if in_progress && self.pending.is_some() {
            notices.push(Notice::Beside);
        }
        if !changes.is_empty() || self.unfinished().is_some() {
            self.is_free()?;
        }
        self.change(&changes)?;
        Ok(notices)
    }

    /// `None`: there is no database, or it cannot be read and is not needed. One that is damaged is set aside where there are no
    /// records of ours yet (D1).
    fn read_database(&self, is_first: bool) -> Result<Option<Result<Import, Notice>>, StorageError> {
        let read = match self.directory.open(LMDB, Access::ReadOnly) {
            Ok(Found::Missing) => return Ok(None),
            Ok(Found::Foreign) => Err("it is not a regular file"),
            Ok(Found::File(mut file)) => match import::read(&mut file) {
                Ok(Some(import)) => return Ok(Some(Ok(import))),
                Ok(None) => Err("it is not a database of a Mender client"),
                Err(LmdbFault::Damaged) => Err("a database of another Mender client, damaged"),
                Err(LmdbFault::Version(version)) => {
                    return Ok(is_first.then_some(Err(Notice::OtherVersion { version })));
                }
                Err(LmdbFault::Io(error)) => Ok(error),
            },
            Err(error) => Ok(error),
        };
        match read {
            // Records that are here are whole: a database that cannot be read takes nothing from them.
            Ok(_) | Err(_) if !is_first => Ok(None),
            Ok(error) => Err(cannot("read mender-store")(error)),
            Err(why) => {
                self.is_free()?;
                self.set_broken_aside(LMDB, why).map(|notice| Some(Err(notice)))
            }
        }
    }

    /// The update in progress is the one that was taken over.
    fn goes_on_with(&self, taken: &Taken<'_>) -> bool {
        let record = self.live.get(&(Key::Checkpoint as u8));
        let record = record.and_then(|record| Checkpoint::decode(record).ok());
        taken.goes_on && record.is_some_and(|record| record.deployment.as_bytes() == taken.deployment)
    }

    /// Nobody else may be about to change what is taken over.
    fn is_free(&self) -> Result<(), StorageError> {
        if self.access == Access::ReadOnly {
            return Ok(());
        }
        let lock = self.directory.lock(LOCK).map_err(cannot("lock mender-store-lock"))?;
        if lock.is_ours() { Ok(()) } else { Err(StorageError::InUse) }
    }

    /// What Mender's client had not finished, where nothing was decided about it and no update of ours is in progress.
    #[must_use]
    pub fn unfinished(&self) -> Option<&Finding> {
        let pending = self.pending.as_ref()?;
        (!self.live.contains_key(&(Key::Checkpoint as u8))).then_some(&pending.finding)
    }

    /// That update goes on here from now on, as `update`, which is what [`Self::unfinished`] found. Power loss leaves it
    /// unfinished there, or in progress here.
    ///
    /// # Errors
    /// The records could not be written.
    pub fn take_over(&mut self, update: &Unfinished) -> Result<(), StorageError> {
        let maps = update.mode == Mode::Managed;
        self.decide(update.records(), update.deployment.as_bytes(), maps)
    }

    /// A person takes that update back: it is in progress here from now on, installed and not committed. False: nothing of
    /// it was installed, and it is forgotten.
    ///
    /// # Errors
    /// The records could not be written.
    pub fn take_back(&mut self) -> Result<bool, StorageError> {
        let records = match self.unfinished() {
            Some(Finding::Update(update)) => update.records_to_take_back(),
            Some(Finding::Unreadable(_)) | None => None,
        };
        let has_begun = records.is_some();
        self.decide(records, b"", false)?;
        Ok(has_begun)
    }

    /// An update that begins now takes the place of that one, which is forgotten with its first record.
    pub fn replace_unfinished(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.is_replaced = true;
        }
    }

    fn decide(
        &mut self,
        records: Option<Records>,
        deployment: &[u8],
        with_maps: bool,
    ) -> Result<(), StorageError> {
        let Some(Pending { state, maps, .. }) = self.pending.take() else { return Ok(()) };
        let taken = Taken { goes_on: records.is_some(), state, deployment };
        let mut changes = vec![(TAKEN, Some(taken.encode()))];
        if let Some(Records { checkpoint, header }) = records {
            changes.push((Key::Checkpoint as u8, Some(checkpoint)));
            if let Some((header_info, type_info)) = header {
                changes.push((Key::HeaderInfo as u8, Some(header_info)));
                changes.push((Key::TypeInfo as u8, Some(type_info)));
            }
            changes.extend(maps.filter(|_| with_maps).map(|maps| (Key::ControlMaps as u8, Some(maps))));
        }
        self.change(&changes)
    }

    /// What is to be on record about the update of Mender's client with these changes: one that was taken over is settled
    /// once the records of an update in progress go, and one that is replaced when there is something in its place.
    pub(super) fn settled(&self, edits: &Edits<'_>) -> Option<Vec<u8>> {
        let checkpoint = edits.get(&(Key::Checkpoint as u8));
        if let Some(pending) = self.pending.as_ref().filter(|pending| pending.is_replaced) {
            let begins =
                checkpoint.is_some_and(Option::is_some) || edits.contains_key(&(Key::Provides as u8));
            let taken = Taken { goes_on: false, state: pending.state, deployment: b"" };
            return begins.then(|| taken.encode());
        }
        let taken = self.live.get(&TAKEN).and_then(|record| Taken::decode(record))?;
        (checkpoint.is_some_and(Option::is_none) && taken.goes_on)
            .then(|| Taken { goes_on: false, ..taken }.encode())
    }

    /// Makes these changes, durably and together. A reader sees them, and writes nothing.
    pub(super) fn change(&mut self, changes: &[Change]) -> Result<(), StorageError> {
        if changes.is_empty() {
            return Ok(());
        }
        if self.access == Access::ReadWrite {
            let edits: Edits<'_> = changes.iter().map(|(key, bytes)| (*key, bytes.as_deref())).collect();
            match &mut self.file {
                File::None => self.create(&edits)?,
                File::Journal(journal) => journal.append(&edits).map_err(|error| {
                    cannot("take over the database of another Mender client")(error.cause)
                })?,
                File::Newer(format) => return Err(StorageError::Newer { format: *format }),
            }
        }
        for (key, bytes) in changes {
            match bytes {
                Some(bytes) => self.live.insert(*key, bytes.clone()),
                None => self.live.remove(key),
            };
        }
        Ok(())
    }
}

/// The records of name, group and provides.
fn imported(import: &Import) -> [Change; 2] {
    let found = import.provides.as_deref().unwrap_or_default();
    [known(found), (Key::Provides as u8, import.provides.clone())]
}

/// That these provides are known to be in the database.
fn known(found: &[u8]) -> Change {
    (IMPORTED, Some(found.to_vec()))
}

/// That this state, with these provides, was written here: nothing in it is news.
pub(super) fn ended_at(state: StateId, provides: &[u8]) -> [Change; 2] {
    let taken = Taken { goes_on: false, state, deployment: b"" };
    [known(provides), (TAKEN, Some(taken.encode()))]
}

/// Whether two records say the same, in whatever order.
fn says_the_same(one: &[u8], other: &[u8]) -> bool {
    let pairs = |record: &[u8]| {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (key, value) in Value::parse(record).ok()?.members()? {
            pairs.push((key.to_string(), value.as_str()?.to_string()));
        }
        pairs.sort_unstable();
        Some(pairs)
    };
    one == other || pairs(one).is_some_and(|one| pairs(other) == Some(one))
}
