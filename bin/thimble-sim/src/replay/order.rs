//! Whether a client can have done this in this order: by its own tables. A record whose order none of them allows was forged, or
//! comes from another client.

use thimble_core::deployment::Mode;
use thimble_core::flight::Event;
use thimble_core::state::{Outcome, Phase, Place, State, Unsaved, entry, next, transition};

const MODES: [Mode; 2] = [Mode::Managed, Mode::Standalone];

const OUTCOMES: [Outcome; 7] = [
    Outcome::Success,
    Outcome::Failure,
    Outcome::Refused,
    Outcome::Nothing,
    Outcome::Automatic,
    Outcome::Later(None),
    Outcome::Aborted,
];

/// Where a client stands, as far as events have told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Order {
    state: Option<State>,
}

impl Order {
    /// The next event.
    ///
    /// # Errors
    /// It cannot follow.
    pub(super) fn next(&mut self, event: &Event<'_>) -> Result<(), String> {
        match event {
            Event::Starts { .. } | Event::Begins { .. } => {
                self.state = None;
                Ok(())
            }
            Event::Enters(state) => {
                let Some(before) = self.state.replace(*state) else { return Ok(()) };
                if before == *state || leads(before, *state) {
                    return Ok(());
                }
                Err(format!("`{}` cannot follow `{}`", Event::Enters(*state), Event::Enters(before)))
            }
            Event::Script { transition: of, .. } => match self.state {
                // A daemon between two updates comes back to the scripts of its polls.
                Some(state) if of.state.is_artifact() && !runs(state, *of) => {
                    Err(format!("a script of {of} cannot run in `{}`", Event::Enters(state)))
                }
                Some(_) | None => Ok(()),
            },
            Event::Call(..)
            | Event::Request(..)
            | Event::Downloads(_)
            | Event::BreaksOff(_)
            | Event::Waits(..)
            | Event::Approved(_)
            | Event::Forbidden(..)
            | Event::Saves(_)
            | Event::NotSaved
            | Event::Reason(_)
            | Event::Ends(_)
            | Event::NotRebooted
            | Event::Terminated
            | Event::Again(_) => Ok(()),
        }
    }
}

/// Whether scripts of the transition run in the state.
fn runs(state: State, of: thimble_core::script::Transition) -> bool {
    Phase::ALL.into_iter().any(|phase| transition(state, phase) == Some(of))
}

/// Whether the client comes from one state to the other in one update, whatever is passed in between.
fn leads(from: State, to: State) -> bool {
    MODES.into_iter().any(|mode| {
        let mut seen: Vec<Place> = Phase::ALL.into_iter().map(|phase| (from, phase)).collect();
        let mut at = 0;
        while let Some(&(state, phase)) = seen.get(at) {
            at += 1;
            // Behind it begins another update.
            if state == State::Idle {
                continue;
            }
            let saved = OUTCOMES.into_iter().map(|outcome| next(mode, state, phase, outcome));
            let unsaved = match entry(mode, state, phase).unsaved {
                Unsaved::Fails | Unsaved::GoesOn | Unsaved::Ends => None,
                Unsaved::Leads(place, _)
                | Unsaved::LeadsFrom(_, place, _)
                | Unsaved::LeadsUnless(_, place, _) => Some(place),
            };
            // A state loop is found by counting, anywhere.
            let loops = Some((State::StateLoop, Phase::Main));
            for place in saved.chain(unsaved).chain(loops) {
                if place.0 == to {
                    return true;
                }
                if !seen.contains(&place) {
                    seen.push(place);
                }
            }
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_leads_forward_and_to_its_rollback_and_never_back_to_its_install() {
        for (from, to) in [
            (State::Download, State::Install),
            (State::Install, State::Commit),
            (State::Install, State::Rollback),
            (State::Rollback, State::Failure),
            (State::Reboot, State::VerifyReboot),
            (State::VerifyReboot, State::Reboot),
            (State::Commit, State::End),
        ] {
            assert!(leads(from, to), "{from:?} {to:?}");
        }
        for (from, to) in [
            (State::Commit, State::Install),
            (State::Rollback, State::Commit),
            (State::Failure, State::Rollback),
            (State::ReportFinal, State::Download),
            (State::Reboot, State::Install),
        ] {
            assert!(!leads(from, to), "{from:?} {to:?}");
        }
    }
}
