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

/// As [`nearest`]; where there is none, the candidate of which `word` may be a part: the beginning, or what follows a hyphen.
pub fn nearest_or_part<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
) -> Option<&'a str> {
    let length = word.chars().count();
    nearest(word, candidates.clone()).or_else(|| {
        // Two letters resemble too much.
        if !(3..=64).contains(&length) {
            return None;
        }
        let with_distance = candidates.into_iter().map(|candidate| {
            let rests = std::iter::successors(Some(candidate), |rest| Some(rest.split_once('-')?.1));
            (rests.map(|rest| distance_to_beginning(word, rest)).min().unwrap_or(length), candidate)
        });
        let (distance, candidate) = with_distance.min_by_key(|(distance, _)| *distance)?;
        (distance * 3 <= length).then_some(candidate)
    })
}

/// How many characters have to be put in, left out, replaced, or exchanged with the next, to make the one of the other.
#[must_use]
pub fn distance(a: &str, b: &str) -> usize {
    distances(a, b).pop().unwrap_or_default()
}

/// The same, to make `a` of the beginning of `b` that is nearest to it.
fn distance_to_beginning(a: &str, b: &str) -> usize {
    distances(a, b).into_iter().min().unwrap_or_default()
}

/// The distance of `a` from each beginning of `b`, the empty one first.
fn distances(a: &str, b: &str) -> Vec<usize> {
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
    table.pop().unwrap_or_default()
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

    #[test]
    fn a_part_of_a_word_leads_to_it_and_a_few_letters_do_not() {
        let words = ["reboot-exit-code", "log-level", "stop-before", "show-artifact", "show-provides"];
        for (word, expected) in [
            ("rebot", Some("reboot-exit-code")),
            ("exitcode", Some("reboot-exit-code")),
            ("provides", Some("show-provides")),
            ("lgo", Some("log-level")),
            ("show-artefact", Some("show-artifact")),
            ("re", None),
            ("xyz", None),
            ("bogus", None),
            ("install", None),
        ] {
            assert_eq!(nearest_or_part(word, words), expected, "{word}");
        }
        assert_eq!(nearest_or_part(&"x".repeat(100_000), words), None);
    }
}
