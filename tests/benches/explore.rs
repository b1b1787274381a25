//! How fast the explorer walks over whatever failures make of an update, beside a floor: copying one configuration
//! and taking its fingerprint as often as the walk takes a step.
//!
//! ```text
//! cargo bench -p thimble-tests --bench explore [-- FAILURES LOSSES]
//! ```
//!
//! CPU seconds of this process, on one core. The goals: 300,000 different configurations or a million steps in each; the update
//! machine alone, of all kinds of devices together, in 10 s. Then each of the mistakes that are built in for the proof of the
//! checkers, with what it takes to find it.

mod process;

use std::hint::black_box;

use process::{cpu, peak_kib};
use thimble_hal_sim::explore::{Limits, explore};
use thimble_hal_sim::fingerprint::Fingerprints;
use thimble_hal_sim::model::{Budget, Simulation};
use thimble_hal_sim::sayings::{Doors, Server};
use thimble_hal_sim::seeded::SEEDED;
use thimble_hal_sim::whole::Whole;
use thimble_hal_sim::world::Profile;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let budget = Budget { failures: numbers.next().unwrap_or(2), losses: numbers.next().unwrap_or(2) };
    let Budget { failures, losses } = budget;
    println!("{failures} failures, {losses} losses, {} bytes a configuration", size_of::<Whole>());
    let mut sum = Figures::default();
    for (name, profile) in [
        ("A/B slots", Profile::SLOTS),
        ("one place", Profile::FILES),
        ("one place, restarts something", Profile::CUSTOM),
        ("one place, no rollback", Profile::ONE_WAY),
        ("no payload", Profile::EMPTY),
    ] {
        for (who, start) in [
            ("daemon", Whole::daemon(profile, budget, false)),
            ("daemon that resumes downloads", Whole::daemon(profile, budget, true)),
            ("command line", Whole::command_line(profile, budget, None)),
        ] {
            let figures = measure(&start);
            println!("{who}, {name}: {figures}");
            sum.add(&figures);
        }
    }
    println!("all: {sum}; {} MiB at most", peak_kib() / 1024);
    machine_alone(budget);
    mistakes();
}

/// The update machine alone, without server, session and transfer.
fn machine_alone(budget: Budget) {
    let before = cpu();
    let mut configurations = 0;
    for profile in [Profile::SLOTS, Profile::FILES, Profile::CUSTOM, Profile::ONE_WAY, Profile::EMPTY] {
        let start = Simulation::controlled(profile, budget, Doors::new(0, false, Server::Silent));
        match explore(start, Limits::default()) {
            Ok(counts) => configurations += counts.configurations,
            Err(failing) => panic!("{failing}"),
        }
    }
    println!("the update machine alone: {configurations} configurations in {:.2} s", cpu() - before);
}

/// The mistakes that the checkers must find.
fn mistakes() {
    let whole = cpu();
    for seeded in &SEEDED {
        let before = cpu();
        let Err(failing) = explore(seeded.start(), Limits::default()) else {
            panic!("{:?} goes unnoticed", seeded.mistake);
        };
        let (mistake, steps, failures) = (seeded.mistake, failing.path.len(), seeded.failures);
        println!("{mistake:?}, {failures} failures: after {steps} steps, {:.3} s", cpu() - before);
    }
    println!("{} mistakes found in {:.2} s", SEEDED.len(), cpu() - whole);
}

#[derive(Default)]
struct Figures {
    configurations: usize,
    steps: usize,
    /// CPU seconds.
    walk: f64,
    floor: f64,
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.configurations += other.configurations;
        self.steps += other.steps;
        self.walk += other.walk;
        self.floor += other.floor;
    }
}

impl std::fmt::Display for Figures {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { configurations, steps, walk, floor } = self;
        let (per_second, steps_per_second) = (*configurations as f64 / walk, *steps as f64 / walk);
        write!(f, "{configurations} configurations, {steps} steps in {walk:.2} s: ")?;
        write!(f, "{per_second:.0} configurations, {steps_per_second:.0} steps a second, ")?;
        write!(f, "{:.1} times the floor", walk / floor)
    }
}

fn measure(start: &Whole) -> Figures {
    let before = cpu();
    let counts = match explore(start.clone(), Limits::default()) {
        Ok(counts) => counts,
        Err(failing) => panic!("{failing}"),
    };
    let walked = cpu();
    let mut fingerprints = Fingerprints::default();
    for _ in 0..counts.steps {
        let copy = black_box(start).clone();
        black_box(fingerprints.of(&copy));
    }
    Figures {
        configurations: counts.configurations,
        steps: counts.steps,
        walk: walked - before,
        floor: cpu() - walked,
    }
}
