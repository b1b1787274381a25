//! Keys and certificates: there, readable, and not expired.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use thimble_hal_linux::keys::{DeviceKey, KeyError};
use thimble_hal_linux::network::{HttpNetwork, Validity, validity};
use thimble_hal_linux::paths::Word;
use thimble_hal_linux::verify::KeyVerifier;

use crate::device::{Device, network_config};
use crate::doctor::{Findings, is_hidden};

/// A certificate that ends within this is worth a word: 30 days.
const SOON: u64 = 30 * 86_400;

pub(super) fn look(device: &Device, found: &mut Findings) {
    let conf = &device.conf;
    verify_keys(device, found);
    device_key(device, found);
    let client = conf.https_client.as_ref();
    let files = [
        ("ServerCertificate", conf.server_certificate.as_deref()),
        ("HttpsClient.Certificate", client.map(|client| client.certificate.as_path())),
        ("HttpsClient.Key", client.map(|client| Path::new(client.key.expose()))),
    ];
    let there = || files.iter().filter_map(|(key, path)| Some((*key, (*path)?)));
    if there().next().is_none() {
        return;
    }
    if let Some((key, path)) = there().find(|(_, path)| is_hidden(path)) {
        return found.unseen("certificates", format_args!("{key} {} is not readable", path.display()));
    }
    if let Err(error) = HttpNetwork::new(network_config(conf), device.log.clone()) {
        return found.stops("certificates", error, "put the right file there, or correct mender.conf");
    }
    for (key, path) in there().filter(|(key, _)| *key != "HttpsClient.Key") {
        if let Ok(all) = validity(key, path) {
            dates(key, path, &all, found);
        }
    }
}

/// Of several, such as a renewed authority beside the old one, one that is valid is enough. Of a client's, the first is its own.
fn dates(key: &'static str, path: &Path, all: &[Validity], found: &mut Findings) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let all = if key == "HttpsClient.Certificate" { all.get(..1).unwrap_or(all) } else { all };
    let path = path.display();
    let valid = all.iter().filter(|dates| dates.not_before <= now && now <= dates.not_after);
    let Some(longest) = valid.max_by_key(|dates| dates.not_after) else {
        let which = all.first().map_or(String::new(), |dates| format!(": it is valid {dates}"));
        let mend = "renew it, or set the clock";
        return found.stops("certificates", format_args!("{key} {path} is not valid now{which}"), mend);
    };
    if longest.not_after - now < SOON {
        found.doubtful("certificates", format_args!("{key} {path} is valid {longest} only"), "renew it");
    } else if let Some(old) = all.iter().find(|dates| dates.not_after < now) {
        found.doubtful(
            "certificates",
            format_args!("{key} {path} also holds one that was valid {old}"),
            "delete that one",
        );
    } else {
        found.good("certificates", format_args!("{key} {path} is valid {longest}"));
    }
}

fn verify_keys(device: &Device, found: &mut Findings) {
    const NAME: &str = "verify keys";
    let keys = &device.conf.artifact_verify_keys;
    if let Some(trouble) = device.conf_trouble.as_ref().filter(|_| keys.is_empty()) {
        return found.unset(trouble, NAME, "which ArtifactVerifyKeys are");
    }
    if keys.is_empty() {
        let text = "no ArtifactVerifyKeys are set: artifacts are installed whoever made them";
        return found.doubtful(NAME, text, "sign your artifacts, and set ArtifactVerifyKeys");
    }
    for path in keys {
        match KeyVerifier::load(std::slice::from_ref(path)) {
            Ok(_) => found.good(NAME, path.display()),
            Err(error) if is_hidden(path) => found.unseen(NAME, error),
            Err(error) => found.stops(NAME, error, "put the public key there, in PEM form"),
        }
    }
}

fn device_key(device: &Device, found: &mut Findings) {
    const NAME: &str = "device key";
    // Nobody needs it where there is no server.
    if device.conf.servers.is_empty() {
        return;
    }
    let (path, is_own) = match &device.conf.auth_private_key {
        Some(path) => (Path::new(path.expose()).to_owned(), false),
        None => (device.paths.agent_key(), true),
    };
    if is_hidden(&path) {
        return found.unseen(NAME, format_args!("{} is not readable", path.display()));
    }
    if is_own && path.symlink_metadata().is_err() {
        return found
            .good(NAME, format_args!("{} is not there yet: the first start makes it", path.display()));
    }
    match DeviceKey::look(&path) {
        Ok(()) => match path.metadata().map(|found| found.mode() & 0o7777) {
            Ok(mode) if mode & 0o077 != 0 => {
                let text = format!("{} can be read or changed by others (mode {mode:04o})", path.display());
                found.doubtful(NAME, text, format_args!("run `chmod 600 {}`", Word(&path)));
            }
            _ => found.good(NAME, path.display()),
        },
        Err(error) => found.stops(NAME, &error, mend_key(&error)),
    }
}

/// What to do; nothing where the error's text says it.
const fn mend_key(error: &KeyError) -> &'static str {
    match error {
        KeyError::Pkcs11
        | KeyError::Owner(..)
        | KeyError::Empty(_)
        | KeyError::NoKey(_)
        | KeyError::Encrypted(_) => "",
        KeyError::Io(..) | KeyError::NotRegular(_) => {
            "put the key back: with a new one this is another device to the server"
        }
        KeyError::Algorithm(_) | KeyError::Damaged(_) => {
            "put a usable key there: the server must accept it anew if it is another one"
        }
        KeyError::Random => "have the kernel give random numbers",
    }
}
