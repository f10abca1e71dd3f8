//! What HTTP means, without the application: access, conditions, formats, digests, problems and the forms of answers.

pub mod auth;
pub(super) mod conditional;
pub(super) mod digest_fields;
pub(super) mod image_response;
pub(super) mod metrics;
pub(super) mod negotiate;
pub(super) mod problem;
pub(super) mod render_request;
pub(super) mod response;
pub(super) mod response_options;
pub(super) mod result_line;
pub(super) mod rights;
pub mod sign;
pub(super) mod stream_writer;
