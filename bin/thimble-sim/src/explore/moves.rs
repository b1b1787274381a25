//! Moves of the client from state to state, those of its table that were never met among them.

use thimble_core::deployment::Mode;
use thimble_core::state::{Outcome, Phase, State, next};

/// A move, and how often it was met.
type Move = ((State, State), u64);

/// The moves that were met, and those of the client's table that were not, with a count of 0; in the order of the table.
pub(super) fn all(standalone: bool, met: &[Move]) -> Vec<Move> {
    let (mode, mut places) = if standalone {
        // Where the verbs of the command line begin.
        let states = [State::Prepare, State::CheckRunning, State::CheckRollback, State::StateLoop];
        (Mode::Standalone, states.map(|state| (state, Phase::Main)).to_vec())
    } else {
        (Mode::Managed, vec![(State::Idle, Phase::Enter), (State::StateLoop, Phase::Main)])
    };
    let outcomes =
        [Outcome::Success, Outcome::Failure, Outcome::Nothing, Outcome::Aborted, Outcome::Later(None)];
    let mut all = met.to_vec();
    let mut number = 0;
    while let Some((state, phase)) = places.get(number).copied() {
        number += 1;
        for place in outcomes.map(|outcome| next(mode, state, phase, outcome)) {
            if !all.iter().any(|(known, _)| *known == (state, place.0)) {
                all.push(((state, place.0), 0));
            }
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    all.sort_by_key(|((from, to), _)| (*from as usize, *to as usize));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_met_is_there_with_a_count_of_zero() {
        let met = [((State::Install, State::CheckReboot), 7), ((State::Install, State::Cleanup), 1)];
        let from = |state: State| -> Vec<(State, u64)> {
            let moves = all(false, &met).into_iter().filter(|((from, _), _)| *from == state);
            moves.map(|((_, to), count)| (to, count)).collect()
        };
        assert_eq!(
            from(State::Install),
            [(State::Install, 0), (State::CheckReboot, 7), (State::CheckRollback, 0), (State::Cleanup, 1)]
        );
        assert_eq!(from(State::AwaitCommit), [], "the daemon has no such state");
        assert!(all(true, &[]).iter().any(|((from, _), _)| *from == State::AwaitCommit));
    }
}
