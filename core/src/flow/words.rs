//! What goes into the flow and what comes out of it.

#[cfg(doc)]
use super::Flow;
use crate::control::{Holder, Lifetime, Map, Order, Points};
use crate::limits;
use crate::machine::{Check, DoorNote, OfferedMap, Op, Report};
use crate::session::{self, Content, RequestKind};
use crate::state::Outcome;
use crate::text::Text;
use crate::transfer::{self, Accepted};

/// What the driver saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// At start, before anything else: what came back from the records of an update in progress.
    Restored {
        /// The header of its artifact was read.
        header: bool,
        /// Its module was selected.
        module: bool,
    },
    /// The operation of [`Task::Begin`] ended; or was ended by [`Task::Kill`], or could not begin.
    Ended(Outcome),
    /// The request or the first half of a transfer of [`Task::Begin`] may begin.
    Ready,
    /// The module of [`Op::Stream`] was started.
    ModuleStarted {
        /// After how many bytes of a file it wants a mark; 0: never.
        mark_every: u64,
    },
    /// The module of [`Op::Stream`] could not be started. Why was told to people.
    ModuleNotStarted,
    /// What came of [`Task::Transfer`] or [`Task::ReceiveFirst`].
    Transfer(transfer::Event),
    /// What came of [`transfer::Action::Accept`], if the artifact was accepted.
    Accepted {
        /// What its header says.
        accepted: Accepted,
        /// Its header is on record, word for word.
        same_header: bool,
    },
    /// What came of [`Task::FindIdentity`], [`Task::CollectInventory`], [`Task::Send`] or [`Task::Read`], unless that is
    /// [`Event::Answered`].
    Request(session::Event),
    /// The answer of [`Task::Read`] is here, or as much of it as is of use; and what it brought.
    Answered(Content, Offer),
    /// The answer to [`Task::SaveMaps`]: whether the maps are durable.
    MapsSaved(bool),
    /// The map of the deployment at hand came with a fresh link to its artifact; told before that answer.
    ServerMap(Map),
    /// A program on the device sets a map. See [`machine::Event::LocalMap`](crate::machine::Event::LocalMap).
    LocalMap(Map),
    /// A person at the device says what updates do at some points. See
    /// [`machine::Event::Order`](crate::machine::Event::Order).
    Order {
        /// In whose name.
        name: Holder,
        /// Where.
        points: Points,
        /// What.
        order: Order,
        /// For how long.
        lifetime: Lifetime,
    },
    /// Somebody at the device lets the update pass the door it stands at. Without effect elsewhere.
    Approved,
    /// Somebody wants a poll or an inventory push now.
    Check(Check),
    /// A program on the device wants a new token.
    FetchToken,
    /// Time passed. Carries out the one thing that [`Flow::due`] names; harmless when there is none.
    Tick,
    /// The client ends: what runs is ended without a word to the machine, so that the next start resumes as after a
    /// power loss. From now on nothing is begun; only control maps are still saved.
    Terminate,
}

/// What an answer brought, beside its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing.
    Nothing,
    /// A deployment of this id, and what the server says about holding it back.
    Deployment(Text<{ limits::DEPLOYMENT_ID }>, OfferedMap),
    /// The map of the deployment at hand; `None`: it cannot be used.
    Map(Option<Map>),
}

/// What is to be done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Step {
    /// The operation that was outstanding has ended, in this way.
    pub ended: Option<Outcome>,
    /// What happened at a door, for the log.
    pub door: Option<DoorNote>,
    /// The script that ran last asked to be run again later, and has asked so for too long: it has failed.
    pub asked_too_long: bool,
    /// How a deployment ended, or its log, is not reported any more, though the server has not heard it.
    pub report_given_up: bool,
    /// First drop whatever uses the network, finds out the identity or runs inventory scripts.
    pub drop: bool,
    /// Then do this.
    pub task: Task,
}

/// One thing to be done outside. What is under way beside it goes on, unless something else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Nothing new. Wait for what is under way, for [`Flow::deadline`], or for another event.
    Wait,
    /// Begin this operation. [`Event::Ready`] for [`Op::Request`], and for [`Op::Prepare`] once nothing of an artifact
    /// before is left; [`Event::ModuleStarted`] or [`Event::ModuleNotStarted`] for [`Op::Stream`]; for any other, and
    /// for what cannot begin, [`Event::Ended`].
    Begin(Op),
    /// End this operation: it has used up its time, its end is not waited for any more, or the client ends. A script
    /// and a module are still waited for, until [`Event::Ended`]; everything else has ended with that in failure.
    Kill(Op),
    /// Make the control maps durable now: [`Event::MapsSaved`] before anything else happens.
    SaveMaps,
    /// Find out who the device is and write the request for a token: [`session::Event::IdentityReady`] or
    /// [`session::Event::IdentityFailed`].
    FindIdentity,
    /// Run the inventory scripts and write the body: [`session::Event::InventoryReady`] or
    /// [`session::Event::InventoryFailed`].
    CollectInventory,
    /// Send this to the server of this number: [`session::Event::Head`], [`session::Event::NotSent`] or
    /// [`session::Event::Broken`]; for a token also [`session::Event::IdentityFailed`].
    Send(RequestKind, u8),
    /// Read the body of the answer: [`Event::Answered`] or [`session::Event::Broken`].
    Read,
    /// A program's wish for a token has ended: all servers asked to wait for so many seconds more.
    PutOff(u32),
    /// Move the transfer on: what this action says. Of [`transfer::Action::Wait`], [`transfer::Action::AwaitLink`] and
    /// [`transfer::Action::End`] nobody outside hears.
    Transfer(transfer::Action),
    /// As [`transfer::Action::Receive`]. The answer gives the artifact from its first byte on: its `ETag` is kept.
    ReceiveFirst,
    /// The process has nothing more to do.
    Exit(Report),
}

/// What time has come for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Something of the update's: a timer, or the time that an operation may take.
    Machine,
    /// A server may be asked, or has not answered in time.
    Session,
    /// A program's wish for a token waited, and there is room for it.
    Room,
    /// A download is tried again, or the module's time to take the payload is used up. That counts only while the module
    /// cannot be given anything.
    Transfer,
}

impl Step {
    pub(super) const WAIT: Self = Self::of(Task::Wait);

    pub(super) const fn of(task: Task) -> Self {
        Self { ended: None, door: None, asked_too_long: false, report_given_up: false, drop: false, task }
    }

    /// True when there is nothing to do and nothing to tell.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::WAIT
    }

    /// The same, once what uses the network is dropped.
    pub(super) const fn dropping(self, drop: bool) -> Self {
        Self { drop: self.drop || drop, ..self }
    }
}
