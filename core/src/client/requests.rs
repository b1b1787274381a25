//! Requests to the server: carries out what the [session](crate::session) says by way of the flow, tells what came back,
//! and keeps the texts: the token, the bodies, and why a request failed.

mod answers;
mod authentication;
mod offers;
mod sending;

use core::task::Poll;

use super::messages::{Hinted, RequestText, say};
use super::offer::Offered;
use super::{Client, Device};
use crate::api::inventory::Accepted;
use crate::config::IDENTITY_WAIT;
use crate::flow::Event;
use crate::hal::{self, Cause, Clock, Inventory, Kind, Level, Log, Network, Platform};
use crate::limits;
use crate::message::Coded;
use crate::session::{self, Awaits, RequestKind};
use crate::text::{Text, TextExt};
use crate::time::Instant;

use authentication::Asking;
pub(super) use sending::API_URL;

/// What belongs to requests and is no decision.
#[derive(Debug)]
pub(super) struct Requests {
    /// Bytes of the request's body that the network took; `None` when it has all, or wants no more.
    sent: Option<usize>,
    /// The status report at hand has a substate.
    has_substate: bool,
    /// A report of this deployment had one. After a restart it counts as if one had.
    pub(super) had_substate: bool,
    /// What goes with the last report of the deployment that is over.
    pub(super) last_substate: Text<{ limits::SUBSTATE }>,
    /// Authentications that have ended.
    authentications: u32,
    /// What is waited for while the request for a token is made.
    asking: Asking,
    accepted: Accepted,
    pub(super) offered: Offered,
    /// When a request was last answered well, and the number of the server.
    pub(super) contact: Option<(Instant, u8)>,
    /// Why the last request failed.
    trouble: Text<{ limits::REASON }>,
}

/// A request cannot go on. Why has been logged, and [`Requests::trouble`] says it.
pub(super) struct Trouble;

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            sent: None,
            has_substate: false,
            had_substate: false,
            last_substate: Text::new(),
            authentications: 0,
            asking: Asking::Identity,
            accepted: Accepted::new(),
            offered: Offered::default(),
            contact: None,
            trouble: Text::new(),
        }
    }

    /// The server has answered a request well.
    fn answered(&mut self, now: Instant, server: u8) {
        self.trouble.clear();
        self.contact = Some((now, server));
    }

    pub(super) fn trouble(&self) -> &str {
        self.trouble.as_str()
    }

    /// The authentications after this number are not counted.
    pub(super) const fn forget_authentications_since(&mut self, number: u32) {
        self.authentications = number;
    }

    pub(super) const fn authentications(&self) -> u32 {
        self.authentications
    }

    pub(super) const fn count_authentication(&mut self) {
        self.authentications = self.authentications.wrapping_add(1);
    }

    /// Logs what is wrong and keeps it for those who ask. A request that failed is no failure of the update by itself:
    /// the machine decides.
    fn note<L: Log>(&mut self, log: &mut L, reason: &dyn Coded) -> Trouble {
        say(log, Level::Warning, reason);
        self.trouble = Text::cut(&Hinted::of(reason, log));
        Trouble
    }
}

/// How many servers there are; `None`: more than the session can keep apart.
pub(super) fn servers(device: &Device<'_>) -> Option<session::Config> {
    let count = device.servers.len();
    let servers = u8::try_from(count).ok().filter(|_| count <= limits::SERVERS)?;
    Some(session::Config { servers })
}

impl<P: Platform> Client<'_, P> {
    /// Moves the request at hand on, whoever asked; `Pending` when there is nothing to do before the platform wakes.
    #[inline(never)]
    pub(super) fn poll_request(&mut self) -> Poll<()> {
        use session::Event::{Head, IdentityFailed, IdentityReady, InventoryFailed, InventoryReady};
        // Waits are counted from the answer, which may come a while after this turn began. Whether an offer is turned down
        // is asked and told with the same time.
        let now = self.hal.clock.now();
        let event = match self.flow.session().awaits() {
            Awaits::Nothing => return Poll::Pending,
            Awaits::Identity => match self.poll_token_request(now) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => Event::Request(IdentityReady),
                Poll::Ready(Err(Trouble)) => Event::Request(IdentityFailed),
            },
            Awaits::Inventory => match self.hal.inventory.poll(now) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => match self.write_inventory() {
                    Ok(same_as_accepted) => Event::Request(InventoryReady { same_as_accepted }),
                    Err(Trouble) => Event::Request(InventoryFailed),
                },
            },
            Awaits::Head(kind) => match self.poll_body(now, kind) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(broken)) => Event::Request(broken),
                Poll::Ready(Ok(())) => match self.hal.network.poll_head(now) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(head)) => Event::Request(Head(self.reply(kind, head))),
                    Poll::Ready(Err(error)) => Event::Request(self.request_broke(kind, &error)),
                },
            },
            Awaits::Body(kind, server, reply) => {
                let read = match self.lent.room() {
                    [] => None,
                    room => Some(self.hal.network.poll_read(now, room)),
                };
                match read {
                    Some(Poll::Pending) => return Poll::Pending,
                    Some(Poll::Ready(Ok(length @ 1..))) => {
                        self.lent.came(length);
                        return Poll::Ready(());
                    }
                    Some(Poll::Ready(Ok(0))) => self.read_answer(now, kind, server, reply, true),
                    None => self.read_answer(now, kind, server, reply, false),
                    Some(Poll::Ready(Err(error))) => {
                        self.note_trouble(&RequestText::BrokeOff { request: kind, error: Cause::of(&error) });
                        Event::Request(session::Event::Broken { lost: true })
                    }
                }
            }
        };
        self.tell(now, event);
        Poll::Ready(())
    }

    /// The request failed before the head of its answer came.
    fn request_broke(&mut self, kind: RequestKind, error: &impl hal::Error) -> session::Event {
        self.note_trouble(&RequestText::Failed { request: kind, error: &Cause::of(error) });
        session::Event::Broken { lost: matches!(error.kind(), Kind::Connection | Kind::TimedOut) }
    }

    /// [`Task::CollectInventory`](crate::flow::Task::CollectInventory).
    pub(super) fn collect_inventory(&mut self, now: Instant) -> Result<(), Trouble> {
        self.hal.inventory.start(now).map_err(|error| {
            self.requests.note(&mut self.hal.log, &RequestText::Inventory { error: &Cause::of(&error) })
        })
    }

    /// What the request for a token is made of did not come in time.
    pub(super) fn note_slow_identity(&mut self) -> Trouble {
        let limit = IDENTITY_WAIT;
        self.note_trouble(&match self.requests.asking {
            Asking::Identity => RequestText::IdentityTooSlow { limit },
            Asking::PublicKey { .. } | Asking::Signature => RequestText::KeyTooSlow { limit },
        })
    }

    pub(super) fn note_trouble(&mut self, reason: &dyn Coded) -> Trouble {
        self.requests.note(&mut self.hal.log, reason)
    }
}
