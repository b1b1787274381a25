//! What the client may run with its rights (L11), and the files whose word it takes for who may: changeable by nobody
//! but root and ourselves, neither in place nor by putting another file in their place.
//!
//! Programs are run by path, since scripts look at `$0`. So every directory on the way is checked, from `/` on: nobody
//! without these rights can replace anything between the check and the start. In a sticky directory (`/tmp`) nobody can
//! replace what belongs to another, so that it is enough that the next component is root's or ours.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use rustix::process::{getegid, geteuid};
use thimble_core::hal::{self, Kind};

use crate::fsat::kind_of;
use crate::paths::Word;
use crate::process::cannot_start;

/// Links on one path; as many as the kernel follows.
const LINKS: u8 = 40;

/// Why a program is not run, or a file is not used.
#[derive(Debug)]
pub enum Untrusted {
    /// The file is missing or cannot be examined.
    Io(PathBuf, io::Error),
    /// Not a regular file, but a directory, a device or something else.
    NotRegular(PathBuf),
    /// None of the three execute bits is set.
    NotExecutable(PathBuf),
    /// The file, or a directory on the way to it, belongs to neither root nor us.
    Owner(PathBuf, u32),
    /// The file, or a directory on the way to it, can be changed by group or others.
    Writable(PathBuf, u32),
}

/// Something that a person has to mend.
#[derive(Debug)]
pub struct Fault {
    /// What is wrong, and where.
    pub text: String,
    /// What to do; empty where the text says it.
    pub mend: &'static str,
}

impl Fault {
    /// The same, and what comes of it.
    #[must_use]
    pub fn so_that(mut self, what: impl fmt::Display) -> Self {
        self.text.push_str(&format!("; until then {what}"));
        self
    }
}

impl From<Untrusted> for Fault {
    fn from(untrusted: Untrusted) -> Self {
        let mend = match &untrusted {
            Untrusted::Io(path, _) => {
                if let Ok(target) = fs::read_link(path).map(|target| target.display().to_string())
                    && !path.exists()
                {
                    let text = format!("{} is a link to {target}, which cannot be reached", path.display());
                    return Self { text, mend: "correct the link, or delete it" };
                }
                "put a program there that root may run"
            }
            Untrusted::NotRegular(_) => "move it elsewhere",
            Untrusted::NotExecutable(_) | Untrusted::Owner(..) | Untrusted::Writable(..) => "",
        };
        Self { text: untrusted.to_string(), mend }
    }
}

/// What is wrong with a program, if it would not be started: it is not trusted, or no program.
#[must_use]
pub fn fault_of_program(path: &Path) -> Option<Fault> {
    match check_program(path) {
        Ok(()) => {
            cannot_start(path).map(|why| Fault { text: format!("{}: {why}", path.display()), mend: "" })
        }
        Err(untrusted) => Some(untrusted.into()),
    }
}

/// Checks a program. If the path is a link, the file that it leads to is checked.
///
/// # Errors
/// It is not run.
pub fn check_program(path: &Path) -> Result<(), Untrusted> {
    let real = walk(path)?;
    let found = fs::metadata(&real).map_err(|error| Untrusted::Io(path.to_owned(), error))?;
    if !found.is_file() {
        return Err(Untrusted::NotRegular(path.to_owned()));
    }
    if found.permissions().mode() & 0o111 == 0 {
        return Err(Untrusted::NotExecutable(path.to_owned()));
    }
    check_owner(&real, &found)?;
    for place in [&*real, parent(path), parent(&real)] {
        let found = fs::metadata(place).map_err(|error| Untrusted::Io(path.to_owned(), error))?;
        // Where programs are, not even root's group may write.
        if found.mode() & 0o022 != 0 && !(found.is_dir() && is_sticky(&found)) {
            return Err(Untrusted::Writable(place.to_owned(), found.mode() & 0o7777));
        }
    }
    Ok(())
}

/// Checks a file that decides whom the client believes: its configuration, keys and certificates. It must be a regular
/// file. Who may read it is not looked at.
pub(crate) fn check_file(path: &Path) -> Result<(), Untrusted> {
    let real = walk(path)?;
    let found = fs::metadata(&real).map_err(|error| Untrusted::Io(path.to_owned(), error))?;
    if !found.is_file() {
        return Err(Untrusted::NotRegular(path.to_owned()));
    }
    check_owner(&real, &found)?;
    check_writers(&real, &found)
}

/// Follows the path from `/` on, link by link, and checks each directory that it goes through. Returns where it leads.
fn walk(path: &Path) -> Result<PathBuf, Untrusted> {
    let io = |error| Untrusted::Io(path.to_owned(), error);
    let whole = std::path::absolute(path).map_err(io)?;
    let mut ahead: Vec<PathBuf> = components(&whole);
    let (mut here, mut links) = (PathBuf::from("/"), 0);
    while let Some(next) = ahead.pop() {
        if next == Path::new("/") {
            here = next;
            continue;
        }
        let directory = fs::metadata(&here).map_err(io)?;
        check_owner(&here, &directory)?;
        if next == Path::new("..") {
            here.pop();
            continue;
        }
        let there = here.join(&next);
        let found = fs::symlink_metadata(&there).map_err(io)?;
        if is_sticky(&directory) {
            check_owner(&there, &found)?;
        } else {
            check_writers(&here, &directory)?;
        }
        if !found.is_symlink() {
            here = there;
            continue;
        }
        links += 1;
        if links > LINKS {
            return Err(io(rustix::io::Errno::LOOP.into()));
        }
        ahead.extend(components(&fs::read_link(&there).map_err(io)?));
    }
    Ok(here)
}

/// The components of a path, the last one first.
fn components(path: &Path) -> Vec<PathBuf> {
    let all = path.components().filter(|component| *component != Component::CurDir);
    all.map(|component| PathBuf::from(component.as_os_str())).rev().collect()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn is_sticky(found: &fs::Metadata) -> bool {
    found.mode() & 0o1000 != 0
}

fn check_owner(path: &Path, found: &fs::Metadata) -> Result<(), Untrusted> {
    if found.uid() != 0 && found.uid() != geteuid().as_raw() {
        return Err(Untrusted::Owner(path.to_owned(), found.uid()));
    }
    Ok(())
}

/// Root's group and our own may write: who is in one of them has these rights already.
fn check_writers(path: &Path, found: &fs::Metadata) -> Result<(), Untrusted> {
    let mode = found.mode();
    let is_other_group = found.gid() != 0 && found.gid() != getegid().as_raw();
    if mode & 0o002 != 0 || (mode & 0o020 != 0 && is_other_group) {
        return Err(Untrusted::Writable(path.to_owned(), mode & 0o7777));
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
                    "{} belongs to user {uid}, who could change what this client does; run `chown root {}`",
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
    fn l11_every_directory_up_to_the_root_counts() {
        let lab = tempfile::tempdir().unwrap();
        let (top, below) = (lab.path().join("top"), lab.path().join("top/middle/below"));
        fs::create_dir_all(&below).unwrap();
        let path = below.join("program");
        executable(&path, 0o755, "#!/bin/sh\n");
        let elsewhere = lab.path().join("elsewhere");
        symlink(&top, &elsewhere).unwrap();
        let paths = [
            path.clone(),
            elsewhere.join("middle/below/program"),
            top.join("middle/../middle/below/program"),
        ];
        let set = |mode| fs::set_permissions(&top, fs::Permissions::from_mode(mode)).unwrap();
        for (mode, group, good) in [
            (0o755, 0, true),
            (0o775, 0, true),
            (0o775, 1234, false),
            (0o757, 0, false),
            (0o777, 0, false),
            (0o1777, 0, true),
        ] {
            chown(&top, None, Some(group)).unwrap();
            set(mode);
            for path in &paths {
                assert_eq!(check_program(path).is_ok(), good, "{mode:o} {group} {}", path.display());
                assert_eq!(check_file(path).is_ok(), good, "{mode:o} {group} {}", path.display());
            }
        }
        let refused = || check_program(&path).unwrap_err().to_string();
        // In a sticky directory the next component must be root's or ours; in one that others own nothing is safe.
        set(0o1777);
        chown(top.join("middle"), Some(1234), None).unwrap();
        assert!(refused().contains("middle belongs to user 1234"), "{}", refused());
        chown(top.join("middle"), Some(0), None).unwrap();
        chown(&top, Some(1234), None).unwrap();
        assert!(refused().contains("top belongs to user 1234"), "{}", refused());
    }

    #[test]
    fn l11_a_link_that_others_can_replace_is_refused() {
        let lab = tempfile::tempdir().unwrap();
        let (program, open) = (lab.path().join("program"), lab.path().join("open"));
        executable(&program, 0o755, "#!/bin/sh\n");
        fs::create_dir(&open).unwrap();
        let link = open.join("link");
        symlink("../program", &link).unwrap();
        check_program(&link).unwrap();
        let outer = lab.path().join("outer");
        symlink(&link, &outer).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o1777)).unwrap();
        check_program(&outer).unwrap();
        std::os::unix::fs::lchown(&link, Some(1234), None).unwrap();
        assert!(matches!(check_program(&outer), Err(Untrusted::Owner(_, 1234))));
        std::os::unix::fs::lchown(&link, Some(0), None).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(check_program(&outer), Err(Untrusted::Writable(..))));
        let turning = lab.path().join("loop");
        symlink("loop", &turning).unwrap();
        assert!(matches!(check_program(&turning), Err(Untrusted::Io(..))));
    }

    #[test]
    fn files_that_decide_whom_to_believe_are_changed_by_root_alone() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("file");
        fs::write(&path, "x").unwrap();
        for (mode, owner, group, good) in [
            (0o600, 0, 0, true),
            (0o644, 0, 1234, true),
            (0o664, 0, 0, true),
            (0o664, 0, 1234, false),
            (0o646, 0, 0, false),
            (0o666, 0, 0, false),
            (0o600, 1234, 0, false),
        ] {
            chown(&path, Some(owner), Some(group)).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_file(&path).is_ok(), good, "{mode:o} {owner} {group}");
        }
        assert!(matches!(check_file(lab.path()), Err(Untrusted::NotRegular(_))));
        assert!(matches!(check_file(&lab.path().join("no")), Err(Untrusted::Io(..))));
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
