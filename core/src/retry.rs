//! stub
use crate::{config::Config, time::Duration};
/// stub
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Backoff(u32);
impl Backoff {
    /// stub
    pub fn reports(_: &Config) -> Self {
        Self(0)
    }
    /// stub
    pub fn polls(_: &Config) -> Self {
        Self(0)
    }
    /// stub
    pub fn next(&mut self) -> Option<Duration> {
        if self.0 < 12 {
            self.0 = self.0.saturating_add(1);
            Some(Duration::from_secs(60))
        } else {
            None
        }
    }
    /// stub
    pub fn reset(&mut self) {
        self.0 = 0
    }
}
