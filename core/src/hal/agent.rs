use super::{ErrorType, Poll};
use crate::config::Tier;
use crate::time::Instant;

/// What the server gets to know of the device: which servers there are, who the device is, what it has, and what
/// happened. Only the daemon needs it.
pub trait Agent: ErrorType {
    /// The base URL of a server, in the order they are tried; `None` behind the last.
    fn server(&self, index: usize) -> Option<&str>;

    /// `TenantToken`; empty if there is none.
    fn tenant_token(&self) -> &str;

    /// `DeviceTier`, if it is configured.
    fn tier(&self) -> Option<Tier>;

    /// The client's version as the inventory shows it.
    fn version(&self) -> &str;

    /// Starts finding out who the device is.
    fn start_identity(&mut self, now: Instant) -> Result<(), Self::Error>;

    /// Ready with the whole `key=value` output, copied to the front of `out`; how many bytes. Ends by itself.
    fn poll_identity(&mut self, now: Instant, out: &mut [u8]) -> Poll<Result<usize, Self::Error>>;

    /// The public key: PEM (SubjectPublicKeyInfo) with LF line ends and a final one. A key is made, and durable
    /// before it is used, when none exists; never when one cannot be read.
    fn public_key(&mut self) -> Result<&str, Self::Error>;

    /// The signature of `body` in standard base64, in the front of `out`.
    fn sign<'o>(&mut self, body: &[u8], out: &'o mut [u8]) -> Result<&'o str, Self::Error>;

    /// Starts the inventory scripts. None is no error.
    fn start_inventory(&mut self, now: Instant) -> Result<(), Self::Error>;

    /// Ready when all have ended. Ends by itself: each has ten seconds.
    fn poll_inventory(&mut self, now: Instant) -> Poll<()>;

    /// The name of the inventory script of this number, of those that ended well, and what it printed; `None` behind
    /// the last.
    fn inventory(&self, index: usize) -> Option<(&str, &[u8])>;

    /// The body of the log upload, `{"messages":[...]}`, for this deployment; at most what the server takes. It is asked
    /// for again with every piece that is sent, and stays the same until [`Self::cancel`].
    fn deployment_log(&mut self, deployment: &str) -> Result<&[u8], Self::Error>;

    /// Ends what runs.
    fn cancel(&mut self);

    /// When a poll should be made though nothing woke the platform.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}
