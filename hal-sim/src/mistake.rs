//! What the checkers of the walks must find.

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
