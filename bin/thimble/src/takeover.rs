//! What becomes of an update that Mender's client had not finished: it goes on here, or a person settles it.

use thimble_core::deployment::Mode;
use thimble_core::hal::{Key, Level, Storage, System};
use thimble_core::limits;
use thimble_hal_linux::storage::{Finding, RECORD_MAX, Store, Unfinished};
use thimble_hal_linux::takeover::{Missing, Needs, check, make};

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

/// Why an update does not go on here.
enum Obstacle {
    /// What it needs is missing, or of another update.
    Missing(Missing),
    /// It does not wait for its commit.
    NotThere,
    /// Nothing of it was installed yet.
    NotBegun,
    /// Its record makes no sense.
    Unreadable,
}

/// Decides for a verb that changes things. The caller holds the lock.
pub(crate) fn decide(device: &Device, store: &mut Store, verb: VerbName) -> Result<Next, Failure> {
    let Some(finding) = store.unfinished() else { return Ok(Next::GoOn) };
    let (finding, found) = (finding.clone(), finding.to_string());
    let obstacle = match obstacle(device, store, finding)? {
        Ok(update) if update.goes_on() => {
            store.take_over(&update).map_err(Failure::new)?;
            device.log(
                Level::Info,
                format_args!("took over what another Mender client had not finished: {found}"),
            );
            return Ok(Next::GoOn);
        }
        Ok(_) => Obstacle::NotThere,
        Err(obstacle) => obstacle,
    };
    match (verb, &obstacle) {
        (VerbName::Install, _) => {
            store.replace_unfinished();
            device.log(
                Level::Warning,
                format_args!(
                    "what another Mender client had not finished gives way to this install: {found}"
                ),
            );
            Ok(Next::GoOn)
        }
        (VerbName::Rollback, Obstacle::NotThere) => {
            store.take_back().map_err(Failure::new)?;
            device.log(
                Level::Info,
                format_args!("takes back what another Mender client had not finished: {found}"),
            );
            Ok(Next::GoOn)
        }
        (VerbName::Rollback, Obstacle::Unreadable) => {
            store.take_back().map_err(Failure::new)?;
            Err(Failure::new(format_args!(
                "what another Mender client had not finished is given up, nobody knows how far it got, and nothing was taken \
                 back: {found}; check the device, or run 'install' to put an artifact in its place"
            )))
        }
        (VerbName::Rollback, Obstacle::NotBegun) => {
            store.take_back().map_err(Failure::new)?;
            device.log(
                Level::Warning,
                format_args!(
                    "what another Mender client had not finished is given up, and there is nothing to take back: {found}"
                ),
            );
            Ok(Next::NothingToTakeBack)
        }
        (VerbName::Daemon, _) => {
            device.log(Level::Error, format_args!("{}", refusal(&found, &obstacle)));
            Ok(Next::Waits)
        }
        (VerbName::Resume | VerbName::Commit | VerbName::Rollback, _) => {
            Err(Failure::new(refusal(&found, &obstacle)))
        }
        (
            VerbName::ShowArtifact
            | VerbName::ShowProvides
            | VerbName::ShowFlightRecord
            | VerbName::Inspect
            | VerbName::Doctor
            | VerbName::CheckUpdate
            | VerbName::SendInventory
            | VerbName::Bootstrap
            | VerbName::Status
            | VerbName::Control
            | VerbName::Setup
            | VerbName::Snapshot
            | VerbName::ExportMender,
            _,
        ) => Ok(Next::GoOn),
    }
}

/// The update, complete with all that its module needs; or what is in its way.
fn obstacle(
    device: &Device,
    store: &mut Store,
    finding: Finding,
) -> Result<Result<Unfinished, Obstacle>, Failure> {
    let (update, needs) = match look(device, finding) {
        Ok(found) => found,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    match needs {
        Needs::Nothing => return Ok(Ok(update)),
        Needs::Tree => {}
    }
    let mut record = vec![0; RECORD_MAX];
    let installed = store.read(Key::Provides, &mut record).map_err(Failure::new)?.unwrap_or_default();
    let mut device_type = [0; limits::DEVICE_TYPE];
    // One that is not known is told by whoever needs it.
    let device_type = device.facts().device_type(&mut device_type).unwrap_or_default();
    Ok(match make(&device.paths, &update, installed, device_type) {
        Ok(()) => Ok(update),
        Err(missing) => Err(Obstacle::Missing(missing)),
    })
}

/// The update and what it needs yet, or what is in its way. Nothing is changed.
fn look(device: &Device, finding: Finding) -> Result<(Unfinished, Needs), Obstacle> {
    let mut update = match finding {
        Finding::Update(update) if update.goes_on() || update.has_begun() => *update,
        Finding::Update(_) => return Err(Obstacle::NotBegun),
        Finding::Unreadable(_) => return Err(Obstacle::Unreadable),
    };
    let needs = check(&device.paths, &mut update).map_err(Obstacle::Missing)?;
    Ok((update, needs))
}

/// What a person is told of an update that Mender's client had not finished.
pub(crate) struct Words {
    pub(crate) text: String,
    /// It goes on here. Else a person has to settle it.
    pub(crate) goes_on: bool,
    /// It does with a verb of a person's.
    pub(crate) waits_for_person: bool,
}

/// The same, before anything is decided.
pub(crate) fn words(device: &Device, store: &Store) -> Option<Words> {
    let finding = store.unfinished()?.clone();
    let found = finding.to_string();
    let obstacle = match look(device, finding) {
        Ok((update, _)) if update.goes_on() => {
            let next = match update.mode {
                Mode::Managed => "it goes on here with the next start of the daemon",
                Mode::Standalone => "it goes on here, with 'commit' or 'rollback'",
            };
            return Some(Words {
                text: format!("another Mender client has not finished {found}: {next}"),
                goes_on: true,
                waits_for_person: update.mode == Mode::Standalone,
            });
        }
        Ok(_) => Obstacle::NotThere,
        Err(obstacle) => obstacle,
    };
    Some(Words { text: refusal(&found, &obstacle), goes_on: false, waits_for_person: false })
}

fn refusal(found: &str, obstacle: &Obstacle) -> String {
    let begins = format!("another Mender client has not finished {found}, and it is not continued here: ");
    let settle = "; run 'rollback' to take it back, or 'install' to put another artifact in its place";
    match obstacle {
        Obstacle::Missing(missing) => {
            format!("{begins}{missing}; mend that, or run 'install' to put another artifact in its place")
        }
        Obstacle::NotThere => format!("{begins}it does not wait for its commit{settle}"),
        Obstacle::NotBegun => format!(
            "{begins}nothing of it was installed yet; run 'rollback' to forget it, or 'install' to put another artifact in \
             its place"
        ),
        Obstacle::Unreadable => format!(
            "{begins}nobody knows how far it got; run 'rollback' to forget it, or 'install' to put another artifact in its place"
        ),
    }
}
