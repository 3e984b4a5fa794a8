//! Bytes as text: base64 and percent escapes.

/// The alphabet of base64 (RFC 4648 section 4).
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes as padded base64.
pub fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let six_bits = (group >> (18 - 6 * position)) as usize & 63;
            out.push(if position > chunk.len() { '=' } else { char::from(BASE64[six_bits]) });
        }
    }
    out
}

/// The bytes of a padded base64 text. Nothing is forgiven: no blank, no missing padding, no bits that say nothing.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    if text.len() % 4 != 0 || padding > 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in digits.as_bytes().chunks(4) {
        let mut group = 0;
        for digit in chunk {
            group = group << 6 | value_of_digit(*digit)?;
        }
        // As if the padding were zeros: of 24 bits the first 8, 16 or 24 are bytes.
        let whole = (group << (6 * (4 - chunk.len()))).to_be_bytes();
        let (said, rest) = whole[1..].split_at(chunk.len() - 1);
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(said);
    }
    Some(bytes)
}

fn value_of_digit(digit: u8) -> Option<u32> {
    let (first, zero) = match digit {
        b'A'..=b'Z' => (b'A', 0),
        b'a'..=b'z' => (b'a', 26),
        b'0'..=b'9' => (b'0', 52),
        b'+' => (b'+', 62),
        b'/' => (b'/', 63),
        _ => return None,
    };
    Some(u32::from(digit - first) + zero)
}

/// A text as it can stand in a path or a query: all but letters, digits and `-._~` is escaped.
pub fn percent_encoded(text: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(escaped).collect()
}

/// A text with its `%41` decoded; bytes that are no UTF-8 become U+FFFD.
pub fn percent_decoded(text: &str) -> String {
    String::from_utf8_lossy(&percent_bytes(text)).into_owned()
}

/// The bytes that a text with percent escapes stands for. A `%` that begins no escape stands for itself.
pub(crate) fn percent_bytes(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, behind @ ..] = rest {
        let digit = |index: usize| behind.get(index).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_comes_back_as_it_went() {
        for length in 0..70u8 {
            let data: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(151) ^ 0xa5).collect();
            let text = base64(&data);
            assert_eq!(from_base64(&text), Some(data), "{text}");
        }
        // RFC 4648 section 10.
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(from_base64(text).as_deref(), Some(bytes.as_bytes()), "{text}");
        }
    }

    #[test]
    fn percent_escapes_are_decoded_where_they_are_some() {
        assert_eq!(percent_decoded("org%2Fmo%20del%zz%4"), "org/mo del%zz%4");
        assert_eq!(percent_decoded("%e6%97%a5%ff%+f"), "日\u{fffd}%+f");
        assert_eq!(percent_encoded("a-Z 日+%/"), "a-Z%20%E6%97%A5%2B%25%2F");
    }

    #[test]
    fn base64_forgives_nothing() {
        for text in [
            "Z", "Zg", "Zg=", "Zg===", "Z===", "A===", "====", "=", "Zm9v=", "Zm9v====", "Zh==", "Zm9=",
            "Zm 9v", "Zm9v\n", "Zg==Zg==", "Z=g=", "Zm-_", "Zm9é", "Zm9v, ",
        ] {
            assert_eq!(from_base64(text), None, "{text:?}");
        }
    }
}
