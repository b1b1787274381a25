use super::ErrorType;

/// The records of the client. Appended to, never reordered: the number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Key {
    /// What survives power loss of the running update ([`crate::checkpoint::Checkpoint`]).
    Checkpoint = 0,
    /// Name, group and free provides of what is installed: one JSON object, string to string.
    Provides = 1,
    /// `header-info` of the artifact being installed, as it stood in the verified header.
    HeaderInfo = 2,
    /// `type-info` of the artifact being installed, as it stood in the verified header.
    TypeInfo = 3,
    /// The deployment as the server offered it, where downloads go on after a restart.
    Offer = 4,
    /// Update control maps, active and expired.
    ControlMaps = 5,
    /// Why the running update failed first: the id of its deployment, a newline, text for people.
    Reason = 6,
    /// The end of a deployment that the server has not heard of yet ([`crate::last_report::LastReport`]).
    Report = 7,
    /// The deployments that began here last ([`crate::begun::Record`]).
    Begun = 8,
    /// What the client did last (module `flight`); written with feature `flight` only.
    Flight = 9,
}

impl Key {
    /// All keys, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Checkpoint,
        Self::Provides,
        Self::HeaderInfo,
        Self::TypeInfo,
        Self::Offer,
        Self::ControlMaps,
        Self::Reason,
        Self::Report,
        Self::Begun,
        Self::Flight,
    ];
}

/// One change of a batch. The last of several changes to one key wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The record becomes these bytes.
    Put(Key, &'a [u8]),
    /// The record is gone; it need not have been there.
    Delete(Key),
}

/// Durable records.
///
/// Where a newer version of the client has written them in a format of its own, every call is an error of kind
/// [`super::Kind::Newer`] and nothing is changed. Records under keys that this version does not know are kept.
pub trait Storage: ErrorType {
    /// The record of `key` in the front of `buf`, or `None` if there is none. A record longer than `buf` is an
    /// error of kind [`super::Kind::TooLarge`].
    fn read<'b>(&mut self, key: Key, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, Self::Error>;

    /// All of `batch` is durable on return, or none of it ever was: power may be lost at any moment inside.
    /// After an error the old records are in force, here and after a restart. A batch that changes nothing
    /// writes nothing. Blocks for the time of one flush.
    fn commit(&mut self, batch: &[Change<'_>]) -> Result<(), Self::Error>;
}

impl<T: Storage + ?Sized> Storage for &mut T {
    fn read<'b>(&mut self, key: Key, buf: &'b mut [u8]) -> Result<Option<&'b [u8]>, Self::Error> {
        T::read(self, key, buf)
    }

    fn commit(&mut self, batch: &[Change<'_>]) -> Result<(), Self::Error> {
        T::commit(self, batch)
    }
}
