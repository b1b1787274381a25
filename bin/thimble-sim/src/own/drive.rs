//! Runs the real client with the user's programs: waits while one really runs, and moves the simulated clock otherwise.

use std::fs;
use std::path::Path;

use thimble_core::client::{Client, Start, StartError};
use thimble_core::hal::{Clock as _, Hal, Platform};
use thimble_core::http::Target;
use thimble_core::machine::{Report, Run, StopSet};
use thimble_core::state::{Phase, State, Verb};
use thimble_core::time::{Duration, Instant, earliest};
use thimble_hal_linux::clock::BootClock;
use thimble_hal_linux::decompress::Decompressor;
use thimble_hal_linux::platform::Memory;
use thimble_hal_linux::wait::PollSet;
use thimble_hal_sim::runner;
use thimble_hal_sim::server::Deployment;
use thimble_hal_sim::sim::{CLIENT, Doorkeeper, Handle, Net, OneLine, Sys, Who};

use super::jail;
use super::module::Module;
use super::scripts::Scripts;
use super::shared::{RESTART, Shared};
use thimble_hal_sim::story::Lane;

/// The platform: scripts and update modules are processes; all the rest is simulated.
struct Own;

impl Platform for Own {
    type Storage = Handle;
    type Scripts = Scripts;
    type Module = Module;
    type Network = Net;
    type System = Sys;
    type Identity = Who;
    type DeviceKey = Who;
    type Inventory = ();
    type DeploymentLog = OneLine;
    type Policy = Doorkeeper;
    type Clock = Handle;
    type Log = Handle;
    type Verifier = ();
    type Decompress = Decompressor;
}

/// More turns than any deployment takes without waiting for a program.
const TURNS: usize = 200_000;

/// More starts of the client than any deployment takes.
const STARTS: usize = 100;

/// How a run ended.
pub(super) enum End {
    /// The daemon has nothing more to do.
    Idle,
    /// The verbs of the command line have ended, the last one like this.
    Exit(Report),
    /// Nothing goes on any more, or for ever.
    Stuck(String),
}

/// What is known of the update when it is over.
pub(super) struct Ended {
    pub(super) end: End,
    /// Why it failed first; empty if it did not.
    pub(super) reason: String,
}

enum Process {
    Idle,
    Exit(Report),
    Down,
    Stuck(String),
}

/// The daemon, until it is idle again.
pub(super) fn daemon(shared: &Shared) -> Ended {
    let mut reason = String::new();
    for _ in 0..STARTS {
        match process(shared, Run::Daemon, &mut reason) {
            Process::Down => boot(shared),
            Process::Idle => return Ended { end: End::Idle, reason },
            Process::Exit(report) => return Ended { end: End::Exit(report), reason },
            Process::Stuck(why) => return Ended { end: End::Stuck(why), reason },
        }
    }
    Ended {
        end: End::Stuck(format!("the device was started {STARTS} times, and the update is not over")),
        reason,
    }
}

/// The command line: `install`, a reboot where the device has two slots, `commit`.
pub(super) fn command_line(shared: &Shared) -> Ended {
    let mut reason = String::new();
    let mut run = Run::Install;
    let types = |what: &str| shared.journal.note(Lane::Device, format!("$ {what}"));
    for _ in 0..STARTS {
        types(match run {
            Run::Continue(verb) => verb.word(),
            Run::Install | Run::Daemon | Run::Bootstrap | Run::NoUpdates(_) => "install",
        });
        match process(shared, run, &mut reason) {
            Process::Exit(report) if run == Run::Install && report.is_success() && is_open(shared) => {
                if shared.bench.0.borrow().durable.device.profile.slots {
                    types("reboot");
                    boot(shared);
                }
                run = Run::Continue(Verb::Commit);
            }
            Process::Exit(report) => return Ended { end: End::Exit(report), reason },
            Process::Down => {
                boot(shared);
                if !is_open(shared) {
                    return Ended { end: End::Idle, reason };
                }
                run = Run::Continue(Verb::Resume);
            }
            Process::Idle => return Ended { end: End::Idle, reason },
            Process::Stuck(why) => return Ended { end: End::Stuck(why), reason },
        }
    }
    Ended {
        end: End::Stuck(format!("the device was started {STARTS} times, and the update is not over")),
        reason,
    }
}

/// An update is on record.
fn is_open(shared: &Shared) -> bool {
    shared.bench.0.borrow().durable.records.contains_key(&thimble_core::hal::Key::Checkpoint)
}

fn boot(shared: &Shared) {
    jail::end_all(Path::new("/proc"));
    let _ = fs::remove_file(RESTART);
    shared.journal.gather();
    runner::boot(&shared.bench);
}

fn platform(shared: &Shared) -> Result<Hal<Own>, String> {
    let wrong = |error: std::io::Error| error.to_string();
    let Hal {
        storage,
        module,
        network,
        system,
        identity,
        device_key,
        inventory,
        deployment_log,
        policy,
        clock,
        log,
        verifier,
        ..
    } = shared.bench.hal();
    Ok(Hal {
        storage,
        scripts: Scripts::new(shared.clone()).map_err(wrong)?,
        module: Module::new(shared.clone(), module).map_err(wrong)?,
        network,
        system,
        identity,
        device_key,
        inventory,
        deployment_log,
        policy,
        clock,
        log,
        verifier,
        decompress: Decompressor::default(),
    })
}

/// One process of the client.
fn process(shared: &Shared, run: Run, reason: &mut String) -> Process {
    let hal = match platform(shared) {
        Ok(hal) => hal,
        Err(why) => return Process::Stuck(why),
    };
    let bench = &shared.bench;
    let config = bench.0.borrow().config.clone();
    let mut memory = Memory::default();
    let mut client = Client::new(hal, CLIENT, memory.lend());
    let source = (run == Run::Install).then_some(Target::File("ARTIFACT"));
    match client.start(Start { config: &config, run, stop_before: StopSet::default(), source }) {
        Ok(()) => {}
        Err(StartError::Refused(refusal)) => return Process::Stuck(refusal.to_string()),
        Err(error) => return Process::Stuck(error.to_string()),
    }
    let mut idle = 0;
    let mut turns = 0;
    while turns < TURNS {
        turns += 1;
        // Looked for first: what a program printed before it restarted the device is read meanwhile.
        let restarts = shared.restarts();
        let wake = client.poll();
        if restarts {
            shared.restart();
        }
        if bench.is_down() {
            return Process::Down;
        }
        if !client.reason().is_empty() && reason.is_empty() {
            client.reason().clone_into(reason);
        }
        if let Some(report) = client.report() {
            return Process::Exit(*report);
        }
        let now = bench.0.borrow().now;
        let soon = wake.is_some_and(|wake| wake <= now);
        let place = client.machine().place();
        match wait(client.hal(), soon) {
            // Each program has its own limit.
            Ok(true) => {
                turns = 0;
                continue;
            }
            Ok(false) => {}
            Err(error) => return Process::Stuck(format!("a program cannot be waited for: {error}")),
        }
        if soon {
            continue;
        }
        if place == (State::Idle, Phase::Main) {
            idle += 1;
            let over = bench.0.borrow().durable.server.deployments.values().all(Deployment::is_over);
            if over || idle > 3 {
                return Process::Idle;
            }
        }
        match wake {
            Some(wake) => {
                let mut bench = bench.0.borrow_mut();
                bench.now = bench.now.max(wake);
            }
            None => return Process::Stuck("the client waits for ever".to_owned()),
        }
    }
    Process::Stuck(format!("it is not over after {TURNS} turns"))
}

/// Waits while a program really runs; false: none does.
fn wait(hal: &Hal<Own>, soon: bool) -> std::io::Result<bool> {
    let mut set = PollSet::new();
    if !hal.scripts.is_real() && !hal.module.is_awaited() {
        return Ok(false);
    }
    let until = earliest(hal.scripts.wants(&mut set), hal.module.wants(&mut set));
    let now = BootClock.now();
    // A stand-in's file is looked for now and then; and what the simulated network has is not waited for long.
    let pause: Instant = now + Duration::from_millis(if soon { 2 } else { 200 });
    set.wait(now, earliest(until, Some(pause)))?;
    Ok(true)
}
