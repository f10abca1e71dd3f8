//! libwebp: safe functions around every call, on one thread. No container logic.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::ptr;

use libwebp_sys::*;

use super::NAME;
use crate::pipeline::codec::{Effort, Step};
use crate::pipeline::{Channels, Deadline, Error, Size};

/// Settings of an encoder.
pub(super) struct Settings<'a> {
    /// Quality, 0..=100.
    pub quality: u8,
    /// Whether to preserve every sample, including those under transparent alpha.
    pub lossless: bool,
    /// Whether chroma is chosen so that the shown colours come near the source's (`sharp YUV`), rather than averaged: 4:2:0
    /// holds coloured edges better so, in more time.
    pub sharp: bool,
    /// Deadline, checked at every percent of a frame.
    pub deadline: &'a Deadline,
    /// Effort, 0..=9.
    pub effort: u8,
}

/// Methods of lossy frames, 0..=6, by effort. Means of five photographs at 512 px, quality 75, on one core: method 0:
/// 3.8 ms, 18.2 KiB, 35.1 dB; 2: 5.2 ms, 14.7 KiB, 34.8 dB; 4: 15.8 ms, 14.2 KiB, 35.0 dB; 6: 30.3 ms, 13.4 KiB, 34.9
/// dB. Above 2, a few percent cost three times the time.
const METHODS: [c_int; 10] = [0, 1, 2, 3, 4, 4, 5, 5, 6, 6];

/// Levels of lossless frames, 0..=9, by effort. Means of the photographs measured for [`METHODS`]: level 0: 13 ms,
/// 178 KiB; 1: 25 ms, 167 KiB; 2: 55 ms, 161 KiB; 6: 223 ms, 155 KiB. Level 4 is no smaller than 3, and 9 takes ten
/// times the time of 8 for the last half percent.
const LOSSLESS_LEVELS: [c_int; 10] = [0, 0, 1, 2, 3, 3, 5, 5, 8, 8];

/// Efforts that differ in method or level. Seconds per megapixel: lossy noise at most 0.4, and 0.9 at the last step, on a core
/// that was shared with other work; lossless photographs 0.2 at level 2, 0.8 at level 6, 4 at level 8, and noise less.
pub(super) const EFFORT: Effort = Effort {
    default: 2,
    steps: &[
        Step::free(0),
        Step::free(1),
        Step::free(2),
        Step::bounded(3, u64::MAX, 25_000_000),
        Step::bounded(4, u64::MAX, 15_000_000),
        Step::bounded(6, u64::MAX, 6_000_000),
        Step::bounded(8, 11_000_000, 2_500_000),
    ],
};

/// Approximate number of steps in which a still is decoded; the deadline is checked in between.
const STEPS: usize = 64;

/// Smallest step; shorter ones would only repeat headers.
const STEP_BYTES_MIN: usize = 4 << 10;

/// Why a still is not whole, and the number of its rows that are decoded.
pub(super) struct Cut {
    pub rows: usize,
    pub error: Error,
}

impl From<Error> for Cut {
    fn from(error: Error) -> Cut {
        Cut { rows: 0, error }
    }
}

/// Decodes the still `riff` into `samples`, filling exactly `size` and `channels` (RGB or RGBA). On an error, rows that were
/// not reached are left as they are.
pub(super) fn decode(
    riff: &[u8],
    size: Size,
    channels: Channels,
    samples: &mut [u8],
    deadline: &Deadline,
) -> Result<(), Cut> {
    assert_eq!(samples.len() as u64, size.pixels() * channels.count() as u64, "samples do not fill the frame");
    let mut config = WebPDecoderConfig::new().map_err(|()| Error::corrupt(NAME, "wrong version of libwebp"))?;
    // SAFETY: `riff` is valid for its length; `config.input` is a valid place for the result.
    let status = unsafe { WebPGetFeatures(riff.as_ptr(), riff.len(), &mut config.input) };
    check(status)?;
    if (config.input.width as u32, config.input.height as u32) != (size.w, size.h) || config.input.has_animation != 0 {
        return Err(Error::corrupt(NAME, "frame differs from its header").into());
    }
    config.output.colorspace = if channels.alpha() { WEBP_CSP_MODE::MODE_RGBA } else { WEBP_CSP_MODE::MODE_RGB };
    config.output.is_external_memory = 1;
    config.output.u.RGBA = WebPRGBABuffer {
        rgba: samples.as_mut_ptr(),
        stride: (size.w as usize * channels.count()) as c_int,
        size: samples.len(),
    };
    let mut decoder = StepDecoder::new(riff, &mut config)?;
    let decoded = decoder.run(deadline);
    decoded.map_err(|error| Cut { rows: decoder.rows(), error })
}

/// A decoder that receives a growing part of the file.
struct StepDecoder<'a> {
    decoder: *mut WebPIDecoder,
    riff: &'a [u8],
    config: PhantomData<&'a mut WebPDecoderConfig>,
}

impl<'a> StepDecoder<'a> {
    /// A decoder of `riff` to the output of `config`.
    fn new(riff: &'a [u8], config: &'a mut WebPDecoderConfig) -> Result<StepDecoder<'a>, Error> {
        // SAFETY: without data, only the decoder is made. It keeps pointers into `config`, which is borrowed exclusively for its
        // life; so is, by the caller, the external memory there, whose stride and length libwebp checks before it writes.
        let decoder = unsafe { WebPIDecode(ptr::null(), 0, config) };
        if decoder.is_null() { Err(out_of_memory()) } else { Ok(StepDecoder { decoder, riff, config: PhantomData }) }
    }

    /// Decodes all of the file, in steps.
    fn run(&mut self, deadline: &Deadline) -> Result<(), Error> {
        let bytes = self.riff.len();
        let step = (bytes / STEPS).max(STEP_BYTES_MIN);
        for known in (0..bytes).step_by(step).skip(1) {
            deadline.check()?;
            match self.advance(known) {
                VP8StatusCode::VP8_STATUS_SUSPENDED => {}
                status => return check(status),
            }
        }
        deadline.check()?;
        check(self.advance(bytes))
    }

    /// Number of rows that are decoded.
    fn rows(&self) -> usize {
        let mut last: c_int = 0;
        // SAFETY: the decoder is live; `last` is a valid place, and the others may be null.
        unsafe { WebPIDecGetRGB(self.decoder, &mut last, ptr::null_mut(), ptr::null_mut(), ptr::null_mut()) };
        usize::try_from(last).unwrap_or(0)
    }

    /// Decodes as far as possible with the first `known` bytes, a number that never decreases.
    fn advance(&mut self, known: usize) -> VP8StatusCode {
        let known = &self.riff[..known];
        // SAFETY: the decoder is live; `known` is valid for its length, stays where it is while the decoder lives, and is only read.
        unsafe { WebPIUpdate(self.decoder, known.as_ptr(), known.len()) }
    }
}

impl Drop for StepDecoder<'_> {
    fn drop(&mut self) {
        // SAFETY: the decoder is live and not used again; it frees nothing of the external memory.
        unsafe { WebPIDelete(self.decoder) }
    }
}

fn check(status: VP8StatusCode) -> Result<(), Error> {
    match status {
        VP8StatusCode::VP8_STATUS_OK => Ok(()),
        VP8StatusCode::VP8_STATUS_OUT_OF_MEMORY => Err(out_of_memory()),
        VP8StatusCode::VP8_STATUS_UNSUPPORTED_FEATURE => {
            Err(Error::Unsupported { format: NAME, feature: "this version of the bitstream" })
        }
        VP8StatusCode::VP8_STATUS_SUSPENDED | VP8StatusCode::VP8_STATUS_NOT_ENOUGH_DATA => {
            Err(Error::corrupt(NAME, "truncated file"))
        }
        _ => Err(Error::corrupt(NAME, "invalid bitstream")),
    }
}

fn out_of_memory() -> Error {
    Error::Limit { name: "memory_bytes_max", value: 0, max: 0 }
}

/// A decoder of animations that returns complete canvases in turn.
pub(super) struct Animation<'a> {
    decoder: *mut WebPAnimDecoder,
    canvas_bytes: usize,
    riff: PhantomData<&'a [u8]>,
}

impl<'a> Animation<'a> {
    /// Opens `riff`, whose canvas must have the size `size`.
    pub fn new(riff: &'a [u8], size: Size) -> Result<Animation<'a>, Error> {
        let data = WebPData { bytes: riff.as_ptr(), size: riff.len() };
        // SAFETY: all fields are integers or an enum with a variant 0; the initialiser overwrites them.
        let mut options: WebPAnimDecoderOptions = unsafe { std::mem::zeroed() };
        // SAFETY: `options` is a valid place.
        if unsafe { WebPAnimDecoderOptionsInit(&mut options) } == 0 {
            return Err(Error::corrupt(NAME, "wrong version of libwebp"));
        }
        options.use_threads = 0;
        options.color_mode = WEBP_CSP_MODE::MODE_RGBA;
        // SAFETY: `data` points at `riff`, which outlives the decoder by its lifetime `'a`; libwebp does not write to it.
        let decoder = unsafe { WebPAnimDecoderNew(&data, &options) };
        if decoder.is_null() {
            return Err(Error::corrupt(NAME, "invalid or truncated animation"));
        }
        let animation = Animation { decoder, canvas_bytes: 4 * size.pixels() as usize, riff: PhantomData };
        let mut info = WebPAnimInfo::default();
        // SAFETY: the decoder is live; `info` is a valid place.
        let known = unsafe { WebPAnimDecoderGetInfo(animation.decoder, &mut info) } != 0;
        if !known || (info.canvas_width, info.canvas_height) != (size.w, size.h) {
            return Err(Error::corrupt(NAME, "canvas differs from its header"));
        }
        Ok(animation)
    }

    /// Decodes the next canvas as RGBA, and the time in milliseconds at which it ends.
    pub fn next_frame(&mut self) -> Result<(&[u8], u32), Error> {
        let mut canvas = ptr::null_mut();
        let mut until: c_int = 0;
        // SAFETY: the decoder is live; both places are valid.
        let given = unsafe { WebPAnimDecoderGetNext(self.decoder, &mut canvas, &mut until) } != 0;
        if !given || canvas.is_null() {
            return Err(Error::corrupt(NAME, "invalid or truncated frame"));
        }
        let until = u32::try_from(until).map_err(|_| Error::corrupt(NAME, "overlong animation"))?;
        // SAFETY: the decoder owns a canvas of 4 bytes for each pixel of the size checked in `new`; it stays unchanged until the
        // next call, which needs `&mut self` and so ends this borrow.
        Ok((unsafe { std::slice::from_raw_parts(canvas, self.canvas_bytes) }, until))
    }
}

impl Drop for Animation<'_> {
    fn drop(&mut self) {
        // SAFETY: the decoder is live and not used again.
        unsafe { WebPAnimDecoderDelete(self.decoder) }
    }
}

/// Encodes a still of RGB or RGBA `samples` that fill exactly `size` and `channels`.
pub(super) fn encode(size: Size, channels: Channels, samples: &[u8], settings: &Settings) -> Result<Vec<u8>, Error> {
    let config = config(settings)?;
    let argb = settings.lossless || settings.sharp;
    let mut picture = OwnedPicture::new(size, channels, samples, argb, settings.deadline)?;
    let mut written = MemoryWriter::new();
    picture.0.writer = Some(WebPMemoryWrite);
    picture.0.custom_ptr = ptr::from_mut(&mut written.0).cast();
    // SAFETY: config and picture are initialised; the writer is a `WebPMemoryWriter` and outlives the call.
    if unsafe { WebPEncode(&config, &mut picture.0) } == 0 {
        settings.deadline.check()?;
        return Err(refused(picture.0.error_code));
    }
    Ok(written.to_vec())
}

fn refused(code: WebPEncodingError) -> Error {
    match code {
        WebPEncodingError::VP8_ENC_ERROR_OUT_OF_MEMORY | WebPEncodingError::VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY => {
            out_of_memory()
        }
        code => Error::Encode { format: NAME, reason: format!("{code:?}") },
    }
}

fn config(settings: &Settings) -> Result<WebPConfig, Error> {
    let failed = |what: &str| Error::Encode { format: NAME, reason: what.into() };
    let mut config = WebPConfig::new().map_err(|()| failed("wrong version of libwebp"))?;
    config.thread_level = 0;
    let effort = usize::from(settings.effort.min(9));
    if settings.lossless {
        // SAFETY: `config` is initialised.
        if unsafe { WebPConfigLosslessPreset(&mut config, LOSSLESS_LEVELS[effort]) } == 0 {
            return Err(failed("invalid lossless preset"));
        }
        config.exact = 1;
    } else {
        config.quality = f32::from(settings.quality);
        config.method = METHODS[effort];
        config.use_sharp_yuv = c_int::from(settings.sharp);
    }
    Ok(config)
}

/// A `WebPPicture` that is freed on drop; libwebp stops encoding it once the deadline has passed.
struct OwnedPicture<'a>(WebPPicture, PhantomData<&'a Deadline>);

impl<'a> OwnedPicture<'a> {
    /// Copies the samples: as ARGB if they must be preserved or compared, or converted with care, otherwise as YUV.
    fn new(
        size: Size,
        channels: Channels,
        samples: &[u8],
        argb: bool,
        deadline: &'a Deadline,
    ) -> Result<OwnedPicture<'a>, Error> {
        assert_eq!(samples.len() as u64, size.pixels() * channels.count() as u64, "samples do not fill the frame");
        let version = |()| Error::Encode { format: NAME, reason: "wrong version of libwebp".into() };
        let mut picture = OwnedPicture(WebPPicture::new().map_err(version)?, PhantomData);
        picture.0.width = size.w as c_int;
        picture.0.height = size.h as c_int;
        picture.0.use_argb = c_int::from(argb);
        picture.0.progress_hook = Some(going_on);
        picture.0.user_data = ptr::from_ref(deadline).cast_mut().cast();
        let stride = (size.w as usize * channels.count()) as c_int;
        let import = if channels.alpha() { WebPPictureImportRGBA } else { WebPPictureImportRGB };
        // SAFETY: the picture is initialised; `samples` holds `height` rows of `stride` bytes, as asserted; libwebp copies them.
        if unsafe { import(&mut picture.0, samples.as_ptr(), stride) } == 0 {
            return Err(refused(picture.0.error_code));
        }
        Ok(picture)
    }
}

/// Called by libwebp at every percent of a frame; 0 stops the encoder.
unsafe extern "C" fn going_on(_percent: c_int, picture: *const WebPPicture) -> c_int {
    // SAFETY: libwebp gives the picture that it encodes or a view of it, and keeps the `user_data` that `OwnedPicture::new` set to a
    // deadline, which outlives the picture.
    let deadline = unsafe { &*(*picture).user_data.cast::<Deadline>() };
    c_int::from(deadline.check().is_ok())
}

impl Drop for OwnedPicture<'_> {
    fn drop(&mut self) {
        // SAFETY: the picture is initialised and not used again.
        unsafe { WebPPictureFree(&mut self.0) }
    }
}

/// libwebp's growing buffer, freed on drop.
struct MemoryWriter(WebPMemoryWriter);

impl MemoryWriter {
    fn new() -> MemoryWriter {
        let mut writer = WebPMemoryWriter { mem: ptr::null_mut(), size: 0, max_size: 0, pad: [0] };
        // SAFETY: `writer` is a valid place.
        unsafe { WebPMemoryWriterInit(&mut writer) };
        MemoryWriter(writer)
    }

    fn to_vec(&self) -> Vec<u8> {
        if self.0.mem.is_null() {
            return Vec::new();
        }
        // SAFETY: libwebp keeps `size` bytes at `mem`.
        unsafe { std::slice::from_raw_parts(self.0.mem, self.0.size) }.to_vec()
    }
}

impl Drop for MemoryWriter {
    fn drop(&mut self) {
        // SAFETY: the writer is initialised and not used again.
        unsafe { WebPMemoryWriterClear(&mut self.0) }
    }
}

/// libwebp's animation encoder, which writes only the differences between frames.
pub(super) struct AnimationEncoder(*mut WebPAnimEncoder);

impl AnimationEncoder {
    /// An animation of `size` that plays `plays` times (0: for ever).
    pub fn new(size: Size, plays: u32) -> Result<AnimationEncoder, Error> {
        // SAFETY: all fields are integers; the initialiser overwrites them.
        let mut options: WebPAnimEncoderOptions = unsafe { std::mem::zeroed() };
        // SAFETY: `options` is a valid place.
        let known = unsafe { WebPAnimEncoderOptionsInitInternal(&mut options, WebPGetMuxABIVersion()) } != 0;
        if known {
            options.anim_params.loop_count = plays.min(u32::from(u16::MAX)) as c_int;
        }
        // SAFETY: `options` is initialised; libwebp copies it.
        let encoder =
            unsafe { WebPAnimEncoderNewInternal(size.w as c_int, size.h as c_int, &options, WebPGetMuxABIVersion()) };
        if !known || encoder.is_null() {
            return Err(Error::Encode { format: NAME, reason: "cannot start the animation encoder".into() });
        }
        Ok(AnimationEncoder(encoder))
    }

    /// Adds a canvas that is displayed from `shown_from` milliseconds on.
    pub fn add(
        &mut self,
        size: Size,
        channels: Channels,
        samples: &[u8],
        shown_from: u32,
        settings: &Settings,
    ) -> Result<(), Error> {
        let config = config(settings)?;
        let mut picture = OwnedPicture::new(size, channels, samples, true, settings.deadline)?;
        // SAFETY: the encoder is live; picture and config are initialised and are read before the call returns.
        let added = unsafe { WebPAnimEncoderAdd(self.0, &mut picture.0, shown_from as c_int, &config) };
        if added == 0 { settings.deadline.check().and(Err(self.failed())) } else { Ok(()) }
    }

    /// The file, whose last frame is displayed until `until`.
    pub fn finish(self, until: u32) -> Result<Vec<u8>, Error> {
        // SAFETY: the encoder is live; a null frame ends the animation.
        let ended = unsafe { WebPAnimEncoderAdd(self.0, ptr::null_mut(), until as c_int, ptr::null()) };
        let mut data = WebPData::default();
        // SAFETY: the encoder is live; `data` is a valid place, which receives memory of libwebp.
        let assembled = ended != 0 && unsafe { WebPAnimEncoderAssemble(self.0, &mut data) } != 0;
        if !assembled || data.bytes.is_null() {
            return Err(self.failed());
        }
        // SAFETY: libwebp gave `size` bytes.
        let bytes = unsafe { std::slice::from_raw_parts(data.bytes, data.size) }.to_vec();
        // SAFETY: `data` is libwebp's and is not used again.
        unsafe { WebPDataClear(&mut data) };
        Ok(bytes)
    }

    fn failed(&self) -> Error {
        // SAFETY: the encoder is live; the answer is a string that lives as long as it does, or null.
        let reason = unsafe { WebPAnimEncoderGetError(self.0) };
        let reason = if reason.is_null() {
            "unknown reason".into()
        } else {
            // SAFETY: not null, so a string that ends with a 0.
            unsafe { std::ffi::CStr::from_ptr(reason) }.to_string_lossy().into_owned()
        };
        Error::Encode { format: NAME, reason }
    }
}

impl Drop for AnimationEncoder {
    fn drop(&mut self) {
        // SAFETY: the encoder is live and not used again.
        unsafe { WebPAnimEncoderDelete(self.0) }
    }
}
