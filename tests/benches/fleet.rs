//! How long a fleet takes for a virtual day, and how much memory.
//!
//! ```text
//! cargo bench -p thimble-tests --bench fleet [-- DEVICES ...]
//! ```
//!
//! CPU seconds of this process, on one core. The goal is 10,000 devices in a minute, 100,000 in ten.

mod process;

use process::{cpu, peak_kib};
use thimble_core::config::Config;
use thimble_core::deployment::Point;
use thimble_core::time::Duration;
use thimble_hal_sim::fleet::{Hold, Overload, Plan, Share, Start, bytes_per_device, run};

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let numbers = if numbers.is_empty() { vec![10_000, 100_000] } else { numbers };
    println!("{} bytes a device", bytes_per_device());
    for devices in numbers {
        measure("an update for all, nothing goes wrong", &Plan { devices, ..Plan::default() });
        measure("a herd, and much goes wrong", &rough(devices));
    }
}

/// After a power cut, a twentieth is offline, and the server can do little and holds all back.
fn rough(devices: u32) -> Plan<'static> {
    Plan {
        devices,
        config: Config { update_poll_interval: Duration::from_secs(900), ..Config::default() },
        start: Start::AllAtOnce,
        offline: Share::millionths(50_000).unwrap_or_default(),
        fail: Share::millionths(20_000).unwrap_or_default(),
        capacity: Some((u64::from(devices / 50), Overload::TooMany(Some(60)))),
        hold: Some(Hold { point: Point::Reboot, until: Duration::from_secs(12 * 3600) }),
        ..Plan::default()
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn measure(what: &str, plan: &Plan<'_>) {
    let before = cpu();
    let figures = match run(plan, &mut |_| {}) {
        Ok(figures) => figures,
        Err(fault) => panic!("{fault}"),
    };
    let (time, turns) = (cpu() - before, figures.turns as f64);
    let Plan { devices, .. } = plan;
    println!(
        "{devices} devices, {what}: {time:.2} s, {turns} turns of {:.0} ns, {} requests; {} MiB at most",
        time * 1e9 / turns,
        figures.all.requests,
        peak_kib() / 1024
    );
}
