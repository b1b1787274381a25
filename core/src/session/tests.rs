//! What happens in an order, read from top to bottom.

use super::{Action, Awaits, Config, Content, Event, RequestKind, Session};
use crate::api::Reply;
use crate::config::{ANSWER_WAIT, IDENTITY_WAIT, LOG_WAIT};
use crate::deployment::Status;
use crate::limits;
use crate::machine::ApiCall;
use crate::state::Outcome;
use crate::time::{Duration, Instant};

use Action::{Cancel, CollectInventory, Ended, FindIdentity, Read, Send, Wait};
use Outcome::{Aborted, Failure, Later, Nothing, Refused, Success};
use RequestKind::{Inventory, Log, NextV1, NextV2, Token};

const NEXT: Event = Event::Ask(ApiCall::Next);
const INVENTORY: Event = Event::Ask(ApiCall::Inventory);
const REPORT: Event = Event::Ask(ApiCall::Status { status: Status::Downloading, fresh_token: false });
const BEFORE_COMMIT: Event = Event::Ask(ApiCall::Status { status: Status::Installing, fresh_token: true });
const GOOD: Event = Event::Answer(Content::Good);
const LOST: Event = Event::Broken { lost: true };
const REFUSED: Event = Event::Head(Reply::Unauthorized);

/// A session and its clock.
struct Bench {
    session: Session,
    config: Config,
    now: Instant,
}

impl Bench {
    fn new(servers: u8) -> Self {
        let now = Instant::from_millis(1_000_000);
        Self { session: Session::new(None), config: Config { servers }, now }
    }

    /// With a token of the first server, which it gave a moment ago.
    fn with_token(servers: u8) -> Self {
        let mut bench = Self::new(servers);
        bench.tell(REPORT, FindIdentity);
        bench.tell(Event::IdentityReady, Send(Token, 0));
        bench.gives_token();
        bench.answers(Reply::Done, Ended(Success));
        bench.pass(1);
        bench.tell(Event::Tick, Wait);
        bench
    }

    #[track_caller]
    fn tell(&mut self, event: Event, expected: Action) {
        assert_eq!(self.session.step(&self.config, self.now, event), expected, "{event:?}");
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now + Duration::from_secs(seconds);
    }

    /// The whole answer to what was sent.
    #[track_caller]
    fn answers(&mut self, reply: Reply, expected: Action) {
        self.tell(Event::Head(reply), Read);
        self.tell(GOOD, expected);
    }

    /// The server that is asked for a token gives one.
    #[track_caller]
    fn gives_token(&mut self) {
        self.tell(Event::Head(Reply::Done), Read);
        assert_ne!(self.session.step(&self.config, self.now, GOOD), Wait);
        assert!(self.session.server().is_some());
    }

    /// All of an authentication with one server, which does not accept the device.
    #[track_caller]
    fn denied(&mut self, event: Event) {
        self.tell(event, FindIdentity);
        self.tell(Event::IdentityReady, Send(Token, 0));
        self.answers(Reply::Unauthorized, Ended(Failure));
    }
}

#[test]
fn it_is_small() {
    assert!(size_of::<Session>() <= 160, "{}", size_of::<Session>());
}

#[test]
fn a_poll_begins_with_a_token_and_the_next_one_has_it() {
    let mut bench = Bench::new(1);
    bench.tell(Event::RoundBegins, Wait);
    bench.tell(NEXT, FindIdentity);
    assert_eq!(bench.session.awaits(), Awaits::Identity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.tell(Event::Head(Reply::Done), Read);
    bench.tell(GOOD, Send(NextV2, 0));
    bench.answers(Reply::Nothing, Ended(Nothing));
    bench.tell(Event::RoundOver, Wait);
    bench.tell(NEXT, Send(NextV2, 0));
    bench.answers(Reply::Done, Ended(Success));
}

#[test]
fn each_failure_of_one_server_leads_to_the_next() {
    let failures: [&[Event]; 8] = [
        &[Event::NotSent],
        &[LOST],
        &[Event::Broken { lost: false }],
        &[Event::Head(Reply::Unauthorized), GOOD],
        &[Event::Head(Reply::Failed(503)), LOST],
        &[Event::Head(Reply::Later(None)), GOOD],
        &[Event::Head(Reply::Done), Event::Answer(Content::Unusable)],
        &[Event::Head(Reply::Done), LOST],
    ];
    for failure in failures {
        let mut bench = Bench::new(3);
        bench.tell(NEXT, FindIdentity);
        bench.tell(Event::IdentityReady, Send(Token, 0));
        let (last, before) = failure.split_last().unwrap();
        for asked in [Send(Token, 1), Send(Token, 2), Ended(Failure)] {
            before.iter().for_each(|event| bench.tell(*event, Read));
            bench.tell(*last, asked);
        }
        assert_eq!(bench.session.server(), None, "{failure:?}");
        bench.tell(NEXT, Wait);
        bench.pass(1);
        bench.tell(Event::Tick, FindIdentity);
    }
}

#[test]
fn requests_go_to_the_server_that_gave_the_token() {
    let mut bench = Bench::new(2);
    bench.tell(NEXT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.tell(LOST, Send(Token, 1));
    bench.tell(Event::Head(Reply::Done), Read);
    bench.tell(GOOD, Send(NextV2, 1));
    bench.answers(Reply::Nothing, Ended(Nothing));
    bench.tell(Event::Ask(ApiCall::Log), Send(Log, 1));
}

#[test]
fn a_failure_of_the_device_itself_ends_an_authentication_and_counts() {
    for sent in [false, true] {
        let mut bench = Bench::new(2);
        bench.tell(Event::RoundBegins, Wait);
        bench.tell(INVENTORY, FindIdentity);
        if sent {
            bench.tell(Event::IdentityReady, Send(Token, 0));
        }
        bench.tell(Event::IdentityFailed, Ended(Failure));
        bench.tell(NEXT, Ended(Failure));
        bench.tell(REPORT, Wait);
        assert_eq!(bench.session.deadline(), Some(bench.now + Duration::from_secs(1)));
    }
}

#[test]
fn n14_a_round_authenticates_in_vain_once_however_long_it_takes() {
    let mut bench = Bench::new(1);
    bench.tell(Event::RoundBegins, Wait);
    bench.denied(INVENTORY);
    bench.pass(1000);
    // The update machine leaves Idle again without having waited there.
    bench.tell(Event::RoundBegins, Wait);
    bench.tell(NEXT, Ended(Failure));
    bench.tell(Event::RoundOver, Wait);
    bench.tell(Event::RoundBegins, Wait);
    bench.denied(NEXT);
}

#[test]
fn n14_a_round_that_never_ends_authenticates_all_the_same() {
    let mut bench = Bench::new(1);
    bench.tell(Event::RoundBegins, Wait);
    for _ in 0..3 {
        bench.denied(INVENTORY);
        bench.pass(60);
        bench.tell(NEXT, Ended(Failure));
        bench.pass(60);
    }
}

#[test]
fn n14_reports_and_programs_have_their_own_authentication_in_each_round() {
    let mut bench = Bench::new(1);
    bench.tell(Event::RoundBegins, Wait);
    bench.denied(NEXT);
    bench.pass(1);
    bench.denied(REPORT);
    bench.pass(1);
    bench.denied(BEFORE_COMMIT);
    bench.pass(1);
    bench.tell(Event::FetchToken, Wait);
    bench.denied(Event::Room);
    // Theirs is enough for what comes behind it.
    bench.tell(NEXT, Ended(Failure));
    bench.tell(INVENTORY, Ended(Failure));
    bench.pass(1);
    bench.denied(NEXT);
}

#[test]
fn n14_a_token_or_somebody_at_the_device_gives_the_round_another_authentication() {
    let mut bench = Bench::new(1);
    bench.tell(Event::RoundBegins, Wait);
    bench.denied(INVENTORY);
    bench.pass(1);
    bench.tell(Event::SomebodyAsks, Wait);
    bench.denied(NEXT);
    bench.pass(1);
    bench.tell(REPORT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.gives_token();
    bench.answers(Reply::Done, Ended(Success));
    bench.tell(NEXT, Send(NextV2, 0));
    bench.tell(REFUSED, Wait);
    bench.pass(1);
    bench.tell(Event::Tick, FindIdentity);
}

#[test]
fn n14_a_token_that_is_refused_at_once_is_replaced_after_a_moment() {
    let mut bench = Bench::new(1);
    bench.tell(NEXT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.gives_token();
    bench.tell(REFUSED, Wait);
    assert_eq!(bench.session.server(), None);
    assert_eq!(bench.session.deadline(), Some(bench.now + Duration::from_secs(1)));
    bench.pass(1);
    bench.tell(Event::Tick, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.gives_token();
    // The request that was begun with the first token is repeated once.
    bench.answers(Reply::Unauthorized, Ended(Failure));
}

#[test]
fn n13_authentications_are_a_second_apart() {
    let mut bench = Bench::new(1);
    bench.denied(REPORT);
    bench.tell(REPORT, Wait);
    assert!(bench.session.is_authenticating());
    assert_eq!(bench.session.awaits(), Awaits::Nothing);
    bench.tell(Event::Tick, Wait);
    bench.pass(1);
    bench.tell(Event::Tick, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.gives_token();
    bench.answers(Reply::Done, Ended(Success));
    // Whatever came of it.
    bench.tell(Event::FetchToken, Wait);
    bench.tell(Event::Room, Wait);
    bench.pass(1);
    bench.tell(Event::Tick, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.answers(Reply::Done, Ended(Success));
    // Whoever asked.
    bench.tell(Event::FetchToken, Wait);
    bench.tell(Event::Room, Wait);
    bench.pass(1);
    bench.tell(Event::Tick, FindIdentity);
}

#[test]
fn a_server_that_asked_to_wait_is_skipped_and_the_others_are_asked() {
    let mut bench = Bench::new(2);
    bench.tell(REPORT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.answers(Reply::Later(Some(100)), Send(Token, 1));
    bench.answers(Reply::Unauthorized, Ended(Failure));
    bench.pass(60);
    bench.tell(REPORT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 1));
    bench.answers(Reply::Unauthorized, Ended(Failure));
    bench.pass(40);
    bench.tell(REPORT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
}

#[test]
fn when_all_servers_asked_to_wait_every_request_waits_for_the_first_of_them() {
    let mut bench = Bench::new(2);
    bench.tell(NEXT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.answers(Reply::Later(Some(100)), Send(Token, 1));
    bench.answers(Reply::Later(Some(50)), Ended(Later(Some(50))));
    bench.pass(20);
    for event in [INVENTORY, REPORT, BEFORE_COMMIT, Event::AskForLink] {
        bench.tell(event, Ended(Later(Some(30))));
    }
    bench.tell(Event::FetchToken, Wait);
    bench.tell(Event::Room, Ended(Later(Some(30))));
    assert!(!bench.session.is_authenticating());
    bench.pass(30);
    bench.tell(NEXT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 1));
    bench.tell(LOST, Ended(Failure));
    // Somebody at the device wants to know it now.
    bench.tell(Event::SomebodyAsks, Wait);
    bench.pass(1);
    bench.tell(NEXT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
}

#[test]
fn server_62_a_time_to_wait_counts_for_any_request_when_the_body_of_the_answer_breaks_off() {
    for kept_silent in [false, true] {
        let mut bench = Bench::with_token(1);
        bench.tell(NEXT, Send(NextV2, 0));
        bench.tell(Event::Head(Reply::Later(Some(90))), Read);
        if kept_silent {
            bench.now = bench.session.deadline().unwrap();
        }
        bench.tell(if kept_silent { Event::Tick } else { LOST }, Ended(Later(Some(90))));
    }
}

#[test]
fn the_wait_counts_also_when_the_body_of_the_answer_breaks_off() {
    let mut bench = Bench::new(1);
    bench.tell(NEXT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.tell(Event::Head(Reply::Later(Some(50))), Read);
    bench.tell(LOST, Ended(Later(Some(50))));
}

#[test]
fn a_refused_token_is_replaced_once_in_each_request() {
    let mut bench = Bench::with_token(1);
    for _ in 0..2 {
        bench.tell(NEXT, Send(NextV2, 0));
        bench.tell(REFUSED, FindIdentity);
        assert_eq!(bench.session.server(), None);
        bench.tell(Event::IdentityReady, Send(Token, 0));
        bench.tell(Event::Head(Reply::Done), Read);
        bench.tell(GOOD, Send(NextV2, 0));
        bench.answers(Reply::Unauthorized, Ended(Failure));
        assert_eq!(bench.session.server(), Some(0), "the token stays");
        bench.pass(1);
    }
}

#[test]
fn a_server_without_the_second_version_is_not_asked_for_it_for_a_day() {
    let mut bench = Bench::with_token(2);
    bench.tell(NEXT, Send(NextV2, 0));
    bench.tell(Event::Head(Reply::NotFound), Send(NextV1, 0));
    // 404 to the first version is what it says.
    bench.answers(Reply::NotFound, Ended(Failure));
    bench.pass(24 * 3600 - 1);
    bench.tell(Event::AskForLink, Send(NextV1, 0));
    bench.answers(Reply::Done, Ended(Success));
    bench.pass(1);
    bench.tell(NEXT, Send(NextV2, 0));
    bench.tell(Event::Head(Reply::NotFound), Send(NextV1, 0));
    // Another server may know it.
    bench.tell(REFUSED, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.tell(LOST, Send(Token, 1));
    bench.tell(Event::Head(Reply::Done), Read);
    bench.tell(GOOD, Send(NextV2, 1));
}

#[test]
fn only_404_leads_to_the_first_version() {
    for reply in [Reply::Later(Some(5)), Reply::Failed(500), Reply::TooLarge] {
        let mut bench = Bench::with_token(1);
        bench.tell(NEXT, Send(NextV2, 0));
        bench.tell(Event::Head(reply), Read);
        assert_ne!(bench.session.step(&bench.config, bench.now, GOOD), Send(NextV1, 0), "{reply:?}");
        bench.tell(NEXT, Send(NextV2, 0));
    }
}

#[test]
fn three_lost_connections_in_a_row_drop_the_token() {
    let mut bench = Bench::with_token(1);
    for _ in 0..2 {
        bench.tell(REPORT, Send(RequestKind::Status(Status::Downloading), 0));
        bench.tell(LOST, Ended(Failure));
    }
    // An answer, whatever it says, ends the row; what was never sent is none.
    bench.tell(NEXT, Send(NextV2, 0));
    bench.answers(Reply::Failed(500), Ended(Failure));
    bench.tell(NEXT, Send(NextV2, 0));
    bench.tell(Event::NotSent, Ended(Failure));
    for _ in 0..3 {
        assert_eq!(bench.session.server(), Some(0));
        bench.tell(NEXT, Send(NextV2, 0));
        bench.tell(LOST, Ended(Failure));
    }
    assert_eq!(bench.session.server(), None);
    bench.tell(NEXT, FindIdentity);
}

#[test]
fn the_report_before_the_commit_has_a_token_of_its_own() {
    let mut bench = Bench::with_token(1);
    bench.tell(BEFORE_COMMIT, FindIdentity);
    assert_eq!(bench.session.server(), None);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.tell(Event::Head(Reply::Done), Read);
    bench.tell(GOOD, Send(RequestKind::Status(Status::Installing), 0));
    bench.answers(Reply::Aborted, Ended(Aborted));
}

#[test]
fn an_inventory_that_the_server_has_is_not_sent_again() {
    let mut bench = Bench::with_token(1);
    let ready = |same_as_accepted| Event::InventoryReady { same_as_accepted };
    bench.tell(INVENTORY, CollectInventory);
    assert_eq!(bench.session.awaits(), Awaits::Inventory);
    bench.tell(ready(false), Send(Inventory, 0));
    bench.answers(Reply::Done, Ended(Success));
    bench.tell(INVENTORY, CollectInventory);
    bench.tell(ready(true), Ended(Success));
    // The server that gives another token may have forgotten the device.
    bench.tell(BEFORE_COMMIT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.gives_token();
    bench.answers(Reply::Done, Ended(Success));
    bench.tell(INVENTORY, CollectInventory);
    bench.tell(ready(true), Send(Inventory, 0));
    bench.answers(Reply::Failed(500), Ended(Failure));
    bench.tell(INVENTORY, CollectInventory);
    bench.tell(Event::InventoryFailed, Ended(Failure));
}

#[test]
fn server_75_an_identity_or_key_that_does_not_come_ends_the_authentication() {
    let mut bench = Bench::new(2);
    bench.tell(NEXT, FindIdentity);
    bench.pass(IDENTITY_WAIT.as_secs() - 1);
    bench.tell(Event::Tick, Wait);
    bench.pass(1);
    bench.tell(Event::Tick, Ended(Failure));
    assert_eq!(bench.session.awaits(), Awaits::Nothing);
    // Too late: it means nothing any more.
    bench.tell(Event::IdentityReady, Wait);
    bench.tell(REPORT, Wait);
    bench.pass(1);
    bench.tell(Event::Tick, FindIdentity);
}

#[test]
fn an_answer_has_its_time() {
    let mut bench = Bench::with_token(2);
    bench.tell(Event::Ask(ApiCall::Log), Send(Log, 0));
    assert_eq!(bench.session.deadline(), Some(bench.now + LOG_WAIT));
    bench.answers(Reply::TooLarge, Ended(Refused));
    bench.tell(BEFORE_COMMIT, FindIdentity);
    assert_eq!(bench.session.deadline(), Some(bench.now + IDENTITY_WAIT));
    bench.tell(Event::IdentityReady, Send(Token, 0));
    assert_eq!(bench.session.deadline(), Some(bench.now + ANSWER_WAIT));
    bench.pass(ANSWER_WAIT.as_secs() - 1);
    bench.tell(Event::Tick, Wait);
    // The head does not give it more.
    bench.tell(Event::Head(Reply::Done), Read);
    bench.pass(1);
    bench.tell(Event::Tick, Send(Token, 1));
    bench.pass(ANSWER_WAIT.as_secs());
    bench.tell(Event::Tick, Ended(Failure));
}

#[test]
fn a_request_takes_a_fetch_over() {
    let join: [&dyn Fn(&mut Bench); 3] =
        [&|_| {}, &|bench| bench.tell(Event::IdentityReady, Send(Token, 0)), &|bench| {
            bench.tell(Event::IdentityReady, Send(Token, 0));
            bench.tell(Event::Head(Reply::Done), Read);
        }];
    for (number, advance) in join.into_iter().enumerate() {
        let mut bench = Bench::new(1);
        bench.tell(Event::FetchToken, Wait);
        bench.tell(Event::Room, FindIdentity);
        advance(&mut bench);
        assert!(bench.session.is_fetching());
        bench.tell(BEFORE_COMMIT, Wait);
        assert!(!bench.session.is_fetching() && bench.session.is_authenticating());
        bench.tell(Event::MakeWay, Wait);
        if number < 1 {
            bench.tell(Event::IdentityReady, Send(Token, 0));
        }
        if number < 2 {
            bench.tell(Event::Head(Reply::Done), Read);
        }
        bench.tell(GOOD, Send(RequestKind::Status(Status::Installing), 0));
    }
}

#[test]
fn a_fetch_makes_way_and_waits_for_room() {
    let mut bench = Bench::with_token(1);
    bench.tell(Event::FetchToken, Wait);
    assert!(bench.session.is_authenticating() && bench.session.waits_for_room());
    assert_eq!(bench.session.server(), Some(0), "the token is good until another is asked for");
    bench.tell(Event::Room, FindIdentity);
    bench.tell(Event::MakeWay, Cancel);
    bench.tell(Event::Room, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.tell(Event::MakeWay, Cancel);
    assert!(bench.session.is_authenticating() && bench.session.waits_for_room());
    bench.tell(Event::MakeWay, Wait);
    // The server was asked a moment ago.
    bench.tell(Event::Room, Wait);
    bench.pass(1);
    bench.tell(Event::Tick, FindIdentity);
    bench.tell(Event::IdentityFailed, Ended(Failure));
    assert!(!bench.session.is_authenticating());
    bench.tell(Event::Room, Wait);
}

#[test]
fn the_token_of_a_request_serves_a_fetch_that_waits() {
    let mut bench = Bench::new(1);
    bench.tell(Event::FetchToken, Wait);
    bench.tell(REPORT, FindIdentity);
    bench.tell(Event::Room, Wait);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.gives_token();
    assert!(!bench.session.is_authenticating());
    bench.answers(Reply::Done, Ended(Success));
    bench.tell(Event::Room, Wait);
}

#[test]
fn a_link_is_fresh_only_for_the_deployment_in_progress() {
    let mut bench = Bench::with_token(1);
    for (content, outcome) in
        [(Content::Good, Success), (Content::NotThisDeployment, Nothing), (Content::Unusable, Failure)]
    {
        bench.tell(Event::AskForLink, Send(NextV2, 0));
        assert!(bench.session.is_for_link());
        bench.tell(Event::Head(Reply::Done), Read);
        bench.tell(Event::Answer(content), Ended(outcome));
    }
    bench.tell(NEXT, Send(NextV2, 0));
    assert!(!bench.session.is_for_link());
}

#[test]
fn what_is_given_up_leaves_no_trace_and_a_waiting_fetch_alone() {
    let mut bench = Bench::with_token(1);
    let before = bench.session.clone();
    bench.tell(NEXT, Send(NextV2, 0));
    bench.tell(Event::GiveUp, Cancel);
    assert_eq!(bench.session, before);
    bench.tell(NEXT, Send(NextV2, 0));
    bench.tell(Event::FetchToken, Wait);
    bench.tell(Event::GiveUp, Cancel);
    bench.tell(Event::Room, FindIdentity);
}

#[test]
fn after_the_end_nothing_is_begun() {
    let mut bench = Bench::with_token(1);
    bench.tell(Event::FetchToken, Wait);
    bench.tell(Event::Terminate, Cancel);
    assert!(!bench.session.is_authenticating());
    for event in [NEXT, INVENTORY, REPORT, BEFORE_COMMIT, Event::AskForLink] {
        bench.tell(event, Ended(Failure));
    }
    for event in [Event::FetchToken, Event::Room, Event::SomebodyAsks, Event::RoundBegins, Event::Tick] {
        bench.tell(event, Wait);
    }
    bench.tell(Event::GiveUp, Cancel);
    bench.tell(NEXT, Ended(Failure));
    assert!(!bench.session.is_authenticating());
}

#[test]
fn events_that_mean_nothing_change_nothing() {
    let stray = [
        Event::IdentityReady,
        Event::IdentityFailed,
        Event::InventoryReady { same_as_accepted: true },
        Event::InventoryFailed,
        Event::NotSent,
        Event::Head(Reply::Done),
        GOOD,
        LOST,
        Event::Tick,
        Event::Room,
        Event::MakeWay,
    ];
    let bench = Bench::with_token(2);
    for event in stray {
        let mut session = bench.session.clone();
        assert_eq!(session.step(&bench.config, bench.now, event), Wait, "{event:?}");
        assert_eq!(session, bench.session, "{event:?}");
    }
}

#[test]
fn sessions_that_differ_in_the_clock_alone_are_equal_once_rebased() {
    let run = |start: u64| {
        let mut bench = Bench::new(2);
        bench.pass(start);
        bench.tell(REPORT, FindIdentity);
        bench.tell(Event::IdentityReady, Send(Token, 0));
        bench.answers(Reply::Later(Some(100)), Send(Token, 1));
        bench.gives_token();
        bench.answers(Reply::Done, Ended(Success));
        bench.tell(NEXT, Send(NextV2, 1));
        bench.tell(Event::Head(Reply::NotFound), Send(NextV1, 1));
        bench
    };
    let (mut one, mut other) = (run(0), run(5000));
    assert_ne!(one.session, other.session);
    let to = Instant::from_millis(77_000);
    for bench in [&mut one, &mut other] {
        bench.session.rebase(bench.now, to);
        bench.now = to;
    }
    assert_eq!(one.session, other.session);
    // What is waited for takes as long as before.
    assert_eq!(one.session.deadline(), Some(to + ANSWER_WAIT));
    one.tell(REFUSED, Wait);
    one.pass(1);
    one.tell(Event::Tick, FindIdentity);
    one.tell(Event::IdentityReady, Send(Token, 1));
    one.tell(LOST, Ended(Failure));
    one.pass(98);
    one.tell(REPORT, FindIdentity);
    one.tell(Event::IdentityReady, Send(Token, 1));
    one.tell(LOST, Ended(Failure));
    one.pass(1);
    one.tell(REPORT, FindIdentity);
    one.tell(Event::IdentityReady, Send(Token, 0));
}

#[test]
fn times_that_have_passed_do_not_tell_sessions_apart() {
    let mut bench = Bench::with_token(1);
    let before = bench.session.clone();
    bench.tell(Event::FetchToken, Wait);
    bench.tell(Event::Room, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.answers(Reply::Later(Some(3)), Ended(Later(Some(3))));
    bench.pass(3);
    bench.tell(REPORT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.gives_token();
    bench.answers(Reply::Done, Ended(Success));
    bench.pass(1);
    bench.tell(Event::Tick, Wait);
    assert_eq!(bench.session, before);
}

#[test]
fn without_a_server_every_authentication_is_in_vain() {
    let mut bench = Bench::new(0);
    bench.tell(NEXT, FindIdentity);
    bench.tell(Event::IdentityReady, Ended(Failure));
}

#[test]
fn each_of_the_most_servers_has_its_own_wait() {
    let servers = u8::try_from(limits::SERVERS).unwrap();
    let mut bench = Bench::new(servers);
    bench.tell(REPORT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    for server in 1..servers {
        bench.answers(Reply::Later(Some(u32::from(server) * 10)), Send(Token, server));
    }
    bench.answers(Reply::Later(Some(100)), Ended(Later(Some(10))));
    bench.pass(25);
    bench.tell(REPORT, FindIdentity);
    bench.tell(Event::IdentityReady, Send(Token, 0));
    bench.tell(LOST, Send(Token, 1));
    bench.tell(LOST, Ended(Failure));
}

#[test]
fn r25_a_status_whose_substate_is_refused_goes_out_once_more_without_it() {
    let mut bench = Bench::with_token(1);
    bench.tell(REPORT, Send(RequestKind::Status(Status::Downloading), 0));
    bench.tell(Event::Head(Reply::SubstateRefused), Send(RequestKind::StatusAlone(Status::Downloading), 0));
    bench.answers(Reply::SubstateRefused, Ended(Failure));
}

#[test]
fn r29_the_apis_404_to_a_status_says_that_the_deployment_is_unknown() {
    let mut bench = Bench::with_token(1);
    // Another 404 counts as 503: see the next test for what that is to a last report.
    for (event, other) in [(REPORT, Failure), (Event::Ask(ApiCall::Log), Later(None))] {
        assert_ne!(bench.session.step(&bench.config, bench.now, event), Wait);
        bench.tell(Event::Head(Reply::NotFound), Read);
        bench.tell(GOOD, Ended(Nothing));
        assert_ne!(bench.session.step(&bench.config, bench.now, event), Wait);
        bench.tell(Event::Head(Reply::NotFound), Read);
        bench.tell(Event::Answer(Content::Unusable), Ended(other));
    }
}

fn asks_for(status: Status) -> Event {
    Event::Ask(ApiCall::Status { status, fresh_token: false })
}

#[test]
fn r23_what_an_answer_to_a_last_report_means() {
    let mut bench = Bench::with_token(1);
    for event in [asks_for(Status::Success), asks_for(Status::Failure), Event::Ask(ApiCall::Log)] {
        for (reply, outcome) in [
            (Reply::Done, Success),
            (Reply::NotFound, Nothing),
            (Reply::Aborted, Aborted),
            (Reply::Failed(400), Refused),
            (Reply::Failed(403), Refused),
            (Reply::TooLarge, Refused),
            (Reply::Failed(499), Refused),
            // The server's own troubles are told apart from what may lie between.
            (Reply::Failed(500), Later(None)),
            (Reply::Failed(503), Later(None)),
            (Reply::Failed(408), Failure),
            (Reply::Later(None), Failure),
            (Reply::Later(Some(7)), Later(Some(7))),
        ] {
            assert_ne!(bench.session.step(&bench.config, bench.now, event), Wait);
            bench.answers(reply, Ended(outcome));
        }
    }
}

#[test]
fn r23_404_and_409_count_only_from_the_server_that_made_the_offer() {
    let reports =
        [Status::Downloading, Status::Installing, Status::Rebooting, Status::Success, Status::Failure]
            .map(asks_for);
    for of_the_earlier_process in [false, true] {
        // The second server makes the offer, or made it before a restart.
        let mut bench = Bench::new(2);
        if of_the_earlier_process {
            bench.session = Session::new(Some(1));
        } else {
            bench.tell(NEXT, FindIdentity);
            bench.tell(Event::IdentityReady, Send(Token, 0));
            bench.tell(LOST, Send(Token, 1));
            bench.tell(Event::Head(Reply::Done), Read);
            bench.tell(GOOD, Send(NextV2, 1));
            bench.answers(Reply::Done, Ended(Success));
            for report in reports {
                assert_ne!(bench.session.step(&bench.config, bench.now, report), Wait);
                bench.answers(Reply::NotFound, Ended(Nothing));
            }
        }
        assert_eq!(bench.session.offered_by(), Some(1));
        // From now on the first one answers.
        let fresh = Event::Ask(ApiCall::Status { status: Status::Installing, fresh_token: true });
        for reply in [Reply::NotFound, Reply::Aborted] {
            bench.pass(1);
            bench.tell(fresh, FindIdentity);
            bench.tell(Event::IdentityReady, Send(Token, 0));
            bench.gives_token();
            // It has nothing against the update.
            bench.answers(reply, Ended(Success));
            for report in reports {
                assert_ne!(bench.session.step(&bench.config, bench.now, report), Wait);
                let is_last = [asks_for(Status::Success), asks_for(Status::Failure)].contains(&report);
                bench.answers(reply, Ended(if is_last { Later(None) } else { Success }));
            }
        }
        bench.tell(Event::Ask(ApiCall::ControlMap), Send(RequestKind::ControlMap, 0));
        bench.answers(Reply::Aborted, Ended(Failure));
        // A fresh link is no offer.
        bench.tell(Event::AskForLink, Send(NextV2, 0));
        bench.answers(Reply::Done, Ended(Success));
        assert_eq!(bench.session.offered_by(), Some(1));
    }
}
