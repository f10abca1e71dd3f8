//! [`TextBudget`]: the bound on bodies that are read whole, as lists of ids or of items, all of them together.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::RequestBody;
use super::options::Options;
use crate::hold::hold;
use crate::http::error::Error;

/// The budget of all lists that are being read or answered. Bytes of text are counted; what is made of them during a
/// request takes a few times as much.
pub(in crate::http) struct TextBudget {
    bytes_max: usize,
    free: Arc<Semaphore>,
}

impl TextBudget {
    /// A budget of `bytes_max` bytes.
    pub(in crate::http) fn new(bytes_max: usize) -> TextBudget {
        TextBudget { bytes_max, free: Arc::new(Semaphore::new(bytes_max)) }
    }

    /// Takes a permit for `bytes`. A list longer than the whole budget takes all of it.
    pub(in crate::http) fn try_acquire(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let bytes = u32::try_from(bytes.min(self.bytes_max)).unwrap_or(u32::MAX);
        Arc::clone(&self.free).try_acquire_many_owned(bytes).map_err(|_| Error::ListsBusy)
    }

    /// Extends `held` to a permit for `bytes`.
    fn try_merge(&self, held: &mut OwnedSemaphorePermit, bytes: usize) -> Result<(), Error> {
        held.merge(self.try_acquire(bytes.min(self.bytes_max).saturating_sub(held.num_permits()))?);
        Ok(())
    }

    /// Reads the text of a body, and returns it with its permit. The permit grows as bytes arrive, so that clients
    /// which only declare a length block no other.
    pub(in crate::http) async fn text(
        &self,
        body: RequestBody,
        options: &Options,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), Error> {
        if body.declared().is_some_and(|declared| declared > options.list_bytes_max as u64) {
            return Err(too_large(options));
        }
        let mut text = Text::new(self, options)?;
        let mut reader = body.read(options);
        while let Some(chunk) = reader.next().await? {
            text.take(&chunk)?;
        }
        Ok(text.end())
    }
}

/// A text that is being read into memory.
pub(in crate::http) struct Text<'a> {
    budget: &'a TextBudget,
    options: &'a Options,
    text: Vec<u8>,
    held: OwnedSemaphorePermit,
}

impl<'a> Text<'a> {
    pub(in crate::http) fn new(budget: &'a TextBudget, options: &'a Options) -> Result<Text<'a>, Error> {
        Ok(Text { budget, options, text: Vec::new(), held: budget.try_acquire(0)? })
    }

    pub(in crate::http) fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let bytes = self.text.len() + chunk.len();
        if bytes > self.options.list_bytes_max {
            return Err(too_large(self.options));
        }
        self.budget.try_merge(&mut self.held, bytes)?;
        self.text.extend_from_slice(chunk);
        Ok(())
    }

    pub(in crate::http) fn end(self) -> (Vec<u8>, OwnedSemaphorePermit) {
        (self.text, self.held)
    }
}

fn too_large(options: &Options) -> Error {
    Error::TooLarge { name: "list_bytes_max", max: options.list_bytes_max as u64 }
}

/// The text of a response. It returns its part of the budget when it is sent.
pub(in crate::http) fn held(text: String, mut held: OwnedSemaphorePermit) -> Bytes {
    let kept = held.split(text.len().min(held.num_permits()));
    hold(text.into_bytes().into_boxed_slice(), kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_together_hold_the_budget_and_not_one_byte_more() {
        let budget = TextBudget::new(100);
        let mut first = budget.try_acquire(60).expect("free");
        assert_eq!(budget.try_acquire(41).err(), Some(Error::ListsBusy));
        let second = budget.try_acquire(40).expect("free");
        assert_eq!(budget.try_merge(&mut first, 61), Err(Error::ListsBusy));
        drop(second);
        assert_eq!(budget.try_merge(&mut first, 1000), Ok(()), "longer than the whole budget: alone");
        assert_eq!(budget.try_acquire(1).err(), Some(Error::ListsBusy));
        // A response keeps a permit for its own length until it is sent.
        let answer = held("x".repeat(30), first);
        assert!(budget.try_acquire(71).is_err());
        drop((budget.try_acquire(70), answer));
        assert!(budget.try_acquire(100).is_ok());
    }
}
