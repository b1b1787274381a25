//! What happened, in order: who did it, when, and what came of it.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use thimble_core::hal::{Exit, Level, Log};
use thimble_core::script;
use thimble_core::time::Instant;
use thimble_hal_sim::scenario::CALLS;
use thimble_hal_sim::sim::{Handle, Line};
use thimble_hal_sim::story::Lane;

use crate::timeline::Event;

/// Lines of a program's output that are kept.
const OUTPUT: usize = 20;

/// All that happened.
#[derive(Clone)]
pub(super) struct Journal {
    bench: Handle,
    events: Rc<RefCell<Vec<Event>>>,
}

impl Journal {
    pub(super) fn new(bench: Handle) -> Self {
        Self { bench, events: Rc::default() }
    }

    /// Takes over what the described parts of the device have said.
    pub(super) fn gather(&self) {
        let lines = std::mem::take(&mut self.bench.0.borrow_mut().lines);
        let mut events = self.events.borrow_mut();
        for Line { at, text: line } in lines {
            let at = at.since(Instant::ZERO);
            let (lane, what, result) = if let Some(status) = line.strip_prefix("-- ") {
                (Lane::Server, status.to_owned(), None)
            } else if let Some(what) = line.strip_prefix("** ") {
                (Lane::Device, what.to_owned(), None)
            } else if let Some(why) = line.strip_prefix("!! ") {
                (Lane::Device, format!("failed: {why}"), None)
            } else if let Some((call, answer)) = line.split_once("? ") {
                (Lane::Module, format!("{call}?"), Some(answer.to_owned()))
            } else if CALLS.iter().any(|call| call.name() == line) {
                (Lane::Module, line, None)
            } else {
                (Lane::Device, line, None)
            };
            events.push(Event { result, ..Event::new(at, lane, what) });
        }
    }

    /// Notes something; its number, for [`Self::result`].
    pub(super) fn note(&self, lane: Lane, what: impl Into<String>) -> usize {
        self.gather();
        let at = self.bench.0.borrow().time().since(Instant::ZERO);
        let mut events = self.events.borrow_mut();
        events.push(Event::new(at, lane, what));
        events.len() - 1
    }

    /// What came of it.
    pub(super) fn result(&self, number: usize, result: String) {
        if let Some(event) = self.events.borrow_mut().get_mut(number) {
            event.result = Some(result);
        }
    }

    /// Whether something is known of it.
    pub(super) fn has_result(&self, number: usize) -> bool {
        self.events.borrow().get(number).is_some_and(|event| event.result.is_some())
    }

    /// Whether it has printed anything.
    pub(super) fn has_printed(&self, number: usize) -> bool {
        self.events.borrow().get(number).is_some_and(|event| !event.output.is_empty())
    }

    /// All of it.
    pub(super) fn take(&self) -> Vec<Event> {
        self.gather();
        self.events.borrow().clone()
    }
}

/// How a program ended, for people.
pub(super) fn ending(exit: Exit) -> String {
    match exit {
        Exit::Code(0) => "ok".to_owned(),
        Exit::Code(script::RETRY_LATER) => "exit status 21: again later".to_owned(),
        Exit::Code(status) => format!("exit status {status}"),
        Exit::Signal(signal) => format!("ended by signal {signal}"),
    }
}

/// What programs print goes to the event at hand; what the client says is not for the timeline.
pub(super) struct Output(pub(super) Journal);

impl Log for Output {
    fn log(&mut self, _: Level, message: fmt::Arguments<'_>) {
        let text = message.to_string();
        let mut events = self.0.events.borrow_mut();
        let Some(event) = events.last_mut() else { return };
        // `NAME: LINE`, `NAME (stdout): LINE`, where a module's name is followed by the call.
        let Some((name, line)) = text.split_once(": ") else { return };
        let name = name.trim_end_matches(" (stdout)");
        let call = event.what.trim_end_matches('?');
        let is_its = name == call || name.rsplit(' ').next() == Some(call);
        if is_its {
            if event.output.len() == OUTPUT {
                event.output.remove(0);
                event.earlier += 1;
            }
            event.output.push(line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
        }
    }
}
