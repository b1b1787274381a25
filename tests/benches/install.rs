//! What an install costs, against a floor and against Debian's `mender` 3.4 in the same run.
//!
//! ```text
//! cargo build --release -p thimble && cargo bench -p thimble-tests --bench install [-- MIB]
//! ```
//!
//! The floor of a 256 MiB install is the CPU time of `openssl dgst -sha256` of the payload, of one `cat` of the artifact
//! into another, and, when it is compressed, of the stand-alone decompressor. Needs `openssl`, `gzip`, `xz`, `zstd`,
//! `strace`; `mender` is measured when it is installed and the bench runs as root (its module directory is fixed).

#[path = "measure.rs"]
mod measure;
#[path = "packed.rs"]
mod packed;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use measure::{Usage, median, run};
use packed::{command, text, write_payload, writer};

/// Reads every stream and throws it away.
const MODULE: &str = r#"#!/bin/sh
if [ "$1" = Download ]; then
    while stream=$(cat stream-next) && [ -n "$stream" ]; do cat "$stream" >/dev/null; done
fi
exit 0
"#;
const MODULE_NAME: &str = "thimble-bench";
const RUNS: usize = 5;
/// Where mender 3.4 looks for the name of a system that was never updated.
const ARTIFACT_INFO: &str = "/etc/mender/artifact_info";

fn main() {
    if packed::is_writer() {
        return;
    }
    let mib = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(256);
    let bench = Bench::new();
    bench.large(mib);
    bench.small();
}

struct Bench {
    dir: PathBuf,
    thimble: PathBuf,
    /// Debian's client can be measured too.
    mender: bool,
    /// [`ARTIFACT_INFO`] was not there before.
    info_is_ours: bool,
}

impl Bench {
    fn new() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let thimble = workspace.join("target/release/thimble");
        assert!(thimble.exists(), "build it first: cargo build --release -p thimble");
        let dir = std::env::temp_dir().join(format!("thimble-bench-{}", std::process::id()));
        for sub in ["conf", "data/modules/v3", "store"] {
            fs::create_dir_all(dir.join(sub)).expect("a temporary directory");
        }
        write_program(&dir.join("data/modules/v3").join(MODULE_NAME), MODULE);
        fs::write(dir.join("store/device_type"), "device_type=bench\n").expect("device_type");
        fs::write(dir.join("conf/mender.conf"), "{}").expect("mender.conf");
        let system_modules = Path::new("/usr/share/mender/modules/v3");
        let mender = Path::new("/usr/bin/mender").exists() && system_modules.exists() && is_root();
        let info = Path::new(ARTIFACT_INFO);
        let info_is_ours = mender && !info.exists();
        if mender {
            write_program(&system_modules.join(MODULE_NAME), MODULE);
            if info_is_ours {
                fs::write(info, "artifact_name=bench-old\n")
                    .expect("artifact_info, which mender 3.4 asks for");
            }
        } else {
            println!("mender 3.4 is not measured: it is not installed, or this is not root");
        }
        Self { dir, thimble, mender, info_is_ours }
    }

    fn large(&self, mib: usize) {
        let payload = self.dir.join("payload");
        write_payload(&payload, mib);
        let digest = median(RUNS, || command("openssl", &["dgst", "-sha256", text(&payload)]));
        println!("install of {mib} MiB into a module that reads the stream (medians of {RUNS})");
        println!("{:<28}{:>9}{:>9}{:>10}{:>9}", "", "CPU s", "floor s", "ratio", "MiB");
        let kinds = [
            ("uncompressed", None),
            ("gzip", Some("gzip -c")),
            ("xz", Some("xz -2 -T2 -c")),
            ("zstd", Some("zstd -3 -c")),
        ];
        for (name, tool) in kinds {
            let artifact = self.dir.join(format!("large-{name}.mender"));
            run(&mut writer(&artifact, MODULE_NAME, &payload, name, tool.unwrap_or_default()));
            let cat =
                median(RUNS, || command("sh", &["-c", &format!("cat {} | cat >/dev/null", text(&artifact))]));
            let mut floor = digest.cpu + cat.cpu;
            if let Some(tool) = tool {
                let packed = self.dir.join("packed");
                run(&mut command("sh", &["-c", &format!("{tool} <{} >{}", text(&payload), text(&packed))]));
                let program = tool.split(' ').next().expect("a program");
                floor += median(RUNS, || {
                    command("sh", &["-c", &format!("{program} -dc <{} >/dev/null", text(&packed))])
                })
                .cpu;
            }
            let row = |who: &str, used: Usage| {
                println!(
                    "{:<28}{:>9.3}{floor:>9.3}{:>10.2}{:>9.1}",
                    format!("{name}, {who}"),
                    used.cpu,
                    used.cpu / floor,
                    used.peak
                );
            };
            row("thimble", median(RUNS, || self.install(&artifact)));
            // Mender 3.4 knows no zstd.
            if self.mender && name != "zstd" {
                row("mender 3.4", median(RUNS, || self.mender_install(&artifact)));
            }
            if name == "uncompressed" {
                self.flushes(&artifact);
            }
        }
    }

    /// Flushes of one install, counted by strace.
    fn flushes(&self, artifact: &Path) {
        for (who, command) in [
            ("thimble", Some(self.install(artifact))),
            ("mender 3.4", self.mender.then(|| self.mender_install(artifact))),
        ] {
            let Some(inner) = command else { continue };
            let trace = self.dir.join("trace");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-o", text(&trace), "-e", "trace=fsync,fdatasync,syncfs,sync,msync"]);
            strace.arg(inner.get_program()).args(inner.get_args());
            strace.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
            run(&mut strace);
            let trace = fs::read_to_string(&trace).expect("strace's output");
            let count =
                trace.lines().filter(|line| line.contains("sync(") || line.contains("syncfs(")).count();
            println!("{:<28}{count:>9} flushes", format!("uncompressed, {who}"));
        }
    }

    fn small(&self) {
        let payload = self.dir.join("small");
        write_payload(&payload, 1);
        let artifact = self.dir.join("small.mender");
        run(&mut writer(&artifact, MODULE_NAME, &payload, "gzip", "gzip -c"));
        println!("wall time in ms (medians of 21)");
        let row = |what: &str, who: &str, used: Usage| {
            println!(
                "{:<28}{:>9.1} ms {:>9.1} ms CPU",
                format!("{what}, {who}"),
                used.wall * 1e3,
                used.cpu * 1e3
            );
        };
        row("install of 1 MiB", "thimble", median(21, || self.install(&artifact)));
        if self.mender {
            row("install of 1 MiB", "mender 3.4", median(21, || self.mender_install(&artifact)));
        }
        row("show-artifact", "thimble", median(21, || self.thimble(&["show-artifact"])));
        if self.mender {
            row("show-artifact", "mender 3.4", median(21, || self.mender_command(&["show-artifact"])));
        }
    }

    fn thimble(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.thimble);
        command.args(args);
        for (variable, sub) in
            [("MENDER_CONF_DIR", "conf"), ("MENDER_DATA_DIR", "data"), ("MENDER_DATASTORE_DIR", "store")]
        {
            command.env(variable, self.dir.join(sub));
        }
        command
    }

    fn install(&self, artifact: &Path) -> Command {
        self.thimble(&["install", text(artifact)])
    }

    fn mender_command(&self, args: &[&str]) -> Command {
        let store = self.dir.join("mender-3.4");
        if !store.exists() {
            fs::create_dir(&store).expect("a temporary directory");
            fs::write(store.join("device_type"), "device_type=bench\n").expect("device_type");
        }
        let conf = self.dir.join("conf/mender.conf");
        let mut command =
            command("mender", &["--data", text(&store), "--config", text(&conf), "--no-syslog"]);
        command.args(args);
        command
    }

    fn mender_install(&self, artifact: &Path) -> Command {
        self.mender_command(&["install", text(artifact)])
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if self.info_is_ours {
            drop(fs::remove_file(ARTIFACT_INFO));
        }
        if self.mender {
            drop(fs::remove_file(Path::new("/usr/share/mender/modules/v3").join(MODULE_NAME)));
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").stdout(Stdio::piped()).output().is_ok_and(|output| output.stdout == b"0\n")
}

fn write_program(path: &Path, content: &str) {
    fs::write(path, content).expect("a program");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}
