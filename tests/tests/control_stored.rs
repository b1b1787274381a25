//! Whoever sets a control map or gives an order hears success only when a restart does not forget it.

use std::cell::Cell;
use std::rc::Rc;

use thimble_core::client::{Client, MapNotTaken, OPERATOR, OrderNotTaken};
use thimble_core::control::{Answer, Lifetime, Order, Pool};
use thimble_core::deployment::Point;
use thimble_core::hal::{Key, Level};
use thimble_core::machine::{Run, StopSet};
use thimble_core::state::{Phase, State};
use thimble_core::time::{Duration, Instant};
use thimble_hal_sim::runner::{self, Memory, Process};
use thimble_hal_sim::sample;
use thimble_hal_sim::sim::{Effect, Fate, Handle, Plan, Sim};
use thimble_hal_sim::world::Profile;

const MAP: &str = r#"{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":9,
    "states":{"ArtifactCommit_Enter":{"action":"pause"}}}"#;

/// Every write of the store fails while this is set.
struct Store(Rc<Cell<bool>>);

impl Plan for Store {
    fn fate(&mut self, effect: &Effect) -> Fate {
        if matches!(effect, Effect::Commit(_)) && self.0.get() { Fate::Fails } else { Fate::Works }
    }
}

/// A daemon that is at a moment; `fails`: its store fails from then on.
struct Device<'b> {
    process: Process<'b>,
    bench: Handle,
    fails: Rc<Cell<bool>>,
}

fn bench() -> (Handle, Rc<Cell<bool>>) {
    let artifact = sample::fitting(true);
    let fails = Rc::new(Cell::new(false));
    let plan = Box::new(Store(Rc::clone(&fails)));
    (Handle::new(runner::durable(Profile::FILES, &artifact), artifact, plan), fails)
}

impl<'b> Device<'b> {
    fn start(bench: &Handle, fails: &Rc<Cell<bool>>, memory: &'b mut Memory) -> Self {
        let process = Process::start(bench, Run::Daemon, StopSet::default(), memory).expect("it starts");
        Self { process, bench: bench.clone(), fails: Rc::clone(fails) }
    }

    fn run_to(&mut self, what: &str, at: impl Fn(&Client<'_, Sim>) -> bool) {
        for _ in 0..1000 {
            if at(&self.process.client) {
                return;
            }
            self.process.pass_time();
            assert!(self.process.poll().is_none());
        }
        panic!("{what} does not come");
    }

    /// To where the update waits before its install, and nothing is under way.
    fn run_to_the_door(&mut self) {
        self.run_to("a wait at a door", waits_at_door);
        loop {
            assert!(self.process.poll().is_none());
            if self.process.wake().is_some_and(|at| at > self.bench.0.borrow().now) {
                break;
            }
        }
        assert_eq!(self.process.client.machine().place(), (State::InstallDoor, Phase::Leave));
    }

    fn map(&mut self) -> Result<u64, MapNotTaken> {
        self.process.client.set_control_map(MAP.as_bytes())
    }

    fn order(&mut self, point: Point, order: Order) -> Result<(), OrderNotTaken> {
        self.process.client.order(OPERATOR, &[point], order, Lifetime::Unlimited)
    }

    /// What the maps on record say before the commit.
    fn on_record(&self) -> Answer {
        answer(&self.bench, Point::Commit)
    }
}

/// What a process that starts now reads of the maps.
fn answer(bench: &Handle, point: Point) -> Answer {
    let bench = bench.0.borrow();
    let pool = match bench.durable.records.get(&Key::ControlMaps) {
        Some(record) => Pool::load(record, Instant::ZERO, Duration::from_secs(600)).expect("a whole record"),
        None => Pool::new(),
    };
    pool.clone().query(point, Instant::ZERO).answer
}

fn waits_at_door(client: &Client<'_, Sim>) -> bool {
    client.waiting().is_some()
}

type RunTo = fn(&mut Device<'_>);

/// Moments of a daemon whose update waits before its install.
const MOMENTS: [(&str, RunTo); 4] = [
    ("the start", |_| {}),
    ("the poll", |device| {
        device.run_to("the poll", |client| client.machine().place() == (State::Poll, Phase::Main));
    }),
    ("the report of a wait at a door", |device| device.run_to("the door", waits_at_door)),
    ("a wait at a door", |device| device.run_to_the_door()),
];

#[test]
fn a_word_that_could_not_be_stored_is_not_told_as_a_success() {
    for (what, at) in MOMENTS {
        for ended in [false, true] {
            let (bench, fails) = bench();
            let mut memory = Memory::default();
            let mut device = Device::start(&bench, &fails, &mut memory);
            device.order(Point::Install, Order::Pause).expect("it is stored");
            at(&mut device);
            if ended {
                device.process.client.terminate();
            }
            device.fails.set(true);
            let said = format!("{what}, ended: {ended}");
            assert_eq!(device.map(), Err(MapNotTaken::NotStored), "{said}");
            assert_eq!(device.order(Point::Reboot, Order::Pause), Err(OrderNotTaken::NotStored), "{said}");
            assert_eq!(device.on_record(), Answer::Continue, "{said}");
            let told = |bench: &Handle| {
                bench
                    .0
                    .borrow()
                    .log
                    .iter()
                    .any(|(level, line)| *level == Level::Error && line.contains("saved"))
            };
            assert!(told(&bench), "{said}: the log says nothing");
            // Said again once the store works, it is stored, though it says nothing new.
            device.fails.set(false);
            assert!(device.map().is_ok(), "{said}");
            assert_eq!(device.order(Point::Reboot, Order::Pause), Ok(()), "{said}");
            assert_eq!(device.on_record(), Answer::Pause, "{said}");
            assert_eq!(answer(&bench, Point::Reboot), Answer::Pause, "{said}");
        }
    }
}

#[test]
fn what_is_being_written_when_it_is_said_again_counts_as_it_ends() {
    let (bench, fails) = bench();
    let mut memory = Memory::default();
    let mut device = Device::start(&bench, &fails, &mut memory);
    device.order(Point::Install, Order::Pause).expect("it is stored");
    device.run_to_the_door();
    for works in [false, true] {
        device.fails.set(!works);
        let map = device.map();
        // The door asks the maps, and its operation has not been told as ended.
        assert_eq!(device.process.client.machine().place(), (State::InstallDoor, Phase::Main));
        assert_eq!((map.is_ok(), device.map().is_ok()), (works, works));
        assert_eq!(device.on_record() == Answer::Pause, works);
        device.run_to_the_door();
    }
}

#[test]
fn r18_a_word_beside_a_damaged_record_is_not_told_as_a_success() {
    let (bench, fails) = bench();
    let mut memory = Memory::default();
    let mut device = Device::start(&bench, &fails, &mut memory);
    device.order(Point::Install, Order::Pause).expect("it is stored");
    device.run_to_the_door();
    drop(device);
    bench.0.borrow_mut().durable.records.insert(Key::ControlMaps, b"{".to_vec());
    runner::boot(&bench);

    let mut memory = Memory::default();
    let mut device = Device::start(&bench, &fails, &mut memory);
    assert_eq!(device.map(), Err(MapNotTaken::NotStored));
    assert_eq!(device.order(Point::Commit, Order::Pause), Err(OrderNotTaken::NotStored));
    // The record is written anew at the end of the update that it has failed, and then has them.
    device.run_to("the end", |client| client.machine().deployment().is_empty());
    assert_eq!(device.on_record(), Answer::Pause);
    assert!(device.map().is_ok());
}

/// An order that counts once is for the next process, when this one ends: here nothing follows from it.
#[test]
fn an_order_at_a_door_after_the_end_is_not_used_up() {
    let (bench, fails) = bench();
    let mut memory = Memory::default();
    let mut device = Device::start(&bench, &fails, &mut memory);
    device.order(Point::Install, Order::Pause).expect("it is stored");
    device.run_to_the_door();
    device.process.client.terminate();
    for (order, expected) in [(Order::Pass, Answer::ForceContinue), (Order::Fail, Answer::Fail)] {
        device.order(Point::Install, order).expect("it is stored");
        assert_eq!(answer(&bench, Point::Install), expected, "{order:?}");
    }
}
