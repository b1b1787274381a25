//! The configuration.

use crate::device::Device;
use crate::doctor::{Findings, is_hidden};

const NAME: &str = "configuration";

pub(super) fn look(device: &Device, found: &mut Findings) {
    let conf = &device.conf;
    if let Some(trouble) = &device.conf_trouble {
        if is_hidden(&trouble.path) {
            found.unseen(NAME, trouble);
        } else {
            found.stops(NAME, trouble, "correct the file, or have it written: 'thimble setup'");
        }
        return;
    }
    for key in &conf.unknown_keys {
        found.doubtful(NAME, key, "correct the key, or delete it");
    }
    if let Some(unusable) = &conf.unusable_server {
        found.stops(NAME, unusable, "correct the URL, or have it written: 'thimble setup'");
    }
    if conf.servers.is_empty() && conf.unusable_server.is_none() {
        let text = "no server is set: updates come from files alone, by 'thimble install'";
        found.doubtful(NAME, text, "set ServerURL, if there is a server: 'thimble setup'");
    }
    if conf.skip_verify {
        let text = "SkipVerify is set: anybody on the way to the server can stand in for it";
        found.doubtful(NAME, text, "set ServerCertificate, and delete SkipVerify");
    }
    if conf.unknown_keys.is_empty() && conf.unusable_server.is_none() && !conf.servers.is_empty() {
        found.good(NAME, format_args!("servers: {}", conf.servers.join(", ")));
    }
}
