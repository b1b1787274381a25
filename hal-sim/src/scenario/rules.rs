//! What goes wrong, and when: the plan behind a scenario.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::sim::{Effect, Fate, Plan};

#[derive(Default)]
pub(super) struct Rules {
    rules: Vec<Rule>,
    seen: BTreeMap<String, u32>,
}

impl Rules {
    /// One more rule: what happens to an effect, and how often.
    pub(super) fn add(&mut self, what: &str, times: &[&str], fate: Fate) -> Result<(), String> {
        let number = |text: &str| text.parse::<u32>().map_err(|_| format!("not a number: {text}"));
        let (from, to) = match times {
            [] => (1, 1),
            ["always"] => (1, u32::MAX),
            [range] => match range.split_once('-') {
                Some((from, to)) => (number(from)?, number(to)?),
                None => (number(range)?, number(range)?),
            },
            _ => return Err(format!("how often? {}", times.join(" "))),
        };
        self.rules.push(Rule { what: what.to_owned(), from, to, fate });
        Ok(())
    }
}

struct Rule {
    what: String,
    from: u32,
    to: u32,
    fate: Fate,
}

pub(super) struct Shared(pub(super) Rc<RefCell<Rules>>);

impl Plan for Shared {
    fn fate(&mut self, effect: &Effect) -> Fate {
        let what = effect.to_string();
        let mut rules = self.0.borrow_mut();
        let seen = rules.seen.entry(what.clone()).or_insert(0);
        *seen += 1;
        let seen = *seen;
        let rule = rules.rules.iter().find(|rule| rule.what == what && (rule.from..=rule.to).contains(&seen));
        rule.map_or(Fate::Works, |rule| rule.fate)
    }
}
