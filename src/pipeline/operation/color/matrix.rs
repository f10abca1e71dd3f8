//! [`Matrix`]: three colours out of three, in fixed point, so that every processor gives the same.

use super::{Error, Raster, Sample, Samples, Watch, change_rgb, sample};

/// Binary places of a coefficient: with 16-bit samples the sum of a row is off by 0.006 at most, so a row whose coefficients sum
/// to one leaves gray as it is.
const PLACES: u32 = 24;

/// What one colour takes of red, green and blue; coefficients below 1000.
#[derive(Clone, Copy, Debug)]
pub struct Row([i64; 3]);

impl Row {
    /// The row of these coefficients.
    pub fn new(coefficients: [f64; 3]) -> Row {
        let one = f64::from(1 << PLACES);
        Row(coefficients.map(|coefficient| (coefficient * one).round() as i64))
    }

    /// The sum, rounded; it may lie outside the range of the colours.
    pub fn times(self, [r, g, b]: [i64; 3]) -> i64 {
        (self.0[0] * r + self.0[1] * g + self.0[2] * b + (1 << (PLACES - 1))) >> PLACES
    }
}

/// A 3 x 3 matrix on red, green and blue.
#[derive(Debug)]
pub struct Matrix([Row; 3]);

impl Matrix {
    /// The matrix with these rows: that of red first.
    pub fn new(rows: [[f64; 3]; 3]) -> Matrix {
        Matrix(rows.map(Row::new))
    }

    /// The product, rounded; it may lie outside the range of `colors`.
    pub fn times(&self, colors: [i64; 3]) -> [i64; 3] {
        self.0.map(|row| row.times(colors))
    }
}

/// Applies a matrix whose rows each sum to one: gray stays as it is. In place.
pub fn applied(raster: Raster, matrix: &Matrix, watch: &Watch) -> Result<Raster, Error> {
    if raster.channels().gray() { Ok(raster) } else { applied_to_rgb(raster, matrix, watch) }
}

/// Applies any matrix to red, green and blue. In place.
pub fn applied_to_rgb(raster: Raster, matrix: &Matrix, watch: &Watch) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), raster.channels());
    let mut samples = raster.into_samples();
    match &mut samples {
        Samples::U8(samples) => change_rgb(samples, channels, watch, |pixel| product(matrix, pixel))?,
        Samples::U16(samples) => change_rgb(samples, channels, watch, |pixel| product(matrix, pixel))?,
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
