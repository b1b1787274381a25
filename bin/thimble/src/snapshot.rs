//! `snapshot dump`: the file system of the running device, as an image on standard output. `mender-artifact write
//! rootfs-image -f ssh://...` starts it by this name.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, stderr, stdout};
use std::os::fd::AsFd;
use std::path::Path;

use thimble_core::client::DownloadProgress;
use thimble_hal_linux::paths::Paths;
use thimble_hal_linux::snapshot::{Compression, Compressor, FreezeFault, Frozen, Reader, Source};

use crate::args::Invocation;
use crate::output::{Failure, SUCCESS};
use crate::progress::Meter;

pub(crate) fn run(invocation: &Invocation) -> Result<u8, Failure> {
    // Nothing is read or written but what is needed: whatever waits for the file system waits for us.
    let compression = compression(invocation.own("compression"))?;
    let path = Path::new(invocation.own("source").unwrap_or(OsStr::new("/")));
    if stdout().is_terminal() {
        return Err(Failure::new(
            "an image is no text for a terminal; write it to a file of another file system, such as '> /data/image', or into \
             a pipe",
        ));
    }
    let datastore = Paths::from_environment(invocation.globals.datastore.as_deref()).datastore().to_owned();
    let source = Source::find(
        path,
        &datastore,
        &[("standard output", &stdout().as_fd()), ("standard error", &stderr().as_fd())],
    )
    .map_err(Failure::new)?;
    let (device, length) = source.open().map_err(Failure::new)?;
    let mut reader = Reader::new(device);
    let out = stdout().as_fd().try_clone_to_owned().map_err(not_written)?;
    let mut out = Compressor::new(compression, File::from(out))
        .map_err(|error| Failure::new(format_args!("cannot compress: {error}")))?;
    let mut meter = (invocation.switch("quiet") != Some(true)).then(Meter::new);

    let in_words = |fault: FreezeFault| Failure::new(format_args!("{}: {fault}", path.display()));
    let frozen = match &source.place {
        Some(place) => Some(Frozen::begin(place).map_err(in_words)?),
        None => None,
    };
    let alive = || frozen.as_ref().map_or(Ok(()), Frozen::alive).map_err(in_words);
    let mut received = 0;
    loop {
        let bytes = reader
            .read()
            .map_err(|error| Failure::new(format_args!("{}: {error}", source.device.display())))?;
        if bytes.is_empty() {
            break;
        }
        out.write(bytes).map_err(not_written)?;
        alive()?;
        received += bytes.len() as u64;
        if let Some(meter) = &mut meter {
            meter.update(DownloadProgress { received, total: Some(length) });
        }
    }
    // All of it is read; who reads what is left may take the time they like.
    if let Some(frozen) = frozen {
        frozen.end().map_err(in_words)?;
    }
    if received != length {
        return Err(Failure::new(format_args!(
            "{} ended after {received} of {length} bytes",
            source.device.display()
        )));
    }
    out.finish().map_err(not_written)?;
    Ok(SUCCESS)
}

fn compression(word: Option<&OsStr>) -> Result<Compression, Failure> {
    let Some(word) = word else { return Ok(Compression::None) };
    Compression::ALL.into_iter().find(|kind| word == kind.name()).ok_or_else(|| {
        Failure::new(format_args!(
            "there is no compression \"{}\" for snapshots: none, gzip or zstd",
            word.display()
        ))
    })
}

fn not_written(error: std::io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::new("the reader of the snapshot ended before its end; the snapshot is not complete");
    }
    Failure::new(format_args!("cannot write the snapshot: {error}"))
}
