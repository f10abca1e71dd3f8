//! `Content-Digest` and `Repr-Digest` (RFC 9530) of uploads: read, computed beside the store's own hash, compared.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use sha2::{Digest as _, Sha256, Sha512};

use super::error::Error;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

enum Hash {
    Sha256(Sha256),
    Sha512(Sha512),
}

struct Claim {
    hash: Hash,
    expected: Vec<u8>,
}

/// The digests that a client sent along, each with its hash under way. Other algorithms are ignored, as the RFC says.
#[derive(Default)]
pub(super) struct Claims(Vec<Claim>);

impl Claims {
    /// Reads both fields. An upload has no content coding, so they mean the same bytes.
    pub(super) fn of(headers: &HeaderMap) -> Result<Claims, Error> {
        let mut claims = Claims::default();
        for name in [CONTENT_DIGEST, REPR_DIGEST] {
            claims.read(headers, &name)?;
        }
        Ok(claims)
    }

    fn read(&mut self, headers: &HeaderMap, name: &HeaderName) -> Result<(), Error> {
        const MALFORMED: Error = Error::Malformed { what: "Content-Digest and Repr-Digest hold sha-256=:<base64>:" };
        let values: Vec<&[u8]> = headers.get_all(name).iter().map(|value| value.as_bytes()).collect();
        if values.is_empty() {
            return Ok(());
        }
        let field: Dictionary = Parser::new(&values.join(&b", "[..])).parse().map_err(|_| MALFORMED)?;
        for (key, entry) in field {
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

    /// Takes the next bytes of the body.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        for claim in &mut self.0 {
            match &mut claim.hash {
                Hash::Sha256(hash) => hash.update(bytes),
                Hash::Sha512(hash) => hash.update(bytes),
            }
        }
    }

    /// Whether the body was what the client said.
    pub(super) fn check(self) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
