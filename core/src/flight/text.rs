//! Events as lines for people, and their kinds as words for programs. A reason is shown as its code:
//! [`texts::decode`](crate::texts::decode) of the line makes its text of it.

use core::fmt;

use super::{Answer, Event, Holder, How, Purpose, Request, Saved};
use crate::checkpoint::Tag;
use crate::deployment::{Naming, Verdict};
use crate::state::State;

impl Event<'_> {
    /// Its kind, for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Starts { .. } => "starts",
            Self::Begins { .. } => "begins",
            Self::Enters(_) => "enters",
            Self::Script { .. } => "script",
            Self::Call(..) => "call",
            Self::Request(..) => "request",
            Self::Downloads(_) => "downloads",
            Self::BreaksOff(_) => "breaks-off",
            Self::Waits(..) => "waits",
            Self::Approved(_) => "approved",
            Self::Forbidden(..) => "forbidden",
            Self::Saves(_) => "saves",
            Self::NotSaved => "not-saved",
            Self::Reason(_) => "reason",
            Self::Ends(_) => "ends",
            Self::NotRebooted => "not-rebooted",
            Self::Terminated => "terminated",
            Self::Again(_) => "again",
        }
    }

    /// Whether something did not go as it should.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Script { how, .. } | Self::Call(_, how) => how.is_fault(),
            Self::Request(_, Answer::Status(status)) => *status >= 400,
            Self::Request(_, Answer::Broken | Answer::TooSlow | Answer::NotSent)
            | Self::BreaksOff(_)
            | Self::Forbidden(..)
            | Self::NotSaved
            | Self::Reason(_)
            | Self::NotRebooted => true,
            Self::Ends(verdict) => !verdict.is_good(),
            Self::Starts { .. }
            | Self::Begins { .. }
            | Self::Enters(_)
            | Self::Downloads(_)
            | Self::Waits(..)
            | Self::Approved(_)
            | Self::Saves(_)
            | Self::Terminated
            | Self::Again(_) => false,
        }
    }
}

impl How {
    /// Whether it failed.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        match self {
            Self::Well | Self::No | Self::Automatic | Self::Later => false,
            Self::Exited(_) | Self::Killed(_) | Self::TooSlow | Self::Failed => true,
        }
    }
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts { run, version, found } => {
                write!(f, "{run} starts (version {})", Escaped(version))?;
                found.map_or(Ok(()), |tag| write!(f, " and finds an update in progress: {tag}"))
            }
            Self::Begins { deployment } => {
                f.write_str("a deployment begins: its id has the SHA-256 ")?;
                deployment.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str("...")
            }
            Self::Enters(state) => f.write_str(words(*state)),
            Self::Script { transition, number, how } => write!(f, "{transition}_{number:02}: {how}"),
            Self::Call(call, how) => write!(f, "{call}: {how}"),
            Self::Request(request, answer) => write!(f, "{request}: {answer}"),
            Self::Downloads(0) => f.write_str("the artifact is downloaded from its first byte on"),
            Self::Downloads(from) => write!(f, "the download goes on at byte {from}"),
            Self::BreaksOff(at) => write!(f, "the download broke off at byte {at}"),
            Self::Waits(point, holder) => write!(f, "waits before {}: {holder}", point.name()),
            Self::Approved(point) => write!(f, "a person let the update pass {}", point.name()),
            Self::Forbidden(point, holder) => write!(f, "not allowed to pass {}: {holder}", point.name()),
            Self::Saves(saved) => write!(f, "on record: {saved}"),
            Self::NotSaved => f.write_str("that could not be put on record"),
            Self::Reason(code) => write!(f, "the reason of the failure: {}", Escaped(code)),
            Self::Ends(verdict) => f.write_str(match verdict {
                Verdict::Good => "the update is over: it is installed, or nothing is left to do",
                Verdict::Failed => "the update is over: it failed, and was not rolled back",
                Verdict::RolledBack => "the update is over: it failed, the device is what it was",
                Verdict::RollbackFailed => "the update is over: it failed, and so did the way back",
            }),
            Self::NotRebooted => f.write_str("the reboot did not happen"),
            Self::Terminated => f.write_str("the client was told to end"),
            Self::Again(1) => f.write_str("the same once more"),
            Self::Again(times) => write!(f, "the same {times} times more"),
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daemon => "the daemon",
            Self::DaemonWithoutUpdates => "the daemon, without updates,",
            Self::Install => "the verb install",
            Self::Resume => "the verb resume",
            Self::Commit => "the verb commit",
            Self::Rollback => "the verb rollback",
            Self::Bootstrap => "the installation of the bootstrap artifact",
        })
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("ok"),
            Self::No => f.write_str("No"),
            Self::Automatic => f.write_str("Automatic"),
            Self::Later => f.write_str("exit status 21: again later"),
            Self::Exited(status) => write!(f, "exit status {status}"),
            Self::Killed(signal) => write!(f, "ended by signal {signal}"),
            Self::TooSlow => f.write_str("took too long, and was ended"),
            Self::Failed => f.write_str("failed"),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token => "the request for a token",
            Self::Next => "the question for a deployment",
            Self::Status(status) => return f.write_str(status.name()),
            Self::Log => "the log of the deployment",
            Self::Inventory => "the inventory",
            Self::ControlMap => "the question for the control map",
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Broken => f.write_str("the connection broke, or could not be made"),
            Self::TooSlow => f.write_str("no answer in time"),
            Self::NotSent => f.write_str("could not be sent"),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Map => "an update control map, or a person's order",
            Self::Policy => "a policy of the device",
            Self::Server => "the server does not say whether its control map still holds",
            Self::Unreadable => "the saved control maps cannot be read",
        })
    }
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(tag, verdict) => {
                match tag {
                    Tag::AfterReboot => f.write_str("running again after the reboot")?,
                    Tag::AfterRollbackReboot => {
                        f.write_str("running again after the reboot of the rollback")?
                    }
                    Tag::Store
                    | Tag::BeforeInstall
                    | Tag::Install
                    | Tag::Reboot
                    | Tag::BeforeCommit
                    | Tag::Commit
                    | Tag::BeforeCommitLeave
                    | Tag::AfterCommit
                    | Tag::Rollback
                    | Tag::RollbackReboot
                    | Tag::Failure
                    | Tag::Cleanup
                    | Tag::Report => tag.fmt(f)?,
                }
                f.write_str(match verdict {
                    Verdict::Good => "",
                    Verdict::Failed => " (failed, not rolled back)",
                    Verdict::RolledBack => " (failed, back to what the device was)",
                    Verdict::RollbackFailed => " (failed, and the way back failed)",
                })
            }
            Self::Provides(Naming::Good) => f.write_str("the name and the provides of the new artifact"),
            Self::Provides(Naming::Inconsistent | Naming::Loop) => {
                f.write_str("the name of the new artifact, marked as inconsistent")
            }
            Self::Report => f.write_str("how the deployment ended, until the server knows"),
            Self::Nothing => f.write_str("no update is in progress"),
        }
    }
}

/// A state in the words of what happens there.
const fn words(state: State) -> &'static str {
    match state {
        State::Idle => "waits for its next question",
        State::Inventory => "sends the inventory",
        State::Poll => "asks for a deployment",
        State::Offer => "a deployment is here",
        State::ReportDownloading => "reports: downloading",
        State::Download => "Download",
        State::Prepare => "reads the header of the artifact",
        State::CheckSizes => "asks the module whether it wants sizes",
        State::EmptyPayload => "the artifact has no payload",
        State::InstallDoor => "may the install begin?",
        State::ReportInstalling => "reports: installing",
        State::Install => "ArtifactInstall",
        State::CheckReboot => "is a reboot wanted?",
        State::CheckAutoCommit => "can the module roll back?",
        State::AwaitCommit => "waits for commit or rollback",
        State::CheckRunning => "does the new root file system run?",
        State::RebootDoor => "may the reboot begin?",
        State::ReportRebooting => "reports: rebooting",
        State::Reboot => "ArtifactReboot",
        State::VerifyReboot => "ArtifactVerifyReboot",
        State::CommitDoor => "may the commit begin?",
        State::ReportCommit => "asks whether the update is still wanted",
        State::Commit => "ArtifactCommit",
        State::CheckVersion => "checks the version of the state scripts",
        State::CheckRollback => "can the module roll back?",
        State::Rollback => "ArtifactRollback",
        State::RollbackFailed => "ArtifactRollback has failed",
        State::CheckRollbackReboot => "is a reboot wanted for the way back?",
        State::RollbackReboot => "ArtifactRollbackReboot",
        State::VerifyRollbackReboot => "ArtifactVerifyRollbackReboot",
        State::Failure => "ArtifactFailure",
        State::SaveProvides => "stores name and provides",
        State::Cleanup => "Cleanup",
        State::ReportFinal => "reports the end",
        State::ReportLog => "sends the log",
        State::ClearData => "deletes the record of the update",
        State::End => "the end",
        State::StateLoop => "gives up: too many writes for one update",
    }
}

/// Text that somebody else may have written: no control characters go to a terminal.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        self.0.chars().try_for_each(|c| {
            if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) }
        })
    }
}
