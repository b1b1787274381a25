//! Finds the word that somebody may have meant.

/// Two letters resemble too much to be the beginning of a word.
const BEGINNING: usize = 3;

/// The candidate that differs least from `word`, upper and lower case aside, if few letters differ: at most one in three.
/// Where there is none, the first that `word` begins, or that begins with it.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No word that is known is longer, and the distance takes the product of both lengths.
    if word.len() > 64 {
        return None;
    }
    let letters = word.to_ascii_lowercase();
    let (mut best, mut begun) = (None, None);
    for candidate in candidates {
        let known = candidate.to_ascii_lowercase();
        let distance = strsim::osa_distance(&letters, &known);
        let is_near = distance * 3 <= known.chars().count().max(letters.chars().count());
        if is_near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
        let shorter = known.chars().count().min(letters.chars().count());
        if shorter >= BEGINNING && (known.starts_with(&letters) || letters.starts_with(&known)) {
            begun = begun.or(Some(candidate));
        }
    }
    best.map(|(_, candidate)| candidate).or(begun)
}

/// The end of a message about an unknown word: `; is RIGHT meant?`, or nothing.
pub fn meant<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map_or_else(String::new, |candidate| format!("; is {candidate} meant?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found_and_no_other() {
        let words = ["install", "commit", "rollback", "ArtifactInstall", "ArtifactCommit"];
        for (word, expected) in [
            ("instal", Some("install")),
            ("comimt", Some("commit")),
            ("artifactinstal", Some("ArtifactInstall")),
            ("comm", Some("commit")),
            ("rollback-now", Some("rollback")),
            ("installation", Some("install")),
            ("ro", None),
            ("x", None),
            ("", None),
            ("frobnicate", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), words), None);
        assert_eq!(meant("instal", words), "; is install meant?");
        assert_eq!(meant("x", words), "");
    }
}
