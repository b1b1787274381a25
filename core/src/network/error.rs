use core::fmt;

use crate::hal::{self, Cause, Kind};
use crate::http::fault::{Activity, Fault, HeadFault, Lost};
use crate::message;

/// Why a request of [`Http`](super::Http) failed: `O` is the error of opening a connection, `S` that of a stream. The text
/// does not say which server it was: [`Http::peer`](super::Http::peer) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<O, S> {
    /// The request or its answer is at fault.
    Fault(Fault),
    /// There is no connection.
    Open(O),
    /// The connection broke.
    Lost(Activity, S),
}

impl<O, S> From<Fault> for Error<O, S> {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl<O: fmt::Display, S: embedded_io::Error> fmt::Display for Error<O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Open(error) => error.fmt(f),
            Self::Lost(activity, error) => Lost { activity: *activity, cause: &Cause::of(error) }.fmt(f),
        }
    }
}

impl<O: hal::Error, S: embedded_io::Error> hal::Error for Error<O, S> {
    fn kind(&self) -> Kind {
        match self {
            Self::Fault(fault) => fault.kind(),
            Self::Open(error) => error.kind(),
            // Whatever a stream fails with, its connection is broken.
            Self::Lost(..) => Kind::Connection,
        }
    }

    fn write_code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fault(fault) => fault.write_code(f),
            Self::Open(error) => error.write_code(f),
            Self::Lost(activity, error) => {
                message::write(f, &Lost { activity: *activity, cause: &Cause::of(error) })
            }
        }
    }
}

impl hal::Error for Fault {
    fn kind(&self) -> Kind {
        match self {
            Self::Url(_) | Self::Request(_) | Self::Redirect(_) => Kind::Refused,
            Self::Idle => Kind::Other,
            Self::TimedOut(_) => Kind::TimedOut,
            Self::Closed(_) | Self::ProxyUser => Kind::Connection,
            Self::Head(HeadFault::TooLarge(_)) => Kind::TooLarge,
            Self::Head(_) | Self::Body(_) => Kind::Corrupt,
        }
    }

    fn write_code(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        message::write(f, self)
    }
}
