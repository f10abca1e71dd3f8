//! Decodes the frames of a file: tiles of a still image, or the tracks of an animation.

use re_rav1d::dav1d::Plane;

use super::container::{Cicp, Container, Content, Image, obus, sequence_header};
use super::crop::cropped;
use super::rav1d::{self, Sequence, Stream};
use super::tracks::Movie;
use super::yuv::{self, Planes, Target};
use super::{NAME, channels, profile, sequence};
use crate::pipeline::codec::DecodeOptions;
use crate::pipeline::codec::animation::FrameCollector;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Delay, Error, Frame, Missing, Picture, Raster, Samples, Size};

pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let container = Container::read(bytes)?;
    let sequence = sequence(&container)?;
    let canvas = Canvas::new(&container, &sequence);
    let picture = match &container.content {
        Content::Still { color, alpha } => Picture::animation(vec![still(color, alpha.as_ref(), &canvas, options)?], 0),
        Content::Movie(movie) => {
            let (frames, missing) = animation(movie, &canvas, options)?;
            Picture { missing, ..Picture::animation(frames, plays(movie)) }
        }
    };
    let embedded = container.icc.filter(|icc| icc.len() <= options.limits.icc_bytes_max).map(<[u8]>::to_vec);
    let icc = embedded.or_else(|| profile(canvas.cicp, &sequence));
    Ok(Picture { icc, ..picture })
}

fn plays(movie: &Movie) -> u32 {
    if movie.color.samples.count() > 1 { movie.color.plays } else { 0 }
}

fn still(color: &Image, alpha: Option<&Image>, canvas: &Canvas, options: &DecodeOptions) -> Result<Frame, Error> {
    options.limits.check(canvas.container.size, 1)?;
    let mut samples = canvas.samples()?;
    each_tile(color, options, |data, at| canvas.paint(&mut samples, &rav1d::decode(data, color.tile)?, at))?;
    if let Some(alpha) = alpha {
        each_tile(alpha, options, |data, at| {
            let full_range = rav1d::sequence(sequence_header(data)?)?.cicp.full_range;
            canvas.paint_alpha(&mut samples, &rav1d::decode(data, alpha.tile)?, full_range, at);
            Ok(())
        })?;
    }
    Ok(Frame { raster: canvas.finish(samples), delay: Delay::from_ms(0) })
}

/// Calls `each` with the data of every tile and the position of its upper left corner.
fn each_tile(
    image: &Image,
    options: &DecodeOptions,
    mut each: impl FnMut(&[u8], (u32, u32)) -> Result<(), Error>,
) -> Result<(), Error> {
    for (index, data) in (0..).zip(&image.tiles) {
        check_frames(data, image.tile, options)?;
        each(data, (index % image.columns * image.tile.w, index / image.columns * image.tile.h))?;
    }
    Ok(())
}

/// Checks the frames in the data of one, hidden ones included, against the limit on pixels of an animation: rav1d cannot be
/// interrupted within them.
fn check_frames(data: &[u8], size: Size, options: &DecodeOptions) -> Result<(), Error> {
    options.deadline.check()?;
    options.limits.check(size, obus(data)?.frames)
}

/// Decodes the first frames of an animation, up to the last whole one, and says what is missing.
fn animation(movie: &Movie, canvas: &Canvas, options: &DecodeOptions) -> Result<(Vec<Frame>, Option<Missing>), Error> {
    let count = movie.color.samples.count();
    let mut frames = FrameCollector::new(count, options);
    options.limits.check(movie.color.size, frames.kept())?;
    let missing = match collect(movie, canvas, options, &mut frames) {
        Err(Error::Corrupt { .. }) if frames.seen() > 0 => Some(Missing::Frames),
        collected => collected.map(|()| None)?,
    };
    let mut frames = frames.into_frames();
    if let ([only], 1) = (&mut frames[..], count) {
        only.delay = Delay::from_ms(0);
    }
    Ok((frames, missing))
}

/// Decodes frame after frame. Frames refer to earlier ones, so none can be left out.
fn collect(movie: &Movie, canvas: &Canvas, options: &DecodeOptions, frames: &mut FrameCollector) -> Result<(), Error> {
    let size = movie.color.size;
    let mut color = Stream::new(size)?;
    let mut alpha = movie.alpha.as_ref().map(|track| Alpha::new(track.samples.first()?, size)).transpose()?;
    let mut alphas = movie.alpha.iter().flat_map(|track| track.samples.iter());
    for sample in movie.color.samples.iter().take(frames.decoded() as usize) {
        let sample = sample?;
        check_frames(sample.data, size, options)?;
        let planes = color.frame(sample.data)?;
        let alpha = match (&mut alpha, alphas.next().transpose()?) {
            (Some(alpha), Some(sample)) => Some(alpha.frame(sample.data, size, options)?),
            _ => None,
        };
        let raster = frames.keeps_next().then(|| canvas.raster(&planes, alpha)).transpose()?;
        frames.add(raster, Delay { numerator: sample.duration, denominator: movie.color.timescale });
    }
    Ok(())
}

/// The alpha of an animation.
struct Alpha {
    stream: Stream,
    full_range: bool,
}

impl Alpha {
    fn new(first: &[u8], size: Size) -> Result<Alpha, Error> {
        let full_range = rav1d::sequence(sequence_header(first)?)?.cicp.full_range;
        Ok(Alpha { stream: Stream::new(size)?, full_range })
    }

    /// The next frame, and whether it uses all codes.
    fn frame(&mut self, data: &[u8], size: Size, options: &DecodeOptions) -> Result<(Planes<Plane>, bool), Error> {
        check_frames(data, size, options)?;
        Ok((self.stream.frame(data)?, self.full_range))
    }
}

/// What is common to all frames of a file.
struct Canvas<'a> {
    container: &'a Container<'a>,
    channels: Channels,
    bits: u8,
    cicp: Cicp,
}

impl<'a> Canvas<'a> {
    fn new(container: &'a Container<'a>, sequence: &Sequence) -> Canvas<'a> {
        let cicp = container.cicp.unwrap_or(sequence.cicp);
        Canvas { container, channels: channels(container, sequence), bits: sequence.bits, cicp }
    }

    /// Samples of one frame, to be painted.
    fn samples(&self) -> Result<Samples, Error> {
        let count = self.container.size.pixels() as usize * self.channels.count();
        Ok(if self.bits > 8 { Samples::U16(try_zeroed(count)?) } else { Samples::U8(try_zeroed(count)?) })
    }

    /// The frame of these planes.
    fn raster(&self, color: &Planes<Plane>, alpha: Option<(Planes<Plane>, bool)>) -> Result<Raster, Error> {
        let mut samples = self.samples()?;
        self.paint(&mut samples, color, (0, 0))?;
        if let Some((alpha, full_range)) = alpha {
            self.paint_alpha(&mut samples, &alpha, full_range, (0, 0));
        }
        Ok(self.finish(samples))
    }

    fn target<'s, S>(&self, samples: &'s mut [S], at: (u32, u32)) -> Target<'s, S> {
        Target { samples, size: self.container.size, channels: self.channels, at }
    }

    /// Paints the colours of a frame, or of a tile of it.
    fn paint(&self, samples: &mut Samples, planes: &Planes<Plane>, at: (u32, u32)) -> Result<(), Error> {
        if planes.bits != self.bits {
            return Err(Error::corrupt(NAME, "bit depth differs from the header"));
        }
        match samples {
            Samples::U8(samples) => yuv::paint(planes, self.cicp, self.target(samples, at)),
            Samples::U16(samples) => yuv::paint(planes, self.cicp, self.target(samples, at)),
        }
    }

    fn paint_alpha(&self, samples: &mut Samples, planes: &Planes<Plane>, full_range: bool, at: (u32, u32)) {
        match samples {
            Samples::U8(samples) => yuv::paint_alpha(planes, full_range, self.target(samples, at)),
            Samples::U16(samples) => yuv::paint_alpha(planes, full_range, self.target(samples, at)),
        }
    }

    /// The shown part of the frame, with straight alpha.
    fn finish(&self, mut samples: Samples) -> Raster {
        if self.container.premultiplied {
            match &mut samples {
                Samples::U8(samples) => yuv::unpremultiply(samples, self.channels),
                Samples::U16(samples) => yuv::unpremultiply(samples, self.channels),
            }
        }
        match self.container.crop {
            Some(crop) => cropped(samples, self.container.size, self.channels, crop),
            None => Raster::new(self.container.size, self.channels, samples),
        }
    }
}
