//! What holds for any bytes where a boot environment should be: panics where it does not.

use super::vars::Vars;
use super::{fw_env_config, grub_env, uboot_env};

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

/// Every variable survives a rewrite of GRUB's block that changes one, and a rewrite that changes none gives the same.
pub fn grub(bytes: &[u8]) {
    let Some(vars) = grub_env::decode(bytes) else { return };
    let mut changed = vars.clone();
    if !change(&mut changed) {
        return;
    }
    let comments = grub_env::comments(bytes);
    let written = match grub_env::encode(&changed, comments, 2 * bytes.len() + 64) {
        Ok(written) => written,
        Err(error) => panic!("{error} in twice the room"),
    };
    let Some(again) = grub_env::decode(&written) else { panic!("what was written is no block") };
    assert_eq!(again, changed);
    assert_eq!(grub_env::comments(&written), comments, "comments");
}

/// Sets a variable of ours; false where the environment does not allow it (a name that stands twice).
fn change(vars: &mut Vars) -> bool {
    vars.apply(&[("upgrade_available", Some("1"))]).is_ok()
}

/// `fw_env.config` never leads to a place of no bytes.
pub fn fw_env_config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(places) = fw_env_config::parse(text) {
        assert!(!places.is_empty() && places.len() <= 2, "{} places", places.len());
    }
}
