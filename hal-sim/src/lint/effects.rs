//! What scripts of `ArtifactInstall` change, and whether the way back changes it again.
//!
//! A shell script cannot be understood without running it. What is looked for are usual commands with a name in them, a
//! path, a unit or a variable; it counts as taken back when a script of the way back names the same.

use thimble_core::script::{self, ScriptAction, ScriptState};

use super::{EFFECT1, Finding};
use crate::given::scripts::Kind;
use crate::given::{Home, Script};

/// Looks at an artifact's scripts together.
pub(super) fn check(scripts: &[Script], found: &mut Vec<Finding>) {
    let way_back: Vec<&[u8]> =
        scripts.iter().filter(|script| is_way_back(script)).filter_map(bytes).collect();
    for script in scripts.iter().filter(|script| is_install(script)) {
        let Some(text) = bytes(script).filter(|text| is_shell(text)) else { continue };
        let mut told: Vec<String> = Vec::new();
        for (at, line) in lines(text) {
            for effect in effects(line) {
                let is_taken_back = way_back.iter().any(|text| contains(text, effect.object.as_bytes()));
                if is_taken_back || told.contains(&effect.object) {
                    continue;
                }
                let what = format!(
                    "`{}` changes {}, and no script of the way back names it",
                    effect.command,
                    effect.object.escape_debug()
                );
                let mend = "take it back in a script ArtifactRollback_Enter_NN, or in ArtifactFailure_Enter_NN if the device cannot roll back";
                found.push(Finding::of(&EFFECT1, script, what, mend).at(at));
                told.push(effect.object);
            }
        }
    }
}

fn bytes(script: &Script) -> Option<&[u8]> {
    match &script.kind {
        Kind::File(bytes, _) => Some(bytes),
        Kind::Other(_) => None,
    }
}

fn is_install(script: &Script) -> bool {
    script.home == Home::Artifact
        && script::parse_name(&script.name)
            .is_some_and(|t| t.state == ScriptState::ArtifactInstall && t.action != ScriptAction::Error)
}

fn is_way_back(script: &Script) -> bool {
    let back =
        [ScriptState::ArtifactRollback, ScriptState::ArtifactRollbackReboot, ScriptState::ArtifactFailure];
    script.home == Home::Artifact && script::parse_name(&script.name).is_some_and(|t| back.contains(&t.state))
}

/// Whether the interpreter is a shell.
fn is_shell(text: &[u8]) -> bool {
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    first.starts_with("#!")
        && first
            .split([' ', '/', '\t', '\r'])
            .any(|word| matches!(word, "sh" | "bash" | "ash" | "dash" | "ksh"))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// The lines of a script without comments, and their numbers; what is no UTF-8 is left out.
pub(super) fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.split(|byte| *byte == b'\n').enumerate();
    numbered.filter_map(|(at, line)| {
        let line = str::from_utf8(line).ok()?.trim();
        // A comment begins where a word could; inside quotes this may cut too much, which only hides an effect.
        let code = line
            .match_indices('#')
            .find(|(at, _)| *at == 0 || line.as_bytes().get(at - 1).is_some_and(u8::is_ascii_whitespace));
        let line = code.map_or(line, |(at, _)| line.get(..at).unwrap_or_default());
        (!line.is_empty()).then_some((at + 1, line))
    })
}

struct Effect {
    /// The command as people would say it.
    command: String,
    /// What it changes.
    object: String,
}

/// What the commands of a line change.
fn effects(line: &str) -> Vec<Effect> {
    let mut found = Vec::new();
    for command in line.split([';', '|', '&']) {
        let words: Vec<&str> =
            command.split_whitespace().map(|word| word.trim_matches(['"', '\''])).collect();
        redirections(&words, &mut found);
        let begins = words.iter().position(|word| {
            !matches!(*word, "sudo" | "then" | "do" | "else" | "if" | "!" | "{" | "exec" | "while" | "until")
                && !word.contains('=')
        });
        let Some((name, arguments)) = begins.and_then(|at| words.get(at..)).and_then(<[&str]>::split_first)
        else {
            continue;
        };
        let name = name.rsplit('/').next().unwrap_or(name);
        let arguments: Vec<&str> = arguments
            .iter()
            .copied()
            .take_while(|word| !word.contains(['>', '<']))
            .filter(|word| !word.starts_with('-'))
            .collect();
        let mut add = |what: &str, object: &str| {
            if !object.is_empty() && !is_passing(object) {
                found.push(Effect { command: what.to_owned(), object: object.to_owned() });
            }
        };
        match (name, arguments.as_slice()) {
            (
                "systemctl",
                [
                    verb @ ("start" | "stop" | "enable" | "disable" | "mask" | "unmask" | "set-default"),
                    units @ ..,
                ],
            ) => {
                units.iter().for_each(|unit| add(&format!("systemctl {verb}"), unit));
            }
            ("service", [unit, verb @ ("start" | "stop")]) => add(&format!("service {verb}"), unit),
            ("update-rc.d" | "rc-update" | "chkconfig", [unit, ..]) => add(name, unit),
            ("fw_setenv", [variable, ..]) => add(name, variable),
            ("grub-editenv", [_, "set" | "unset", variables @ ..]) => {
                variables
                    .iter()
                    .for_each(|variable| add(name, variable.split('=').next().unwrap_or_default()));
            }
            ("cp" | "mv" | "install" | "ln", [.., to]) => add(name, to),
            ("rm" | "rmdir" | "mkdir" | "touch" | "truncate" | "tee" | "umount" | "unlink", paths) => {
                paths.iter().for_each(|path| add(name, path));
            }
            ("chmod" | "chown" | "chgrp" | "sed" | "setfacl", [_, paths @ ..])
                if name != "sed" || words.iter().any(|word| word.starts_with("-i")) =>
            {
                paths.iter().for_each(|path| add(name, path));
            }
            ("mount", [.., at]) => add(name, at),
            (
                "apt" | "apt-get" | "opkg" | "dnf" | "yum" | "pip" | "pip3" | "snap",
                [verb @ ("install" | "remove" | "purge"), packages @ ..],
            ) => {
                packages.iter().for_each(|package| add(&format!("{name} {verb}"), package));
            }
            ("modprobe" | "insmod" | "rmmod", [module, ..]) => add(name, module),
            ("useradd" | "userdel" | "adduser" | "deluser" | "groupadd" | "groupdel", [.., user]) => {
                add(name, user)
            }
            ("docker" | "podman", [verb @ ("stop" | "rm" | "rmi" | "pull" | "run"), .., what]) => {
                add(&format!("{name} {verb}"), what)
            }
            _ => {}
        }
    }
    found
}

/// Files that a command writes to with `>`.
fn redirections(words: &[&str], found: &mut Vec<Effect>) {
    for (at, word) in words.iter().enumerate() {
        let Some(begins) = word.find('>') else { continue };
        // `2>` and `&>` are for messages.
        if word.get(..begins).is_some_and(|front| front.ends_with(['2', '&', '<', '-'])) {
            continue;
        }
        let behind = word.get(begins..).unwrap_or_default().trim_start_matches(['>', '|']);
        let to = if behind.is_empty() { words.get(at + 1).copied().unwrap_or_default() } else { behind };
        let to = to.trim_matches(['"', '\'']);
        if to.starts_with('/') && !is_passing(to) {
            found.push(Effect { command: ">".to_owned(), object: to.to_owned() });
        }
    }
}

/// Whether something is gone after a restart, or belongs to the kernel.
fn is_passing(object: &str) -> bool {
    ["/tmp", "/var/tmp", "/run", "/var/run", "/dev", "/proc", "/sys", "/var/log"].iter().any(|folder| {
        object.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}
