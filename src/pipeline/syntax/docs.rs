//! The parameters as rows of text, from the tables: for the README, help and the API description. Formats nothing itself.

use crate::pipeline::ENCODE;
use crate::pipeline::operation::OPERATIONS;
use crate::pipeline::param::Param;

/// One parameter, documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The operation that takes it, or "encode".
    pub operation: &'static str,
    /// What the operation does.
    pub operation_doc: &'static str,
    /// A query that shows the operation.
    pub example: &'static str,
    /// Its name in JSON.
    pub name: &'static str,
    /// Its keys in a query, the canonical one first.
    pub keys: &'static [&'static str],
    /// What it accepts.
    pub allowed: String,
    /// What it is when it is not written; empty: its `doc` says.
    pub default: String,
    /// What it means.
    pub doc: &'static str,
}

/// Every parameter: operations in the order of a flat query, then the encode arguments.
pub fn rows() -> Vec<Row> {
    let operations = OPERATIONS.iter().map(|o| (o.name, o.doc, o.example, o.params));
    let encode = ("encode", "How the result is written.", "quality=60", ENCODE);
    let tables = operations.chain(std::iter::once(encode));
    tables.flat_map(|(name, doc, example, params)| params.iter().map(move |p| row(name, doc, example, p))).collect()
}

fn row(operation: &'static str, operation_doc: &'static str, example: &'static str, param: &'static Param) -> Row {
    let Param { name, keys, kind, default, doc } = param;
    let default = default.as_ref().map(|value| kind.print(value)).unwrap_or_default();
    Row { operation, operation_doc, example, name, keys, allowed: kind.allowed(), default, doc }
}
