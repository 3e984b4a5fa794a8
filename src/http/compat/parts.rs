//! The parts of a message: text, pictures and documents, in all three dialects, whose words for them do not collide.
//! What no backend can take is refused, never dropped.

use super::Part;
use crate::base::encoding::{from_base64, percent_bytes};
use crate::base::json;
use crate::http::front::errors::Fault;
use crate::model::task::Image;
use serde_json::Value;

/// The parts of a content: text, a list of parts, or nothing. `param` is the field that is to blame.
pub(crate) fn content(content: &Value, param: &'static str) -> Result<Vec<Part>, Fault> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(text_part(text).into_iter().collect()),
        Value::Array(items) => {
            let mut parts = Vec::new();
            for item in items {
                parts.extend(part(item, param)?);
            }
            Ok(parts)
        }
        _ => Err(Fault::invalid(param, format!("{param}: content must be text or a list of parts"))),
    }
}

/// The text of a content, and what in it is none.
pub(crate) fn text_and_rest(value: &Value, param: &'static str) -> Result<(String, Vec<Part>), Fault> {
    let (mut texts, mut rest) = (Vec::new(), Vec::new());
    for part in content(value, param)? {
        match part {
            Part::Text(text) => texts.push(text.to_string()),
            other => rest.push(other),
        }
    }
    Ok((texts.join("\n"), rest))
}

/// The texts of a content that may have nothing else, such as a system prompt.
pub(crate) fn texts_only(value: &Value, param: &'static str) -> Result<Vec<String>, Fault> {
    let texts = content(value, param)?.into_iter().map(|part| match part {
        Part::Text(text) => Ok(text.to_string()),
        _ => Err(Fault::unsupported(param, format!("{param}: what the system says must be text alone"))),
    });
    texts.collect()
}

fn text_part(text: &str) -> Option<Part> {
    (!text.is_empty()).then(|| Part::Text(text.into()))
}

/// One part; some become more than one, an empty text none.
fn part(item: &Value, param: &'static str) -> Result<Vec<Part>, Fault> {
    let words = |name: &str| json::text(&item[name]);
    let kind = words("type");
    let one = |part: Result<Part, String>| {
        part.map(|part| vec![part]).map_err(|why| Fault::unsupported(param, format!("{param}: {why}")))
    };
    match kind {
        _ if item.is_string() => Ok(text_part(item.as_str().unwrap_or_default()).into_iter().collect()),
        "text" | "input_text" | "output_text" | "" if item["text"].is_string() => {
            Ok(text_part(words("text")).into_iter().collect())
        }
        "refusal" => Ok(text_part(words("refusal")).into_iter().collect()),
        "image_url" | "input_image" => one(openai_image(item)),
        "image" => one(anthropic_image(&item["source"])),
        "file" => one(openai_file(&item["file"])),
        "input_file" => one(openai_file(item)),
        "document" => document(item, param),
        "search_result" => {
            let (text, rest) = text_and_rest(&item["content"], param)?;
            let name = format!("{} ({})", words("title"), words("source"));
            Ok([Part::Document { name, text }].into_iter().chain(rest).collect())
        }
        // A tool of the client's that its search found.
        "tool_reference" => Ok(vec![Part::Text(format!("[tool {}]", words("tool_name")).into())]),
        "input_audio" => one(Err("no backend takes audio".to_owned())),
        "" => Err(Fault::invalid(param, format!("{param}: a part of the content has no type"))),
        other => one(Err(format!("no backend takes parts of type `{other}`"))),
    }
}

fn openai_image(item: &Value) -> Result<Part, String> {
    let url = item["image_url"].as_str().or(item["image_url"]["url"].as_str());
    match url {
        Some(url) => picture(Data::of_url(url)?.bytes).map(Part::Image),
        None => Err(by_reference("images", "file id")),
    }
}

fn anthropic_image(source: &Value) -> Result<Part, String> {
    match source["type"].as_str() {
        Some("base64") => picture(decoded(json::text(&source["data"]))?).map(Part::Image),
        Some("url") => Err(by_reference("images", "URL")),
        _ => Err(by_reference("images", "file id")),
    }
}

fn picture(bytes: Vec<u8>) -> Result<Image, String> {
    Image::recognise(bytes).ok_or_else(|| "an image is neither PNG, JPEG, GIF nor WebP".to_owned())
}

fn openai_file(file: &Value) -> Result<Part, String> {
    let Some(data) = file["file_data"].as_str() else {
        return Err(by_reference("files", if file["file_url"].is_string() { "URL" } else { "file id" }));
    };
    let data = if starts_with_scheme(data) {
        Data::of_url(data)?
    } else {
        Data { mime: String::new(), bytes: decoded(data)? }
    };
    data.into_part(file["filename"].as_str().unwrap_or("file"))
}

fn document(item: &Value, param: &'static str) -> Result<Vec<Part>, Fault> {
    let source = &item["source"];
    let words = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = item["title"].as_str().unwrap_or("document").to_owned();
    let unsupported = |why: String| Fault::unsupported(param, format!("{param}: {why}"));
    let mut parts = match source["type"].as_str() {
        Some("text") => vec![Part::Document { name, text: words(&source["data"]) }],
        Some("content") => {
            let (text, rest) = text_and_rest(&source["content"], param)?;
            [Part::Document { name, text }].into_iter().chain(rest).collect()
        }
        Some("base64") => {
            let bytes = decoded(&words(&source["data"])).map_err(unsupported)?;
            let data = Data { mime: words(&source["media_type"]), bytes };
            vec![data.into_part(&name).map_err(unsupported)?]
        }
        Some("url") => return Err(unsupported(by_reference("documents", "URL"))),
        _ => return Err(unsupported(by_reference("documents", "file id"))),
    };
    // What the client says of the document belongs before it.
    parts.splice(0..0, text_part(&words(&item["context"])));
    Ok(parts)
}

fn by_reference(what: &str, how: &str) -> String {
    format!("{what} by {how} are not fetched: send the bytes as base64")
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    from_base64(text).ok_or_else(|| "the data is not valid base64".to_owned())
}

fn starts_with_scheme(text: &str) -> bool {
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
        if !starts_with_scheme(url) {
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
            return picture(self.bytes).map(Part::Image);
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
