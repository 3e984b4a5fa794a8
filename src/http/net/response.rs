//! The one file that names tiny_http. Its listener cannot be trusted (no limit of time or size, and one unread body ends
//! the process), so the connections are ours; what it does well is used: the reason phrases of the status codes, and
//! `Response::raw_print`, which writes the head of an answer with its date.

use crate::base::json::json;
use crate::http::net::connection::Response;
use crate::http::net::head::is_token;
use crate::model::error::Kind;
use tiny_http::{HTTPVersion, Header, StatusCode};

/// How the client knows where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes.
    Length(usize),
    /// Chunks, up to an empty one.
    Chunked,
    /// There is none, or it ends with the connection.
    Unsaid,
}

/// What an answer may not say of itself: the framing is the connection's.
const OURS: &[&str] =
    &["connection", "content-length", "keep-alive", "server", "trailer", "transfer-encoding", "upgrade"];

/// The head of an answer, up to and with its empty line. The only place where names and values become bytes, so the only
/// one that keeps a line end in a value from beginning a header, or an answer, of the backend's.
pub(crate) fn head(
    status: u16,
    headers: &[(String, String)],
    framing: Framing,
    connection: Option<&str>,
) -> Vec<u8> {
    let length = match framing {
        Framing::Length(length) => Some(length),
        Framing::Chunked => None,
        Framing::Unsaid => Some(0),
    };
    let fields = [("Server", "clinvk")].into_iter().filter_map(|(name, value)| field(name, value));
    let headers = headers
        .iter()
        .filter(|(name, _)| !OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours)))
        .filter_map(|(name, value)| field(name, value));
    // The threshold: its own is 32 KiB, and then it drops the length.
    let response = tiny_http::Response::new(
        StatusCode(status),
        fields.chain(headers).collect(),
        std::io::empty(),
        length,
        None,
    )
    .with_chunked_threshold(usize::MAX);
    let mut head = Vec::with_capacity(256);
    // No request headers: it would obey their TE. A write to memory does not fail.
    let _ = response.raw_print(&mut head, HTTPVersion(1, 1), &[], true, None);
    // It ends with the line that says the framing, whether the status may have one or not, and an empty one.
    let lines = match framing {
        Framing::Unsaid => "Content-Length: 0\r\n\r\n".len(),
        Framing::Length(_) | Framing::Chunked => "\r\n".len(),
    };
    head.truncate(head.len().saturating_sub(lines));
    // It has an opinion of its own on Connection and leaves ours out.
    if let Some(connection) = connection {
        head.extend_from_slice(format!("Connection: {connection}\r\n").as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// A header that can be nothing but one header: what may not stand in a value becomes `?`.
fn field(name: &str, value: &str) -> Option<Header> {
    if !is_token(name.as_bytes()) {
        log::warn!("a header named `{}` was left out of an answer", name.escape_debug());
        return None;
    }
    let value: String = value.chars().map(|c| if matches!(c, ' '..='~' | '\t') { c } else { '?' }).collect();
    Header::from_bytes(name.as_bytes(), value.trim().as_bytes()).ok()
}

/// The connection's own answer to a request that goes no further.
pub(crate) fn refusal(status: u16, message: &str) -> Response {
    let kind = match status {
        500 => Kind::Internal,
        503 => Kind::Busy,
        _ => Kind::InvalidRequest,
    };
    let body = json!({"error": {"kind": kind.word(), "message": message, "request_id": null}});
    let mut headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    if status == 503 {
        headers.push(("Retry-After".to_owned(), "1".to_owned()));
    }
    Response { status, headers, body: (body.to_string() + "\n").into_bytes() }
}

/// The same as bytes, for a connection that ends with it.
pub(crate) fn last_words(status: u16, message: &str) -> Vec<u8> {
    let refusal = refusal(status, message);
    let mut bytes = head(status, &refusal.headers, Framing::Length(refusal.body.len()), Some("close"));
    bytes.extend_from_slice(&refusal.body);
    bytes
}

/// Sent when a client waits for it before it sends its body.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn said(headers: &[(&str, &str)], framing: Framing, connection: Option<&str>) -> String {
        let headers: Vec<(String, String)> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let head = String::from_utf8(head(200, &headers, framing, connection)).unwrap();
        let lines = head.split_inclusive("\r\n").filter(|line| !line.starts_with("Date: "));
        lines.collect()
    }

    #[test]
    fn the_framing_is_what_was_asked_for_and_nothing_else() {
        let common = "HTTP/1.1 200 OK\r\nServer: clinvk\r\n";
        for (framing, line) in [
            (Framing::Length(0), "Content-Length: 0\r\n"),
            (Framing::Length(1 << 20), "Content-Length: 1048576\r\n"),
            (Framing::Chunked, "Transfer-Encoding: chunked\r\n"),
            (Framing::Unsaid, ""),
        ] {
            assert_eq!(said(&[], framing, None), format!("{common}{line}\r\n"));
            assert_eq!(said(&[], framing, Some("close")), format!("{common}{line}Connection: close\r\n\r\n"));
        }
    }

    #[test]
    fn an_answer_says_nothing_of_its_own_framing() {
        let headers = OURS.iter().map(|name| (*name, "7")).collect::<Vec<_>>();
        assert_eq!(
            said(&headers, Framing::Length(3), None),
            "HTTP/1.1 200 OK\r\nServer: clinvk\r\nContent-Length: 3\r\n\r\n"
        );
    }

    #[test]
    fn no_value_begins_a_line_of_its_own() {
        let headers = [
            ("A", "b\r\nSet-Cookie: c"),
            ("B", "\r\n\r\nHTTP/1.1 200 OK"),
            ("C", "\u{e9}\0\u{7f}\n"),
            ("D\r\nE", "f"),
            ("", "g"),
            ("H: i", "j"),
        ];
        assert_eq!(
            said(&headers, Framing::Length(0), None),
            "HTTP/1.1 200 OK\r\nServer: clinvk\r\nA: b??Set-Cookie: c\r\nB: ????HTTP/1.1 200 OK\r\nC: ????\r\n\
             Content-Length: 0\r\n\r\n"
        );
    }
}
