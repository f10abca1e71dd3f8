//! `progimage sign`: a URL of a rendition in its canonical form, signed.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{ending, load};
use crate::http::sign::sign;
use crate::pipeline::{Pipeline, codec, query};

pub fn command() -> Command {
    Command::new("sign")
        .about("Sign a URL with the first of signing_keys")
        .arg(
            Arg::new("target")
                .value_name("URL")
                .required(true)
                .help("What is asked for: /images/<id>.webp?w=300, or the same with scheme and host before it"),
        )
        .arg(Arg::new("key_id").long("key-id").value_name("ID").help("Another of signing_keys"))
        .arg(
            Arg::new("expires_in_s")
                .long("expires-in-s")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..))
                .help("How long the URL is good; for ever when it is not given"),
        )
        .after_help("Prints the signed URL. Exit status: 0 done, 2 an argument or a setting is at fault.")
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    match signed(matches) {
        Ok(url) => ending::printed("sign", format!("{url}\n").as_bytes()),
        Err(error) => {
            eprintln!("progimage sign: {error}");
            ExitCode::from(2)
        }
    }
}

fn signed(matches: &ArgMatches) -> Result<String, String> {
    let keys = load(&[matches]).map_err(|mistakes| mistakes.to_string())?.layers.access.signing_keys;
    let wanted = matches.get_one::<String>("key_id");
    let key = keys.iter().find(|key| wanted.is_none_or(|id| *id == key.id));
    let key = key.ok_or("there is no such signing key: set signing_keys (PROGIMAGE_SIGNING_KEYS) to id:secret")?;
    let expires = matches.get_one::<u64>("expires_in_s").map(|seconds| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        now.saturating_add(*seconds)
    });
    let url = matches.get_one::<String>("target").map(String::as_str).unwrap_or_default();
    let (base, target) = split(url)?;
    Ok(format!("{base}{}", sign(key, &canonical(target)?, expires)))
}

/// Scheme and host, which are not signed, and what a request would ask for.
fn split(url: &str) -> Result<(&str, &str), String> {
    // Not any `://`: the query may hold a URL of its own.
    let scheme = ["http://", "https://"].into_iter().find(|scheme| url.starts_with(scheme)).map_or(0, str::len);
    let path_at = if scheme == 0 { Some(0) } else { url[scheme..].find('/').map(|at| scheme + at) };
    let (base, target) = url.split_at(path_at.unwrap_or(url.len()));
    if target.starts_with('/') { Ok((base, target)) } else { Err(format!("{url:?} has no path")) }
}

/// One way to write a rendition: caches in front hold it once. What is not the query of a rendition is signed as it stands.
fn canonical(target: &str) -> Result<String, String> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let codec = path.rsplit_once('.').and_then(|(_, extension)| codec::by_extension(extension));
    let (Some(codec), false) = (codec, query.is_empty()) else { return Ok(target.to_owned()) };
    if !path.starts_with("/images/") || query.split('&').any(is_delivery) {
        return Ok(target.to_owned());
    }
    let pairs = query::pairs(Some(query)).map_err(|error| error.to_string())?;
    let query = Pipeline::from_query(codec, &pairs).map_err(|error| error.to_string())?.query();
    Ok(format!("{path}?{query}"))
}

fn is_delivery(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    ["download", "preset"].contains(&name)
}
