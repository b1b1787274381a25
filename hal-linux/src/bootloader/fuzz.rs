//! What holds for any bytes where a boot environment should be: panics where it does not.

use super::grub_env::Block;
use super::vars::{Change, Vars};
use super::{fw_env_config, uboot_env};

const CHANGE: Change<'_> = ("upgrade_available", Some("1"));

/// Every variable survives a rewrite of U-Boot's environment that changes one.
pub fn uboot(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let redundant = kind & 1 == 1;
    // Made-up bytes rarely have their checksum: it is put in, so that what stands behind it is looked at.
    let mut bytes = bytes.to_vec();
    let start = if redundant { 5 } else { 4 };
    if kind & 2 == 2
        && let Some(data) = bytes.get(start..)
    {
        let crc = crc32fast::hash(data).to_le_bytes();
        bytes[..4].copy_from_slice(&crc);
    }
    let Some(copy) = uboot_env::decode(&bytes, redundant) else { return };
    let mut changed = copy.clone();
    if !change(&mut changed.vars) {
        return;
    }
    let size = bytes.len() + 64;
    let written = match uboot_env::encode(&changed, redundant, size) {
        Ok(written) => written,
        Err(error) => panic!("{error} with 64 bytes more"),
    };
    assert_eq!(uboot_env::decode(&written, redundant).as_ref(), Some(&changed), "of {:?}", copy.vars);
}

/// Every variable survives a rewrite of GRUB's block that changes one, and the block keeps its size.
pub fn grub(bytes: &[u8]) {
    let Some(block) = Block::parse(bytes) else { return };
    let mut changed = block.vars();
    if !change(&mut changed) {
        return;
    }
    let written = match block.edit(&[CHANGE]) {
        Ok(Some(written)) => written,
        Ok(None) => bytes.to_vec(),
        Err(_) => return,
    };
    assert_eq!(written.len(), bytes.len());
    let Some(again) = Block::parse(&written) else { panic!("what was written is no block") };
    assert_eq!(again.vars(), changed);
}

/// Sets a variable of ours; false where the environment does not allow it (a name that stands twice).
fn change(vars: &mut Vars) -> bool {
    vars.apply(&[CHANGE]).is_ok()
}

/// `fw_env.config` never leads to a place of no bytes.
pub fn fw_env_config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(places) = fw_env_config::parse(text) {
        assert!(!places.is_empty() && places.len() <= 2, "{} places", places.len());
    }
}
