use super::ErrorType;

/// What the server gets to read of a deployment that failed (SERVER-35). Only the daemon sends it.
///
/// `()` is that of a device which keeps no log: it says so in one line, since the server refuses a log without any.
pub trait DeploymentLog: ErrorType {
    /// Makes the body of the upload for this deployment, `{"messages":[...]}`, ready to be read, and says how many bytes it
    /// has: at most what the server takes. It stays the same until [`Self::forget`].
    fn open(&mut self, deployment: &str) -> Result<usize, Self::Error>;

    /// The body from byte `at` on, or only the next of its bytes: as many as are at hand at once. Empty: it ends here.
    fn read(&mut self, at: usize) -> Result<&[u8], Self::Error>;

    /// The body has been sent, or is not wanted any more: its memory can be given back.
    fn forget(&mut self) {}
}

/// All that is to be read of a device without a log.
const NO_LOG: &[u8] =
    br#"{"messages":[{"timestamp":"1970-01-01T00:00:00Z","level":"info","message":"this device keeps no log"}]}"#;

impl DeploymentLog for () {
    fn open(&mut self, _: &str) -> Result<usize, Self::Error> {
        Ok(NO_LOG.len())
    }

    fn read(&mut self, at: usize) -> Result<&[u8], Self::Error> {
        Ok(NO_LOG.get(at..).unwrap_or_default())
    }
}

impl<T: DeploymentLog + ?Sized> DeploymentLog for &mut T {
    fn open(&mut self, deployment: &str) -> Result<usize, Self::Error> {
        T::open(self, deployment)
    }

    fn read(&mut self, at: usize) -> Result<&[u8], Self::Error> {
        T::read(self, at)
    }

    fn forget(&mut self) {
        T::forget(self);
    }
}
