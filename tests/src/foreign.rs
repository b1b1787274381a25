//! What Mender's client leaves in a datastore: its database, the work tree of a module, and scripts.

use std::fs;
use std::path::{Path, PathBuf};

use thimble_hal_linux::storage::new_database;

use crate::lab::{DEVICE_TYPE, Lab, MODULE};
use crate::managed::ID;

/// The name of the artifact that it was at.
pub const NAME: &str = "release-2";

/// The datastore of Debian's `mender` 3.4 after `mender install` of a single file.
pub const BY_HAND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/mender-3.4/uncommitted");

/// Its record of a deployment that stands at `at`, as version 3.4 writes it.
#[must_use]
pub fn state(at: &str, payload_type: &str) -> String {
    format!(
        r#"{{"Version":2,"Name":"{at}","UpdateInfo":{{"Artifact":{{"Source":{{"URI":"https://server/artifact","Expire":""}},"device_types_compatible":["{DEVICE_TYPE}"],"PayloadTypes":["{payload_type}"],"artifact_name":"{NAME}","artifact_group":"","artifact_provides":{{"rootfs-image.{payload_type}.version":"{NAME}"}},"clears_artifact_provides":["rootfs-image.{payload_type}.*"]}},"ID":"{ID}","RebootRequested":["reboot-type-custom"],"SupportsRollback":"rollback-supported","StateDataStoreCount":7,"HasDBSchemaUpdate":false}}}}"#
    )
}

/// Its database.
pub fn database(lab: &Lab, values: &[(&str, &str)]) {
    let values: Vec<_> = values.iter().map(|(key, value)| (*key, value.as_bytes())).collect();
    let bytes = new_database(&values).expect("they fit");
    fs::write(lab.path("store/mender-store"), bytes).expect("the database");
}

/// Its work tree of an update with the recording module, and its directory of scripts with recording scripts.
pub fn work_tree(lab: &Lab, scripts: &[&str]) {
    let tree = "store/modules/v3/payloads/0000/tree";
    for dir in ["header", "tmp", "streams", "files"] {
        fs::create_dir_all(lab.path(format!("{tree}/{dir}"))).expect("a directory of the work tree");
    }
    let type_info = format!(r#"{{"type": "{MODULE}"}}"#);
    let header_info = format!(
        r#"{{"payloads":[{{"type":"{MODULE}"}}],"artifact_provides":{{"artifact_name":"{NAME}"}},"artifact_depends":{{"device_type":["{DEVICE_TYPE}"]}}}}"#
    );
    for (name, text) in [
        ("version", "3"),
        ("current_artifact_name", "release-1"),
        ("current_artifact_group", ""),
        ("current_device_type", DEVICE_TYPE),
        ("header/artifact_name", NAME),
        ("header/artifact_group", ""),
        ("header/payload_type", MODULE),
        ("header/header-info", &header_info),
        ("header/type-info", &type_info),
        ("header/meta-data", "null"),
        ("files/payload", "payload\n"),
    ] {
        lab.write(&format!("{tree}/{name}"), text);
    }
    self::scripts(lab, scripts);
}

/// Its directory of scripts, with recording ones.
pub fn scripts(lab: &Lab, scripts: &[&str]) {
    fs::create_dir_all(lab.path("store/scripts")).expect("the directory of scripts");
    lab.write("store/scripts/version", "3");
    for name in scripts {
        lab.program(&format!("store/scripts/{name}"), &lab.script(name));
    }
}

/// Copies [`BY_HAND`] into the lab's datastore.
pub fn by_hand(lab: &Lab) {
    copy(Path::new(BY_HAND), &lab.path("store"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory of the case") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::write(&to, fs::read(entry.path()).expect("a file")).expect("its copy");
        }
    }
}

/// Files in places of that client's own, which cannot be moved; gone at the end.
#[derive(Debug)]
pub struct Fixed(Vec<PathBuf>);

impl Fixed {
    /// The recording module, an identity and a name, where that client looks for them.
    #[must_use]
    pub fn new(lab: &Lab) -> Self {
        let read = |name: &str| fs::read_to_string(lab.path(name)).expect("a file of the lab");
        let module = read(&format!("data/modules/v3/{MODULE}"));
        let files = [
            (format!("/usr/share/mender/modules/v3/{MODULE}"), module),
            (
                "/usr/share/mender/identity/mender-device-identity".into(),
                "#!/bin/sh\necho mac=00:01\n".into(),
            ),
            ("/etc/mender/artifact_info".into(), "artifact_name=unknown\n".into()),
        ];
        let mut ours = Vec::new();
        for (path, text) in files {
            let path = PathBuf::from(path);
            if path.exists() {
                continue;
            }
            fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
            lab.program(path.to_str().expect("text"), &text);
            ours.push(path);
        }
        Self(ours)
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}
