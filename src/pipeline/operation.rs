//! [`Operation`]: one step on pixels, as plain data and plain functions, and the [`OPERATIONS`] table. To add one: one file,
//! one row. Not a place for colour management or encoding, which stand before and after every operation.

mod blur;
mod canvas;
mod circle;
mod color;
mod convolve;
mod coverage;
pub(super) mod crop;
mod edge;
mod ellipse;
mod emboss;
mod flip;
mod gaussian;
mod gravity;
mod mask;
mod median;
mod noise;
mod overlay;
mod pad;
mod pixelate;
mod radius;
pub(super) mod resize;
pub(super) mod rotate;
mod sharpen;
mod sine;
mod transparent;
mod trim;
mod vignette;
mod window;

use std::collections::HashMap;

use super::invalid::{incomplete, missing};
use super::param::{Args, Kind, Param, Value};
use super::plan::Step;
use super::{Error, Raster, Shape, Watch};
use crate::digest::Digest;

/// One step on the pixels of one frame.
pub struct Operation {
    /// "resize": in JSON, canonical text, metric labels.
    pub name: &'static str,
    /// One sentence for the README.
    pub doc: &'static str,
    /// What it accepts.
    pub params: &'static [Param],
    /// A query that shows it: for the README, tests and benches. `{id}` stands for another image.
    pub example: &'static str,
    /// Raised whenever the same raster and arguments give other bytes.
    pub revision: u32,
    /// The one way to write these arguments: those that mean nothing beside the others are taken back to their defaults. `None`:
    /// nothing would be done. Applying it twice changes nothing more. Errs on arguments that do not go together or are missing, by
    /// the name of one.
    pub canonical: fn(Args) -> Result<Option<Args>, Error>,
    /// Where the arguments leave something to the pixels (the place of a subject, a border of one colour): the step that says it
    /// in numbers, from the first frame, so that every frame of an animation is treated alike.
    pub look: Option<Look>,
    /// The shape of the result and what making it costs; runs before any pixel exists. What it takes to bring another image to
    /// size comes on top: `image_bytes`. No less for a larger raster, but for what [`at_most`] says of another row.
    pub plan: fn(Shape, &Args) -> Result<Cost, Error>,
    /// Makes the result, of the planned shape.
    pub apply: fn(Raster, &Args, &Context<'_>) -> Result<Raster, Error>,
}

/// See [`Operation::look`].
pub type Look = fn(&Raster, &Args, &Context<'_>) -> Result<Step, Error>;

/// What an operation will make of a raster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The shape of the result.
    pub shape: Shape,
    /// Bytes held while it works, beside source and result.
    pub working_bytes: u64,
    /// The result may be smaller than `shape`: only the pixels will tell.
    pub at_most: bool,
}

impl Cost {
    /// A result of this shape, which costs this much beside source and result.
    pub const fn new(shape: Shape, working_bytes: u64) -> Cost {
        Cost { shape, working_bytes, at_most: false }
    }
}

/// What an operation is given beside its raster and arguments.
pub struct Context<'a> {
    /// Polled in long loops.
    pub watch: &'a Watch,
    /// The other images that the pipeline names (masks, overlays), upright and sRGB, by id: every one of them is there.
    pub images: &'a HashMap<Digest, Raster>,
}

impl Context<'_> {
    /// The image that the argument `source` names.
    fn image(&self, args: &Args) -> Result<&Raster, Error> {
        let id = args.image("source").ok_or_else(|| missing("source", Kind::Image.allowed()))?;
        self.images.get(&id).ok_or(Error::MissingImage { id })
    }
}

/// Every operation, in the order in which a flat query applies them.
#[rustfmt::skip]
pub static OPERATIONS: &[&Operation] = &[
    // Geometry.
    &crop::OPERATION, &trim::OPERATION, &resize::OPERATION, &rotate::OPERATION, &flip::OPERATION,
    // Colour.
    &color::exposure::OPERATION, &color::brightness::OPERATION, &color::contrast::OPERATION, &color::saturation::OPERATION, &color::hue::OPERATION,
    &color::gamma::OPERATION, &color::grayscale::OPERATION, &color::sepia::OPERATION, &color::invert::OPERATION,
    &color::tint::OPERATION, &color::duotone::OPERATION, &color::normalize::OPERATION, &color::equalize::OPERATION,
    &color::posterize::OPERATION, &color::threshold::OPERATION, &color::opacity::OPERATION,
    // Effects.
    &blur::OPERATION, &sharpen::OPERATION, &median::OPERATION, &pixelate::OPERATION, &edge::OPERATION, &emboss::OPERATION,
    &vignette::OPERATION, &noise::OPERATION, &convolve::OPERATION,
    // Masks, then what is laid upon them.
    &mask::OPERATION, &circle::OPERATION, &ellipse::OPERATION, &radius::OPERATION, &transparent::OPERATION, &overlay::OPERATION,
    // Room around the result.
    &pad::OPERATION,
];

/// The operation of this name.
pub fn by_name(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name).copied()
}

/// Whether this step is a turn by a right angle: it computes no pixel, so it counts as orientation.
pub(super) fn is_right_angle(operation: &Operation, args: &Args) -> bool {
    operation == &rotate::OPERATION && rotate::right_angle(args).is_some()
}

/// For operations that are nothing with every argument at its default (all have one), and whose arguments do not depend on each
/// other.
fn unless_defaults(args: Args) -> Result<Option<Args>, Error> {
    Ok(Some(args).filter(|args| !args.are_defaults()))
}

/// The one parameter of an operation that is asked for by its name: see [`unless_off`].
const fn switch(keys: &'static [&'static str], doc: &'static str) -> Param {
    Param { name: "on", keys, kind: Kind::Flag, default: None, doc }
}

/// For operations with a [`switch`]: done unless it says `false`; in JSON the operation's name is enough.
fn unless_off(args: Args) -> Result<Option<Args>, Error> {
    let on = args.get("on") != Some(&Value::Flag(false));
    Ok(on.then(|| args.with("on", Value::Flag(true))))
}

/// For operations that mean nothing without their first argument.
fn with_first(args: Args) -> Result<Option<Args>, Error> {
    with_firsts(args, 1)
}

/// For operations that mean nothing without so many arguments, which stand first in their table.
fn with_firsts(args: Args, count: usize) -> Result<Option<Args>, Error> {
    let (needed, others) = args.params().split_at(count);
    let Some(absent) = needed.iter().find(|param| !args.has(param.name)) else { return Ok(Some(args)) };
    Err(match args.written().find(|(param, _)| others.contains(param)) {
        Some((param, _)) => incomplete(param.name, &[absent.name]),
        None if count == 1 => missing(absent.name, absent.kind.allowed()).must_be(absent.kind.in_words()),
        None => {
            let names: Vec<&str> = needed.iter().map(|param| param.name).collect();
            incomplete(absent.name, &names)
        }
    })
}

/// The most that an operation makes and costs of any raster that is no larger than `most` in either side.
pub fn at_most(operation: &Operation, most: Shape, args: &Args) -> Result<Cost, Error> {
    // A flat image becomes less high at the same width than a square one.
    if operation == &resize::OPERATION { Ok(resize::at_most(most, args)) } else { (operation.plan)(most, args) }
}

/// Bytes that a step on a raster of shape `from`, or on a smaller one, holds to bring `image`, which it names, to the size that it
/// needs.
pub(super) fn image_bytes(operation: &Operation, args: &Args, from: Shape, image: Shape) -> u64 {
    if operation == &mask::OPERATION {
        mask::image_bytes(from, image)
    } else if operation == &overlay::OPERATION {
        overlay::image_bytes(args, from, image)
    } else {
        0
    }
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
