//! The network against small servers on the loopback device. Time limits are reached by telling another time, not
//! by waiting.

mod http;
mod stalls;
pub(crate) mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::task::Poll;
use std::thread;
use std::time::Duration as StdDuration;

use thimble_core::hal::Network;
use thimble_core::http::{Head, Method, Request, Target};
use thimble_core::time::Instant;

use super::connector::Setup;
use super::{Activity, HttpNetwork, NetworkConfig, NetworkError, Proxies};
use crate::testing::{Waits, log, run};
use crate::wait::PollSet;

/// A peer that says nothing for so long has been forgotten by its test.
pub(crate) const FORGOTTEN: StdDuration = StdDuration::from_secs(20);

impl Waits for HttpNetwork {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        Self::wants(self, set);
    }

    fn deadline(&self) -> Option<Instant> {
        Network::deadline(self)
    }
}

/// A server that handles so many connections, one after the other.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// What each connection asked.
    requests: Receiver<String>,
}

impl Server {
    pub(crate) fn start(
        connections: usize,
        mut answer: impl FnMut(usize, TcpStream) -> String + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        thread::spawn(move || {
            for number in 0..connections {
                let Ok((stream, _)) = listener.accept() else { return };
                stream.set_read_timeout(Some(FORGOTTEN)).unwrap();
                stream.set_write_timeout(Some(FORGOTTEN)).unwrap();
                // The test may be over.
                let _ = sender.send(answer(number, stream));
            }
        });
        Self { address, requests }
    }

    /// Answers each connection with the next of `replies` and closes it.
    pub(crate) fn replying<R: AsRef<[u8]> + Send + 'static>(replies: Vec<R>) -> Self {
        Self::start(replies.len(), move |number, mut stream| {
            let request = read_request(&mut stream);
            // The client may have seen enough and closed.
            let _ = stream.write_all(replies[number].as_ref());
            request
        })
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn request(&self) -> String {
        self.requests.recv_timeout(FORGOTTEN).unwrap()
    }
}

/// Head and body (by `Content-Length`) of a request.
pub(crate) fn read_request(stream: &mut impl Read) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            break;
        }
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    head + str::from_utf8(&body).unwrap()
}

fn get(url: &str) -> Request<'_> {
    Request {
        method: Method::Get,
        target: Target::Url(url),
        authorization: None,
        signature: None,
        body: None,
        offset: 0,
        etag: None,
    }
}

fn network() -> HttpNetwork {
    network_with(NetworkConfig::default())
}

fn network_with(config: NetworkConfig) -> HttpNetwork {
    HttpNetwork::new(config, log().1).unwrap()
}

fn proxies(variable: &'static str, value: String) -> Proxies {
    Proxies::from_env(|name| (name == variable).then(|| value.clone().into()))
}

fn head(network: &mut HttpNetwork, request: &Request<'_>) -> Result<Head, NetworkError> {
    head_after(network, request, b"")
}

/// The head of the answer to a request with a body.
fn head_after(
    network: &mut HttpNetwork,
    request: &Request<'_>,
    mut body: &[u8],
) -> Result<Head, NetworkError> {
    network.start(crate::testing::now(), &Request { body: request.body.map(|_| body.len()), ..*request })?;
    while !body.is_empty() {
        match run(network, |network, now| network.poll_send(now, body))? {
            0 => break,
            taken => body = &body[taken..],
        }
    }
    run(network, |network, now| network.poll_head(now))
}

/// The rest of the body, read in pieces of an odd size.
fn body(network: &mut HttpNetwork) -> Result<Vec<u8>, NetworkError> {
    let (mut all, mut piece) = (Vec::new(), [0; 1013]);
    loop {
        match run(network, |network, now| network.poll_read(now, &mut piece))? {
            0 => return Ok(all),
            read => all.extend_from_slice(&piece[..read]),
        }
    }
}

fn fetch(network: &mut HttpNetwork, request: &Request<'_>) -> Result<(Head, Vec<u8>), NetworkError> {
    let head = head(network, request)?;
    Ok((head, body(network)?))
}

fn fetch_after(
    network: &mut HttpNetwork,
    request: &Request<'_>,
    sent: &[u8],
) -> Result<(Head, Vec<u8>), NetworkError> {
    let head = head_after(network, request, sent)?;
    Ok((head, body(network)?))
}

/// Polls until the request is in `activity` and waits there.
fn poll_until(network: &mut HttpNetwork, mut body: &[u8], activity: Activity) {
    run(network, |network, now| {
        loop {
            let waits = if !body.is_empty() {
                match network.poll_send(now, body) {
                    Poll::Ready(taken) => {
                        body = &body[taken.unwrap()..];
                        false
                    }
                    Poll::Pending => true,
                }
            } else if network.activity() == Activity::Body {
                network.poll_read(now, &mut [0; 64]).map_ok(|_| ()).is_pending()
            } else {
                network.poll_head(now).map_ok(|_| ()).is_pending()
            };
            if waits {
                return if network.activity() == activity { Poll::Ready(()) } else { Poll::Pending };
            }
        }
    });
}

impl HttpNetwork {
    fn setup(&mut self) -> &mut Setup {
        std::rc::Rc::get_mut(&mut self.http.connector_mut().setup).unwrap()
    }

    fn activity(&self) -> Activity {
        self.http.connector().activity().unwrap_or(self.http.exchange().activity().into())
    }
}
