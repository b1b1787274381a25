//! A walk over everything that can happen to a model, each configuration once.
//!
//! Breadth first, so that the first failing path is a shortest one. What is kept of a configuration that was seen is
//! its fingerprint and how it was reached: the path to a finding is made by taking the same choices again. The
//! configurations that still have to be walked, the frontier, are kept whole, up to a limit; those that do not fit are
//! walked depth first at once. The walk is then still complete, but a failing path need not be a shortest one.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;

use crate::fingerprint::Fingerprints;
use crate::visited::{FULL, Visited};

/// Something with a set of things that can happen next.
pub trait Model: Clone + Hash {
    /// Names a thing that can happen; made for each, so it should only become a text when it is shown.
    type Label: fmt::Display;

    /// Hands over every next thing, named, with what it leads to; none: the end. Always the same things in the same
    /// order. The first is what happens if nothing goes wrong: the walk checks that these alone lead to an end from
    /// everywhere.
    ///
    /// # Errors
    /// What is wrong here, in words.
    fn next(&self, visit: &mut impl FnMut(Self::Label, &Self)) -> Result<(), String>;
}

/// What a walk may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Different configurations; one more is a finding. Each takes at most [`Limits::BYTES`].
    pub configurations: usize,
    /// Configurations that are kept whole to be walked breadth first. The part walked depth first keeps some more: one for
    /// each branch of the path at hand.
    pub frontier: usize,
}

impl Limits {
    /// Memory that a configuration takes once it was seen, at most.
    pub const BYTES: usize = 64;
}

impl Default for Limits {
    /// Enough for every walk here; at most 4 GB for what was seen.
    fn default() -> Self {
        Self { configurations: 64_000_000, frontier: 400_000 }
    }
}

/// What a complete walk saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Different configurations.
    pub configurations: usize,
    /// Steps between them.
    pub steps: usize,
    /// Configurations where it ended.
    pub ends: usize,
    /// Steps of the longest path that was walked: if all was walked breadth first, of the longest of all shortest paths.
    pub depth: usize,
    /// Most configurations that were kept whole at a time.
    pub frontier: usize,
    /// Configurations that did not fit into the frontier and were walked depth first.
    pub depth_first: usize,
    /// Names everything that was seen, configurations and steps: two walks with the same digest saw the same.
    pub digest: u128,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { configurations, steps, ends, depth, frontier, depth_first, digest: _ } = self;
        write!(
            f,
            "{configurations} configurations, {steps} steps, {ends} ends, at most {depth} steps deep, "
        )?;
        write!(f, "{frontier} at a time")?;
        if *depth_first > 0 {
            write!(f, ", {depth_first} depth first")?;
        }
        Ok(())
    }
}

/// A path to something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// What happened, in order.
    pub path: Vec<String>,
    /// What is wrong at its end.
    pub wrong: String,
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.path {
            writeln!(f, "{line}")?;
        }
        write!(f, "WRONG: {}", self.wrong)
    }
}

/// Looks on while a model is walked.
pub trait Observer<M: Model> {
    /// A step to a configuration, between two that have these numbers: 0 is the first, and each new one has the next
    /// number. Every step is seen once.
    fn step(&mut self, label: &M::Label, from: u32, to: u32, model: &M);

    /// There is no next thing from this configuration on.
    fn end(&mut self, at: u32, model: &M);

    /// Something is wrong in this configuration. Whether the walk goes on elsewhere.
    fn wrong(&mut self, at: u32, wrong: &str) -> bool;
}

/// Ends the walk at the first thing that is wrong.
struct First(Option<(u32, String)>);

impl<M: Model> Observer<M> for First {
    fn step(&mut self, _: &M::Label, _: u32, _: u32, _: &M) {}

    fn end(&mut self, _: u32, _: &M) {}

    fn wrong(&mut self, at: u32, wrong: &str) -> bool {
        self.0 = Some((at, wrong.to_owned()));
        false
    }
}

/// Walks everything that can happen to a model from `start` on.
///
/// # Errors
/// A path to something wrong, to something that never ends though nothing goes wrong any more, or to more
/// configurations than `limits` allows. A shortest one, unless the frontier was full before.
pub fn explore<M: Model>(start: M, limits: Limits) -> Result<Counts, Failing> {
    let mut first = First(None);
    let walked = observe(start.clone(), limits, &mut first);
    let wrong = first.0.or_else(|| (!walked.complete).then(|| (walked.last, more_than(limits))));
    let Some((at, wrong)) = wrong else { return Ok(walked.counts) };
    let note = if walked.counts.depth_first > 0 { " (there may be a shorter path)" } else { "" };
    Err(Failing { path: replay(start, &walked.choices_to(at)), wrong: format!("{wrong}{note}") })
}

fn more_than(limits: Limits) -> String {
    format!("more than {} configurations", limits.configurations)
}

/// A walk that is over.
pub struct Walked {
    /// What it saw.
    pub counts: Counts,
    /// Nothing is left to be walked: neither did the observer end the walk, nor are there more configurations than
    /// allowed.
    pub complete: bool,
    /// The configuration that was looked at last.
    last: u32,
    visited: Visited,
}

impl Walked {
    /// The choices that lead to the configuration of this number, from the first one on: 0 is what happens if nothing
    /// goes wrong. A shortest path, unless the frontier was full before.
    #[must_use]
    pub fn choices_to(&self, at: u32) -> Vec<u32> {
        self.visited.choices_to(at)
    }
}

/// Walks everything that can happen to a model from `start` on, while somebody looks on. What never ends though nothing
/// goes wrong any more is wrong as well; it is looked for when the walk is over.
pub fn observe<M: Model>(start: M, limits: Limits, observer: &mut impl Observer<M>) -> Walked {
    let mut walk = Walk::new(start, limits);
    let (complete, last) = walk.run(observer);
    walk.counts.configurations = walk.visited.len();
    Walked { counts: walk.counts, complete, last, visited: walk.visited }
}

/// The labels of a path.
fn replay<M: Model>(start: M, choices: &[u32]) -> Vec<String> {
    let mut model = start;
    let mut path = Vec::new();
    for choice in choices {
        let mut taken = None;
        let mut number = 0;
        let end = model.next(&mut |label, next| {
            if number == *choice {
                taken = Some((label.to_string(), next.clone()));
            }
            number += 1;
        });
        match (end, taken) {
            (Ok(()) | Err(_), Some((label, next))) => {
                path.push(label);
                model = next;
            }
            (Ok(()) | Err(_), None) => {
                path.push(format!("choice {choice}, which was there once and is no more"));
                break;
            }
        }
    }
    path
}

/// A configuration still to be walked.
struct Open<M> {
    at: u32,
    depth: usize,
    model: M,
}

struct Walk<M> {
    limits: Limits,
    visited: Visited,
    fingerprints: Fingerprints,
    /// To be walked breadth first.
    queue: VecDeque<Open<M>>,
    /// To be walked depth first, before the queue.
    stack: Vec<Open<M>>,
    counts: Counts,
}

impl<M: Model> Walk<M> {
    fn new(start: M, limits: Limits) -> Self {
        let mut fingerprints = Fingerprints::default();
        let mut visited = Visited::default();
        let print = fingerprints.of(&start);
        visited.insert(print, 0, 0);
        let queue = VecDeque::from([Open { at: 0, depth: 0, model: start }]);
        let counts = Counts { digest: print, ..Counts::default() };
        Self { limits, visited, fingerprints, queue, stack: Vec::new(), counts }
    }

    /// Whether nothing is left to be walked, and the configuration that was looked at last.
    fn run(&mut self, observer: &mut impl Observer<M>) -> (bool, u32) {
        while let Some(open) = self.stack.pop().or_else(|| self.queue.pop_front()) {
            self.counts.depth = self.counts.depth.max(open.depth);
            if let Err(wrong) = self.expand(&open, observer)
                && !observer.wrong(open.at, &wrong)
            {
                return (false, open.at);
            }
            let kept = self.queue.len() + self.stack.len();
            self.counts.frontier = self.counts.frontier.max(kept);
            if self.visited.len() > self.limits.configurations.min(FULL) {
                return (false, open.at);
            }
        }
        if let Some(at) = self.visited.endless() {
            observer.wrong(at, "nothing goes wrong any more, and it never ends");
        }
        (true, 0)
    }

    fn expand(&mut self, open: &Open<M>, observer: &mut impl Observer<M>) -> Result<(), String> {
        let Self { limits, visited, fingerprints, queue, stack, counts } = self;
        let mut choice = 0;
        let here = visited.fingerprint(open.at);
        open.model.next(&mut |label, model| {
            let print = fingerprints.of(model);
            counts.digest = counts.digest.wrapping_add((here ^ print.rotate_left(1)).wrapping_mul(MIX));
            let (at, is_new) = visited.insert(print, open.at, choice);
            observer.step(&label, open.at, at, model);
            if choice == 0 {
                visited.goes_on(open.at, at);
            }
            choice += 1;
            if !is_new {
                return;
            }
            counts.digest = counts.digest.wrapping_add(print);
            let new = Open { at, depth: open.depth + 1, model: model.clone() };
            if queue.len() < limits.frontier {
                queue.push_back(new);
            } else {
                counts.depth_first += 1;
                stack.push(new);
            }
        })?;
        counts.steps += choice as usize;
        counts.ends += usize::from(choice == 0);
        if choice == 0 {
            observer.end(open.at, &open.model);
        }
        Ok(())
    }
}

/// Any odd number with many ones: makes the digest of a step depend on both of its ends.
const MIX: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up to ten, in ones or in threes, unless it is told where to stop or to go back.
    #[derive(Clone, Hash)]
    struct Counter {
        at: u32,
        wrong: u32,
        back: bool,
    }

    impl Counter {
        const fn new() -> Self {
            Self { at: 0, wrong: u32::MAX, back: false }
        }
    }

    impl Model for Counter {
        type Label = String;

        fn next(&self, visit: &mut impl FnMut(String, &Self)) -> Result<(), String> {
            if self.at == self.wrong {
                return Err("that".into());
            }
            if self.back && self.at == 7 {
                visit("back".into(), &Self { at: 4, ..*self });
            }
            for step in [1, 3] {
                if self.at + step <= 10 {
                    visit(format!("+{step}"), &Self { at: self.at + step, ..*self });
                }
            }
            Ok(())
        }
    }

    fn limits(frontier: usize) -> Limits {
        Limits { configurations: 100, frontier }
    }

    #[test]
    fn each_configuration_is_seen_once() {
        let counts = explore(Counter::new(), limits(100)).unwrap();
        let Counts { configurations, steps, ends, depth, depth_first, .. } = counts;
        assert_eq!((configurations, steps, ends, depth, depth_first), (11, 18, 1, 4, 0));
    }

    #[test]
    fn the_first_finding_is_a_shortest_path() {
        let failing = explore(Counter { wrong: 7, ..Counter::new() }, limits(100)).unwrap_err();
        assert_eq!(failing.path, ["+1", "+3", "+3"]);
        assert_eq!(failing.wrong, "that");
    }

    #[test]
    fn a_walk_with_a_full_frontier_is_complete_and_says_so() {
        let wide = explore(Counter::new(), limits(100)).unwrap();
        let narrow = explore(Counter::new(), limits(1)).unwrap();
        assert_eq!((narrow.configurations, narrow.steps, narrow.ends), (11, 18, 1));
        assert_eq!(narrow.digest, wide.digest);
        assert!(narrow.depth_first > 0 && narrow.to_string().contains("depth first"), "{narrow}");
        let failing = explore(Counter { wrong: 7, ..Counter::new() }, limits(1)).unwrap_err();
        assert!(failing.wrong.contains("shorter"), "{failing}");
        let sum = |step: &String| step.trim_start_matches('+').parse::<u32>().unwrap();
        assert_eq!(failing.path.iter().map(sum).sum::<u32>(), 7);
    }

    #[test]
    fn what_never_ends_is_found() {
        let failing = explore(Counter { back: true, ..Counter::new() }, limits(100)).unwrap_err();
        assert_eq!(failing.wrong, "nothing goes wrong any more, and it never ends");
        assert_eq!(failing.path, ["+1", "+3"]);
    }

    #[test]
    fn too_many_configurations_are_a_finding() {
        let few = Limits { configurations: 5, frontier: 100 };
        let failing = explore(Counter::new(), few).unwrap_err();
        assert_eq!(failing.wrong, "more than 5 configurations");
    }

    #[test]
    fn other_steps_have_another_digest() {
        let one = explore(Counter::new(), limits(100)).unwrap();
        let other = explore(Counter { wrong: u32::MAX - 1, ..Counter::new() }, limits(100)).unwrap();
        assert_ne!(one.digest, other.digest);
    }
}
