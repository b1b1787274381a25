//! The button and the light of a gateway, where this client was built with them (feature `gpio`).

use thimble_core::client::Client;
use thimble_core::time::Instant;
use thimble_hal_linux::platform::Linux;

use crate::device::Device;
use crate::output::Failure;

pub(crate) struct Panel {
    #[cfg(feature = "gpio")]
    gpio: Option<thimble_hal_linux::gpio::GpioPanel>,
}

impl Panel {
    /// Takes the configured lines.
    ///
    /// # Errors
    /// There are some, and this client was built without them.
    #[cfg(feature = "gpio")]
    #[expect(clippy::unnecessary_wraps, reason = "as without the feature")]
    pub(crate) fn new(device: &Device) -> Result<Self, Failure> {
        let (button, light) = (device.conf.button.as_ref(), device.conf.light.as_ref());
        let is_configured = button.is_some() || light.is_some();
        let open = || thimble_hal_linux::gpio::GpioPanel::open(button, light, device.log.clone());
        Ok(Self { gpio: is_configured.then(open) })
    }

    /// As with the feature.
    #[cfg(not(feature = "gpio"))]
    pub(crate) fn new(device: &Device) -> Result<Self, Failure> {
        if device.conf.button.is_some() || device.conf.light.is_some() {
            return Err(Failure::new(
                "UpdateControl.Button and UpdateControl.Light need a thimble that is built with the feature gpio",
            ));
        }
        Ok(Self {})
    }

    /// Shows how the client stands, and lets a waiting update go on when the button says so. When to turn again.
    pub(crate) fn turn(&mut self, client: &mut Client<'_, Linux>, now: Instant) -> Option<Instant> {
        #[cfg(feature = "gpio")]
        if let Some(gpio) = &mut self.gpio {
            if gpio.poll(now, client.machine()) {
                client.approve();
                // The client has something to do.
                return Some(now);
            }
            return gpio.deadline(now);
        }
        let _ = (client, now);
        None
    }
}
