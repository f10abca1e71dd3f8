//! What HTTP means, without the application: who may do what ([`auth`], [`sign`], [`rights`]), what a request asks for
//! ([`render_request`], [`response_options`], [`negotiate`], [`conditional`], [`digest_fields`]), and what an answer says
//! ([`image_response`], [`response`], [`stream_writer`], [`result_line`], [`problem`]). A 304 is decided in [`conditional`], and an
//! error's status in [`problem`].

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
