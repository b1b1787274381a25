//! Everything that can become of a user's update: how it can end and how often, the shortest way to each end that is not clean
//! beside the nearest good one, what was wrong, and what was covered.

mod scenario;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};

use thimble_core::config::Config;
use thimble_core::script::{Transition, parse_name};
use thimble_core::state::State;
use twox_hash::XxHash3_128;

use crate::explore::{Counts, Limits, Model, Observer, Walked, observe};
use crate::model::Budget;
use crate::story::Path;
use crate::whole::{Ending, Given, Has, Label, Names, Situation, Told, Whole};
use crate::world::Profile;

/// Different things that are wrong, of which a way is kept.
const WRONGS: usize = 20;

/// Memory that a configuration takes as long as it is kept whole, in bytes: see [`Limits::frontier`].
pub const KEPT_WHOLE: usize = 3 * 1024;

/// What is surveyed.
#[derive(Clone, Debug)]
pub struct Task {
    /// The device and its update module.
    pub profile: Profile,
    /// Its settings.
    pub config: Config,
    /// Names of all state scripts, the device's and the artifact's; what is no script's name is left out.
    pub scripts: Vec<String>,
    /// By the command line, and not by the daemon.
    pub standalone: bool,
    /// How much goes wrong at most.
    pub budget: Budget,
    /// How much is walked at most.
    pub limits: Limits,
    /// The part that is walked.
    pub shard: Shard,
}

/// A part of everything: the things that can go wrong first are shared out, and each part has whatever follows from its own.
/// All parts together are everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    /// From 0 on, below `of`.
    pub number: u32,
    /// How many there are; at least 1.
    pub of: u32,
    /// Shares out in another way.
    pub seed: u64,
}

impl Shard {
    /// Everything.
    pub const WHOLE: Self = Self { number: 0, of: 1, seed: 0 };

    /// The part has what begins with this choice at this step.
    fn has(self, step: u32, choice: u32) -> bool {
        let mixed =
            (self.seed ^ (u64::from(step) << 32 | u64::from(choice)).wrapping_mul(MIX)).wrapping_mul(MIX);
        (mixed >> 33) % u64::from(self.of.max(1)) == u64::from(self.number)
    }
}

/// Any odd number with many ones.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// The part of a walk; until something goes wrong, the number of the step is a part of the configuration.
#[derive(Clone)]
struct Part<'d> {
    whole: Whole<'d>,
    shard: Shard,
    /// Steps so far, while nothing has gone wrong.
    step: Option<u32>,
}

/// Which part it is is the same in the whole walk.
impl Hash for Part<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.whole, self.step).hash(state);
    }
}

/// What happens, where it is of this part.
#[derive(Clone, Copy, Debug)]
struct Ours(Option<Label>);

impl fmt::Display for Ours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(label) => label.fmt(f),
            None => f.write_str("of another part"),
        }
    }
}

impl Model for Part<'_> {
    type Label = Ours;

    fn next(&self, visit: &mut impl FnMut(Ours, &Self)) -> Result<(), String> {
        let mut choice = 0;
        self.whole.next(&mut |label, whole| {
            let step = match (self.step, choice) {
                (Some(step), 0) if self.shard.of > 1 => Some(step + 1),
                (Some(_) | None, _) => None,
            };
            let is_ours = choice == 0 || self.step.is_none_or(|at| self.shard.has(at, choice));
            choice += 1;
            // What belongs to another part leads nowhere new.
            let (whole, step) = if is_ours { (whole, step) } else { (&self.whole, self.step) };
            visit(Ours(is_ours.then_some(label)), &Self { whole: whole.clone(), shard: self.shard, step });
        })
    }
}

/// An end that an update can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// What it is.
    pub ending: Ending,
    /// So many different configurations end like this.
    pub count: u64,
    /// A shortest way to it of those on which least goes wrong.
    pub way: Way,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What.
    pub wrong: String,
    /// In so many configurations.
    pub count: u64,
    /// A shortest way to it.
    pub way: Way,
}

/// A way to an end, beside the nearest one that ends well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Its choices.
    pub path: Path,
    /// What happens.
    pub told: Told,
    /// A scenario in which the same goes wrong, and the same comes of it; `None`: the words of scenarios do not say it.
    pub scenario: Option<String>,
    /// The nearest way with a clean end: the same up to a thing that goes wrong, without that. Not of a clean way.
    pub good: Option<Good>,
}

/// The nearest way with a clean end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Good {
    /// Its choices.
    pub path: Path,
    /// What happens.
    pub told: Told,
    /// The number of the first row that is another one.
    pub differs_at: usize,
}

/// A script, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The file's name.
    pub name: String,
    /// Steps in which it works, and in which it does not.
    pub works: u64,
    /// Steps in which something is wrong with it or around it.
    pub fails: u64,
}

/// A situation of [`Situation::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Which.
    pub situation: Situation,
    /// Steps in which it was met.
    pub count: u64,
    /// With this budget, on this device, it has to be met.
    pub is_due: bool,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survey {
    /// How much.
    pub counts: Counts,
    /// Names the graph that was walked by what happens in it, by the names of states and operations, and by its ends: two
    /// surveys with the same digest saw the same things happen in the same order.
    pub digest: u128,
    /// Nothing is left to be walked.
    pub complete: bool,
    /// How it can end, the worst first.
    pub ends: Vec<End>,
    /// What must not be.
    pub wrongs: Vec<Wrong>,
    /// The scripts.
    pub scripts: Vec<Script>,
    /// The situations.
    pub situations: Vec<Seen>,
    /// Steps from one state of the client to another, or within one.
    pub moves: Vec<((State, State), u64)>,
}

impl Survey {
    /// Situations that were due, and were not met.
    pub fn missed(&self) -> impl Iterator<Item = Situation> {
        self.situations.iter().filter(|seen| seen.is_due && seen.count == 0).map(|seen| seen.situation)
    }
}

/// The scripts of a task, where they run.
#[must_use]
pub fn names(scripts: &[String]) -> Vec<(Transition, Vec<String>)> {
    let mut sorted: Vec<&String> = scripts.iter().collect();
    sorted.sort();
    sorted.dedup();
    let mut names: Vec<(Transition, Vec<String>)> = Vec::new();
    for name in sorted {
        let Some(transition) = parse_name(name) else { continue };
        match names.iter_mut().find(|(at, _)| *at == transition) {
            Some((_, here)) => here.push(name.clone()),
            None => names.push((transition, vec![name.clone()])),
        }
    }
    names
}

/// What a walk takes of a task.
#[must_use]
pub fn given(task: &Task) -> Given {
    let count = |names: &Vec<String>| u16::try_from(names.len()).unwrap_or(u16::MAX);
    let scripts = names(&task.scripts).iter().map(|(at, names)| (*at, count(names))).collect();
    Given { config: task.config.clone(), scripts }
}

/// Configurations between two words about how far a walk has come.
const OFTEN: u32 = 1 << 18;

/// Walks everything that can become of the update. `progress` hears now and then how many configurations were met.
#[must_use]
pub fn survey(task: &Task, progress: &mut dyn FnMut(u32)) -> Survey {
    let names = names(&task.scripts);
    let given = given(task);
    let start = Whole::of(&given, task.profile, task.budget, task.standalone);
    let mut looks = Looks::new(progress);
    let step = (task.shard.of > 1).then_some(0);
    let walked = observe(Part { whole: start.clone(), shard: task.shard, step }, task.limits, &mut looks);
    looks.survey(task, &start, &names, &walked)
}

/// One way: what happens on this path of a task, beside the nearest good one.
#[must_use]
pub fn way(task: &Task, path: Path) -> Way {
    let given = given(task);
    let start = Whole::of(&given, task.profile, task.budget, task.standalone);
    way_from(task, &start, &names(&task.scripts), path)
}

fn way_from(task: &Task, start: &Whole<'_>, names: &Names, path: Path) -> Way {
    let told = start.tell(&path, names);
    let is_clean = told.end.as_ref().is_ok_and(|end| end.kind.is_clean());
    let good = if is_clean { None } else { nearest_good(start, names, &path, &told) };
    let scenario = scenario::of(task, names, &told);
    Way { path, told, scenario, good }
}

/// What is noted during a walk.
struct Looks<'p> {
    progress: &'p mut dyn FnMut(u32),
    /// Configurations that were met, and steps.
    met: u32,
    steps: usize,
    labels: HashMap<Label, (u128, u64)>,
    moves: HashMap<(State, State), u64>,
    /// How often; how much more might have gone wrong on the way on which least did, and to where it leads.
    ends: BTreeMap<Ending, (u64, u8, u32)>,
    wrongs: Vec<(String, u64, u32)>,
    digest: u128,
}

impl Observer<Part<'_>> for Looks<'_> {
    fn step(&mut self, label: &Ours, from: u32, to: u32, model: &Part<'_>) {
        let Ours(Some(label)) = label else { return };
        self.steps += 1;
        if to > self.met {
            self.met = to;
            if to.is_multiple_of(OFTEN) {
                (self.progress)(to);
            }
        }
        let (hash, count) = self
            .labels
            .entry(*label)
            .or_insert_with(|| (XxHash3_128::oneshot(label.to_string().as_bytes()), 0));
        *count += 1;
        let step = *hash ^ (u128::from(from) << 32 | u128::from(to)).wrapping_mul(MIX.into());
        self.digest = mixed(self.digest, step);
        // What a restart leads to is no move of the client's table.
        if !label.is_restart()
            && let (Some(before), Some(now)) = (label.state(), model.whole.state())
        {
            *self.moves.entry((before, now)).or_default() += 1;
        }
    }

    fn end(&mut self, at: u32, model: &Part<'_>) {
        self.mix(model.whole.ending().to_string().as_bytes());
        let Budget { failures, losses } = model.whole.budget();
        let left = failures + losses;
        let (count, best, to) = self.ends.entry(model.whole.ending()).or_insert((0, left, at));
        *count += 1;
        if left > *best {
            (*best, *to) = (left, at);
        }
    }

    fn wrong(&mut self, at: u32, wrong: &str) -> bool {
        self.mix(wrong.as_bytes());
        if let Some((_, count, _)) = self.wrongs.iter_mut().find(|(text, ..)| text == wrong) {
            *count += 1;
        } else if self.wrongs.len() < WRONGS {
            self.wrongs.push((wrong.to_owned(), 1, at));
        }
        true
    }
}

impl<'p> Looks<'p> {
    fn new(progress: &'p mut dyn FnMut(u32)) -> Self {
        Self {
            progress,
            met: 0,
            steps: 0,
            labels: HashMap::new(),
            moves: HashMap::new(),
            ends: BTreeMap::new(),
            wrongs: Vec::new(),
            digest: 0,
        }
    }

    /// Something more is a part of what was seen.
    fn mix(&mut self, what: &[u8]) {
        self.digest = mixed(self.digest, XxHash3_128::oneshot(what));
    }

    fn survey(self, task: &Task, start: &Whole<'_>, names: &Names, walked: &Walked) -> Survey {
        let way = |at: u32| way_from(task, start, names, Path::of(&walked.choices_to(at)));
        let ends = self.ends.iter();
        let ends = ends.map(|(ending, (count, _, at))| End { ending: *ending, count: *count, way: way(*at) });
        let ends = ends.collect();
        let wrongs = self.wrongs.iter();
        let wrongs =
            wrongs.map(|(wrong, count, at)| Wrong { wrong: wrong.clone(), count: *count, way: way(*at) });
        let wrongs = wrongs.collect();
        let sum = |is: &dyn Fn(&Label) -> bool| -> u64 {
            self.labels.iter().filter(|(label, _)| is(label)).map(|(_, (_, count))| count).sum()
        };
        let scripts = names.iter().flat_map(|(transition, names)| {
            (0..).zip(names).map(|(index, name)| {
                let counted =
                    |works| sum(&|label: &Label| label.script() == Some((*transition, index, works)));
                Script { name: name.clone(), works: counted(true), fails: counted(false) }
            })
        });
        let scripts: Vec<Script> = scripts.collect();
        let has = Has {
            profile: task.profile,
            budget: task.budget,
            standalone: task.standalone,
            scripts: scripts.iter().any(|script: &Script| script.works > 0),
        };
        let situations = Situation::ALL.map(|situation| Seen {
            situation,
            count: sum(&|label: &Label| situation.is(label)),
            is_due: task.shard.of == 1 && walked.complete && situation.is_due(has),
        });
        let mut moves: Vec<_> = self.moves.into_iter().collect();
        moves.sort_by_key(|((from, to), _)| (*from as usize, *to as usize));
        Survey {
            counts: Counts { steps: self.steps, ..walked.counts },
            digest: self.digest,
            complete: walked.complete,
            ends,
            wrongs,
            scripts,
            situations: situations.to_vec(),
            moves,
        }
    }
}

/// A digest, and something more.
const fn mixed(digest: u128, more: u128) -> u128 {
    (digest.rotate_left(71) ^ more).wrapping_mul(MIX as u128)
}

/// The nearest way with a clean end: without the last thing that goes wrong, or without the last two, ...
fn nearest_good(start: &Whole<'_>, names: &Names, path: &Path, told: &Told) -> Option<Good> {
    path.0.iter().rev().find_map(|(step, _)| {
        let path = path.before(*step);
        let good = start.tell(&path, names);
        let differs_at = told.rows.iter().zip(&good.rows).take_while(|(a, b)| a == b).count();
        good.end.as_ref().is_ok_and(|end| end.kind.is_clean()).then_some(Good {
            path,
            told: good,
            differs_at,
        })
    })
}
