//! What Mender's client had not finished, by its own records: keys `state`, `state-uncommitted` and `standalone-state` of
//! its database (STATE-71, R-40).
//!
//! | where it stands | what becomes of it |
//! |---|---|
//! | `reboot`, `after-reboot`, `update-commit`, and behind; the reboot of a rollback | goes on here as an own record would |
//! | waits for `commit` on the command line, and behind | the same |
//! | `cleanup`, `update-status-report`, `update-retry-report` | over: cleaned up, and reported with the outcome that is on record |
//! | anywhere else | not continued: a person settles it |

use std::fmt;

use thimble_core::artifact::provides::UNKNOWN;
use thimble_core::artifact::{self, is_payload_type};
use thimble_core::checkpoint::{Checkpoint, Format, MAX_LEN, RebootKind, Tag};
use thimble_core::deployment::{Mode, Verdict};
use thimble_core::json::{Duplicate, Value};
use thimble_core::limits;
use thimble_core::module::rootfs::PAYLOAD_TYPE;
use thimble_core::text::{Text, TextExt};

use super::json::{GROUP, NAME, list, object, string};

/// Longest header that core takes back, in bytes: what Linux lends for it.
const HEADER_MAX: usize = 64 * 1024;

/// An update that Mender's client began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// The daemon's, or the command line's.
    pub mode: Mode,
    /// The server's id of the deployment; empty on the command line.
    pub deployment: String,
    /// The artifact's name.
    pub name: String,
    /// Its group; empty for none.
    pub group: String,
    /// The type of its one payload; empty before its header was read.
    pub payload_type: String,
    /// Mender's word for where it stands.
    pub at: String,
    /// Where it stands here; `None`: it is not continued.
    stands: Option<(Tag, Verdict)>,
    /// Something was installed, so that there is something to take back.
    has_begun: bool,
    device_types: Vec<String>,
    provides: Vec<(String, String)>,
    clears: Option<Vec<String>>,
    reboot: RebootKind,
    failed: bool,
    stores: u8,
    /// Its handler is needed.
    handled: bool,
}

/// What was found in the records of Mender's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// An update.
    Update(Box<Unfinished>),
    /// A record that makes no sense here: why not.
    Unreadable(String),
}

/// The records of an update, as this client has them.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) checkpoint: Vec<u8>,
    /// `header-info` and `type-info`, where the handler is needed.
    pub(super) header: Option<(Vec<u8>, Vec<u8>)>,
}

impl Finding {
    /// What the three records say, of which a deployment's is the later one; `None`: nothing is unfinished. `installed` is the
    /// artifact's name beside them, which that client writes with the commit.
    pub(super) fn of(
        installed: Option<&str>,
        state: Option<&str>,
        uncommitted: Option<&str>,
        standalone: Option<&str>,
    ) -> Option<Self> {
        let (key, found) = match (state, standalone) {
            (Some(state), _) => ("state", deployment(installed, state, uncommitted)),
            (None, Some(standalone)) => ("standalone-state", by_hand(standalone)),
            (None, None) => return None,
        };
        Some(match found.and_then(Unfinished::checked) {
            Ok(update) => Self::Update(Box::new(update)),
            Err(why) => Self::Unreadable(format!("its record {key} {why}")),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update(update) => update.fmt(f),
            Self::Unreadable(why) => write!(f, "an update that cannot be read: {why}"),
        }
    }
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mode {
            Mode::Managed => write!(f, "deployment {}", self.deployment)?,
            Mode::Standalone => f.write_str("an update by hand")?,
        }
        if !self.name.is_empty() {
            write!(f, " of artifact \"{}\"", self.name)?;
        }
        write!(f, ", at \"{}\"", self.at)
    }
}

impl Unfinished {
    /// It waits for its commit, is past it or past the reboot, or is over but for its report: it goes on here.
    #[must_use]
    pub const fn goes_on(&self) -> bool {
        self.stands.is_some()
    }

    /// Something was installed, so that there is something to take back.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Nothing but its clean-up and its report are left.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.stands, Some((Tag::Cleanup, _)))
    }

    /// What it goes on with needs its handler, and so its work tree.
    #[must_use]
    pub const fn needs_handler(&self) -> bool {
        self.handled
    }

    /// An update that is over is reported though nothing can clean up after it, or nothing is left to.
    pub const fn without_handler(&mut self) {
        self.handled = false;
    }

    /// Mender 3 has no update module for this type, and no work tree: its handler is built in, as ours is.
    #[must_use]
    pub fn is_rootfs(&self) -> bool {
        self.payload_type == PAYLOAD_TYPE
    }

    /// Patterns that `type-info` of the work tree has, where Mender's record leaves out a list that is empty.
    pub fn clears_nothing(&mut self) {
        self.clears.get_or_insert_default();
    }

    /// The records from which this client goes on.
    pub(super) fn records(&self) -> Option<Records> {
        let (tag, verdict) = self.stands?;
        self.records_at(self.mode, tag, verdict)
    }

    /// The records from which a person takes the update back; `None`: nothing was installed.
    pub(super) fn records_to_take_back(&self) -> Option<Records> {
        self.has_begun.then(|| self.records_at(Mode::Standalone, Tag::Install, Verdict::Good)).flatten()
    }

    fn records_at(&self, mode: Mode, tag: Tag, verdict: Verdict) -> Option<Records> {
        let deployment = match mode {
            Mode::Managed => Text::copy(&self.deployment).ok()?,
            Mode::Standalone => Text::default(),
        };
        let checkpoint = Checkpoint {
            format: Format::NEWEST,
            mode,
            tag,
            verdict,
            stopped: false,
            failed: self.failed,
            reboot: self.reboot,
            module: self.handled,
            header: self.handled,
            stores: if mode == Mode::Managed { self.stores } else { 0 },
            deployment,
            offer: false,
        };
        let checkpoint = checkpoint.encode(&mut [0; MAX_LEN]).ok()?.to_vec();
        Some(Records { checkpoint, header: self.handled.then(|| (self.header_info(), self.type_info())) })
    }

    /// `header-info` as far as it is known.
    pub(crate) fn header_info(&self) -> Vec<u8> {
        let name = [(NAME.to_owned(), self.name.clone())];
        let group = (!self.group.is_empty()).then(|| (GROUP.to_owned(), self.group.clone()));
        let mut json = String::from("{\"payloads\":[{\"type\":");
        string(&mut json, &self.payload_type);
        json.push_str("}],\"artifact_provides\":");
        json.push_str(&String::from_utf8_lossy(&object(name.into_iter().chain(group))));
        json.push_str(",\"artifact_depends\":{\"device_type\":");
        // Command line: Mender's record does not have them, and nobody asks for them any more.
        let nobody_asks = [UNKNOWN.to_owned()];
        let types = if self.device_types.is_empty() { &nobody_asks[..] } else { &self.device_types };
        list(&mut json, types);
        json.push_str("}}");
        json.into_bytes()
    }

    /// `type-info` as far as it is known.
    pub(crate) fn type_info(&self) -> Vec<u8> {
        let mut json = String::from("{\"type\":");
        string(&mut json, &self.payload_type);
        json.push_str(",\"artifact_provides\":");
        json.push_str(&String::from_utf8_lossy(&object(self.provides.iter().cloned())));
        if let Some(clears) = &self.clears {
            json.push_str(",\"clears_artifact_provides\":");
            list(&mut json, clears);
        }
        json.push('}');
        json.into_bytes()
    }

    /// What goes on here can do so: core takes these records.
    fn checked(mut self) -> Result<Self, String> {
        if self.mode == Mode::Managed && self.deployment.is_empty() {
            return Err("names no deployment".into());
        }
        if self.deployment.len() > limits::DEPLOYMENT_ID {
            return Err(format!("names a deployment by more than {} bytes", limits::DEPLOYMENT_ID));
        }
        if self.goes_on() || self.has_begun {
            match self.described() {
                Err(_) if self.is_over() => self.without_handler(),
                described => described?,
            }
        }
        Ok(self)
    }

    /// Core takes its header.
    fn described(&self) -> Result<(), String> {
        if !is_payload_type(&self.payload_type) {
            return Err(format!(
                "has the payload type \"{}\", which no update module can have",
                self.payload_type
            ));
        }
        let (header_info, type_info) = (self.header_info(), self.type_info());
        if header_info.len().max(type_info.len()) > HEADER_MAX {
            return Err(format!("has more than {HEADER_MAX} bytes of names and provides"));
        }
        let mut scratch = vec![0; 2 * HEADER_MAX];
        artifact::check_records(&header_info, &type_info, &mut scratch)
            .map(|_| ())
            .map_err(|error| format!("describes no artifact: {error}"))
    }
}

/// A record of the daemon's.
fn deployment(installed: Option<&str>, state: &str, uncommitted: Option<&str>) -> Result<Unfinished, String> {
    let record = Record::parse(state)?;
    match record.number("Version") {
        Some(2) => stored(installed, &record),
        None | Some(0 | 1) => {
            // Before there were update modules. A newer client keeps its own record of the same deployment beside it.
            let own = uncommitted.and_then(|text| stored(installed, &Record::parse(text).ok()?).ok());
            let first = Unfinished {
                payload_type: PAYLOAD_TYPE.into(),
                reboot: RebootKind::Custom,
                ..stored(installed, &record)?
            };
            let same = own.filter(|own| own.deployment == first.deployment);
            Ok(same.map_or(first, |own| Unfinished {
                payload_type: PAYLOAD_TYPE.into(),
                reboot: RebootKind::Custom,
                ..own
            }))
        }
        Some(version) => Err(format!("has version {version}, and this client knows 1 and 2")),
    }
}

fn stored(installed: Option<&str>, record: &Record<'_>) -> Result<Unfinished, String> {
    let at = record.text("Name")?.ok_or("does not say where the update stands")?;
    let info = record.object("UpdateInfo")?.ok_or("has no UpdateInfo")?;
    let artifact = info.object("Artifact")?.ok_or("has no Artifact")?;
    let first = |list: Vec<String>| match list.as_slice() {
        [] => Ok(String::new()),
        [one] => Ok(one.clone()),
        [_, _, ..] => Err("has more than one payload".to_owned()),
    };
    let reboot = match first(info.texts("RebootRequested")?.unwrap_or_default())?.as_str() {
        "" => RebootKind::None,
        "reboot-type-custom" => RebootKind::Custom,
        "reboot-type-automatic" => RebootKind::Automatic,
        other => return Err(format!("asks for a reboot of the unknown kind \"{other}\"")),
    };
    let name = artifact.text("artifact_name")?.unwrap_or_default();
    use Verdict::{Failed, Good, RolledBack};
    // That client forgets how an update ended (D-6). It stores the name with the commit, and another one after a failure behind it.
    let outcome = if !name.is_empty() && installed == Some(name.as_str()) {
        Good
    } else if info.flag("AllRollbacksSuccessful")? {
        RolledBack
    } else {
        Failed
    };
    let (stands, has_begun) = match at.as_str() {
        "reboot" => (Some((Tag::Reboot, Good)), true),
        "after-reboot" | "verify-reboot" => (Some((Tag::AfterReboot, Good)), true),
        "update-commit" => (Some((Tag::Commit, Good)), true),
        "update-after-first-commit" | "update-after-commit" => (Some((Tag::AfterCommit, Good)), true),
        "rollback-reboot" => (Some((Tag::RollbackReboot, RolledBack)), true),
        "after-rollback-reboot" | "verify-rollback-reboot" => {
            (Some((Tag::AfterRollbackReboot, RolledBack)), true)
        }
        "cleanup" | REPORT | REPORT_AGAIN => (Some((Tag::Cleanup, outcome)), false),
        "update-install" | "rollback" | "update-error" => (None, true),
        _ => (None, false),
    };
    // It was cleaned up before its report.
    let handled = !matches!(at.as_str(), REPORT | REPORT_AGAIN);
    let stores = if matches!(stands, Some((Tag::Cleanup, _))) {
        // That client counted its attempts to report, and no loop is left.
        0
    } else {
        // More than this client's limit is its limit: the update goes round in circles.
        info.number("StateDataStoreCount").map_or(0, |count| u8::try_from(count).unwrap_or(u8::MAX))
    };
    Ok(Unfinished {
        mode: Mode::Managed,
        deployment: info.text("ID")?.unwrap_or_default(),
        name,
        group: artifact.text("artifact_group")?.unwrap_or_default(),
        payload_type: first(artifact.texts("PayloadTypes")?.unwrap_or_default())?,
        at,
        stands,
        has_begun,
        device_types: artifact.texts("device_types_compatible")?.unwrap_or_default(),
        provides: artifact.pairs("artifact_provides")?,
        clears: artifact.texts("clears_artifact_provides")?,
        reboot,
        failed: false,
        stores,
        handled,
    })
}

/// A record of the command line's.
fn by_hand(text: &str) -> Result<Unfinished, String> {
    let record = Record::parse(text)?;
    let at = match record.number("Version") {
        Some(1) => BEFORE_COMMIT.to_owned(),
        Some(2) => record.text("InState")?.ok_or("does not say where the update stands")?,
        Some(version) => return Err(format!("has version {version}, and this client knows 1 and 2")),
        None => return Err("has no version".into()),
    };
    let verdict = match (record.flag("Failed")?, record.flag("RolledBack")?) {
        (false, false) => Verdict::Good,
        (_, true) => Verdict::RolledBack,
        (true, false) => Verdict::Failed,
    };
    let (stands, has_begun) = match at.as_str() {
        BEFORE_COMMIT => (Some((Tag::BeforeCommit, verdict)), true),
        "ArtifactCommit_Enter" => (Some((Tag::Commit, verdict)), true),
        "Before_ArtifactCommit_Leave" => (Some((Tag::BeforeCommitLeave, verdict)), true),
        "ArtifactCommit_Leave" => (Some((Tag::AfterCommit, verdict)), true),
        "Before_ArtifactInstall_Enter" | "Cleanup" => (None, false),
        _ => (None, true),
    };
    let types = record.texts("PayloadTypes")?.unwrap_or_default();
    let [payload_type] = types.as_slice() else { return Err("does not have exactly one payload".into()) };
    Ok(Unfinished {
        mode: Mode::Standalone,
        deployment: String::new(),
        name: record.text("ArtifactName")?.unwrap_or_default(),
        group: record.text("ArtifactGroup")?.unwrap_or_default(),
        payload_type: payload_type.clone(),
        at,
        stands,
        has_begun,
        device_types: Vec::new(),
        provides: record.pairs("ArtifactTypeInfoProvides")?,
        clears: record.texts("ArtifactClearsProvides")?,
        reboot: RebootKind::None,
        failed: false,
        stores: 0,
        handled: true,
    })
}

/// Nothing but the report is left; and that, once more.
const REPORT: &str = "update-status-report";
const REPORT_AGAIN: &str = "update-retry-report";

/// Where version 1 of that record always stands.
const BEFORE_COMMIT: &str = "Before_ArtifactCommit_Enter";

/// A JSON object in which each member is there once, if at all. `null` is not there.
struct Record<'a>(Value<'a>);

impl<'a> Record<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let value = Value::parse(text.as_bytes()).map_err(|error| format!("is damaged: {error}"))?;
        if value.members().is_none() { Err("is no JSON object".into()) } else { Ok(Self(value)) }
    }

    fn member(&self, name: &str) -> Result<Option<Value<'a>>, String> {
        let member = self.0.member(name).map_err(|Duplicate| format!("has {name} twice"))?;
        Ok(member.filter(|value| !value.is_null()))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.member(name).ok()??.as_integer()
    }

    fn text(&self, name: &str) -> Result<Option<String>, String> {
        let Some(value) = self.member(name)? else { return Ok(None) };
        value.as_str().map(|text| Some(text.to_string())).ok_or_else(|| wrong(name))
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.member(name)?.map(Value::raw) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(wrong(name)),
        }
    }

    fn object(&self, name: &str) -> Result<Option<Self>, String> {
        let Some(value) = self.member(name)? else { return Ok(None) };
        if value.members().is_none() { Err(wrong(name)) } else { Ok(Some(Self(value))) }
    }

    fn texts(&self, name: &str) -> Result<Option<Vec<String>>, String> {
        let Some(value) = self.member(name)? else { return Ok(None) };
        let items = value.items().ok_or_else(|| wrong(name))?;
        items
            .map(|item| Some(item.as_str()?.to_string()))
            .collect::<Option<_>>()
            .map(Some)
            .ok_or_else(|| wrong(name))
    }

    fn pairs(&self, name: &str) -> Result<Vec<(String, String)>, String> {
        let Some(object) = self.object(name)? else { return Ok(Vec::new()) };
        let members = object.0.members().into_iter().flatten();
        let pairs = members.map(|(key, value)| Some((key.to_string(), value.as_str()?.to_string())));
        pairs.collect::<Option<_>>().ok_or_else(|| wrong(name))
    }
}

fn wrong(name: &str) -> String {
    format!("has a {name} of another kind")
}
