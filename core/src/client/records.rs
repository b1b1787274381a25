//! What the client keeps: the record of the update, those beside it, and the provides.

use heapless::Vec;

use super::Client;
use super::messages::{RecordText, say};
use super::reason::{Noted, note};
use super::saved_offer;
use crate::artifact::provides;
use crate::begun;
use crate::checkpoint;
use crate::deployment::{Mode, Naming};
use crate::flow::Beside;
use crate::hal::{Cause, Change, ErrorType, Key, Level, Log, Platform, Storage};
use crate::last_report::{self, LastReport, mark};
use crate::limits;
use crate::machine::{Machine, Run};
use crate::message::Coded;
use crate::state::Outcome;
use crate::text::{Text, TextExt};

impl<P: Platform> Client<'_, P> {
    /// [`crate::machine::Op::Save`].
    pub(super) fn save(&mut self) -> Outcome {
        match self.write_record(self.flow.saves_beside()) {
            Ok(()) => Outcome::Success,
            Err(Noted { .. }) => Outcome::Failure,
        }
    }

    /// [`crate::machine::Op::SaveReport`].
    pub(super) fn save_last_report(&mut self) -> Outcome {
        match self.write_last_report() {
            Ok(()) => Outcome::Success,
            Err(Noted { .. }) => Outcome::Failure,
        }
    }

    /// The record of the last report takes the place of that of the update; or it is there, and changes.
    #[inline(never)]
    fn write_last_report(&mut self) -> Result<(), Noted> {
        let mut buf = [0; last_report::MAX_LEN];
        let committed = if self.machine().is_late() {
            // A record of the update that there is now is a person's.
            match self.last_report(&mut buf) {
                Some(report) => {
                    let batch = batch(&[Some(Change::Put(Key::Report, report)), self.flight.change()]);
                    self.hal.storage.commit(&batch)
                }
                None => Ok(()),
            }
        } else {
            self.requests.last_substate = Text::cut(&self.story.line(self.machine().verdict()));
            match self.last_report(&mut buf) {
                Some(report) => self.replace_record(Some(Change::Put(Key::Report, report)), true),
                None => self.replace_record(None, false),
            }
        };
        committed.map_err(|error| {
            let reason = RecordText::EndNotSaved { error: Cause::of(&error) };
            note(&mut self.story, &mut self.hal.log, &reason)
        })
    }

    /// The record of the last report, as it is to be; `None`: there is none.
    fn last_report<'r>(&self, buf: &'r mut [u8; last_report::MAX_LEN]) -> Option<&'r [u8]> {
        let report = LastReport {
            ended: self.machine().last_report()?,
            substate: self.requests.last_substate.as_str(),
            server: self.offered_by(),
        };
        report.encode(buf)
    }

    /// What the server is known by that made the last offer, if it is known.
    fn offered_by(&self) -> Option<u32> {
        let by = self.flow.session().offered_by()?;
        self.device.server(by).map(mark)
    }

    /// What makes the record of the deployments that began here what it should be; `None` when it is.
    fn begun<'r>(&self, buf: &'r mut [u8; begun::MAX_LEN]) -> Option<Change<'r>> {
        let begun = self.machine().begun_to_save()?.clone();
        let record = begun::Record { begun, server: self.offered_by() };
        record.encode(buf).map(|record| Change::Put(Key::Begun, record))
    }

    /// The update has no record any more, but what is to be there instead: `owed`, a report. Control maps in the same batch.
    fn replace_record(
        &mut self,
        instead: Option<Change<'_>>,
        owed: bool,
    ) -> Result<(), <P::Storage as ErrorType>::Error> {
        let mut begun = [0; begun::MAX_LEN];
        let begun = self.begun(&mut begun);
        let maps = maps_change(self.flow.machine(), self.maps, &mut self.hal.log);
        let flight = if owed { self.flight.with_report() } else { self.flight.with_nothing(begun.is_some()) };
        let batch = batch(&[
            Some(Change::Delete(Key::Checkpoint)),
            Some(Change::Delete(Key::HeaderInfo)),
            Some(Change::Delete(Key::TypeInfo)),
            Some(Change::Delete(Key::Offer)),
            Some(Change::Delete(Key::Reason)),
            instead,
            begun,
            maps,
            flight,
        ]);
        let committed = self.hal.storage.commit(&batch);
        drop(batch);
        self.flight.saved(&committed, owed);
        committed
    }

    /// [`crate::machine::Op::ForgetReport`].
    pub(super) fn forget_report(&mut self) -> Outcome {
        let mut begun = [0; begun::MAX_LEN];
        let begun = self.begun(&mut begun);
        let flight = self.flight.with_nothing(begun.is_some());
        let batch = batch(&[Some(Change::Delete(Key::Report)), begun, flight]);
        let committed = self.hal.storage.commit(&batch);
        drop(batch);
        self.flight.saved(&committed, false);
        match committed {
            Ok(()) => Outcome::Success,
            Err(error) => {
                let line = RecordText::ReportStays { error: Cause::of(&error) };
                say(&mut self.hal.log, Level::Error, &line);
                Outcome::Failure
            }
        }
    }

    /// [`crate::machine::Op::SaveBegun`].
    pub(super) fn save_begun(&mut self) -> Outcome {
        let mut begun = [0; begun::MAX_LEN];
        let begun = self.begun(&mut begun);
        let flight = begun.and_then(|_| self.flight.change());
        let batch = batch(&[begun, flight]);
        match self.hal.storage.commit(&batch) {
            Ok(()) => Outcome::Success,
            Err(error) => {
                let line = RecordText::BegunNotSaved { error: Cause::of(&error) };
                say(&mut self.hal.log, Level::Error, &line);
                Outcome::Failure
            }
        }
    }

    /// The record and, in the same batch, those beside it that are not stored yet: control maps among them, so that
    /// the server's word about a deployment is on record exactly when the deployment is.
    pub(super) fn write_record(&mut self, beside: Beside) -> Result<(), Noted> {
        let mut begun = [0; begun::MAX_LEN];
        let begun = self.begun(&mut begun);
        let mut buf = [0; checkpoint::MAX_LEN];
        let checkpoint = self.flow.machine().checkpoint();
        let record =
            checkpoint.encode(&mut buf).map_err(|error| note(&mut self.story, &mut self.hal.log, &error))?;
        let maps = maps_change(self.flow.machine(), self.maps, &mut self.hal.log);
        let mut reason: Text<{ limits::DEPLOYMENT_ID + 1 + limits::REASON }> =
            Text::front(&checkpoint.deployment);
        // Both fit.
        let _ = reason.push('\n').and_then(|()| reason.push_str(&self.story.reason));
        let has_news =
            checkpoint.mode == Mode::Managed && !self.story.reason.is_empty() && !self.story.reason_stored;
        let header = self.parser.header().filter(|_| beside.header);
        let offer = if beside.offer {
            let id = checkpoint.deployment.as_str();
            let (offered, out) = (&self.requests.offered, self.lent.free().1);
            saved_offer::change(id, offered, &self.download, out, &mut self.hal.log)
        } else {
            None
        };
        // Maps may be what they are on record.
        let others = begun.is_some() || has_news || header.is_some() || offer.is_some();
        let flight = self.flight.with_update(checkpoint, record, others);
        let batch = batch(&[
            Some(Change::Put(Key::Checkpoint, record)),
            begun,
            maps,
            has_news.then_some(Change::Put(Key::Reason, reason.as_str().as_bytes())),
            header.as_ref().map(|header| Change::Put(Key::HeaderInfo, header.header_info())),
            header.as_ref().map(|header| Change::Put(Key::TypeInfo, header.type_info())),
            offer,
            flight,
        ]);
        let committed = self.hal.storage.commit(&batch);
        drop(batch);
        self.flight.saved(&committed, true);
        committed.map_err(|error| {
            let reason = RecordText::NotSaved { error: Cause::of(&error) };
            note(&mut self.story, &mut self.hal.log, &reason)
        })?;
        self.story.reason_stored |= checkpoint.mode == Mode::Managed && !self.story.reason.is_empty();
        Ok(())
    }

    /// [`crate::machine::Op::SaveProvides`].
    pub(super) fn save_provides(&mut self, naming: Naming) -> Outcome {
        match self.write_provides(naming) {
            Ok(()) => Outcome::Success,
            Err(Noted { .. }) => Outcome::Failure,
        }
    }

    #[inline(never)]
    fn write_provides(&mut self, naming: Naming) -> Result<(), Noted> {
        let mut noted = |reason: &dyn Coded| note(&mut self.story, &mut self.hal.log, reason);
        let Some((header, scratch)) = self.parser.header_and_scratch() else {
            // A loop before any artifact was accepted leaves the device as it was.
            return if naming == Naming::Loop { Ok(()) } else { Err(noted(&RecordText::HeaderLost)) };
        };
        let (record, out) = self.lent.free();
        let installed = self.hal.storage.read(Key::Provides, record);
        let installed =
            installed.map_err(|error| noted(&RecordText::Installed { error: Cause::of(&error) }))?;
        let merged = provides::merge(installed.unwrap_or(b"{}"), &header, naming, out, scratch)
            .map_err(|error| noted(&RecordText::BadProvides { error }))?;
        let mut buf = [0; checkpoint::MAX_LEN];
        let checkpoint = self.flow.machine().checkpoint();
        let provides = Change::Put(Key::Provides, merged);
        let run = self.flow.machine().run();
        let record = checkpoint.encode(&mut buf).map_err(|error| noted(&error))?;
        let (provides, flight) = (Some(provides), self.flight.with_provides(naming));
        let storage = &mut self.hal.storage;
        let committed = match checkpoint.mode {
            Mode::Managed => {
                storage.commit(&batch(&[provides, Some(Change::Put(Key::Checkpoint, record)), flight]))
            }
            // Bootstrap never wrote a record, and must not delete one either.
            Mode::Standalone if run == Run::Bootstrap => storage.commit(&batch(&[provides, flight])),
            Mode::Standalone => storage.commit(&batch(&[
                provides,
                Some(Change::Delete(Key::Checkpoint)),
                Some(Change::Delete(Key::HeaderInfo)),
                Some(Change::Delete(Key::TypeInfo)),
                Some(Change::Delete(Key::Offer)),
                flight,
            ])),
        };
        let is_open = checkpoint.mode == Mode::Managed;
        self.flight.saved(&committed, is_open);
        committed.map_err(|error| noted(&RecordText::NameNotStored { error: Cause::of(&error) }))
    }

    /// [`crate::machine::Op::SaveMaps`].
    pub(super) fn save_maps(&mut self) -> Outcome {
        let Some(change) = maps_change(self.flow.machine(), self.maps, &mut self.hal.log) else {
            return if self.flow.machine().maps_to_save().is_some() {
                Outcome::Failure
            } else {
                Outcome::Success
            };
        };
        match self.hal.storage.commit(&[change]) {
            Ok(()) => Outcome::Success,
            Err(error) => {
                let line = RecordText::MapsNotSaved { error: Cause::of(&error) };
                say(&mut self.hal.log, Level::Error, &line);
                Outcome::Failure
            }
        }
    }

    /// [`crate::machine::Op::ClearData`].
    #[inline(never)]
    pub(super) fn clear_data(&mut self) -> Outcome {
        if self.flow.machine().run() == Run::Bootstrap {
            return Outcome::Success;
        }
        let mut buf = [0; last_report::MAX_LEN];
        let (report, owed) = match self.last_report(&mut buf) {
            // It stays; or comes now, where it could not be written before.
            Some(report) => (Some(Change::Put(Key::Report, report)), true),
            // A person's update is no reason not to report a deployment.
            None => {
                ((self.flow.machine().run() == Run::Daemon).then_some(Change::Delete(Key::Report)), false)
            }
        };
        let cleared = self.replace_record(report, owed);
        match cleared {
            Ok(()) => {
                self.story.reason_stored = false;
                Outcome::Success
            }
            Err(error) => self.fail(&RecordText::RecordStays { error: Cause::of(&error) }),
        }
    }
}

/// Changes of the longest batch.
const LONGEST: usize = 9;

/// Changes that are made durable together.
type Batch<'a> = Vec<Change<'a>, LONGEST>;

/// Those of the changes that there are, to be made durable together. More than [`LONGEST`] do not compile.
#[inline]
fn batch<'a, const N: usize>(changes: &[Option<Change<'a>>; N]) -> Batch<'a> {
    const { assert!(N <= LONGEST, "a change would be lost") };
    those_there(changes)
}

fn those_there<'a>(changes: &[Option<Change<'a>>]) -> Batch<'a> {
    let mut batch = Batch::new();
    for change in changes.iter().flatten() {
        // It has room for all of them.
        let _ = batch.push(*change);
    }
    batch
}

/// What makes the record of the control maps what the maps are; `None` when it is. Maps that cannot be written leave
/// their record as it was: an older record holds back more than none, and the log says so.
fn maps_change<'b>(machine: &Machine, buf: &'b mut [u8], log: &mut impl Log) -> Option<Change<'b>> {
    match machine.maps_to_save()?.write(buf) {
        Ok(Some(record)) => Some(Change::Put(Key::ControlMaps, record.as_bytes())),
        Ok(None) => Some(Change::Delete(Key::ControlMaps)),
        Err(overflow) => {
            say(log, Level::Error, &RecordText::MapsTooLong { limit: overflow.limit });
            None
        }
    }
}
