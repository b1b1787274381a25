//! What is outside of the client's process: the device with its records, the server and the network before it.

use thimble_core::begun::Begun;
use thimble_core::checkpoint::Checkpoint;
use thimble_core::control::{Map, Vote};
use thimble_core::deployment::{Point, Status};
use thimble_core::last_report::Ended;

use super::artifact::{Stored, Version};
use super::client::{DEPLOYMENTS, SERVERS};
use crate::sayings::from_server;
use crate::world::{Device, Name};

/// Everything that outlives a process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Outside {
    pub(super) device: Device,
    /// What is marked as stored of the payload's file.
    pub(super) partial: Option<Stored>,
    pub(super) records: Records,
    pub(super) server: Server,
}

/// The records of the client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Records {
    /// Of the update in progress.
    pub(super) update: Option<Checkpoint>,
    /// Of a deployment that is over, and the server that made the offer: the server has not heard of it.
    pub(super) report: Option<(Ended, Option<u8>)>,
    /// The server's offer: the `ETag` that was seen, and whether its link is good.
    pub(super) offer: Option<(Option<Version>, bool)>,
    pub(super) name: Name,
    /// The control maps, as they are written.
    pub(super) maps: Option<Vec<u8>>,
    /// The deployments that began, and the server that offered the last of them.
    pub(super) begun: (Begun, Option<u8>),
}

/// The server, or rather two that share what they know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Server {
    /// The number of the deployment that it has.
    pub(super) deployment: u8,
    /// The deployment was handed out, to a device of this name.
    pub(super) taken_by: Option<Name>,
    /// The status it heard last.
    pub(super) status: Option<Status>,
    /// The deployment was aborted: every status is answered 409.
    pub(super) aborted: bool,
    /// The deployment was deleted: every status is answered 404.
    pub(super) forgot: bool,
    /// It has refused to hear how the deployment ended.
    pub(super) refused: bool,
    /// The same of the deployment before.
    refused_before: bool,
    /// It offers the deployment before once more, whose end it has refused to hear.
    pub(super) offers_before: bool,
    /// Cannot be reached, one by one, until the client turns to something else.
    pub(super) down: [bool; SERVERS as usize],
    /// Does not know the second version of the question for a deployment.
    pub(super) old: bool,
    /// What it says about holding the deployment back, before which of its steps, and in how many answers more.
    pub(super) map: Option<(Point, Vote, u8)>,
    /// The artifact behind the link.
    pub(super) artifact: Version,
    /// Breaks a rule of the server.
    pub(super) wrong: Option<&'static str>,
}

impl Server {
    pub(super) const fn new() -> Self {
        Self {
            deployment: 0,
            taken_by: None,
            status: None,
            aborted: false,
            forgot: false,
            refused: false,
            refused_before: false,
            offers_before: false,
            down: [false; SERVERS as usize],
            old: false,
            map: None,
            artifact: Version::First,
            wrong: None,
        }
    }

    /// The id of the deployment that it has.
    pub(super) fn id(&self) -> &'static str {
        DEPLOYMENTS.get(usize::from(self.deployment)).copied().unwrap_or_default()
    }

    /// The last deployment that it will ever have.
    pub(super) fn is_last(&self) -> bool {
        usize::from(self.deployment) + 1 >= DEPLOYMENTS.len()
    }

    /// The next deployment takes the place of this one.
    pub(super) fn go_on(&mut self) {
        let Self { deployment, old, wrong, refused, .. } = *self;
        let (refused_before, offers_before) = (refused, refused);
        *self = Self { deployment: deployment + 1, old, wrong, refused_before, offers_before, ..Self::new() };
    }

    /// Its control map as it is handed out now; after some answers it holds nothing back any more.
    pub(super) fn says(&mut self) -> Option<Map> {
        let (point, vote, answers) = self.map?;
        self.map = Some(match answers {
            0 => (point, Vote::Continue, 0),
            _ => (point, vote, answers - 1),
        });
        self.map.map(|(point, vote, _)| from_server(point, vote, None))
    }

    /// The deployment has ended.
    pub(super) fn is_over(&self) -> bool {
        self.aborted
            || self.forgot
            || self.refused
            || matches!(self.status, Some(Status::Success | Status::Failure))
    }

    pub(super) fn is_down(&self, server: u8) -> bool {
        self.down.get(usize::from(server)).copied().unwrap_or(true)
    }

    /// The number of the deployment that it hands out next.
    pub(super) const fn offers(&self) -> u8 {
        if self.offers_before { self.deployment - 1 } else { self.deployment }
    }

    /// Asked for a deployment; true: it hands out [`Self::offers`].
    pub(super) fn hand_out(&mut self, name: Name) -> bool {
        if self.offers_before {
            return true;
        }
        if self.is_over() {
            return false;
        }
        if self.taken_by.is_some_and(|before| before != name) {
            self.wrong.get_or_insert("the device asks with another name while its deployment is open");
        }
        self.taken_by = Some(name);
        true
    }

    /// Hears a status; false: 409. `empty`: the artifact has no payload, so that nothing is installed.
    pub(super) fn hear(&mut self, status: Status, of: &str, empty: bool, excused: bool) -> bool {
        if of != self.id() {
            self.wrong.get_or_insert(if self.refused_before {
                "a deployment begins again though the server refused to hear how it ended"
            } else {
                "a status of another deployment than the one that was handed out"
            });
        }
        if self.aborted {
            return false;
        }
        let before = self.status.replace(status);
        self.refused &= !matches!(status, Status::Success | Status::Failure);
        if let (Some(wrong), false) = (follows(before, status, empty), excused) {
            self.wrong.get_or_insert(wrong);
        }
        if self.taken_by.is_none() {
            self.wrong.get_or_insert("a status of a deployment that was not handed out");
        }
        true
    }
}

/// What is wrong about `status` behind `before`, written apart from the client. Reports may be lost: only the order of
/// those that were heard can be wrong.
const fn follows(before: Option<Status>, status: Status, empty: bool) -> Option<&'static str> {
    const fn rank(status: Status) -> u8 {
        match status {
            Status::Downloading => 0,
            Status::PauseBeforeInstalling => 1,
            // Said twice: before the install, and before the commit.
            Status::Installing => 2,
            Status::PauseBeforeRebooting => 3,
            Status::Rebooting => 4,
            Status::PauseBeforeCommitting => 5,
            Status::Success | Status::Failure => 7,
        }
    }
    match (before, status) {
        (Some(Status::Success), Status::Success) | (Some(Status::Failure), Status::Failure) => None,
        (Some(Status::Success | Status::Failure), _) => {
            Some("a status behind the final one: the deployment is open again")
        }
        (Some(Status::Installing), Status::Success) | (_, Status::Failure) => None,
        // The report before the commit must get through.
        (_, Status::Success) if !empty => Some("success without the report before the commit"),
        (Some(_) | None, Status::Success) => None,
        // Before the commit.
        (
            Some(Status::Rebooting | Status::PauseBeforeCommitting | Status::PauseBeforeRebooting),
            Status::Installing,
        ) => None,
        (Some(before), status) if rank(status) < rank(before) => {
            Some("the reports of the deployment go backwards")
        }
        (Some(_) | None, _) => None,
    }
}
