//! codecs_library.
