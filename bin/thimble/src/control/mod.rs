//! `control`: a person at the device holds updates up, lets them go on, or fails them. Without D-Bus.

mod said;
mod server;
mod stored;

pub(crate) use server::Controller;

use std::fmt::Write as _;

use thimble_core::client::OPERATOR;
use thimble_core::control::Id;
use thimble_core::deployment::Point;
use thimble_core::json::Value;

use crate::args::Invocation;
use crate::control_request::{Act, ControlRequest};
use crate::device::Device;
use crate::json::member;
use crate::output::{Failure, SUCCESS, one_line, print};
use crate::people::time;
use crate::socket::{self, CONTROL, PATIENCE, Silence};

/// The verb.
pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let Some(request) = &invocation.control else { return Err(Failure::new("control what?")) };
    let device = Device::open(invocation)?;
    let answer = answer(&device, request)?;
    let nonsense = || Failure::new("the daemon's answer makes no sense");
    let value = Value::parse(answer.as_bytes()).map_err(|_| nonsense())?;
    let text = |name: &str| Some(one_line(&value.member(name).ok()??.as_str()?.to_string()));
    let is_done = matches!(value.member("ok"), Ok(Some(ok)) if ok.raw() == "true");
    if !is_done {
        return Err(Failure::new(text("reason").ok_or_else(nonsense)?));
    }
    if invocation.json {
        return print(&answer);
    }
    if request.act == Act::Show {
        return print(&lines(value).ok_or_else(nonsense)?);
    }
    let said = text("said").ok_or_else(nonsense)?;
    print(&format!("{said}\n")).map(|_| SUCCESS)
}

/// What the daemon answers, or what was made of the record where there is none.
fn answer(device: &Device, request: &ControlRequest) -> Result<String, Failure> {
    let ask = || socket::ask(device.paths.datastore(), CONTROL, &format!("{}\n", request.json()), PATIENCE);
    match ask() {
        Ok(answer) => return Ok(answer),
        Err(silence @ (Silence::NoAnswer | Silence::Forbidden)) => return Err(silence.failure(device)),
        Err(Silence::NoDaemon) => {}
    }
    if request.act == Act::Show {
        return stored::show(device);
    }
    match stored::carry_out(device, request) {
        Ok(said) => {
            let mut out = String::from("{\"ok\":true,\"running\":false");
            member(&mut out, "said", Some(&said));
            out.push_str("}\n");
            Ok(out)
        }
        // A daemon that has just started may have the datastore.
        Err(failure) => ask().map_err(|_| failure),
    }
}

/// The answer of `show` for people.
fn lines(value: Value<'_>) -> Option<String> {
    let text =
        |value: Value<'_>, name: &str| Some(one_line(&value.member(name).ok()??.as_str()?.to_string()));
    let mut out = String::new();
    let waiting = value.member("waiting").ok()??;
    let is_on_record = value.member("running").ok()?.is_some_and(|running| running.raw() == "false");
    let mut maps = value.member("maps").ok()??.items()?.peekable();
    if is_on_record && maps.peek().is_none() {
        out.push_str("No daemon is running. Nothing is on record that holds an update up.\n");
    } else if is_on_record {
        out.push_str("No daemon is running. This is on record, and counts from its next start on.\n");
    } else if waiting.is_null() {
        out.push_str("No update waits.\n");
    } else {
        let _ = writeln!(out, "An update waits before {}: {}", text(waiting, "at")?, text(waiting, "why")?);
        out.push_str("'control continue' lets it go on.\n");
    }
    if maps.peek().is_some() {
        let _ = writeln!(
            out,
            "\n{:36}  {:>8}  {:15}{:15}{:15}ends in",
            "map", "priority", "install", "reboot", "commit"
        );
    }
    for map in maps {
        let priority = map.member("priority").ok()??.as_integer()?;
        let id = text(map, "id")?;
        let who = if id == Id(OPERATOR.id).to_string() { "operator" } else { &id };
        let _ = write!(out, "{who:36}  {priority:>8}  ");
        for point in Point::ALL {
            let _ = write!(out, "{:15}", text(map, point.word())?);
        }
        let ends = map.member("ends_in_seconds").ok()??;
        let is_expired = map.member("expired").ok()??.raw() == "true";
        let _ = match ends.as_integer() {
            Some(seconds) => writeln!(out, "{}", time(u64::try_from(seconds).unwrap_or(0))),
            None if is_expired => writeln!(out, "expired"),
            None => writeln!(out, "never"),
        };
    }
    let mut policies = value.member("policies").ok()??.items()?.peekable();
    if policies.peek().is_some() {
        out.push_str("\nPolicies:\n");
    }
    for policy in policies {
        let _ = writeln!(out, "  {}", one_line(&policy.as_str()?.to_string()));
    }
    Some(out)
}
