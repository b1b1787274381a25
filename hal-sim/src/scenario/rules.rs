//! What goes wrong, and when: the plan behind a scenario.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::complaint::Complaint;
use crate::sim::{Effect, Fate, Plan};

/// What happens to an effect, some of the times that it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// As it is shown: `ArtifactInstall_Enter`, `installing`, `save`.
    pub(super) what: String,
    /// The first time it concerns, counted from 1 and from the beginning of the scenario.
    pub(super) from: u32,
    /// The last.
    pub(super) to: u32,
    /// What happens to it.
    pub(super) fate: Fate,
}

impl Rule {
    /// Times of one effect that both concern; the first of them.
    pub(super) fn overlaps(&self, other: &Self) -> Option<u32> {
        let from = self.from.max(other.from);
        (self.what == other.what && from <= self.to.min(other.to)).then_some(from)
    }

    /// When it counts.
    fn when(&self) -> String {
        match (self.from, self.to) {
            (1, u32::MAX) => "every time".into(),
            (from, to) if from == to => format!("the {} time", ordinal(from)),
            (from, to) => format!("times {from} to {to}"),
        }
    }
}

/// The rules that count by now, and what they have seen.
#[derive(Default)]
pub(super) struct Rules {
    rules: Vec<Counting>,
    seen: BTreeMap<String, u32>,
}

struct Counting {
    line: usize,
    rule: Rule,
    /// How often the effect had happened before.
    before: u32,
    used: bool,
}

impl Rules {
    /// One more rule counts from now on.
    pub(super) fn add(&mut self, line: usize, rule: Rule) {
        let before = self.seen.get(&rule.what).copied().unwrap_or(0);
        self.rules.push(Counting { line, rule, before, used: false });
    }

    /// The rules that were never used.
    pub(super) fn unused(&self) -> impl Iterator<Item = Complaint> {
        let unused = self.rules.iter().filter(|counting| !counting.used);
        unused.map(|Counting { line, rule, before, .. }| {
            let (what, seen) = (&rule.what, self.seen.get(&rule.what).copied().unwrap_or(0));
            let text = match seen {
                0 => format!("never used: {what} never happened"),
                _ if *before >= rule.to => format!(
                    "never used: {what} happened {} before this line, which is for {}; times are counted from the \
                     beginning of the scenario",
                    times(*before),
                    rule.when()
                ),
                _ => format!("never used: {what} happened {}, the line is for {}", times(seen), rule.when()),
            };
            Complaint { line: *line, text }
        })
    }
}

/// How often.
fn times(number: u32) -> String {
    match number {
        1 => "once".into(),
        2 => "twice".into(),
        _ => format!("{number} times"),
    }
}

/// Which time.
fn ordinal(number: u32) -> String {
    const WORDS: [&str; 10] =
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"];
    if let Some(word) = number.checked_sub(1).and_then(|index| WORDS.get(index as usize)) {
        return (*word).to_owned();
    }
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        (_, _) => "th",
    };
    format!("{number}{ending}")
}

/// The rules as the simulated platform asks them.
pub(super) struct Shared(pub(super) Rc<RefCell<Rules>>);

impl Plan for Shared {
    fn fate(&mut self, effect: &Effect) -> Fate {
        let what = effect.to_string();
        let mut rules = self.0.borrow_mut();
        let seen = rules.seen.entry(what.clone()).or_insert(0);
        *seen += 1;
        let seen = *seen;
        let rule = rules
            .rules
            .iter_mut()
            .find(|Counting { rule, .. }| rule.what == what && (rule.from..=rule.to).contains(&seen));
        rule.map_or(Fate::Works, |counting| {
            counting.used = true;
            counting.rule.fate
        })
    }
}
