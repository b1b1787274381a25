//! What is on the bus: objects, interfaces and their members, with texts for people. Introspection data are written
//! from these tables, and calls are looked up in them.

use std::fmt::Write as _;

use thimble_hal_linux::dbus::{Call, Failure};

use super::{AUTHENTICATION, CLIENT, UPDATE};

/// A thing on the bus.
pub(super) struct Object {
    pub(super) path: &'static str,
    interface: Interface,
}

struct Interface {
    name: &'static str,
    text: &'static str,
    members: &'static [Member],
}

enum Member {
    Method(&'static str, Method, &'static [Arg], &'static str),
    Signal(&'static str, &'static [Arg], &'static str),
    Property(&'static str, &'static str, &'static str),
}

/// Name, type, whether it goes in.
struct Arg(&'static str, &'static str, bool);

/// What can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    GetJwtToken,
    FetchJwtToken,
    SetUpdateControlMap,
    Introspect,
    Ping,
    GetMachineId,
    Get,
    GetAll,
    Set,
}

const TOKEN: Arg = Arg("token", "s", false);
const SERVER: Arg = Arg("server_url", "s", false);

/// Those with members of their own. The nodes above them are there as well, with standard interfaces only.
static OBJECTS: [Object; 3] = [
    Object {
        path: AUTHENTICATION.path,
        interface: Interface {
            name: AUTHENTICATION.interface,
            text: "The device's authentication with its Mender server, for other programs that talk to it. For root \
                   only.",
            members: &[
                Member::Method(
                    "GetJwtToken",
                    Method::GetJwtToken,
                    &[TOKEN, SERVER],
                    "The token at hand and the URL of the server that gave it; both empty when there is none. Asks \
                     nobody. Use the pair from one answer, and ask again when the server answers 401.",
                ),
                Member::Method(
                    "FetchJwtToken",
                    Method::FetchJwtToken,
                    &[Arg("success", "b", false)],
                    "Begins to ask the server for a new token. True: that has begun, or is under way, or begins as \
                     soon as the network is free; JwtTokenStateChange tells what came of it. False: it cannot be \
                     done.",
                ),
                Member::Signal(
                    "JwtTokenStateChange",
                    &[TOKEN, SERVER],
                    "An attempt to get a token has ended. Both are empty when it failed.",
                ),
            ],
        },
    },
    Object {
        path: UPDATE.path,
        interface: Interface {
            name: UPDATE.interface,
            text: "Holding updates back on the device. For root only.",
            members: &[Member::Method(
                "SetUpdateControlMap",
                Method::SetUpdateControlMap,
                &[Arg("update_control_map", "s", true), Arg("refresh_timeout", "i", false)],
                "Sets, replaces or (without states) deletes an update control map, JSON as Mender documents it. \
                 Returns the seconds after which it should be set again, or it expires after twice that time. A map \
                 that is not valid is an error and changes nothing.",
            )],
        },
    },
    Object {
        path: CLIENT.path,
        interface: Interface {
            name: CLIENT.interface,
            text: "How the update client stands, for user interfaces. Read-only; changes are told by \
                   PropertiesChanged, those of a download at most twice a second. Members may be added; what is \
                   here keeps its meaning, or the interface gets another number.",
            members: &[
                Member::Property("Version", "s", "The version of the client."),
                Member::Property(
                    "State",
                    "s",
                    "Idle, Sync, Download, ArtifactInstall, ArtifactReboot, ArtifactCommit, ArtifactRollback, \
                     ArtifactRollbackReboot, ArtifactFailure or Cleanup.",
                ),
                Member::Property("Doing", "s", "The same in plain words, finer; for people only."),
                Member::Property(
                    "WaitingBefore",
                    "s",
                    "The point that an update waits before: install, reboot or commit; empty if none waits.",
                ),
                Member::Property(
                    "WaitingBecause",
                    "s",
                    "What holds it there, for people; empty if none waits.",
                ),
                Member::Property(
                    "Deployment",
                    "s",
                    "The id of the deployment in progress; empty if there is none.",
                ),
                Member::Property(
                    "ArtifactName",
                    "s",
                    "The name of its artifact; empty if there is none, and after a restart in the middle of it.",
                ),
                Member::Property("Reason", "s", "Why it failed first, for people; empty while it did not."),
                Member::Property(
                    "ReceivedBytes",
                    "t",
                    "How much of the artifact has come; 0 outside of Download.",
                ),
                Member::Property(
                    "TotalBytes",
                    "t",
                    "The length of the artifact; 0 outside of Download, and where the server does not say it.",
                ),
                Member::Property(
                    "LastDeployment",
                    "s",
                    "The id of the deployment that ended last; empty if none has since the start.",
                ),
                Member::Property(
                    "LastOutcome",
                    "s",
                    "How it ended: begins with success or failure; the rest is for people.",
                ),
                Member::Property("LastReason", "s", "Why it failed, for people; empty if it did not."),
                Member::Property(
                    "NextPollSeconds",
                    "x",
                    "Seconds until the server is asked next, counted from this message; -1 if that is not planned. \
                     Told when the time changes, not as it passes.",
                ),
                Member::Property(
                    "Trouble",
                    "s",
                    "Why the last request to the server failed, for people; empty if it did not.",
                ),
                Member::Property(
                    "NoUpdatesBecause",
                    "s",
                    "Why the server is not asked for deployments at all, for people; empty if it is.",
                ),
                Member::Property(
                    "WaitingUntil",
                    "s",
                    "The local time, such as Tue 02:00, at which the wait ends by itself, for people; empty if none waits, \
                     and where that cannot be told.",
                ),
                Member::Property(
                    "BytesPerSecond",
                    "t",
                    "How fast the artifact comes, as measured lately; 0 outside of Download.",
                ),
                Member::Property(
                    "SecondsLeft",
                    "x",
                    "How long the rest of the artifact takes at that speed; -1 where that is not known.",
                ),
                Member::Property(
                    "Server",
                    "s",
                    "The URL of the server that answered last, or that is asked first.",
                ),
                Member::Property(
                    "LastArtifact",
                    "s",
                    "The name of the artifact of LastDeployment; empty where that is not known.",
                ),
            ],
        },
    },
];

/// What every object has.
static STANDARD: [Interface; 3] = [
    Interface {
        name: "org.freedesktop.DBus.Introspectable",
        text: "",
        members: &[Member::Method("Introspect", Method::Introspect, &[Arg("xml_data", "s", false)], "")],
    },
    Interface {
        name: "org.freedesktop.DBus.Peer",
        text: "",
        members: &[
            Member::Method("Ping", Method::Ping, &[], ""),
            Member::Method("GetMachineId", Method::GetMachineId, &[Arg("machine_uuid", "s", false)], ""),
        ],
    },
    Interface {
        name: super::PROPERTIES,
        text: "",
        members: &[
            Member::Method(
                "Get",
                Method::Get,
                &[
                    Arg("interface_name", "s", true),
                    Arg("property_name", "s", true),
                    Arg("value", "v", false),
                ],
                "",
            ),
            Member::Method(
                "GetAll",
                Method::GetAll,
                &[Arg("interface_name", "s", true), Arg("properties", "a{sv}", false)],
                "",
            ),
            Member::Method(
                "Set",
                Method::Set,
                &[Arg("interface_name", "s", true), Arg("property_name", "s", true), Arg("value", "v", true)],
                "",
            ),
            Member::Signal(
                "PropertiesChanged",
                &[
                    Arg("interface_name", "s", false),
                    Arg("changed_properties", "a{sv}", false),
                    Arg("invalidated_properties", "as", false),
                ],
                "",
            ),
        ],
    },
];

/// The method that is called. `Err`: there is none such.
pub(super) fn find(call: &Call) -> Result<Method, Failure> {
    let own = OBJECTS.iter().find(|object| object.path == call.path);
    if own.is_none() && children(&call.path).is_empty() {
        return Err(Failure::new("UnknownObject", format_args!("there is nothing at {}", shown(&call.path))));
    }
    let mut interfaces = own.iter().map(|object| &object.interface).chain(&STANDARD);
    let named = |interface: &&Interface| call.interface.is_empty() || interface.name == call.interface;
    let method = |member: &Member| match member {
        Member::Method(name, method, args, _) if *name == call.member => Some((*method, types(args))),
        Member::Method(..) | Member::Signal(..) | Member::Property(..) => None,
    };
    if !call.interface.is_empty() && !interfaces.clone().any(|interface| interface.name == call.interface) {
        let text = format_args!("there is no interface {} here", shown(&call.interface));
        return Err(Failure::new("UnknownInterface", text));
    }
    let found =
        interfaces.by_ref().filter(named).find_map(|interface| interface.members.iter().find_map(method));
    match found {
        None => {
            let text = format_args!("there is no method {} here", shown(&call.member));
            Err(Failure::new("UnknownMethod", text))
        }
        Some((_, types)) if types != call.body.signature() => {
            let text = format_args!("{} takes \"{types}\"", call.member);
            Err(Failure::new("InvalidArgs", text))
        }
        Some((method, _)) => Ok(method),
    }
}

/// Whether an object has an interface, and which properties that has.
pub(super) fn properties(path: &str, interface: &str) -> Option<impl Iterator<Item = &'static str> + use<>> {
    let own = OBJECTS.iter().find(|object| object.path == path).map(|object| &object.interface);
    let found = own.into_iter().chain(&STANDARD).find(|known| known.name == interface)?;
    Some(found.members.iter().filter_map(|member| match member {
        Member::Property(name, ..) => Some(*name),
        Member::Method(..) | Member::Signal(..) => None,
    }))
}

/// Introspection data of a node.
pub(super) fn introspect(path: &str) -> String {
    let mut out = String::from(
        "<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n \
         \"http://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n<node>\n",
    );
    let own = OBJECTS.iter().find(|object| object.path == path).map(|object| &object.interface);
    for interface in own.into_iter().chain(&STANDARD) {
        let _ = writeln!(out, " <interface name=\"{}\">", interface.name);
        text(&mut out, "  ", interface.text);
        for member in interface.members {
            write_member(&mut out, member);
        }
        out.push_str(" </interface>\n");
    }
    for child in children(path) {
        let _ = writeln!(out, " <node name=\"{child}\"/>");
    }
    out.push_str("</node>\n");
    out
}

fn write_member(out: &mut String, member: &Member) {
    let (kind, doc) = match member {
        Member::Method(name, _, args, doc) => {
            let _ = writeln!(out, "  <method name=\"{name}\">");
            for Arg(name, kind, goes_in) in *args {
                let direction = if *goes_in { "in" } else { "out" };
                let _ = writeln!(out, "   <arg name=\"{name}\" type=\"{kind}\" direction=\"{direction}\"/>");
            }
            ("method", doc)
        }
        Member::Signal(name, args, doc) => {
            let _ = writeln!(out, "  <signal name=\"{name}\">");
            for Arg(name, kind, _) in *args {
                let _ = writeln!(out, "   <arg name=\"{name}\" type=\"{kind}\"/>");
            }
            ("signal", doc)
        }
        Member::Property(name, kind, doc) => {
            let _ = writeln!(out, "  <property name=\"{name}\" type=\"{kind}\" access=\"read\">");
            ("property", doc)
        }
    };
    text(out, "   ", doc);
    let _ = writeln!(out, "  </{kind}>");
}

/// A text for people, where GLib's tools look for one. The tables hold no quotes and no brackets.
fn text(out: &mut String, indent: &str, text: &str) {
    if !text.is_empty() {
        let _ = writeln!(out, "{indent}<annotation name=\"org.gtk.GDBus.DocString\" value=\"{text}\"/>");
    }
}

/// The names of the nodes right below a path.
fn children(path: &str) -> Vec<&'static str> {
    let prefix = if path == "/" { "/".to_owned() } else { format!("{path}/") };
    let mut names: Vec<&str> = OBJECTS
        .iter()
        .filter_map(|object| object.path.strip_prefix(prefix.as_str()))
        .filter_map(|rest| rest.split('/').next())
        .collect();
    names.dedup();
    names
}

/// The types of the arguments that go in.
fn types(args: &[Arg]) -> String {
    args.iter().filter(|Arg(_, _, goes_in)| *goes_in).map(|Arg(_, kind, _)| *kind).collect()
}

/// What a caller wrote, for an answer to it.
fn shown(text: &str) -> String {
    text.chars().take(255).collect()
}
