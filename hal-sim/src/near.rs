//! Finds the word that somebody may have meant.

/// The candidate that differs least from `word`, upper and lower case aside, if few letters differ: at most one in three.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No word that is known is longer, and the distance takes the product of both lengths.
    if word.len() > 64 {
        return None;
    }
    let letters = word.to_ascii_lowercase();
    let distance = |candidate: &str| strsim::osa_distance(&letters, &candidate.to_ascii_lowercase());
    let with_distance = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    let (distance, candidate) = with_distance.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= candidate.chars().count().max(word.chars().count())).then_some(candidate)
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
