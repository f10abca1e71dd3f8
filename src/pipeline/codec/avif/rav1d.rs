//! rav1d: the AV1 decoder as safe functions. One thread, one frame at a time. No container logic, no colour conversion.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use re_rav1d::dav1d::{Decoder, Error as Refusal, Picture, PixelLayout, PlanarImageComponent, Plane, Settings};
use re_rav1d::include::dav1d::headers::{
    DAV1D_PIXEL_LAYOUT_I400, DAV1D_PIXEL_LAYOUT_I420, DAV1D_PIXEL_LAYOUT_I422, Dav1dSequenceHeader,
};
use re_rav1d::src::lib::dav1d_parse_sequence_header;

use super::NAME;
use super::container::Cicp;
use super::yuv::{Layout, Planes};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Error, Size};

/// Facts about the frames from a sequence header.
pub(super) struct Sequence {
    /// Bits per sample: 8, 10 or 12.
    pub bits: u8,
    /// Chroma subsampling.
    pub layout: Layout,
    /// Colour description; unspecified codes where there is none.
    pub cicp: Cicp,
}

/// Parses a sequence header OBU with the decoder's own parser.
pub(super) fn sequence(obu: &[u8]) -> Result<Sequence, Error> {
    let mut header = MaybeUninit::<Dav1dSequenceHeader>::uninit();
    let (out, data) = (NonNull::new(header.as_mut_ptr()), NonNull::new(obu.as_ptr().cast_mut()));
    // SAFETY: `out` is a valid place to write to; `data` is the start of `obu`, which is only read, for its length.
    let result = unsafe { dav1d_parse_sequence_header(out, data, obu.len()) };
    if result.0 != 0 {
        return Err(Error::corrupt(NAME, "invalid sequence header"));
    }
    // SAFETY: the parser writes the whole header when, and only when, it gives 0.
    let header = unsafe { header.assume_init() };
    // Reserved codes are treated as unspecified.
    let code = |code: u32| u8::try_from(code).unwrap_or(2);
    Ok(Sequence {
        bits: 8 + 2 * header.hbd,
        layout: match header.layout {
            DAV1D_PIXEL_LAYOUT_I400 => Layout::Gray,
            DAV1D_PIXEL_LAYOUT_I420 => Layout::Half,
            DAV1D_PIXEL_LAYOUT_I422 => Layout::HalfWidth,
            _ => Layout::Full,
        },
        cicp: Cicp {
            primaries: code(header.pri),
            transfer: code(header.trc),
            matrix: code(header.mtrx),
            full_range: header.color_range != 0,
        },
    })
}

/// Decodes the first frame in AV1 data, whose size must be `size`.
pub(super) fn decode(data: &[u8], size: Size) -> Result<Planes<Plane>, Error> {
    Stream::new(size)?.frame(data)
}

/// Frames of one size that refer to one another.
pub(super) struct Stream {
    decoder: Decoder,
    size: Size,
    /// Whether the decoder has not taken all of the data.
    pending: bool,
}

impl Stream {
    /// A stream of frames of this size.
    pub fn new(size: Size) -> Result<Stream, Error> {
        let mut settings = Settings::new();
        settings.set_n_threads(1);
        settings.set_max_frame_delay(1);
        settings.set_all_layers(false);
        // A frame larger than stated in the container is refused before memory is allocated.
        settings.set_frame_size_limit(u32::try_from(size.pixels()).unwrap_or(u32::MAX));
        let decoder = Decoder::with_settings(&settings).map_err(refused)?;
        Ok(Stream { decoder, size, pending: false })
    }

    /// Decodes the first frame that the next data shows.
    pub fn frame(&mut self, data: &[u8]) -> Result<Planes<Plane>, Error> {
        // A sample of an animation shows one frame; the caller has bounded the number of all.
        while self.picture()?.is_some() {}
        let mut owned = try_zeroed(data.len())?;
        owned.copy_from_slice(data);
        let sent = self.decoder.send_data(owned, None, None, None);
        self.sent(sent)?;
        let picture = self.picture()?.ok_or_else(|| Error::corrupt(NAME, "missing or truncated frame"))?;
        self.planes(&picture)
    }

    fn sent(&mut self, sent: Result<(), Refusal>) -> Result<(), Error> {
        self.pending = match sent {
            Ok(()) => false,
            Err(Refusal::Again) => true,
            Err(refusal) => return Err(refused(refusal)),
        };
        Ok(())
    }

    /// The next picture; `None`: more data is needed.
    fn picture(&mut self) -> Result<Option<Picture>, Error> {
        // Each turn consumes at least one OBU. Frames are few; the rest is metadata and padding.
        const TURNS_MAX: usize = 1024;
        for _ in 0..TURNS_MAX {
            match self.decoder.get_picture() {
                Ok(picture) => return Ok(Some(picture)),
                Err(Refusal::Again) if self.pending => {
                    let sent = self.decoder.send_pending_data();
                    self.sent(sent)?;
                }
                Err(Refusal::Again) => return Ok(None),
                Err(refusal) => return Err(refused(refusal)),
            }
        }
        Err(Error::corrupt(NAME, "no frame among the metadata"))
    }

    fn planes(&self, picture: &Picture) -> Result<Planes<Plane>, Error> {
        let size = self.size;
        if Size::new(picture.width(), picture.height()) != size {
            return Err(Error::corrupt(NAME, "frame size differs from the header"));
        }
        let layout = match picture.pixel_layout() {
            PixelLayout::I400 => Layout::Gray,
            PixelLayout::I420 => Layout::Half,
            PixelLayout::I422 => Layout::HalfWidth,
            PixelLayout::I444 => Layout::Full,
        };
        let plane = |component| (picture.plane(component), picture.stride(component) as usize);
        let planes = match layout {
            Layout::Gray => vec![plane(PlanarImageComponent::Y)],
            _ => vec![plane(PlanarImageComponent::Y), plane(PlanarImageComponent::U), plane(PlanarImageComponent::V)],
        };
        Ok(Planes { size, layout, bits: picture.bit_depth() as u8, planes })
    }
}

fn refused(refusal: Refusal) -> Error {
    match refusal {
        Refusal::NotEnoughMemory => Error::Limit { name: "memory_bytes_max", value: 0, max: 0 },
        Refusal::UnsupportedBitstream => Error::Unsupported { format: NAME, feature: "this AV1 bitstream" },
        _ => Error::corrupt(NAME, "invalid or truncated AV1 data"),
    }
}
