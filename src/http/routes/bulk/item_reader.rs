//! [`ItemReader`]: reads an item from its text, and checks the rights of its sender.

use std::sync::Arc;

use bytes::Bytes;

use super::PLACES;
use crate::http::app::App;
use crate::http::error::Error;
use crate::http::protocol::rights::Rights;
use crate::items::Item;

/// An item, or the reason why there is none.
pub(super) struct RequestItem {
    pub(super) label: ItemLabel,
    pub(super) item: Result<Item, Error>,
}

/// The identity of an item in its result lines.
pub(super) struct ItemLabel {
    /// The index of the item in the request, from 0.
    pub(super) index: u64,
    pub(super) key: Option<String>,
    /// The name of a part that no item names; then there is no item.
    pub(super) part: Option<String>,
}

/// Reads the items of one request.
pub(super) struct ItemReader {
    pub(super) app: Arc<App>,
    pub(super) rights: Rights,
    /// Items so far.
    pub(super) count: u64,
}

pub(super) fn too_long(bytes_max: usize) -> Error {
    Error::TooLarge { name: "line_bytes_max", max: bytes_max as u64 }
}

impl ItemReader {
    /// Reads the next item.
    pub(super) async fn entry(&mut self, text: Bytes) -> RequestItem {
        let max = self.app.options.line_bytes_max;
        if text.len() > max {
            return self.refused(too_long(max));
        }
        let index = self.take_index();
        self.read(index, text).await
    }

    /// Reads the item of this index.
    pub(super) async fn read(&self, index: u64, text: Bytes) -> RequestItem {
        let read = self.app.items.read(text, PLACES).await;
        let (key, item) = match read {
            Ok(item) => (item.key.clone(), self.rights.check(item.needs()).map(|()| item)),
            Err(unread) => (unread.key, Err(unread.error.into())),
        };
        RequestItem { label: ItemLabel { index, key, part: None }, item }
    }

    pub(super) fn refused(&mut self, error: Error) -> RequestItem {
        let label = ItemLabel { index: self.take_index(), key: None, part: None };
        RequestItem { label, item: Err(error) }
    }

    fn take_index(&mut self) -> u64 {
        self.count += 1;
        self.count - 1
    }
}
