use super::*;
use std::string::{String, ToString};
use std::{format, vec, vec::Vec};

use crate::message::{Code, Coded};
use crate::text::TextExt;

pub(crate) fn decoded(line: &str) -> String {
    let mut text = String::new();
    decode(line, &mut text).unwrap();
    text
}

/// The code of each is decoded to its text.
#[track_caller]
pub(crate) fn same(samples: &[&dyn Coded]) {
    for sample in samples {
        let code = Code(*sample).to_string();
        assert_eq!(decoded(&code), sample.to_string(), "{code}");
    }
}

/// Every text, in the order of letters and numbers.
fn rows() -> Vec<(char, &'static Row)> {
    let mut all: Vec<_> = catalogues::all()
        .flat_map(|catalogue| catalogue.rows.iter().map(|row| (catalogue.letter, row)))
        .collect();
    all.sort_by_key(|(letter, row)| (*letter, row.number));
    all
}

/// Every text with its code.
fn catalogue() -> String {
    rows()
        .iter()
        .map(|(letter, Row { number, text, arguments })| {
            let arguments =
                if arguments.is_empty() { String::new() } else { format!("({})", arguments.join(",")) };
            format!("{letter}{number}{arguments} {text}\n")
        })
        .collect()
}

/// `THIMBLE_GOLDEN=1 cargo test` writes the file anew. Look at what changed: a line may be added; a number that was given
/// keeps its meaning and its arguments.
#[test]
fn numbers_stay_what_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/texts/golden.txt");
    if std::env::var_os("THIMBLE_GOLDEN").is_some() {
        std::fs::write(path, catalogue()).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap();
    // What only a feature says is there when the feature is.
    let is_built = |line: &&str| cfg!(feature = "panel") || !line.starts_with('P');
    assert!(catalogue().lines().eq(golden.lines().filter(is_built)), "golden.txt is not\n{}", catalogue());
}

/// The platform adds what people type or set there: `hal::Log::hint`.
#[test]
fn no_text_names_a_command_or_a_key_of_a_file() {
    for (letter, Row { number, text, .. }) in rows() {
        for word in
            ["--", "command line", ".conf", "ServerURL", "VerifyKey", "Seconds", "check-update", "/etc"]
        {
            assert!(!text.contains(word), "{letter}{number} {text}");
        }
    }
}

#[test]
fn no_number_is_given_twice_and_every_argument_is_in_its_text() {
    let catalogue = catalogue();
    let codes: Vec<&str> = catalogue.lines().map(|line| line.split([' ', '(']).next().unwrap()).collect();
    for pair in codes.windows(2) {
        assert_ne!(pair[0], pair[1]);
    }
    for (_, row) in rows() {
        assert!(row.arguments.len() <= ARGUMENTS, "{}", row.text);
        for name in row.arguments {
            assert!(row.text.contains(&format!("{{{name}}}")), "{name}: {}", row.text);
        }
        assert_eq!(row.text.matches('{').count(), row.text.matches('}').count());
    }
}

/// Every text, with a number, a text or another text as each of its arguments.
#[test]
fn every_code_is_decoded() {
    for (letter, row) in rows() {
        for (code, text) in
            [("17", "17"), ("'a\\'b'", "a'b"), ("T90", "90 s"), ("\"~T90, ~T91\"", "90 s, 91 s")]
        {
            let arguments = vec![code; row.arguments.len()].join(",");
            let arguments = if arguments.is_empty() { arguments } else { format!("({arguments})") };
            let mut expected = row.text.to_string();
            for name in row.arguments {
                expected = expected.replace(&format!("{{{name}}}"), text);
            }
            let line = format!("~{letter}{}{arguments} and so on", row.number);
            assert_eq!(decoded(&line), format!("{expected} and so on"), "{line}");
        }
    }
}

#[test]
fn codes_of_artifacts_are_decoded() {
    use crate::artifact::accept::NotAccepted;
    use crate::artifact::depends::DependsError;
    use crate::artifact::provides::MergeError;
    use crate::artifact::{Error, Foreign, Limited, Rule, WrongSum};
    use crate::hal::{Compression, DecompressError};
    use crate::json::{self, Fault, KeysError, Overflow};

    let name = || Text::cut(&format_args!("it's \"a\\b\", (ä)~J1"));
    let json = json::Error { at: 17, what: Fault::NoColon };
    let key = || Text::cut(&format_args!("a.b"));
    same(&[
        &Error::UnexpectedMember(name()),
        &Error::BadManifest(Rule::Blanks),
        &Error::ChecksumMismatch(WrongSum { name: name(), wanted: [0xa5; 32], found: [7; 32] }),
        &Error::Foreign(Foreign::Image),
        &Error::UnsupportedCompression(Compression::Zstd),
        &Error::Decompress(Compression::Gzip, DecompressError::Memory),
        &Error::TypeInfoJson(json),
        &Error::BadEntryType(b'\''),
        &Error::TooLarge { what: Limited::TarExtensions, limit: 8 },
        &NotAccepted::Depends(DependsError::Missing {
            key: key(),
            wanted: Text::cut(&format_args!("\"a\" or \"b\"")),
        }),
        &NotAccepted::Depends(DependsError::Keys(KeysError::TooMany(usize::MAX))),
        &NotAccepted::Provides(MergeError::TooLarge(Overflow { limit: 20 })),
        &NotAccepted::Provides(MergeError::Clears),
        &NotAccepted::Tier(key()),
        &Overflow { limit: 0 },
    ]);
}

#[test]
fn codes_of_http_are_decoded() {
    use crate::hal::Cause;
    use crate::http::fault::{Activity, Fault, HeadFault, Lost, RedirectFault, RequestFault, UrlFault};
    use embedded_io::ErrorKind;

    same(&[
        &Fault::Url(UrlFault::Byte(b'\n')),
        &Fault::Url(UrlFault::TooLong(700)),
        &Fault::Request(RequestFault::Header("ETag")),
        &Fault::TimedOut(Activity::Head),
        &Fault::Head(HeadFault::TooLarge(16_384)),
        &Fault::Redirect(RedirectFault::Url(UrlFault::Port)),
    ]);
    // Of a stream's error, a code says the kind; the text is the stream's own.
    let lost = Lost { activity: Activity::Send, cause: &Cause::of(&ErrorKind::BrokenPipe) };
    assert_eq!(lost.to_string(), "connection lost while sending the request: BrokenPipe");
    assert_eq!(Code(&lost).to_string(), "~W15(W12,H5)");
    assert_eq!(
        decoded("~W15(W12,H5)"),
        "connection lost while sending the request: the connection broke, or could not be made"
    );
}

#[test]
fn what_is_no_code_passes_unchanged() {
    for line in [
        "",
        "~",
        "~~",
        "A1",
        "~A",
        "~A1",
        "~A1(",
        "~A1()",
        "~A1('x'",
        "~A1('x)",
        "~A1('x','y')",
        "~A99999",
        "~Z1",
        "~A-1",
        "~ä1",
        "~/.profile and ~root",
        "~A30(1",
        "~A30(1,2",
        "~A30(,2)",
        "~T99999999999999999999",
    ] {
        assert_eq!(decoded(line), line);
    }
    assert_eq!(
        decoded("a ~T90 ~A5, ~A5)"),
        "a 90 s it is not signed, and verify keys are configured, it is not signed, and verify keys are configured)"
    );
    assert_eq!(decoded("~A30(Z7(1),99)"), "Z7(1) is over the limit of 99");
    assert_eq!(
        decoded("~~A5~A5~"),
        "~it is not signed, and verify keys are configuredit is not signed, and verify keys are configured~"
    );
}

#[test]
fn what_was_cut_is_shown_as_far_as_it_goes() {
    let whole =
        Code(&crate::artifact::Error::UnlistedFile(Text::cut(&format_args!("image.ext4")))).to_string();
    assert_eq!(whole, "~A23('image.ext4')");
    assert_eq!(decoded("~A23('image...."), "payload file \"image....\" is not listed in the manifest");
    assert_eq!(
        decoded("~A44('a','b..."),
        "the artifact depends on \"a\" being b..., and what is installed provides \"...\""
    );
    assert_eq!(decoded("~A4(A10..."), "bad manifest: A10...");
}

/// Nested without end, unbalanced, and so long that looking for an end must not take for ever.
#[test]
fn hostile_lines_end() {
    let deep = format!("~A50({}", "A50(".repeat(100_000));
    assert_eq!(decoded(&deep), deep);
    let marks = "~A1('".repeat(20_000);
    assert_eq!(decoded(&marks), marks);
    let double = format!("~A43({}1{})", "A43(".repeat(30), ",1)".repeat(30) + ",1");
    assert!(decoded(&double).len() < 1 << 16);
}
