//! What becomes of an update that Mender's client had not finished: it goes on here, or a person settles it.

use thimble_core::hal::{Key, Level, Storage, System};
use thimble_core::limits;
use thimble_hal_linux::storage::{Finding, RECORD_MAX, Store};
use thimble_hal_linux::takeover::complete;

use crate::device::Device;
use crate::output::Failure;
use crate::verbs::VerbName;

/// What a verb does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Its work, with the records as they are now.
    GoOn,
    /// Nothing: of the update that was to be taken back, nothing was installed.
    NothingToTakeBack,
    /// An update waits for a person: no other one may begin.
    Waits,
}

/// Decides for a verb that changes things. The caller holds the lock.
pub(crate) fn decide(device: &Device, store: &mut Store, verb: VerbName) -> Result<Next, Failure> {
    let Some(finding) = store.unfinished() else { return Ok(Next::GoOn) };
    let found = finding.to_string();
    let why = match finding.clone() {
        Finding::Update(mut update) if update.goes_on() => {
            let mut record = vec![0; RECORD_MAX];
            let installed = store.read(Key::Provides, &mut record).map_err(Failure::new)?.unwrap_or_default();
            let mut device_type = [0; limits::DEVICE_TYPE];
            // One that is not known is told by whoever needs it.
            let device_type = device.facts().device_type(&mut device_type).unwrap_or_default();
            match complete(&device.paths, &mut update, installed, device_type) {
                Ok(()) => {
                    store.take_over(&update).map_err(Failure::new)?;
                    device.log(
                        Level::Info,
                        format_args!("took over what another Mender client had not finished: {found}"),
                    );
                    return Ok(Next::GoOn);
                }
                Err(missing) => missing.to_string(),
            }
        }
        Finding::Update(update) if update.has_begun() => "it does not wait for its commit".to_owned(),
        Finding::Update(_) => "nothing of it was installed yet".to_owned(),
        Finding::Unreadable(_) => "nobody knows how far it got".to_owned(),
    };
    match verb {
        VerbName::Install => {
            store.replace_unfinished();
            device.log(
                Level::Warning,
                format_args!(
                    "what another Mender client had not finished gives way to this install: {found}"
                ),
            );
            Ok(Next::GoOn)
        }
        VerbName::Rollback => {
            if store.take_back().map_err(Failure::new)? {
                device.log(
                    Level::Info,
                    format_args!("takes back what another Mender client had not finished: {found}"),
                );
                return Ok(Next::GoOn);
            }
            device.log(
                Level::Warning,
                format_args!(
                    "what another Mender client had not finished is given up, and there is nothing to take back: {found}"
                ),
            );
            Ok(Next::NothingToTakeBack)
        }
        VerbName::Daemon => {
            device.log(Level::Error, format_args!("{}", refusal(&found, &why)));
            Ok(Next::Waits)
        }
        VerbName::Resume | VerbName::Commit => Err(Failure::new(refusal(&found, &why))),
        VerbName::ShowArtifact
        | VerbName::ShowProvides
        | VerbName::ShowFlightRecord
        | VerbName::CheckUpdate
        | VerbName::SendInventory
        | VerbName::Bootstrap
        | VerbName::Status
        | VerbName::Control
        | VerbName::Setup
        | VerbName::Snapshot
        | VerbName::ExportMender => Ok(Next::GoOn),
    }
}

/// What a person is told of an update that Mender's client had not finished, before anything is decided.
pub(crate) fn words(store: &Store) -> Option<String> {
    let finding = store.unfinished()?;
    Some(match finding {
        Finding::Update(update) if update.goes_on() => {
            format!("another Mender client has not finished {finding}: it goes on here with the next start")
        }
        Finding::Update(_) | Finding::Unreadable(_) => {
            refusal(&finding.to_string(), "it cannot be continued here")
        }
    })
}

fn refusal(found: &str, why: &str) -> String {
    format!(
        "another Mender client has not finished {found}, and it is not continued here: {why}; run 'rollback' to take it back, \
         or 'install' to put another artifact in its place"
    )
}
