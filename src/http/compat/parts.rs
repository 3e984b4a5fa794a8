//! The parts of a message: text, pictures and documents, in all three dialects, whose words for them do not collide.
//! What no backend can take is refused, never dropped.

use super::Part;
use crate::base::encoding::{from_base64, percent_bytes};
use crate::base::json;
use crate::http::front::errors::Fault;
use crate::model::task::Image;
use serde_json::Value;

/// What is in a content, or why it is refused.
pub(crate) type Parts = Result<Vec<Part>, Fault>;

/// The parts of a content: text, a list of parts, or nothing. `param` is the field that is to blame.
pub(crate) fn content(content: &Value, param: &'static str) -> Parts {
    content_of(content, param, part)
}

/// The same for a dialect with parts of its own.
pub(crate) fn content_of(
    content: &Value,
    param: &'static str,
    part: fn(&Value, &'static str) -> Parts,
) -> Parts {
    let mut parts = Vec::new();
    match content {
        Value::Null => {}
        Value::String(text) => parts.extend(text_part(text)),
        Value::Array(items) => {
            for item in items {
                parts.extend(part(item, param)?);
            }
        }
        _ => return Err(Fault::invalid(param, format!("{param}: content must be text or a list of parts"))),
    }
    Ok(parts)
}

/// The text of a content as one part, and behind it what in the content is no text.
pub(crate) fn joined(value: &Value, param: &'static str, of_text: impl FnOnce(String) -> Part) -> Parts {
    let (mut texts, mut parts) = (Vec::new(), Vec::new());
    for part in content(value, param)? {
        match part {
            Part::Text(text) => texts.push(text.to_string()),
            other => parts.push(other),
        }
    }
    parts.insert(0, of_text(texts.join("\n")));
    Ok(parts)
}

/// The texts of a content that may have nothing else, such as a system prompt.
pub(crate) fn texts_only(value: &Value, param: &'static str) -> Result<Vec<String>, Fault> {
    let texts = content(value, param)?.into_iter().map(|part| match part {
        Part::Text(text) => Ok(text.to_string()),
        _ => Err(Fault::unsupported(param, format!("{param}: what the system says must be text alone"))),
    });
    texts.collect()
}

/// A message is by none of the speakers that there are.
pub(crate) fn unknown_role(role: Option<&str>, param: &'static str) -> Fault {
    let problem =
        role.map_or("a message has no role".to_owned(), |role| format!("role `{role}` is not known"));
    Fault::invalid(param, format!("{param}: {problem}"))
}

/// No part where there is no text.
fn text_part(text: &str) -> Option<Part> {
    (!text.is_empty()).then(|| Part::Text(text.into()))
}

/// One part; some become more than one, an empty text none.
pub(crate) fn part(item: &Value, param: &'static str) -> Parts {
    let words = |name: &str| json::text(&item[name]);
    let text = |text: &str| Ok(text_part(text).into_iter().collect());
    let part = match words("type") {
        _ if item.is_string() => return text(json::text(item)),
        "text" | "input_text" | "output_text" | "" if item["text"].is_string() => return text(words("text")),
        "refusal" => return text(words("refusal")),
        "document" => return document(item, param),
        "search_result" => {
            let name = format!("{} ({})", words("title"), words("source"));
            return joined(&item["content"], param, |text| Part::Document { name, text });
        }
        "" => return Err(Fault::invalid(param, format!("{param}: a part of the content has no type"))),
        // A tool of the client's that its search found.
        "tool_reference" => Ok(Part::Text(format!("[tool {}]", words("tool_name")).into())),
        "image_url" | "input_image" => openai_image(item),
        "image" => anthropic_image(&item["source"]),
        "file" => openai_file(&item["file"]),
        "input_file" => openai_file(item),
        "input_audio" => Err("no backend takes audio".to_owned()),
        other => Err(format!("no backend takes parts of type `{other}`")),
    };
    part.map(|part| vec![part]).map_err(|why| unsupported(param, &why))
}

fn unsupported(param: &'static str, why: &str) -> Fault {
    Fault::unsupported(param, format!("{param}: {why}"))
}

fn openai_image(item: &Value) -> Result<Part, String> {
    match item["image_url"].as_str().or(item["image_url"]["url"].as_str()) {
        Some(url) => picture(Data::of_url(url)?.bytes),
        None => Err(by_reference("images", "file id")),
    }
}

fn anthropic_image(source: &Value) -> Result<Part, String> {
    match source["type"].as_str() {
        Some("base64") => picture(decoded(json::text(&source["data"]))?),
        Some("url") => Err(by_reference("images", "URL")),
        _ => Err(by_reference("images", "file id")),
    }
}

fn picture(bytes: Vec<u8>) -> Result<Part, String> {
    let image = Image::recognise(bytes).map(Part::Image);
    image.ok_or_else(|| "an image is neither PNG, JPEG, GIF nor WebP".to_owned())
}

fn openai_file(file: &Value) -> Result<Part, String> {
    let Some(data) = file["file_data"].as_str() else {
        return Err(by_reference("files", if file["file_url"].is_string() { "URL" } else { "file id" }));
    };
    let data = match has_data_scheme(data) {
        true => Data::of_url(data)?,
        false => Data { mime: String::new(), bytes: decoded(data)? },
    };
    data.into_part(file["filename"].as_str().unwrap_or("file"))
}

fn document(item: &Value, param: &'static str) -> Parts {
    let (source, name) = (&item["source"], item["title"].as_str().unwrap_or("document").to_owned());
    let data = json::text(&source["data"]);
    let mut parts = match json::text(&source["type"]) {
        "text" => vec![Part::Document { name, text: data.to_owned() }],
        "content" => joined(&source["content"], param, |text| Part::Document { name, text })?,
        kind => {
            let part = match kind {
                "base64" => decoded(data).and_then(|bytes| {
                    Data { mime: json::text(&source["media_type"]).to_owned(), bytes }.into_part(&name)
                }),
                "url" => Err(by_reference("documents", "URL")),
                _ => Err(by_reference("documents", "file id")),
            };
            vec![part.map_err(|why| unsupported(param, &why))?]
        }
    };
    // What the client says of the document belongs before it.
    parts.splice(0..0, text_part(json::text(&item["context"])));
    Ok(parts)
}

fn by_reference(what: &str, how: &str) -> String {
    format!("{what} by {how} are not fetched: send the bytes as base64")
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    from_base64(text).ok_or_else(|| "the data is not valid base64".to_owned())
}

fn has_data_scheme(text: &str) -> bool {
    text.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// Bytes and what they are said to be.
struct Data {
    /// In lower case; empty where nothing is said.
    mime: String,
    bytes: Vec<u8>,
}

impl Data {
    /// What is in a `data:` URL (RFC 2397).
    fn of_url(url: &str) -> Result<Data, String> {
        if !has_data_scheme(url) {
            return Err(by_reference("images", "URL"));
        }
        let Some((head, data)) = url[5..].split_once(',') else {
            return Err("a data URL has no comma".to_owned());
        };
        let mut words = head.split(';').map(|word| word.trim().to_ascii_lowercase());
        let mime = words.next().unwrap_or_default();
        let is_base64 = words.any(|word| word == "base64");
        let bytes = if is_base64 { decoded(data)? } else { percent_bytes(data) };
        Ok(Data { mime, bytes })
    }

    /// A document or a picture: by what it is said to be, else by its bytes.
    fn into_part(self, name: &str) -> Result<Part, String> {
        let mime = self.mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if mime.starts_with("image/") {
            return picture(self.bytes);
        }
        let is_text = mime.starts_with("text/")
            || ["", "application/json", "application/xml", "application/yaml"].contains(&&*mime);
        match String::from_utf8(self.bytes) {
            Ok(text) if is_text && !text.contains('\0') && !text.starts_with("%PDF-") => {
                Ok(Part::Document { name: name.to_owned(), text })
            }
            _ => {
                let kind = if is_text { "binary" } else { &mime };
                Err(format!("no backend takes {kind} documents (`{name}`): send their text"))
            }
        }
    }
}
