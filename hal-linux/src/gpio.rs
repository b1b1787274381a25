//! A button and a light on lines of a GPIO chip (`UpdateControl.Button`, `UpdateControl.Light`), by the kernel's
//! character device. What they do is decided in `thimble_core::panel`.

use std::fmt;
use std::path::PathBuf;

use embedded_hal::digital::{ErrorType, InputPin, OutputPin};
use linux_embedded_hal::CdevPin;
use linux_embedded_hal::gpio_cdev::{Chip, LineRequestFlags};
use thimble_core::hal::Level;
use thimble_core::machine::Machine;
use thimble_core::panel::Panel;
use thimble_core::time::Instant;

use crate::SharedLog;
use crate::config::{Button, Line};

/// The consumer name that `gpioinfo` shows for our lines.
const CONSUMER: &str = "thimble";

/// The panel of a gateway.
pub struct GpioPanel {
    panel: Panel<Logical<CdevPin>, Logical<CdevPin>>,
    log: SharedLog,
    /// A pin failed and the failure was logged; it is not logged again.
    said: bool,
}

/// A line that could not be requested from the kernel.
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
    /// Requests the lines from the kernel. A line that cannot be requested is logged and left out: updates can still be
    /// controlled in other ways.
    #[must_use]
    pub fn open(button: Option<&Button>, light: Option<&Line>, log: SharedLog) -> Self {
        let had = |pin: Result<Logical<CdevPin>, GpioError>| {
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

fn take(line: &Line, output: bool) -> Result<Logical<CdevPin>, GpioError> {
    let wrong = |error: &dyn fmt::Display| GpioError {
        chip: line.chip.clone(),
        line: line.line,
        why: error.to_string(),
    };
    // The flag for active-low lines is not used: the kernel would invert the values, and `CdevPin` would invert them
    // back. `Logical` does it.
    let flags = if output { LineRequestFlags::OUTPUT } else { LineRequestFlags::INPUT };
    let off = u8::from(line.active_low);
    let mut chip = Chip::new(&line.chip).map_err(|error| wrong(&error))?;
    let handle = chip.get_line(line.line).and_then(|line| line.request(flags, off, CONSUMER));
    let pin = CdevPin::new(handle.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    Ok(Logical { pin, active_low: line.active_low })
}

/// A pin whose logical value (on or off) is independent of its electrical polarity.
struct Logical<P> {
    pin: P,
    active_low: bool,
}

impl<P: ErrorType> ErrorType for Logical<P> {
    type Error = P::Error;
}

impl<P: InputPin> InputPin for Logical<P> {
    fn is_high(&mut self) -> Result<bool, P::Error> {
        if self.active_low { self.pin.is_low() } else { self.pin.is_high() }
    }

    fn is_low(&mut self) -> Result<bool, P::Error> {
        self.is_high().map(|high| !high)
    }
}

impl<P: OutputPin> OutputPin for Logical<P> {
    fn set_low(&mut self) -> Result<(), P::Error> {
        if self.active_low { self.pin.set_high() } else { self.pin.set_low() }
    }

    fn set_high(&mut self) -> Result<(), P::Error> {
        if self.active_low { self.pin.set_low() } else { self.pin.set_high() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use thimble_core::time::Duration;

    /// A line with its electrical value.
    struct Wire(bool);

    impl ErrorType for Wire {
        type Error = std::convert::Infallible;
    }

    impl InputPin for Wire {
        fn is_high(&mut self) -> Result<bool, Self::Error> {
            Ok(self.0)
        }

        fn is_low(&mut self) -> Result<bool, Self::Error> {
            Ok(!self.0)
        }
    }

    impl OutputPin for Wire {
        fn set_low(&mut self) -> Result<(), Self::Error> {
            self.0 = false;
            Ok(())
        }

        fn set_high(&mut self) -> Result<(), Self::Error> {
            self.0 = true;
            Ok(())
        }
    }

    #[test]
    fn a_button_to_ground_is_pressed_when_its_line_is_low() {
        for (active_low, level, on) in
            [(false, false, false), (false, true, true), (true, false, true), (true, true, false)]
        {
            let mut pin = Logical { pin: Wire(level), active_low };
            assert_eq!((pin.is_high(), pin.is_low()), (Ok(on), Ok(!on)), "{active_low} {level}");
            pin.set_high().unwrap();
            assert_eq!(pin.pin.0, !active_low);
            pin.set_low().unwrap();
            assert_eq!(pin.pin.0, active_low);
        }
    }

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
