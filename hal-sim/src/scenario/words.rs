//! The words that scenarios are written in: the one table behind reading, help, hints and the book.

use std::fmt::Write;

use super::commands::{self, Read};
use super::values::Words;

/// A word of scenarios.
pub struct Word {
    /// The first word of the line.
    pub name: &'static str,
    /// The whole line; in brackets what may be left out, capitals stand for something.
    pub form: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// A scenario that has it.
    pub example: &'static str,
    /// Reads the words behind the first.
    pub(super) read: fn(&mut Words<'_>) -> Read,
}

/// Words of one kind.
pub struct Group {
    /// What they have in common.
    pub title: &'static str,
    /// The words, in the order in which they are explained.
    pub words: &'static [Word],
}

/// All words.
pub const GROUPS: [Group; 4] = [
    Group {
        title: "How the device is, before anything happens",
        words: &[
            Word {
                name: "device",
                form: "device slots|files|custom|one-way|empty|wrong",
                meaning: "The device and its update module. slots (the default): two slots, the client reboots. \
                          files: overwrites, can put back, no reboot. custom: as files, and reboots by itself. \
                          one-way: overwrites and cannot put back. empty: as files, with an artifact without payload. \
                          wrong: as slots, with an artifact for another type of device.",
                example: "device files\nrun\n",
                read: commands::device,
            },
            Word {
                name: "no-deployment",
                form: "no-deployment",
                meaning: "The server has nothing for the device.",
                example: "no-deployment\nrun\n",
                read: commands::no_deployment,
            },
            Word {
                name: "resume-downloads",
                form: "resume-downloads",
                meaning: "A download goes on after a restart, as with `ResumeDownloads` in mender.conf. `mark` then \
                          happens every 8 bytes of a payload.",
                example: "resume-downloads\nlose-power after mark\nrun\n",
                read: commands::resume_downloads,
            },
            Word {
                name: "script",
                form: "script NAME|none",
                meaning: "A state script of this name is there; repeatable. Unless one is named, there is one at every place; none: \
                          there is none at all. Lines that say what goes wrong count the scripts of a place together: the \
                          second of ArtifactInstall_Enter is `ArtifactInstall_Enter 2`.",
                example: "script ArtifactInstall_Enter_00_check\nscript ArtifactInstall_Enter_01_stop\n\
                          fail ArtifactInstall_Enter 2\nrun\n",
                read: commands::script,
            },
            Word {
                name: "clock",
                form: "clock HH:MM",
                meaning: "The time of day when the device starts; 00:00 unless said.",
                example: "clock 21:30\nwindow 22:00-05:00 before ArtifactInstall_Enter\nrun\nwait 1 h\nrun\n",
                read: commands::clock,
            },
            Word {
                name: "show",
                form: "show idle",
                meaning: "The timeline has the scripts of Idle and Sync too.",
                example: "show idle\nno-deployment\nrun\n",
                read: commands::show,
            },
        ],
    },
    Group {
        title: "What goes wrong",
        words: &[
            Word {
                name: "fail",
                form: "fail WHAT [N|N-M|always]",
                meaning: "WHAT fails. WHAT is a script (ArtifactInstall_Enter), a call of the update module \
                          (ArtifactInstall), a report to the server (installing), reboot, save (the records are written) or \
                          mark (bytes of the payload are stored). It fails the first time, the N-th time, the N-th to M-th, \
                          or always; times are counted from the beginning of the scenario.",
                example: "fail ArtifactInstall\nfail failure 1-2\nrun\n",
                read: commands::fail,
            },
            Word {
                name: "retry-later",
                form: "retry-later SCRIPT [N|N-M|always]",
                meaning: "The script exits with 21: it wants to be run again later.",
                example: "retry-later ArtifactInstall_Enter 1-2\nrun\n",
                read: commands::retry_later,
            },
            Word {
                name: "abort",
                form: "abort at STATUS [N|N-M|always]",
                meaning: "The server answers 409 to this status: somebody has aborted the deployment.",
                example: "abort at installing\nrun\n",
                read: commands::abort,
            },
            Word {
                name: "lose-power",
                form: "lose-power before|in|after WHAT [N|N-M|always]",
                meaning: "Power is lost around WHAT (as with fail), and the device starts again.",
                example: "lose-power in ArtifactCommit\nrun\n",
                read: commands::lose_power,
            },
            Word {
                name: "spoil",
                form: "spoil maps",
                meaning: "The record of the control maps is damaged.",
                example: "spoil maps\nrun\n",
                read: commands::spoil,
            },
        ],
    },
    Group {
        title: "Who holds an update back",
        words: &[
            Word {
                name: "map",
                form: "map ACTION before POINTS [then ACTION] [expired ACTION] [priority N] [by N]\n\
                       map none [priority N] [by N]\n\
                       map {JSON}",
                meaning: "A program on the device sets its update control map; none deletes it. ACTION: continue, \
                          force_continue, pause or fail; then: what it becomes when it was carried out; expired: when the \
                          program does not renew it. POINTS, separated by commas: ArtifactInstall_Enter, \
                          ArtifactReboot_Enter, ArtifactCommit_Enter. priority: -10 to 10, 0 unless said. by: which program \
                          it is, 1 unless said.",
                example: "map pause before ArtifactCommit_Enter by 7\nrun\nmap none by 7\nrun\n",
                read: commands::map,
            },
            Word {
                name: "server-map",
                form: "server-map ACTION before POINTS [then ACTION] [expired ACTION] [priority N]\n\
                       server-map none | unreadable | aborted\n\
                       server-map {JSON}",
                meaning: "The server sends such a map with its deployments, and whenever it is asked for it. unreadable: what \
                          it sends is no map; aborted: the deployments are aborted. The id in JSON is that of the deployment, \
                          5100ed00-0000-4000-8000-000000000001 for the first.",
                example: "server-map pause before ArtifactReboot_Enter\nrun\n\
                          server-map force_continue before ArtifactReboot_Enter\nwait 30 min\nrun\n",
                read: commands::server_map,
            },
            Word {
                name: "order",
                form: "order pause|pass|fail [before POINTS] [for TIME]\n\
                       order lift [before POINTS]",
                meaning: "A person at the device says what updates do (`thimble control`). Before all three points unless \
                          POINTS are named, until it is lifted unless TIME is said.",
                example: "order pause before ArtifactReboot_Enter for 2 h\nrun\nwait 2 h\nrun\n",
                read: commands::order,
            },
            Word {
                name: "approve",
                form: "approve",
                meaning: "A person lets the update go on that waits before a point.",
                example: "order pause before ArtifactInstall_Enter\nrun\napprove\nrun\n",
                read: commands::approve,
            },
            Word {
                name: "window",
                form: "window HH:MM-HH:MM before POINTS",
                meaning: "An update window: outside it updates wait.",
                example: "clock 12:00\nwindow 02:00-04:00 before ArtifactReboot_Enter\nrun\nwait 14 h\nrun\n",
                read: commands::window,
            },
            Word {
                name: "busy",
                form: "busy before POINTS: WHY",
                meaning: "A policy of the device says: not now.",
                example: "busy before ArtifactReboot_Enter: the machine is at work\nrun\n\
                          free before ArtifactReboot_Enter\nwait 1 min\nrun\n",
                read: commands::busy,
            },
            Word {
                name: "never",
                form: "never before POINTS: WHY",
                meaning: "A policy of the device says: no, the update fails.",
                example: "never before ArtifactInstall_Enter: this device is sealed\nrun\n",
                read: commands::never,
            },
            Word {
                name: "free",
                form: "free before POINTS",
                meaning: "No policy says anything any more.",
                example: "busy before ArtifactInstall_Enter: driving\nrun\n\
                          free before ArtifactInstall_Enter\nwait 1 min\nrun\n",
                read: commands::free,
            },
        ],
    },
    Group {
        title: "What happens",
        words: &[
            Word {
                name: "run",
                form: "run",
                meaning: "The daemon runs until it has nothing to do or waits before a point. After a reboot and after a loss \
                          of power it is started again.",
                example: "run\n",
                read: commands::run,
            },
            Word {
                name: "wait",
                form: "wait TIME",
                meaning: "The daemon runs for this time: 30 s, 10 min, 2 h; at most 8784 h.",
                example: "no-deployment\nwait 10 min\n",
                read: commands::wait,
            },
            Word {
                name: "deploy",
                form: "deploy NAME",
                meaning: "The server has one more artifact for the device.",
                example: "run\ndeploy newer\nrun\n",
                read: commands::deploy,
            },
            Word {
                name: "install",
                form: "install",
                meaning: "`thimble install`, of the new artifact.",
                example: "device files\ninstall\n",
                read: commands::install,
            },
            Word {
                name: "commit",
                form: "commit",
                meaning: "`thimble commit`.",
                example: "device files\ninstall\ncommit\n",
                read: commands::commit,
            },
            Word {
                name: "rollback",
                form: "rollback",
                meaning: "`thimble rollback`.",
                example: "device files\ninstall\nrollback\n",
                read: commands::rollback,
            },
            Word {
                name: "resume",
                form: "resume",
                meaning: "`thimble resume`.",
                example: "device files\nstop-before ArtifactInstall_Enter\ninstall\nresume\n",
                read: commands::resume,
            },
            Word {
                name: "stop-before",
                form: "stop-before POINT",
                meaning: "The next of these four verbs ends before POINT: ArtifactInstall_Enter, ArtifactCommit_Enter, \
                          ArtifactCommit_Leave, ArtifactRollback_Enter, ArtifactFailure_Enter or Cleanup.",
                example: "device one-way\nstop-before ArtifactCommit_Enter\ninstall\nresume\n",
                read: commands::stop_before,
            },
            Word {
                name: "reboot",
                form: "reboot",
                meaning: "The user reboots the device.",
                example: "install\nreboot\ncommit\n",
                read: commands::reboot,
            },
        ],
    },
];

/// The words, without their groups.
pub fn all() -> impl Iterator<Item = &'static Word> {
    GROUPS.iter().flat_map(|group| group.words)
}

/// The words for a terminal.
#[must_use]
pub fn help() -> String {
    let mut text = String::new();
    for group in &GROUPS {
        let _ = writeln!(text, "{}:", group.title);
        for word in group.words {
            let _ = write!(text, "\n{}", word.help());
        }
        text.push('\n');
    }
    text.push_str("WHAT, POINTS, TIME and ACTION are explained where they stand first. A line that begins with # is a comment.\n");
    text
}

/// The words for the book.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    for group in &GROUPS {
        let _ = write!(text, "\n### {}\n", group.title);
        for Word { name, form, meaning, example, .. } in group.words {
            let meaning = wrapped(meaning, 118).join("\n");
            let _ = write!(
                text,
                "\n#### `{name}`\n\n```text\n{form}\n```\n\n{meaning}\n\n```text\n{example}```\n"
            );
        }
    }
    text.push('\n');
    text
}

impl Word {
    /// Form and meaning, for a terminal.
    #[must_use]
    pub fn help(&self) -> String {
        let mut text = String::new();
        for form in self.form.lines() {
            let _ = writeln!(text, "  {form}");
        }
        for line in wrapped(self.meaning, 110) {
            let _ = writeln!(text, "      {line}");
        }
        text
    }
}

/// The text in lines of at most so many characters.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.len() + 1 + word.len() <= width || line.is_empty());
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}
