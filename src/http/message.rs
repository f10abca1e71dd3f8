//! Bytes in and out, without their meaning: bodies, lines, forms and lists, and where bytes wait for a slow client.

pub(super) mod activity;
pub(super) mod body;
pub(super) mod form;
pub(super) mod id_list;
pub(super) mod json_array;
pub(super) mod line_reader;
pub(super) mod options;
pub(super) mod queue;
pub(super) mod response_body;
pub(super) mod spill_file;
pub(super) mod spool;
pub(super) mod stream_body;
