//! Text as files and clients have it.

use std::string::FromUtf8Error;

/// The text in the bytes of a file, without the byte order mark that some editors put in front.
///
/// # Errors
/// When they are no UTF-8.
pub fn of(bytes: Vec<u8>) -> Result<String, FromUtf8Error> {
    match without_mark(&bytes) {
        rest if rest.len() < bytes.len() => String::from_utf8(rest.to_vec()),
        _ => String::from_utf8(bytes),
    }
}

/// The bytes behind a byte order mark, where there is one.
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes)
}
