//! What passes between the machines, as timelines.

use super::*;
use crate::api::Reply;
use crate::checkpoint::{Checkpoint, Format, RebootKind, Tag};
use crate::control::Map;
use crate::deployment::{Call, Mode, Verdict};
use crate::http::Head;
use crate::machine::{ApiCall, Check, OfferedMap};
use crate::script::{ScriptAction, ScriptState, Transition};
use crate::session::{Content, RequestKind};
use crate::state::Outcome;
use crate::text::{Text, TextExt};
use crate::transfer::{Accepted, Action, Etag, Failure, Found};
use std::format;
use std::vec::Vec;

const NOW: Instant = Instant::from_millis(1 << 40);
const ID: &str = "11111111-2222-3333-4444-555555555555";
/// A program's word about a later update.
const MAP: &[u8] = br#"{"id":"01234567-89ab-cdef-0123-456789abcdef","priority":1,
    "states":{"ArtifactCommit_Enter":{"action":"pause"}}}"#;
/// Bytes of the artifact; the header is the first half.
const LENGTH: usize = 20;

/// A flow, and what it said last.
struct Rig {
    flow: Flow,
    now: Instant,
    step: Step,
}

impl Rig {
    fn daemon() -> Self {
        Self::start(&Config { policies: true, ..Config::default() })
    }

    fn start(config: &Config) -> Self {
        Self::saved(config, Saved::nothing())
    }

    fn saved(config: &Config, saved: Saved) -> Self {
        let servers = session::Config { servers: 1 };
        let (flow, step) = Flow::start(NOW, config, servers, Run::Daemon, StopSet::default(), saved).unwrap();
        Self { flow, now: NOW, step }
    }

    fn tell(&mut self, event: Event) -> &Step {
        self.step = self.flow.step(self.now, event);
        &self.step
    }

    fn request(&mut self, event: session::Event) -> &Step {
        self.tell(Event::Request(event))
    }

    fn transfer(&mut self, event: transfer::Event) -> &Step {
        self.tell(Event::Transfer(event))
    }

    /// Everything works, up to a task that is looked for.
    fn until(mut self, what: &str, is_it: impl Fn(Task) -> bool) -> Self {
        for _ in 0..500 {
            if is_it(self.step.task) {
                return self;
            }
            match good(&self.flow, self.step.task) {
                Some(event) => self.tell(event),
                None => {
                    self.now = self.now.max(self.flow.deadline().expect("something is due"));
                    self.tell(Event::Tick)
                }
            };
        }
        panic!("{what} does not come");
    }

    /// Up to the beginning of an operation.
    fn begins(self, op: Op) -> Self {
        self.until(&format!("{op:?}"), |task| task == Task::Begin(op))
    }

    /// Bytes of the payload come.
    fn receives(self) -> Self {
        self.until("the payload", |task| matches!(task, Task::Begin(Op::Stream(_))))
            .until("its bytes", |task| task == Task::Transfer(Action::Receive))
    }

    /// The link to the artifact has expired while its payload came: what the client does then.
    fn link_expires(self) -> Self {
        let mut rig = self.receives();
        let broken = *rig.transfer(transfer::Event::Broken { again: true });
        assert!(matches!(broken.task, Task::Transfer(Action::Pause(_))) && broken.drop);
        let mut rig = rig.until("the next request", |task| task == Task::Transfer(Action::AwaitHead));
        let head = Head { status: 403, content_length: None, content_range: None, retry_after: None };
        rig.transfer(transfer::Event::Head(head, Etag::Unknown));
        assert_eq!(rig.step.task, Task::Transfer(Action::AskForLink));
        assert!(rig.step.drop, "the connection is dropped");
        rig
    }

    /// The client ends; what is said then.
    fn terminate(&mut self) -> &Step {
        self.tell(Event::Terminate);
        assert!(self.step.drop);
        &self.step
    }

    /// The client has ended: nothing begins, whatever is said to it, but that maps are saved.
    fn begins_nothing(&mut self) {
        assert!(self.flow.is_over());
        let map = Map::parse(MAP);
        let said = [
            Event::Approved,
            Event::Check(Check::Update),
            Event::Check(Check::Inventory),
            Event::FetchToken,
            Event::Tick,
            Event::Ended(Outcome::Success),
            Event::Request(session::Event::Head(Reply::Done)),
            Event::Transfer(transfer::Event::Came(1)),
        ];
        for event in said {
            self.now = self.now + Duration::from_secs(100_000);
            let step = *self.tell(event.clone());
            assert_eq!(step.task, Task::Wait, "{event:?}");
        }
        assert_eq!(self.tell(Event::LocalMap(map.unwrap().unwrap())).task, Task::SaveMaps);
        assert_eq!(self.tell(Event::MapsSaved(true)).task, Task::Wait);
        assert_eq!(self.flow.deadline(), None);
    }
}

/// What comes of a task when everything works; `None`: it is waited for.
fn good(flow: &Flow, task: Task) -> Option<Event> {
    let transfer = |event| Some(Event::Transfer(event));
    let ended = |outcome| Some(Event::Ended(outcome));
    match task {
        Task::Begin(Op::RunScript(..) | Op::CallModule(Call::ProvidePayloadFileSizes)) => {
            ended(Outcome::Nothing)
        }
        Task::Begin(Op::Request(_) | Op::Prepare) => Some(Event::Ready),
        Task::Begin(Op::Stream(_)) => Some(Event::ModuleStarted { mark_every: 0 }),
        Task::Begin(_) => ended(Outcome::Success),
        Task::Kill(_) => ended(Outcome::Failure),
        Task::SaveMaps => Some(Event::MapsSaved(true)),
        Task::FindIdentity => Some(Event::Request(session::Event::IdentityReady)),
        Task::CollectInventory => {
            Some(Event::Request(session::Event::InventoryReady { same_as_accepted: false }))
        }
        Task::Send(..) => Some(Event::Request(session::Event::Head(Reply::Done))),
        Task::Read => Some(Event::Answered(Content::Good, offer(flow))),
        Task::Transfer(Action::Receive) if flow.transfer().received() == LENGTH as u64 => {
            transfer(transfer::Event::Complete)
        }
        Task::ReceiveFirst | Task::Transfer(Action::Receive) => transfer(transfer::Event::Came(LENGTH / 2)),
        Task::Transfer(Action::Finish) => transfer(transfer::Event::Done),
        Task::Transfer(Action::Request { .. } | Action::AskForLink) => transfer(transfer::Event::Done),
        Task::Transfer(Action::AwaitHead) => {
            let content_length = Some(LENGTH as u64);
            let head = Head { status: 200, content_length, content_range: None, retry_after: None };
            transfer(transfer::Event::Head(head, Etag::Unknown))
        }
        Task::Transfer(Action::Parse { from, to }) => {
            let in_header = flow.machine().place().0 == State::Prepare;
            let found = if in_header { Found::Header } else { Found::Nothing };
            transfer(transfer::Event::Parsed { taken: to - from, found })
        }
        Task::Transfer(Action::Accept { again: _ }) => {
            Some(Event::Accepted { accepted: Accepted::Payload { kept: false }, same_header: false })
        }
        Task::Transfer(_) | Task::Wait | Task::PutOff(_) | Task::Exit(_) => None,
    }
}

/// What the answer that is being read brings.
fn offer(flow: &Flow) -> Offer {
    let next = flow.op() == Some(Op::Request(ApiCall::Next));
    let is_about_it = matches!(flow.session().awaits(), session::Awaits::Body(RequestKind::NextV2, ..));
    if next && is_about_it {
        Offer::Deployment(Text::copy(ID).unwrap(), OfferedMap::Absent)
    } else {
        Offer::Nothing
    }
}

const INVENTORY: Op = Op::Request(ApiCall::Inventory);
const NEXT: Op = Op::Request(ApiCall::Next);

#[test]
fn a_request_of_the_update_goes_to_the_session_and_its_end_back() {
    let mut rig = Rig::daemon().begins(INVENTORY);
    assert_eq!(rig.tell(Event::Ready).task, Task::FindIdentity);
    let mut rig = rig.until("the inventory", |task| task == Task::Send(RequestKind::Inventory, 0));
    rig.request(session::Event::Head(Reply::Done));
    assert_eq!((rig.step.task, rig.step.ended), (Task::Read, None));
    let step = *rig.tell(Event::Answered(Content::Good, Offer::Nothing));
    assert_eq!(step.ended, Some(Outcome::Success));
    assert!(step.drop && matches!(step.task, Task::Begin(Op::RunScript(..))), "{step:?}");
}

#[test]
fn a_request_may_end_as_it_is_asked_for() {
    let mut rig = Rig::daemon().begins(INVENTORY);
    rig.tell(Event::Ready);
    // In vain: that is enough for this round.
    let step = *rig.request(session::Event::IdentityFailed);
    assert_eq!(step.ended, Some(Outcome::Failure));
    let mut rig = rig.begins(NEXT);
    let step = *rig.tell(Event::Ready);
    assert_eq!(step.ended, Some(Outcome::Failure));
    assert!(matches!(step.task, Task::Begin(Op::RunScript(..))), "{step:?}");
    // The round ends with the wait in Idle: the next one asks.
    let rig = rig.until("the next round", |task| task == Task::Wait);
    rig.until("its authentication", |task| task == Task::FindIdentity);
}

#[test]
fn an_offer_begins_a_deployment_only_when_the_request_for_one_succeeded() {
    let is_read = |task| task == Task::Read;
    let mut rig = Rig::daemon()
        .begins(NEXT)
        .until("the question", |task| matches!(task, Task::Send(RequestKind::NextV2, 0)));
    rig.request(session::Event::Head(Reply::Done));
    assert!(is_read(rig.step.task));
    let offer = offer(&rig.flow);
    let mut unusable = Rig { flow: rig.flow.clone(), ..rig };
    unusable.tell(Event::Answered(Content::Unusable, offer.clone()));
    assert_eq!(unusable.flow.machine().deployment(), "");
    rig.tell(Event::Answered(Content::Good, offer));
    assert_eq!(rig.flow.machine().deployment(), ID);
}

#[test]
fn an_operation_that_needs_the_buffers_puts_a_fetch_off() {
    let enter = Transition { state: ScriptState::Download, action: ScriptAction::Enter };
    let mut rig = Rig::daemon().begins(Op::RunScript(enter, 0));
    rig.now = rig.now + Duration::from_secs(1);
    // A script runs beside it.
    assert_eq!(rig.tell(Event::FetchToken).task, Task::FindIdentity);
    assert_eq!(rig.flow.op().map(|op| matches!(op, Op::RunScript(..))), Some(true));
    // Until the transfer begins.
    let mut dropped = false;
    while rig.step.task != Task::Begin(Op::Prepare) {
        let script = rig.flow.op().map(Task::Begin);
        let event = script.and_then(|task| good(&rig.flow, task)).unwrap();
        dropped = rig.tell(event).drop;
    }
    assert!(dropped && rig.flow.session().waits_for_room(), "{:?}", rig.step);
    assert!(rig.flow.due(rig.now).is_none(), "no room: {:?}", rig.flow.due(rig.now));
    // Nor is there any between the two halves.
    let mut rig = rig.begins(Op::CallModule(Call::ProvidePayloadFileSizes));
    assert!(rig.flow.due(rig.now).is_none());
    // At its end there is.
    rig.transfer_fails();
    assert_eq!(rig.flow.due(rig.now), Some(Due::Room));
    assert_eq!(rig.flow.deadline(), Some(Instant::ZERO));
    rig.tell(Event::Tick);
    assert_eq!(rig.flow.due(rig.now), None);
}

impl Rig {
    /// The artifact turns out to be no good; up to the first script behind it.
    fn transfer_fails(&mut self) {
        self.tell(Event::Ended(Outcome::Nothing));
        for _ in 0..100 {
            let task = self.step.task;
            let transfer = |event| Some(Event::Transfer(event));
            let event = if let Task::Begin(Op::RunScript(..)) = task {
                return;
            } else if task == Task::Transfer(Action::Receive) {
                transfer(transfer::Event::Failed)
            } else if let Task::Transfer(Action::GiveUp { .. } | Action::AwaitModule) = task {
                transfer(transfer::Event::Done)
            } else {
                good(&self.flow, task)
            };
            self.tell(event.unwrap_or(Event::Tick));
        }
        panic!("no script comes");
    }
}

#[test]
fn a_fresh_link_is_asked_for_while_the_module_runs() {
    let mut rig = Rig::daemon().link_expires();
    let op = rig.flow.op();
    assert_eq!(rig.transfer(transfer::Event::Done).task, Task::Send(RequestKind::NextV2, 0));
    rig.request(session::Event::Head(Reply::Done));
    // What the server says about holding the update back comes first, and is saved aside.
    let map =
        format!(r#"{{"id":"{ID}","priority":0,"states":{{"ArtifactReboot_Enter":{{"action":"pause"}}}}}}"#);
    let map = Map::parse(map.as_bytes()).unwrap().unwrap();
    assert_eq!(rig.tell(Event::ServerMap(map)).task, Task::SaveMaps);
    assert_eq!(rig.tell(Event::MapsSaved(true)).task, Task::Wait);
    let step = *rig.tell(Event::Answered(Content::Good, Offer::Nothing));
    assert!(matches!(step.task, Task::Transfer(Action::Request { again: true, .. })), "{step:?}");
    assert_eq!((rig.flow.op(), step.ended), (op, None));
}

#[test]
fn a_link_that_the_server_does_not_give_is_the_transfers_to_decide_about() {
    let ask = || {
        let mut rig = Rig::daemon().link_expires();
        rig.transfer(transfer::Event::Done);
        rig
    };
    let step = *ask().request(session::Event::Broken { lost: true });
    assert!(matches!(step.task, Task::Transfer(Action::Pause(_))), "{step:?}");
    let step = *ask().request(session::Event::NotSent);
    assert!(matches!(step.task, Task::Transfer(Action::Pause(_))), "{step:?}");
    let mut rig = ask();
    rig.request(session::Event::Head(Reply::Nothing));
    let step = *rig.tell(Event::Answered(Content::Good, Offer::Nothing));
    let gives_up = Action::GiveUp { why: Failure::NotOffered, module: true };
    assert_eq!(step.task, Task::Transfer(gives_up));
}

#[test]
fn a_transfer_that_is_ended_while_it_asks_for_a_link_gives_the_question_up() {
    let mut rig = Rig::daemon().link_expires();
    rig.transfer(transfer::Event::Done);
    let step = *rig.terminate();
    let gives_up = Action::GiveUp { why: Failure::Stopped, module: true };
    assert_eq!(step.task, Task::Transfer(gives_up));
    // The answer comes too late.
    assert_eq!(*rig.request(session::Event::Head(Reply::Done)), Step::WAIT);
    assert_eq!(rig.transfer(transfer::Event::Done).task, Task::Transfer(Action::AwaitModule));
    assert!(!rig.flow.is_over());
    let step = *rig.transfer(transfer::Event::Done);
    assert_eq!((step.task, step.ended), (Task::Wait, Some(Outcome::Failure)));
    rig.begins_nothing();
}

#[test]
fn a_client_that_ends_waits_for_what_runs_and_begins_nothing() {
    let works: Vec<fn(Task) -> bool> = Vec::from([
        (|task| matches!(task, Task::Begin(Op::RunScript(..)))) as fn(Task) -> bool,
        |task| matches!(task, Task::Begin(Op::CallModule(_))),
        |task| matches!(task, Task::Begin(Op::Save)),
        |task| matches!(task, Task::Begin(Op::AskPolicy(_))),
        |task| task == Task::FindIdentity,
        |task| task == Task::CollectInventory,
        |task| matches!(task, Task::Send(RequestKind::Token, _)),
        |task| matches!(task, Task::Send(RequestKind::NextV2, _)),
        |task| task == Task::Read,
    ]);
    for (number, is_it) in works.into_iter().enumerate() {
        let mut rig = Rig::daemon().until(&format!("work {number}"), is_it);
        let op = rig.flow.op().unwrap();
        let step = *rig.terminate();
        assert_eq!(step.task, Task::Kill(op), "work {number}");
        assert!(!rig.flow.is_over(), "work {number}");
        let step = *rig.tell(Event::Ended(Outcome::Failure));
        assert_eq!((step.task, step.ended), (Task::Wait, Some(Outcome::Failure)), "work {number}");
        rig.begins_nothing();
    }
}

#[test]
fn a_client_that_ends_while_the_device_reboots_does_not_wait_for_the_reboot() {
    let mut rig = Rig::daemon().begins(Op::CallModule(Call::NeedsArtifactReboot));
    rig.tell(Event::Ended(Outcome::Automatic));
    let mut rig = rig.begins(Op::Reboot);
    let record = rig.flow.machine().checkpoint().clone();
    assert_eq!(record.tag, Tag::Reboot);
    assert_eq!(rig.terminate().task, Task::Kill(Op::Reboot));
    assert!(!rig.flow.is_over());
    let step = *rig.tell(Event::Ended(Outcome::Failure));
    assert_eq!((step.task, step.ended), (Task::Wait, Some(Outcome::Failure)));
    // The machine hears of no failure: the next start takes the signal for the reboot that it belongs to.
    assert_eq!(rig.flow.machine().place(), (State::Reboot, Phase::Main));
    assert_eq!(*rig.flow.machine().checkpoint(), record);
    rig.begins_nothing();
}

#[test]
fn the_header_of_an_artifact_without_payload_is_stored_in_place_of_an_earlier_one() {
    let record = Checkpoint {
        format: Format::NEWEST,
        mode: Mode::Managed,
        tag: Tag::Store,
        verdict: Verdict::Good,
        stopped: false,
        failed: false,
        reboot: RebootKind::None,
        module: true,
        header: true,
        stores: 3,
        deployment: Text::copy(ID).unwrap(),
        offer: true,
    };
    let config = Config { resume_downloads: true, ..Config::default() };
    let mut rig = Rig::saved(&config, Some(record).into());
    // The header of the artifact whose download goes on is on record.
    let first = rig.step;
    rig.tell(Event::Restored { header: true, module: true });
    rig.step = first;
    let mut rig = rig.until("the header", |task| matches!(task, Task::Transfer(Action::Accept { again: _ })));
    assert!(!rig.flow.saves_beside().header);
    // What the server gives now under that name is another artifact.
    rig.tell(Event::Accepted { accepted: Accepted::NoPayload, same_header: false });
    assert_eq!(rig.step.task, Task::Transfer(Action::Receive));
    rig.transfer(transfer::Event::Complete);
    assert_eq!(rig.step.task, Task::Begin(Op::Save));
    assert_eq!(rig.flow.machine().place(), (State::EmptyPayload, Phase::Leave));
    assert!(rig.flow.saves_beside().header, "the record has the header of the other artifact");
}

#[test]
fn a_client_that_ends_gives_a_transfer_up_at_every_step() {
    let steps: Vec<fn(Task) -> bool> = Vec::from([
        (|task| matches!(task, Task::Transfer(Action::Request { .. }))) as fn(Task) -> bool,
        |task| task == Task::Transfer(Action::AwaitHead),
        |task| task == Task::ReceiveFirst,
        |task| matches!(task, Task::Transfer(Action::Parse { .. })),
        |task| matches!(task, Task::Transfer(Action::Accept { .. })),
    ]);
    for (number, is_it) in steps.into_iter().enumerate() {
        let mut rig = Rig::daemon().until(&format!("step {number}"), is_it);
        let step = *rig.terminate();
        let gives_up = Action::GiveUp { why: Failure::Stopped, module: false };
        assert_eq!(step.task, Task::Transfer(gives_up), "step {number}");
        assert_eq!(rig.transfer(transfer::Event::Done).ended, Some(Outcome::Failure), "step {number}");
        rig.begins_nothing();
    }
}

#[test]
fn a_client_that_ends_at_rest_is_over_at_once() {
    // Before that, a token is waited for.
    let mut rig = Rig::daemon().begins(Op::End).until("rest", |task| task == Task::Wait);
    assert_eq!(rig.terminate().task, Task::Wait);
    rig.begins_nothing();
}

#[test]
fn maps_are_saved_beside_what_runs() {
    let mut rig = Rig::daemon().begins(INVENTORY);
    let op = rig.flow.op();
    let map = Map::parse(MAP);
    assert_eq!(rig.tell(Event::LocalMap(map.unwrap().unwrap())).task, Task::SaveMaps);
    assert_eq!(*rig.tell(Event::MapsSaved(true)), Step::WAIT);
    assert_eq!(rig.flow.op(), op);
}

#[test]
fn what_ran_out_of_time_is_killed_by_whoever_runs_it() {
    let mut rig = Rig::daemon().until("a script", |task| matches!(task, Task::Begin(Op::RunScript(..))));
    rig.now = rig.flow.deadline().unwrap();
    assert_eq!(rig.flow.due(rig.now), Some(Due::Machine));
    let op = rig.flow.op().unwrap();
    assert_eq!(rig.tell(Event::Tick).task, Task::Kill(op));
    // Its end is still told, and counts as a failure whatever it says.
    let step = *rig.tell(Event::Ended(Outcome::Success));
    assert_eq!(step.ended, Some(Outcome::Success));
    assert_ne!(step.task, Task::Kill(op));
}

#[test]
fn a_script_that_asks_for_later_too_long_is_told_apart_from_one_that_fails_and_one_that_is_killed() {
    let enter = Transition { state: ScriptState::Download, action: ScriptAction::Enter };
    let script = Op::RunScript(enter, 0);
    let config = Config {
        state_script_retry_interval: Duration::from_secs(60),
        state_script_retry_timeout: Duration::from_secs(90),
        ..Config::default()
    };
    let rig = Rig::start(&config).begins(script);
    // It is asked again, at the interval and at the end of its time; then it has asked too long.
    let mut asks = Rig { flow: rig.flow.clone(), ..rig };
    for _ in 0..2 {
        assert_eq!(asks.tell(Event::Ended(Outcome::Later(None))).task, Task::Wait);
        assert!(!asks.step.asked_too_long);
        asks.now = asks.flow.deadline().unwrap();
        asks.tell(Event::Tick);
        if asks.step.task != Task::Begin(script) {
            break;
        }
    }
    assert!(asks.step.asked_too_long, "{:?}", asks.step);
    assert_eq!(asks.now, NOW + Duration::from_secs(90));
    // One that fails, and one that was killed though it asks for later.
    let mut fails = Rig { flow: rig.flow.clone(), step: rig.step, now: NOW };
    assert!(!fails.tell(Event::Ended(Outcome::Failure)).asked_too_long);
    let mut killed = Rig { flow: rig.flow, step: rig.step, now: NOW };
    killed.now = killed.flow.deadline().unwrap();
    assert_eq!(killed.tell(Event::Tick).task, Task::Kill(script));
    assert!(!killed.tell(Event::Ended(Outcome::Later(None))).asked_too_long);
}

#[test]
fn a_server_that_does_not_answer_is_the_sessions_to_wait_for() {
    let mut rig =
        Rig::daemon().until("the inventory", |task| matches!(task, Task::Send(RequestKind::Inventory, _)));
    rig.now = rig.flow.deadline().unwrap();
    assert_eq!(rig.flow.due(rig.now), Some(Due::Session));
    let step = *rig.tell(Event::Tick);
    assert_eq!(step.ended, Some(Outcome::Failure));
    assert!(step.drop);
}

#[test]
fn an_approval_ends_the_question_for_a_control_map() {
    let mut rig = Rig::daemon().begins(NEXT).until("its answer", |task| task == Task::Read);
    let map =
        format!(r#"{{"id":"{ID}","priority":0,"states":{{"ArtifactInstall_Enter":{{"action":"pause"}}}}}}"#);
    let map = OfferedMap::Map(Map::parse(map.as_bytes()).unwrap().unwrap());
    rig.tell(Event::Answered(Content::Good, Offer::Deployment(Text::copy(ID).unwrap(), map)));
    let mut rig = rig.begins(Op::Request(ApiCall::ControlMap));
    rig.tell(Event::Ready);
    let step = *rig.tell(Event::Approved);
    assert_eq!(step.task, Task::Kill(Op::Request(ApiCall::ControlMap)));
    assert!(step.drop);
    let step = *rig.tell(Event::Ended(Outcome::Failure));
    assert_eq!(step.ended, Some(Outcome::Failure));
    assert!(matches!(step.task, Task::Begin(_)), "{step:?}");
}

#[test]
fn a_client_that_waits_for_its_next_poll_is_put_off_and_no_other() {
    let hour = NOW + Duration::from_secs(3600);
    let at_rest = Rig::daemon().begins(Op::End).until("rest", |task| task == Task::Wait).flow;
    let later = |started, until, random| at_rest.put_off(started, NOW, until, random);
    let minute_ago = NOW - Duration::from_secs(60);
    assert_eq!(later(minute_ago, hour, 0), Some(hour));
    assert_eq!(later(minute_ago, hour, 1 << 15), Some(hour + Duration::from_secs(180)));
    // In the first minute of a process, and when something is due.
    assert_eq!(later(NOW - Duration::from_secs(59), hour, 1 << 15), None);
    assert_eq!(later(minute_ago, NOW, 1 << 15), None);
    // A client that waits for an answer, and for a token.
    let asks = Rig::daemon().until("a token", |task| matches!(task, Task::Send(RequestKind::Token, _)));
    assert_eq!(asks.flow.put_off(minute_ago, NOW, hour, 1 << 15), None);
    let mut wished = at_rest.clone();
    let _: Step = wished.step(NOW, Event::FetchToken);
    assert_eq!(wished.put_off(minute_ago, NOW, hour, 1 << 15), None);
}

#[test]
fn a_daemon_in_the_place_of_another_keeps_its_times() {
    use crate::state::State::{Inventory, Poll};
    let later = NOW + Duration::from_secs(600);
    for (update, inventory, first, begins) in [
        (Some(later), Some(later), Inventory, later),
        // What is not put off is due at once.
        (Some(later), None, Inventory, NOW),
        (None, Some(later), Poll, NOW),
        (None, None, Inventory, NOW),
    ] {
        let mut rig = Rig::daemon();
        rig.flow.schedule(update, inventory);
        while !matches!(rig.flow.machine().place().0, Inventory | Poll) {
            match good(&rig.flow, rig.step.task) {
                Some(event) => rig.tell(event),
                None => {
                    rig.now = rig.now.max(rig.flow.deadline().expect("something is due"));
                    rig.tell(Event::Tick)
                }
            };
        }
        assert_eq!((rig.flow.machine().place().0, rig.now), (first, begins));
    }
}
