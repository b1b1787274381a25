//! Reads and writes the environment with the tools of the boot loader, found in `PATH`: `fw_printenv` and `fw_setenv`,
//! or Mender's
//! `grub-mender-grubenv-print` and `grub-mender-grubenv-set`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::vars::{Change, Vars};
use super::{BootError, Environment, NAMES};

/// A tool that takes longer than this counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest output: an environment and its names.
const OUTPUT: u64 = 4 * 1024 * 1024;

/// A pair of tools.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    print: String,
    set: String,
}

impl Tools {
    pub(crate) fn uboot() -> Self {
        Self { print: "fw_printenv".into(), set: "fw_setenv".into() }
    }

    pub(crate) fn grub() -> Self {
        Self { print: "grub-mender-grubenv-print".into(), set: "grub-mender-grubenv-set".into() }
    }

    #[cfg(test)]
    pub(super) fn at(dir: &std::path::Path) -> Self {
        let path = |name| dir.join(name).to_str().unwrap().to_owned();
        Self { print: path("print"), set: path("set") }
    }

    /// Both are in `PATH`.
    pub(crate) fn are_there(&self) -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let dirs: Vec<_> = std::env::split_paths(&path).collect();
        [&self.print, &self.set].into_iter().all(|tool| dirs.iter().any(|dir| dir.join(tool).is_file()))
    }

    /// The separator between name and value in a script. U-Boot's own tools take a blank; the older of them take `=`
    /// for a part of the name, and delete the variable. Others (libubootenv) take `=`, and pass over a line without.
    fn separators(&self) -> (char, Option<char>) {
        let version = self.run(&self.print, &["--version"], "").unwrap_or_default();
        let is_uboots = version.windows(6).any(|word| word == b"U-Boot");
        if is_uboots { (' ', None) } else { ('=', Some(' ')) }
    }

    /// One call, so that the tool writes once.
    fn set_by_script(&mut self, changes: &[Change<'_>], separator: char) -> Result<(), BootError> {
        let line = |(name, value): &Change<'_>| format!("{name}{separator}{}\n", value.unwrap_or_default());
        let script: String = changes.iter().map(line).collect();
        self.run(&self.set, &["-s", "-"], &script)?;
        // Some tools do not report a failure, such as a full environment, so the variables are read back.
        let now = self.load()?;
        let kept = changes.iter().all(|(name, value)| now.get(name) == *value || *name == NAMES.part_hex);
        if kept { Ok(()) } else { Err(BootError::ReadBack) }
    }

    fn run(&self, tool: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>, BootError> {
        run(tool, arguments, input).map_err(|reason| BootError::Tool(tool.to_owned(), reason))
    }
}

impl Environment for Tools {
    fn load(&mut self) -> Result<Vars, BootError> {
        // All at once, so that it is one state of the environment.
        if let Ok(text) = self.run(&self.print, &[], "") {
            let vars = parse(&text);
            if vars.get(NAMES.part).is_some() {
                return Ok(vars);
            }
        }
        let mut vars = Vars::default();
        for name in
            [NAMES.part, NAMES.part_hex, NAMES.upgrade, NAMES.bootcount, NAMES.check_canary, NAMES.canary]
        {
            // U-Boot's own tool fails for a variable that is not set.
            match self.run(&self.print, &[name], "") {
                Ok(text) => {
                    if let Some(value) = parse(&text).get(name) {
                        vars.push(name.as_bytes(), value.as_bytes());
                    }
                }
                Err(error) if name == NAMES.part => return Err(error),
                Err(_) => {}
            }
        }
        Ok(vars)
    }

    fn store(&mut self, changes: &[Change<'_>]) -> Result<(), BootError> {
        let mut vars = self.load()?;
        if !vars.apply(changes).map_err(BootError::Vars)? {
            return Ok(());
        }
        let (first, second) = self.separators();
        let why = match self.set_by_script(changes, first) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match second {
            Some(second) => self.set_by_script(changes, second).map_err(|_| why),
            None => Err(why),
        }
    }

    fn check(&mut self, _changes: &[Change<'_>]) -> Result<Vars, BootError> {
        // There is no way to find out whether the tools can write except to write.
        self.load()
    }

    fn uses_hex(&self) -> bool {
        true
    }

    fn describe(&self) -> String {
        format!("{} and {}", self.print, self.set)
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

/// Runs a tool to its end; the text says why it failed.
fn run(tool: &str, arguments: &[&str], input: &str) -> Result<Vec<u8>, String> {
    let text = |error: io::Error| error.to_string();
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(text)?;
    let until = Instant::now() + PATIENCE;
    let result = talk(&mut child, input, until);
    if result.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(text)?;
    let (output, errors) = result.map_err(text)?;
    if status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&errors);
    let said: String = said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or_default()),
    };
    Err(if said.is_empty() { how } else { format!("{how}: {said}") })
}

/// Feeds a child and takes its output, until both ends are closed or the time is over.
fn talk(child: &mut Child, input: &str, until: Instant) -> io::Result<(Vec<u8>, Vec<u8>)> {
    if let Some(mut stdin) = child.stdin.take() {
        // Shorter than a pipe: this cannot wait. A tool that does not read it is no failure yet.
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    let mut pipes: Vec<(File, Vec<u8>)> = Vec::new();
    for pipe in [child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from)] {
        pipes.push((File::from(pipe.ok_or(io::ErrorKind::BrokenPipe)?), Vec::new()));
    }
    let mut open = [true, true];
    while open.contains(&true) {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::other("did not end in time"));
        }
        let timeout = Timespec { tv_sec: left.as_secs().min(60) as _, tv_nsec: left.subsec_nanos().into() };
        let ready: Vec<bool> = {
            let mut fds: Vec<PollFd<'_>> = pipes
                .iter()
                .zip(open)
                .map(|((pipe, _), open)| {
                    PollFd::new(pipe, if open { PollFlags::IN } else { PollFlags::empty() })
                })
                .collect();
            match poll(&mut fds, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        for (index, (pipe, bytes)) in pipes.iter_mut().enumerate() {
            if !open[index] || !ready[index] {
                continue;
            }
            let mut chunk = [0; 4096];
            match pipe.read(&mut chunk)? {
                0 => open[index] = false,
                read => bytes.extend_from_slice(&chunk[..read]),
            }
            if bytes.len() as u64 > OUTPUT {
                return Err(io::Error::other("prints more than an environment can hold"));
            }
        }
    }
    let mut taken = pipes.into_iter().map(|(_, bytes)| bytes);
    Ok((taken.next().unwrap_or_default(), taken.next().unwrap_or_default()))
}

#[cfg(test)]
#[path = "command_tests.rs"]
pub(crate) mod tests;
