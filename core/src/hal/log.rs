use core::fmt;

use crate::message::Coded;

/// How important a log line is; in Mender's names and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Fatal,
}

impl Level {
    /// All levels, the least important first.
    pub const ALL: [Self; 6] =
        [Self::Trace, Self::Debug, Self::Info, Self::Warning, Self::Error, Self::Fatal];

    /// The lower-case name, as `--log-level` takes it and as it stands in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        }
    }
}

/// Where log lines go. Never fails: a log that cannot be written must not stop an update.
///
/// `()` forgets them; [`Lines`](super::Lines) writes them to a byte stream.
pub trait Log {
    /// Writes one line. `message` may hold text from scripts or the network: the log escapes it.
    fn log(&mut self, level: Level, message: fmt::Arguments<'_>);

    /// What people on this platform type or set about `said`, put behind its text wherever that text goes: into the log, and
    /// into the reasons that are kept and reported. Core's own texts name no command and no key of a file. What is said can be
    /// told apart by its code ([`message::Code`](crate::message::Code)). Not asked in a build without texts.
    fn hint(&self, _said: &dyn Coded) -> &'static str {
        ""
    }

    /// A deployment begins, or goes on after a restart: its log is opened (appending).
    fn open_deployment(&mut self, _id: &str) {}

    /// The deployment is over: its log is closed.
    fn close_deployment(&mut self) {}
}

impl Log for () {
    fn log(&mut self, _: Level, _: fmt::Arguments<'_>) {}
}

impl<T: Log + ?Sized> Log for &mut T {
    fn log(&mut self, level: Level, message: fmt::Arguments<'_>) {
        T::log(self, level, message);
    }

    fn hint(&self, said: &dyn Coded) -> &'static str {
        T::hint(self, said)
    }

    fn open_deployment(&mut self, id: &str) {
        T::open_deployment(self, id);
    }

    fn close_deployment(&mut self) {
        T::close_deployment(self);
    }
}
