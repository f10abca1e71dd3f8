//! libaom: the AV1 encoder as safe functions. Stills are all-intra; in animations frames refer to earlier ones. One thread.
//! No container logic, no colour conversion.

use std::ffi::{c_int, c_long, c_uint};
use std::mem::MaybeUninit;
use std::ptr;

use libaom_sys::*;

use super::NAME;
use super::container::Cicp;
use super::yuv::Layout;
use crate::pipeline::codec::{Effort, Step};
use crate::pipeline::{Error, Size};

/// Speeds of the encoder, 0..=9, by effort. Means of five photographs at 512 px, quality 65, on one core of an
/// unoptimised build: speed 9: 36 ms, 17.0 KiB, 35.9 dB; 8: 146 ms, 21.8 KiB, 36.5 dB; 6: 413 ms, 16.2 KiB, 36.8 dB.
/// So 8 takes four times the time for more bytes.
///
/// Four other photographs at 512 px, KiB and SSIMULACRA2: 9 gives 18.4 and 74.9, 8 35.4 and 77.8, 7 16.2 and 75.5, 6
/// 16.9 and 77.5, 5 16.5 and 78.2, 4 16.3 and 78.1, 3 16.1 and 78.3. 7 takes five times the time of 9, 5 forty times,
/// 3 one hundred and fifty; slower speeds gain nothing.
const SPEEDS: [c_int; 10] = [9, 7, 7, 6, 6, 5, 5, 4, 4, 3];

/// Efforts that differ in speed, none of which can be interrupted. Seconds per megapixel of noise at quality 100, measured twice
/// on cores that were shared with other work: 2.5 to 3.5, 5 to 6, 9.5, 22 to 28, 26 and 63 to 76; lossless 2.5, 4 to 5.5, 7 to
/// 8.5, 26 to 29, 24 to 28 and 80. The bounds are what fits into 10 s, the default of `render_timeout_ms`. The default effort
/// has none: photographs at the default quality take a tenth, and 4 megapixels of noise fit.
pub(super) const EFFORT: Effort = Effort {
    default: 0,
    steps: &[
        Step::free(0),
        Step::bounded(1, 2_000_000, 1_800_000),
        Step::bounded(3, 1_000_000, 1_100_000),
        Step::bounded(5, 400_000, 350_000),
        Step::bounded(7, 380_000, 350_000),
        Step::bounded(9, 140_000, 120_000),
    ],
};

/// What all frames of an encoder have in common.
#[derive(Clone, Copy)]
pub(super) struct Format {
    /// Size of the first plane.
    pub size: Size,
    /// Size of the chroma planes.
    pub layout: Layout,
    /// Bits per sample: 8 or 10.
    pub bits: u8,
    /// Meaning of the codes.
    pub cicp: Cicp,
    /// Quality, 1..=100; `None` is lossless.
    pub quality: Option<u8>,
    /// Effort, 0..=9.
    pub effort: u8,
    /// Whether frames may refer to earlier ones.
    pub animated: bool,
    /// Whether it is a drawing, text or a screen.
    pub graphic: bool,
}

/// An encoded frame.
pub(super) struct Encoded {
    /// AV1 data, with a sequence header in key frames.
    pub data: Vec<u8>,
    /// Whether it refers to no other frame.
    pub key: bool,
}

/// Encodes one still image to AV1 data with a sequence header. The planes have codes of `bits` bits without padding: one
/// plane for gray, otherwise three.
pub(super) fn encode(format: &Format, planes: &[Vec<u16>]) -> Result<Vec<u8>, Error> {
    Ok(Encoder::new(format)?.frame(planes)?.data)
}

/// An encoder of one image, or of the frames of an animation.
pub(super) struct Encoder {
    context: AomContext,
    format: Format,
    /// Number of frames that were encoded.
    frames: aom_codec_pts_t,
}

impl Encoder {
    /// An encoder for frames of this format.
    pub fn new(format: &Format) -> Result<Encoder, Error> {
        Ok(Encoder { context: AomContext::new(format)?, format: *format, frames: 0 })
    }

    /// Encodes the next frame. No frame waits for later ones.
    pub fn frame(&mut self, planes: &[Vec<u16>]) -> Result<Encoded, Error> {
        let image = AomImage::new(&self.format, planes)?;
        let mut encoded = Encoded { data: Vec::new(), key: false };
        let flush = (!self.format.animated).then_some(ptr::null());
        for image in [image.0.cast_const()].into_iter().chain(flush) {
            // SAFETY: the encoder is live; the image is live and complete, or null, which flushes.
            check(unsafe { aom_codec_encode(&mut self.context.0, image, self.frames, 1, 0) })?;
            self.context.take_packets(&mut encoded);
        }
        self.frames += 1;
        if encoded.data.is_empty() { Err(failed("no output from libaom")) } else { Ok(encoded) }
    }
}

fn failed(reason: impl ToString) -> Error {
    Error::Encode { format: NAME, reason: reason.to_string() }
}

fn check(result: aom_codec_err_t) -> Result<(), Error> {
    match result {
        AOM_CODEC_OK => Ok(()),
        AOM_CODEC_MEM_ERROR => Err(Error::Limit { name: "memory_bytes_max", value: 0, max: 0 }),
        result => Err(failed(format_args!("libaom error {result}"))),
    }
}

fn usage(frame: &Format) -> c_uint {
    if frame.animated { AOM_USAGE_REALTIME } else { AOM_USAGE_ALL_INTRA }
}

/// Largest graphic in pixels that is encoded at speed 7 by default; larger ones at speed 8.
const GRAPHIC_PIXELS_MAX: u64 = 1 << 20;

/// The speed of the encoder. Of graphics, speed 9 makes large files: it looks neither for palettes nor for repeated
/// letters. KiB and ms of a page of text (0.8 megapixels), of an interface (0.7) and of red text (0.05) at quality 65, with
/// equal scores: speed 9: 289 in 62, 20 in 14, 8.0 in 3; speed 8 for screens: 147 in 300, 10 in 41, 1.3 in 6; speed 7 for
/// screens: 16 in 1,100, 2.6 in 550, 1.2 in 33. libwebp, lossy, takes 186, 14.6 and 5.1.
///
/// Animations are in realtime use. From speed 7 it leaves out blocks of smooth moving areas: of six animations of 6 to 12
/// frames, blocks of 8 x 8 were up to 64 of 255 off at speed 7, 9 at most at speed 6 beside hard edges, in 0.8 to 1.1 of the
/// bytes and twice the time. Good quality use takes five times the time and saves no tenth. Realtime has no slower speed
/// than 5.
fn speed(frame: &Format) -> c_int {
    let speed = SPEEDS[usize::from(frame.effort.min(9))];
    match (frame.animated, frame.graphic) {
        (true, _) => speed.clamp(5, 6),
        (false, true) if frame.size.pixels() <= GRAPHIC_PIXELS_MAX => speed.min(7),
        (false, true) => speed.min(8),
        (false, false) => speed,
    }
}

/// Quantizers 0..=63 by quality, for stills without quantisation matrices: libavif's mapping.
fn plain_quantizer(quality: u8) -> c_uint {
    ((100 - c_uint::from(quality.min(100))) * 63 + 50) / 100
}

/// Highest quality that is encoded with quantisation matrices. They take bits from fine detail that the eye hardly sees:
/// over photographs at 512 px 10 % of the bytes at equal scores (SSIMULACRA2), at no cost of time; 20 % at quality 40, 14 %
/// at 65, 8 % at 80. At 90 they need more bytes than they save.
const MATRICES_QUALITY_MAX: u8 = 84;

/// Steepest and flattest matrix, of 0 (steep) to 15 (flat), over the range of quantizers.
const MATRIX_LEVELS: [c_int; 2] = [0, 4];

/// Quantizers by quality with matrices, at which photographs have the scores that they have without them at
/// [`plain_quantizer`]; between two rows they are interpolated.
const MATRIX_QUANTIZERS: [(u8, c_uint); 11] =
    [(1, 62), (10, 57), (20, 50), (30, 43), (40, 36), (50, 29), (60, 18), (65, 14), (70, 11), (80, 6), (84, 5)];

/// Whether a frame is encoded with quantisation matrices. Slower speeds gain nothing by them.
fn has_matrices(frame: &Format) -> bool {
    let fast = !frame.animated && !frame.graphic && speed(frame) == SPEEDS[0];
    fast && frame.quality.is_some_and(|quality| quality <= MATRICES_QUALITY_MAX)
}

fn quantizer(frame: &Format) -> c_uint {
    match frame.quality {
        None => 0,
        Some(quality) if has_matrices(frame) => matrix_quantizer(quality),
        Some(quality) => plain_quantizer(quality),
    }
}

fn matrix_quantizer(quality: u8) -> c_uint {
    let rows = MATRIX_QUANTIZERS.windows(2).find(|rows| quality <= rows[1].0);
    let Some([(from, high), (to, low)]) = rows.and_then(|rows| rows.first_chunk()).copied() else { return 0 };
    let (span, left) = (c_uint::from(to - from), c_uint::from(to - quality.max(from)));
    low + ((high - low) * left + span / 2) / span
}

/// AV1's profile for 8 and 10 bits: main has 4:2:0, high 4:4:4, professional the rest.
pub(super) fn profile(layout: Layout) -> u8 {
    match layout {
        Layout::Gray | Layout::Half => 0,
        Layout::Full => 1,
        Layout::HalfWidth => 2,
    }
}

/// A frame in libaom's own memory, freed on drop.
struct AomImage(*mut aom_image_t);

impl AomImage {
    fn new(frame: &Format, planes: &[Vec<u16>]) -> Result<AomImage, Error> {
        let format = match frame.layout {
            Layout::Full => AOM_IMG_FMT_I444,
            Layout::HalfWidth => AOM_IMG_FMT_I422,
            // libaom has no format for gray: it is 4:2:0 with unused chroma.
            Layout::Gray | Layout::Half => AOM_IMG_FMT_I420,
        };
        let deep = if frame.bits > 8 { AOM_IMG_FMT_HIGHBITDEPTH } else { 0 };
        // SAFETY: without a place of ours, libaom allocates the image and its planes, or gives null.
        let image = AomImage(unsafe { aom_img_alloc(ptr::null_mut(), format | deep, frame.size.w, frame.size.h, 32) });
        if image.0.is_null() {
            return Err(Error::Limit { name: "memory_bytes_max", value: 0, max: 0 });
        }
        // SAFETY: not null, so an initialised image that only this value holds.
        let fields = unsafe { &mut *image.0 };
        fields.monochrome = c_int::from(frame.layout == Layout::Gray);
        fields.range = c_uint::from(frame.cicp.full_range);
        fields.bit_depth = c_uint::from(frame.bits);
        for plane in 0..3 {
            let codes = planes.get(plane).map(Vec::as_slice);
            AomImage::fill(fields, plane, frame, codes);
        }
        Ok(image)
    }

    fn fill(image: &mut aom_image_t, plane: usize, frame: &Format, codes: Option<&[u16]>) {
        let size = match (plane, frame.layout) {
            (0, _) => frame.size,
            (_, Layout::Gray) => Layout::Half.chroma(frame.size),
            (_, layout) => layout.chroma(frame.size),
        };
        let depth = if frame.bits > 8 { 2 } else { 1 };
        let (w, stride) = (size.w as usize, image.stride[plane] as usize);
        let neutral = if codes.is_none() { vec![1 << (frame.bits - 1); w] } else { Vec::new() };
        for y in 0..size.h as usize {
            // SAFETY: libaom allocated at least `size.h` rows of `stride` bytes for this plane, of which the first `w` samples
            // are the image's; nothing else refers to them.
            let row = unsafe { std::slice::from_raw_parts_mut(image.planes[plane].add(y * stride), w * depth) };
            match codes {
                Some(codes) => write_row(&codes[y * w..][..w], depth, row),
                None => write_row(&neutral[..w], depth, row),
            }
        }
    }
}

fn write_row(codes: &[u16], depth: usize, row: &mut [u8]) {
    for (sample, &code) in row.chunks_exact_mut(depth).zip(codes) {
        match sample {
            [byte] => *byte = code as u8,
            pair => pair.copy_from_slice(&code.to_ne_bytes()),
        }
    }
}

impl Drop for AomImage {
    fn drop(&mut self) {
        // SAFETY: the image came from `aom_img_alloc`, or is null, and is not used again.
        unsafe { aom_img_free(self.0) }
    }
}

/// A codec context, destroyed on drop.
struct AomContext(aom_codec_ctx_t);

impl AomContext {
    fn new(frame: &Format) -> Result<AomContext, Error> {
        // SAFETY: has no precondition.
        let interface = unsafe { aom_codec_av1_cx() };
        let config = AomContext::config(interface, frame)?;
        let flags = if frame.bits > 8 { c_long::from(AOM_CODEC_USE_HIGHBITDEPTH as c_int) } else { 0 };
        let mut context = MaybeUninit::<aom_codec_ctx_t>::zeroed();
        // SAFETY: the place is valid, the interface libaom's own, the configuration initialised; libaom copies it.
        let result = unsafe {
            aom_codec_enc_init_ver(context.as_mut_ptr(), interface, &config, flags, AOM_ENCODER_ABI_VERSION as c_int)
        };
        if result != AOM_CODEC_OK {
            return Err(failed(format_args!("cannot start the encoder: libaom error {result}")));
        }
        // SAFETY: initialised, as the result says.
        let mut encoder = AomContext(unsafe { context.assume_init() });
        encoder.control(frame)?;
        Ok(encoder)
    }

    fn config(interface: *const aom_codec_iface, frame: &Format) -> Result<aom_codec_enc_cfg_t, Error> {
        let mut config = MaybeUninit::<aom_codec_enc_cfg_t>::zeroed();
        // SAFETY: the interface is libaom's own; the place is valid.
        let result = unsafe { aom_codec_enc_config_default(interface, config.as_mut_ptr(), usage(frame)) };
        if result != AOM_CODEC_OK {
            return Err(failed(format_args!("cannot configure the encoder: libaom error {result}")));
        }
        // SAFETY: initialised, as the result says.
        let mut config = unsafe { config.assume_init() };
        let quantizer = quantizer(frame);
        let spread = if frame.quality.is_some() { 4 } else { 0 };
        config.g_profile = c_uint::from(profile(frame.layout));
        (config.g_w, config.g_h) = (frame.size.w, frame.size.h);
        config.g_bit_depth = c_uint::from(frame.bits);
        config.g_input_bit_depth = c_uint::from(frame.bits);
        config.g_threads = 1;
        config.g_lag_in_frames = 0;
        if !frame.animated {
            config.g_limit = 1;
            config.kf_mode = AOM_KF_DISABLED;
            config.kf_max_dist = 0;
        }
        config.rc_end_usage = AOM_Q;
        config.rc_min_quantizer = quantizer.saturating_sub(spread);
        config.rc_max_quantizer = (quantizer + spread).min(63);
        config.monochrome = c_uint::from(frame.layout == Layout::Gray);
        Ok(config)
    }

    fn control(&mut self, frame: &Format) -> Result<(), Error> {
        let mut controls = vec![
            (AOME_SET_CPUUSED, speed(frame)),
            (AOME_SET_CQ_LEVEL, quantizer(frame) as c_int),
            // The bytes depend on whether there is one thread or several, so there is one, and tiles only where the
            // size requires them.
            (AV1E_SET_ROW_MT, 0),
            (AV1E_SET_TILE_COLUMNS, 0),
            (AV1E_SET_TILE_ROWS, 0),
            (AV1E_SET_COLOR_PRIMARIES, c_int::from(frame.cicp.primaries)),
            (AV1E_SET_TRANSFER_CHARACTERISTICS, c_int::from(frame.cicp.transfer)),
            (AV1E_SET_MATRIX_COEFFICIENTS, c_int::from(frame.cicp.matrix)),
            (AV1E_SET_COLOR_RANGE, c_int::from(frame.cicp.full_range)),
        ];
        if !frame.animated {
            // The filtered frame would only be a reference for other frames.
            controls.push((AV1E_SET_SKIP_POSTPROC_FILTERING, 1));
        }
        if has_matrices(frame) {
            let [steepest, flattest] = MATRIX_LEVELS;
            controls.extend([(AV1E_SET_ENABLE_QM, 1), (AV1E_SET_QM_MIN, steepest), (AV1E_SET_QM_MAX, flattest)]);
        }
        if frame.graphic {
            controls.push((AV1E_SET_TUNE_CONTENT, AOM_CONTENT_SCREEN as c_int));
        }
        controls.push(match frame.quality {
            Some(_) => (AOME_SET_TUNING, AOM_TUNE_SSIM as c_int),
            None => (AV1E_SET_LOSSLESS, 1),
        });
        for (control, value) in controls {
            // SAFETY: the encoder is live; each of these controls takes one int (or unsigned int, passed alike).
            check(unsafe { aom_codec_control(&mut self.0, control as c_int, value) })?;
        }
        Ok(())
    }

    fn take_packets(&mut self, encoded: &mut Encoded) {
        let mut position: aom_codec_iter_t = ptr::null();
        loop {
            // SAFETY: the encoder is live; the position is null or was set by the last call.
            let packet = unsafe { aom_codec_get_cx_data(&mut self.0, &mut position) };
            // SAFETY: null, or a packet that lives until the encoder is called again.
            let Some(packet) = (unsafe { packet.as_ref() }) else { return };
            if packet.kind == AOM_CODEC_CX_FRAME_PKT {
                // SAFETY: a packet of this kind holds a frame.
                let frame = unsafe { packet.data.frame };
                // SAFETY: the frame is `sz` bytes at `buf`.
                encoded.data.extend_from_slice(unsafe { std::slice::from_raw_parts(frame.buf.cast::<u8>(), frame.sz) });
                encoded.key |= frame.flags & AOM_FRAME_IS_KEY != 0;
            }
        }
    }
}

impl Drop for AomContext {
    fn drop(&mut self) {
        // SAFETY: the context is live and not used again.
        unsafe { aom_codec_destroy(&mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_quality_never_has_a_larger_quantizer() {
        let quantizers: Vec<c_uint> = (1..=MATRICES_QUALITY_MAX).map(matrix_quantizer).collect();
        assert!(quantizers.windows(2).all(|pair| pair[0] >= pair[1]), "{quantizers:?}");
        assert_eq!([1, 5, 10, 65, 84].map(matrix_quantizer), [62, 60, 57, 14, 5]);
        assert_eq!([1, 65, 100].map(plain_quantizer), [62, 22, 0]);
    }
}
