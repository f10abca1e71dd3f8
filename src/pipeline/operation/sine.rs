//! Sine and cosine from additions and multiplications only. The system's functions may differ in the last bit between
//! CPUs with and without fused multiply-add, and with them the bytes of a result.

/// sin(pi x), by its Taylor series around the nearest whole number, exact to the last bits since
/// angle
/// is at most pi / 2.
pub(super) fn sine_of_turns(x: f64) -> f64 {
    let nearest = x.round();
    let angle = (x - nearest) * std::f64::consts::PI;
    let square = angle * angle;
    let series = (1..=10).rev().fold(1.0, |sum, k| {
        let k = f64::from(k) * 2.0;
        1.0 - square / (k * (k + 1.0)) * sum
    });
    let odd = nearest.rem_euclid(2.0) == 1.0;
    if odd { -angle * series } else { angle * series }
}

/// cos(pi x).
pub(super) fn cosine_of_turns(x: f64) -> f64 {
    sine_of_turns(x + 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_sine_and_cosine() {
        for step in -3600..=3600 {
            let x = f64::from(step) / 1000.0;
            let (sine, cosine) = (x * std::f64::consts::PI).sin_cos();
            assert!((sine_of_turns(x) - sine).abs() < 1e-14 && (cosine_of_turns(x) - cosine).abs() < 1e-14, "{x}");
        }
    }
}
