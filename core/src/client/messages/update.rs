//! Of the operations of an update: scripts, calls of the module, the reboot, the doors.

use super::doors::{WhyFailed, WhyHeld};
use crate::checkpoint::Newer;
use crate::control::Full;
use crate::deployment::Call;
use crate::hal::{Cause, Exit};
use crate::machine::Op;
use crate::message::{Earlier, messages};
use crate::script::Transition;
use crate::text::Shown;
use crate::time::Duration;

messages! {
    pub(in crate::client) enum UpdateText<'a>, TEXTS = 'U' {
        1 Next { op: Op } => "next: {op}",
        2 Loop => "interrupted again and again: given up",
        3 RunsScript { index: u16, transition: Transition } => "running script {index} of {transition}",
        4 Scripts { transition: Transition, error: Cause<'a> } => "{transition} scripts: {error}",
        5 BeforeCommit { error: Cause<'a> } => "before ArtifactCommit: {error}",
        6 Reboot { error: Cause<'a> } => "reboot: {error}",
        7 Ended { deployment: &'a str, line: Earlier<'a> } => "deployment {deployment}: {line}",
        8 Call { call: Call, error: Cause<'a> } => "{call}: {error}",
        9 NoModule { call: Call } => "{call}: the update module of this artifact is not there any more",
        10 Calls { call: Call } => "calling the update module: {call}",
        11 NotRunning => "it does not run yet: reboot, then commit",
        12 TreeStays { error: Cause<'a> } => "the work tree cannot be removed: {error}",
        13 Script { error: Cause<'a> } => "state script: {error}",
        14 ScriptLater { script: ScriptName<'a> } => "{script} asks to be run again later",
        15 ScriptFailed { script: ScriptName<'a>, how: ScriptFault } => "{script} {how}",
        16 CallEnded { call: Call, exit: Exit } => "the update module ended {call} with {exit}",
        17 BadAnswer { call: Call, answer: Shown<'a> } =>
            "the update module's answer to {call} makes no sense: \"{answer}\"",
        18 CallTooSlow { call: Call, limit: Duration } => "the update module did not end {call} within {limit}",
        19 StillRunning { time: Duration } => "the device is still running {time} after the reboot command",
        20 RebootEnded { exit: Exit } => "the reboot command ended with {exit}",
        21 NoUpdates { newer: Newer } => "not asked for a deployment: {newer}",
        22 ReportGivenUp { why: Earlier<'a> } => "how the deployment ended is not reported any more: {why}",
        23 Aborted => "the server aborted the deployment",
        24 NotAsked { why: Earlier<'a> } => "the server could not be asked before the commit: {why}",
        25 MapNotRefreshed { why: Earlier<'a> } => "the update control map could not be had anew: {why}",
        26 Waits { point: &'a str, why: WhyHeld<'a> } => "the update waits before {point}: {why}",
        27 Passes { point: &'a str } => "somebody let the update pass {point}",
        28 MapsFull { error: Full } => "the server's update control map: {error}",
        29 Forbidden { point: &'a str, why: WhyFailed<'a> } => "not allowed to go on before {point}: {why}",
    }
}

messages! {
    /// A state script in a sentence.
    #[derive(Clone, Copy)]
    pub(in crate::client) enum ScriptName<'a>, SCRIPT_NAMES = 'U' {
        41 Named { name: &'a str } => "state script {name}",
        42 Of { transition: Transition } => "a state script of {transition}",
        43 Unknown => "a state script",
    }
}

messages! {
    /// How a state script failed.
    #[derive(Clone, Copy)]
    pub(in crate::client) enum ScriptFault, SCRIPT_FAULTS = 'U' {
        51 Ended { exit: Exit } => "ended with {exit}",
        52 TooSlow { limit: Duration } => "did not end within {limit}",
        53 LaterTooLong { limit: Duration } => "still asked to be run later after {limit}",
    }
}

impl<'a> ScriptName<'a> {
    /// Its name is empty where it is not known.
    pub(in crate::client) fn of(name: &'a str, transition: Option<Transition>) -> Self {
        match (name, transition) {
            ("", Some(transition)) => Self::Of { transition },
            ("", None) => Self::Unknown,
            (name, _) => Self::Named { name },
        }
    }
}
