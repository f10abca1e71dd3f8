//! The operations one by one: values by hand, identities, and comparisons with what other programs made.

mod geometry;
