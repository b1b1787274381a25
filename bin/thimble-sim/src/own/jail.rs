//! A throwaway device: a folder that becomes `/` for the user's programs, in namespaces of their own.
//!
//! Nothing that they do reaches this machine: they see a copy of a root file system or this machine's programs read-only,
//! they have no network, their processes end with the run, and what would restart or reconfigure a device is a stand-in.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount, unmount,
};
use rustix::process::{Resource, Rlimit, pivot_root, setrlimit};
use thimble_core::limits;
use thimble_core::script::{ScriptState, parse_name};
use thimble_hal_sim::given::Root;
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

/// Where the stand-in for `date` reads the device's time, in seconds since 1970.
pub(super) const CLOCK: &str = "/sim/clock";

/// What would change or restart a real device.
const STAND_INS: [&str; 8] =
    ["reboot", "shutdown", "poweroff", "halt", "systemctl", "fw_printenv", "fw_setenv", "service"];

/// The device's settings.
pub(super) const CONFIG: &str = "/etc/mender/mender.conf";

/// Where the device's own things of the simulator are.
pub(super) const SIM: &str = "/sim";

/// Whose rights a run that root starts has: nobody's, so that not even a fault of ours reaches what is root's.
const NOBODY: u32 = 65534;

/// Longest module and longest settings, in bytes.
const MODULE: u64 = 256 * 1024 * 1024;
const SETTINGS: u64 = 1024 * 1024;

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

/// The copies of what was handed over, in the folder: the originals are not seen by any later stage.
pub(super) fn use_copies(options: &mut Options, folder: &Path) {
    let input = folder.join("in");
    options.artifact = input.join("artifact");
    for (path, name) in
        [(&mut options.module, "module"), (&mut options.config, "mender.conf"), (&mut options.root, "root")]
    {
        if path.is_some() {
            *path = Some(input.join(name));
        }
    }
    for (number, path) in options.scripts.iter_mut().enumerate() {
        *path = input.join(format!("scripts-{number}"));
    }
}

/// Runs this program once more, in namespaces. Its exit status.
pub(super) fn enter(words: &[&str], options: &Options) -> Result<u8, String> {
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
        .args(words)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env(FOLDER, folder.path())
        .env(STAGE, "between")
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("unshare: {error}"))?;
    // Open for as long as this process lives: see `end_with_starter`.
    let alive = between.stdin.take();
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

/// Copies what was handed over to where the later stages find it.
fn take(options: &Options, input: &Path) -> Result<(), String> {
    fs::create_dir(input).map_err(|error| format!("{}: {error}", input.display()))?;
    let file = |option: &str, from: &Path, most: u64, to: &str| {
        let wrong = |why: &dyn std::fmt::Display| format!("{option} {}: {why}", from.display());
        let about = fs::metadata(from).map_err(|error| wrong(&error))?;
        if !about.is_file() {
            return Err(wrong(&"it is no file"));
        }
        if about.len() > most {
            return Err(wrong(&format!("it has {} bytes, and at most {most} are taken", about.len())));
        }
        fs::copy(from, input.join(to)).map(drop).map_err(|error| wrong(&error))
    };
    file("--artifact", &options.artifact, u64::MAX, "artifact")?;
    if let Some(module) = &options.module {
        file("--module", module, MODULE, "module")?;
    }
    if let Some(config) = &options.config {
        file("--config", config, SETTINGS, "mender.conf")?;
    }
    for (number, folder) in options.scripts.iter().enumerate() {
        let to = format!("scripts-{number}");
        let wrong = |path: &Path, error: io::Error| format!("--scripts {}: {error}", path.display());
        fs::create_dir(input.join(&to)).map_err(|error| wrong(folder, error))?;
        for (count, entry) in fs::read_dir(folder).map_err(|error| wrong(folder, error))?.enumerate() {
            let path = entry.map_err(|error| wrong(folder, error))?.path();
            if count == ENTRIES {
                return Err(format!("--scripts {}: more than {ENTRIES} files", folder.display()));
            }
            if fs::metadata(&path).map_err(|error| wrong(&path, error))?.is_file() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                file("--scripts", &path, limits::SCRIPT_SIZE, &format!("{to}/{name}"))?;
            }
        }
    }
    if let Some(root) = &options.root {
        copy(root, &input.join("root"), &mut COPIED.clone())
            .map_err(|error| format!("--root {}: {error}", root.display()))?;
    }
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let own = input.join("thimble-sim");
    fs::copy(&program, &own)
        .and_then(|_| fs::set_permissions(&own, fs::Permissions::from_mode(0o755)))
        .map_err(|error| format!("{}: {error}", program.display()))
}

/// Makes all of it this user's.
fn give(path: &Path, user: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(user), Some(user))?;
    if fs::symlink_metadata(path)?.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user)?;
        }
    }
    Ok(())
}

/// A folder below `root`, made if it is not there. No link leads out of `root`: one to nowhere is replaced.
fn make(root: &Path, path: &str) -> io::Result<PathBuf> {
    let (mut at, mut inside) = (root.to_owned(), PathBuf::from("/"));
    for name in Path::new(path).components() {
        inside.push(name);
        let next = at.join(name);
        match fs::symlink_metadata(&next) {
            Ok(about) if about.is_dir() => at = next,
            Ok(_) => match Root::new(root).find(&inside).filter(|found| found.is_dir()) {
                Some(found) => at = found,
                None => {
                    fs::remove_file(&next)?;
                    fs::create_dir(&next)?;
                    at = next;
                }
            },
            Err(_) => {
                fs::create_dir(&next)?;
                at = next;
            }
        }
    }
    Ok(at)
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
    // What is the simulator's own is no link of the image's.
    for name in ["sim", "dev", "proc", "sys"] {
        if root.join(name).is_symlink() {
            fs::remove_file(root.join(name)).map_err(wrong(&root.join(name)))?;
        }
    }
    let make = |path: &str| make(root, path).map_err(wrong(&root.join(path)));
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
    ] {
        make(folder)?;
    }
    let (sim, bin, settings) = (make("sim")?, make("sim/bin")?, make("etc/mender")?);
    let (modules, scripts) = (make("sim/mender/modules/v3")?, make("sim/scripts")?);
    let of_root = make("etc/mender/scripts")?;
    put(&sim.join("stand-in"), include_bytes!("stand-in.sh"), 0o755)?;
    for name in STAND_INS {
        put(&bin.join(name), include_bytes!("stand-in.sh"), 0o755)?;
    }
    if options.clock.is_some() {
        put(&bin.join("date"), include_bytes!("date.sh"), 0o755)?;
    }
    if let Some(config) = &options.config {
        let bytes = fs::read(config).map_err(wrong(config))?;
        put(&settings.join("mender.conf"), &bytes, 0o600)?;
    }
    for folder in &options.scripts {
        take_scripts(folder, &of_root, &scripts)?;
    }
    if let Some(module) = &options.module {
        let name = payload_type.ok_or("--module: the artifact has no payload, and calls no module")?;
        let bytes = fs::read(module).map_err(wrong(module))?;
        put(&modules.join(name), &bytes, 0o755)?;
    }
    Ok(())
}

/// A file in a folder that is no link; a link of its name is replaced.
fn put(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    if path.is_symlink() {
        fs::remove_file(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    fs::write(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Scripts of `Artifact` states wait for the artifact; all other files are the root file system's.
fn take_scripts(folder: &Path, of_root: &Path, of_artifact: &Path) -> Result<(), String> {
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
        let is_artifact = name.to_str().and_then(parse_name).is_some_and(|t| t.state.is_artifact());
        let to = if is_artifact { of_artifact } else { of_root }.join(&name);
        let mode = if is_artifact { 0o700 } else { about.permissions().mode() & 0o7777 };
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
                Err(error) => return Err(error),
                // Without the bits that lend rights.
                Ok(_) => {
                    fs::set_permissions(&to, fs::Permissions::from_mode(about.permissions().mode() & 0o777))?
                }
            }
        }
    }
    let mode = fs::metadata(from)?.permissions().mode() & 0o777;
    // The client refuses programs that others could exchange.
    fs::set_permissions(to, fs::Permissions::from_mode((mode | 0o700) & !0o022))
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
    let mut bound = Vec::new();
    for name in STAND_INS {
        for folder in ["usr/sbin", "usr/bin", "usr/local/bin", "usr/local/sbin", "sbin", "bin"] {
            let Some(found) = Root::new(&root).find(&Path::new("/").join(folder).join(name)) else {
                continue;
            };
            if found.is_file() && !bound.contains(&found) {
                mount_bind(root.join("sim/stand-in"), &found).map_err(step(name))?;
                bound.push(found);
            }
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

/// The folders with scripts of these states.
pub(super) fn scripts_folder(state: ScriptState) -> &'static Path {
    Path::new(if state.is_artifact() { "/var/lib/mender/scripts" } else { "/etc/mender/scripts" })
}
