//! What goes into the machine and what comes out of it.

use crate::apart::Apart;
use crate::begun::Begun;
use crate::checkpoint::{Checkpoint, Newer, RebootKind, Tag};
use crate::control::{Holder, Lifetime, Map, Order, Points, Pool};
use crate::deployment::{Call, Mode, Naming, Point, Status, Verdict};
use crate::last_report::Ended;
use crate::limits;
use crate::message::texts;
use crate::script::Transition;
use crate::state::{Outcome, Place, Reached, Verb};
use crate::text::Text;

/// What the process was started for. All but the daemon is refused where the feature `verbs` is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// The daemon: goes on with a saved deployment, then polls for ever.
    Daemon,
    /// `install`: one artifact.
    Install,
    /// `resume`, `commit` or `rollback`.
    Continue(Verb),
    /// The bootstrap artifact: provides only, no signature, no scripts.
    Bootstrap,
    /// The daemon beside what a newer version has left: authenticates, sends the inventory and answers, but asks
    /// for no deployment and writes no record. [`Run::Daemon`] becomes this one by itself.
    NoUpdates(Newer),
}

impl Run {
    pub(super) const fn mode(self) -> Mode {
        match self {
            Self::Daemon | Self::NoUpdates(_) => Mode::Managed,
            Self::Install | Self::Continue(_) | Self::Bootstrap => Mode::Standalone,
        }
    }

    /// Goes on with the record of an update, and writes one.
    pub(super) const fn has_record(self) -> bool {
        match self {
            Self::Daemon | Self::Install | Self::Continue(_) => true,
            Self::Bootstrap | Self::NoUpdates(_) => false,
        }
    }

    /// Why this is a daemon without updates, if it is one.
    pub(super) const fn newer(self) -> Option<Newer> {
        match self {
            Self::NoUpdates(newer) => Some(newer),
            Self::Daemon | Self::Install | Self::Continue(_) | Self::Bootstrap => None,
        }
    }

    pub(super) const fn asks_for_updates(self) -> bool {
        match self {
            Self::Daemon => true,
            Self::Install | Self::Continue(_) | Self::Bootstrap | Self::NoUpdates(_) => false,
        }
    }
}

/// What an earlier process has left on record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The record of the update in progress.
    pub update: Option<Checkpoint>,
    /// The end of a deployment that the server has not heard of. Only the daemon looks at it.
    pub report: Option<Ended>,
    /// The number of the server that offered the deployment in progress, or that of `report`; `None`: it is not known, or
    /// not configured any more.
    pub offered_by: Option<u8>,
    /// The control maps; `None` when their record cannot be read. Only the daemon looks at them.
    pub maps: Option<Pool>,
    /// The deployments that began here last. Only the daemon looks at them.
    pub begun: Begun,
}

impl Saved {
    /// No record at all: the first start.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            update: None,
            report: None,
            offered_by: None,
            maps: Some(Pool::new()),
            begun: Begun::nothing(),
        }
    }
}

impl From<Option<Checkpoint>> for Saved {
    /// An update, and no control maps.
    fn from(update: Option<Checkpoint>) -> Self {
        Self { update, ..Self::nothing() }
    }
}

/// Names one operation, so that a completion that comes too late is not taken for another's.
///
/// All names are equal under `==`, and none adds to a hash: the number only ever grows, and two machines that differ in
/// nothing but how many operations they have begun are in the same situation. The machine itself compares the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OpId(Apart<u32>);

impl OpId {
    pub(super) fn next(&self) -> Self {
        Self(Apart(self.0.wrapping_add(1)))
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.0.0 == other.0.0
    }
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Action {
    /// Begin this operation and report its end with [`Event::Done`] and the same id.
    Start(OpId, Op),
    /// End the outstanding operation: it has used up its time, or its end is not waited for any more. Its end is still
    /// reported with [`Event::Done`], as [`Outcome::Failure`].
    Kill,
    /// Make the control maps durable now, and answer with [`Event::MapsSaved`] before anything else happens. The
    /// outstanding operation goes on meanwhile.
    SaveMaps,
    /// Nothing new. Wait for the outstanding operation, for [`Machine::deadline`](super::Machine::deadline), or for
    /// another event.
    Wait,
    /// The process has nothing more to do.
    Exit(Report),
}

/// An operation. At most one is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Make [`Machine::checkpoint`](super::Machine::checkpoint) durable, in one batch with the header records when it
    /// has `header` and they are not stored yet, and with the server's offer when it has `offer`.
    Save,
    /// Make [`Machine::last_report`](super::Machine::last_report) durable, with what goes with the report: in the place of
    /// [`Machine::checkpoint`](super::Machine::checkpoint) and of those beside it, and with the control maps as before;
    /// where [`Machine::is_late`](super::Machine::is_late), alone.
    SaveReport,
    /// Make name and provides of the artifact durable in one batch with the checkpoint (daemon) or with the end of
    /// the record (command line).
    SaveProvides(Naming),
    /// Delete the record and those beside it; write the control maps in the same batch if they are to be saved. The
    /// record of the last report is [`Machine::last_report`](super::Machine::last_report) then, if there is one.
    ClearData,
    /// Delete the record of the last report.
    ForgetReport,
    /// Make [`Machine::begun_to_save`](super::Machine::begun_to_save) durable, before an offer is turned down.
    SaveBegun,
    /// Run script number `index` of the transition. [`Outcome::Nothing`]: there is none of that number.
    /// [`Outcome::Later`]: exit status 21. [`Outcome::Refused`]: the scripts cannot be run at all.
    RunScript(Transition, u16),
    /// Check the version file of the root filesystem's scripts.
    CheckVersion,
    /// Find out whether what is to be committed runs. [`Outcome::Refused`]: it takes a reboot first. A handler that does
    /// not know such a thing lets the update go on.
    CheckRunning,
    /// Call the module. Queries: `Yes` is success, `No` is nothing.
    CallModule(Call),
    /// Ask for the artifact and read its header: verified, fitting this device, a handler there, work tree built,
    /// scripts published. [`Outcome::Nothing`]: the payload is empty (and the artifact was read to its end).
    Prepare,
    /// Hand the payload to the module, to the verified end; with sizes if it wants them.
    Stream(Call),
    /// Run the reboot command. [`Outcome::Success`] never comes on a machine that reboots.
    Reboot,
    /// A request to the server.
    Request(ApiCall),
    /// Make [`Machine::maps`](super::Machine::maps) durable.
    SaveMaps,
    /// Ask the policies of the device whether the update may go on. [`Outcome::Later`]: not now, ask again after
    /// that time. [`Outcome::Failure`]: it must not.
    AskPolicy(Point),
    /// The deployment is over: its log is closed.
    End,
}

// For the log.
texts! {
    OPS = 'M': Op {
        1 Save => "saving the record of the update",
        2 SaveReport => "saving how the deployment ended",
        3 ForgetReport => "deleting the record of how the deployment ended",
        4 SaveProvides(naming) with () => "saving the name and the provides of the artifact",
        5 ClearData => "deleting the record of the update",
        6 RunScript(transition, index) => "script {index} of {transition}, if there is one",
        7 CheckVersion => "checking the version of the state scripts",
        8 CheckRunning => "finding out whether the new root file system runs",
        9 CallModule(call) => "{call} of the update module",
        10 Prepare => "reading the header of the artifact",
        11 Stream(call) => "{call} of the update module",
        12 Reboot => "the reboot",
        13 Request(call) => "{call}",
        14 SaveMaps => "saving the control maps",
        15 AskPolicy(point) with () => "asking the policies of the device",
        16 End => "closing the log of the deployment",
        17 SaveBegun => "saving how often deployments began",
    }

    API_CALLS = 'M': ApiCall {
        21 Inventory => "sending the inventory",
        22 Next => "asking for a deployment",
        23 Status { status, fresh_token } with () => "reporting the status",
        24 Log => "sending the log of the deployment",
        25 ControlMap => "asking for the control map",
    }
}

/// Requests to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiCall {
    /// Run the inventory scripts and send what they say.
    Inventory,
    /// Is there a deployment? It ends with [`Event::Offered`] when there is one.
    Next,
    /// Report a status of the deployment. [`Outcome::Nothing`]: the server does not know the deployment.
    Status {
        /// The status.
        status: Status,
        /// Drop the token first, so that the running system proves that it can authenticate.
        fresh_token: bool,
    },
    /// Send the log of the deployment. [`Outcome::Nothing`] as before.
    Log,
    /// Ask for the deployment's control map anew. It ends with [`Event::Refreshed`] when the server sent one.
    ControlMap,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The operation ended. A success of [`ApiCall::Next`] or [`ApiCall::ControlMap`] is told by one of the next two.
    Done(OpId, Outcome),
    /// [`ApiCall::Next`] ended: the server has a deployment for this device.
    Offered {
        /// The request.
        op: OpId,
        /// The deployment's id.
        id: Text<{ limits::DEPLOYMENT_ID }>,
        /// What the server says about holding it back.
        map: OfferedMap,
    },
    /// [`ApiCall::ControlMap`] ended: the server sent the map of the deployment at hand. `None`: it cannot be used.
    Refreshed {
        /// The request.
        op: OpId,
        /// The map.
        map: Option<Map>,
    },
    /// The map of the deployment at hand came with a fresh link to its artifact.
    ServerMap(Map),
    /// A program on the device sets a map. Ask [`Machine::renewal`](super::Machine::renewal) before: a map for which
    /// there is no room changes nothing.
    LocalMap(Map),
    /// A person at the device says what updates do at some points. Ask
    /// [`Machine::takes_order`](super::Machine::takes_order) before: an order that cannot be taken changes nothing.
    Order {
        /// In whose name.
        name: Holder,
        /// Where.
        points: Points,
        /// What.
        order: Order,
        /// For how long.
        lifetime: Lifetime,
    },
    /// The answer to [`Action::SaveMaps`]: whether the maps are durable.
    MapsSaved(bool),
    /// A server gave a token: it may be one that has no inventory of this device, or has deleted it.
    Authenticated,
    /// Time passed. Harmless when it did not.
    Tick,
    /// Somebody wants a poll or an inventory push now; held back until the machine is idle.
    Check(Check),
    /// Somebody at the device lets the update pass the door it stands at, at once. Without effect elsewhere.
    Approved,
    /// The process ends, and the next one goes on from what is on record. From now on nothing begins: what is said about
    /// control maps is saved, and counts for the next process.
    Terminate,
}

/// The control map in the server's offer of a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OfferedMap {
    /// There is none.
    Absent,
    /// This one.
    Map(Map),
    /// It cannot be used: the deployment fails at once.
    Unusable,
}

/// What a signal or a user can ask the daemon for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Check {
    Update,
    Inventory,
}

/// How a run of the command line ended, for its messages and its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Report {
    /// How far it got.
    pub reached: Reached,
    /// How the update stands.
    pub verdict: Verdict,
    /// Where this run failed first. The phase tells a failed commit from a failed step after the commit.
    pub failed_at: Option<Place>,
    /// Module `Cleanup` failed.
    pub cleanup_failed: bool,
    /// What the module answered to `NeedsArtifactReboot` in this run.
    pub reboot: RebootKind,
    /// The module could not roll back, so the commit followed at once.
    pub auto_commit: bool,
}

impl Report {
    /// True when the verb did what it was asked for and left nothing inconsistent. A run that stops where the one before
    /// stopped did all it was asked for, whatever failed earlier.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        let stopped = matches!(self.reached, Reached::Stopped(_));
        self.failed_at.is_none() && !self.cleanup_failed && (stopped || !self.verdict.is_inconsistent())
    }
}

/// Why a verb cannot be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This build has only the daemon: feature `verbs` is off.
    NoVerbs,
    /// No update is in progress.
    NoUpdate,
    /// An update that a person began waits for its end: `install` must not begin. These verbs go on with it.
    InProgress([Option<Verb>; 3]),
    /// A deployment of the server's is in progress: only the daemon goes on with it.
    Deployment,
    /// The update has reached this point, where the verb makes no sense.
    WrongState(Tag),
}
