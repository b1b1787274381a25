//! A machine that is on: QEMU, and what it says on its serial console.

use std::io::{self, BufRead, BufReader, PipeReader};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::disk;
use crate::image::Loader;
use crate::packages::Packages;
use crate::power::{Event, Power};

/// A machine. Losing its power is the only way it ends; dropping it does that.
pub(crate) struct Machine {
    power: Arc<Power>,
    console: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// The console keeps as many lines.
const LINES: usize = 20_000;

impl Machine {
    /// Switches it on. The power will be lost as `plan` says.
    pub(crate) fn start(
        packages: &Packages,
        loader: Loader,
        disk: &disk::Server,
        power: &Arc<Power>,
        plan: Option<(Event, u64)>,
    ) -> io::Result<Self> {
        let (output, input) = io::pipe()?;
        let mut command = packages.qemu();
        if loader == Loader::Uboot {
            command.arg("-bios").arg(packages.uboot());
        }
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-vga", "none"])
            .args(["-accel", "tcg,tb-size=64", "-machine", "pc", "-cpu", "max", "-m", "160"])
            .args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
            .args(["-netdev", "user,id=net,ipv6=off", "-device", "virtio-net-pci,netdev=net,romfile="])
            .args(["-device", "virtio-blk-pci,drive=disk", "-drive"])
            // "writeback" is the guest's view: its disk has a cache, which it must flush.
            .arg(format!(
                "if=none,id=disk,format=raw,cache=writeback,file.driver=nbd,file.server.type=unix,file.server.path={}",
                disk.socket.display()
            ))
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input);
        let child = command.spawn()?;
        // It holds the other end of the pipe.
        drop(command);
        power.on(child, plan);
        let console = Arc::new(Mutex::new(Vec::new()));
        let reader = {
            let (console, power) = (console.clone(), power.clone());
            thread::spawn(move || read(output, &console, &power))
        };
        Ok(Self { power: power.clone(), console, reader: Some(reader) })
    }

    /// What it said so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.power.off();
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

fn read(output: PipeReader, console: &Mutex<Vec<String>>, power: &Power) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text: String = String::from_utf8_lossy(&line).chars().filter(|c| !c.is_control()).collect();
        line.clear();
        let mut lines = console.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() < LINES {
            lines.push(text);
        }
        drop(lines);
        power.tell(Event::Line);
    }
}
