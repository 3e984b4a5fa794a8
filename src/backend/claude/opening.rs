//! What claude is told at the start: system prompts and schema by the protocol (they may be long, and are not for
//! `ps` to show), then the prompt.

use crate::base::json::{Json, json, ordered};
use crate::model::task::{Image, Task};

/// The settings, where there are some, then the prompt.
pub(super) fn opening(task: &Task) -> Vec<String> {
    let mut request = json!({"subtype": "initialize"});
    if let Some(system) = &task.system {
        request["systemPrompt"] = json!([system]);
    }
    if let Some(system) = &task.append_system {
        request["appendSystemPrompt"] = json!(system);
    }
    if let Some(schema) = &task.schema {
        request["jsonSchema"] = schema.clone();
    }
    if task.resume.is_some() {
        // Newer versions would go on with the system prompt of the first turn, whatever this one asks for; older ones
        // know neither the field nor the habit.
        request["systemPromptSnapshot"] = json!(false);
    }
    // As texts at once: prompts and pictures may be long, and by way of values they would be there once more.
    let image = |image: &Image| {
        let source = ordered!({"data": image.base64(), "media_type": image.mime, "type": "base64"});
        ordered!({"source": source, "type": "image"})
    };
    let text = |text: &str| ordered!({"text": text, "type": "text"});
    let mut content: Vec<Json> = task.images.iter().map(image).collect();
    content.push(text(&task.prompt));
    if task.prompt.starts_with('/') && !task.interpret {
        // Only the last block is taken for a slash command, so a blank one behind keeps the prompt as it is.
        content.push(text(" "));
    }
    let has_settings = request.as_object().is_some_and(|request| request.len() > 1);
    let initialize = json!({"type": "control_request", "request_id": "initialize", "request": request});
    has_settings.then(|| initialize.to_string()).into_iter().chain([user(content)]).collect()
}

/// The command that ends a conversation and begins another.
pub(super) fn clear() -> String {
    user(vec![ordered!({"text": "/clear", "type": "text"})])
}

fn user(content: Vec<Json>) -> String {
    ordered!({"message": {"content": content, "role": "user"}, "type": "user"}).text()
}

/// Whether one of our lines is the settings. They are known by their end: what stands before may be long.
pub(super) fn is_initialize(line: &str) -> bool {
    line.ends_with(r#","request_id":"initialize","type":"control_request"}"#)
}

/// Whether one of our lines is a prompt.
pub(super) fn is_prompt(line: &str) -> bool {
    line.ends_with(r#","role":"user"},"type":"user"}"#)
}
