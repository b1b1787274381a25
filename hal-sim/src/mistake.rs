//! What the checkers of the walks must find.

#[cfg(feature = "mistakes")]
use thimble_core::deployment::Point;

#[cfg(feature = "mistakes")]
use crate::model::Budget;
#[cfg(feature = "mistakes")]
use crate::whole::Whole;
#[cfg(feature = "mistakes")]
use crate::world::Profile;

/// A mistake built into the device or the driver, to prove that the invariants notice it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// Saving reports success and writes nothing.
    SaveIsLost,
    /// The module's rollback reports success and does nothing.
    RollbackDoesNothing,
    /// The module's commit reports success and leaves the boot loader on trial.
    CommitDoesNothing,
    /// Name and provides are written whatever the verdict.
    NameIsAlwaysNew,
    /// A payload that broke off counts as verified.
    BrokenPayloadIsTaken,
    /// A state script that fails counts as one that works.
    ScriptsNoIsYes,
    /// The module says that what runs after the reboot is not good, and that counts as yes.
    VerifyIsYes,
    /// A query that failed counts as yes.
    FailedQueryIsYes,
    /// Writing the maps reports success and writes nothing.
    MapsAreLost,
    /// Each pause is taken for approved.
    PausesAreApproved,
    /// What the server says anew of its map is not heard.
    RefreshIsDeaf,
    /// In place of a new token the one that was refused is used on.
    TokenIsKept,
    /// How a deployment ended is not on record while the server has not heard of it.
    ReportIsForgotten,
    /// A download goes on one byte too late.
    RangeIsOff,
    /// No server but the first is asked for a token.
    SecondServerIsNotAsked,
    /// The first server is asked again in place of the second.
    FirstServerIsAskedTwice,
    /// Nobody looks how long a script has run.
    ScriptsHaveNoLimit,
    /// Nobody looks how long the device's identity and key have not come.
    IdentityHasNoLimit,
    /// The report before the reboot says that the download begins.
    ReportsGoBackwards,
    /// The client is told that a time has come at once.
    RequestsAreNotSpaced,
    /// What a server says about when to ask again is not read, unless it was asked for a token.
    RetryAfterIsNotKept,
    /// What a server says about when to ask again for a token is not read.
    WaitForTokenIsNotKept,
    /// Any digest counts as the right one for what was stored of a file.
    DamagedFileIsUsed,
    /// The record of the update outlives its deletion.
    RecordIsLeft,
    /// The record of the server's offer outlives its deletion.
    OfferIsLeft,
    /// The module's clean-up reports success and leaves the work tree.
    TreeIsLeft,
    /// What is marked as stored of a payload outlives the clean-up.
    PartialIsLeft,
    /// On the way back, the write of the record after one that failed reports success and writes nothing.
    NextSaveIsLost,
    /// Before the commit, the token of before is used on.
    TokenOutlivesInstall,
    /// Each failed authentication is taken for somebody's order to ask again.
    RoundIsForgotten,
    /// A termination signal is not passed on.
    EndIsIgnored,
    /// There is never room for a program's wish for a token.
    WishIsForgotten,
    /// That the server refuses to hear how a deployment ended is taken for a person's wish to begin it once more.
    RefusalIsAWish,
    /// The parser goes on from one deployment to the next.
    ParserIsKept,
}

/// A mistake, and the walk in which it is found.
#[cfg(feature = "mistakes")]
#[derive(Clone, Copy, Debug)]
pub struct Seeded {
    /// The mistake.
    pub mistake: Mistake,
    /// On this device.
    pub profile: Profile,
    /// By the daemon that goes on with downloads after a restart, or by the one that begins them anew.
    pub resumes: bool,
    /// What it is found for.
    pub found: &'static str,
    /// With so many failures; a loss of power comes to it.
    pub failures: u8,
}

#[cfg(feature = "mistakes")]
impl Seeded {
    /// Where the walk begins.
    #[must_use]
    pub fn start(&self) -> Whole<'static> {
        let budget = Budget { failures: self.failures, losses: 1 };
        let start = Whole::daemon(self.profile, budget, self.resumes);
        let is_held_back = matches!(self.mistake, Mistake::PausesAreApproved | Mistake::RefreshIsDeaf);
        let start = if is_held_back { start.held_back(Point::Commit) } else { start };
        let start = start.with_wishes(u8::from(self.mistake == Mistake::WishIsForgotten));
        start.with_mistake(self.mistake)
    }
}

/// All that the walk over the three machines finds, each with as little beside it as it takes to be found for what it is.
#[cfg(feature = "mistakes")]
pub const SEEDED: [Seeded; 33] = [
    Seeded {
        mistake: Mistake::SaveIsLost,
        profile: Profile::SLOTS,
        resumes: false,
        found: "is begun while the record says",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::NextSaveIsLost,
        profile: Profile::FILES,
        resumes: false,
        found: "is begun while the record says",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::RollbackDoesNothing,
        profile: Profile::FILES,
        resumes: false,
        found: "what runs is",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::CommitDoesNothing,
        profile: Profile::SLOTS,
        resumes: false,
        found: "not committed",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::FailedQueryIsYes,
        profile: Profile::ONE_WAY,
        resumes: false,
        found: "what runs is",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::NameIsAlwaysNew,
        profile: Profile::ONE_WAY,
        resumes: false,
        found: "what runs is",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::BrokenPayloadIsTaken,
        profile: Profile::SLOTS,
        resumes: false,
        found: "not verified",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::ReportIsForgotten,
        profile: Profile::FILES,
        resumes: false,
        found: "was never told how it ended",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::TokenIsKept,
        profile: Profile::SLOTS,
        resumes: false,
        found: "after it was refused",
        failures: 2,
    },
    Seeded {
        mistake: Mistake::TokenOutlivesInstall,
        profile: Profile::FILES,
        resumes: false,
        found: "a token of before the install",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::RangeIsOff,
        profile: Profile::SLOTS,
        resumes: false,
        found: "other bytes than the next ones",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::DamagedFileIsUsed,
        profile: Profile::FILES,
        resumes: true,
        found: "other bytes than the artifact",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::SecondServerIsNotAsked,
        profile: Profile::EMPTY,
        resumes: false,
        found: "a server was not asked",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::FirstServerIsAskedTwice,
        profile: Profile::EMPTY,
        resumes: false,
        found: "twice in one authentication",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::RoundIsForgotten,
        profile: Profile::EMPTY,
        resumes: false,
        found: "a round asks for a token though it has asked in vain",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::RequestsAreNotSpaced,
        profile: Profile::EMPTY,
        resumes: false,
        found: "at once",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::WaitForTokenIsNotKept,
        profile: Profile::EMPTY,
        resumes: false,
        found: "though it asked to wait",
        failures: 2,
    },
    Seeded {
        mistake: Mistake::RetryAfterIsNotKept,
        profile: Profile::EMPTY,
        resumes: false,
        found: "before the server wants it",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::ReportsGoBackwards,
        profile: Profile::SLOTS,
        resumes: false,
        found: "go backwards",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::ScriptsHaveNoLimit,
        profile: Profile::EMPTY,
        resumes: false,
        found: "has no time limit",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::IdentityHasNoLimit,
        profile: Profile::EMPTY,
        resumes: false,
        found: "has no time limit",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::RecordIsLeft,
        profile: Profile::FILES,
        resumes: false,
        found: "its record is still there",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::OfferIsLeft,
        profile: Profile::FILES,
        resumes: true,
        found: "offer is still on record",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::TreeIsLeft,
        profile: Profile::FILES,
        resumes: false,
        found: "work tree is still there",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::PartialIsLeft,
        profile: Profile::FILES,
        resumes: true,
        found: "of its payload is still there",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::ParserIsKept,
        profile: Profile::FILES,
        resumes: false,
        found: "at another byte than the next one",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::RefusalIsAWish,
        profile: Profile::EMPTY,
        resumes: false,
        found: "begins again though the server refused",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::EndIsIgnored,
        profile: Profile::EMPTY,
        resumes: false,
        found: "was told to end",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::PausesAreApproved,
        profile: Profile::FILES,
        resumes: false,
        found: "though the server holds it back",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::RefreshIsDeaf,
        profile: Profile::FILES,
        resumes: false,
        found: "it never ends",
        failures: 0,
    },
    Seeded {
        mistake: Mistake::WishIsForgotten,
        profile: Profile::EMPTY,
        resumes: false,
        found: "waits for nothing",
        failures: 0,
    },
    Seeded {
        mistake: Mistake::ScriptsNoIsYes,
        profile: Profile::FILES,
        resumes: false,
        found: "has said no",
        failures: 1,
    },
    Seeded {
        mistake: Mistake::VerifyIsYes,
        profile: Profile::SLOTS,
        resumes: false,
        found: "has said no",
        failures: 1,
    },
];
