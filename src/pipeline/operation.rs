//! [`Operation`]: one step on pixels, as plain data and two plain functions, and the [`OPERATIONS`] table. To add one: one file,
//! one row. Not a place for colour management or encoding, which stand before and after every operation.

mod flip;
pub(super) mod resize;
pub(super) mod rotate;

use super::param::{Args, Param};
use super::{Error, Raster, Shape, Watch};

/// One step on the pixels of one frame.
pub struct Operation {
    /// "resize": in JSON, canonical text, metric labels.
    pub name: &'static str,
    /// One sentence for the README.
    pub doc: &'static str,
    /// What it accepts.
    pub params: &'static [Param],
    /// A query that shows it: for the README, tests and benches.
    pub example: &'static str,
    /// Raised whenever the same raster and arguments give other bytes.
    pub revision: u32,
    /// The shape of the result and what making it costs; runs before any pixel exists.
    pub plan: fn(Shape, &Args) -> Result<Cost, Error>,
    /// Makes the result, of the planned shape.
    pub apply: fn(Raster, &Args, &Context<'_>) -> Result<Raster, Error>,
}

/// What an operation will make of a raster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The shape of the result.
    pub shape: Shape,
    /// Bytes held while it works, beside source and result.
    pub working_bytes: u64,
}

/// What an operation is given beside its raster and arguments. Second images (mask, overlay), fetched before the run, will stand
/// here, so that no signature changes with them.
pub struct Context<'a> {
    /// Polled in long loops.
    pub watch: &'a Watch,
}

/// Every operation, in the order in which a flat query applies them.
pub static OPERATIONS: &[&Operation] = &[&rotate::OPERATION, &resize::OPERATION, &flip::OPERATION];

/// The operation of this name.
pub fn by_name(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name).copied()
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Operation {
    fn eq(&self, other: &Operation) -> bool {
        self.name == other.name
    }
}

impl Eq for Operation {}
