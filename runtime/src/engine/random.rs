//! Random bits, each a function of the seed and its index alone.

/// Value `index` of the sequence that SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) gives for a seed, without those
/// before it: the generator adds a constant at each step and mixes the sum.
#[must_use]
pub const fn splitmix64(seed: u64, index: u64) -> u64 {
    let mut bits = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
