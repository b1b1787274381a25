//! What is counted while a fleet runs.

use thimble_core::session::RequestKind;
use thimble_core::time::{Duration, Instant};

/// Kinds of requests, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Token,
    Next,
    Status,
    Log,
    Inventory,
    ControlMap,
    /// Of the artifact: not the server's of the device API.
    Artifact,
}

impl Kind {
    /// All of them, in the order of [`Bucket::requests`].
    pub const ALL: [Self; 7] =
        [Self::Token, Self::Next, Self::Status, Self::Log, Self::Inventory, Self::ControlMap, Self::Artifact];

    /// Its name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Next => "next",
            Self::Status => "status",
            Self::Log => "log",
            Self::Inventory => "inventory",
            Self::ControlMap => "control-map",
            Self::Artifact => "artifact",
        }
    }

    pub(super) const fn of(kind: RequestKind) -> Self {
        match kind {
            RequestKind::Token => Self::Token,
            RequestKind::NextV2 | RequestKind::NextV1 => Self::Next,
            RequestKind::Status(_) | RequestKind::StatusAlone(_) => Self::Status,
            RequestKind::Log => Self::Log,
            RequestKind::Inventory => Self::Inventory,
            RequestKind::ControlMap => Self::ControlMap,
        }
    }
}

/// How a device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Switched off.
    Off,
    /// Polls, and has no update.
    Idle,
    /// Downloads.
    Downloads,
    /// Is held back: by the server's control map, or by its policies.
    Waits,
    /// Installs, reports, commits.
    Installs,
    /// Reboots.
    Reboots,
    /// The server has heard `success`.
    Good,
    /// The server has heard `failure`.
    Failed,
}

impl Stage {
    /// All of them, in the order of [`Bucket::stages`].
    pub const ALL: [Self; 8] = [
        Self::Off,
        Self::Idle,
        Self::Downloads,
        Self::Waits,
        Self::Installs,
        Self::Reboots,
        Self::Good,
        Self::Failed,
    ];

    /// Its name for people and programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Idle => "idle",
            Self::Downloads => "downloads",
            Self::Waits => "waits",
            Self::Installs => "installs",
            Self::Reboots => "reboots",
            Self::Good => "done",
            Self::Failed => "failed",
        }
    }
}

/// Requests of one kind, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// That reached the server.
    pub requests: u64,
    /// Most of them in one second, from the beginning of a second to its end.
    pub peak: u64,
    /// The first second that had so many.
    pub peak_at: Duration,
    second: u64,
    in_second: u64,
}

impl Load {
    fn count(&mut self, now: Instant) -> u64 {
        let second = now.as_millis() / 1000;
        if second != self.second {
            (self.second, self.in_second) = (second, 0);
        }
        self.in_second += 1;
        self.requests += 1;
        if self.in_second > self.peak {
            (self.peak, self.peak_at) = (self.in_second, Duration::from_secs(second));
        }
        self.in_second
    }
}

/// A piece of the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Requests that reached a server in it, by kind.
    pub requests: [u64; Kind::ALL.len()],
    /// Most requests of the device API in one second of it.
    pub peak: u64,
    /// Of them, those that were refused because there were too many.
    pub refused: u64,
    /// How the devices stood at its end.
    pub stages: [u32; Stage::ALL.len()],
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Turns of devices: what the time that a run takes depends on.
    pub turns: u64,
    /// By kind.
    pub loads: [Load; Kind::ALL.len()],
    /// All requests of the device API: without those for the artifact.
    pub all: Load,
    /// Of them, those that were refused because there were too many.
    pub refused: u64,
    /// Requests that did not reach a server, because the device had no connection.
    pub lost: u64,
    /// Bytes of artifacts that came.
    pub bytes: u64,
    /// Devices that were offered the update.
    pub offered: u32,
    /// Devices that were held back.
    pub waited: u32,
    /// When the server heard of each success, in order.
    pub good: Vec<Duration>,
    /// When the server heard of each failure, in order.
    pub failed: Vec<Duration>,
    /// How long a bucket is.
    pub width: Duration,
    /// The time in buckets; the last one may be shorter.
    pub buckets: Vec<Bucket>,
    /// How the devices stand.
    pub stages: [u32; Stage::ALL.len()],
    bucket: Bucket,
}

/// As many buckets as a plot has room for.
const BUCKETS: u64 = 1440;

impl Figures {
    pub(super) fn new(devices: u32, time: Duration) -> Self {
        let width = (time.as_secs() / BUCKETS).max(1);
        // Whole minutes read better.
        let width = if width > 60 { width.next_multiple_of(60) } else { width };
        let mut stages = [0; Stage::ALL.len()];
        stages[Stage::Off as usize] = devices;
        Self {
            turns: 0,
            loads: [Load::default(); Kind::ALL.len()],
            all: Load::default(),
            refused: 0,
            lost: 0,
            bytes: 0,
            offered: 0,
            waited: 0,
            good: Vec::new(),
            failed: Vec::new(),
            width: Duration::from_secs(width),
            buckets: Vec::new(),
            stages,
            bucket: Bucket::default(),
        }
    }

    /// Time has come so far: buckets that are over are closed. True: there was one.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let before = self.buckets.len();
        while now.as_millis() >= (self.buckets.len() as u64 + 1) * self.width.as_millis() {
            self.close();
        }
        self.buckets.len() > before
    }

    /// The time is over.
    pub(super) fn end(&mut self, time: Duration) {
        let whole = Instant::ZERO + time;
        self.pass(whole);
        if time.as_millis() > self.buckets.len() as u64 * self.width.as_millis() {
            self.close();
        }
    }

    fn close(&mut self) {
        let mut bucket = std::mem::take(&mut self.bucket);
        bucket.stages = self.stages;
        self.buckets.push(bucket);
    }

    /// A request came; how many of the device API have come in this second, this one included.
    pub(super) fn request(&mut self, now: Instant, kind: Kind) -> u64 {
        self.loads[kind as usize].count(now);
        self.bucket.requests[kind as usize] += 1;
        if kind == Kind::Artifact {
            return 0;
        }
        let in_second = self.all.count(now);
        self.bucket.peak = self.bucket.peak.max(in_second);
        in_second
    }

    pub(super) const fn refuse(&mut self) {
        self.refused += 1;
        self.bucket.refused += 1;
    }

    pub(super) fn moves(&mut self, from: Stage, to: Stage) {
        self.stages[from as usize] -= 1;
        self.stages[to as usize] += 1;
    }

    /// Requests of the device API in a second, on average.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn mean(&self, requests: u64, time: Duration) -> f64 {
        requests as f64 * 1000.0 / time.as_millis().max(1) as f64
    }
}
