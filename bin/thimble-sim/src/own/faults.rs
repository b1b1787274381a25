//! What goes wrong, when; and what of it never did.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use thimble_hal_sim::sim::{Effect, Fate, Plan};

/// What happens to an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A program is not run and ends with this status; anything else fails.
    Exit(u8),
    /// A program is not run, and never ends by itself.
    Hang,
    /// Power is lost before it.
    CutBefore,
    /// Power is lost while it runs.
    CutInside,
    /// Power is lost after it, before the client knows.
    CutAfter,
    /// The server says that the deployment is aborted.
    Abort,
}

/// What happens to an effect, and to which of those with its name.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    name: String,
    pub(super) from: u32,
    pub(super) to: u32,
    what: What,
    used: bool,
}

impl Fault {
    pub(super) fn new(name: &str, nth: u32, what: What) -> Self {
        Self { name: name.to_owned(), from: nth, to: nth, what, used: false }
    }

    /// Whether an update may fail because of it.
    pub(super) fn may_fail_an_update(&self) -> bool {
        let is_repeated = matches!(self.name.as_str(), "downloading" | "success" | "failure");
        self.what == What::Abort || !(is_repeated && matches!(self.what, What::Exit(_)))
    }
}

/// All of them, shared by everything that asks.
#[derive(Clone)]
pub(super) struct Faults(Rc<RefCell<Planned>>);

struct Planned {
    faults: Vec<Fault>,
    /// How often something of this name happened.
    seen: BTreeMap<String, u32>,
}

impl Faults {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(Rc::new(RefCell::new(Planned { faults, seen: BTreeMap::new() })))
    }

    /// What happens to the next effect, which has these names.
    pub(super) fn next(&self, names: &[&str]) -> Option<What> {
        let Planned { faults, seen } = &mut *self.0.borrow_mut();
        let mut found = None;
        for name in names {
            let count = seen.entry((*name).to_owned()).or_insert(0);
            *count += 1;
            let count = *count;
            for fault in faults.iter_mut().filter(|fault| fault.name == *name) {
                if (fault.from..=fault.to).contains(&count) && found.is_none() {
                    fault.used = true;
                    found = Some(fault.what);
                }
            }
        }
        found
    }

    /// What was to go wrong and did not, in words.
    pub(super) fn unused(&self) -> Vec<String> {
        let Planned { faults, seen } = &*self.0.borrow();
        let say = |fault: &Fault| {
            let times = match seen.get(&fault.name).copied().unwrap_or(0) {
                0 => "never happened".to_owned(),
                1 => "happened once".to_owned(),
                more => format!("happened {more} times"),
            };
            let nth = if fault.from == 1 {
                String::new()
            } else {
                format!(", and something was to go wrong at number {}", fault.from)
            };
            format!("{} {times}{nth}: what was to go wrong there did not", fault.name)
        };
        faults.iter().filter(|fault| !fault.used).map(say).collect()
    }
}

/// For the parts of the device that are described, and not programs.
impl Plan for Faults {
    fn fate(&mut self, effect: &Effect) -> Fate {
        match effect {
            // The programs ask themselves.
            Effect::Script(_) => Fate::Works,
            Effect::Commit(_) | Effect::Module(_) | Effect::Mark | Effect::Status(_) | Effect::Reboot => {
                match self.next(&[&effect.to_string()]) {
                    None => Fate::Works,
                    Some(What::Exit(0)) => Fate::Works,
                    Some(What::Exit(_) | What::Hang) => Fate::Fails,
                    Some(What::Abort) => Fate::Refuses,
                    Some(What::CutBefore) => Fate::LostBefore,
                    Some(What::CutInside) => Fate::LostInside,
                    Some(What::CutAfter) => Fate::LostAfter,
                }
            }
        }
    }
}
