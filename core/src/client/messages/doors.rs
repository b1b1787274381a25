//! Of what holds an update back at a door.

use crate::control::{Holder, Id};
use crate::machine::Held;
use crate::message::texts;

/// The name under which people at the device give their orders unless they choose another. Nobody else's words weigh
/// more.
pub const OPERATOR: Holder = Holder { id: 0x7468_696d_626c_4065_8000_6f70_6572_6174, priority: 10 };

/// What holds an update back, for people: one line of at most [`limits::REASON`](crate::limits::REASON) bytes.
#[derive(Clone, Copy, Debug)]
pub enum WhyHeld<'a> {
    /// An update control map.
    Map(By),
    /// A policy, which says this.
    Policy(&'a str),
    /// Whether the server's map still holds is not known: the server does not answer.
    Server,
}

/// Whose word it was.
#[derive(Clone, Copy, Debug)]
pub enum By {
    /// An order of a person.
    Operator,
    /// The map of this id and priority.
    Map(Id, i8),
}

/// Why an update fails at a door.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) enum WhyFailed<'a> {
    Map(By),
    Policy(&'a str),
    Server,
    Unreadable,
}

texts! {
    WHY_HELD = 'U': WhyHeld<'a> where ['a] {
        61 Map(by) => "{by} said pause",
        62 Policy(policy) => "{policy}",
        63 Server => "the server does not say whether its update control map still holds",
    }

    BY = 'U': By {
        64 Operator => "an operator at the device",
        65 Map(id, priority) => "update control map {id} of priority {priority}",
    }

    WHY_FAILED = 'U': WhyFailed<'a> where ['a] {
        66 Map(by) => "{by} said fail",
        67 Policy(policy) => "{policy}",
        68 Server => "the server does not say whether its update control map still holds",
        69 Unreadable => "the saved update control maps cannot be read",
    }
}

impl<'a> WhyHeld<'a> {
    /// `policy`: what the policy says.
    pub(in crate::client) fn of(held: Held, policy: &'a str) -> Self {
        match held {
            Held::Map(holder) => Self::Map(By::of(holder)),
            Held::Policy => Self::Policy(policy),
            Held::Server => Self::Server,
        }
    }
}

impl<'a> WhyFailed<'a> {
    /// As [`WhyHeld::of`]; `None`: the maps on record cannot be read.
    pub(in crate::client) fn of(held: Option<Held>, policy: &'a str) -> Self {
        match held {
            Some(Held::Map(holder)) => Self::Map(By::of(holder)),
            Some(Held::Policy) => Self::Policy(policy),
            Some(Held::Server) => Self::Server,
            None => Self::Unreadable,
        }
    }
}

impl By {
    fn of(holder: Holder) -> Self {
        if holder == OPERATOR { Self::Operator } else { Self::Map(Id(holder.id), holder.priority) }
    }
}
