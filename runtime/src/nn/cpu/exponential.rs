//! The exponential function in a form that compilers vectorise.

/// `e^x` to 2 ulp for normal results; 0 below the smallest normal number and infinity above the largest.
///
/// `x = n ln 2 + r` with |r| ≤ ln 2 / 2, and a polynomial for `e^r` (Cephes, `expf`, S. Moshier).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOW: f32 = -87.336_54;
    const HIGH: f32 = 88.722_83;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    /// Adding and taking it away again rounds to an integer.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(LOW, HIGH);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.987_569_1e-4f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_66, 0.5] {
        p = p.mul_add(r, c);
    }
    let p = (p * r).mul_add(r, r) + 1.0;
    // 2^n in two factors, since n = 128 has no exponent of its own.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    let e = p * power(half) * power(n - half);
    let e = if x < LOW { 0.0 } else { e };
    let e = if x > HIGH { f32::INFINITY } else { e };
    if x.is_nan() { x } else { e }
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::{exp, sigmoid};

    #[test]
    fn exponentials_are_right_to_two_ulp() {
        let mut x = -87.3f32;
        while x < 88.7 {
            let expected = f64::from(x).exp();
            let ulp = f64::from((expected as f32).next_up() - expected as f32);
            assert!((f64::from(exp(x)) - expected).abs() <= 2.0 * ulp, "{x}: {} for {expected}", exp(x));
            x += 0.000_97;
        }
    }

    #[test]
    fn ends_are_right() {
        assert_eq!((exp(0.0), exp(-0.0)), (1.0, 1.0));
        assert_eq!((exp(f32::NEG_INFINITY), exp(-1e30), exp(-88.0)), (0.0, 0.0, 0.0));
        assert_eq!((exp(f32::INFINITY), exp(89.0)), (f32::INFINITY, f32::INFINITY));
        assert!(exp(f32::NAN).is_nan());
        assert_eq!((sigmoid(f32::NEG_INFINITY), sigmoid(f32::INFINITY), sigmoid(0.0)), (0.0, 1.0, 0.5));
    }
}
