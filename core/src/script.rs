//! State-script names, order and exit codes (pure).

use crate::limits;
use crate::message::{self, Coded};
use crate::plain::split_once;

/// The nine states that have scripts, in Mender's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flight", derive(serde::Serialize, serde::Deserialize))]
#[expect(missing_docs, reason = "Mender's own names")]
pub enum ScriptState {
    Idle,
    Sync,
    Download,
    ArtifactInstall,
    ArtifactReboot,
    ArtifactCommit,
    ArtifactRollback,
    ArtifactRollbackReboot,
    ArtifactFailure,
}

impl ScriptState {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Idle,
        Self::Sync,
        Self::Download,
        Self::ArtifactInstall,
        Self::ArtifactReboot,
        Self::ArtifactCommit,
        Self::ArtifactRollback,
        Self::ArtifactRollbackReboot,
        Self::ArtifactFailure,
    ];

    /// The name as it stands in script names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Sync => "Sync",
            Self::Download => "Download",
            Self::ArtifactInstall => "ArtifactInstall",
            Self::ArtifactReboot => "ArtifactReboot",
            Self::ArtifactCommit => "ArtifactCommit",
            Self::ArtifactRollback => "ArtifactRollback",
            Self::ArtifactRollbackReboot => "ArtifactRollbackReboot",
            Self::ArtifactFailure => "ArtifactFailure",
        }
    }

    /// True for the states whose scripts come with the artifact; the others come from the root filesystem.
    #[must_use]
    pub const fn is_artifact(self) -> bool {
        !matches!(self, Self::Idle | Self::Sync | Self::Download)
    }
}

/// The part of a state a script belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flight", derive(serde::Serialize, serde::Deserialize))]
#[expect(missing_docs, reason = "Mender's own names")]
pub enum ScriptAction {
    Enter,
    Leave,
    Error,
}

impl ScriptAction {
    /// The name as it stands in script names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enter => "Enter",
            Self::Leave => "Leave",
            Self::Error => "Error",
        }
    }
}

/// A point where scripts run: `ArtifactInstall_Enter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "flight", derive(serde::Serialize, serde::Deserialize))]
#[expect(missing_docs, reason = "the parts of the name")]
pub struct Transition {
    pub state: ScriptState,
    pub action: ScriptAction,
}

impl Coded for Transition {
    fn content(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        message::quote(f, self)
    }
}

impl core::fmt::Display for Transition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.state.name())?;
        f.write_str("_")?;
        f.write_str(self.action.name())
    }
}

/// Exit status by which a script asks to be run again later.
pub const RETRY_LATER: u8 = 21;

/// The transition of a script's file name, `<State>_<Action>_NN[_text]`, or `None` if the name is no script's.
///
/// `text` is one or more non-blank characters here; inside an artifact it is narrower, see
/// [`is_artifact_name`]. A blank is what Mender's tools take for one: white space of ASCII.
#[must_use]
pub fn parse_name(name: &str) -> Option<Transition> {
    let (state, rest) = split_once(name, b'_')?;
    let (action, rest) = split_once(rest, b'_')?;
    let state = *ScriptState::ALL.iter().find(|s| s.name() == state)?;
    let action = match action {
        "Enter" => ScriptAction::Enter,
        "Leave" => ScriptAction::Leave,
        "Error" => ScriptAction::Error,
        _ => return None,
    };
    let (number, text) = match split_once(rest, b'_') {
        Some((number, text)) => (number, Some(text)),
        None => (rest, None),
    };
    let number_ok = number.len() == 2 && number.bytes().all(|b| b.is_ascii_digit());
    let text_ok = text.is_none_or(|t| !t.is_empty() && !t.contains(|c: char| c.is_ascii_whitespace()));
    (number_ok && text_ok).then_some(Transition { state, action })
}

/// Whether a script of this name may stand inside an artifact: an `Artifact*` state, and a text of at most 64 characters, in any
/// script, without control characters and slashes (ARTIFACT-26; nothing that could leave a directory). The whole name has at
/// most [`limits::FILE_NAME`] bytes.
#[must_use]
pub fn is_artifact_name(name: &str) -> bool {
    // `<State>_<Action>_NN` has three parts, the text is all behind the third underscore.
    let text = name.splitn(4, '_').nth(3).unwrap_or("");
    parse_name(name).is_some_and(|transition| transition.state.is_artifact())
        && text.chars().nth(64).is_none()
        && name.len() <= limits::FILE_NAME
        && !name.contains(|c: char| c == '/' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        let enter = Transition { state: ScriptState::ArtifactInstall, action: ScriptAction::Enter };
        for good in
            ["ArtifactInstall_Enter_00", "ArtifactInstall_Enter_99_a", "ArtifactInstall_Enter_05_a_b-c.sh"]
        {
            assert_eq!(parse_name(good), Some(enter), "{good}");
        }
        for bad in [
            "ArtifactInstall_Enter",
            "ArtifactInstall_Enter_",
            "ArtifactInstall_Enter_0",
            "ArtifactInstall_Enter_000",
            "ArtifactInstall_Enter_00_",
            "ArtifactInstall_Enter_00_a b",
            "ArtifactInstall_Enter_0x",
            "artifactinstall_Enter_00",
            "ArtifactInstall_enter_00",
            "xArtifactInstall_Enter_00",
            "ArtifactInstall__Enter_00",
            "version",
        ] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }

    #[test]
    fn artifact_names_are_narrower() {
        assert!(is_artifact_name("ArtifactRollback_Error_00_x"));
        assert!(is_artifact_name("ArtifactInstall_Enter_00_pr\u{fc}fen~(1)"));
        let long = [b'x'; 65];
        let long = |length: usize| [&b"ArtifactInstall_Enter_00_"[..], &long[..length]].concat();
        assert!(is_artifact_name(str::from_utf8(&long(64)).unwrap()));
        assert!(!is_artifact_name(str::from_utf8(&long(65)).unwrap()));
        for bad in [
            "Idle_Enter_00",
            "Download_Leave_00",
            "ArtifactInstall_Enter_00_../x",
            "ArtifactInstall_Enter_00_\u{7}",
            "ArtifactInstall_Enter_00_\u{9b}m",
            "ArtifactInstall_Enter_00_a b",
        ] {
            assert!(!is_artifact_name(bad), "{bad}");
        }
    }
}
