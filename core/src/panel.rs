//! A button that lets a waiting update go on, and a light that shows how the client stands, on any board: over the
//! pins of `embedded-hal`, with time as a parameter.
//!
//! | light | the client |
//! |---|---|
//! | off | has nothing to do |
//! | half a second on, half a second off | waits for somebody to let the update go on |
//! | on | works on an update: do not take the power away without need |
//! | a tenth of a second on, a tenth off | could not carry the last update out, until the next begins |
//!
//! ```text
//! let mut panel = Panel::new(Some((pin, hold)), Some(led));
//! loop { if panel.poll(now, client.machine())? { client.approve(); } /* wait until panel.deadline(now) */ }
//! ```

use embedded_hal::digital::{InputPin, OutputPin};

use crate::machine::Machine;
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::texts;
use crate::state::State;
use crate::time::{Duration, Instant, earliest};

/// How long the button's contact may bounce.
pub const BOUNCE: Duration = Duration::from_millis(30);

/// How often the button is looked at while an update waits; at other times it is not looked at.
pub const SAMPLE: Duration = Duration::from_millis(50);

/// How the client stands, as the light shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Nothing to do.
    #[default]
    Off,
    /// An update waits for somebody.
    Waiting,
    /// An update is being worked on.
    Updating,
    /// The last update failed.
    Failed,
}

impl Signal {
    /// On and off in turn for this long; `None`: as it is.
    const fn blink(self) -> Option<Duration> {
        match self {
            Self::Off | Self::Updating => None,
            Self::Waiting => Some(Duration::from_millis(500)),
            Self::Failed => Some(Duration::from_millis(100)),
        }
    }

    /// Whether the light is on then.
    #[must_use]
    pub const fn is_lit(self, now: Instant) -> bool {
        match self.blink() {
            None => matches!(self, Self::Updating),
            Some(half) => {
                matches!(now.since(Instant::ZERO).as_millis().checked_div(half.as_millis()), Some(n) if n & 1 == 0)
            }
        }
    }

    /// When that changes; `None`: only with the signal.
    #[must_use]
    pub fn changes(self, now: Instant) -> Option<Instant> {
        let half = self.blink()?;
        let into = now.since(Instant::ZERO).as_millis().checked_rem(half.as_millis())?;
        Some(now + Duration::from_millis(half.as_millis().saturating_sub(into)))
    }
}

/// A button that is held: one press counts once, and only one that began after [`Button::arm`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Button {
    hold: Duration,
    /// What the contact said last, and since when it says so.
    contact: Option<(bool, Instant)>,
    /// Whether the button is down, bounces aside, and since when.
    down: Option<Instant>,
    /// It was seen up since it was armed, and has not counted since.
    ready: bool,
}

impl Button {
    /// It must be held this long.
    #[must_use]
    pub const fn new(hold: Duration) -> Self {
        Self { hold, contact: None, down: None, ready: false }
    }

    /// From now on: a button that is down already (held, or stuck) has to come up first.
    pub const fn arm(&mut self) {
        self.contact = None;
        self.down = None;
        self.ready = false;
    }

    /// Looks at the contact; true, once, when it has been held for long enough.
    pub fn sample(&mut self, now: Instant, pressed: bool) -> bool {
        let since = match self.contact {
            Some((before, since)) if before == pressed => since,
            Some(_) | None => now,
        };
        self.contact = Some((pressed, since));
        if now.since(since) < BOUNCE {
            return false;
        }
        if !pressed {
            self.down = None;
            self.ready = true;
            return false;
        }
        let down = *self.down.get_or_insert(since);
        if self.ready && now.since(down) >= self.hold {
            self.ready = false;
            return true;
        }
        false
    }
}

/// A pin failed. The others go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PanelError {
    /// The button cannot be read.
    Button,
    /// The light cannot be set.
    Light,
}

texts! {
    ERRORS = 'P': PanelError {
        1 Button => "the update button cannot be read",
        2 Light => "the update light cannot be set",
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] = &[&ERRORS];

impl core::error::Error for PanelError {}

/// A button, a light, or both.
#[derive(Debug)]
pub struct Panel<I, O> {
    button: Option<(I, Button)>,
    light: Option<O>,
    /// What the light shows; `None`: not set yet, or setting it failed.
    lit: Option<bool>,
    signal: Signal,
    /// The last update failed.
    failed: bool,
}

impl<I: InputPin, O: OutputPin> Panel<I, O> {
    /// The button's pin is high while it is pressed, and how long it must be held; the light is on while its pin is
    /// high.
    #[must_use]
    pub fn new(button: Option<(I, Duration)>, light: Option<O>) -> Self {
        let button = button.map(|(pin, hold)| (pin, Button::new(hold)));
        Self { button, light, lit: None, signal: Signal::Off, failed: false }
    }

    /// Looks at the machine, sets the light, looks at the button if an update waits: true when it lets it go on. Call
    /// it after each turn of the client and at [`Self::deadline`]; too early is harmless.
    ///
    /// # Errors
    /// [`PanelError`]; call it again all the same.
    pub fn poll(&mut self, now: Instant, machine: &Machine) -> Result<bool, PanelError> {
        let signal = self.look(machine);
        self.show(now, signal)
    }

    fn show(&mut self, now: Instant, signal: Signal) -> Result<bool, PanelError> {
        if let Some((_, button)) = &mut self.button
            && signal == Signal::Waiting
            && self.signal != Signal::Waiting
        {
            button.arm();
        }
        self.signal = signal;
        let lit = signal.is_lit(now);
        let mut light = Ok(());
        if let Some(pin) = &mut self.light
            && self.lit != Some(lit)
        {
            light = if lit { pin.set_high() } else { pin.set_low() }.map_err(|_| PanelError::Light);
            self.lit = light.is_ok().then_some(lit);
        }
        let mut approved = false;
        if let Some((pin, button)) = &mut self.button
            && signal == Signal::Waiting
        {
            let pressed = pin.is_high().map_err(|_| PanelError::Button)?;
            approved = button.sample(now, pressed);
        }
        // A press must not get lost over a light that is broken.
        if approved { Ok(true) } else { light.map(|()| false) }
    }

    /// When to poll next though nothing else happens.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let button = self.button.as_ref().filter(|_| self.signal == Signal::Waiting).map(|_| now + SAMPLE);
        let light = self.light.as_ref().and_then(|_| self.signal.changes(now));
        earliest(button, light)
    }

    fn look(&mut self, machine: &Machine) -> Signal {
        let is_idle =
            matches!(machine.place().0, State::Idle | State::Inventory | State::Poll | State::Offer);
        if machine.deployment().is_empty() || is_idle {
            return if self.failed { Signal::Failed } else { Signal::Off };
        }
        self.failed = !machine.verdict().is_good();
        if machine.held().is_some() { Signal::Waiting } else { Signal::Updating }
    }
}

#[cfg(test)]
#[path = "panel_tests.rs"]
mod tests;
