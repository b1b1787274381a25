//! The address of the bus: `DBUS_SYSTEM_BUS_ADDRESS` is a list, of which the first address that answers is used.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use rustix::io;
use rustix::net::SocketAddrUnix;

/// The usual address of the system bus.
pub const DEFAULT: &str = "unix:path=/run/dbus/system_bus_socket;unix:path=/var/run/dbus/system_bus_socket";

/// The addresses of a list.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    list: Vec<SocketAddrUnix>,
}

/// Why a list names no socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadAddress(String);

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' names no Unix socket: DBUS_SYSTEM_BUS_ADDRESS must be like unix:path=/run/dbus/system_bus_socket",
            self.0.escape_debug()
        )
    }
}

impl Addresses {
    /// The Unix sockets of a list. Other transports are ignored: a system bus does not use them.
    pub(crate) fn parse(list: &str) -> Result<Self, BadAddress> {
        let parsed: Vec<SocketAddrUnix> = list.split(';').filter_map(address).collect();
        if parsed.is_empty() { Err(BadAddress(list.into())) } else { Ok(Self { list: parsed }) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SocketAddrUnix> {
        self.list.iter()
    }
}

fn address(text: &str) -> Option<SocketAddrUnix> {
    let pairs = text.strip_prefix("unix:")?;
    pairs.split(',').filter_map(|pair| pair.split_once('=')).find_map(|(key, value)| {
        let value = unescape(value)?;
        let made: io::Result<SocketAddrUnix> = match key {
            "path" => SocketAddrUnix::new(OsStr::from_bytes(&value)),
            "abstract" => SocketAddrUnix::new_abstract_name(&value),
            _ => return None,
        };
        made.ok()
    })
}

/// `%2f` and the like.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let (high, low) = (digit()?, digit()?);
            u8::try_from(high * 16 + low).ok()?
        } else {
            byte
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &str) -> Vec<SocketAddrUnix> {
        Addresses::parse(list).map(|addresses| addresses.list).unwrap_or_default()
    }

    fn path(path: &str) -> SocketAddrUnix {
        SocketAddrUnix::new(path).unwrap()
    }

    #[test]
    fn sockets_of_a_list_in_its_order() {
        assert_eq!(parsed("unix:path=/a/bus"), [path("/a/bus")]);
        assert_eq!(parsed("unix:path=/a%20b%2fc,guid=0123"), [path("/a b/c")]);
        assert_eq!(parsed("unix:abstract=/tmp/x"), [SocketAddrUnix::new_abstract_name(b"/tmp/x").unwrap()]);
        assert_eq!(parsed("tcp:host=localhost,port=1;unix:guid=1,path=/b;"), [path("/b")]);
        assert_eq!(parsed(DEFAULT).len(), 2);
    }

    #[test]
    fn what_names_no_socket_is_said() {
        let long = format!("unix:path=/{}", "x".repeat(200));
        for list in [
            "",
            ";",
            "tcp:host=x",
            "unix:",
            "unix:path",
            "unix:path=%",
            "unix:path=%f",
            "unix:path=%zz",
            &long,
        ] {
            let error = Addresses::parse(list).unwrap_err();
            assert!(error.to_string().contains("DBUS_SYSTEM_BUS_ADDRESS"), "{error}");
        }
    }
}
