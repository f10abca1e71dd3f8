//! Query strings: decoded name and value pairs. Knows no parameter.

use super::error::Error;

/// Decodes a query as forms are encoded: `&` between pairs, `+` is a blank, `%` before two hex digits a byte, and anywhere else
/// itself (WHATWG URL, 1.3: so `w=50%` means what it says), UTF-8 inside.
pub(super) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Error> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let refused = |text: &str| Error::Parameter {
                parameter: text.chars().take(64).collect(),
                allowed: "UTF-8, percent-encoded".to_owned(),
            };
            Ok((decode(name).ok_or_else(|| refused(name))?, decode(value).ok_or_else(|| refused(name))?))
        })
        .collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let encoded = match (byte, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        rest = if encoded.is_some() { &tail[2..] } else { tail };
        bytes.push(encoded.unwrap_or(if *byte == b'+' { b' ' } else { *byte }));
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_in_order() {
        let check = |query: &str, expected: &[(&str, &str)]| {
            let expected = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(pairs(Some(query)), Ok(expected), "{query}");
        };
        check("", &[]);
        check("w=1&h=2", &[("w", "1"), ("h", "2")]);
        check("&lossless&&q=", &[("lossless", ""), ("q", "")]);
        check("a=b=c&crop=10%25%2c+1", &[("a", "b=c"), ("crop", "10%, 1")]);
        check("%C3%A9=%c3%a9", &[("é", "é")]);
        assert_eq!(pairs(None), Ok(vec![]));
        check("a=%&b=1%,2%25,%zz%4", &[("a", "%"), ("b", "1%,2%,%zz%4")]);
        for bad in ["a=%ff", "%c3=1"] {
            assert!(matches!(pairs(Some(bad)), Err(Error::Parameter { .. })), "{bad}");
        }
    }
}
