//! [`Operation`]: one step on pixels, as plain data and plain functions, and the [`OPERATIONS`] table. A new
//! operation is one file and one row. Colour management and encoding are elsewhere: they come before and after all
//! operations.

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
use super::{Deadline, Error, Raster, Shape};
use crate::digest::Digest;

/// One step on the pixels of a frame.
///
/// ```
/// use progimage::pipeline::operation::{Context, by_name};
/// use progimage::pipeline::param::Args;
/// use progimage::pipeline::{Channels, Deadline, Raster, Samples, Size};
/// let flip = by_name("flip").unwrap();
/// let args = Args::parse(flip.params, "direction=h")?;
/// let raster = Raster::new(Size::new(3, 1), Channels::Gray, Samples::U8(vec![1, 2, 3]));
///
/// let cost = (flip.plan)(raster.shape(), &args)?;
/// assert_eq!(cost.shape, raster.shape());
/// let context = Context { deadline: &Deadline::default(), images: &Default::default() };
/// let flipped = (flip.apply)(raster, &args, &context)?;
/// assert_eq!(flipped.samples(), &Samples::U8(vec![3, 2, 1]));
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
pub struct Operation {
    /// Name in JSON, canonical text and metric labels, such as "resize".
    pub name: &'static str,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// Accepted parameters.
    pub params: &'static [Param],
    /// Query that demonstrates the operation in the documentation, tests and benches. `{id}` stands for another
    /// image's id.
    pub example: &'static str,
    /// Raised whenever an equal raster and equal arguments give other bytes.
    pub revision: u32,
    /// Canonical form of the arguments: those without effect are reset to their defaults. `None`: the operation would
    /// change nothing. Idempotent. Errs, naming a parameter, if arguments are missing or contradict each other.
    pub canonical: fn(Args) -> Result<Option<Args>, Error>,
    /// Replaces arguments that depend on pixels (the place of a subject, a border of one colour) by numbers. Runs on
    /// the first frame, so that every frame of an animation is treated alike.
    pub resolve: Option<Resolve>,
    /// Shape and memory cost of the result; runs before any pixel exists. Scaling another image to size costs
    /// `image_bytes` in addition. Monotonic: a larger raster never costs less, except as handled by [`at_most`].
    pub plan: fn(Shape, &Args) -> Result<Cost, Error>,
    /// Computes the result, of the planned shape.
    pub apply: fn(Raster, &Args, &Context<'_>) -> Result<Raster, Error>,
}

/// Function that makes arguments independent of pixels; see [`Operation::resolve`].
pub type Resolve = fn(&Raster, &Args, &Context<'_>) -> Result<Step, Error>;

/// Shape and memory cost of an operation's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The shape of the result.
    pub shape: Shape,
    /// Bytes held while the operation runs, in addition to source and result.
    pub working_bytes: u64,
    /// Whether the result may be smaller than `shape`, which only the pixels determine.
    pub at_most: bool,
}

impl Cost {
    /// An exact result of this shape, with this many working bytes.
    pub const fn new(shape: Shape, working_bytes: u64) -> Cost {
        Cost { shape, working_bytes, at_most: false }
    }
}

/// Inputs of an operation other than its raster and arguments.
pub struct Context<'a> {
    /// Deadline, checked in long loops.
    pub deadline: &'a Deadline,
    /// All other images that the pipeline names (masks, overlays) by id, upright and in sRGB.
    pub images: &'a HashMap<Digest, Raster>,
}

impl Context<'_> {
    /// Image named by the argument `source`.
    fn image(&self, args: &Args) -> Result<&Raster, Error> {
        let id = args.image("source").ok_or_else(|| missing("source", Kind::Image.allowed()))?;
        self.images.get(&id).ok_or(Error::MissingImage { id })
    }
}

/// Every operation, in the order in which a flat query applies them.
///
/// ```
/// use progimage::pipeline::operation::OPERATIONS;
/// let place = |name| OPERATIONS.iter().position(|operation| operation.name == name);
/// assert!(place("crop") < place("resize") && place("resize") < place("blur"));
/// let resize = OPERATIONS[place("resize").unwrap()];
/// assert!(resize.params.iter().any(|param| param.keys == ["width", "w"]));
/// ```
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
    // Masks, then layers above them.
    &mask::OPERATION, &circle::OPERATION, &ellipse::OPERATION, &radius::OPERATION, &transparent::OPERATION, &overlay::OPERATION,
    // Padding around the result.
    &pad::OPERATION,
];

/// Finds the operation with this name.
pub fn by_name(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.name == name).copied()
}

/// Whether a step turns by a multiple of 90 degrees. Such a step computes no pixel and counts as orientation.
pub(super) fn is_right_angle(operation: &Operation, args: &Args) -> bool {
    operation == &rotate::OPERATION && rotate::right_angle(args).is_some()
}

/// Canonical form for operations that do nothing if all arguments are at their defaults, and whose arguments are
/// independent.
fn unless_defaults(args: Args) -> Result<Option<Args>, Error> {
    Ok(Some(args).filter(|args| !args.are_defaults()))
}

/// Parameter that switches on an operation without arguments; see [`unless_off`].
const fn switch(keys: &'static [&'static str], doc: &'static str) -> Param {
    Param { name: "on", keys, kind: Kind::Flag, default: None, doc }
}

/// Canonical form for operations with a [`switch`]: on unless it is `false`. In JSON the operation's name is enough.
fn unless_off(args: Args) -> Result<Option<Args>, Error> {
    let on = args.get("on") != Some(&Value::Flag(false));
    Ok(on.then(|| args.with("on", Value::Flag(true))))
}

/// Canonical form for operations that require their first argument.
fn with_first(args: Args) -> Result<Option<Args>, Error> {
    with_firsts(args, 1)
}

/// Canonical form for operations that require their first `count` arguments.
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

/// Upper bound on shape and cost of an operation for any raster with sides no longer than those of `most`.
pub fn at_most(operation: &Operation, most: Shape, args: &Args) -> Result<Cost, Error> {
    // A flat image becomes less high at the same width than a square one.
    if operation == &resize::OPERATION { Ok(resize::at_most(most, args)) } else { (operation.plan)(most, args) }
}

/// Bytes held to scale `image`, which the step names, to the size needed on a raster of shape `from` or a smaller
/// one.
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
