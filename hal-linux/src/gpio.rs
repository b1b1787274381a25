//! A button and a light on lines of a GPIO chip (`UpdateControl.Button`, `UpdateControl.Light`), by the kernel's
//! character device. What they do is decided in `thimble_core::panel`.

use std::fmt;
use std::path::PathBuf;

use linux_embedded_hal::CdevPin;
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags};
use thimble_core::hal::Level;
use thimble_core::machine::Machine;
use thimble_core::panel::Panel;
use thimble_core::time::Instant;

use crate::SharedLog;
use crate::config::{Button, Line};

/// The name by which `gpioinfo` shows whose a line is.
const CONSUMER: &str = "thimble";

/// The panel of a gateway.
pub struct GpioPanel {
    panel: Panel<CdevPin, CdevPin>,
    log: SharedLog,
    /// A pin failed, and that was logged.
    said: bool,
}

/// A line that cannot be had.
#[derive(Debug)]
pub struct GpioError {
    chip: PathBuf,
    line: u32,
    why: String,
}

impl fmt::Display for GpioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of {} cannot be used: {}", self.line, self.chip.display(), self.why)
    }
}

impl std::error::Error for GpioError {}

impl GpioPanel {
    /// Takes the lines. One that cannot be had is left out and logged: updates go on without it, by other ways.
    #[must_use]
    pub fn open(button: Option<&Button>, light: Option<&Line>, log: SharedLog) -> Self {
        let had = |pin: Result<CdevPin, GpioError>| {
            pin.inspect_err(|error| log.borrow_mut().log(Level::Error, format_args!("{error}"))).ok()
        };
        let button = button.and_then(|button| Some((had(take(&button.line, false))?, button.hold)));
        let light = light.and_then(|line| had(take(line, true)));
        Self { panel: Panel::new(button, light), log, said: false }
    }

    /// See [`Panel::poll`].
    pub fn poll(&mut self, now: Instant, machine: &Machine) -> bool {
        match self.panel.poll(now, machine) {
            Ok(approved) => {
                self.said = false;
                approved
            }
            Err(error) => {
                if !self.said {
                    self.log.borrow_mut().log(Level::Error, format_args!("{error}"));
                }
                self.said = true;
                false
            }
        }
    }

    /// See [`Panel::deadline`].
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.panel.deadline(now)
    }
}

fn take(line: &Line, output: bool) -> Result<CdevPin, GpioError> {
    let wrong = |error: &dyn fmt::Display| GpioError {
        chip: line.chip.clone(),
        line: line.line,
        why: error.to_string(),
    };
    let mut flags = if output { LineRequestFlags::OUTPUT } else { LineRequestFlags::INPUT };
    if line.active_low {
        flags |= LineRequestFlags::ACTIVE_LOW;
    }
    let mut chip = Chip::new(&line.chip).map_err(|error| wrong(&error))?;
    let handle = chip.get_line(line.line).and_then(|line| line.request(flags, 0, CONSUMER));
    CdevPin::new(handle.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use thimble_core::time::Duration;

    #[test]
    fn a_line_that_cannot_be_had_is_named_and_left_out() {
        let line = Line { chip: "/dev/null".into(), line: 7, active_low: true };
        let (lines, log) = testing::log();
        let button = Button { line: line.clone(), hold: Duration::from_secs(1) };
        let panel = GpioPanel::open(Some(&button), Some(&line), log);
        assert_eq!(panel.deadline(testing::now()), None);
        let lines = lines.borrow().0.join("\n");
        assert_eq!(lines.matches("error: line 7 of /dev/null cannot be used: ").count(), 2, "{lines}");
    }
}
