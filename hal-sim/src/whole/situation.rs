//! Situations that a walk must come to, so that "nothing wrong was found" says something.

use thimble_core::deployment::{Call, Status};
use thimble_core::machine::Op;
use thimble_core::session::RequestKind;
use thimble_core::state::State;

use super::client::Todo;
use super::{Label, What};
use crate::model::Budget;
use crate::world::{Profile, Reboot};

/// A situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "`Situation::name` says what each is")]
pub enum Situation {
    Installed,
    Committed,
    RolledBack,
    ScriptFails,
    ScriptAsksAgain,
    NeverEnds,
    HalfDone,
    RollbackFails,
    NotWritten,
    NotRebooted,
    DownloadBreaks,
    GoesOn,
    ArtifactChanges,
    LostInDownload,
    LostInInstall,
    LostAfterCommit,
    Terminated,
    ToldSuccess,
    ToldFailure,
    AbortedByServer,
    NoAnswer,
    TokenRefused,
    AskedToWait,
}

/// What a walk must have to come to a situation.
struct Needs {
    failures: u8,
    losses: u8,
    /// The daemon alone comes to it.
    daemon: bool,
    scripts: bool,
    device: fn(Profile) -> bool,
}

/// What a walk has.
#[derive(Clone, Copy, Debug)]
pub struct Has {
    /// The device.
    pub profile: Profile,
    /// How much goes wrong.
    pub budget: Budget,
    /// The command line installs, and not the daemon.
    pub standalone: bool,
    /// There is a state script that runs.
    pub scripts: bool,
}

impl Situation {
    /// All.
    pub const ALL: [Self; 23] = [
        Self::Installed,
        Self::Committed,
        Self::RolledBack,
        Self::ScriptFails,
        Self::ScriptAsksAgain,
        Self::NeverEnds,
        Self::HalfDone,
        Self::RollbackFails,
        Self::NotWritten,
        Self::NotRebooted,
        Self::DownloadBreaks,
        Self::GoesOn,
        Self::ArtifactChanges,
        Self::LostInDownload,
        Self::LostInInstall,
        Self::LostAfterCommit,
        Self::Terminated,
        Self::ToldSuccess,
        Self::ToldFailure,
        Self::AbortedByServer,
        Self::NoAnswer,
        Self::TokenRefused,
        Self::AskedToWait,
    ];

    /// What it is.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Installed => "the update is installed",
            Self::Committed => "the update is committed",
            Self::RolledBack => "the update is rolled back",
            Self::ScriptFails => "a state script fails",
            Self::ScriptAsksAgain => "a state script asks to be run again later",
            Self::NeverEnds => "a program never ends, and is ended",
            Self::HalfDone => "the module fails in the middle of its work",
            Self::RollbackFails => "the rollback fails",
            Self::NotWritten => "the records cannot be written",
            Self::NotRebooted => "the reboot does not happen",
            Self::DownloadBreaks => "the download breaks off",
            Self::GoesOn => "the download goes on where it broke off",
            Self::ArtifactChanges => "the artifact changes while it is downloaded",
            Self::LostInDownload => "power is lost in the download",
            Self::LostInInstall => "power is lost while the update is installed",
            Self::LostAfterCommit => "power is lost right after the commit",
            Self::Terminated => "the client is told to end, and started again",
            Self::ToldSuccess => "the server is told success",
            Self::ToldFailure => "the server is told failure",
            Self::AbortedByServer => "the server aborts the deployment",
            Self::NoAnswer => "the server does not answer",
            Self::TokenRefused => "the server refuses the token",
            Self::AskedToWait => "the server asks to wait",
        }
    }

    /// Whether a step is one of these.
    pub(crate) fn is(self, label: &Label) -> bool {
        let Label::Step((state, _), What(todo), how) = label else { return false };
        let (todo, how) = (*todo, *how);
        let call = |call| todo == Todo::Op(Op::CallModule(call));
        let is_script = matches!(todo, Todo::Op(Op::RunScript(..)));
        let is_status = |status| matches!(todo, Todo::Send(RequestKind::Status(at) | RequestKind::StatusAlone(at), _) if at == status);
        match self {
            Self::Installed => call(Call::ArtifactInstall) && how.is_empty(),
            Self::Committed => call(Call::ArtifactCommit) && how.is_empty(),
            Self::RolledBack => call(Call::ArtifactRollback) && how.is_empty(),
            Self::ScriptFails => is_script && how == " fails",
            Self::ScriptAsksAgain => is_script && how.starts_with(" asks for later"),
            Self::NeverEnds => matches!(todo, Todo::Op(_)) && how == " does not end",
            Self::HalfDone => how == " fails in the middle",
            Self::RollbackFails => call(Call::ArtifactRollback) && how.starts_with(" fails"),
            Self::NotWritten => how == " cannot be written",
            Self::NotRebooted => todo == Todo::Op(Op::Reboot) && how.starts_with(" does not"),
            Self::DownloadBreaks => todo == Todo::Receive && how.starts_with(" breaks off"),
            Self::GoesOn => matches!(todo, Todo::Download(1..)) && how.is_empty(),
            Self::ArtifactChanges => how == ", and the artifact has changed",
            Self::LostInDownload => {
                matches!(state, State::Download | State::Prepare) && how.starts_with(" ** power lost")
            }
            Self::LostInInstall => call(Call::ArtifactInstall) && how == " ** power lost inside",
            Self::LostAfterCommit => call(Call::ArtifactCommit) && how == " ** power lost after",
            Self::Terminated => how.starts_with(" ** told to end"),
            Self::ToldSuccess => is_status(Status::Success) && how.is_empty(),
            Self::ToldFailure => is_status(Status::Failure) && how.is_empty(),
            Self::AbortedByServer => how == " is answered 409",
            Self::NoAnswer => matches!(todo, Todo::Send(..)) && how == " is not answered",
            Self::TokenRefused => how == " is answered 401",
            Self::AskedToWait => how.starts_with(" is answered 429"),
        }
    }

    const fn needs(self) -> Needs {
        const fn any(_: Profile) -> bool {
            true
        }
        const fn payload(profile: Profile) -> bool {
            profile.payload
        }
        const fn slots(profile: Profile) -> bool {
            profile.slots
        }
        const fn in_place(profile: Profile) -> bool {
            profile.payload && !profile.slots
        }
        const fn back(profile: Profile) -> bool {
            profile.payload && profile.rollback
        }
        const fn boots(profile: Profile) -> bool {
            matches!(profile.reboot, Reboot::Automatic) && profile.payload
        }
        let plain = Needs { failures: 0, losses: 0, daemon: false, scripts: false, device: payload };
        let fails = Needs { failures: 1, ..plain };
        let server = Needs { daemon: true, device: any, ..fails };
        match self {
            Self::Installed | Self::Committed => plain,
            Self::RolledBack => Needs { device: back, ..fails },
            Self::ScriptFails | Self::ScriptAsksAgain => Needs { scripts: true, device: any, ..fails },
            Self::NeverEnds
            | Self::DownloadBreaks
            | Self::HalfDone
            | Self::GoesOn
            | Self::ArtifactChanges => fails,
            Self::RollbackFails => Needs { failures: 2, device: back, ..plain },
            Self::NotWritten => Needs { device: any, ..fails },
            Self::NotRebooted => Needs { device: boots, daemon: true, ..fails },
            Self::LostInDownload => Needs { losses: 1, ..plain },
            Self::LostInInstall => Needs { losses: 1, device: in_place, ..plain },
            Self::LostAfterCommit | Self::Terminated => Needs { losses: 1, device: slots, ..plain },
            Self::ToldSuccess => Needs { daemon: true, device: any, ..plain },
            Self::ToldFailure => Needs { daemon: true, ..fails },
            Self::AbortedByServer | Self::NoAnswer | Self::TokenRefused | Self::AskedToWait => server,
        }
    }

    /// A walk that is complete must come to it.
    #[must_use]
    pub fn is_due(self, has: Has) -> bool {
        let Needs { failures, losses, daemon, scripts, device } = self.needs();
        let Has { profile, budget, standalone, scripts: has_scripts } = has;
        budget.failures >= failures
            && budget.losses >= losses
            && (!daemon || !standalone)
            && (!scripts || has_scripts)
            && device(profile)
    }
}
