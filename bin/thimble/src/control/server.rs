//! The daemon's side of `control`: a line with a request comes in on a socket in the datastore, a line goes back.
//!
//! No peer can block the daemon: there are few connections, a request is short and must arrive within seconds, and an
//! answer that does not fit into the socket's buffer is dropped.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use rustix::net::sockopt::socket_peercred;
use thimble_core::client::Client;
use thimble_core::control::{Lifetime, Order};
use thimble_core::deployment::Point;
use thimble_core::json::Escape;
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::hints::with_hint;
use thimble_hal_linux::platform::Linux;
use thimble_hal_linux::wait::PollSet;

use crate::aside;
use crate::control_request::{Act, ControlRequest};
use crate::device::Device;
use crate::holds;
use crate::output::one_line;
use crate::socket::{CONTROL, Socket};

use super::said::{LIFTED, counts_for, fails_next, passes_next, paused};

/// Connections at a time; more wait in the listener's queue.
const CONNECTIONS: usize = 4;

/// Longest request, in bytes.
const REQUEST: usize = 1024;

/// How long a request may take to arrive.
const TIME: Duration = Duration::from_secs(5);

/// Listens to requests.
pub(crate) struct Controller {
    socket: Socket,
    connections: Vec<Connection>,
    policies: String,
    /// Verbs that ask the daemon to stand aside.
    asides: Vec<(UnixStream, String)>,
}

struct Connection {
    stream: UnixStream,
    line: Vec<u8>,
    until: Instant,
}

/// What has arrived on a connection.
enum Arrival {
    Pending,
    /// The request, or what is wrong with it.
    Request(Result<ControlRequest, String>),
    /// A verb asks the daemon to stand aside.
    Aside(String),
    Gone,
}

impl Controller {
    /// Listens in the datastore. Without that the daemon works all the same.
    pub(crate) fn new(device: &Device) -> Self {
        let socket = Socket::new(device, CONTROL, "control");
        Self { socket, connections: Vec::new(), policies: holds::policies(device), asides: Vec::new() }
    }

    /// Adds the descriptors that the next turn would read from.
    pub(crate) fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if self.connections.len() < CONNECTIONS {
            self.socket.wants(set);
        }
        for connection in &self.connections {
            set.read(&connection.stream);
        }
    }

    /// When to turn next, even if no descriptor became ready.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let until = self.connections.iter().map(|connection| Some(connection.until));
        until.fold(self.socket.deadline(), earliest)
    }

    /// The next verb that asks the daemon to stand aside.
    pub(crate) fn aside(&mut self) -> Option<(UnixStream, String)> {
        self.asides.pop()
    }

    /// Carries out what has arrived. `aside`: the verb that the daemon stands aside for; nothing is changed then.
    pub(crate) fn turn(&mut self, client: &mut Client<'_, Linux>, aside: Option<&str>, now: Instant) {
        while self.connections.len() < CONNECTIONS {
            let Some(stream) = self.socket.accept(now) else { break };
            self.connections.push(Connection { stream, line: Vec::new(), until: now + TIME });
        }
        let Self { connections, policies, asides, .. } = self;
        connections.retain_mut(|connection| match connection.receive(now) {
            Arrival::Pending => true,
            Arrival::Gone => false,
            Arrival::Aside(verb) => {
                asides.extend(connection.stream.try_clone().map(|stream| (stream, verb)));
                false
            }
            Arrival::Request(request) => {
                let answer = match request {
                    Ok(request) if request.act == Act::Show => shown(client, now, policies),
                    Ok(request) => said(&match aside {
                        None => carry_out(client, &request, now),
                        Some(verb) => {
                            Err(format!("'{verb}' is under way by hand; try again when it has ended"))
                        }
                    }),
                    Err(wrong) => said(&Err(wrong)),
                };
                let _ = (&connection.stream).write_all(answer.as_bytes());
                false
            }
        });
    }
}

impl Connection {
    fn receive(&mut self, now: Instant) -> Arrival {
        loop {
            let mut buf = [0; REQUEST];
            match (&self.stream).read(&mut buf) {
                Ok(0) => return Arrival::Gone,
                Ok(read) => {
                    self.line.extend_from_slice(buf.get(..read).unwrap_or_default());
                    if let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
                        let line = self.line.get(..end).unwrap_or_default();
                        let allowed = self.allowed();
                        return match aside::asks(line).filter(|_| allowed.is_ok()) {
                            Some(verb) => Arrival::Aside(verb),
                            None => Arrival::Request(allowed.and_then(|()| ControlRequest::parse(line))),
                        };
                    }
                    if self.line.len() > REQUEST {
                        return Arrival::Request(Err(format!("a request has at most {REQUEST} bytes")));
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return if now < self.until { Arrival::Pending } else { Arrival::Gone };
                }
                Err(_) => return Arrival::Gone,
            }
        }
    }

    /// The socket's mode says the same; this also holds where somebody opened the datastore to others. Looked at when
    /// the request is there: whoever is refused hears it.
    fn allowed(&self) -> Result<(), String> {
        let ours = rustix::process::geteuid();
        match socket_peercred(&self.stream) {
            Ok(peer) if peer.uid.is_root() || peer.uid == ours => Ok(()),
            Ok(_) | Err(_) => Err("only root may control updates".into()),
        }
    }
}

/// What was done, or why nothing was.
fn carry_out(
    client: &mut Client<'_, Linux>,
    request: &ControlRequest,
    now: Instant,
) -> Result<String, String> {
    let points = if request.at.is_empty() { Point::ALL.to_vec() } else { request.at.clone() };
    let lifetime = request.time.map_or(Lifetime::Unlimited, Lifetime::For);
    let waits_at = client.waiting().map(|(point, _)| point).filter(|point| points.contains(point));
    // It can be let pass there also before anything holds it: a server that is asked may not answer.
    let stands_at = client.machine().point().filter(|point| points.contains(point));
    let mut give = |points: &[Point], order| {
        client.order(request.name, points, order, lifetime).map_err(|refusal| with_hint(&refusal))
    };
    match request.act {
        Act::Pause => {
            give(&points, Order::Pause)?;
            Ok(paused(request, &points))
        }
        Act::Fail => {
            // One update: the one that waits, or the next, which comes to its install first.
            let chosen =
                if request.at.is_empty() { vec![waits_at.unwrap_or(Point::Install)] } else { points };
            give(&chosen, Order::Fail)?;
            Ok(match waits_at {
                Some(point) => format!("the update that waits before {} fails", point.word()),
                None => fails_next(&chosen) + &counts_for(client.machine().maps(), request.name, now),
            })
        }
        // Without points: whatever was said is taken back, and what waits goes on.
        Act::Continue if request.at.is_empty() => {
            give(&points, Order::Lift)?;
            client.approve();
            Ok(match stands_at {
                Some(point) => format!("the update goes on with {}", point.word()),
                None => LIFTED.into(),
            })
        }
        Act::Continue => {
            let later: Vec<Point> =
                points.iter().copied().filter(|point| Some(*point) != stands_at).collect();
            if let Some(point) = stands_at {
                give(&[point], Order::Lift)?;
            }
            if !later.is_empty() {
                give(&later, Order::Pass)?;
            }
            match stands_at {
                Some(point) => {
                    client.approve();
                    Ok(format!("the update goes on with {}", point.word()))
                }
                None => {
                    Ok(passes_next(request, &later) + &counts_for(client.machine().maps(), request.name, now))
                }
            }
        }
        Act::Show => Ok(String::new()),
    }
}

fn said(outcome: &Result<String, String>) -> String {
    let (ok, name, text) = match outcome {
        Ok(text) => (true, "said", text),
        Err(text) => (false, "reason", text),
    };
    let mut out = format!("{{\"ok\":{ok},\"{name}\":\"");
    let _ = Escape(&mut out).write_str(&one_line(text));
    out.push_str("\",\"running\":true}\n");
    out
}

/// What waits and why, every map, every policy.
fn shown(client: &Client<'_, Linux>, now: Instant, policies: &str) -> String {
    let mut out = String::from("{\"ok\":true,\"running\":true,\"waiting\":");
    match client.waiting() {
        None => out.push_str("null"),
        Some((point, why)) => {
            let _ = write!(out, "{{\"at\":\"{}\",\"why\":\"", point.word());
            let _ = Escape(&mut out).write_str(&one_line(&why.to_string()));
            out.push_str("\"}");
        }
    }
    let maps = holds::maps(client.machine().maps(), now);
    let _ = writeln!(out, ",\"maps\":{maps},\"policies\":{policies}}}");
    out
}
