use thimble_core::http::exchange;
use thimble_core::time::Duration;

/// How long, and how much, at most (SERVER-70 to SERVER-73).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time to look up a name.
    pub lookup: Duration,
    /// Time to connect, for all addresses of a name together.
    pub connect: Duration,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Those of requests and their answers.
    pub http: exchange::Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lookup: Duration::from_secs(30),
            connect: Duration::from_secs(30),
            handshake: Duration::from_secs(30),
            http: exchange::Limits::default(),
        }
    }
}
