//! What is known of the update, and how it stands.

use crate::message::Coded;
use serde::{Deserialize, Serialize};

/// Who asked for the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Mode {
    /// The daemon: deployments come from a server that hears how they end.
    Managed,
    /// The command line: one verb, then the process ends; the user reboots.
    Standalone,
}

/// Calls to an update module (MODULE-9 to MODULE-13). Queries answer with a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flight", derive(serde::Serialize, serde::Deserialize))]
#[expect(missing_docs, reason = "the protocol's own names")]
pub enum Call {
    ProvidePayloadFileSizes,
    Download,
    DownloadWithFileSizes,
    ArtifactInstall,
    NeedsArtifactReboot,
    ArtifactReboot,
    ArtifactVerifyReboot,
    ArtifactCommit,
    SupportsRollback,
    ArtifactRollback,
    ArtifactRollbackReboot,
    ArtifactVerifyRollbackReboot,
    ArtifactFailure,
    Cleanup,
}

impl Call {
    /// The word on the module's command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProvidePayloadFileSizes => "ProvidePayloadFileSizes",
            Self::Download => "Download",
            Self::DownloadWithFileSizes => "DownloadWithFileSizes",
            Self::ArtifactInstall => "ArtifactInstall",
            Self::NeedsArtifactReboot => "NeedsArtifactReboot",
            Self::ArtifactReboot => "ArtifactReboot",
            Self::ArtifactVerifyReboot => "ArtifactVerifyReboot",
            Self::ArtifactCommit => "ArtifactCommit",
            Self::SupportsRollback => "SupportsRollback",
            Self::ArtifactRollback => "ArtifactRollback",
            Self::ArtifactRollbackReboot => "ArtifactRollbackReboot",
            Self::ArtifactVerifyRollbackReboot => "ArtifactVerifyRollbackReboot",
            Self::ArtifactFailure => "ArtifactFailure",
            Self::Cleanup => "Cleanup",
        }
    }

    /// True for calls whose standard output is an answer.
    #[must_use]
    pub const fn is_query(self) -> bool {
        matches!(self, Self::ProvidePayloadFileSizes | Self::NeedsArtifactReboot | Self::SupportsRollback)
    }
}

impl Coded for Call {
    fn content(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.name().content(f)
    }
}

impl core::fmt::Display for Call {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// How the deployment stands: Mender's outcome tracker (STATE-49).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// Nothing went wrong so far.
    #[default]
    Good,
    /// Something failed and was not rolled back: the device would be inconsistent.
    Failed,
    /// Something failed and the device is (being) put back to what it was, without a mistake so far.
    RolledBack,
    /// Something failed, and so did the way back: the device is inconsistent.
    RollbackFailed,
}

impl Verdict {
    /// An error happened.
    #[must_use]
    pub const fn worsened(self) -> Self {
        match self {
            Self::Good | Self::Failed => Self::Failed,
            Self::RolledBack | Self::RollbackFailed => Self::RollbackFailed,
        }
    }

    /// True when the final status is `success`.
    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// True when the artifact's name must end in `_INCONSISTENT`.
    #[must_use]
    pub const fn is_inconsistent(self) -> bool {
        matches!(self, Self::Failed | Self::RollbackFailed)
    }
}

/// What the name on record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flight", derive(serde::Serialize, serde::Deserialize))]
pub enum Naming {
    /// Name, group and provides of the new artifact.
    Good,
    /// The new name with `_INCONSISTENT`, the new group; provides as they were.
    Inconsistent,
    /// The new name with `_INCONSISTENT`, group and provides of the new artifact (state loop).
    Loop,
}

/// What an outcome does to the [`Verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Keeps,
    /// It is an error: [`Verdict::worsened`].
    Worsens,
    /// [`Verdict::RolledBack`]: nothing was installed, or the module can undo it.
    RollsBack,
}

impl Effect {
    /// The verdict after it.
    #[must_use]
    pub const fn on(self, verdict: Verdict) -> Verdict {
        match self {
            Self::Keeps => verdict,
            Self::Worsens => verdict.worsened(),
            Self::RollsBack => Verdict::RolledBack,
        }
    }
}

/// Statuses of a deployment as the server knows them (SERVER-30 to SERVER-33).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flight", derive(serde::Serialize, serde::Deserialize))]
#[expect(missing_docs, reason = "the server's own names")]
pub enum Status {
    Downloading,
    Installing,
    Rebooting,
    PauseBeforeInstalling,
    PauseBeforeRebooting,
    PauseBeforeCommitting,
    Success,
    Failure,
}

impl Status {
    /// The word in the request.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Downloading => "downloading",
            Self::Installing => "installing",
            Self::Rebooting => "rebooting",
            Self::PauseBeforeInstalling => "pause_before_installing",
            Self::PauseBeforeRebooting => "pause_before_rebooting",
            Self::PauseBeforeCommitting => "pause_before_committing",
            Self::Success => "success",
            Self::Failure => "failure",
        }
    }
}

/// The points at which maps are asked, each before the `_Enter` scripts of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flight", derive(serde::Serialize, serde::Deserialize))]
#[expect(missing_docs, reason = "the states the points stand before")]
pub enum Point {
    Install,
    Reboot,
    Commit,
}

impl Point {
    /// All points, in the order an update meets them.
    pub const ALL: [Self; 3] = [Self::Install, Self::Reboot, Self::Commit];

    /// The word on the command line and in `mender.conf`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Reboot => "reboot",
            Self::Commit => "commit",
        }
    }

    /// The key in a map's `states`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Install => "ArtifactInstall_Enter",
            Self::Reboot => "ArtifactReboot_Enter",
            Self::Commit => "ArtifactCommit_Enter",
        }
    }

    /// What the server is told while an update waits here.
    #[must_use]
    pub const fn pause_status(self) -> Status {
        match self {
            Self::Install => Status::PauseBeforeInstalling,
            Self::Reboot => Status::PauseBeforeRebooting,
            Self::Commit => Status::PauseBeforeCommitting,
        }
    }
}
