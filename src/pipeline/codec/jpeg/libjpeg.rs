//! [`Decoder`]: scanlines from libjpeg-turbo's core, with its warnings and its progress. The only `unsafe` code of
//! this codec.
//!
//! The safe wrapper of the crate `mozjpeg` silences warnings, and libjpeg only warns about missing or bad data: a
//! truncated file would become a picture that ends in gray. Here every such warning is an error, unless that is wanted.
//!
//! libjpeg leaves a call by its `error_exit` hook, which must not return. Ours unwinds with [`resume_unwind`],
//! carrying an [`Error`]. The C code is compiled with `-fexceptions` (feature `unwinding`) and its functions are
//! declared `C-unwind`, so unwinding through it is defined. Its stack holds nothing that needs dropping: all its
//! memory belongs to the `cinfo` and is freed when [`Decoder`] is dropped.

use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::{self, NonNull};

use mozjpeg_sys as sys;

use super::FORMAT;
use crate::pipeline::{Channels, Deadline, Error, Size};

/// Settings of a decode.
pub(super) struct Settings {
    /// Channels of the frame: Gray, Rgb or Cmyk.
    pub channels: Channels,
    /// Scale in eighths: 1..=8.
    pub eighths: u32,
    /// Largest number of scans; files with more are refused.
    pub scans_max: u32,
    /// Largest memory that libjpeg may request for coefficients.
    pub memory_bytes_max: u64,
    /// How colours are stored.
    pub stored: Stored,
    /// Whether missing and damaged data becomes gray or inexact instead of an error.
    pub tolerant: bool,
}

/// How colours are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    /// As the markers say.
    AsMarked,
    /// As luma and colour differences.
    YCbCr,
    /// As they are decoded.
    Plain,
}

/// A decode in progress.
pub(super) struct Decoder<'a> {
    raw: NonNull<Raw<'a>>,
    source: PhantomData<&'a [u8]>,
}

/// State that libjpeg holds pointers into. It stays at one address until it is dropped, and is reached only through
/// raw pointers.
struct Raw<'a> {
    cinfo: sys::jpeg_decompress_struct,
    error: sys::jpeg_error_mgr,
    progress: sys::jpeg_progress_mgr,
    hooks: Hooks<'a>,
}

/// State of the callbacks; `client_data` points to it.
struct Hooks<'a> {
    deadline: &'a Deadline,
    cinfo: *const sys::jpeg_decompress_struct,
    scans_max: u32,
    memory_bytes_max: u64,
    tolerant: bool,
    ended_early: bool,
    /// Whether data was missing or damaged.
    lost: bool,
}

impl<'a> Decoder<'a> {
    /// Reads the header and, for a file of several scans, all scans.
    pub(super) fn start(bytes: &'a [u8], settings: &Settings, deadline: &'a Deadline) -> Result<Decoder<'a>, Error> {
        let mut decoder = Decoder::create(settings, deadline)?;
        let color_space = match settings.channels {
            Channels::Gray => sys::JCS_GRAYSCALE,
            Channels::Cmyk => sys::JCS_CMYK,
            _ => sys::JCS_RGB,
        };
        // SAFETY: `create` made the `cinfo`; `bytes` outlives it by 'a; `mem` was set by jpeg_CreateDecompress. The calls are in the
        // order that libjpeg asks for, parameters after the header, and any other outcome than success unwinds.
        decoder.call(|cinfo| unsafe {
            (*(*cinfo).common.mem).max_memory_to_use = settings.memory_bytes_max.try_into().unwrap_or(i64::MAX);
            sys::jpeg_mem_src(&mut *cinfo, bytes.as_ptr(), bytes.len() as sys::c_ulong);
            sys::jpeg_read_header(&mut *cinfo, 1);
            (*cinfo).out_color_space = color_space;
            match settings.stored {
                Stored::AsMarked => {}
                Stored::YCbCr => (*cinfo).jpeg_color_space = sys::JCS_YCbCr,
                Stored::Plain => (*cinfo).jpeg_color_space = color_space,
            }
            ((*cinfo).scale_num, (*cinfo).scale_denom) = (settings.eighths, 8);
            sys::jpeg_start_decompress(&mut *cinfo)
        })?;
        if decoder.output_components() == settings.channels.count() {
            Ok(decoder)
        } else {
            Err(Error::corrupt(FORMAT, "inconsistent header"))
        }
    }

    fn create(settings: &Settings, deadline: &'a Deadline) -> Result<Decoder<'a>, Error> {
        let Settings { scans_max, memory_bytes_max, tolerant, .. } = *settings;
        let (ended_early, lost) = (false, false);
        let hooks = Hooks { deadline, cinfo: ptr::null(), scans_max, memory_bytes_max, tolerant, ended_early, lost };
        // SAFETY: the three are plain C structures of numbers, nullable pointers and optional functions, for which zero is valid;
        // their enums have a variant 0.
        let (cinfo, error, progress) = unsafe { (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed()) };
        let raw = NonNull::from(Box::leak(Box::new(Raw { cinfo, error, progress, hooks })));
        let mut decoder = Decoder { raw, source: PhantomData };
        // SAFETY: `raw` is live and not borrowed elsewhere; the pointers stored in it are to its own fields, which neither move
        // nor die before `drop` has destroyed the `cinfo`. jpeg_CreateDecompress keeps `err` and `client_data`, clears the rest.
        let create = |cinfo: *mut sys::jpeg_decompress_struct| unsafe {
            let raw = raw.as_ptr();
            let error = &raw mut (*raw).error;
            sys::jpeg_std_error(&mut *error);
            (*error).error_exit = Some(error_exit);
            (*error).emit_message = Some(emit_message);
            (*raw).hooks.cinfo = &raw const (*raw).cinfo;
            (*cinfo).common.err = error;
            (*cinfo).common.client_data = (&raw mut (*raw).hooks).cast();
            sys::jpeg_CreateDecompress(&mut *cinfo, sys::JPEG_LIB_VERSION, size_of::<sys::jpeg_decompress_struct>());
            (*raw).progress.progress_monitor = Some(progress_monitor);
            (*cinfo).common.progress = &raw mut (*raw).progress;
        };
        decoder.call(create)?;
        Ok(decoder)
    }

    /// Size of the decoded picture, after scaling.
    pub(super) fn size(&self) -> Size {
        // SAFETY: `raw` is live and no call into libjpeg is running.
        let cinfo = unsafe { &self.raw.as_ref().cinfo };
        Size::new(cinfo.output_width, cinfo.output_height)
    }

    fn output_components(&self) -> usize {
        // SAFETY: `raw` is live and no call into libjpeg is running.
        unsafe { self.raw.as_ref().cinfo.output_components as usize }
    }

    /// Fills `rows` with the next whole rows of the image.
    pub(super) fn read_rows(&mut self, rows: &mut [u8]) -> Result<(), Error> {
        let stride = self.size().w as usize * self.output_components();
        let mut pointers: Vec<*mut u8> = rows.chunks_exact_mut(stride).map(<[u8]>::as_mut_ptr).collect();
        let mut filled = 0;
        while filled < pointers.len() {
            let rest = &mut pointers[filled..];
            // SAFETY: each pointer is to `stride` writable bytes of `rows`, which is what a scanline takes, and libjpeg fills at
            // most as many rows as requested, none past the last of the image.
            let count = self.call(|cinfo| unsafe {
                sys::jpeg_read_scanlines(&mut *cinfo, rest.as_mut_ptr(), rest.len() as sys::JDIMENSION)
            })?;
            if count == 0 {
                return Err(Error::corrupt(FORMAT, "truncated file"));
            }
            filled += count as usize;
        }
        Ok(())
    }

    /// Reads to the end of the image. Returns whether all of it was there: the file may end early only if it `may_lack_end`.
    ///
    /// Errs if data was lost, unless that is tolerated.
    pub(super) fn finish(mut self, may_lack_end: bool) -> Result<bool, Error> {
        // SAFETY: a decompression was started and all its rows were read, which is when this may be called.
        self.call(|cinfo| unsafe { sys::jpeg_finish_decompress(&mut *cinfo) })?;
        // SAFETY: `raw` is live and no call into libjpeg is running.
        let (ended_early, lost, tolerant) = unsafe {
            let hooks = &self.raw.as_ref().hooks;
            (hooks.ended_early, hooks.lost, hooks.tolerant)
        };
        let is_whole = !lost && (may_lack_end || !ended_early);
        if is_whole || tolerant { Ok(is_whole) } else { Err(Error::corrupt(FORMAT, "truncated file")) }
    }

    /// Runs a call into libjpeg and converts its unwinding into an error. The `cinfo` is passed as a raw pointer
    /// because the hooks read it during the call through their own pointer, which a reference would forbid. The crate
    /// declares libjpeg's parameters as references; each is made for one call and ends where C receives the pointer.
    fn call<T>(&mut self, call: impl FnOnce(*mut sys::jpeg_decompress_struct) -> T) -> Result<T, Error> {
        // SAFETY: `raw` is live and `&mut self` makes this the only call.
        let cinfo = unsafe { &raw mut (*self.raw.as_ptr()).cinfo };
        // Unwind safe: after an error the decoder is only dropped.
        catch_unwind(AssertUnwindSafe(|| call(cinfo))).map_err(|payload| match payload.downcast::<Error>() {
            Ok(error) => *error,
            Err(payload) => resume_unwind(payload),
        })
    }
}

impl Drop for Decoder<'_> {
    fn drop(&mut self) {
        // SAFETY: `raw` came from a leaked box and is freed only here. jpeg_destroy_decompress may be called in any state, also
        // on a zeroed `cinfo` (its `mem` is then null and it does nothing), and does not err.
        unsafe {
            sys::jpeg_destroy_decompress(&mut (*self.raw.as_ptr()).cinfo);
            drop(Box::from_raw(self.raw.as_ptr()));
        }
    }
}

/// Hooks of a `cinfo` made by `Decoder::create`.
fn hooks<'a>(cinfo: &sys::jpeg_common_struct) -> &'a mut Hooks<'a> {
    // SAFETY: `create` stored this pointer; the hooks outlive the `cinfo`, are stored apart from it, and each callback runs to its end
    // before the next, so no other reference to them is alive.
    unsafe { &mut *cinfo.client_data.cast() }
}

/// Called by libjpeg when it cannot continue.
extern "C-unwind" fn error_exit(cinfo: &mut sys::jpeg_common_struct) {
    // SAFETY: `err` was set by `create` and lives as long as the `cinfo`.
    let code = unsafe { (*cinfo.err).msg_code };
    let error = match code as sys::J_MESSAGE_CODE {
        sys::JERR_OUT_OF_MEMORY | sys::JERR_NO_BACKING_STORE => {
            let max = hooks(cinfo).memory_bytes_max;
            Error::Limit { name: "memory_bytes_max", value: max.saturating_add(1), max }
        }
        sys::JERR_CONVERSION_NOTIMPL | sys::JERR_FRACT_SAMPLE_NOTIMPL | sys::JERR_CCIR601_NOTIMPL => {
            Error::Unsupported { format: FORMAT, feature: "this colour space or sampling" }
        }
        _ => Error::corrupt(FORMAT, message(cinfo)),
    };
    resume_unwind(Box::new(error));
}

/// Called by libjpeg for a trace (level 0 and up) or a warning (-1), after which it would continue with made-up data.
extern "C-unwind" fn emit_message(cinfo: &mut sys::jpeg_common_struct, level: sys::c_int) {
    if level >= 0 {
        return;
    }
    // SAFETY: `err` was set by `create` and lives as long as the `cinfo`.
    let (code, parameters) = unsafe { ((*cinfo.err).msg_code, (*cinfo.err).msg_parm._bindgen_data_) };
    match code as sys::J_MESSAGE_CODE {
        // Warnings about metadata and scan parameters, which do not affect the data.
        sys::JWRN_ADOBE_XFORM | sys::JWRN_JFIF_MAJOR | sys::JWRN_NOT_SEQUENTIAL => {}
        // Cameras pad before the end marker and between segments. Bytes left over before a restart are lost data.
        sys::JWRN_EXTRANEOUS_DATA if !(0xd0..=0xd7).contains(&parameters[1]) => {}
        // libjpeg reports missing data by JWRN_HIT_MARKER when it needs them; `finish` decides about the rest.
        sys::JWRN_JPEG_EOF => hooks(cinfo).ended_early = true,
        _ if hooks(cinfo).tolerant => hooks(cinfo).lost = true,
        _ => resume_unwind(Box::new(Error::corrupt(FORMAT, message(cinfo)))),
    }
}

/// Called for each row of blocks, also while all scans of a progressive file are read at once.
extern "C-unwind" fn progress_monitor(cinfo: &mut sys::jpeg_common_struct) {
    let hooks = hooks(cinfo);
    // SAFETY: `create` stored the pointer to the `cinfo` that is calling.
    let scan = unsafe { (&raw const (*hooks.cinfo).input_scan_number).read() };
    let (scan, max) = (u64::try_from(scan).unwrap_or(0), u64::from(hooks.scans_max));
    let going_on = crate::pipeline::limits::within("scans_max", scan, max).and_then(|_| hooks.deadline.check());
    if let Err(error) = going_on {
        resume_unwind(Box::new(error));
    }
}

/// Text of the last message from libjpeg's table; its numbers come from the file.
fn message(cinfo: &mut sys::jpeg_common_struct) -> String {
    type Declared = unsafe extern "C-unwind" fn(&mut sys::jpeg_common_struct, &[u8; 80]);
    type Actual = unsafe extern "C-unwind" fn(&mut sys::jpeg_common_struct, *mut u8);
    /// Value of libjpeg's JMSG_LENGTH_MAX.
    const LENGTH_MAX: usize = 200;
    let mut text = [0; LENGTH_MAX];
    // SAFETY: jpeg_std_error set the function, which writes a terminated string of at most JMSG_LENGTH_MAX bytes. The crate
    // declares its `char *` as a shared reference to a shorter array; both are one thin pointer in the C ABI.
    unsafe {
        if let Some(format) = (*cinfo.err).format_message {
            std::mem::transmute::<Declared, Actual>(format)(cinfo, text.as_mut_ptr());
        }
    }
    let length = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
    String::from_utf8_lossy(&text[..length]).into_owned()
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    unsafe extern "C" {
        fn jsimd_can_idct_islow() -> std::ffi::c_int;
        fn jsimd_can_rgb_ycc() -> std::ffi::c_int;
    }

    /// Without nasm the crate builds silently, several times slower; `jsimd_none.c` then answers these calls with 0.
    #[test]
    fn simd_is_built_in() {
        // SAFETY: both take nothing and read a flag that they set once from CPUID.
        let (decode, encode) = unsafe { (jsimd_can_idct_islow(), jsimd_can_rgb_ycc()) };
        assert!(
            decode != 0 && encode != 0,
            "libjpeg-turbo was built without SIMD: install nasm, then rebuild mozjpeg-sys"
        );
    }
}
