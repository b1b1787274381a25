//! Policies decide when updates may go on: update windows, and inhibitors (files and programs that hold updates up).
//!
//! The machine asks the policies before install, reboot and commit when no control map decides there. Every policy has
//! a deadline, counted from when the update came to that point, so that no update waits for ever. A policy that cannot
//! be evaluated (the clock was not set, a program does not run) holds the update up and says why.

mod inhibitor;
mod window;

pub use inhibitor::{Inhibitor, Sign};
pub use window::{DAYS, EARLIEST, Local, Minute, Window};

use std::fmt;
use std::task::Poll;

use thimble_core::deployment::Point;
use thimble_core::hal::{Level, Permit, Policy};
use thimble_core::time::{Duration, Instant};

use crate::SharedLog;
use crate::wait::PollSet;
use inhibitor::{Answer, Asked};

/// Most windows, and most inhibitors, that can be configured: while an update waits, each is asked every minute.
pub const MOST: usize = 16;

/// How long a policy holds an update up at most, unless `DeadlineSeconds` says otherwise: a week.
pub const DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// A closed window is checked again after this time at the latest, since the clock may have been set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// How long after a check the file of an inhibitor is looked for again.
const FILE_AGAIN: Duration = Duration::from_secs(10);

/// The configured policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The update windows. An update may pass a point if one of the windows for that point is open, or there are none.
    pub windows: Vec<Window>,
    /// The inhibitors. None of them may hold the update up.
    pub inhibitors: Vec<Inhibitor>,
}

impl Settings {
    /// Whether there is any policy.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.inhibitors.is_empty()
    }
}

/// What the windows for a point say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// One is open, or there is none for this point.
    Open,
    /// All are closed, or the clock was not set: the update waits, and asks again after this time.
    Closed(Duration),
    /// The same, and the update has waited until its deadline.
    Late(AtDeadline),
}

impl Settings {
    /// What the windows say about an update that has waited so long before `point`; `local`: the time, `None` when the clock
    /// was not set.
    #[must_use]
    pub fn passage(&self, point: Point, local: Option<Local>, waited: Duration) -> Passage {
        let windows = || self.windows.iter().filter(|window| window.points.contains(point));
        let Some(first) = windows().min_by_key(|window| window.deadline) else { return Passage::Open };
        if local.is_some_and(|local| windows().any(|window| window.is_open(local))) {
            Passage::Open
        } else if waited < first.deadline {
            Passage::Closed(LOOK_AGAIN)
        } else {
            Passage::Late(first.then)
        }
    }
}

/// The points before which a policy applies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Points {
    bits: u8,
}

impl Points {
    /// These points and `point`.
    #[must_use]
    pub const fn with(self, point: Point) -> Self {
        Self { bits: self.bits | 1 << point as u8 }
    }

    /// Whether the policy applies before `point`.
    #[must_use]
    pub const fn contains(self, point: Point) -> bool {
        self.bits & 1 << point as u8 != 0
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for point in Point::ALL.into_iter().filter(|point| self.contains(*point)) {
            write!(f, "{comma}{}", point.word())?;
            comma = ", ";
        }
        Ok(())
    }
}

/// What happens to an update that a policy has held up until its deadline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtDeadline {
    /// The update goes on.
    #[default]
    Continue,
    /// The update fails, and is rolled back if that is possible.
    Fail,
}

/// When a policy that holds an update up stops doing so, as far as that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// From now on.
    pub after: Duration,
    /// What happens then.
    pub then: Then,
}

/// What ends a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The update window opens.
    Opens,
    /// The deadline of the policy has come; the policy may agree before.
    Deadline(AtDeadline),
}

/// The policies of a device that runs Linux.
pub struct Policies {
    settings: Settings,
    log: SharedLog,
    clock: fn() -> Option<Local>,
    question: Option<Question>,
    reason: String,
    /// Which of them holds the update up.
    holds: Option<Holds>,
    /// Where an update waits and since when, and, one bit each, the policies about whose passed deadline a line was
    /// logged.
    said: Option<(Point, Instant, u32)>,
}

/// What holds an update up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Windows,
    /// By its number.
    Inhibitor(usize),
}

/// An update that waits before a point.
struct Question {
    point: Point,
    /// How long the update has waited there.
    waited: Duration,
    /// The inhibitor that is being asked, and its running program.
    next: usize,
    asked: Option<Asked>,
}

impl Policies {
    /// Evaluates nothing before the machine asks.
    #[must_use]
    pub const fn new(settings: Settings, log: SharedLog) -> Self {
        Self {
            settings,
            log,
            clock: Local::now,
            question: None,
            reason: String::new(),
            holds: None,
            said: None,
        }
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Some(asked) = self.question.as_ref().and_then(|question| question.asked.as_ref()) {
            asked.wants(set);
        }
    }

    /// Until when the policies hold the update up that was held up when they were asked last; `None`: they do not, or it
    /// cannot be told.
    #[must_use]
    pub fn until(&self, now: Instant) -> Option<Until> {
        let (point, since, _) = self.said?;
        let waited = now.since(since);
        let at_deadline =
            |deadline: Duration, then| Until { after: deadline.minus(waited), then: Then::Deadline(then) };
        match self.holds? {
            Holds::Windows => {
                let windows = || self.settings.windows.iter().filter(|window| window.points.contains(point));
                let first = windows().min_by_key(|window| window.deadline)?;
                let last = at_deadline(first.deadline, first.then);
                let opens =
                    (self.clock)().and_then(|local| windows().filter_map(|window| window.opens(local)).min());
                let opens = opens.map(|after| Until { after, then: Then::Opens });
                opens.filter(|opens| opens.after <= last.after).or(Some(last))
            }
            Holds::Inhibitor(number) => {
                let inhibitor = self.settings.inhibitors.get(number)?;
                Some(at_deadline(inhibitor.deadline, inhibitor.then))
            }
        }
    }

    /// The decision of the windows; `None` if they let the update pass.
    fn windows(&mut self, point: Point, waited: Duration) -> Option<Permit> {
        let local = (self.clock)();
        let passage = self.settings.passage(point, local, waited);
        if passage == Passage::Open {
            return None;
        }
        let windows = self.settings.windows.iter().filter(|window| window.points.contains(point));
        let names: Vec<String> = windows.map(Window::to_string).collect();
        let names = names.join(", ");
        self.reason = match local {
            Some(local) => {
                format!("outside the update window {names} (it is {local})")
            }
            None => format!("the clock is not set, so the update window {names} cannot be told"),
        };
        self.holds = Some(Holds::Windows);
        match passage {
            Passage::Open => None,
            Passage::Closed(again) => Some(Permit::Wait(again)),
            Passage::Late(then) => self.deadline(then, 0),
        }
    }

    /// The deadline of a policy has passed; `reason` says why it held the update up.
    fn deadline(&mut self, then: AtDeadline, number: usize) -> Option<Permit> {
        let reason = std::mem::take(&mut self.reason);
        match then {
            AtDeadline::Continue => {
                // Logged once: otherwise a long wait for another policy would fill the log.
                if let Some((_, _, said)) = &mut self.said
                    && *said >> number & 1 == 0
                {
                    *said |= 1 << number;
                    let line = format_args!("{reason}; its deadline has passed: going on");
                    self.log.borrow_mut().log(Level::Warning, line);
                }
                None
            }
            AtDeadline::Fail => {
                self.reason = format!("{reason}; its deadline has passed");
                Some(Permit::Fail)
            }
        }
    }

    /// Asks the inhibitors one after another.
    fn inhibitors(&mut self, now: Instant, question: &mut Question) -> Poll<Permit> {
        while let Some(inhibitor) = self.settings.inhibitors.get(question.next) {
            let asked = match question.asked.take() {
                Some(asked) => asked,
                None if inhibitor.points.contains(question.point) => inhibitor.ask(now),
                None => {
                    question.next += 1;
                    continue;
                }
            };
            let objection = match asked.poll(now, &self.log) {
                Answer::Pending(asked) => {
                    question.asked = Some(asked);
                    return Poll::Pending;
                }
                Answer::Fine => None,
                Answer::Objects(why) => Some(why),
            };
            let (deadline, then) = (inhibitor.deadline, inhibitor.then);
            let again = if matches!(inhibitor.sign, Sign::File(_)) { FILE_AGAIN } else { LOOK_AGAIN };
            if let Some(why) = objection {
                self.reason = why;
                self.holds = Some(Holds::Inhibitor(question.next));
                if question.waited < deadline {
                    return Poll::Ready(Permit::Wait(again));
                }
                if let Some(permit) = self.deadline(then, question.next + 1) {
                    return Poll::Ready(permit);
                }
            }
            question.next += 1;
        }
        Poll::Ready(Permit::Go)
    }
}

impl Policy for Policies {
    fn start(&mut self, now: Instant, point: Point, since: Instant) {
        if self.said.is_none_or(|(at, then, _)| (at, then) != (point, since)) {
            self.said = Some((point, since, 0));
        }
        self.question = Some(Question { point, waited: now.since(since), next: 0, asked: None });
    }

    fn poll(&mut self, now: Instant) -> Poll<Permit> {
        let Some(mut question) = self.question.take() else {
            self.reason = "no policy was asked".into();
            return Poll::Ready(Permit::Wait(LOOK_AGAIN));
        };
        if question.next == 0
            && question.asked.is_none()
            && let Some(permit) = self.windows(question.point, question.waited)
        {
            return Poll::Ready(permit);
        }
        let polled = self.inhibitors(now, &mut question);
        match polled {
            Poll::Pending => self.question = Some(question),
            Poll::Ready(Permit::Go) => {
                self.reason.clear();
                self.holds = None;
            }
            Poll::Ready(Permit::Wait(_) | Permit::Fail) => {}
        }
        polled
    }

    fn kill(&mut self) {
        self.question = None;
    }

    fn deadline(&self) -> Option<Instant> {
        self.question.as_ref()?.asked.as_ref()?.deadline()
    }

    fn reason(&self) -> &str {
        &self.reason
    }
}

#[cfg(test)]
mod tests;
