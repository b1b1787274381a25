//! What goes into the session and what comes out of it.

use crate::api::Reply;
use crate::config::{ANSWER_WAIT, LOG_WAIT};
use crate::deployment::Status;
use crate::machine::ApiCall;
use crate::message::texts;
use crate::state::Outcome;
use crate::time::Duration;

/// What the session must know of the configuration. The same at every step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// How many servers there are, at most [`limits::SERVERS`](crate::limits::SERVERS). They are asked for a token in
    /// the order of their numbers, which begin with 0.
    pub servers: u8,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The update machine wants this request. None may be at hand but a fetch of a token, which then becomes the
    /// request's own.
    Ask(ApiCall),
    /// The same in the place of a poll, with which it shares what a round has asked in vain: what the server has not
    /// heard of a deployment that is over.
    AskLate(ApiCall),
    /// The download wants a fresh link to the artifact of the deployment in progress: the same question as that for a
    /// deployment. [`Outcome::Success`]: the link is there. [`Outcome::Nothing`]: the deployment is not offered any
    /// more. Everything else may be another time.
    AskForLink,
    /// A program on the device wants a new token: begun with the next [`Event::Room`].
    FetchToken,
    /// Network and buffers are free: a fetch that waits may begin.
    Room,
    /// Network and buffers are needed: a fetch is put off.
    MakeWay,
    /// [`Action::FindIdentity`] worked: the request for a token is written.
    IdentityReady,
    /// The device does not know who it is, or cannot read or use its key. That concerns all servers.
    IdentityFailed,
    /// [`Action::CollectInventory`] worked: the body is written.
    InventoryReady {
        /// It equals the last one that a server accepted.
        same_as_accepted: bool,
    },
    /// There is no inventory to send.
    InventoryFailed,
    /// The request of [`Action::Send`] could not be sent.
    NotSent,
    /// The head of the answer came, and this is what it means.
    Head(Reply),
    /// The body came to its end, or as much of it as is of use.
    Answer(Content),
    /// The answer did not come, or not all of it.
    Broken {
        /// The connection was lost: another server may be reached.
        lost: bool,
    },
    /// Time passed. Harmless when it did not.
    Tick,
    /// The update machine has left Idle. Harmless when that was said already.
    RoundBegins,
    /// The update machine waits in Idle. Harmless when that was said already.
    RoundOver,
    /// Somebody at the device wants the server to be asked now, whatever it asked for.
    SomebodyAsks,
    /// The request at hand is not wanted any more. A fetch that waits for [`Event::Room`] goes on waiting.
    GiveUp,
    /// The client ends: from now on nothing is begun, whatever is asked for.
    Terminate,
}

/// What the driver has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Action {
    /// Find out who the device is and write the request for a token: [`Event::IdentityReady`] or
    /// [`Event::IdentityFailed`]. A request that is under way is dropped.
    FindIdentity,
    /// Run the inventory scripts and write the body: [`Event::InventoryReady`] or [`Event::InventoryFailed`].
    CollectInventory,
    /// Send this to the server of this number: [`Event::Head`], [`Event::NotSent`] or [`Event::Broken`]; for a token
    /// also [`Event::IdentityFailed`].
    Send(RequestKind, u8),
    /// Read the body of the answer: [`Event::Answer`] or [`Event::Broken`].
    Read,
    /// Drop what is under way.
    Cancel,
    /// The request at hand is over; drop what is left of it.
    Ended(Outcome),
    /// Nothing new. Wait for what [`Session::awaits`](super::Session::awaits) says, for
    /// [`Session::deadline`](super::Session::deadline), or for another event.
    Wait,
}

/// What the driver polls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Awaits {
    /// Nothing: no request is at hand, or time has to pass.
    Nothing,
    /// The identity of the device.
    Identity,
    /// The inventory scripts.
    Inventory,
    /// The head of the answer to this.
    Head(RequestKind),
    /// The body of the answer to this from the server of this number, and what its head means.
    Body(RequestKind, u8, Reply),
}

/// Requests of the device API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// For a token.
    Token,
    /// For a deployment, second version.
    NextV2,
    /// For a deployment, first version.
    NextV1,
    /// A status of the deployment.
    Status(Status),
    /// The same without its substate, which the server did not take.
    StatusAlone(Status),
    /// The log of the deployment.
    Log,
    /// The inventory.
    Inventory,
    /// For the control map of the deployment.
    ControlMap,
}

/// What the body of a 200 answer says, or of a 404 to a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// What was asked for. Also of every answer whose body is not looked at.
    Good,
    /// To [`Event::AskForLink`]: another deployment than the one in progress.
    NotThisDeployment,
    /// Longer than its buffer, or not understood. A 404 to a status that is not the device API's.
    Unusable,
}

/// For whom a token is asked for or a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Errand {
    /// For a program on the device; only a token.
    Fetch,
    /// For the update.
    Request {
        goal: Goal,
        /// A server refused the token during this request.
        token_was_refused: bool,
    },
}

/// What the update wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Goal {
    Call(ApiCall),
    /// In the place of a poll.
    Late(ApiCall),
    Link,
}

impl RequestKind {
    pub(super) const fn is_token(self) -> bool {
        match self {
            Self::Token => true,
            Self::NextV2
            | Self::NextV1
            | Self::Status(_)
            | Self::StatusAlone(_)
            | Self::Log
            | Self::Inventory
            | Self::ControlMap => false,
        }
    }

    /// The body of a 200 answer says something: it must be whole.
    pub(crate) const fn reads_answer(self) -> bool {
        match self {
            Self::Token | Self::NextV2 | Self::NextV1 | Self::ControlMap => true,
            Self::Status(_) | Self::StatusAlone(_) | Self::Log | Self::Inventory => false,
        }
    }

    /// A report about the deployment: its status or its log.
    pub(super) const fn is_report(self) -> bool {
        match self {
            Self::Status(_) | Self::StatusAlone(_) | Self::Log => true,
            Self::Token | Self::NextV2 | Self::NextV1 | Self::Inventory | Self::ControlMap => false,
        }
    }

    /// The last report of a deployment, or its log.
    pub(super) const fn is_last(self) -> bool {
        match self {
            Self::Status(status) | Self::StatusAlone(status) => {
                matches!(status, Status::Success | Status::Failure)
            }
            Self::Log => true,
            Self::Token | Self::NextV2 | Self::NextV1 | Self::Inventory | Self::ControlMap => false,
        }
    }

    /// How long the request and its whole answer may take.
    #[must_use]
    pub const fn limit(self) -> Duration {
        match self {
            Self::Log => LOG_WAIT,
            Self::Token
            | Self::NextV2
            | Self::NextV1
            | Self::Status(_)
            | Self::StatusAlone(_)
            | Self::Inventory
            | Self::ControlMap => ANSWER_WAIT,
        }
    }
}

texts! {
    REQUESTS = 'Q': RequestKind {
        41 Token => "authentication",
        42 NextV2 => "asking for a deployment",
        43 NextV1 => "asking for a deployment",
        44 Status(status) with () => "reporting the status",
        45 StatusAlone(status) with () => "reporting the status",
        46 Log => "sending the deployment's log",
        47 Inventory => "sending the inventory",
        48 ControlMap => "asking for the control map",
    }
}

impl Errand {
    /// The requests for which one authentication in vain of a round is enough. Reports have a schedule of their own, and
    /// a program that asks is told how its own attempt ended.
    pub(super) const fn of_round(self) -> Option<OfRound> {
        match self {
            Self::Request { goal: Goal::Call(ApiCall::Next) | Goal::Late(_), .. } => Some(OfRound::Next),
            Self::Request { goal: Goal::Call(ApiCall::Inventory), .. } => Some(OfRound::Inventory),
            Self::Request {
                goal: Goal::Call(ApiCall::Status { .. } | ApiCall::Log | ApiCall::ControlMap) | Goal::Link,
                ..
            }
            | Self::Fetch => None,
        }
    }

    /// The same once more, with another token; `None`: there is no such second time.
    pub(super) const fn token_refused(self) -> Option<Self> {
        match self {
            Self::Request { goal, token_was_refused: false } => {
                Some(Self::Request { goal, token_was_refused: true })
            }
            Self::Request { token_was_refused: true, .. } | Self::Fetch => None,
        }
    }

    pub(super) const fn is_for_link(self) -> bool {
        match self {
            Self::Request { goal: Goal::Link, .. } => true,
            Self::Request { goal: Goal::Call(_) | Goal::Late(_), .. } | Self::Fetch => false,
        }
    }
}

impl Goal {
    pub(super) const fn wants_fresh_token(self) -> bool {
        match self {
            Self::Call(ApiCall::Status { fresh_token, .. }) => fresh_token,
            Self::Call(ApiCall::Next | ApiCall::Inventory | ApiCall::Log | ApiCall::ControlMap)
            | Self::Late(_)
            | Self::Link => false,
        }
    }
}

/// A request that every round has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum OfRound {
    Next,
    Inventory,
}
