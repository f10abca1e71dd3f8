//! The meaning of HTTP, without the application: access ([`auth`], [`sign`], [`rights`]), the meaning of a request
//! ([`render_request`], [`response_options`], [`negotiate`], [`conditional`], [`digest_fields`]), and the making of
//! responses ([`image_response`], [`response`], [`stream_writer`], [`result_line`], [`problem`]). A 304 is decided in
//! [`conditional`], and the status of an error in [`problem`].

pub mod auth;
pub(super) mod conditional;
pub(super) mod digest_fields;
pub(super) mod hint;
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
