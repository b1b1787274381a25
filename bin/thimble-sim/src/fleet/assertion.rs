//! What a fleet must do, in words that are few and strict.

use std::fmt;

use thimble_core::time::Duration;
use thimble_hal_sim::fleet::{Figures, Plan, Share};

use super::values::{clock, share};
use crate::values;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    /// So many devices are done, so long after the deployment began.
    Done(Share, Duration),
    /// Fewer devices have failed.
    FailedBelow(Few),
    /// Fewer requests were refused.
    RefusedBelow(Few),
    /// Fewer requests in any second.
    PeakBelow(u64),
}

/// A share, or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Few {
    Share(Share),
    Number(u64),
}

/// An assertion as it was written, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Assertion {
    text: String,
    wanted: Wanted,
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Assertion {
    /// Reads one.
    ///
    /// # Errors
    /// It is none: what is possible.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let wanted = match words.as_slice() {
            ["done", part, "within", time] => {
                let part = if *part == "all" { Share::ALL } else { share(part)? };
                Wanted::Done(part, values::time(time)?)
            }
            ["failed", "<", number] => Wanted::FailedBelow(few(number)?),
            ["refused", "<", number] => Wanted::RefusedBelow(few(number)?),
            ["peak", "<", number] => {
                let rate = number.strip_suffix("/s").and_then(|number| number.parse().ok());
                Wanted::PeakBelow(rate.ok_or_else(|| format!("{number:?}: a number like 50/s is wanted"))?)
            }
            _ => {
                return Err(format!(
                    "{text:?}: one of these is wanted: \"done 95% within 2h\" (or \"done all within 2h\"), \"failed < 1%\", \
                     \"refused < 100\", \"peak < 50/s\""
                ));
            }
        };
        Ok(Self { text: words.join(" "), wanted })
    }

    /// What was found; `Err`: and it is not what is wanted.
    pub(super) fn check(&self, plan: &Plan<'_>, figures: &Figures) -> Result<String, String> {
        let (holds, found) = match self.wanted {
            Wanted::Done(part, time) => {
                let wanted = part.of(plan.devices) as usize;
                let begins = plan.begins().unwrap_or_default();
                let by = begins.plus(time);
                let done = figures.good.partition_point(|at| *at <= by);
                let found = match wanted.checked_sub(1).map(|last| figures.good.get(last)) {
                    None => "no device is wanted".to_owned(),
                    Some(Some(at)) => format!("{part} were done after {}", clock(at.minus(begins))),
                    Some(None) => {
                        let (good, end) = (figures.good.len(), clock(plan.time.minus(begins)));
                        format!(
                            "{good} of {} devices were done when the run ended, after {end}",
                            plan.devices
                        )
                    }
                };
                (done >= wanted, found)
            }
            Wanted::FailedBelow(few) => {
                let failed = figures.failed.len() as u64;
                (few.is_above(failed, plan.devices.into()), format!("{failed} of {} failed", plan.devices))
            }
            Wanted::RefusedBelow(few) => {
                let (refused, all) = (figures.refused, figures.all.requests);
                (few.is_above(refused, all), format!("{refused} of {all} requests were refused"))
            }
            Wanted::PeakBelow(rate) => {
                let (peak, at) = (figures.all.peak, figures.all.peak_at);
                (peak < rate, format!("{peak}/s, at {}", clock(at)))
            }
        };
        if holds { Ok(found) } else { Err(found) }
    }
}

impl Few {
    fn is_above(self, number: u64, all: u64) -> bool {
        match self {
            Self::Number(limit) => number < limit,
            Self::Share(limit) => {
                let of = |number: u64, share: u64| u128::from(number) * u128::from(share);
                of(number, 1_000_000) < of(all, limit.as_millionths().into())
            }
        }
    }
}

fn few(text: &str) -> Result<Few, String> {
    if text.ends_with('%') {
        return share(text).map(Few::Share);
    }
    text.parse().map(Few::Number).map_err(|_| format!("{text:?}: a number or a share like 1% is wanted"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use thimble_hal_sim::fleet::run;

    #[test]
    fn what_holds_is_told_apart_from_what_does_not() {
        let fail = Share::millionths(100_000).unwrap();
        let plan = Plan { devices: 100, fail, ..Plan::default() };
        let figures = run(&plan, &mut |_| {}).unwrap();
        for (text, holds, found) in [
            ("done 90% within 2h", true, "90% were done after 0:3"),
            ("done 90% within 1min", false, "90% were done after 0:3"),
            ("done all within 24h", false, "90 of 100 devices were done when the run ended, after 24:00:00"),
            ("done 0% within 0s", true, "no device is wanted"),
            ("failed < 10%", false, "10 of 100 failed"),
            ("failed < 10.01%", true, "10 of 100 failed"),
            ("failed  <  11", true, "10 of 100 failed"),
            ("refused < 1", true, "0 of "),
            ("refused < 0%", false, "0 of "),
            ("peak < 1/s", false, ""),
            ("peak < 100000/s", true, ""),
        ] {
            let checked = Assertion::read(text).unwrap().check(&plan, &figures);
            assert_eq!(checked.is_ok(), holds, "{text}: {checked:?}");
            assert!(checked.unwrap_or_else(|found| found).starts_with(found), "{text}");
        }
    }

    #[test]
    fn words_that_are_none_are_told_what_is_wanted() {
        for (text, told) in [
            ("", "\"\": one of these is wanted: \"done 95% within 2h\""),
            ("done in 2h", "\"done in 2h\": one of these"),
            ("done 95 within 2h", "\"95\": a share like 2%"),
            ("done 101% within 2h", "\"101%\": a share like 2%"),
            ("done 95% within soon", "\"soon\" is no time like"),
            ("failed < few", "\"few\": a number or a share"),
            ("failed <= 1%", "\"failed <= 1%\": one of these"),
            ("peak < 50", "\"50\": a number like 50/s"),
            ("peak < -1/s", "\"-1/s\": a number like 50/s"),
        ] {
            let error = Assertion::read(text).unwrap_err();
            assert!(error.starts_with(told), "{text}: {error}");
        }
    }
}
