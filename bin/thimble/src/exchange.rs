//! One request and its answer, for verbs that ask a server themselves.

use std::fmt::Display;
use std::task::Poll;

use thimble_core::api::Endpoint;
use thimble_core::hal::{Clock, Network};
use thimble_core::http::{Head, Request, Target};
use thimble_core::limits;
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::network::HttpNetwork;
use zeroize::Zeroizing;

use crate::drive::until_ready;
use crate::output::Failure;

/// Sends `request` with `body`, and gives the head of the answer and the first bytes of its body, at most `most`. Ends: the network
/// has limits for each step.
pub(crate) fn exchange(
    network: &mut HttpNetwork,
    request: &Request<'_>,
    body: &[u8],
    most: usize,
) -> Result<(Head, Zeroizing<Vec<u8>>), Failure> {
    network.start(BootClock.now(), request).map_err(Failure::new)?;
    let mut rest = body;
    while !rest.is_empty() {
        match ready(network, |network, now| network.poll_send(now, rest))? {
            0 => break,
            taken => rest = rest.get(taken..).unwrap_or_default(),
        }
    }
    let head = ready(network, |network, now| network.poll_head(now))?;
    let mut answer = Zeroizing::new(vec![0; most]);
    let mut length = 0;
    while let room @ [_, ..] = answer.get_mut(length..).unwrap_or_default() {
        match ready(network, |network, now| network.poll_read(now, room))? {
            0 => break,
            read => length += read,
        }
    }
    network.cancel();
    answer.truncate(length);
    Ok((head, answer))
}

/// Asks a server for an update without a token and without saying who asks, and gives the status of its answer: a Mender server's
/// is 401, and nothing is changed there. With `patience`, no longer than that.
pub(crate) fn greet(
    network: &mut HttpNetwork,
    server: &str,
    patience: Option<Duration>,
) -> Result<u16, Failure> {
    let mut url = vec![0; limits::URL];
    let endpoint = Endpoint::NextV1 { artifact_name: "unknown", device_type: "unknown" };
    let url = endpoint.url(server, &mut url).map_err(Failure::new)?;
    let request = Request {
        method: endpoint.method(),
        target: Target::Url(url),
        authorization: None,
        signature: None,
        body: None,
        offset: 0,
        etag: None,
    };
    let now = BootClock.now();
    let end = patience.map(|patience| now + patience);
    network.start(now, &request).map_err(Failure::new)?;
    let poll = |network: &mut HttpNetwork, now: Instant| match network.poll_head(now) {
        Poll::Pending if end.is_some_and(|end| now >= end) => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
        Poll::Ready(head) => Poll::Ready(Some(head)),
    };
    let deadline = |network: &HttpNetwork| earliest(network.deadline(), end);
    let answer = until_ready(network, poll, deadline, HttpNetwork::wants)?;
    network.cancel();
    match answer {
        Some(head) => head.map(|head| head.status).map_err(Failure::new),
        None => {
            let seconds = patience.map_or(0, Duration::as_secs);
            Err(Failure::new(format_args!("no answer within {seconds} s")))
        }
    }
}

/// Polls until it is ready.
pub(crate) fn ready<T, E: Display>(
    network: &mut HttpNetwork,
    poll: impl FnMut(&mut HttpNetwork, Instant) -> Poll<Result<T, E>>,
) -> Result<T, Failure> {
    until_ready(network, poll, HttpNetwork::deadline, HttpNetwork::wants)?.map_err(Failure::new)
}
