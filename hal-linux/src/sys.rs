//! Every `unsafe` of the platform, one system call a function.

use std::fs;
use std::os::fd::RawFd;

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
const FIRST_AFTER_STDERR: libc::c_uint = 3;

/// Marks every descriptor but the three standard ones close-on-exec, also those our own parent left open for us
/// (`hardening.md` L10). Kernels before 5.11 lack the call; there the descriptors are marked one by one.
pub(crate) fn close_all_on_exec() {
    if close_range_cloexec() {
        return;
    }
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let open = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for fd in open.filter(|&fd| fd > 2) {
        set_cloexec(fd);
    }
}

fn close_range_cloexec() -> bool {
    // SAFETY: takes three numbers and no pointer. It changes a flag of descriptors and closes none, so no
    // owned descriptor becomes invalid.
    let done = unsafe {
        libc::syscall(libc::SYS_close_range, FIRST_AFTER_STDERR, libc::c_uint::MAX, CLOSE_RANGE_CLOEXEC)
    };
    done == 0
}

fn set_cloexec(fd: RawFd) {
    // SAFETY: takes numbers and no pointer. It changes a flag and closes nothing; a number that is no open
    // descriptor (any more) is answered by EBADF.
    unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
}
