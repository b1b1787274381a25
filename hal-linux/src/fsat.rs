//! Opens and creates files relative to directory handles: never through a link that somebody planted, and never over an
//! existing file (D6).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
use rustix::io::Errno;
use thimble_core::hal::Kind;

/// Opens a directory that the device's owner configured. Links on its path are followed: the owner made them.
pub(crate) fn open_base(path: &Path) -> io::Result<OwnedFd> {
    Ok(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a file that the device's owner configured, for reading. A FIFO or a device in its place could block the client
/// for ever: that is an error.
pub(crate) fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty())?);
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "FIFO"
    } else {
        "device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is a {what}, not a regular file")))
}

/// Opens a directory that the client made itself. A link in its place is an error.
pub(crate) fn open_dir(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

/// Makes a directory of mode 0700 that must not be there yet, and opens it.
pub(crate) fn make_dir(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    mkdirat(&at, name, Mode::RWXU)?;
    open_dir(at, name)
}

/// As [`make_dir`], but the directory may exist already.
pub(crate) fn ensure_dir(at: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(&at, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => open_dir(at, name),
        Err(errno) => Err(errno.into()),
    }
}

/// Creates a file for writing that must not be there yet.
pub(crate) fn create_new(at: impl AsFd, name: &str, mode: Mode) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, mode)?.into())
}

/// Removes `path` and, if it is a directory, everything below it. A link is removed, not followed. It is no error when
/// nothing is there.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The kind of an error of the operating system.
pub(crate) fn kind_of(error: &io::Error) -> Kind {
    let kind = error.kind();
    if kind == io::ErrorKind::NotFound {
        Kind::NotFound
    } else if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        Kind::NoSpace
    } else {
        Kind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_or_a_device_in_the_place_of_a_file_is_an_error_and_no_wait() {
        let home = tempfile::tempdir().unwrap();
        let fifo = home.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        for path in [fifo.as_path(), Path::new("/dev/zero"), home.path()] {
            assert!(open_regular(path).unwrap_err().to_string().contains("not a regular file"));
        }
        fs::write(home.path().join("file"), "text").unwrap();
        assert_eq!(io::read_to_string(open_regular(&home.path().join("file")).unwrap()).unwrap(), "text");
    }
    use std::io::Write;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn d6_a_planted_link_is_neither_followed_nor_overwritten() {
        let lab = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        let victim = outside.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, lab.path().join("file")).unwrap();
        symlink(outside.path(), lab.path().join("dir")).unwrap();
        symlink("nowhere", lab.path().join("dangling")).unwrap();
        let base = open_base(lab.path()).unwrap();
        for name in ["file", "dir", "dangling"] {
            assert!(create_new(&base, name, Mode::RUSR).is_err(), "{name}");
            assert!(make_dir(&base, name).is_err(), "{name}");
            assert!(ensure_dir(&base, name).is_err(), "{name}");
            remove_all(&lab.path().join(name)).unwrap();
        }
        assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
        assert_eq!(fs::read_dir(lab.path()).unwrap().count(), 0);
    }

    #[test]
    fn d6_removing_a_tree_does_not_leave_it() {
        let lab = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("victim"), "precious").unwrap();
        fs::create_dir_all(lab.path().join("tree/a/b")).unwrap();
        symlink(outside.path(), lab.path().join("tree/a/link")).unwrap();
        remove_all(&lab.path().join("tree")).unwrap();
        remove_all(&lab.path().join("tree")).unwrap();
        assert!(!lab.path().join("tree").exists());
        assert!(outside.path().join("victim").exists());
    }

    #[test]
    fn new_files_and_directories_are_private() {
        let lab = tempfile::tempdir().unwrap();
        let dir = make_dir(open_base(lab.path()).unwrap(), "dir").unwrap();
        create_new(&dir, "file", Mode::RUSR | Mode::WUSR).unwrap().write_all(b"x").unwrap();
        let mode = |name: &str| fs::metadata(lab.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("dir"), mode("dir/file")), (0o700, 0o600));
        assert!(create_new(&dir, "file", Mode::RUSR).is_err(), "twice");
    }
}
