//! Values of the options of `fleet`, and how its times are written.

use thimble_core::deployment::Point;
use thimble_core::time::Duration;
use thimble_hal_linux::policy::{Minute, Points, Window};
use thimble_hal_sim::fleet::{Hold, Overload, Phase, Share, limits};
use thimble_hal_sim::near::meant;

use crate::{timeline, values};

/// Hours, minutes and seconds.
pub(super) fn clock(time: Duration) -> String {
    timeline::clock(time.as_secs())
}

pub(super) fn devices(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=limits::DEVICES).contains(number));
    number.ok_or_else(|| format!("{text:?}: a number from 1 to {} is wanted", limits::DEVICES))
}

/// A share, as in `2%` or `0.5%`.
pub(super) fn share(text: &str) -> Result<Share, String> {
    let wrong = || format!("{text:?}: a share like 2% or 0.5% is wanted, at most 100%");
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, rest) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(rest) || rest.len() > 4 {
        return Err(wrong());
    }
    let whole: u32 = whole.parse().map_err(|_| wrong())?;
    let rest: u32 = format!("{rest:0<4}").parse().map_err(|_| wrong())?;
    let millionths = whole.checked_mul(10_000).and_then(|whole| whole.checked_add(rest));
    millionths.and_then(Share::millionths).ok_or_else(wrong)
}

/// `10%@4h`.
pub(super) fn phase(text: &str) -> Result<Phase, String> {
    let (part, time) =
        text.split_once('@').ok_or_else(|| format!("{text:?}: SHARE@TIME like 10%@4h is wanted"))?;
    Ok(Phase { share: share(part)?, at: values::time(time)? })
}

/// `install@3h`.
pub(super) fn hold(text: &str) -> Result<Hold, String> {
    let wrong = || format!("{text:?}: POINT@TIME like install@3h is wanted");
    let (place, time) = text.split_once('@').ok_or_else(wrong)?;
    Ok(Hold { point: point(place)?, until: values::time(time)? })
}

fn point(word: &str) -> Result<Point, String> {
    let found = Point::ALL.into_iter().find(|point| point.word() == word);
    found.ok_or_else(|| {
        let hint = meant(word, Point::ALL.map(Point::word));
        format!("{word:?}: install, reboot or commit is wanted{hint}")
    })
}

/// `02:00-05:00`, `22:00-04:00@reboot`.
pub(super) fn window(text: &str) -> Result<Window, String> {
    let wrong = || format!("{text:?}: FROM-TO like 02:00-05:00 is wanted, or 02:00-05:00@reboot");
    let (times, place) = text.split_once('@').unwrap_or((text, Point::Install.word()));
    let (from, to) = times.split_once('-').ok_or_else(wrong)?;
    let minute = |text| Minute::parse(text).ok_or_else(wrong);
    Ok(Window::daily(Points::default().with(point(place)?), minute(from)?, minute(to)?))
}

/// `-8`, `0`, `+5:30`: minutes east of UTC.
pub(super) fn zone(text: &str) -> Result<i16, String> {
    let wrong = || format!("{text:?}: hours from UTC like -8, 0 or +5:30 are wanted");
    let (sign, rest) = match text.as_bytes() {
        [b'-', ..] => (-1, &text[1..]),
        [b'+', ..] => (1, &text[1..]),
        _ => (1, text),
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
    let number = |text: &str, most: i16| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i16>().ok().filter(|number| is_number && *number <= most).ok_or_else(wrong)
    };
    Ok(sign * (number(hours, 14)? * 60 + number(minutes, 59)?))
}

/// What the server says to one request too many: `429`, `429:60` or `503`.
pub(super) fn answer(text: &str) -> Result<Overload, String> {
    match text.split_once(':') {
        None if text == "429" => Ok(Overload::TooMany(None)),
        None if text == "503" => Ok(Overload::Unavailable),
        Some(("429", seconds)) if seconds.parse::<u32>().is_ok() => {
            Ok(Overload::TooMany(seconds.parse().ok()))
        }
        Some(_) | None => Err(format!("{text:?}: 429, 429:SECONDS or 503 is wanted")),
    }
}

/// A number with one of these endings, in units.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// `100MB`.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("", 1), ("B", 1), ("kB", 1000), ("MB", 1_000_000), ("GB", 1_000_000_000)];
    with_unit(text, &units)
        .ok_or_else(|| format!("{text:?}: a size like 100MB is wanted, in B, kB, MB or GB"))
}

/// `8Mbit/s`, in bytes a second.
pub(super) fn rate(text: &str) -> Result<u64, String> {
    let bits = [("bit/s", 1), ("kbit/s", 1000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];
    let bytes = [("B/s", 8), ("kB/s", 8000), ("MB/s", 8_000_000), ("GB/s", 8_000_000_000)];
    let rate = with_unit(text, &bits).or_else(|| with_unit(text, &bytes)).map(|bits| bits / 8);
    rate.ok_or_else(|| format!("{text:?}: a rate like 8Mbit/s or 1MB/s is wanted"))
}
