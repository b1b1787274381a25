//! Performs what the transfer machine asks for: calls of the network, the parser, the scripts' staging place and the
//! module. What came back goes to the flow as an event.

mod arrive;
mod store;
#[cfg_attr(not(feature = "resumed-downloads"), path = "download/no_stored.rs")]
mod stored;

use core::task::Poll;

use super::Client;
use super::messages::{DownloadText, UpdateText, say};
use super::operation::{Polled, Work};
use super::reason::Noted;
use crate::api::LinkError;
use crate::artifact::Trust;
use crate::config;
use crate::deployment::Call;
use crate::flow;
use crate::hal::{
    Cause, Error as _, Level, Network, PayloadSink, Platform, ScriptRunner, UpdateModule, Verifier,
};
use crate::http::Target;
use crate::limits;
use crate::machine::Run;
use crate::text::{Lent, Text, TooLong};
use crate::time::Instant;
use crate::transfer::{Action, Event, Failure, Place};

use stored::Claim;

/// How far a download is, in bytes of the artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DownloadProgress {
    /// Received so far.
    pub received: u64,
    /// The artifact's length, where the source says it.
    pub total: Option<u64>,
}

/// Where the artifact comes from. The name may be long: it is written in its place.
#[derive(Debug)]
pub(super) struct Source<'b> {
    kind: SourceKind,
    name: Lent<'b>,
}

#[derive(Clone, Copy, Debug)]
enum SourceKind {
    /// Nobody has said it, or the server's link cannot be used.
    Unknown(Option<LinkError>),
    File,
    Url,
}

impl<'b> Source<'b> {
    const fn unknown(room: &'b mut [u8]) -> Self {
        Self { kind: SourceKind::Unknown(None), name: Lent::new(room) }
    }

    /// What the command line says.
    pub(super) fn set(&mut self, target: Target<'_>) -> Result<(), TooLong> {
        let (kind, name) = match target {
            Target::File(name) => (SourceKind::File, name),
            Target::Url(name) => (SourceKind::Url, name),
        };
        self.name.set(name)?;
        self.kind = kind;
        Ok(())
    }

    /// A link that this writes. One that cannot be used is as unknown as one that nobody has said.
    pub(super) fn set_url(
        &mut self,
        write: impl FnOnce(&mut Lent<'b>) -> Result<(), LinkError>,
    ) -> Result<(), LinkError> {
        let written = write(&mut self.name);
        self.kind = match written {
            Ok(()) => SourceKind::Url,
            Err(error) => SourceKind::Unknown(Some(error)),
        };
        written
    }

    /// What is asked for.
    fn target(&self) -> Result<Target<'_>, Option<LinkError>> {
        match self.kind {
            SourceKind::Unknown(why) => Err(why),
            SourceKind::File => Ok(Target::File(self.name.as_str())),
            SourceKind::Url => Ok(Target::Url(self.name.as_str())),
        }
    }

    /// The most bytes that its name may have.
    pub(super) const fn limit(&self) -> usize {
        self.name.limit()
    }

    /// The link, if it is one.
    pub(super) fn link(&self) -> Option<&str> {
        match self.target() {
            Ok(Target::Url(link)) => Some(link),
            Ok(Target::File(_)) | Err(_) => None,
        }
    }
}

/// What a download needs and no machine sees.
#[derive(Debug)]
pub(super) struct Download<'b> {
    pub(super) source: Source<'b>,
    /// The `ETag` of the last answer that gave the artifact from its first byte on, in this process or an earlier one.
    pub(super) etag: Text<{ limits::ETAG }>,
    /// What the sink says that an earlier process stored of it.
    stored: Claim,
    /// Bytes that were moved since [`Client::poll`] was called.
    pub(super) moved: usize,
}

impl<'b> Download<'b> {
    /// Before the first transfer. In `link` there is room for where artifacts come from.
    pub(super) const fn new(link: &'b mut [u8]) -> Self {
        Self { source: Source::unknown(link), etag: Text::new(), stored: Claim::nothing(), moved: 0 }
    }

    /// Before the first transfer of a deployment.
    pub(super) fn begin(&mut self) {
        self.etag.clear();
        self.stored = Claim::nothing();
    }
}

impl<P: Platform> Client<'_, P> {
    /// [`crate::machine::Op::Prepare`]: nothing is left of an artifact before.
    #[inline(never)]
    pub(super) fn prepare_transfer(&mut self) -> Result<(), Noted> {
        if let Err(error) = self.hal.scripts.discard() {
            return Err(self.noted(&DownloadText::OldScripts { error: Cause::of(&error) }));
        }
        let trust = self.trust();
        let bootstrap = self.machine().run() == Run::Bootstrap;
        if trust == Trust::Unsigned && !bootstrap {
            say(&mut self.hal.log, Level::Warning, &DownloadText::NoKeys);
        }
        self.parser.reset(trust, !bootstrap);
        if !self.flow.goes_on() {
            self.download.etag.clear();
        }
        self.download.stored = Claim::nothing();
        Ok(())
    }

    /// How the artifact is to be trusted.
    fn trust(&self) -> Trust {
        match self.machine().run() {
            Run::Bootstrap => Trust::Bootstrap,
            Run::Daemon | Run::NoUpdates(_) | Run::Install | Run::Continue(_)
                if self.hal.verifier.has_keys() =>
            {
                Trust::Signed
            }
            Run::Daemon | Run::NoUpdates(_) | Run::Install | Run::Continue(_) => Trust::Unsigned,
        }
    }

    /// [`crate::machine::Op::Stream`].
    pub(super) fn start_module(&mut self, now: Instant, call: Call) -> flow::Event {
        match self.hal.module.start(now, call) {
            Ok(()) => flow::Event::ModuleStarted { mark_every: self.hal.module.mark_every() },
            Err(error) => {
                self.fail(&UpdateText::Call { call, error: Cause::of(&error) });
                flow::Event::ModuleNotStarted
            }
        }
    }

    /// [`flow::Task::Transfer`]. What happened, if that is known at once; else [`Self::poll_transfer`].
    pub(super) fn begin_action(&mut self, now: Instant, action: Action) -> Option<flow::Event> {
        self.work = Work::Transfer(action);
        match action {
            Action::AskForLink => {
                self.work = Work::Transfer(Action::AwaitLink);
                say(&mut self.hal.log, Level::Info, &DownloadText::AsksForLink);
            }
            Action::GiveUp { why, module } => self.give_up(now, why, module),
            Action::Wait
            | Action::Request { .. }
            | Action::AwaitHead
            | Action::Receive
            | Action::Pause(_)
            | Action::AwaitLink
            | Action::Parse { .. }
            | Action::Accept { .. }
            | Action::BeginFile(_)
            | Action::Write { .. }
            | Action::Mark
            | Action::EndFile
            | Action::Finish
            | Action::ReadBack(_)
            | Action::Compare
            | Action::ForgetStored(_)
            | Action::AwaitModule
            | Action::End(_) => return None,
        }
        Some(flow::Event::Transfer(Event::Done))
    }

    /// Moves bytes by one step.
    pub(super) fn poll_transfer(&mut self, now: Instant, action: Action) -> Polled {
        match self.perform_action(now, action) {
            Poll::Ready(()) => Polled::Moved,
            Poll::Pending => Polled::Pending,
        }
    }

    pub(super) fn tell_transfer(&mut self, now: Instant, event: Event) {
        self.download.moved = self.download.moved.saturating_add(event.moved());
        self.tell(now, flow::Event::Transfer(event));
    }

    /// Performs the machine's action and tells it how that ended. `Pending`: nothing to tell yet.
    fn perform_action(&mut self, now: Instant, action: Action) -> Poll<()> {
        match action {
            Action::Request { offset, again } => self.send_request(now, offset, again),
            Action::AwaitHead => match self.hal.network.poll_head(now) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(head)) => self.head(now, head),
                Poll::Ready(Err(error)) => self.broken(
                    now,
                    self.may_help(error.kind()),
                    &DownloadText::NotDownloaded { error: Cause::of(&error) },
                ),
            },
            Action::Receive => match self.hal.network.poll_read(now, self.chunk) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => self.source_ended(now),
                Poll::Ready(Ok(read)) => {
                    self.story.summary.received(read);
                    self.tell_transfer(now, Event::Came(read));
                }
                Poll::Ready(Err(error)) => {
                    let at = self.flow.transfer().received();
                    let reason = DownloadText::BrokeOff { at, error: &Cause::of(&error) };
                    self.broken(now, self.may_help(error.kind()), &reason);
                }
            },
            Action::Parse { from, to } => {
                let event = match self.parse(from, to) {
                    Ok((taken, found)) => Event::Parsed { taken, found },
                    Err(Noted { .. }) => Event::Failed,
                };
                self.tell_transfer(now, event);
            }
            Action::Accept { again } => {
                let event = self.accept(again).unwrap_or(flow::Event::Transfer(Event::Failed));
                self.tell(now, event);
            }
            Action::BeginFile(size) => {
                self.hal.module.expect(&self.parser.file_sum());
                let polled = self.hal.module.poll_begin(now, self.parser.file_name(), size);
                let stored = if polled.is_ready() { self.look_for_stored() } else { 0 };
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
            Action::Mark => return self.mark(now),
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
            Action::ForgetStored(bytes) => return self.forget_stored(now, bytes),
            Action::AwaitModule => match self.hal.module.poll_exit(now) {
                Poll::Pending => return Poll::Pending,
                // However it ended: the transfer failed before.
                Poll::Ready(Ok(_) | Err(_)) => self.tell_transfer(now, Event::Done),
            },
            // Somebody else moves it on, or only time does.
            Action::Wait
            | Action::Pause(_)
            | Action::AskForLink
            | Action::AwaitLink
            | Action::GiveUp { .. }
            | Action::End(_) => return Poll::Pending,
        }
        Poll::Ready(())
    }

    #[inline(never)]
    fn give_up(&mut self, now: Instant, why: Failure, module: bool) {
        if !why.is_told() {
            self.fail(&why);
        }
        if module {
            self.hal.module.abort();
            self.hal.module.kill(now, config::MODULE_KILL_GRACE);
        }
    }
}
