//! Text as files and clients have it.

use std::string::FromUtf8Error;

/// The text in the bytes of a file, without the byte order mark that some editors put in front.
pub(crate) fn of(bytes: Vec<u8>) -> Result<String, FromUtf8Error> {
    match without_mark(&bytes) {
        rest if rest.len() < bytes.len() => String::from_utf8(rest.to_vec()),
        _ => String::from_utf8(bytes),
    }
}

/// The bytes behind a byte order mark, where there is one.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}

/// Texts with a blank line between them. One alone is not copied: it may be long.
pub(crate) fn paragraphs(mut texts: Vec<String>) -> String {
    if texts.len() == 1 { texts.remove(0) } else { texts.join("\n\n") }
}

/// A word as a POSIX shell takes it.
pub(crate) fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:=,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The known word that was probably meant: fewest edits, at most a third of the word's letters.
pub(crate) fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    known
        .into_iter()
        .map(|word| (edits(&given, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= (word.chars().count().max(3)) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// How many letters have to be put in, taken out, changed or swapped with their neighbour (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_found_and_far_ones_are_not() {
        let known = ["claude", "codex", "gemini", "echo"];
        for (given, near) in [
            ("cluade", Some("claude")),
            ("Codex", Some("codex")),
            ("gemni", Some("gemini")),
            ("ollama", None),
            ("x", None),
        ] {
            assert_eq!(nearest(given, known), near, "{given}");
        }
    }
}
