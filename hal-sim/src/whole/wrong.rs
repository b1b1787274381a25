//! What is to be done outside goes wrong, in each of its ways, or is half done when power is lost.

use thimble_core::api::Reply;
use thimble_core::control::Vote;
use thimble_core::deployment::{Call, Status};
use thimble_core::http::{Head, RetryAfter};
use thimble_core::machine::Op;
use thimble_core::session::{self, Content, RequestKind};
use thimble_core::state::Outcome;
use thimble_core::time::Duration;
use thimble_core::transfer::{self, Etag};

use super::artifact::{Stored, Version};
use super::client::{Answer, SERVERS, Todo};
use super::outside::Server;
use super::{NOW, Process, Whole};
use crate::mistake::Mistake;

/// What the servers ask for when they ask to wait, in seconds.
const RETRY_AFTER: u32 = 90;

/// How something goes wrong.
type Wrong<'a, 'd> = &'a mut dyn FnMut(&'static str, &mut Whole<'d>, Answer);

impl<'d> Whole<'d> {
    /// The ways in which this goes wrong by itself in this world, each with what it leaves behind.
    ///
    /// Something that never ends is among them where the client sets the limit. The platform sets the others, and has
    /// tests of its own for them: while the device's programs say what it has, while records are written,
    /// and while the bytes of an artifact come and are judged.
    pub(super) fn goes_wrong(&self, todo: Todo, visit: Wrong<'_, 'd>) {
        let mut plain = self.clone();
        plain.budget.failures -= 1;
        match todo {
            Todo::Wait | Todo::Exit(_) => {}
            Todo::Op(op) => {
                let mistake = self.setup.mistake;
                plain.operation_goes_wrong(op, &mut |how, new, answer| {
                    let is_no = !matches!(answer, Answer::Op(Outcome::Later(_)));
                    if is_no && how != " cannot reach the boot loader" {
                        new.memory.failed(op);
                    }
                    let is_taken = answer == Answer::Op(Outcome::Failure)
                        && match mistake {
                            Some(Mistake::ScriptsNoIsYes) => matches!(op, Op::RunScript(..)),
                            Some(Mistake::VerifyIsYes) => op == Op::CallModule(Call::ArtifactVerifyReboot),
                            Some(_) | None => false,
                        };
                    visit(how, new, if is_taken { Answer::Op(Outcome::Success) } else { answer });
                });
            }
            Todo::Identity => {
                visit(" fails", &mut plain.clone(), Answer::Session(session::Event::IdentityFailed));
                visit(" does not end", &mut plain, Answer::Silence);
            }
            Todo::Inventory => visit(" fails", &mut plain, Answer::Session(session::Event::InventoryFailed)),
            Todo::Send(_, number) if self.outside.server.is_down(number) => {}
            Todo::Send(kind, number) => plain.request_goes_wrong(kind, number, visit),
            Todo::Read(kind, _, reply) => {
                let broken = session::Event::Broken { lost: true };
                visit(" breaks off", &mut plain.clone(), Answer::Session(broken));
                visit(" does not end", &mut plain.clone(), Answer::Silence);
                if kind == RequestKind::ControlMap && reply == Reply::Done {
                    plain.map_goes_wrong(todo, visit);
                }
                visit(" makes no sense", &mut plain, Answer::Content(Content::Unusable));
            }
            Todo::Download(_) => plain.download_goes_wrong(todo, visit),
            Todo::Receive => {
                let broken = |again| Answer::Transfer(transfer::Event::Broken { again });
                visit(" breaks off", &mut plain.clone(), broken(true));
                visit(" breaks off for good", &mut plain, broken(false));
            }
            Todo::StartModule(_) => visit(" does not start", &mut plain, Answer::Module(false)),
            Todo::Finish if self.setup.mistake == Some(Mistake::BrokenPayloadIsTaken) => {
                visit(" fails", &mut plain, Answer::Transfer(transfer::Event::Done));
            }
            Todo::BeginFile | Todo::Write { .. } | Todo::EndFile | Todo::Finish => {
                visit(" fails", &mut plain.clone(), Answer::Transfer(transfer::Event::Failed));
                visit(" does not end", &mut plain, Answer::Silence);
            }
            Todo::Accept { .. } | Todo::Mark | Todo::ReadBack(_) | Todo::Forget(_) => {
                visit(" fails", &mut plain, Answer::Transfer(transfer::Event::Failed))
            }
            // Nothing but a comparison.
            Todo::Compare => {}
        }
    }

    fn operation_goes_wrong(mut self, op: Op, visit: Wrong<'_, 'd>) {
        let failed = Answer::Op(Outcome::Failure);
        match op {
            Op::Save
            | Op::SaveReport
            | Op::SaveProvides(_)
            | Op::ClearData
            | Op::ForgetReport
            | Op::SaveBegun => {
                self.trouble.wrote(op, false);
                visit(" cannot be written", &mut self, failed);
            }
            Op::RunScript(transition, index) if self.setup.has_script(transition, index) => {
                visit(" fails", &mut self.clone(), failed);
                visit(" cannot be read", &mut self.clone(), Answer::Op(Outcome::Refused));
                visit(" does not end", &mut self.clone(), Answer::Silence);
                visit(" asks for later", &mut self.clone(), Answer::Op(Outcome::Later(None)));
                self.stubborn = true;
                visit(" asks for later, for ever", &mut self, Answer::Op(Outcome::Later(None)));
            }
            Op::CallModule(call) if call.is_query() => {
                let yes = self.setup.mistake == Some(Mistake::FailedQueryIsYes);
                visit(" does not end", &mut self.clone(), Answer::Silence);
                visit(" fails", &mut self, if yes { Answer::Op(Outcome::Success) } else { failed });
            }
            Op::CallModule(call) => {
                if call == Call::ArtifactRollback && self.outside.device.profile.slots {
                    let again = Answer::Op(Outcome::Later(None));
                    visit(" cannot reach the boot loader", &mut self.clone(), again);
                }
                let mut half = self.clone();
                half.outside.device.half_call(call);
                let mut late = self.clone();
                late.outside.device.call(call);
                let silent = half.clone();
                let all = [
                    (" fails", self, failed),
                    (" fails in the middle", half, failed),
                    (" fails after its work", late, failed),
                    (" does not end", silent, Answer::Silence),
                ];
                for (what, mut new, answer) in all {
                    if call == Call::Cleanup {
                        // The client removes the tree whatever the module says.
                        new.outside.device.clean();
                        new.outside.partial = None;
                        new.trouble.cleaned();
                        new.trouble.cleanup_failed(new.outside.records.name, new.outside.server.status);
                    }
                    visit(what, &mut new, answer);
                }
            }
            Op::CheckVersion | Op::CheckRunning => visit(" fails", &mut self, failed),
            Op::Reboot => {
                visit(" does not happen", &mut self.clone(), failed);
                visit(" does not come", &mut self, Answer::Silence);
            }
            // Read-only, never asked for here, or no operation of its own.
            Op::RunScript(..) | Op::End | Op::SaveMaps | Op::AskPolicy(_) => {}
            Op::Prepare | Op::Stream(_) | Op::Request(_) => {}
        }
    }

    fn request_goes_wrong(self, kind: RequestKind, number: u8, visit: Wrong<'_, 'd>) {
        let head = |reply| Answer::Session(session::Event::Head(reply));
        let lost = Answer::Session(session::Event::Broken { lost: true });
        let changed = |change: fn(&mut Server, u8)| {
            let mut new = self.clone();
            change(&mut new.outside.server, number);
            new
        };
        visit(" does not arrive", &mut self.clone(), lost);
        visit(" is not sent", &mut self.clone(), Answer::Session(session::Event::NotSent));
        visit(" is not answered", &mut self.clone(), Answer::Silence);
        visit(" is answered 500", &mut self.clone(), head(Reply::Failed(500)));
        let mut later = self.clone();
        later.put_off(kind, number);
        let mistake = match kind {
            RequestKind::Token => Mistake::WaitForTokenIsNotKept,
            RequestKind::NextV2
            | RequestKind::NextV1
            | RequestKind::Status(_)
            | RequestKind::StatusAlone(_)
            | RequestKind::Log
            | RequestKind::Inventory
            | RequestKind::ControlMap => Mistake::RetryAfterIsNotKept,
        };
        let seconds = (self.setup.mistake != Some(mistake)).then_some(RETRY_AFTER);
        visit(" is answered 429 with a time", &mut later, head(Reply::Later(seconds)));
        visit(" is answered 429", &mut self.clone(), head(Reply::Later(None)));
        visit(
            ", and this server is down",
            &mut changed(|server, number| {
                if let Some(down) = server.down.get_mut(usize::from(number)) {
                    *down = true;
                }
            }),
            lost,
        );
        visit(
            ", and no server answers any more",
            &mut changed(|server, _| server.down = [true; SERVERS as usize]),
            lost,
        );
        let mut refused = self.clone();
        refused.memory.refused();
        visit(" is answered 401", &mut refused, head(Reply::Unauthorized));
        match kind {
            RequestKind::NextV2 if !self.outside.server.old => {
                visit(
                    " is answered 404, now and later",
                    &mut changed(|server, _| server.old = true),
                    head(Reply::NotFound),
                );
            }
            RequestKind::Status(_) | RequestKind::StatusAlone(_) => {
                if matches!(kind, RequestKind::Status(_)) {
                    visit(" is answered 400", &mut self.clone(), head(Reply::SubstateRefused));
                }
                visit(
                    " is answered 404, now and later",
                    &mut changed(|server, _| server.forgot = true),
                    head(Reply::NotFound),
                );
                visit(
                    " is answered 409",
                    &mut changed(|server, _| server.aborted = true),
                    head(Reply::Aborted),
                );
                let mut refused = self.clone();
                let is_last = matches!(
                    kind,
                    RequestKind::Status(Status::Success | Status::Failure)
                        | RequestKind::StatusAlone(Status::Success | Status::Failure)
                );
                // Nobody will tell the server how the deployment ended.
                refused.outside.server.refused |= is_last;
                visit(" is answered 413", &mut refused, head(Reply::TooLarge));
            }
            RequestKind::Log => visit(" is answered 413", &mut self.clone(), head(Reply::TooLarge)),
            RequestKind::ControlMap => {
                visit(" is answered 404", &mut self.clone(), head(Reply::NotFound));
                visit(
                    " is answered 409",
                    &mut changed(|server, _| server.aborted = true),
                    head(Reply::Aborted),
                );
            }
            RequestKind::Token | RequestKind::NextV2 | RequestKind::NextV1 | RequestKind::Inventory => {}
        }
        // A token that does not arrive is as if it had never been given.
        if kind != RequestKind::Token {
            let mut unheard = self;
            let _ = unheard.works(Todo::Send(kind, number));
            visit(" arrives, its answer does not", &mut unheard, lost);
        }
    }

    /// The control map that was fetched says something else than hoped for.
    fn map_goes_wrong(&self, todo: Todo, visit: Wrong<'_, 'd>) {
        let Some((point, ..)) = self.outside.server.map else { return };
        for (what, vote, answers) in
            [(" holds the update back once more", Vote::Pause, 1), (" ends the update", Vote::Fail, 1)]
        {
            let mut new = self.clone();
            new.outside.server.map = Some((point, vote, answers));
            let answer = new.works(todo);
            visit(what, &mut new, answer);
        }
        let mut new = self.clone();
        if let Process::Runs(client) = &mut new.process {
            client.map = None;
        }
        visit(" cannot be used", &mut new, Answer::Content(Content::Good));
    }

    /// The server says when it may be asked again.
    fn put_off(&mut self, kind: RequestKind, server: u8) {
        let until = NOW + Duration::from_secs(RETRY_AFTER.into());
        if kind == RequestKind::Token {
            self.memory.put_off(server, until);
        } else if let Process::Runs(client) = &self.process {
            self.memory.not_before(client.place().0, until);
        }
    }

    fn download_goes_wrong(self, todo: Todo, visit: Wrong<'_, 'd>) {
        let head = |status, retry_after| {
            let head = Head { status, content_length: None, content_range: None, retry_after };
            Answer::Head(transfer::Event::Head(head, Etag::Unknown))
        };
        visit(" is not sent", &mut self.clone(), Answer::Transfer(transfer::Event::Broken { again: true }));
        let broken = |again| Answer::Head(transfer::Event::Broken { again });
        visit(" is not answered", &mut self.clone(), broken(true));
        visit(" is not answered, and never will be", &mut self.clone(), broken(false));
        visit(" is answered 404", &mut self.clone(), head(404, None));
        visit(" is answered 500", &mut self.clone(), head(500, None));
        let seconds = RETRY_AFTER;
        let mut later = self.clone();
        later.memory.no_download_before(NOW + Duration::from_secs(seconds.into()));
        let read =
            (self.setup.mistake != Some(Mistake::RetryAfterIsNotKept)).then_some(RetryAfter { seconds });
        visit(" is answered 429", &mut later, head(429, read));
        let mut expired = self.clone();
        expired.link_expires();
        visit(", and the link has expired", &mut expired, head(403, None));
        if self.outside.server.artifact == Version::First {
            let mut changed = self;
            changed.outside.server.artifact = Version::Second;
            let answer = changed.works(todo);
            visit(", and the artifact has changed", &mut changed, answer);
        }
    }

    /// The link that the client has, and may have on record, is of no use any more.
    fn link_expires(&mut self) {
        if let Some((_, link)) = &mut self.outside.records.offer {
            *link = false;
        }
        if let Process::Runs(client) = &mut self.process {
            client.link = Some(false);
        }
    }

    /// What is half done when power is lost inside of it; `None`: nothing is ever half done.
    pub(super) fn half_done(&self, todo: Todo) -> Option<Self> {
        let Process::Runs(client) = &self.process else { return None };
        let mut new = self.clone();
        if let Todo::Op(Op::CallModule(call)) = todo {
            new.outside.device.half_call(call);
        } else if let Todo::Accept { .. } = todo {
            // The work tree is there, its record is not.
            let _ = new.works(todo);
            new.outside.records = self.outside.records.clone();
        } else if todo == Todo::Mark {
            // A disk that keeps the mark and loses what it speaks of.
            let damaged = |file: Stored| Stored { damaged: true, ..file };
            new.outside.partial = client.file.map(damaged);
        } else {
            return None;
        }
        (new.outside != self.outside).then_some(new)
    }
}
