//! D-Bus: Mender's interfaces for other programs on the device, and one of our own for user interfaces.
//!
//! The loop calls [`Dbus::serve`] before each turn of the client and [`Dbus::tell`] after it. Nothing here waits.

mod describe;

use std::env;
use std::fs;

use thimble_core::client::Client;
use thimble_core::hal::Level;
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::SharedLog;
use thimble_hal_linux::dbus::{self, Body, Bus, Call, Failure, Value};
use thimble_hal_linux::forward::Forwarder;
use thimble_hal_linux::network::Connections;
use thimble_hal_linux::platform::Linux;
use thimble_hal_linux::wait::PollSet;

use crate::device::Device;
use crate::status::{Facts, Last, Watch, seconds_until};

use describe::Method;

/// A name on the bus and what is behind it.
struct Export {
    name: &'static str,
    path: &'static str,
    interface: &'static str,
}

const AUTHENTICATION: Export = Export {
    name: "io.mender.AuthenticationManager",
    path: "/io/mender/AuthenticationManager",
    interface: "io.mender.Authentication1",
};

const UPDATE: Export = Export {
    name: "io.mender.UpdateManager",
    path: "/io/mender/UpdateManager",
    interface: "io.mender.Update1",
};

const CLIENT: Export =
    Export { name: "io.thimble.Client", path: "/io/thimble/Client", interface: "io.thimble.Client1" };

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Between two signals that tell nothing but progress.
const PROGRESS: Duration = Duration::from_millis(500);

/// Calls that one turn answers.
const CALLS: usize = 32;

/// The daemon on the bus.
pub(crate) struct Dbus {
    bus: Bus,
    /// The way to the server for programs with the token; `None` with `DBus.Proxy: false`.
    forwarder: Option<Forwarder>,
    log: SharedLog,
    /// Authentications whose end was told.
    authentications: u32,
    /// The token of the client that was there before the daemon stood aside, with its server: good until the one that is
    /// there now has asked for its own.
    kept: Option<(String, String)>,
    /// A program asked for a token meanwhile.
    is_asked: bool,
    told: Told,
    /// Progress was told last then.
    progress: Option<Instant>,
    /// What is new is told then.
    due: Option<Instant>,
    /// A turn ended with calls left.
    more: bool,
}

/// The values that were told last.
#[derive(Default)]
struct Told {
    values: Vec<Owned>,
    next_poll: Option<Instant>,
}

#[derive(PartialEq, Eq)]
enum Owned {
    Text(String),
    Count(u64),
    Number(i64),
}

impl Dbus {
    /// `None`: switched off, or there is no address to connect to.
    pub(crate) fn new(device: &Device, connections: Connections) -> Option<Self> {
        if !device.conf.dbus_enabled {
            return None;
        }
        let address = env::var("DBUS_SYSTEM_BUS_ADDRESS").ok().filter(|address| !address.is_empty());
        let address = address.as_deref().unwrap_or(dbus::DEFAULT);
        let names = [AUTHENTICATION.name, UPDATE.name, CLIENT.name];
        let bus = Bus::new(address, &names, device.log.clone())
            .map_err(|error| device.log(Level::Warning, format_args!("no D-Bus: {error}")))
            .ok()?;
        Some(Self {
            bus,
            forwarder: device.conf.dbus_proxy.then(|| Forwarder::new(connections, device.log.clone())),
            log: device.log.clone(),
            authentications: 0,
            kept: None,
            is_asked: false,
            told: Told::default(),
            progress: None,
            due: None,
            more: false,
        })
    }

    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        self.bus.wants(set);
        if let Some(forwarder) = &self.forwarder {
            forwarder.wants(set);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.more {
            return Some(Instant::ZERO);
        }
        let forwarder = self.forwarder.as_ref().and_then(Forwarder::deadline);
        earliest(earliest(self.due, self.bus.deadline()), forwarder)
    }

    /// The client that is there now has stood aside: what programs know stays true.
    pub(crate) fn keep(&mut self, client: &Client<'_, Linux>) {
        let owned = |(token, server): (&str, &str)| (token.to_owned(), server.to_owned());
        self.kept = client.token().map(owned).or(self.kept.take());
    }

    /// There is another client, started anew.
    pub(crate) fn begins(&mut self, client: &mut Client<'_, Linux>) {
        self.authentications = client.authentications();
        if std::mem::take(&mut self.is_asked) {
            client.fetch_token();
        }
    }

    /// Answers calls. `aside`: the verb that the daemon stands aside for; the client is not touched then. True: one of them concerned the client, which has to be polled.
    pub(crate) fn serve(
        &mut self,
        client: &mut Client<'_, Linux>,
        watch: &Watch,
        aside: Option<&str>,
        now: Instant,
    ) -> bool {
        let mut touched = false;
        self.more = true;
        for _ in 0..CALLS {
            let Some(call) = self.bus.poll(now, needs_root) else {
                self.more = false;
                break;
            };
            match self.carry_out(&call, client, watch, aside, now) {
                Ok(body) => self.bus.reply(&call, body),
                Err(failure) => self.bus.fail(&call, &failure),
            }
            touched |= needs_root(&call);
        }
        touched
    }

    /// Tells what has changed, and goes on with the requests of other programs. What happens while nobody can hear it is told later, the last of it.
    pub(crate) fn tell(&mut self, client: &Client<'_, Linux>, watch: &Watch, now: Instant) {
        let ended = client.authentications();
        if self.authentications != ended {
            self.kept = None;
        }
        if self.bus.owns(AUTHENTICATION.name) {
            while self.authentications != ended {
                self.authentications = self.authentications.wrapping_add(1);
                let body = self.token(client);
                self.bus.signal(AUTHENTICATION.path, AUTHENTICATION.interface, "JwtTokenStateChange", body);
            }
        } else if self.authentications != ended {
            self.authentications = ended.wrapping_sub(1);
        }
        self.due = None;
        if self.bus.owns(CLIENT.name) {
            self.tell_changes(&watch.facts(client, now), now);
        }
        if let Some(forwarder) = &mut self.forwarder {
            forwarder.turn(now, token(client, &self.kept));
        }
    }

    /// The token, and where to go with it: the proxy, which listens from now on; without one the server itself. Both are
    /// empty while there is no token.
    fn token(&mut self, client: &Client<'_, Linux>) -> Body {
        let Some((token, server)) = token(client, &self.kept) else { return Body::texts("", "") };
        let proxy = self.forwarder.as_mut().and_then(Forwarder::url);
        Body::texts(token, proxy.unwrap_or(server))
    }

    fn tell_changes(&mut self, facts: &Facts<'_>, now: Instant) {
        let all = values(facts, now);
        let changed: Vec<(&str, Value<'_>)> = all
            .iter()
            .enumerate()
            .filter(|(index, (name, value))| {
                if *name == NEXT_POLL {
                    return self.told.next_poll != facts.next_poll || self.told.values.is_empty();
                }
                self.told.values.get(*index).is_none_or(|told| *told != Owned::of(*value))
            })
            .map(|(_, value)| *value)
            .collect();
        if changed.is_empty() {
            return;
        }
        if changed.iter().all(|(name, _)| [RECEIVED, SPEED, LEFT].contains(name)) {
            let at = self.progress.map(|last| last + PROGRESS).filter(|&at| now < at);
            if at.is_some() {
                self.due = at;
                return;
            }
            self.progress = Some(now);
        }
        // When the bus takes what waits, it wakes us.
        if self.bus.has_room() {
            self.bus.signal(
                CLIENT.path,
                PROPERTIES,
                "PropertiesChanged",
                Body::changes(CLIENT.interface, &changed),
            );
            let values = all.iter().map(|(_, value)| Owned::of(*value)).collect();
            self.told = Told { values, next_poll: facts.next_poll };
        }
    }

    fn carry_out(
        &mut self,
        call: &Call,
        client: &mut Client<'_, Linux>,
        watch: &Watch,
        aside: Option<&str>,
        now: Instant,
    ) -> Result<Body, Failure> {
        Ok(match describe::find(call)? {
            Method::GetJwtToken => self.token(client),
            Method::FetchJwtToken if aside.is_some() => {
                self.is_asked = true;
                Body::truth(true)
            }
            Method::FetchJwtToken => Body::truth(client.fetch_token()),
            Method::SetUpdateControlMap => {
                let [map] = call.body.as_texts().ok_or_else(bad_arguments)?;
                if let Some(verb) = aside {
                    let text = format_args!("'{verb}' is under way by hand; try again when it has ended");
                    return Err(Failure::new("Failed", text));
                }
                Body::number(self.set_control_map(client, &map)?)
            }
            Method::Introspect => Body::text(&describe::introspect(&call.path)),
            Method::Ping => Body::empty(),
            Method::GetMachineId => Body::text(&machine_id()?),
            Method::Get => {
                let [interface, property] = call.body.as_texts().ok_or_else(bad_arguments)?;
                has_property(&call.path, &interface, Some(&property))?;
                let facts = watch.facts(client, now);
                let value = values(&facts, now).into_iter().find(|(name, _)| *name == property);
                value.map(|(_, value)| Body::property(value)).ok_or_else(|| no_property(&property))?
            }
            Method::GetAll => {
                let [interface] = call.body.as_texts().ok_or_else(bad_arguments)?;
                let has_some = has_property(&call.path, &interface, None)?;
                let facts = watch.facts(client, now);
                let all = values(&facts, now);
                Body::properties(if has_some { &all } else { &[] })
            }
            Method::Set => {
                return Err(Failure::new("PropertyReadOnly", format_args!("no property here can be set")));
            }
        })
    }

    fn set_control_map(&self, client: &mut Client<'_, Linux>, map: &str) -> Result<i32, Failure> {
        match client.set_control_map(map.as_bytes()) {
            Ok(seconds) => {
                let text = format_args!("a program on the device set an update control map over D-Bus");
                self.log.borrow_mut().log(Level::Info, text);
                Ok(i32::try_from(seconds).unwrap_or(i32::MAX))
            }
            Err(reason) => {
                let text = format_args!("answer to an update control map over D-Bus: {reason}");
                self.log.borrow_mut().log(Level::Warning, text);
                Err(Failure::new("Failed", format_args!("{reason}")))
            }
        }
    }
}

/// The client's token with its server, or the one that is good until it has its own.
fn token<'a>(
    client: &'a Client<'_, Linux>,
    kept: &'a Option<(String, String)>,
) -> Option<(&'a str, &'a str)> {
    client.token().or_else(|| kept.as_ref().map(|(token, server)| (token.as_str(), server.as_str())))
}

/// What changes something, or reveals a secret. How the client stands is told to everybody whom the bus lets ask.
fn needs_root(call: &Call) -> bool {
    describe::find(call).is_ok_and(|method| match method {
        Method::GetJwtToken | Method::FetchJwtToken | Method::SetUpdateControlMap => true,
        Method::Introspect
        | Method::Ping
        | Method::GetMachineId
        | Method::Get
        | Method::GetAll
        | Method::Set => false,
    })
}

const RECEIVED: &str = "ReceivedBytes";
const SPEED: &str = "BytesPerSecond";
const LEFT: &str = "SecondsLeft";
const NEXT_POLL: &str = "NextPollSeconds";

/// The properties of our own interface, in one order.
fn values<'a>(facts: &'a Facts<'_>, now: Instant) -> [(&'static str, Value<'a>); 21] {
    let text = |text: Option<&'a str>| Value::Text(text.unwrap_or_default());
    let download = facts.download.unwrap_or_default();
    let left = download.seconds_left().and_then(|seconds| i64::try_from(seconds).ok());
    // What ended before the start is not told here.
    let last = facts.last.filter(|last| !last.is_old);
    let next_poll = facts.next_poll.and_then(|at| i64::try_from(seconds_until(at, now)).ok());
    [
        ("Version", Value::Text(env!("CARGO_PKG_VERSION"))),
        ("State", Value::Text(facts.state)),
        ("Doing", Value::Text(&facts.doing)),
        ("WaitingBefore", text(facts.waiting.as_ref().map(|(point, _)| point.word()))),
        ("WaitingBecause", text(facts.waiting.as_ref().map(|(_, why)| why.as_str()))),
        ("Deployment", text(facts.deployment)),
        ("ArtifactName", text(facts.artifact)),
        ("Reason", text(facts.reason)),
        (RECEIVED, Value::Count(download.received)),
        ("TotalBytes", Value::Count(download.total.unwrap_or(0))),
        ("LastDeployment", text(last.map(|last| last.deployment.as_str()))),
        ("LastOutcome", text(last.map(Last::outcome))),
        ("LastReason", text(last.map(|last| last.reason.as_str()))),
        (NEXT_POLL, Value::Number(next_poll.unwrap_or(-1))),
        ("Trouble", text(facts.trouble)),
        ("NoUpdatesBecause", text(facts.no_updates.as_deref())),
        ("WaitingUntil", text(facts.wait_ends.as_ref().map(|end| end.local.as_str()))),
        (SPEED, Value::Count(download.speed.unwrap_or(0))),
        (LEFT, Value::Number(left.unwrap_or(-1))),
        ("Server", text(facts.server)),
        ("LastArtifact", text(last.map(|last| last.artifact.as_str()))),
    ]
}

impl Owned {
    fn of(value: Value<'_>) -> Self {
        match value {
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Count(count) => Self::Count(count),
            Value::Number(number) => Self::Number(number),
        }
    }
}

/// Whether the interface of the object has properties; `property`, if given, has to be one of them.
fn has_property(path: &str, interface: &str, property: Option<&str>) -> Result<bool, Failure> {
    // Some callers leave the interface out.
    let interface = if interface.is_empty() && path == CLIENT.path { CLIENT.interface } else { interface };
    let Some(mut known) = describe::properties(path, interface) else {
        return Err(Failure::new("UnknownInterface", format_args!("there is no such interface here")));
    };
    match property {
        Some(property) if known.any(|name| name == property) => Ok(true),
        Some(property) => Err(no_property(property)),
        None => Ok(known.next().is_some()),
    }
}

fn no_property(property: &str) -> Failure {
    let property: String = property.chars().take(255).collect();
    Failure::new("UnknownProperty", format_args!("there is no property {property} here"))
}

fn bad_arguments() -> Failure {
    Failure::new("InvalidArgs", format_args!("the arguments make no sense"))
}

fn machine_id() -> Result<String, Failure> {
    let read = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let is_id = |id: &String| id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = ["/etc/machine-id", "/var/lib/dbus/machine-id"].into_iter().filter_map(read).find(is_id);
    id.ok_or_else(|| Failure::new("FileNotFound", format_args!("this device has no machine id")))
}

#[cfg(test)]
mod tests;
