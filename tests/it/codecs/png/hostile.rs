//! PNG bombs: giants in few bytes, and compressed metadata.

use progimage::pipeline::Error;

use crate::codecs::{decode, inspect};
use crate::fixtures::png::{Chunk, file, header, iccp};

/// A file with this chunk before a valid pixel.
pub fn with_chunk(chunk: Chunk) -> Vec<u8> {
    let data = (b"IDAT", fdeflate::compress_to_vec(&[0, 7]));
    file(&[header(1, 1, 0, 8, 0), chunk, data, (b"IEND", vec![])])
}

#[test]
fn fifty_gigapixels_are_known_at_the_gate_and_refused_before_decoding() {
    let bomb = file(&[header(250_000, 200_000, 2, 8, 0), (b"IDAT", vec![0x78, 0x9c]), (b"IEND", vec![])]);
    assert_eq!(inspect(&bomb).expect("well formed").size.pixels(), 50_000_000_000);
    assert!(matches!(decode(&bomb), Err(Error::Limit { name: "pixels_max", .. })));
}

#[test]
fn sides_whose_bytes_exceed_64_bits_are_counted_at_the_gate() {
    const SIDE: u32 = i32::MAX as u32;
    let bomb = file(&[header(SIDE, SIDE, 6, 16, 0), (b"IDAT", vec![0x78, 0x9c]), (b"IEND", vec![])]);
    assert_eq!(inspect(&bomb).expect("well formed").working_bytes, u64::MAX);
    assert!(matches!(decode(&bomb), Err(Error::Limit { name: "pixels_max", .. })));
}

#[test]
fn compressed_metadata_is_never_inflated_past_its_bound() {
    // 64 MiB of zeros in some 64 KiB. Code that inflates them all would hold 16 times the bound of a profile.
    let zeros = vec![0; 64 << 20];
    let text = [b"Comment\0\0".to_vec(), fdeflate::compress_to_vec(&zeros)].concat();
    for chunk in [(b"zTXt", text), (b"iCCP", iccp(&zeros))] {
        let picture = decode(&with_chunk(chunk)).expect("the pixel is whole");
        assert_eq!(picture.icc, None);
    }
}

#[test]
fn long_metadata_is_skipped() {
    for name in [b"tEXt", b"eXIf", b"zzZz"] {
        assert!(decode(&with_chunk((name, vec![b'a'; 3 << 20]))).is_ok());
    }
}
