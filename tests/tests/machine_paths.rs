//! The machine alone: what it does next, told how each operation ended.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names the operations it bends, the rest ends well"
)]

use thimble_core::begun::Begun;
use thimble_core::checkpoint::{Checkpoint, Format, RebootKind, Tag};
use thimble_core::config::Config;
use thimble_core::deployment::{Call, Mode, Naming, Status, Verdict};
use thimble_core::last_report::{Ended, Owed};
use thimble_core::machine::{
    Action, ApiCall, Check, Event, Machine, OfferedMap, Op, OpId, Reached, Refusal, Report, Run, Saved, Stop,
    StopSet,
};
use thimble_core::script::Transition;
use thimble_core::state::{Outcome, Phase, State, Verb};
use thimble_core::text::{Text, TextExt};
use thimble_core::time::{Duration, Instant};
use thimble_hal_sim::model::describe;

use Outcome::{Aborted, Automatic, Failure, Later, Nothing, Refused, Success};

/// A machine, its clock, and what it did so far.
struct Path {
    machine: Machine,
    action: Action,
    now: Instant,
    did: Vec<String>,
}

impl Path {
    fn start(run: Run, stop: Option<Stop>, saved: Option<Checkpoint>) -> Self {
        Self::start_with(&Config::default(), run, stop, saved).unwrap()
    }

    fn start_with(
        config: &Config,
        run: Run,
        stop: Option<Stop>,
        saved: Option<Checkpoint>,
    ) -> Result<Self, Refusal> {
        let stops = stop.map_or(StopSet::default(), |stop| StopSet::default().with(stop));
        let (machine, action) = Machine::start(Instant::ZERO, config, run, stops, saved.into())?;
        Ok(Self { machine, action, now: Instant::ZERO, did: Vec::new() })
    }

    /// The operation it waits for; waits for a deadline if there is none.
    fn op(&mut self) -> Option<(OpId, Op)> {
        loop {
            match self.action.clone() {
                Action::Start(id, op) => return Some((id, op)),
                Action::Exit(_) => return None,
                Action::Wait | Action::Kill | Action::SaveMaps => {
                    self.now = self.machine.deadline()?;
                    self.action = self.machine.step(self.now, Event::Tick);
                }
            }
        }
    }

    /// Goes on until `end`, every operation ending as `outcome` says.
    fn run(mut self, outcome: impl Fn(Op) -> Outcome, end: impl Fn(Op) -> bool) -> Self {
        for _ in 0..1000 {
            let Some((id, op)) = self.op() else { return self };
            if end(op) {
                return self;
            }
            self.did.push(describe(op));
            self.action = self.machine.step(self.now, ended(id, op, outcome(op)));
        }
        panic!("does not end: {:#?}", &self.did[900..]);
    }

    /// Goes on for `ops` operations, past the ends of deployments.
    fn run_for(mut self, ops: usize, outcome: impl Fn(Op) -> Outcome) -> Self {
        let end = self.did.len() + ops;
        while self.did.len() < end {
            let (id, op) = self.op().expect("the daemon never ends");
            self.did.push(describe(op));
            self.action = self.machine.step(self.now, ended(id, op, outcome(op)));
        }
        self
    }

    /// The same as [`Self::run`] to the end of the deployment or of the verb.
    fn finish(self, outcome: impl Fn(Op) -> Outcome) -> Self {
        self.run(outcome, |op| op == Op::End)
    }

    /// A restart with what is on record.
    fn restart(self) -> Self {
        let record = self.machine.checkpoint().clone();
        let mut new = if record.tag == Tag::Report {
            reporting(&Config::default(), over(record.verdict.is_good(), Owed::Status))
        } else {
            Self::start(Run::Daemon, None, Some(record))
        };
        new.did = self.did;
        new
    }

    fn report(&self) -> Report {
        match self.action {
            Action::Exit(report) => report,
            Action::Start(..) | Action::Kill | Action::SaveMaps | Action::Wait => {
                panic!("not over: {:?}", self.action)
            }
        }
    }

    fn count(&self, what: &str) -> usize {
        self.did.iter().filter(|did| did.as_str() == what).count()
    }
}

/// How the machine hears that an operation ended; a poll that succeeds brings a deployment.
fn ended(id: OpId, op: Op, outcome: Outcome) -> Event {
    if op == Op::Request(ApiCall::Next) && outcome == Success {
        return offer(id, "d-1");
    }
    Event::Done(id, outcome)
}

fn offer(op: OpId, id: &str) -> Event {
    Event::Offered { op, id: Text::copy(id).unwrap(), map: OfferedMap::Absent }
}

/// A device whose module wants no reboot and can roll back; no scripts.
fn good(op: Op) -> Outcome {
    match op {
        Op::RunScript(..) | Op::CallModule(Call::NeedsArtifactReboot | Call::ProvidePayloadFileSizes) => {
            Nothing
        }
        _ => Success,
    }
}

/// As [`good`], but `op` ends with `outcome`.
fn but(op: Op, outcome: Outcome) -> impl Fn(Op) -> Outcome {
    move |this| if this == op { outcome } else { good(this) }
}

fn script(name: &str) -> Op {
    Op::RunScript(thimble_core::script::parse_name(&format!("{name}_00")).unwrap(), 0)
}

fn record(mode: Mode, tag: Tag, verdict: Verdict) -> Checkpoint {
    Checkpoint {
        format: Format::One,
        mode,
        tag,
        verdict,
        stopped: false,
        failed: false,
        reboot: RebootKind::None,
        module: true,
        header: true,
        stores: 0,
        deployment: if mode == Mode::Managed { Text::copy("d-1").unwrap() } else { Text::default() },
        offer: false,
    }
}

fn status(status: Status) -> Op {
    Op::Request(ApiCall::Status { status, fresh_token: false })
}

#[test]
fn resuming_a_failed_update_on_the_command_line_ends_as_a_failure() {
    let saved = record(Mode::Standalone, Tag::Failure, Verdict::Failed);
    let path = Path::start(Run::Continue(Verb::Resume), None, Some(saved)).finish(good);
    let report = path.report();
    assert_eq!((report.reached, report.verdict), (Reached::Ended, Verdict::Failed));
    assert!(!report.is_success());
}

#[test]
fn a_log_that_is_never_accepted_uses_up_the_retries_it_shares_with_the_status() {
    let outcome = |op| match op {
        Op::CallModule(Call::ArtifactInstall) | Op::Request(ApiCall::Log) => Failure,
        op => good(op),
    };
    let path = Path::start(Run::Daemon, None, None).finish(outcome);
    assert_eq!((path.count("«failure»"), path.count("send the log")), (13, 13));
}

#[test]
fn a_script_that_fails_before_the_rollback_reboot_is_remembered_over_it() {
    let outcome = |op| match op {
        Op::CallModule(Call::ArtifactInstall) => Failure,
        Op::CallModule(Call::NeedsArtifactReboot) => Automatic,
        op if op == script("ArtifactRollbackReboot_Enter") => Failure,
        op => good(op),
    };
    let path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == Op::Reboot);
    assert!(path.machine.is_saved());
    let path = path.restart().run(outcome, |op| op == Op::CallModule(Call::Cleanup));
    assert_eq!(path.machine.verdict(), Verdict::RollbackFailed);
    assert_eq!(path.count("save name and provides (Inconsistent)"), 1);
}

#[test]
fn a_rollback_asked_for_after_a_failed_rollback_can_end_well() {
    let mut saved = record(Mode::Standalone, Tag::Rollback, Verdict::RollbackFailed);
    saved.stopped = true;
    let path = Path::start(Run::Continue(Verb::Rollback), None, Some(saved)).finish(good);
    assert!(path.report().is_success(), "{:?}", path.report());
}

#[test]
fn a_rollback_that_cannot_be_recorded_is_tried_again_before_the_module_is_called() {
    // The record says `reboot`: a restart would verify and commit what the rollback undid.
    let mut path = Path::start(Run::Daemon, None, None);
    let outcome = |op| match op {
        Op::CallModule(Call::NeedsArtifactReboot) => Success,
        op if op == script("ArtifactReboot_Enter") => Failure,
        op => good(op),
    };
    let rollback = Op::CallModule(Call::SupportsRollback);
    path = path.run(outcome, |op| op == rollback).run(outcome, |op| op == Op::Save);
    let id = path.op().unwrap().0;
    path.action = path.machine.step(path.now, Event::Done(id, Failure));
    path = path.run(outcome, |op| op == Op::CallModule(Call::ArtifactRollback));
    assert_eq!(path.did.last().unwrap(), "save");
    assert!(path.machine.is_saved());
}

#[test]
fn command_line_does_not_begin_an_install_it_cannot_record() {
    let path = Path::start(Run::Install, None, None).finish(but(Op::Save, Failure));
    assert_eq!(path.count("ArtifactInstall") + path.count("ArtifactRollback"), 0);
    assert_eq!(path.count("[ArtifactInstall_Error] 0"), 0);
    assert_eq!((path.report().verdict, path.report().reached), (Verdict::RolledBack, Reached::Ended));
    assert_eq!(path.report().failed_at, Some((State::Install, Phase::Enter)));
}

/// Nothing was installed: it ends as a no at the door before, and as a restart at this moment would (STATE-61).
#[test]
fn r24_an_install_of_the_daemon_that_cannot_be_recorded_ends_without_a_rollback() {
    let installing = Op::Request(ApiCall::Status { status: Status::Installing, fresh_token: false });
    let mut path =
        Path::start(Run::Daemon, None, None).run(good, |op| op == installing).run(good, |op| op == Op::Save);
    assert_eq!(path.machine.place(), (State::Install, Phase::Enter));
    let (id, _) = path.op().unwrap();
    path.action = path.machine.step(path.now, Event::Done(id, Failure));
    path.did.clear();
    let path = path.finish(good);
    let all = ["save", "Cleanup", "save the last report", "«failure»", "send the log", "delete the record"];
    assert_eq!(path.did, all);
    assert_eq!(path.machine.verdict(), Verdict::RolledBack);
}

#[test]
fn command_line_does_not_begin_a_rollback_it_cannot_record() {
    // The record says "installed": `resume` would commit what the rollback undid.
    let saved = record(Mode::Standalone, Tag::BeforeCommit, Verdict::Good);
    let outcome = but(Op::Save, Failure);
    let path = Path::start(Run::Continue(Verb::Rollback), None, Some(saved)).finish(outcome);
    assert_eq!(path.count("ArtifactRollback"), 0);
    assert!(!path.report().is_success());
}

#[test]
fn a_stop_that_cannot_be_recorded_touches_nothing_more() {
    let outcome = |op| match op {
        Op::CallModule(Call::ArtifactInstall) => Failure,
        op => good(op),
    };
    for stop in [Stop::ArtifactRollbackEnter, Stop::ArtifactFailureEnter, Stop::Cleanup] {
        let mut path = Path::start(Run::Install, Some(stop), None);
        path = path.run(outcome, |_| false);
        let Action::Exit(_) = path.action else { panic!() };
        let before = path.did.len();
        let mut path = Path::start(Run::Install, Some(stop), None);
        while path.did.len() < before - 1 {
            let (id, op) = path.op().unwrap();
            path.did.push(describe(op));
            path.action = path.machine.step(path.now, Event::Done(id, outcome(op)));
        }
        let id = path.op().unwrap().0;
        path.action = path.machine.step(path.now, Event::Done(id, Failure));
        assert_eq!(path.report().reached, Reached::Unfinished, "{stop:?}");
        assert!(!path.report().is_success());
    }
}

#[test]
fn i8_a_run_without_reboot_writes_7_times_and_with_a_host_reboot_10_times() {
    let path = Path::start(Run::Daemon, None, None).finish(good);
    // Name and provides are written together with the record.
    let writes = path.count("save") + path.count("save name and provides (Good)");
    assert_eq!((writes, path.machine.checkpoint().stores), (7, 7));

    let reboots = |op| match op {
        Op::CallModule(Call::NeedsArtifactReboot) => Automatic,
        op => good(op),
    };
    let path = Path::start(Run::Daemon, None, None).run(reboots, |op| op == Op::Reboot);
    let path = path.restart().finish(reboots);
    let writes = path.count("save") + path.count("save name and provides (Good)");
    assert_eq!((writes, path.machine.checkpoint().stores), (10, 10));
}

#[test]
fn i8_verifying_the_rollback_gives_up_after_21_attempts_or_10_reboots() {
    for (answer, expected) in [(Success, 21), (Automatic, 10)] {
        let outcome = |op| match op {
            Op::CallModule(Call::NeedsArtifactReboot) => answer,
            Op::CallModule(Call::ArtifactVerifyReboot | Call::ArtifactVerifyRollbackReboot) => Failure,
            op => good(op),
        };
        let mut path = Path::start(Run::Daemon, None, None);
        for _ in 0..40 {
            path = path.run(outcome, |op| op == Op::Reboot || op == Op::End);
            if path.op().unwrap().1 == Op::End {
                break;
            }
            path = path.restart();
        }
        assert_eq!(path.count("ArtifactVerifyRollbackReboot"), expected);
        assert_eq!(path.count("save name and provides (Loop)"), 1);
        assert_eq!((path.count("Cleanup"), path.count("ArtifactFailure")), (0, 0));
        assert_eq!((path.count("«failure»"), path.count("«success»")), (1, 0));
        assert_eq!(path.count("delete the record"), 1);
    }
}

#[test]
fn i8_the_29th_write_and_the_29th_load_are_refused_at_every_saving_place() {
    for tag in [
        Tag::Store,
        Tag::Install,
        Tag::Reboot,
        Tag::AfterReboot,
        Tag::Commit,
        Tag::AfterCommit,
        Tag::Rollback,
        Tag::RollbackReboot,
        Tag::AfterRollbackReboot,
        Tag::Failure,
        Tag::Cleanup,
    ] {
        for stores in [27, 28] {
            let saved = Checkpoint { stores, ..record(Mode::Managed, tag, Verdict::Good) };
            let path = Path::start(Run::Daemon, None, Some(saved)).finish(good);
            // 28 writes: the load is the 29th. 27: the load is the 28th, the next write the 29th.
            assert_eq!(path.count("save"), usize::from(stores == 27), "{tag:?} {stores}: {:?}", path.did);
            assert_eq!(path.count("save name and provides (Loop)"), 1, "{tag:?} {stores}: {:?}", path.did);
            assert_eq!(path.count("«failure»"), 1);
            assert_eq!(path.count("Cleanup"), 0);
        }
    }
}

/// Restarts in Download cost one load each, so that twelve of them leave the half that the rest needs.
#[test]
fn i8_a_download_that_never_ends_is_given_up() {
    let config = Config { resume_downloads: true, ..Config::default() };
    let start = |saved| Path::start_with(&config, Run::Daemon, None, saved).unwrap();
    let stream = |op| matches!(op, Op::Stream(_));
    let mut path = start(None).run(good, stream);
    let mut downloads = 0;
    while path.op().is_some_and(|(_, op)| stream(op)) {
        downloads += 1;
        path = start(Some(path.machine.checkpoint().clone()))
            .run(good, |op| stream(op) || op == Op::End || op == Op::CallModule(Call::Cleanup));
    }
    assert_eq!(downloads, 13);
    assert_eq!(path.machine.verdict(), Verdict::RolledBack);
    assert_eq!(path.finish(good).count("«failure»"), 1);
}

#[test]
fn a_download_does_not_go_on_where_that_is_not_wanted() {
    let config = Config { resume_downloads: true, ..Config::default() };
    let path = Path::start_with(&config, Run::Daemon, None, None).unwrap();
    let path = path.run(good, |op| matches!(op, Op::Stream(_)));
    let path = path.restart();
    assert_eq!(path.machine.place().0, State::Cleanup);
}

#[test]
fn i8_a_loop_noticed_while_saving_provides_is_written_once() {
    let saved = Checkpoint { stores: 26, ..record(Mode::Managed, Tag::AfterCommit, Verdict::Good) };
    let path = Path::start(Run::Daemon, None, Some(saved)).finish(good);
    assert_eq!(path.count("save name and provides (Loop)"), 1, "{:?}", path.did);
    assert_eq!(path.count("save name and provides (Good)"), 0);
}

#[test]
fn i1_an_abort_leads_where_the_table_says() {
    // (status, occurrence, whether the way back goes over a rollback)
    let aborted_from = |nth: usize| {
        let seen = std::cell::Cell::new(0);
        move |op| match op {
            Op::Request(ApiCall::Status { .. }) => {
                seen.set(seen.get() + 1);
                if seen.get() > nth { Aborted } else { Success }
            }
            Op::CallModule(Call::NeedsArtifactReboot) => Success,
            op => good(op),
        }
    };
    for (nth, installs, rollbacks, commits) in
        [(0, 0, 0, 0), (1, 0, 0, 0), (2, 1, 1, 0), (3, 1, 1, 0), (4, 1, 0, 1)]
    {
        let path = Path::start(Run::Daemon, None, None).finish(aborted_from(nth));
        let counts =
            [path.count("ArtifactInstall"), path.count("ArtifactRollback"), path.count("ArtifactCommit")];
        assert_eq!(counts, [installs, rollbacks, commits], "abort at status {nth}: {:?}", path.did);
        let last = path.did.iter().rfind(|did| did.starts_with('«')).unwrap();
        assert_eq!(last, if nth == 4 { "«success»" } else { "«failure»" });
        // The final 409 is the end: not repeated.
        assert_eq!(path.count(last), 1);
    }
}

#[test]
fn the_report_before_the_commit_is_repeated_12_times_in_36_minutes_then_rolled_back() {
    let seen = std::cell::Cell::new(0);
    let outcome = |op| match op {
        Op::Request(ApiCall::Status { status: Status::Installing, fresh_token: true }) => {
            seen.set(seen.get() + 1);
            Failure
        }
        Op::Request(ApiCall::Status { status: Status::Installing, fresh_token: false }) if seen.get() > 0 => {
            Failure
        }
        op => good(op),
    };
    let commit = Op::Request(ApiCall::Status { status: Status::Installing, fresh_token: true });
    let path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == commit);
    let begun = path.now;
    let path = path.run(outcome, |op| op == Op::CallModule(Call::SupportsRollback));
    assert_eq!(path.count("«installing»"), 1 + 13);
    assert_eq!(seen.get(), 1, "the token is dropped once");
    assert_eq!(path.now.since(begun), Duration::from_secs(36 * 60));
}

#[test]
fn a_retry_after_uses_no_retry_up() {
    let left = std::cell::Cell::new(40);
    let outcome = |op| match op {
        Op::Request(ApiCall::Status { status: Status::Success, .. }) if left.get() > 0 => {
            left.set(left.get() - 1);
            Later(Some(7))
        }
        op => good(op),
    };
    let path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == status(Status::Success));
    let begun = path.now;
    let path = path.finish(outcome);
    assert_eq!(path.count("«success»"), 41);
    assert_eq!(path.now.since(begun), Duration::from_secs(40 * 7));
}

#[test]
fn a_server_that_is_overloaded_puts_the_commit_off_for_a_day_at_most() {
    let commit = Op::Request(ApiCall::Status { status: Status::Installing, fresh_token: true });
    let path = Path::start(Run::Daemon, None, None).run(good, |op| op == commit);
    let begun = path.now;
    let outcome = |op| match op {
        Op::Request(ApiCall::Status { status: Status::Installing, .. }) => Later(Some(7000)),
        op => good(op),
    };
    let path = path.run(outcome, |op| op == Op::CallModule(Call::SupportsRollback));
    assert_eq!(path.now.since(begun), Duration::from_secs(24 * 3600));
    assert_eq!(path.finish(good).count("ArtifactCommit"), 0);
}

#[test]
fn trap_7_power_loss_in_cleanup_after_a_commit_still_reports_success() {
    let path = Path::start(Run::Daemon, None, None).run(good, |op| op == Op::CallModule(Call::Cleanup));
    let path = path.restart().finish(good);
    assert_eq!((path.count("«success»"), path.count("«failure»")), (1, 0));
}

#[test]
fn power_loss_in_cleanup_after_a_failed_rollback_is_remembered() {
    let outcome = |op| match op {
        Op::CallModule(Call::ArtifactInstall | Call::ArtifactRollback) => Failure,
        op => good(op),
    };
    let path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == Op::CallModule(Call::Cleanup));
    assert_eq!(path.count("save name and provides (Inconsistent)"), 1);
    let path = path.restart();
    assert_eq!(path.machine.verdict(), Verdict::RollbackFailed);
}

#[test]
fn a_failing_cleanup_turns_success_into_failure_after_the_data_is_committed() {
    let path = Path::start(Run::Daemon, None, None).finish(but(Op::CallModule(Call::Cleanup), Failure));
    assert_eq!(path.count("save name and provides (Good)"), 1);
    assert_eq!((path.count("«failure»"), path.count("«success»")), (1, 0));
}

#[test]
fn a_restart_after_a_failing_cleanup_reports_the_same_again() {
    let outcome = but(Op::CallModule(Call::Cleanup), Failure);
    let path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == Op::ClearData);
    assert!(path.machine.is_saved());
    let path = path.restart().run(good, is_poll);
    assert_eq!((path.count("«failure»"), path.count("«success»")), (2, 0));
}

#[test]
fn an_update_whose_record_cannot_be_deleted_is_closed_again_after_a_restart() {
    let path = Path::start(Run::Daemon, None, None).run(but(Op::ClearData, Failure), |op| op == Op::End);
    // What is left is the record of the report.
    let path = path.restart().run(good, is_poll);
    assert_eq!((path.count("«success»"), path.count("«failure»")), (2, 0));
    assert_eq!((path.count("delete the record"), path.count("delete the record of the report")), (1, 1));
}

#[test]
fn command_line_waits_for_commit_when_the_module_can_roll_back() {
    let path = Path::start(Run::Install, None, None).finish(good);
    assert_eq!(path.report().reached, Reached::AwaitingCommit);
    assert!(path.report().is_success() && !path.report().auto_commit);
    let saved = path.machine.checkpoint().clone();
    assert_eq!(saved.tag, Tag::BeforeCommit);
    let path = Path::start(Run::Continue(Verb::Commit), None, Some(saved)).finish(good);
    assert_eq!(path.report().reached, Reached::Ended);
    assert!(path.report().is_success());
    assert_eq!(path.count("save name and provides (Good)"), 1);
}

#[test]
fn command_line_commits_at_once_when_the_module_cannot_roll_back() {
    let path =
        Path::start(Run::Install, None, None).finish(but(Op::CallModule(Call::SupportsRollback), Nothing));
    assert!(path.report().auto_commit && path.report().is_success());
    assert_eq!(path.report().reached, Reached::Ended);
    assert_eq!(path.count("ArtifactCommit"), 1);
}

#[test]
fn a_rollback_of_a_module_that_has_none_leaves_the_update_alone() {
    for answer in [Nothing, Failure] {
        let saved = record(Mode::Standalone, Tag::BeforeCommit, Verdict::Good);
        let outcome = but(Op::CallModule(Call::SupportsRollback), answer);
        let path = Path::start(Run::Continue(Verb::Rollback), None, Some(saved)).finish(outcome);
        assert_eq!(path.did, ["SupportsRollback"]);
        assert_eq!(path.report().reached, Reached::RollbackUnsupported);
        assert!(!path.report().is_success());
    }
}

#[test]
fn r_45_a_rollback_that_cannot_reach_the_boot_loader_is_left_to_the_user() {
    let waits = but(Op::CallModule(Call::ArtifactRollback), Later(None));
    let saved = record(Mode::Standalone, Tag::BeforeCommit, Verdict::Good);
    let path = Path::start(Run::Continue(Verb::Rollback), None, Some(saved)).finish(&waits);
    let report = path.report();
    assert_eq!((report.reached, report.is_success()), (Reached::NotRolledBack, false));
    assert_eq!(path.did.last().map(String::as_str), Some("ArtifactRollback"), "no Leave, Failure or Cleanup");
    let saved = path.machine.checkpoint().clone();
    assert!(path.machine.is_saved() && saved.tag == Tag::Rollback);
    for (run, refusal) in [
        (Run::Install, Refusal::InProgress([Some(Verb::Resume), None, Some(Verb::Rollback)])),
        (Run::Continue(Verb::Commit), Refusal::WrongState(Tag::Rollback)),
    ] {
        let refused = Path::start_with(&Config::default(), run, None, Some(saved.clone()));
        assert_eq!(refused.err(), Some(refusal));
    }
    for verb in [Verb::Resume, Verb::Rollback] {
        let again = Path::start(Run::Continue(verb), None, Some(saved.clone())).finish(&waits);
        assert_eq!(again.report().reached, Reached::NotRolledBack);
        let end = Path::start(Run::Continue(verb), None, Some(saved.clone())).finish(good);
        assert_eq!((end.report().reached, end.report().verdict), (Reached::Ended, Verdict::RolledBack));
        assert!(end.report().is_success());
    }
}

#[test]
fn r_45_the_daemon_repeats_a_rollback_that_cannot_reach_the_boot_loader_and_gives_up_in_the_end() {
    let outcome = |op| match op {
        Op::CallModule(Call::ArtifactInstall) => Failure,
        Op::CallModule(Call::NeedsArtifactReboot) => Automatic,
        Op::CallModule(Call::ArtifactRollback) => Later(None),
        op => good(op),
    };
    let path = Path::start(Run::Daemon, None, None).finish(outcome);
    // The first call, and one after each of the twelve waits of the report before the commit.
    assert_eq!(path.count("ArtifactRollback"), 13);
    assert_eq!((path.count("reboot"), path.count("ArtifactVerifyRollbackReboot")), (0, 0));
    assert_eq!((path.count("«failure»"), path.count("save name and provides (Inconsistent)")), (1, 1));
    assert_eq!(path.machine.verdict(), Verdict::RollbackFailed);
    // Once it can be reached, the rollback is one like any other; after a restart too.
    let outcome = |op| if op == Op::CallModule(Call::ArtifactInstall) { Failure } else { good(op) };
    let path =
        Path::start(Run::Daemon, None, None).run(outcome, |op| op == Op::CallModule(Call::ArtifactRollback));
    let mut path = path.run_for(1, |_| Later(None));
    assert!(path.machine.deadline().is_some_and(|at| at > path.now), "it waits");
    path = path.restart().finish(good);
    assert_eq!((path.count("ArtifactRollback"), path.machine.verdict()), (2, Verdict::RolledBack));
}

#[test]
fn command_line_cleanup_that_fails_keeps_the_new_data_and_fails_the_verb() {
    let saved = record(Mode::Standalone, Tag::BeforeCommit, Verdict::Good);
    let path = Path::start(Run::Continue(Verb::Commit), None, Some(saved));
    let path = path.finish(but(Op::CallModule(Call::Cleanup), Failure));
    let report = path.report();
    assert_eq!(path.count("save name and provides (Good)"), 1);
    assert_eq!(
        (report.reached, report.verdict, report.cleanup_failed),
        (Reached::Ended, Verdict::Good, true)
    );
    assert!(!report.is_success());
}

#[test]
fn an_empty_payload_is_committed_without_scripts_or_module_on_the_command_line() {
    let path = Path::start(Run::Install, None, None).finish(but(Op::Prepare, Nothing));
    assert_eq!(path.did, ["read the header", "save name and provides (Good)", "delete the record"]);
    assert_eq!(path.report().reached, Reached::EmptyCommitted);
    assert!(path.report().is_success());
}

#[test]
fn a_refused_artifact_stores_nothing() {
    let path = Path::start(Run::Install, None, None).finish(but(Op::Prepare, Failure));
    assert_eq!(path.did, ["read the header"]);
    assert_eq!((path.report().reached, path.report().verdict), (Reached::Nothing, Verdict::RolledBack));
    assert!(!path.report().is_success());
}

#[test]
fn stopping_twice_at_a_point_stops_again_and_going_on_begins_the_step() {
    for stop in [Stop::ArtifactInstallEnter, Stop::ArtifactCommitLeave, Stop::Cleanup] {
        let one_way = but(Op::CallModule(Call::SupportsRollback), Nothing);
        let path = Path::start(Run::Install, Some(stop), None).finish(&one_way);
        assert_eq!(path.report().reached, Reached::Stopped(stop));
        let saved = path.machine.checkpoint().clone();
        let again =
            Path::start(Run::Continue(Verb::Resume), Some(stop), Some(saved.clone())).finish(&one_way);
        assert_eq!((again.report().reached, again.did.len()), (Reached::Stopped(stop), 1));
        assert!(again.report().is_success());
        let end = Path::start(Run::Continue(Verb::Resume), None, Some(saved)).finish(&one_way);
        assert_eq!(end.report().reached, Reached::Ended, "{stop:?}");
        assert!(end.report().is_success());
    }
}

#[test]
fn a_step_that_has_begun_is_not_stopped_before() {
    let saved = record(Mode::Standalone, Tag::AfterCommit, Verdict::Good);
    let path =
        Path::start(Run::Continue(Verb::Resume), Some(Stop::ArtifactCommitLeave), Some(saved)).finish(good);
    assert_eq!(path.report().reached, Reached::Ended);
}

/// One transition with `scripts` scripts, the n-th ending as `outcome` says.
fn scripts(op: Op, at: &str, count: u16, outcome: impl Fn(u16) -> Outcome) -> Outcome {
    match op {
        Op::RunScript(transition, index) if transition.to_string() == at => {
            if index < count {
                outcome(index)
            } else {
                Nothing
            }
        }
        op => good(op),
    }
}

#[test]
fn a_failing_script_stops_the_rest_where_errors_count_and_not_where_they_are_ignored() {
    for (at, ran) in [
        ("Sync_Enter", 1),
        ("Sync_Leave", 1),
        ("Download_Enter", 1),
        ("Download_Leave", 1),
        ("ArtifactInstall_Enter", 1),
        ("ArtifactInstall_Leave", 1),
        ("ArtifactReboot_Enter", 1),
        ("ArtifactReboot_Leave", 1),
        ("ArtifactCommit_Enter", 1),
        // Three scripts, and the question for a fourth.
        ("Idle_Enter", 4),
        ("Idle_Leave", 4),
        ("ArtifactCommit_Leave", 4),
    ] {
        let outcome = |op| match op {
            Op::CallModule(Call::NeedsArtifactReboot) => Success,
            op => scripts(op, at, 3, |_| Failure),
        };
        let path = Path::start(Run::Daemon, None, None).run_for(80, outcome);
        let is_at = |did: &&String| did.contains(at);
        let first = path.did.iter().skip_while(|did| !is_at(did)).take_while(is_at).count();
        assert_eq!(first, ran, "{at}");
    }
}

#[test]
fn every_script_of_a_failing_way_back_runs_and_marks_the_artifact() {
    for at in [
        "ArtifactRollback_Enter",
        "ArtifactRollback_Leave",
        "ArtifactRollbackReboot_Enter",
        "ArtifactRollbackReboot_Leave",
        "ArtifactFailure_Enter",
        "ArtifactFailure_Leave",
    ] {
        let outcome = |op| match op {
            Op::CallModule(Call::NeedsArtifactReboot) => Success,
            Op::CallModule(Call::ArtifactInstall) => Failure,
            // Only the first of three fails.
            op => scripts(op, at, 3, |index| if index == 0 { Failure } else { Success }),
        };
        let path = Path::start(Run::Daemon, None, None).finish(outcome);
        assert_eq!(path.did.iter().filter(|did| did.contains(at)).count(), 4, "{at}");
        assert_eq!(path.count("save name and provides (Inconsistent)"), 1, "{at}");
        assert_eq!(path.count("Cleanup"), 1);
    }
}

fn install_enter() -> Transition {
    thimble_core::script::parse_name("ArtifactInstall_Enter_00").unwrap()
}

fn at_install_enter() -> Path {
    Path::start(Run::Daemon, None, None).run(good, |op| op == Op::RunScript(install_enter(), 0))
}

#[test]
fn retry_later_is_repeated_each_minute_until_its_time_is_up() {
    let path = at_install_enter();
    let begun = path.now;
    let outcome = |op| scripts(op, "ArtifactInstall_Enter", 1, |_| Later(None));
    let path = path.run(outcome, |op| op == script("ArtifactInstall_Error"));
    // At 0, 60, ... 1740 s; the timer fires while it waits for 1800 s.
    assert_eq!(path.count("[ArtifactInstall_Enter] 0"), 30);
    assert_eq!(path.now.since(begun), Duration::from_secs(1800));
}

#[test]
fn a_script_that_runs_when_its_retry_time_is_up_is_let_finish() {
    for (exit, goes_on) in [(Success, true), (Later(None), false), (Failure, false)] {
        let mut path = at_install_enter();
        let begun = path.now;
        let (id, _) = path.op().unwrap();
        path.action = path.machine.step(path.now, Event::Done(id, Later(None)));
        let (id, op) = path.op().unwrap();
        assert_eq!(op, Op::RunScript(install_enter(), 0));
        assert_eq!(path.now.since(begun), Duration::from_secs(60));
        // The second run takes longer than is left of the half hour.
        let now = begun + Duration::from_secs(2000);
        assert_eq!(path.machine.step(now, Event::Tick), Action::Wait);
        path.action = path.machine.step(now, Event::Done(id, exit));
        let next = path.op().unwrap().1;
        let expected =
            if goes_on { Op::RunScript(install_enter(), 1) } else { script("ArtifactInstall_Error") };
        assert_eq!(next, expected, "{exit:?}");
    }
}

#[test]
fn the_retry_time_counts_from_the_first_start_and_anew_for_the_next_script() {
    let mut path = at_install_enter();
    let begun = path.now;
    let (id, _) = path.op().unwrap();
    // The first run itself takes 1790 s: 10 s are left, the wait is cut short.
    let now = begun + Duration::from_secs(1790);
    path.action = path.machine.step(now, Event::Done(id, Later(None)));
    assert_eq!(path.machine.deadline(), Some(begun + Duration::from_secs(1800)));

    let mut path = at_install_enter();
    let begun = path.now;
    let (id, _) = path.op().unwrap();
    let now = begun + Duration::from_secs(1790);
    path.action = path.machine.step(now, Event::Done(id, Success));
    let Action::Start(id, Op::RunScript(_, 1)) = path.action.clone() else { panic!() };
    path.action = path.machine.step(now, Event::Done(id, Later(None)));
    assert_eq!(path.machine.deadline(), Some(now + Duration::from_secs(60)));
}

#[test]
fn scripts_and_module_calls_are_killed_at_their_time_limit_whatever_they_say_then() {
    for (op, limit) in
        [(script("ArtifactInstall_Enter"), 3600), (Op::CallModule(Call::ArtifactInstall), 14400)]
    {
        for said in [Success, Nothing, Later(None), Failure] {
            let mut path = Path::start(Run::Daemon, None, None).run(good, |this| this == op);
            let (id, _) = path.op().unwrap();
            let at = path.machine.deadline().unwrap();
            assert_eq!(at.since(path.now), Duration::from_secs(limit));
            assert_eq!(path.machine.step(at - Duration::from_millis(1), Event::Tick), Action::Wait);
            assert_eq!(path.machine.step(at, Event::Tick), Action::Kill);
            assert_eq!(path.machine.step(at, Event::Tick), Action::Wait, "killed once");
            path.action = path.machine.step(at, Event::Done(id, said));
            assert_eq!(path.op().unwrap().1, script("ArtifactInstall_Error"), "{op:?} {said:?}");
        }
    }
}

#[test]
fn a_reboot_that_does_not_come_in_ten_minutes_is_a_failure() {
    let outcome = |op| match op {
        Op::CallModule(Call::NeedsArtifactReboot) => Automatic,
        op => good(op),
    };
    let mut path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == Op::Reboot);
    let at = path.machine.deadline().unwrap();
    assert_eq!(at.since(path.now), Duration::from_secs(600));
    assert_eq!(path.machine.step(at, Event::Tick), Action::Kill);
    let (id, _) = path.op().unwrap();
    path.action = path.machine.step(at, Event::Done(id, Failure));
    assert_eq!(path.op().unwrap().1, script("ArtifactReboot_Error"));
}

#[test]
fn unreadable_scripts_fail_the_transition_even_where_errors_are_ignored() {
    let path = Path::start(Run::Daemon, None, None).finish(but(script("ArtifactCommit_Leave"), Refused));
    assert_eq!(path.count("[ArtifactCommit_Leave] 0"), 1);
    assert_eq!(path.count("save name and provides (Inconsistent)"), 1);
}

#[test]
fn n28_an_answer_that_comes_too_late_is_not_taken_for_another() {
    let mut path = Path::start(Run::Daemon, None, None);
    let (old, _) = path.op().unwrap();
    path.action = path.machine.step(path.now, Event::Done(old.clone(), Nothing));
    let before = path.machine.clone();
    assert_eq!(path.machine.step(path.now, Event::Done(old, Failure)), Action::Wait);
    assert_eq!(path.machine, before);
}

#[test]
fn i4_polling_goes_on_after_every_error_in_a_cycle() {
    for failing in [
        script("Idle_Enter"),
        script("Idle_Leave"),
        script("Sync_Leave"),
        script("Sync_Error"),
        Op::Request(ApiCall::Inventory),
    ] {
        let outcome = |op| match op {
            Op::Request(ApiCall::Next) => Nothing,
            op => but(failing, Failure)(op),
        };
        let path = Path::start(Run::Daemon, None, None).run_for(300, outcome);
        assert!(path.count("poll") > 5, "{failing:?}");
    }
    // Nothing gets past a failing `Sync_Enter`, but it is tried again and again.
    let path = Path::start(Run::Daemon, None, None).run_for(100, but(script("Sync_Enter"), Failure));
    assert!(path.count("[Sync_Enter] 0") > 10);
}

#[test]
fn l13_an_inventory_that_takes_longer_than_its_interval_holds_no_poll_up() {
    let config = Config {
        update_poll_interval: Duration::from_secs(5),
        inventory_poll_interval: Duration::from_secs(5),
        ..Config::default()
    };
    let mut path = Path::start_with(&config, Run::Daemon, None, None).unwrap();
    let mut asked = Vec::new();
    while asked.len() < 20 {
        let Some((id, op)) = path.op() else {
            path.now = path.machine.deadline().unwrap();
            path.action = path.machine.step(path.now, Event::Tick);
            continue;
        };
        let outcome = match op {
            Op::Request(call @ (ApiCall::Next | ApiCall::Inventory)) => {
                asked.push(call);
                Nothing
            }
            op => good(op),
        };
        if op == Op::Request(ApiCall::Inventory) {
            path.now = path.now + Duration::from_secs(9);
        }
        path.action = path.machine.step(path.now, Event::Done(id, outcome));
    }
    // Both are due all the time: in turn, the inventory first.
    assert_eq!(asked, [ApiCall::Inventory, ApiCall::Next].repeat(10));
}

#[test]
fn polls_back_off_and_fall_back_to_their_timer() {
    let mut at = Vec::new();
    let mut path = Path::start(Run::Daemon, None, None);
    for _ in 0..16 {
        path = path.run(good, |op| op == Op::Request(ApiCall::Next));
        at.push(path.now.as_millis() / 1000);
        let (id, _) = path.op().unwrap();
        path.action = path.machine.step(path.now, Event::Done(id, Failure));
    }
    let waits: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(waits, [60, 60, 60, 120, 120, 120, 240, 240, 240, 300, 300, 300, 1800, 1800, 1800]);
}

#[test]
fn a_signal_ends_the_wait_and_one_during_an_update_is_kept_until_idle() {
    let poll = Op::Request(ApiCall::Next);
    let outcome = |op| if op == poll { Nothing } else { good(op) };
    let mut path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == poll);
    let (id, _) = path.op().unwrap();
    path.action = path.machine.step(path.now, Event::Done(id, Nothing));
    // To the wait in Idle, and there a signal long before the timer.
    while let Action::Start(id, op) = path.action.clone() {
        path.action = path.machine.step(path.now, Event::Done(id, outcome(op)));
    }
    assert!(path.machine.deadline().is_some_and(|at| at > path.now + Duration::from_secs(1000)));
    path.action = path.machine.step(path.now, Event::Check(Check::Update));
    let now = path.now;
    let mut path = path.run(outcome, |op| op == poll);
    assert_eq!(path.now, now);
    // During the poll: kept.
    assert_eq!(path.machine.step(now, Event::Check(Check::Inventory)), Action::Wait);
    let (id, _) = path.op().unwrap();
    path.action = path.machine.step(now, Event::Done(id, Nothing));
    let path = path.run(outcome, |op| op == Op::Request(ApiCall::Inventory));
    assert_eq!(path.now, now);
}

#[test]
fn a_spurious_tick_changes_nothing_anywhere() {
    let mut path = Path::start(Run::Daemon, None, None);
    for _ in 0..60 {
        let Some((id, op)) = path.op() else { break };
        let before = path.machine.clone();
        assert_eq!(path.machine.step(path.now, Event::Tick), Action::Wait);
        assert_eq!(path.machine, before, "{op:?}");
        path.action = path.machine.step(path.now, Event::Done(id, good(op)));
    }
}

#[test]
fn a_dropped_offer_is_not_reported_and_polled_for_again() {
    let poll = Op::Request(ApiCall::Next);
    let seen = std::cell::Cell::new(false);
    let outcome = |op| match op {
        op if op == poll => {
            seen.set(true);
            Success
        }
        op if op == script("Sync_Leave") && seen.get() => Failure,
        op => good(op),
    };
    let path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == Op::End);
    assert!(path.did.iter().all(|did| !did.starts_with('«') && did != "save"), "{:?}", path.did);
    assert!(path.did.contains(&"[Sync_Error] 0".to_owned()));
}

#[test]
fn verbs_are_refused_without_changing_anything() {
    let standalone = |tag| Some(record(Mode::Standalone, tag, Verdict::Good));
    let managed = Some(record(Mode::Managed, Tag::Install, Verdict::Good));
    let config = Config::default();
    let refusal = |run, saved| Path::start_with(&config, run, None, saved).err();
    let all = Verb::ALL.map(Some);
    assert_eq!(refusal(Run::Install, standalone(Tag::BeforeCommit)), Some(Refusal::InProgress(all)));
    let only_resume = [Some(Verb::Resume), None, None];
    assert_eq!(refusal(Run::Install, standalone(Tag::Cleanup)), Some(Refusal::InProgress(only_resume)));
    assert_eq!(refusal(Run::Install, managed.clone()), Some(Refusal::Deployment));
    for verb in [Verb::Resume, Verb::Commit, Verb::Rollback] {
        assert_eq!(refusal(Run::Continue(verb), None), Some(Refusal::NoUpdate));
        assert_eq!(refusal(Run::Continue(verb), managed.clone()), Some(Refusal::Deployment));
    }
    let wrong = Some(Refusal::WrongState(Tag::Failure));
    assert_eq!(refusal(Run::Continue(Verb::Commit), standalone(Tag::Failure)), wrong);
}

#[test]
fn naming_follows_the_verdict() {
    for (fails, naming) in
        [(None, Some(Naming::Good)), (Some(Call::ArtifactInstall), None), (Some(Call::ArtifactCommit), None)]
    {
        let outcome = |op| match (op, fails) {
            (Op::CallModule(call), Some(bad)) if call == bad => Failure,
            (op, _) => good(op),
        };
        let path = Path::start(Run::Daemon, None, None).finish(outcome);
        let saved = path.did.iter().find(|did| did.starts_with("save name")).cloned();
        assert_eq!(saved, naming.map(|naming| format!("save name and provides ({naming:?})")), "{fails:?}");
    }
}

/// The way back from a failed install is cut off: `resume` ends it, but what was asked for has failed all the same.
/// After a stop that was asked for, or for a rollback that was asked for, it has not.
#[test]
fn a_failed_install_stays_failed_over_a_loss_of_power_in_its_rollback() {
    for (failed, run, success) in [
        (true, Run::Continue(Verb::Resume), false),
        (false, Run::Continue(Verb::Resume), true),
        (true, Run::Continue(Verb::Rollback), true),
    ] {
        let saved = Checkpoint { failed, ..record(Mode::Standalone, Tag::Rollback, Verdict::RolledBack) };
        let report = Path::start(run, None, Some(saved)).finish(good).report();
        assert_eq!(report.is_success(), success, "{failed} {run:?}: {report:?}");
        assert_eq!(report.verdict, Verdict::RolledBack);
    }
}

/// A completion counts once, and only for the operation that is outstanding.
#[test]
fn i5_a_second_or_late_completion_changes_nothing() {
    let (mut machine, action) =
        Machine::start(Instant::ZERO, &Config::default(), Run::Daemon, StopSet::default(), Saved::nothing())
            .unwrap();
    let Action::Start(first, _) = action else { panic!("{action:?}") };
    let next = machine.step(Instant::ZERO, Event::Done(first.clone(), Nothing));
    assert_ne!(next, Action::Wait);
    let before = machine.clone();
    for outcome in [Success, Failure, Aborted] {
        assert_eq!(machine.step(Instant::ZERO, Event::Done(first.clone(), outcome)), Action::Wait);
        assert_eq!(machine, before);
    }
}

/// Everything that can be told a machine.
fn every_event(op: &OpId) -> Vec<Event> {
    let map = thimble_core::control::Map { id: 1, priority: 0, rules: Default::default() };
    let pause = thimble_core::control::Rule::new(Some(thimble_core::control::Vote::Pause), None, None);
    let map = thimble_core::control::Map {
        rules: thimble_core::control::Rules { install: pause, ..Default::default() },
        ..map
    };
    vec![
        Event::Done(op.clone(), Success),
        offer(op.clone(), "late"),
        Event::Refreshed { op: op.clone(), map: Some(map) },
        Event::ServerMap(map),
        Event::LocalMap(map),
        Event::Order {
            name: thimble_core::control::Holder { id: 2, priority: 10 },
            points: thimble_core::control::Points::of(&thimble_core::deployment::Point::ALL),
            order: thimble_core::control::Order::Pause,
            lifetime: thimble_core::control::Lifetime::Unlimited,
        },
        Event::MapsSaved(true),
        Event::Tick,
        Event::Check(Check::Update),
        Event::Check(Check::Inventory),
        Event::Approved,
    ]
}

#[test]
fn after_the_end_of_a_run_no_event_acts_any_more() {
    let mut first = Path::start(Run::Install, None, None);
    let id = first.op().unwrap().0;
    let stopped = Path::start(Run::Install, Some(Stop::ArtifactInstallEnter), None).finish(good);
    for mut path in [first.finish(good), stopped] {
        assert!(path.machine.is_over());
        assert_eq!(path.machine.deadline(), None);
        let before = path.machine.clone();
        for event in every_event(&id) {
            let at = path.now + Duration::from_secs(1 << 30);
            assert_eq!(path.machine.step(at, event.clone()), Action::Wait, "{event:?}");
            assert_eq!(path.machine, before, "{event:?}");
        }
    }
}

#[test]
fn a_round_of_the_daemon_ends_where_it_waits_in_idle() {
    let mut path = Path::start(Run::Daemon, None, None);
    let mut rounds = 0;
    for _ in 0..100 {
        match path.action.clone() {
            Action::Start(id, op) => {
                assert!(!path.machine.is_idle(), "{op:?}");
                let outcome = if op == Op::Request(ApiCall::Next) { Nothing } else { good(op) };
                path.action = path.machine.step(path.now, Event::Done(id, outcome));
            }
            Action::Wait => {
                assert!(path.machine.is_idle());
                rounds += 1;
                path.now = path.machine.deadline().unwrap();
                path.action = path.machine.step(path.now, Event::Tick);
            }
            other @ (Action::Kill | Action::SaveMaps | Action::Exit(_)) => panic!("{other:?}"),
        }
    }
    assert!(rounds > 5, "{rounds}");
}

#[test]
fn a_machine_has_less_than_950_bytes_beside_its_maps() {
    let beside = size_of::<Machine>() - size_of::<thimble_core::control::Pool>();
    println!("{beside} bytes");
    assert!(beside < 950, "{beside}");
}

/// A new offer starts a record of its own: nothing of an older one is taken along.
#[test]
fn i10_a_new_deployment_takes_nothing_from_an_old_record() {
    let poll = Op::Request(ApiCall::Next);
    let seen = std::cell::Cell::new(0);
    let outcome = |op| match op {
        Op::CallModule(Call::NeedsArtifactReboot) => Success,
        // The second deployment is dropped before it has a record.
        op if op == script("Sync_Leave") && seen.get() > 0 => Failure,
        op => good(op),
    };
    let mut path = Path::start(Run::Daemon, None, None).run(outcome, |op| op == Op::End);
    assert!(path.machine.checkpoint().stores > 0 && path.machine.checkpoint().header);
    seen.set(1);
    let (id, _) = path.op().unwrap();
    path.action = path.machine.step(path.now, Event::Done(id, Success));
    let mut path = path.run(|op| if op == poll { Failure } else { good(op) }, |op| op == poll);
    let (id, _) = path.op().unwrap();
    path.action = path.machine.step(path.now, offer(id, "second"));
    let second = path.machine.checkpoint();
    assert_eq!(second.deployment, "second");
    assert_eq!((second.header, second.module, second.stores, second.tag), (false, false, 0, Tag::Store));
    assert_eq!((second.reboot, second.verdict), (RebootKind::None, Verdict::Good));
}

/// Whether `op` is the last report of a deployment, or its log.
fn is_last_report(op: Op) -> bool {
    [Op::Request(ApiCall::Log), status(Status::Success), status(Status::Failure)].contains(&op)
}

/// A daemon that starts with this still to be reported.
fn reporting(config: &Config, report: Ended) -> Path {
    let saved = Saved { report: Some(report), ..Saved::nothing() };
    let (machine, action) =
        Machine::start(Instant::ZERO, config, Run::Daemon, StopSet::default(), saved).unwrap();
    Path { machine, action, now: Instant::ZERO, did: Vec::new() }
}

fn over(good: bool, owed: Owed) -> Ended {
    Ended { id: Text::copy("d-1").unwrap(), good, owed, broken: Duration::ZERO }
}

fn is_poll(op: Op) -> bool {
    op == Op::Request(ApiCall::Next)
}

#[test]
fn r23_the_end_of_a_deployment_is_reported_before_the_next_poll() {
    for fails in [false, true] {
        let device = |op| match op {
            Op::CallModule(Call::ArtifactInstall) if fails => Failure,
            op => good(op),
        };
        let unreachable = |op| if is_last_report(op) { Failure } else { device(op) };
        let path = Path::start(Run::Daemon, None, None).finish(unreachable);
        assert_eq!(path.machine.unheard(), Some(&over(!fails, Owed::Status)));
        // Idle, Sync and the inventory go on, but no poll.
        let path = path.run_for(200, unreachable);
        assert_eq!(path.count("poll"), 1, "the one that brought the deployment: {:?}", path.did);
        assert!(path.count("inventory") > 1 && path.count("Cleanup") == 1, "{:?}", path.did);
        let mut path = path.run(unreachable, is_last_report);
        path.did.clear();
        let path = path.run(device, is_poll);
        let reports: &[&str] = if fails { &["«failure»", "send the log"] } else { &["«success»"] };
        assert_eq!(path.did, [reports, &["delete the record of the report"][..]].concat());
        assert_eq!(path.machine.unheard(), None);
    }
}

#[test]
fn r23_restarts_while_the_server_is_gone_change_nothing() {
    let mut path = Path::start(Run::Daemon, None, None).run(good, is_last_report);
    for _ in 0..100 {
        let mut again = reporting(&Config::default(), path.machine.last_report().unwrap());
        again.did = path.did;
        path = again.run(good, is_last_report);
        assert_eq!(path.machine.unheard(), Some(&over(true, Owed::Status)));
    }
    let path = path.run(good, is_poll);
    assert_eq!((path.count("«success»"), path.count("«failure»"), path.count("Cleanup")), (1, 0, 1));
    assert_eq!(path.count("save name and provides (Good)"), 1, "{:?}", path.did);
}

#[test]
fn r23_what_the_server_refuses_for_good_is_not_reported_again() {
    for outcome in [Refused, Aborted, Nothing] {
        let answer = |op| if is_last_report(op) { outcome } else { good(op) };
        let path = Path::start(Run::Daemon, None, None).finish(answer);
        assert_eq!((path.machine.unheard(), path.count("«success»")), (None, 1), "{outcome:?}");
        // The same when it comes late.
        let path = reporting(&Config::default(), over(true, Owed::Status)).run(answer, is_poll);
        assert_eq!((path.machine.unheard(), path.count("«success»")), (None, 1), "{outcome:?}");
    }
}

#[test]
fn r23_that_the_server_is_not_told_any_more_is_known_at_the_step_that_ends_it() {
    for (outcome, expected) in [
        (Refused, true),
        (Aborted, true),
        (Nothing, true),
        (Success, false),
        (Failure, false),
        (Later(None), false),
    ] {
        let late = reporting(&Config::default(), over(true, Owed::Status));
        for path in [Path::start(Run::Daemon, None, None), late] {
            let mut path = path.run(good, is_last_report);
            let (id, op) = path.op().unwrap();
            let _ = path.machine.step(path.now, ended(id, op, outcome));
            assert_eq!(path.machine.report_was_given_up(), expected, "{outcome:?}");
            let _ = path.machine.step(path.now, Event::Tick);
            assert!(!path.machine.report_was_given_up(), "only of that step");
        }
    }
}

#[test]
fn r23_a_log_that_is_still_owed_goes_without_the_status_that_was_accepted() {
    let no_log = |op| if op == Op::Request(ApiCall::Log) { Failure } else { good(op) };
    let path =
        reporting(&Config::default(), over(false, Owed::Status)).run(no_log, |op| op == Op::SaveReport);
    assert_eq!(path.machine.last_report(), Some(over(false, Owed::Log)));
    assert_eq!((path.count("«failure»"), path.count("poll")), (1, 0));
    // That it is on record counts once.
    let path = path.run_for(100, no_log);
    assert_eq!((path.count("«failure»"), path.count("save the last report")), (1, 1), "{:?}", path.did);
    let path = reporting(&Config::default(), path.machine.last_report().unwrap()).run(good, is_poll);
    assert_eq!((path.count("«failure»"), path.count("send the log")), (0, 1), "{:?}", path.did);
}

/// A server that answers last reports with errors of its own, and a daemon that polls twice a day.
const TWICE_A_DAY: Duration = Duration::from_secs(12 * 3600);

fn broken(op: Op) -> Outcome {
    if is_last_report(op) { Later(None) } else { good(op) }
}

#[test]
fn r23_a_server_that_is_out_of_order_for_seven_days_keeps_no_update_away() {
    let config = Config { update_poll_interval: TWICE_A_DAY, ..Config::default() };
    let path = reporting(&config, over(true, Owed::Status)).run(broken, is_last_report);
    let begun = path.now;
    let path = path.run(broken, |op| op == Op::ForgetReport);
    assert!(path.machine.report_was_given_up());
    let path = path.run(broken, is_poll);
    let days = path.now.since(begun).as_secs() / (24 * 3600);
    assert_eq!((days, path.count("poll")), (7, 0));
}

#[test]
fn r23_the_seven_days_are_counted_over_restarts_and_not_while_nothing_is_heard() {
    let config = Config { update_poll_interval: TWICE_A_DAY, ..Config::default() };
    let mut report = over(true, Owed::Status);
    for _ in 0..12 {
        // Each process lives for half a day and a little.
        let mut path = reporting(&config, report.clone());
        while path.now.since(Instant::ZERO) < TWICE_A_DAY.plus(Duration::from_secs(3600)) {
            path = path.run(broken, |op| op == Op::SaveReport);
            report = path.machine.last_report().unwrap();
            path = path.run_for(1, broken);
        }
    }
    assert!(report.broken >= Duration::from_secs(5 * 24 * 3600), "{}", report.broken);
    // Nobody answers: nothing is counted, however long it takes.
    let unreachable = |op| if is_last_report(op) { Failure } else { good(op) };
    let path = reporting(&config, report.clone()).run_for(2000, unreachable);
    assert_eq!((path.machine.unheard(), path.count("poll")), (Some(&report), 0));
    assert!(path.now.since(Instant::ZERO) > Duration::from_secs(14 * 24 * 3600));
}

/// A daemon that starts with this on record of the deployments that began here.
fn knowing(begun: Begun) -> Path {
    let saved = Saved { begun, ..Saved::nothing() };
    let config = Config::default();
    let (machine, action) =
        Machine::start(Instant::ZERO, &config, Run::Daemon, StopSet::default(), saved).unwrap();
    Path { machine, action, now: Instant::ZERO, did: Vec::new() }
}

/// The server does not hear how deployments end.
fn refuses(op: Op) -> Outcome {
    if is_last_report(op) { Refused } else { good(op) }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Path {
    /// Goes on for so long.
    fn run_until(mut self, end: Instant, outcome: impl Fn(Op) -> Outcome) -> Self {
        while self.now < end {
            self = self.run_for(1, &outcome);
        }
        self
    }

    /// A person asks for updates, at a daemon that waits.
    fn check(&mut self) {
        while !self.machine.is_idle() {
            let (id, op) = self.op().unwrap();
            self.action = self.machine.step(self.now, ended(id, op, good(op)));
        }
        self.action = self.machine.step(self.now, Event::Check(Check::Update));
    }

    fn begun(&self) -> usize {
        self.count("read the header")
    }
}

#[test]
fn r48_a_deployment_whose_end_is_refused_does_not_begin_again_for_a_day() {
    let final_or_unknown = |op| match op {
        // The server does not know it any more: nothing is reported.
        Op::Request(ApiCall::Status { status: Status::Installing, fresh_token: true }) => Nothing,
        op => good(op),
    };
    let answers: [&dyn Fn(Op) -> Outcome; 4] = [
        &refuses,
        &|op| if is_last_report(op) { Aborted } else { good(op) },
        &|op| if is_last_report(op) { Nothing } else { good(op) },
        &final_or_unknown,
    ];
    for (number, answer) in answers.into_iter().enumerate() {
        let path = Path::start(Run::Daemon, None, None).finish(answer);
        let over = path.now;
        let path = path.run_until(over + DAY.minus(Duration::from_secs(1900)), answer);
        assert_eq!(path.begun(), 1, "{number}: {:?}", path.did);
        // Asked for as ever, and not more often.
        let polls = path.count("poll");
        assert!((40..=50).contains(&polls), "{number}: {polls}");
        // Once in an hour the record is brought up to date, and nothing else is written.
        let saved = path.count("save how often deployments began");
        assert!((20..=24).contains(&saved), "{number}: {saved}");
        assert_eq!(path.count("save"), Path::start(Run::Daemon, None, None).finish(answer).count("save"));
        let path = path.run_until(over + DAY.plus(Duration::from_secs(3800)), answer);
        assert_eq!(path.begun(), 2, "{number}: {:?}", path.did);
    }
}

#[test]
fn r48_an_end_that_is_refused_late_counts_as_one_at_once() {
    let path = reporting(&Config::default(), over(true, Owed::Status)).run(refuses, is_poll);
    assert_eq!(path.count("«success»"), 1);
    let path = path.run_for(200, refuses);
    assert!(path.begun() == 0 && path.count("poll") > 3, "{:?}", path.did);
    // The status was accepted, and only the log was not.
    let path = reporting(&Config::default(), over(false, Owed::Log)).run(refuses, is_poll);
    let path = path.run(refuses, |op| op == Op::End);
    assert_eq!(path.begun(), 1);
}

#[test]
fn r48_a_person_lets_it_begin_once_more() {
    let mut path = Path::start(Run::Daemon, None, None).finish(refuses).run_for(50, refuses);
    assert_eq!(path.begun(), 1);
    for times in 2..9 {
        path.check();
        // A server that does not answer is no answer.
        let mut down = path.run(good, is_poll);
        let (id, op) = down.op().unwrap();
        down.action = down.machine.step(down.now, ended(id, op, Failure));
        path = down.run_for(100, refuses);
        assert_eq!(path.begun(), times, "{:?}", path.did);
    }
}

#[test]
fn r48_a_poll_that_was_under_way_is_not_the_one_that_a_person_asks_for() {
    let mut path = Path::start(Run::Daemon, None, None).finish(refuses).run_for(50, refuses);
    path.check();
    let mut path = path.run(good, is_poll);
    // It is asked for while the poll is under way, which finds nothing: the next one goes out at once.
    let _ = path.machine.step(path.now, Event::Check(Check::Update));
    let (id, op) = path.op().unwrap();
    path.action = path.machine.step(path.now, ended(id, op, Nothing));
    let path = path.run_for(60, refuses);
    assert_eq!(path.begun(), 2, "{:?}", path.did);
}

#[test]
fn r48_what_a_person_asked_for_before_the_end_was_refused_does_not_count() {
    let mut path = Path::start(Run::Daemon, None, None).run(refuses, is_last_report);
    let _ = path.machine.step(path.now, Event::Check(Check::Update));
    let path = path.run_for(50, refuses);
    assert_eq!(path.begun(), 1, "{:?}", path.did);
    // Nor what another answer has answered.
    let nothing = |op| if is_poll(op) { Nothing } else { refuses(op) };
    let mut path = path;
    path.check();
    let path = path.run_for(40, nothing).run_for(50, refuses);
    assert_eq!(path.begun(), 1, "{:?}", path.did);
}

#[test]
fn r48_a_deployment_that_is_offered_again_begins_five_times_a_day() {
    let path = Path::start(Run::Daemon, None, None);
    let path = path.run_until(Instant::ZERO + DAY.minus(Duration::from_secs(1900)), good);
    assert_eq!((path.begun(), path.count("«success»")), (5, 5));
    let path = path.run_until(Instant::ZERO + DAY.plus(DAY).minus(Duration::from_secs(1900)), good);
    assert_eq!(path.begun(), 10);
}

#[test]
fn r48_a_deployment_that_is_dropped_before_its_first_record_does_not_count() {
    let drops = |op| if op == script("Sync_Leave") { Failure } else { good(op) };
    let path = Path::start(Run::Daemon, None, None).run_until(Instant::ZERO + DAY, drops);
    assert!(path.count("poll") > 20 && path.count("save") == 0, "{:?}", path.did);
    assert!(path.machine.begun_to_save().is_none());
    let end = path.now + DAY.minus(Duration::from_secs(1900));
    assert_eq!(path.run_until(end, good).begun(), 5);
}

#[test]
fn r48_restarts_neither_forget_it_nor_turn_it_down_for_ever() {
    let path = Path::start(Run::Daemon, None, None).finish(good);
    let path = path.run(refuses, |op| op == Op::ClearData);
    let mut begun = path.machine.begun_to_save().unwrap().clone();
    // A device that runs for some minutes at a time polls once each time.
    for restart in 1..=22 {
        let path = knowing(begun).run(good, |op| op == Op::SaveBegun);
        assert_eq!((path.begun(), path.count("poll")), (0, 1), "{restart}");
        begun = path.machine.begun_to_save().unwrap().clone();
    }
    assert_eq!(knowing(begun).run_until(Instant::ZERO + Duration::from_secs(3 * 3600), refuses).begun(), 1);
    // It cannot be written: it is turned down all the same, and tried again.
    let begun = path.machine.begun_to_save().unwrap().clone();
    let full = |op| if op == Op::SaveBegun { Failure } else { good(op) };
    let path = knowing(begun).run_until(Instant::ZERO + Duration::from_secs(3 * 3600), full);
    assert_eq!(path.begun(), 0);
    assert!(path.count("save how often deployments began") > 4, "{:?}", path.did);
}

#[test]
fn r48_a_deployment_is_counted_with_its_first_record_whichever_that_is() {
    let path = Path::start(Run::Daemon, None, None).run(good, |op| op == Op::Save);
    let begun = path.machine.begun_to_save().expect("it is in the same batch").clone();
    assert!(begun.is_last("d-1"));
    // Nothing more is to be written once it is, and a restart in the middle counts nothing.
    let path = path.run(good, |op| op == Op::Prepare);
    assert!(path.machine.begun_to_save().is_none());
    let path = path.restart().run(good, |op| op == Op::End);
    assert!(path.machine.begun_to_save().is_none());
    // The first record cannot be written: it goes with the next.
    let path = Path::start(Run::Daemon, None, None).run(but(Op::Save, Failure), |op| op == Op::SaveReport);
    assert!(path.machine.begun_to_save().is_some_and(|begun| begun.is_last("d-1")));
}
