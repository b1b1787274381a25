//! Points where the command line can stop.

/// Points where the command line can be told to stop (`--stop-before`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "Mender's own names")]
pub enum Stop {
    ArtifactInstallEnter,
    ArtifactCommitEnter,
    ArtifactCommitLeave,
    ArtifactRollbackEnter,
    ArtifactFailureEnter,
    Cleanup,
}

impl Stop {
    /// All points, in the order an update passes them.
    pub const ALL: [Self; 6] = [
        Self::ArtifactInstallEnter,
        Self::ArtifactCommitEnter,
        Self::ArtifactCommitLeave,
        Self::ArtifactRollbackEnter,
        Self::ArtifactFailureEnter,
        Self::Cleanup,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ArtifactInstallEnter => "ArtifactInstall_Enter",
            Self::ArtifactCommitEnter => "ArtifactCommit_Enter",
            Self::ArtifactCommitLeave => "ArtifactCommit_Leave",
            Self::ArtifactRollbackEnter => "ArtifactRollback_Enter",
            Self::ArtifactFailureEnter => "ArtifactFailure_Enter",
            Self::Cleanup => "Cleanup",
        }
    }
}

/// A set of [`Stop`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct StopSet(u8);

impl StopSet {
    /// With `stop` in it.
    #[must_use]
    pub const fn with(self, stop: Stop) -> Self {
        Self(self.0 | 1 << stop as u8)
    }

    /// Whether `stop` is in it.
    #[must_use]
    pub const fn contains(self, stop: Stop) -> bool {
        self.0 & 1 << stop as u8 != 0
    }
}
