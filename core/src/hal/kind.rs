use embedded_io::ErrorKind;

use crate::message::texts;

/// Kinds of platform errors that lead to different reactions.
///
/// The kinds of `embedded-io` become some of these. It has none for [`Self::TooLarge`] and [`Self::Newer`], and several for
/// [`Self::Connection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Anything without a kind of its own.
    Other,
    /// The thing asked for does not exist.
    NotFound,
    /// A limit was reached; the text names it.
    TooLarge,
    /// No space left, or a device is full.
    NoSpace,
    /// The connection broke, or was never made; trying again may help.
    Connection,
    /// The wait for a peer or a process had no more time.
    TimedOut,
    /// What was read is damaged or makes no sense.
    Corrupt,
    /// Not allowed by policy (permissions, unsafe owner, scheme).
    Refused,
    /// Written by a newer version of the client, in a format this one does not know.
    Newer,
}

/// What a driver or a network stack reports in the kinds of `embedded-io`.
impl From<ErrorKind> for Kind {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::NotFound => Self::NotFound,
            ErrorKind::PermissionDenied => Self::Refused,
            ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::NotConnected
            | ErrorKind::AddrInUse
            | ErrorKind::AddrNotAvailable
            | ErrorKind::BrokenPipe => Self::Connection,
            ErrorKind::InvalidData => Self::Corrupt,
            ErrorKind::TimedOut => Self::TimedOut,
            // A writer that takes no more bytes says so by `WriteZero`.
            ErrorKind::OutOfMemory | ErrorKind::WriteZero => Self::NoSpace,
            ErrorKind::Other
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidInput
            | ErrorKind::Interrupted
            | ErrorKind::Unsupported => Self::Other,
            // Kinds of later versions of `embedded-io`.
            _ => Self::Other,
        }
    }
}

texts! {
    KINDS = 'H': Kind {
        1 Other => "an error of no known kind",
        2 NotFound => "not found",
        3 TooLarge => "a limit was reached",
        4 NoSpace => "no space is left",
        5 Connection => "the connection broke, or could not be made",
        6 TimedOut => "no answer in time",
        7 Corrupt => "damaged",
        8 Refused => "not allowed",
        9 Newer => "written by a newer version of the client",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hal::Error;
    use embedded_io::Write;

    #[test]
    fn an_error_of_embedded_io_is_one_of_the_platform() {
        for (io, kind) in [
            (ErrorKind::Other, Kind::Other),
            (ErrorKind::NotFound, Kind::NotFound),
            (ErrorKind::PermissionDenied, Kind::Refused),
            (ErrorKind::ConnectionRefused, Kind::Connection),
            (ErrorKind::ConnectionReset, Kind::Connection),
            (ErrorKind::ConnectionAborted, Kind::Connection),
            (ErrorKind::NotConnected, Kind::Connection),
            (ErrorKind::AddrInUse, Kind::Connection),
            (ErrorKind::AddrNotAvailable, Kind::Connection),
            (ErrorKind::BrokenPipe, Kind::Connection),
            (ErrorKind::AlreadyExists, Kind::Other),
            (ErrorKind::InvalidInput, Kind::Other),
            (ErrorKind::InvalidData, Kind::Corrupt),
            (ErrorKind::TimedOut, Kind::TimedOut),
            (ErrorKind::Interrupted, Kind::Other),
            (ErrorKind::Unsupported, Kind::Other),
            (ErrorKind::OutOfMemory, Kind::NoSpace),
            (ErrorKind::WriteZero, Kind::NoSpace),
        ] {
            assert_eq!(Error::kind(&io), kind, "{io:?}");
        }
        let full = Write::write(&mut &mut [0; 0][..], b"x").unwrap_err();
        assert_eq!(Error::kind(&full), Kind::NoSpace);
    }
}
