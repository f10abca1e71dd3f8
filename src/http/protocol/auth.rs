//! Access: keys with scopes, signed URLs, and what needs neither. What web pages may do is in `pages`. How a URL is signed is in [`super::sign`].
//!
//! A key is written `name:scope+scope:secret`, for example `cdn:read:3xTr4Lo9...`. Scopes are `read`, `write`,
//! `process` and `admin`. Limits may follow them: `cdn:read;renders_max=4:3xTr4Lo9...`. Only a digest of the secret is
//! kept.

mod callers;
mod pages;

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{AUTHORIZATION, GetAll, HeaderValue};
use hyper::http::request::Parts;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use super::sign::{self, SigningKey};
use crate::digest::secret;
use crate::http::error::Error;
pub use callers::CallerLimits;
pub(in crate::http) use callers::{Caller, Callers, Work};
pub use pages::Origins;
pub(in crate::http) use pages::embed;

/// What a request needs, and what a key allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Health, which never needs a key.
    Open,
    /// Originals, renditions, and information about images.
    Read,
    /// Uploads.
    Write,
    /// Renders of images that are not stored, bulk and jobs.
    Process,
    /// Deletion, lists, metrics.
    Admin,
}

/// The scopes that keys can have.
const SCOPES: [(Scope, &str); 4] =
    [(Scope::Read, "read"), (Scope::Write, "write"), (Scope::Process, "process"), (Scope::Admin, "admin")];

impl Scope {
    /// The name of the scope, such as "read".
    pub fn name(self) -> &'static str {
        SCOPES.iter().find(|(scope, _)| *scope == self).map_or("open", |(_, name)| name)
    }
}

/// A set of scopes.
///
/// ```
/// use progimage::http::auth::{Scope, Scopes};
/// assert_eq!("read+write".parse::<Scopes>()?.to_string(), "read+write");
/// assert_eq!("none".parse::<Scopes>()?, Scopes::default());
/// assert_ne!("read".parse::<Scopes>()?, Scopes::of(Scope::Write));
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Scopes(u8);

impl Scopes {
    /// The set of one scope.
    pub const fn of(scope: Scope) -> Scopes {
        Scopes(1 << scope as u8)
    }

    fn contains(self, scope: Scope) -> bool {
        self.0 & Scopes::of(scope).0 != 0
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Scopes, String> {
        if text == "none" {
            return Ok(Scopes::default());
        }
        let (mut scopes, mut unknown) = (Scopes::default(), Vec::new());
        for name in text.split('+') {
            match SCOPES.iter().find(|(_, known)| *known == name) {
                Some((scope, _)) => scopes.0 |= Scopes::of(*scope).0,
                None => unknown.push(format!("{name:?}")),
            }
        }
        let mistake =
            || format!("unknown scope {}; scopes are read, write, process, admin, joined by +", unknown.join(", "));
        if unknown.is_empty() { Ok(scopes) } else { Err(mistake()) }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            SCOPES.iter().filter(|(scope, _)| self.contains(*scope)).map(|(_, name)| *name).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join("+") }.as_str())
    }
}

/// A key, without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The name of the key, for logs.
    pub name: String,
    /// The scopes of the key.
    pub scopes: Scopes,
    /// What the key may ask for at once.
    pub limits: CallerLimits,
    secret: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.scopes)
    }
}

impl FromStr for Key {
    type Err = String;

    /// Reads `name:scope+scope;limit=number:secret`; the message has all mistakes, and never shows the secret.
    fn from_str(text: &str) -> Result<Key, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(name), Some(scopes), Some(secret)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("a key is written name:scope+scope:secret".to_owned());
        };
        if name.is_empty() {
            return Err("a key needs a name: name:scope+scope:secret".to_owned());
        }
        let (scopes, limits) = scopes.split_once(';').unwrap_or((scopes, ""));
        match (scopes.parse(), limits.parse(), secret::check(secret)) {
            (Ok(scopes), Ok(limits), Ok(())) => {
                Ok(Key { name: name.to_owned(), scopes, limits, secret: Sha256::digest(secret).into() })
            }
            (scopes, limits, secret) => {
                let mistakes = [scopes.err(), limits.err(), secret.err().map(|error| error.to_string())];
                Err(format!("key {name:?}: {}", mistakes.into_iter().flatten().collect::<Vec<_>>().join("; ")))
            }
        }
    }
}

/// Reads a list of keys, separated by commas, blanks or line ends. A line that begins with `#` is a comment. All
/// mistakes are reported together, and none shows a secret.
///
/// ```
/// use progimage::http::auth::{Access, Scope, Scopes, keys};
/// let keys = keys("cdn:read:0123456789abcdef, app:read+write:fedcba9876543210").expect("good keys");
/// assert_eq!(keys[1].name, "app");
/// assert_eq!(keys[1].scopes.to_string(), "read+write");
/// let access = Access { keys, anonymous: "none".parse()?, ..Access::default() };
/// assert!(access.has_keys() && access.anonymous != Scopes::of(Scope::Read));
/// # Ok::<(), String>(())
/// ```
pub fn keys(text: &str) -> Result<Vec<Key>, Vec<String>> {
    let words = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split([',', ' ', '\t']))
        .filter(|word| !word.is_empty());
    let (mut keys, mut mistakes): (Vec<Key>, Vec<String>) = (Vec::new(), Vec::new());
    for word in words {
        match word.parse::<Key>() {
            Ok(key) if keys.iter().any(|other| other.name == key.name) => {
                mistakes.push(format!("key {:?} is given twice", key.name));
            }
            Ok(key) => keys.push(key),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if mistakes.is_empty() { Ok(keys) } else { Err(mistakes) }
}

/// Reads the hosts of a server without keys, separated by commas. A word that the `Host` of no request is, such as one
/// with a port or a `*`, is a mistake.
///
/// ```
/// use progimage::http::auth::hosts;
/// assert_eq!(hosts("images.example, 192.0.2.1"), Ok(vec!["images.example".to_owned(), "192.0.2.1".to_owned()]));
/// assert!(hosts("*.example").is_err() && hosts("https://images.example").is_err());
/// ```
pub fn hosts(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<&str> = text.split(',').map(str::trim).filter(|word| !word.is_empty()).collect();
    let bad: Vec<_> = words.iter().filter(|word| !is_whole_host(word)).map(|word| format!("{word:?}")).collect();
    if bad.is_empty() {
        return Ok(words.into_iter().map(str::to_owned).collect());
    }
    let allowed =
        "whole names or addresses such as images.example or [2001:db8::1], without a scheme, a port, a path or *";
    Err(format!("{}; allowed: {allowed}", bad.join(", ")))
}

/// Whether a host is written as clients write it: in ASCII, and an address in its shortest form.
fn is_whole_host(word: &str) -> bool {
    let host = url::Host::parse(word).map(|host| host.to_string());
    host.is_ok_and(|host| host.eq_ignore_ascii_case(word)) && !word.contains('*')
}

/// The access rules of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The keys. Without keys every client may do everything, and the server listens on loopback addresses only.
    pub keys: Vec<Key>,
    /// The scopes that need no key, once there are keys.
    pub anonymous: Scopes,
    /// What all clients without a key may ask for together.
    pub anonymous_limits: CallerLimits,
    /// Whether originals need a key with `read`, since their metadata hold places and names. Renditions with
    /// `metadata=all`, and the place in `/info`, then need one too; other renditions do not. Conversions become
    /// renders, since a conversion to the source's own format would be the original.
    pub originals_need_key: bool,
    /// The keys that sign URLs; any of them is accepted. A signature allows what it signs, whatever keys there are.
    pub signing_keys: Vec<SigningKey>,
    /// Whether renditions need a signed URL, or a key with the scope of their route. Then no client can spend processor
    /// time with parameters of its own.
    pub renditions_need_signature: bool,
    /// Whether a server without keys may be asked for by any host, and listen on any address.
    pub public_without_keys: bool,
    /// Hosts by which a server without keys may be asked for, in addition to those of its own machine.
    pub hosts: Vec<String>,
    /// Origins of web pages that may use every route.
    pub cors_origins: Origins,
}

impl Default for Access {
    fn default() -> Access {
        Access {
            keys: Vec::new(),
            anonymous: Scopes::of(Scope::Read),
            anonymous_limits: CallerLimits::default(),
            originals_need_key: false,
            signing_keys: Vec::new(),
            renditions_need_signature: false,
            public_without_keys: false,
            hosts: Vec::new(),
            cors_origins: Origins::default(),
        }
    }
}

/// Why a request was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Grant {
    /// No key was needed: shared caches may keep the response.
    Public,
    /// No key was needed, but the request has one with the scope. It may do more than requests of everybody.
    PublicWithKey,
    /// A key was needed.
    Private,
    /// The URL is signed: every client that has it may use it until it expires.
    Signed {
        /// The seconds until it expires; `None` if it never does.
        left_s: Option<u64>,
    },
}

impl Grant {
    /// The caches that may keep the response, in `Cache-Control`.
    pub(in crate::http) fn caches(self) -> &'static str {
        if self == Grant::Private { "private" } else { "public" }
    }
}

/// The kinds of requests that have access rules of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Kind {
    /// Stored bytes as they are.
    Original,
    /// A rendition.
    Rendition,
    /// Renditions that a body describes. A signature is over the URL alone, so it cannot cover them.
    Bulk,
    /// All other requests.
    Other,
}

impl Access {
    /// Whether there is any key.
    pub fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Lets a request for `target` through that needs `scope`, or chooses between 401 and 403.
    pub(in crate::http) fn check(
        &self,
        scope: Scope,
        kind: Kind,
        target: &str,
        authorization: GetAll<'_, HeaderValue>,
    ) -> Result<Grant, Error> {
        self.admit(scope, kind, target, authorization).map(|(grant, _)| grant)
    }

    /// Checks as [`Access::check`] does. Returns the key that the grant rests on, too.
    pub(in crate::http) fn admit(
        &self,
        scope: Scope,
        kind: Kind,
        target: &str,
        authorization: GetAll<'_, HeaderValue>,
    ) -> Result<(Grant, Option<&Key>), Error> {
        if matches!(scope, Scope::Read | Scope::Process)
            && kind != Kind::Bulk
            && let Some(grant) = self.signed(target)?
        {
            return Ok((grant, None));
        }
        let guarded = match kind {
            Kind::Original => self.originals_need_key,
            Kind::Rendition | Kind::Bulk => self.renditions_need_signature,
            Kind::Other => false,
        };
        let open = !self.has_keys() || self.anonymous.contains(scope);
        if scope == Scope::Open || (open && !guarded) {
            let key = self.key_of(authorization).filter(|key| key.scopes.contains(scope));
            return Ok((if key.is_some() { Grant::PublicWithKey } else { Grant::Public }, key));
        }
        if kind == Kind::Rendition && guarded && authorization.iter().next().is_none() {
            return Err(Error::Unsigned);
        }
        let mut values = authorization.iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(Error::Unauthorized) };
        let secret = bearer(value.as_bytes()).ok_or(Error::Unauthorized)?;
        let key = self.key(secret).ok_or(Error::UnknownKey)?;
        match key.scopes.contains(scope) {
            true => Ok((Grant::Private, Some(key))),
            false => Err(Error::Forbidden { scope: scope.name() }),
        }
    }

    /// What the signature of a URL grants; `None` if the URL has no signature.
    fn signed(&self, target: &str) -> Result<Option<Grant>, Error> {
        if !target.contains("sig=") {
            return Ok(None);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |now| now.as_secs());
        let signed = sign::verify(&self.signing_keys, target, now).map_err(Error::Signature)?;
        Ok(signed.map(|signed| Grant::Signed { left_s: signed.expires.map(|end| end.saturating_sub(now)) }))
    }

    /// The key that a request was sent with.
    pub(in crate::http) fn key_of(&self, authorization: GetAll<'_, HeaderValue>) -> Option<&Key> {
        let mut values = authorization.iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        self.key(bearer(value.as_bytes())?)
    }

    /// The name of the key that a request was sent with; empty without one.
    pub(in crate::http) fn key_name(&self, parts: &Parts) -> &str {
        self.key_of(parts.headers.get_all(AUTHORIZATION)).map_or("", |key| &key.name)
    }

    /// Whether a request may see what others own: it has `admin`, or there are no keys.
    pub(in crate::http) fn is_admin(&self, parts: &Parts) -> bool {
        let key = self.key_of(parts.headers.get_all(AUTHORIZATION));
        !self.has_keys() || key.is_some_and(|key| key.scopes.contains(Scope::Admin))
    }

    /// Whether a request may see where a photograph was taken: with a key for `read`, or where there are no keys. A signature
    /// does not count: it is handed on with its URL.
    pub(in crate::http) fn shows_place(&self, parts: &Parts) -> bool {
        match self.key_of(parts.headers.get_all(AUTHORIZATION)) {
            Some(key) => key.scopes.contains(Scope::Read),
            None => !self.has_keys() && !self.originals_need_key,
        }
    }

    /// The key of this secret. Every key is compared, each in constant time.
    fn key(&self, secret: &[u8]) -> Option<&Key> {
        let digest: [u8; 32] = Sha256::digest(secret).into();
        self.keys.iter().fold(None, |found, key| if bool::from(key.secret.ct_eq(&digest)) { Some(key) } else { found })
    }
}

/// Checks access to an original, whose metadata hold places and names.
pub(in crate::http) fn of_original(access: &Access, parts: &Parts) -> Result<Grant, Error> {
    let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
    access.check(Scope::Read, Kind::Original, target, parts.headers.get_all(AUTHORIZATION))
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, secret) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| secret.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderMap;

    const SECRET: &str = "0123456789abcdef";

    fn access(list: &str) -> Access {
        Access { keys: keys(list).expect("good keys"), ..Access::default() }
    }

    fn asks(access: &Access, scope: Scope, original: bool, fields: &[&str]) -> Result<Grant, Error> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(AUTHORIZATION, field.parse().expect("a field value"));
        }
        access.check(
            scope,
            if original { Kind::Original } else { Kind::Other },
            "/images",
            headers.get_all(AUTHORIZATION),
        )
    }

    #[test]
    fn without_keys_everything_is_open() {
        for (scope, _) in SCOPES {
            assert_eq!(asks(&Access::default(), scope, true, &[]), Ok(Grant::Public));
        }
    }

    #[test]
    fn keys_open_their_scopes_and_nothing_else() {
        let access = access(&format!("up:write:{SECRET}, all:read+write+process+admin:{SECRET}x"));
        let good = format!("Bearer {SECRET}");
        let all = format!("bearer  {SECRET}x");
        let check = |scope, fields: &[&str], expected| assert_eq!(asks(&access, scope, true, fields), expected);
        check(Scope::Open, &[], Ok(Grant::Public));
        check(Scope::Read, &[], Ok(Grant::Public));
        check(Scope::Write, &[], Err(Error::Unauthorized));
        check(Scope::Write, &[&good], Ok(Grant::Private));
        check(Scope::Write, &[&good, &good], Err(Error::Unauthorized));
        check(Scope::Write, &[SECRET], Err(Error::Unauthorized));
        check(Scope::Write, &["Basic abc"], Err(Error::Unauthorized));
        check(Scope::Write, &["Bearer wrong-secret-wrong"], Err(Error::UnknownKey));
        check(Scope::Admin, &[&good], Err(Error::Forbidden { scope: "admin" }));
        check(Scope::Admin, &[&all], Ok(Grant::Private));
    }

    #[test]
    fn originals_can_need_a_key_while_renditions_do_not() {
        let access = Access { originals_need_key: true, ..access(&format!("r:read:{SECRET}")) };
        assert_eq!(asks(&access, Scope::Read, false, &[]), Ok(Grant::Public));
        assert_eq!(asks(&access, Scope::Read, false, &[&format!("Bearer {SECRET}")]), Ok(Grant::PublicWithKey));
        assert_eq!(asks(&access, Scope::Read, false, &["Bearer another-secret-of-none"]), Ok(Grant::Public));
        assert_eq!(asks(&access, Scope::Read, true, &[]), Err(Error::Unauthorized));
        assert_eq!(asks(&access, Scope::Read, true, &[&format!("Bearer {SECRET}")]), Ok(Grant::Private));
    }

    #[test]
    fn hosts_that_no_request_asks_for_are_refused_together() {
        for good in ["a", "Images.Example", "my_host", "a.b.", "192.0.2.1", "[2001:db8::1]", "xn--bcher-kva.example"] {
            assert_eq!(hosts(good), Ok(vec![good.to_owned()]));
        }
        assert_eq!(hosts(" , "), Ok(Vec::new()));
        for bad in [
            "*",
            "*.example",
            "a:80",
            "http://a",
            "a/b",
            "u@a",
            "2001:db8::1",
            "[2001:DB8:0::1]:80",
            "127.1",
            "bücher.example",
            "a b",
        ] {
            assert!(hosts(bad).is_err_and(|mistake| mistake.contains("allowed")), "{bad}");
        }
        let mistake = hosts("a:1,good.example,b:2").expect_err("two mistakes");
        assert!(mistake.contains("\"a:1\", \"b:2\"") && !mistake.contains("good"), "{mistake}");
    }

    #[test]
    fn mistakes_in_keys_are_all_reported_without_a_secret() {
        let mistakes = keys(
            "a:read:tooshortsecret,b:fly:0123456789abcdef\n# c\nd,e:read:0123456789abcdef e:read:0123456789abcdef",
        )
        .expect_err("four mistakes");
        assert_eq!(mistakes.len(), 4, "{mistakes:?}");
        assert!(!mistakes.concat().contains("secret:") && !mistakes.concat().contains("tooshort"), "{mistakes:?}");
        assert!(!format!("{:?}", access(&format!("a:read:{SECRET}"))).contains(SECRET));
    }

    #[test]
    fn scopes_print_as_they_are_read() {
        for text in ["none", "read", "read+write", "read+write+process+admin"] {
            assert_eq!(text.parse::<Scopes>().map(|scopes| scopes.to_string()), Ok(text.to_owned()));
        }
    }
}
