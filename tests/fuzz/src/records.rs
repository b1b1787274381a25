//! What this client or an earlier one has stored.

use thimble_core::checkpoint::{Checkpoint, MAX_LEN};
use thimble_core::control::{Map, Pool};
use thimble_core::flight::{Event, Record, Ring};
use thimble_core::time::{Duration, Instant};

/// A record that is read is written as the same, and read as the same again.
pub fn checkpoint(bytes: &[u8]) {
    // Made-up bytes rarely have their checksum: half of them get it.
    let mut whole = bytes.to_vec();
    if bytes.first().is_some_and(|&byte| byte == 1) {
        whole.extend(crc(bytes).to_le_bytes());
    }
    let Ok(checkpoint) = Checkpoint::decode(&whole) else { return };
    let mut buf = [0; MAX_LEN];
    let written = checkpoint.encode(&mut buf).expect("what was read has room");
    assert_eq!(Checkpoint::decode(written).as_ref(), Ok(&checkpoint));
}

/// CRC-32 (IEEE), bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

/// Control maps that are read are written as what reads the same.
pub fn control_maps(bytes: &[u8]) {
    let _ = Map::parse(bytes);
    if let Ok(text) = str::from_utf8(bytes) {
        let _ = Map::from_server(Some(text), "6a3d0ca2-6c2a-4a26-9f47-5b0a1f3c2d4e");
    }
    let (now, hour) = (Instant::from_millis(1), Duration::from_secs(3600));
    let Ok(pool) = Pool::load(bytes, now, hour) else { return };
    let mut buf = [0; 8192];
    let Some(text) = pool.record(true).write(&mut buf).expect("all maps have room") else { return };
    let again = Pool::load(text.as_bytes(), now, hour).expect("what was written is read");
    assert!(again.is_saved_as(&pool), "{text}");
}

/// A flight record is read whole or not at all; what goes on behind it is read with it, and all of it has words.
pub fn flight(bytes: &[u8]) {
    let mut whole = bytes.to_vec();
    if bytes.first().is_some_and(|&byte| byte == 1) {
        whole.extend(crc(bytes).to_le_bytes());
    }
    let mut ring = Ring::new();
    let Some(record) = Record::decode(&whole) else {
        assert!(!ring.go_on(&whole));
        return;
    };
    // How many there ever were; the number on record may be any.
    let number = |record: &Record<'_>| {
        record.dropped().wrapping_add(u32::try_from(record.entries().count()).expect("few"))
    };
    let before = number(&record);
    for event in record.entries().filter_map(|entry| entry.event) {
        assert!(!event.to_string().is_empty());
    }
    assert!(ring.go_on(&whole));
    assert_eq!(ring.bytes(), whole);
    let last = Event::Downloads(7);
    ring.note(Instant::from_millis(1), &last);
    let record = Record::decode(ring.bytes()).expect("what was written is read");
    assert_eq!(record.entries().last().and_then(|entry| entry.event), Some(last));
    assert_eq!(number(&record), before.wrapping_add(1));
}
