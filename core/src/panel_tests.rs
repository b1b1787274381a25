use super::*;
use core::convert::Infallible;
use std::cell::Cell;
use std::rc::Rc;
use std::vec::Vec;

use embedded_hal::digital::{ErrorKind, ErrorType};

fn at(millis: u64) -> Instant {
    Instant::from_millis(1_000_000 + millis)
}

const HOLD: Duration = Duration::from_millis(1000);

/// Samples every 10 ms what `contact` says then; at which times the button counted.
fn counts(button: &mut Button, length: u64, contact: impl Fn(u64) -> bool) -> Vec<u64> {
    (0..length).step_by(10).filter(|&millis| button.sample(at(millis), contact(millis))).collect()
}

#[test]
fn a_press_counts_once_when_it_was_held() {
    let mut button = Button::new(HOLD);
    assert_eq!(counts(&mut button, 5000, |t| (100..4000).contains(&t)), [1100]);
    assert_eq!(counts(&mut Button::new(HOLD), 5000, |t| (100..1090).contains(&t)), [0; 0], "too short");
    let twice = |t: u64| (100..1500).contains(&t) || (2000..3500).contains(&t);
    assert_eq!(counts(&mut Button::new(HOLD), 5000, twice), [1100, 3000]);
}

#[test]
fn a_bouncing_contact_is_one_press() {
    // It bounces for 20 ms at both ends, and once in between.
    let bounces = |t: u64| match t {
        100..120 | 1500..1520 => t.is_multiple_of(20),
        800..810 => false,
        120..1500 => true,
        _ => false,
    };
    let counted = counts(&mut Button::new(HOLD), 3000, bounces);
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert!((1100..1200).contains(&counted[0]), "{counted:?}");
    // Noise alone is no press.
    assert_eq!(counts(&mut Button::new(HOLD), 5000, |t| t.is_multiple_of(20)), [0; 0]);
}

#[test]
fn a_button_that_is_down_already_has_to_come_up_first() {
    let mut button = Button::new(HOLD);
    assert_eq!(counts(&mut button, 10_000, |_| true), [0; 0], "stuck");
    assert_eq!(counts(&mut button, 5000, |t| !(500..600).contains(&t)), [1600]);
    button.arm();
    assert_eq!(counts(&mut button, 3000, |_| true), [0; 0], "still down from the last time");
}

#[test]
fn the_light_blinks_by_the_clock() {
    for (signal, half) in [(Signal::Waiting, 500), (Signal::Failed, 100)] {
        let mut now = at(0);
        let first = signal.is_lit(now);
        for turn in 1..10 {
            let next = signal.changes(now).unwrap();
            assert!(next > now && next.since(now) <= Duration::from_millis(half));
            assert_eq!(signal.is_lit(next), first ^ (turn % 2 == 1), "{signal:?} {turn}");
            now = next;
        }
    }
    for signal in [Signal::Off, Signal::Updating] {
        assert_eq!(signal.changes(at(7)), None);
        assert_eq!(signal.is_lit(at(7)), signal == Signal::Updating);
    }
}

/// A pin on the bench: its level, and whether it is broken.
#[derive(Clone, Default)]
struct Pin {
    high: Rc<Cell<bool>>,
    broken: Rc<Cell<bool>>,
    sets: Rc<Cell<u32>>,
}

#[derive(Debug)]
struct Broken;

impl embedded_hal::digital::Error for Broken {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl ErrorType for Pin {
    type Error = Broken;
}

impl Pin {
    fn check(&self) -> Result<(), Broken> {
        if self.broken.get() { Err(Broken) } else { Ok(()) }
    }
}

impl InputPin for Pin {
    fn is_high(&mut self) -> Result<bool, Broken> {
        self.check().map(|()| self.high.get())
    }

    fn is_low(&mut self) -> Result<bool, Broken> {
        self.is_high().map(|high| !high)
    }
}

impl OutputPin for Pin {
    fn set_high(&mut self) -> Result<(), Broken> {
        self.check()?;
        self.sets.set(self.sets.get() + 1);
        self.high.set(true);
        Ok(())
    }

    fn set_low(&mut self) -> Result<(), Broken> {
        self.check()?;
        self.sets.set(self.sets.get() + 1);
        self.high.set(false);
        Ok(())
    }
}

#[test]
fn the_button_counts_only_while_an_update_waits() {
    let (key, lamp) = (Pin::default(), Pin::default());
    let mut panel = Panel::new(Some((key.clone(), HOLD)), Some(lamp.clone()));
    let mut now = at(0);
    let mut run = |signal, millis: u64, pressed| {
        key.high.set(pressed);
        let end = now + Duration::from_millis(millis);
        let mut approved = 0;
        while now < end {
            approved += u32::from(panel.show(now, signal).unwrap());
            now = panel.deadline(now).unwrap_or(end).min(end);
        }
        approved
    };
    assert_eq!(run(Signal::Updating, 5000, true), 0);
    assert_eq!(run(Signal::Waiting, 5000, true), 0, "held since before");
    assert_eq!(run(Signal::Waiting, 200, false), 0);
    assert_eq!(run(Signal::Waiting, 900, true), 0);
    assert_eq!(run(Signal::Waiting, 200, true), 1);
    assert_eq!(run(Signal::Updating, 500, false), 0);
    assert!(lamp.high.get());
    let sets = lamp.sets.get();
    assert_eq!(run(Signal::Updating, 60_000, false), 0);
    assert_eq!(lamp.sets.get(), sets, "set when it changes, not each time");
    assert_eq!(run(Signal::Off, 10, false), 0);
    assert!(!lamp.high.get());
    assert_eq!(panel.deadline(at(0)), None, "an idle client is not woken for its panel");
}

#[test]
fn a_broken_pin_is_said_and_the_other_works_on() {
    let (key, lamp) = (Pin::default(), Pin::default());
    let mut panel = Panel::new(Some((key.clone(), HOLD)), Some(lamp.clone()));
    lamp.broken.set(true);
    assert_eq!(panel.show(at(0), Signal::Waiting), Err(PanelError::Light));
    assert_eq!(panel.show(at(100), Signal::Waiting), Err(PanelError::Light));
    key.high.set(true);
    let approved = (2..30).any(|turn| panel.show(at(turn * 100), Signal::Waiting) == Ok(true));
    assert!(approved);
    key.broken.set(true);
    lamp.broken.set(false);
    assert_eq!(panel.show(at(4000), Signal::Waiting), Err(PanelError::Button));
    assert_eq!(panel.show(at(4600), Signal::Updating), Ok(false));
    assert!(lamp.high.get());
}

#[test]
fn a_panel_may_have_one_of_the_two() {
    let mut only_light: Panel<Nothing, Pin> = Panel::new(None, Some(Pin::default()));
    assert_eq!(only_light.show(at(0), Signal::Waiting), Ok(false));
    let mut only_button: Panel<Pin, Nothing> = Panel::new(Some((Pin::default(), HOLD)), None);
    assert_eq!(only_button.show(at(0), Signal::Waiting), Ok(false));
    assert_eq!(only_button.deadline(at(0)), Some(at(50)));
    assert_eq!(only_light.deadline(at(0)), Some(at(500)));
}

/// No pin at all.
struct Nothing;

impl ErrorType for Nothing {
    type Error = Infallible;
}

impl InputPin for Nothing {
    fn is_high(&mut self) -> Result<bool, Infallible> {
        Ok(false)
    }

    fn is_low(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }
}

impl OutputPin for Nothing {
    fn set_high(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn set_low(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
