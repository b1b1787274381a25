//! A board with all that core can do.

use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;
use core::task::Poll;

use thimble_core::artifact::Gzip;
use thimble_core::embedded_io::ErrorKind;
use thimble_core::hal::{DeploymentLog, Exit, Fixed, Hal, Inventory, Level, Log, Platform, ScriptRunner};
use thimble_core::script::Transition;
use thimble_core::time::{Duration, Instant};

use super::{Network, Part, World, network};
use crate::verify::Signatures;

/// The log of every deployment.
const LOG: &[u8] = br#"{"messages":[]}"#;

/// The board.
pub struct Board<'w>(PhantomData<&'w ()>);

/// One value for each trait.
pub fn hal<'w>(world: &'w RefCell<World>, heads: &'w mut [u8]) -> Hal<Board<'w>> {
    Hal {
        storage: Part(world),
        scripts: Part(world),
        module: Part(world),
        network: network(world, heads),
        system: Part(world),
        identity: Fixed("serial=4711\n"),
        device_key: Part(world),
        inventory: Part(world),
        deployment_log: Part(world),
        policy: (),
        clock: Part(world),
        log: Part(world),
        verifier: Signatures::new(),
        decompress: Gzip::default(),
    }
}

impl<'w> Platform for Board<'w> {
    type Storage = Part<'w>;
    type Scripts = Part<'w>;
    type Module = Part<'w>;
    type Network = Network<'w>;
    type System = Part<'w>;
    type Identity = Fixed<'static>;
    type DeviceKey = Part<'w>;
    type Inventory = Part<'w>;
    type DeploymentLog = Part<'w>;
    type Policy = ();
    type Clock = Part<'w>;
    type Log = Part<'w>;
    type Verifier = Signatures;
    type Decompress = Gzip;
}

impl ScriptRunner for Part<'_> {
    fn start(&mut self, _: Instant, _: Transition, _: u16) -> Result<bool, ErrorKind> {
        Ok(false)
    }

    fn poll_exit(&mut self, _: Instant) -> Poll<Result<Exit, ErrorKind>> {
        Poll::Ready(Ok(Exit::Code(0)))
    }

    fn kill(&mut self, _: Instant, _: Duration) {}

    fn check_version(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn discard(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn stage(&mut self, _: &str, _: u64) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn stage_write(&mut self, _: &[u8]) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn publish(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl Inventory for Part<'_> {
    fn start(&mut self, _: Instant) -> Result<(), ErrorKind> {
        Ok(())
    }

    fn poll(&mut self, _: Instant) -> Poll<()> {
        Poll::Ready(())
    }

    fn output(&self, index: usize) -> Option<(&str, &[u8])> {
        (index == 0).then_some(("board", b"ram_kb=64\nflash_kb=512\n"))
    }
}

impl DeploymentLog for Part<'_> {
    fn open(&mut self, _: &str) -> Result<usize, ErrorKind> {
        Ok(LOG.len())
    }

    fn read(&mut self, at: usize) -> Result<&[u8], ErrorKind> {
        Ok(LOG.get(at..).unwrap_or_default())
    }
}

impl Log for Part<'_> {
    /// A board that writes its log to a wire formats each line; this one forgets it.
    fn log(&mut self, _: Level, message: fmt::Arguments<'_>) {
        core::hint::black_box(message);
    }
}
