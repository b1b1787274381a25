//! The manual page, `support/man/thimble.1`: made from the table of verbs.

use std::fmt::Write;

use crate::verbs::{ABOUT, ENVIRONMENT, EXIT_STATUS, GLOBALS, Switch, VerbName, page};

/// `THIMBLE_GOLDEN=1 cargo test -p thimble help` writes the file `name` of `support/` anew.
pub(super) fn is_as_written(name: &str, new: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../support").join(name);
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        std::fs::write(&path, new).expect("it is written");
    }
    let old = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(old == new, "{name} is not what the table of verbs says; THIMBLE_GOLDEN=1 writes it");
}

#[test]
fn the_manual_page_is_what_the_table_says() {
    is_as_written("man/thimble.1", &manual());
}

fn manual() -> String {
    let mut out = String::from(
        ".\\\" Made from the table of verbs, bin/thimble/src/verbs.rs, by a test.\n.TH THIMBLE 1\n.nh\n\
         .SH NAME\nthimble, mender\\-update, mender, mender\\-auth \\- over\\-the\\-air update client\n.SH SYNOPSIS\n",
    );
    for (index, verb) in VerbName::ALL.into_iter().enumerate() {
        if index > 0 {
            out.push_str(".br\n");
        }
        let _ = writeln!(out, ".B thimble\n.RI [ OPTIONS ]\n.B {}", escaped(verb.name()));
        let argument = page(verb).argument.placeholder();
        if !argument.is_empty() {
            let _ = writeln!(out, "{}", escaped(&argument));
        }
    }
    out.push_str(".SH DESCRIPTION\n");
    paragraphs(&mut out, ABOUT);
    out.push_str(
        ".PP\nThe program is also installed under the names of the programs that it stands for. Called as\n\
         .BR mender\\-auth ,\nit knows\n.BR bootstrap ,\nand its\n.B daemon\n\
         only waits until it is ended: the client\\(aqs own daemon does that work.\n.SH VERBS\n",
    );
    for verb in VerbName::ALL {
        let page = page(verb);
        let _ = writeln!(out, ".SS {}", escaped(&super::usage(verb)));
        paragraphs(&mut out, &format!("{}.", page.summary));
        if !page.text.is_empty() {
            out.push_str(".PP\n");
            paragraphs(&mut out, page.text);
        }
        switches(&mut out, page.options);
        out.push_str(".PP\nFor example:\n.PP\n.nf\n.RS\n");
        for example in page.examples {
            let _ = writeln!(out, "thimble {}", escaped(example));
        }
        out.push_str(".RE\n.fi\n");
    }
    out.push_str(".SH OPTIONS\nOptions may stand before or after the verb.\n");
    switches(&mut out, &GLOBALS);
    out.push_str(".SH EXIT STATUS\n");
    paragraphs(&mut out, EXIT_STATUS);
    out.push_str(".SH ENVIRONMENT\n");
    paragraphs(&mut out, ENVIRONMENT);
    out.push_str(
        ".SH FILES\n.TP\n.I /etc/mender/mender.conf\nThe configuration.\n.TP\n.I /usr/share/mender\n\
         Identity, inventory and update modules.\n.TP\n.I /var/lib/mender\n\
         The datastore: records, the device\\(aqs key, work files. Often a link to a file system that outlives updates.\n\
         .SH SEE ALSO\n.I /usr/share/doc/thimble/README.md\n",
    );
    out
}

fn switches(out: &mut String, switches: &[Switch]) {
    for switch in switches {
        out.push_str(".TP\n");
        let short = switch.short.map_or(String::new(), |short| format!("\\-{short}\\fR, \\fB"));
        let value = match switch.value.placeholder() {
            "" => String::new(),
            value => format!(" \\fI{}", escaped(value)),
        };
        let _ = writeln!(out, "\\fB{short}\\-\\-{}{value}\\fR", escaped(switch.long));
        let words = if switch.value.lists_words() {
            format!(": {}", switch.value.words().join(", "))
        } else {
            String::new()
        };
        paragraphs(out, &format!("{}{words}", switch.text));
    }
}

/// A paragraph is filled; lines in it that begin with a blank stay as they are.
fn paragraphs(out: &mut String, text: &str) {
    let mut is_kept = false;
    for line in text.lines() {
        if line.starts_with(' ') != is_kept {
            is_kept = !is_kept;
            out.push_str(if is_kept { ".nf\n" } else { ".fi\n" });
        }
        let _ = writeln!(out, "{}", if line.is_empty() { ".PP".to_owned() } else { escaped(line) });
    }
    if is_kept {
        out.push_str(".fi\n");
    }
}

fn escaped(text: &str) -> String {
    let plain = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if plain.starts_with('.') { format!("\\&{plain}") } else { plain }
}
