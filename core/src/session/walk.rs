//! Every path of a session with two servers: whatever comes, in any order, it keeps to its rules.

use std::collections::{HashSet, VecDeque};
use std::vec::Vec;

use super::{Action, AtHand, Awaits, Config, Content, Event, RequestKind, Session};
use crate::api::Reply;
use crate::deployment::Status;
use crate::machine::ApiCall;
use crate::time::{Duration, Instant};

const CONFIG: Config = Config { servers: 2 };

/// Times are counted from here at every step, so that equal situations are equal.
const NOW: Instant = Instant::from_millis(1_000_000_000);

const ASKS: [Event; 5] = [
    Event::Ask(ApiCall::Next),
    Event::Ask(ApiCall::Inventory),
    Event::Ask(ApiCall::Status { status: Status::Downloading, fresh_token: false }),
    Event::Ask(ApiCall::Status { status: Status::Installing, fresh_token: true }),
    Event::AskForLink,
];

/// How long a server asks to wait.
const ASKED: u32 = 2;

/// A session, and what its rules are about, written down by somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    session: Session,
    /// A request was asked for and has not ended.
    is_asked: bool,
    /// What was done for it so far.
    identities: u8,
    sent: u8,
    /// No authentication before this.
    not_before: Instant,
    /// No request for a token before this.
    waits: [Instant; 2],
}

impl World {
    fn new() -> Self {
        Self {
            session: Session::new(None),
            is_asked: false,
            identities: 0,
            sent: 0,
            not_before: Instant::ZERO,
            waits: [Instant::ZERO; 2],
        }
    }

    /// What can happen.
    fn events(&self) -> Vec<(u64, Event)> {
        let mut events: Vec<Event> = std::vec![
            Event::FetchToken,
            Event::MakeWay,
            Event::RoundBegins,
            Event::RoundOver,
            Event::SomebodyAsks,
            Event::GiveUp,
            Event::Terminate,
            Event::Tick,
        ];
        if !self.is_asked {
            events.extend(ASKS);
            events.push(Event::Room);
        }
        let replies = [
            Reply::Done,
            Reply::Nothing,
            Reply::Unauthorized,
            Reply::Later(None),
            Reply::Later(Some(ASKED)),
            Reply::Failed(500),
        ];
        match self.session.awaits() {
            Awaits::Nothing => {}
            Awaits::Identity => events.extend([Event::IdentityReady, Event::IdentityFailed]),
            Awaits::Inventory => events.extend([
                Event::InventoryReady { same_as_accepted: true },
                Event::InventoryReady { same_as_accepted: false },
                Event::InventoryFailed,
            ]),
            Awaits::Head(kind) => {
                events.extend(replies.map(Event::Head));
                events.extend([Event::NotSent, Event::Broken { lost: true }]);
                if kind == RequestKind::Token {
                    events.push(Event::IdentityFailed);
                }
            }
            Awaits::Body(..) => events.extend([
                Event::Answer(Content::Good),
                Event::Answer(Content::Unusable),
                Event::Broken { lost: true },
            ]),
        }
        let mut events: Vec<(u64, Event)> = events.into_iter().map(|event| (0, event)).collect();
        match self.session.awaits() {
            Awaits::Nothing => events.push((1, Event::Tick)),
            Awaits::Head(_) | Awaits::Body(..) => events.push((600, Event::Tick)),
            Awaits::Identity => events.push((3600, Event::Tick)),
            Awaits::Inventory => {}
        }
        events
    }

    /// After so many seconds this happens.
    fn step(&self, seconds: u64, event: Event) -> Self {
        let mut next = self.clone();
        let now = NOW + Duration::from_secs(seconds);
        let asks_token = self.session.authenticates().is_some();
        let action = next.session.step(&CONFIG, now, event);
        if ASKS.contains(&event) {
            next.is_asked = true;
        } else if event == Event::SomebodyAsks {
            next.waits = [Instant::ZERO; 2];
        } else if let (
            Action::Cancel,
            Awaits::Head(RequestKind::Token) | Awaits::Body(RequestKind::Token, ..),
        ) = (action, self.session.awaits())
        {
            next.not_before = now + Duration::from_secs(1);
        } else if let (Event::Head(Reply::Later(Some(seconds))), AtHand::Head(sent)) =
            (event, self.session.at_hand)
            && sent.kind == RequestKind::Token
        {
            next.waits[usize::from(sent.server)] = now + Duration::from_secs(seconds.into());
        }
        if next.session.server().is_some() && asks_token {
            next.not_before = now + Duration::from_secs(1);
        }
        match action {
            Action::FindIdentity => {
                next.identities += 1;
                assert!(now >= self.not_before, "too soon");
                assert!(next.identities <= 2, "a token is asked for more than twice");
                assert!(next.waits.iter().any(|wait| *wait <= now), "all servers asked to wait");
            }
            Action::Send(RequestKind::Token, server) => {
                next.sent += 1;
                assert!(next.waits[usize::from(server)] <= now, "the server asked to wait");
                assert_eq!(next.session.server(), None);
            }
            Action::Send(_, server) => {
                next.sent += 1;
                assert_eq!(next.session.server(), Some(server), "without its token");
            }
            Action::CollectInventory => assert!(next.session.server().is_some(), "without a token"),
            Action::Ended(_) => {
                let fetched = self.session.is_fetching();
                assert!(next.is_asked || fetched || event == Event::Room, "nothing was asked for");
                if asks_token && (fetched || next.session.server().is_none()) {
                    next.not_before = now + Duration::from_secs(1);
                }
            }
            Action::Read | Action::Cancel | Action::Wait => {}
        }
        if matches!(action, Action::Ended(_) | Action::Cancel) {
            (next.is_asked, next.identities, next.sent) = (false, 0, 0);
        }
        // Each server twice, and the request itself twice.
        assert!(next.sent <= 6, "it does not end");
        assert_eq!(next.session.awaits() == Awaits::Nothing && next.session.deadline().is_none(), {
            matches!(next.session.at_hand, AtHand::Nothing | AtHand::Over)
        });
        next.session.rebase(now, NOW);
        for time in next.waits.iter_mut().chain([&mut next.not_before]) {
            *time = if *time <= now { Instant::ZERO } else { NOW + time.since(now) };
        }
        next
    }
}

#[test]
fn every_path_keeps_to_the_rules() {
    let mut seen = HashSet::from([World::new()]);
    let mut queue = VecDeque::from([World::new()]);
    let mut steps: u64 = 0;
    while let Some(world) = queue.pop_front() {
        for (seconds, event) in world.events() {
            let next = std::panic::catch_unwind(|| world.step(seconds, event));
            let next = next.unwrap_or_else(|_| panic!("{event:?} after {seconds} s in {world:#?}"));
            steps += 1;
            if matches!(event, Event::Terminate) {
                assert_eq!(next.session.at_hand, AtHand::Over);
                for event in ASKS.into_iter().chain([Event::FetchToken, Event::Room]) {
                    let after = next.step(1000, event);
                    assert_eq!(after.session.awaits(), Awaits::Nothing);
                }
                continue;
            }
            if seen.insert(next.clone()) {
                queue.push_back(next);
            }
        }
    }
    std::println!("{} situations, {steps} steps", seen.len());
    assert!(seen.len() > 1000, "the walk is too short to say anything");
}
