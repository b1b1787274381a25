//! Peers that go silent, during every activity (N1, N3, N27).

use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex};

use super::*;
use crate::network::stream::Stream;
use crate::network::{Activity, Limits};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use thimble_core::hal::{Error as _, Kind};
use thimble_core::time::Duration;

/// The request hangs in `activity`, for as long as `limit` says; then it is over, and the next one is not concerned.
fn hangs(network: &mut HttpNetwork, request: &Request<'_>, activity: Activity, limit: Duration) {
    for cancel in [false, true] {
        network.start(crate::testing::now(), request).unwrap();
        let body = vec![b'x'; request.body.unwrap_or_default()];
        poll_until(network, &body, activity);
        let deadline = Network::deadline(network).unwrap();
        assert!(deadline.since(crate::testing::now()) <= limit);
        if cancel {
            network.cancel();
        } else {
            let just_before = deadline - Duration::from_millis(1);
            assert!(!matches!(poll(network, just_before), Poll::Ready(_)));
            let Poll::Ready(Err(error)) = poll(network, deadline) else {
                panic!("still waiting in {activity:?}")
            };
            assert!(matches!(&error, NetworkError::TimedOut(_, at) if *at == activity), "{error}");
            assert_eq!(error.kind(), Kind::TimedOut);
        }
        assert_eq!(Network::deadline(network), None);
        let mut set = PollSet::new();
        network.wants(&mut set);
        assert!(set.is_empty());
    }
    let server = Server::replying(vec!["HTTP/1.1 204 OK\r\n\r\n"]);
    assert_eq!(fetch(network, &get(&server.url("/"))).unwrap().0.status, 204);
}

fn poll(network: &mut HttpNetwork, now: Instant) -> Poll<Result<(), NetworkError>> {
    if network.activity() == Activity::Body {
        network.poll_read(now, &mut [0; 64]).map_ok(|_| ())
    } else {
        network.poll_head(now).map_ok(|_| ())
    }
}

fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    (listener, authority)
}

#[test]
fn n1_a_silent_server() {
    let (_listener, authority) = silent();
    let limits = Limits::default();
    hangs(&mut network(), &get(&format!("http://{authority}/")), Activity::Head, limits.http.head);
    hangs(&mut network(), &get(&format!("https://{authority}/")), Activity::Handshake, limits.handshake);
    let url = format!("http://{authority}/");
    let call = Request { method: Method::Put, body: Some(32 << 20), ..get(&url) };
    hangs(&mut network(), &call, Activity::Send, limits.http.write);
}

#[test]
fn n1_a_silent_proxy() {
    let (_listener, authority) = silent();
    let limits = Limits::default();
    for (scheme, activity, limit) in
        [("http", Activity::Proxy, limits.http.head), ("https", Activity::Handshake, limits.handshake)]
    {
        let proxies = proxies("https_proxy", format!("{scheme}://{authority}"));
        let mut network = network_with(NetworkConfig { proxies, ..NetworkConfig::default() });
        hangs(&mut network, &get("https://device.example/"), activity, limit);
    }
}

#[test]
fn n1_a_body_that_stops() {
    let (sender, over) = channel::<()>();
    let server = Server::start(2, move |_, mut stream| {
        let request = read_request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").unwrap();
        // Kept open beyond the connection's turn.
        let hold = stream.try_clone().unwrap();
        Box::leak(Box::new(hold));
        request
    });
    hangs(&mut network(), &get(&server.url("/")), Activity::Body, Limits::default().http.body_idle);
    drop((sender, over));
}

#[test]
fn n1_a_lookup_that_hangs() {
    static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
    let mut network = network();
    network.setup().resolver = |_, port| {
        let (released, wake) = &RELEASED;
        let guard = released.lock().unwrap();
        let _unused = wake.wait_timeout_while(guard, FORGOTTEN, |released| !*released).unwrap();
        Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
    };
    hangs(&mut network, &get("http://device.example/"), Activity::Lookup, Limits::default().lookup);
    *RELEASED.0.lock().unwrap() = true;
    RELEASED.1.notify_all();
}

#[test]
fn n1_a_host_that_does_not_answer_to_connect() {
    // With a full queue of connections nobody accepts, the next one is left without an answer.
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let address = SocketAddr::try_from(getsockname(listener.as_fd()).unwrap()).unwrap();
    let _filling: Vec<Stream> = (0..4).map(|_| Stream::connect(address).unwrap()).collect();
    let url = format!("http://{address}/");
    hangs(&mut network(), &get(&url), Activity::Connect, Limits::default().connect);
}

#[test]
fn n27_a_head_that_drips_has_no_more_time_than_any_other() {
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nA: b\r\n";
    let (drip, drops) = channel::<u8>();
    let server = Server::start(1, move |_, mut stream| {
        let request = read_request(&mut stream);
        stream.set_nodelay(true).unwrap();
        while let Ok(byte) = drops.recv_timeout(FORGOTTEN) {
            let _ = stream.write_all(&[byte]);
        }
        request
    });
    let mut network = network();
    network.start(crate::testing::now(), &get(&server.url("/"))).unwrap();
    poll_until(&mut network, b"", Activity::Head);
    let deadline = Network::deadline(&network).unwrap();
    for (number, &byte) in HEAD.iter().enumerate() {
        drip.send(byte).unwrap();
        run(&mut network, |network, now| {
            assert!(network.poll_head(now).is_pending());
            if network.http.exchange().received() > number { Poll::Ready(()) } else { Poll::Pending }
        });
        assert_eq!(Network::deadline(&network), Some(deadline), "a byte gives no more time");
    }
    assert!(matches!(
        network.poll_head(deadline),
        Poll::Ready(Err(NetworkError::TimedOut(_, Activity::Head)))
    ));
}

#[test]
fn a_slow_reader_is_not_an_idle_peer() {
    let server = Server::replying(vec!["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"]);
    let mut network = network();
    head(&mut network, &get(&server.url("/"))).unwrap();
    let mut byte = [0];
    let read = run(&mut network, |network, now| network.poll_read(now, &mut byte)).unwrap();
    assert_eq!((read, Network::deadline(&network)), (1, None));
    // A module took an hour over the first byte.
    let later = crate::testing::now() + Duration::from_secs(3600);
    assert!(matches!(network.poll_read(later, &mut byte), Poll::Ready(Ok(1))));
    let mut set = PollSet::new();
    network.wants(&mut set);
    assert!(set.is_empty(), "or the main loop would spin while the module works");
}
