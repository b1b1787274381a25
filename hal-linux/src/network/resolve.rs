//! Looks up names. `getaddrinfo` blocks and cannot be cancelled, so it runs in a thread of its own, which closes a pipe
//! when it is done. A host that is an address needs no lookup.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use super::endpoint::Endpoint;
use super::error::NetworkError;

/// Most addresses of one name that are tried.
const ADDRESSES: usize = 8;

/// Most threads that may hang in lookups of cancelled requests. There are more only if the resolver takes longer than
/// the time between requests.
const LOOKUPS: usize = 4;

/// Stack size of a lookup thread: enough for the C library's `getaddrinfo`.
const STACK: usize = 256 * 1024;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A lookup under way.
#[derive(Debug)]
pub(super) struct Lookup {
    answer: Receiver<io::Result<Vec<SocketAddr>>>,
    /// The reading end of the pipe: it is at its end when the answer is there.
    done: OwnedFd,
}

/// Addresses, or the lookup that will bring them.
#[derive(Debug)]
pub(super) enum Resolved {
    Now(Vec<SocketAddr>),
    Later(Lookup),
}

/// Asks the system's resolver; a function so that tests can have a hanging one.
pub(super) type Resolver = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

pub(super) fn system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.take(ADDRESSES).collect())
}

pub(super) fn resolve(peer: &Endpoint, resolver: Resolver) -> Result<Resolved, NetworkError> {
    if let Some(address) = peer.address() {
        return Ok(Resolved::Now(vec![SocketAddr::new(unmapped(address), peer.port)]));
    }
    if RUNNING.fetch_add(1, Ordering::SeqCst) >= LOOKUPS {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        return Err(NetworkError::LookupsStuck);
    }
    let running = Running;
    let failed = |error: io::Error| NetworkError::Lookup(peer.to_string(), error.to_string());
    let (done, close_when_done) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|errno| failed(errno.into()))?;
    let (sender, answer) = channel();
    let (host, port) = (peer.host.clone(), peer.port);
    let lookup = move || {
        let _running = running;
        // Sending fails when the request was cancelled, which does not matter.
        let _ = sender.send(resolver(&host, port));
        drop(close_when_done);
    };
    thread::Builder::new().name("lookup".into()).stack_size(STACK).spawn(lookup).map_err(failed)?;
    Ok(Resolved::Later(Lookup { answer, done }))
}

impl Lookup {
    /// The answer, once it is there.
    pub(super) fn poll(&mut self, peer: &Endpoint) -> Option<Result<Vec<SocketAddr>, NetworkError>> {
        let failed = |text: String| NetworkError::Lookup(peer.to_string(), text);
        match self.answer.try_recv() {
            Ok(Ok(addresses)) if addresses.is_empty() => Some(Err(failed("it has no address".into()))),
            Ok(answer) => Some(answer.map_err(|error| failed(error.to_string()))),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(failed("the lookup broke off".into()))),
        }
    }

    /// Readable when the answer is there.
    pub(super) fn descriptor(&self) -> &OwnedFd {
        &self.done
    }
}

fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Counts a thread for as long as it lives.
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::SeqCst);
    }
}
