//! An exhaustive generator: a run asks it to choose, again and again; it makes each combination of choices once.

use std::cell::RefCell;
use std::rc::Rc;

use thimble_core::deployment::{Call, Naming, Status};
use thimble_core::machine::Op;

use crate::check::Trouble;
use crate::model::Budget;
use crate::sim::{Batch, Effect, Fate, Plan};
use crate::world::Name;

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
    /// What went wrong in this run that promises depend on.
    pub trouble: Trouble,
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
            trouble: Trouble::default(),
        }))
    }

    /// A new run begins.
    pub fn begin(&mut self, budget: Budget) {
        self.budget = budget;
        self.story.clear();
        self.trouble = Trouble::default();
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
        walk.trouble.note(effect, fate);
        fate
    }
}

impl Trouble {
    /// Takes in what happens to an effect.
    fn note(&mut self, effect: &Effect, fate: Fate) {
        let fails = fate == Fate::Fails;
        match effect {
            Effect::Commit(Batch::Record) => self.wrote(Op::Save, !fails),
            Effect::Commit(Batch::Provides) => self.wrote(Op::SaveProvides(Naming::Good), !fails),
            Effect::Commit(Batch::Deletion) => self.wrote(Op::ClearData, !fails),
            Effect::Module(Call::Cleanup) if fails => {
                self.cleaned();
                // Nobody says here what is on record and what was told: the most that it can be.
                self.cleanup_failed(Name::New, Some(Status::Failure));
            }
            Effect::Status(_) => self.reported(),
            Effect::Module(_) | Effect::Script(_) | Effect::Mark | Effect::Reboot => {}
        }
        if matches!(fate, Fate::LostBefore | Fate::LostInside | Fate::LostAfter) {
            self.started();
        }
    }
}
