//! libaom: the AV1 encoder as one safe function. All-intra, one thread, one frame. No container logic, no colour
//! conversion.

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

/// Efforts that differ in speed, none of which can be interrupted. Seconds per megapixel of noise on a core that was shared
/// with other work: 3.5, 6, 9.5, 22, 26 and 63; lossless 2.1, 4, 7.2, 26, 24 and 80. The bounds are for half of that.
pub(super) const EFFORT: Effort = Effort {
    default: 0,
    steps: &[
        Step::free(0),
        Step::bounded(1, 3_000_000, 3_000_000),
        Step::bounded(3, 2_000_000, 2_000_000),
        Step::bounded(5, 900_000, 800_000),
        Step::bounded(7, 800_000, 800_000),
        Step::bounded(9, 300_000, 270_000),
    ],
};

/// A frame to encode.
pub(super) struct PlanarFrame<'a> {
    /// Size of the first plane.
    pub size: Size,
    /// Size of the chroma planes.
    pub layout: Layout,
    /// Bits per sample: 8 or 10.
    pub bits: u8,
    /// Codes of `bits` bits without padding: one plane for gray, otherwise three.
    pub planes: &'a [Vec<u16>],
    /// Meaning of the codes.
    pub cicp: Cicp,
    /// Quality, 1..=100; `None` is lossless.
    pub quality: Option<u8>,
    /// Effort, 0..=9.
    pub effort: u8,
}

/// Encodes one frame to AV1 data with a sequence header.
pub(super) fn encode(frame: &PlanarFrame) -> Result<Vec<u8>, Error> {
    let image = AomImage::new(frame)?;
    let mut encoder = AomContext::new(frame)?;
    let mut data = Vec::new();
    for image in [image.0.cast_const(), ptr::null()] {
        // SAFETY: the encoder is live; the image is live and complete, or null, which flushes.
        check(unsafe { aom_codec_encode(&mut encoder.0, image, 0, 1, 0) })?;
        encoder.take_packets(&mut data);
    }
    if data.is_empty() { Err(failed("no output from libaom")) } else { Ok(data) }
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

/// libavif's mapping of quality to libaom's quantizers 0..=63.
fn quantizer(quality: u8) -> c_uint {
    ((100 - c_uint::from(quality.min(100))) * 63 + 50) / 100
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
    fn new(frame: &PlanarFrame) -> Result<AomImage, Error> {
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
            let codes = frame.planes.get(plane).map(Vec::as_slice);
            AomImage::fill(fields, plane, frame, codes);
        }
        Ok(image)
    }

    fn fill(image: &mut aom_image_t, plane: usize, frame: &PlanarFrame, codes: Option<&[u16]>) {
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
    fn new(frame: &PlanarFrame) -> Result<AomContext, Error> {
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

    fn config(interface: *const aom_codec_iface, frame: &PlanarFrame) -> Result<aom_codec_enc_cfg_t, Error> {
        let mut config = MaybeUninit::<aom_codec_enc_cfg_t>::zeroed();
        // SAFETY: the interface is libaom's own; the place is valid.
        let result = unsafe { aom_codec_enc_config_default(interface, config.as_mut_ptr(), AOM_USAGE_ALL_INTRA) };
        if result != AOM_CODEC_OK {
            return Err(failed(format_args!("cannot configure the encoder: libaom error {result}")));
        }
        // SAFETY: initialised, as the result says.
        let mut config = unsafe { config.assume_init() };
        let quantizer = frame.quality.map_or(0, quantizer);
        let spread = if frame.quality.is_some() { 4 } else { 0 };
        config.g_profile = c_uint::from(profile(frame.layout));
        (config.g_w, config.g_h) = (frame.size.w, frame.size.h);
        config.g_bit_depth = c_uint::from(frame.bits);
        config.g_input_bit_depth = c_uint::from(frame.bits);
        config.g_threads = 1;
        config.g_limit = 1;
        config.g_lag_in_frames = 0;
        config.kf_mode = AOM_KF_DISABLED;
        config.kf_max_dist = 0;
        config.rc_end_usage = AOM_Q;
        config.rc_min_quantizer = quantizer.saturating_sub(spread);
        config.rc_max_quantizer = (quantizer + spread).min(63);
        config.monochrome = c_uint::from(frame.layout == Layout::Gray);
        Ok(config)
    }

    fn control(&mut self, frame: &PlanarFrame) -> Result<(), Error> {
        let mut controls = vec![
            (AOME_SET_CPUUSED, SPEEDS[usize::from(frame.effort.min(9))]),
            (AOME_SET_CQ_LEVEL, frame.quality.map_or(0, quantizer) as c_int),
            // The bytes depend on whether there is one thread or several, so there is one, and tiles only where the
            // size requires them.
            (AV1E_SET_ROW_MT, 0),
            (AV1E_SET_TILE_COLUMNS, 0),
            (AV1E_SET_TILE_ROWS, 0),
            (AV1E_SET_COLOR_PRIMARIES, c_int::from(frame.cicp.primaries)),
            (AV1E_SET_TRANSFER_CHARACTERISTICS, c_int::from(frame.cicp.transfer)),
            (AV1E_SET_MATRIX_COEFFICIENTS, c_int::from(frame.cicp.matrix)),
            (AV1E_SET_COLOR_RANGE, c_int::from(frame.cicp.full_range)),
            // The filtered frame would only be a reference for other frames.
            (AV1E_SET_SKIP_POSTPROC_FILTERING, 1),
        ];
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

    fn take_packets(&mut self, data: &mut Vec<u8>) {
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
                data.extend_from_slice(unsafe { std::slice::from_raw_parts(frame.buf.cast::<u8>(), frame.sz) });
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
