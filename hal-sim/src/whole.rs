//! Everything at once, as one value that is cloned, hashed and walked through every path: the three machines of the
//! client with what passes between them, the device, two servers that share what they know, and the network.
//!
//! At each moment one thing is to be done outside of the client. It works, or it goes wrong in any of its ways, as often
//! as the budget allows, or power is lost around it. The clock stands at one time: whenever it has moved, all times
//! that the machines keep are moved back with it, so that what differs in nothing but the time is the same.

mod artifact;
mod check;
mod client;
mod outside;
mod works;
mod wrong;

use std::fmt;

use thimble_core::checkpoint::{Checkpoint, Tag};
use thimble_core::config::Config;
use thimble_core::deployment::Status;
use thimble_core::machine::{Machine, Op, Refusal, Run, Saved, Stop, StopSet};
use thimble_core::session::{self, RequestKind};
use thimble_core::state::{Outcome, Place, State, Verb};
use thimble_core::time::Instant;

use self::check::Memory;
use self::client::{Answer, Client, SERVERS, Start, Todo};
use self::outside::{Outside, Records, Server};
use crate::check::{self as invariants, Trouble};
use crate::explore::Model;
use crate::model::{Budget, Mistake};
use crate::world::{Device, Name, Profile};

/// The time at which the clock stands: later than any time that the machines look back.
const NOW: Instant = Instant::from_millis(1 << 40);

/// What does not change in a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Setup {
    standalone: bool,
    resume_downloads: bool,
    mistake: Option<Mistake>,
}

/// Who runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::large_enum_variant,
    reason = "copied millions of times, and most of the time it runs: no heap"
)]
enum Process {
    Runs(Client),
    /// The command line has ended; the user may use another verb.
    Rests {
        /// Exit status 0.
        success: bool,
    },
    /// Everything is over.
    Ended,
}

/// One configuration of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Whole {
    setup: Setup,
    stop_before: StopSet,
    outside: Outside,
    process: Process,
    budget: Budget,
    trouble: Trouble,
    memory: Memory,
    /// A script that asks to be run again later as long as it is asked.
    stubborn: bool,
}

impl Whole {
    /// A daemon whose server has a deployment.
    #[must_use]
    pub fn daemon(
        profile: Profile,
        budget: Budget,
        resume_downloads: bool,
        mistake: Option<Mistake>,
    ) -> Self {
        let setup = Setup { standalone: false, resume_downloads, mistake };
        Self::new(profile, budget, setup, StopSet::default())
    }

    /// A user who calls `install` with a link, and then whatever verb is taken.
    #[must_use]
    pub fn command_line(profile: Profile, budget: Budget, stop_before: Option<Stop>) -> Self {
        let setup = Setup { standalone: true, resume_downloads: false, mistake: None };
        let stops = stop_before.map_or(StopSet::default(), |stop| StopSet::default().with(stop));
        Self::new(profile, budget, setup, stops)
    }

    fn new(profile: Profile, budget: Budget, setup: Setup, stop_before: StopSet) -> Self {
        let records = Records { update: None, offer: None, name: Name::Old };
        let outside = Outside { device: Device::new(profile), partial: None, records, server: Server::new() };
        let mut new = Self {
            setup,
            stop_before,
            outside,
            process: Process::Ended,
            budget,
            trouble: Trouble::default(),
            memory: Memory::default(),
            stubborn: false,
        };
        let run = if setup.standalone { Run::Install } else { Run::Daemon };
        if new.start(run).is_err() {
            new.memory.complain("the first start is refused");
        }
        new
    }

    fn config(&self) -> Config {
        check::config(self.setup.resume_downloads)
    }

    fn payload(&self) -> bool {
        self.outside.device.profile.payload
    }

    /// A process starts.
    fn start(&mut self, run: Run) -> Result<(), Refusal> {
        let config = self.config();
        let records = &self.outside.records;
        let offer = records.offer.filter(|_| run == Run::Daemon && config.resume_downloads);
        let start = Start {
            config: &config,
            run,
            stop_before: self.stop_before,
            update: records.update.clone(),
            offer,
            payload: self.payload(),
        };
        let client = Client::start(NOW, start)?;
        let checkpoint = client.machine().checkpoint();
        if run == Run::Daemon
            && checkpoint.tag == Tag::Store
            && !checkpoint.module
            && !checkpoint.deployment.is_empty()
        {
            // No module and no script of the update has run: what an artifact left is removed.
            self.outside.device.clean();
            self.outside.partial = None;
        }
        self.process = Process::Runs(client);
        self.settle(NOW, false);
        Ok(())
    }

    /// Power is lost now.
    fn lose(&mut self) -> Result<&Self, String> {
        self.budget.losses -= 1;
        self.reboot()?;
        Ok(self)
    }

    fn reboot(&mut self) -> Result<(), String> {
        self.outside.server.down = [false; SERVERS as usize];
        self.outside.device.boot();
        self.stubborn = false;
        self.memory.restarted();
        if self.setup.standalone {
            self.process = Process::Rests { success: false };
            return Ok(());
        }
        if let Some(record) = &self.outside.records.update {
            let record = Checkpoint { offer: self.outside.records.offer.is_some(), ..record.clone() };
            invariants::resumes_twice(&record, |record| {
                let saved = Saved { update: Some(record), ..Saved::nothing() };
                let start = Machine::start(NOW, &self.config(), Run::Daemon, self.stop_before, saved);
                start.ok().map(|(machine, _)| machine)
            })?;
        }
        self.start(Run::Daemon).map_err(|refusal| format!("the daemon does not start: {refusal:?}"))
    }

    /// What was done outside is taken in; time passes until something is to be done again.
    fn then(&mut self, answer: Answer) {
        let Process::Runs(client) = &mut self.process else { return };
        let own_fault = answer == Answer::Session(session::Event::IdentityFailed);
        let before = client.todo;
        let mut now = NOW;
        client.answered(now, answer);
        if answer == Answer::Silence
            && let Some(at) = client.deadline()
        {
            now = now.max(at);
            client.tick(now);
        }
        self.settle(now, own_fault);
        self.stubborn &= matches!(&self.process, Process::Runs(client) if client.todo == before);
    }

    /// Time passes until something is to be done; then it is set back.
    fn settle(&mut self, mut now: Instant, own_fault: bool) {
        let Process::Runs(client) = &mut self.process else { return };
        self.memory.settled(now, client, own_fault);
        let (idle, waits) = (client.place().0 == State::Idle, client.todo == Todo::Wait);
        let gone = self.memory.is_gone(self.outside.records.update.is_some());
        if !self.setup.standalone && idle && (gone || (waits && self.outside.server.is_over())) {
            // The daemon has nothing more to do with the deployment.
            self.process = Process::Ended;
            return;
        }
        while client.todo == Todo::Wait {
            let Some(at) = client.deadline() else {
                self.memory.complain("the client waits for nothing");
                break;
            };
            now = now.max(at);
            client.tick(now);
            self.memory.settled(now, client, false);
        }
        if now != NOW {
            client.rebase(now, NOW);
            self.memory.rebase(now, NOW);
        }
        if let Todo::Exit(report) = client.todo {
            self.process = Process::Rests { success: report.is_success() };
            return;
        }
        if !matches!(client.todo, Todo::Identity | Todo::Inventory | Todo::Send(..) | Todo::Read(..)) {
            self.outside.server.down = [false; SERVERS as usize];
        }
        self.notice();
    }

    /// The checker looks at what is to be done next.
    fn notice(&mut self) {
        let Process::Runs(client) = &self.process else { return };
        let daemon = !self.setup.standalone;
        if client.todo == Todo::Identity {
            self.memory.authenticates(NOW);
        } else if let Todo::Send(kind, server) = client.todo
            && !self.is_left_out(client)
        {
            self.memory.sends(kind, server);
        } else if let Todo::Download(offset) = client.todo {
            self.memory.downloads(client, offset, daemon);
        } else if client.todo == Todo::EndFile {
            self.memory.file_ends(client.file);
        }
    }

    /// The mistake that nobody but the first server is asked for a token.
    fn is_left_out(&self, client: &Client) -> bool {
        self.setup.mistake == Some(Mistake::SecondServerIsNotAsked)
            && matches!(client.todo, Todo::Send(RequestKind::Token, 1..))
    }
}

impl Whole {
    /// What can happen while the client runs.
    fn runs(&self, client: &Client, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        let label = |how| Label::Step(client.place(), What(client.todo), how);
        if let Todo::Op(op) = client.todo {
            let records = &self.outside.records;
            invariants::before(
                op,
                records.update.as_ref(),
                &self.outside.device,
                client.machine(),
                self.trouble,
            )?;
        }
        if let Todo::Send(RequestKind::Status(Status::Success), _) = client.todo {
            invariants::before_success(&self.outside.device)?;
        }
        let mut good = self.clone();
        let answer = match (client.todo, good.works()) {
            _ if self.is_left_out(client) => Answer::Session(session::Event::NotSent),
            (Todo::Op(Op::RunScript(_, 0)), _) if self.stubborn => Answer::Op(Outcome::Later(None)),
            (_, answer) => answer,
        };
        let after = (self.budget.losses > 0 && good.outside != self.outside).then(|| good.clone());
        if client.todo == Todo::Op(Op::Reboot) {
            let mut rebooted = self.clone();
            rebooted.reboot()?;
            visit(label(""), &rebooted);
        } else if client.todo == Todo::Op(Op::End) {
            good.process = Process::Ended;
            visit(label(""), &good);
        } else {
            let failed = answer == Answer::Op(Outcome::Failure);
            good.then(answer);
            visit(label(if failed { " fails" } else { "" }), &good);
        }
        if self.budget.failures > 0 && !self.stubborn {
            self.goes_wrong(&mut |how, new, answer| {
                new.then(answer);
                visit(label(how), new);
            });
        }
        if self.budget.losses > 0 {
            visit(label(" ** power lost before"), self.clone().lose()?);
            if let Some(mut half) = self.half_done() {
                visit(label(" ** power lost inside"), half.lose()?);
            }
            if let Some(mut after) = after {
                visit(label(" ** power lost after"), after.lose()?);
            }
        }
        Ok(())
    }

    /// What a user can do with an update that rests.
    fn rests(&self, success: bool, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        let Outside { device, records, .. } = &self.outside;
        if records.update.is_none() {
            // A device without a record is as it was, or is what its name says, once its user has rebooted it.
            let mut rebooted = self.clone();
            rebooted.outside.device.boot();
            rebooted.is_good_at_end()?;
            if success && records.name == Name::Inconsistent {
                return Err("exit status 0 for an inconsistent device".into());
            }
            return Ok(());
        }
        // A commit before the reboot is refused: whoever tries it first comes back here.
        if device.profile.slots && !device.is_settled() && device.boots == 0 {
            let mut new = self.clone();
            new.outside.device.boot();
            visit(Label::UserReboots, &new);
        }
        let mut refused = true;
        for verb in [Verb::Resume, Verb::Commit, Verb::Rollback] {
            let mut new = self.clone();
            // Whoever has stopped once does not stop there again.
            new.stop_before = StopSet::default();
            if new.start(Run::Continue(verb)).is_ok() {
                visit(Label::Verb(verb), &new);
                refused = false;
            }
        }
        if refused {
            return Err("an update in progress, and every verb is refused".into());
        }
        Ok(())
    }

    fn is_good_at_end(&self) -> Result<(), String> {
        let Outside { device, records, server, partial: _ } = &self.outside;
        let verdict = server.status.filter(|status| matches!(status, Status::Success | Status::Failure));
        let end = invariants::End { record: records.update.is_some(), device, name: records.name, verdict };
        invariants::at_end(end, self.trouble)
    }
}

/// Something that happens, for a line of text.
#[derive(Clone, Copy, Debug)]
pub enum Label {
    /// What was done outside, at a place of the machine, and how it ended when that is not plain success.
    Step(Place, What, &'static str),
    /// The user's verb.
    Verb(Verb),
    /// The user reboots the device.
    UserReboots,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step((state, phase), What(todo), how) => write!(f, "{state:?} {phase:?}: {todo:?}{how}"),
            Self::Verb(verb) => write!(f, "$ {verb:?}"),
            Self::UserReboots => f.write_str("$ reboot"),
        }
    }
}

/// What was done outside.
#[derive(Clone, Copy, Debug)]
pub struct What(Todo);

impl Model for Whole {
    type Label = Label;

    fn next(&self, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        if let Some(wrong) = self.memory.wrong().or(self.outside.server.wrong) {
            return Err(wrong.into());
        }
        match &self.process {
            Process::Runs(client) => self.runs(client, visit),
            Process::Rests { success } => self.rests(*success, visit),
            Process::Ended => {
                let server = &self.outside.server;
                if server.status.is_some() || server.aborted {
                    self.is_good_at_end()?;
                }
                Ok(())
            }
        }
    }
}
