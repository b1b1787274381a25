//! When the daemon asks the server for a deployment, and when it sends its inventory.

use super::{Begin, Outcome, Shift, retry_after};
use crate::config::Config;
use crate::retry::{Backoff, Purpose, SHORTEST, Schedule};
use crate::time::{Duration, Instant, earliest};

/// Without feature `inventory` none is ever due.
const SENDS_INVENTORY: bool = cfg!(feature = "inventory");

/// What is due, and what comes next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Polls {
    pub(super) update_due: bool,
    pub(super) inventory_due: bool,
    /// The inventory went last: a poll that is due goes first, or a slow inventory would be due again for ever.
    poll_goes_first: bool,
    inventory_accepted: bool,
    pub(super) next_update: Option<Instant>,
    pub(super) next_inventory: Option<Instant>,
    /// After an inventory that was not accepted: how long it must not be sent again.
    no_inventory_before: Option<Instant>,
    update_backoff: Backoff,
    inventory_backoff: Backoff,
}

impl Polls {
    /// An inventory is due, and a poll where the daemon asks for updates.
    pub(super) const fn start(update_due: bool) -> Self {
        Self {
            update_due,
            inventory_due: true,
            poll_goes_first: false,
            inventory_accepted: false,
            next_update: None,
            next_inventory: None,
            no_inventory_before: None,
            update_backoff: Backoff::new(),
            inventory_backoff: Backoff::new(),
        }
    }

    /// At these times in place of now; `None`: as it is.
    pub(super) const fn put_off(&mut self, update: Option<Instant>, inventory: Option<Instant>) {
        if update.is_some() {
            (self.update_due, self.next_update) = (false, update);
        }
        if inventory.is_some() {
            (self.inventory_due, self.next_inventory) = (false, inventory);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        earliest(self.next_update, self.next_inventory)
    }

    /// Of what is due.
    const fn inventory_is_next(&self) -> bool {
        SENDS_INVENTORY && self.inventory_due && !(self.update_due && self.poll_goes_first)
    }

    /// Idle: on with what is due, or wait.
    pub(super) fn idle(&mut self, now: Instant, config: &Config) -> Begin {
        self.update_due |= self.next_update.is_some_and(|at| at <= now);
        self.inventory_due |= self.next_inventory.is_some_and(|at| at <= now);
        self.no_inventory_before = self.no_inventory_before.filter(|at| now < *at);
        // Timers are armed before anything of the cycle can fail: no error stops the polling for good.
        if self.inventory_is_next() {
            self.next_inventory = Some(now + config.inventory_poll_interval);
            Begin::Already(Outcome::Nothing)
        } else if self.update_due {
            self.next_update = Some(now + config.update_poll_interval);
            Begin::Already(Outcome::Success)
        } else {
            Begin::Wait
        }
    }

    /// Idle is left for what is due, whatever its scripts said.
    pub(super) const fn take(&mut self) -> Outcome {
        self.poll_goes_first = self.inventory_is_next();
        if self.poll_goes_first {
            self.inventory_due = false;
            Outcome::Nothing
        } else {
            self.update_due = false;
            Outcome::Success
        }
    }

    /// The poll ended.
    pub(super) fn polled(&mut self, now: Instant, config: &Config, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Success | Outcome::Nothing | Outcome::Automatic => {
                self.update_backoff.reset();
                // The server lets the device in: an inventory it has not got need not wait for its own timer, but
                // for what the server asked for, and no request is repeated at once (N13).
                if SENDS_INVENTORY && !self.inventory_accepted {
                    let soonest = self.no_inventory_before.map_or(now, |at| at.max(now));
                    self.next_inventory = earliest(self.next_inventory, Some(soonest));
                }
                outcome
            }
            Outcome::Later(_) | Outcome::Failure | Outcome::Refused | Outcome::Aborted => {
                // The retry takes the place of the poll timer; when there are no more, the timer stays.
                let schedule = Schedule::new(config, Purpose::Poll);
                if let Some(wait) = self.update_backoff.next(schedule, retry_after(outcome)) {
                    self.next_update = Some(now + wait);
                }
                Outcome::Failure
            }
        }
    }

    /// The inventory push ended.
    pub(super) fn inventory_sent(&mut self, now: Instant, config: &Config, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Success | Outcome::Nothing | Outcome::Automatic => {
                self.inventory_backoff.reset();
                self.inventory_accepted = true;
                self.no_inventory_before = None;
                Outcome::Success
            }
            Outcome::Later(_) | Outcome::Failure | Outcome::Refused | Outcome::Aborted => {
                let schedule = Schedule::new(config, Purpose::Poll);
                let asked_for = retry_after(outcome).map_or(0, |after| after.seconds);
                self.no_inventory_before = Some(now + Duration::from_secs(asked_for.into()).max(SHORTEST));
                if let Some(wait) = self.inventory_backoff.next(schedule, retry_after(outcome)) {
                    self.next_inventory = Some(now + wait);
                }
                Outcome::Failure
            }
        }
    }

    /// The server may have no inventory of this device: it is due with the next poll.
    pub(super) const fn forget_inventory(&mut self) {
        self.inventory_accepted = false;
    }

    /// What is installed has changed: the inventory is due now, or when the server wants it.
    pub(super) fn deployment_over(&mut self) {
        if !SENDS_INVENTORY {
            return;
        }
        let soonest = self.no_inventory_before.unwrap_or(Instant::ZERO);
        self.next_inventory = earliest(self.next_inventory, Some(soonest));
    }

    pub(super) fn rebase(&mut self, shift: Shift) {
        for timer in [&mut self.next_update, &mut self.next_inventory] {
            *timer = timer.map(|at| shift.due(at));
        }
        self.no_inventory_before =
            self.no_inventory_before.filter(|at| shift.from < *at).map(|at| shift.time(at));
    }
}
