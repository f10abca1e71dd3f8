//! renditions.
