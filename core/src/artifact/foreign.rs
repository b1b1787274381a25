//! What people give by mistake in the place of an artifact, told by its first bytes.

use super::Foreign;

/// What a file that begins with `first`, at most a tar header's worth of it, is instead of an artifact; `None` where nothing
/// known begins so.
pub(super) fn named(first: &[u8]) -> Option<Foreign> {
    const BEGINNINGS: [(&[u8], Foreign); 11] = [
        (b"\x1f\x8b", Foreign::Gzip),
        (b"\xfd7zXZ\0", Foreign::Xz),
        (b"\x28\xb5\x2f\xfd", Foreign::Zstd),
        (b"BZh", Foreign::Bzip2),
        (b"PK\x03\x04", Foreign::Zip),
        (b"hsqs", Foreign::SquashFs),
        (b"UBI#", Foreign::Ubi),
        (b"\x85\x19", Foreign::Jffs2),
        (b"\x7fELF", Foreign::Program),
        (b"!<arch>\n", Foreign::Ar),
        (b"#!", Foreign::Script),
    ];
    let text = first.trim_ascii_start();
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let is_html = |tag: &&[u8]| text.get(..tag.len()).is_some_and(|front| front.eq_ignore_ascii_case(tag));
    if [&b"<!doctype"[..], b"<html", b"<head", b"<?xml", b"<!--"].iter().any(is_html) {
        return Some(Foreign::Html);
    }
    let known = BEGINNINGS.iter().find(|(beginning, _)| first.starts_with(beginning));
    if let Some((_, foreign)) = known {
        return Some(*foreign);
    }
    if text.starts_with(b"{") {
        return Some(Foreign::Json);
    }
    // The signature of a boot sector, which disk images and FAT file systems have.
    if first.get(510..512).is_some_and(|end| end == [0x55, 0xaa]) {
        return Some(Foreign::Image);
    }
    // As it begins, an artifact is a text as well.
    (is_text(first) && !b"version".starts_with(first)).then_some(Foreign::Text)
}

/// Whether these bytes are the beginning of a text in UTF-8.
fn is_text(bytes: &[u8]) -> bool {
    let whole = match str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_some() => return false,
        // The last character is cut.
        Err(error) => {
            bytes.get(..error.valid_up_to()).and_then(|whole| str::from_utf8(whole).ok()).unwrap_or("")
        }
    };
    !whole.is_empty() && !whole.chars().any(|c| c.is_control() && !c.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn what_stands_in_the_place_of_an_artifact_is_named() {
        for (first, part) in [
            (&b"\r\n <!DOCTYPE html><html>"[..], "HTML"),
            (b"\xef\xbb\xbf<HTML>", "HTML"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"hsqs", "SquashFS"),
            (b"{\"error\":\"not found\"}", "JSON"),
        ] {
            assert!(named(first).is_some_and(|foreign| foreign.to_string().contains(part)), "{part}");
        }
        for (first, is_text) in [
            (&b"404 not found"[..], true),
            ("gr\u{f6}\u{df}e".as_bytes(), true),
            (b"gr\xc3", true),
            (b"ver", false),
            (b"versions", true),
            (b"a\0b", false),
            (b"a\xffb", false),
            (b"\xc3", false),
        ] {
            assert_eq!(named(first) == Some(Foreign::Text), is_text, "{first:?}");
        }
        let mut sector = [7; 512];
        assert_eq!(named(&sector), None);
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(named(&sector), Some(Foreign::Image));
        assert_eq!(named(b""), None);
    }
}
