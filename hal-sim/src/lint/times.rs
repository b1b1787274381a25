//! How long scripts may take, and how long they would.

use thimble_core::config::Config;
use thimble_core::script::{self, ScriptAction, ScriptState};

use super::effects::lines;
use super::{Finding, TIME1, TIME2, TIME3};
use crate::given::scripts::Kind;
use crate::given::{Home, Script};

/// How long the server's link to an artifact is good, in seconds.
const LINK: u64 = 24 * 3600;

/// Looks at one script.
pub(super) fn check(script: &Script, config: &Config, found: &mut Vec<Finding>) {
    let Kind::File(bytes, _) = &script.kind else { return };
    if script::parse_name(&script.name).is_none() {
        return;
    }
    let (interval, budget) =
        (config.state_script_retry_interval.as_secs(), config.state_script_retry_timeout.as_secs());
    for (at, line) in lines(bytes) {
        if asks_again(line) && interval >= budget {
            let what = format!(
                "it may exit with 21, is to be run again after {interval} s, and has {budget} s for it"
            );
            let mend = "set StateScriptRetryTimeoutSeconds to a multiple of StateScriptRetryIntervalSeconds";
            found.push(Finding::of(&TIME1, script, what, mend).at(at));
        }
        let (sleeps, may) = (slept(line), config.state_script_timeout.as_secs());
        if sleeps > may {
            let what = format!("it sleeps for {sleeps} s, and StateScriptTimeoutSeconds is {may}");
            let mend = "exit with 21 to be run again later, or set StateScriptTimeoutSeconds higher";
            found.push(Finding::of(&TIME3, script, what, mend).at(at));
        }
    }
}

/// Looks at the scripts that run between the poll and the download together.
pub(super) fn check_set(scripts: &[Script], config: &Config, found: &mut Vec<Finding>) {
    let (run, budget) = (config.state_script_timeout.as_secs(), config.state_script_retry_timeout.as_secs());
    let mut longest = 0_u64;
    for script in scripts.iter().filter(|script| script.home == Home::RootFileSystem) {
        let (Some(transition), Kind::File(bytes, _)) = (script::parse_name(&script.name), &script.kind)
        else {
            continue;
        };
        let before = matches!(
            (transition.state, transition.action),
            (ScriptState::Sync, ScriptAction::Leave) | (ScriptState::Download, ScriptAction::Enter)
        );
        if !before {
            continue;
        }
        let again = lines(bytes).any(|(_, line)| asks_again(line));
        // A script that begins its last run at the end of its budget may run for the whole of its own time.
        longest = longest.saturating_add(run).saturating_add(if again { budget } else { 0 });
        if longest > LINK {
            let what = format!(
                "with those before it, it may hold the download up for {longest} s; the link is good for {LINK} s"
            );
            let mend = "set StateScriptTimeoutSeconds and StateScriptRetryTimeoutSeconds lower, or wait in ArtifactInstall_Enter, where the artifact is there";
            found.push(Finding::of(&TIME2, script, what, mend));
        }
    }
}

/// Whether a line of a script ends it with the status that asks to be run again.
fn asks_again(line: &str) -> bool {
    let mut rest = line;
    while let Some(at) = rest.find("exit") {
        rest = rest.get(at + 4..).unwrap_or_default();
        let status = rest.trim_start_matches([' ', '\t', '(']);
        if status.strip_prefix("21").is_some_and(|after| !after.starts_with(|c: char| c.is_ascii_digit())) {
            return true;
        }
    }
    false
}

/// The seconds of the sleeps in a line.
fn slept(line: &str) -> u64 {
    let words: Vec<&str> =
        line.split([' ', '\t', ';', '&', '|', '(', ')']).filter(|word| !word.is_empty()).collect();
    let mut sum = 0_u64;
    for pair in words.windows(2) {
        let [command, time] = pair else { continue };
        if command.rsplit('/').next() != Some("sleep") {
            continue;
        }
        let (number, unit) = match time.find(|c: char| !c.is_ascii_digit()) {
            Some(at) => time.split_at(at),
            None => (*time, "s"),
        };
        let factor = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86400,
            _ => continue,
        };
        sum = sum.saturating_add(number.parse::<u64>().unwrap_or(u64::MAX).saturating_mul(factor));
    }
    sum
}
