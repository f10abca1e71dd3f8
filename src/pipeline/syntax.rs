//! The syntax of requests: how a [`Pipeline`](super::Pipeline) is written in queries, JSON and forms, how it is read
//! back, and what is said about mistakes. Knows no pixels.
//!
//! | File | Holds |
//! |---|---|
//! | [`query`] | pairs of a query string; the canonical query |
//! | [`json`] | a JSON object as it was written |
//! | `parse` | every spelling of a pipeline, and the canonical text |
//! | [`foreign`] | spellings of other services |
//! | `presets` | pipelines by name |
//! | [`invalid`] | what is wrong with a parameter, in one sentence |
//! | [`docs`] | every parameter, as rows of documentation |

pub mod docs;
pub mod foreign;
pub mod invalid;
pub mod json;
mod parse;
mod presets;
pub mod query;

pub use parse::{PRESET, is_known, of_path, unknown_member, unknown_of_query};
pub(super) use parse::{from_members, from_query};
pub use presets::{Presets, check_with_preset};
