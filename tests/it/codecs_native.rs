//! codecs_native.
