use super::*;
use crate::server::Fault;

const LIMIT: Duration = Duration::from_secs(30);

fn listener() -> Listener {
    Listener::start(0, Security::Plain, Server::new("")).unwrap()
}

fn inventory(listener: &Listener) -> String {
    let host = listener.address;
    format!(
        "PUT /api/devices/v1/inventory/device/attributes HTTP/1.1\r\nHost: {host}\r\nUser-Agent: t/1\r\nContent-Length: 2\r\n\r\n[]"
    )
}

/// Sends bytes and reads to the end of the connection, which the client ends after `answers` heads.
fn exchange(listener: &Listener, request: &str) -> String {
    let mut tcp = TcpStream::connect(listener.address).unwrap();
    tcp.set_read_timeout(Some(LIMIT)).unwrap();
    tcp.write_all(request.as_bytes()).unwrap();
    // A server that resets the connection may be quicker; what has come of the answer says the rest.
    if let Err(error) = tcp.shutdown(std::net::Shutdown::Write) {
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn the_model_answers_on_the_wire() {
    let listener = listener();
    let answer = exchange(&listener, &inventory(&listener));
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("no token"), "{answer}");
    let journal = listener.journal();
    assert_eq!((journal.len(), journal[0].status, &journal[0].body[..]), (1, 401, &b"[]"[..]));
    assert!(listener.with(|server| server.violations().iter().all(|v| v.contains("401"))));
}

#[test]
fn what_a_good_client_would_not_send_is_noted() {
    let listener = listener();
    let good = inventory(&listener);
    for (request, part) in [
        (good.replace("User-Agent: t/1\r\n", ""), "no User-Agent"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), "request line"),
        (good.replace("Host: ", "Host: x"), "Host is"),
        (good.replace("t/1", "t/\x01"), "a byte in the head"),
        (
            good.replace("Content-Length: 2", "Content-Length: 2\r\nContent-Length: 2"),
            "Content-Length is given twice",
        ),
        (good.replace("Content-Length: 2", "X: 2"), "with Content-Length []"),
        (format!("{good}x"), "1 bytes behind"),
        (good.replace("User-Agent", "User Agent"), "header line"),
    ] {
        exchange(&listener, &request);
        let found = listener.with(|server| server.violations().iter().any(|v| v.contains(part)));
        assert!(found, "{part} not in {:?}", listener.with(|server| server.violations().to_vec()));
    }
}

#[test]
fn a_request_in_chunks_is_noted_and_answered() {
    let listener = listener();
    let request =
        inventory(&listener).replace("Content-Length: 2\r\n\r\n[]", "Transfer-Encoding: chunked\r\n\r\n");
    exchange(&listener, &format!("{request}1\r\n[\r\n1\r\n]\r\n0\r\n\r\n"));
    assert_eq!(listener.journal()[0].body, b"[]");
    let has = |part: &str| listener.with(|server| server.violations().iter().any(|v| v.contains(part)));
    assert!(has("in chunks") && !has("behind"));
}

#[test]
fn answers_are_damaged_on_the_wire() {
    let listener = listener();
    let request = inventory(&listener);
    let whole = exchange(&listener, &request);
    let damaged = |wire: Wire| {
        listener.disturb(Endpoint::Inventory, 0, 1, wire);
        exchange(&listener, &request)
    };
    assert_eq!(damaged(Wire::Close(20)), whole[..20]);
    assert_eq!(damaged(Wire::Raw(b"garbage".to_vec())), "garbage");
    assert_eq!(damaged(Wire::Surplus(b"more".to_vec())), format!("{whole}more"));
    assert_eq!(damaged(Wire::Slow(100, 1)), whole);
    assert!(!damaged(Wire::NoLength).contains("Content-Length"));
    assert!(damaged(Wire::Chunked(10)).contains("\r\n\r\na\r\n"));
    assert!(damaged(Wire::Header("X: y".into())).contains("\r\nX: y\r\n\r\n"));
    assert!(damaged(Wire::Interim).starts_with("HTTP/1.1 100 "));
    assert!(damaged(Wire::Reset(0)).is_empty());
    assert_eq!(exchange(&listener, &request), whole, "the fault is over");
}

#[test]
fn faults_of_the_model_reach_the_wire() {
    let listener = listener();
    let request = inventory(&listener);
    listener.with(|server| server.disturb(Endpoint::Inventory, 0, 1, Fault::Unreachable));
    assert_eq!(exchange(&listener, &request), "");
    listener.with(|server| server.disturb(Endpoint::Inventory, 0, 1, Fault::Silent));
    assert_eq!(exchange(&listener, &request), "", "the client ended it");
}

#[test]
fn observers_are_called_before_and_after_the_effect() {
    let listener = listener();
    let (sender, receiver) = std::sync::mpsc::channel();
    listener.observe(Some(Box::new(move |when, entry| sender.send((when, entry.status)).unwrap())));
    exchange(&listener, &inventory(&listener));
    assert_eq!(receiver.recv_timeout(LIMIT), Ok((When::Before, 0)));
    assert_eq!(receiver.recv_timeout(LIMIT), Ok((When::After, 401)));
    assert!(
        listener.wait_until(LIMIT, |server, journal| journal.len() == 1
            && server.count(Endpoint::Inventory) == 1)
    );
    assert!(!listener.wait_until(Duration::ZERO, |_, journal| journal.len() == 2));
}

#[test]
fn tls_has_a_certificate_of_its_own() {
    let listener = Listener::start(0, Security::Tls, Server::new("")).unwrap();
    assert!(listener.certificate().starts_with("-----BEGIN CERTIFICATE-----"));
    assert!(listener.url().starts_with("https://127.0.0.1:"));
}

#[test]
fn a_host_may_be_known_by_another_name() {
    let listener = Listener::start_as("server", 0, Security::Plain, Server::new("")).unwrap();
    let port = listener.address.port();
    assert_eq!(listener.url(), format!("http://server:{port}"));
    assert_eq!(listener.with(|server| server.links.clone()), listener.url());
    let wrong = |listener: &Listener| {
        listener.with(|server| server.violations().iter().filter(|v| v.contains("Host is")).count())
    };
    let request = inventory(&listener);
    exchange(&listener, &request.replace(&listener.address.to_string(), &format!("server:{port}")));
    assert_eq!(wrong(&listener), 0);
    exchange(&listener, &request);
    assert_eq!(wrong(&listener), 1);
}

#[test]
fn signatures_of_all_kinds_of_keys_are_checked() {
    let dir = std::env::temp_dir().join(format!("thimble-signature-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let openssl = |args: &str| {
        let done =
            std::process::Command::new("openssl").args(args.split(' ')).current_dir(&dir).output().unwrap();
        assert!(done.status.success(), "{args}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(dir.join("body"), b"{}").unwrap();
    for (make, sign) in [
        (
            "genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:2048 -out key",
            "dgst -sha256 -sign key -out sig body",
        ),
        (
            "genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256 -out key",
            "dgst -sha256 -sign key -out sig body",
        ),
        ("genpkey -algorithm ed25519 -out key", "pkeyutl -sign -rawin -inkey key -in body -out sig"),
    ] {
        openssl(make);
        openssl(sign);
        openssl("pkey -in key -pubout -out pub");
        openssl("base64 -A -in sig -out text");
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
        assert!(verify(&read("pub"), b"{}", &read("text")), "{make}");
        assert!(!verify(&read("pub"), b"{ }", &read("text")), "{make}");
        assert!(!verify(&read("pub"), b"{}", "c2ln"), "{make}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn there_are_so_many_connections_and_no_more() {
    let listener = Listener::start(0, Security::Plain, Server::new("")).unwrap();
    let mut places: Vec<Place> = (0..CONNECTIONS).map_while(|_| Place::take(&listener.shared)).collect();
    assert_eq!(places.len(), CONNECTIONS);
    assert!(Place::take(&listener.shared).is_none());
    let closed = TcpStream::connect(listener.address).unwrap().read(&mut [0]);
    assert!(matches!(closed, Ok(0)), "{closed:?}");
    places.pop();
    assert!(Place::take(&listener.shared).is_some());
}

#[test]
fn a_listener_that_runs_for_long_keeps_no_requests() {
    let listener = Listener::start(0, Security::Plain, Server::new("")).unwrap();
    listener.forget_journal();
    let (sender, told) = std::sync::mpsc::channel();
    listener.observe(Some(Box::new(move |when, entry| {
        if when == When::After {
            let _ = sender.send(entry.target.clone());
        }
    })));
    let mut stream = TcpStream::connect(listener.address).unwrap();
    write!(stream, "GET /x HTTP/1.1\r\nHost: {}\r\nUser-Agent: t\r\n\r\n", listener.shared.host).unwrap();
    assert_eq!(told.recv().unwrap(), "/x");
    assert!(listener.journal().is_empty());
}
