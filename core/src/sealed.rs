//! How small records are stored: format number (1 byte), `postcard` of the record, CRC-32 (IEEE) of all before it, little
//! endian. Any bytes are either a whole record of the format or none.

use serde::{Deserialize, Serialize};

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
