//! [`Density`]: how many pixels make an inch, as JPEG, PNG and TIFF state it. No operation uses it.

use serde::{Deserialize, Serialize, Serializer};

/// Pixels per inch, in hundredths.
///
/// ```
/// use progimage::pipeline::metadata::Density;
/// // A PNG counts pixels per metre.
/// let density = Density::of([11_811.0, 11_811.0], Density::METRE).unwrap();
/// assert_eq!(density, Density::square(30_000));
/// assert_eq!(density.per(Density::METRE), [11_811, 11_811]);
/// assert_eq!(serde_json::to_string(&density.dots())?, r#"{"x":300,"y":300}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Density {
    x: u32,
    y: u32,
}

/// [`Density`] in pixels per inch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Dots {
    #[serde(serialize_with = "rounded")]
    x: f64,
    #[serde(serialize_with = "rounded")]
    y: f64,
}

impl Density {
    /// An inch in inches.
    pub const INCH: f64 = 1.0;
    /// A centimetre in inches.
    pub const CENTIMETRE: f64 = 1.0 / 2.54;
    /// A metre in inches.
    pub const METRE: f64 = 1.0 / 0.0254;
    /// Most hundredths of a pixel per inch: 65,535 whole ones, which JPEG can hold.
    pub const MAX: u32 = 6_553_500;

    /// A density that is equal across and down, in hundredths of a pixel per inch.
    pub fn square(hundredths: u32) -> Density {
        Density { x: hundredths, y: hundredths }
    }

    /// Density from counts per unit, whose length is in inches. `None` if it is zero or out of range.
    pub fn of(counts: [f64; 2], unit: f64) -> Option<Density> {
        let [x, y] = counts.map(|count| (count / unit * 100.0).round());
        let known = |v: f64| (1.0..=f64::from(Density::MAX)).contains(&v);
        (known(x) && known(y)).then_some(Density { x: x as u32, y: y as u32 })
    }

    /// Whole counts per unit, whose length is in inches; at least 1.
    pub fn per(self, unit: f64) -> [u32; 2] {
        [self.x, self.y].map(|hundredths| ((f64::from(hundredths) / 100.0 * unit).round() as u32).max(1))
    }

    /// Hundredths of a pixel per inch.
    pub fn hundredths(self) -> [u32; 2] {
        [self.x, self.y]
    }

    /// Pixels per inch.
    pub fn dots(self) -> Dots {
        Dots { x: f64::from(self.x) / 100.0, y: f64::from(self.y) / 100.0 }
    }
}

/// Whole numbers are written without decimals.
fn rounded<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 { serializer.serialize_u32(*value as u32) } else { serializer.serialize_f64(*value) }
}
