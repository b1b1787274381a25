//! Which programs may be run with the client's rights (L11): regular, executable, and changeable
//! by nobody but root and ourselves, neither in place nor by putting another file in their place.
//!
//! Programs are run by path, since scripts look at `$0`. The directory is checked too: nobody without these rights can
//! replace the file between the check and the start.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use thimble_core::hal::{self, Kind};

use crate::fsat::kind_of;
use crate::paths::Word;

/// Why a program is not run.
#[derive(Debug)]
pub enum Untrusted {
    /// The file is missing or cannot be examined.
    Io(PathBuf, io::Error),
    /// Not a regular file, but a directory, a device or something else.
    NotRegular(PathBuf),
    /// None of the three execute bits is set.
    NotExecutable(PathBuf),
    /// The file, or its directory, belongs to neither root nor us.
    Owner(PathBuf, u32),
    /// The file, or its directory, can be changed by group or others.
    Writable(PathBuf, u32),
}

/// Checks a program. If the path is a link, the file that it leads to is checked.
pub(crate) fn check_program(path: &Path) -> Result<(), Untrusted> {
    let io = |error| Untrusted::Io(path.to_owned(), error);
    let real = fs::canonicalize(path).map_err(io)?;
    let found = fs::metadata(&real).map_err(io)?;
    if !found.is_file() {
        return Err(Untrusted::NotRegular(path.to_owned()));
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Err(Untrusted::NotExecutable(path.to_owned()));
    }
    check_owner_and_mode(&real, &found)?;
    for dir in [path.parent(), real.parent()].into_iter().flatten() {
        check_owner_and_mode(dir, &fs::metadata(dir).map_err(io)?)?;
    }
    Ok(())
}

fn check_owner_and_mode(path: &Path, found: &fs::Metadata) -> Result<(), Untrusted> {
    if found.uid() != 0 && found.uid() != geteuid().as_raw() {
        return Err(Untrusted::Owner(path.to_owned(), found.uid()));
    }
    // In a sticky directory (/tmp) nobody can replace the file of another.
    let is_sticky_dir = found.is_dir() && found.mode() & 0o1000 != 0;
    if found.mode() & 0o022 != 0 && !is_sticky_dir {
        return Err(Untrusted::Writable(path.to_owned(), found.mode() & 0o7777));
    }
    Ok(())
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::NotRegular(path) => write!(f, "{} is not a regular file", path.display()),
            Self::NotExecutable(path) => {
                write!(f, "{} is not executable; run `chmod +x {}`", path.display(), Word(path))
            }
            Self::Owner(path, uid) => {
                write!(
                    f,
                    "{} belongs to user {uid}, who could change what runs as this client; run `chown root {}`",
                    path.display(),
                    Word(path)
                )
            }
            Self::Writable(path, mode) => {
                write!(
                    f,
                    "{} (mode {mode:04o}) can be changed by group or others; run `chmod go-w {}`",
                    path.display(),
                    Word(path)
                )
            }
        }
    }
}

impl hal::Error for Untrusted {
    fn kind(&self) -> Kind {
        match self {
            Self::Io(_, error) => kind_of(error),
            Self::NotRegular(_) | Self::NotExecutable(_) | Self::Owner(..) | Self::Writable(..) => {
                Kind::Refused
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::executable;
    use std::os::unix::fs::{chown, symlink};

    #[test]
    fn l11_modes() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("program");
        for mode in [0o755, 0o700, 0o500, 0o511, 0o4755, 0o001, 0o010, 0o775, 0o757, 0o777, 0o720, 0o702] {
            executable(&path, mode, "#!/bin/sh\n");
            let good = mode & 0o022 == 0;
            assert_eq!(check_program(&path).is_ok(), good, "{mode:o}");
            fs::remove_file(&path).unwrap();
        }
        executable(&path, 0o777, "#!/bin/sh\n");
        let text = check_program(&path).unwrap_err().to_string();
        assert!(text.contains("(mode 0777)") && text.contains("chmod go-w /"), "{text}");
        executable(&path, 0o644, "#!/bin/sh\n");
        assert!(matches!(check_program(&path), Err(Untrusted::NotExecutable(_))));
        assert!(matches!(check_program(lab.path()), Err(Untrusted::NotRegular(_))));
        assert!(matches!(check_program(&lab.path().join("no")), Err(Untrusted::Io(..))));
    }

    #[test]
    fn l11_owners() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("program");
        executable(&path, 0o755, "#!/bin/sh\n");
        chown(&path, Some(1234), None).unwrap();
        let text = check_program(&path).unwrap_err().to_string();
        assert!(text.contains("user 1234") && text.contains("chown root /"), "{text}");
        chown(&path, Some(0), Some(1234)).unwrap();
        check_program(&path).unwrap();
    }

    #[test]
    fn l11_a_directory_where_others_could_swap_the_program_is_refused() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("program");
        executable(&path, 0o755, "#!/bin/sh\n");
        for (mode, good) in [(0o755, true), (0o1777, true), (0o777, false), (0o775, false)] {
            fs::set_permissions(lab.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_program(&path).is_ok(), good, "{mode:o}");
        }
        fs::set_permissions(lab.path(), fs::Permissions::from_mode(0o755)).unwrap();
        chown(lab.path(), Some(1234), None).unwrap();
        assert!(matches!(check_program(&path), Err(Untrusted::Owner(_, 1234))));
    }

    #[test]
    fn l11_behind_a_link_stands_what_is_run() {
        let lab = tempfile::tempdir().unwrap();
        let (path, link) = (lab.path().join("program"), lab.path().join("link"));
        symlink(&path, &link).unwrap();
        assert!(matches!(check_program(&link), Err(Untrusted::Io(..))), "dangling");
        executable(&path, 0o755, "#!/bin/sh\n");
        check_program(&link).unwrap();
        executable(&path, 0o777, "#!/bin/sh\n");
        assert!(matches!(check_program(&link), Err(Untrusted::Writable(..))));
    }
}
