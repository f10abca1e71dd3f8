//! What a line of results says of an output that has its place in the store or in the tier: the same for `/bulk` and for jobs.

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::metrics::Metrics;
use crate::store::Receipt;

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
