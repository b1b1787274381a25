//! The record of the deployments that began here last: a server that offers one of them again and again must not make the
//! device install and reboot for ever.
//!
//! | the deployment was offered before, and | the offer |
//! |---|---|
//! | it has begun less than [`limits::BEGINNINGS`] times within a day | begins it: the server may have reasons to offer it again |
//! | it has begun so often within a day | is turned down until the day is over, counted from the first of these times |
//! | the server refused for good to hear how it ended | is turned down for a day |
//!
//! A day is over after 24 hours in which the client ran: there is no clock that says how long a device was off. The ages on
//! record may be behind by [`FORGETS`], and a start counts as that much: a device that never runs for long must not turn a
//! deployment down for ever.
//!
//! It is written in one batch with the first record of a deployment, so that a loss of power counts one exactly when it has
//! begun, and with what ends the last report of one. An offer that is turned down writes it at most once in [`FORGETS`].
//!
//! Layout: format number (1 byte), `postcard` of [`Record`], CRC-32 (IEEE) of all before it, little endian. A version
//! of the client that does not know this record leaves it alone.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::apart::Apart;
use crate::limits;
use crate::sealed;
use crate::time::Duration;

/// The format this version writes, and the only one it reads: what it cannot read has never begun.
const FORMAT: u8 = 1;

/// Room for an encoded record: a deployment has at most 21 bytes, all that is not of one at most 11.
pub const MAX_LEN: usize = limits::BEGUN * 21 + 11;

/// How long a deployment is turned down, and within how much time it may begin [`limits::BEGINNINGS`] times.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How much time a restart may forget: while an offer is turned down, the record is written once in so long.
pub const FORGETS: Duration = Duration::from_secs(60 * 60);

/// The deployments that began here last, the latest first.
///
/// Two of them are equal, and hash the same, however long ago the deployments began: who compares machines would never
/// see one twice. It matters only after a day.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Begun(#[serde(deserialize_with = "sealed::array")] [Option<Deployment>; limits::BEGUN]);

/// What a deployment is known by: the first bytes of the SHA-256 of its id. Two ids share one with a chance of 2^-64; the
/// second deployment could then be turned down for a day.
pub type Mark = [u8; 8];

/// The mark of the deployment with this id, as it is in [`crate::flight::Event::Begins`] too.
#[must_use]
pub fn mark(id: &str) -> Mark {
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(id.as_bytes()));
    [a, b, c, d, e, f, g, h]
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Deployment {
    #[serde(deserialize_with = "sealed::array")]
    mark: Mark,
    /// How often it has begun since `age`.
    times: u8,
    /// The server refused for good to hear how it ended.
    refused: bool,
    /// How long ago it began for the first time of these, or was refused.
    age: Apart<Duration>,
}

/// Why a deployment that the server offers does not begin, and for how long yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnDown {
    /// The server refused for good to hear how it ended here.
    Refused(Duration),
    /// It has begun [`limits::BEGINNINGS`] times within a day.
    TooOften(Duration),
}

impl Begun {
    /// None: nothing that is offered has ever begun here.
    #[must_use]
    pub const fn nothing() -> Self {
        Self([const { None }; limits::BEGUN])
    }

    /// Why the deployment of this id is not to begin, `more` time after the ages were counted; `None`: it may begin.
    #[must_use]
    pub fn turns_down(&self, id: &str, more: Duration) -> Option<TurnDown> {
        let deployment = self.of(id)?;
        let age = deployment.age.plus(more);
        let left = DAY.minus(age);
        if age >= DAY {
            None
        } else if deployment.refused {
            Some(TurnDown::Refused(left))
        } else {
            (deployment.times >= limits::BEGINNINGS).then_some(TurnDown::TooOften(left))
        }
    }

    /// Whether the deployment of this id began last.
    #[must_use]
    pub fn is_last(&self, id: &str) -> bool {
        let [first, ..] = &self.0;
        first.as_ref().is_some_and(|deployment| deployment.mark == mark(id))
    }

    /// So much time has passed.
    pub(crate) fn grow_older(&mut self, more: Duration) {
        for deployment in self.0.iter_mut().flatten() {
            deployment.age = Apart(deployment.age.plus(more));
        }
    }

    /// A deployment begins now.
    pub(crate) fn begins(&mut self, id: &str) {
        let mark = mark(id);
        let before = self.of(id).filter(|before| *before.age < DAY).cloned();
        let deployment = match before {
            Some(before) => Deployment { times: before.times.saturating_add(1), refused: false, ..before },
            None => Deployment { mark, times: 1, refused: false, age: Apart(Duration::ZERO) },
        };
        // Its own place is filled, or else that of the one which began longest ago.
        let place = self.0.iter().position(|of| of.as_ref().is_some_and(|of| of.mark == mark));
        let end = place.map_or(limits::BEGUN, |place| place.saturating_add(1));
        let mut moved = Some(deployment);
        for of in self.0.iter_mut().take(end) {
            moved = core::mem::replace(of, moved);
        }
    }

    /// The server refuses for good to hear how a deployment ended.
    pub(crate) fn is_refused(&mut self, id: &str) {
        let mark = mark(id);
        if self.of(id).is_none() {
            // The record could not be read.
            self.begins(id);
        }
        for deployment in self.0.iter_mut().flatten().filter(|deployment| deployment.mark == mark) {
            deployment.refused = true;
            // A day of its own begins, and what a person lets begin in it is the first of its times.
            deployment.times = 0;
            deployment.age = Apart(Duration::ZERO);
        }
    }

    fn of(&self, id: &str) -> Option<&Deployment> {
        let mark = mark(id);
        self.0.iter().flatten().find(|deployment| deployment.mark == mark)
    }
}

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The deployments.
    pub begun: Begun,
    /// [`mark`](crate::last_report::mark) of the server that offered the last of them, if it is known.
    pub server: Option<u32>,
}

impl Record {
    /// The record's bytes, in the front of `buf`; `None` when they do not fit, which nothing of its size leads to.
    pub fn encode<'b>(&self, buf: &'b mut [u8; MAX_LEN]) -> Option<&'b [u8]> {
        sealed::seal(FORMAT, self, buf)
    }

    /// Reads a record; any bytes are either a whole one or none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        sealed::open(FORMAT, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const HOUR: Duration = Duration::from_secs(3600);

    fn sample() -> Record {
        let mut begun = Begun::nothing();
        begun.begins("d-1");
        begun.is_refused("d-1");
        begun.begins("d-2");
        begun.grow_older(Duration::from_secs(1));
        begun.begins("d-2");
        Record { begun, server: Some(5) }
    }

    fn ages(begun: &Begun) -> [Option<Duration>; limits::BEGUN] {
        begun.0.each_ref().map(|deployment| deployment.as_ref().map(|deployment| *deployment.age))
    }

    #[test]
    fn golden_bytes() {
        let mut buf = [0; MAX_LEN];
        let record = sample();
        let bytes = record.encode(&mut buf).unwrap();
        let second = b"\x01\x01\x22\x20\x7c\xf4\x36\x5d\x2f\x3f\x02\x00\xe8\x07";
        let first = b"\x01\x07\x41\xa3\x20\xe6\x13\xba\xac\x00\x01\xe8\x07";
        assert_eq!(bytes[..bytes.len() - 4], [&second[..], first, b"\x00\x00\x01\x05"].concat());
        let read = Record::decode(bytes).unwrap();
        assert_eq!(ages(&read.begun), ages(&record.begun));
        assert_eq!(read, record);
    }

    #[test]
    fn d7_every_prefix_and_every_flipped_bit_is_none() {
        let mut buf = [0; MAX_LEN];
        let bytes = sample().encode(&mut buf).unwrap().to_vec();
        for cut in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn the_longest_record_fits() {
        let mut begun = Begun::nothing();
        for name in ["a", "b", "c", "d"] {
            begun.begins(name);
        }
        for deployment in begun.0.iter_mut().flatten() {
            deployment.times = u8::MAX;
        }
        begun.grow_older(Duration::MAX);
        let longest = Record { begun, server: Some(u32::MAX) };
        assert_eq!(Record::decode(longest.encode(&mut [0; MAX_LEN]).unwrap()), Some(longest));
    }

    #[test]
    fn r48_a_deployment_begins_five_times_a_day() {
        let mut begun = Begun::nothing();
        for _ in 0..5 {
            assert_eq!(begun.turns_down("d-1", HOUR), None);
            begun.begins("d-1");
            begun.grow_older(HOUR);
        }
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        assert_eq!(begun.turns_down("d-1", HOUR), Some(TurnDown::TooOften(hours(18))));
        assert_eq!(begun.turns_down("d-2", HOUR), None, "another one");
        assert_eq!(begun.turns_down("d-1", hours(19)), None, "the day of the first time is over");
        // And the next day begins.
        begun.grow_older(hours(19));
        begun.begins("d-1");
        assert_eq!(ages(&begun)[0], Some(Duration::ZERO));
        assert_eq!(begun.turns_down("d-1", HOUR), None);
    }

    #[test]
    fn r48_a_deployment_whose_end_is_refused_is_turned_down_for_a_day() {
        let mut begun = Begun::nothing();
        begun.begins("d-1");
        begun.grow_older(HOUR);
        begun.is_refused("d-1");
        assert_eq!(begun.turns_down("d-1", HOUR), Some(TurnDown::Refused(DAY.minus(HOUR))));
        assert_eq!(begun.turns_down("d-1", DAY), None);
        // A person let it begin: it may as often as any other.
        for _ in 0..5 {
            begun.begins("d-1");
        }
        assert!(matches!(begun.turns_down("d-1", HOUR), Some(TurnDown::TooOften(_))));
        let mut begun = Begun::nothing();
        for _ in 0..4 {
            begun.begins("d-1");
        }
        begun.is_refused("d-1");
        begun.begins("d-1");
        assert_eq!(begun.turns_down("d-1", HOUR), None, "the times before the refusal do not count");
        // Its beginning is not on record.
        begun.is_refused("d-2");
        assert_eq!(begun.turns_down("d-2", HOUR), Some(TurnDown::Refused(DAY.minus(HOUR))));
    }

    #[test]
    fn r48_the_last_four_deployments_are_known() {
        let mut begun = Begun::nothing();
        for name in ["a", "b", "c", "d", "a", "e"] {
            begun.begins(name);
        }
        let known = begun.0.each_ref().map(|deployment| deployment.as_ref().map(|of| of.mark));
        assert_eq!(known, ["e", "a", "d", "c"].map(|name| Some(mark(name))));
        assert!(begun.is_last("e") && !begun.is_last("a") && !Begun::nothing().is_last(""));
    }
}
