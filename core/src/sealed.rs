//! How small records are stored: format number (1 byte), `postcard` of the record, CRC-32 (IEEE) of all before it, little
//! endian. Any bytes are either a whole record of the format or none.

use core::fmt;
use core::marker::PhantomData;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The record's bytes, in the front of `buf`; `None` when they do not fit.
pub(crate) fn seal<'b>(format: u8, record: &impl Serialize, buf: &'b mut [u8]) -> Option<&'b [u8]> {
    let (first, rest) = buf.split_first_mut()?;
    *first = format;
    let body = postcard::to_slice(record, rest).ok()?.len().checked_add(1)?;
    let crc = crate::crc::hash(buf.get(..body)?).to_le_bytes();
    let end = body.checked_add(crc.len())?;
    buf.get_mut(body..end)?.copy_from_slice(&crc);
    buf.get(..end)
}

/// The record of this format, if the bytes are one.
pub(crate) fn open<'a, T: Deserialize<'a>>(format: u8, bytes: &'a [u8]) -> Option<T> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let (&found, record) = body.split_first()?;
    if found != format || crate::crc::hash(body).to_le_bytes() != *crc {
        return None;
    }
    let (record, rest) = postcard::take_from_bytes(record).ok()?;
    rest.is_empty().then_some(record)
}

/// An array, element by element: the derived code has each of its elements apart.
pub(crate) fn array<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default, const N: usize>(
    from: D,
) -> Result<[T; N], D::Error> {
    from.deserialize_tuple(N, Elements(PhantomData))
}

struct Elements<T, const N: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default, const N: usize> Visitor<'de> for Elements<T, N> {
    type Value = [T; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut array = core::array::from_fn(|_| T::default());
        for place in &mut array {
            *place = elements.next_element()?.ok_or_else(|| A::Error::invalid_length(N, &self))?;
        }
        Ok(array)
    }
}
