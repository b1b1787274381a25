//! A board without anything behind its traits. Values come through `black_box`, so that no branch of core can be
//! left out as dead.

use core::convert::Infallible;
use core::fmt;
use core::hint::black_box;
use core::task::Poll;

use thimble_core::artifact::Gzip;
use thimble_core::hal::{Agent, Change, Clock, ErrorType, Exit, Hal, Key, Level, Log, Network, PayloadSink, Permit, Platform, Policy, ScriptRunner, Storage, System, TreeFacts, UpdateModule, Verifier};
use thimble_core::deployment::{Call, Point};
use thimble_core::config::Tier;
use thimble_core::http::{Head, Request};
use thimble_core::script::Transition;
use thimble_core::time::{Duration, Instant};

/// Everything of the board: one value for each trait.
pub struct Board;

/// The board's platform.
pub fn hal() -> Hal<Board> {
    Hal {
        storage: Board,
        scripts: Board,
        module: Board,
        network: Board,
        system: Board,
        agent: Board,
        policy: Board,
        clock: Board,
        log: Board,
        verifier: Board,
        decompress: Gzip::default(),
    }
}

impl Platform for Board {
    type Storage = Self;
    type Scripts = Self;
    type Module = Self;
    type Network = Self;
    type System = Self;
    type Agent = Self;
    type Policy = Self;
    type Clock = Self;
    type Log = Self;
    type Verifier = Self;
    type Decompress = Gzip;
}

impl ErrorType for Board {
    type Error = Infallible;
}

impl Policy for Board {
    fn start(&mut self, _: Instant, _: Point, _: Instant) {}

    fn poll(&mut self, _: Instant) -> Poll<Permit> {
        Poll::Ready(black_box(Permit::Go))
    }

    fn kill(&mut self) {}

    fn reason(&self) -> &str {
        black_box("")
    }
}

impl Storage for Board {
    fn read<'b>(&mut self, _: Key, _: &'b mut [u8]) -> Result<Option<&'b [u8]>, Infallible> {
        Ok(black_box(None))
    }

    fn commit(&mut self, batch: &[Change<'_>]) -> Result<(), Infallible> {
        black_box(batch);
        Ok(())
    }
}

impl ScriptRunner for Board {
    fn start(&mut self, _: Instant, _: Transition, _: u16) -> Result<bool, Infallible> {
        Ok(black_box(false))
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, Infallible>> {
        black_box(Poll::Ready(Ok(Exit::Code(0))))
    }

    fn kill(&mut self, _: Instant, _: Duration) {}

    fn check_version(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn stage(&mut self, name: &str, _: u64) -> Result<(), Infallible> {
        black_box(name);
        Ok(())
    }

    fn stage_write(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        black_box(bytes);
        Ok(())
    }

    fn publish(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl PayloadSink for Board {
    fn poll_begin(&mut self, _: Instant, name: &str, _: u64) -> Poll<Result<(), Infallible>> {
        black_box(name);
        black_box(Poll::Ready(Ok(())))
    }

    fn poll_write(&mut self, _: Instant, bytes: &[u8]) -> Poll<Result<usize, Infallible>> {
        black_box(Poll::Ready(Ok(bytes.len())))
    }

    fn poll_end(&mut self, _: Instant) -> Poll<Result<(), Infallible>> {
        black_box(Poll::Ready(Ok(())))
    }

    fn poll_finish(&mut self, _: Instant) -> Poll<Result<(), Infallible>> {
        black_box(Poll::Ready(Ok(())))
    }

    fn abort(&mut self) {}
}

impl UpdateModule for Board {
    fn select(&mut self, payload_type: &str) -> Result<(), Infallible> {
        black_box(payload_type);
        Ok(())
    }

    fn prepare(&mut self, facts: &TreeFacts<'_>) -> Result<(), Infallible> {
        black_box(facts);
        Ok(())
    }

    fn start(&mut self, _: Instant, call: Call) -> Result<(), Infallible> {
        black_box(call);
        Ok(())
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, Infallible>> {
        black_box(Poll::Ready(Ok(Exit::Code(0))))
    }

    fn answer(&self) -> &[u8] {
        black_box(b"No")
    }

    fn kill(&mut self, _: Instant, _: Duration) {}

    fn is_clean(&mut self) -> bool {
        black_box(false)
    }

    fn remove(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Network for Board {
    fn start(&mut self, _: Instant, request: &Request<'_>) -> Result<(), Infallible> {
        black_box(request);
        Ok(())
    }

    fn poll_send(&mut self, _: Instant, rest: &[u8]) -> Poll<Result<usize, Infallible>> {
        black_box(Poll::Ready(Ok(rest.len())))
    }

    fn poll_head(&mut self, _: Instant) -> Poll<Result<Head, Infallible>> {
        black_box(Poll::Ready(Ok(Head { status: 200, content_length: Some(0), content_range: None, retry_after: None })))
    }

    fn poll_read(&mut self, _: Instant, buf: &mut [u8]) -> Poll<Result<usize, Infallible>> {
        black_box(buf);
        black_box(Poll::Ready(Ok(0)))
    }

    fn cancel(&mut self) {}
}

impl System for Board {
    fn device_type<'b>(&mut self, _: &'b mut [u8]) -> Result<&'b str, Infallible> {
        Ok(black_box("board"))
    }

    fn start_reboot(&mut self, _: Instant) -> Result<(), Infallible> {
        Ok(())
    }

    fn poll_reboot(&mut self, _: Instant) -> Poll<Result<Exit, Infallible>> {
        black_box(Poll::Pending)
    }
}

impl Agent for Board {
    fn server(&self, index: usize) -> Option<&str> {
        black_box((index == 0).then_some("http://127.0.0.1"))
    }

    fn tenant_token(&self) -> &str {
        black_box("")
    }

    fn tier(&self) -> Option<Tier> {
        black_box(None)
    }

    fn version(&self) -> &str {
        "0"
    }

    fn start_identity(&mut self, _: Instant) -> Result<(), Infallible> {
        Ok(())
    }

    fn poll_identity(&mut self, _: Instant, out: &mut [u8]) -> Poll<Result<usize, Infallible>> {
        black_box(out);
        black_box(Poll::Ready(Ok(0)))
    }

    fn public_key(&mut self) -> Result<&str, Infallible> {
        Ok(black_box(""))
    }

    fn sign<'o>(&mut self, body: &[u8], out: &'o mut [u8]) -> Result<&'o str, Infallible> {
        black_box((body, out));
        Ok(black_box(""))
    }

    fn start_inventory(&mut self, _: Instant) -> Result<(), Infallible> {
        Ok(())
    }

    fn poll_inventory(&mut self, _: Instant) -> Poll<()> {
        black_box(Poll::Ready(()))
    }

    fn inventory(&self, _: usize) -> Option<(&str, &[u8])> {
        black_box(None)
    }

    fn deployment_log(&mut self, _: &str) -> Result<&[u8], Infallible> {
        Ok(black_box(b"{}"))
    }

    fn cancel(&mut self) {}
}

impl Clock for Board {
    fn now(&mut self) -> Instant {
        black_box(Instant::ZERO)
    }
}

impl Log for Board {
    fn log(&mut self, _: Level, message: fmt::Arguments<'_>) {
        black_box(message);
    }
}

impl Verifier for Board {
    fn has_keys(&self) -> bool {
        black_box(false)
    }

    fn reset(&mut self) {}

    fn update(&mut self, manifest: &[u8]) -> bool {
        black_box(manifest);
        black_box(true)
    }

    fn verify(&mut self, signature: &[u8]) -> bool {
        black_box(signature);
        black_box(false)
    }
}
