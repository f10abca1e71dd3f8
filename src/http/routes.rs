//! The handlers: one file a path, or a family of paths. A handler reads what is asked, calls the layers below, and answers; who calls
//! it stands in [`super::table`].

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
