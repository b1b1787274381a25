//! Inhibitors: files and programs that hold updates up.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::task::Poll;

use thimble_core::hal::{Exit, Level};
use thimble_core::limits;
use thimble_core::time::{Duration, Instant, earliest};

use super::{AtDeadline, Points};
use crate::SharedLog;
use crate::process::{Options, Process, Stdout, Stream};
use crate::trust::check_program;
use crate::wait::PollSet;

/// How long a program may take.
const TIME: Duration = Duration::from_secs(10);

/// A program that took too long gets SIGTERM, and SIGKILL this much later.
const GRACE: Duration = Duration::from_secs(1);

/// Most bytes of a program's output that are kept: its first line is shown as the reason.
const REASON: usize = 160;

/// Something that may hold updates up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inhibitor {
    /// The points before which it can hold an update up.
    pub points: Points,
    /// What tells that an update must wait.
    pub sign: Sign,
    /// How long it can hold an update up at most.
    pub deadline: Duration,
    /// What happens to the update after that time.
    pub then: AtDeadline,
}

/// What tells that an update must wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// This file, by existing.
    File(PathBuf),
    /// This program, by ending with another status than 0. The first line that it prints is the reason.
    Program(PathBuf),
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "not while {} exists", path.display()),
            Self::Program(path) => write!(f, "not while {} objects", path.display()),
        }
    }
}

/// An inhibitor that is being asked.
pub(super) enum Asked {
    Known(Option<String>),
    Runs { process: Box<Process>, path: PathBuf, until: Instant, is_late: bool },
}

/// Whether the inhibitor holds the update up, and why.
pub(super) enum Answer {
    Pending(Asked),
    Fine,
    Objects(String),
}

impl Inhibitor {
    /// Begins to ask the inhibitor: looks for its file or starts its program.
    pub(super) fn ask(&self, now: Instant) -> Asked {
        match &self.sign {
            Sign::File(path) => {
                let shown = path.display();
                Asked::Known(match fs::symlink_metadata(path) {
                    Ok(_) => Some(format!("{shown} exists")),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                    Err(error) => Some(format!("whether {shown} exists cannot be told: {error}")),
                })
            }
            Sign::Program(path) => {
                let options =
                    Options { stdout: Stdout::Answer(REASON), ..Options::new(path, limits::SCRIPT_OUTPUT) };
                let process = check_program(path).map_err(|error| error.to_string()).and_then(|()| {
                    Process::spawn(&options)
                        .map_err(|error| format!("{} does not run: {error}", path.display()))
                });
                match process {
                    Ok(process) => Asked::Runs {
                        process: Box::new(process),
                        path: path.clone(),
                        until: now + TIME,
                        is_late: false,
                    },
                    Err(why) => Asked::Known(Some(why)),
                }
            }
        }
    }
}

impl Asked {
    pub(super) fn poll(self, now: Instant, log: &SharedLog) -> Answer {
        let (mut process, path, until, mut is_late) = match self {
            Self::Known(None) => return Answer::Fine,
            Self::Known(Some(why)) => return Answer::Objects(why),
            Self::Runs { process, path, until, is_late } => (process, path, until, is_late),
        };
        if !is_late && now >= until {
            is_late = true;
            process.kill(now, GRACE);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // The program runs every minute, so that its other output is logged at level debug only.
        let mut sink =
            |_: Stream, line: &str| log.borrow_mut().log(Level::Debug, format_args!("{name}: {line}"));
        let polled = process.poll(now, &mut sink);
        match polled {
            Poll::Pending => Answer::Pending(Self::Runs { process, path, until, is_late }),
            Poll::Ready(_) if is_late => {
                Answer::Objects(format!("{} did not end within {TIME}", path.display()))
            }
            Poll::Ready(Exit::Code(0)) => Answer::Fine,
            Poll::Ready(exit) => {
                let said = String::from_utf8_lossy(process.answer().unwrap_or_default());
                let line: String =
                    said.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect();
                Answer::Objects(if line.trim().is_empty() {
                    format!("{} ended with {exit}", path.display())
                } else {
                    format!("{}: {}", path.display(), line.trim())
                })
            }
        }
    }

    pub(super) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        match self {
            Self::Known(_) => {}
            Self::Runs { process, .. } => process.wants(set),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Known(_) => None,
            Self::Runs { process, until, is_late, .. } => {
                earliest(process.deadline(), (!is_late).then_some(*until))
            }
        }
    }
}
