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
        let (Thing { lane, what, effect, is_detail }, how) = match label {
            Label::Step(_, What(todo), how) => (self.in_words(*todo, names), *how),
            Label::Wish(_) => (device("a program wants a token"), ""),
            Label::Approved(_) => (device("the update is let pass"), ""),
            Label::Waits => (device("the update waits"), ""),
            Label::Lost => (device("the update waits"), " ** power lost"),
            Label::Ends => (device("the update waits"), " ** told to end"),
            Label::Verb(verb) => (device(format!("$ {}", verb.word())), ""),
            Label::UserReboots => (device("$ reboot"), ""),
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

    fn in_words(&self, todo: Todo, names: &Names) -> Thing {
        let saves = || sim::Effect::Commit(sim::Batch::Record).to_string();
        match todo {
            Todo::Op(Op::RunScript(transition, index)) => {
                let here = device(script(names, transition, index));
                if self.setup.has_script(transition, index) {
                    here.called(transition.to_string())
                } else {
                    here.detail()
                }
            }
            Todo::Op(Op::CallModule(call)) | Todo::StartModule(call) => {
                module(call.name()).called(call.name())
            }
            Todo::Op(Op::Reboot) => device("reboot").called(sim::Effect::Reboot.to_string()),
            Todo::Op(op @ Op::SaveProvides(_)) => device(describe(op)).called(saves()),
            Todo::Op(op @ (Op::Save | Op::SaveReport | Op::ClearData | Op::ForgetReport)) => {
                device(describe(op)).called(saves()).detail()
            }
            Todo::Op(
                op @ (Op::SaveMaps
                | Op::SaveBegun
                | Op::AskPolicy(_)
                | Op::CheckRunning
                | Op::CheckVersion
                | Op::End),
            ) => device(describe(op)).detail(),
            Todo::Op(op @ Op::Stream(_)) => module(describe(op)),
            Todo::Op(op @ (Op::Prepare | Op::Request(_))) => device(describe(op)),
            Todo::Send(kind, number) => {
                let here = server(request(kind, number));
                match kind {
                    RequestKind::Status(status) | RequestKind::StatusAlone(status) => {
                        here.called(status.name())
                    }
                    RequestKind::NextV2 | RequestKind::Log => here,
                    RequestKind::Token
                    | RequestKind::Inventory
                    | RequestKind::NextV1
                    | RequestKind::ControlMap => here.detail(),
                }
            }
            Todo::Download(0) => server("the artifact is asked for"),
            Todo::Download(from) => server(format!("the artifact is asked for from byte {from} on")),
            Todo::Mark => {
                module("what is stored is made durable").called(sim::Effect::Mark.to_string()).detail()
            }
            Todo::Wait => device("nothing is to be done").detail(),
            Todo::Identity => device("identity and key of the device").detail(),
            Todo::Inventory => device("inventory scripts").detail(),
            Todo::Read(kind, number, _) => {
                server(format!("the answer to {}", request(kind, number))).detail()
            }
            Todo::Receive => server("bytes of the artifact").detail(),
            Todo::Accept { .. } => device("the artifact's header is judged").detail(),
            Todo::BeginFile => module("a file begins").detail(),
            Todo::Write { .. } => module("bytes are stored").detail(),
            Todo::EndFile => module("a file ends").detail(),
            Todo::Finish => module("the payload is complete").detail(),
            Todo::ReadBack(_) => module("stored bytes are read back").detail(),
            Todo::Compare => module("the digest of stored bytes is compared").detail(),
            Todo::Forget(_) => module("stored bytes are forgotten").detail(),
            Todo::Exit(report) if report.is_success() => device("the command ends").detail(),
            Todo::Exit(_) => device("the command fails").detail(),
        }
    }
}

/// What is done, by the words of a [`Row`].
struct Thing {
    lane: Lane,
    what: String,
    effect: Option<String>,
    is_detail: bool,
}

impl Thing {
    fn of(lane: Lane, what: impl Into<String>) -> Self {
        Self { lane, what: what.into(), effect: None, is_detail: false }
    }

    /// Scenarios have this name for it.
    fn called(self, effect: impl Into<String>) -> Self {
        Self { effect: Some(effect.into()), ..self }
    }

    /// People ask for it only when it goes wrong.
    fn detail(self) -> Self {
        Self { is_detail: true, ..self }
    }
}

fn server(what: impl Into<String>) -> Thing {
    Thing::of(Lane::Server, what)
}

fn device(what: impl Into<String>) -> Thing {
    Thing::of(Lane::Device, what)
}

fn module(what: impl Into<String>) -> Thing {
    Thing::of(Lane::Module, what)
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
