//! One request and its answer, for verbs that ask a server themselves.

use std::fmt::Display;

use thimble_core::hal::{Clock, Network};
use thimble_core::http::{Head, Request};
use thimble_core::time::Instant;
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

/// Polls until it is ready.
pub(crate) fn ready<T, E: Display>(
    network: &mut HttpNetwork,
    poll: impl FnMut(&mut HttpNetwork, Instant) -> std::task::Poll<Result<T, E>>,
) -> Result<T, Failure> {
    until_ready(network, poll, HttpNetwork::deadline, HttpNetwork::wants)?.map_err(Failure::new)
}
