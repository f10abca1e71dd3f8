//! [`Content`]: what the pixels of a picture show, for the choices that an encoder leaves open. Looked at once for each
//! result, whatever number of times it is encoded; equal pictures have equal answers.

mod chroma;
mod graphic;

pub(super) use chroma::PIXELS_MAX;

use crate::pipeline::Picture;
use crate::pipeline::codec::Encoder;

/// What a picture shows. Both answers are no where the encoder has no use for them.
pub(super) struct Content {
    /// Whether halved chroma would smear it.
    pub smears: bool,
    /// Whether it is a drawing, text or a screen, not a photograph.
    pub graphic: bool,
}

impl Content {
    /// Looks at the first frame. `chroma_is_open`: the client has left chroma to the server.
    pub fn of(picture: &Picture, encoder: &Encoder, chroma_is_open: bool) -> Content {
        let raster = picture.first();
        Content {
            smears: encoder.chroma && chroma_is_open && chroma::smears(raster),
            graphic: encoder.graphics && graphic::is_graphic(raster),
        }
    }
}
