//! [`Slices`]: bytes in several buffers, read in turn as if they were one.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

/// Bytes in several buffers, none of which is empty.
#[derive(Clone, Default)]
pub(in crate::http) struct Slices(VecDeque<Bytes>);

impl Slices {
    /// Takes the next buffer, without a copy.
    pub(in crate::http) fn pop(&mut self) -> Option<Bytes> {
        self.0.pop_front()
    }

    /// Takes at most `bytes_max` bytes in a buffer of their own, which holds none of the others.
    pub(in crate::http) fn copied(&mut self, bytes_max: usize) -> Bytes {
        self.copy_to_bytes(self.remaining().min(bytes_max))
    }
}

impl From<Bytes> for Slices {
    fn from(bytes: Bytes) -> Slices {
        [bytes].into_iter().collect()
    }
}

impl FromIterator<Bytes> for Slices {
    fn from_iter<I: IntoIterator<Item = Bytes>>(buffers: I) -> Slices {
        Slices(buffers.into_iter().filter(|buffer| !buffer.is_empty()).collect())
    }
}

impl Buf for Slices {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |buffer| &buffer[..])
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(buffer) = self.0.front_mut().filter(|_| count > 0) {
            let step = count.min(buffer.len());
            buffer.advance(step);
            count -= step;
            if buffer.is_empty() {
                self.0.pop_front();
            }
        }
        assert!(count == 0, "no caller advances past the end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_go_over_the_ends_of_buffers_and_hold_none_of_them() {
        let buffers = ["abc", "", "de", "f"].map(|text| Bytes::copy_from_slice(text.as_bytes()));
        let mut slices: Slices = buffers.iter().cloned().collect();
        assert_eq!(slices.copied(4), "abcd");
        assert!(buffers[0].is_unique());
        assert_eq!(slices.pop(), Some(Bytes::from_static(b"e")));
        assert_eq!((slices.copied(9), slices.remaining(), slices.pop()), (Bytes::from_static(b"f"), 0, None));
    }
}
