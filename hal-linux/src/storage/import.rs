//! What is taken over from a database of Mender's own clients: artifact name, group and provides, as the one JSON
//! object our own record is (STATE-71 has the keys); and the update that it had not finished, with its control maps.

use thimble_core::artifact::provides::UNKNOWN;
use thimble_core::control::Pool;
use thimble_core::json::Value;
use thimble_core::limits;
use thimble_core::time::{Duration, Instant};

use super::directory::Medium;
use super::json::{GROUP, NAME, object};
use super::lmdb::{Database, LmdbFault};
use super::record::RECORD_MAX;
use super::taken::StateId;
use super::unfinished::Finding;

/// Longest value that is taken over, in bytes. Escaping can make the record several times longer.
const VALUE_MAX: usize = RECORD_MAX / 8;

const UNREADABLE: &str = "its provides could not be read and are left out";

/// What the loading of control maps needs, and their content does not depend on.
const LATER: Duration = Duration::from_secs(1);

/// What was found in the database.
#[derive(Debug)]
pub(super) struct Import {
    /// Our provides record; `None` when the database has neither name nor provides.
    pub(super) provides: Option<Vec<u8>>,
    pub(super) name: Option<String>,
    pub(super) trouble: Option<&'static str>,
    /// The database's state.
    pub(super) state: StateId,
    /// What that client had not finished.
    pub(super) unfinished: Option<Finding>,
    /// Its update control maps, whose stored form is ours.
    pub(super) maps: Option<Vec<u8>>,
}

/// `None`: not an LMDB file.
pub(super) fn read(medium: &mut impl Medium) -> Result<Option<Import>, LmdbFault> {
    let Some(mut database) = Database::open(medium)? else { return Ok(None) };
    let transaction = database.transaction;
    let mut text = |key: &str| {
        let value = database.read(key.as_bytes(), VALUE_MAX)?;
        value.map(String::from_utf8).transpose().map_err(|_| LmdbFault::Damaged)
    };
    // A name that nobody knows is none.
    let name = text("artifact-name")?.filter(|name| !name.is_empty() && name != UNKNOWN);
    let group = text("artifact-group")?.filter(|group| !group.is_empty());
    let free = text("artifact-provides")?.unwrap_or_default();
    // What is wrong with one of these is wrong with it alone.
    let mut record = |key: &str| {
        let value = database.read(key.as_bytes(), RECORD_MAX)?;
        Ok::<_, LmdbFault>(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    };
    let records = [record("state")?, record("state-uncommitted")?, record("standalone-state")?];
    let [state, uncommitted, standalone] = records.each_ref().map(Option::as_deref);
    let unfinished = Finding::of(name.as_deref(), state, uncommitted, standalone);
    let sum = sum(name.as_deref(), [state, uncommitted, standalone]);
    let maps = record("update-control-maps")?
        .map(String::into_bytes)
        .filter(|maps| maps.len() <= limits::MAPS_RECORD && Pool::load(maps, Instant::ZERO, LATER).is_ok());

    let free = if free.is_empty() { Some(Vec::new()) } else { free_provides(&free) };
    let trouble = free.is_none().then_some(UNREADABLE);
    let own = name.iter().map(|name| (NAME.to_owned(), name.clone()));
    let own = own.chain(group.map(|group| (GROUP.to_owned(), group)));
    let all: Vec<_> = own.chain(free.into_iter().flatten()).collect();
    let provides = (!all.is_empty()).then(|| object(all.into_iter()));
    Ok(Some(Import { provides, name, trouble, state: StateId { transaction, sum }, unfinished, maps }))
}

/// The checksum of what is told about an update.
pub(super) fn sum(name: Option<&str>, records: [Option<&str>; 3]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for text in [name].into_iter().chain(records) {
        // One that is not there differs from an empty one.
        hasher.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
        hasher.update(text.unwrap_or_default().as_bytes());
    }
    hasher.finalize()
}

/// The provides besides name and group; `None` when `json` is not an object of strings.
fn free_provides(json: &str) -> Option<Vec<(String, String)>> {
    let members = Value::parse(json.as_bytes()).ok()?.members()?;
    let pairs = members.map(|(key, value)| Some((key.to_string(), value.as_str()?.to_string())));
    let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
    Some(pairs.into_iter().filter(|(key, _)| key != NAME && key != GROUP).collect())
}
