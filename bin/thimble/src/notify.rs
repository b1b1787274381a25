//! Tells systemd about the daemon (`sd_notify`): datagrams with a line each, sent without a library. Without systemd
//! nothing is sent.

use std::env;
use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use thimble_core::time::{Duration, Instant};

/// Tells the service manager how the daemon is.
pub(crate) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// Half of the time systemd waits for a sign of life.
    beat: Option<Duration>,
    next_beat: Option<Instant>,
    said: String,
}

impl Notifier {
    /// As `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` say.
    pub(crate) fn from_environment() -> Self {
        Self::new(|name| env::var_os(name), std::process::id())
    }

    fn new(var: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let socket = var("NOTIFY_SOCKET").and_then(|name| {
            let address = match name.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
                name @ [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
                _ => return None,
            };
            let socket = UnixDatagram::unbound().ok()?;
            // Whoever listens must not hold the daemon up.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address.ok()?))
        });
        let number = |name| var(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|of| of == u64::from(pid));
        let micros = number("WATCHDOG_USEC").filter(|_| is_ours && socket.is_some());
        let beat = micros.map(|micros| Duration::from_millis((micros / 2000).max(1)));
        Self { socket, beat, next_beat: None, said: String::new() }
    }

    /// The daemon has started.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// The daemon is ending.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// How it stands, if that has changed.
    pub(crate) fn status(&mut self, sentence: impl FnOnce() -> String) {
        if self.socket.is_none() {
            return;
        }
        let sentence = sentence();
        if sentence != self.said {
            self.send(&format!("STATUS={sentence}"));
            self.said = sentence;
        }
    }

    /// A sign of life when it is time for one; when the next is due.
    pub(crate) fn beat(&mut self, now: Instant) -> Option<Instant> {
        let beat = self.beat?;
        if self.next_beat.is_none_or(|at| at <= now) {
            self.send("WATCHDOG=1");
            self.next_beat = Some(now + beat);
        }
        self.next_beat
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            // A failure is ignored: the daemon works without systemd as well.
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(list: Vec<(&'static str, String)>) -> impl Fn(&str) -> Option<OsString> {
        move |name| list.iter().find(|(of, _)| *of == name).map(|(_, value)| value.into())
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buf = [0; 256];
        let length = socket.recv(&mut buf).unwrap();
        String::from_utf8(buf[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_hears_what_happens_and_each_status_once() {
        let name = format!("thimble-notify-{}", std::process::id());
        let systemd = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let vars = [("NOTIFY_SOCKET", format!("@{name}")), ("WATCHDOG_USEC", "4000000".into())];
        let mut notifier = Notifier::new(variables(vars.to_vec()), 7);
        notifier.ready();
        notifier.status(|| "idle".into());
        notifier.status(|| "idle".into());
        let now = Instant::from_millis(1000);
        assert_eq!(notifier.beat(now), Some(Instant::from_millis(3000)));
        assert_eq!(notifier.beat(Instant::from_millis(2999)), Some(Instant::from_millis(3000)));
        assert_eq!(notifier.beat(Instant::from_millis(3000)), Some(Instant::from_millis(5000)));
        notifier.stopping();
        let heard: Vec<String> = (0..5).map(|_| received(&systemd)).collect();
        assert_eq!(heard, ["READY=1", "STATUS=idle", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]);
    }

    #[test]
    fn without_systemd_nothing_is_sent_and_nothing_is_due() {
        for list in [
            vec![],
            vec![("NOTIFY_SOCKET", "relative".to_owned()), ("WATCHDOG_USEC", "1000".to_owned())],
            vec![("WATCHDOG_USEC", "1000".to_owned())],
        ] {
            let mut notifier = Notifier::new(variables(list), 7);
            notifier.ready();
            notifier.status(|| unreachable!());
            assert_eq!(notifier.beat(Instant::ZERO), None);
        }
        let vars = [
            ("NOTIFY_SOCKET", "/nowhere/socket".to_owned()),
            ("WATCHDOG_USEC", "1000".to_owned()),
            ("WATCHDOG_PID", "8".to_owned()),
        ];
        let mut notifier = Notifier::new(variables(vars.to_vec()), 7);
        assert_eq!(notifier.beat(Instant::ZERO), None, "another process is watched");
        notifier.ready();
    }
}
