//! What this device has on record, as the verb sees it itself: beside a daemon that answers, and without one. Only reads, and
//! goes on behind whatever is broken; the first thing that a person has to mend is told.

use std::borrow::Cow;
use std::fmt::Display;

use thimble_core::artifact::provides::UNKNOWN;
use thimble_core::checkpoint::Checkpoint;
use thimble_core::client::{LoadError, saved_checkpoint};
use thimble_core::control::Pool;
use thimble_core::deployment::Mode;
use thimble_core::hal::{Clock, Key, Storage, System};
use thimble_core::json::Value;
use thimble_core::last_report::LastReport;
use thimble_core::limits;
use thimble_core::time::Instant;
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::module::free_space_at;
use thimble_hal_linux::policy::Local;
use thimble_hal_linux::storage::{Access, DataDirectory, Notice, RECORD_MAX, Store};

use crate::device::{Device, SPACE_WANTED};
use crate::holds;
use crate::output::one_line;
use crate::people::size;
use crate::provides::Provides;
use crate::takeover;

use super::facts::Facts;
use super::last::Last;
use super::watch::by_hand;

/// What is on record.
#[derive(Default)]
pub(crate) struct Record {
    /// When it was looked at: what is left of a time is counted from here.
    pub(crate) looked: Instant,
    /// The name of what is installed.
    pub(crate) artifact: Option<String>,
    pub(crate) device_type: Option<String>,
    /// What another Mender client had not finished.
    pub(crate) unfinished: Option<String>,
    /// The first thing that is to be mended.
    pub(crate) to_mend: Option<String>,
    /// The end of the store is cut off; where a daemon is running, perhaps because it writes there just now.
    pub(crate) is_cut_off: bool,
    /// An update by hand waits for a person.
    pub(crate) waits_for_person: bool,
    in_progress: InProgress,
    maps: Option<Pool>,
    policies: String,
    last: Option<Last>,
}

/// The update that is on record.
#[derive(Default)]
struct InProgress {
    doing: String,
    by_hand: Option<String>,
    deployment: Option<String>,
    artifact: Option<String>,
}

impl Record {
    /// Looks at this device. Nothing is changed, and nothing is waited for.
    pub(crate) fn look(device: &Device) -> Self {
        let looked = BootClock.now();
        let mut record = Self { looked, policies: holds::policies(device), ..Self::default() };
        let store = match device.was_never_used() {
            Ok(true) => {
                record.artifact = Some(device.name_of_image());
                Ok(None)
            }
            Ok(false) => device.open_store(Access::ReadOnly).map(Some),
            Err(failure) => Err(failure),
        };
        if let Err(failure) = &store {
            record.mend(failure);
        }
        if let Some(trouble) = &device.conf_trouble {
            record.mend(trouble);
        }
        if let Ok(Some((mut store, notices))) = store {
            record.read(device, &mut store, &notices);
        }
        let mut buf = [0; limits::DEVICE_TYPE];
        match device.facts().device_type(&mut buf) {
            Ok(device_type) => record.device_type = Some(device_type.to_owned()),
            Err(error) => record.mend(format_args!("the device type: {error}; 'setup' writes it")),
        }
        if let Some(unusable) = &device.conf.unusable_server {
            record.mend(unusable);
        }
        let datastore = device.paths.datastore();
        if let Ok(Some(full)) =
            DataDirectory::open(datastore).and_then(|directory| directory.no_room(datastore))
        {
            record.mend(full);
        }
        if let Ok(Some(free)) = free_space_at(datastore)
            && free < SPACE_WANTED
        {
            record.mend(format_args!(
                "{} are free at {}, and records and logs want {}: make room there",
                size(free),
                datastore.display(),
                size(SPACE_WANTED)
            ));
        }
        let needs_clock = !device.conf.servers.is_empty() || !device.conf.policies.windows.is_empty();
        if needs_clock && Local::now().is_none() {
            record.mend(
                "the clock is not set: certificates of servers cannot be checked by it, and update windows stay closed",
            );
        }
        record
    }

    /// Notes what is to be mended, unless something before it is.
    pub(crate) fn mend(&mut self, what: impl Display) {
        if self.to_mend.is_none() {
            self.to_mend = Some(one_line(&what.to_string()));
        }
    }

    /// The facts about a device without a daemon. `server`: the one that is asked first.
    pub(crate) fn facts<'a>(&'a self, server: Option<&'a str>) -> Facts<'a> {
        let InProgress { doing, by_hand, deployment, artifact } = &self.in_progress;
        Facts {
            state: "",
            doing: Cow::Borrowed(doing),
            by_hand: by_hand.as_deref(),
            no_updates: None,
            waiting: None,
            wait_ends: None,
            deployment: deployment.as_deref(),
            artifact: artifact.as_deref(),
            reason: None,
            download: None,
            last: self.last.as_ref(),
            next_poll: None,
            next_inventory: None,
            trouble: None,
            server,
            last_contact: None,
            maps: self.maps.as_ref(),
            policies: &self.policies,
        }
    }

    fn read(&mut self, device: &Device, store: &mut Store, notices: &[Notice]) {
        for notice in notices {
            match notice {
                Notice::Broken { .. } | Notice::OtherVersion { .. } => self.mend(notice),
                Notice::CutOff
                | Notice::Imported { .. }
                | Notice::NotImported { .. }
                | Notice::Superseded
                | Notice::Beside => {}
            }
        }
        self.is_cut_off = device.is_cut_off(store);
        match Provides::read(store) {
            Ok(provides) => self.artifact = Some(provides.name().unwrap_or(UNKNOWN).to_owned()),
            Err(failure) => self.mend(failure),
        }
        let mut buf = vec![0; RECORD_MAX];
        match saved_checkpoint(store, &mut buf) {
            Ok(Some(checkpoint)) => self.in_progress(store, &checkpoint),
            Ok(None) => self.report(store, &mut buf),
            Err(LoadError::Unusable(unusable)) => self.mend(unusable),
            Err(LoadError::Storage(error)) => self.mend(error),
        }
        match store.read(Key::ControlMaps, &mut buf) {
            Ok(None) => self.maps = Some(Pool::new()),
            Ok(Some(maps)) => {
                let lifetime = device.conf.core_config().update_control_map_boot_expiration;
                match Pool::load(maps, self.looked, lifetime) {
                    Ok(maps) => self.maps = Some(maps),
                    Err(error) => self.mend(format_args!("{error}: the next update fails")),
                }
            }
            Err(error) => self.mend(error),
        }
        if let Ok(Some(flight)) = store.read(Key::Flight, &mut buf) {
            self.last = Last::on_record(device, flight);
        }
        if let Some(words) = takeover::words(device, store) {
            if !words.goes_on {
                self.mend(&words.text);
            }
            self.waits_for_person |= words.waits_for_person;
            self.unfinished = Some(words.text);
        }
    }

    fn in_progress(&mut self, store: &mut Store, checkpoint: &Checkpoint) {
        let artifact = artifact_in_progress(store);
        match checkpoint.mode {
            Mode::Standalone => {
                self.in_progress.by_hand = Some(by_hand(checkpoint, artifact.as_deref()));
                self.waits_for_person = true;
            }
            Mode::Managed => {
                self.in_progress.deployment = Some(checkpoint.deployment.as_str().to_owned());
                self.in_progress.doing =
                    format!("{}; the daemon goes on from there when it is started", checkpoint.tag);
            }
        }
        self.in_progress.artifact = artifact;
    }

    fn report(&mut self, store: &mut Store, buf: &mut [u8]) {
        if let Ok(Some(report)) = store.read(Key::Report, buf)
            && let Some(report) = LastReport::decode(report)
        {
            self.in_progress.deployment = Some(report.ended.id.as_str().to_owned());
            self.in_progress.doing =
                "over, but the server has not heard how it ended; the daemon tells it when it is started"
                    .into();
        }
    }
}

/// The name of the artifact that is being installed, by its header.
pub(crate) fn artifact_in_progress(store: &mut Store) -> Option<String> {
    let mut buf = vec![0; RECORD_MAX];
    let header = Value::parse(store.read(Key::HeaderInfo, &mut buf).ok()??).ok()?;
    let name = header.member("artifact_provides").ok()??.member("artifact_name").ok()??;
    Some(one_line(&name.as_str()?.to_string()))
}
