//! Signed URLs: HMAC-SHA256 (RFC 2104) over the request target, path, `?` and query, up to `&sig=`. `sig` comes last, as
//! base64url without padding. `expires` (Unix seconds) and `key_id` come before it. They are read before anything is decoded,
//! and are part of no pipeline, ETag or cache key. [`super::auth`] decides what a signature allows.
//!
//! Browsers, proxies and libraries percent-encode differently, so what is signed is the canonical spelling of a target. Two
//! targets have the same one only if they mean the same. A signature over a target as it is sent is good, too.
//!
//! ```
//! use progimage::http::sign::{SigningKey, sign, verify};
//! let key: SigningKey = "web:0123456789abcdef".parse()?;
//! let target = sign(&key, "/images/x.webp?w=300", Some(2_000_000_000));
//! assert!(target.starts_with("/images/x.webp?w=300&expires=2000000000&key_id=web&sig="));
//! let signed = verify(std::slice::from_ref(&key), &target, 1_999_999_999)?.expect("signed");
//! assert_eq!(signed.expires, Some(2_000_000_000));
//! assert!(verify(&[key], &target.replace("300", "301"), 0).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Mac;

use crate::digest::secret::{self, hmac};
pub use crate::http::error::Refused;
use crate::pipeline::query;

/// Keys that may be active at once. Without `key_id`, each of them is tried.
pub const SIGNING_KEYS_MAX: usize = 16;

/// A key that signs URLs.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey {
    /// The name of the key in `key_id`.
    pub id: String,
    secret: String,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl FromStr for SigningKey {
    type Err = String;

    /// Reads `id:secret`; the message never shows the secret.
    fn from_str(text: &str) -> Result<SigningKey, String> {
        let (id, secret) = text.split_once(':').ok_or("a signing key is written id:secret")?;
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err("the id of a signing key has letters, digits, - _ and . only".to_owned());
        }
        secret::check(secret).map_err(|error| format!("signing key {id:?}: {error}"))?;
        Ok(SigningKey { id: id.to_owned(), secret: secret.to_owned() })
    }
}

/// Reads a list of signing keys, separated by commas or blanks. No message shows a secret.
///
/// ```
/// use progimage::http::sign::signing_keys;
/// let keys = signing_keys("new:fedcba9876543210 old:0123456789abcdef")?;
/// assert_eq!(keys[0].id, "new");
/// assert!(signing_keys("short:secret").is_err());
/// # Ok::<(), String>(())
/// ```
pub fn signing_keys(text: &str) -> Result<Vec<SigningKey>, String> {
    let words = text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty());
    let keys = words.map(str::parse).collect::<Result<Vec<SigningKey>, String>>()?;
    if keys.len() > SIGNING_KEYS_MAX {
        return Err(format!("{} signing keys; at most {SIGNING_KEYS_MAX}", keys.len()));
    }
    match keys.iter().enumerate().find(|(place, key)| keys[..*place].iter().any(|other| other.id == key.id)) {
        Some((_, twice)) => Err(format!("signing key {:?} is given twice", twice.id)),
        None => Ok(keys),
    }
}

/// What a valid signature says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The end of its validity in Unix seconds; `None` if it never expires.
    pub expires: Option<u64>,
}

/// Signs a request target: its canonical spelling with `expires`, `key_id` and `sig`.
///
/// ```
/// use progimage::http::sign::{sign, verify};
/// let key = "web:0123456789abcdef".parse()?;
/// let target = sign(&key, "/images/x.webp?download=my \"図\"", None);
/// assert!(target.starts_with("/images/x.webp?download=my%20%22%E5%9B%B3%22&key_id=web&sig="));
/// let typed = target.replace("%20", "+").replace("%E5%9B%B3", "図");
/// assert!(verify(&[key], &typed, 0)?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sign(key: &SigningKey, target: &str, expires: Option<u64>) -> String {
    let mut signed = canonical(target);
    let separator = |text: &str| if text.contains('?') { '&' } else { '?' };
    if let Some(expires) = expires {
        signed += &format!("{}expires={expires}", separator(&signed));
    }
    signed += &format!("{}key_id={}", separator(&signed), key.id);
    let signature = URL_SAFE_NO_PAD.encode(hmac(&key.secret, &signed).finalize().into_bytes());
    format!("{signed}&sig={signature}")
}

/// Checks the signature of a request target against the active keys at the time `now` (Unix seconds). `None` means that
/// the target has no signature.
pub fn verify(keys: &[SigningKey], target: &str, now: u64) -> Result<Option<Signed>, Refused> {
    let Some((message, signature)) = split(target) else { return Ok(None) };
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| Refused::Bad)?;
    // A name that was encoded counts as what it means: otherwise an end could be hidden.
    let meant = canonical(message);
    let query = meant.split_once('?').map_or("", |(_, query)| query);
    let key_id = value(query, "key_id")?;
    let expires = value(query, "expires")?.map(|text| text.parse::<u64>().map_err(|_| Refused::Bad)).transpose()?;
    let mut good = false;
    for key in keys.iter().filter(|key| key_id.is_none_or(|id| id == key.id)) {
        // Every candidate is compared, each in constant time.
        good |= hmac(&key.secret, &meant).verify_slice(&signature).is_ok();
        good |= hmac(&key.secret, message).verify_slice(&signature).is_ok();
    }
    match (good, expires) {
        (false, _) => Err(Refused::Bad),
        (true, Some(end)) if end <= now => Err(Refused::Expired),
        (true, expires) => Ok(Some(Signed { expires })),
    }
}

/// The canonical spelling of a target: each byte that is not `A-Z a-z 0-9 - . _ ~ , :` is percent-encoded, in capitals, but
/// for `/` in the path and `&` and `=` between the pairs of a query. A blank is `%20`, also where it was written as `+`.
fn canonical(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let parts = |text: &str, between: char, part: &dyn Fn(&str) -> String| {
        text.split(between).map(part).collect::<Vec<_>>().join(&between.to_string())
    };
    let path = parts(path, '/', &|segment| query::encoded(query::decoded(segment, false)));
    let word = |word: &str| query::encoded(query::decoded(word, true));
    let pair = |pair: &str| match pair.split_once('=') {
        Some((name, value)) => format!("{}={}", word(name), word(value)),
        None => word(pair),
    };
    query.map_or(path.clone(), |query| format!("{path}?{}", parts(query, '&', &pair)))
}

/// Splits a target into what is signed and the signature.
fn split(target: &str) -> Option<(&str, &str)> {
    let at = target.rfind("&sig=").or_else(|| target.rfind("?sig="))?;
    Some((&target[..at], &target[at + "&sig=".len()..]))
}

/// The value of a name that occurs at most once in the query.
fn value<'a>(query: &'a str, name: &str) -> Result<Option<&'a str>, Refused> {
    let mut values = query.split('&').filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(Refused::Bad),
        (value, None) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> SigningKey {
        text.parse().expect(text)
    }

    #[test]
    fn only_the_whole_target_under_an_active_key_is_good() {
        let (one, other) = (key("one:0123456789abcdef"), key("other:fedcba9876543210"));
        let both = [one.clone(), other.clone()];
        for target in ["/images/a.webp", "/images/a.webp?w=3", "/remote.jpg?url=http%3A%2F%2Fx%2F%3Fsig%3D1"] {
            for expires in [None, Some(1_000)] {
                let signed = sign(&one, target, expires);
                assert_eq!(verify(&both, &signed, 999), Ok(Some(Signed { expires })), "{signed}");
                assert_eq!(verify(std::slice::from_ref(&other), &signed, 999), Err(Refused::Bad), "{signed}");
                // A URL is another one if any byte is changed, added or removed.
                for at in 0..signed.len() {
                    let mut changed = signed.clone().into_bytes();
                    changed[at] ^= 1;
                    let changed = String::from_utf8(changed).expect("ASCII");
                    assert!(!matches!(verify(&both, &changed, 999), Ok(Some(_))), "{changed}");
                }
                assert!(verify(&both, &format!("{signed}&w=4"), 999).is_err());
                assert!(verify(&both, &format!("{signed}="), 999).is_err());
                assert!(verify(&both, &signed[..signed.len() - 1], 999).is_err());
            }
        }
        assert_eq!(verify(&both, "/images/a.webp?w=3", 0), Ok(None));
    }

    /// Spellings of one target, as clients send what was printed, and as they were typed.
    #[test]
    fn every_spelling_of_a_signed_url_is_good_and_no_other_meaning() {
        let key = key("k:0123456789abcdef");
        let good = |target: &str| verify(std::slice::from_ref(&key), target, 0).is_ok_and(|signed| signed.is_some());
        for name in
            ["my file", "naïve", "图", "a\"b", "it's", "50%", "a+b", "a&b=c", "a#b", "(1),{2}|3^4`5\\6<7>", "a;b:c"]
        {
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let signed = sign(&key, &format!("/images/x.webp?w=20&download={encoded}"), None);
            assert!(
                signed.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>'{}|^`\\#".contains(&byte)),
                "{signed}"
            );
            let (before, after) =
                signed.split_once("download=").and_then(|(a, b)| Some((a, b.split_once('&')?.1))).expect("a name");
            let value = |value: &str| format!("{before}download={value}&{after}");
            assert!(good(&signed) && good(&value(&encoded)) && good(&value(&encoded.to_uppercase())), "{signed}");
            // What a program leaves as it is where another encodes it.
            let raw = name.replace('%', "%25").replace('&', "%26").replace('+', "%2B").replace('#', "%23");
            assert!(good(&value(&raw)) && good(&value(&raw.replace(' ', "+"))), "{signed}");
            for other in ["", "x", "%", "my%2520file", "a%2Bb%20", "a&b"] {
                assert!(!good(&value(other)), "{other} for {name}");
            }
        }
        let signed = sign(&key, "/images/x.webp?a=b%26w=9", None);
        assert!(!good(&signed.replace("%26", "&")), "a pair more");
        assert!(!good(&signed.replace("%3D", "=").replace("a=b", "a%3Db")), "another name");
    }

    #[test]
    fn an_end_cannot_be_hidden_by_its_spelling() {
        let key = key("k:0123456789abcdef");
        let signed = sign(&key, "/a", Some(1_000));
        let hidden = signed.replace("expires", "expire%73");
        assert_eq!(verify(std::slice::from_ref(&key), &hidden, 999), Ok(Some(Signed { expires: Some(1_000) })));
        assert_eq!(verify(std::slice::from_ref(&key), &hidden, 1_000), Err(Refused::Expired));
    }

    /// Other programs sign what they send.
    #[test]
    fn a_signature_over_the_target_as_it_is_sent_is_good() {
        let key = key("k:0123456789abcdef");
        for target in ["/remote.jpg?url=http://x/a(1).jpg&w=3&key_id=k", "/images/a.webp?download=it's;&key_id=k"] {
            let signature = URL_SAFE_NO_PAD.encode(hmac(&key.secret, target).finalize().into_bytes());
            let signed = verify(std::slice::from_ref(&key), &format!("{target}&sig={signature}"), 0);
            assert_eq!(signed, Ok(Some(Signed { expires: None })), "{target}");
        }
    }

    #[test]
    fn a_signature_ends_when_it_says() {
        let key = key("k:0123456789abcdef");
        let signed = sign(&key, "/a", Some(1_000));
        assert!(verify(std::slice::from_ref(&key), &signed, 999).is_ok());
        assert_eq!(verify(std::slice::from_ref(&key), &signed, 1_000), Err(Refused::Expired));
        // A second, later `expires` does not extend the first.
        let doubled = sign(&key, "/a?expires=5000", Some(1_000));
        assert_eq!(verify(&[key], &doubled, 0), Err(Refused::Bad));
    }

    /// A fixed case, made with `openssl dgst -sha256 -hmac`: other programs sign URLs, too.
    #[test]
    fn the_signature_is_what_others_compute() {
        let signed = sign(&key("k:0123456789abcdef"), "/images/a.webp?w=300", None);
        assert_eq!(signed, EXPECTED);
    }

    const EXPECTED: &str = "/images/a.webp?w=300&key_id=k&sig=qsWvAP5SjDqaA4K3FBGB0kCccfDhebgSfVnPCjtTNx8";

    #[test]
    fn mistakes_in_keys_are_reported_without_the_secret() {
        assert_eq!(signing_keys("a:0123456789abcdef, b:0123456789abcdef").map(|keys| keys.len()), Ok(2));
        let many: String = (0..=SIGNING_KEYS_MAX).map(|n| format!("k{n}:0123456789abcdef ")).collect();
        for bad in [
            "a",
            "a:short",
            "a b:0123456789abcdef",
            "a:0123456789abcdef,a:0123456789abcdef",
            ":0123456789abcdef",
            &many,
        ] {
            let mistake = signing_keys(bad).expect_err(bad);
            assert!(!mistake.contains("0123456789"), "{mistake}");
        }
        assert!(!format!("{:?}", key("a:0123456789abcdef")).contains("0123"));
    }
}
