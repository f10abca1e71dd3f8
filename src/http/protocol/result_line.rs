//! The members of result lines, in the same words in `/bulk`, jobs, uploads of many images, and lists of ids.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::metrics::Metrics;
use super::problem::report::report;
use crate::http::error::Error;
use crate::pipeline::Missing;
use crate::store::Receipt;

/// Begins the line of an item.
pub(in crate::http) fn head(item: u64, key: Option<&str>) -> Map<String, Value> {
    let mut line = Map::from_iter([("item".to_owned(), item.into())]);
    line.extend(key.map(|key| ("key".to_owned(), key.into())));
    line
}

/// Completes the line of a failure.
pub(in crate::http) fn failed(mut line: Map<String, Value>, error: &Error) -> Map<String, Value> {
    let problem = report(error, None);
    line.insert("status".to_owned(), problem.status().as_u16().into());
    line.insert("problem".to_owned(), problem.json());
    line
}

/// Completes the line of a stored blob, which counts as an upload.
pub(in crate::http) fn blob(line: &mut Map<String, Value>, receipt: &Receipt, metrics: &Metrics) {
    metrics.uploaded(receipt);
    let status = if receipt.created { StatusCode::CREATED } else { StatusCode::OK };
    line.insert("status".to_owned(), status.as_u16().into());
    line.insert("id".to_owned(), receipt.digest.to_string().into());
    line.insert("url".to_owned(), format!("/images/{}", receipt.digest).into());
    line.insert("bytes".to_owned(), receipt.bytes.into());
}

/// Completes the line of a rendition that is kept.
pub(in crate::http) fn rendition(line: &mut Map<String, Value>, url: String) {
    line.insert("status".to_owned(), StatusCode::OK.as_u16().into());
    line.insert("url".to_owned(), url.into());
}

/// Says in a line what its result lacks because the source is damaged.
pub(in crate::http) fn missing(line: &mut Map<String, Value>, missing: Option<Missing>) {
    line.extend(missing.map(|missing| ("incomplete".to_owned(), missing.name().into())));
}

/// The numbers of results and failures, for the last line.
#[derive(Default)]
pub(in crate::http) struct Counts {
    ok: u64,
    failed: u64,
}

impl Counts {
    pub(in crate::http) fn add(&mut self, ok: bool) {
        *if ok { &mut self.ok } else { &mut self.failed } += 1;
    }

    /// The last line. After an error the request was not read to its end.
    pub(in crate::http) fn last(&self, ended: Result<(), Error>) -> Value {
        let mut last = json!({ "done": ended.is_ok(), "ok": self.ok, "failed": self.failed });
        if let Err(error) = ended {
            last["problem"] = report(&error, None).json();
        }
        last
    }
}
