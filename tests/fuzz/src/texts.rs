//! Texts that people and other programs write.

use std::fs;
use std::path::PathBuf;

use thimble_core::json::Value;
use thimble_core::texts::decode;
use thimble_hal_linux::config::{MenderConf, Source};
use thimble_hal_linux::verify::KeyVerifier;

/// Both readers agree on what is JSON and on what stands in it.
pub fn json(bytes: &[u8]) {
    let ours = Value::parse(bytes);
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => assert!(same(ours, &theirs), "{}", String::from_utf8_lossy(bytes)),
        (Err(_), Err(_)) => {}
        // It stops at a number that no float can hold.
        (Ok(_), Err(error)) => assert!(error.to_string().contains("out of range"), "{error}"),
        // It goes deeper.
        (Err(error), Ok(_)) => {
            assert!(error.to_string().contains("nest") || error.to_string().contains("deep"), "{error}")
        }
    }
}

fn same(ours: Value<'_>, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as Theirs;
    match theirs {
        Theirs::Null => ours.is_null(),
        Theirs::Bool(truth) => ours.raw() == truth.to_string(),
        Theirs::Number(number) => {
            number.as_i64().is_none_or(|number| ours.as_integer().unwrap_or(0) == number)
        }
        Theirs::String(text) => ours.as_str().is_some_and(|ours| ours.is(text)),
        Theirs::Array(list) => {
            let items: Vec<_> = ours.items().into_iter().flatten().collect();
            items.len() == list.len() && items.iter().zip(list).all(|(ours, theirs)| same(*ours, theirs))
        }
        // It keeps the last of repeated members.
        Theirs::Object(map) => map.iter().all(|(key, theirs)| {
            let members = ours.members().into_iter().flatten();
            members.filter(|(name, _)| name.is(key)).last().is_some_and(|(_, ours)| same(ours, theirs))
        }),
    }
}

/// The log of a board, with codes or whatever looks like some: each line comes to an end, what is before the first mark stays,
/// and no line becomes endless.
pub fn codes(bytes: &[u8]) {
    for line in String::from_utf8_lossy(bytes).split('\n') {
        let mut text = String::new();
        decode(line, &mut text).expect("a string takes everything");
        let plain = line.split('~').next().unwrap_or_default();
        assert!(text.starts_with(plain), "{line} begins otherwise");
        assert!(plain.len() < line.len() || text == line, "{line} has no code");
        assert!(text.len() <= (line.len() + 1) << 12, "{line} becomes {} bytes", text.len());
    }
}

/// `mender.conf` is read or refused with a text of one line.
pub fn mender_conf(bytes: &[u8]) {
    let path = file("mender.conf", bytes);
    let none = PathBuf::from("/nonexistent");
    let loaded =
        MenderConf::load(Source { path: &none, required: false }, Source { path: &path, required: true });
    match loaded {
        Ok((conf, _)) => drop(conf.core_config()),
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
}

/// A verify key is read or refused with a text of one line.
pub fn keys(bytes: &[u8]) {
    let path = file("key.pem", bytes);
    if let Err(error) = KeyVerifier::load(&[path]) {
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

/// A file with these bytes, the same one for each process.
fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let dir = PathBuf::from(format!("/dev/shm/thimble-fuzz-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory in memory");
    let path = dir.join(name);
    fs::write(&path, bytes).expect("a file in memory");
    path
}
