//! A PNG decoder as short as the specification allows, to compare with: no checksums, no limits, one pixel at a time.

use crate::fixtures::png::ADAM7;

/// Expanded samples: palettes and transparency applied, depths below 8 scaled to 8.
pub struct Reference {
    pub w: u32,
    pub h: u32,
    pub channels: usize,
    pub samples: Vec<u16>,
}

/// Decodes a valid still.
pub fn decode(file: &[u8]) -> Reference {
    let (mut palette, mut trns, mut data) = (Vec::new(), None, Vec::new());
    let header = &file[16..29];
    let mut at = 8;
    while at < file.len() {
        let length = u32::from_be_bytes(file[at..at + 4].try_into().expect("four")) as usize;
        let body = &file[at + 8..at + 8 + length];
        match &file[at + 4..at + 8] {
            b"PLTE" => palette = body.to_vec(),
            b"tRNS" => trns = Some(body.to_vec()),
            b"IDAT" => data.extend(body),
            _ => {}
        }
        at += length + 12;
    }
    let [w, h] = [0, 4].map(|at| u32::from_be_bytes(header[at..at + 4].try_into().expect("four")));
    let (depth, color, interlaced) = (usize::from(header[8]), header[9], header[12] == 1);
    let count = [1, 0, 3, 1, 2, 0, 4][usize::from(color)];
    let pixel = |raw: &[u16]| expand(raw, color, depth, &palette, trns.as_deref());
    let channels = pixel(&vec![0; count]).len();
    let mut samples = vec![0; (w * h) as usize * channels];
    let inflated = fdeflate::decompress_to_vec(&data).expect("a valid stream");
    let mut rest = &inflated[..];
    let whole = [(0, 0, 1, 1)];
    for &(x, y, across, down) in if interlaced { &ADAM7[..] } else { &whole[..] } {
        let columns: Vec<u32> = (x..w).step_by(across).collect();
        let mut above = vec![0; (columns.len() * count * depth).div_ceil(8)];
        for row in (y..h).step_by(down).filter(|_| !columns.is_empty()) {
            let (line, later) = rest.split_at(above.len() + 1);
            rest = later;
            above = unfilter(line, &above, (count * depth).div_ceil(8));
            for (index, column) in columns.iter().enumerate() {
                let raw: Vec<u16> = (0..count).map(|n| sample(&above, index * count + n, depth)).collect();
                let target = (row * w + column) as usize * channels;
                samples[target..target + channels].copy_from_slice(&pixel(&raw));
            }
        }
    }
    Reference { w, h, channels, samples }
}

fn sample(row: &[u8], index: usize, depth: usize) -> u16 {
    match depth {
        16 => u16::from_be_bytes([row[index * 2], row[index * 2 + 1]]),
        _ => {
            let bit = index * depth;
            u16::from(row[bit / 8]) >> (8 - depth - bit % 8) & ((1 << depth) - 1)
        }
    }
}

fn expand(raw: &[u16], color: u8, depth: usize, palette: &[u8], trns: Option<&[u8]>) -> Vec<u16> {
    if color == 3 {
        let index = usize::from(raw[0]);
        let mut pixel: Vec<u16> = (0..3).map(|n| palette.get(index * 3 + n).map_or(0, |&s| u16::from(s))).collect();
        pixel.extend(trns.map(|trns| trns.get(index).map_or(255, |&alpha| u16::from(alpha))));
        return pixel;
    }
    let max = if depth == 16 { 0xffff } else { 0xff };
    let scale = if depth < 8 { 0xff / ((1 << depth) - 1) } else { 1 };
    let mut pixel: Vec<u16> = raw.iter().map(|sample| sample * scale).collect();
    if let (Some(trns), 0 | 2) = (trns, color) {
        let clear = trns.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).eq(raw.iter().copied());
        pixel.push(if clear { 0 } else { max });
    }
    pixel
}

fn unfilter(line: &[u8], above: &[u8], pixel: usize) -> Vec<u8> {
    let mut row: Vec<u8> = Vec::with_capacity(above.len());
    for (at, &byte) in line[1..].iter().enumerate() {
        let back = at.checked_sub(pixel);
        let (left, up) = (back.map_or(0, |at| row[at]), above[at]);
        let corner = back.map_or(0, |at| above[at]);
        let predicted = match line[0] {
            0 => 0,
            1 => left,
            2 => up,
            3 => ((u16::from(left) + u16::from(up)) / 2) as u8,
            _ => paeth(left, up, corner),
        };
        row.push(byte.wrapping_add(predicted));
    }
    row
}

fn paeth(left: u8, up: u8, corner: u8) -> u8 {
    let estimate = i16::from(left) + i16::from(up) - i16::from(corner);
    let distance = |sample: u8| (estimate - i16::from(sample)).abs();
    if distance(left) <= distance(up) && distance(left) <= distance(corner) {
        left
    } else if distance(up) <= distance(corner) {
        up
    } else {
        corner
    }
}
