//! When a device has a connection.

use thimble_core::time::{Duration, Instant};

use super::chance::Chance;
use super::plan::Share;

/// A device without a connection has none for this long, on average; between half and one and a half of it.
const OFFLINE: Duration = Duration::from_secs(3600);

/// The connection of a device comes and goes. What is asked for goes forward in time only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    online: bool,
    /// When that changes.
    until: Instant,
}

impl Connection {
    /// At the beginning, `offline` of the devices have none.
    pub(super) fn new(offline: Share, chance: &mut Chance) -> Self {
        if offline == Share::NONE {
            return Self { online: true, until: Instant::from_millis(u64::MAX) };
        }
        let online = chance.below(Share::ALL.as_millionths().into()) >= offline.as_millionths().into();
        let length = length(online, offline, chance);
        // It is somewhere within it.
        let left = Duration::from_millis(chance.below(length.as_millis()));
        Self { online, until: Instant::ZERO + left }
    }

    /// Until when there is a connection; `None`: there is none now.
    pub(super) fn lasts(&mut self, now: Instant, offline: Share, chance: &mut Chance) -> Option<Instant> {
        while self.until <= now {
            self.online = !self.online;
            self.until = self.until + length(self.online, offline, chance);
        }
        self.online.then_some(self.until)
    }
}

/// How long it stays so.
fn length(online: bool, offline: Share, chance: &mut Chance) -> Duration {
    let all = u64::from(Share::ALL.as_millionths());
    let off = u64::from(offline.as_millionths()).max(1);
    let average = if online { OFFLINE.as_millis() * (all - off) / off } else { OFFLINE.as_millis() };
    chance.between(Duration::from_millis(average / 2), Duration::from_millis(average / 2 * 3 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_offline_as_the_plan_says() {
        let offline = Share::millionths(50_000).unwrap();
        let (mut gone, mut changes) = (0_u32, 0_u32);
        for device in 0..1000 {
            let mut chance = Chance::of(1, device);
            let mut connection = Connection::new(offline, &mut chance);
            let mut before = None;
            for minute in 0..48 * 60 {
                let now = Instant::ZERO + Duration::from_secs(minute * 60);
                let is_on = connection.lasts(now, offline, &mut chance).is_some();
                gone += u32::from(!is_on);
                changes += u32::from(before.is_some_and(|before| before != is_on));
                before = Some(is_on);
            }
        }
        let share = f64::from(gone) / f64::from(1000 * 48 * 60);
        assert!((0.045..0.055).contains(&share), "{share}");
        // Each time an hour: 48 h * 5 % = 2.4 times a device, there and back.
        let times = f64::from(changes) / 2000.0;
        assert!((2.0..2.8).contains(&times), "{times}");
    }

    #[test]
    fn all_are_online_where_nothing_is_said() {
        let mut chance = Chance::of(1, 1);
        let mut connection = Connection::new(Share::NONE, &mut chance);
        let late = Instant::from_millis(u64::MAX - 1);
        assert!(connection.lasts(late, Share::NONE, &mut chance).is_some());
    }
}
