//! Performs what the transfer machine asks for: calls of the network, the parser, the scripts' staging place and the
//! module. What came back goes to the machine as an event. The machine of the update sees only the outcome.

mod sink;
mod source;

use core::task::Poll;

use super::Client;
use super::operation::{Polled, Work};
use super::reason::Noted;
use crate::config;
use crate::deployment::Call;
use crate::hal::{
    Error as _, Level, Log, Network, PayloadSink, Platform, ScriptRunner, Stored, UpdateModule,
};
use crate::limits;
use crate::machine::Run;
use crate::state::Outcome;
use crate::text::Text;
use crate::time::Instant;
use crate::transfer::{Action, Begin, Downloader, End, Event, Failure, Place, Stream, Transfer};

/// How far a download is, in bytes of the artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Received so far.
    pub received: u64,
    /// The artifact's length, where the source says it.
    pub total: Option<u64>,
}

/// The machine, the action it waits for, and what that needs and the machine does not.
#[derive(Debug)]
pub(super) struct Performer {
    machine: Transfer,
    action: Action,
    /// The `ETag` of the last answer that gave the artifact from its first byte on, in this process or an earlier one.
    etag: Text<{ limits::ETAG }>,
    /// The name of the payload file that began last.
    file: Text<{ limits::NAME }>,
    /// What the sink says that an earlier process stored of it.
    stored: Stored,
}

impl Performer {
    /// Before a transfer. `etag`: that which an earlier process saw, if its download goes on.
    pub(super) const fn new(etag: Text<{ limits::ETAG }>) -> Self {
        let stored = Stored { length: 0, sum: [0; 32] };
        Self { machine: Transfer::new(), action: Action::Wait, etag, file: Text::new(), stored }
    }

    pub(super) const fn progress(&self) -> DownloadProgress {
        DownloadProgress { received: self.machine.received(), total: self.machine.length() }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    pub(super) fn etag(&self) -> &str {
        self.etag.as_str()
    }
}

impl<P: Platform> Client<'_, P> {
    /// [`crate::machine::Op::Prepare`]: the first half of a transfer.
    pub(super) fn begin_transfer(&mut self, now: Instant) -> Work {
        if let Err(error) = self.hal.scripts.discard() {
            return Work::Done(self.fail(format_args!(
                "the state scripts of the artifact before could not be removed: {error}"
            )));
        }
        let trust = self.trust();
        if trust == crate::artifact::Trust::Unsigned && self.machine.run() != Run::Bootstrap {
            self.hal
                .log
                .log(Level::Warning, format_args!("no verify key is configured: any artifact is accepted"));
        }
        self.parser.reset(trust, self.machine.run() != Run::Bootstrap);
        // What an earlier process left is still to be cleaned up, should it not come to another module.
        self.module_selected &= self.earlier;
        let downloader = match self.machine.run() {
            Run::Daemon | Run::NoUpdates(_) => Downloader::Daemon,
            Run::Install | Run::Continue(_) | Run::Bootstrap => Downloader::CommandLine,
        };
        let etag = if self.earlier { self.transfer.etag.clone() } else { Text::new() };
        self.transfer = Performer::new(etag);
        let attempts = self.config.retry_download_count;
        self.tell_transfer(now, Event::Begin(Begin { downloader, attempts, earlier: self.earlier }));
        Work::Transfer
    }

    /// [`crate::machine::Op::Stream`]: the module is started, and the second half begins.
    pub(super) fn begin_stream(&mut self, now: Instant, call: Call) -> Work {
        let event = match self.hal.module.start(now, call) {
            Ok(()) => {
                // Only a daemon's download can go on after a restart.
                let marks = self.machine.checkpoint().offer;
                let mark_every = if marks { self.hal.module.mark_every() } else { 0 };
                Event::Stream(Stream { mark_every, time: self.config.module_timeout })
            }
            Err(error) => {
                self.fail(format_args!("{call}: {error}"));
                Event::Stop
            }
        };
        self.tell_transfer(now, event);
        Work::Transfer
    }

    /// Gives the transfer up. A running module is ended, and waited for by [`Self::poll_transfer`].
    pub(super) fn stop_transfer(&mut self, now: Instant) {
        self.tell_transfer(now, Event::Stop);
        if let Action::GiveUp { why, module } = self.transfer.action {
            self.give_up(now, why, module);
        }
    }

    /// Moves bytes by one step.
    pub(super) fn poll_transfer(&mut self, now: Instant) -> Polled {
        if let Action::End(end) = self.transfer.action {
            return Polled::Ended(match end {
                End::Accepted | End::Stored => Outcome::Success,
                End::NoPayload => Outcome::Nothing,
                End::Failed => Outcome::Failure,
            });
        }
        match self.perform_transfer(now) {
            Poll::Ready(()) => Polled::Moved,
            Poll::Pending if self.transfer.deadline().is_some_and(|at| at <= now) => {
                self.tell_transfer(now, Event::Tick);
                Polled::Moved
            }
            Poll::Pending => Polled::Pending,
        }
    }

    fn tell_transfer(&mut self, now: Instant, event: Event) {
        let action = self.transfer.machine.step(now, event);
        if action != Action::Wait {
            self.transfer.action = action;
        }
    }

    /// Performs the machine's action and tells it how that ended. `Pending`: nothing to tell yet.
    fn perform_transfer(&mut self, now: Instant) -> Poll<()> {
        match self.transfer.action {
            Action::Request { offset, again } => self.send_request(now, offset, again),
            Action::AwaitHead => match self.hal.network.poll_head(now) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(head)) => self.head(now, head),
                Poll::Ready(Err(error)) => self.broken(
                    now,
                    source::may_help(error.kind()),
                    format_args!("the artifact could not be downloaded: {error}"),
                ),
            },
            Action::Receive => match self.hal.network.poll_read(now, self.chunk) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => self.source_ended(now),
                Poll::Ready(Ok(read)) => {
                    self.summary.received(read);
                    self.tell_transfer(now, Event::Came(read));
                }
                Poll::Ready(Err(error)) => {
                    let at = self.transfer.machine.received();
                    let reason = format_args!("the download broke off at byte {at}: {error}");
                    self.broken(now, source::may_help(error.kind()), reason);
                }
            },
            Action::AskForLink => self.send_link_request(now),
            Action::AwaitLink => match self.poll_link(now) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {}
                Poll::Ready(Some(outcome)) => self.link_answered(now, outcome),
            },
            Action::Parse { from, to } => {
                let event = match self.parse(from, to) {
                    Ok((taken, found)) => Event::Parsed { taken, found },
                    Err(Noted { .. }) => Event::Failed,
                };
                self.tell_transfer(now, event);
            }
            Action::Accept { again } => {
                let event = self.accept(again).map_or_else(|Noted { .. }| Event::Failed, Event::Accepted);
                self.tell_transfer(now, event);
            }
            Action::BeginFile(size) => {
                self.hal.module.expect(&self.parser.file_sum());
                let polled = self.hal.module.poll_begin(now, self.transfer.file.as_str(), size);
                let stored = if polled.is_ready() { self.hal.module.stored() } else { None };
                self.transfer.stored = stored.unwrap_or(Stored { length: 0, sum: [0; 32] });
                let stored = self.transfer.stored.length;
                return self.sink_answered(now, polled.map_ok(|()| Event::FileBegan { stored }));
            }
            Action::Write { place, from, to } => {
                let bytes = match place {
                    Place::Chunk => self.chunk.get(from..to),
                    Place::Decompressed => self.parser.data().get(from..to),
                };
                let polled = self.hal.module.poll_write(now, bytes.unwrap_or_default());
                return self.sink_answered(now, polled.map_ok(Event::Took));
            }
            Action::Mark => {
                let marked = self.hal.module.mark(&self.parser.sum_so_far());
                return self.sink_answered(now, Poll::Ready(marked.map(|()| Event::Done)));
            }
            Action::EndFile => {
                let polled = self.hal.module.poll_end(now);
                return self.sink_answered(now, polled.map_ok(|()| Event::Done));
            }
            Action::Finish => {
                let polled = self.hal.module.poll_finish(now);
                return self.sink_answered(now, polled.map_ok(|()| Event::Done));
            }
            Action::ReadBack(most) => self.read_back(now, most),
            Action::Compare => self.compare(now),
            Action::ForgetStored(bytes) => {
                let file = &self.transfer.file;
                let line =
                    format_args!("what was stored of payload file {file} is damaged: from its beginning");
                self.hal.log.log(Level::Warning, line);
                self.parser.restart_file(bytes);
                let forgotten = self.hal.module.forget_stored();
                return self.sink_answered(now, Poll::Ready(forgotten.map(|()| Event::Done)));
            }
            Action::GiveUp { why, module } => self.give_up(now, why, module),
            Action::AwaitModule => match self.hal.module.poll_exit(now) {
                Poll::Pending => return Poll::Pending,
                // However it ended: the transfer failed before.
                Poll::Ready(Ok(_) | Err(_)) => self.tell_transfer(now, Event::Done),
            },
            Action::Wait | Action::Pause(_) | Action::End(_) => return Poll::Pending,
        }
        Poll::Ready(())
    }

    fn give_up(&mut self, now: Instant, why: Failure, module: bool) {
        if !why.is_told() {
            self.fail(format_args!("{why}"));
        }
        self.hal.network.cancel();
        self.end_request();
        if module {
            self.hal.module.abort();
            self.hal.module.kill(now, config::MODULE_KILL_GRACE);
        }
        self.tell_transfer(now, Event::Done);
    }
}
