//! An exhaustive generator: a run asks it to choose, again and again; it makes each combination of choices once.

use std::cell::RefCell;
use std::rc::Rc;

use crate::model::Budget;
use crate::sim::{Effect, Fate, Plan};

/// The choices of a run, replayed from a prefix; behind it the first of each.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    taken: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    /// One of `0..of`.
    pub fn choose(&mut self, of: usize) -> usize {
        if self.at == self.taken.len() {
            self.taken.push((0, of));
        }
        let (choice, _) = self.taken[self.at];
        self.at += 1;
        choice
    }

    /// True while the choices of an earlier run are replayed: nothing new can be seen.
    #[must_use]
    pub fn is_replay(&self) -> bool {
        self.at < self.taken.len()
    }

    /// To the next combination; false: all were made.
    pub fn advance(&mut self) -> bool {
        self.taken.truncate(self.at);
        self.at = 0;
        while let Some((choice, of)) = self.taken.pop() {
            if choice + 1 < of {
                self.taken.push((choice + 1, of));
                return true;
            }
        }
        false
    }
}

/// What the walk over a client shares with its plan.
#[derive(Debug)]
pub struct Walk {
    /// The choices.
    pub choices: Choices,
    /// What may still go wrong in this run.
    pub budget: Budget,
    /// Things that may still be said about control maps in this run.
    pub events: u8,
    /// What went wrong in this run, in words.
    pub story: Vec<String>,
    /// A record could not be written in this run.
    pub unsaved: bool,
    /// The module's `Cleanup` failed in this run.
    pub cleanup_failed: bool,
}

impl Walk {
    /// A walk that has not begun.
    #[must_use]
    pub fn new(budget: Budget) -> Rc<RefCell<Self>> {
        let choices = Choices::default();
        Rc::new(RefCell::new(Self {
            choices,
            budget,
            events: 0,
            story: Vec::new(),
            unsaved: false,
            cleanup_failed: false,
        }))
    }

    /// A new run begins.
    pub fn begin(&mut self, budget: Budget) {
        self.budget = budget;
        self.story.clear();
        self.unsaved = false;
        self.cleanup_failed = false;
    }
}

/// A plan that tries everything.
pub struct Everything(pub Rc<RefCell<Walk>>);

impl Plan for Everything {
    fn fate(&mut self, effect: &Effect) -> Fate {
        let mut walk = self.0.borrow_mut();
        let mut fates = vec![Fate::Works];
        if walk.budget.failures > 0 {
            fates.push(Fate::Fails);
            if matches!(effect, Effect::Status(_)) {
                fates.push(Fate::Refuses);
            }
        }
        if walk.budget.losses > 0 {
            fates.extend([Fate::LostBefore, Fate::LostInside, Fate::LostAfter]);
        }
        let choice = walk.choices.choose(fates.len());
        let fate = fates[choice];
        match fate {
            Fate::Works => {}
            Fate::Fails | Fate::Refuses => walk.budget.failures -= 1,
            Fate::LostBefore | Fate::LostInside | Fate::LostAfter => walk.budget.losses -= 1,
        }
        if fate != Fate::Works {
            walk.story.push(format!("{effect}: {fate:?}"));
        }
        let failed = fate == Fate::Fails;
        walk.unsaved |= failed && *effect == Effect::Commit;
        walk.cleanup_failed |= failed && *effect == Effect::Module(thimble_core::deployment::Call::Cleanup);
        fate
    }
}
