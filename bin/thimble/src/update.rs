//! `install`, `resume`, `commit` and `rollback`.

use thimble_core::checkpoint::Tag;
use thimble_core::client::{Client, Start, StartError, saved_checkpoint};
use thimble_core::http::Target;
use thimble_core::machine::{Refusal, Report, Run};
use thimble_core::state::{Phase, State, Verb};
use thimble_hal_linux::platform::{Linux, Memory};
use thimble_hal_linux::storage::{RECORD_MAX, StorageError};

use crate::args::Invocation;
use crate::aside;
use crate::bootstrap;
use crate::device::Device;
use crate::drive::drive;
use crate::messages::{self, Done};
use crate::output::{self, FAILURE, Failure, NO_UPDATE, tell};
use crate::progress::Meter;
use crate::signals::Signals;
use crate::takeover::{self, Next};
use crate::verbs::VerbName;

pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let device = Device::open(invocation)?;
    let mut signals = Signals::new().map_err(Failure::new)?;
    let source = target(invocation)?;
    let turn = aside::lock(&device, invocation.verb, &mut signals)?;
    let mut storage = device.store()?;
    if takeover::decide(&device, &mut storage, invocation.verb)? == Next::NothingToTakeBack {
        tell(messages::NOT_MODIFIED);
        return Ok(output::SUCCESS);
    }
    if invocation.verb == VerbName::Install {
        storage = bootstrap::ensure(&device, storage, &mut signals)?;
    }
    let mut memory = Memory::default();
    let config = device.conf.core_config();
    // Errors of the record are told by the start.
    let from = match saved_checkpoint(&mut storage, &mut vec![0; RECORD_MAX]) {
        Ok(Some(record)) => record.tag,
        Ok(None) | Err(_) => Tag::Store,
    };
    let start =
        Start { config: &config, run: run_of(invocation.verb), stop_before: invocation.stop_before, source };
    let servers = device.servers();
    let hal = device.hal(storage, invocation.verb, Some(&turn.lock))?;
    let mut client = Client::new(hal, device.about(&servers), memory.lend());
    client.start(start).map_err(|error| refused(invocation, error))?;

    let mut screen =
        Screen { installs: invocation.verb == VerbName::Install, begun: false, meter: Meter::new() };
    drive(&mut client, &mut signals, |client| screen.show(client))?;
    let Some(report) = client.report() else { return Err(Failure::new("the update did not end")) };
    finish(invocation, report, client.reason(), from, client.machine().checkpoint().tag == from)
}

/// The last words: what was achieved, then, on failure, the reason.
fn finish(
    invocation: &Invocation,
    report: &Report,
    reason: &str,
    from: Tag,
    same_point: bool,
) -> Result<u8, Failure> {
    let status = messages::exit_status(report, invocation.reboot_exit_code);
    // A run that only stopped where it had stopped before has nothing to say.
    let is_silent = same_point
        && invocation.verb != VerbName::Install
        && matches!(report.reached, thimble_core::machine::Reached::Stopped(_));
    if !is_silent {
        let lines = messages::lines(Done { verb: invocation.verb, from, report });
        lines.iter().for_each(|line| tell(line));
        if let Some(hint) = messages::hint(report) {
            output::hint(hint);
        }
    }
    if status != FAILURE {
        return Ok(status);
    }
    Err(Failure::new(if reason.is_empty() { messages::reason(report) } else { reason }))
}

const fn run_of(verb: VerbName) -> Run {
    match verb {
        VerbName::Resume => Run::Continue(Verb::Resume),
        VerbName::Commit => Run::Continue(Verb::Commit),
        VerbName::Rollback => Run::Continue(Verb::Rollback),
        VerbName::Install
        | VerbName::ShowArtifact
        | VerbName::ShowProvides
        | VerbName::ShowFlightRecord
        | VerbName::Inspect
        | VerbName::Doctor
        | VerbName::CheckUpdate
        | VerbName::SendInventory
        | VerbName::Daemon
        | VerbName::Bootstrap
        | VerbName::Status
        | VerbName::Control
        | VerbName::Setup
        | VerbName::Snapshot
        | VerbName::ExportMender => Run::Install,
    }
}

fn target(invocation: &Invocation) -> Result<Option<Target<'_>>, Failure> {
    if invocation.verb != VerbName::Install {
        return Ok(None);
    }
    let source = &invocation.source;
    let text = source.to_str().ok_or_else(|| {
        Failure::new(format_args!("{} is no UTF-8 text: rename the file", source.display()))
    })?;
    let is_url = ["http://", "https://"].iter().any(|scheme| text.starts_with(scheme));
    Ok(Some(if is_url { Target::Url(text) } else { Target::File(text) }))
}

fn refused(invocation: &Invocation, error: StartError<StorageError>) -> Failure {
    match error {
        StartError::Refused(Refusal::NoUpdate) => {
            tell(messages::NO_UPDATE_IN_PROGRESS);
            Failure::with_status(NO_UPDATE, error)
        }
        StartError::Refused(Refusal::WrongState(_)) => {
            Failure::new(format_args!("'{}' is {error}", invocation.verb.name()))
        }
        StartError::Newer(_) => {
            Failure::new(format_args!("'{}' is not possible: {error}", invocation.verb.name()))
        }
        // This process has the lock: no daemon is running, or one that stands aside between deployments.
        StartError::Refused(Refusal::Deployment) if invocation.verb == VerbName::Install => Failure::new(
            format_args!("{error}: start the daemon, wait until 'status' shows no deployment, and try again"),
        ),
        StartError::Refused(Refusal::Deployment) => {
            Failure::new(format_args!("{error}: start the daemon, and 'status' shows how far it is"))
        }
        StartError::Refused(Refusal::InProgress(_) | Refusal::NoVerbs)
        | StartError::Records(_)
        | StartError::SourceTooLong(_)
        | StartError::TooManyServers
        | StartError::Config(_)
        | StartError::Buffer(_) => Failure::new(error),
    }
}

/// What the user sees while the update runs.
struct Screen {
    installs: bool,
    begun: bool,
    meter: Meter,
}

impl Screen {
    fn show(&mut self, client: &Client<'_, Linux>) {
        let place = client.machine().place();
        let state = place.0;
        let accepted = match client.report() {
            Some(report) => !matches!(report.failed_at, Some((State::Prepare, _))),
            None => state != State::Prepare,
        };
        if self.installs && accepted && !self.begun {
            self.begun = true;
            tell(messages::BEGINS);
        }
        if place == (State::Download, Phase::Main) {
            self.meter.update(client.progress());
        } else if self.begun {
            self.meter.end(client.progress());
        }
    }
}
