//! The handlers: one file a path, or a family of paths.

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
