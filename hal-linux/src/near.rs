//! Finds the word that somebody may have meant.

/// The candidate that differs least from `word`, upper and lower case aside, if few letters differ: at most one in three.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // No word that is known is longer, and the distance takes the product of both lengths.
    if word.len() > 64 {
        return None;
    }
    let with_distance = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    let (distance, candidate) = with_distance.min_by_key(|(distance, _)| *distance)?;
    (distance * 3 <= candidate.chars().count().max(word.chars().count())).then_some(candidate)
}

/// How many characters have to be put in, left out, replaced, or exchanged with the next, to make the one of the other.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    let letters = |text: &str| text.chars().map(|c| c.to_ascii_lowercase()).collect::<Vec<_>>();
    let (a, b) = (letters(a), letters(b));
    let mut table: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(table[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(table[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        table.push(row);
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found_and_no_other() {
        let words = ["install", "commit", "rollback", "ServerURL", "Servers"];
        for (word, expected) in [
            ("instal", Some("install")),
            ("comimt", Some("commit")),
            ("roll-back", Some("rollback")),
            ("ServerUrl", Some("ServerURL")),
            ("Server", Some("Servers")),
            ("x", None),
            ("", None),
            ("frobnicate", None),
        ] {
            assert_eq!(nearest(word, words), expected, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), words), None);
    }
}
