//! A throwaway device: a folder that becomes `/` for the user's programs, in namespaces of their own.
//!
//! Nothing that they do reaches this machine: they see a copy of a root file system or this machine's programs read-only,
//! they have no network, their processes end with the run, and what would restart or reconfigure a device is a stand-in.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{Resource, Rlimit, getpid, pivot_root, setrlimit};
use thimble_core::script::{ScriptState, parse_name};
use thimble_hal_sim::given::scripts::ENTRIES;

use super::options::Options;

/// Names the throwaway folder to the process inside.
const FOLDER: &str = "THIMBLE_SIM_JAIL";

/// Most bytes of a root file system that are copied.
const COPIED: u64 = 4 * 1024 * 1024 * 1024;

/// Where the starting process finds the device that is to be kept.
const KEPT: &str = "kept";

/// Processes of the device at a time.
const PROCESSES: u64 = 2000;

/// Most bytes of this machine's `/etc`.
const ETC: u64 = 64 * 1024 * 1024;

/// What is there of this machine, read-only.
const HOST: [&str; 8] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "opt"];

/// What would change or restart a real device.
const STAND_INS: [&str; 8] =
    ["reboot", "shutdown", "poweroff", "halt", "systemctl", "fw_printenv", "fw_setenv", "service"];

/// The device's settings.
pub(super) const CONFIG: &str = "/etc/mender/mender.conf";

/// Where the device's own things of the simulator are.
pub(super) const SIM: &str = "/sim";

/// The folder, in the process that was started inside.
pub(super) fn inside() -> Option<PathBuf> {
    // Whoever sets the variable by hand is not the first process of its namespace.
    std::env::var_os(FOLDER).map(PathBuf::from).filter(|_| getpid().is_init())
}

/// Runs this program once more, inside. Its exit status.
pub(super) fn enter(words: &[&str], options: &Options) -> Result<u8, String> {
    let flags = [
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--net",
        "--ipc",
        "--uts",
        "--fork",
        "--kill-child",
    ];
    let tried = Command::new("unshare").args(flags).arg("true").output();
    let refused = match tried {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare (of util-linux) cannot be started: {error}")),
    };
    if let Some(why) = refused {
        return Err(format!(
            "scripts and modules are only run where they cannot touch this machine, and here are no namespaces for that: {why}\n\
             Ubuntu 24.04 and later: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n\
             in a container: start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined\n\
             without programs of yours: thimble-sim run SCENARIO"
        ));
    }
    let folder = tempfile::Builder::new()
        .prefix("thimble-sim-")
        .tempdir()
        .map_err(|error| format!("a throwaway folder: {error}"))?;
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let mut inside = Command::new("unshare")
        .args(flags)
        .arg(program)
        .arg("run")
        .args(words)
        .env(FOLDER, folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    // Open for as long as this process lives: see `end_with_starter`.
    let alive = inside.stdin.take();
    let status = inside.wait().map_err(|error| format!("unshare: {error}"))?;
    drop(alive);
    if let Some(keep) = &options.keep {
        let kept = folder.path().join(KEPT);
        fs::rename(&kept, keep)
            .or_else(|_| copy(&kept, keep, &mut COPIED.clone()))
            .map_err(|error| format!("--keep {}: {error}", keep.display()))?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

/// Builds the folder that becomes `/`.
fn build(root: &Path, options: &Options, payload_type: Option<&str>) -> Result<(), String> {
    let wrong = |what: &Path| {
        let what = what.display().to_string();
        move |error: io::Error| format!("{what}: {error}")
    };
    if let Some(from) = &options.root {
        copy(from, root, &mut COPIED.clone()).map_err(wrong(from))?;
    } else {
        copy(Path::new("/etc"), &root.join("etc"), &mut ETC.clone()).map_err(wrong(Path::new("/etc")))?;
        // This machine's own client is not the device's.
        let _ = fs::remove_dir_all(root.join("etc/mender"));
        for name in HOST {
            let of_host = Path::new("/").join(name);
            match fs::read_link(&of_host) {
                Ok(to) => symlink(to, root.join(name)).map_err(wrong(&of_host))?,
                Err(_) if of_host.is_dir() => fs::create_dir(root.join(name)).map_err(wrong(&of_host))?,
                Err(_) => {}
            }
        }
    }
    for folder in [
        "dev",
        "proc",
        "sys",
        "tmp",
        "run",
        "root",
        "home",
        "mnt",
        "data",
        "boot",
        "var/lib/mender",
        "var/log",
        "var/tmp",
        "etc/mender/scripts",
        "sim/bin",
        "sim/mender/modules/v3",
        "sim/scripts",
    ] {
        fs::create_dir_all(root.join(folder)).map_err(wrong(&root.join(folder)))?;
    }
    put(&root.join("sim/stand-in"), include_bytes!("stand-in.sh"), 0o755)?;
    for name in STAND_INS {
        put(&root.join("sim/bin").join(name), include_bytes!("stand-in.sh"), 0o755)?;
    }
    if let Some(config) = &options.config {
        let bytes = fs::read(config).map_err(wrong(config))?;
        put(&root.join(CONFIG.trim_start_matches('/')), &bytes, 0o600)?;
    }
    for folder in &options.scripts {
        take_scripts(folder, root)?;
    }
    if let Some(module) = &options.module {
        let name = payload_type.ok_or("--module: the artifact has no payload, and calls no module")?;
        let bytes = fs::read(module).map_err(wrong(module))?;
        put(&root.join("sim/mender/modules/v3").join(name), &bytes, 0o755)?;
    }
    Ok(())
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Scripts of `Artifact` states wait for the artifact; all other files are the root file system's.
fn take_scripts(folder: &Path, root: &Path) -> Result<(), String> {
    let wrong = |error: io::Error| format!("--scripts {}: {error}", folder.display());
    let mut entries = fs::read_dir(folder).map_err(wrong)?.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if entries.len() > ENTRIES {
        return Err(format!("--scripts {}: more than {ENTRIES} files", folder.display()));
    }
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let about = fs::metadata(&path).map_err(wrong)?;
        if !about.is_file() {
            continue;
        }
        let of_artifact = name.to_str().and_then(parse_name).is_some_and(|t| t.state.is_artifact());
        let to = root.join(if of_artifact { "sim/scripts" } else { "etc/mender/scripts" }).join(&name);
        let mode = if of_artifact { 0o700 } else { about.permissions().mode() & 0o7777 };
        put(&to, &fs::read(&path).map_err(wrong)?, mode)?;
    }
    Ok(())
}

/// Copies folders, files and links; what may not be read, and devices, are left out.
fn copy(from: &Path, to: &Path, left: &mut u64) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let device = fs::metadata(from)?.dev();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Not the type in the folder: something else may be mounted there.
        let about = entry.metadata()?;
        let (path, to, kind) = (entry.path(), to.join(entry.file_name()), about.file_type());
        if kind.is_symlink() {
            symlink(fs::read_link(&path)?, &to)?;
        } else if kind.is_dir() {
            // Other file systems are not part of it.
            if about.dev() != device {
                fs::create_dir_all(&to)?;
                continue;
            }
            match copy(&path, &to, left) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                done => done?,
            }
        } else if kind.is_file() {
            *left = left
                .checked_sub(about.len())
                .ok_or_else(|| io::Error::other("it is larger than what is copied at most"))?;
            match fs::copy(&path, &to) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                done => drop(done?),
            }
        }
    }
    let mode = fs::metadata(from)?.permissions().mode() & 0o7777;
    // The client refuses programs that others could exchange.
    fs::set_permissions(to, fs::Permissions::from_mode((mode | 0o700) & !0o022))
}

/// Builds the device in the folder, on a file system of its own that cannot grow beyond a limit, and makes it `/`. Only in
/// the process that was started inside. What it returns leads out again, for [`keep`].
pub(super) fn become_root(
    folder: &Path,
    options: &Options,
    payload_type: Option<&str>,
) -> Result<OwnedFd, String> {
    let root = folder.join("root");
    let wrong = |error: io::Error| format!("{}: {error}", folder.display());
    fs::create_dir(&root).map_err(wrong)?;
    let way_out = File::open(folder).map_err(wrong)?.into();
    let step = |what: &str| {
        let what = what.to_owned();
        move |error: rustix::io::Errno| format!("the throwaway device cannot be set up ({what}): {error}")
    };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(step("private mounts"))?;
    let copied = length(options.root.as_deref().unwrap_or(Path::new("/etc")));
    let limit =
        CString::new(format!("mode=755,size={}", options.disk.saturating_add(copied))).unwrap_or_default();
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
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let to = root.join("dev").join(name);
        if File::create(&to).is_ok() {
            // A device without it is a poorer one, not a dangerous one.
            let _ = mount_bind(Path::new("/dev").join(name), &to);
        }
    }
    let none = None::<&std::ffi::CStr>;
    let _ = mount(
        "proc",
        root.join("proc"),
        "proc",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
        none,
    );
    for name in STAND_INS {
        for folder in ["usr/sbin", "usr/bin", "usr/local/bin", "usr/local/sbin", "sbin", "bin"] {
            let Some(found) =
                thimble_hal_sim::given::Root::new(&root).find(&Path::new("/").join(folder).join(name))
            else {
                continue;
            };
            if found.is_file() {
                mount_bind(root.join("sim/stand-in"), &found).map_err(step(name))?;
            }
        }
    }
    std::env::set_current_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
    pivot_root(".", ".").map_err(step("pivot_root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(step("this machine's root"))?;
    std::env::set_current_dir("/").map_err(|error| format!("/: {error}"))?;
    // A program that starts others without end must not take this machine with it. Not enforced for its real root.
    let few = Rlimit { current: Some(PROCESSES), maximum: Some(PROCESSES) };
    let _ = setrlimit(Resource::Nproc, few);
    Ok(way_out)
}

/// Ends everything inside when the process that started it is gone: whoever interrupts a run ends all of it. The first process
/// of a namespace takes all others with it.
pub(super) fn end_with_starter() {
    std::thread::spawn(|| {
        let mut nothing = [0; 1];
        while io::stdin().read(&mut nothing).is_ok_and(|length| length > 0) {}
        std::process::exit(2);
    });
}

/// Copies the device to where the starting process finds it.
pub(super) fn keep(way_out: &OwnedFd) -> Result<(), String> {
    let wrong = |error: io::Error| format!("the device cannot be kept: {error}");
    rustix::process::fchdir(way_out).map_err(|error| wrong(error.into()))?;
    copy(Path::new("/"), Path::new(KEPT), &mut COPIED.clone()).map_err(wrong)
}

/// Bytes of the files in a folder.
fn length(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let length = |entry: fs::DirEntry| match entry.metadata() {
        Ok(about) if about.is_dir() => length(&entry.path()),
        // Each file takes whole pages, and something for its name.
        Ok(about) => about.len().saturating_add(8192),
        Err(_) => 0,
    };
    entries.map(length).fold(0, u64::saturating_add)
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

/// Ends every process of the device but this one.
pub(super) fn end_all() {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for pid in processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|pid| !pid.is_init()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// The folders with scripts of these states.
pub(super) fn scripts_folder(state: ScriptState) -> &'static Path {
    Path::new(if state.is_artifact() { "/var/lib/mender/scripts" } else { "/etc/mender/scripts" })
}
