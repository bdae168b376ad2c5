//! Normally distributed values, each a function of the seed and its index alone.
//!
//! Value `i` takes output `i` of [`splitmix64`]. Its upper 53 bits, plus one half, over 2^53 are uniform in
//! the open unit interval; the quantile function AS 241 (Wichura, 1988) makes them normal. Only basic arithmetic and
//! square roots are used, so that every platform gives the same bits.

use super::random::splitmix64;

/// Value `index` of the standard normal sequence of `seed`.
pub(super) fn standard_normal(seed: u64, index: u64) -> f64 {
    let bits = splitmix64(seed, index);
    let distance_to_half = ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64 - 0.5;
    quantile(distance_to_half)
}

/// The value below which a standard normal variable lies with probability `0.5 + q`.
fn quantile(q: f64) -> f64 {
    if q.abs() <= 0.425 {
        let r = 0.180625 - q * q;
        return q * ratio(r, &CENTRE_OVER, &CENTRE_UNDER);
    }
    let tail = 0.5 - q.abs();
    let r = (-logarithm(tail)).sqrt();
    let value = if r <= 5.0 {
        ratio(r - 1.6, &NEAR_OVER, &NEAR_UNDER)
    } else {
        ratio(r - 5.0, &FAR_OVER, &FAR_UNDER)
    };
    value.copysign(q)
}

/// The natural logarithm of a positive normal number, by the series of `2 artanh((m - 1) / (m + 1))`.
fn logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = f64::from(((bits >> 52) & 0x7FF) as u32) - 1023.0;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | (1023 << 52));
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1.0;
    }
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    // |z| < 0.172, so that twelve terms are below half a unit in the last place.
    let series = (0..12).rev().fold(0.0, |sum, term| sum * (z * z) + 1.0 / f64::from(2 * term + 1));
    exponent * std::f64::consts::LN_2 + 2.0 * z * series
}

/// A quotient of two polynomials, constant terms first.
fn ratio(x: f64, over: &[f64; 8], under: &[f64; 8]) -> f64 {
    let value = |coefficients: &[f64; 8]| coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c);
    value(over) / value(under)
}

const CENTRE_OVER: [f64; 8] = [
    3.387_132_872_796_366_6,
    1.331_416_678_917_843_8e2,
    1.971_590_950_306_551_3e3,
    1.373_169_376_550_946e4,
    4.592_195_393_154_987e4,
    6.726_577_092_700_87e4,
    3.343_057_558_358_813e4,
    2.509_080_928_730_122_7e3,
];
const CENTRE_UNDER: [f64; 8] = [
    1.0,
    4.231_333_070_160_091e1,
    6.871_870_074_920_579e2,
    5.394_196_021_424_751e3,
    2.121_379_430_158_66e4,
    3.930_789_580_009_271e4,
    2.872_908_573_572_194_3e4,
    5.226_495_278_852_854e3,
];
const NEAR_OVER: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    2.417_807_251_774_506e-1,
    2.272_384_498_926_918_4e-2,
    7.745_450_142_783_414e-4,
];
const NEAR_UNDER: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    6.897_673_349_851e-1,
    1.481_039_764_274_800_8e-1,
    1.519_866_656_361_645_7e-2,
    5.475_938_084_995_345e-4,
    1.050_750_071_644_416_9e-9,
];
const FAR_OVER: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    2.965_605_718_285_048_7e-1,
    2.653_218_952_657_612_4e-2,
    1.242_660_947_388_078_4e-3,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const FAR_UNDER: [f64; 8] = [
    1.0,
    5.998_322_065_558_88e-1,
    1.369_298_809_227_358e-1,
    1.487_536_129_085_061_5e-2,
    7.868_691_311_456_133e-4,
    1.846_318_317_510_054_8e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_8e-15,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_match_published_values() {
        for (probability, expected) in [
            (0.5, 0.0),
            (0.975, 1.959963984540054),
            (0.001, -3.090232306167813),
            (1e-10, -6.361340902404056),
            (1e-15, -7.941345326170997),
        ] {
            let value = quantile(probability - 0.5);
            // Near 0 and 1 the difference to one half keeps about 1e-16 of the probability.
            let tolerance = if probability < 1e-9 { 1e-2 } else { 1e-12 };
            assert!((value - expected).abs() <= tolerance, "{probability}: {value}");
        }
    }

    #[test]
    fn logarithms_are_close_to_the_library() {
        for step in 1..2000 {
            let x = f64::from(step) * 1e-3;
            assert!((logarithm(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "{x}");
        }
    }

    #[test]
    fn counter_is_splitmix64() {
        // The first output of SplitMix64 seeded with 0 is 0xE220A8397B1DCDAF, of its reference implementation.
        let uniform = ((0xE220_A839_7B1D_CDAF_u64 >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        assert_eq!(standard_normal(0, 0), quantile(uniform - 0.5));
    }

    #[test]
    fn moments_are_those_of_a_normal() {
        let count = 100_000u32;
        let values: Vec<f64> = (0..count).map(|i| standard_normal(7, u64::from(i))).collect();
        let moment = |power: i32| values.iter().map(|v| v.powi(power)).sum::<f64>() / f64::from(count);
        assert!(moment(1).abs() < 0.01, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "{}", moment(2));
        assert!(moment(3).abs() < 0.04, "{}", moment(3));
        assert!((moment(4) - 3.0).abs() < 0.1, "{}", moment(4));
    }
}
