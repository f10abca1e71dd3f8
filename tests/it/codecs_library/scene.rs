//! The scene of the fixtures: 21 x 18 pixels (no multiple of 4, 8 or 16) without any symmetry, as plain functions.

pub const W: usize = 21;
pub const H: usize = 18;

/// Red, green, blue, alpha of a pixel.
pub fn rgba(x: usize, y: usize) -> [u8; 4] {
    let (x, y) = (x as u32, y as u32);
    [x * 11 + y + 3, 250 - y * 13 - x / 3, (x * y * 7 + 40) % 256, 255 - (x * 9 + y * 4) % 256].map(|v| v as u8)
}

/// Bright and dark, of every value.
pub fn gray(x: usize, y: usize) -> u8 {
    (x * 12 + y * y % 23) as u8
}

/// A 16-bit sample whose low byte says something else than its high byte.
pub fn wide(sample: u8) -> u16 {
    u16::from(sample) << 8 | u16::from(sample.rotate_left(3) ^ 0x5A)
}

/// An index into a palette of `colours`.
pub fn index(x: usize, y: usize, colours: usize) -> usize {
    (x * 3 + y * 5 + x * y / 7) % colours
}

/// The palette.
pub fn colour(index: usize) -> [u8; 3] {
    [index * 37 + 11, 255 - index * 29 % 256, index * index * 13 + 7].map(|v| v as u8)
}

/// The pixels by row, each mapped to its samples.
pub fn samples<T, const N: usize>(pixel: impl Fn(usize, usize) -> [T; N]) -> Vec<T> {
    (0..H).flat_map(|y| (0..W).map(move |x| (x, y))).flat_map(|(x, y)| pixel(x, y)).collect()
}

pub fn rgb(x: usize, y: usize) -> [u8; 3] {
    let [r, g, b, _] = rgba(x, y);
    [r, g, b]
}

pub fn gray_alpha(x: usize, y: usize) -> [u8; 2] {
    [gray(x, y), rgba(x, y)[3]]
}

pub fn paletted(colours: usize) -> impl Fn(usize, usize) -> [u8; 3] {
    move |x, y| colour(index(x, y, colours))
}

/// The mask below an icon's bitmap: a set bit is transparent.
pub fn masked(x: usize, y: usize) -> bool {
    (x * 2 + y * 3).is_multiple_of(7)
}

/// Alpha of the block's first and second pixels.
pub fn block_alpha(column: usize, row: usize) -> (u8, u8) {
    (255 - column as u8 * 20, row as u8 * 15)
}

/// Two colours of a block and which pixels take the second.
pub fn block(column: usize, row: usize) -> ([u8; 3], [u8; 3], u16) {
    let (x, y) = (column as u8, row as u8);
    // 5 and 6 bits with the greater colour first: no third colour is mixed in.
    (
        [31 - x, 60 - y * 9, x * 3 + y],
        [x * 2, y * 7, 30 - x],
        0b0110_1001_0001_1110_u16.rotate_left(u32::from(x + y * 5)),
    )
}

/// Mantissas of the scene with an exponent that makes them 0..1, some above 1.
pub fn rgbe(x: usize, y: usize) -> [u8; 4] {
    let [r, g, b] = rgb(x, y);
    [r, g, b, if x == 3 { 130 } else { 128 - (y % 4) as u8 }]
}

/// Linear values of the scene; alpha is never 0 and colours are multiplied by it where there is one.
pub fn linear(x: usize, y: usize) -> [f32; 4] {
    let [r, g, b, _] = rgba(x, y);
    let light = |v: u8| f32::from(v) / 200.0;
    [light(r), light(g), light(b), 0.25 + (x + y) as f32 / 64.0]
}

pub fn premultiplied(x: usize, y: usize) -> [f32; 4] {
    let [r, g, b, a] = linear(x, y);
    [r * a, g * a, b * a, a]
}
