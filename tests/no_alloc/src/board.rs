//! The smallest board: it updates itself over byte streams, and has no scripts, no inventory, no log, no policies and no keys
//! to verify artifacts with. What is here is all that a porter has to write. There is nothing behind it: values come through
//! `black_box`, so that no branch of core can be left out as dead.

use core::hint::black_box;
use core::task::Poll;

use thimble_core::artifact::Gzip;
use thimble_core::deployment::Call;
use thimble_core::embedded_io::ErrorKind;
use thimble_core::hal::{
    Change, Clock, DeviceKey, ErrorType, Fixed, Hal, Key, NoScripts, PayloadSink, Platform, Storage, System,
    UpdateModule,
};
use thimble_core::http::exchange::Limits;
use thimble_core::http::url::Authority;
use thimble_core::network::{Connect, Http};
use thimble_core::time::Instant;

use crate::stream::Stream;

/// What the board has: flash, a byte stream, a clock, a key, a reset.
#[derive(Default)]
pub struct Board {
    stream: Option<Stream>,
}

/// The longest URL and head that this board takes, together.
type Heads = [u8; 4096];

/// The board's platform.
pub fn hal() -> Hal<Board> {
    Hal {
        storage: Board::default(),
        scripts: NoScripts,
        module: Board::default(),
        network: Http::new(Board::default(), [0; 4096], Limits::default()),
        system: Board::default(),
        identity: Fixed("serial=4711"),
        device_key: Board::default(),
        inventory: (),
        deployment_log: (),
        policy: (),
        clock: Board::default(),
        log: (),
        verifier: (),
        decompress: Gzip::default(),
    }
}

impl Platform for Board {
    type Storage = Self;
    type Scripts = NoScripts;
    type Module = Self;
    type Network = Http<Self, Heads>;
    type System = Self;
    type Identity = Fixed<'static>;
    type DeviceKey = Self;
    type Inventory = ();
    type DeploymentLog = ();
    type Policy = ();
    type Clock = Self;
    type Log = ();
    type Verifier = ();
    type Decompress = Gzip;
}

impl ErrorType for Board {
    type Error = ErrorKind;
}

impl Storage for Board {
    fn read<'b>(&mut self, _: Key, _: &'b mut [u8]) -> Result<Option<&'b [u8]>, ErrorKind> {
        Ok(black_box(None))
    }

    fn commit(&mut self, batch: &[Change<'_>]) -> Result<(), ErrorKind> {
        black_box(batch);
        Ok(())
    }
}

impl PayloadSink for Board {
    fn poll_write(&mut self, _: Instant, bytes: &[u8]) -> Poll<Result<usize, ErrorKind>> {
        black_box(Poll::Ready(Ok(bytes.len())))
    }
}

impl UpdateModule for Board {
    fn select(&mut self, payload_type: &str) -> Result<(), ErrorKind> {
        black_box(payload_type);
        Ok(())
    }

    fn start(&mut self, _: Instant, call: Call) -> Result<(), ErrorKind> {
        black_box(call);
        Ok(())
    }
}

impl Connect for Board {
    type Stream = Stream;
    type Error = ErrorKind;

    fn open(&mut self, _: Instant, server: &Authority<'_>, is_https: bool) -> Result<(), ErrorKind> {
        black_box((server.port, is_https));
        self.stream = Some(Stream::default());
        Ok(())
    }

    fn poll(&mut self, _: Instant) -> Poll<Result<(), ErrorKind>> {
        black_box(Poll::Ready(Ok(())))
    }

    fn stream(&mut self) -> Option<&mut Stream> {
        self.stream.as_mut()
    }

    fn close(&mut self) {
        self.stream = None;
    }
}

impl System for Board {
    fn device_type<'b>(&mut self, _: &'b mut [u8]) -> Result<&'b str, ErrorKind> {
        Ok(black_box("board"))
    }

    fn start_reboot(&mut self, _: Instant) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl DeviceKey for Board {
    fn poll_public_key(&mut self, _: Instant) -> Poll<Result<&str, ErrorKind>> {
        Poll::Ready(Ok(black_box("")))
    }

    fn poll_sign<'o>(
        &mut self,
        _: Instant,
        body: &[u8],
        out: &'o mut [u8],
    ) -> Poll<Result<&'o str, ErrorKind>> {
        black_box((body, out));
        Poll::Ready(Ok(black_box("")))
    }
}

impl Clock for Board {
    fn now(&mut self) -> Instant {
        black_box(Instant::ZERO)
    }
}
