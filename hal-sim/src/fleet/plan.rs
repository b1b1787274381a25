//! What is tried with a fleet.

use thimble_core::config::Config;
use thimble_core::deployment::Point;
use thimble_core::hal::Permit;
use thimble_core::time::Duration;

/// The most of everything that a [`Plan`] can say.
pub mod limits {
    use thimble_core::time::Duration;

    /// Devices: each takes the memory that [`super::super::bytes_per_device`] says.
    pub const DEVICES: u32 = 1_000_000;
    /// Virtual time.
    pub const TIME: Duration = Duration::from_secs(366 * 24 * 3600);
    /// Phases of one deployment.
    pub const PHASES: usize = 100;
    /// Time zones.
    pub const ZONES: usize = 100;
    /// Bytes of the artifact.
    pub const SIZE: u64 = 1 << 40;
    /// Requests in a second, and bytes in a second.
    pub const RATE: u64 = 1 << 40;
}

/// Bytes of an artifact before its payload, as they are counted here: an artifact is not shorter.
pub(super) const HEADER: u64 = 4096;

/// A share of something, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// None of it.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(1_000_000);

    /// So many millionths; `None`: more than all.
    #[must_use]
    pub fn millionths(number: u32) -> Option<Self> {
        (number <= Self::ALL.0).then_some(Self(number))
    }

    /// This share of `count`, rounded up: the smallest number that is at least this share.
    #[must_use]
    pub const fn of(self, count: u32) -> u32 {
        (self.0 as u64 * count as u64).div_ceil(1_000_000) as u32
    }

    /// In millionths.
    #[must_use]
    pub const fn as_millionths(self) -> u32 {
        self.0
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (whole, rest) = (self.0 / 10_000, self.0 % 10_000);
        if rest == 0 {
            return write!(f, "{whole}%");
        }
        write!(f, "{whole}.{}%", format!("{rest:04}").trim_end_matches('0'))
    }
}

/// When the devices are switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Each at some moment of its first poll interval.
    Spread,
    /// All within these few seconds, as at the end of a power cut.
    AllAtOnce,
}

/// A part of the fleet gets the update from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Of all devices, those of earlier phases included: as many as ask first.
    pub share: Share,
    /// From when on.
    pub at: Duration,
}

/// What a server says to a request that is one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Status 429, with `Retry-After` in seconds if there is one.
    TooMany(Option<u32>),
    /// Status 503.
    Unavailable,
}

/// The server's control map has devices wait before a step of the update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Before which.
    pub point: Point,
    /// Until then. From then on the map lets all pass.
    pub until: Duration,
}

/// What the policies of a device say before a point, where no control map decides: at which local time, in minutes since a
/// Monday began, and how long the update has waited there.
pub type Policy<'p> = &'p dyn Fn(Point, u32, Duration) -> Permit;

/// A fleet, its server and its network, and what happens.
///
/// What is simplified: a device has one server, which knows the second version of the request for a deployment, accepts
/// every device, and does not forget tokens. An inventory is sent when the installed artifact has changed since the last one.
/// There are no state scripts. Whatever takes no time here (finding out the identity, saving a record) takes none. The
/// artifact comes from elsewhere, at the speed of each device's own link, and counts for no capacity.
#[derive(Clone)]
pub struct Plan<'p> {
    /// How many devices: 1 to [`limits::DEVICES`].
    pub devices: u32,
    /// The settings of each.
    pub config: Config,
    /// Its policies. Asked only with `config.policies`.
    pub policy: Option<Policy<'p>>,
    /// Time zones, in minutes east of UTC; the devices are dealt out to them in turn.
    pub zones: Vec<i16>,
    /// When they are switched on.
    pub start: Start,
    /// How long it is looked at.
    pub time: Duration,
    /// What of the fleet gets the update when; both grow. Empty: none does.
    pub phases: Vec<Phase>,
    /// The server holds devices back.
    pub hold: Option<Hold>,
    /// Requests that the server answers in one second, and what it says to the others; `None`: all.
    pub capacity: Option<(u64, Overload)>,
    /// On so many devices `ArtifactInstall` fails, and the update is rolled back.
    pub fail: Share,
    /// So many devices have no connection, at any moment; each for an hour on average.
    pub offline: Share,
    /// Bytes of the artifact.
    pub size: u64,
    /// Bytes in a second that a device downloads.
    pub link: u64,
    /// From the request to its answer, on average.
    pub latency: Duration,
    /// `ArtifactInstall` takes so long.
    pub install: Duration,
    /// A reboot takes so long; `None`: the update needs none.
    pub reboot: Option<Duration>,
    /// Another seed is another fleet.
    pub seed: u64,
}

impl Default for Plan<'_> {
    /// A thousand devices with the client's own settings for a day. All get the update from the beginning.
    fn default() -> Self {
        Self {
            devices: 1000,
            config: Config::default(),
            policy: None,
            zones: vec![0],
            start: Start::Spread,
            time: Duration::from_secs(24 * 3600),
            phases: vec![Phase { share: Share::ALL, at: Duration::ZERO }],
            hold: None,
            capacity: None,
            fail: Share::NONE,
            offline: Share::NONE,
            size: 100_000_000,
            link: 1_000_000,
            latency: Duration::from_millis(200),
            install: Duration::from_secs(30),
            reboot: Some(Duration::from_secs(60)),
            seed: 1,
        }
    }
}

/// What is wrong with a [`Plan`]: a number that is too small or too large, or phases that do not grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fault {}

impl Plan<'_> {
    /// Whether all of it is within the limits.
    ///
    /// # Errors
    /// The first thing that is not.
    pub fn check(&self) -> Result<(), Fault> {
        let wrong = |text: String| Err(Fault(text));
        let within = |name: &str, number: u64, least: u64, most: u64| {
            let is_within = (least..=most).contains(&number);
            let text = || Fault(format!("{name}: {number} is not from {least} to {most}"));
            if is_within { Ok(()) } else { Err(text()) }
        };
        let most = limits::TIME.as_millis();
        within("devices", self.devices.into(), 1, limits::DEVICES.into())?;
        within("milliseconds of virtual time", self.time.as_millis(), 1, most)?;
        within("milliseconds of latency", self.latency.as_millis(), 1, 600_000)?;
        within("milliseconds of the install", self.install.as_millis(), 0, most)?;
        within("milliseconds of the reboot", self.reboot.map_or(0, Duration::as_millis), 0, most)?;
        within("bytes of the artifact", self.size, HEADER + 16, limits::SIZE)?;
        within("bytes a second of the link", self.link, 1, limits::RATE)?;
        within("phases", self.phases.len() as u64, 0, limits::PHASES as u64)?;
        within("time zones", self.zones.len() as u64, 1, limits::ZONES as u64)?;
        if let Some((capacity, _)) = self.capacity {
            within("requests a second of the server", capacity, 1, limits::RATE)?;
        }
        self.config.check().map_err(|error| Fault(error.to_string()))?;
        if let Some(zone) = self.zones.iter().find(|zone| zone.unsigned_abs() > 14 * 60) {
            return wrong(format!("a time zone of {zone} minutes: at most 14 hours are possible"));
        }
        if self.offline > Share(900_000) {
            return wrong(format!("{} of the devices offline: at most 90% are possible", self.offline));
        }
        for pair in self.phases.windows(2) {
            if let [first, second] = pair
                && (first.at >= second.at || first.share >= second.share)
            {
                let Phase { share, at } = second;
                return wrong(format!(
                    "the phase of {share} at {at} does not come later, with more devices, than the one before it: \
                     shares are of all devices, those of earlier phases included"
                ));
            }
        }
        Ok(())
    }

    /// When the deployment begins.
    #[must_use]
    pub fn begins(&self) -> Option<Duration> {
        self.phases.first().map(|phase| phase.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_counted_and_written() {
        for (millionths, of_1000, text) in [
            (0, 0, "0%"),
            (20_000, 20, "2%"),
            (500, 1, "0.05%"),
            (25_500, 26, "2.55%"),
            (25_400, 26, "2.54%"),
            (1, 1, "0.0001%"),
            (999_999, 1000, "99.9999%"),
            (1_000_000, 1000, "100%"),
        ] {
            let share = Share::millionths(millionths).unwrap();
            assert_eq!((share.of(1000), share.to_string().as_str()), (of_1000, text));
        }
        assert_eq!(Share::millionths(1_000_001), None);
        assert_eq!(Share::ALL.of(u32::MAX), u32::MAX);
    }

    #[test]
    fn every_number_has_its_limit() {
        let plan = Plan::default;
        let phase = |share, seconds| Phase { share: Share(share), at: Duration::from_secs(seconds) };
        assert_eq!(plan().check(), Ok(()));
        for (wrong, told) in [
            (Plan { devices: 0, ..plan() }, "devices: 0 is not from 1 to 1000000"),
            (Plan { time: Duration::MAX, ..plan() }, "milliseconds of virtual time: "),
            (Plan { latency: Duration::ZERO, ..plan() }, "milliseconds of latency: 0"),
            (Plan { size: 1, ..plan() }, "bytes of the artifact: 1"),
            (Plan { link: 0, ..plan() }, "bytes a second of the link: 0"),
            (Plan { install: Duration::MAX, ..plan() }, "milliseconds of the install: "),
            (Plan { reboot: Some(Duration::MAX), ..plan() }, "milliseconds of the reboot: "),
            (Plan { zones: vec![], ..plan() }, "time zones: 0"),
            (Plan { zones: vec![15 * 60], ..plan() }, "a time zone of 900 minutes"),
            (
                Plan { capacity: Some((0, Overload::Unavailable)), ..plan() },
                "requests a second of the server: 0",
            ),
            (Plan { offline: Share::ALL, ..plan() }, "100% of the devices offline"),
            (Plan { phases: vec![phase(5, 0), phase(5, 1)], ..plan() }, "the phase of 0.0005% at 1 s"),
            (Plan { phases: vec![phase(5, 1), phase(9, 1)], ..plan() }, "the phase of 0.0009% at 1 s"),
            (
                Plan {
                    config: Config { retry_poll_interval: Duration::ZERO, ..Config::default() },
                    ..plan()
                },
                "the setting `retry_poll_interval`",
            ),
        ] {
            let fault = wrong.check().unwrap_err().to_string();
            assert!(fault.starts_with(told), "{fault}");
        }
    }
}
