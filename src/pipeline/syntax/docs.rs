//! Every parameter as a row of text, from the tables: for the READMEs, help texts and the API description. Knows no format.

use crate::pipeline::ENCODE;
use crate::pipeline::operation::OPERATIONS;
use crate::pipeline::param::Param;

/// The documentation of one parameter.
///
/// ```
/// use progimage::pipeline::docs;
/// let rows = docs::rows();
/// let width = rows.iter().find(|row| row.operation == "resize" && row.name == "width").unwrap();
/// assert_eq!(width.keys, ["width", "w"]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The operation that takes it, or "encode".
    pub operation: &'static str,
    /// One sentence on the operation.
    pub operation_doc: &'static str,
    /// A query that shows the operation.
    pub example: &'static str,
    /// Name in JSON.
    pub name: &'static str,
    /// Keys in a query, the canonical one first.
    pub keys: &'static [&'static str],
    /// Accepted values.
    pub allowed: String,
    /// Value if it is not given; empty: `doc` states it.
    pub default: String,
    /// One sentence on the parameter.
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
