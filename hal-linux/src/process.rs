//! Child processes: state scripts, update modules, the reboot command.
//!
//! A child runs in a process group of its own, with `/dev/null` or a few bytes as standard input, none of our descriptors
//! but its two pipes, our environment (R-12), and no protection from the kernel's search for memory. No call blocks:
//! [`Process::poll`] does what can be done
//! now, [`Process::wants`] and [`Process::deadline`] say when to call it again.
//!
//! ```text
//!  running --exit, pipes at their end or LINGER over--------------------------> ended (reaped)
//!     | kill: SIGTERM to the group                                                ^
//!     +--> terminating --leader gone and group empty------------------------------+
//!              | grace over: SIGKILL to the group                                 |
//!              +--> killed --leader gone and group empty, or KILL_WAIT over-------+
//! ```
//!
//! The leader of the group is reaped last. Until then it is a zombie, so that its process id, which is also the id of
//! the group, cannot be reused by another process.

mod group;
pub(crate) mod leftover;
mod lines;
pub(crate) mod note;
mod oom;
mod start;

pub use self::note::Note;
pub use self::start::cannot_start;
use self::start::explained;

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::task::Poll;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group,
    pidfd_open, waitid,
};
use thimble_core::hal::{Exit, Level};
use thimble_core::time::{Duration, Instant, earliest};

use self::lines::Lines;
use crate::wait::{Backoff, PollSet};
use crate::{SharedLog, sys};

/// How long the client still waits for output after the child has ended, when a process that the child started keeps
/// the pipes open.
const LINGER: Duration = Duration::from_millis(100);

/// How long a killed group may take to disappear. Only a process that is stuck in the kernel takes longer; nothing can
/// end such a process, and the client stops waiting for it.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Most bytes of [`Options::input`]: what every pipe takes before anybody reads.
pub const INPUT: usize = 4096;

/// Bytes read of one stream in one turn, so that a noisy child does not keep the client from its other work.
const TURN: usize = 64 * 1024;

/// Bytes read of one stream after the child's end: the largest pipe there can be without privileges.
const DRAIN: usize = 1024 * 1024;

/// One of the two outputs of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// What happens to the standard output of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdout {
    /// Goes to the sink line by line, as standard error does.
    Lines,
    /// Is kept for [`Process::answer`], up to this many bytes; the rest is read and dropped.
    Answer(usize),
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// A path, or a plain name to be found in `PATH`. It is also `argv[0]`.
    pub program: &'a Path,
    /// The arguments behind `argv[0]`.
    pub args: &'a [&'a OsStr],
    /// Working directory of the child; `None`: that of the client.
    pub dir: Option<&'a Path>,
    /// What the child reads from its standard input; empty: `/dev/null`. At most [`INPUT`] bytes.
    pub input: &'a [u8],
    /// What happens to the child's standard output.
    pub stdout: Stdout,
    /// Most bytes of each stream that go to the sink; after them comes one line that says that the rest is left out.
    pub cap: usize,
    /// The child goes on when the [`Process`] is dropped, as a reboot command must that is ending the client itself.
    pub outlives: bool,
    /// The note that names the child, so that the next client can end it if this one is killed.
    pub note: Option<&'a Note>,
}

impl<'a> Options<'a> {
    /// Options to run `program` without arguments; up to `cap` bytes of each stream go to the sink.
    #[must_use]
    pub fn new(program: &'a Path, cap: usize) -> Self {
        Self {
            program,
            args: &[],
            dir: None,
            input: &[],
            stdout: Stdout::Lines,
            cap,
            outlives: false,
            note: None,
        }
    }
}

/// Receives the output of a child, one log entry a call.
pub type Sink<'a> = dyn FnMut(Stream, &str) + 'a;

/// A [`Sink`] that writes to the log at level info; lines of standard output are marked.
pub fn log_output<'a>(log: &'a SharedLog, name: &'a str) -> impl FnMut(Stream, &str) + 'a {
    move |stream, line| {
        let mark = match stream {
            Stream::Stdout => " (stdout)",
            Stream::Stderr => "",
        };
        log.borrow_mut().log(Level::Info, format_args!("{name}{mark}: {line}"));
    }
}

/// No descriptor of this process but the three standard ones reaches a program that it starts from now on, whatever it was
/// started with itself.
pub fn close_others_on_exec() {
    sys::close_all_on_exec();
}

/// A running child, or one that has ended. Dropped while running, its whole group is killed.
#[derive(Debug)]
pub struct Process {
    child: Child,
    pid: Pid,
    /// `None` on kernels before 5.3: there the client looks at intervals whether the child has ended.
    pidfd: Option<OwnedFd>,
    stdout: Output,
    stderr: Output,
    outlives: bool,
    /// How the leader ended. Once this is set, the leader is a zombie.
    exit: Option<Exit>,
    linger_until: Option<Instant>,
    ending: Ending,
    /// When to look next at what no descriptor reports: the members of the group, and the exit where there is no pidfd.
    look: Backoff,
    over: bool,
}

#[derive(Clone, Copy, Debug)]
enum Ending {
    No,
    Term { until: Instant },
    Kill { until: Instant },
}

impl Process {
    /// Starts the child. After an error no process is running.
    pub fn spawn(options: &Options<'_>) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;

        sys::close_all_on_exec();
        let mut command = Command::new(options.program);
        command
            .args(options.args)
            .stdin(input(options.input)?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(dir) = options.dir {
            command.current_dir(dir);
        }
        let spawned = {
            let _ordinary = oom::Ordinary::begin();
            command.spawn()
        };
        let mut child = spawned.map_err(|error| explained(error, options.program))?;
        let pid = Pid::from_child(&child);
        if let Some(note) = options.note {
            note.runs(pid);
        }
        let keep_stdout = match options.stdout {
            Stdout::Lines => Keep::Lines(Lines::new(options.cap)),
            Stdout::Answer(max) => Keep::Answer { bytes: Vec::new(), max },
        };
        let stdout = Output::new(child.stdout.take().map(OwnedFd::from), keep_stdout);
        let stderr =
            Output::new(child.stderr.take().map(OwnedFd::from), Keep::Lines(Lines::new(options.cap)));
        Ok(Self {
            child,
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty()).ok(),
            stdout,
            stderr,
            outlives: options.outlives,
            exit: None,
            linger_until: None,
            ending: Ending::No,
            look: Backoff::default(),
            over: false,
        })
    }

    /// Moves output to `sink` and says whether the child has ended. Every call after that returns the same.
    pub fn poll(&mut self, now: Instant, sink: &mut Sink<'_>) -> Poll<Exit> {
        if !self.over {
            self.read(TURN, sink);
            self.notice_exit(now);
            if self.is_over(now) {
                self.finish(sink);
            }
        }
        if self.over { Poll::Ready(self.exit.unwrap_or(KILLED)) } else { Poll::Pending }
    }

    /// Ends the child: its group gets SIGTERM, and SIGKILL after `grace`. A second call may shorten the grace.
    pub fn kill(&mut self, now: Instant, grace: Duration) {
        if self.over {
            return;
        }
        match self.ending {
            Ending::No => {
                self.signal(Signal::TERM);
                self.look_soon(now);
                self.ending = Ending::Term { until: now + grace };
            }
            Ending::Term { until } => self.ending = Ending::Term { until: until.min(now + grace) },
            Ending::Kill { .. } => {}
        }
    }

    /// When to poll next, even if no descriptor became ready.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let ending = match self.ending {
            Ending::No => self.linger_until,
            Ending::Term { until } | Ending::Kill { until } => Some(until),
        };
        earliest(ending, self.look.at())
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if self.over {
            return;
        }
        for fd in [&self.stdout.fd, &self.stderr.fd].into_iter().flatten() {
            set.read(fd);
        }
        if let (None, Some(pidfd)) = (self.exit, &self.pidfd) {
            set.read(pidfd);
        }
    }

    /// What [`Stdout::Answer`] kept.
    ///
    /// # Errors
    /// The child's output could not be read to its end: nobody knows what it answered, and an empty answer would be
    /// another one.
    pub fn answer(&self) -> io::Result<&[u8]> {
        match (&self.stdout.keep, self.stdout.broken) {
            (Keep::Answer { .. }, Some(error)) => Err(error.into()),
            (Keep::Answer { bytes, .. }, None) => Ok(bytes),
            (Keep::Lines(_), Some(_) | None) => Ok(&[]),
        }
    }

    /// From now on the child's output cannot be read.
    #[cfg(test)]
    pub(crate) fn break_output(&mut self) {
        let write_only = rustix::fs::open("/dev/null", OFlags::WRONLY, rustix::fs::Mode::empty()).unwrap();
        // The child's end stays open: what it prints does not end it.
        std::mem::forget(self.stdout.fd.replace(write_only));
    }

    fn read(&mut self, budget: usize, sink: &mut Sink<'_>) {
        self.stdout.read(budget, &mut |line| sink(Stream::Stdout, line));
        self.stderr.read(budget, &mut |line| sink(Stream::Stderr, line));
    }

    /// Checks whether the leader has ended, without reaping it.
    fn notice_exit(&mut self, now: Instant) {
        if self.exit.is_some() {
            return;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(Some(status)) => {
                self.exit = Some(exit_of(&status));
                self.linger_until = Some(now + LINGER);
                self.look = Backoff::default();
            }
            Ok(None) if self.pidfd.is_none() => {
                if self.look.is_due(now) {
                    self.look.again(now);
                }
            }
            Ok(None) | Err(_) => {}
        }
    }

    fn is_over(&mut self, now: Instant) -> bool {
        match self.ending {
            Ending::No => {
                self.exit.is_some() && (self.is_closed() || self.linger_until.is_some_and(|at| now >= at))
            }
            Ending::Term { until } => {
                if self.is_group_gone(now) {
                    return true;
                }
                if now >= until {
                    self.signal(Signal::KILL);
                    self.look_soon(now);
                    self.ending = Ending::Kill { until: now + KILL_WAIT };
                }
                false
            }
            Ending::Kill { until } => now >= until || self.is_group_gone(now),
        }
    }

    fn is_closed(&self) -> bool {
        self.stdout.fd.is_none() && self.stderr.fd.is_none()
    }

    /// Begins to look for the exit at intervals, unless the pidfd reports it.
    fn look_soon(&mut self, now: Instant) {
        self.look = Backoff::default();
        if self.exit.is_some() || self.pidfd.is_none() {
            self.look.again(now);
        }
    }

    fn is_group_gone(&mut self, now: Instant) -> bool {
        if self.exit.is_none() || !self.look.is_due(now) {
            return false;
        }
        let gone = !group::has_live_member(self.pid);
        self.look.again(now);
        gone
    }

    /// Reads the output that is there without waiting for more, closes the pipes and reaps the leader.
    fn finish(&mut self, sink: &mut Sink<'_>) {
        self.read(DRAIN, sink);
        self.stdout.close(&mut |line| sink(Stream::Stdout, line));
        self.stderr.close(&mut |line| sink(Stream::Stderr, line));
        if !matches!(self.ending, Ending::No) {
            // Processes may have joined the group after the last check.
            self.signal(Signal::KILL);
        }
        if self.exit.is_some() {
            // Cannot block: the leader is a zombie.
            let _ = self.child.wait();
        }
        self.over = true;
    }

    /// Sends the signal to the group, and to the leader in case it has moved to another group.
    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(self.pid, signal);
        if self.exit.is_none() {
            let _ = kill_process(self.pid, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.over || self.outlives {
            return;
        }
        self.signal(Signal::KILL);
        if let Some(pidfd) = &self.pidfd {
            let mut set = PollSet::new();
            set.read(pidfd);
            // Not waited for without an end: a leader that is stuck in the kernel is reaped by init later.
            let _ = set.wait(Instant::ZERO, Some(Instant::ZERO + KILL_WAIT));
        }
        let _ = self.child.try_wait();
    }
}

/// The exit that is reported for a leader that not even SIGKILL ended in time.
const KILLED: Exit = Exit::Signal(9);

fn exit_of(status: &WaitIdStatus) -> Exit {
    if let Some(code) = status.exit_status() {
        // The kernel passes on only eight bits of an exit status.
        return Exit::Code(u8::try_from(code & 0xff).unwrap_or(u8::MAX));
    }
    let signal = status.terminating_signal().and_then(|signal| u8::try_from(signal).ok());
    signal.map_or(KILLED, Exit::Signal)
}

#[derive(Debug)]
struct Output {
    /// `None` once the stream has ended.
    fd: Option<OwnedFd>,
    /// Why it ended before its end.
    broken: Option<Errno>,
    keep: Keep,
}

#[derive(Debug)]
enum Keep {
    Lines(Lines),
    Answer { bytes: Vec<u8>, max: usize },
}

impl Output {
    fn new(fd: Option<OwnedFd>, keep: Keep) -> Self {
        // Only our end of the pipe; the child's end stays blocking. If the flag cannot be set, reading could block the
        // client, so the pipe is given up.
        let prepared = fd.map(|fd| {
            let flags = rustix::fs::fcntl_getfl(&fd)?;
            rustix::fs::fcntl_setfl(&fd, flags | OFlags::NONBLOCK).map(|()| fd)
        });
        match prepared {
            Some(Ok(fd)) => Self { fd: Some(fd), broken: None, keep },
            Some(Err(error)) => Self { fd: None, broken: Some(error), keep },
            None => Self { fd: None, broken: None, keep },
        }
    }

    fn read(&mut self, budget: usize, emit: &mut dyn FnMut(&str)) {
        let mut buf = [0; 8192];
        let mut left = budget;
        while left > 0
            && let Some(fd) = &self.fd
        {
            match rustix::io::read(fd, &mut buf) {
                Ok(n) if n > 0 => {
                    self.keep.push(&buf[..n], emit);
                    left = left.saturating_sub(n);
                }
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                Ok(_) => self.close(emit),
                Err(error) => {
                    self.broken = Some(error);
                    self.close(emit);
                }
            }
        }
    }

    fn close(&mut self, emit: &mut dyn FnMut(&str)) {
        self.fd = None;
        if let Keep::Lines(lines) = &mut self.keep {
            lines.finish(emit);
        }
    }
}

impl Keep {
    fn push(&mut self, read: &[u8], emit: &mut dyn FnMut(&str)) {
        match self {
            Self::Lines(lines) => lines.push(read, emit),
            Self::Answer { bytes, max } => {
                let room = max.saturating_sub(bytes.len()).min(read.len());
                bytes.extend_from_slice(&read[..room]);
            }
        }
    }
}

/// A standard input with these bytes and their end.
fn input(bytes: &[u8]) -> io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    if bytes.len() > INPUT {
        return Err(io::Error::other(format!("more than {INPUT} bytes of input")));
    }
    let (reading, writing) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    io::Write::write_all(&mut std::fs::File::from(writing), bytes)?;
    Ok(reading.into())
}

#[cfg(test)]
mod tests;
