//! Web pages: what the browser of a user does for a page of any origin. A page without a key is kept from changing
//! anything, and only images are shared with every page (CORS).
//!
//! A browser names the origin of the page in `Origin`, and its relation to the server in `Sec-Fetch-Site`. A page
//! cannot change either field. A program that is no browser sends neither.

use std::fmt;
use std::str::FromStr;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN, VARY,
};
use url::Url;

use super::{Access, Grant};
use crate::http::error::Error;
use crate::http::protocol::response::value;

/// Lets pages of other origins show an image although they ask to be isolated (COEP).
const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The fields of a response that scripts of a page may read, in addition to those that CORS always shows.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Accept-Ranges, Cache-Status, Content-Disposition, Content-Range, ETag, Idempotency-Key, Link, Location, \
     Progimage-Also-Removed, Progimage-Incomplete, Progimage-Unreadable, Repr-Digest, Retry-After, Server-Timing, WWW-Authenticate, X-Request-Id",
);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The methods that every page may use on images.
const IMAGE_METHODS: &str = "GET, HEAD";

/// Origins of web pages that may use every route, in addition to the origin of the server itself, which is `http`. The
/// pages of a server behind a proxy with TLS have an `https` origin, which is to be listed.
///
/// ```
/// use progimage::http::auth::Origins;
/// let origins: Origins = "https://Example.com, http://localhost:3000".parse()?;
/// assert_eq!(origins.to_string(), "https://example.com,http://localhost:3000");
/// assert!("example.com".parse::<Origins>().is_err());
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    all: bool,
    listed: Vec<String>,
}

impl Origins {
    fn contain(&self, origin: &HeaderValue) -> bool {
        self.all || self.listed.iter().any(|listed| listed.as_bytes().eq_ignore_ascii_case(origin.as_bytes()))
    }
}

impl FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Origins, String> {
        let mut origins = Origins::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            if word == "*" {
                origins.all = true;
                continue;
            }
            let origin = Url::parse(word).map(|url| url.origin().ascii_serialization()).unwrap_or_default();
            if !origin.eq_ignore_ascii_case(word) || origin == "null" {
                return Err(format!("{word:?}; allowed: * or origins such as https://example.com, without a path"));
            }
            origins.listed.push(origin);
        }
        Ok(origins)
    }
}

impl fmt::Display for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.then_some("*").into_iter();
        let words: Vec<&str> = all.chain(self.listed.iter().map(String::as_str)).collect();
        f.write_str(&words.join(","))
    }
}

impl Access {
    /// Refuses a request that changes something, if a page of a foreign origin may have sent it. A page that shows a key
    /// or has a signed URL was given it; a request that needs neither may be that of any page. This holds for a server that
    /// is public without keys, too: it may be public to one network alone, whose browsers show pages of everybody.
    pub(in crate::http) fn check_page(&self, grant: Grant, headers: &HeaderMap) -> Result<(), Error> {
        if grant != Grant::Public || self.cors_origins.all {
            return Ok(());
        }
        let mut origins = headers.get_all(ORIGIN).iter().peekable();
        let is_foreign = match origins.peek() {
            Some(_) => origins.any(|origin| !is_own(origin, headers.get(HOST)) && !self.cors_origins.contain(origin)),
            None => headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "same-origin" && site != "none"),
        };
        let is_refused = is_foreign && self.key_of(headers.get_all(AUTHORIZATION)).is_none();
        if is_refused { Err(Error::ForeignOrigin) } else { Ok(()) }
    }

    /// Adds the fields that let a page of `origin` read a response. `is_image`: every page may.
    pub(in crate::http) fn share(&self, is_image: bool, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        let Origins { all, listed } = &self.cors_origins;
        let reader = if is_image || *all {
            Some(HeaderValue::from_static("*"))
        } else if !listed.is_empty() {
            headers.append(VARY, HeaderValue::from_static("Origin"));
            origin.filter(|origin| self.cors_origins.contain(origin)).cloned()
        } else {
            None
        };
        if let Some(reader) = reader {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, reader);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }

    /// Adds the fields that answer a browser which asks before it sends a request of a page (a preflight). `allow` are
    /// the methods of the path.
    pub(in crate::http) fn share_methods(
        &self,
        is_image: bool,
        allow: &str,
        origin: Option<&HeaderValue>,
        headers: &mut HeaderMap,
    ) {
        let may_all = origin.is_some_and(|origin| self.cors_origins.contain(origin));
        if !may_all && !is_image {
            return;
        }
        let methods = if may_all { value(allow.to_owned()) } else { HeaderValue::from_static(IMAGE_METHODS) };
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, Authorization"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    }
}

/// Lets pages of every origin show an image that needs no key.
pub(in crate::http) fn embed(grant: Grant, headers: &mut HeaderMap) {
    if grant != Grant::Private {
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    }
}

/// Whether the page is one of this server, which has its host and port, and speaks no TLS.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let authority = origin.as_bytes().strip_prefix(b"http://");
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields.iter().map(|(name, text)| (HeaderName::from_static(name), text.parse().expect("a value")));
        fields.collect()
    }

    #[test]
    fn a_page_changes_nothing_unless_its_origin_is_the_servers_or_listed() {
        let access = Access { cors_origins: "http://good.example".parse().expect("origins"), ..Access::default() };
        let check = |fields: &[(&'static str, &str)], passes: bool| {
            let mut all = headers(fields);
            all.insert(HOST, HeaderValue::from_static("localhost:8080"));
            assert_eq!(access.check_page(Grant::Public, &all).is_ok(), passes, "{fields:?}");
            assert!(access.check_page(Grant::Private, &all).is_ok());
        };
        check(&[], true);
        check(&[("origin", "http://localhost:8080")], true);
        check(&[("origin", "http://LOCALHOST:8080")], true);
        check(&[("origin", "http://good.example"), ("sec-fetch-site", "cross-site")], true);
        check(&[("origin", "http://good.example.evil")], false);
        check(&[("origin", "https://localhost:8080")], false);
        check(&[("origin", "http://localhost:3000")], false);
        check(&[("origin", "https://evil.example")], false);
        check(&[("origin", "null")], false);
        check(&[("origin", "")], false);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("sec-fetch-site", "same-site")], false);
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "none")], true);
        let mut both = headers(&[("host", "localhost"), ("origin", "http://localhost")]);
        both.append(ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert!(access.check_page(Grant::Public, &both).is_err());
    }

    #[test]
    fn origins_have_a_scheme_and_no_path() {
        for bad in ["example.com", "https://example.com/", "https://example.com/a", "null", "file:///a", "https://u@a"]
        {
            assert!(bad.parse::<Origins>().is_err(), "{bad}");
        }
        assert_eq!("".parse::<Origins>(), Ok(Origins::default()));
        assert_eq!("*".parse::<Origins>().map(|origins| origins.to_string()), Ok("*".to_owned()));
    }
}
