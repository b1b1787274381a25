//! The driver: the only place that calls the traits. It performs on a [`Hal`] what the [flow](crate::flow) says, and
//! tells the flow what came of it. It decides nothing; it keeps the buffers, and the texts for people.
//!
//! What needs much stack for itself is never inlined: a caller would have to have the room of all that it may call, at
//! once, and a board's stack is short (`tests/tests/firmware.rs`).

mod accept;
mod buffers;
mod control;
mod download;
#[cfg_attr(not(feature = "flight"), path = "no_flight.rs")]
mod flight;
mod lent;
mod load;
#[cfg(feature = "control-maps")]
mod maps;
mod messages;
mod offer;
mod operation;
mod reason;
mod records;
mod requests;
#[cfg_attr(not(feature = "resumed-downloads"), path = "no_saved_offer.rs")]
mod saved_offer;
mod start;
mod summary;
mod token;

pub use buffers::{BufferError, Buffers, Device};
pub use download::DownloadProgress;
pub use load::{LoadError, saved_checkpoint};
#[cfg(feature = "control-maps")]
pub use maps::{MapNotTaken, OrderNotTaken};
pub use messages::{By, OPERATOR, WhyHeld};
pub use start::{Start, StartError, Started};

use core::task::Poll;

use crate::artifact::Parser;
use crate::checkpoint::Newer;
use crate::flow::{Due, Event, Flow, Step, Task};
use crate::hal::{
    Clock, DeploymentLog, DeviceKey, Hal, Identity, Inventory, Level, Network, Platform, Policy,
    ScriptRunner, UpdateModule,
};
use crate::limits;
use crate::machine::{Check, Machine, Report, Run};
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::Earlier;
use crate::plain::Plain;
use crate::session::{self, Awaits, RequestKind};
use crate::state::Outcome;
use crate::text::Lent as Held;
use crate::time::{Duration, Instant, earliest};
use crate::transfer::Action;

use download::Download;
use flight::Flight;
use lent::Lent;
use messages::{DownloadText, RequestText, ScriptFault, UpdateText, say};
use operation::{Polled, Work};
use reason::Story;
use requests::{Requests, Trouble};

/// Steps of one [`Client::poll`] at most: it does a bounded amount of work. See also [`limits::POLL`].
const STEPS: usize = 64;

/// No step begins later than this in one [`Client::poll`]: what an artifact is made of decides how long a step takes.
const SLICE: Duration = Duration::from_millis(10);

/// One update client on one platform, built in its place by [`Self::new`]. Call [`Self::poll`] whenever the platform wakes or the time it returned has
/// come; spurious calls are harmless.
pub struct Client<'b, P: Platform> {
    hal: Hal<P>,
    device: Device<'b>,
    /// Decides.
    flow: Flow,
    /// What is polled for the operation that is outstanding.
    work: Work,
    parser: Parser<'b>,
    /// The token that requests are sent with.
    token: Held<'b>,
    /// The record of the control maps while it is written. Of its own: a map may come while the others hold a request
    /// that is under way.
    maps: &'b mut [u8],
    chunk: &'b mut [u8],
    lent: Lent<'b>,
    download: Download<'b>,
    requests: Requests,
    story: Story,
    flight: Flight,
    report: Option<Report>,
}

impl<'b, P: Platform> Client<'b, P> {
    /// Does a bounded amount of work. `Some(t)`: call again at `t`, or sooner when the platform wakes. `None` with
    /// [`Self::report`]: the run is over.
    pub fn poll(&mut self) -> Option<Instant> {
        let now = self.hal.clock.now();
        self.download.moved = 0;
        for _ in 0..STEPS {
            if self.is_over() {
                return None;
            }
            if self.download.moved >= limits::POLL {
                break;
            }
            match self.advance(now) {
                Poll::Ready(()) => {}
                Poll::Pending => return self.wake_at(),
            }
            if self.hal.clock.now().since(now) >= SLICE {
                break;
            }
        }
        Some(now)
    }

    /// Ends whatever runs, without touching the record: the next start resumes as after a power loss. Poll on
    /// until [`Self::is_over`]. From now on nothing is begun, whatever is said to the client; only control maps and
    /// orders are still saved.
    pub fn terminate(&mut self) {
        let now = self.hal.clock.now();
        self.tell(now, Event::Terminate);
    }

    /// True when nothing runs and nothing will.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.flow.is_over()
    }

    /// How the run ended, once it has.
    #[must_use]
    pub const fn report(&self) -> Option<&Report> {
        self.report.as_ref()
    }

    /// Why the update failed first, for people; empty if it did not.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.story.reason.as_str()
    }

    /// Why the last request to the server failed, for people; empty if it did not.
    #[must_use]
    pub fn trouble(&self) -> &str {
        self.requests.trouble()
    }

    /// When a server last answered a request as it should, and its URL; `None`: none has since the start. Links to artifacts
    /// do not count.
    #[must_use]
    pub fn last_contact(&self) -> Option<(Instant, &str)> {
        let (at, server) = self.requests.contact?;
        Some((at, self.device.server(server)?))
    }

    /// The name of the artifact that the server offered last; empty before the first offer.
    #[must_use]
    pub fn offered_artifact(&self) -> &str {
        self.requests.offered.artifact_name()
    }

    /// The machine, to look at.
    #[must_use]
    pub const fn machine(&self) -> &Machine {
        self.flow.machine()
    }

    /// All that decides, to look at: whoever compares clients compares these, with times moved by [`Flow::rebase`].
    #[must_use]
    pub const fn flow(&self) -> &Flow {
        &self.flow
    }

    /// How far the download is.
    #[must_use]
    pub const fn progress(&self) -> DownloadProgress {
        let transfer = self.flow.transfer();
        DownloadProgress { received: transfer.received(), total: transfer.length() }
    }

    /// The platform, to look at.
    #[must_use]
    pub const fn platform(&self) -> &Hal<P> {
        &self.hal
    }

    /// The platform, to add its descriptors to the main loop's wait.
    pub const fn hal(&mut self) -> &mut Hal<P> {
        &mut self.hal
    }

    /// Ends the client and gives the platform back.
    pub fn into_hal(self) -> Hal<P> {
        self.hal
    }

    /// Why this daemon asks for no deployment: a newer version has left what this one must not touch.
    #[must_use]
    pub const fn no_updates(&self) -> Option<Newer> {
        match self.machine().run() {
            Run::NoUpdates(newer) => Some(newer),
            Run::Daemon | Run::Install | Run::Continue(_) | Run::Bootstrap => None,
        }
    }

    /// For a daemon that takes the place of another one in the same process: it asks for a deployment and sends the inventory
    /// at these times, and not at once. To be called between [`Self::start`] and the first [`Self::poll`].
    pub fn schedule(&mut self, update: Option<Instant>, inventory: Option<Instant>) {
        self.flow.schedule(update, inventory);
    }

    /// A signal or a user asks for a poll or an inventory push now. Without effect after [`Self::terminate`].
    pub fn check(&mut self, check: Check) {
        if self.flow.is_terminated() {
            return;
        }
        let now = self.hal.clock.now();
        if let (Check::Update, Some(newer)) = (check, self.no_updates()) {
            say(&mut self.hal.log, Level::Warning, &UpdateText::NoUpdates { newer });
        }
        self.tell(now, Event::Check(check));
    }

    /// One step: `Pending` when there is nothing to do before the platform wakes.
    fn advance(&mut self, now: Instant) -> Poll<()> {
        let due = self.flow.due(now);
        match due {
            Some(due @ (Due::Machine | Due::Session | Due::Room)) => {
                if self.tick(now, due) {
                    return Poll::Ready(());
                }
            }
            Some(Due::Transfer) | None => {}
        }
        match self.poll_work(now) {
            Polled::Ended(outcome) => {
                self.work = Work::None;
                self.tell(now, Event::Ended(outcome));
                return Poll::Ready(());
            }
            Polled::Moved => return Poll::Ready(()),
            Polled::Pending => {}
        }
        if self.poll_request().is_ready() {
            return Poll::Ready(());
        }
        match due {
            Some(due @ Due::Transfer) if self.tick(now, due) => Poll::Ready(()),
            Some(Due::Transfer | Due::Machine | Due::Session | Due::Room) | None => Poll::Pending,
        }
    }

    /// Time has come for this; false: nothing followed from it.
    #[inline(never)]
    fn tick(&mut self, now: Instant, due: Due) -> bool {
        match (due, self.flow.session().awaits()) {
            (Due::Session, Awaits::Head(kind) | Awaits::Body(kind, ..)) => {
                self.note_trouble(&RequestText::TooSlow { request: kind, limit: kind.limit() });
                self.flight.not_answered(kind);
            }
            (Due::Session, Awaits::Identity) => {
                self.note_slow_identity();
            }
            (Due::Session, Awaits::Nothing | Awaits::Inventory)
            | (Due::Machine | Due::Room | Due::Transfer, _) => {}
        }
        let step = self.step(now, Event::Tick);
        self.follow(now, step);
        !step.is_nothing()
    }

    /// Tells the flow what happened; what comes of it is done.
    fn tell(&mut self, now: Instant, event: Event) {
        let step = self.step(now, event);
        self.follow(now, step);
    }

    /// One step of the flow. What it means for people is said.
    #[inline(never)]
    fn step(&mut self, now: Instant, event: Event) -> Step {
        let place = self.machine().place();
        let before = self.flight_before(&event);
        let authenticated = self.is_authenticating();
        let step = self.flow.step(now, event);
        if authenticated && !self.is_authenticating() && !self.flow.is_terminated() {
            self.requests.count_authentication();
        }
        if self.work == Work::Transfer(Action::AwaitLink) {
            self.say_broken(&step, &DownloadText::NoOtherLink);
        }
        // What a map or a policy said comes first: it is the reason then.
        if let Some(note) = step.door {
            self.note_door(note);
        }
        if step.asked_too_long {
            let limit = self.machine().config().state_script_retry_timeout;
            self.fail_script(place, ScriptFault::LaterTooLong { limit });
        }
        if let Some(outcome) = step.ended {
            self.explain(place.0, outcome);
        }
        if step.report_given_up {
            let trouble = self.requests.trouble();
            let line = UpdateText::ReportGivenUp { why: Earlier(&Plain(trouble)) };
            say(&mut self.hal.log, Level::Error, &line);
        }
        self.flight_step(now, &before, &step);
        step
    }

    /// Does what the flow says, and what follows from it at once.
    fn follow(&mut self, now: Instant, step: Step) {
        let mut step = step;
        while let Some(event) = self.perform(now, step) {
            step = self.step(now, event);
        }
    }

    /// Does what the flow says. The one place where anything begins.
    #[inline(never)]
    fn perform(&mut self, now: Instant, step: Step) -> Option<Event> {
        let Step { ended, door: _, asked_too_long: _, report_given_up: _, drop, task } = step;
        if ended.is_some() {
            self.work = Work::None;
        }
        if drop {
            self.drop_request();
        }
        match task {
            Task::Wait => None,
            Task::Begin(op) => self.begin(now, op),
            Task::Kill(_) => self.kill(now),
            Task::SaveMaps => Some(Event::MapsSaved(self.save_maps() == Outcome::Success)),
            Task::FindIdentity => {
                self.find_identity(now).err().map(|Trouble| Event::Request(session::Event::IdentityFailed))
            }
            Task::CollectInventory => self
                .collect_inventory(now)
                .err()
                .map(|Trouble| Event::Request(session::Event::InventoryFailed)),
            Task::Send(RequestKind::Token, server) => {
                self.ask_for_token(now, server).err().map(Event::Request)
            }
            Task::Send(kind, server) => {
                self.send(now, kind, server).err().map(|Trouble| Event::Request(session::Event::NotSent))
            }
            Task::Read => {
                self.lent.answer_begins();
                None
            }
            Task::PutOff(seconds) => {
                self.note_trouble(&RequestText::PutOff { seconds });
                None
            }
            Task::Transfer(action) => self.begin_action(now, action),
            Task::ReceiveFirst => {
                self.work = Work::Transfer(Action::Receive);
                None
            }
            Task::Exit(report) => {
                self.report = Some(report);
                None
            }
        }
    }

    fn drop_request(&mut self) {
        let Hal { network, identity, device_key, inventory, deployment_log, .. } = &mut self.hal;
        network.cancel();
        identity.cancel();
        device_key.cancel();
        inventory.cancel();
        deployment_log.forget();
    }

    fn wake_at(&self) -> Option<Instant> {
        let work = match self.work {
            Work::None | Work::Ended(_) | Work::Reboot { .. } => None,
            Work::Script => self.hal.scripts.deadline(),
            Work::Module(_) | Work::CheckRunning => self.hal.module.deadline(),
            Work::Transfer(_) => earliest(self.hal.network.deadline(), self.hal.module.deadline()),
            Work::Policy => self.hal.policy.deadline(),
        };
        let request = match self.flow.session().awaits() {
            Awaits::Nothing => None,
            Awaits::Identity => earliest(self.hal.identity.deadline(), self.hal.device_key.deadline()),
            Awaits::Inventory => self.hal.inventory.deadline(),
            Awaits::Head(_) | Awaits::Body(..) => self.hal.network.deadline(),
        };
        earliest(earliest(work, request), self.flow.deadline())
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&[&Catalogue]] = &[
    messages::TEXTS,
    &[
        &buffers::ERRORS,
        #[cfg(feature = "control-maps")]
        &maps::MAP_ERRORS,
        #[cfg(feature = "control-maps")]
        &maps::ORDER_ERRORS,
        &start::START_ERRORS,
        &start::REFUSALS,
        &summary::PIECES,
    ],
];
