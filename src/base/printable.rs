//! Text that is safe to print, and how wide it is. What an answer says with escape sequences of its own is `escapes`'.

/// Text as it is safe on a terminal, in one line: control characters and escape sequences become blanks.
pub fn safe(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() || is_invisible(letter) { ' ' } else { letter })
        .collect()
}

/// The same for several lines: line ends and tabs stay.
pub fn safe_lines(text: &str) -> String {
    text.split_inclusive(['\n', '\t'])
        .flat_map(|part| {
            let (part, end) = match part.as_bytes().last() {
                Some(b'\n' | b'\t') => part.split_at(part.len() - 1),
                _ => (part, ""),
            };
            [safe(part), end.to_owned()]
        })
        .collect()
}

/// JSON without the control characters that JSON allows and terminals obey: DEL and U+0080 to U+009F. They can only stand
/// in strings, where their escapes mean the same.
pub fn safe_json(json: String) -> String {
    let obeyed = |letter: char| matches!(letter, '\u{7f}'..='\u{9f}');
    if !json.contains(obeyed) {
        return json;
    }
    let escaped = |letter: char| match letter {
        letter if obeyed(letter) => format!("\\u{:04x}", letter as u32),
        other => other.to_string(),
    };
    json.chars().map(escaped).collect()
}

/// Characters that turn the direction of what follows, end the line, or are not seen at all.
fn is_invisible(letter: char) -> bool {
    matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// How many columns a text takes, roughly: East Asian wide characters and emoji take two (Unicode annex 11).
pub fn columns(text: &str) -> usize {
    text.chars().map(width).sum()
}

fn width(letter: char) -> usize {
    let is_wide = matches!(letter as u32, 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd);
    if is_wide { 2 } else { 1 }
}

/// The beginning of a text that fits into so many columns.
pub fn fit(text: &str, columns: usize) -> &str {
    let mut left = columns;
    let end = text.char_indices().find_map(|(at, letter)| {
        let rest = left.checked_sub(width(letter));
        left = rest.unwrap_or(0);
        rest.is_none().then_some(at)
    });
    &text[..end.unwrap_or(text.len())]
}

/// Fills a text up to a width.
pub(crate) fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_cannot_speak_to_the_terminal() {
        assert_eq!(safe("a\x1b[31mb\nc\u{9b}d\u{202e}e"), "a [31mb c d e");
    }

    #[test]
    fn lines_stay_lines_and_json_stays_json() {
        assert_eq!(safe_lines("a\tb\n\x1b[2Jc\n"), "a\tb\n [2Jc\n");
        let json = safe_json("\"a\u{9b}2J\u{7f}é\"".to_owned());
        assert_eq!(json, "\"a\\u009b2J\\u007fé\"");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "a\u{9b}2J\u{7f}é");
    }

    #[test]
    fn wide_letters_take_two_columns() {
        assert_eq!((columns("日本"), columns("añ"), columns("👍")), (4, 2, 2));
        assert_eq!((fit("日本x", 3), fit("日本x", 5), fit("añ", 1), fit("", 0)), ("日", "日本x", "a", ""));
    }
}
