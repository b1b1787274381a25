//! Paths through the whole in words for people.

use thimble_core::deployment::Status;
use thimble_core::machine::Op;
use thimble_core::script::Transition;
use thimble_core::session::RequestKind;
use thimble_core::state::State;

use super::client::Todo;
use super::{Label, Process, What, Whole};
use crate::explore::Model;
use crate::model::{Budget, describe};
use crate::sim;
use crate::story::{Lane, Path, Row};
use crate::world::{Content, Name};

/// Steps of a path that are told.
pub const LONGEST: usize = 20_000;

/// How an update can end, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// What runs after the next start is not whole, and nothing puts it back.
    Brick,
    /// The client does not know any more what is installed.
    Inconsistent,
    /// The update is installed, and the server was told that it failed: the module's `Cleanup` failed behind it.
    Misreported,
    /// The update failed, and the device is as it was before.
    Failed,
    /// The update is installed.
    Updated,
}

impl Kind {
    /// All, the worst first.
    pub const ALL: [Self; 5] =
        [Self::Brick, Self::Inconsistent, Self::Misreported, Self::Failed, Self::Updated];

    /// Its word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brick => "brick",
            Self::Inconsistent => "inconsistent",
            Self::Misreported => "misreported",
            Self::Failed => "failed",
            Self::Updated => "updated",
        }
    }

    /// What it means, in a few words.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Brick => "what runs is not whole, and nothing puts it back",
            Self::Inconsistent => "it is not known any more what is installed",
            Self::Misreported => "the update is installed, and counts as failed",
            Self::Failed => "the device is as it was before",
            Self::Updated => "the update is installed",
        }
    }

    /// The device is what it says it is.
    #[must_use]
    pub const fn is_clean(self) -> bool {
        matches!(self, Self::Failed | Self::Updated)
    }
}

/// What the server knows in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Heard {
    /// The update failed.
    Failure,
    /// The update is installed.
    Success,
    /// Somebody has aborted the deployment there.
    Aborted,
    /// It does not know the deployment any more, or has refused to hear how it ended.
    Nothing,
    /// There is no server: the command line.
    Nobody,
}

impl Heard {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Failure => "the server was told failure",
            Self::Success => "the server was told success",
            Self::Aborted => "the server aborted it",
            Self::Nothing => "the server did not want to hear of it",
            Self::Nobody => "nobody was told",
        }
    }
}

/// How an update ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ending {
    /// What is left of the device.
    pub kind: Kind,
    /// What the server knows.
    pub heard: Heard,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.kind.name(), self.heard.name())
    }
}

/// Names of the state scripts, where they run, in the order in which they do.
pub type Names = [(Transition, Vec<String>)];

/// A path that was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What happens.
    pub rows: Vec<Row>,
    /// How it ends; `Err`: what is wrong where the path ends.
    pub end: Result<Ending, String>,
}

impl Whole<'_> {
    /// Where the client stands, while it runs.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        match &self.process {
            Process::Runs(client) => Some(client.place().0),
            Process::Rests { .. } | Process::Ended => None,
        }
    }

    /// How much more may go wrong.
    #[must_use]
    pub const fn budget(&self) -> Budget {
        self.budget
    }

    /// How the update ended, once it did.
    #[must_use]
    pub fn ending(&self) -> Ending {
        let mut device = self.outside.device.clone();
        device.boot();
        let server = &self.outside.server;
        let heard = match server.status {
            _ if self.setup.standalone => Heard::Nobody,
            Some(Status::Success) => Heard::Success,
            Some(Status::Failure) => Heard::Failure,
            _ if server.aborted => Heard::Aborted,
            Some(_) | None => Heard::Nothing,
        };
        let kind = match (device.content(), self.outside.records.name, heard) {
            (Content::Broken, ..) => Kind::Brick,
            (Content::Old | Content::New, Name::Inconsistent, _) => Kind::Inconsistent,
            (Content::Old | Content::New, Name::Old, _) => Kind::Failed,
            (Content::Old | Content::New, Name::New, Heard::Failure) => Kind::Misreported,
            (Content::Old | Content::New, Name::New, _) => Kind::Updated,
        };
        Ending { kind, heard }
    }

    /// Tells a path to its end. `names`: of the scripts; those that are not there are told by where they run.
    #[must_use]
    pub fn tell(&self, path: &Path, names: &Names) -> Told {
        let mut at = self.clone();
        let mut rows = Vec::new();
        for step in (0..).take(LONGEST) {
            let mut others = Vec::new();
            let mut taken = None;
            let mut number = 0;
            let choice = path.at(step);
            let wrong = at.next(&mut |label, next| {
                if number == choice {
                    taken = Some((label, next.clone()));
                } else {
                    others.push((number, at.other(&label, number, names)));
                }
                number += 1;
            });
            // What is wrong here is told where no other way was chosen that was found before it.
            let Some((label, next)) = taken else {
                let end = match wrong {
                    Err(wrong) => Err(wrong),
                    Ok(()) if number == 0 && path.before(step) == *path => Ok(at.ending()),
                    Ok(()) => {
                        Err(format!("the path has choice {choice} at step {step}, where there are {number}"))
                    }
                };
                return Told { rows, end };
            };
            let mut row = at.row(&label, choice, names);
            row.others = others;
            rows.push(row);
            at = next;
        }
        Told { rows, end: Err(format!("more than {LONGEST} steps")) }
    }

    fn row(&self, label: &Label, choice: u32, names: &Names) -> Row {
        let mut effect = None;
        let (lane, what, how, is_detail) = match label {
            Label::Step(_, What(todo), how) => {
                let (lane, what) = self.in_words(*todo, names);
                effect = self.effect(*todo);
                (lane, what, *how, self.is_detail(*todo))
            }
            Label::Wish(_) => (Lane::Device, "a program wants a token".to_owned(), "", false),
            Label::Approved(_) => (Lane::Device, "the update is let pass".to_owned(), "", false),
            Label::Waits => (Lane::Device, "the update waits".to_owned(), "", false),
            Label::Lost => (Lane::Device, "the update waits".to_owned(), " ** power lost", false),
            Label::Ends => (Lane::Device, "the update waits".to_owned(), " ** told to end", false),
            Label::Verb(verb) => (Lane::Device, format!("$ {}", verb.word()), "", false),
            Label::UserReboots => (Lane::Device, "$ reboot".to_owned(), "", false),
        };
        let how = fault_in_words(how);
        let (result, fault) = if choice == 0 { (how, None) } else { (None, how) };
        let is_detail = is_detail && fault.is_none();
        let at = self.passed.0;
        Row {
            at,
            lane,
            state: self.state(),
            what,
            result,
            fault,
            effect,
            is_detail,
            others: Vec::new(),
            choice,
        }
    }

    /// Something else that can happen here.
    fn other(&self, label: &Label, choice: u32, names: &Names) -> String {
        let Row { what, result, fault, .. } = self.row(label, choice, names);
        match fault.or(result) {
            Some(how) => format!("{what}: {how}"),
            None => what,
        }
    }

    /// What scenarios call it.
    fn effect(&self, todo: Todo) -> Option<String> {
        match todo {
            Todo::Op(Op::RunScript(transition, index)) => {
                self.setup.has_script(transition, index).then(|| transition.to_string())
            }
            Todo::Op(Op::CallModule(call)) | Todo::StartModule(call) => Some(call.name().to_owned()),
            Todo::Op(Op::Reboot) => Some(sim::Effect::Reboot.to_string()),
            Todo::Op(Op::Save | Op::SaveReport | Op::SaveProvides(_) | Op::ClearData | Op::ForgetReport) => {
                Some(sim::Effect::Commit(sim::Batch::Record).to_string())
            }
            Todo::Send(RequestKind::Status(status) | RequestKind::StatusAlone(status), _) => {
                Some(status.name().to_owned())
            }
            Todo::Mark => Some(sim::Effect::Mark.to_string()),
            Todo::Op(_)
            | Todo::Send(..)
            | Todo::Download(_)
            | Todo::Wait
            | Todo::Exit(_)
            | Todo::Identity
            | Todo::Inventory
            | Todo::Read(..)
            | Todo::Receive
            | Todo::Accept { .. }
            | Todo::BeginFile
            | Todo::Write { .. }
            | Todo::EndFile
            | Todo::Finish
            | Todo::ReadBack(_)
            | Todo::Compare
            | Todo::Forget(_) => None,
        }
    }

    /// One of the many small things that people ask for only when they go wrong.
    fn is_detail(&self, todo: Todo) -> bool {
        match todo {
            Todo::Op(Op::RunScript(transition, index)) => !self.setup.has_script(transition, index),
            Todo::Op(Op::Save | Op::SaveMaps | Op::SaveBegun | Op::AskPolicy(_) | Op::CheckRunning)
            | Todo::Op(Op::CheckVersion | Op::End | Op::SaveReport | Op::ClearData | Op::ForgetReport) => {
                true
            }
            Todo::Op(
                Op::CallModule(_)
                | Op::SaveProvides(_)
                | Op::Reboot
                | Op::Prepare
                | Op::Stream(_)
                | Op::Request(_),
            ) => false,
            Todo::StartModule(_) | Todo::Download(_) => false,
            Todo::Send(kind, _) => match kind {
                RequestKind::Token
                | RequestKind::Inventory
                | RequestKind::NextV1
                | RequestKind::ControlMap => true,
                RequestKind::NextV2 | RequestKind::Status(_) | RequestKind::StatusAlone(_) => false,
                RequestKind::Log => false,
            },
            Todo::Wait
            | Todo::Exit(_)
            | Todo::Identity
            | Todo::Inventory
            | Todo::Read(..)
            | Todo::Receive
            | Todo::Accept { .. }
            | Todo::BeginFile
            | Todo::Write { .. }
            | Todo::Mark
            | Todo::EndFile
            | Todo::Finish
            | Todo::ReadBack(_)
            | Todo::Compare
            | Todo::Forget(_) => true,
        }
    }

    fn in_words(&self, todo: Todo, names: &Names) -> (Lane, String) {
        let device = |what: &str| (Lane::Device, what.to_owned());
        let module = |what: &str| (Lane::Module, what.to_owned());
        match todo {
            Todo::Wait => device("nothing is to be done"),
            Todo::Op(Op::RunScript(transition, index)) => (Lane::Device, script(names, transition, index)),
            Todo::Op(op @ (Op::CallModule(_) | Op::Stream(_))) => (Lane::Module, describe(op)),
            Todo::Op(Op::Reboot) => device("reboot"),
            Todo::Op(op) => (Lane::Device, describe(op)),
            Todo::StartModule(call) => (Lane::Module, call.name().to_owned()),
            Todo::Identity => device("identity and key of the device"),
            Todo::Inventory => device("inventory scripts"),
            Todo::Send(kind, server) => (Lane::Server, request(kind, server)),
            Todo::Read(kind, server, _) => (Lane::Server, format!("the answer to {}", request(kind, server))),
            Todo::Download(0) => (Lane::Server, "the artifact is asked for".to_owned()),
            Todo::Download(from) => (Lane::Server, format!("the artifact is asked for from byte {from} on")),
            Todo::Receive => (Lane::Server, "bytes of the artifact".to_owned()),
            Todo::Accept { .. } => device("the artifact's header is judged"),
            Todo::BeginFile => module("a file begins"),
            Todo::Write { .. } => module("bytes are stored"),
            Todo::Mark => module("what is stored is made durable"),
            Todo::EndFile => module("a file ends"),
            Todo::Finish => module("the payload is complete"),
            Todo::ReadBack(_) => module("stored bytes are read back"),
            Todo::Compare => module("the digest of stored bytes is compared"),
            Todo::Forget(_) => module("stored bytes are forgotten"),
            Todo::Exit(report) => {
                device(if report.is_success() { "the command ends" } else { "the command fails" })
            }
        }
    }
}

/// A request, for people.
fn request(kind: RequestKind, server: u8) -> String {
    let to = if server == 0 { "" } else { " (the other server)" };
    let what = match kind {
        RequestKind::Token => "a token is asked for",
        RequestKind::NextV2 => "a deployment is asked for",
        RequestKind::NextV1 => "a deployment is asked for, in the old way",
        RequestKind::Status(status) => return format!("{}{to}", status.name()),
        RequestKind::StatusAlone(status) => return format!("{} alone{to}", status.name()),
        RequestKind::Log => "the log is sent",
        RequestKind::Inventory => "the inventory is sent",
        RequestKind::ControlMap => "the control map is asked for",
    };
    format!("{what}{to}")
}

/// The name of a script; where there is none, where it would run.
fn script(names: &Names, transition: Transition, index: u16) -> String {
    let here = names.iter().find(|(at, _)| *at == transition).map(|(_, names)| names);
    let name = here.and_then(|names| names.get(usize::from(index)));
    name.cloned().unwrap_or_else(|| format!("{transition}, number {index}"))
}

/// ` ** power lost before` becomes `power lost before`; nothing stays nothing.
fn fault_in_words(how: &str) -> Option<String> {
    let how = how.trim_start_matches([' ', '*', ',']);
    (!how.is_empty()).then(|| how.to_owned())
}

/// What a label says about the situation it stands for.
impl Label {
    /// The script of this label, and whether it works.
    #[must_use]
    pub const fn script(&self) -> Option<(Transition, u16, bool)> {
        match self {
            Self::Step(_, What(Todo::Op(Op::RunScript(transition, index))), how) => {
                Some((*transition, *index, how.is_empty()))
            }
            Self::Step(..)
            | Self::Wish(_)
            | Self::Approved(_)
            | Self::Waits
            | Self::Lost
            | Self::Ends
            | Self::Verb(_)
            | Self::UserReboots => None,
        }
    }

    /// The client is started again behind it.
    #[must_use]
    pub fn is_restart(&self) -> bool {
        match self {
            Self::Step(_, _, how) => how.starts_with(" **"),
            Self::Lost | Self::Ends | Self::UserReboots | Self::Verb(_) => true,
            Self::Wish(_) | Self::Approved(_) | Self::Waits => false,
        }
    }

    /// The place of the step in the table of states.
    #[must_use]
    pub const fn state(&self) -> Option<State> {
        match self {
            Self::Step((state, _), ..) | Self::Wish((state, _)) | Self::Approved((state, _)) => Some(*state),
            Self::Waits | Self::Lost | Self::Ends | Self::Verb(_) | Self::UserReboots => None,
        }
    }
}
