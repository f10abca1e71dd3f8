//! Blend modes of W3C Compositing and Blending Level 1 (sections 9.1 and 10.1) for one pixel: 16-bit, sRGB-encoded,
//! straight alpha, in integers.

/// Full intensity, or opaque.
const ONE: u64 = 65_535;

pub(super) const WORDS: &[&str] = &[
    "over",
    "multiply",
    "screen",
    "overlay",
    "darken",
    "lighten",
    "color-dodge",
    "color-burn",
    "hard-light",
    "soft-light",
    "difference",
    "exclusion",
    "plus",
];

/// Blend mode: the way in which a source mixes with its backdrop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blend {
    Over,
    Multiply,
    Screen,
    Overlay,
    Darken,
    Lighten,
    ColorDodge,
    ColorBurn,
    HardLight,
    SoftLight,
    Difference,
    Exclusion,
    Plus,
}

impl Blend {
    /// The mode with a name in [`WORDS`].
    pub fn from_word(word: &str) -> Blend {
        match word {
            "multiply" => Blend::Multiply,
            "screen" => Blend::Screen,
            "overlay" => Blend::Overlay,
            "darken" => Blend::Darken,
            "lighten" => Blend::Lighten,
            "color-dodge" => Blend::ColorDodge,
            "color-burn" => Blend::ColorBurn,
            "hard-light" => Blend::HardLight,
            "soft-light" => Blend::SoftLight,
            "difference" => Blend::Difference,
            "exclusion" => Blend::Exclusion,
            "plus" => Blend::Plus,
            _ => Blend::Over,
        }
    }

    /// The source composited over the backdrop.
    pub fn mixed(self, backdrop: [u16; 4], source: [u16; 4]) -> [u16; 4] {
        let [backdrop, source] = [backdrop, source].map(|pixel| pixel.map(u64::from));
        let colors = [0, 1, 2].map(|place| (backdrop[place], source[place]));
        let (below, above) = (backdrop[3], source[3]);
        if self == Blend::Plus {
            return plus(colors, below, above);
        }
        if below == ONE {
            // Special case of the general formula below, without its divisions by a variable.
            let color = |(b, s)| divided(above * self.blended(b, s) + (ONE - above) * b, ONE);
            return with_alpha(colors.map(color), ONE);
        }
        // co = as (1 - ab) cs + as ab B(cb, cs) + (1 - as) ab cb, divided by ao = as + ab (1 - as): each at most ONE^3 < 2^48.
        let alpha = above * ONE + below * (ONE - above);
        let color = |(b, s)| {
            let sum = above * (ONE - below) * s + above * below * self.blended(b, s) + (ONE - above) * below * b;
            if alpha == 0 { 0 } else { divided(sum, alpha) }
        };
        with_alpha(colors.map(color), divided(alpha, ONE))
    }

    /// The blend function B(cb, cs).
    fn blended(self, b: u64, s: u64) -> u64 {
        match self {
            Blend::Over | Blend::Plus => s,
            Blend::Multiply => times(b, s),
            Blend::Screen => screen(b, s),
            Blend::Overlay => hard_light(s, b),
            Blend::Darken => b.min(s),
            Blend::Lighten => b.max(s),
            Blend::ColorDodge => match (b, s) {
                (0, _) => 0,
                (_, ONE) => ONE,
                _ => divided(b * ONE, ONE - s).min(ONE),
            },
            Blend::ColorBurn => match (b, s) {
                (ONE, _) => ONE,
                (_, 0) => 0,
                _ => ONE - divided((ONE - b) * ONE, s).min(ONE),
            },
            Blend::HardLight => hard_light(b, s),
            Blend::SoftLight => soft_light(b, s),
            Blend::Difference => b.abs_diff(s),
            Blend::Exclusion => b + s - divided(2 * b * s, ONE),
        }
    }
}

fn divided(value: u64, by: u64) -> u64 {
    (value + by / 2) / by
}

fn times(a: u64, b: u64) -> u64 {
    divided(a * b, ONE)
}

fn screen(b: u64, s: u64) -> u64 {
    b + s - times(b, s)
}

fn hard_light(b: u64, s: u64) -> u64 {
    if 2 * s <= ONE { times(b, 2 * s) } else { screen(b, 2 * s - ONE) }
}

fn soft_light(b: u64, s: u64) -> u64 {
    if 2 * s <= ONE {
        // b - (1 - 2 s) b (1 - b)
        return b - divided((ONE - 2 * s) * b * (ONE - b), ONE * ONE);
    }
    // D(b) is ((16 b - 12) b + 4) b up to a quarter, then the root; it is never below b.
    let d = if 4 * b <= ONE {
        divided((16 * b * b + 4 * ONE * ONE - 12 * b * ONE) * b, ONE * ONE)
    } else {
        // Four times the square has a root of twice the value: one more bit for rounding.
        (4 * b * ONE).isqrt().div_ceil(2)
    };
    b + times(2 * s - ONE, d - b)
}

/// The operator `lighter`: premultiplied sums.
fn plus(colors: [(u64, u64); 3], below: u64, above: u64) -> [u16; 4] {
    let alpha = (below + above).min(ONE);
    let color =
        |(b, s): (u64, u64)| if alpha == 0 { 0 } else { divided((below * b + above * s).min(alpha * ONE), alpha) };
    with_alpha(colors.map(color), alpha)
}

fn with_alpha([r, g, b]: [u64; 3], alpha: u64) -> [u16; 4] {
    [r, g, b, alpha].map(|v| v as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [u16; 9] = [0, 1, 257, 16_383, 16_384, 32_767, 32_768, 65_534, 65_535];

    /// Formulas as in the standard, with cb and cs in 0..=1.
    fn reference(word: &str, b: f64, s: f64) -> f64 {
        let hard = |b: f64, s: f64| if s <= 0.5 { b * 2.0 * s } else { b + (2.0 * s - 1.0) - b * (2.0 * s - 1.0) };
        match word {
            "multiply" => b * s,
            "screen" => b + s - b * s,
            "overlay" => hard(s, b),
            "darken" => b.min(s),
            "lighten" => b.max(s),
            "color-dodge" if b == 0.0 => 0.0,
            "color-dodge" if s == 1.0 => 1.0,
            "color-dodge" => (b / (1.0 - s)).min(1.0),
            "color-burn" if b == 1.0 => 1.0,
            "color-burn" if s == 0.0 => 0.0,
            "color-burn" => 1.0 - ((1.0 - b) / s).min(1.0),
            "hard-light" => hard(b, s),
            "soft-light" if s <= 0.5 => b - (1.0 - 2.0 * s) * b * (1.0 - b),
            "soft-light" => {
                let d = if b <= 0.25 { ((16.0 * b - 12.0) * b + 4.0) * b } else { b.sqrt() };
                b + (2.0 * s - 1.0) * (d - b)
            }
            "difference" => (b - s).abs(),
            "exclusion" => b + s - 2.0 * b * s,
            _ => s,
        }
    }

    /// Checks every mode at values and alphas around each case of its formula.
    #[test]
    fn modes_are_those_of_the_standard() {
        let one = |v: u16| f64::from(v) / 65_535.0;
        for word in WORDS {
            for (b, s) in VALUES.iter().flat_map(|b| VALUES.map(|s| (*b, s))) {
                for (below, above) in VALUES.iter().flat_map(|below| VALUES.map(|above| (*below, above))) {
                    let [got, _, _, alpha] = Blend::from_word(word).mixed([b, b, b, below], [s, s, s, above]);
                    let (cb, cs, ab, aa) = (one(b), one(s), one(below), one(above));
                    let (sum, ao) = if *word == "plus" {
                        (ab * cb + aa * cs, (ab + aa).min(1.0))
                    } else {
                        let blended = reference(word, cb, cs);
                        (aa * (1.0 - ab) * cs + aa * ab * blended + (1.0 - aa) * ab * cb, aa + ab * (1.0 - aa))
                    };
                    let expected = if ao == 0.0 { 0.0 } else { (sum / ao).min(1.0) };
                    assert!((one(alpha) - ao).abs() <= 0.6 / 65_535.0, "{word}: alpha {alpha} of {ao}");
                    let error = (one(got) - expected).abs() * 65_535.0;
                    assert!(error <= 1.6, "{word}({b}, {s}) at {below}, {above}: {got}, off by {error}");
                }
            }
        }
    }

    #[test]
    fn an_overlay_that_is_not_there_changes_nothing() {
        for word in WORDS {
            for (b, below) in VALUES.iter().flat_map(|b| VALUES[1..].iter().map(move |below| (*b, *below))) {
                let backdrop = [b, b, b, below];
                assert_eq!(Blend::from_word(word).mixed(backdrop, [9, 9, 9, 0]), backdrop, "{word}");
            }
        }
    }
}
