//! The device client: `install`, `commit`, `rollback`, `resume` and the verbs that show something, in the words of
//! Mender's own client. Everything the update itself does is decided in `thimble-core`.

mod args;
mod aside;
mod ask;
mod authenticate;
mod bootstrap;
mod control;
mod control_request;
mod daemon;
mod dbus;
mod device;
mod doctor;
mod drive;
mod exchange;
mod export;
mod flight_record;
mod help;
mod holds;
mod inspect;
mod json;
mod messages;
mod notify;
mod output;
mod panel;
mod people;
mod progress;
mod provides;
mod roots;
mod setup;
mod show;
mod signals;
mod snapshot;
mod socket;
mod status;
mod takeover;
mod update;
mod verbs;

use std::path::Path;
use std::process::ExitCode;

use args::{Invocation, Parsed, Usage};
use output::Failure;
use verbs::VerbName;

fn main() -> ExitCode {
    thimble_hal_linux::return_large_buffers();
    let mut args = std::env::args_os();
    let program = args.next().unwrap_or_default();
    let program = Path::new(&program).file_name().and_then(|name| name.to_str()).unwrap_or("thimble");
    // Without it the client works as well, but for that limit.
    let _ = signals::survive_file_size_limit();
    let result = match args::parse(VerbName::of_program(program), args) {
        // Mender keeps the device's identity in a daemon of its own; here one daemon does all.
        Ok(Parsed::Run(invocation)) if program == "mender-auth" && invocation.verb == VerbName::Daemon => {
            authenticate::stand_by()
        }
        Ok(Parsed::Run(invocation)) => run(&invocation),
        Ok(Parsed::Help(verb)) => output::print(&help::text(program, verb)),
        Ok(Parsed::Version) => output::print(concat!(env!("CARGO_PKG_VERSION"), "\n")),
        Err(Usage { reason, verb }) => {
            let verb = verb.map_or(String::new(), |verb| format!(" {}", verb.name()));
            Err(Failure::new(format_args!("{reason}; see '{program}{verb} --help'")))
        }
    };
    match result {
        Ok(status) => ExitCode::from(status),
        Err(failure) => failure.report(program),
    }
}

fn run(invocation: &Invocation) -> Result<u8, Failure> {
    match invocation.verb {
        VerbName::Install if invocation.switch("check") == Some(true) => inspect::run(invocation),
        VerbName::Inspect => inspect::run(invocation),
        VerbName::Doctor => doctor::run(invocation),
        VerbName::Install if invocation.json => Err(Failure::new("install takes --json only with --check")),
        VerbName::Install | VerbName::Resume | VerbName::Commit | VerbName::Rollback => {
            update::run(invocation)
        }
        VerbName::ShowArtifact => show::artifact(invocation),
        VerbName::ShowProvides => show::provides(invocation),
        VerbName::ShowFlightRecord => flight_record::show(invocation),
        VerbName::CheckUpdate | VerbName::SendInventory => ask::signal(invocation),
        VerbName::Daemon => daemon::run(invocation),
        VerbName::Bootstrap => authenticate::run(invocation),
        VerbName::Status => status::show(invocation),
        VerbName::Control => control::run(invocation),
        VerbName::Setup => setup::run(invocation),
        VerbName::Snapshot => snapshot::run(invocation),
        VerbName::ExportMender => export::run(invocation),
    }
}
