//! `progimage sign`: signs the canonical form of a URL.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgMatches, Command, value_parser};

use super::{exit, load};
use crate::http::sign::sign;
use crate::pipeline::{Pipeline, codec, query};

pub fn command() -> Command {
    Command::new("sign")
        .about("Sign a URL with the first key of signing_keys")
        .arg(
            Arg::new("target")
                .value_name("URL")
                .required(true)
                .help("Path such as /images/<id>.webp?w=300, or a whole URL with scheme and host"),
        )
        .arg(Arg::new("key_id").long("key-id").value_name("ID").help("Id of another key of signing_keys"))
        .arg(
            Arg::new("expires_in_s")
                .long("expires-in-s")
                .value_name("SECONDS")
                .value_parser(value_parser!(u64).range(1..))
                .help("Validity of the URL from now; unlimited by default"),
        )
        .after_help("Prints the signed URL. Exit status: 0 success; 2 wrong argument or setting.")
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    match signed(matches) {
        Ok(url) => exit::printed("sign", format!("{url}\n").as_bytes()),
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

/// Splits a URL into scheme and host, which are not signed, and the target of the request.
fn split(url: &str) -> Result<(&str, &str), String> {
    // Only at the start: the query may contain a URL.
    let scheme = ["http://", "https://"].into_iter().find(|scheme| url.starts_with(scheme)).map_or(0, str::len);
    let path_at = if scheme == 0 { Some(0) } else { url[scheme..].find('/').map(|at| scheme + at) };
    let (base, target) = url.split_at(path_at.unwrap_or(url.len()));
    if target.starts_with('/') { Ok((base, target)) } else { Err(format!("{url:?} has no path")) }
}

/// The canonical spelling of a rendition, so that caches hold it once. Any other target is signed as it is.
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
