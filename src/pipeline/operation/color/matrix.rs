//! [`Matrix`]: three colours from three, in fixed point, so that results are equal on every processor.

pub(in crate::pipeline::operation) mod grayscale;
pub(in crate::pipeline::operation) mod hue;
pub(in crate::pipeline::operation) mod saturation;
pub(in crate::pipeline::operation) mod sepia;

use super::{Deadline, Error, Raster, Sample, Samples, change_rgb, sample};

/// Binary places of a coefficient. With 16-bit samples the sum of a row is off by at most 0.006, so a row whose
/// coefficients sum to one keeps gray unchanged.
const PLACES: u32 = 24;

/// Coefficients of one result colour for red, green and blue, each below 1000.
#[derive(Clone, Copy, Debug)]
pub struct Row([i64; 3]);

impl Row {
    /// A row with these coefficients.
    pub fn new(coefficients: [f64; 3]) -> Row {
        let one = f64::from(1 << PLACES);
        Row(coefficients.map(|coefficient| (coefficient * one).round() as i64))
    }

    /// Sum of products, rounded; it may be outside the range of the colours.
    pub fn times(self, [r, g, b]: [i64; 3]) -> i64 {
        (self.0[0] * r + self.0[1] * g + self.0[2] * b + (1 << (PLACES - 1))) >> PLACES
    }
}

/// A 3 x 3 matrix on red, green and blue.
#[derive(Debug)]
pub struct Matrix([Row; 3]);

impl Matrix {
    /// A matrix with these rows, for red, green and blue.
    pub fn new(rows: [[f64; 3]; 3]) -> Matrix {
        Matrix(rows.map(Row::new))
    }

    /// Product, rounded; it may be outside the range of `colors`.
    pub fn times(&self, colors: [i64; 3]) -> [i64; 3] {
        self.0.map(|row| row.times(colors))
    }
}

/// Applies a matrix whose rows each sum to one, which keeps gray unchanged. Works in place.
pub fn applied(raster: Raster, matrix: &Matrix, deadline: &Deadline) -> Result<Raster, Error> {
    if raster.channels().gray() { Ok(raster) } else { applied_to_rgb(raster, matrix, deadline) }
}

/// Applies any matrix to red, green and blue. Works in place.
pub fn applied_to_rgb(raster: Raster, matrix: &Matrix, deadline: &Deadline) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), raster.channels());
    let mut samples = raster.into_samples();
    match &mut samples {
        Samples::U8(samples) => change_rgb(samples, channels, deadline, |pixel| product(matrix, pixel))?,
        Samples::U16(samples) => change_rgb(samples, channels, deadline, |pixel| product(matrix, pixel))?,
    }
    Ok(Raster::new(size, channels, samples))
}

fn product<S: Sample>(matrix: &Matrix, pixel: [S; 3]) -> [S; 3] {
    let colors = pixel.map(|sample| {
        let value: u32 = sample.into();
        value.into()
    });
    matrix.times(colors).map(sample)
}
