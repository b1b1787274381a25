//! The reference of the keys: `docs/configuration.md` and the manual page mender.conf(5), made from the table. The types and limits in
//! them are the parser's own words for a value that it refuses; a default is a value that changes nothing.

use std::fmt::Write as _;
use std::path::Path;

use super::keys::{KEYS, Key};
use super::tests::{error, load, only};
use super::*;

/// Between these lines of the page stands what is made from the table.
const BEGIN: &str = "<!-- made from hal-linux/src/config/keys.rs -->\n";
const END: &str = "<!-- end -->\n";

#[test]
fn the_reference_is_what_the_table_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    let old = std::fs::read_to_string(&path).expect("the page");
    let (head, rest) = old.split_once(BEGIN).expect("the page has a place for the table");
    let (_, tail) = rest.split_once(END).expect("the table has an end");
    is_as_written("docs/configuration.md", &format!("{head}{BEGIN}{}{END}{tail}", page()));
    is_as_written("support/man/mender.conf.5", &manual());
}

#[test]
fn a_default_of_the_table_changes_nothing() {
    for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
        let mut conf = load(&only(key.name, key.default));
        if key.name == "DaemonLogLevel" {
            assert_eq!(conf.daemon_log_level.take(), Some(Level::Info));
        }
        assert_eq!(conf, MenderConf::default(), "{}", key.name);
    }
}

/// What the parser says that the value must be.
fn value(key: &Key) -> String {
    let text = error(&only(key.name, "0.5"));
    let (_, after) = text.split_once(&format!("{} must be ", key.name)).unwrap_or_else(|| panic!("{text}"));
    after.to_owned()
}

/// `THIMBLE_GOLDEN=1 cargo test -p thimble-hal-linux reference` writes the files anew.
fn is_as_written(name: &str, new: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        std::fs::write(&path, new).expect("it is written");
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(old == new, "{name} is not what the table of keys says; THIMBLE_GOLDEN=1 writes it");
}

fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = KEYS.iter().map(|key| key.section).collect();
    sections.dedup();
    sections
}

fn page() -> String {
    let mut out = String::new();
    for section in sections() {
        let _ =
            writeln!(out, "\n## {section}\n\n| key | value | default | Mender | |\n|---|---|---|---|---|");
        for key in KEYS.iter().filter(|key| key.section == section) {
            let default = if key.default.is_empty() { String::new() } else { format!("`{}`", key.default) };
            let _ = writeln!(
                out,
                "| <a id=\"{name}\"></a>`{name}` | {} | {default} | {} | {} |",
                value(key),
                if key.mender.is_empty() { "no" } else { key.mender },
                key.text,
                name = key.name,
            );
        }
    }
    out.push('\n');
    out
}

fn manual() -> String {
    let mut out = String::from(
        ".\\\" Made from the table of keys, hal-linux/src/config/keys.rs, by a test.\n.TH MENDER.CONF 5\n.nh\n\
         .SH NAME\nmender.conf \\- configuration of thimble\n.SH SYNOPSIS\n.I /etc/mender/mender.conf\n.br\n\
         .I /var/lib/mender/mender.conf\n.SH DESCRIPTION\n\
         Two JSON objects. The second file is the fallback: a key of the first one replaces the value that the second has. Upper and lower\n\
         case of keys do not matter; an empty string or\n.B null\ncounts as if the key were not there. A key that nobody knows is a warning in the\n\
         log of the daemon; anything wrong with a known one is an error, and the client does not start.\n.PP\n\
         .B Group.Key\nstands for a key in an object: {\"Group\": {\"Key\": ...}}. A number of seconds of 0 stands for the default.\n",
    );
    for section in sections() {
        let _ = writeln!(out, ".SH {}", section.to_uppercase());
        for key in KEYS.iter().filter(|key| key.section == section) {
            let _ = writeln!(out, ".TP\n.B {}", roff(key.name));
            let _ = write!(out, "{}", roff(&value(key)));
            if !key.default.is_empty() {
                let _ = write!(out, "; default {}", roff(key.default));
            }
            let _ = writeln!(out, ".\n.br\n{}", roff(&key.text.replace('`', "")));
            if key.mender.is_empty() {
                out.push_str("Mender\\(aqs client does not know it.\n");
            }
        }
    }
    out.push_str(
        ".SH EXAMPLE\n.nf\n.RS\n{\n  \"ServerURL\": \"https://hosted.mender.io\",\n  \"RootfsPartA\": \"/dev/mmcblk0p2\",\n  \
         \"RootfsPartB\": \"/dev/mmcblk0p3\"\n}\n.RE\n.fi\n.SH SEE ALSO\n.BR thimble (1)\n",
    );
    out
}

fn roff(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq")
}
