//! What the server answers.

use thimble_core::api::Reply;
use thimble_core::control::{Map, Rule, Rules, Vote, parse_id};
use thimble_core::deployment::Status;
use thimble_core::session::RequestKind;
use thimble_core::time::{Duration, Instant};

use super::figures::{Figures, Kind};
use super::plan::{Hold, Overload, Plan};
use crate::sayings::DEPLOYMENT;

/// What the server knows of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// It was offered the deployment.
    pub(super) taken: bool,
    /// How the deployment ended there.
    pub(super) ended: Option<bool>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) reply: Reply,
    /// In an offer, and in an answer about the control map: whether the map holds back now.
    pub(super) holds: bool,
}

/// A request reached the server.
pub(super) fn answer(
    plan: &Plan<'_>,
    figures: &mut Figures,
    now: Instant,
    kind: RequestKind,
    known: &mut Known,
) -> Answer {
    let time = now.since(Instant::ZERO);
    let in_second = figures.request(now, Kind::of(kind));
    let holds = plan.hold.is_some_and(|hold| time < hold.until);
    if let Some((capacity, overload)) = plan.capacity
        && in_second > capacity
    {
        figures.refuse();
        let reply = match overload {
            Overload::TooMany(seconds) => Reply::Later(seconds),
            Overload::Unavailable => Reply::Failed(503),
        };
        return Answer { reply, holds };
    }
    let reply = match kind {
        RequestKind::Token | RequestKind::Log | RequestKind::Inventory => Reply::Done,
        RequestKind::NextV2 | RequestKind::NextV1 => {
            if known.ended.is_some() || !(known.taken || has_room(plan, figures.offered, time)) {
                return Answer { reply: Reply::Nothing, holds };
            }
            figures.offered += u32::from(!known.taken);
            known.taken = true;
            Reply::Done
        }
        RequestKind::Status(_) | RequestKind::StatusAlone(_) | RequestKind::ControlMap if !known.taken => {
            Reply::NotFound
        }
        RequestKind::Status(status) | RequestKind::StatusAlone(status) => {
            let good = match status {
                Status::Success => Some(true),
                Status::Failure => Some(false),
                Status::Downloading
                | Status::PauseBeforeInstalling
                | Status::Installing
                | Status::PauseBeforeRebooting
                | Status::Rebooting
                | Status::PauseBeforeCommitting => None,
            };
            if let (Some(good), None) = (good, known.ended) {
                known.ended = Some(good);
                let list = if good { &mut figures.good } else { &mut figures.failed };
                list.push(time);
            }
            Reply::Done
        }
        RequestKind::ControlMap => Reply::Done,
    };
    Answer { reply, holds }
}

/// Whether one device more gets the deployment now.
fn has_room(plan: &Plan<'_>, offered: u32, time: Duration) -> bool {
    let phase = plan.phases.iter().rev().find(|phase| phase.at <= time);
    phase.is_some_and(|phase| offered < phase.share.of(plan.devices))
}

/// The server's control map: it pauses, or it does not any more.
pub(super) fn map(hold: Hold, holds: bool) -> Map {
    let mut rules = Rules::default();
    let action = if holds { Vote::Pause } else { Vote::Continue };
    *rules.at_mut(hold.point) = Rule::new(Some(action), None, None);
    Map { id: parse_id(DEPLOYMENT).unwrap_or_default(), priority: 0, rules }
}
