//! The walk over the real client: every effect cut before, inside and after, and failing, with as much going wrong
//! as a budget allows. Runs are replayed from their choices; one that comes to a configuration seen before ends there.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::Hash;
use std::rc::Rc;

use thimble_core::checkpoint::Tag;
use thimble_core::client::{Client, OPERATOR};
use thimble_core::config::Config;
use thimble_core::control::{Id, Lifetime, Order};
use thimble_core::deployment::Point;
use thimble_core::flow::Flow;
use thimble_core::hal::Key;
use thimble_core::limits;
use thimble_core::machine::{Machine, Run, StopSet};
use thimble_core::state::{Phase, Verb};
use thimble_core::time::{Duration, Instant};

use crate::choose::{Everything, Walk};
use crate::explore::Failing;
use crate::fingerprint::Fingerprints;
use crate::flight;
use crate::model::Budget;
use crate::runner::{self, DEPLOYMENT, End, Then};
use crate::sample;
use crate::sim::{Handle, Sim};
use crate::world::{Profile, SUFFIX};

/// What a walk over the client saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs from the first start on.
    pub runs: usize,
    /// Different configurations: what is durable, the machine, what may still go wrong.
    pub configurations: usize,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} runs, {} configurations", self.runs, self.configurations)
    }
}

/// Walks over whatever this budget of failures and losses of power makes of an update of the daemon's, or of the command
/// line's.
///
/// # Errors
/// The first run that ends wrong: what went wrong in it, its transcript, and what must not be.
pub fn walk(profile: Profile, budget: Budget, standalone: bool) -> Result<Counts, Failing> {
    walk_with(&Config::default(), profile, budget, standalone)
}

/// The same with another configuration.
///
/// # Errors
/// As [`walk`].
pub fn walk_with(
    config: &Config,
    profile: Profile,
    budget: Budget,
    standalone: bool,
) -> Result<Counts, Failing> {
    walk_all(config, profile, budget, standalone, &Said::default())
}

/// What is said about control maps during a walk.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// So many things, at any moment.
    pub events: u8,
    /// The server's map, which comes with the deployment and may change.
    pub server: Option<String>,
}

/// The same for the daemon, while people, programs and the server say what they want of its update.
///
/// # Errors
/// See [`walk`].
pub fn controlled(profile: Profile, budget: Budget, said: &Said) -> Result<Counts, Failing> {
    walk_all(&Config::default(), profile, budget, false, said)
}

fn walk_all(
    config: &Config,
    profile: Profile,
    budget: Budget,
    standalone: bool,
    said: &Said,
) -> Result<Counts, Failing> {
    let artifact = sample::fitting(profile.payload);
    let plan = Walk::new(budget);
    // Keeping whole configurations would take gigabytes.
    let mut fingerprints = Fingerprints::default();
    let mut seen: HashSet<u128> = HashSet::new();
    let mut counts = Counts::default();
    loop {
        counts.runs += 1;
        plan.borrow_mut().begin(budget);
        plan.borrow_mut().events = said.events;
        let mut durable = runner::durable(profile, &artifact);
        durable.server.v2 = said.server.is_some();
        for deployment in durable.server.deployments.values_mut() {
            deployment.control_map.clone_from(&said.server);
        }
        let bench = Handle::new(durable, artifact.clone(), Box::new(Everything(Rc::clone(&plan))));
        bench.0.borrow_mut().config = config.clone();
        let mut wrong_maps = None;
        let wrong_flight = RefCell::new(None);
        let mut watch = |bench: &Handle, flow: Option<&Flow>| -> bool {
            let walk = plan.borrow();
            if walk.choices.is_replay() {
                return true;
            }
            if let Err(wrong) = flight_is_good(bench) {
                *wrong_flight.borrow_mut() = Some(wrong);
                return false;
            }
            // Only who waits at a door has any use for the clock.
            let now = (said.events > 0 || said.server.is_some()).then_some(bench.0.borrow().now);
            let more = (walk.budget, walk.events, walk.trouble, now);
            seen.insert(fingerprints.of(&configuration(bench, flow, more)))
        };
        let wrong = if standalone {
            command_line(&bench, &plan, &mut watch)
        } else {
            let mut watch = |bench: &Handle, client: &mut Client<'_, Sim>| {
                if let Err(wrong) = maps_are_saved(bench, client.machine()) {
                    wrong_maps = Some(wrong);
                    return Then::Stop;
                }
                if !watch(bench, Some(client.flow())) {
                    return Then::Stop;
                }
                say_something(bench, client, &plan)
            };
            match runner::daemon(&bench, &mut watch) {
                End::Pruned => wrong_maps.map_or(Ok(()), Err),
                End::Idle => {
                    let durable = &bench.0.borrow().durable;
                    runner::check(durable, plan.borrow().trouble).and_then(|()| {
                        if durable.device.tree {
                            return Err("the deployment is over and its work tree is still there".into());
                        }
                        Ok(())
                    })
                }
                end @ (End::Exit(_) | End::Down(_) | End::NotStarted(_) | End::Stuck(_)) => {
                    Err(format!("it does not end well: {end:?}"))
                }
            }
        };
        let wrong = wrong.and_then(|()| wrong_flight.take().map_or(Ok(()), Err));
        if let Err(wrong) = wrong {
            let mut path = plan.borrow().story.clone();
            path.push("--".into());
            path.extend(bench.0.borrow_mut().lines.drain(..).map(|line| line.text));
            return Err(Failing { path, wrong });
        }
        if !plan.borrow_mut().choices.advance() {
            counts.configurations = seen.len();
            return Ok(counts);
        }
    }
}

/// All that tells what can happen from here on: what outlives the process, the three machines with their times as seen
/// from now, and `more`. Nothing that the driver keeps beside them does: it is looked at only where the client waits, and
/// then no bytes of an artifact are on their way but those that the transfer counts.
fn configuration(bench: &Handle, flow: Option<&Flow>, more: impl Hash) -> impl Hash {
    let bench = bench.0.borrow();
    let flow = flow.cloned().map(|mut flow| {
        flow.rebase(bench.now, LATE);
        flow
    });
    let mut durable = bench.durable.clone();
    // It only tells where the client has been: with it, two ways to one configuration would be two.
    durable.records.remove(&Key::Flight);
    (durable, flow, more)
}

/// `install`, then verbs until no update is in progress; after power was lost, and where an update waits for its user,
/// every verb is tried.
fn command_line(
    bench: &Handle,
    plan: &Rc<RefCell<Walk>>,
    watch: &mut dyn FnMut(&Handle, Option<&Flow>) -> bool,
) -> Result<(), String> {
    let verbs = [Verb::Resume, Verb::Commit, Verb::Rollback];
    let mut run = Run::Install;
    for _ in 0..20 {
        let mut success = false;
        match runner::process(bench, run, StopSet::default(), &mut |bench, client| {
            if watch(bench, Some(client.flow())) { Then::GoOn } else { Then::Stop }
        }) {
            End::Pruned => return Ok(()),
            End::Exit(report) => success = report.is_success(),
            End::Down(_) => runner::boot(bench),
            // The verb makes no sense here; the others may.
            End::NotStarted(_) => return Ok(()),
            end @ (End::Idle | End::Stuck(_)) => return Err(format!("it does not end well: {end:?}")),
        }
        if !bench.0.borrow().durable.records.contains_key(&Key::Checkpoint) {
            // Nothing is in progress; the user reboots, and what runs is what the name says.
            runner::boot(bench);
            let mut durable = bench.0.borrow().durable.clone();
            if success && runner::name(&durable).ends_with(SUFFIX) {
                return Err("exit status 0 for an inconsistent device".into());
            }
            durable.server.deployments.clear();
            return runner::check(&durable, plan.borrow().trouble);
        }
        // Every verb was tried on an update that rested like this before.
        if !watch(bench, None) {
            return Ok(());
        }
        let choice = plan.borrow_mut().choices.choose(verbs.len() * 2);
        if choice >= verbs.len() {
            runner::boot(bench);
        }
        run = Run::Continue(verbs[choice % verbs.len()]);
        plan.borrow_mut().story.push(format!("$ {run:?}, rebooted first: {}", choice >= verbs.len()));
    }
    Err("twenty verbs, and the update is still in progress".into())
}

/// The flight record tells what happened, and was never written alone.
fn flight_is_good(bench: &Handle) -> Result<(), String> {
    let bench = bench.0.borrow();
    match bench.flight_alone {
        0 => flight::check(&bench.durable.records),
        batches => Err(format!("{batches} writes of nothing but the flight record")),
    }
}

/// The record of the maps is what the maps are, unless it still has to be written, or could not be.
fn maps_are_saved(bench: &Handle, machine: &Machine) -> Result<(), String> {
    let bench = bench.0.borrow();
    if machine.maps_to_save().is_some() || bench.down.is_some() {
        return Ok(());
    }
    let mut buf = [0; limits::MAPS_RECORD];
    let maps = machine.maps().record(true).write(&mut buf).map_err(|error| format!("{error:?}"))?;
    let record = bench.durable.records.get(&Key::ControlMaps).map(Vec::as_slice);
    if record == maps.map(str::as_bytes) {
        return Ok(());
    }
    Err(format!("the maps are {maps:?}, on record is {:?}", record.map(String::from_utf8_lossy)))
}

const ALL: &[Point] = &Point::ALL;

/// The doors that the update has not passed.
fn ahead(machine: &Machine) -> &'static [Point] {
    let from = match (machine.point(), machine.checkpoint().tag) {
        (Some(point), _) => point as usize,
        (None, Tag::Store) => 0,
        (None, Tag::Install | Tag::BeforeInstall) => 1,
        (None, Tag::Reboot | Tag::AfterReboot | Tag::BeforeCommit) => 2,
        (None, _) => 3,
    };
    ALL.get(from..).unwrap_or_default()
}

/// Says one thing of everything that can be said now, or nothing. Whoever holds the update up for hours lets it go.
fn say_something(bench: &Handle, client: &mut Client<'_, Sim>, plan: &RefCell<Walk>) -> Then {
    let now = bench.0.borrow().now;
    let waits = client.machine().place().1 == Phase::Leave && client.machine().held().is_some();
    let long = client.machine().at_door_since().is_some_and(|since| now.since(since) > HOURS);
    if waits && long {
        plan.borrow_mut().story.push("approved at last".into());
        client.approve();
        return Then::Again;
    }
    let ahead = ahead(client.machine());
    let (Some(next), true) = (ahead.first(), plan.borrow().events > 0) else { return Then::GoOn };
    let map = |action: &str, more: &str| {
        format!(r#"{{"id":"{}","states":{{"{}":{{"action":"{action}"{more}}}}}}}"#, Id(1), next.name())
    };
    let server = |action: &str| {
        format!(r#"{{"id":"{DEPLOYMENT}","states":{{"{}":{{"action":"{action}"}}}}}}"#, next.name())
    };
    let mut all = vec![
        Saying::Nothing,
        Saying::Map(map("pause", "")),
        Saying::Map(map("pause", r#","on_map_expire":"continue","on_action_executed":"continue""#)),
        Saying::Map(map("fail", "")),
        Saying::Order(Order::Pause, ahead),
        Saying::Order(Order::Pass, ahead),
    ];
    if waits {
        all.push(Saying::Approve);
    }
    if !client.machine().maps().is_empty() {
        all.push(Saying::Order(Order::Lift, ahead));
        all.push(Saying::Map(format!(r#"{{"id":"{}"}}"#, Id(1))));
    }
    if bench.0.borrow().durable.server.v2 {
        all.extend(["pause", "fail", "force_continue"].map(|action| Saying::Server(server(action))));
        all.push(Saying::Server("[]".into()));
    }
    let choice = plan.borrow_mut().choices.choose(all.len());
    let saying = all.swap_remove(choice);
    if saying == Saying::Nothing {
        return Then::GoOn;
    }
    plan.borrow_mut().events -= 1;
    plan.borrow_mut().story.push(format!("{saying:?}"));
    match saying {
        Saying::Nothing => {}
        Saying::Map(map) => drop(client.set_control_map(map.as_bytes())),
        Saying::Order(order, points) => drop(client.order(OPERATOR, points, order, Lifetime::Unlimited)),
        Saying::Approve => drop(client.approve()),
        Saying::Server(map) => {
            for deployment in bench.0.borrow_mut().durable.server.deployments.values_mut() {
                deployment.control_map = Some(map.clone());
            }
        }
    }
    Then::Again
}

/// Later than any time that the machines look back.
const LATE: Instant = Instant::from_millis(1 << 40);

/// As long as anybody holds an update up for.
const HOURS: Duration = Duration::from_secs(3 * 3600);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Saying {
    Nothing,
    Map(String),
    Order(Order, &'static [Point]),
    Approve,
    Server(String),
}

#[cfg(test)]
mod tests {
    use thimble_core::client::Start;

    use super::*;
    use crate::runner::Memory;
    use crate::sim::{CLIENT, Smooth};

    #[test]
    fn a_request_under_way_tells_two_configurations_apart() {
        let artifact = sample::fitting(true);
        let bench = Handle::new(runner::durable(Profile::FILES, &artifact), artifact, Box::new(Smooth));
        let mut memory = Memory::default();
        let config = Config::default();
        let start =
            Start { config: &config, run: Run::Daemon, stop_before: StopSet::default(), source: None };
        let mut client = Client::new(bench.hal(), CLIENT, memory.lend());
        client.start(start).unwrap();
        let mut prints = Fingerprints::default();
        let machine = client.machine().clone();
        let before = prints.of(&configuration(&bench, Some(client.flow()), ()));
        assert!(client.fetch_token());
        assert_eq!(*client.machine(), machine);
        assert_ne!(prints.of(&configuration(&bench, Some(client.flow()), ())), before);
    }
}
