//! All `unsafe` code of this crate: each function makes one system call.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use rustix::ioctl::opcode;

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;
const FIRST_AFTER_STDERR: libc::c_uint = 3;

/// Marks every descriptor but the three standard ones close-on-exec, also those our own parent left open for us
/// (L10). Kernels before 5.11 lack the call; there the descriptors are marked one by one.
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

/// Whether the process ignores a signal, as it may have been told by whoever started it.
pub(crate) fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: with a null pointer for the new action nothing is changed; the old one is written to a live sigaction,
    // for which all-zero is valid too.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Weekday (0 is Sunday), hour and minute of a time in seconds since 1970, in the system's time zone as it is now.
pub(crate) fn local_time(seconds: i64) -> Option<(u8, u8, u8)> {
    // SAFETY: takes nothing; reads the environment and the zone file into the C library's own state, under its
    // lock. No thread of the client ever changes the environment.
    unsafe { tzset() };
    let mut local = std::mem::MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: reads one number of 64 bits and writes one tm, both live; all-zero is a valid tm, whose one pointer may be
    // null.
    let local = unsafe {
        if localtime_r(&raw const seconds, local.as_mut_ptr()).is_null() {
            return None;
        }
        local.assume_init()
    };
    Some((
        u8::try_from(local.tm_wday).ok()?,
        u8::try_from(local.tm_hour).ok()?,
        u8::try_from(local.tm_min).ok()?,
    ))
}

unsafe extern "C" {
    /// Declared by POSIX, but not by the libc crate for Linux.
    fn tzset();

    /// The libc crate has a time of 32 bits on processors of 32 bits, which ends in January 2038. GNU's library (since 2.34) and
    /// musl (since 1.2) have this function for 64 bits too, there under a name of its own.
    #[cfg_attr(
        all(
            any(target_arch = "arm", target_arch = "x86"),
            target_pointer_width = "32",
            any(target_env = "gnu", target_env = "musl")
        ),
        link_name = "__localtime64_r"
    )]
    fn localtime_r(time: *const i64, local: *mut libc::tm) -> *mut libc::tm;
}

/// Makes the allocator return the memory of large buffers to the system when they are freed, and not touch the memory
/// of new ones before it is used. Without this the GNU allocator stops doing so after the first large buffer was freed,
/// and keeps later ones in memory.
pub(crate) fn return_large_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers and changes how later allocations are made, none of those that are.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

/// `mtd_info_user` of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct MtdInfo {
    kind: u8,
    flags: u32,
    size: u32,
    erase_size: u32,
    write_size: u32,
    oob_size: u32,
    padding: u64,
}

/// `erase_info_user` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct MtdErase {
    start: u32,
    length: u32,
}

/// Kind, size and erase block size of an MTD device.
pub(crate) fn mtd_info(fd: &File) -> io::Result<(u8, u32, u32)> {
    let mut info = MtdInfo::default();
    let request = opcode::read::<MtdInfo>(b'M', 1);
    // SAFETY: MEMGETINFO writes one mtd_info_user, of which MtdInfo has size and layout (the size is in the
    // request); the pointer is to a live one.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw mut info) })?;
    Ok((info.kind, info.size, info.erase_size))
}

/// Erases blocks of an MTD device.
pub(crate) fn mtd_erase(fd: &File, start: u32, length: u32) -> io::Result<()> {
    let range = MtdErase { start, length };
    let request = opcode::write::<MtdErase>(b'M', 2);
    // SAFETY: MEMERASE reads one erase_info_user, of which MtdErase has size and layout.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw const range) })
}

/// Unlocks blocks of an MTD device. A device without locks returns an error.
pub(crate) fn mtd_unlock(fd: &File, start: u32, length: u32) -> io::Result<()> {
    let range = MtdErase { start, length };
    let request = opcode::write::<MtdErase>(b'M', 6);
    // SAFETY: MEMUNLOCK reads one erase_info_user, of which MtdErase has size and layout.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw const range) })
}

/// Whether the block at `offset` of an MTD device is bad.
pub(crate) fn mtd_is_bad(fd: &File, offset: i64) -> io::Result<bool> {
    let request = opcode::write::<i64>(b'M', 11);
    // SAFETY: MEMGETBADBLOCK reads one 64-bit offset.
    let answer = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw const offset) };
    check(answer)?;
    Ok(answer > 0)
}

/// Begins the update of a UBI volume: exactly `length` bytes must be written next.
pub(crate) fn ubi_start_update(fd: &File, length: i64) -> io::Result<()> {
    let request = opcode::write::<i64>(b'O', 0);
    // SAFETY: UBI_IOCVOLUP reads one 64-bit length.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, &raw const length) })
}

/// Starts a process that does `run` and ends with the exit status it gives. To be called while this process has one thread,
/// as that of another could hold a lock that nobody opens in the new process; or `run` makes system calls only.
pub(crate) fn fork(run: impl FnOnce() -> i32) -> io::Result<rustix::process::Pid> {
    // SAFETY: takes nothing. The new process goes on here with a copy of this memory, and never leaves this function.
    match unsafe { libc::fork() } {
        0 => exit_now(run()),
        pid => rustix::process::Pid::from_raw(pid).filter(|_| pid > 0).ok_or_else(io::Error::last_os_error),
    }
}

/// Ends the process at once: what was to be done at its end is left to the process it was copied from.
fn exit_now(status: i32) -> ! {
    // SAFETY: takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Closes, in a process that [`fork`] started, a descriptor that its parent keeps.
pub(crate) fn close_inherited(fd: &impl AsRawFd) {
    // SAFETY: takes a number. The owner of the descriptor in this process is never dropped, since the process ends
    // without that, and nobody uses it.
    unsafe { libc::close(fd.as_raw_fd()) };
}

/// Leaves the session, and ignores what a terminal or a person sends to end or stop a process.
pub(crate) fn ignore_requests_to_end() {
    let _ = rustix::process::setsid();
    let requests = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGPIPE,
        libc::SIGALRM,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGTSTP,
    ];
    for signal in requests {
        // SAFETY: takes numbers; "ignore" is no handler that could run.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// FIFREEZE and FITHAW take a number that the kernel does not look at.
const NO_MATTER: libc::c_int = 0;

/// Freezes the file system that `place` is on.
pub(crate) fn freeze(place: std::os::fd::BorrowedFd<'_>) -> rustix::io::Result<()> {
    let request = opcode::read_write::<libc::c_int>(b'X', 119);
    // SAFETY: FIFREEZE looks at no memory.
    plain(unsafe { libc::ioctl(place.as_raw_fd(), request as _, NO_MATTER) })
}

/// Thaws it.
pub(crate) fn thaw(place: std::os::fd::BorrowedFd<'_>) -> rustix::io::Result<()> {
    let request = opcode::read_write::<libc::c_int>(b'X', 120);
    // SAFETY: FITHAW looks at no memory.
    plain(unsafe { libc::ioctl(place.as_raw_fd(), request as _, NO_MATTER) })
}

/// The answer of a call without a piece of memory, as [`io::Error`] may take one.
fn plain(answer: libc::c_int) -> rustix::io::Result<()> {
    let error = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    if answer < 0 { Err(rustix::io::Errno::from_raw_os_error(error)) } else { Ok(()) }
}

fn check(answer: libc::c_int) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
