//! Reads and writes the environment with the tools of the boot loader, found in `PATH`: `fw_printenv` and `fw_setenv`,
//! or Mender's `grub-mender-grubenv-print` and `grub-mender-grubenv-set`. They may know only a few variables, list
//! fewer than they know, and take a change of the others without a word (some boards have such scripts): what is needed
//! is asked for by name, and only what they know is demanded back.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::task::Poll;

use thimble_core::hal::Exit;
use thimble_core::time::{Duration, earliest};

use super::lock::{self, HostLock};
use super::vars::{Change, Vars};
use super::{BootError, Environment, Look, NAMES};
use crate::process::{Options, Process, Stdout};
use crate::rootfs::slot::Machine;
use crate::wait::PollSet;

/// Longest output: an environment and its names.
const OUTPUT: usize = 4 * 1024 * 1024;
/// How soon the end of a look is noticed.
const TURN: Duration = Duration::from_millis(100);
/// Most of what a tool says about its failure, in bytes.
const COMPLAINT: usize = 4096;

/// A pair of tools.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    print: String,
    set: String,
    /// What they lock themselves.
    lock: PathBuf,
}

/// Why a tool gave no output.
enum Fault {
    /// It ended with another status than 0, and this is what it said.
    Status(String),
    /// It could not be run, or did not end as it should.
    Broken(String),
}

impl Tools {
    pub(crate) fn uboot(machine: &Machine) -> Self {
        Self { print: "fw_printenv".into(), set: "fw_setenv".into(), lock: machine.at(lock::UBOOT) }
    }

    pub(crate) fn grub(machine: &Machine) -> Self {
        Self {
            print: "grub-mender-grubenv-print".into(),
            set: "grub-mender-grubenv-set".into(),
            lock: machine.at(lock::GRUB),
        }
    }

    #[cfg(test)]
    pub(super) fn at(dir: &Path, [print, set]: [&str; 2]) -> Self {
        let path = |name| dir.join(name).to_str().unwrap().to_owned();
        Self { print: path(print), set: path(set), lock: dir.join("lock") }
    }

    /// Both are in `PATH`.
    pub(crate) fn are_there(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<_> = std::env::split_paths(&path).collect();
        [&self.print, &self.set].into_iter().all(|tool| dirs.iter().any(|dir| dir.join(tool).is_file()))
    }

    /// The separator between name and value in a script. U-Boot's own tools take a blank; the older of them take `=`
    /// for a part of the name, and delete the variable. Others (libubootenv) take `=`, and pass over a line without.
    fn separators(&self, look: &Look) -> Result<(char, Option<char>), BootError> {
        let version = match run(look, &self.print, &["--version"], "") {
            Ok(version) => version,
            Err(Fault::Status(_)) => Vec::new(),
            Err(fault) => return Err(failed(&self.print, fault)),
        };
        let is_uboots = version.windows(6).any(|word| word == b"U-Boot");
        Ok(if is_uboots { (' ', None) } else { ('=', Some(' ')) })
    }

    /// One call, so that the tool writes once.
    fn set_by_script(
        &self,
        look: &Look,
        before: &Vars,
        changes: &[Change<'_>],
        separator: char,
    ) -> Result<(), BootError> {
        let line = |(name, value): &Change<'_>| format!("{name}{separator}{}\n", value.unwrap_or_default());
        let script: String = changes.iter().map(line).collect();
        run(look, &self.set, &["-s", "-"], &script).map_err(|fault| failed(&self.set, fault))?;
        // Some tools do not report a failure, such as a full environment, so the variables are read back.
        let now = self.read(look)?;
        if is_stored(before, &now, changes) { Ok(()) } else { Err(BootError::ReadBack) }
    }

    fn read(&self, look: &Look) -> Result<Vars, BootError> {
        // All at once, so that it is one state of the environment.
        let mut vars = match run(look, &self.print, &[], "") {
            Ok(text) => parse(&text),
            Err(Fault::Status(_)) => Vars::default(),
            Err(fault) => return Err(failed(&self.print, fault)),
        };
        for name in
            [NAMES.part, NAMES.part_hex, NAMES.upgrade, NAMES.bootcount, NAMES.check_canary, NAMES.canary]
        {
            if vars.has(name) {
                continue;
            }
            match run(look, &self.print, &[name], "") {
                Ok(text) => {
                    if let Some(value) = parse(&text).get(name) {
                        vars.push(name.as_bytes(), value.as_bytes());
                    }
                }
                // U-Boot's own tool fails for a variable that is not set.
                Err(Fault::Status(_)) if name != NAMES.part => {}
                Err(fault) => return Err(failed(&self.print, fault)),
            }
        }
        Ok(vars)
    }
}

/// Whether what was read `before` became what is `now`, as far as the tools know the variables. They do not know the
/// number of starts, nor do GRUB's the hexadecimal number. Tools without a number of starts may say which slot runs
/// where they are asked which one is selected: what they were told is not there to be read, and that they took the
/// change of the trial has to do.
fn is_stored(before: &Vars, now: &Vars, changes: &[Change<'_>]) -> bool {
    let changed = |name: &str| changes.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let is_right = |name: &str| changed(name).is_none_or(|value| now.get(name) == value);
    let knows_starts = before.has(NAMES.bootcount) || now.has(NAMES.bootcount);
    let says_what_runs = !knows_starts
        && now.get(NAMES.part).is_some()
        && now.get(NAMES.part) == before.get(NAMES.part)
        && now.get(NAMES.upgrade) != before.get(NAMES.upgrade);
    changes.iter().all(|(name, _)| match *name {
        name if name == NAMES.part_hex => true,
        name if name == NAMES.bootcount => !knows_starts || is_right(name),
        name if name == NAMES.part => is_right(name) || says_what_runs,
        name => is_right(name),
    })
}

impl Environment for Tools {
    fn load(&mut self, look: &mut Look) -> Result<Vars, BootError> {
        HostLock::clear(&self.lock, look)?;
        self.read(look)
    }

    fn store(&mut self, look: &mut Look, changes: &[Change<'_>]) -> Result<(), BootError> {
        let before = self.load(look)?;
        // A number of starts that is not there is 0.
        let is_needed = |name: &str| before.has(name) || name == NAMES.part || name == NAMES.upgrade;
        let needed: Vec<Change<'_>> = changes.iter().copied().filter(|(name, _)| is_needed(name)).collect();
        if !before.clone().apply(&needed).map_err(BootError::Vars)? {
            return Ok(());
        }
        let (first, second) = self.separators(look)?;
        let why = match self.set_by_script(look, &before, changes, first) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match second {
            Some(second) => self.set_by_script(look, &before, changes, second).map_err(|_| why),
            None => Err(why),
        }
    }

    fn check(&mut self, look: &mut Look, _changes: &[Change<'_>]) -> Result<Vars, BootError> {
        // There is no way to find out whether the tools can write except to write.
        self.load(look)
    }

    fn uses_hex(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("{} and {}", self.print, self.set)
    }

    fn places(&self) -> Result<Vec<PathBuf>, BootError> {
        Ok(Vec::new())
    }
}

fn parse(text: &[u8]) -> Vars {
    let mut vars = Vars::default();
    for line in text.split(|&byte| byte == b'\n') {
        if let Some(equals) = line.iter().position(|&byte| byte == b'=') {
            vars.push(&line[..equals], &line[equals + 1..]);
        }
    }
    vars
}

fn failed(tool: &str, fault: Fault) -> BootError {
    let (Fault::Status(why) | Fault::Broken(why)) = fault;
    BootError::Tool(tool.to_owned(), why)
}

/// Runs a tool to its end, or to that of the look: then its whole group is killed.
fn run(look: &Look, tool: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>, Fault> {
    let broken = |error: io::Error| Fault::Broken(error.to_string());
    let args: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let options = Options {
        args: &args,
        stdout: Stdout::Answer(OUTPUT),
        input: input.as_bytes(),
        ..Options::new(Path::new(tool), COMPLAINT)
    };
    let mut process = Process::spawn(&options).map_err(broken)?;
    let mut said = String::new();
    let exit = loop {
        let now = look.now();
        let mut complaint = |_, line: &str| {
            if said.len() < COMPLAINT {
                said.push_str(line);
                said.push(' ');
            }
        };
        if let Poll::Ready(exit) = process.poll(now, &mut complaint) {
            break exit;
        }
        // What returns here drops the process, which kills its group.
        if process.answer().map_err(broken)?.len() >= OUTPUT {
            return Err(Fault::Broken("prints more than an environment can hold".into()));
        }
        if look.is_over() {
            return Err(Fault::Broken("did not end in time".into()));
        }
        let mut set = PollSet::new();
        process.wants(&mut set);
        set.wait(now, earliest(process.deadline(), Some(now + TURN))).map_err(broken)?;
    };
    let said: String = said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    let failure = |how: String| if said.is_empty() { how } else { format!("{how}: {said}") };
    match exit {
        Exit::Code(0) => Ok(process.answer().map_err(broken)?.to_vec()),
        Exit::Code(code) => Err(Fault::Status(failure(format!("exit status {code}")))),
        Exit::Signal(signal) => Err(Fault::Broken(failure(format!("signal {signal}")))),
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
pub(crate) mod tests;
