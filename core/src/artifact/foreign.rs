//! What people give by mistake in the place of an artifact, told by its first bytes.

/// What a file that begins with `first`, at most a tar header's worth of it, is instead of an artifact; `None` where nothing
/// known begins so.
pub(super) fn named(first: &[u8]) -> Option<&'static str> {
    const BEGINNINGS: [(&[u8], &str); 11] = [
        (b"\x1f\x8b", "a file packed with gzip"),
        (b"\xfd7zXZ\0", "a file packed with xz"),
        (b"\x28\xb5\x2f\xfd", "a file packed with zstd"),
        (b"BZh", "a file packed with bzip2"),
        (b"PK\x03\x04", "a zip archive"),
        (b"hsqs", "a raw SquashFS image"),
        (b"UBI#", "a raw UBI image"),
        (b"\x85\x19", "a raw JFFS2 image"),
        (b"\x7fELF", "a program"),
        (b"!<arch>\n", "a package or library (ar)"),
        (b"#!", "a script"),
    ];
    let text = first.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let is_html = |tag: &&[u8]| text.get(..tag.len()).is_some_and(|front| front.eq_ignore_ascii_case(tag));
    if [&b"<!doctype"[..], b"<html", b"<head", b"<?xml", b"<!--"].iter().any(is_html) {
        return Some("an HTML page");
    }
    let known = BEGINNINGS.iter().find(|(beginning, _)| first.starts_with(beginning));
    if let Some((_, name)) = known {
        return Some(name);
    }
    if text.starts_with(b"{") {
        return Some("a JSON text");
    }
    // The signature of a boot sector, which disk images and FAT file systems have.
    first.get(510..512).is_some_and(|end| end == [0x55, 0xaa]).then_some(IMAGE)
}

/// Most file systems leave their beginning to boot loaders: zeros.
pub(super) const IMAGE: &str = "a raw image of a disk or file system";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_place_of_an_artifact_is_named() {
        for (first, part) in [
            (&b"\r\n <!DOCTYPE html><html>"[..], "HTML"),
            (b"\xef\xbb\xbf<HTML>", "HTML"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"hsqs", "SquashFS"),
            (b"{\"error\":\"not found\"}", "JSON"),
        ] {
            assert!(named(first).is_some_and(|name| name.contains(part)), "{part}");
        }
        let mut sector = [7; 512];
        assert_eq!(named(&sector), None);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(named(&sector), Some(IMAGE));
        assert_eq!(named(b""), None);
    }
}
