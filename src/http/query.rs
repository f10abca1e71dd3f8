//! Query strings: decoded name and value pairs. Knows no parameter.

use super::error::Error;

/// Decodes a query as forms are encoded: `&` between pairs, `+` is a blank, `%` two hex digits, UTF-8 inside.
pub(super) fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>, Error> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String, Error> {
    const MALFORMED: Error =
        Error::Malformed { what: "the query: % must stand before two hex digits, and the text be UTF-8" };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        (rest, _) = match (byte, tail) {
            (b'%', [high, low, tail @ ..]) => {
                let digits = hex(*high).zip(hex(*low)).ok_or(MALFORMED)?;
                (tail, bytes.push(digits.0 << 4 | digits.1))
            }
            (b'%', _) => return Err(MALFORMED),
            (b'+', _) => (tail, bytes.push(b' ')),
            (byte, _) => (tail, bytes.push(*byte)),
        };
    }
    String::from_utf8(bytes).map_err(|_| MALFORMED)
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
        for bad in ["a=%", "a=%1", "a=%zz", "a=%ff"] {
            assert!(pairs(Some(bad)).is_err(), "{bad}");
        }
    }
}
