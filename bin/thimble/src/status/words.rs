//! States of the daemon in words.

use thimble_core::client::Client;
use thimble_core::state::State;
use thimble_hal_linux::platform::Linux;

/// The state in Mender's words, as scripts and reports name it.
pub(crate) const fn name(state: State) -> &'static str {
    match state {
        State::Idle => "Idle",
        State::Inventory | State::Poll | State::Offer => "Sync",
        State::ReportDownloading
        | State::Prepare
        | State::CheckSizes
        | State::Download
        | State::EmptyPayload => "Download",
        State::InstallDoor | State::ReportInstalling | State::Install | State::CheckReboot => {
            "ArtifactInstall"
        }
        State::RebootDoor | State::ReportRebooting | State::Reboot | State::VerifyReboot => "ArtifactReboot",
        State::CheckAutoCommit
        | State::AwaitCommit
        | State::CheckRunning
        | State::CommitDoor
        | State::ReportCommit
        | State::CheckVersion
        | State::Commit => "ArtifactCommit",
        State::CheckRollback | State::Rollback | State::RollbackFailed => "ArtifactRollback",
        State::CheckRollbackReboot | State::RollbackReboot | State::VerifyRollbackReboot => {
            "ArtifactRollbackReboot"
        }
        State::Failure => "ArtifactFailure",
        State::SaveProvides
        | State::Cleanup
        | State::ReportFinal
        | State::ReportLog
        | State::ClearData
        | State::End
        | State::StateLoop => "Cleanup",
    }
}

/// What the daemon does, in plain words.
pub(crate) fn doing(client: &Client<'_, Linux>) -> &'static str {
    match client.machine().place().0 {
        State::Idle if client.no_updates().is_some() => "running without updates",
        State::Idle => "waiting for the next poll",
        State::Inventory => "sending the inventory",
        State::Poll => "asking the server for a deployment",
        State::Offer | State::ReportDownloading => "beginning a deployment",
        State::Prepare | State::CheckSizes | State::Download => "downloading the artifact",
        State::EmptyPayload => "taking an artifact without payload",
        State::InstallDoor | State::RebootDoor | State::CommitDoor => "asking whether the update may go on",
        State::ReportInstalling | State::Install | State::CheckReboot => "installing",
        State::ReportRebooting | State::Reboot => "rebooting",
        State::VerifyReboot => "checking the device after its reboot",
        State::ReportCommit => "asking the server whether the update is still wanted",
        State::CheckAutoCommit
        | State::AwaitCommit
        | State::CheckRunning
        | State::CheckVersion
        | State::Commit => "committing",
        State::CheckRollback | State::Rollback | State::RollbackFailed => "rolling back",
        State::CheckRollbackReboot | State::RollbackReboot => "rebooting into the old system",
        State::VerifyRollbackReboot => "checking the device after its rollback",
        State::Failure => "ending a failed update",
        State::SaveProvides | State::Cleanup | State::ClearData | State::End | State::StateLoop => {
            "cleaning up"
        }
        State::ReportFinal => "telling the server how the deployment ended",
        State::ReportLog => "sending the deployment's log",
    }
}
