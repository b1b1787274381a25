//! What to type or to set on Linux about what core says. Core's texts name no command and no key of `mender.conf`, since a
//! board has neither.

use thimble_core::message::{Code, Coded};

/// The code of a text, as [`thimble_core::message`] describes it, and what is put behind the text.
const HINTS: &[(&str, &str)] = &[
    ("C22", " ('control continue' takes it back, --for gives the time)"),
    ("N13", " (ArtifactVerifyKeys)"),
    ("N21", " (output of the identity script)"),
    ("N22", " (output of the identity script)"),
    ("N23", " (output of the identity script)"),
    ("Q11", ": set ServerURL"),
    ("Q15", " (ServerURL)"),
    ("Q20", " with 'check-update'"),
    ("Q21", " with 'check-update'"),
    ("U18", " (ModuleTimeoutSeconds)"),
    ("U52", " (StateScriptTimeoutSeconds)"),
    ("U53", " (StateScriptRetryTimeoutSeconds)"),
];

/// What is put behind the text of `said`; empty for most.
#[must_use]
pub fn hint(said: &dyn Coded) -> &'static str {
    let code = Code(said).to_string();
    let hint = |number: &str| HINTS.iter().find(|(of, _)| *of == number).map(|(_, hint)| *hint);
    numbers(&code).into_iter().find_map(hint).unwrap_or_default()
}

/// The text of `said`, with what is put behind it.
#[must_use]
pub fn with_hint(said: &impl Coded) -> String {
    format!("{said}{}", hint(said))
}

/// What a code is made of, but for what stands in quotes: its own number and those of the texts that are its arguments.
fn numbers(code: &str) -> Vec<&str> {
    let (mut numbers, mut from, mut quote, mut is_escaped) = (Vec::new(), 0, None, false);
    for (at, c) in code.char_indices() {
        match (quote, c) {
            (Some(_), _) if is_escaped => is_escaped = false,
            (Some(_), '\\') => is_escaped = true,
            (Some(open), _) if open == c => (quote, from) = (None, at + 1),
            (Some(_), _) => {}
            (None, '\'' | '"' | '~' | '(' | ')' | ',') => {
                numbers.push(&code[from..at]);
                from = at + 1;
                quote = Some(c).filter(|c| matches!(c, '\'' | '"'));
            }
            (None, _) => {}
        }
    }
    if quote.is_none() {
        numbers.push(&code[from..]);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;
    use thimble_core::api::LinkError;
    use thimble_core::control::{Lifetime, OrderError};
    use thimble_core::http::fault::UrlFault;
    use thimble_core::texts;

    /// What a person reads, of each text that has a hint.
    const READ: &[(&str, &str)] = &[
        (
            "~C22(C24)",
            "an earlier order under this name counts until it is taken back, and this one would count for another time: take the \
             earlier one back first, or give the same time ('control continue' takes it back, --for gives the time)",
        ),
        (
            "~D9(N13)",
            "the server's link to the artifact cannot be used: it is http://, the server https://: configure a verify key \
             or use https (ArtifactVerifyKeys)",
        ),
        ("~N21(4096)", "the device's identity: longer than 4096 bytes (output of the identity script)"),
        ("~N22(3)", "the device's identity: line 3 is no key=value (output of the identity script)"),
        ("~N23", "the device's identity: no key=value in it (output of the identity script)"),
        ("~Q11", "no server is configured: set ServerURL"),
        ("~Q15(W33)", "the server's URL: it does not begin with http:// or https:// (ServerURL)"),
        (
            "~Q20('d-1',T86400)",
            "deployment d-1 is offered again and does not begin: the server refused to hear how it ended; it may begin in \
             24 hours, or when somebody at the device asks for updates with 'check-update'",
        ),
        (
            "~Q21('d-1',5,T3600)",
            "deployment d-1 is offered again and does not begin: it has begun 5 times within a day; it may begin in 1 hour, or \
             when somebody at the device asks for updates with 'check-update'",
        ),
        (
            "~U18('ArtifactInstall',T14400)",
            "the update module did not end ArtifactInstall within 4 hours (ModuleTimeoutSeconds)",
        ),
        (
            "~U15(U41('Idle_Enter_00'),U52(T3600))",
            "state script Idle_Enter_00 did not end within 1 hour (StateScriptTimeoutSeconds)",
        ),
        (
            "~U15(U41('Idle_Enter_00'),U53(T1800))",
            "state script Idle_Enter_00 still asked to be run later after 30 minutes (StateScriptRetryTimeoutSeconds)",
        ),
    ];

    /// Says the text of a code.
    struct Said(&'static str);

    impl Coded for Said {
        fn content(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0.trim_start_matches('~'))
        }
    }

    impl fmt::Display for Said {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            texts::decode(self.0, f)
        }
    }

    #[test]
    fn each_hint_is_the_end_of_its_sentence() {
        for (code, text) in READ {
            assert_eq!(with_hint(&Said(code)), *text);
        }
        for (of, _) in HINTS {
            assert!(READ.iter().any(|(code, _)| numbers(code).contains(of)), "{of}");
        }
    }

    #[test]
    fn a_hint_is_found_by_the_code_of_what_is_said() {
        assert_eq!(hint(&LinkError::NotHttps), " (ArtifactVerifyKeys)");
        assert_eq!(hint(&LinkError::Url(UrlFault::Host)), "");
        assert_eq!(
            hint(&OrderError::Lifetime(Lifetime::Unlimited)),
            " ('control continue' takes it back, --for gives the time)"
        );
    }

    #[test]
    fn what_stands_in_quotes_is_no_code() {
        for code in ["~U41('N13')", "~U41('it\\'s,N13')", "~U7('d',\"~N13\")", "~U41('N13", "~N131"] {
            assert_eq!(hint(&Said(code)), "", "{code}");
        }
        assert_eq!(hint(&Said("~U41('a\\\\',N13)")), " (ArtifactVerifyKeys)");
    }
}
