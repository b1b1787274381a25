//! Requests and responses.

use super::*;
use std::fs;
use thimble_core::hal::{Error as _, Kind};
use thimble_core::http::fault::{BodyFault, Fault, HeadFault, RedirectFault};
use thimble_core::http::{Authorization, ContentRange};

#[test]
fn a_request_and_its_response() {
    let server = Server::replying(vec!["HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: \"e\"\r\n\r\nhello"]);
    let mut network = network();
    let url = server.url("/p?q=%20&r");
    let call = Request {
        method: Method::Post,
        authorization: Some(Authorization::Bearer("t0.k3n")),
        signature: Some("c2ln"),
        body: Some(2),
        ..get(&url)
    };
    let (head, body) = fetch_after(&mut network, &call, b"{}").unwrap();
    assert_eq!((head.status, head.content_length, body), (200, Some(5), b"hello".to_vec()));
    assert_eq!(network.etag(), Some("\"e\""));
    let request = server.request();
    assert!(
        request.starts_with("POST /p?q=%20&r HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{}"),
        "{request}"
    );
    assert!(request.contains(&format!("\r\nHost: {}\r\n", server.address)), "{request}");
    assert!(request.contains("\r\nAuthorization: Bearer t0.k3n\r\n"), "{request}");
}

#[test]
fn n6_an_answer_with_and_without_a_body_is_complete_once() {
    for len in [0, 1, 70_000] {
        let reply =
            format!("HTTP/1.1 429 X\r\nRetry-After: 9\r\nContent-Length: {len}\r\n\r\n{}", "x".repeat(len));
        let server = Server::replying(vec![reply]);
        let mut network = network();
        let url = server.url("/");
        let (head, body) = fetch(&mut network, &get(&url)).unwrap();
        assert_eq!((head.status, head.retry_after.unwrap().seconds, body.len()), (429, 9, len));
        for _ in 0..2 {
            assert!(matches!(network.poll_read(Instant::ZERO, &mut [0]), Poll::Ready(Ok(0))));
        }
    }
}

#[test]
fn every_form_of_a_body_is_read_whatever_the_pieces() {
    for (reply, expected) in [
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", "until the end"),
        ("HTTP/1.0 200 OK\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x\r\nd\r\n0\r\nT: u\r\n\r\n",
            "abcd",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            "a",
        ),
    ] {
        for piece in [1, 7, 10_000] {
            let server = Server::start(1, move |_, mut stream| {
                let request = read_request(&mut stream);
                stream.set_nodelay(true).unwrap();
                for piece in reply.as_bytes().chunks(piece) {
                    let _ = stream.write_all(piece);
                }
                request
            });
            let (_, body) = fetch(&mut network(), &get(&server.url("/"))).unwrap();
            assert_eq!(str::from_utf8(&body), Ok(expected), "{reply:?} in pieces of {piece}");
        }
    }
}

#[test]
fn n4_what_follows_a_body_does_not_reach_the_next_response() {
    let surplus = "HTTP/1.1 500 X\r\nContent-Length: 4\r\n\r\nevil";
    for reply in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 OK\r\n\r\n",
    ] {
        let server = Server::replying(vec![
            format!("{reply}{surplus}"),
            "HTTP/1.1 201 OK\r\nContent-Length: 3\r\n\r\nnew".to_owned(),
        ]);
        let mut network = network();
        let url = server.url("/");
        fetch(&mut network, &get(&url)).unwrap();
        let (head, body) = fetch(&mut network, &get(&url)).unwrap();
        assert_eq!((head.status, body), (201, b"new".to_vec()), "{reply}");
    }
}

#[test]
fn n5_n11_a_download_cut_anywhere_is_resumed_on_a_fresh_connection() {
    const WHOLE: &[u8] = b"0123456789";
    let mut network = network();
    for cut in 0..WHOLE.len() {
        let first =
            [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nETag: \"v1\"\r\n\r\n", &WHOLE[..cut]].concat();
        let rest = format!(
            "HTTP/1.1 206 X\r\nContent-Length: {}\r\nContent-Range: bytes {cut}-9/10\r\n\r\n",
            10 - cut
        );
        let server = Server::replying(vec![first, [rest.as_bytes(), &WHOLE[cut..]].concat()]);
        let url = server.url("/a");
        let mut got = Vec::new();
        head(&mut network, &get(&url)).unwrap();
        let etag = network.etag().unwrap().to_owned();
        let error = loop {
            let mut piece = [0; 3];
            match run(&mut network, |network, now| network.poll_read(now, &mut piece)) {
                Ok(0) => panic!("a cut body is not complete"),
                Ok(read) => got.extend_from_slice(&piece[..read]),
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), got.len()), (Kind::Connection, cut), "{error}");
        let resume = Request { offset: cut as u64, etag: Some(&etag), ..get(&url) };
        let (head, rest) = fetch(&mut network, &resume).unwrap();
        got.extend_from_slice(&rest);
        assert_eq!(got, WHOLE);
        assert_eq!(head.content_range, Some(ContentRange { first: cut as u64, last: 9, size: Some(10) }));
        assert!(!server.request().contains("Range"));
        let range = format!("\r\nRange: bytes={cut}-\r\nIf-Range: \"v1\"\r\n");
        assert_eq!(server.request().contains(&range), cut > 0, "n10");
    }
}

#[test]
fn n8_a_length_of_exabytes_is_only_a_number() {
    let server = Server::replying(vec!["HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nab"]);
    let mut network = network();
    let head = head(&mut network, &get(&server.url("/"))).unwrap();
    assert_eq!(head.content_length, Some(i64::MAX as u64));
    let error = body(&mut network).unwrap_err();
    assert_eq!(error.kind(), Kind::Connection, "{error}");
}

#[test]
fn n12_an_answer_before_the_whole_body_was_sent_counts() {
    // Once without reading on, once closing at once.
    for closes in [false, true] {
        let (sender, over) = channel::<()>();
        let server = Server::start(1, move |_, mut stream| {
            stream.read_exact(&mut [0; 100]).unwrap();
            stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig").unwrap();
            if !closes {
                let _ = over.recv_timeout(FORGOTTEN);
            }
            String::new()
        });
        let url = server.url("/log");
        let large = vec![b'x'; 32 << 20];
        let call = Request {
            method: Method::Put,
            authorization: Some(Authorization::Bearer("t")),
            body: Some(large.len()),
            ..get(&url)
        };
        let mut network = network();
        let (head, body) = fetch_after(&mut network, &call, &large).unwrap();
        assert_eq!((head.status, body), (413, b"big".to_vec()));
        drop(sender);
    }
}

#[test]
fn n18_a_call_with_token_or_body_is_never_redirected() {
    for call in [
        Request { authorization: Some(Authorization::Bearer("secret")), ..get("") },
        Request { body: Some(2), method: Method::Post, ..get("") },
        Request { body: Some(2), ..get("") },
    ] {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        other.set_nonblocking(true).unwrap();
        let reply = format!(
            "HTTP/1.1 302 X\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
            other.local_addr().unwrap()
        );
        let server = Server::replying(vec![reply]);
        let url = server.url("/");
        let call = Request { target: Target::Url(&url), ..call };
        let head = head_after(&mut network(), &call, if call.body.is_some() { b"{}" } else { b"" }).unwrap();
        assert_eq!(head.status, 302);
        assert!(other.accept().is_err(), "nobody asked there");
    }
}

#[test]
fn n18_a_download_follows_three_redirects_and_not_a_fourth() {
    for status in [301, 302, 303, 307, 308] {
        let target = Server::replying(vec![
            "HTTP/1.1 206 X\r\nContent-Range: bytes 5-5/6\r\nContent-Length: 1\r\n\r\nx",
        ]);
        let to = |location: &str| {
            format!("HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 9\r\n\r\nelsewhere")
        };
        let server = Server::replying(vec![to("/b"), to("c?d"), to(&target.url("/e"))]);
        let mut network = network();
        let url = server.url("/a/a");
        let (head, body) = fetch(&mut network, &Request { offset: 5, ..get(&url) }).unwrap();
        assert_eq!((head.status, body), (206, b"x".to_vec()));
        for line in ["GET /a/a ", "GET /b ", "GET /c?d "] {
            assert!(server.request().starts_with(line));
        }
        let request = target.request();
        assert!(request.starts_with("GET /e ") && request.contains("Range: bytes=5-"), "{request}");
        assert!(!request.contains("Authorization") && !request.contains("X-MEN"), "{request}");
    }
    let server = Server::replying(vec!["HTTP/1.1 302 X\r\nLocation: /\r\n\r\n"; 4]);
    let error = head(&mut network(), &get(&server.url("/"))).unwrap_err();
    assert!(error.to_string().contains("there were 3 before it, and no more are followed"), "{error}");
}

#[test]
fn a_redirect_to_nowhere() {
    let bad = ["ftp://a/", "http://user:pw@a/", "http://a b/", "http://"];
    for location in bad {
        let server = Server::replying(vec![format!("HTTP/1.1 302 X\r\nLocation: {location}\r\n\r\n")]);
        let error = head(&mut network(), &get(&server.url("/"))).unwrap_err();
        assert!(
            matches!(error, NetworkError::Http(_, Fault::Redirect(RedirectFault::Url(_)))),
            "{location}: {error}"
        );
    }
    let server = Server::replying(vec!["HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n"]);
    assert_eq!(head(&mut network(), &get(&server.url("/"))).unwrap().status, 302, "no Location");
}

#[test]
fn n26_n27_a_bad_or_endless_head_is_an_error() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101));
    let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(16 * 1024));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(16 * 1024 / 25 + 1);
    for (reply, too_large) in [(&many, false), (&long, true), (&interim, true), (&"\0".repeat(99), false)] {
        let server = Server::replying(vec![reply.clone()]);
        let error = head(&mut network(), &get(&server.url("/"))).unwrap_err();
        let NetworkError::Http(_, Fault::Head(fault)) = &error else { panic!("{error}") };
        assert_eq!(matches!(fault, HeadFault::TooLarge(16_384)), too_large, "{error}");
    }
    for reply in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let server = Server::replying(vec![reply]);
        let error = head(&mut network(), &get(&server.url("/"))).unwrap_err();
        assert!(matches!(error, NetworkError::Closed(..)) && error.kind() == Kind::Connection, "{error}");
    }
}

#[test]
fn n26_a_bad_or_cut_chunk_is_an_error_after_the_data_before_it() {
    for (rest, kind) in [
        ("x\r\n", Kind::Corrupt),
        ("5\r\nab", Kind::Connection),
        ("", Kind::Connection),
        ("0\r\n", Kind::Connection),
    ] {
        let server = Server::replying(vec![format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n{rest}"
        )]);
        let mut network = network();
        head(&mut network, &get(&server.url("/"))).unwrap();
        let mut buf = [0; 9];
        assert_eq!(run(&mut network, |network, now| network.poll_read(now, &mut buf)).unwrap(), 2);
        let error = body(&mut network).unwrap_err();
        assert_eq!(error.kind(), kind, "{rest:?}: {error}");
        if kind == Kind::Corrupt {
            assert!(matches!(error, NetworkError::Http(_, Fault::Body(BodyFault::ChunkSize))));
        }
        assert!(matches!(
            network.poll_read(Instant::ZERO, &mut buf),
            Poll::Ready(Err(NetworkError::Http(None, Fault::Idle)))
        ));
    }
}

#[test]
fn n28_an_answer_to_a_cancelled_request_reaches_nobody() {
    let (go, wait) = channel();
    let server = Server::start(2, move |number, mut stream| {
        let request = read_request(&mut stream);
        if number == 0 {
            wait.recv_timeout(FORGOTTEN).unwrap();
        }
        let _ = stream.write_all(format!("HTTP/1.1 20{number} OK\r\nContent-Length: 0\r\n\r\n").as_bytes());
        request
    });
    let mut network = network();
    let url = server.url("/");
    network.start(crate::testing::now(), &get(&url)).unwrap();
    poll_until(&mut network, b"", Activity::Head);
    network.start(crate::testing::now(), &get(&url)).unwrap();
    go.send(()).unwrap();
    let head = run(&mut network, |network, now| network.poll_head(now)).unwrap();
    assert_eq!(head.status, 201);
    network.cancel();
    assert!(matches!(
        network.poll_head(Instant::ZERO),
        Poll::Ready(Err(NetworkError::Http(None, Fault::Idle)))
    ));
    assert_eq!(Network::deadline(&network), None);
}

#[test]
fn a_name_is_looked_up_and_every_address_tried() {
    let server = Server::replying(vec!["HTTP/1.1 200 OK\r\n\r\n"]);
    let mut network = network();
    // Nobody listens at 127.0.0.2 on this port.
    network.setup().resolver = |host, port| {
        assert_eq!(host, "device.example");
        Ok(vec![SocketAddr::from(([127, 0, 0, 2], port)), SocketAddr::from(([127, 0, 0, 1], port))])
    };
    let url = format!("http://device.example:{}/", server.address.port());
    assert_eq!(fetch(&mut network, &get(&url)).unwrap().0.status, 200);
    assert!(server.request().contains("Host: device.example:"));

    network.setup().resolver = |_, _| Ok(vec![]);
    assert!(matches!(head(&mut network, &get(&url)), Err(NetworkError::Lookup(..))));
    network.setup().resolver = |_, _| Err(std::io::Error::other("no such name"));
    let error = head(&mut network, &get(&url)).unwrap_err();
    assert!(
        error.to_string().contains("device.example") && error.to_string().contains("no such name"),
        "{error}"
    );
    network.setup().resolver = crate::network::resolve::system;
    // Not closed: a child that another test has just forked would hold it open for a moment.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::shutdown(&nobody, rustix::net::Shutdown::Both).unwrap();
    let port = nobody.local_addr().unwrap().port();
    let error = head(&mut network, &get(&format!("http://localhost:{port}/"))).unwrap_err();
    assert!(matches!(error, NetworkError::Connect(..)) && error.kind() == Kind::Connection, "{error}");
}

#[test]
fn an_http_request_through_a_proxy() {
    let proxy = Server::replying(vec!["HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"]);
    let proxies = proxies("http_proxy", format!("http://us:pw@{}", proxy.address));
    let mut network = network_with(NetworkConfig { proxies, ..NetworkConfig::default() });
    fetch(&mut network, &get("http://device.example/p?q")).unwrap();
    let request = proxy.request();
    assert!(
        request.starts_with("GET http://device.example/p?q HTTP/1.1\r\nHost: device.example\r\n"),
        "{request}"
    );
    assert!(request.contains("\r\nProxy-Authorization: Basic dXM6cHc=\r\n"), "{request}");
}

#[test]
fn a_proxy_that_wants_a_user_says_so_and_a_server_only_answers() {
    let answer = "HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n";
    let proxy = Server::replying(vec![answer]);
    let proxies = proxies("http_proxy", format!("http://{}", proxy.address));
    let mut network = network_with(NetworkConfig { proxies, ..NetworkConfig::default() });
    let error = head(&mut network, &get("http://device.example/")).unwrap_err().to_string();
    let peer = proxy.address.to_string();
    assert!(error.contains(&peer) && error.contains("password; set them in http_proxy"), "{error}");
    let server = Server::replying(vec![answer]);
    assert_eq!(fetch(&mut self::network(), &get(&server.url("/"))).unwrap().0.status, 407);
}

#[test]
fn files_are_read_as_if_they_were_responses() {
    let lab = tempfile::tempdir().unwrap();
    let path = lab.path().join("artifact");
    fs::write(&path, b"0123456789").unwrap();
    let path = path.to_str().unwrap();
    let mut network = network();
    let file = Request { target: Target::File(path), ..get("") };
    let (head, body) = fetch(&mut network, &file).unwrap();
    assert_eq!((head.status, head.content_length, &body[..]), (200, Some(10), &b"0123456789"[..]));
    let (head, body) = fetch(&mut network, &Request { offset: 8, ..file }).unwrap();
    assert_eq!((head.status, head.content_length, &body[..]), (206, Some(2), &b"89"[..]));
    assert_eq!(head.content_range, Some(ContentRange { first: 8, last: 9, size: Some(10) }));
    let missing = Request { target: Target::File("/nowhere/at/all"), ..get("") };
    assert_eq!(network.start(Instant::ZERO, &missing).unwrap_err().kind(), Kind::NotFound);
    assert!(network.start(Instant::ZERO, &Request { method: Method::Put, ..file }).is_err());
}

#[test]
fn n16_what_is_no_url_or_token_is_never_sent() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", server.local_addr().unwrap());
    let mut network = network();
    for request in [
        Request { authorization: Some(Authorization::Bearer("a\r\nX: y")), ..get(&url) },
        Request { authorization: Some(Authorization::Bearer("a b")), ..get(&url) },
        Request { signature: Some("a\n"), ..get(&url) },
        get(&format!("{url}\r\nX: y")),
        get(&format!("{url} HTTP/1.1")),
    ] {
        let error = network.start(Instant::ZERO, &request).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
    }
    assert!(server.accept().is_err());
}

#[test]
fn d10_no_secret_in_debug_or_errors() {
    let server = Server::replying(vec!["garbage\r\n\r\n"]);
    let proxies = proxies("https_proxy", "http://us:proxysecret@p".to_owned());
    let mut network = network_with(NetworkConfig { proxies, ..NetworkConfig::default() });
    let url = server.url("/?sig=urlsecret");
    let call = Request {
        authorization: Some(Authorization::Bearer("tokensecret")),
        signature: Some("sigsecret"),
        body: Some(10),
        ..get(&url)
    };
    network.start(crate::testing::now(), &call).unwrap();
    let taken = run(&mut network, |network, now| network.poll_send(now, b"bodysecret"));
    assert_eq!(taken.unwrap(), 10);
    let debug = format!("{network:?}");
    let error = run(&mut network, |network, now| network.poll_head(now)).unwrap_err();
    for text in [debug, format!("{error} {error:?}")] {
        assert!(!text.contains("secret"), "{text}");
    }
}
