//! The mistakes that the walk over the three machines must find, each with the walk in which it does.

use thimble_core::deployment::Point;

use crate::mistake::Mistake;
use crate::model::Budget;
use crate::whole::Whole;
use crate::world::Profile;

/// A mistake, and the walk in which it is found.
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
