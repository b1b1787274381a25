use std::cell::Cell;
use std::fs;

use super::*;
use crate::testing::{Waits, executable, is_alive, now, run, script};

impl Waits for Process {
    fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        Process::wants(self, set);
    }

    fn deadline(&self) -> Option<Instant> {
        Process::deadline(self)
    }
}

const LONG: Duration = Duration::from_secs(3600);

struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// Starts a shell script whose working directory is the lab's.
    fn spawn(&self, body: &str) -> Process {
        self.spawn_with(body, |_| {})
    }

    fn spawn_with(&self, body: &str, change: impl FnOnce(&mut Options<'_>)) -> Process {
        let path = self.dir.path().join("script");
        script(&path, body);
        let mut options = Options { dir: Some(self.dir.path()), ..Options::new(&path, 10_000) };
        change(&mut options);
        Process::spawn(&options).unwrap()
    }

    /// Runs until the script has printed `word` on stderr.
    fn wait_for(&self, process: &mut Process, word: &str) {
        let seen = Cell::new(false);
        run(process, |process, now| {
            let poll = process.poll(now, &mut |_, line| seen.set(seen.get() || line == word));
            assert!(poll.is_pending(), "ended before it said {word}");
            if seen.get() { Poll::Ready(()) } else { Poll::Pending }
        });
    }
}

fn finish(process: &mut Process) -> (Exit, Vec<(Stream, String)>) {
    let mut lines = Vec::new();
    let exit = run(process, |process, now| {
        process.poll(now, &mut |stream, line| lines.push((stream, line.to_owned())))
    });
    (exit, lines)
}

/// Its output of one stream and its exit.
fn finish_lines(process: &mut Process, of: Stream) -> (Exit, Vec<String>) {
    let (exit, lines) = finish(process);
    (exit, lines.into_iter().filter(|(stream, _)| *stream == of).map(|(_, line)| line).collect())
}

#[test]
fn output_that_cannot_be_read_is_no_empty_answer() {
    let lab = Lab::new();
    let mut process = lab.spawn_with("exit 0", |o| o.stdout = Stdout::Answer(8));
    assert_eq!(finish(&mut process).0, Exit::Code(0));
    assert_eq!(process.answer().unwrap(), b"", "nothing was said");
    let mut process = lab.spawn_with("echo Yes", |o| o.stdout = Stdout::Answer(8));
    process.break_output();
    assert_eq!(finish(&mut process).0, Exit::Code(0));
    assert!(process.answer().is_err(), "nobody knows what was said");
}

#[test]
fn exit_status_and_signal_are_reported() {
    let lab = Lab::new();
    for (body, exit) in [
        ("exit 0", Exit::Code(0)),
        ("exit 1", Exit::Code(1)),
        ("exit 21", Exit::Code(21)),
        ("exit 255", Exit::Code(255)),
        ("kill -9 $$", Exit::Signal(9)),
        ("kill -15 $$", Exit::Signal(15)),
    ] {
        let mut process = lab.spawn(body);
        assert_eq!(finish(&mut process).0, exit, "{body}");
        assert_eq!(finish(&mut process).0, exit, "{body}, asked again");
        assert_eq!(process.deadline(), None);
        let mut set = PollSet::new();
        process.wants(&mut set);
        assert!(set.is_empty());
    }
}

#[test]
fn what_cannot_be_started_is_an_error() {
    let lab = Lab::new();
    let path = lab.dir.path().join("nothing");
    assert_eq!(Process::spawn(&Options::new(&path, 0)).unwrap_err().kind(), io::ErrorKind::NotFound);
    executable(&path, 0o644, "#!/bin/sh\n");
    assert_eq!(Process::spawn(&Options::new(&path, 0)).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    executable(&path, 0o755, "#!/no/such/interpreter\n");
    assert_eq!(Process::spawn(&Options::new(&path, 0)).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn output_comes_line_by_line_and_stream_by_stream() {
    let lab = Lab::new();
    let mut process = lab.spawn("echo one; echo err >&2; echo; printf two");
    let (exit, lines) = finish(&mut process);
    assert!(exit.is_success());
    let of = |wanted| lines.iter().filter(move |l| l.0 == wanted).map(|l| l.1.as_str()).collect::<Vec<_>>();
    assert_eq!(of(Stream::Stdout), ["one", "", "two"]);
    assert_eq!(of(Stream::Stderr), ["err"]);
}

#[test]
fn output_is_logged_at_info_with_stdout_marked() {
    let lab = Lab::new();
    let (lines, log) = crate::testing::log();
    let mut process = lab.spawn("echo out; exec >&-; echo err >&2");
    run(&mut process, |process, now| process.poll(now, &mut log_output(&log, "it")));
    lines.borrow_mut().0.sort();
    assert_eq!(lines.borrow().0, ["info: it (stdout): out", "info: it: err"]);
}

#[test]
fn l7_noisy_child_is_capped_and_still_ends() {
    let lab = Lab::new();
    let mut process = lab.spawn("head -c 3000000 /dev/zero | tr '\\0' x");
    let (exit, lines) = finish_lines(&mut process, Stream::Stdout);
    assert!(exit.is_success());
    assert_eq!(lines.last().unwrap(), "(output truncated after 10000 bytes)");
    let kept: usize = lines.iter().rev().skip(1).map(String::len).sum();
    assert_eq!(kept, 10_000);
    assert!(lines.iter().all(|line| line.len() <= lines::LINE));
}

#[test]
fn all_output_before_the_exit_is_taken() {
    let lab = Lab::new();
    // All of it lies in the pipe when the exit is seen: the first poll comes after it.
    let mut process = lab.spawn("i=0; while [ $i -lt 500 ]; do echo $i; i=$((i+1)); done; : > done");
    while !lab.dir.path().join("done").exists() {
        std::thread::yield_now();
    }
    let (_, lines) = finish_lines(&mut process, Stream::Stdout);
    assert_eq!(lines, (0..500).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn an_answer_is_kept_up_to_its_limit_and_not_logged() {
    let lab = Lab::new();
    let mut process =
        lab.spawn_with("echo Yes; echo loud >&2; echo 0123456789", |o| o.stdout = Stdout::Answer(8));
    let (_, lines) = finish(&mut process);
    assert_eq!(process.answer().unwrap(), b"Yes\n0123");
    assert_eq!(lines, [(Stream::Stderr, "loud".to_owned())]);
}

#[test]
fn stdin_is_empty_and_arguments_and_directory_are_as_asked() {
    let lab = Lab::new();
    let mut process = lab.spawn("cat; echo $#:$1:$2; pwd; echo $0; readlink /proc/self/fd/0");
    let (_, lines) = finish_lines(&mut process, Stream::Stdout);
    let dir = lab.dir.path().canonicalize().unwrap();
    let script = lab.dir.path().join("script");
    assert_eq!(lines, ["0::", dir.to_str().unwrap(), script.to_str().unwrap(), "/dev/null"]);

    let args = [OsStr::new("a b"), OsStr::new("*")];
    let path = lab.dir.path().join("script");
    let mut process = Process::spawn(&Options { args: &args, ..Options::new(&path, 1000) }).unwrap();
    let (_, lines) = finish_lines(&mut process, Stream::Stdout);
    assert_eq!(lines[0], "2:a b:*");
    assert_eq!(lines[1], std::env::current_dir().unwrap().to_str().unwrap());
}

#[test]
fn r12_the_environment_is_inherited() {
    let lab = Lab::new();
    let mut process = lab.spawn("echo $PATH");
    assert_eq!(finish_lines(&mut process, Stream::Stdout).1, [std::env::var("PATH").unwrap()]);
}

#[test]
fn sigpipe_has_its_default_action_and_no_signal_is_blocked() {
    let lab = Lab::new();
    let mut process = lab.spawn("grep -E '^Sig(Ign|Blk)' /proc/self/status");
    let (_, lines) = finish_lines(&mut process, Stream::Stdout);
    assert_eq!(lines.len(), 2);
    let mask = |line: &str| u64::from_str_radix(line.rsplit('\t').next().unwrap(), 16).unwrap();
    assert_eq!(mask(&lines[0]), 0, "blocked");
    assert_eq!(mask(&lines[1]) & (1 << 12), 0, "SIGPIPE is ignored");
}

#[test]
fn l10_no_descriptor_is_inherited() {
    let lab = Lab::new();
    // One that our own parent might have left open: without close-on-exec.
    let leak = fs::File::open("/dev/null").unwrap();
    let leak = rustix::io::dup(&leak).unwrap();
    assert!(rustix::io::fcntl_getfd(&leak).unwrap().is_empty());
    let mut process = lab.spawn("ls /proc/$$/fd");
    let (_, lines) = finish_lines(&mut process, Stream::Stdout);
    // The shell itself holds its script open, above 2; a leaked descriptor would be /dev/null once more.
    let mut process = lab.spawn("for fd in /proc/$$/fd/*; do readlink $fd; done | sort | uniq -c");
    let (_, targets) = finish_lines(&mut process, Stream::Stdout);
    assert!(lines.len() <= 5, "{lines:?}");
    let nulls = targets.iter().find(|line| line.ends_with("/dev/null")).unwrap();
    assert!(nulls.trim().starts_with("1 "), "{targets:?}");
    drop(leak);
}

#[test]
fn a_child_has_its_own_process_group() {
    let lab = Lab::new();
    let mut process = lab.spawn("cut -d' ' -f1,5 /proc/$$/stat");
    let (_, lines) = finish_lines(&mut process, Stream::Stdout);
    let (pid, group) = lines[0].split_once(' ').unwrap();
    assert_eq!(pid, group);
}

#[test]
fn kill_ends_a_whole_group_by_sigterm() {
    let lab = Lab::new();
    let mut process = lab.spawn("sleep 3600 & echo $! > child; echo ready >&2; wait");
    lab.wait_for(&mut process, "ready");
    process.kill(now(), LONG);
    assert_eq!(finish(&mut process).0, Exit::Signal(15));
    assert!(!is_alive(&lab.file("child")));
}

#[test]
fn kill_lets_a_child_clean_up() {
    let lab = Lab::new();
    let mut process = lab.spawn("trap 'echo bye; exit 7' TERM; echo ready >&2; while :; do sleep 0.01; done");
    lab.wait_for(&mut process, "ready");
    process.kill(now(), LONG);
    // The shell may say on stderr that its sleep was terminated.
    let (exit, lines) = finish_lines(&mut process, Stream::Stdout);
    assert_eq!(exit, Exit::Code(7));
    assert_eq!(lines, ["bye"]);
}

#[test]
fn kill_gives_the_grace_to_the_group_not_only_to_its_leader() {
    let lab = Lab::new();
    // The leader dies of SIGTERM at once; its child takes a while to tidy up.
    let mut process = lab.spawn(
        "(trap 'sleep 0.2; : > tidied; exit' TERM; echo ready >&2; while :; do sleep 0.01; done) & wait",
    );
    lab.wait_for(&mut process, "ready");
    process.kill(now(), LONG);
    assert_eq!(finish(&mut process).0, Exit::Signal(15));
    assert!(lab.dir.path().join("tidied").exists());
}

#[test]
fn l8_a_fork_tree_that_ignores_sigterm_is_killed_after_the_grace() {
    let lab = Lab::new();
    let mut process = lab.spawn(
        "trap '' TERM; (sleep 3600 & echo $! > grandchild; until [ -s child ]; do :; done; echo ready >&2; wait) &
         echo $! > child; wait",
    );
    lab.wait_for(&mut process, "ready");
    process.kill(now(), Duration::from_millis(50));
    assert_eq!(finish(&mut process).0, Exit::Signal(9));
    for pid in [lab.file("child"), lab.file("grandchild")] {
        assert!(!is_alive(&pid));
    }
}

#[test]
fn l8_members_that_survive_their_leader_are_killed_after_the_grace() {
    let lab = Lab::new();
    let mut process = lab.spawn("(trap '' TERM; until [ -s child ]; do :; done; echo ready >&2; exec sleep 3600) & echo $! > child; wait");
    lab.wait_for(&mut process, "ready");
    process.kill(now(), Duration::from_millis(50));
    // On a busy machine the leader may not get to its SIGTERM within the grace.
    assert!(matches!(finish(&mut process).0, Exit::Signal(15 | 9)));
    assert!(!is_alive(&lab.file("child")));
}

#[test]
fn a_second_kill_shortens_the_grace() {
    let lab = Lab::new();
    let mut process = lab.spawn("trap '' TERM; echo ready >&2; while :; do sleep 0.01; done");
    lab.wait_for(&mut process, "ready");
    process.kill(now(), LONG);
    process.kill(now(), Duration::ZERO);
    assert_eq!(finish(&mut process).0, Exit::Signal(9));
}

#[test]
fn a_grandchild_that_keeps_the_pipes_does_not_block_and_lives_on() {
    let lab = Lab::new();
    let mut process = lab.spawn("sleep 3600 & echo $! > child; echo out; exit 3");
    let (exit, lines) = finish_lines(&mut process, Stream::Stdout);
    assert_eq!((exit, lines.concat().as_str()), (Exit::Code(3), "out"));
    let child = lab.file("child");
    // A script may start a service; only a kill ends the group.
    assert!(is_alive(&child));
    let pid = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn a_grandchild_that_writes_without_end_does_not_block() {
    let lab = Lab::new();
    let mut process = lab.spawn("yes & exit 0");
    let (exit, lines) = finish_lines(&mut process, Stream::Stdout);
    assert!(exit.is_success());
    assert_eq!(lines.last().unwrap(), "(output truncated after 10000 bytes)");
}

#[test]
fn closing_its_outputs_early_has_no_effect() {
    let lab = Lab::new();
    let mut process = lab.spawn("exec >&- 2>&-; sleep 0.1; exit 4");
    assert_eq!(finish(&mut process).0, Exit::Code(4));
}

#[test]
fn without_pidfd_the_exit_is_looked_for() {
    let lab = Lab::new();
    let mut process = lab.spawn("exec >&- 2>&-; sleep 0.1; exit 4");
    process.pidfd = None;
    assert_eq!(finish(&mut process).0, Exit::Code(4));
    let mut process = lab.spawn("echo ready >&2; exec >&- 2>&-; while :; do sleep 0.01; done");
    process.pidfd = None;
    lab.wait_for(&mut process, "ready");
    process.kill(now(), LONG);
    assert_eq!(finish(&mut process).0, Exit::Signal(15));
}

#[test]
fn dropping_a_running_child_ends_its_group() {
    let lab = Lab::new();
    let mut process = lab.spawn("trap '' TERM; sleep 3600 & echo $! > child; echo ready >&2; wait");
    lab.wait_for(&mut process, "ready");
    let pid = process.pid;
    drop(process);
    assert!(rustix::process::test_kill_process(pid).is_err(), "the leader is reaped");
    // SIGKILL is on its way to the rest; nothing else can happen to it.
    while is_alive(&lab.file("child")) {
        std::thread::yield_now();
    }
}

#[test]
fn a_child_does_not_inherit_protection_when_memory_runs_out() {
    // The protection is the whole process's, so this runs in one of its own.
    const NAME: &str = "process::tests::a_child_does_not_inherit_protection_when_memory_runs_out";
    if std::env::var_os("PROTECTED_TEST").is_none() {
        let test = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME])
            .env("PROTECTED_TEST", "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&test.stdout);
        assert!(test.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    let own = || fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().to_owned();
    for (score, expected) in [("-500", "0"), ("0", "0"), ("300", "300")] {
        if fs::write("/proc/self/oom_score_adj", score).is_err() {
            println!("left out: needs the right to protect itself");
            continue;
        }
        let lab = Lab::new();
        let mut process = lab.spawn("cat /proc/self/oom_score_adj");
        let (_, lines) = finish_lines(&mut process, Stream::Stdout);
        assert_eq!(lines, [expected], "{score}");
        assert_eq!(own(), score);
    }
}
