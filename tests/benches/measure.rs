//! Runs a command to its end and reads what the operating system says it used.

use std::io;
use std::mem::MaybeUninit;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What one run used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Seconds of user and system time, of the process and the children it waited for.
    pub(crate) cpu: f64,
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Largest resident set of the process, in MiB.
    pub(crate) peak: f64,
}

/// Runs `command` once; it must succeed.
pub(crate) fn run(command: &mut Command) -> Usage {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    #[expect(clippy::zombie_processes, reason = "wait4 below waits for it, and says what it used")]
    let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (code, mut usage) = wait(child.id()).unwrap_or_else(|error| panic!("{command:?}: {error}"));
    usage.wall = start.elapsed().as_secs_f64();
    assert_eq!(code, 0, "{command:?} failed");
    usage
}

/// The median of each figure over several runs of what `prepare` makes, after one warm-up.
#[allow(dead_code, reason = "each bench is a crate of its own and uses some of this file")]
pub(crate) fn median(runs: usize, mut prepare: impl FnMut() -> Command) -> Usage {
    run(&mut prepare());
    let runs: Vec<_> = (0..runs).map(|_| run(&mut prepare())).collect();
    middle(&runs)
}

/// Medians of several commands that are run in turn, after one warm-up of each: what else the machine does meets all
/// of them.
#[allow(dead_code, reason = "each bench is a crate of its own and uses some of this file")]
pub(crate) fn in_turn(runs: usize, prepare: &mut [&mut dyn FnMut() -> Command]) -> Vec<Usage> {
    let mut used = vec![Vec::new(); prepare.len()];
    for round in 0..=runs {
        for (prepare, used) in prepare.iter_mut().zip(&mut used) {
            let usage = run(&mut prepare());
            if round > 0 {
                used.push(usage);
            }
        }
    }
    used.iter().map(|runs| middle(runs)).collect()
}

fn middle(runs: &[Usage]) -> Usage {
    let middle = |figure: fn(&Usage) -> f64| {
        let mut figures: Vec<_> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Usage { cpu: middle(|u| u.cpu), wall: middle(|u| u.wall), peak: middle(|u| u.peak) }
}

fn wait(pid: u32) -> io::Result<(i32, Usage)> {
    let mut status = 0;
    let mut used = MaybeUninit::<libc::rusage>::zeroed();
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: both pointers are to live values of the types wait4 writes; the pid is a child nobody else waits for.
    if unsafe { libc::wait4(pid, &raw mut status, 0, used.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed is a valid value, and wait4 has filled it.
    let used = unsafe { used.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    let code = if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 };
    Ok((
        code,
        Usage {
            cpu: seconds(used.ru_utime) + seconds(used.ru_stime),
            wall: 0.0,
            peak: used.ru_maxrss as f64 / 1024.0,
        },
    ))
}
