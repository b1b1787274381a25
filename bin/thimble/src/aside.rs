//! `install`, `commit`, `rollback` and `resume` beside the daemon: it stands aside between deployments (C-8).
//!
//! ```text
//!   verb:    asks on the socket ---> takes the lock ---> works ---> gives the lock back, ends
//!   daemon:  waits until it rests -> gives the lock back, answers   | the connection ends: takes the lock when it is
//!                                                                   | free, and starts anew from what is on record
//! ```
//!
//! A daemon that does not rest yet says so at once, in a line before its answer.
//!
//! The connection is open as long as the verb lives, and the kernel closes it however the verb ends. A verb that does not
//! take the lock loses its turn. A daemon that is killed has given its lock back, too.

use std::fmt::Write as _;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use thimble_core::client::Client;
use thimble_core::hal::{Clock, Level};
use thimble_core::json::{Escape, Value};
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::lock::{Lock, LockHolder};
use thimble_hal_linux::platform::Linux;
use thimble_hal_linux::storage::DataDirectory;
use thimble_hal_linux::wait::PollSet;

use crate::device::Device;
use crate::output::{Failure, hint, one_line};
use crate::signals::Signals;
use crate::socket::{self, CONTROL};
use crate::status::Watch;
use crate::verbs::VerbName;

/// How long the daemon may take to come to rest: a request to a server that does not answer is under way.
const REST: Duration = Duration::from_secs(60);

/// How long a verb waits for its answer: a little longer.
const ANSWER: Duration = Duration::from_secs(70);

/// How long a verb may take to take the lock.
const TAKES: Duration = Duration::from_secs(30);

/// How often it is looked whether the lock is free, while the verb lives and when it has ended.
const LOOKS: Duration = Duration::from_secs(1);
const LOOKS_SOON: Duration = Duration::from_millis(100);

/// Longest answer, in bytes.
const LONGEST: usize = 4096;

/// The lock of a verb, and the word of the daemon that stands aside for it.
pub(crate) struct Turn {
    // Given back in this order: the daemon finds the lock free.
    pub(crate) lock: Lock,
    _connection: Option<UnixStream>,
}

/// Takes the lock for a verb; a daemon that has it is asked to stand aside.
pub(crate) fn lock(device: &Device, verb: VerbName, signals: &mut Signals) -> Result<Turn, Failure> {
    let held = match device.lock(verb) {
        Ok(lock) => return Ok(Turn { lock, _connection: None }),
        Err(held) => held,
    };
    let holder =
        DataDirectory::open(device.paths.datastore()).and_then(|directory| LockHolder::find(&directory));
    if !holder.is_ok_and(|holder| holder.is_some_and(|holder| holder.verb == VerbName::Daemon.name())) {
        return Err(held);
    }
    let question = format!("{{\"{MEMBER}\":\"{}\"}}\n", verb.name());
    let Ok(mut connection) = socket::connect(device.paths.datastore(), CONTROL) else { return Err(held) };
    let answer = connection
        .write_all(question.as_bytes())
        .map_err(|_| None)
        .and_then(|()| wait(&mut connection, signals));
    match answer.as_deref().map(Answer::parse) {
        Ok(Answer::Granted) => {}
        Ok(Answer::Busy(reason)) => return Err(Failure::new(reason)),
        Ok(Answer::Waits(_) | Answer::Unknown) => {
            return Err(Failure::new(format_args!("{held} (it is of a version that does not stand aside)")));
        }
        Err(Some(interrupted)) => return Err(Failure::new(interrupted)),
        // It has ended, perhaps; then the lock is free.
        Err(None) => return device.lock(verb).map(|lock| Turn { lock, _connection: None }),
    }
    device.log(Level::Info, format_args!("the daemon stands aside"));
    Ok(Turn { lock: device.lock(verb)?, _connection: Some(connection) })
}

/// The member of the request; its value is the verb.
const MEMBER: &str = "stand_aside";

/// The verb that asks the daemon to stand aside in this line; `None`: the line asks for something else.
pub(crate) fn asks(line: &[u8]) -> Option<String> {
    let value = Value::parse(line).ok()?;
    let verb = value.member(MEMBER).ok()??.as_str()?.to_string();
    let known = [VerbName::Install, VerbName::Commit, VerbName::Rollback, VerbName::Resume];
    known.iter().any(|known| known.name() == verb).then_some(verb)
}

/// The line of the daemon's that is its answer; `Err(None)`: it does not answer.
fn wait(connection: &mut UnixStream, signals: &mut Signals) -> Result<Vec<u8>, Option<&'static str>> {
    let until = BootClock.now() + ANSWER;
    let mut line = Vec::new();
    connection.set_nonblocking(true).map_err(|_| None)?;
    loop {
        if signals.count() > 0 {
            return Err(Some("ended by a signal, before anything was done"));
        }
        let mut piece = [0; LONGEST];
        match connection.read(&mut piece) {
            Ok(0) => return Err(None),
            Ok(read) => line.extend_from_slice(piece.get(..read).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => return Err(None),
        }
        let now = BootClock.now();
        while let Some(length) = line.iter().position(|&byte| byte == b'\n') {
            let rest = line.split_off(length + 1);
            let Answer::Waits(doing) = Answer::parse(&line) else { return Ok(line) };
            hint(&format!("waits for the daemon, which is {doing}, at most {} s", ANSWER.as_secs()));
            line = rest;
        }
        if now >= until || line.len() > LONGEST {
            return Err(None);
        }
        let mut set = PollSet::new();
        set.read(&*connection);
        signals.wants(&mut set);
        set.wait(now, Some(until)).map_err(|_| None)?;
    }
}

/// What the daemon says.
enum Answer {
    Granted,
    Busy(String),
    /// The answer comes when the daemon has done this.
    Waits(String),
    /// A daemon of an older version.
    Unknown,
}

impl Answer {
    fn parse(line: &[u8]) -> Self {
        let Ok(value) = Value::parse(line) else { return Self::Unknown };
        let is = |name: &str| matches!(value.member(name), Ok(Some(value)) if value.raw() == "true");
        if is("ok") {
            return Self::Granted;
        }
        let reason = value.member("reason").ok().flatten().and_then(|reason| reason.as_str());
        match reason {
            Some(reason) if is("busy") => Self::Busy(one_line(&reason.to_string())),
            Some(reason) if is("waits") => Self::Waits(one_line(&reason.to_string())),
            Some(_) | None => Self::Unknown,
        }
    }
}

/// The daemon's side.
#[derive(Default)]
pub(crate) enum Aside {
    /// Nobody asks.
    #[default]
    Here,
    /// A verb waits for the client to come to rest.
    Asked(Caller, Instant),
    Away(Away),
}

/// A verb that asks.
pub(crate) struct Caller {
    stream: UnixStream,
    verb: String,
    /// It knows that it has to wait.
    is_told: bool,
}

/// The lock is a verb's.
pub(crate) struct Away {
    verb: String,
    /// `None`: the verb has ended.
    connection: Option<UnixStream>,
    /// The verb has taken the lock.
    is_taken: bool,
    /// The next time to look after the lock.
    looks: Instant,
    /// Until then the verb takes the lock.
    until: Instant,
}

impl Aside {
    /// For whom the daemon stands aside.
    pub(crate) fn verb(&self) -> Option<&str> {
        match self {
            Self::Away(away) => Some(&away.verb),
            Self::Here | Self::Asked(..) => None,
        }
    }

    /// A verb asks.
    pub(crate) fn ask(&mut self, stream: UnixStream, verb: String, now: Instant) {
        let mut caller = Caller { stream, verb, is_told: false };
        match self {
            Self::Here => *self = Self::Asked(caller, now + REST),
            Self::Asked(other, _) => {
                let words = format!("'{}' waits for the daemon already; wait until it ends", other.verb);
                caller.says("busy", &words);
            }
            Self::Away(other) => {
                caller.says("busy", &format!("'{}' is under way; wait until it ends", other.verb))
            }
        }
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        match self {
            Self::Asked(caller, _) => set.read(&caller.stream),
            Self::Away(Away { connection: Some(connection), .. }) => set.read(connection),
            Self::Here | Self::Away(Away { connection: None, .. }) => {}
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Here => None,
            Self::Asked(_, until) => Some(*until),
            Self::Away(away) if away.is_taken && away.connection.is_some() => None,
            Self::Away(away) => earliest(Some(away.looks), Some(away.until).filter(|_| !away.is_taken)),
        }
    }

    /// Answers the verb that asks, where an answer can be given. True: the lock was given back, and the client must not be
    /// polled any more.
    pub(crate) fn turn(
        &mut self,
        client: &Client<'_, Linux>,
        watch: &Watch,
        lock: &mut Option<Lock>,
        now: Instant,
    ) -> bool {
        let Self::Asked(caller, until) = self else { return self.verb().is_some() };
        let refusal = if has_gone(&mut caller.stream) {
            String::new()
        } else if let Some(busy) = watch.busy(client, now) {
            busy
        } else if rests(client) {
            *lock = None;
            let _ = caller.stream.write_all(b"{\"ok\":true}\n");
            let Self::Asked(Caller { stream, verb, .. }, _) = std::mem::take(self) else { return false };
            let (connection, looks, until) = (Some(stream), now + LOOKS, now + TAKES);
            *self = Self::Away(Away { verb, connection, is_taken: false, looks, until });
            return true;
        } else {
            // Which can be anywhere in its work, also between polls.
            let doing = if client.is_authenticating() {
                "asking the server for a token".into()
            } else {
                watch.doing(client)
            };
            if now < *until {
                if !std::mem::replace(&mut caller.is_told, true) {
                    caller.says("waits", &doing);
                }
                return false;
            }
            format!("the daemon is {doing}; try again")
        };
        if let Self::Asked(mut caller, _) = std::mem::take(self)
            && !refusal.is_empty()
        {
            caller.says("busy", &refusal);
        }
        false
    }

    /// The lock, when it is the daemon's again.
    ///
    /// # Errors
    /// It is free, and cannot be had.
    pub(crate) fn returns(&mut self, device: &Device, now: Instant) -> Result<Option<Lock>, Failure> {
        let Self::Away(away) = self else { return Ok(None) };
        let had = away.connection.is_some();
        if away.connection.as_mut().is_some_and(has_gone) {
            away.connection = None;
        }
        let is_over = away.connection.is_none();
        // At once when the verb has just ended, then now and then.
        if (is_over && had) || now >= away.looks {
            away.looks = now + if is_over { LOOKS_SOON } else { LOOKS };
            let directory = DataDirectory::open(device.paths.datastore());
            let holder = directory.and_then(|directory| LockHolder::find(&directory));
            let is_free = matches!(holder, Ok(None));
            away.is_taken |= !is_free;
            if is_free && (is_over || (!away.is_taken && now >= away.until)) {
                let lock = device.lock(VerbName::Daemon);
                // Somebody else may have been quicker.
                let directory = DataDirectory::open(device.paths.datastore());
                let is_held = |directory| matches!(LockHolder::find(&directory), Ok(Some(_)));
                return match lock {
                    Ok(lock) => {
                        *self = Self::Here;
                        Ok(Some(lock))
                    }
                    Err(_) if directory.is_ok_and(is_held) => Ok(None),
                    Err(failure) => Err(failure),
                };
            }
        }
        Ok(None)
    }
}

impl Caller {
    /// That it does not have its turn, or not yet.
    fn says(&mut self, what: &str, reason: &str) {
        let mut out = format!("{{\"ok\":false,\"{what}\":true,\"reason\":\"");
        let _ = Escape(&mut out).write_str(&one_line(reason));
        out.push_str("\"}\n");
        let _ = self.stream.write_all(out.as_bytes());
    }
}

/// Nothing is under way, and nothing waits to be saved.
fn rests(client: &Client<'_, Linux>) -> bool {
    let machine = client.machine();
    machine.is_idle()
        && !client.is_authenticating()
        && client.flow().op().is_none()
        && machine.maps_to_save().is_none()
}

/// Whether the other end is closed. What it sends has no meaning.
fn has_gone(stream: &mut UnixStream) -> bool {
    let mut piece = [0; 64];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return !is_nothing(&error),
        }
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_to_stand_aside_is_told_from_others() {
        for verb in ["install", "commit", "rollback", "resume"] {
            assert_eq!(asks(format!("{{\"stand_aside\":\"{verb}\"}}").as_bytes()).as_deref(), Some(verb));
        }
        for other in
            ["", "{}", "[]", r#"{"do":"show"}"#, r#"{"stand_aside":"daemon"}"#, r#"{"stand_aside":1}"#]
        {
            assert_eq!(asks(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn an_answer_that_is_no_answer_to_that_is_an_older_daemons() {
        let is_busy = |line: &str| match Answer::parse(line.as_bytes()) {
            Answer::Granted => None,
            Answer::Busy(reason) => Some(reason),
            Answer::Waits(_) | Answer::Unknown => Some("older".into()),
        };
        assert_eq!(is_busy("{\"ok\":true}\n"), None);
        let busy = "{\"ok\":false,\"busy\":true,\"reason\":\"installing\"}\n";
        assert_eq!(is_busy(busy).as_deref(), Some("installing"));
        let old = "{\"ok\":false,\"reason\":\"there is no member\"}\n";
        assert_eq!(is_busy(old).as_deref(), Some("older"));
        assert_eq!(is_busy("").as_deref(), Some("older"));
    }
}
