//! A board that does without all that a small client does without: no state scripts, signatures, compressed artifacts,
//! inventory or log.

use core::cell::RefCell;
use core::marker::PhantomData;

use thimble_core::hal::{Fixed, Hal, NoScripts, Platform};

use super::{Network, Part, World, network};

/// The board.
pub struct Board<'w>(PhantomData<&'w ()>);

/// One value for each trait.
pub fn hal<'w>(world: &'w RefCell<World>, heads: &'w mut [u8]) -> Hal<Board<'w>> {
    Hal {
        storage: Part(world),
        scripts: NoScripts,
        module: Part(world),
        network: network(world, heads),
        system: Part(world),
        identity: Fixed("serial=4711\n"),
        device_key: Part(world),
        inventory: (),
        deployment_log: (),
        policy: (),
        clock: Part(world),
        log: (),
        verifier: (),
        decompress: (),
    }
}

impl<'w> Platform for Board<'w> {
    type Storage = Part<'w>;
    type Scripts = NoScripts;
    type Module = Part<'w>;
    type Network = Network<'w>;
    type System = Part<'w>;
    type Identity = Fixed<'static>;
    type DeviceKey = Part<'w>;
    type Inventory = ();
    type DeploymentLog = ();
    type Policy = ();
    type Clock = Part<'w>;
    type Log = ();
    type Verifier = ();
    type Decompress = ();
}
