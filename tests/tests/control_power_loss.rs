//! A paused update on the simulated platform: power is lost at every write of its store, before, inside and after, and
//! what follows is what the table of restarts says (CONTROL-53, CONTROL-54).

use std::cell::RefCell;
use std::rc::Rc;

use thimble_core::client::{Client, OPERATOR, OrderNotTaken};
use thimble_core::control::{Lifetime, Order};
use thimble_core::deployment::Point;
use thimble_core::hal::Key;
use thimble_core::machine::{Run, StopSet};
use thimble_core::state::Phase;
use thimble_hal_sim::check::Trouble;
use thimble_hal_sim::runner::{self, End, Then};
use thimble_hal_sim::sample;
use thimble_hal_sim::sim::{Down, Effect, Fate, Handle, Plan, Sim};
use thimble_hal_sim::world::Profile;

/// Takes the power away at one write.
struct LoseAt {
    left: Rc<RefCell<u32>>,
    fate: Fate,
}

impl Plan for LoseAt {
    fn fate(&mut self, effect: &Effect) -> Fate {
        let mut left = self.left.borrow_mut();
        if !matches!(effect, Effect::Commit(_)) || *left == 0 {
            return Fate::Works;
        }
        *left -= 1;
        if *left == 0 { self.fate } else { Fate::Works }
    }
}

/// How an update that is paused at `point` ended, and where it waited when power was lost at its `write`-th write, if
/// it did; `None`: there are not so many writes.
fn ends(point: Point, write: u32, fate: Fate) -> Option<(String, Option<Point>)> {
    let artifact = sample::fitting(true);
    let left = Rc::new(RefCell::new(write));
    let bench = Handle::new(
        runner::durable(Profile::SLOTS, &artifact),
        artifact,
        Box::new(LoseAt { left: Rc::clone(&left), fate }),
    );
    let (mut ordered, mut more, mut lost, mut lost_at) = (false, false, false, None);
    for _ in 0..20 {
        let mut say = |bench: &Handle, client: &mut Client<'_, Sim>| {
            let waits = client.machine().place().1 == Phase::Leave && client.waiting().is_some();
            let (points, order) = if !std::mem::replace(&mut ordered, true) {
                (&[point][..], Order::Pause)
            } else if waits && !std::mem::replace(&mut more, true) {
                // One more order is saved while it waits, which does not let it go on.
                (&Point::ALL[point as usize..], Order::Pause)
            } else if waits {
                (&Point::ALL[..], Order::Lift)
            } else {
                return Then::GoOn;
            };
            let ordered = client.order(OPERATOR, points, order, Lifetime::Unlimited);
            let power_lost = bench.0.borrow().down == Some(Down::PowerLost);
            assert_eq!(ordered, if power_lost { Err(OrderNotTaken::NotStored) } else { Ok(()) });
            if power_lost && waits {
                lost_at = Some(point);
            }
            Then::Again
        };
        match runner::process(&bench, Run::Daemon, StopSet::default(), &mut say) {
            End::Down(down) => {
                lost |= down == Down::PowerLost;
                runner::boot(&bench);
            }
            End::Idle => break,
            end @ (End::Exit(_) | End::NotStarted(_) | End::Pruned | End::Stuck(_)) => panic!("{end:?}"),
        }
    }
    let bench = bench.0.borrow();
    runner::check(&bench.durable, Trouble::default())
        .unwrap_or_else(|wrong| panic!("{point:?} {write}: {wrong}"));
    // What was lifted left nothing behind.
    assert!(!bench.durable.records.contains_key(&Key::ControlMaps) || lost, "{point:?} {write}");
    let status = bench.durable.server.deployments[runner::DEPLOYMENT].status().to_owned();
    (*left.borrow() == 0).then_some((status, lost_at))
}

#[test]
fn power_is_lost_at_every_write_of_a_paused_update() {
    for point in Point::ALL {
        let mut waited = 0;
        for fate in [Fate::LostBefore, Fate::LostInside, Fate::LostAfter] {
            let mut write = 1;
            while let Some((status, lost_at)) = ends(point, write, fate) {
                println!("{point:?}, write {write}, {fate:?}: {status}, it waited before {lost_at:?}");
                write += 1;
                let expected = match lost_at {
                    Some(Point::Install | Point::Commit) => "failure",
                    Some(Point::Reboot) => "success",
                    None => continue,
                };
                waited += 1;
                assert_eq!(status, expected, "{point:?}, write {write}, {fate:?}");
            }
            assert!(write > 10, "{point:?}, {fate:?}: {write} writes");
        }
        assert!(waited > 0, "{point:?}: no loss while it waited");
    }
}
