//! After [`Client::terminate`] nothing is begun any more, whatever is said to the client.

use thimble_core::client::{Client, OPERATOR};
use thimble_core::control::{Lifetime, Order};
use thimble_core::deployment::Point;
use thimble_core::hal::Key;
use thimble_core::machine::{Check, Run, StopSet};
use thimble_core::state::{Phase, State};
use thimble_core::time::{Duration, Instant};
use thimble_hal_sim::runner::{self, Memory, Process};
use thimble_hal_sim::sample;
use thimble_hal_sim::server::Endpoint;
use thimble_hal_sim::sim::{Handle, Sim, Smooth};
use thimble_hal_sim::world::Profile;

const ENDPOINTS: [Endpoint; 8] = [
    Endpoint::Auth,
    Endpoint::NextV2,
    Endpoint::NextV1,
    Endpoint::Status,
    Endpoint::Log,
    Endpoint::Inventory,
    Endpoint::ControlMap,
    Endpoint::Artifact,
];

const MAP: &str = r#"{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":9,
    "states":{"ArtifactInstall_Enter":{"action":"force_continue"}}}"#;

/// Something that is said to a client.
type Say = fn(&mut Client<'_, Sim>);

const SAID: [(&str, Say); 6] = [
    ("approve", |client| assert_eq!(client.approve(), None)),
    ("order", |client| {
        client.order(OPERATOR, &Point::ALL, Order::Pass, Lifetime::Unlimited).expect("there is room");
    }),
    ("check-update", |client| client.check(Check::Update)),
    ("send-inventory", |client| client.check(Check::Inventory)),
    ("set_control_map", |client| {
        client.set_control_map(MAP.as_bytes()).expect("the map is good");
    }),
    ("fetch_token", |client| assert!(!client.fetch_token())),
];

/// What the device has done so far: requests, and calls of scripts and modules.
fn done(bench: &Handle) -> (Vec<u32>, usize) {
    let bench = bench.0.borrow();
    let effects = bench.lines.iter().filter(|line| !line.text.starts_with("!! ")).count();
    (ENDPOINTS.iter().map(|endpoint| bench.durable.server.count(*endpoint)).collect(), effects)
}

/// A client that is ended at the first moment `at` wants, and to which `say` is then said.
fn end(what: &str, say: Say, at: fn(&Client<'_, Sim>) -> bool) {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
    let mut memory = Memory::default();
    let mut device = Process::start(&bench, Run::Daemon, StopSet::default(), &mut memory).expect("it starts");
    device
        .client
        .order(OPERATOR, &[Point::Install], Order::Pause, Lifetime::Unlimited)
        .expect("there is room");
    for _ in 0..1000 {
        if at(&device.client) {
            break;
        }
        assert!(device.poll().is_none());
        device.pass_time();
    }
    assert!(at(&device.client), "{what}: the moment does not come");
    device.client.terminate();
    let before = done(&bench);
    for _ in 0..10 {
        say(&mut device.client);
        assert!(device.poll().is_none());
        let now = bench.0.borrow().now;
        bench.0.borrow_mut().now = now + Duration::from_secs(1000);
    }
    assert_eq!(done(&bench), before, "{what}");
    assert!(device.client.is_over(), "{what}: it does not end");
}

#[test]
fn a_client_that_was_ended_at_rest_begins_nothing() {
    for (what, say) in SAID {
        end(what, say, |client| client.waiting().is_some());
    }
}

#[test]
fn a_client_that_was_ended_at_work_begins_nothing_else() {
    let moments: [fn(&Client<'_, Sim>) -> bool; 3] = [
        |client| client.machine().place() == (State::Idle, Phase::Leave),
        |client| client.machine().place() == (State::Inventory, Phase::Main),
        |client| client.machine().place() == (State::Poll, Phase::Main),
    ];
    for at in moments {
        for (what, say) in SAID {
            end(what, say, at);
        }
    }
}

/// Nobody's word is lost: it is on record for the next process.
#[test]
fn maps_and_orders_are_still_saved() {
    let artifact = sample::fitting(true);
    let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
    let mut memory = Memory::default();
    let mut device = Process::start(&bench, Run::Daemon, StopSet::default(), &mut memory).expect("it starts");
    device.client.terminate();
    assert!(device.poll().is_none());
    let on_record = || bench.0.borrow().durable.records.get(&Key::ControlMaps).cloned();
    let mut before = on_record();
    assert_eq!(bench.0.borrow().now, Instant::ZERO);
    for (what, say) in [SAID[1], SAID[4]] {
        say(&mut device.client);
        let after = on_record();
        assert_ne!(after, before, "{what}");
        before = after;
    }
}
