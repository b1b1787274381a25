//! `control` without a daemon: what is on record is shown, and an order goes on record. It counts from the next start of the
//! daemon on (CONTROL-57).
//!
//! The order is one batch of the store, in the record that the daemon keeps its control maps in: power loss leaves the orders of
//! before, or those with this one.

use thimble_core::checkpoint::Unusable;
use thimble_core::client::{LoadError, OrderNotTaken, saved_checkpoint};
use thimble_core::control::{Lifetime, Order, Points, Pool};
use thimble_core::deployment::Point;
use thimble_core::hal::{Change, Clock, Key, Storage};
use thimble_core::limits;
use thimble_core::time::Instant;
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::hints::with_hint;
use thimble_hal_linux::storage::{Access, Notice, RECORD_MAX, Store};

use crate::control_request::{Act, ControlRequest};
use crate::device::Device;
use crate::holds;
use crate::output::Failure;
use crate::takeover;
use crate::verbs::VerbName;

use super::said::{LIFTED, counts_for, fails_next, passes_next, paused};

/// Behind what an order comes to.
const FROM_START: &str = "; no daemon is running: the order is on record, and counts from its next start on";

/// What is on record, as the daemon answers.
///
/// # Errors
/// It cannot be read.
pub(super) fn show(device: &Device) -> Result<String, Failure> {
    let now = BootClock.now();
    let pool = match device.was_never_used()? {
        true => Pool::new(),
        false => {
            let (mut store, notices) = device.open_store(Access::ReadOnly)?;
            whole(&notices)?;
            device.log_notices(&notices);
            load(device, &mut store, now)?
        }
    };
    let (maps, policies) = (holds::maps(&pool, now), holds::policies(device));
    Ok(format!(
        "{{\"ok\":true,\"running\":false,\"waiting\":null,\"maps\":{maps},\"policies\":{policies}}}\n"
    ))
}

/// Puts an order on record; what it comes to.
///
/// # Errors
/// Nothing was changed.
pub(super) fn carry_out(device: &Device, request: &ControlRequest) -> Result<String, Failure> {
    let _lock = device.lock(VerbName::Control)?;
    settled(device)?;
    let mut store = device.store()?;
    let now = BootClock.now();
    let mut pool = load(device, &mut store, now)?;
    let before = pool.clone();
    let all = if request.at.is_empty() { Point::ALL.to_vec() } else { request.at.clone() };
    let lifetime = request.time.map_or(Lifetime::Unlimited, Lifetime::For);
    let (points, order, said) = match request.act {
        Act::Pause => {
            let said = paused(request, &all);
            (all, Order::Pause, said)
        }
        // One update: the next, which comes to its install first.
        Act::Fail if request.at.is_empty() => {
            (vec![Point::Install], Order::Fail, fails_next(&[Point::Install]))
        }
        Act::Fail => {
            let said = fails_next(&all);
            (all, Order::Fail, said)
        }
        Act::Continue if request.at.is_empty() => (all, Order::Lift, LIFTED.to_owned()),
        Act::Continue => {
            let said = passes_next(request, &all);
            (all, Order::Pass, said)
        }
        Act::Show => return Err(Failure::new("nothing is to be put on record")),
    };
    pool.order(request.name, Points::of(&points), order, lifetime, now)
        .map_err(|error| Failure::new(with_hint(&OrderNotTaken::Order(error))))?;
    let counts = match order {
        Order::Pass | Order::Fail => counts_for(&pool, request.name, now),
        Order::Pause | Order::Lift => String::new(),
    };
    if !pool.is_saved_as(&before) {
        let mut buf = vec![0; limits::MAPS_RECORD];
        let change = match pool.record(true).write(&mut buf) {
            Ok(Some(record)) => Change::Put(Key::ControlMaps, record.as_bytes()),
            Ok(None) => Change::Delete(Key::ControlMaps),
            Err(overflow) => {
                return Err(Failure::new(format_args!("the order does not fit on record: {overflow}")));
            }
        };
        store.commit(&[change]).map_err(Failure::new)?;
    }
    Ok(format!("{said}{counts}{FROM_START}"))
}

/// Whether an order can go on record: nobody must mend anything first.
fn settled(device: &Device) -> Result<(), Failure> {
    let (mut store, notices) = device.open_store(Access::ReadOnly)?;
    whole(&notices)?;
    if let Some(words) = takeover::words(device, &store) {
        return Err(Failure::new(words.text));
    }
    match saved_checkpoint(&mut store, &mut vec![0; RECORD_MAX]) {
        Err(LoadError::Unusable(Unusable::Newer(newer))) => {
            Err(Failure::new(OrderNotTaken::NoUpdates(newer)))
        }
        Err(LoadError::Storage(error)) => Err(Failure::new(error)),
        Ok(_) | Err(LoadError::Unusable(Unusable::Corrupt)) => Ok(()),
    }
}

/// A damaged store may have held orders: none is shown as all of them, and none is put in their place.
fn whole(notices: &[Notice]) -> Result<(), Failure> {
    let broken = notices.iter().find(|notice| matches!(notice, Notice::Broken { .. }));
    broken.map_or(Ok(()), |broken| Err(Failure::new(broken)))
}

/// The maps on record. Those that cannot be read stay as they are: they may hold an update back.
fn load(device: &Device, store: &mut Store, now: Instant) -> Result<Pool, Failure> {
    let mut buf = vec![0; RECORD_MAX];
    let lifetime = device.conf.core_config().update_control_map_boot_expiration;
    match store.read(Key::ControlMaps, &mut buf).map_err(Failure::new)? {
        None => Ok(Pool::new()),
        Some(record) => Pool::load(record, now, lifetime).map_err(Failure::new),
    }
}
