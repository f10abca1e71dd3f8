//! Decides how long a shared cache may use an answer without asking its origin again (RFC 9111, 4.2). Pure.

use std::time::{Duration, SystemTime};

use hyper::header::{AGE, CACHE_CONTROL, DATE, EXPIRES, HeaderMap, HeaderName, LAST_MODIFIED, RETRY_AFTER, VARY};

/// The divisor of its age for which an answer without caching fields stays fresh (RFC 9111, 4.2.2).
const HEURISTIC_PART: u32 = 10;

/// The time from `now`, at most `max`; `None`: the answer must not be cached.
pub fn lifetime(headers: &HeaderMap, now: SystemTime, max: Duration) -> Option<Duration> {
    let directives = directives(headers);
    let has = |name: &str| directives.iter().any(|(known, _)| known == name);
    if has("no-store") || has("private") {
        return None;
    }
    let varies = headers.get_all(VARY).iter().any(|value| value.as_bytes().contains(&b'*'));
    if has("no-cache") || varies {
        return Some(Duration::ZERO);
    }
    // A field that cannot be read counts as expired.
    let seconds = |name: &str| {
        let (_, value) = directives.iter().find(|(known, _)| known == name)?;
        Some(Duration::from_secs(value.parse().unwrap_or(0)))
    };
    let lifetime = seconds("s-maxage").or_else(|| seconds("max-age")).unwrap_or_else(|| by_dates(headers, now));
    let age = text(headers, &AGE).and_then(|text| text.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    Some(lifetime.saturating_sub(age).min(max))
}

/// The longest time that an origin may ask to be left alone.
const RETRY_AFTER_S_MAX: u64 = 86_400;

/// Seconds after which an origin wants to be asked again (RFC 9110, 10.2.3): a number, or a date.
pub fn retry_after_s(headers: &HeaderMap, now: SystemTime) -> Option<u32> {
    let text = text(headers, &RETRY_AFTER)?;
    let seconds = text.parse().ok().or_else(|| {
        let date = httpdate::parse_http_date(text).ok()?;
        Some(date.duration_since(now).unwrap_or_default().as_secs())
    })?;
    Some(seconds.min(RETRY_AFTER_S_MAX) as u32)
}

fn by_dates(headers: &HeaderMap, now: SystemTime) -> Duration {
    let date = |name| text(headers, name).map(|text| httpdate::parse_http_date(text).ok());
    let sent = date(&DATE).flatten().unwrap_or(now);
    let between = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap_or_default();
    match (date(&EXPIRES), date(&LAST_MODIFIED).flatten()) {
        (Some(expires), _) => expires.map_or(Duration::ZERO, |expires| between(sent, expires)),
        (None, Some(modified)) => between(modified, sent) / HEURISTIC_PART,
        (None, None) => Duration::ZERO,
    }
}

/// The directives: names in lower case, values without quotes.
fn directives(headers: &HeaderMap) -> Vec<(String, String)> {
    let fields = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directive = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned())
    };
    fields.flat_map(|field| field.split(',')).map(directive).collect()
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn check(fields: &[(HeaderName, &str)], expected_s: Option<u64>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.parse().expect("a field value"));
        }
        let now = httpdate::parse_http_date(SENT).expect("a date");
        let lifetime = lifetime(&headers, now, Duration::from_secs(300));
        assert_eq!(lifetime, expected_s.map(Duration::from_secs), "{fields:?}");
    }

    #[test]
    fn an_origin_decides_within_the_bound() {
        check(&[], Some(0));
        check(&[(CACHE_CONTROL, "max-age=60")], Some(60));
        check(&[(CACHE_CONTROL, "public, Max-Age=\"60\"")], Some(60));
        check(&[(CACHE_CONTROL, "max-age=300")], Some(300));
        check(&[(CACHE_CONTROL, "max-age=301")], Some(300));
        check(&[(CACHE_CONTROL, "max-age=99999999999999999999")], Some(0));
        check(&[(CACHE_CONTROL, "max-age=60, s-maxage=10")], Some(10));
        check(&[(CACHE_CONTROL, "max-age=60"), (AGE, "50")], Some(10));
        check(&[(CACHE_CONTROL, "max-age=60"), (AGE, "70")], Some(0));
        check(&[(CACHE_CONTROL, "max-age=-1")], Some(0));
        check(&[(CACHE_CONTROL, "max-age=60"), (CACHE_CONTROL, "no-store")], None);
        check(&[(CACHE_CONTROL, "private, max-age=60")], None);
        check(&[(CACHE_CONTROL, "no-cache, max-age=60")], Some(0));
        check(&[(CACHE_CONTROL, "max-age=60"), (VARY, "*")], Some(0));
        check(&[(CACHE_CONTROL, "max-age=60"), (VARY, "Accept")], Some(60));
        check(&[(EXPIRES, "Sun, 06 Nov 1994 08:50:37 GMT")], Some(60));
        check(&[(EXPIRES, "Sun, 06 Nov 1994 08:50:37 GMT"), (DATE, "Sun, 06 Nov 1994 08:50:07 GMT")], Some(30));
        check(&[(EXPIRES, "0")], Some(0));
        check(&[(EXPIRES, "0"), (LAST_MODIFIED, "Sun, 06 Nov 1994 08:47:57 GMT")], Some(0));
        check(&[(LAST_MODIFIED, "Sun, 06 Nov 1994 08:47:57 GMT")], Some(10));
        check(&[(LAST_MODIFIED, "Sun, 06 Nov 1994 09:47:57 GMT")], Some(0));
    }

    #[test]
    fn an_origin_may_ask_to_be_left_alone_for_a_day() {
        let check = |text: &str, expected: Option<u32>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a field value"))]);
            let now = httpdate::parse_http_date(SENT).expect("a date");
            assert_eq!(retry_after_s(&headers, now), expected, "{text}");
        };
        check("120", Some(120));
        check("0", Some(0));
        check("86401", Some(86_400));
        check("Sun, 06 Nov 1994 08:50:37 GMT", Some(60));
        check("Sun, 06 Nov 1994 08:40:37 GMT", Some(0));
        check("soon", None);
        check("-1", None);
        check("99999999999999999999", None);
    }
}
