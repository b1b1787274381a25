//! The artifact on its way from the network to the module: the data plane. The machine sees only the outcome.
//!
//! A transfer has two halves with the same bytes: up to the verified header ([`Op::Prepare`]), then the payload
//! ([`Op::Stream`]). Between them the module is asked whether it wants file sizes; nothing is read meanwhile.
//!
//! A download that goes on after a restart begins like any other, so nothing that an earlier process verified is
//! trusted. Only where a file of the payload begins of which that process stored a part are its bytes read back, through
//! the same digests, in place of the network's:
//!
//! ```text
//! network |version manifest header|payload archive: file ...                                 |
//!                                                       ^ request ends       ^ Range, If-Range
//! sink                                                  |stored --> digest --|network --> ...
//! ```
//!
//! [`Op::Prepare`]: crate::machine::Op::Prepare
//! [`Op::Stream`]: crate::machine::Op::Stream

mod replay;
mod source;

use core::task::Poll;

use super::Client;
use super::operation::{Polled, Work};
use super::records::Refused;
use crate::artifact::Parsed;
use crate::config;
use crate::deployment::Call;
use crate::hal::{ErrorType, Level, Log, Network, PayloadSink, Platform, ScriptRunner, Stored, UpdateModule};
use crate::limits;
use crate::machine::Run;
use crate::retry::{Downloader, Resume};
use crate::state::Outcome;
use crate::text::Text;
use crate::time::{Instant, earliest};

macro_rules! refused {
    ($($arg:tt)*) => { Text::cut(format_args!($($arg)*)) };
}
use refused;

/// How far a download is, in bytes of the artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Received so far.
    pub received: u64,
    /// The artifact's length, where the source says it.
    pub total: Option<u64>,
}

/// Where the bytes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// No transfer.
    #[default]
    None,
    /// Asked for; the head of the answer has not come.
    Head,
    /// The body comes.
    Body,
    /// The connection broke; the next attempt is then.
    Resume(Instant),
    /// The link has expired: the server is being asked for a fresh one.
    Link,
    /// The source has ended and the artifact was complete.
    Complete,
}

/// What the sink is asked to do before more is parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Pending {
    #[default]
    Nothing,
    /// A file begins; its name is in `file`.
    Begin(u64),
    /// These bytes of the chunk are the file's.
    Chunk(usize, usize),
    /// The parser's window holds bytes of the file, these of them are still to go.
    Window(usize, usize),
    /// The file's bytes so far are to be marked, in case that a restart comes.
    Mark,
    /// The file is complete.
    End,
    /// The artifact is complete.
    Finish,
}

/// What an earlier process stored of a file, on its way through the parser.
#[derive(Clone, Copy, Debug)]
struct Replay {
    stored: Stored,
    /// Bytes that went through.
    done: u64,
    /// Where in the artifact the file begins.
    begins: u64,
}

/// The state of a transfer.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    stage: Stage,
    /// Bytes taken from the source.
    offset: u64,
    length: Option<u64>,
    resume: Option<Resume>,
    etag: Text<{ limits::ETAG }>,
    /// The link has been refused, and no other is there yet.
    link_expired: bool,
    /// The link may be an old one: the first answer may say so.
    link_is_old: bool,
    /// Bytes there were when a fresh link was asked for last.
    link_asked_at: Option<u64>,
    /// What an earlier process stored may be used.
    keep: bool,
    replay: Option<Replay>,
    /// The request goes on behind stored bytes, and nothing of the network came behind them yet; a server that cannot
    /// give a part may give all of it.
    behind_stored: bool,
    /// Bytes of the body that are here already.
    surplus: u64,
    /// Bytes that came of the file at hand, if there is one.
    in_file: Option<u64>,
    /// See [`PayloadSink::mark_every`]; 0: no marks.
    mark_every: u64,
    /// The unparsed part of the chunk.
    chunk: (usize, usize),
    pending: Pending,
    file: Text<{ limits::NAME }>,
    /// The payload goes to the module: the second half has begun.
    streaming: bool,
    /// The payload is empty.
    empty: bool,
    /// The module's own time ends then.
    module_deadline: Option<Instant>,
    /// When the transfer was last seen waiting for the network; that time is not the module's.
    waiting_since: Option<Instant>,
}

impl Transfer {
    pub(super) const fn progress(&self) -> Progress {
        Progress { received: self.offset, total: self.length }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let resume = match self.stage {
            Stage::Resume(at) => Some(at),
            Stage::None | Stage::Head | Stage::Body | Stage::Link | Stage::Complete => None,
        };
        let module = if self.waiting_since.is_some() { None } else { self.module_deadline };
        earliest(resume, module)
    }

    pub(super) fn etag(&self) -> &str {
        self.etag.as_str()
    }

    /// Bytes of the file at hand.
    fn came(&mut self, bytes: u64) {
        self.in_file = self.in_file.map(|before| before.saturating_add(bytes));
    }

    /// Whether the sink kept what an earlier process stored.
    pub(super) const fn keeps(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// The module's time stands still while the network is waited for (R-16).
    fn wait_for_network(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    fn go_on(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            self.module_deadline = self.module_deadline.map(|at| at + now.since(since));
        }
    }
}

impl<P: Platform> Client<'_, P> {
    /// [`crate::machine::Op::Prepare`]: asks for the artifact.
    pub(super) fn begin_transfer(&mut self, now: Instant) -> Work {
        if let Err(error) = self.hal.scripts.discard() {
            return Work::Done(
                self.fail(format_args!("the scripts of the artifact before cannot be removed: {error}")),
            );
        }
        let trust = self.trust();
        if trust == crate::artifact::Trust::Unsigned && self.machine.run() != Run::Bootstrap {
            self.hal
                .log
                .log(Level::Warning, format_args!("no verify key is configured: any artifact is accepted"));
        }
        self.parser.reset(trust, self.machine.run() != Run::Bootstrap);
        // What an earlier process left is still to be cleaned up, should it not come to another module.
        self.module_selected &= self.earlier.is_some();
        let downloader = match self.machine.run() {
            Run::Daemon => Downloader::Daemon,
            Run::Install | Run::Continue(_) | Run::Bootstrap => Downloader::CommandLine,
        };
        self.transfer = Transfer {
            resume: Some(Resume::new(downloader)),
            link_is_old: self.earlier.is_some(),
            ..Transfer::default()
        };
        match self.request_artifact(now) {
            Ok(()) => Work::Transfer,
            Err(reason) => Work::Done(self.fail(format_args!("{reason}"))),
        }
    }

    /// [`crate::machine::Op::Stream`]: the module is started, the rest of the artifact goes to it.
    pub(super) fn begin_stream(&mut self, now: Instant, call: Call) -> Work {
        if let Err(error) = self.hal.module.start(now, call) {
            self.hal.network.cancel();
            return Work::Done(self.fail(format_args!("{call}: {error}")));
        }
        self.transfer.streaming = true;
        if self.machine.checkpoint().offer && self.transfer.length.is_some() {
            self.transfer.mark_every = self.hal.module.mark_every();
        }
        self.transfer.module_deadline = Some(now + self.config.module_timeout);
        Work::Transfer
    }

    /// Gives the transfer up; a running module is ended and waited for.
    pub(super) fn stop_transfer(&mut self, now: Instant) {
        self.end_request();
        self.transfer.stage = Stage::None;
        if self.transfer.streaming {
            self.hal.module.abort();
            self.hal.module.kill(now, config::MODULE_KILL_GRACE);
            self.work = Work::StopModule;
        } else {
            self.work = Work::Done(Outcome::Failure);
        }
    }

    /// Moves bytes by one step.
    pub(super) fn poll_transfer(&mut self, now: Instant) -> Polled {
        let step = match self.transfer_step(now) {
            Ok(step) => step,
            Err(reason) => {
                self.fail(format_args!("{reason}"));
                self.stop_transfer(now);
                return Polled::Moved;
            }
        };
        match step {
            Step::Moved => {
                self.transfer.go_on(now);
                Polled::Moved
            }
            Step::Ended(outcome) => Polled::Ended(outcome),
            Step::Module => {
                self.transfer.go_on(now);
                if self.transfer.module_deadline.is_some_and(|at| at <= now) {
                    let limit = self.config.module_timeout.as_secs();
                    self.fail(format_args!("the update module did not take the payload within {limit} s"));
                    self.stop_transfer(now);
                    return Polled::Moved;
                }
                Polled::Pending
            }
            Step::Network => {
                self.transfer.wait_for_network(now);
                Polled::Pending
            }
        }
    }

    /// Moves bytes: to the sink what is pending, through the parser what was read, from the network what is next.
    fn transfer_step(&mut self, now: Instant) -> Result<Step, Refused> {
        let (polled, waits_for) = if self.transfer.pending != Pending::Nothing {
            (self.feed_sink(now)?, Step::Module)
        } else if self.transfer.chunk.0 < self.transfer.chunk.1 {
            (Poll::Ready(self.parse()?), Step::Module)
        } else if let Some(replay) = self.transfer.replay {
            (self.replay(now, replay)?, Step::Module)
        } else {
            (self.receive(now)?, Step::Network)
        };
        Ok(match polled {
            Poll::Ready(Some(outcome)) => Step::Ended(outcome),
            Poll::Ready(None) => Step::Moved,
            Poll::Pending => waits_for,
        })
    }

    /// Hands the sink what is pending. `Ready(None)`: it took it.
    fn feed_sink(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Refused> {
        let module = &mut self.hal.module;
        let file = &self.transfer.file;
        let polled = match self.transfer.pending {
            Pending::Nothing => return Ok(Poll::Ready(None)),
            Pending::Begin(size) => {
                module.expect(&self.parser.file_sum());
                module.poll_begin(now, file.as_str(), size).map_ok(|()| 0)
            }
            Pending::Chunk(from, to) => module.poll_write(now, self.chunk.get(from..to).unwrap_or_default()),
            Pending::Window(from, to) => {
                module.poll_write(now, self.parser.data().get(from..to).unwrap_or_default())
            }
            Pending::Mark => Poll::Ready(module.mark(&self.parser.sum_so_far()).map(|()| 0)),
            Pending::End => module.poll_end(now).map_ok(|()| 0),
            Pending::Finish => module.poll_finish(now).map_ok(|()| 0),
        };
        let taken = match polled {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(taken)) => taken,
            Poll::Ready(Err(error)) if file.is_empty() => {
                return Err(refused!("the payload cannot be stored: {error}"));
            }
            Poll::Ready(Err(error)) => return Err(refused!("payload file {file} cannot be stored: {error}")),
        };
        self.transfer.pending = match self.transfer.pending {
            Pending::Chunk(from, to) if from.saturating_add(taken) < to => {
                Pending::Chunk(from.saturating_add(taken), to)
            }
            Pending::Window(from, to) if from.saturating_add(taken) < to => {
                Pending::Window(from.saturating_add(taken), to)
            }
            Pending::Finish => {
                self.transfer.stage = Stage::None;
                self.transfer.pending = Pending::Nothing;
                return Ok(Poll::Ready(Some(Outcome::Success)));
            }
            Pending::Begin(size) => {
                self.begin_replay(size);
                Pending::Nothing
            }
            Pending::Chunk(..) if self.mark_is_due() => Pending::Mark,
            Pending::Nothing | Pending::Chunk(..) | Pending::Window(..) | Pending::Mark | Pending::End => {
                Pending::Nothing
            }
        };
        Ok(Poll::Ready(None))
    }

    /// Parses the unparsed part of the chunk up to the next thing that happens.
    fn parse(&mut self) -> Result<Option<Outcome>, Refused> {
        let (from, mut to) = self.transfer.chunk;
        let end = to;
        if let Some(past) = self.transfer.in_file.and_then(|at| at.checked_rem(self.transfer.mark_every)) {
            // A mark is where a file has a multiple of so many bytes.
            let left = usize::try_from(self.transfer.mark_every.saturating_sub(past)).unwrap_or(usize::MAX);
            to = to.min(from.saturating_add(left));
        }
        let input = self.chunk.get(from..to).unwrap_or_default();
        let (taken, event) = self
            .parser
            .push(input, &mut self.hal.verifier, &mut self.hal.decompress)
            .map_err(|error| refused!("the artifact is not acceptable: {error}"))?;
        let at = from.saturating_add(taken);
        let script =
            |error: <P::Scripts as ErrorType>::Error| refused!("a state script cannot be stored: {error}");
        let mut header = false;
        match event {
            Parsed::NeedInput => {}
            Parsed::Script { name, size } => self.hal.scripts.stage(name, size).map_err(script)?,
            Parsed::ScriptData(bytes) => self.hal.scripts.stage_write(bytes).map_err(script)?,
            Parsed::Header => header = true,
            Parsed::FileBegin { name, size } => {
                self.transfer.file =
                    Text::copy(name).map_err(|_| refused!("a payload file's name is too long"))?;
                self.transfer.in_file = Some(0);
                self.transfer.pending = Pending::Begin(size);
            }
            Parsed::FileData(data) if self.transfer.replay.is_some() => {
                let length = data.len() as u64;
                self.transfer.came(length);
                if let Some(replay) = &mut self.transfer.replay {
                    replay.done = replay.done.saturating_add(length);
                }
            }
            Parsed::FileData(data) => {
                self.transfer.came(data.len() as u64);
                let in_chunk = input.as_ptr_range().contains(&data.as_ptr());
                self.transfer.pending = if in_chunk {
                    // The file's bytes stand at the end of what was taken.
                    Pending::Chunk(at.saturating_sub(data.len()), at)
                } else {
                    Pending::Window(0, data.len())
                };
            }
            Parsed::FileEnd => {
                self.transfer.in_file = None;
                self.transfer.pending = Pending::End;
            }
        }
        self.transfer.chunk = (at, end);
        if !header {
            return Ok(None);
        }
        if self.accept()? {
            return Ok(Some(Outcome::Success));
        }
        // No payload: the artifact is read to its end before it counts.
        self.transfer.empty = true;
        Ok(None)
    }
}

/// How far a step of the transfer came.
enum Step {
    Moved,
    Ended(Outcome),
    /// The module has to take something first.
    Module,
    /// The network has to bring something first.
    Network,
}
