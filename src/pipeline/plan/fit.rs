//! [`Fit`]: whether a format can hold what a result has, from the source's header alone. Where a format is chosen for a
//! client, none that loses something comes into question.

use super::memory::ceiling;
use super::{frames_wanted, managed, orientation};
use crate::pipeline::codec::{Codec, Header, Palette};
use crate::pipeline::encode::{encoded_channels, encoder_for};
use crate::pipeline::{Pipeline, Shape};

/// What becomes of a result in a format, from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fit {
    /// It loses frames, alpha, or samples that were to be preserved.
    Loses,
    /// It is scaled down, since the format cannot hold its size, or its alpha becomes that of a palette: all or nothing.
    Reduced,
    /// It is held as a whole.
    Whole,
}

impl Pipeline {
    /// What becomes of the result of a source in the pipeline's format; `one_frame`: one frame of it was asked for, which in
    /// formats without animation is no argument. Mistakes and limits are left to the plan.
    ///
    /// ```
    /// use progimage::pipeline::{Fit, Pipeline, codec};
    /// // A portable anymap of one pixel with alpha.
    /// let source = b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n\x00\x80";
    /// let found = codec::sniff(source)?;
    /// let header = (found.inspect)(source)?;
    /// let fit = |extension| Pipeline::from_query(codec::by_extension(extension).unwrap(), &[]).map(|p| p.fit((found, &header), false));
    /// assert_eq!((fit("png")?, fit("jpg")?), (Fit::Whole, Fit::Loses));
    /// # Ok::<(), progimage::pipeline::Error>(())
    /// ```
    pub fn fit(&self, (codec, header): (&'static Codec, &Header), one_frame: bool) -> Fit {
        let Some(encoder) = &self.codec().encoder else { return Fit::Loses };
        let encoder = encoder_for(encoder, self.encode_args());
        let lossless = self.encode_args().flag("lossless");
        let result = self.result_shape(header);
        let frames = frames_wanted(header, one_frame);
        let holds_bits = !lossless || result.bits <= encoder.lossless_bits;
        let alpha = result.channels.alpha();
        let holds_alpha = !alpha || encoded_channels(&encoder, result.channels).alpha();
        if frames > encoder.frames_max || !holds_bits || !holds_alpha {
            return Fit::Loses;
        }
        // What came from such a palette has no other alpha.
        let binary_alpha = alpha && encoder.palette == Palette::Always && codec != self.codec();
        let too_large = ceiling(&encoder, lossless, result.size).is_some();
        if binary_alpha || too_large { Fit::Reduced } else { Fit::Whole }
    }

    /// Pixels of all frames of the result, or the most that it may have; `one_frame` as for [`Pipeline::fit`].
    pub fn result_pixels(&self, header: &Header, one_frame: bool) -> u64 {
        self.result_shape(header).size.pixels().saturating_mul(u64::from(frames_wanted(header, one_frame)))
    }

    /// The shape of the result, or the largest that it may have. After a step that is refused nothing more is known.
    fn result_shape(&self, header: &Header) -> Shape {
        let size = header.size.oriented(orientation(self, header));
        let start = Shape { size, channels: managed(header.channels), bits: header.bits };
        let step =
            |shape: Shape, (operation, args): &super::Step| (operation.plan)(shape, args).ok().map(|cost| cost.shape);
        self.steps().iter().try_fold(start, |shape, next| step(shape, next).ok_or(shape)).unwrap_or_else(|shape| shape)
    }
}
