//! What comes between two things that are done outside: the client takes in what was done, time passes up to the next
//! deadline and the next, and the checker looks at each step.

use thimble_core::api::Reply;
use thimble_core::machine::Op;
use thimble_core::retry::SHORTEST;
use thimble_core::session::{self, Content, RequestKind};
use thimble_core::state::State;
use thimble_core::time::{Duration, Instant};
use thimble_core::transfer;

use super::check::Memory;
use super::client::{Answer, Client, SERVERS, Todo};
use super::{NOW, Process, Setup, Whole, is_left_out};
use crate::mistake::Mistake;

/// More deadlines than pass one after the other before something is to be done.
const WAITS: usize = 100;

impl Whole<'_> {
    /// This was done outside, and is taken in; time passes until something is to be done again.
    pub(super) fn then(&mut self, todo: Todo, answer: Answer) {
        let Process::Runs(client) = &mut self.process else { return };
        let own_fault = answer == Answer::Session(session::Event::IdentityFailed)
            || (todo == Todo::Identity && answer == Answer::Silence);
        let (work, state) = (client.work, client.place().0);
        let mut now = NOW;
        client.answered(now, todo, answer);
        if answer == Answer::Silence {
            now = self.falls_silent(todo);
        }
        self.notes_failure(now, todo, state, answer);
        self.settle(now, own_fault);
        self.stubborn &= matches!(&self.process, Process::Runs(client) if client.work == work);
    }

    /// Nothing comes from anywhere: the clock goes to one deadline after the other, until this is not asked for any
    /// more. The time then.
    fn falls_silent(&mut self, todo: Todo) -> Instant {
        let Process::Runs(client) = &mut self.process else { return NOW };
        let mistake = self.setup.mistake;
        let forgets = mistake == Some(Mistake::ScriptsHaveNoLimit)
            && matches!(todo, Todo::Op(Op::RunScript(..)))
            || mistake == Some(Mistake::IdentityHasNoLimit) && todo == Todo::Identity;
        let mut now = NOW;
        for _ in 0..WAITS {
            if !client.has(todo) {
                return now;
            }
            let Some(at) = client.deadline().filter(|_| !forgets) else { break };
            now = now.max(at);
            let own_fault = client.has(Todo::Identity);
            client.tick(now);
            notice(self.setup, &mut self.memory, now, client, own_fault);
        }
        self.memory.complain("something that never ends has no time limit");
        now
    }

    /// Time passes at a door, up to the next deadline.
    pub(super) fn waits_on(&mut self) {
        let Process::Runs(client) = &mut self.process else { return };
        let Some(at) = client.deadline() else {
            self.memory.complain("the client waits for nothing");
            return;
        };
        let now = at.max(NOW);
        let own_fault = client.has(Todo::Identity);
        client.tick(now);
        self.settle(now, own_fault);
    }

    /// A request that failed is not repeated at once.
    fn notes_failure(&mut self, now: Instant, todo: Todo, state: State, answer: Answer) {
        use session::Event::{Broken, Head, NotSent};
        use transfer::Event as Transfer;
        let is_call =
            matches!(todo, Todo::Send(kind, _) | Todo::Read(kind, ..) if kind != RequestKind::Token);
        // A last report that is refused for good, whatever the body says, makes room for the poll itself.
        let is_late = state == State::Poll
            && matches!(
                todo,
                Todo::Read(RequestKind::Status(_) | RequestKind::StatusAlone(_) | RequestKind::Log, ..)
            );
        match answer {
            Answer::Content(Content::Unusable) if is_late => {}
            Answer::Session(Broken { .. } | NotSent | Head(Reply::Failed(_) | Reply::Later(_)))
            | Answer::Content(Content::Unusable)
            | Answer::Silence
                if is_call =>
            {
                self.memory.not_before(state, now + SHORTEST);
            }
            Answer::Transfer(Transfer::Broken { .. }) | Answer::Head(Transfer::Broken { .. }) => {
                self.memory.no_download_before(now + SHORTEST);
            }
            Answer::Op(_)
            | Answer::Session(_)
            | Answer::Content(_)
            | Answer::Transfer(_)
            | Answer::Head(_)
            | Answer::Accepted { .. }
            | Answer::Module(_)
            | Answer::Silence => {}
        }
    }

    /// Time passes until something is to be done; then it is set back.
    pub(super) fn settle(&mut self, mut now: Instant, own_fault: bool) {
        let Process::Runs(client) = &mut self.process else { return };
        notice(self.setup, &mut self.memory, now, client, own_fault);
        let (idle, waits) = (client.place().0 == State::Idle, client.todo() == Todo::Wait);
        // A program that wants a token gets its answer first.
        let wished = client.session().is_authenticating();
        let unheard = client.machine().unheard().is_some();
        let gone = self.memory.is_gone(self.outside.records.update.is_some() || unheard) && !wished;
        let over = waits && !unheard && self.outside.server.is_over();
        if !self.setup.standalone && idle && (gone || over) {
            // The daemon has nothing more to do with the deployment.
            self.process = Process::Ended;
            return;
        }
        if client.flow().session().waits_for_room() {
            client.tick(now);
            notice(self.setup, &mut self.memory, now, client, false);
        }
        if self.setup.mistake == Some(Mistake::PausesAreApproved) && client.waits_at_door() {
            client.approve(now);
            notice(self.setup, &mut self.memory, now, client, false);
        }
        let mut waits = 0;
        while client.todo() == Todo::Wait && !client.waits_at_door() {
            if let Err(wrong) = client.clone().terminate(now) {
                self.memory.complain(wrong);
            }
            let Some(at) = client.deadline().filter(|_| waits < WAITS) else {
                self.memory.complain("the client waits for nothing");
                break;
            };
            waits += 1;
            client.tick(now.max(at));
            if self.setup.mistake != Some(Mistake::RequestsAreNotSpaced) {
                now = now.max(at);
            }
            notice(self.setup, &mut self.memory, now, client, false);
        }
        if now != NOW {
            self.passed.0 = Duration::from_millis(self.passed.0.as_millis() + now.since(NOW).as_millis());
            client.rebase(now, NOW);
            self.memory.rebase(now, NOW);
        }
        self.outside.records.maps.clone_from(&client.maps);
        if let Todo::Exit(report) = client.work {
            self.process = Process::Rests { success: report.is_success() };
            return;
        }
        if client.request == Todo::Wait {
            self.outside.server.down = [false; SERVERS as usize];
        }
    }
}

/// The checker looks at what the client has come to, and at what it wants done.
fn notice(setup: Setup<'_>, memory: &mut Memory, now: Instant, client: &mut Client, own_fault: bool) {
    memory.settled(now, client, own_fault);
    for todo in client.news() {
        if todo == Todo::Identity {
            memory.authenticates(now);
        } else if let Todo::Send(kind, server) = todo
            && !is_left_out(setup, todo)
        {
            let twice = setup.mistake == Some(Mistake::FirstServerIsAskedTwice);
            let server = if twice && kind == RequestKind::Token { 0 } else { server };
            memory.sends(kind, server, client.place().0);
        } else if let Todo::Download(offset) = todo {
            memory.downloads(client, offset, !setup.standalone);
        } else if let Todo::Op(op) = todo {
            memory.begins(op, client.place().0);
        } else if todo == Todo::EndFile {
            memory.file_ends(client.file);
        }
    }
}
