//! The handlers: one file for each path or family of paths. A handler reads the request, calls the layers below, and
//! answers. [`super::table`] says which request reaches which handler.

pub(super) mod bulk;
pub(super) mod image_batch;
pub(super) mod images;
pub(super) mod info;
pub(super) mod jobs;
pub(super) mod prerender;
pub(super) mod process;
pub(super) mod remote;
pub(super) mod system;
pub(super) mod upload;
