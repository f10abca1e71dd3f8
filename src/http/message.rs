//! Bytes in and out, without their meaning: bodies and the rates they must keep ([`body`], [`response_body`],
//! [`activity`]); lines, forms and lists in them ([`line_reader`], [`form`], [`json_array`], [`id_list`]); and where
//! bytes wait for a slow client ([`large_body`], [`queue`], [`spool`], [`spill_file`]). This room knows no route, no status and no
//! application.

pub(super) mod activity;
pub(super) mod body;
pub(super) mod form;
pub(super) mod id_list;
pub(super) mod json_array;
pub(super) mod large_body;
pub(super) mod line_reader;
pub(super) mod options;
pub(super) mod queue;
pub(super) mod response_body;
pub(super) mod slices;
pub(super) mod spill_file;
pub(super) mod spool;
pub(super) mod stream_body;
pub(super) mod text_budget;
