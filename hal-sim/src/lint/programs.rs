//! Whether the kernel of a device can start a script.

use elf::ElfBytes;
use elf::abi::PT_INTERP;
use elf::endian::AnyEndian;

use super::{About, Finding, RUN1, RUN2, RUN3, RUN4, RUN5, RUN6, RUN7, names};
use crate::given::scripts::Kind;
use crate::given::{Home, Script};

/// Bytes of an interpreter line that the kernel reads, `#!` included.
const LINE: usize = 255;

/// Looks at a script's file.
pub(super) fn check(script: &Script, about: &About, found: &mut Vec<Finding>) {
    if !names::is_meant(&script.name) {
        return;
    }
    let (bytes, mode) = match &script.kind {
        Kind::File(bytes, mode) => (bytes.as_slice(), *mode),
        Kind::Other(what) => {
            found.push(Finding::of(&RUN1, script, format!("it is {what}"), "put a file there"));
            return;
        }
    };
    if script.home == Home::RootFileSystem {
        if mode & 0o111 == 0 {
            let what = format!("it has mode {mode:04o}: nobody may execute it");
            found.push(Finding::of(&RUN1, script, what, format!("chmod 755 {}", script.name)));
        }
        if mode & 0o022 != 0 {
            let what = format!("it has mode {mode:04o}: group or others may write to it");
            found.push(Finding::of(&RUN7, script, what, format!("chmod 755 {}", script.name)));
        }
    }
    if bytes.starts_with(b"\x7fELF") {
        check_program(script, bytes, about, found);
        return;
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        let mend = "save it as UTF-8 without a byte order mark: sed -i '1s/^\\xef\\xbb\\xbf//' FILE";
        found.push(Finding::of(&RUN5, script, "it begins with the bytes ef bb bf", mend).at(1));
        return;
    }
    let Some(line) = bytes.strip_prefix(b"#!") else {
        let what = if bytes.is_empty() { "it is empty" } else { "its first line does not begin with #!" };
        found.push(
            Finding::of(&RUN2, script, what, "let its first line be #!/bin/sh, or what it is written for")
                .at(1),
        );
        return;
    };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
    check_line(script, line, about, found);
    let after = bytes.split(|byte| *byte == b'\n').enumerate().skip(1);
    let returns = after.filter(|(_, line)| line.ends_with(b"\r")).map(|(at, _)| at + 1);
    if let Some(at) = returns.min() {
        let mend = "save it with the line ends of Unix: sed -i 's/\\r$//' FILE";
        found.push(
            Finding::of(&RUN6, script, "its lines end in a carriage return and a newline", mend).at(at),
        );
    }
}

/// Looks at what stands behind `#!`.
fn check_line(script: &Script, line: &[u8], about: &About, found: &mut Vec<Finding>) {
    let text = String::from_utf8_lossy(line);
    let mut words = text.split_ascii_whitespace();
    let interpreter = words.next().unwrap_or_default();
    if line.ends_with(b"\r") {
        let what = format!("the kernel looks for an interpreter named \"{}\\r\"", interpreter.escape_debug());
        let mend = "save it with the line ends of Unix: sed -i 's/\\r$//' FILE";
        found.push(Finding::of(&RUN4, script, what, mend).at(1));
    }
    if interpreter.is_empty() {
        found.push(
            Finding::of(&RUN2, script, "nothing stands behind #!", "name an interpreter: #!/bin/sh").at(1),
        );
        return;
    }
    if !interpreter.starts_with('/') {
        let what = format!("\"{}\" is no absolute path", interpreter.escape_debug());
        found.push(
            Finding::of(&RUN2, script, what, "write the whole path: #!/bin/sh, or #!/usr/bin/env NAME").at(1),
        );
        return;
    }
    if line.len() + 2 > LINE {
        let what =
            format!("its interpreter line has more than {LINE} bytes, of which the kernel reads no more");
        found.push(Finding::of(&RUN2, script, what, "make it shorter").at(1));
        return;
    }
    let Some(root) = &about.root else { return };
    if !root.has_program(interpreter) {
        let what = format!("{} is not in the root file system", interpreter.escape_debug());
        let mend = "name one that is there, or install it in the image";
        found.push(Finding::of(&RUN3, script, what, mend).at(1));
    } else if interpreter.rsplit('/').next() == Some("env") {
        // `env -S "python3 -u"` splits what follows; other options and assignments stand in front of the program.
        let program = words.find(|word| !word.starts_with('-') && !word.contains('='));
        if let Some(program) = program.map(|word| word.trim_matches(['"', '\'']))
            && !root.has_program(program)
        {
            let what = format!("env finds no {} in the root file system", program.escape_debug());
            let mend = "name one that is there, or install it in the image";
            found.push(Finding::of(&RUN3, script, what, mend).at(1));
        }
    }
}

/// Looks at a program: what loads it must be there. A damaged one is told as a program that cannot be started.
fn check_program(script: &Script, bytes: &[u8], about: &About, found: &mut Vec<Finding>) {
    let Ok(file) = ElfBytes::<AnyEndian>::minimal_parse(bytes) else {
        let mend = "build it again for the device";
        found.push(Finding::of(&RUN2, script, "it is a program whose header is damaged", mend));
        return;
    };
    let Some(root) = &about.root else { return };
    let headers = file.segments().into_iter().flatten();
    let Some(segment) = headers.into_iter().find(|header| header.p_type == PT_INTERP) else { return };
    let loader = file.segment_data(&segment).unwrap_or_default();
    let loader = String::from_utf8_lossy(loader);
    let loader = loader.trim_end_matches('\0');
    if !root.has_program(loader) {
        let what = format!(
            "it is a program that wants {}, which is not in the root file system",
            loader.escape_debug()
        );
        found.push(Finding::of(&RUN3, script, what, "build it for the device, or link it statically"));
    }
}
