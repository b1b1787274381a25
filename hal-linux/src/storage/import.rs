//! What is taken over from a database of Mender's own clients: artifact name, group and provides, as the one JSON
//! object our own record is (STATE-71 has the keys).

use std::fmt::Write;

use thimble_core::artifact::provides::UNKNOWN;
use thimble_core::json::{Escape, Value};

use super::directory::Medium;
use super::lmdb::{Database, LmdbFault};
use super::record::RECORD_MAX;

/// Longest value that is taken over, in bytes. Escaping can make the record several times longer.
const VALUE_MAX: usize = RECORD_MAX / 8;

pub(super) const NAME: &str = "artifact_name";
const GROUP: &str = "artifact_group";

const UNFINISHED: &str = "the update it was in the middle of is not continued";
const UNREADABLE: &str = "its provides could not be read and are left out";

/// What was found in the database.
#[derive(Debug)]
pub(super) struct Import {
    /// Our provides record; `None` when the database has neither name nor provides.
    pub(super) provides: Option<Vec<u8>>,
    pub(super) name: Option<String>,
    pub(super) trouble: Option<&'static str>,
    /// The number of the database's state.
    pub(super) transaction: u64,
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
    let unfinished = text("state")?.is_some() || text("standalone-state")?.is_some();

    let free = if free.is_empty() { Some(Vec::new()) } else { free_provides(&free) };
    let trouble = match (unfinished, &free) {
        (true, _) => Some(UNFINISHED),
        (false, None) => Some(UNREADABLE),
        (false, Some(_)) => None,
    };
    let own = name.iter().map(|name| (NAME.to_owned(), name.clone()));
    let own = own.chain(group.map(|group| (GROUP.to_owned(), group)));
    let all: Vec<_> = own.chain(free.into_iter().flatten()).collect();
    let provides = (!all.is_empty()).then(|| object(all.into_iter()));
    Ok(Some(Import { provides, name, trouble, transaction }))
}

/// The provides besides name and group; `None` when `json` is not an object of strings.
fn free_provides(json: &str) -> Option<Vec<(String, String)>> {
    let members = Value::parse(json.as_bytes()).ok()?.members()?;
    let pairs = members.map(|(key, value)| Some((key.to_string(), value.as_str()?.to_string())));
    let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
    Some(pairs.into_iter().filter(|(key, _)| key != NAME && key != GROUP).collect())
}

/// A JSON object of these strings.
pub(super) fn object(pairs: impl Iterator<Item = (String, String)>) -> Vec<u8> {
    let mut json = String::from("{");
    for (key, value) in pairs {
        let separator = if json.len() > 1 { ",\"" } else { "\"" };
        json.push_str(separator);
        // Writing into a `String` cannot fail.
        let _ = Escape(&mut json).write_str(&key);
        json.push_str("\":\"");
        let _ = Escape(&mut json).write_str(&value);
        json.push('"');
    }
    json.push('}');
    json.into_bytes()
}
