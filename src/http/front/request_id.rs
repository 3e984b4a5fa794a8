//! What a request is called: the id in its answer and in the log, and its place in a trace (W3C Trace Context).

use crate::base::world;
use crate::model::error::Error;

/// The longest id of a client's own that is taken over.
const LONGEST_ID: usize = 128;

/// The environment variable that carries the trace to a program: what OpenTelemetry calls the environment carrier.
pub(crate) const TRACE_VARIABLE: &str = "TRACEPARENT";

/// The id of a request: the client's own where it is a sane one, else a new one.
pub(crate) fn request_id(given: Option<&[u8]>) -> Result<String, Error> {
    // A sane one can stand in a header, a log line and a file's name as it is.
    let is_sane = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    match given.filter(|id| (1..=LONGEST_ID).contains(&id.len()) && id.iter().all(is_sane)) {
        Some(id) => Ok(String::from_utf8_lossy(id).into_owned()),
        None => Ok(world::random_id()?),
    }
}

/// A place in a trace: whose part a request is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trace {
    /// The trace: 32 hexadecimal digits.
    pub(crate) id: String,
    /// The part of it that the caller is, or that we are: 16 of them.
    pub(crate) span: String,
    flags: u8,
}

impl Trace {
    /// Reads a `traceparent`. What is not exactly one is none: a trace must not be what a request fails on.
    pub(crate) fn parse(header: &[u8]) -> Option<Trace> {
        let text = std::str::from_utf8(header).ok()?;
        let mut parts = text.split('-');
        let mut part = |length: usize| {
            let part = parts.next()?;
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            (part.len() == length && part.bytes().all(is_digit)).then_some(part)
        };
        let (version, id, span, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        let is_zero = |digits: &str| digits.bytes().all(|digit| digit == b'0');
        // A version that is not known yet may say more behind; this one has nothing there.
        let is_known = version == "00" && parts.next().is_none();
        let is_newer = version != "00" && version != "ff";
        if is_zero(id) || is_zero(span) || !(is_known || is_newer) {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()?;
        Some(Trace { id: id.to_owned(), span: span.to_owned(), flags })
    }

    pub(crate) fn child(&self) -> Result<Trace, Error> {
        loop {
            let span = world::random_id()?[..16].to_owned();
            // All zeroes is no part of a trace.
            if span.bytes().any(|digit| digit != b'0') {
                return Ok(Trace { id: self.id.clone(), span, flags: self.flags });
            }
        }
    }

    /// The header, or the variable, that passes it on. We know one flag only, whether it is sampled.
    pub(crate) fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", self.id, self.span, self.flags & 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        for id in ["a", "Req-1_2.3", &"x".repeat(128)] {
            assert_eq!(request_id(Some(id.as_bytes())).unwrap(), id);
        }
        for id in ["", " a", "a b", "a\r\nb: c", "a\"b", "ä", "a/b", &"x".repeat(129)] {
            let made = request_id(Some(id.as_bytes())).unwrap();
            assert!(made != id && made.len() == 32, "{id}: {made}");
        }
        assert!(request_id(Some(b"\xff")).unwrap().len() == 32);
        assert_ne!(request_id(None).unwrap(), request_id(None).unwrap());
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_goes_on_with_a_span_of_our_own() {
        let parent = Trace::parse(PARENT.as_bytes()).unwrap();
        assert_eq!(parent.header(), PARENT);
        let child = parent.child().unwrap();
        assert_eq!(child.id, parent.id);
        assert_ne!(child.span, parent.span);
        assert_eq!(Trace::parse(child.header().as_bytes()), Some(child));
    }

    #[test]
    fn a_newer_version_is_read_as_far_as_it_is_known() {
        for text in [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-else",
        ] {
            assert_eq!(Trace::parse(text.as_bytes()).unwrap().header(), PARENT, "{text}");
        }
    }

    #[test]
    fn what_is_no_trace_is_none() {
        for text in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
        ] {
            assert_eq!(Trace::parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Trace::parse(b"00-\xff"), None);
    }
}
