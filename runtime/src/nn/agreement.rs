//! How much two models agree: their logits for the same tokens beside each other.

use candle_core::{DType, Result, Tensor, bail};

/// What logits of two models have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Tokens compared.
    pub tokens: usize,
    /// The largest difference of two logits; infinite where one alone is no number.
    pub largest_difference: f64,
    /// The largest magnitude of the second model's logits.
    pub largest_logit: f64,
    /// The Kullback-Leibler divergence of the second model's distribution from the first's, `sum p ln(p / q)` with the
    /// first's as `p`, in nats: the mean over tokens.
    pub mean_divergence: f64,
    /// The largest of any token.
    pub largest_divergence: f64,
    /// The part of tokens for which both models have the same first choice.
    pub first_choice: f64,
    /// The part of the `k` largest logits of one model that are among those of the other, as the mean over tokens.
    pub top: f64,
}

/// Compares logits `[… vocab]` of two models for the same tokens. Where one has more logits, as of padding, those
/// at the end do not count. `k` is how many of the largest are compared as sets.
///
/// # Errors
/// Where there are no logits, not as many tokens, or `k` is 0.
pub fn agreement(one: &Tensor, other: &Tensor, k: usize) -> Result<Agreement> {
    let rows = |x: &Tensor| -> Result<Vec<Vec<f32>>> {
        let vocab = x.dim(x.rank().saturating_sub(1))?;
        x.to_dtype(DType::F32)?.reshape(((), vocab))?.to_vec2()
    };
    let (one, other) = (rows(one)?, rows(other)?);
    if one.len() != other.len() {
        bail!("logits of {} tokens and of {} cannot be compared", one.len(), other.len());
    }
    let mut sum = Agreement {
        tokens: one.len(),
        largest_difference: 0.0,
        largest_logit: 0.0,
        mean_divergence: 0.0,
        largest_divergence: 0.0,
        first_choice: 0.0,
        top: 0.0,
    };
    let share = 1.0 / one.len() as f64;
    for (p, q) in one.iter().zip(&other) {
        let vocab = p.len().min(q.len());
        if vocab == 0 || k == 0 {
            bail!("there are no logits to compare");
        }
        sum.add(&p[..vocab], &q[..vocab], k.min(vocab), share);
    }
    if one.is_empty() {
        bail!("there are no logits to compare");
    }
    Ok(sum)
}

impl Agreement {
    fn add(&mut self, p: &[f32], q: &[f32], k: usize, share: f64) {
        for (a, b) in p.iter().zip(q).map(|(a, b)| (f64::from(*a), f64::from(*b))) {
            // Two infinities of one sign, and two that are no numbers, are the same.
            let same = a == b || (a.is_nan() && b.is_nan());
            let apart = if same { 0.0 } else { (a - b).abs() };
            self.largest_difference = largest(self.largest_difference, apart);
            self.largest_logit = largest(self.largest_logit, b.abs());
        }
        let divergence = divergence(p, q);
        self.mean_divergence += divergence * share;
        self.largest_divergence = largest(self.largest_divergence, divergence);
        let (one, other) = (order(p), order(q));
        if one[0] == other[0] {
            self.first_choice += share;
        }
        let common = one[..k].iter().filter(|at| other[..k].contains(at)).count();
        self.top += share * common as f64 / k as f64;
    }
}

/// The larger one, where no number is larger than all numbers.
fn largest(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::INFINITY } else { a.max(b) }
}

/// The tokens from the largest logit to the smallest; equal ones in their order.
fn order(logits: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    order
}

fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let (p, q) = (log_softmax(p), log_softmax(q));
    let parts = p.iter().zip(&q).filter(|(p, _)| **p != f64::NEG_INFINITY);
    let sum: f64 = parts.map(|(p, q)| p.exp() * (p - q)).sum();
    // Rounding may put a sum of nearly nothing below 0; what is no number is no small one.
    if sum.is_nan() { f64::INFINITY } else { sum.max(0.0) }
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().map(|x| f64::from(*x)).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = logits.iter().map(|x| (f64::from(*x) - most).exp()).sum();
    logits.iter().map(|x| f64::from(*x) - most - sum.ln()).collect()
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Result, Tensor};

    use super::agreement;

    fn logits(rows: &[&[f32]]) -> Result<Tensor> {
        let vocab = rows[0].len();
        Tensor::from_vec(rows.concat(), (1, rows.len(), vocab), &Device::Cpu)
    }

    #[test]
    fn equal_logits_agree() -> Result<()> {
        let x = logits(&[&[1.0, 2.0, 3.0], &[0.5, f32::NEG_INFINITY, -2.0]])?;
        let found = agreement(&x, &x, 2)?;
        assert_eq!((found.tokens, found.largest_difference, found.mean_divergence), (2, 0.0, 0.0));
        assert_eq!((found.first_choice, found.top), (1.0, 1.0));
        Ok(())
    }

    #[test]
    fn divergence_is_that_of_the_distributions() -> Result<()> {
        // Of (1/2, 1/4, 1/4) and (1/4, 1/2, 1/4), whatever is added to all logits.
        let ln = |p: [f32; 3], more: f32| p.map(|p| p.ln() + more);
        let one = logits(&[&ln([0.5, 0.25, 0.25], 3.0)])?;
        let other = logits(&[&ln([0.25, 0.5, 0.25], -1.0)])?;
        let found = agreement(&one, &other, 1)?;
        let expected = 0.25 * 2f64.ln();
        assert!((found.mean_divergence - expected).abs() < 1e-7, "{}", found.mean_divergence);
        assert!((found.largest_divergence - expected).abs() < 1e-7);
        assert_eq!((found.first_choice, found.top), (0.0, 0.0));
        assert_eq!(agreement(&one, &other, 3)?.top, 1.0);
        let expected = f64::from(4.0f32 + 2f32.ln());
        assert!((found.largest_difference - expected).abs() < 1e-5, "{}", found.largest_difference);
        Ok(())
    }

    #[test]
    fn tokens_are_counted_one_by_one() -> Result<()> {
        let one = logits(&[&[3.0, 2.0, 1.0, 0.0], &[0.0, 1.0, 2.0, 3.0]])?;
        let other = logits(&[&[3.0, 1.0, 2.0, 0.0], &[3.0, 1.0, 2.0, 0.0]])?;
        let found = agreement(&one, &other, 2)?;
        // {0, 1} and {0, 2}; {3, 2} and {0, 2}.
        assert_eq!((found.first_choice, found.top), (0.5, 0.5));
        Ok(())
    }

    #[test]
    fn logits_of_padding_do_not_count() -> Result<()> {
        let padded = logits(&[&[1.0, 2.0, 9.0]])?;
        let found = agreement(&padded, &logits(&[&[1.0, 2.0]])?, 1)?;
        assert_eq!((found.largest_difference, found.first_choice), (0.0, 1.0));
        Ok(())
    }

    #[test]
    fn what_is_no_number_is_infinitely_far() -> Result<()> {
        let found = agreement(&logits(&[&[1.0, f32::NAN]])?, &logits(&[&[1.0, 2.0]])?, 1)?;
        assert!(found.largest_difference.is_infinite() && found.largest_divergence.is_infinite());
        let found = agreement(&logits(&[&[f32::INFINITY, 0.0]])?, &logits(&[&[1.0, 0.0]])?, 1)?;
        assert!(found.largest_difference.is_infinite());
        Ok(())
    }

    #[test]
    fn what_cannot_be_compared_is_refused() -> Result<()> {
        let two = logits(&[&[1.0, 2.0], &[1.0, 2.0]])?;
        assert!(agreement(&two, &logits(&[&[1.0, 2.0]])?, 1).is_err());
        assert!(agreement(&two, &two, 0).is_err());
        Ok(())
    }
}
