//! A prompt, from the blocks that a client sends: text, links where they stand, pictures, and behind it the files that came
//! with it.

use crate::base::encoding::percent_decoded;
use crate::base::json::{Value, text};
use crate::model::task::Image;
use crate::stdio::Refusal;

/// The text and the pictures of a prompt.
pub(super) fn read(blocks: Value) -> Result<(String, Vec<Image>), Refusal> {
    let Value::Array(blocks) = blocks else {
        return Err(Refusal::bad_params("`prompt` is a list of blocks"));
    };
    let (mut prompt, mut files, mut images) = (String::new(), String::new(), Vec::new());
    for mut block in blocks {
        match text(&block["type"]) {
            "text" => match block["text"].take() {
                // A long text alone is not copied.
                Value::String(text) if prompt.is_empty() => prompt = text,
                Value::String(text) => prompt += &text,
                _ => return Err(Refusal::bad_params("a block of text has no `text`")),
            },
            "image" => images.push(image(&block["data"], &block["mimeType"])?),
            "resource_link" => prompt += &link(text(&block["uri"]), text(&block["name"]))?,
            "resource" => {
                let resource = &block["resource"];
                let (uri, is_picture) =
                    (text(&resource["uri"]), text(&resource["mimeType"]).starts_with("image/"));
                prompt += &link(uri, "")?;
                match (resource["text"].as_str(), &resource["blob"]) {
                    (Some(content), _) => {
                        let end = if content.ends_with('\n') { "" } else { "\n" };
                        files += &format!("\n\n<file name=\"{}\">\n{content}{end}</file>", place(uri));
                    }
                    (None, blob) if is_picture => images.push(image(blob, &Value::Null)?),
                    _ => {
                        let sentence =
                            format!("`{uri}` is neither text nor a picture: only these can be sent");
                        return Err(Refusal::bad_params(sentence));
                    }
                }
            }
            other => {
                let sentence = format!(
                    "`prompt` has a block of the type `{other}`: text, image, resource and resource_link are known"
                );
                return Err(Refusal::bad_params(sentence));
            }
        }
    }
    prompt += &files;
    match prompt.trim().is_empty() && images.is_empty() {
        true => Err(Refusal::bad_params("there is no prompt")),
        false => Ok((prompt, images)),
    }
}

fn image(data: &Value, declared: &Value) -> Result<Image, Refusal> {
    let image = Image::from_base64(text(data)).map_err(Refusal::bad_params)?;
    match declared.as_str() {
        Some(declared) if declared != image.mime => {
            Err(Refusal::bad_params(format!("the picture is {}, not {declared}", image.mime)))
        }
        _ => Ok(image),
    }
}

/// What stands in the text for something that is elsewhere.
fn link(uri: &str, name: &str) -> Result<String, Refusal> {
    if uri.is_empty() {
        return Err(Refusal::bad_params("a resource in `prompt` has no `uri`"));
    }
    let place = place(uri);
    let name = if name.is_empty() { place.rsplit('/').next().unwrap_or(&place) } else { name };
    Ok(format!("[{name}]({place})"))
}

/// A file by its path, as agents know it; anything else by its address.
fn place(uri: &str) -> String {
    match uri.strip_prefix("file://") {
        // A fragment is the lines that are meant.
        Some(path) if path.starts_with('/') => percent_decoded(path),
        _ => uri.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::json::json;

    #[test]
    fn blocks_become_a_prompt_in_their_order() {
        let picture = "iVBORw0KGgo=";
        for (blocks, prompt, pictures) in [
            (json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab", 0),
            (
                json!([{"type": "text", "text": "see "}, {"type": "resource_link", "uri": "file:///a%20b/c.rs#L3:7", "name": "c.rs"}, {"type": "text", "text": "!"}]),
                "see [c.rs](/a b/c.rs#L3:7)!",
                0,
            ),
            (json!([{"type": "resource_link", "uri": "https://x/y", "name": ""}]), "[y](https://x/y)", 0),
            (
                json!([{"type": "resource", "resource": {"uri": "file:///w/a.txt", "text": "one"}}, {"type": "text", "text": " fix"}]),
                "[a.txt](/w/a.txt) fix\n\n<file name=\"/w/a.txt\">\none\n</file>",
                0,
            ),
            (json!([{"type": "image", "mimeType": "image/png", "data": picture}]), "", 1),
            (
                json!([{"type": "resource", "resource": {"uri": "file:///p.png", "mimeType": "image/png", "blob": picture}}]),
                "[p.png](/p.png)",
                1,
            ),
        ] {
            let (text, images) = read(blocks.clone()).unwrap();
            assert_eq!((text.as_str(), images.len()), (prompt, pictures), "{blocks}");
        }
    }

    #[test]
    fn a_block_that_cannot_be_sent_is_an_error_that_names_it() {
        for (blocks, problem) in [
            (Value::Null, "`prompt` is a list of blocks"),
            (json!([]), "there is no prompt"),
            (json!([{"type": "text", "text": " \n"}]), "there is no prompt"),
            (json!([{"type": "text"}]), "a block of text has no `text`"),
            (
                json!([{"type": "audio", "data": ""}]),
                "`prompt` has a block of the type `audio`: text, image, resource and resource_link are known",
            ),
            (
                json!([{"type": "image", "mimeType": "image/png", "data": "x y"}]),
                "the picture is not valid base64",
            ),
            (
                json!([{"type": "image", "mimeType": "image/jpeg", "data": "iVBORw0KGgo="}]),
                "the picture is image/png, not image/jpeg",
            ),
            (json!([{"type": "resource_link", "name": "x"}]), "a resource in `prompt` has no `uri`"),
            (
                json!([{"type": "resource", "resource": {"uri": "file:///a.zip", "blob": "AA=="}}]),
                "`file:///a.zip` is neither text nor a picture: only these can be sent",
            ),
        ] {
            assert_eq!(read(blocks.clone()), Err(Refusal::bad_params(problem)), "{blocks}");
        }
    }
}
