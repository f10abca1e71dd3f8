//! tiff.

use super::{Codec, DecodeOptions, Header};
use crate::pipeline::{Error, Picture};

pub(super) static CODEC: Codec = Codec {
    name: "tiff",
    extensions: &["tiff", "tif"],
    media_type: "image/tiff",
    doc: "",
    revision: 1,
    sniff: |_| false,
    inspect,
    decode,
    encoder: None,
};

fn inspect(_bytes: &[u8]) -> Result<Header, Error> {
    Err(Error::UnknownFormat)
}

fn decode(_bytes: &[u8], _options: &DecodeOptions) -> Result<Picture, Error> {
    Err(Error::UnknownFormat)
}
