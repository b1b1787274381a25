use super::*;
use core::fmt;
use std::format;
use std::string::ToString;

use crate::api::{LinkError, Reply};
use crate::artifact;
use crate::checkpoint::{Newer, Unusable};
use crate::client::{MapNotTaken, StartError};
use crate::config::{Config, ConfigError};
use crate::control::{Full, Holder, LoadError, MapError, OrderError};
use crate::deployment::{Call, Status};
use crate::hal::{BootStatus, Cause, Error, Exit, Kind, Slot};
use crate::http::fault::UrlFault;
use crate::json::{self, Fault, Overflow};
use crate::machine::{ApiCall, Held, Op, Refusal};
use crate::message::{Code, Earlier};
use crate::module::rootfs::RootfsError;
use crate::script::{ScriptAction, ScriptState, Transition};
use crate::session::RequestKind;
use crate::state::Verb;
use crate::text::Shown;
use crate::text::{Text, TextExt};
use crate::texts::tests::{decoded, same};
use crate::time::Duration;
use crate::transfer::Failure;

/// An error of a platform, whose own text is that of its kind.
#[derive(Clone, Copy, Debug)]
struct Gone(Kind);

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Gone {
    fn kind(&self) -> Kind {
        self.0
    }
}

const ENTER: Transition = Transition { state: ScriptState::ArtifactInstall, action: ScriptAction::Enter };
const LIMIT: Duration = Duration::from_secs(7500);

#[test]
fn what_the_driver_says_is_decoded_to_the_same_text() {
    let gone = Gone(Kind::Connection);
    let error = Cause::of(&gone);
    let broken = DownloadText::BrokeOff { at: u64::MAX, error: &error };
    let script = ScriptName::of("it's \"one\"", Some(ENTER));
    let map = MapError::UnknownKey(Text::copy("k'y").unwrap());
    let holder = Holder { id: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef, priority: -10 };
    let why = WhyHeld::of(Held::Map(holder), "");
    same(&[
        &UpdateText::Next { op: Op::RunScript(ENTER, 7) },
        &UpdateText::Next { op: Op::Request(ApiCall::Status { status: Status::Success, fresh_token: true }) },
        &UpdateText::ScriptFailed { script, how: ScriptFault::TooSlow { limit: LIMIT } },
        &UpdateText::ScriptFailed {
            script: ScriptName::of("", Some(ENTER)),
            how: ScriptFault::Ended { exit: Exit::Signal(9) },
        },
        &UpdateText::ScriptLater { script: ScriptName::of("", None) },
        &UpdateText::BadAnswer { call: Call::NeedsArtifactReboot, answer: Shown(b"\xff'\\(,)~U1") },
        &UpdateText::Call { call: Call::ArtifactInstall, error },
        &UpdateText::Waits { point: "ArtifactInstall_Enter", why },
        &UpdateText::Forbidden {
            point: "ArtifactCommit_Enter",
            why: WhyFailed::of(Some(Held::Policy), "no, 'never'"),
        },
        &UpdateText::Forbidden { point: "ArtifactCommit_Enter", why: WhyFailed::of(None, "") },
        &UpdateText::MapsFull { error: Full },
        &RecordText::BadMaps { error: &LoadError::Map(map.clone()) },
        &RecordText::WithoutIt { unusable: Unusable::Newer(Newer::Checkpoint(9)) },
        &RecordText::Restarted { at: Interrupted::InCommit },
        &RecordText::BadHeader { error: &artifact::Error::UnexpectedEof },
        &DownloadText::BadLink { why: LinkError::Url(UrlFault::TooLong(10)) },
        &DownloadText::NextAttempt { reason: &broken, wait: LIMIT },
        &DownloadText::GivenUp { reason: &broken, why: Failure::NoAttempts },
        &DownloadText::FileNotStored { file: "a,b", error },
        &RequestText::Failed {
            request: RequestKind::Status(Status::Failure),
            error: &Overflow { limit: 10 },
        },
        &RequestText::Failed { request: RequestKind::Token, error: &error },
        &RequestText::Refused { request: RequestKind::NextV1, reply: Reply::Later(Some(60)) },
        &RequestText::RefusedWith { request: RequestKind::Log, reply: Reply::Later(None), text: "~U1" },
        &RequestText::Installed { error: json::Error { at: 0, what: Fault::Ends } },
        &RequestText::ServerMap { error: &map },
        &MapNotTaken::Map(map.clone()),
        &OrderError::Full,
    ]);
}

#[test]
fn what_a_start_is_refused_for_is_decoded_to_the_same_text() {
    let short = Config { module_timeout: Duration::ZERO, ..Config::default() };
    let setting: ConfigError = short.check().unwrap_err();
    same(&[
        &StartError::<Gone>::Refused(Refusal::InProgress([Some(Verb::Commit), Some(Verb::Rollback), None])),
        &StartError::<Gone>::Refused(Refusal::WrongState(crate::checkpoint::Tag::Cleanup)),
        &StartError::Records(Gone(Kind::Corrupt)),
        &StartError::<Gone>::TooManyServers,
        &StartError::<Gone>::Config(setting),
    ]);
}

/// What core itself knows of an error below a trait is more than its kind.
#[test]
fn errors_of_slots_show_their_own_code() {
    let status = BootStatus { running: Slot::A, selected: Slot::B, trial: true };
    for error in [
        RootfsError::<Gone, Gone>::NotRebooted(status),
        RootfsError::NotRolledBack(status),
        RootfsError::NoTree(Call::ArtifactCommit),
        RootfsError::StillSelected(Gone(Kind::TimedOut)),
    ] {
        let text = UpdateText::Call { call: Call::ArtifactCommit, error: Cause::of(&error) };
        same(&[&text]);
        assert!(Code(&text).to_string().contains(",B"), "{}", Code(&text));
    }
}

/// As a build without texts has it: a reason that is a code, in a line about it, in another.
#[test]
fn a_reason_in_a_line_is_decoded_as_well() {
    let gone = Gone(Kind::TimedOut);
    let reason = UpdateText::Call { call: Call::ArtifactInstall, error: Cause::of(&gone) };
    let (text, code) = (reason.to_string(), Code(&reason).to_string());
    let line = Code(&UpdateText::NotAsked { why: Earlier(&code) }).to_string();
    let expected = format!("the server could not be asked before the commit: {text}");
    assert_eq!(decoded(&line), expected);
    let outer = Code(&UpdateText::Ended { deployment: "d-1", line: Earlier(&line) }).to_string();
    assert_eq!(decoded(&outer), format!("deployment d-1: {expected}"));
}
