//! Where a restart goes on: first boot, reboot, crash and power loss are told apart by the record alone.

use super::{Phase, State, entry};
use crate::checkpoint::{Checkpoint, Tag};
use crate::deployment::{Mode, Verdict};
use crate::limits;

use Phase::*;
use State::*;

/// What a restart of the daemon in the middle of a state finds on record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// No update: it begins anew with the next poll.
    Afresh,
    /// What the state before has written.
    AsBefore,
    /// One of these tags, which the state writes itself: [`resume`] says where each leads.
    From(&'static [Tag]),
}

/// Where a restart of the daemon in the middle of each state leads.
#[rustfmt::skip]
#[must_use]
pub const fn restart(state: State) -> Restart {
    use Restart::{Afresh, AsBefore, From};
    match state {
        Idle                 => Afresh,
        Inventory            => Afresh,
        Poll                 => Afresh,
        Offer                => Afresh,
        ReportDownloading    => Afresh,
        Download             => From(&[Tag::Store]),
        Prepare              => AsBefore,
        CheckSizes           => From(&[Tag::Store]),
        EmptyPayload         => From(&[Tag::Store]),
        InstallDoor          => AsBefore,
        ReportInstalling     => AsBefore,
        Install              => From(&[Tag::Install]),
        CheckReboot          => AsBefore,
        CheckAutoCommit      => AsBefore,
        AwaitCommit          => AsBefore,
        CheckRunning         => AsBefore,
        RebootDoor           => From(&[Tag::Reboot]),
        ReportRebooting      => AsBefore,
        Reboot               => From(&[Tag::Reboot]),
        VerifyReboot         => From(&[Tag::AfterReboot]),
        CommitDoor           => AsBefore,
        ReportCommit         => AsBefore,
        Commit               => From(&[Tag::Commit, Tag::AfterCommit]),
        CheckVersion         => AsBefore,
        CheckRollback        => AsBefore,
        Rollback             => From(&[Tag::Rollback]),
        RollbackFailed       => AsBefore,
        CheckRollbackReboot  => AsBefore,
        RollbackReboot       => From(&[Tag::RollbackReboot]),
        VerifyRollbackReboot => From(&[Tag::AfterRollbackReboot]),
        Failure              => From(&[Tag::Failure]),
        SaveProvides         => From(&[Tag::Cleanup]),
        Cleanup              => From(&[Tag::Cleanup]),
        ReportFinal          => From(&[Tag::Report]),
        ReportLog            => AsBefore,
        ClearData            => AsBefore,
        End                  => Afresh,
        StateLoop            => AsBefore,
    }
}

/// The rule of each state is what its entries write: anything else does not compile.
const _: () = {
    let mut states: &[State] = &State::ALL;
    let mut number = 0;
    while let [state, rest @ ..] = states {
        assert!(*state as usize == number, "State::ALL has every state in its order");
        number += 1;
        let tags: &[Tag] = match restart(*state) {
            Restart::From(tags) => tags,
            Restart::Afresh | Restart::AsBefore => &[],
        };
        let mut written = 0_u32;
        let mut phases: &[Phase] = &Phase::ALL;
        while let [phase, rest @ ..] = phases {
            if let Some(tag) = entry(Mode::Managed, *state, *phase).write.tag() {
                assert!(contains(tags, tag), "a state writes a tag that its restart rule does not have");
                written |= 1 << tag as u32;
            }
            phases = rest;
        }
        assert!(written.count_ones() as usize == tags.len(), "a restart rule has a tag that is not written");
        states = rest;
    }
};

const fn contains(mut tags: &[Tag], tag: Tag) -> bool {
    while let [first, rest @ ..] = tags {
        if *first as u8 == tag as u8 {
            return true;
        }
        tags = rest;
    }
    false
}

/// Where the daemon goes on with a saved update after any restart. A download goes on only with the server's offer beside it, and not
/// for ever; the scripts of `Download_Enter` run again unless the record says that the header behind them was verified.
#[must_use]
pub const fn resume(saved: &Checkpoint) -> (State, Phase, Verdict) {
    let verdict = saved.verdict;
    match saved.tag {
        // `downloading` is not reported again: `installing` may have been, if all of the payload was there.
        Tag::Store if saved.offer && saved.stores < limits::DOWNLOAD_STORES => {
            if saved.header {
                (Prepare, Main, verdict)
            } else {
                (Download, Enter, verdict)
            }
        }
        Tag::Store => (Cleanup, Main, Verdict::RolledBack),
        Tag::BeforeInstall | Tag::Install | Tag::AfterReboot | Tag::BeforeCommit | Tag::Commit => {
            (CheckRollback, Main, verdict.worsened())
        }
        Tag::Reboot => (VerifyReboot, Main, verdict),
        Tag::BeforeCommitLeave | Tag::AfterCommit => (Commit, Leave, verdict),
        Tag::Rollback => (Rollback, Enter, verdict),
        Tag::RollbackReboot | Tag::AfterRollbackReboot => (VerifyRollbackReboot, Main, verdict),
        Tag::Failure => (Failure, Enter, verdict),
        Tag::Cleanup => (Cleanup, Main, verdict),
        // Nothing is in progress: the report goes out before the next poll.
        Tag::Report => (Idle, Enter, Verdict::Good),
    }
}

/// The verbs of the command line that go on with an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the verbs' own names")]
pub enum Verb {
    Resume,
    Commit,
    Rollback,
}

impl Verb {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Resume, Self::Commit, Self::Rollback];

    /// The word on the command line.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Commit => "commit",
            Self::Rollback => "rollback",
        }
    }
}

/// Where a verb goes on with a saved standalone update; `None`: the verb is refused there.
#[must_use]
pub const fn resume_standalone(verb: Verb, saved: &Checkpoint) -> Option<(State, Phase, Verdict)> {
    let verdict = saved.verdict;
    // An install or commit that was cut off is a failure, whoever asks; a rollback is the user's wish.
    let interrupted = Some((CheckRollback, Main, verdict.worsened()));
    match (saved.tag, verb) {
        (Tag::BeforeInstall, Verb::Resume) => Some((Install, Enter, verdict)),
        (Tag::Install, Verb::Resume) | (Tag::Commit, Verb::Resume | Verb::Commit) => interrupted,
        (Tag::BeforeCommit, Verb::Resume | Verb::Commit) => Some((CheckRunning, Main, verdict)),
        (Tag::BeforeCommitLeave | Tag::AfterCommit, Verb::Resume) => Some((Commit, Leave, verdict)),
        (Tag::Rollback, Verb::Resume) => Some((Rollback, Enter, verdict)),
        (Tag::Failure, Verb::Resume) => Some((Failure, Enter, verdict)),
        (Tag::Cleanup, Verb::Resume) => Some((Cleanup, Main, verdict)),
        (
            Tag::BeforeInstall | Tag::Install | Tag::BeforeCommit | Tag::Commit | Tag::BeforeCommitLeave | Tag::Rollback,
            Verb::Rollback,
        ) => Some((CheckRollback, Main, verdict)),
        (Tag::BeforeInstall | Tag::Install | Tag::BeforeCommitLeave | Tag::AfterCommit, Verb::Commit)
        | (Tag::Rollback | Tag::Failure | Tag::Cleanup, Verb::Commit)
        | (Tag::AfterCommit | Tag::Failure | Tag::Cleanup, Verb::Rollback)
        // The daemon's own tags.
        | (Tag::Store | Tag::Reboot | Tag::AfterReboot | Tag::RollbackReboot | Tag::AfterRollbackReboot | Tag::Report, _) => None,
    }
}
