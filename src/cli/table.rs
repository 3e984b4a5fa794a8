//! Sessions as lines and tables for people. Nothing of a title reaches the terminal but letters.

use crate::session::{Session, shorten};

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
pub fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(columns(text))))
}

/// The title, or the prompt where there is none.
fn name(session: &Session) -> String {
    let name = if session.title.is_empty() { &session.initial_prompt } else { &session.title };
    shorten(&safe(name), 60)
}

fn minute(time: &str) -> String {
    safe(time).chars().take(16).collect::<String>().replace('T', " ")
}

/// One session in one line.
pub fn line(session: &Session) -> String {
    let Session { id, backend, last_used_at, .. } = session;
    let id: String = id.chars().take(12).collect();
    format!("{id}  {}  {}  {}", pad(&safe(backend), 8), minute(last_used_at), name(session))
}

/// The table of `sessions list`.
pub fn table(sessions: &[Session]) -> String {
    let mut rows =
        vec![["ID", "BACKEND", "STATUS", "LAST USED", "TOKENS", "TITLE/PROMPT"].map(str::to_owned)];
    rows.extend(sessions.iter().map(|session| {
        [
            session.id.chars().take(12).collect(),
            safe(&session.backend),
            session.status.word().to_owned(),
            minute(&session.last_used_at),
            session.token_usage.total().to_string(),
            name(session),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| columns(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..5).map(width).collect();
    let text = |row: &[String; 6]| {
        let cells: Vec<String> =
            row[..5].iter().zip(&widths).map(|(cell, width)| pad(cell, *width)).collect();
        format!("{}  {}\n", cells.join("  "), row[5])
    };
    rows.iter().map(text).collect()
}

/// The fields of `sessions show`.
pub fn fields(session: &Session) -> String {
    let tokens = &session.token_usage;
    let mut rows = vec![
        ("ID", session.id.clone()),
        ("Title", session.title.clone()),
        ("Backend", session.backend.clone()),
        ("Model", session.model.clone().unwrap_or_default()),
        ("Status", session.status.word().to_owned()),
        ("Created", session.created_at.clone()),
        ("Last Used", session.last_used_at.clone()),
        ("Working Directory", session.working_dir.display().to_string()),
        ("Backend Session", session.backend_session_id.clone().unwrap_or_default()),
        ("Turns", session.turn_count.to_string()),
        (
            "Token Usage",
            format!(
                "Input {}, Output {}, Total {}",
                tokens.input_tokens,
                tokens.output_tokens,
                tokens.total()
            ),
        ),
        ("Tags", session.tags.join(", ")),
    ];
    rows.extend(tokens.cost.map(|cost| ("Cost", format!("${cost:.4}"))));
    rows.extend(session.parent_id.clone().map(|parent| ("Parent", parent)));
    rows.extend(session.last_error.clone().map(|error| ("Last Error", error)));
    rows.iter().map(|(name, value)| format!("{:<18} {}\n", format!("{name}:"), safe(value))).collect()
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
