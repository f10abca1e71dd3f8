//! Forbidden addresses are not reached: by name, by address, by redirect, in any spelling. The proof is that forbidden
//! origins count no connection.

use progimage::fetch::{Error, HostPattern, Options, Sources};

use super::origin::{Origin, listeners, ok, redirect};
use super::{PERMITTED, options, resolver, sources};

/// An allowed origin, and forbidden ones with the same port on other loopback addresses.
struct Pair {
    permitted: Origin,
    forbidden: Vec<Origin>,
}

fn pair(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Pair {
    let [permitted, forbidden @ ..] = listeners([PERMITTED, "127.0.0.1", "127.0.0.3", "::1"]);
    let forbidden = forbidden.map(|listener| Origin::on(listener, |_| ok(&[], b"secret")));
    Pair { permitted: Origin::on(permitted, answer), forbidden: forbidden.into() }
}

impl Pair {
    fn assert_no_connection(&self) {
        for origin in &self.forbidden {
            assert_eq!(origin.connections(), 0, "{}", origin.address);
        }
    }
}

const NOT_A_URL: fn(&Error) -> bool = |error| matches!(error, Error::Url { .. });

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_connected_to() {
    let pair = pair(|_| ok(&[], b"good"));
    let sources = sources(&options(&[pair.permitted.port()]));
    let hosts = [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0x7F.0x0.0x0.0x1",
        "017700000001",
        "0177.0.0.1",
        "0177.0x0.1",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "127%2e0%2e0%2e1",
        "127。0。0。1",
        "１２７.0.0.1",
        "①②⑦.⓪.⓪.①",
        "0",
        "0.0.0.0",
        "0x0",
        "127.0.0.3",
        "127.255.255.254",
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::1]",
        "[fe80::5efe:127.0.0.1]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "198.18.0.1",
        "203.0.113.1",
        "224.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "192.0.0.1",
        "240.0.0.1",
    ];
    for host in hosts {
        let url = format!("http://{host}:{}/", pair.permitted.port());
        assert_eq!(sources.get(&url).await, Err(Error::Refused), "{url}");
    }
    pair.assert_no_connection();
    let good = sources.get(&pair.permitted.url("/")).await.unwrap();
    assert_eq!(good.bytes, "good");
}

#[tokio::test]
async fn what_is_no_url_to_fetch_is_told_so() {
    let pair = pair(|_| ok(&[], b"good"));
    let port = pair.permitted.port();
    let sources = sources(&options(&[port]));
    let urls = [
        "".to_owned(),
        "/path".to_owned(),
        "127.0.0.1".to_owned(),
        format!("//127.0.0.1:{port}/"),
        format!("ftp://127.0.0.1:{port}/"),
        "file:///etc/passwd".to_owned(),
        "data:image/png;base64,AAAA".to_owned(),
        "javascript:1".to_owned(),
        format!("gopher://127.0.0.1:{port}/_x"),
        format!("ws://127.0.0.1:{port}/"),
        format!("http://user@127.0.0.2:{port}/"),
        format!("http://user:secret@127.0.0.2:{port}/"),
        format!("http://:secret@127.0.0.2:{port}/"),
        format!("http://127.0.0.2:{port}@127.0.0.1:{port}/"),
        format!("http://[fe80::1%25eth0]:{port}/"),
        format!("http://[fe80::1%eth0]:{port}/"),
        format!("http://[::1:{port}/"),
        format!("http://256.0.0.1:{port}/"),
        format!("http://127.0.0.0.1:{port}/"),
        format!("http://0x7f.0.0.0x100:{port}/"),
        "http://127.0.0.1:99999/".to_owned(),
        "http://127.0.0.1:-1/".to_owned(),
        "http://".to_owned(),
        "http:///".to_owned(),
        format!("http://a b:{port}/"),
        format!("http://a%00b:{port}/"),
        format!("http://a<b:{port}/"),
        format!("http://127.0.0.2:{port}/{}", "a".repeat(8 << 10)),
    ];
    for url in urls {
        let error = sources.get(&url).await.unwrap_err();
        assert!(NOT_A_URL(&error), "{url}: {error:?}");
    }
    pair.assert_no_connection();
    assert_eq!(pair.permitted.connections(), 0);
    // The longest URL that is accepted.
    let base = pair.permitted.url("/");
    let longest = format!("{base}{}", "a".repeat((8 << 10) - base.len()));
    assert!(sources.get(&longest).await.is_ok());
    assert!(NOT_A_URL(&sources.get(&format!("{longest}a")).await.unwrap_err()));
}

#[tokio::test]
async fn an_address_that_was_checked_is_the_one_that_is_connected_to() {
    // First the permitted address, then the forbidden one: a client that resolves twice would reach it.
    let pair = pair(|_| ok(&["Cache-Control: no-store"], b"good"));
    let rebinding = resolver(|_, count| if count == 0 { vec![PERMITTED] } else { vec!["127.0.0.1"] });
    let sources = Sources::with_resolver(&options(&[pair.permitted.port()]), Some(rebinding));
    let url = format!("http://rebinding.test:{}/", pair.permitted.port());
    assert_eq!(sources.get(&url).await.unwrap().bytes, "good");
    assert_eq!(sources.get(&url).await, Err(Error::Refused));
    assert_eq!(pair.permitted.connections(), 1);
    pair.assert_no_connection();
}

#[tokio::test]
async fn one_bad_address_among_good_ones_refuses_the_name() {
    let pair = pair(|_| ok(&[], b"good"));
    let mixed = resolver(|host, _| match host {
        "first.test" => vec!["127.0.0.1", PERMITTED],
        "last.test" => vec![PERMITTED, "127.0.0.1"],
        "six.test" => vec![PERMITTED, "::1"],
        "mapped.test" => vec![PERMITTED, "::ffff:127.0.0.2"],
        "many.test" => vec![PERMITTED, PERMITTED, PERMITTED, PERMITTED, PERMITTED, "10.0.0.1"],
        "none.test" => vec![],
        _ => vec![PERMITTED, PERMITTED],
    });
    let port = pair.permitted.port();
    let sources = Sources::with_resolver(&options(&[port]), Some(mixed));
    for host in ["first.test", "last.test", "six.test", "mapped.test", "many.test", "none.test"] {
        assert_eq!(sources.get(&format!("http://{host}:{port}/")).await, Err(Error::Refused), "{host}");
    }
    assert_eq!(pair.permitted.connections(), 0);
    pair.assert_no_connection();
    assert!(sources.get(&format!("http://good.test:{port}/")).await.is_ok());
}

#[tokio::test]
async fn each_redirect_is_checked_anew() {
    let pair = pair(|head| {
        let path = head.split(' ').nth(1).unwrap();
        let (_, target) = path.split_once("?to=").unwrap_or((path, ""));
        if target.is_empty() { ok(&[], b"good") } else { redirect(&target.replace("%20", " ")) }
    });
    let port = pair.permitted.port();
    let names = resolver(|host, count| match host {
        "inside.test" => vec!["127.0.0.1"],
        "rebinding.test" if count > 0 => vec!["127.0.0.1"],
        _ => vec![PERMITTED],
    });
    let sources = Sources::with_resolver(&options(&[port]), Some(names));
    let targets = [
        format!("http://127.0.0.1:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://inside.test:{port}/"),
        "http://127.0.0.1:22/".to_owned(),
        "http://127.0.0.2:22/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://127.0.0.1/".to_owned(),
        format!("http://user:secret@127.0.0.2:{port}/"),
        format!("http://{PERMITTED}:{port}/?to=http://127.0.0.1:{port}/"),
    ];
    for target in targets {
        let url = pair.permitted.url(&format!("/?to={target}"));
        assert_eq!(sources.get(&url).await, Err(Error::Refused), "{target}");
    }
    // This name resolves to a good address for the first hop, and to a forbidden one for the second.
    let url = format!("http://rebinding.test:{port}/?to=http://rebinding.test:{port}/");
    assert_eq!(sources.get(&url).await, Err(Error::Refused));
    pair.assert_no_connection();
    for target in ["/good", "good", &format!("//other.test:{port}/"), "?"] {
        let url = pair.permitted.url(&format!("/?to={target}"));
        assert_eq!(sources.get(&url).await.unwrap().bytes, "good", "{target}");
    }
}

#[tokio::test]
async fn hosts_and_ports_must_be_allowed_by_name() {
    let pair = pair(|_| ok(&[], b"good"));
    let port = pair.permitted.port();
    let with = |allow: &[&str]| {
        let allow = allow.iter().map(|pattern| pattern.parse().unwrap()).collect();
        Sources::with_resolver(&Options { allow, ..options(&[port]) }, Some(resolver(|_, _| vec![PERMITTED])))
    };
    let allowed = with(&["example.test", "*.Below.test", "bücher.test", "127.0.0.2"]);
    for host in [
        "example.test",
        "EXAMPLE.test",
        "a.below.test",
        "a.b.below.test",
        "bücher.test",
        "xn--bcher-kva.test",
        "0x7f.2",
    ] {
        assert!(allowed.get(&format!("http://{host}:{port}/{host}")).await.is_ok(), "{host}");
    }
    let before = pair.permitted.connections();
    for host in [
        "other.test",
        "a.example.test",
        "example.test.",
        "example.tes",
        "below.test",
        "xbelow.test",
        ".below.test",
        "example.test.other.test",
        "exämple.test",
        "127.0.0.3",
        "bucher.test",
    ] {
        assert_eq!(allowed.get(&format!("http://{host}:{port}/")).await, Err(Error::Refused), "{host}");
    }
    assert_eq!(allowed.get("http://example.test/").await, Err(Error::Refused), "port 80");
    assert_eq!(allowed.get("https://example.test/").await, Err(Error::Refused), "port 443");
    assert_eq!(pair.permitted.connections(), before);
    assert_eq!(with(&[]).get(&format!("http://example.test:{port}/")).await, Err(Error::Off));
    assert_eq!(Options::default().ports, [80, 443]);
    assert!(sources(&Options::default()).are_off());
}

#[test]
fn host_patterns_print_as_they_are_read() {
    for (text, printed) in [("*", "*"), ("*.Example.com", "*.example.com"), ("a.b", "a.b"), ("0x7f.1", "127.0.0.1")] {
        assert_eq!(text.parse::<HostPattern>().unwrap().to_string(), printed);
    }
    for bad in ["", "**", "*.", "a.*", "*.*.a", "*.127.0.0.1", "http://a", "a/b", "a:80", "a b", "user@a", "[::1"] {
        assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
    }
}

#[tokio::test]
async fn nothing_is_told_to_origins_but_what_is_asked() {
    let pair = pair(|head| match head.split(' ').nth(1).unwrap() {
        "/set" => {
            let port = head.lines().find_map(|line| line.strip_prefix("host: 127.0.0.2:")).unwrap().to_owned();
            super::origin::answer(
                "302 Found",
                &["Set-Cookie: a=b", &format!("Location: http://{PERMITTED}:{port}/x?y=1#z")],
                b"",
            )
        }
        _ => ok(&[], b"good"),
    });
    let sources = sources(&options(&[pair.permitted.port()]));
    sources.get(&pair.permitted.url("/set#fragment")).await.unwrap();
    let heads = pair.permitted.heads();
    assert!(
        heads[0].starts_with("GET /set HTTP/1.1\r\n") && heads[1].starts_with("GET /x?y=1 HTTP/1.1\r\n"),
        "{heads:?}"
    );
    for head in heads {
        let mut names: Vec<&str> = head.lines().skip(1).filter_map(|line| Some(line.split_once(": ")?.0)).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"], "{head}");
        assert!(head.contains("accept-encoding: identity\r\n"), "{head}");
    }
}
