//! What is remembered of the database of Mender's client. Records of the client itself count from 0; these from 255 down:
//!
//! | record | what it remembers |
//! |---|---|
//! | 255 | the provides that were found in it when they were taken over, or written here |
//! | 254 | a format (1); what became of the update that was unfinished in it (1: it goes on here, 2: it is settled); the number of its state (8 bytes, little-endian) and the checksum (4); the deployment |

use super::unfinished::Finding;

pub(super) const IMPORTED: u8 = 255;
pub(super) const TAKEN: u8 = 254;

/// The format of record 254.
const FORMAT: u8 = 1;

/// What one state of the database is known by: a database that is made anew counts from 1 again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StateId {
    /// Its number.
    pub(super) transaction: u64,
    /// Checksum of its name and its records of an update.
    pub(super) sum: u32,
}

/// What Mender's client had not finished, and nothing was decided about.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) finding: Finding,
    pub(super) state: StateId,
    pub(super) maps: Option<Vec<u8>>,
    /// An update that begins takes its place.
    pub(super) is_replaced: bool,
}

/// Record 254.
pub(super) struct Taken<'a> {
    pub(super) goes_on: bool,
    pub(super) state: StateId,
    pub(super) deployment: &'a [u8],
}

impl<'a> Taken<'a> {
    pub(super) fn decode(record: &'a [u8]) -> Option<Self> {
        let [FORMAT, how, rest @ ..] = record else { return None };
        let (transaction, rest) = rest.split_first_chunk()?;
        let (sum, deployment) = rest.split_first_chunk()?;
        let state = StateId { transaction: u64::from_le_bytes(*transaction), sum: u32::from_le_bytes(*sum) };
        Some(Self { goes_on: *how == 1, state, deployment })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = vec![FORMAT, if self.goes_on { 1 } else { 2 }];
        record.extend(self.state.transaction.to_le_bytes());
        record.extend(self.state.sum.to_le_bytes());
        record.extend(self.deployment);
        record
    }
}
