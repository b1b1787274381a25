//! What survives power loss: one small record with a format number and a checksum.
//!
//! Layout: format number (1 byte), `postcard` of [`Checkpoint`], CRC-32 (IEEE) of all before it, little endian. The
//! golden bytes in the tests guard it.
//!
//! # Two versions of the client
//!
//! The two slots of a device may hold two versions of this client, and both use this one record: the running version
//! writes it, the boot loader starts the other one. So a version that changes the record keeps these rules:
//!
//! - **Nothing is added to a format.** Versions that know a format read exactly what it has: a further field, tag or enum
//!   variant would be damage to them. It needs a new [`Format`], and `encode` and `decode` then do not compile until
//!   they handle it.
//! - **A record is written in the format that was found**, until the update is committed: only then can no boot loader
//!   bring the older version back. [`Checkpoint::format`] carries the format from `decode` to `encode`, the machine raises
//!   it to [`Format::NEWEST`] when the module has committed. What an older format cannot express is left out there, or
//!   becomes the tag from which the older version goes on safely.
//! - **A newer format is left alone.** `decode` gives [`Unusable::Newer`]; the client then begins no update and writes
//!   nothing, so that the newer version finds everything as it left it.

use serde::{Deserialize, Serialize};

use crate::deployment::{Mode, Verdict};
use crate::limits;
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::texts;
use crate::text::Text;

/// How a record is written: the number in its first byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// The first one.
    #[default]
    One = 1,
}

impl Format {
    /// The format of an update that begins where there is no record.
    pub const NEWEST: Self = Self::One;

    const fn number(self) -> u8 {
        self as u8
    }

    const fn of(number: u8) -> Result<Self, Unusable> {
        match number {
            0 => Err(Unusable::Corrupt),
            1 => Ok(Self::One),
            newer => Err(Unusable::Newer(Newer::Checkpoint(newer))),
        }
    }
}

/// Room for an encoded record.
pub const MAX_LEN: usize = 128;

/// The point an update had reached when its record was written. In brackets: Mender's own names, for the daemon and
/// for the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Tag {
    /// `Download` has begun (`update-store`).
    Store,
    /// Downloaded; stopped before the install (`Before_ArtifactInstall_Enter`).
    BeforeInstall,
    /// `ArtifactInstall` has begun (`update-install`, `ArtifactInstall_Enter`).
    Install,
    /// The reboot may have begun (`reboot`).
    Reboot,
    /// Running again after the reboot (`after-reboot`).
    AfterReboot,
    /// Installed, not committed (`Before_ArtifactCommit_Enter`).
    BeforeCommit,
    /// `ArtifactCommit` has begun (`update-commit`, `ArtifactCommit_Enter`).
    Commit,
    /// The module has committed; stopped before the `Leave` scripts (`Before_ArtifactCommit_Leave`).
    BeforeCommitLeave,
    /// The module has committed (`update-after-commit`, `ArtifactCommit_Leave`).
    AfterCommit,
    /// `ArtifactRollback` has begun (`rollback`, `ArtifactRollback_Enter`).
    Rollback,
    /// The reboot of the rollback may have begun (`rollback-reboot`).
    RollbackReboot,
    /// Running again after it (`after-rollback-reboot`).
    AfterRollbackReboot,
    /// `ArtifactFailure` has begun (`update-error`, `ArtifactFailure_Enter`).
    Failure,
    /// Nothing but cleaning up is left (`cleanup`, `Cleanup`).
    Cleanup,
    /// Nothing but the last report is left. Never in this record: it has one of its own,
    /// [`LastReport`](crate::last_report::LastReport), which takes the place of this one.
    Report,
}

// For people.
texts! {
    TAGS = 'K': Tag {
        1 Store => "the download has begun",
        2 BeforeInstall => "downloaded and not installed",
        3 Install => "the install has begun",
        4 Reboot => "the reboot has begun",
        5 AfterReboot => "the reboot has begun",
        6 BeforeCommit => "installed and not committed",
        7 Commit => "the commit has begun",
        8 BeforeCommitLeave => "committed, and not at its end",
        9 AfterCommit => "committed, and not at its end",
        10 Rollback => "the rollback has begun",
        11 RollbackReboot => "the reboot of the rollback has begun",
        12 AfterRollbackReboot => "the reboot of the rollback has begun",
        13 Failure => "failed, and not at its end",
        14 Cleanup => "only the clean-up is left",
        15 Report => "only its report to the server is left",
    }
}

/// The reboot the module asked for (`RebootRequested`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RebootKind {
    /// None, or not asked yet.
    #[default]
    None,
    /// The module performs it.
    Custom,
    /// The client runs the `reboot` command.
    Automatic,
}

/// The saved record of the update in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The format that the record was found in and stays in until the commit. The first byte of the record.
    #[serde(skip)]
    pub format: Format,
    /// Whose update it is.
    pub mode: Mode,
    /// How far it got.
    pub tag: Tag,
    /// How it stood, both flags of the outcome tracker (D-6).
    pub verdict: Verdict,
    /// Command line: stopped before the tagged step, which has not begun.
    pub stopped: bool,
    /// Command line: a step of this run had failed (`Failed`). A stop that was asked for starts afresh.
    pub failed: bool,
    /// What `NeedsArtifactReboot` said last.
    pub reboot: RebootKind,
    /// A module was selected, so its `Cleanup` must be called.
    pub module: bool,
    /// `header-info` and `type-info` of the artifact are stored beside this record.
    pub header: bool,
    /// Writes of this record so far, and loads after a restart (daemon only).
    pub stores: u8,
    /// The server's id of the deployment; empty on the command line.
    pub deployment: Text<{ limits::DEPLOYMENT_ID }>,
    /// The server's offer is stored under a key of its own, so that a download can go on after a restart. This field is
    /// not written: whether there is an offer is found out by reading that key.
    #[serde(skip)]
    pub offer: bool,
}

/// Why a stored record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unusable {
    /// Damaged, or not a record at all.
    Corrupt,
    /// Written by a newer client: leave it alone.
    Newer(Newer),
}

/// What another client has left on the device, a newer version of this one or a foreign one. This version does not go on with
/// it, and begins nothing as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Newer {
    /// The record of an update, in a format of this number.
    Checkpoint(u8),
    /// All records: the storage itself is in a newer format.
    Storage,
    /// An update that a foreign client has left unfinished, and that is not taken over.
    Foreign,
}

texts! {
    NEWER = 'K': Newer {
        21 Checkpoint(format) with (format = format, newest = Format::NEWEST.number()) =>
            "the update in progress was begun by a newer version of the client (its record has format {format}, this \
             version reads up to {newest}): start the image with the newer version, which goes on from there",
        22 Storage =>
            "what is stored was written by a newer version of the client: start the image with the newer version, \
             which goes on from there",
        26 Foreign =>
            "another client has left an update unfinished, which cannot be continued: it must be taken back or replaced first",
    }

    UNUSABLE = 'K': Unusable {
        23 Corrupt => "the record of the update in progress is damaged",
        24 Newer(newer) => "{newer}",
    }
}

/// A record is longer than [`MAX_LEN`]. The longest one has 12 bytes beside its deployment id and the checksum, so that
/// only a field that is added without more room can lead here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotFit;

texts! {
    DOES_NOT_FIT = 'K': DoesNotFit {
        25 Self with (limit = MAX_LEN) => "the record of the update in progress has more than {limit} bytes",
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&TAGS, &NEWER, &UNUSABLE, &DOES_NOT_FIT];

impl Checkpoint {
    /// The record's bytes, in the front of `buf`.
    ///
    /// # Errors
    /// [`DoesNotFit`]; what is in `buf` then is no record.
    pub fn encode<'b>(&self, buf: &'b mut [u8; MAX_LEN]) -> Result<&'b [u8], DoesNotFit> {
        let [format, rest @ ..] = buf;
        *format = self.format.number();
        let used = match self.format {
            // No format of this record has that tag.
            Format::One if self.tag == Tag::Report => return Err(DoesNotFit),
            Format::One => postcard::to_slice(self, rest).map_err(|_| DoesNotFit)?.len(),
        };
        let body = used.saturating_add(1);
        let crc = crate::crc::hash(buf.get(..body).ok_or(DoesNotFit)?).to_le_bytes();
        let end = body.saturating_add(crc.len());
        buf.get_mut(body..end).ok_or(DoesNotFit)?.copy_from_slice(&crc);
        buf.get(..end).ok_or(DoesNotFit)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`Unusable`]: any bytes are either a valid record or this.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unusable> {
        let (body, crc) = bytes.split_last_chunk::<4>().ok_or(Unusable::Corrupt)?;
        if crate::crc::hash(body).to_le_bytes() != *crc {
            return Err(Unusable::Corrupt);
        }
        let (format, record) = body.split_first().ok_or(Unusable::Corrupt)?;
        match Format::of(*format)? {
            Format::One => Self::decode_one(record).ok_or(Unusable::Corrupt),
        }
    }

    fn decode_one(record: &[u8]) -> Option<Self> {
        let (checkpoint, []) = postcard::take_from_bytes::<Self>(record).ok()? else { return None };
        // A deployment has an id; nobody could be told how one without ended.
        let nameless = checkpoint.mode == Mode::Managed && checkpoint.deployment.is_empty();
        let is_report = checkpoint.tag == Tag::Report;
        (!nameless && !is_report).then_some(Self { format: Format::One, ..checkpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextExt;

    fn sample() -> Checkpoint {
        Checkpoint {
            format: Format::One,
            mode: Mode::Managed,
            tag: Tag::AfterReboot,
            verdict: Verdict::Good,
            stopped: false,
            failed: false,
            reboot: RebootKind::Automatic,
            module: true,
            header: true,
            stores: 6,
            deployment: Text::copy("d-1").unwrap(),
            offer: false,
        }
    }

    #[test]
    fn golden_bytes() {
        let mut buf = [0; MAX_LEN];
        let bytes = sample().encode(&mut buf).unwrap();
        assert_eq!(&bytes[..bytes.len() - 4], &[1, 0, 4, 0, 0, 0, 2, 1, 1, 6, 3, b'd', b'-', b'1']);
        assert_eq!(Checkpoint::decode(bytes), Ok(sample()));
        let offered = Checkpoint { offer: true, ..sample() };
        assert_eq!(offered.encode(&mut [0; MAX_LEN]), sample().encode(&mut [0; MAX_LEN]));
    }

    #[test]
    fn d7_every_prefix_and_every_flipped_bit_is_refused() {
        let mut buf = [0; MAX_LEN];
        let bytes = sample().encode(&mut buf).unwrap().to_vec();
        for cut in 0..bytes.len() {
            assert_eq!(Checkpoint::decode(&bytes[..cut]), Err(Unusable::Corrupt), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::decode(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn i11_a_deployment_without_an_id_is_no_record() {
        let mut buf = [0; MAX_LEN];
        let nameless = Checkpoint { deployment: Text::default(), ..sample() };
        assert_eq!(Checkpoint::decode(nameless.encode(&mut buf).unwrap()), Err(Unusable::Corrupt));
        let standalone = Checkpoint { mode: Mode::Standalone, ..nameless };
        assert_eq!(Checkpoint::decode(standalone.encode(&mut buf).unwrap()), Ok(standalone));
    }

    #[test]
    fn r23_the_last_report_is_none_of_these_records() {
        let report = Checkpoint { tag: Tag::Report, ..sample() };
        assert_eq!(report.encode(&mut [0; MAX_LEN]), Err(DoesNotFit));
        // As an older version sees it: a tag that this format does not have.
        let mut buf = [0; MAX_LEN];
        let mut bytes = sample().encode(&mut buf).unwrap().to_vec();
        bytes.truncate(bytes.len() - 4);
        bytes[2] = Tag::Report as u8;
        bytes.extend(crate::crc::hash(&bytes).to_le_bytes());
        assert_eq!(Checkpoint::decode(&bytes), Err(Unusable::Corrupt));
    }

    #[test]
    fn longest_record_fits() {
        let id = "i".repeat(limits::DEPLOYMENT_ID);
        let checkpoint = Checkpoint { deployment: Text::copy(&id).unwrap(), stores: u8::MAX, ..sample() };
        let mut buf = [0; MAX_LEN];
        assert_eq!(Checkpoint::decode(checkpoint.encode(&mut buf).unwrap()), Ok(checkpoint));
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let mut bytes = [9, 1, 2, 3].to_vec();
        bytes.extend(crate::crc::hash(&bytes).to_le_bytes());
        assert_eq!(Checkpoint::decode(&bytes), Err(Unusable::Newer(Newer::Checkpoint(9))));
    }
}
