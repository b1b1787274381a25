//! D-Bus: names on the system bus, calls from other programs, signals to them.
//!
//! The daemon works with or without a bus: it may be missing, start late, stop and return
//! (L1). Who calls is asked of the bus before a call that needs root is handed on (L2). Names are not
//! queued for and not taken away from others (L3).

mod address;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod link;
mod message;

use std::fmt;

use thimble_core::hal::Level;
use thimble_core::time::{Duration, Instant, earliest};

use crate::SharedLog;
use crate::wait::PollSet;

use address::Addresses;
use link::{Incoming, Link, Lost};
use message::{BUS, Message, MessageKind};

pub use address::DEFAULT;
pub use message::{Body, Value};

/// Time between attempts to connect, or to get a name: it doubles from the shortest to the longest.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// How long the bus may take to answer a call of ours.
const PATIENCE: Duration = link::PATIENCE;

/// Most calls that may wait for the bus to tell who made them. A further call is refused.
const CALLS: usize = 16;

/// Messages that one turn carries out.
const MESSAGES: usize = 64;

/// Do not queue: the name is ours at once or not.
const DO_NOT_QUEUE: u32 = 4;
/// Answers to `RequestName`: it is ours now, or was already.
const OWNER: [u32; 2] = [1, 4];

/// A call of another program's, to be answered by [`Bus::reply`] or [`Bus::fail`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    sender: String,
    serial: u32,
    no_reply: bool,
    /// The object.
    pub path: String,
    /// The interface; empty if the caller left it out.
    pub interface: String,
    /// The method.
    pub member: String,
    /// The arguments.
    pub body: Body,
}

impl Call {
    fn new(message: Message) -> Self {
        let Message { serial, no_reply, path, interface, member, sender, body, .. } = message;
        Self { sender, serial, no_reply, path, interface, member, body }
    }
}

/// Why a call failed: a name for programs, a text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    name: &'static str,
    text: String,
}

impl Failure {
    /// `name`: of those below `org.freedesktop.DBus.Error`.
    pub fn new(name: &'static str, text: fmt::Arguments<'_>) -> Self {
        Self { name, text: text.to_string() }
    }
}

/// The system bus, as this process uses it.
pub struct Bus {
    addresses: Addresses,
    uid: u32,
    log: SharedLog,
    link: Option<Link>,
    /// Since when the bus knows us.
    greeted: Option<Instant>,
    /// The serial number of `Hello`; 0 before it is sent.
    hello: u32,
    /// When the answer to it is late.
    hello_until: Instant,
    next_serial: u32,
    names: Vec<Name>,
    calls: Vec<Asked>,
    /// When to connect next, while there is no connection, and how long the attempt after that waits.
    retry: Option<Instant>,
    wait: Duration,
    /// Whether the log already says that there is no bus.
    is_missed: bool,
    /// The user whose call was refused last, so that a repetition is logged at a lower level.
    refused: Option<u32>,
    /// A turn ended with messages left.
    more: bool,
}

/// A name that this process wants to own on the bus.
struct Name {
    name: &'static str,
    state: NameState,
    wait: Duration,
    /// Whether the log already says that another process owns the name.
    is_missed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameState {
    Asked(u32, Instant),
    Ours,
    /// When to ask the bus for the name next.
    Later(Instant),
}

/// A call that waits for the bus to say who made it.
struct Asked {
    call: Call,
    question: u32,
    until: Instant,
}

impl Bus {
    /// Does not connect yet: the first [`Self::poll`] does. `address`: see [`DEFAULT`].
    ///
    /// # Errors
    /// Text for people.
    pub fn new(address: &str, names: &[&'static str], log: SharedLog) -> Result<Self, String> {
        let addresses = Addresses::parse(address).map_err(|error| error.to_string())?;
        let name =
            |&name| Name { name, state: NameState::Later(Instant::ZERO), wait: SHORTEST, is_missed: false };
        Ok(Self {
            addresses,
            uid: rustix::process::geteuid().as_raw(),
            log,
            link: None,
            greeted: None,
            hello: 0,
            hello_until: Instant::ZERO,
            next_serial: 1,
            names: names.iter().map(name).collect(),
            calls: Vec::new(),
            retry: None,
            wait: SHORTEST,
            is_missed: false,
            refused: None,
            more: false,
        })
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Some(link) = &self.link {
            link.wants(set);
        }
    }

    /// When to poll next, even if no descriptor became ready.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let Some(link) = &self.link else { return self.retry };
        if self.more {
            return Some(Instant::ZERO);
        }
        let names = self.names.iter().filter_map(|name| match name.state {
            NameState::Asked(_, at) => Some(at),
            NameState::Later(at) => self.greeted.map(|_| at),
            NameState::Ours => None,
        });
        let calls = self.calls.iter().map(|asked| asked.until);
        let hello = self.greeted.is_none().then_some(self.hello_until);
        names.chain(calls).chain(hello).map(Some).fold(link.deadline(), earliest)
    }

    /// Whether this process owns the name. Before that, a signal does not reach programs that listen for this name.
    #[must_use]
    pub fn owns(&self, name: &str) -> bool {
        self.names.iter().any(|ours| ours.name == name && ours.state == NameState::Ours)
    }

    /// Whether there is room for messages that can be left out.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.link.as_ref().is_some_and(Link::has_room)
    }

    /// The next call to carry out, if there is one. One that `needs_root` comes only from a process of root's, or of
    /// the user this one runs as. Call again until `None`.
    pub fn poll(&mut self, now: Instant, needs_root: impl Fn(&Call) -> bool) -> Option<Call> {
        match self.advance(now, needs_root) {
            Ok(call) => call,
            Err(lost) => {
                self.lose(now, &lost);
                None
            }
        }
    }

    /// Answers a call.
    pub fn reply(&mut self, call: &Call, body: Body) {
        self.answer(call, Message::new(MessageKind::Reply, body));
    }

    /// Tells the caller that it failed.
    pub fn fail(&mut self, call: &Call, failure: &Failure) {
        let error = format!("org.freedesktop.DBus.Error.{}", failure.name);
        self.answer(call, Message { error, ..Message::new(MessageKind::Error, Body::text(&failure.text)) });
    }

    /// Tells everybody who wants to know.
    pub fn signal(&mut self, path: &str, interface: &str, member: &str, body: Body) {
        if self.greeted.is_some() {
            let (path, interface, member) = (path.into(), interface.into(), member.into());
            self.send(&Message { path, interface, member, ..Message::new(MessageKind::Signal, body) });
        }
    }

    fn answer(&mut self, call: &Call, message: Message) {
        if !call.no_reply {
            self.send(&Message { reply_to: call.serial, destination: call.sender.clone(), ..message });
        }
    }

    /// Queues a message; its serial number.
    fn send(&mut self, message: &Message) -> u32 {
        let serial = self.next_serial;
        self.next_serial = serial.checked_add(1).unwrap_or(1);
        if let Some(link) = &mut self.link {
            link.send(&message.encode(serial));
        }
        serial
    }

    fn advance(&mut self, now: Instant, needs_root: impl Fn(&Call) -> bool) -> Result<Option<Call>, Lost> {
        if self.link.is_none() {
            if self.retry.is_some_and(|at| now < at) {
                return Ok(None);
            }
            self.connect(now)?;
        }
        if self.greeted.is_some() {
            self.ask_for_names(now)?;
        } else if self.hello_until <= now {
            return Err(Lost::TooSlow);
        }
        self.refuse_late(now);
        self.more = true;
        for _ in 0..MESSAGES {
            let Some(link) = &mut self.link else { return Ok(None) };
            let message = match link.poll(now)? {
                None => {
                    self.more = false;
                    break;
                }
                Some(Incoming::TooLong(message)) => {
                    if message.kind == MessageKind::Call && !message.sender.is_empty() {
                        let text = format_args!("a message may have {} bytes", message::MESSAGE_MAX);
                        self.fail(&Call::new(message), &Failure::new("LimitsExceeded", text));
                    }
                    continue;
                }
                Some(Incoming::Message(message)) => message,
            };
            match message.kind {
                // Calls come through the bus, which says from whom.
                MessageKind::Call if !message.sender.is_empty() => {
                    let call = Call::new(message);
                    if !needs_root(&call) {
                        return Ok(Some(call));
                    }
                    self.ask_who(now, call);
                }
                MessageKind::Reply | MessageKind::Error if message.sender == BUS => {
                    if let Some(call) = self.answered(now, &message) {
                        return Ok(Some(call));
                    }
                }
                MessageKind::Signal if message.sender == BUS && message.member == "NameLost" => {
                    self.name_lost(now, &message);
                }
                MessageKind::Call | MessageKind::Reply | MessageKind::Error | MessageKind::Signal => {}
            }
        }
        self.say_hello();
        // Sends the messages that were queued in this turn.
        if let Some(link) = &mut self.link {
            link.flush(now)?;
        }
        Ok(None)
    }

    /// The first message, to which the bus answers with our own name.
    fn say_hello(&mut self) {
        if self.hello == 0 && self.link.as_ref().is_some_and(Link::is_open) {
            self.hello = self.send(&Message::to_bus("Hello", Body::empty()));
        }
    }

    fn connect(&mut self, now: Instant) -> Result<(), Lost> {
        let mut first = None;
        for address in self.addresses.iter() {
            match Link::connect(now, address, self.uid) {
                Ok(link) => {
                    self.link = Some(link);
                    break;
                }
                Err(error) => {
                    first.get_or_insert(error);
                }
            }
        }
        if self.link.is_none() {
            return Err(first.map_or(Lost::Ended, Lost::Io));
        }
        self.hello_until = now + PATIENCE;
        self.hello = 0;
        Ok(())
    }

    /// The connection is gone: calls that waited are forgotten with it, and the next attempt is planned.
    fn lose(&mut self, now: Instant, lost: &Lost) {
        self.link = None;
        self.more = false;
        self.calls.clear();
        for name in &mut self.names {
            name.state = NameState::Later(now);
            name.wait = SHORTEST;
        }
        if self.greeted.take().is_some_and(|since| now.since(since) >= LONGEST) {
            self.wait = SHORTEST;
        }
        self.retry = Some(now + self.wait);
        self.wait = longer(self.wait);
        let level = if self.is_missed { Level::Debug } else { Level::Warning };
        self.log.borrow_mut().log(
            level,
            format_args!("no D-Bus: {lost}; the client works without, and connects when there is a bus"),
        );
        self.is_missed = true;
    }

    fn ask_for_names(&mut self, now: Instant) -> Result<(), Lost> {
        for index in 0..self.names.len() {
            let Some(name) = self.names.get(index) else { continue };
            match name.state {
                NameState::Later(at) if at <= now => {
                    let body = Body::name_and_flags(name.name, DO_NOT_QUEUE);
                    let serial = self.send(&Message::to_bus("RequestName", body));
                    if let Some(name) = self.names.get_mut(index) {
                        name.state = NameState::Asked(serial, now + PATIENCE);
                    }
                }
                NameState::Asked(_, until) if until <= now => return Err(Lost::TooSlow),
                NameState::Later(_) | NameState::Asked(..) | NameState::Ours => {}
            }
        }
        Ok(())
    }

    /// The bus answered a question of ours. A call that was waiting for it may go on.
    fn answered(&mut self, now: Instant, message: &Message) -> Option<Call> {
        if message.reply_to == self.hello && self.greeted.is_none() {
            self.hello_answered(now, message);
            return None;
        }
        let asked = |name: &&mut Name| matches!(name.state, NameState::Asked(serial, _) if serial == message.reply_to);
        if let Some(name) = self.names.iter_mut().find(asked) {
            name.answered(now, message, &self.log);
            return None;
        }
        let index = self.calls.iter().position(|asked| asked.question == message.reply_to)?;
        let Asked { call, .. } = self.calls.swap_remove(index);
        let uid = message.body.as_u32().filter(|_| message.kind == MessageKind::Reply);
        match uid {
            Some(uid) if uid == 0 || uid == self.uid => return Some(call),
            Some(uid) => {
                // One warning for each user: repeated calls must not fill the log.
                let level = if self.refused == Some(uid) { Level::Debug } else { Level::Warning };
                self.refused = Some(uid);
                self.log
                    .borrow_mut()
                    .log(level, format_args!("D-Bus: user {uid} may not call {}: refused", call.member));
                self.fail(&call, &Failure::new("AccessDenied", format_args!("only root may do that")));
            }
            None => {
                let text = format_args!("the bus did not say which user made this call");
                self.fail(&call, &Failure::new("AccessDenied", text));
            }
        }
        None
    }

    fn hello_answered(&mut self, now: Instant, message: &Message) {
        if message.kind == MessageKind::Reply {
            self.greeted = Some(now);
            self.is_missed = false;
            self.log.borrow_mut().log(Level::Info, format_args!("D-Bus: connected"));
        }
        // Else it never will be, and the time for it runs out.
    }

    fn name_lost(&mut self, now: Instant, message: &Message) {
        let Some([lost]) = message.body.as_texts::<1>() else { return };
        if let Some(name) =
            self.names.iter_mut().find(|name| name.name == lost && name.state == NameState::Ours)
        {
            name.later(now);
        }
    }

    /// Asks the bus who makes this call.
    fn ask_who(&mut self, now: Instant, call: Call) {
        if self.calls.len() >= CALLS {
            let text = format_args!("{CALLS} calls are waiting already: try again later");
            self.fail(&call, &Failure::new("LimitsExceeded", text));
            return;
        }
        let question = self.send(&Message::to_bus("GetConnectionUnixUser", Body::text(&call.sender)));
        self.calls.push(Asked { call, question, until: now + PATIENCE });
    }

    fn refuse_late(&mut self, now: Instant) {
        while let Some(index) = self.calls.iter().position(|asked| asked.until <= now) {
            let Asked { call, .. } = self.calls.swap_remove(index);
            let text = format_args!("the bus did not say which user made this call");
            self.fail(&call, &Failure::new("TimedOut", text));
        }
    }
}

impl Name {
    fn answered(&mut self, now: Instant, message: &Message, log: &SharedLog) {
        let level = if self.is_missed { Level::Debug } else { Level::Warning };
        let name = self.name;
        match (message.kind, message.body.as_u32()) {
            (MessageKind::Reply, Some(answer)) if OWNER.contains(&answer) => {
                self.state = NameState::Ours;
                self.wait = SHORTEST;
                self.is_missed = false;
                log.borrow_mut().log(Level::Debug, format_args!("D-Bus: owns the name {name}"));
                return;
            }
            (MessageKind::Reply, _) => log.borrow_mut().log(
                level,
                format_args!(
                    "D-Bus: another process owns {name}: is another update client running? It is asked for again"
                ),
            ),
            (MessageKind::Error | MessageKind::Call | MessageKind::Signal, _) => {
                let [text] = message.body.as_texts::<1>().unwrap_or_default();
                log.borrow_mut().log(
                    level,
                    format_args!(
                        "D-Bus: the bus does not give us {name}: {} ({}); its policy file has to be in \
                         /usr/share/dbus-1/system.d",
                        message.error.escape_debug(),
                        text.escape_debug()
                    ),
                );
            }
        }
        self.is_missed = true;
        self.later(now);
    }

    /// Asks again, each time later.
    fn later(&mut self, now: Instant) {
        self.state = NameState::Later(now + self.wait);
        self.wait = longer(self.wait);
    }
}

fn longer(wait: Duration) -> Duration {
    wait.doubled().min(LONGEST)
}

#[cfg(test)]
mod tests;
