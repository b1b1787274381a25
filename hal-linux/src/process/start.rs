//! Whether the kernel can start a program: told before by its first bytes, or explained when it could not.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::io::Errno;

use crate::fsat::open_regular;

/// Bytes of an interpreter line that the kernel reads.
const LINE: u64 = 256;

const NO_INTERPRETER: &str =
    "its interpreter is not there; check its first line (#!), also for a carriage return";
const NO_PROGRAM: &str = "it is no program and no script; a script begins with a line such as #!/bin/sh";

/// Why the kernel would not start this program, as far as its first bytes show. `None` also where they cannot be read.
#[must_use]
pub fn cannot_start(program: &Path) -> Option<&'static str> {
    let mut front = Vec::new();
    open_regular(program).and_then(|file: File| file.take(LINE).read_to_end(&mut front)).ok()?;
    if front.starts_with(b"\x7fELF") {
        return None;
    }
    let Some(line) = front.strip_prefix(b"#!") else { return Some(NO_PROGRAM) };
    let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_start();
    let interpreter = line.split(|byte| matches!(byte, b' ' | b'\t' | 0)).next().unwrap_or_default();
    (!Path::new(OsStr::from_bytes(interpreter)).exists()).then_some(NO_INTERPRETER)
}

/// Explains the two errors that the kernel gives when it cannot execute a script: its own texts name neither the
/// missing interpreter nor the missing `#!` line.
pub(super) fn explained(error: io::Error, program: &Path) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound && program.exists() {
        io::Error::new(error.kind(), NO_INTERPRETER)
    } else if Errno::from_io_error(&error) == Some(Errno::NOEXEC) {
        io::Error::other(NO_PROGRAM)
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::executable;
    use std::process::Command;

    /// What is told before is what the kernel says.
    #[test]
    fn the_first_bytes_tell_what_the_kernel_does() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("program");
        for (text, expected) in [
            ("#!/bin/sh\n", None),
            ("#! \t/bin/sh -e\n", None),
            ("#!/bin/sh", None),
            ("#!/bin/sh\r\n", Some(NO_INTERPRETER)),
            ("#!/no/such/interpreter\n", Some(NO_INTERPRETER)),
            ("\u{feff}#!/bin/sh\n", Some(NO_PROGRAM)),
            ("echo\n", Some(NO_PROGRAM)),
            ("", Some(NO_PROGRAM)),
        ] {
            executable(&path, 0o755, text);
            assert_eq!(cannot_start(&path), expected, "{text:?}");
            let error = Command::new(&path).output().err().map(|error| explained(error, &path).to_string());
            assert_eq!(error.as_deref(), expected, "{text:?}");
            std::fs::remove_file(&path).unwrap();
        }
        assert_eq!(cannot_start(Path::new("/bin/sh")), None);
    }
}
