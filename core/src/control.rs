//! Update control maps: who may hold an update up, at which of three points, and for how long.
//!
//! A [`Map`] comes from a program on the device or from the server and says for each [`Point`] whether an update
//! goes on, waits or fails there. The [`Pool`] holds the maps, answers the question at a point
//! ([`Pool::query`]) and forgets a map's word when the program behind it no longer renews it.

mod map_json;
mod pool;

pub use map_json::{LoadError, MapError};
pub use pool::{Answer, Decision, Full, Holder, Lifetime, Order, OrderError, Pool, PoolRecord};

use core::fmt::Write;

use crate::deployment::Point;
use crate::digits;
#[cfg(feature = "text")]
use crate::message::Catalogue;
use crate::message::{self, Coded};

/// A set of [`Point`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Points(u8);

impl Points {
    /// The points of the slice.
    #[must_use]
    pub fn of(points: &[Point]) -> Self {
        Self(points.iter().fold(0, |set, &point| set | 1 << point as u8))
    }

    /// Whether `point` is in it.
    #[must_use]
    pub const fn contains(self, point: Point) -> bool {
        self.0 & 1 << point as u8 != 0
    }

    /// Its points, in the order an update meets them.
    pub fn iter(self) -> impl Iterator<Item = Point> {
        Point::ALL.into_iter().filter(move |&point| self.contains(point))
    }
}

/// What a map says about a point. The order is that of weight among maps of one priority: the greatest wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Vote {
    /// No objection; lower priorities are asked.
    #[default]
    Continue,
    /// Go on, whatever lower priorities say.
    ForceContinue,
    /// Wait until this map changes or expires.
    Pause,
    /// The update fails.
    Fail,
}

impl Vote {
    const ALL: [Self; 4] = [Self::Continue, Self::ForceContinue, Self::Pause, Self::Fail];

    /// The word in the map.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::ForceContinue => "force_continue",
            Self::Pause => "pause",
            Self::Fail => "fail",
        }
    }
}

/// What a map says about one point, in full: absent keys have become their defaults. The default rule is the
/// same as none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// The word that counts now.
    pub action: Vote,
    /// The word that counts once the map has expired; never `Pause`.
    pub on_map_expire: Vote,
    /// What `action` becomes when it has been asked for.
    pub on_action_executed: Vote,
}

impl Rule {
    /// A rule with the defaults of what is absent.
    #[must_use]
    pub fn new(action: Option<Vote>, on_map_expire: Option<Vote>, on_action_executed: Option<Vote>) -> Self {
        let action = action.unwrap_or_default();
        let if_expired = if action == Vote::Pause { Vote::Fail } else { action };
        Self {
            action,
            on_map_expire: on_map_expire.unwrap_or(if_expired),
            on_action_executed: on_action_executed.unwrap_or(action),
        }
    }
}

/// A rule for each point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the points")]
pub struct Rules {
    pub install: Rule,
    pub reboot: Rule,
    pub commit: Rule,
}

impl Rules {
    /// The rule for `point`.
    #[must_use]
    pub const fn at(&self, point: Point) -> &Rule {
        match point {
            Point::Install => &self.install,
            Point::Reboot => &self.reboot,
            Point::Commit => &self.commit,
        }
    }

    /// The rule for `point`, to be changed.
    pub const fn at_mut(&mut self, point: Point) -> &mut Rule {
        match point {
            Point::Install => &mut self.install,
            Point::Reboot => &mut self.reboot,
            Point::Commit => &mut self.commit,
        }
    }
}

/// One map. Its identity is the pair of id and priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Map {
    /// The UUID as a number; the original spelling is not kept.
    pub id: u128,
    /// −10 to 10, checked when it was read; higher ones are asked first.
    pub priority: i8,
    /// What it says.
    pub rules: Rules,
}

impl Map {
    /// True when it says nothing about any point. From a program on the device this deletes the map.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules == Rules::default()
    }
}

/// The number of a UUID written as 36 characters, in any case; `None` for anything else. The id of a deployment
/// need not be one: then no map from the server can match it.
#[must_use]
pub fn parse_id(text: &str) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    text.bytes().enumerate().try_fold(0_u128, |id, (at, byte)| {
        if matches!(at, 8 | 13 | 18 | 23) {
            return (byte == b'-').then_some(id);
        }
        let digit = char::from(byte).to_digit(16)?;
        Some(id << 4 | u128::from(digit))
    })
}

/// Prints the number of a UUID in its usual form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub u128);

impl Coded for Id {
    fn content(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        message::quote(f, self)
    }
}

impl core::fmt::Display for Id {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        (0..).zip(self.0.to_be_bytes()).try_for_each(|(at, byte)| {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_char('-')?;
            }
            digits::hex(f, byte)
        })
    }
}

/// All texts here.
#[cfg(feature = "text")]
pub(crate) const TEXTS: &[&Catalogue] =
    &[&map_json::MAP_ERRORS, &map_json::LOAD_ERRORS, &pool::ORDER_ERRORS, &pool::LIFETIMES, &pool::FULL];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{Text, TextExt};

    #[test]
    fn ids_are_printed_as_they_are_read() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let printed = Text::<36>::format(&Id(id)).unwrap();
            assert_eq!(parse_id(printed.as_str()), Some(id), "{printed}");
        }
    }

    #[test]
    fn ids_have_the_shape_of_a_uuid_in_any_case() {
        let id = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        assert_eq!(parse_id("01234567-89ab-cdef-0123-456789abcdef"), Some(id));
        assert_eq!(parse_id("01234567-89AB-CDEF-0123-456789aBcDeF"), Some(id));
        for bad in [
            "",
            "01234567-89ab-cdef-0123-456789abcde",
            "01234567-89ab-cdef-0123-456789abcdef0",
            "0123456-789ab-cdef-0123-456789abcdef",
            "01234567_89ab-cdef-0123-456789abcdef",
            "01234567-89ab-cdef-0123-456789abcdeg",
            "0123456789abcdef0123456789abcdef0123",
            "+1234567-89ab-cdef-0123-456789abcdef",
            "01234567-89ab-cdef-0123-456789abcd\u{e9}",
        ] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }

    #[test]
    fn absent_keys_follow_the_action_and_an_expired_pause_fails() {
        use Vote::{Continue, Fail, ForceContinue, Pause};
        for (action, on_map_expire, on_action_executed) in [
            (None, Continue, Continue),
            (Some(Continue), Continue, Continue),
            (Some(ForceContinue), ForceContinue, ForceContinue),
            (Some(Pause), Fail, Pause),
            (Some(Fail), Fail, Fail),
        ] {
            let rule = Rule { action: action.unwrap_or(Continue), on_map_expire, on_action_executed };
            assert_eq!(Rule::new(action, None, None), rule);
        }
        let all = Rule::new(Some(Pause), Some(Continue), Some(ForceContinue));
        assert_eq!((all.on_map_expire, all.on_action_executed), (Continue, ForceContinue));
    }
}
