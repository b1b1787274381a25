//! Decompression of artifact members: gzip by core's own decoder, xz and zstd by liblzma and libzstd, linked
//! statically.

use liblzma::stream::{Action, Error as XzError, Status, Stream as XzStream};
use thimble_core::artifact::Gzip;
use thimble_core::hal::{Compression, Decompress, DecompressError, Decompressed};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

/// What xz may take, in bytes: Mender's tools write with a dictionary of 64 MiB (A20).
const XZ_MEMORY: u64 = 96 * 1024 * 1024;

/// Largest window of zstd, as a power of two: the 8 MiB that every decoder has to offer.
const ZSTD_WINDOW_LOG: u32 = 23;

/// `ZSTD_error_frameParameter_windowTooLarge`: part of the library's stable interface.
const ZSTD_WINDOW_TOO_LARGE: usize = 16;

/// Decompresses one stream at a time. The decoder of one kind is kept for the next stream of it, until [`Decompress::end`].
#[derive(Default)]
pub struct Decompressor {
    stream: Stream,
    /// The stream at hand is complete.
    done: bool,
}

#[derive(Default)]
enum Stream {
    #[default]
    None,
    Gzip(Box<Gzip>),
    Xz(XzStream),
    Zstd(DCtx<'static>),
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.stream {
            Stream::None => "Decompressor(idle)",
            Stream::Gzip(_) => "Decompressor(gzip)",
            Stream::Xz(_) => "Decompressor(xz)",
            Stream::Zstd(_) => "Decompressor(zstd)",
        })
    }
}

impl Decompress for Decompressor {
    /// Of gzip; the others bring their own.
    fn window(&self) -> usize {
        32 * 1024
    }

    fn begin(&mut self, kind: Compression) -> Result<(), DecompressError> {
        self.stream = match (kind, std::mem::take(&mut self.stream)) {
            (Compression::None, _) => return Err(DecompressError::Unsupported),
            (Compression::Gzip, Stream::Gzip(mut gzip)) => {
                gzip.begin(kind)?;
                Stream::Gzip(gzip)
            }
            (Compression::Gzip, Stream::None | Stream::Xz(_) | Stream::Zstd(_)) => {
                let mut gzip = Box::<Gzip>::default();
                gzip.begin(kind)?;
                Stream::Gzip(gzip)
            }
            // A check of a kind that this library cannot verify is treated like a wrong one.
            (Compression::Xz, _) => {
                let flags = liblzma::stream::TELL_UNSUPPORTED_CHECK;
                Stream::Xz(XzStream::new_stream_decoder(XZ_MEMORY, flags).map_err(xz_error)?)
            }
            // A context begins the next frame by itself.
            (Compression::Zstd, Stream::Zstd(context)) if self.done => Stream::Zstd(context),
            (Compression::Zstd, _) => {
                let mut context = DCtx::try_create().ok_or(DecompressError::Memory)?;
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(zstd_error)?;
                Stream::Zstd(context)
            }
        };
        self.done = false;
        Ok(())
    }

    fn end(&mut self) {
        self.stream = Stream::None;
    }

    fn decompress(
        &mut self,
        input: &[u8],
        window: &mut [u8],
        at: usize,
    ) -> Result<Decompressed, DecompressError> {
        if self.done {
            return Err(DecompressError::Unsupported);
        }
        let result = match &mut self.stream {
            Stream::None => Err(DecompressError::Unsupported),
            // gzip uses the lent window as its dictionary; xz and zstd allocate theirs.
            Stream::Gzip(gzip) => gzip.decompress(input, window, at),
            Stream::Xz(stream) => decompress_xz(stream, input, window.get_mut(at..).unwrap_or_default()),
            Stream::Zstd(context) => {
                decompress_zstd(context, input, window.get_mut(at..).unwrap_or_default())
            }
        };
        match &result {
            Ok(progress) => self.done = progress.done,
            Err(_) => self.stream = Stream::None,
        }
        result
    }
}

fn decompress_xz(
    stream: &mut XzStream,
    input: &[u8],
    output: &mut [u8],
) -> Result<Decompressed, DecompressError> {
    let (before_in, before_out) = (stream.total_in(), stream.total_out());
    let status = stream.process(input, output, Action::Run).map_err(xz_error)?;
    let moved = |before: u64, after: u64| usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX);
    Ok(Decompressed {
        consumed: moved(before_in, stream.total_in()),
        produced: moved(before_out, stream.total_out()),
        done: matches!(status, Status::StreamEnd),
    })
}

fn decompress_zstd(
    context: &mut DCtx<'_>,
    input: &[u8],
    output: &mut [u8],
) -> Result<Decompressed, DecompressError> {
    let (mut from, mut to) = (InBuffer::around(input), OutBuffer::around(output));
    // 0 says that a frame is complete and its checksum was right.
    let left = context.decompress_stream(&mut to, &mut from).map_err(zstd_error)?;
    Ok(Decompressed { consumed: from.pos(), produced: to.pos(), done: left == 0 })
}

fn xz_error(error: XzError) -> DecompressError {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's; whatever else is wrong, the stream is no good"
    )]
    match error {
        XzError::Mem => DecompressError::Memory,
        XzError::MemLimit => DecompressError::Limit(XZ_MEMORY),
        XzError::UnsupportedCheck | XzError::Options => DecompressError::Unsupported,
        _ => DecompressError::Corrupt,
    }
}

fn zstd_error(code: zstd_safe::ErrorCode) -> DecompressError {
    // libzstd returns an error code as a negative number cast to an unsigned one.
    if code.wrapping_neg() == ZSTD_WINDOW_TOO_LARGE {
        DecompressError::Limit(1 << ZSTD_WINDOW_LOG)
    } else {
        DecompressError::Corrupt
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    /// What a tool makes of `plain`.
    fn packed(tool: &str, options: &str, plain: &[u8]) -> Vec<u8> {
        let mut command = Command::new(tool);
        command.args(options.split_whitespace()).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(plain).unwrap());
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success());
            output.stdout
        })
    }

    /// Some bytes that compress, but not to nothing.
    fn sample(len: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0] & 0x1f
        };
        (0..len).map(|_| next()).collect()
    }

    /// Unpacks with pieces of `piece` bytes; also how many bytes of input were left over.
    fn unpack(kind: Compression, packed: &[u8], piece: usize) -> Result<(Vec<u8>, usize), DecompressError> {
        let mut decompressor = Decompressor::default();
        decompressor.begin(kind)?;
        let (mut window, mut at, mut plain, mut used) = (vec![0; 32 * 1024], 0, Vec::new(), 0);
        loop {
            if at == window.len() {
                at = 0;
            }
            let input = &packed[used..packed.len().min(used + piece)];
            let progress = decompressor.decompress(input, &mut window, at)?;
            plain.extend_from_slice(&window[at..at + progress.produced]);
            at += progress.produced;
            used += progress.consumed;
            if progress.done {
                decompressor.end();
                assert!(matches!(decompressor.stream, Stream::None), "memory is given back");
                return Ok((plain, packed.len() - used));
            }
            let moved = progress.consumed + progress.produced > 0;
            assert!(moved || input.is_empty(), "no progress");
            if input.is_empty() && !moved {
                return Err(DecompressError::Corrupt);
            }
        }
    }

    const KINDS: [(Compression, &str, &str); 3] = [
        (Compression::Gzip, "gzip", "-6"),
        (Compression::Xz, "xz", "-6"),
        (Compression::Zstd, "zstd", "-3 -q --check"),
    ];

    #[test]
    fn what_the_tools_pack_is_unpacked_whatever_the_pieces() {
        for (kind, tool, options) in KINDS {
            for len in [0, 1, 100_000] {
                let plain = sample(len);
                let mut stream = packed(tool, options, &plain);
                stream.extend_from_slice(b"rest");
                for piece in [1, 7, 4096, usize::MAX / 2] {
                    assert_eq!(unpack(kind, &stream, piece), Ok((plain.clone(), 4)), "{tool} {len} {piece}");
                }
            }
        }
    }

    #[test]
    fn every_level_of_the_tools_is_unpacked() {
        let plain = sample(200_000);
        for level in 0..=9 {
            let stream = packed("xz", &format!("-{level}e"), &plain);
            assert_eq!(unpack(Compression::Xz, &stream, 4096), Ok((plain.clone(), 0)), "xz -{level}");
        }
        for level in [1, 9, 19] {
            let stream = packed("zstd", &format!("-q -{level}"), &plain);
            assert_eq!(unpack(Compression::Zstd, &stream, 4096), Ok((plain.clone(), 0)), "zstd -{level}");
        }
    }

    #[test]
    fn a_cut_stream_is_never_done_and_a_changed_one_never_good() {
        for (kind, tool, options) in KINDS {
            let plain = sample(3000);
            let stream = packed(tool, options, &plain);
            for len in 0..stream.len() {
                assert!(unpack(kind, &stream[..len], 4096).is_err(), "{tool} {len}");
            }
            for at in 0..stream.len() {
                let mut changed = stream.clone();
                changed[at] ^= 0x10;
                // A bit that says nothing may differ; the bytes may not.
                if let Ok((unpacked, _)) = unpack(kind, &changed, 4096) {
                    assert_eq!(unpacked, plain, "{tool} {at}");
                }
            }
        }
    }

    #[test]
    fn a20_a_stream_that_wants_too_much_memory_is_refused() {
        let stream = packed("xz", "--lzma2=dict=128MiB", b"x");
        assert_eq!(unpack(Compression::Xz, &stream, 4096), Err(DecompressError::Limit(96 << 20)));
        let stream = packed("xz", "--lzma2=dict=64MiB", b"x");
        assert_eq!(unpack(Compression::Xz, &stream, 4096), Ok((b"x".to_vec(), 0)));
        // Window descriptors: 16 MiB, 8 MiB; then one raw block of one byte.
        let frame = |window: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, window][..], &[9, 0, 0], b"x"].concat();
        assert_eq!(unpack(Compression::Zstd, &frame(14 << 3), 4096), Err(DecompressError::Limit(8 << 20)));
        assert_eq!(unpack(Compression::Zstd, &frame(13 << 3), 4096), Ok((b"x".to_vec(), 0)));
    }

    #[test]
    fn a20_a_bomb_gives_no_more_than_the_window_at_a_time() {
        let plain = vec![0; 64 << 20];
        for (kind, tool, options) in KINDS {
            let stream = packed(tool, options, &plain);
            assert!(stream.len() < plain.len() / 500);
            let mut decompressor = Decompressor::default();
            decompressor.begin(kind).unwrap();
            let mut window = vec![1; 32 * 1024];
            let progress = decompressor.decompress(&stream, &mut window, 96).unwrap();
            assert!(!progress.done && progress.produced <= window.len() - 96, "{tool}");
            assert!(window[..96].iter().all(|&b| b == 1), "what stands before is not touched");
        }
    }

    #[test]
    fn a_second_stream_is_not_part_of_the_first() {
        for (kind, tool, options) in KINDS {
            let stream = packed(tool, options, b"one");
            let both = [&stream[..], &stream].concat();
            assert_eq!(unpack(kind, &both, 4096), Ok((b"one".to_vec(), stream.len())), "{tool}");
        }
    }

    #[test]
    fn the_wrong_kind_is_corrupt_and_nothing_begun_is_unsupported() {
        let stream = packed("xz", "-1", b"x");
        assert_eq!(unpack(Compression::Zstd, &stream, 4096), Err(DecompressError::Corrupt));
        let stream = packed("zstd", "-q", b"x");
        assert_eq!(unpack(Compression::Xz, &stream, 4096), Err(DecompressError::Corrupt));
        let mut decompressor = Decompressor::default();
        assert_eq!(decompressor.decompress(b"x", &mut [0; 9], 0), Err(DecompressError::Unsupported));
        assert_eq!(decompressor.begin(Compression::None), Err(DecompressError::Unsupported));
    }
}
