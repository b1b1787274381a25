//! The artifact on its way from the network to the module: the data plane. The machine sees only the outcome.
//!
//! A transfer has two halves with the same bytes: up to the verified header ([`Op::Prepare`]), then the payload
//! ([`Op::Stream`]). Between them the module is asked whether it wants file sizes; nothing is read meanwhile.
//!
//! [`Op::Prepare`]: crate::machine::Op::Prepare
//! [`Op::Stream`]: crate::machine::Op::Stream

use core::task::Poll;

use super::operation::{Polled, Work};
use super::records::Refused;
use super::{Client, Source};
use crate::artifact::Event;
use crate::config;
use crate::deployment::Call;
use crate::hal::{
    Error as _, ErrorType, Head, Kind, Level, Log, Method, Network, PayloadSink, Platform, Request,
    ScriptRunner, Target, UpdateModule,
};
use crate::limits;
use crate::machine::Run;
use crate::retry::{Downloader, Resume};
use crate::state::Outcome;
use crate::text::Text;
use crate::time::{Duration, Instant, earliest};

macro_rules! refused {
    ($($arg:tt)*) => { Text::cut(format_args!($($arg)*)) };
}

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
    /// The file is complete.
    End,
    /// The artifact is complete.
    Finish,
}

/// The state of a transfer.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    stage: Stage,
    /// Bytes taken from the source.
    offset: u64,
    length: Option<u64>,
    resume: Option<Resume>,
    etag: Text<128>,
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
            Stage::None | Stage::Head | Stage::Body | Stage::Complete => None,
        };
        let module = if self.waiting_since.is_some() { None } else { self.module_deadline };
        earliest(resume, module)
    }

    /// The module's time stands still while the network is waited for.
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
        self.module_selected = false;
        let downloader = match self.machine.run() {
            Run::Daemon => Downloader::Daemon,
            Run::Install | Run::Continue(_) | Run::Bootstrap => Downloader::CommandLine,
        };
        self.transfer = Transfer { resume: Some(Resume::new(downloader)), ..Transfer::default() };
        match self.request_artifact(now) {
            Ok(()) => Work::Transfer,
            Err(reason) => Work::Done(self.fail(format_args!("{reason}"))),
        }
    }

    fn request_artifact(&mut self, now: Instant) -> Result<(), Refused> {
        let location = self.location.as_str();
        let target = match self.source {
            Source::File => Target::File(location),
            Source::Url => Target::Url(location),
            Source::Unknown => {
                return Err(refused!(
                    "the server's link to the artifact cannot be used: {}",
                    self.requests.offered.bad_link()
                ));
            }
        };
        let etag = self.transfer.etag.as_str();
        let request = Request {
            method: Method::Get,
            target,
            token: None,
            signature: None,
            body: None,
            offset: self.transfer.offset,
            etag: (!etag.is_empty()).then_some(etag),
        };
        self.transfer.stage = Stage::Head;
        self.hal
            .network
            .start(now, &request)
            .map_err(|error| refused!("the artifact cannot be opened: {error}"))
    }

    /// [`crate::machine::Op::Stream`]: the module is started, the rest of the artifact goes to it.
    pub(super) fn begin_stream(&mut self, now: Instant, call: Call) -> Work {
        if let Err(error) = self.hal.module.start(now, call) {
            self.hal.network.cancel();
            return Work::Done(self.fail(format_args!("{call}: {error}")));
        }
        self.transfer.streaming = true;
        self.transfer.module_deadline = Some(now + self.config.module_timeout);
        Work::Transfer
    }

    /// Gives the transfer up; a running module is ended and waited for.
    pub(super) fn stop_transfer(&mut self, now: Instant) {
        self.hal.network.cancel();
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
            Pending::Nothing
            | Pending::Begin(_)
            | Pending::Chunk(..)
            | Pending::Window(..)
            | Pending::End => Pending::Nothing,
        };
        Ok(Poll::Ready(None))
    }

    /// Parses the unparsed part of the chunk up to the next thing that happens.
    fn parse(&mut self) -> Result<Option<Outcome>, Refused> {
        let (from, to) = self.transfer.chunk;
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
            Event::NeedInput => {}
            Event::Script { name, size } => self.hal.scripts.stage(name, size).map_err(script)?,
            Event::ScriptData(bytes) => self.hal.scripts.stage_write(bytes).map_err(script)?,
            Event::Header => header = true,
            Event::FileBegin { name, size } => {
                self.transfer.file =
                    Text::copy(name).map_err(|_| refused!("a payload file's name is too long"))?;
                self.transfer.pending = Pending::Begin(size);
            }
            Event::FileData(data) => {
                let in_chunk = input.as_ptr_range().contains(&data.as_ptr());
                self.transfer.pending = if in_chunk {
                    // The file's bytes stand at the end of what was taken.
                    Pending::Chunk(at.saturating_sub(data.len()), at)
                } else {
                    Pending::Window(0, data.len())
                };
            }
            Event::FileEnd => self.transfer.pending = Pending::End,
        }
        self.transfer.chunk = (at, to);
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

    /// Gets more of the artifact.
    fn receive(&mut self, now: Instant) -> Result<Poll<Option<Outcome>>, Refused> {
        match self.transfer.stage {
            Stage::None => Err(refused!("no transfer is under way")),
            Stage::Complete => Ok(Poll::Ready(None)),
            Stage::Resume(at) if now < at => Ok(Poll::Pending),
            Stage::Resume(_) => {
                let offset = self.transfer.offset;
                self.hal.log.log(Level::Info, format_args!("going on with the download at byte {offset}"));
                match self.request_artifact(now) {
                    Ok(()) => Ok(Poll::Ready(None)),
                    Err(reason) => self.broken(now, reason, None),
                }
            }
            Stage::Head => match self.hal.network.poll_head(now) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(Ok(head)) => self.head(now, head),
                Poll::Ready(Err(error)) => {
                    let reason = refused!("the artifact cannot be had: {error}");
                    // A first request of the command line is never repeated.
                    let first = self.transfer.offset == 0 && self.transfer.length.is_none();
                    let again = matches!(error.kind(), Kind::Connection | Kind::TimedOut)
                        && !(first && self.machine.run() != Run::Daemon);
                    if again { self.broken(now, reason, None) } else { Err(reason) }
                }
            },
            Stage::Body => match self.hal.network.poll_read(now, self.chunk) {
                Poll::Pending => Ok(Poll::Pending),
                Poll::Ready(Ok(0)) => self.source_ended(),
                Poll::Ready(Ok(read)) => {
                    self.transfer.chunk = (0, read);
                    self.summary.received(read);
                    self.transfer.offset = self.transfer.offset.saturating_add(read as u64);
                    Ok(Poll::Ready(None))
                }
                Poll::Ready(Err(error)) => {
                    let reason = refused!("the download broke off at byte {}: {error}", self.transfer.offset);
                    let again = matches!(error.kind(), Kind::Connection | Kind::TimedOut);
                    if again && self.transfer.length.is_some() {
                        self.broken(now, reason, None)
                    } else {
                        Err(reason)
                    }
                }
            },
        }
    }

    /// The head of an answer came.
    fn head(&mut self, now: Instant, head: Head) -> Result<Poll<Option<Outcome>>, Refused> {
        let transfer = &mut self.transfer;
        if transfer.offset == 0 {
            if head.status != 200 {
                return Err(refused!("the server answered {} to the request for the artifact", head.status));
            }
            if transfer.length.is_some() && transfer.length != head.content_length {
                return Err(refused!("the artifact has changed on the server while it was downloaded"));
            }
            transfer.length = head.content_length;
            transfer.etag =
                self.hal.network.etag().and_then(|etag| Text::copy(etag).ok()).unwrap_or_default();
        } else {
            match head.status {
                206 => {
                    let last = transfer.length.map(|length| length.saturating_sub(1));
                    let fits = head.content_range.is_some_and(|range| {
                        range.first == transfer.offset
                            && Some(range.last) == last
                            && (range.size.is_none() || range.size == transfer.length)
                    });
                    // A server that ignores If-Range still says by its ETag that the file is another one.
                    let etag = self.hal.network.etag().unwrap_or_default();
                    if !etag.is_empty() && !transfer.etag.is_empty() && etag != transfer.etag.as_str() {
                        return Err(refused!(
                            "the artifact has changed on the server while it was downloaded"
                        ));
                    }
                    if !fits {
                        return Err(refused!(
                            "the server's Content-Range does not go on at byte {}",
                            transfer.offset
                        ));
                    }
                }
                200 => {
                    return Err(refused!(
                        "the artifact has changed on the server, or the server cannot resume"
                    ));
                }
                408 | 425 | 429 | 500..=599 => {
                    let reason = refused!("the server answered {} to the rest of the artifact", head.status);
                    return self.broken(now, reason, head.retry_after);
                }
                status => return Err(refused!("the server answered {status} to the rest of the artifact")),
            }
        }
        self.transfer.stage = Stage::Body;
        Ok(Poll::Ready(None))
    }

    /// The transfer broke: the next attempt, or the end.
    fn broken(
        &mut self,
        now: Instant,
        reason: Refused,
        retry_after: Option<crate::hal::RetryAfter>,
    ) -> Result<Poll<Option<Outcome>>, Refused> {
        self.hal.network.cancel();
        self.summary.link_broke();
        let offset = self.transfer.offset;
        let next =
            self.transfer.resume.as_mut().and_then(|resume| resume.next(&self.config, offset, retry_after));
        let Some(wait) = next else {
            return Err(refused!("{reason}; no attempts are left"));
        };
        self.hal.log.log(
            Level::Warning,
            format_args!("{reason}; next attempt in {} s", wait.max(Duration::ZERO).as_secs()),
        );
        self.transfer.stage = Stage::Resume(now + wait);
        Ok(Poll::Pending)
    }

    /// The source has ended: the artifact must be complete now.
    fn source_ended(&mut self) -> Result<Poll<Option<Outcome>>, Refused> {
        self.parser.finish().map_err(|error| refused!("the artifact is not acceptable: {error}"))?;
        self.hal.network.cancel();
        self.transfer.stage = Stage::Complete;
        if self.transfer.empty {
            return Ok(Poll::Ready(Some(Outcome::Nothing)));
        }
        if !self.transfer.streaming {
            return Err(refused!("the artifact ended before its payload"));
        }
        self.transfer.pending = Pending::Finish;
        Ok(Poll::Ready(None))
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
