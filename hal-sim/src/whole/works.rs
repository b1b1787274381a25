//! What is to be done outside is done, and works.

use thimble_core::api::Reply;
use thimble_core::checkpoint::Tag;
use thimble_core::control::Vote;
use thimble_core::deployment::{Call, Naming, Status};
use thimble_core::flow::Beside;
use thimble_core::http::{ContentRange, Head};
use thimble_core::machine::{Machine, Op};
use thimble_core::session::{self, Content, RequestKind};
use thimble_core::state::{Outcome, State};
use thimble_core::transfer::{self, Accepted, Etag};

use super::artifact::{Chunk, Stored, length};
use super::client::{Answer, Client, Todo};
use super::outside::{Outside, Records};
use super::{Process, Setup, Whole};
use crate::check::Trouble;
use crate::mistake::Mistake;
use crate::sayings::from_server;
use crate::world::{Name, Reboot};

impl Whole<'_> {
    /// This is done outside, and works: what the client hears.
    pub(super) fn works(&mut self, todo: Todo) -> Answer {
        let Self { setup, outside, process, memory, trouble, .. } = self;
        let Process::Runs(client) = process else { return Answer::Silence };
        let Outside { device, partial, records, server } = outside;
        let payload = device.profile.payload;
        let moved = |event| Answer::Transfer(event);
        let mistake = |mistake| setup.mistake == Some(mistake);
        match todo {
            Todo::Wait | Todo::Exit(_) => Answer::Silence,
            Todo::Op(op) => {
                if op == Op::CallModule(Call::Cleanup) {
                    trouble.cleaned();
                }
                if matches!(
                    op,
                    Op::Save | Op::SaveReport | Op::SaveProvides(_) | Op::ClearData | Op::SaveMaps
                ) {
                    client.write_maps();
                    outside.records.maps.clone_from(&client.maps);
                }
                save_begun(*setup, &mut outside.records, client, op);
                let outcome = operation(*setup, outside, client, op, *trouble);
                trouble.wrote(op, true);
                Answer::Op(outcome)
            }
            Todo::StartModule(_) => {
                device.receive();
                Answer::Module(true)
            }
            Todo::Identity => Answer::Session(session::Event::IdentityReady),
            Todo::Inventory => Answer::Session(session::Event::InventoryReady { same_as_accepted: false }),
            Todo::Send(_, number) if server.is_down(number) => {
                Answer::Session(session::Event::Broken { lost: true })
            }
            Todo::Send(kind, _) => {
                let reply = match kind {
                    RequestKind::Token => Reply::Done,
                    RequestKind::NextV2 if server.old => Reply::NotFound,
                    RequestKind::NextV2 | RequestKind::NextV1 => {
                        client.deployment = server.offers();
                        if server.hand_out(records.name) { Reply::Done } else { Reply::Nothing }
                    }
                    RequestKind::Status(_) | RequestKind::StatusAlone(_) | RequestKind::Log
                        if server.forgot =>
                    {
                        Reply::NotFound
                    }
                    RequestKind::Status(status) | RequestKind::StatusAlone(status) => {
                        trouble.reported();
                        let early = mistake(Mistake::ReportsGoBackwards) && status == Status::Rebooting;
                        let status = if early { Status::Downloading } else { status };
                        let of = client.machine().reported();
                        if trouble.clear && of != server.id() {
                            // An earlier one, of which this server has heard.
                            Reply::Done
                        } else if server.hear(status, of, !payload, trouble.told) {
                            Reply::Done
                        } else {
                            Reply::Aborted
                        }
                    }
                    RequestKind::ControlMap if server.aborted => Reply::Aborted,
                    RequestKind::Log | RequestKind::Inventory | RequestKind::ControlMap => Reply::Done,
                };
                Answer::Session(session::Event::Head(reply))
            }
            Todo::Read(kind, number, reply) => {
                if reply == Reply::NotFound {
                    memory.unknown(client.place(), number);
                }
                if matches!(kind, RequestKind::NextV2 | RequestKind::NextV1)
                    && (client.place().0, reply) == (State::Poll, Reply::Done)
                {
                    memory.offered(number);
                    server.offers_before = false;
                }
                if (kind, reply) == (RequestKind::Token, Reply::Done) {
                    let kept = mistake(Mistake::TokenIsKept);
                    let state = client.place().0;
                    let old = mistake(Mistake::TokenOutlivesInstall) && state == State::ReportCommit;
                    memory.token(number, kept, !old && state == State::ReportCommit);
                }
                if let (RequestKind::NextV2 | RequestKind::ControlMap, Reply::Done) = (kind, reply) {
                    client.map = server.says();
                    memory.hears(client.map.as_ref());
                    if mistake(Mistake::RefreshIsDeaf) && kind == RequestKind::ControlMap {
                        client.map = server.map.map(|(point, ..)| from_server(point, Vote::Pause, None));
                    }
                }
                Answer::Content(Content::Good)
            }
            Todo::Download(offset) => Answer::Head(head(setup.mistake, outside, client, offset)),
            Todo::Receive => {
                let chunk = Chunk::of(server.artifact, client.next_byte, length(payload));
                if chunk.length == 0 {
                    let complete = client.parser.is_complete(length(payload));
                    return moved(if complete { transfer::Event::Complete } else { transfer::Event::Failed });
                }
                client.next_byte += chunk.length;
                client.chunk = Some(chunk);
                moved(transfer::Event::Came(chunk.length.into()))
            }
            Todo::Accept { again } => {
                if !payload {
                    if client.flow().goes_on() {
                        device.clean();
                        *partial = None;
                    }
                    return Answer::Accepted { accepted: Accepted::NoPayload, same_header: false };
                }
                // Both artifacts have the same header.
                let same_header = true;
                let kept = again && client.flow().header_is_stored(same_header);
                if kept {
                    device.prepare_again();
                } else {
                    device.prepare();
                    *partial = None;
                }
                if let Some(beside) = client.flow().saves_before_accepting(same_header) {
                    save(records, client, beside);
                    trouble.wrote(Op::Save, true);
                }
                Answer::Accepted { accepted: Accepted::Payload { kept }, same_header }
            }
            Todo::BeginFile => {
                client.file = None;
                let stored = partial.map_or(0, |stored| stored.length.into());
                moved(transfer::Event::FileBegan { stored })
            }
            Todo::Write { from, to } => {
                match client.chunk.and_then(|chunk| Stored::with(client.file, chunk, from, to)) {
                    Some(file) => client.file = Some(file),
                    None => memory.complain("the sink gets other bytes than the next ones of the file"),
                }
                moved(transfer::Event::Took(to.saturating_sub(from)))
            }
            Todo::Mark => {
                *partial = client.file;
                moved(transfer::Event::Done)
            }
            Todo::EndFile => moved(transfer::Event::Done),
            Todo::Finish => {
                device.received();
                moved(transfer::Event::Done)
            }
            Todo::ReadBack(most) => {
                let behind = client.file.map_or(0, |file| file.length);
                let chunk = partial.map(|stored| Chunk::of_file(stored, behind, most));
                let read = chunk.map_or(0, |chunk| chunk.length);
                client.chunk = chunk;
                if let Some(stored) = *partial {
                    client.file = Some(Stored { length: behind + read, ..stored });
                }
                moved(transfer::Event::ReadBack(read.into()))
            }
            Todo::Compare => {
                let same =
                    mistake(Mistake::DamagedFileIsUsed) || partial.is_some_and(|stored| !stored.damaged);
                moved(transfer::Event::Compared { same })
            }
            Todo::Forget(bytes) => {
                client.parser.restart_file(bytes);
                client.file = None;
                *partial = None;
                moved(transfer::Event::Done)
            }
        }
    }
}

/// An operation of the machine's does what it is meant to do.
fn operation(setup: Setup<'_>, outside: &mut Outside, client: &Client, op: Op, trouble: Trouble) -> Outcome {
    let Outside { device, partial, records, server: _ } = outside;
    let yes = |yes| if yes { Outcome::Success } else { Outcome::Nothing };
    let mistake = |mistake| setup.mistake == Some(mistake);
    match op {
        Op::Save => {
            let lost = mistake(Mistake::SaveIsLost)
                || (mistake(Mistake::NextSaveIsLost)
                    && trouble.stale
                    && is_on_the_way_back(client.machine()));
            if !lost {
                save(records, client, client.flow().saves_beside());
            }
            Outcome::Success
        }
        Op::SaveProvides(naming) => {
            records.name = match naming {
                Naming::Inconsistent | Naming::Loop if !mistake(Mistake::NameIsAlwaysNew) => {
                    Name::Inconsistent
                }
                Naming::Good | Naming::Inconsistent | Naming::Loop => Name::New,
            };
            if setup.standalone {
                clear(records, client);
            } else {
                records.update = Some(client.machine().checkpoint().clone());
            }
            Outcome::Success
        }
        Op::SaveReport => {
            if client.machine().is_late() {
                save_report(records, client);
            } else {
                clear(records, client);
            }
            if mistake(Mistake::ReportIsForgotten) {
                records.report = None;
            }
            Outcome::Success
        }
        Op::ForgetReport => {
            records.report = None;
            Outcome::Success
        }
        Op::ClearData => {
            let before = records.clone();
            clear(records, client);
            if mistake(Mistake::RecordIsLeft) {
                records.update = before.update;
            } else if mistake(Mistake::OfferIsLeft) {
                records.offer = before.offer;
            }
            Outcome::Success
        }
        Op::RunScript(transition, index) => yes(setup.has_script(transition, index)),
        Op::CheckVersion | Op::SaveMaps | Op::SaveBegun | Op::AskPolicy(_) | Op::End => Outcome::Success,
        // Slots are the built-in handler's, which knows whether the new one runs.
        Op::CheckRunning if device.trial && device.running != device.next => Outcome::Refused,
        Op::CheckRunning => Outcome::Success,
        Op::CallModule(Call::Cleanup) if !device.tree => Outcome::Success,
        Op::CallModule(call) if !client.flow().has_module() => {
            if call == Call::Cleanup {
                device.clean();
                *partial = None;
            }
            Outcome::Failure
        }
        Op::CallModule(Call::ProvidePayloadFileSizes) => Outcome::Nothing,
        Op::CallModule(Call::NeedsArtifactReboot) => match device.profile.reboot {
            Reboot::No => Outcome::Nothing,
            Reboot::Yes => Outcome::Success,
            Reboot::Automatic => Outcome::Automatic,
        },
        Op::CallModule(Call::SupportsRollback) => yes(device.profile.rollback),
        Op::CallModule(Call::ArtifactRollback) if mistake(Mistake::RollbackDoesNothing) => Outcome::Success,
        Op::CallModule(Call::ArtifactCommit) if mistake(Mistake::CommitDoesNothing) => Outcome::Success,
        Op::CallModule(Call::Cleanup) if mistake(Mistake::TreeIsLeft) => Outcome::Success,
        Op::CallModule(call) => {
            if call == Call::Cleanup && !mistake(Mistake::PartialIsLeft) {
                *partial = None;
            }
            if device.call(call) { Outcome::Success } else { Outcome::Failure }
        }
        // The machine reboots: never answered.
        Op::Reboot | Op::Prepare | Op::Stream(_) | Op::Request(_) => Outcome::Success,
    }
}

/// The record to be written is one of the way back.
fn is_on_the_way_back(machine: &Machine) -> bool {
    let tag = machine.checkpoint().tag;
    matches!(
        tag,
        Tag::Rollback | Tag::RollbackReboot | Tag::AfterRollbackReboot | Tag::Failure | Tag::Cleanup
    )
}

/// The record, with those beside it that are not stored yet.
fn save(records: &mut Records, client: &Client, beside: Beside) {
    if beside.offer {
        records.offer = client.link.map(|link| (client.etag, link));
    }
    records.update = Some(client.machine().checkpoint().clone());
}

fn clear(records: &mut Records, client: &Client) {
    save_report(records, client);
    records.update = None;
    records.offer = None;
}

/// The record of the deployments that began is what the client says, where that is written.
fn save_begun(setup: Setup<'_>, records: &mut Records, client: &Client, op: Op) {
    let machine = client.machine();
    let is_written = match op {
        Op::Save | Op::ClearData | Op::ForgetReport | Op::SaveBegun => true,
        Op::SaveReport => !machine.is_late(),
        Op::SaveProvides(_)
        | Op::SaveMaps
        | Op::RunScript(..)
        | Op::CheckVersion
        | Op::CheckRunning
        | Op::CallModule(_)
        | Op::Prepare
        | Op::Stream(_)
        | Op::Reboot
        | Op::Request(_)
        | Op::AskPolicy(_)
        | Op::End => false,
    };
    if let (true, Some(begun)) = (is_written, machine.begun_to_save()) {
        let by = client.flow().session().offered_by().filter(|_| setup.keeps_server);
        records.begun = (begun.clone(), by);
    }
}

/// The record of the last report is what the client says.
fn save_report(records: &mut Records, client: &Client) {
    let by = client.flow().session().offered_by();
    records.report = client.machine().last_report().map(|ended| (ended, by));
}

/// The answer to a request for the artifact.
fn head(mistake: Option<Mistake>, outside: &Outside, client: &mut Client, offset: u64) -> transfer::Event {
    let whole = u64::from(length(outside.device.profile.payload));
    let version = outside.server.artifact;
    let etag = match client.etag {
        None => Etag::Unknown,
        Some(before) if before == version => Etag::Same,
        Some(_) => Etag::Other,
    };
    let answer = |status, content_length, content_range| {
        transfer::Event::Head(Head { status, content_length, content_range, retry_after: None }, etag)
    };
    if client.link != Some(true) {
        return answer(403, None, None);
    }
    if offset > 0 && etag != Etag::Other {
        let range = ContentRange { first: offset, last: whole - 1, size: Some(whole) };
        let shift = u8::from(mistake == Some(Mistake::RangeIsOff));
        client.next_byte = u8::try_from(offset).unwrap_or(u8::MAX) + shift;
        return answer(206, Some(whole - offset), Some(range));
    }
    client.next_byte = 0;
    if offset == 0 {
        client.etag = Some(version);
    }
    answer(200, Some(whole), None)
}
