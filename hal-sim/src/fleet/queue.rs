//! Virtual time: each device is woken when it is to go on, and no device is looked at before.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use thimble_core::time::{Duration, Instant};

use super::chance::{Chance, is_chosen};
use super::device::{Device, World};
use super::figures::Figures;
use super::plan::{Fault, Plan};

/// The seed's number for what concerns no single device.
const FLEET: u64 = u64::MAX;

/// Between two turns of a device at least so much time passes.
const TURN: Duration = Duration::from_millis(1);

/// When a device goes on; it has one place in the queue.
type Wake = Reverse<(u64, u32)>;

/// Memory for each device, in bytes: what is kept of it and its place in the queue. Some hundred more while it has an
/// update.
#[must_use]
pub const fn bytes_per_device() -> usize {
    size_of::<Device>() + size_of::<Wake>()
}

/// Runs a fleet for its time. `progress` hears now and then how much of that has passed.
///
/// The same plan gives the same figures, on every host.
///
/// # Errors
/// The plan is not within its limits; or a client does what no client may do, which is a fault of this project's.
pub fn run(plan: &Plan<'_>, progress: &mut dyn FnMut(Duration)) -> Result<Figures, Fault> {
    plan.check()?;
    let count = plan.devices as usize;
    let fails = Chance::of(plan.seed, FLEET).choose(plan.fail.of(plan.devices) as usize, count);
    let mut devices = Vec::with_capacity(count);
    let mut queue = Vec::with_capacity(count);
    for number in 0..plan.devices {
        let (device, at) = Device::new(plan, number, is_chosen(&fails, number as usize));
        devices.push(device);
        queue.push(Reverse((at.as_millis(), number)));
    }
    let mut queue: BinaryHeap<Wake> = queue.into();
    let mut world = World { plan, figures: Figures::new(plan.devices, plan.time) };
    while let Some(mut first) = queue.peek_mut() {
        let Reverse((at, number)) = *first;
        let now = Instant::from_millis(at);
        if at >= plan.time.as_millis() {
            break;
        }
        if world.figures.pass(now) {
            progress(now.since(Instant::ZERO));
        }
        let Some(device) = devices.get_mut(number as usize) else { break };
        let wakes = device.turn(now, &mut world).map_err(|why| Fault(format!("device {number}: {why}")))?;
        match wakes {
            Some(at) => *first = Reverse((at.max(now + TURN).as_millis(), number)),
            None => {
                std::collections::binary_heap::PeekMut::pop(first);
            }
        }
    }
    for device in &mut devices {
        device.leave(Instant::ZERO + plan.time, &mut world);
    }
    world.figures.end(plan.time);
    Ok(world.figures)
}
