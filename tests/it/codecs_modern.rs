//! codecs_modern.
