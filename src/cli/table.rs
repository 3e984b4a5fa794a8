//! Tables for people, and sessions as lines of them. Nothing of a title reaches the terminal but letters.

use crate::base::printable;
use crate::session::{Session, shorten};

/// The title, or the prompt where there is none.
fn name(session: &Session) -> String {
    let name = if session.title.is_empty() { &session.initial_prompt } else { &session.title };
    shorten(&printable::safe(name), 60)
}

pub(crate) fn minute(time: &str) -> String {
    printable::safe(time).chars().take(16).collect::<String>().replace('T', " ")
}

pub(crate) fn line(session: &Session) -> String {
    let Session { id, backend, last_used_at, .. } = session;
    let id: String = id.chars().take(12).collect();
    format!(
        "{id}  {}  {}  {}",
        printable::pad(&printable::safe(backend), 8),
        minute(last_used_at),
        name(session)
    )
}

/// The table of `sessions list`.
pub(crate) fn table(sessions: &[Session]) -> String {
    let mut rows =
        vec![["ID", "BACKEND", "STATUS", "LAST USED", "TOKENS", "TITLE/PROMPT"].map(str::to_owned)];
    rows.extend(sessions.iter().map(|session| {
        [
            session.id.chars().take(12).collect(),
            printable::safe(&session.backend),
            session.status.word().to_owned(),
            minute(&session.last_used_at),
            session.token_usage.total().to_string(),
            name(session),
        ]
    }));
    aligned(&rows)
}

/// The rows with their columns one below the other.
pub(crate) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| printable::columns(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N - 1).map(width).collect();
    let text = |row: &[String; N]| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| printable::pad(cell, *width)).collect();
        format!("{}  {}\n", cells.join("  "), row[N - 1])
    };
    rows.iter().map(text).collect()
}

/// The fields of `sessions show`.
pub(crate) fn fields(session: &Session) -> String {
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
    rows.iter()
        .map(|(name, value)| format!("{:<18} {}\n", format!("{name}:"), printable::safe(value)))
        .collect()
}
