//! Which names run, and where.

use std::collections::BTreeMap;

use thimble_core::deployment::Mode;
use thimble_core::script::{self, ScriptAction, ScriptState, Transition};
use thimble_core::state::{self, Outcome, Phase, State};

use super::{Finding, NAME1, NAME2, NAME3, NAME4, NAME5, NAME6, VERSION1, VERSION2};
use crate::given::scripts::Kind;
use crate::given::{Home, Script};
use crate::near::nearest;

/// The file that says which version of the interface a folder's scripts are for.
pub(super) const VERSION: &str = "version";

const ACTIONS: [ScriptAction; 3] = [ScriptAction::Enter, ScriptAction::Leave, ScriptAction::Error];

/// Looks at one name.
pub(super) fn check(script: &Script, found: &mut Vec<Finding>) {
    let name = script.name.as_str();
    if name == VERSION && (script.home == Home::RootFileSystem || is_folder(script)) {
        return;
    }
    let Some(transition) = script::parse_name(name) else {
        found.push(match mended(name) {
            Some((what, better)) => {
                Finding::of(&NAME1, script, format!("it never runs: {what}"), format!("name it {better}"))
            }
            None => {
                let mend = "move it elsewhere, or name it like ArtifactInstall_Enter_00";
                Finding::of(&NAME5, script, "it is no state script", mend)
            }
        });
        return;
    };
    let state = transition.state;
    match (script.home, state.is_artifact()) {
        (Home::Artifact, false) => found.push(Finding::of(
            &NAME2,
            script,
            format!("it never runs: scripts of {} are not run out of an artifact", state.name()),
            "put it into /etc/mender/scripts of the root file system, that is, into its image",
        )),
        (Home::RootFileSystem, true) => found.push(Finding::of(
            &NAME2,
            script,
            format!("it never runs: scripts of {} are run out of an artifact only", state.name()),
            "put it into the artifact: mender-artifact write ... -s FILE",
        )),
        (Home::Artifact, true) if !script::is_artifact_name(name) => found.push(Finding::of(
            &NAME1,
            script,
            "an artifact with it is refused: behind the number, 64 characters may follow, without slashes and control characters",
            format!("name it {transition}_00"),
        )),
        (Home::Artifact, true) | (Home::RootFileSystem, false) => {}
    }
    if !is_called(transition, Mode::Managed) && !is_called(transition, Mode::Standalone) {
        let mend = format!("delete it, or do its work in a script of {}_Leave", state.name());
        found.push(Finding::of(&NAME3, script, format!("no client ever calls {transition}"), mend));
    } else if !is_called(transition, Mode::Standalone) {
        let what = format!("the command line does not call {transition}, the daemon does");
        let mend = "nothing, if updates come from a server only; otherwise do its work in ArtifactInstall or ArtifactCommit too";
        found.push(Finding::of(&NAME4, script, what, mend));
    }
}

/// Whether a file is, or was meant to be, a state script.
pub(super) fn is_meant(name: &str) -> bool {
    name != VERSION && (script::parse_name(name).is_some() || mended(name).is_some())
}

/// Whether a file stands in a folder, and not in an artifact.
fn is_folder(script: &Script) -> bool {
    script.place.ends_with(&script.name)
}

/// What is wrong with a name that looks like a script's, and a better one.
fn mended(name: &str) -> Option<(String, String)> {
    let (word, rest) = match name.find(['_', '-', '.', ' ']) {
        Some(at) => (name.get(..at)?, name.get(at + 1..)?),
        None => (name, ""),
    };
    let state = nearest(word, ScriptState::ALL.map(ScriptState::name));
    let (action_word, tail) = match rest.find(['_', '-', '.', ' ']) {
        Some(at) => (rest.get(..at)?, rest.get(at..)?),
        None => (rest, ""),
    };
    let action = nearest(action_word, ACTIONS.map(ScriptAction::name));
    // One of the two must be right enough to say what was meant.
    let (state, action) = match (state, action) {
        (Some(state), action) => (state, action),
        (None, Some(action)) if !tail.is_empty() => ("ArtifactInstall", Some(action)),
        (None, _) => return None,
    };
    let digits: String =
        tail.trim_start_matches(['_', '-', '.', ' ']).chars().take_while(char::is_ascii_digit).collect();
    let text = tail.trim_start_matches(['_', '-', '.', ' ']).trim_start_matches(|c: char| c.is_ascii_digit());
    let text: String = text
        .trim_start_matches(['_', '-', '.', ' '])
        .chars()
        .map(|c| if c.is_whitespace() || c == '/' || c.is_control() { '-' } else { c })
        .collect();
    let number = match digits.trim_start_matches('0') {
        "" => "00".to_owned(),
        digits if digits.len() <= 2 => format!("{digits:0>2}"),
        _ => "99".to_owned(),
    };
    let what = if !ScriptState::ALL.iter().any(|known| known.name() == word) {
        format!("there is no state \"{}\"", word.escape_debug())
    } else if action.is_none() || !ACTIONS.iter().any(|known| known.name() == action_word) {
        format!("\"{}\" is none of Enter, Leave and Error", action_word.escape_debug())
    } else if digits.len() != 2 {
        match digits.len() {
            0 => "no number stands behind the action, and there must be two digits".to_owned(),
            1 => "one digit stands behind the action, and there must be two".to_owned(),
            more => format!("{more} digits stand behind the action, and there must be two"),
        }
    } else if text.is_empty() {
        "it ends in an underscore".to_owned()
    } else {
        "behind the two digits nothing may follow but an underscore and a text without blanks".to_owned()
    };
    let action = action.unwrap_or("Enter");
    let text = if text.is_empty() { String::new() } else { format!("_{text}") };
    Some((what, format!("{state}_{action}_{number}{text}")))
}

/// Whether a client ever runs scripts of this transition, by the tables of the core.
fn is_called(transition: Transition, mode: Mode) -> bool {
    let first = match mode {
        Mode::Managed => (State::Idle, Phase::Enter),
        Mode::Standalone => (State::Prepare, Phase::Main),
    };
    let mut seen = vec![first];
    // Where the verbs that come later begin.
    if mode == Mode::Standalone {
        seen.extend([(State::CheckRunning, Phase::Main), (State::CheckRollback, Phase::Main)]);
    }
    let mut at = 0;
    while let Some(&(state, phase)) = seen.get(at) {
        at += 1;
        if state::transition(state, phase) == Some(transition) {
            return true;
        }
        // The command line ends there; the daemon begins anew.
        if mode == Mode::Standalone && state == State::End {
            continue;
        }
        let outcomes =
            [Outcome::Success, Outcome::Failure, Outcome::Nothing, Outcome::Aborted, Outcome::Later(None)];
        for outcome in outcomes {
            let next = state::next(mode, state, phase, outcome);
            if !seen.contains(&next) {
                seen.push(next);
            }
        }
    }
    false
}

/// Looks at what only a whole folder or artifact shows: its version, and numbers that stand twice.
pub(super) fn check_sets(scripts: &[Script], found: &mut Vec<Finding>) {
    let mut sets: BTreeMap<&str, Vec<&Script>> = BTreeMap::new();
    for script in scripts {
        let folder = if is_folder(script) {
            script.place.strip_suffix(&script.name).unwrap_or_default()
        } else {
            script.place.as_str()
        };
        sets.entry(folder).or_default().push(script);
    }
    for set in sets.values() {
        let mut numbers: BTreeMap<&str, &Script> = BTreeMap::new();
        let real = || set.iter().copied().filter(|script| script::parse_name(&script.name).is_some());
        for script in real() {
            let Some(at) = script.name.match_indices('_').nth(1).map(|(at, _)| at + 3) else { continue };
            let Some(number) = script.name.get(..at) else { continue };
            if let Some(other) = numbers.insert(number, script) {
                let what = format!("{} has the same number, and runs before it", other.name);
                found.push(Finding::of(
                    &NAME6,
                    script,
                    what,
                    "give it a number of its own if the order matters",
                ));
            }
        }
        // The client writes the version of an artifact's scripts itself.
        let Some(first) = real().find(|script| script.home == Home::RootFileSystem) else { continue };
        match set.iter().find(|script| script.name == VERSION) {
            None => {
                let what = "there is no file `version` beside it";
                found.push(Finding::of(&VERSION1, first, what, "put a file named version there that says 3"));
            }
            Some(version) => {
                let says = match &version.kind {
                    Kind::File(bytes, _) => match bytes.trim_ascii() {
                        b"2" | b"3" => continue,
                        other => format!(
                            "it says \"{}\"",
                            String::from_utf8_lossy(other.get(..64).unwrap_or(other)).escape_debug()
                        ),
                    },
                    Kind::Other(what) => format!("it is {what}"),
                };
                found.push(Finding::of(&VERSION2, version, says, "write 3 into it"));
            }
        }
    }
}
