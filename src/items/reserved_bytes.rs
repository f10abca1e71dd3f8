//! [`ReservedBytes`]: bytes, and the right to hold them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::hold::hold;
use crate::store::Reserved;

/// Bytes that hold their part of the budget of bodies until the last reader drops them. Short ones hold none.
#[derive(Clone)]
pub struct ReservedBytes {
    bytes: Bytes,
    reserved: Option<Arc<Reserved>>,
}

impl ReservedBytes {
    /// Adds the right to hold the bytes.
    pub fn within(self, reserved: Reserved) -> ReservedBytes {
        ReservedBytes { bytes: self.bytes, reserved: Some(Arc::new(reserved)) }
    }

    /// The bytes, which keep the right to be held.
    pub fn into_bytes(self) -> Bytes {
        match self.reserved {
            Some(reserved) => hold(self.bytes, reserved),
            None => self.bytes,
        }
    }

    /// The bytes, and the right to hold them if no other reader has it.
    pub(super) fn into_parts(self) -> (Bytes, Option<Reserved>) {
        (self.bytes, self.reserved.and_then(Arc::into_inner))
    }
}

impl From<Bytes> for ReservedBytes {
    fn from(bytes: Bytes) -> ReservedBytes {
        ReservedBytes { bytes, reserved: None }
    }
}

impl PartialEq for ReservedBytes {
    fn eq(&self, other: &ReservedBytes) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for ReservedBytes {}

impl fmt::Debug for ReservedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}
