//! Programs with the device's token that talk to the server through the daemon's proxy (R-43): Debian's `mender-connect`,
//! and a script that asks as Mender's configure add-on does.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thimble_hal_sim::listen::{Entry, Security};
use thimble_hal_sim::server::{Endpoint, Server};
use thimble_tests::bus::{AUTHENTICATION, Bus, Policy};
use thimble_tests::lab::{has, is_root};
use thimble_tests::managed::{LIMIT, Managed};

/// Between two attempts `mender-connect` waits up to a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// In front of the model of the server: two endpoints that the model does not have. Everything else goes on to it.
struct Edge {
    url: String,
    /// Connections whose protocol was changed, with their request.
    sockets: Receiver<(String, TcpStream)>,
    /// Configurations that were reported, with the heads of their requests.
    reports: Receiver<(String, String)>,
}

impl Edge {
    fn start(managed: &Managed) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let behind = managed.server.url().replace("http://", "");
        let ((socket, sockets), (report, reports)) = (channel(), channel());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (socket, report, behind) = (socket.clone(), report.clone(), behind.clone());
                thread::spawn(move || serve(stream, &behind, &socket, &report));
            }
        });
        Self { url, sockets, reports }
    }
}

fn serve(
    mut stream: TcpStream,
    behind: &str,
    sockets: &Sender<(String, TcpStream)>,
    reports: &Sender<(String, String)>,
) -> Option<()> {
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    let head = head(&mut stream)?;
    if head.starts_with("GET /api/devices/v1/deviceconnect/connect HTTP/1.1\r\n") {
        let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", header(&head, "Sec-WebSocket-Key")?);
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let accept = STANDARD.encode(digest);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).ok()?;
        return sockets.send((head, stream)).ok();
    }
    if head.starts_with("PUT /api/devices/v1/deviceconfig/configuration HTTP/1.1\r\n") {
        let mut body = vec![0; header(&head, "Content-Length")?.parse().ok()?];
        stream.read_exact(&mut body).ok()?;
        reports.send((head, String::from_utf8(body).ok()?)).ok()?;
        return stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").ok();
    }
    let mut server = TcpStream::connect(behind).ok()?;
    server.write_all(head.as_bytes()).ok()?;
    let (mut from, mut to) = (stream.try_clone().ok()?, server.try_clone().ok()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
    });
    let _ = std::io::copy(&mut server, &mut stream);
    stream.shutdown(Shutdown::Both).ok()
}

fn head(stream: &mut impl Read) -> Option<String> {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        text.push(byte[0]);
    }
    String::from_utf8(text).ok()
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// A device whose server is this edge.
fn device() -> (Managed, Edge) {
    let managed = Managed::with(Security::Plain);
    let edge = Edge::start(&managed);
    managed.lab.configure(&format!(
        r#"{{"ServerURL":"{}","UpdatePollIntervalSeconds":3600,"InventoryPollIntervalSeconds":3600}}"#,
        edge.url
    ));
    (managed, edge)
}

/// Killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A message of deviceconnect, in MessagePack: `hdr` with `proto` 1, the shell, `typ` and `sid`; `body`.
fn message(kind: &str, session: &str, body: &[u8]) -> Vec<u8> {
    let text = |text: &str| {
        let mut bytes = vec![0xa0 | u8::try_from(text.len()).expect("a short text")];
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    let mut out = vec![0x82];
    out.extend(text("hdr"));
    out.push(0x84);
    out.extend(text("proto"));
    out.push(1);
    out.extend(text("typ"));
    out.extend(text(kind));
    out.extend(text("sid"));
    out.extend(text(session));
    out.extend(text("props"));
    out.push(0x81);
    out.extend(text("user_id"));
    out.extend(text("somebody"));
    out.extend(text("body"));
    out.extend([0xc4, u8::try_from(body.len()).expect("a short body")]);
    out.extend_from_slice(body);
    out
}

/// Sends a message as a server does, in one binary frame without a mask.
fn send(socket: &mut TcpStream, message: &[u8]) {
    let mut frame = vec![0x82];
    match u8::try_from(message.len()) {
        Ok(length) if length < 126 => frame.push(length),
        _ => {
            frame.push(126);
            frame.extend(u16::try_from(message.len()).expect("a short message").to_be_bytes());
        }
    }
    frame.extend_from_slice(message);
    socket.write_all(&frame).expect("the terminal takes a message");
}

/// The payload of the next frame, which must have a mask.
fn receive(socket: &mut TcpStream) -> Vec<u8> {
    let mut take = |length: usize| {
        let mut bytes = vec![0; length];
        socket.read_exact(&mut bytes).expect("a frame");
        bytes
    };
    let start = take(2);
    assert_eq!(start[1] & 0x80, 0x80, "a frame without a mask");
    let length = match start[1] & 0x7f {
        126 => usize::from(u16::from_be_bytes(take(2).try_into().expect("two bytes"))),
        127 => panic!("a very long frame"),
        length => length.into(),
    };
    let mask = take(4);
    take(length).iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// Reads frames until all that has come holds `text`.
fn until(socket: &mut TcpStream, text: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        seen.extend(receive(socket));
    }
}

#[test]
fn r43_mender_connect_opens_a_remote_terminal_through_the_proxy() {
    if !(has("mender-connect") && is_root()) {
        thimble_tests::lab::left_out("root and mender-connect");
        return;
    }
    let (managed, edge) = device();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let daemon = managed.start();
    bus.wait_for(AUTHENTICATION.0);
    let has_polled = |server: &Server, _: &[Entry]| server.count(Endpoint::NextV1) > 0;
    assert!(managed.server.wait_until(LIMIT, has_polled), "{}", managed.story());
    managed
        .lab
        .write("connect.conf", r#"{"ShellCommand":"/bin/sh","ShellArguments":["-i"],"User":"nobody"}"#);
    let log = std::fs::File::create(managed.lab.path("connect.log")).expect("a log");
    let connect = Command::new("mender-connect")
        .arg("--config")
        .arg(managed.lab.path("connect.conf"))
        .args(["--fallback-config", "/nonexistent", "--debug", "daemon"])
        .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _connect = Program(connect.expect("mender-connect starts"));
    let story =
        || std::fs::read_to_string(managed.lab.path("connect.log")).unwrap_or_default() + &managed.story();
    let (head, mut socket) = edge.sockets.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{}", story()));
    assert_eq!(header(&head, "Host"), edge.url.strip_prefix("http://"), "{head}");
    assert!(header(&head, "Authorization").is_some_and(|value| value.starts_with("Bearer ey")), "{head}");
    // A shell, a command, and what it says. The text that is looked for is not in the command, which is echoed.
    send(&mut socket, &message("new", "s-1", b""));
    until(&mut socket, "Shell started");
    send(&mut socket, &message("shell", "s-1", b"echo 'ter'minal-$((40 + 2))\n"));
    until(&mut socket, "terminal-42");
    // A new token leaves the terminal as it is.
    let before = managed.server.with(|server| server.count(Endpoint::Auth));
    assert!(bus.send(AUTHENTICATION, "FetchJwtToken", &[]).status.success());
    assert!(
        managed.server.wait_until(LIMIT, |server, _| server.count(Endpoint::Auth) > before),
        "{}",
        story()
    );
    send(&mut socket, &message("shell", "s-1", b"echo 'ter'minal-$((40 + 3))\n"));
    until(&mut socket, "terminal-43");
    // When the server goes, the add-on hears of it and comes again.
    drop(socket);
    assert!(edge.sockets.recv_timeout(PATIENCE).is_ok(), "{}", story());
    daemon.stop();
}

/// What Mender's configure add-on does in an inventory script: token and URL by `dbus-send`, the report by `curl`; on
/// failure a new token, once.
const CONFIGURE: &str = r#"#!/bin/sh
exec 1>&2
report() {
    reply=$(dbus-send --system --print-reply --dest=io.mender.AuthenticationManager \
        /io/mender/AuthenticationManager io.mender.Authentication1.GetJwtToken)
    strings=$(echo "$reply" | sed -ne 's/^ *string "\(.*\)" *$/\1/p')
    token=$(echo "$strings" | sed -ne 1p)
    server=$(echo "$strings" | sed -ne 2p)
    [ -n "$token" ] && [ -n "$server" ] || return 1
    echo "$token $server" >> told
    curl -sS -Lf -X PUT -H "Authorization: Bearer $token" -H "Content-Type: application/json" \
        -d @config.json "$server/api/devices/v1/deviceconfig/configuration" || return 3
}
cd LAB && report || echo "failed: $?" >> told
"#;

#[test]
fn r43_a_script_of_the_inventory_reports_the_configuration_as_mender_configure_does() {
    if !(has("curl") && has("dbus-send")) {
        thimble_tests::lab::left_out("curl and dbus-send");
        return;
    }
    let (managed, edge) = device();
    let Some(bus) = Bus::start(&managed.lab, Policy::Shipped) else { return };
    let lab = managed.lab.path("");
    managed.lab.write("config.json", r#"{"timezone":"UTC"}"#);
    managed.lab.program(
        "data/inventory/mender-inventory-mender-configure",
        &CONFIGURE.replace("LAB", lab.to_str().unwrap()),
    );
    let daemon = managed.start();
    bus.wait_for(AUTHENTICATION.0);
    daemon.signal("USR2");
    let (head, body) = edge.reports.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{}", managed.story()));
    assert_eq!(body, r#"{"timezone":"UTC"}"#);
    let told = std::fs::read_to_string(managed.lab.path("told")).unwrap();
    let last = told.lines().last().unwrap();
    let (token, server) = last.split_once(' ').unwrap();
    assert!(server.starts_with("http://127.0.0.1:"), "{told}");
    assert_eq!(header(&head, "Authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(header(&head, "Host"), edge.url.strip_prefix("http://"));
    // Other programs by other libraries, and the token of yesterday.
    let path = "api/devices/v1/deviceconfig/configuration";
    let curl = |token: &str| {
        let output = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", "-X", "PUT", "-d", "{}"])
            .args(["-H", &format!("Authorization: Bearer {token}"), &format!("{server}/{path}")])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(curl(token), "204");
    assert!(edge.reports.recv_timeout(LIMIT).is_ok());
    if has("wget") {
        let wget = Command::new("wget")
            .args(["-q", "-O", "-", "--no-proxy", "--method=PUT", "--body-data={}"])
            .args([&format!("--header=Authorization: Bearer {token}"), &format!("{server}/{path}")])
            .output()
            .unwrap();
        assert!(wget.status.success(), "{wget:?}");
        assert!(edge.reports.recv_timeout(LIMIT).is_ok());
    }
    assert_eq!(curl(""), "401");
    let before = managed.server.with(|server| server.count(Endpoint::Auth));
    assert!(bus.send(AUTHENTICATION, "FetchJwtToken", &[]).status.success());
    assert!(managed.server.wait_until(LIMIT, |server, _| server.count(Endpoint::Auth) > before));
    // The daemon has read the answer when it hands out another token.
    let end = std::time::Instant::now() + LIMIT;
    let new = loop {
        let reply = bus.send(AUTHENTICATION, "GetJwtToken", &[]);
        let reply = String::from_utf8(reply.stdout).unwrap();
        let new = reply.split('"').nth(1).unwrap_or_default().to_owned();
        if new != token && !new.is_empty() {
            break new;
        }
        assert!(std::time::Instant::now() < end, "{reply}");
        thread::sleep(Duration::from_millis(10));
    };
    assert_eq!((curl(token).as_str(), curl(&new).as_str()), ("401", "204"));
    daemon.stop();
}
