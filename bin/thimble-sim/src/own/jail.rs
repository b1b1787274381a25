//! A throwaway device: a folder that becomes `/` for the user's programs, in namespaces of their own.
//!
//! Nothing that they do reaches this machine: they see a copy of a root file system or this machine's programs read-only,
//! they have no network, their processes end with the run, and what would restart or reconfigure a device is a stand-in.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{Resource, Rlimit, pivot_root, setrlimit};
use thimble_hal_sim::given::Root;

use super::device::{HOST, REAL_DATE, SIM, STAND_INS, build, put};
use super::handed::{COPIED, copy, give, length, take};
use super::options::Options;

/// Names the throwaway folder to the process inside.
const FOLDER: &str = "THIMBLE_SIM_JAIL";

/// Where the starting process finds the device that is to be kept.
const KEPT: &str = "kept";

/// Most bytes of a document of what happened.
const OUTPUT: u64 = 256 * 1024 * 1024;

/// Processes of the device at a time.
const PROCESSES: u64 = 2000;

/// Whose rights a run that root starts has: nobody's, so that not even a fault of ours reaches what is root's.
const NOBODY: u32 = 65534;

/// Where a process of this program is.
pub(super) enum Stage {
    /// On this machine: [`enter`].
    Outside,
    /// Between: in namespaces that own the mounts, the processes and the network. It builds the device in the folder:
    /// [`build_and_run`].
    Between(PathBuf),
    /// On the device, without any right over what the stage between has set up: [`become_root`].
    Inside(PathBuf),
}

/// Names the stage to the process in it.
const STAGE: &str = "THIMBLE_SIM_STAGE";

/// Which it is.
pub(super) fn stage() -> Result<Stage, String> {
    let (Some(folder), Some(stage)) = (std::env::var_os(FOLDER), std::env::var_os(STAGE)) else {
        return Ok(Stage::Outside);
    };
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    // Whoever sets the variables by hand is not in a namespace with one user.
    if map.split_ascii_whitespace().nth(2) != Some("1") {
        return Err(format!("{FOLDER} is set, which is for this program's own use: unset it"));
    }
    let folder = PathBuf::from(folder);
    Ok(if stage == "between" { Stage::Between(folder) } else { Stage::Inside(folder) })
}

/// Runs this program once more, in namespaces. Its exit status. `json`: it prints a document; `output` takes that in place of this
/// program's own output.
pub(super) fn enter(json: bool, options: &Options, output: Option<&mut Vec<u8>>) -> Result<u8, String> {
    let flags = [
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--net",
        "--ipc",
        "--uts",
        "--cgroup",
        "--fork",
        "--kill-child",
    ];
    let is_root = rustix::process::geteuid().is_root();
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(flags);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    };
    let refused = match unshare().arg("true").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare (of util-linux) cannot be started: {error}")),
    };
    if let Some(why) = refused {
        return Err(format!(
            "scripts and modules are only run where they cannot touch this machine, and here are no namespaces for that: {why}\n\
             Ubuntu 24.04 and later: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n\
             in a container: start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined\n\
             elsewhere: look at `sysctl user.max_user_namespaces`, and whether util-linux is installed\n\
             without programs of yours: thimble-sim run SCENARIO"
        ));
    }
    if let Some(keep) = options.keep.as_ref().filter(|keep| keep.symlink_metadata().is_ok()) {
        return Err(format!("--keep {}: it is there already; name a folder that is not", keep.display()));
    }
    let folder = tempfile::Builder::new()
        .prefix("thimble-sim-")
        .tempdir()
        .map_err(|error| format!("a throwaway folder in {}: {error}", std::env::temp_dir().display()))?;
    let input = folder.path().join("in");
    take(options, &input)?;
    if is_root {
        give(folder.path(), NOBODY).map_err(|error| format!("{}: {error}", folder.path().display()))?;
    }
    // Whatever this process was started with besides its standard streams.
    thimble_hal_linux::process::close_others_on_exec();
    let mut between = unshare()
        .arg(input.join("thimble-sim"))
        .arg("run")
        .args(&options.words)
        .args(json.then_some("--json"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env(FOLDER, folder.path())
        .env(STAGE, "between")
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(if output.is_some() { Stdio::piped() } else { Stdio::inherit() })
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    // Open for as long as this process lives: see `end_with_starter`.
    let alive = between.stdin.take();
    if let (Some(output), Some(stdout)) = (output, &mut between.stdout) {
        stdout.take(OUTPUT).read_to_end(output).map_err(|error| format!("unshare: {error}"))?;
    }
    let status = between.wait().map_err(|error| format!("unshare: {error}"))?;
    drop(alive);
    if let Some(keep) = &options.keep {
        let kept = folder.path().join(KEPT);
        fs::rename(&kept, keep)
            .or_else(|_| copy(&kept, keep, &mut COPIED.clone()))
            .map_err(|error| format!("--keep {}: {error}", keep.display()))?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

/// The stage between: builds the device in the folder, on a file system of its own that cannot grow beyond a limit, and runs
/// this program on it, in namespaces that have no right over this one's. Its exit status.
///
/// What is mounted here is locked there: it cannot be mounted otherwise, or taken away.
pub(super) fn build_and_run(
    folder: &Path,
    words: &[&str],
    options: &Options,
    payload_type: Option<&str>,
) -> Result<u8, String> {
    let root = folder.join("root");
    let step = |what: &str| {
        let what = what.to_owned();
        move |error: rustix::io::Errno| format!("the throwaway device cannot be set up ({what}): {error}")
    };
    // Without a terminal: nothing can be typed into it.
    rustix::process::setsid().map_err(step("a session of its own"))?;
    fs::create_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(step("private mounts"))?;
    let copied = length(options.root.as_deref().unwrap_or(Path::new("/etc")));
    let limit = format!("mode=755,size={}", options.disk.saturating_add(copied));
    let limit = CString::new(limit).unwrap_or_default();
    mount("thimble-sim", &root, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(limit.as_c_str()))
        .map_err(step("its disk"))?;
    build(&root, options, payload_type)?;
    if options.root.is_none() {
        for name in HOST {
            let (from, to) = (Path::new("/").join(name), root.join(name));
            if to.is_symlink() || !to.is_dir() {
                continue;
            }
            mount_bind_recursive(&from, &to).map_err(step(name))?;
            read_only(&to).map_err(step(&format!("{name} read-only")))?;
        }
    }
    for name in ["null", "zero", "full", "random", "urandom"] {
        let to = root.join("dev").join(name);
        let _ = fs::remove_file(&to);
        if File::create_new(&to).is_ok() {
            // A device without it is a poorer one, not a dangerous one.
            let _ = mount_bind(Path::new("/dev").join(name), &to);
        }
    }
    let proc = root.join("proc");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", &proc, "proc", flags, None::<&CStr>).map_err(step("proc"))?;
    for name in ["sys", "sysrq-trigger", "irq", "bus", "fs", "acpi"] {
        let path = proc.join(name);
        if path.exists() {
            mount_bind(&path, &path).map_err(step(&format!("proc/{name}")))?;
            read_only(&path).map_err(step(&format!("proc/{name} read-only")))?;
        }
    }
    let mut covered = Vec::new();
    if options.clock.is_some() {
        let all = programs(&root, "date");
        if let Some((_, first)) = all.first() {
            keep_date(&root, first)?;
        }
        for (path, found) in all {
            cover(&root, "sim/bin/date", options.root.is_some(), &path, found, &mut covered)?;
        }
    }
    for name in STAND_INS {
        for (path, found) in programs(&root, name) {
            cover(&root, "sim/stand-in", options.root.is_some(), &path, found, &mut covered)?;
        }
    }
    let mut inside = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(folder.join("in/thimble-sim"))
        .arg("run")
        .args(words)
        .env_clear()
        .envs([("HOME", "/root"), ("LANG", "C.UTF-8"), ("TERM", "dumb"), (STAGE, "inside")])
        .env("PATH", format!("{SIM}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    // Through pipes: whoever is inside gets no descriptor that leads out.
    let (out, err) = (inside.stdout.take(), inside.stderr.take());
    // Not by way of the standard library's streams: the caller has locked them.
    let streams = |stream: BorrowedFd<'_>| stream.try_clone_to_owned().map(File::from);
    let wrong = |error: io::Error| format!("the output cannot be written: {error}");
    let (mut to_out, mut to_err) =
        (streams(io::stdout().as_fd()).map_err(wrong)?, streams(io::stderr().as_fd()).map_err(wrong)?);
    let out = std::thread::spawn(move || out.map_or(Ok(0), |mut out| io::copy(&mut out, &mut to_out)));
    let err = std::thread::spawn(move || err.map_or(Ok(0), |mut err| io::copy(&mut err, &mut to_err)));
    let status = inside.wait().map_err(|error| format!("unshare: {error}"))?;
    // Whatever was left running may hold the pipes open.
    end_all(&proc);
    for copied in [out.join(), err.join()] {
        if let Ok(Err(error)) = copied {
            return Err(wrong(error));
        }
    }
    if options.keep.is_some() {
        copy(&root, &folder.join(KEPT), &mut COPIED.clone())
            .map_err(|error| format!("the device cannot be kept: {error}"))?;
    }
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => Ok(code),
        None => Err(format!(
            "a program has ended the simulator itself ({status}): nothing is known of the update"
        )),
    }
}

/// The programs of this name below `root`, where they are looked for, and where links lead from there.
fn programs(root: &Path, name: &str) -> Vec<(PathBuf, PathBuf)> {
    let folders = ["usr/sbin", "usr/bin", "usr/local/bin", "usr/local/sbin", "sbin", "bin"];
    let inside = Root::new(root);
    let find = |path: &Path| inside.find(&Path::new("/").join(path));
    let places = folders.iter().filter_map(|folder| {
        let found = find(&Path::new(folder).join(name)).filter(|found| found.is_file())?;
        Some((find(Path::new(folder))?.join(name), found))
    });
    places.collect()
}

/// Puts the stand-in in the place of a program: over it, or, where the device is a copy, into the place of a link to a
/// program that has many names, such as busybox. That one itself stays as it is: it is the shell, too.
fn cover(
    root: &Path,
    stand_in: &str,
    is_copy: bool,
    path: &Path,
    found: PathBuf,
    covered: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let stand_in = root.join(stand_in);
    let name = found.file_name().unwrap_or_default();
    if name == "date" || STAND_INS.iter().any(|known| name == *known) {
        if !covered.contains(&found) {
            mount_bind(&stand_in, &found)
                .map_err(|error| format!("{} cannot be put over it: {error}", found.display()))?;
            covered.push(found);
        }
        return Ok(());
    }
    if !is_copy || !path.is_symlink() {
        return Ok(());
    }
    let bytes = fs::read(&stand_in).map_err(|error| format!("{}: {error}", stand_in.display()))?;
    put(path, &bytes, 0o755)
}

/// Keeps the device's own `date` where the stand-in finds it, by the same name: one with many names goes by it.
fn keep_date(root: &Path, found: &Path) -> Result<(), String> {
    let kept = root.join(REAL_DATE);
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", kept.display());
    if found.file_name().is_some_and(|name| name == "date") {
        File::create(&kept).map_err(|error| wrong(&error))?;
        return mount_bind(found, &kept).map_err(|error| wrong(&error));
    }
    let inside = Path::new("/").join(found.strip_prefix(root).map_err(|error| wrong(&error))?);
    std::os::unix::fs::symlink(inside, &kept).map_err(|error| wrong(&error))
}

/// Makes the folder's device `/`. Only in the innermost process.
pub(super) fn become_root(folder: &Path) -> Result<(), String> {
    let root = folder.join("root");
    let step = |what: &str| {
        let what = what.to_owned();
        move |error: rustix::io::Errno| format!("the throwaway device cannot be entered ({what}): {error}")
    };
    mount_bind_recursive(&root, &root).map_err(step("its root"))?;
    std::env::set_current_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    pivot_root(".", ".").map_err(step("pivot_root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(step("this machine's root"))?;
    std::env::set_current_dir("/").map_err(|error| format!("/: {error}"))?;
    // A program that starts others without end must not take this machine with it.
    let few = Rlimit { current: Some(PROCESSES), maximum: Some(PROCESSES) };
    let _ = setrlimit(Resource::Nproc, few);
    Ok(())
}

/// Ends everything inside when the process that started it is gone: whoever interrupts a run ends all of it. The first process
/// of a namespace takes all others with it.
pub(super) fn end_with_starter(folder: &Path) {
    let copies = folder.join("in");
    std::thread::spawn(move || {
        let mut nothing = [0; 1];
        while io::stdin().read(&mut nothing).is_ok_and(|length| length > 0) {}
        // Who would have removed the folder is gone; of it, an empty one stays.
        let _ = fs::remove_dir_all(copies);
        std::process::exit(2);
    });
}

/// Mounts what is mounted there read-only, with all restrictions that it has: fewer are not allowed.
fn read_only(path: &Path) -> rustix::io::Result<()> {
    let has = statvfs(path)?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::RDONLY;
    for (of_file_system, flag) in [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        if has.contains(of_file_system) {
            flags |= flag;
        }
    }
    mount_remount(path, flags, c"")
}

/// Ends every process of the device, which are those in `proc`, but this one and the first; also those that others start
/// meanwhile.
pub(super) fn end_all(proc: &Path) {
    let own = rustix::process::getpid();
    for _ in 0..ROUNDS {
        let Ok(processes) = fs::read_dir(proc) else { return };
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let others =
            pids.filter_map(rustix::process::Pid::from_raw).filter(|pid| !pid.is_init() && *pid != own);
        let kill = |pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok();
        if others.map(kill).filter(|killed| *killed).count() == 0 {
            return;
        }
    }
}

/// How often it is looked for processes that were started while others were ended. Those that are dead and not yet reaped
/// count as well.
const ROUNDS: usize = 50;
