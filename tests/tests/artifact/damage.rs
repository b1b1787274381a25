//! One small signed artifact, cut everywhere and with every bit turned over.

use crate::harness::{Memory, Seen, Signer, gzip, pipe, run};
use std::ops::Range;
use thimble_core::artifact::Trust;
use thimble_core::hal::Compression;
use thimble_hal_sim::artifact_writer::ArtifactWriter;

fn small(compression: Compression, signer: &Signer) -> Vec<u8> {
    let artifact =
        ArtifactWriter::new("r", "t", &["d"]).script("ArtifactInstall_Enter_00", b"s").file("f", b"content");
    let artifact = match compression {
        Compression::Gzip => artifact.compress(compression, gzip),
        Compression::None | Compression::Xz | Compression::Zstd => artifact,
    };
    artifact.sign(|m| signer.sign(m)).build()
}

/// Where the stored bytes of the members of the outer archive stand, in their order.
fn members(artifact: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while artifact[at] != 0 {
        let size = std::str::from_utf8(&artifact[at + 124..at + 135]).unwrap();
        let size = usize::from_str_radix(size, 8).unwrap();
        found.push(at + 512..at + 512 + size);
        at += 512 + size.next_multiple_of(512);
    }
    found
}

#[test]
fn no_prefix_of_an_artifact_is_taken_before_its_last_payload_is_whole() {
    let signer = Signer::new();
    let mut memory = Memory::new();
    let mut parser = memory.parser();
    for compression in [Compression::None, Compression::Gzip] {
        let artifact = small(compression, &signer);
        let payload = members(&artifact).pop().unwrap();
        let whole = payload.start + payload.len().next_multiple_of(512);
        for end in 0..artifact.len() {
            let (_, result) = run(&mut parser, &artifact[..end], Trust::Signed, &mut signer.keys(), || 700);
            // Only the end marker is missing, at a block's border: as every reader, so do we take that.
            let marker = end >= whole && (end == whole || end >= whole + 512);
            assert_eq!(result.is_ok(), marker, "{compression:?} {end} of {}: {result:?}", artifact.len());
        }
    }
}

/// Whether the change of a byte cannot be seen by anyone who uses the artifact: blanks for zeros or NULs around the
/// digits of a tar header's checksum, or a compressed payload that `gzip` decompresses to the same archive (what its
/// header says of time and system, spare bits of the deflate stream).
fn is_free(artifact: &[u8], changed: &[u8], at: usize, compression: Compression) -> bool {
    let members = members(artifact);
    let payload = members.last().unwrap();
    let mut blocks: Vec<usize> = members.iter().map(|m| m.start - 512).collect();
    if compression == Compression::None {
        blocks.push(payload.start);
    }
    if blocks.iter().any(|block| (block + 148..block + 156).contains(&at)) {
        return true;
    }
    let archive = |bytes: &[u8]| pipe("gzip", &["-dc"], &bytes[payload.clone()]);
    compression == Compression::Gzip && payload.contains(&at) && archive(changed) == archive(artifact)
}

#[test]
fn no_single_bit_of_a_signed_artifact_can_be_changed() {
    let signer = Signer::new();
    let mut memory = Memory::new();
    let mut parser = memory.parser();
    for compression in [Compression::None, Compression::Gzip] {
        let artifact = small(compression, &signer);
        let (good, result): (Vec<Seen>, _) =
            run(&mut parser, &artifact, Trust::Signed, &mut signer.keys(), || usize::MAX >> 1);
        assert_eq!(result, Ok(()));
        let mut taken = 0;
        for bit in 0..artifact.len() * 8 {
            let mut changed = artifact.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let (seen, result) =
                run(&mut parser, &changed, Trust::Signed, &mut signer.keys(), || usize::MAX >> 1);
            if result.is_ok() {
                taken += 1;
                assert!(
                    is_free(&artifact, &changed, bit / 8, compression),
                    "{compression:?}: bit {bit} is not verified"
                );
                assert_eq!(seen, good, "{compression:?}: bit {bit} changed what came out");
            }
        }
        println!("{compression:?}: {taken} of {} bits are free", artifact.len() * 8);
    }
}
