//! What a tool's result says: as text for those who read text, and as data with the same in it, because many hand on only one
//! of both. Its length is bounded: all of it becomes a part of a conversation.

use crate::base::json::{Value, json};
use crate::batch::Finished;
use crate::batch::compare::title;
use crate::model::error::Error;
use crate::model::unified;

/// The most characters of answers that a result has.
const MOST: usize = 60_000;

/// How a call came out.
pub(super) enum Came {
    Well,
    /// The agent that calls is to know that it has not what it wanted.
    Badly,
}

pub(super) fn result(text: &str, data: &Value, came: Came) -> Value {
    json!({
        "resultType": "complete",
        "content": [{"type": "text", "text": text}],
        "structuredContent": data,
        "isError": matches!(came, Came::Badly),
    })
}

/// *We* could not do it.
pub(super) fn refusal(error: &Error) -> Value {
    result(&format!("{error} ({})", error.kind().word()), &unified::refusal(error), Came::Badly)
}

/// One of so many texts within the bounds, with a sentence where something is missing. `session`: where all of it is kept.
pub(super) fn bounded(text: &str, of: usize, session: Option<&str>) -> String {
    let most = MOST / of.max(1);
    let Some((end, _)) = text.char_indices().nth(most) else { return text.to_owned() };
    let missing = text[end..].chars().count();
    let all =
        session.map_or(String::new(), |id| format!(": `clinvk sessions show {id} --turns` has all of it"));
    format!("{}\n[{missing} more characters are left out{all}]", &text[..end])
}

/// Results of several runs: each under its heading, and the same as data.
pub(super) fn sections(results: &[Finished]) -> (String, Vec<Value>) {
    let (mut text, mut data) = (String::new(), Vec::new());
    for finished in results {
        let session = finished.outcome.session.as_deref();
        let output = bounded(&finished.output, results.len(), session);
        let name = finished.label.id.as_deref().or(finished.label.name.as_deref());
        let heading = name.map_or_else(|| title(finished), |name| format!("{name} ({})", title(finished)));
        text += &format!("== {heading}\n{output}\n");
        if let Some(failure) = &finished.outcome.failure {
            text += &format!("{}: {} ({})\n", finished.state.word(), failure.message, failure.kind.word());
        }
        let mut entry = json!(finished.entry());
        // Once is enough.
        entry.as_object_mut().map(|entry| entry.remove("output"));
        entry["content"] = json!(output);
        data.push(entry);
    }
    (text, data)
}
