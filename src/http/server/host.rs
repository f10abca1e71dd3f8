//! The `Host` of a request: that it is one, and that a server without keys is asked for by a name of its own machine.
//!
//! A web page can give its own host the address 127.0.0.1, and its browser then takes a server on that machine for a
//! part of the page ("DNS rebinding"). The name of the page's host stays in `Host`, so it tells.

use std::net::{Ipv4Addr, Ipv6Addr};

use hyper::Version;
use hyper::header::HOST;
use hyper::http::request::Parts;

use crate::http::error::Error;
use crate::http::protocol::auth::Access;

/// Checks that there is one `Host`, and that it may be asked for.
pub(super) fn check_host(parts: &Parts, access: &Access) -> Result<(), Error> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host_name(host.as_bytes()).ok_or(Error::Host)?,
        (None, None) if parts.version < Version::HTTP_11 => return Ok(()),
        _ => return Err(Error::Host),
    };
    // The host of a target in absolute form is the one that counts (RFC 9112, 3.2.2).
    let asked = parts.uri.host().unwrap_or(host);
    if is_open(access) || (is_served(host, access) && (asked == host || is_served(asked, access))) {
        return Ok(());
    }
    Err(Error::ForeignHost)
}

/// Whether the server may be asked for by any name.
fn is_open(access: &Access) -> bool {
    access.has_keys() || access.public_without_keys
}

fn is_served(host: &str, access: &Access) -> bool {
    is_loopback(host) || access.hosts.iter().any(|listed| listed.eq_ignore_ascii_case(host))
}

/// Whether a host is this machine, whatever name servers say.
fn is_loopback(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse().is_ok_and(|address: Ipv6Addr| address.to_canonical().is_loopback());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let last_label = name.rsplit('.').next().unwrap_or(name);
    last_label.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|name: Ipv4Addr| name.is_loopback())
}

/// The host of `uri-host [":" port]` (RFC 9110, 7.2); `None` if it is none. It is not empty, since an "http" URI needs
/// a host.
fn host_name(field: &[u8]) -> Option<&str> {
    let field = str::from_utf8(field).ok()?;
    let end = if field.starts_with('[') { field.find(']')? + 1 } else { field.find(':').unwrap_or(field.len()) };
    let (name, port) = field.split_at(end);
    let is_port = match port.as_bytes() {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    (is_port && is_host(name)).then_some(name)
}

fn is_host(name: &str) -> bool {
    if let Some(address) = name.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    !name.is_empty() && name.bytes().all(is_name_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_hosts_are_names_and_addresses_of_this_machine_alone() {
        for own in ["localhost", "LocalHost.", "a.localhost", "127.0.0.1", "127.9.8.7", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(own), "{own}");
        }
        let foreign = ["evil.example", "localhost.evil.example", "notlocalhost", "127.0.0.1.evil.example", "0.0.0.0"];
        for foreign in foreign.into_iter().chain(["128.0.0.1", "[::]", "[::2]", "192.168.0.1", ""]) {
            assert!(!is_loopback(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_host_field_is_a_name_or_an_address_and_a_port() {
        for good in ["a", "localhost:8080", "a.b-c:1", "127.0.0.1", "[::1]:80", "[::1]", "a:"] {
            assert!(host_name(good.as_bytes()).is_some(), "{good}");
        }
        for bad in
            ["", ":80", "a b", "a/b", "user@a", "a:b", "a:123456", "[::1", "[x]", "[]", "[::1]x", "a,b/", "a\u{7f}"]
        {
            assert!(host_name(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
