//! What lines about one of many say, in the same words wherever they stand: `/bulk`, jobs, uploads of many, lists of ids.

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::error::Error;
use super::metrics::Metrics;
use super::service::told;
use crate::store::Receipt;

/// Of an item, before anything else.
pub(super) fn head(item: u64, key: Option<&str>) -> Map<String, Value> {
    let mut line = Map::from_iter([("item".to_owned(), item.into())]);
    line.extend(key.map(|key| ("key".to_owned(), key.into())));
    line
}

/// Of what failed.
pub(super) fn failed(mut line: Map<String, Value>, error: &Error) -> Map<String, Value> {
    let problem = told(error, None);
    line.insert("status".to_owned(), problem.status().as_u16().into());
    line.insert("problem".to_owned(), problem.json());
    line
}

/// Of a new blob, which counts as an upload.
pub(super) fn blob(line: &mut Map<String, Value>, receipt: &Receipt, metrics: &Metrics) {
    metrics.uploaded(receipt);
    let status = if receipt.created { StatusCode::CREATED } else { StatusCode::OK };
    line.insert("status".to_owned(), status.as_u16().into());
    line.insert("id".to_owned(), receipt.digest.to_string().into());
    line.insert("url".to_owned(), format!("/images/{}", receipt.digest).into());
    line.insert("bytes".to_owned(), receipt.bytes.into());
}

/// Of a rendition that is kept.
pub(super) fn rendition(line: &mut Map<String, Value>, url: String) {
    line.insert("status".to_owned(), StatusCode::OK.as_u16().into());
    line.insert("url".to_owned(), url.into());
}
