//! Digest fields (RFC 9530). `Content-Digest` and `Repr-Digest` of uploads are checked, in addition to the store's own
//! hash. `Want-Repr-Digest` is answered.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sha2::{Digest as _, Sha256, Sha512};

use super::response::value;
use crate::http::error::Error;
use crate::http::message::form::Tap;
use crate::offload;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
pub(in crate::http) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const WANT_REPR_DIGEST: HeaderName = HeaderName::from_static("want-repr-digest");

enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

struct Claim {
    hash: Hash,
    expected: Vec<u8>,
}

/// The digests that a client sent, each with its running hash. Other algorithms are ignored, as the RFC says.
#[derive(Default)]
pub(in crate::http) struct Claims(Vec<Claim>);

impl Claims {
    /// Reads both fields. An upload has no content coding, so both cover the same bytes.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Result<Claims, Error> {
        let mut claims = Claims::default();
        for name in [CONTENT_DIGEST, REPR_DIGEST] {
            claims.read(headers, &name)?;
        }
        Ok(claims)
    }

    fn read(&mut self, headers: &HeaderMap, name: &HeaderName) -> Result<(), Error> {
        const MALFORMED: Error =
            Error::Malformed { what: "Content-Digest and Repr-Digest must have the form sha-256=:<base64>:" };
        let Some(field) = dictionary(headers, name) else { return Ok(()) };
        for (key, entry) in field.map_err(|_| MALFORMED)? {
            let hash = match key.as_str() {
                "sha-256" => Hash::Sha256(Sha256::new()),
                "sha-512" => Hash::Sha512(Sha512::new()),
                _ => continue,
            };
            let ListEntry::Item(sfv::Item { bare_item: BareItem::ByteSequence(expected), .. }) = entry else {
                return Err(MALFORMED);
            };
            self.0.push(Claim { hash, expected });
        }
        Ok(())
    }

    /// Hashes the next bytes of the body.
    pub(in crate::http) fn update(&mut self, bytes: &[u8]) {
        for claim in &mut self.0 {
            match &mut claim.hash {
                Hash::Sha256(hash) => hash.update(bytes),
                Hash::Sha512(hash) => hash.update(bytes),
            }
        }
    }

    /// Checks the digests at the end of the body.
    pub(in crate::http) fn check(self) -> Result<(), Error> {
        for Claim { hash, expected } in self.0 {
            let (algorithm, actual) = match hash {
                Hash::Sha256(hash) => ("sha-256", hash.finalize().to_vec()),
                Hash::Sha512(hash) => ("sha-512", hash.finalize().to_vec()),
            };
            if actual != expected {
                let (expected, actual) = (STANDARD.encode(expected), STANDARD.encode(actual));
                return Err(Error::FieldDigest { algorithm, expected, actual });
            }
        }
        Ok(())
    }
}

impl Tap for Claims {
    fn see(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// The field of this name, with its lines joined; `None` if there is none.
fn dictionary(headers: &HeaderMap, name: &HeaderName) -> Option<Result<Dictionary, sfv::Error>> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
    (!values.is_empty()).then(|| Parser::new(&values.join(&b", "[..])).parse())
}

/// Whether the client wants a digest of the representation.
pub(in crate::http) fn wants_repr_digest(headers: &HeaderMap) -> bool {
    headers.contains_key(WANT_REPR_DIGEST)
}

/// The `Repr-Digest` of a whole representation, if the client wants one of a known algorithm.
pub(in crate::http) async fn repr_digest(headers: &HeaderMap, whole: &Bytes) -> Option<HeaderValue> {
    let hash = wanted(headers)?;
    let whole = whole.clone();
    // The task is lost only when the server stops. A wish need not be granted.
    offload::run(whole.len(), move || hash.digest(&whole)).await
}

/// The known hash of the highest weight, from 1 to 10. The field is a wish, so what cannot be read is ignored.
fn wanted(headers: &HeaderMap) -> Option<Hash> {
    let field = dictionary(headers, &WANT_REPR_DIGEST)?.ok()?;
    let weight = |key: &str| match field.get(key)? {
        ListEntry::Item(sfv::Item { bare_item: BareItem::Integer(weight), .. }) => {
            Some(i64::from(*weight)).filter(|weight| (1..=10).contains(weight))
        }
        _ => None,
    };
    let [sha256, sha512] = ["sha-256", "sha-512"].map(weight);
    if sha512 > sha256 {
        return Some(Hash::Sha512(Sha512::new()));
    }
    sha256.map(|_| Hash::Sha256(Sha256::new()))
}

impl Hash {
    fn digest(self, bytes: &[u8]) -> HeaderValue {
        let (key, digest) = match self {
            Hash::Sha256(hash) => ("sha-256", STANDARD.encode(hash.chain_update(bytes).finalize())),
            Hash::Sha512(hash) => ("sha-512", STANDARD.encode(hash.chain_update(bytes).finalize())),
        };
        value(format!("{key}=:{digest}:"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::offload::INLINE_BYTES_MAX;

    fn check(field: &str, body: &[u8]) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_DIGEST, field.parse().expect("a field value"));
        let mut claims = Claims::of(&headers)?;
        let (head, tail) = body.split_at(body.len() / 2);
        claims.update(head);
        claims.update(tail);
        claims.check()
    }

    // The example of RFC 9530, appendix D.
    const BODY: &[u8] = b"{\"hello\": \"world\"}\n";
    const SHA256: &str = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";

    #[test]
    fn digests_that_are_sent_are_verified() {
        assert_eq!(check(SHA256, BODY), Ok(()));
        assert_eq!(check(&format!("md5=:AAAA:, {SHA256}"), BODY), Ok(()));
        assert!(matches!(check(SHA256, b"other"), Err(Error::FieldDigest { algorithm: "sha-256", .. })));
        assert!(matches!(check("sha-512=:AAAA:", BODY), Err(Error::FieldDigest { algorithm: "sha-512", .. })));
        for bad in ["sha-256=abc", "sha-256", "=", "sha-256=:*:"] {
            assert!(matches!(check(bad, BODY), Err(Error::Malformed { .. })), "{bad}");
        }
    }

    #[tokio::test]
    async fn the_digest_of_the_highest_weight_is_answered() {
        let body = Bytes::from_static(BODY);
        let mut headers = HeaderMap::new();
        assert_eq!(repr_digest(&headers, &body).await, None);
        for (wish, expected) in [
            ("sha-256=1", Some("sha-256=:")),
            ("sha-256=3, sha-512=10", Some("sha-512=:")),
            ("sha-256=5, sha-512=5", Some("sha-256=:")),
            ("sha-256=0, sha-512=1, md5=9", Some("sha-512=:")),
            ("sha-256=0", None),
            ("sha-256=11", None),
            ("sha-256", None),
            ("md5=10", None),
            ("sha-256=:AAAA:", None),
            ("=", None),
        ] {
            headers.insert(WANT_REPR_DIGEST, wish.parse().expect("a field value"));
            let digest = repr_digest(&headers, &body).await;
            let begins = digest.as_ref().map(|digest| &digest.to_str().expect("ASCII")[..9]);
            assert_eq!(begins, expected, "{wish}");
        }
        headers.insert(WANT_REPR_DIGEST, "sha-256=1".parse().expect("a field value"));
        assert_eq!(repr_digest(&headers, &body).await.expect("wanted"), SHA256);
        // One byte more than is hashed on the runtime.
        let long = Bytes::from(vec![7; INLINE_BYTES_MAX + 1]);
        let expected = STANDARD.encode(Sha256::digest(&long));
        assert_eq!(repr_digest(&headers, &long).await.expect("wanted"), format!("sha-256=:{expected}:"));
    }
}
