//! What this process has used.

/// CPU seconds that this process has used.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds since the start")]
pub(crate) fn cpu() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes one timespec, and nothing else.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(failed, 0, "this system does not measure CPU time");
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// The most memory that this process had.
pub(crate) fn peak_kib() -> i64 {
    // SAFETY: a rusage of zeros is one, and getrusage fills it in.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        let failed = libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
        assert_eq!(failed, 0, "this system does not measure memory");
        usage
    };
    usage.ru_maxrss
}
