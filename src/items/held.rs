//! [`Held`]: bytes, and the right to hold them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::hold::hold;
use crate::store::Reserved;

/// Bytes that hold their part of the budget of bodies for as long as anybody has them; short ones hold none.
#[derive(Clone)]
pub struct Held {
    bytes: Bytes,
    reserved: Option<Arc<Reserved>>,
}

impl Held {
    /// Adds the right to hold the bytes.
    pub fn within(self, reserved: Reserved) -> Held {
        Held { bytes: self.bytes, reserved: Some(Arc::new(reserved)) }
    }

    /// Plain bytes, which keep that right.
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

impl From<Bytes> for Held {
    fn from(bytes: Bytes) -> Held {
        Held { bytes, reserved: None }
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Held {}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes.len())
    }
}
