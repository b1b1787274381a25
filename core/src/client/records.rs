//! What the client keeps: the record of the update, the header of its artifact, and the provides.

use core::fmt;

use super::offer::{Offered, SavedOffer};
use super::reason::{Noted, note};
use super::{Client, StartError, Started};
use crate::api::check_url;
use crate::artifact::{accept, provides};
use crate::checkpoint::{self, Checkpoint, Newer, Tag, Unusable};
use crate::config::Config;
use crate::control::Pool;
use crate::deployment::{Mode, Naming, Verdict};
use crate::flow::{Beside, Event};
use crate::hal::{
    Agent, Change, Error as _, ErrorType, Hal, Key, Kind, Level, Log, Platform, ScriptRunner, Storage,
    System, TreeFacts, UpdateModule,
};
use crate::http::Target;
use crate::last_report::{self, Ended, LastReport, mark};
use crate::limits;
use crate::machine::{Machine, Run};
use crate::state::Outcome;
use crate::text::Text;
use crate::time::Instant;
use crate::transfer::Accepted;

/// Why the saved record cannot be used.
#[derive(Clone, Debug)]
pub enum LoadError<E> {
    /// It was read, and is none.
    Unusable(Unusable),
    /// It cannot be read.
    Storage(E),
}

/// Reads the record of the update in progress; `None`: there is none. `buf` needs room for the longest record.
///
/// # Errors
/// [`LoadError`].
pub fn saved_checkpoint<S: Storage>(
    storage: &mut S,
    buf: &mut [u8],
) -> Result<Option<Checkpoint>, LoadError<S::Error>> {
    match storage.read(Key::Checkpoint, buf) {
        Ok(None) => Ok(None),
        Ok(Some(bytes)) => Checkpoint::decode(bytes).map(Some).map_err(LoadError::Unusable),
        Err(error) if error.kind() == Kind::Newer => {
            Err(LoadError::Unusable(Unusable::Newer(Newer::Storage)))
        }
        Err(error) => Err(LoadError::Storage(error)),
    }
}

impl<P: Platform> Client<'_, P> {
    /// Reads the record of the update in progress, and what a daemon that is started on it becomes.
    pub(super) fn load_update(&mut self, run: Run, config: &Config) -> Started<P, (Run, Option<Checkpoint>)> {
        let Hal { storage, log, .. } = &mut self.hal;
        let mut saved = match saved_checkpoint(storage, self.lent.free().0) {
            Ok(saved) => saved,
            Err(LoadError::Unusable(Unusable::Corrupt)) => {
                log.log(Level::Error, format_args!("{}: starting without it", Unusable::Corrupt));
                None
            }
            Err(LoadError::Unusable(Unusable::Newer(newer))) if run == Run::Daemon => {
                log.log(Level::Error, format_args!("no updates: {newer}"));
                return Ok((Run::NoUpdates(newer), None));
            }
            Err(LoadError::Unusable(Unusable::Newer(newer))) => return Err(StartError::Newer(newer)),
            Err(LoadError::Storage(error)) => return Err(StartError::Records(error)),
        };
        if let Some(saved) = &mut saved
            && run == Run::Daemon
        {
            if saved.mode == Mode::Standalone {
                log.log(
                    Level::Warning,
                    format_args!(
                        "an update installed by hand was neither committed nor rolled back; the next deployment takes its place"
                    ),
                );
            }
            saved.offer = config.resume_downloads && self.load_offer(saved).is_some();
        }
        Ok((run, saved))
    }

    /// Reads the offer of the saved deployment: what an earlier process knew of the download that goes on. One of another
    /// deployment, or a damaged one, is none: the download then does not go on.
    fn load_offer(&mut self, saved: &Checkpoint) -> Option<()> {
        if saved.mode != Mode::Managed {
            return None;
        }
        let Self { hal: Hal { storage, log, .. }, lent, download, requests, .. } = self;
        let record = storage.read(Key::Offer, lent.free().0);
        let record = record.map_err(|error| log.log(Level::Error, format_args!("the saved offer: {error}")));
        let offer = SavedOffer::decode(record.ok()??)?;
        if saved.deployment != *offer.id {
            return None;
        }
        check_url(offer.link).ok()?;
        download.etag = Text::copy(offer.etag).ok()?;
        requests.offered = Offered::new(Text::copy(offer.artifact_name).ok()?, offer.fits_device);
        download.source.set(Target::Url(offer.link)).ok()
    }

    /// Reads the control maps on record; `None` when they cannot be read, which is logged.
    pub(super) fn load_maps(&mut self, now: Instant, config: &Config) -> Option<Pool> {
        let Hal { storage, log, .. } = &mut self.hal;
        let mut lost = |why: fmt::Arguments<'_>| {
            log.log(Level::Error, format_args!("{why}: an update in progress fails at its next door"));
        };
        match storage.read(Key::ControlMaps, self.lent.free().0) {
            Ok(None) => Some(Pool::new()),
            Ok(Some(record)) => Pool::load(record, now, config.update_control_map_boot_expiration)
                .map_err(|error| lost(format_args!("{error}")))
                .ok(),
            Err(error) => {
                lost(format_args!("saved update control maps: {error}"));
                None
            }
        }
    }

    /// Reads what an earlier process had still to report, and the number of the server that made the offer. What cannot be
    /// read is not reported.
    pub(super) fn load_last_report(&mut self) -> Option<(Ended, Option<u8>)> {
        let Self { hal: Hal { storage, agent, log, .. }, lent, requests, .. } = self;
        let mut lost = |why: fmt::Arguments<'_>| {
            log.log(
                Level::Error,
                format_args!("the record of the last report {why}: the server is not told"),
            );
            None
        };
        match storage.read(Key::Report, lent.free().0) {
            Ok(None) => None,
            Ok(Some(record)) => match LastReport::decode(record) {
                Some(LastReport { ended, substate, server }) => {
                    requests.last_substate = Text::cut(format_args!("{substate}"));
                    Some((ended, server.and_then(|server| number_of(agent, server))))
                }
                None => lost(format_args!("is damaged")),
            },
            Err(error) => lost(format_args!("cannot be read: {error}")),
        }
    }

    /// After a restart in the middle of an update: its header comes back from storage, its module is selected again
    /// and the deployment's log goes on. What cannot be restored is logged; the calls that need it then fail. What came
    /// back, for the flow.
    pub(super) fn restore(&mut self) -> Event {
        let checkpoint = self.flow.machine().checkpoint();
        let (tag, has_header, has_module) = (checkpoint.tag, checkpoint.header, checkpoint.module);
        let deployment = checkpoint.deployment.clone();
        if !deployment.is_empty() {
            self.requests.had_substate = true;
            self.hal.log.open_deployment(deployment.as_str());
            self.hal
                .log
                .log(Level::Info, format_args!("going on with deployment {deployment} after a restart"));
        }
        self.restore_reason(deployment.as_str());
        self.explain_restart(tag);
        if tag == Tag::Store && !has_module && !deployment.is_empty() {
            // Power may have been lost before the record knew of them. No module and no script of them has run.
            self.remove_tree();
            if let Err(error) = self.hal.scripts.discard() {
                self.hal
                    .log
                    .log(Level::Error, format_args!("the artifact's scripts cannot be removed: {error}"));
            }
        }
        let mut restored = (false, false);
        if !has_header {
            return Event::Restored { header: false, module: false };
        }
        let (header_info, type_info) = self.parser.records_mut();
        let read = |record: Result<Option<&[u8]>, _>| record.map(|bytes| bytes.map_or(0, <[u8]>::len));
        let storage = &mut self.hal.storage;
        let lengths = read(storage.read(Key::HeaderInfo, header_info))
            .and_then(|header| Ok((header, read(storage.read(Key::TypeInfo, type_info))?)));
        match lengths {
            Ok((header_info, type_info)) => match self.parser.restore(header_info, type_info) {
                Ok(()) => restored.0 = true,
                Err(error) => {
                    self.fail(format_args!("the stored header of the artifact: {error}"));
                }
            },
            Err(error) => {
                self.fail(format_args!("the stored header of the artifact cannot be read: {error}"));
            }
        }
        if has_module && let Some(kind) = self.payload_type() {
            match self.hal.module.select(kind.as_str()) {
                Ok(()) => restored.1 = true,
                Err(error) => {
                    self.fail(format_args!("payload type {kind}: {error}"));
                }
            }
        }
        let (header, module) = restored;
        Event::Restored { header, module }
    }

    /// Why this deployment failed first, if an earlier process has noted it. It only explains: what cannot be read is
    /// as if it had not been there.
    fn restore_reason(&mut self, deployment: &str) {
        if deployment.is_empty() {
            return;
        }
        let Ok(Some(stored)) = self.hal.storage.read(Key::Reason, self.lent.free().0) else { return };
        let Some((id, reason)) = str::from_utf8(stored).ok().and_then(|text| text.split_once('\n')) else {
            return;
        };
        if id == deployment {
            self.story.reason = Text::cut(format_args!("{reason}"));
            self.story.reason_stored = true;
        }
    }

    /// The restart itself is why the update failed, where nothing was before.
    fn explain_restart(&mut self, tag: Tag) {
        let at = match tag {
            Tag::Store | Tag::BeforeInstall => "before ArtifactInstall",
            Tag::Install => "in ArtifactInstall",
            Tag::AfterReboot | Tag::BeforeCommit => "before ArtifactCommit",
            Tag::Commit => "in ArtifactCommit",
            Tag::Reboot
            | Tag::BeforeCommitLeave
            | Tag::AfterCommit
            | Tag::Rollback
            | Tag::RollbackReboot
            | Tag::AfterRollbackReboot
            | Tag::Failure
            | Tag::Cleanup
            | Tag::Report => return,
        };
        let failed = self.flow.machine().run() == Run::Daemon && self.machine().verdict() != Verdict::Good;
        if failed && self.story.reason.is_empty() {
            self.fail(format_args!("interrupted {at}: the client was started again, or power was lost"));
        }
    }

    /// The payload type of the artifact at hand; `None` for an empty payload or no artifact.
    fn payload_type(&self) -> Option<Text<{ limits::PAYLOAD_TYPE }>> {
        let mut buf = [0; limits::PAYLOAD_TYPE];
        let kind = self.parser.header()?.payload_type(&mut buf)?;
        Text::copy(kind).ok()
    }

    /// The header is verified: is this artifact for this device, and can it be installed? Then its scripts are
    /// published, its module selected and the work tree built. `again`: it is the artifact that an earlier process
    /// downloaded from, as far as the server says.
    pub(super) fn accept(&mut self, again: bool) -> Result<Event, Noted> {
        let mut noted = |reason: fmt::Arguments<'_>| note(&mut self.story.reason, &mut self.hal.log, reason);
        let run = self.flow.machine().run();
        let mut device_type = [0; limits::DEVICE_TYPE];
        let device_type = match self.hal.system.device_type(&mut device_type) {
            Ok(device_type) => Some(device_type),
            // The bootstrap artifact may come before the device type does.
            Err(error) if run == Run::Bootstrap && error.kind() == Kind::NotFound => None,
            Err(error) => return Err(noted(format_args!("the device type cannot be read: {error}"))),
        };
        let (header, scratch) = self
            .parser
            .header_and_scratch()
            .ok_or_else(|| noted(format_args!("the artifact has no header")))?;
        let (record, out) = self.lent.free();
        let installed = self.hal.storage.read(Key::Provides, record);
        let installed =
            installed.map_err(|error| noted(format_args!("what is installed cannot be read: {error}")))?;
        let installed = installed.unwrap_or(b"{}");
        let deployment = (run == Run::Daemon).then(|| accept::Deployment {
            artifact_name: self.requests.offered.artifact_name(),
            fits_device: self.requests.offered.fits_device(),
            tier: self.hal.agent.tier(),
        });
        let facts = accept::Facts { device_type, installed, deployment };
        let payload =
            accept::judge(&header, &facts, out, scratch).map_err(|error| noted(format_args!("{error}")))?;
        let header = self.parser.header().ok_or_else(|| noted(format_args!("the artifact has no header")))?;
        let (mut name, mut kind) = ([0; limits::NAME], [0; limits::PAYLOAD_TYPE]);
        let name = header.artifact_name(&mut name);
        self.hal.log.log(Level::Info, format_args!("artifact \"{name}\" is for this device"));

        let mut noted = |reason: fmt::Arguments<'_>| note(&mut self.story.reason, &mut self.hal.log, reason);
        let kind = match payload {
            accept::Payload::ForModule => header.payload_type(&mut kind).unwrap_or_default(),
            accept::Payload::None => {
                if self.flow.goes_on() {
                    self.remove_tree();
                }
                return Ok(Event::Accepted { accepted: Accepted::NoPayload, same_header: false });
            }
        };
        let selected = self.hal.module.select(kind);
        selected.map_err(|error| noted(format_args!("payload type {kind}: {error}")))?;
        let mut is_stored = |key, fresh: &[u8]| matches!(self.hal.storage.read(key, out), Ok(Some(stored)) if stored == fresh);
        let same_header = self.flow.header_is_stored(true)
            && is_stored(Key::HeaderInfo, header.header_info())
            && is_stored(Key::TypeInfo, header.type_info());
        // The artifact's scripts take their place; nothing of an unverified artifact ever does.
        let published = self.hal.scripts.publish();
        published.map_err(|error| {
            noted(format_args!("the artifact's state scripts could not be stored: {error}"))
        })?;

        let mut group = [0; limits::NAME];
        let mut current_name = [0; limits::STORED_NAME];
        let mut current_group = [0; limits::NAME];
        let facts = TreeFacts {
            current_artifact_name: provides::artifact_name(installed, &mut current_name).unwrap_or(""),
            current_artifact_group: provides::artifact_group(installed, &mut current_group).unwrap_or(""),
            current_device_type: device_type.unwrap_or(""),
            artifact_name: name,
            artifact_group: header.artifact_group(&mut group).unwrap_or(""),
            payload_type: kind,
            header_info: header.header_info(),
            type_info: header.type_info(),
            meta_data: header.meta_data(),
            files: self.parser.payload_files(),
        };
        let kept = again && self.flow.header_is_stored(same_header);
        let module = &mut self.hal.module;
        let prepared = if kept { module.prepare_again(&facts) } else { module.prepare(&facts) };
        if let Err(error) = prepared {
            let failed = noted(format_args!("the work tree could not be built: {error}"));
            // Nobody calls `Cleanup` for an update that did not begin.
            self.remove_tree();
            return Err(failed);
        }
        if let Some(beside) = self.flow.saves_before_accepting(same_header) {
            self.write_record(beside)?;
        }
        Ok(Event::Accepted { accepted: Accepted::Payload { kept }, same_header })
    }

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
    fn write_last_report(&mut self) -> Result<(), Noted> {
        let mut buf = [0; last_report::MAX_LEN];
        let committed = if self.machine().is_late() {
            // A record of the update that there is now is a person's.
            match self.last_report(&mut buf) {
                Some(report) => self.hal.storage.commit(&[Change::Put(Key::Report, report)]),
                None => Ok(()),
            }
        } else {
            self.requests.last_substate =
                Text::cut(format_args!("{}", self.story.line(self.machine().verdict())));
            let report = self.last_report(&mut buf);
            self.replace_record(report.map(|report| Change::Put(Key::Report, report)))
        };
        committed.map_err(|error| {
            let reason = format_args!("the end of the update could not be saved: {error}");
            note(&mut self.story.reason, &mut self.hal.log, reason)
        })
    }

    /// The record of the last report, as it is to be; `None`: there is none.
    fn last_report<'r>(&self, buf: &'r mut [u8; last_report::MAX_LEN]) -> Option<&'r [u8]> {
        let by = self.flow.session().offered_by();
        let report = LastReport {
            ended: self.machine().last_report()?,
            substate: self.requests.last_substate.as_str(),
            server: by.and_then(|by| self.hal.agent.server(by.into())).map(mark),
        };
        report.encode(buf)
    }

    /// The update has no record any more, but what is to be there instead. Control maps in the same batch.
    fn replace_record(
        &mut self,
        instead: Option<Change<'_>>,
    ) -> Result<(), <P::Storage as ErrorType>::Error> {
        let mut maps = [0; limits::MAPS_RECORD];
        let batch = Batch::of([
            Some(Change::Delete(Key::Checkpoint)),
            Some(Change::Delete(Key::HeaderInfo)),
            Some(Change::Delete(Key::TypeInfo)),
            Some(Change::Delete(Key::Offer)),
            Some(Change::Delete(Key::Reason)),
            instead,
            maps_change(self.flow.machine(), &mut maps, &mut self.hal.log),
        ]);
        self.hal.storage.commit(batch.changes())
    }

    /// [`crate::machine::Op::ForgetReport`].
    pub(super) fn forget_report(&mut self) -> Outcome {
        match self.hal.storage.commit(&[Change::Delete(Key::Report)]) {
            Ok(()) => Outcome::Success,
            Err(error) => {
                let reason = format_args!("the record of the last report cannot be deleted: {error}");
                self.hal.log.log(Level::Error, reason);
                Outcome::Failure
            }
        }
    }

    /// The record and, in the same batch, those beside it that are not stored yet: control maps among them, so that
    /// the server's word about a deployment is on record exactly when the deployment is.
    fn write_record(&mut self, beside: Beside) -> Result<(), Noted> {
        let mut buf = [0; checkpoint::MAX_LEN];
        let checkpoint = self.flow.machine().checkpoint();
        let record = checkpoint
            .encode(&mut buf)
            .map_err(|error| note(&mut self.story.reason, &mut self.hal.log, format_args!("{error}")))?;
        let mut maps = [0; limits::MAPS_RECORD];
        let maps = maps_change(self.flow.machine(), &mut maps, &mut self.hal.log);
        let reason: Text<{ limits::DEPLOYMENT_ID + 1 + limits::REASON }> =
            Text::cut(format_args!("{}\n{}", checkpoint.deployment, self.story.reason));
        let has_news =
            checkpoint.mode == Mode::Managed && !self.story.reason.is_empty() && !self.story.reason_stored;
        let header = self.parser.header().filter(|_| beside.header);
        // An offer without a link is not worth going on with: the download fails at once.
        let link = self.download.source.link().filter(|_| beside.offer);
        let offer = SavedOffer {
            id: checkpoint.deployment.as_str(),
            artifact_name: self.requests.offered.artifact_name(),
            fits_device: self.requests.offered.fits_device(),
            link: link.unwrap_or_default(),
            etag: self.download.etag.as_str(),
        };
        let offer = if link.is_some() { offer.encode(self.lent.free().1) } else { None };
        if link.is_some() && offer.is_none() {
            self.hal.log.log(
                Level::Warning,
                format_args!("the server's offer is too long to be stored: a restart will end the download"),
            );
        }
        let batch = Batch::of([
            Some(Change::Put(Key::Checkpoint, record)),
            maps,
            has_news.then_some(Change::Put(Key::Reason, reason.as_str().as_bytes())),
            header.as_ref().map(|header| Change::Put(Key::HeaderInfo, header.header_info())),
            header.as_ref().map(|header| Change::Put(Key::TypeInfo, header.type_info())),
            offer.map(|offer| Change::Put(Key::Offer, offer)),
        ]);
        self.hal.storage.commit(batch.changes()).map_err(|error| {
            let reason = format_args!("the state of the update could not be saved: {error}");
            note(&mut self.story.reason, &mut self.hal.log, reason)
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

    fn write_provides(&mut self, naming: Naming) -> Result<(), Noted> {
        let mut noted = |reason: fmt::Arguments<'_>| note(&mut self.story.reason, &mut self.hal.log, reason);
        let Some((header, scratch)) = self.parser.header_and_scratch() else {
            // A loop before any artifact was accepted leaves the device as it was.
            return if naming == Naming::Loop {
                Ok(())
            } else {
                Err(noted(format_args!("the artifact's header is lost")))
            };
        };
        let (record, out) = self.lent.free();
        let installed = self.hal.storage.read(Key::Provides, record);
        let installed =
            installed.map_err(|error| noted(format_args!("what is installed cannot be read: {error}")))?;
        let merged = provides::merge(installed.unwrap_or(b"{}"), &header, naming, out, scratch)
            .map_err(|error| noted(format_args!("the new provides could not be stored: {error}")))?;
        let mut buf = [0; checkpoint::MAX_LEN];
        let checkpoint = self.flow.machine().checkpoint();
        let provides = Change::Put(Key::Provides, merged);
        let record = checkpoint.encode(&mut buf).map_err(|error| noted(format_args!("{error}")))?;
        let committed = match checkpoint.mode {
            Mode::Managed => self.hal.storage.commit(&[provides, Change::Put(Key::Checkpoint, record)]),
            // Bootstrap never wrote a record, and must not delete one either.
            Mode::Standalone if self.flow.machine().run() == Run::Bootstrap => {
                self.hal.storage.commit(&[provides])
            }
            Mode::Standalone => self.hal.storage.commit(&[
                provides,
                Change::Delete(Key::Checkpoint),
                Change::Delete(Key::HeaderInfo),
                Change::Delete(Key::TypeInfo),
                Change::Delete(Key::Offer),
            ]),
        };
        committed
            .map_err(|error| noted(format_args!("the new name and provides could not be stored: {error}")))
    }

    /// [`crate::machine::Op::SaveMaps`].
    pub(super) fn save_maps(&mut self) -> Outcome {
        // Not in a lent buffer: a map may come while these hold a request that is under way.
        let mut buf = [0; limits::MAPS_RECORD];
        let Some(change) = maps_change(self.flow.machine(), &mut buf, &mut self.hal.log) else {
            return if self.flow.machine().maps_to_save().is_some() {
                Outcome::Failure
            } else {
                Outcome::Success
            };
        };
        match self.hal.storage.commit(&[change]) {
            Ok(()) => Outcome::Success,
            Err(error) => {
                self.hal
                    .log
                    .log(Level::Error, format_args!("the update control maps cannot be saved: {error}"));
                Outcome::Failure
            }
        }
    }

    /// [`crate::machine::Op::ClearData`].
    pub(super) fn clear_data(&mut self) -> Outcome {
        if self.flow.machine().run() == Run::Bootstrap {
            return Outcome::Success;
        }
        let mut buf = [0; last_report::MAX_LEN];
        let report = match self.last_report(&mut buf) {
            // It stays; or comes now, where it could not be written before.
            Some(report) => Some(Change::Put(Key::Report, report)),
            // A person's update is no reason not to report a deployment.
            None => (self.flow.machine().run() == Run::Daemon).then_some(Change::Delete(Key::Report)),
        };
        let cleared = self.replace_record(report);
        match cleared {
            Ok(()) => {
                self.story.reason_stored = false;
                Outcome::Success
            }
            Err(error) => self.fail(format_args!("the record of the update cannot be deleted: {error}")),
        }
    }
}

/// The number of the server that is known by this mark on record, if it is still configured.
fn number_of<A: Agent>(agent: &A, server: u32) -> Option<u8> {
    let mut numbers = 0..limits::SERVERS;
    let number = numbers.find(|&number| agent.server(number).is_some_and(|url| mark(url) == server))?;
    u8::try_from(number).ok()
}

/// Changes that are made durable together. It has room for every change that it may be made of: none is ever dropped.
struct Batch<'a, const N: usize> {
    changes: [Change<'a>; N],
    length: usize,
}

impl<'a, const N: usize> Batch<'a, N> {
    /// Those of the changes that there are.
    fn of(changes: [Option<Change<'a>>; N]) -> Self {
        let mut batch = Self { changes: [Change::Delete(Key::Checkpoint); N], length: 0 };
        for (room, change) in batch.changes.iter_mut().zip(changes.into_iter().flatten()) {
            *room = change;
            batch.length = batch.length.saturating_add(1);
        }
        batch
    }

    fn changes(&self) -> &[Change<'a>] {
        self.changes.get(..self.length).unwrap_or_default()
    }
}

/// What makes the record of the control maps what the maps are; `None` when it is. Maps that cannot be written leave
/// their record as it was: an older record holds back more than none, and the log says so.
fn maps_change<'b>(
    machine: &Machine,
    buf: &'b mut [u8; limits::MAPS_RECORD],
    log: &mut impl Log,
) -> Option<Change<'b>> {
    match machine.maps_to_save()?.write(buf) {
        Ok(Some(record)) => Some(Change::Put(Key::ControlMaps, record.as_bytes())),
        Ok(None) => Some(Change::Delete(Key::ControlMaps)),
        Err(overflow) => {
            log.log(
                Level::Error,
                format_args!(
                    "the update control maps need more than the {} bytes of their record: it stays as it was",
                    overflow.limit
                ),
            );
            None
        }
    }
}
