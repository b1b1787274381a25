//! The walk over the real client: every effect cut before, inside and after, and failing, with as much going wrong
//! as a budget allows. Runs are replayed from their choices; one that comes to a configuration seen before ends there.

use std::cell::RefCell;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use thimble_core::config::Config;
use thimble_core::machine::{Machine, Run, StopSet};
use thimble_core::state::Verb;

use crate::choose::{Everything, Walk};
use crate::explore::Failing;
use crate::model::Budget;
use crate::runner::{self, End};
use crate::sample;
use crate::sim::Handle;
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

/// Walks over everything that can happen to an update of the daemon's, or of the command line's.
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
    let artifact = sample::fitting(profile.payload);
    let plan = Walk::new(budget);
    // Both halves of a 128-bit fingerprint: keeping whole configurations would take gigabytes.
    let hashers = (RandomState::new(), RandomState::new());
    let mut seen: HashSet<(u64, u64)> = HashSet::new();
    let mut counts = Counts::default();
    loop {
        counts.runs += 1;
        plan.borrow_mut().begin(budget);
        let bench = Handle::new(
            runner::durable(profile, &artifact),
            artifact.clone(),
            Box::new(Everything(Rc::clone(&plan))),
        );
        bench.0.borrow_mut().config = config.clone();
        let mut watch = |bench: &Handle, machine: Option<&Machine>| -> bool {
            let walk = plan.borrow();
            if walk.choices.is_replay() {
                return true;
            }
            let fingerprint = |hasher: &RandomState| {
                let bench = bench.0.borrow();
                hasher.hash_one((&bench.durable, machine, walk.budget, walk.unsaved, walk.cleanup_failed))
            };
            seen.insert((fingerprint(&hashers.0), fingerprint(&hashers.1)))
        };
        let wrong = if standalone {
            command_line(&bench, &plan, &mut watch)
        } else {
            match runner::daemon(&bench, &mut |bench, machine| watch(bench, Some(machine))) {
                End::Pruned => Ok(()),
                End::Idle => {
                    let excused = plan.borrow().unsaved || plan.borrow().cleanup_failed;
                    let durable = &bench.0.borrow().durable;
                    runner::check(durable, excused).and_then(|()| {
                        if durable.device.tree && !excused {
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
        if let Err(wrong) = wrong {
            let mut path = plan.borrow().story.clone();
            path.push("--".into());
            path.append(&mut bench.0.borrow_mut().lines);
            return Err(Failing { path, wrong });
        }
        if !plan.borrow_mut().choices.advance() {
            counts.configurations = seen.len();
            return Ok(counts);
        }
    }
}

/// `install`, then verbs until no update is in progress; after power was lost, and where an update waits for its user,
/// every verb is tried.
fn command_line(
    bench: &Handle,
    plan: &Rc<RefCell<Walk>>,
    watch: &mut dyn FnMut(&Handle, Option<&Machine>) -> bool,
) -> Result<(), String> {
    let verbs = [Verb::Resume, Verb::Commit, Verb::Rollback];
    let mut run = Run::Install;
    for _ in 0..20 {
        let mut success = false;
        match runner::process(bench, run, StopSet::default(), &mut |bench, machine| {
            watch(bench, Some(machine))
        }) {
            End::Pruned => return Ok(()),
            End::Exit(report) => success = report.is_success(),
            End::Down(_) => runner::boot(bench),
            // The verb makes no sense here; the others may.
            End::NotStarted(_) => return Ok(()),
            end @ (End::Idle | End::Stuck(_)) => return Err(format!("it does not end well: {end:?}")),
        }
        if !bench.0.borrow().durable.records.contains_key(&thimble_core::hal::Key::Checkpoint) {
            // Nothing is in progress; the user reboots, and what runs is what the name says.
            runner::boot(bench);
            let mut durable = bench.0.borrow().durable.clone();
            if success && runner::name(&durable).ends_with(SUFFIX) {
                return Err("exit status 0 for an inconsistent device".into());
            }
            durable.server.deployments.clear();
            let excused = plan.borrow().unsaved || plan.borrow().cleanup_failed;
            return runner::check(&durable, excused);
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
