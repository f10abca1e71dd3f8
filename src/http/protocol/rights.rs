//! [`Rights`]: the rights of the sender of many items, checked once for all of them.

use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;

use super::auth::{Access, Kind, Scope};
use crate::http::error::Error;
use crate::items::Needs;

/// The rights in addition to the scope of the route.
pub(in crate::http) struct Rights {
    read: Result<(), Error>,
    write: Result<(), Error>,
    original: Result<(), Error>,
    list: Result<(), Error>,
}

impl Rights {
    /// The rights of the sender of a request.
    pub(in crate::http) fn of(access: &Access, parts: &Parts) -> Rights {
        // A signature does not count: it covers the URL, and the work is described in the body.
        let may = |scope, kind| access.check(scope, kind, "", parts.headers.get_all(AUTHORIZATION)).map(drop);
        Rights {
            read: may(Scope::Read, Kind::Other),
            write: may(Scope::Write, Kind::Other),
            original: may(Scope::Read, Kind::Original),
            list: may(Scope::Admin, Kind::Other),
        }
    }

    /// The rights as a number, for the database.
    pub(in crate::http) fn bits(&self) -> u32 {
        let all = [&self.read, &self.write, &self.original, &self.list];
        all.iter().enumerate().map(|(index, right)| u32::from(right.is_ok()) << index).sum()
    }

    /// The rights from their number.
    pub(in crate::http) fn of_bits(bits: u32) -> Rights {
        let right = |index: u32, scope: Scope| match bits >> index & 1 {
            1 => Ok(()),
            _ => Err(Error::Forbidden { scope: scope.name() }),
        };
        Rights {
            read: right(0, Scope::Read),
            write: right(1, Scope::Write),
            original: right(2, Scope::Read),
            list: right(3, Scope::Admin),
        }
    }

    /// Whether the sender may list the stored images.
    pub(in crate::http) fn list(&self) -> Result<(), Error> {
        self.list.clone()
    }

    /// Whether an item may be run.
    pub(in crate::http) fn check(&self, needs: Needs) -> Result<(), Error> {
        let asked = [(needs.read, &self.read), (needs.write, &self.write), (needs.original, &self.original)];
        asked.into_iter().filter(|(needed, _)| *needed).try_for_each(|(_, right)| right.clone())
    }
}
