//! The configuration.

use thimble_hal_linux::config::ConfigFault;
use thimble_hal_linux::trust::Untrusted;

use crate::device::Device;
use crate::doctor::{Findings, is_hidden};

const NAME: &str = "configuration";

pub(super) fn look(device: &Device, found: &mut Findings) {
    let conf = &device.conf;
    if let Some(trouble) = &device.conf_trouble {
        if is_hidden(&trouble.path) {
            found.unseen(NAME, trouble);
        } else {
            found.stops(NAME, trouble, if is_told(&trouble.fault) { "" } else { "correct the file" });
        }
        return;
    }
    for key in &conf.unknown_keys {
        found.doubtful(NAME, key, "correct the key, or delete it");
    }
    if let Some(unusable) = &conf.unusable_server {
        found.stops(NAME, unusable, "correct the URL");
    }
    if conf.servers.is_empty() && conf.unusable_server.is_none() {
        let text = "no server is set: updates come from files alone, by 'thimble install'";
        found.doubtful(NAME, text, "set ServerURL, if there is a server: 'thimble setup'");
    }
    if conf.skip_verify {
        let text = "SkipVerify is set: anybody on the way to the server can stand in for it";
        found.doubtful(NAME, text, "set ServerCertificate, and delete SkipVerify");
    }
    if let Some(path) = conf.update_log_path.as_deref().filter(|path| !path.is_dir()) {
        let text =
            format!("UpdateLogPath {} is no directory: no log of a deployment is written", path.display());
        if is_hidden(path) {
            found.unseen(NAME, text);
        } else {
            found.doubtful(NAME, text, "make that directory, or delete UpdateLogPath");
        }
    }
    if conf.unknown_keys.is_empty() && conf.unusable_server.is_none() && !conf.servers.is_empty() {
        found.good(NAME, format_args!("servers: {}", conf.servers.join(", ")));
    }
}

/// Whether the text of the fault says what to do.
const fn is_told(fault: &ConfigFault) -> bool {
    matches!(
        fault,
        ConfigFault::Untrusted(Untrusted::Owner(..) | Untrusted::Writable(..)) | ConfigFault::Conflict(..)
    )
}
