//! [`hold`]: bytes that carry the right to be in memory. Knows nothing else.

use bytes::Bytes;

/// Attaches `permit` to `bytes`, until the last reader has dropped them. A part that is split off keeps the permit, too.
pub fn hold(bytes: impl AsRef<[u8]> + Send + 'static, permit: impl Send + 'static) -> Bytes {
    Bytes::from_owner(Held { bytes, _permit: permit })
}

struct Held<B, P> {
    bytes: B,
    _permit: P,
}

impl<B: AsRef<[u8]>, P> AsRef<[u8]> for Held<B, P> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_permit_is_kept_until_the_last_part_is_gone() {
        let permit = Arc::new(());
        let mut bytes = hold(b"abcd".as_slice(), permit.clone());
        let part = bytes.split_off(3);
        drop(bytes);
        assert_eq!((&part[..], Arc::strong_count(&permit)), (b"d".as_slice(), 2));
        drop(part);
        assert_eq!(Arc::strong_count(&permit), 1);
    }
}
