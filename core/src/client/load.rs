//! What an earlier process has left on record: read once, at the start.

use super::messages::{Interrupted, RecordText, say};
use super::{Client, Device, StartError, Started};
use crate::begun::{self, Begun};
use crate::checkpoint::{Checkpoint, Newer, Tag, Unusable};
use crate::config::Config;
use crate::control::Pool;
use crate::deployment::{Mode, Verdict};
use crate::flow::Event;
use crate::hal::{
    Cause, Error as _, Hal, Key, Kind, Level, Log, Platform, ScriptRunner, Storage, UpdateModule,
};
use crate::last_report::{Ended, LastReport, mark};
use crate::limits;
use crate::machine::Run;
use crate::plain::split_once;
use crate::state::Verb;
use crate::text::{Text, TextExt};
use crate::time::Instant;

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
                say(log, Level::Error, &RecordText::WithoutIt { unusable: Unusable::Corrupt });
                None
            }
            Err(LoadError::Unusable(Unusable::Newer(newer))) if run == Run::Daemon => {
                say(log, Level::Error, &RecordText::NoUpdates { newer });
                return Ok((Run::NoUpdates(newer), None));
            }
            Err(LoadError::Unusable(Unusable::Newer(newer))) => return Err(StartError::Newer(newer)),
            Err(LoadError::Storage(error)) => return Err(StartError::Records(error)),
        };
        if let Some(saved) = &mut saved
            && run == Run::Daemon
        {
            if saved.mode == Mode::Standalone {
                say(log, Level::Warning, &RecordText::ByHand);
            }
            saved.offer = config.resumes_downloads() && self.load_offer(saved).is_some();
        }
        Ok((run, saved))
    }

    /// Reads the control maps on record; `None` when they cannot be read, which is logged. Without feature `control-maps`,
    /// the record that another build has left stays as it is.
    pub(super) fn load_maps(&mut self, now: Instant, config: &Config) -> Option<Pool> {
        if limits::MAPS == 0 {
            return Some(Pool::new());
        }
        let Hal { storage, log, .. } = &mut self.hal;
        match storage.read(Key::ControlMaps, self.lent.free().0) {
            Ok(None) => Some(Pool::new()),
            Ok(Some(record)) => Pool::load(record, now, config.update_control_map_boot_expiration)
                .map_err(|error| say(log, Level::Error, &RecordText::BadMaps { error: &error }))
                .ok(),
            Err(error) => {
                say(log, Level::Error, &RecordText::Maps { error: Cause::of(&error) });
                None
            }
        }
    }

    /// Reads what an earlier process had still to report, and the number of the server that made the offer. What cannot be
    /// read is not reported.
    pub(super) fn load_last_report(&mut self) -> Option<(Ended, Option<u8>)> {
        let Self { hal: Hal { storage, log, .. }, device, lent, requests, .. } = self;
        let mut lost = |line: &RecordText<'_>| {
            say(log, Level::Error, line);
            None
        };
        match storage.read(Key::Report, lent.free().0) {
            Ok(None) => None,
            Ok(Some(record)) => match LastReport::decode(record) {
                Some(LastReport { ended, substate, server }) => {
                    requests.last_substate = Text::front(substate);
                    Some((ended, server.and_then(|server| number_of(device, server))))
                }
                None => lost(&RecordText::BadReport),
            },
            Err(error) => lost(&RecordText::Report { error: Cause::of(&error) }),
        }
    }

    /// Reads which deployments began here last, and the number of the server that offered the one in progress. What cannot be
    /// read has never begun: it must not keep the device from its updates.
    pub(super) fn load_begun(&mut self, in_progress: &str) -> (Begun, Option<u8>) {
        let Self { hal: Hal { storage, log, .. }, lent, device, .. } = self;
        let mut lost = |line: &RecordText<'_>| say(log, Level::Error, line);
        let record = match storage.read(Key::Begun, lent.free().0) {
            Ok(None) => None,
            Ok(Some(bytes)) => {
                let record = begun::Record::decode(bytes);
                if record.is_none() {
                    lost(&RecordText::BadBegun);
                }
                record
            }
            Err(error) => {
                lost(&RecordText::Begun { error: Cause::of(&error) });
                None
            }
        };
        let Some(begun::Record { begun, server }) = record else { return (Begun::nothing(), None) };
        let server =
            server.filter(|_| begun.is_last(in_progress)).and_then(|server| number_of(device, server));
        (begun, server)
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
            let line = RecordText::GoesOn { deployment: deployment.as_str() };
            say(&mut self.hal.log, Level::Info, &line);
        }
        self.restore_reason(deployment.as_str());
        self.explain_restart(tag);
        if tag == Tag::Store && !has_module && !deployment.is_empty() {
            // Power may have been lost before the record knew of them. No module and no script of them has run.
            self.remove_tree();
            if let Err(error) = self.hal.scripts.discard() {
                let line = RecordText::ScriptsStay { error: Cause::of(&error) };
                say(&mut self.hal.log, Level::Error, &line);
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
                    self.fail(&RecordText::BadHeader { error: &error });
                }
            },
            Err(error) => {
                self.fail(&RecordText::Header { error: Cause::of(&error) });
            }
        }
        if has_module && let Some(kind) = self.payload_type() {
            match self.hal.module.select(kind.as_str()) {
                Ok(()) => restored.1 = true,
                Err(error) => {
                    self.fail(&RecordText::PayloadType { kind: kind.as_str(), error: Cause::of(&error) });
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
        let Some((id, reason)) = str::from_utf8(stored).ok().and_then(|text| split_once(text, b'\n')) else {
            return;
        };
        if id == deployment {
            self.story.reason = Text::front(reason);
            self.story.reason_stored = true;
        }
    }

    /// The restart itself is why the update failed, where nothing was before.
    fn explain_restart(&mut self, tag: Tag) {
        let at = match tag {
            Tag::Store | Tag::BeforeInstall => Interrupted::BeforeInstall,
            Tag::Install => Interrupted::InInstall,
            Tag::AfterReboot | Tag::BeforeCommit => Interrupted::BeforeCommit,
            Tag::Commit => Interrupted::InCommit,
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
        // A rollback that somebody asks for is no failure.
        let goes_on = matches!(self.machine().run(), Run::Daemon | Run::Continue(Verb::Resume));
        if goes_on && self.machine().verdict() != Verdict::Good && self.story.reason.is_empty() {
            self.fail(&RecordText::Restarted { at });
        }
    }
}

/// The number of the server that is known by this mark on record, if it is still configured.
fn number_of(device: &Device<'_>, server: u32) -> Option<u8> {
    u8::try_from(device.servers.iter().position(|url| mark(url) == server)?).ok()
}
