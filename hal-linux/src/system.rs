//! Facts about the device, and its reboot.

use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::task::Poll;

use thimble_core::hal::{self, ErrorType, Exit, Kind, System};
use thimble_core::limits;
use thimble_core::time::Instant;

use crate::SharedLog;
use crate::fsat::{kind_of, open_regular};
use crate::process::{Options, Process, log_output};
use crate::wait::PollSet;

/// Longest device type file that is read, in bytes.
const FILE: u64 = 16 * 1024;

/// The name of the reboot command, found in `PATH` (never the system call: services want to be stopped).
const REBOOT: &str = "reboot";

/// A device that runs Linux.
pub struct Device {
    device_type: PathBuf,
    log: SharedLog,
    reboot: Option<Process>,
}

impl Device {
    /// `device_type` is the file with the line `device_type=<value>`.
    #[must_use]
    pub fn new(device_type: &Path, log: SharedLog) -> Self {
        Self { device_type: device_type.to_owned(), log, reboot: None }
    }

    /// Adds the descriptors that the next poll would read from or write to.
    pub fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
        if let Some(reboot) = &self.reboot {
            reboot.wants(set);
        }
    }

    /// When to poll next, even if no descriptor became ready.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.reboot.as_ref().and_then(Process::deadline)
    }

    fn start_command(&mut self, command: &str) -> Result<(), SystemError> {
        // The command must go on when the shutdown that it begins ends this process with SIGTERM.
        let options = Options { outlives: true, ..Options::new(Path::new(command), limits::SCRIPT_OUTPUT) };
        self.reboot = Some(Process::spawn(&options).map_err(SystemError::Reboot)?);
        Ok(())
    }
}

impl ErrorType for Device {
    type Error = SystemError;
}

impl System for Device {
    fn device_type<'b>(&mut self, buf: &'b mut [u8]) -> Result<&'b str, SystemError> {
        let path = &self.device_type;
        let mut text = Vec::new();
        open_regular(path)
            .and_then(|file| file.take(FILE + 1).read_to_end(&mut text))
            .map_err(|error| SystemError::Read(path.clone(), error))?;
        if text.len() as u64 > FILE {
            return Err(SystemError::TooLong(path.clone()));
        }
        let value = parse(&text).ok_or_else(|| SystemError::Content(path.clone()))?;
        let front = buf.get_mut(..value.len()).filter(|_| value.len() <= limits::DEVICE_TYPE);
        let front = front.ok_or_else(|| SystemError::TooLong(path.clone()))?;
        front.copy_from_slice(value.as_bytes());
        str::from_utf8(front).map_err(|_| SystemError::Content(path.clone()))
    }

    fn start_reboot(&mut self, _now: Instant) -> Result<(), SystemError> {
        self.start_command(REBOOT)
    }

    fn poll_reboot(&mut self, now: Instant) -> Poll<Result<Exit, SystemError>> {
        match &mut self.reboot {
            Some(reboot) => reboot.poll(now, &mut log_output(&self.log, REBOOT)).map(Ok),
            None => Poll::Ready(Err(SystemError::NotStarted)),
        }
    }
}

/// The value of the one line `device_type=...`. Comments (`#`), blank lines and other keys are passed over, as
/// Mender 3 does; two device types contradict each other.
fn parse(text: &[u8]) -> Option<&str> {
    let text = str::from_utf8(text).ok()?;
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mut values = lines.filter_map(|line| {
        let (key, value) = line.split_once('=')?;
        (key.trim_end() == "device_type").then(|| value.trim_start())
    });
    let value = values.next()?;
    let is_good = !value.is_empty() && !value.contains(char::is_control) && values.next().is_none();
    is_good.then_some(value)
}

/// Why the device type is not known, or the device is not rebooted.
#[derive(Debug)]
pub enum SystemError {
    /// The device type file is missing or cannot be read.
    Read(PathBuf, io::Error),
    /// The device type file does not hold one device type.
    Content(PathBuf),
    /// The device type, or its file, is longer than any can be.
    TooLong(PathBuf),
    /// The reboot command could not be started.
    Reboot(io::Error),
    /// No reboot was asked for.
    NotStarted,
}

impl fmt::Display for SystemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) if error.kind() == io::ErrorKind::NotFound => {
                let path = path.display();
                write!(f, "there is no device type file {path}: write one line into it, device_type=<type>")
            }
            Self::Read(path, error) => {
                write!(f, "cannot read the device type from {}: {error}", path.display())
            }
            Self::Content(path) => {
                write!(f, "{} must hold one device type: one line, device_type=<type>", path.display())
            }
            Self::TooLong(path) => {
                let limit = limits::DEVICE_TYPE;
                write!(
                    f,
                    "the device type in {} is longer than {limit} bytes; use a shorter one",
                    path.display()
                )
            }
            Self::Reboot(error) => write!(f, "cannot run the command `{REBOOT}` from PATH: {error}"),
            Self::NotStarted => f.write_str("no reboot was asked for"),
        }
    }
}

impl hal::Error for SystemError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read(_, error) | Self::Reboot(error) => kind_of(error),
            Self::Content(_) => Kind::Corrupt,
            Self::TooLong(_) => Kind::TooLarge,
            Self::NotStarted => Kind::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Waits, now, run, script};
    use std::fs;
    use thimble_core::hal::Error as _;

    impl Waits for Device {
        fn wants<'fd>(&'fd self, set: &mut PollSet<'fd>) {
            Device::wants(self, set);
        }

        fn deadline(&self) -> Option<Instant> {
            Device::deadline(self)
        }
    }

    fn device_type_of(text: &[u8]) -> Result<String, Kind> {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("device_type");
        fs::write(&path, text).unwrap();
        let mut device = Device::new(&path, testing::log().1);
        let mut buf = [0; 300];
        device.device_type(&mut buf).map(str::to_owned).map_err(|error| {
            assert!(error.to_string().contains(path.to_str().unwrap()));
            error.kind()
        })
    }

    #[test]
    fn reads_the_device_type() {
        for text in [
            "device_type=board-1",
            "device_type=board-1\n",
            "# made by hand\n\ndevice_type=board-1\nother=x\n",
            "  device_type = board-1 \r\n",
        ] {
            assert_eq!(device_type_of(text.as_bytes()).as_deref(), Ok("board-1"), "{text:?}");
        }
        assert_eq!(device_type_of(b"device_type=a b=c#d\n").as_deref(), Ok("a b=c#d"));
    }

    #[test]
    fn anything_else_is_an_error() {
        for text in [
            "",
            "device_type",
            "device_type=\n",
            "Device_type=x",
            "x",
            "device_type=a\ndevice_type=b\n",
            "device_type=a\tb",
        ] {
            assert_eq!(device_type_of(text.as_bytes()), Err(Kind::Corrupt), "{text:?}");
        }
        assert_eq!(device_type_of(b"device_type=\xff\n"), Err(Kind::Corrupt));
        let long = format!("device_type={}\n", "x".repeat(limits::DEVICE_TYPE + 1));
        assert_eq!(device_type_of(long.as_bytes()), Err(Kind::TooLarge));
        assert_eq!(device_type_of(&vec![b'#'; 100_000]), Err(Kind::TooLarge));
    }

    #[test]
    fn a_missing_file_is_said_to_be_missing() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("device_type");
        let mut device = Device::new(&path, testing::log().1);
        let error = device.device_type(&mut [0; 300]).unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.to_string().contains(path.to_str().unwrap()));
    }

    #[test]
    fn a_buffer_too_small_is_an_error() {
        let lab = tempfile::tempdir().unwrap();
        let path = lab.path().join("device_type");
        fs::write(&path, "device_type=board").unwrap();
        let mut device = Device::new(&path, testing::log().1);
        assert_eq!(device.device_type(&mut [0; 4]).unwrap_err().kind(), Kind::TooLarge);
        assert_eq!(device.device_type(&mut [0; 5]).unwrap(), "board");
    }

    #[test]
    fn r2_the_end_of_the_reboot_command_is_reported() {
        let lab = tempfile::tempdir().unwrap();
        let (lines, log) = testing::log();
        let mut device = Device::new(Path::new("/nowhere"), log);
        assert!(matches!(device.poll_reboot(now()), Poll::Ready(Err(SystemError::NotStarted))));
        let command = lab.path().join("reboot");
        script(&command, "echo not allowed >&2; exit $((3 + $#))");
        device.start_command(command.to_str().unwrap()).unwrap();
        let exit = run(&mut device, |device, now| device.poll_reboot(now)).unwrap();
        assert_eq!(exit, Exit::Code(3));
        assert_eq!(lines.borrow().0, ["info: reboot: not allowed"]);
        let missing = lab.path().join("no").display().to_string();
        assert_eq!(device.start_command(&missing).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn the_reboot_command_outlives_the_client_it_ends() {
        let lab = tempfile::tempdir().unwrap();
        let command = lab.path().join("reboot");
        let done = lab.path().join("done");
        script(&command, &format!("sleep 0.1; : > {}", done.display()));
        let mut device = Device::new(Path::new("/nowhere"), testing::log().1);
        device.start_command(command.to_str().unwrap()).unwrap();
        drop(device);
        while !done.exists() {
            std::thread::yield_now();
        }
    }
}
