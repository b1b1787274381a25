//! Everything at once, as one value that is cloned, hashed and walked through every path: the three machines of the
//! client with what passes between them, the device, two servers that share what they know, and the network.
//!
//! At each moment one thing is to be done outside of the client, or two while a program on the device is given a token. It
//! works, or it goes wrong in any of its ways, as often as the budget allows, or power is lost around it, or the client
//! is told to end around it and is started again. The clock stands at one time: whenever it has moved, all times that the
//! machines keep are moved back with it, so that what differs in nothing but the time is the same.
//!
//! When the first deployment is over, the daemon goes on, and the server has a second one: with one failure at most and
//! without a loss of power, on a device that runs the old content again. What can be left over from the first is in the
//! process, in the records and in the work tree, and that stays. A server that did not want to hear how the first one ended
//! offers that one once more before: it must not begin again.

mod artifact;
mod check;
mod client;
mod outside;
mod situation;
mod time;
mod told;
mod works;
mod wrong;

use std::fmt;
use std::hash::{Hash, Hasher};

use thimble_core::begun::Begun;
use thimble_core::checkpoint::{Checkpoint, Tag};
use thimble_core::config::Config;
use thimble_core::control::Vote;
use thimble_core::deployment::{Point, Status};
use thimble_core::machine::{Machine, Op, Refusal, Run, Saved, Stop, StopSet};
use thimble_core::script::Transition;
use thimble_core::session::{self, RequestKind};
use thimble_core::state::{Outcome, Place, Verb};
use thimble_core::time::{Duration, Instant};

use self::check::Memory;
use self::client::{Answer, Client, SERVERS, Start, Todo};
use self::outside::{Outside, Records, Server};
pub use self::situation::{Has, Situation};
pub use self::told::{Ending, Heard, Kind, LONGEST, Names, Told};
use crate::check::{self as invariants, Trouble};
use crate::explore::Model;
use crate::mistake::Mistake;
use crate::model::Budget;
use crate::sayings::Doors;
use crate::world::{Device, Name, Profile};

/// The time at which the clock stands: later than any time that the machines look back.
const NOW: Instant = Instant::from_millis(1 << 40);

/// What does not change in a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setup<'d> {
    standalone: bool,
    resume_downloads: bool,
    /// Which server offered the deployment is on record.
    keeps_server: bool,
    mistake: Option<Mistake>,
    /// What is on the device; `None`: the default settings, and one script everywhere.
    given: Option<&'d Given>,
    /// The walk ends with the first deployment.
    once: bool,
}

/// Settings and scripts are the same in the whole walk.
impl Hash for Setup<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { standalone, resume_downloads, keeps_server, mistake, given: _, once } = self;
        (standalone, resume_downloads, keeps_server, mistake, once).hash(state);
    }
}

/// The settings of a device, and its state scripts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The settings.
    pub config: Config,
    /// Where scripts run, and how many there; and nowhere twice in this list.
    pub scripts: Vec<(Transition, u16)>,
}

impl Given {
    fn scripts_at(&self, transition: Transition) -> u16 {
        self.scripts.iter().find(|(at, _)| *at == transition).map_or(0, |(_, count)| *count)
    }
}

/// How much time has passed since the beginning. It makes no difference between two configurations.
#[derive(Clone, Copy, Debug, Default)]
struct Passed(Duration);

impl PartialEq for Passed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Passed {}

impl Hash for Passed {
    fn hash<H: Hasher>(&self, _: &mut H) {}
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
pub struct Whole<'d> {
    setup: Setup<'d>,
    stop_before: StopSet,
    outside: Outside,
    process: Process,
    budget: Budget,
    trouble: Trouble,
    memory: Memory,
    /// A script that asks to be run again later as long as it is asked.
    stubborn: bool,
    /// So often may a program on the device still ask for a token.
    wishes: u8,
    passed: Passed,
}

impl<'d> Whole<'d> {
    /// A daemon whose server has a deployment.
    #[must_use]
    pub fn daemon(profile: Profile, budget: Budget, resume_downloads: bool) -> Self {
        let setup = Setup { resume_downloads, ..Setup::new(false) };
        Self::new(profile, budget, setup, StopSet::default())
    }

    /// A user who calls `install` with a link, and then whatever verb is taken.
    #[must_use]
    pub fn command_line(profile: Profile, budget: Budget, stop_before: Option<Stop>) -> Self {
        let setup = Setup::new(true);
        let stops = stop_before.map_or(StopSet::default(), |stop| StopSet::default().with(stop));
        Self::new(profile, budget, setup, stops)
    }

    /// The same, where a restart does not forget which server offered the deployment. Else it does, as where that server is
    /// not configured any more: so much less is to be walked.
    #[must_use]
    pub fn that_keeps_its_server(mut self) -> Self {
        self.setup.keeps_server = true;
        self
    }

    /// The same from the start, with a mistake built in.
    #[cfg(feature = "mistakes")]
    #[must_use]
    pub fn with_mistake(self, mistake: Mistake) -> Self {
        let Self { setup, stop_before, outside, budget, wishes, .. } = self;
        let server = outside.server.map;
        let setup = Setup { mistake: Some(mistake), ..setup };
        let mut new = Self::new(outside.device.profile, budget, setup, stop_before).with_wishes(wishes);
        new.outside.server.map = server;
        new
    }

    /// The same, while a program on the device asks for a token, at most so often.
    #[must_use]
    pub fn with_wishes(self, wishes: u8) -> Self {
        Self { wishes, ..self }
    }

    /// The same, while the server's control map holds the deployment back before this step, until it was fetched again.
    #[must_use]
    pub fn held_back(mut self, point: Point) -> Self {
        // With the offer, at the doors up to this one, and once more there.
        let answers = match point {
            Point::Install => 2,
            Point::Reboot => 3,
            Point::Commit => 4,
        };
        self.outside.server.map = Some((point, Vote::Pause, answers));
        self
    }

    /// One deployment, installed by the daemon or by the command line, on a device with these settings and scripts.
    #[must_use]
    pub fn of(given: &'d Given, profile: Profile, budget: Budget, standalone: bool) -> Self {
        let resume_downloads = given.config.resume_downloads && !standalone;
        let setup = Setup { resume_downloads, given: Some(given), once: true, ..Setup::new(standalone) };
        Self::new(profile, budget, setup, StopSet::default())
    }

    fn new(profile: Profile, budget: Budget, setup: Setup<'d>, stop_before: StopSet) -> Self {
        let begun = (Begun::nothing(), None);
        let records = Records { update: None, report: None, offer: None, name: Name::Old, maps: None, begun };
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
            wishes: 0,
            passed: Passed::default(),
        };
        let run = if setup.standalone { Run::Install } else { Run::Daemon };
        if new.start(run).is_err() {
            new.memory.complain("the first start is refused");
        }
        new
    }

    fn config(&self) -> Config {
        let resume_downloads = self.setup.resume_downloads;
        let given = self.setup.given.map_or_else(Config::default, |given| given.config.clone());
        Config { resume_downloads, ..given }
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
            report: records.report.clone().filter(|_| run == Run::Daemon && records.update.is_none()),
            offer,
            payload: self.payload(),
            deployment: self.outside.server.offers(),
            mistake: self.setup.mistake,
            maps: records.maps.clone(),
            begun: records.begun.clone(),
        };
        let client = Client::start(NOW, start)?;
        self.trouble.started();
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
        self.outside.device.boot();
        self.start_again()
    }

    /// The process is gone. The daemon is started again.
    fn start_again(&mut self) -> Result<(), String> {
        self.outside.server.down = [false; SERVERS as usize];
        self.stubborn = false;
        self.memory.restarted();
        let Outside { device, records, .. } = &self.outside;
        if self.setup.standalone {
            self.memory.abandoned |= device.tree && records.update.is_none();
            self.process = Process::Rests { success: false };
            return Ok(());
        }
        if let Some(record) = &records.update {
            let record = Checkpoint { offer: records.offer.is_some(), ..record.clone() };
            invariants::resumes_twice(&record, |record| {
                let saved = Saved {
                    update: Some(record),
                    maps: Doors::maps(records.maps.as_deref()),
                    ..Saved::nothing()
                };
                let start = Machine::start(NOW, &self.config(), Run::Daemon, self.stop_before, saved);
                start.ok().map(|(machine, _)| machine)
            })?;
        }
        self.start(Run::Daemon).map_err(|refusal| format!("the daemon does not start: {refusal:?}"))
    }

    /// The client is told to end, does so, and is started again.
    fn terminate(&mut self) -> Result<&Self, String> {
        self.budget.losses -= 1;
        self.start_again()?;
        Ok(self)
    }
}

impl Setup<'_> {
    const fn new(standalone: bool) -> Self {
        let (resume_downloads, keeps_server, once) = (false, false, false);
        Self { standalone, resume_downloads, keeps_server, mistake: None, given: None, once }
    }

    /// There is a script of this number.
    fn has_script(&self, transition: Transition, index: u16) -> bool {
        index < self.given.map_or(1, |given| given.scripts_at(transition))
    }
}

/// The mistake that nobody but the first server is asked for a token.
fn is_left_out(setup: Setup<'_>, todo: Todo) -> bool {
    setup.mistake == Some(Mistake::SecondServerIsNotAsked)
        && matches!(todo, Todo::Send(RequestKind::Token, 1..))
}

impl Whole<'_> {
    /// What can happen while the client runs: this is done, or goes wrong, or the power is lost around it.
    fn runs(&self, client: &Client, todo: Todo, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        let label = |how| Label::Step(client.place(), What(todo), how);
        if let Todo::Op(op) = todo {
            let records = &self.outside.records;
            invariants::before(
                op,
                records.update.as_ref(),
                &self.outside.device,
                client.machine(),
                self.trouble,
            )?;
        }
        if let Todo::Send(RequestKind::Status(Status::Success), _) = todo {
            invariants::before_success(&self.outside.device)?;
        }
        let mut good = self.clone();
        let answer = match (todo, good.works(todo)) {
            _ if is_left_out(self.setup, todo) => Answer::Session(session::Event::NotSent),
            (Todo::Op(Op::RunScript(..)), _) if self.stubborn => Answer::Op(Outcome::Later(None)),
            (_, answer) => answer,
        };
        let after = (self.budget.losses > 0 && good.outside != self.outside).then(|| good.clone());
        if todo == Todo::Op(Op::Reboot) {
            let mut rebooted = self.clone();
            rebooted.reboot()?;
            visit(label(""), &rebooted);
        } else {
            if good.is_over(todo) {
                good.is_good_at_end()?;
                good.is_told()?;
                good.next_deployment();
            }
            let failed = answer == Answer::Op(Outcome::Failure);
            good.then(todo, answer);
            visit(label(if failed { " fails" } else { "" }), &good);
        }
        if self.budget.failures > 0 && !self.stubborn {
            self.goes_wrong(todo, &mut |how, new, answer| {
                if new.is_over(todo) {
                    new.next_deployment();
                }
                new.then(todo, answer);
                visit(label(how), new);
            });
        }
        if self.budget.losses > 0 {
            let half = self.half_done(todo);
            visit(label(" ** power lost before"), self.clone().lose()?);
            if let Some(half) = &half {
                visit(label(" ** power lost inside"), half.clone().lose()?);
            }
            if let Some(after) = &after {
                visit(label(" ** power lost after"), after.clone().lose()?);
            }
            // Where no boot loader counts, what is told to end finds what a loss of power leaves.
            if self.outside.device.profile.slots {
                visit(label(" ** told to end before"), self.clone().terminate()?);
                if let Some(mut half) = half {
                    visit(label(" ** told to end inside"), half.terminate()?);
                }
                if let Some(mut after) = after {
                    visit(label(" ** told to end after"), after.terminate()?);
                }
            }
        }
        Ok(())
    }

    /// With this the client is done with the deployment.
    fn is_over(&self, todo: Todo) -> bool {
        let Process::Runs(client) = &self.process else { return false };
        let unheard = client.machine().unheard().is_some();
        todo == Todo::Op(Op::ForgetReport) || (todo == Todo::Op(Op::End) && !unheard)
    }

    /// The server has heard how the deployment ended, or did not want to.
    fn is_told(&self) -> Result<(), String> {
        if self.memory.had_record() && !self.outside.server.is_over() {
            return Err("the deployment is over, and the server was never told how it ended".into());
        }
        Ok(())
    }

    /// The deployment is over, and its server has another one, or none. The device begins anew as one that runs the old
    /// content. What is still on record stays there.
    fn next_deployment(&mut self) {
        if self.setup.once || self.outside.server.is_last() {
            self.process = Process::Ended;
            return;
        }
        let Outside { device, records, server, partial: _ } = &mut self.outside;
        *device = Device::new(device.profile);
        records.name = Name::Old;
        server.go_on();
        self.trouble = Trouble { clear: self.trouble.clear, ..Trouble::default() };
        self.memory.deployment_over();
        let Budget { failures, .. } = self.budget;
        self.budget = Budget { failures: failures.min(1), losses: 0 };
        if let Process::Runs(client) = &mut self.process {
            client.deployment = self.outside.server.offers();
            if self.setup.mistake == Some(Mistake::RefusalIsAWish) && self.outside.server.offers_before {
                client.check(NOW);
            }
        }
    }

    /// The update waits at a door: time passes, or the power is lost, or the client is told to end.
    fn waits(&self, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        let mut later = self.clone();
        later.waits_on();
        visit(Label::Waits, &later);
        if self.budget.losses > 0 {
            visit(Label::Lost, self.clone().lose()?);
            if self.outside.device.profile.slots {
                visit(Label::Ends, self.clone().terminate()?);
            }
        }
        Ok(())
    }

    /// Somebody at the device lets the update pass the door at which it is held back.
    fn is_approved(&self, client: &Client, visit: &mut impl FnMut(Label, &Self)) {
        let mut new = self.clone();
        if let Process::Runs(client) = &mut new.process {
            client.approve(NOW);
            new.memory.approved(client);
        }
        new.settle(NOW, false);
        visit(Label::Approved(client.place()), &new);
    }

    /// A program on the device wants a token.
    fn wants_token(&self, client: &Client, visit: &mut impl FnMut(Label, &Self)) {
        let mut new = Self { wishes: self.wishes - 1, ..self.clone() };
        if let Process::Runs(client) = &mut new.process {
            client.fetch_token(NOW);
        }
        new.settle(NOW, false);
        visit(Label::Wish(client.place()), &new);
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

    /// The command line could not write its first record, which was to say that it stopped before its clean-up.
    fn has_no_first_record(&self) -> bool {
        self.setup.standalone && self.trouble.stale && !self.memory.had_record()
    }

    fn is_good_at_end(&self) -> Result<(), String> {
        let Outside { device, records, server, partial } = &self.outside;
        let verdict = server.status.filter(|status| matches!(status, Status::Success | Status::Failure));
        let end = invariants::End {
            record: records.update.is_some() || records.report.is_some(),
            offer: records.offer.is_some(),
            partial: partial.is_some(),
            device,
            name: records.name,
            verdict,
            tree_may_stay: self.memory.looped || self.memory.abandoned || self.has_no_first_record(),
        };
        invariants::at_end(end, self.trouble)
    }
}

/// Something that happens, for a line of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Label {
    /// What was done outside, at a place of the machine, and how it ended when that is not plain success.
    Step(Place, What, &'static str),
    /// A program on the device wants a token, at this place of the machine.
    Wish(Place),
    /// Somebody at the device lets the update pass, at this place of the machine.
    Approved(Place),
    /// The update waits at a door until it looks again.
    Waits,
    /// Power is lost while it waits there.
    Lost,
    /// The client is told to end while it waits there.
    Ends,
    /// The user's verb.
    Verb(Verb),
    /// The user reboots the device.
    UserReboots,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step((state, phase), What(todo), how) => write!(f, "{state:?} {phase:?}: {todo:?}{how}"),
            Self::Wish((state, phase)) => write!(f, "{state:?} {phase:?}: a program wants a token"),
            Self::Approved((state, phase)) => write!(f, "{state:?} {phase:?}: the update is let pass"),
            Self::Waits => f.write_str("** time passes"),
            Self::Lost => f.write_str("** power lost while the update waits"),
            Self::Ends => f.write_str("** told to end while the update waits"),
            Self::Verb(verb) => write!(f, "$ {verb:?}"),
            Self::UserReboots => f.write_str("$ reboot"),
        }
    }
}

/// What was done outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct What(Todo);

impl Model for Whole<'_> {
    type Label = Label;

    fn next(&self, visit: &mut impl FnMut(Label, &Self)) -> Result<(), String> {
        if let Some(wrong) = self.memory.wrong().or(self.outside.server.wrong) {
            return Err(wrong.into());
        }
        match &self.process {
            Process::Runs(client) => {
                client.clone().terminate(NOW)?;
                if client.waits_at_door() {
                    self.waits(visit)?;
                }
                for todo in [client.work, client.request] {
                    if todo != Todo::Wait {
                        self.runs(client, todo, visit)?;
                    }
                }
                if client.machine().held().is_some() {
                    self.is_approved(client, visit);
                }
                if self.wishes > 0 {
                    self.wants_token(client, visit);
                }
                Ok(())
            }
            Process::Rests { success } => self.rests(*success, visit),
            Process::Ended => {
                self.is_good_at_end()?;
                self.is_told()
            }
        }
    }
}
