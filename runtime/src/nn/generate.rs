//! Tokens one after the other.

use std::ops::ControlFlow;

use candle_core::{DType, Result, Tensor, bail};

use super::CausalLm;
use crate::engine::splitmix64;

/// How the next token is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// What logits are divided by; 0 takes the largest always.
    pub temperature: f64,
    /// Choose among so many of the largest.
    pub top_k: Option<usize>,
    /// Choose among the largest whose probabilities come to this sum (arXiv:1904.09751).
    pub top_p: Option<f64>,
    /// Which sequence of random numbers.
    pub seed: u64,
}

impl Default for Sampling {
    /// The most probable token.
    fn default() -> Sampling {
        Sampling { temperature: 0.0, top_k: None, top_p: None, seed: 0 }
    }
}

/// What ends a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Until {
    /// Tokens at most.
    pub tokens: usize,
    /// Tokens that end the text. Such a token is reported and is the last.
    pub stop: Vec<u32>,
}

/// Chooses tokens by logits. The same logits, options and seed give the same tokens on one machine and build; elsewhere
/// `exp` may round otherwise, and the logits of a model differ in their last bits with the number of threads.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    /// How many random numbers were taken of the seed's sequence.
    taken: u64,
}

impl Sampler {
    /// A sampler at the start of its seed's sequence.
    ///
    /// # Errors
    /// Where the temperature or `top_p` is out of range, or `top_k` is 0.
    pub fn new(sampling: Sampling) -> Result<Sampler> {
        if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
            bail!("the temperature {} is not a number from 0 on", sampling.temperature);
        }
        if sampling.top_p.is_some_and(|p| !(p > 0.0 && p <= 1.0)) {
            bail!("top-p {} is not above 0 and at most 1", sampling.top_p.unwrap_or_default());
        }
        if sampling.top_k == Some(0) {
            bail!("top-k of 0 leaves no token to choose");
        }
        Ok(Sampler { sampling, taken: 0 })
    }

    /// Chooses the next token by its logits.
    ///
    /// # Errors
    /// Where there are none, one is not a number, or the largest is infinite.
    pub fn next(&mut self, logits: &[f32]) -> Result<u32> {
        if logits.is_empty() || logits.iter().any(|x| x.is_nan()) {
            bail!("no token can be chosen: the logits are not numbers");
        }
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !largest.is_finite() {
            bail!("no token can be chosen: the largest of the logits is {largest}");
        }
        if self.sampling.temperature == 0.0 {
            let best = (0..logits.len()).reduce(|a, b| if logits[b] > logits[a] { b } else { a });
            return token(best.unwrap_or_default());
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // Equal logits stay in the order of tokens.
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
        order.truncate(self.sampling.top_k.unwrap_or(usize::MAX));
        let largest = f64::from(largest);
        let mut parts: Vec<f64> = order
            .iter()
            .map(|at| ((f64::from(logits[*at]) - largest) / self.sampling.temperature).exp())
            .collect();
        if let Some(top_p) = self.sampling.top_p {
            let enough = top_p * parts.iter().sum::<f64>();
            let mut sum = 0.0;
            let kept = parts.iter().position(|part| {
                sum += part;
                sum >= enough
            });
            parts.truncate(kept.map_or(parts.len(), |last| last + 1));
        }
        let mut left = self.uniform() * parts.iter().sum::<f64>();
        for (part, at) in parts.iter().zip(&order) {
            left -= part;
            if left < 0.0 {
                return token(*at);
            }
        }
        token(order[parts.len() - 1])
    }

    /// The next number of [0, 1).
    fn uniform(&mut self) -> f64 {
        let bits = splitmix64(self.sampling.seed, self.taken);
        self.taken = self.taken.wrapping_add(1);
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn token(at: usize) -> Result<u32> {
    u32::try_from(at).map_err(candle_core::Error::wrap)
}

/// Continues `prompt`, and gives each token to `each` as soon as it is chosen, which may end it.
///
/// The prompt goes through the model at once, then each token by itself. Ends where `until` says so, or where the
/// model has no more positions. Returns the tokens without the prompt.
///
/// # Errors
/// Where the prompt is empty, has tokens that the model does not know, or is longer than the model's positions.
pub fn generate(
    model: &mut dyn CausalLm,
    prompt: &[u32],
    sampling: &Sampling,
    until: &Until,
    mut each: impl FnMut(u32) -> ControlFlow<()>,
) -> Result<Vec<u32>> {
    let vocab = model.vocab();
    if prompt.is_empty() {
        bail!("the prompt is empty; give it one token at least");
    }
    if let Some(unknown) = prompt.iter().find(|t| usize::try_from(**t).is_ok_and(|t| t >= vocab)) {
        bail!("the prompt has token {unknown}, but the model has {vocab}");
    }
    let mut sampler = Sampler::new(sampling.clone())?;
    let mut tokens: Vec<u32> = Vec::new();
    let mut offset = 0;
    model.clear_kv_cache();
    let mut next = prompt.to_vec();
    while tokens.len() < until.tokens {
        if !tokens.is_empty() && model.positions().is_some_and(|positions| offset >= positions) {
            break;
        }
        let ids = Tensor::new(next.as_slice(), model.device())?.unsqueeze(0)?;
        // On a thread of the pool, so that none has to wait for another at each of its loops.
        let logits = rayon::scope(|_| model.forward_last(&ids, offset))?;
        offset += next.len();
        let chosen = sampler.next(&logits.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?)?;
        tokens.push(chosen);
        if each(chosen).is_break() || until.stop.contains(&chosen) {
            break;
        }
        next = vec![chosen];
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use candle_core::{DType, Device, Result, Tensor};

    use super::{Sampler, Sampling, Until, generate};
    use crate::nn::CausalLm;

    /// Counts: after token `t` comes `t + 1`, as long as all tokens before were seen.
    struct Counter {
        seen: Vec<u32>,
    }

    impl CausalLm for Counter {
        fn forward(&mut self, ids: &Tensor, offset: usize) -> Result<Tensor> {
            assert_eq!(offset, self.seen.len());
            let ids = ids.flatten_all()?.to_vec1::<u32>()?;
            self.seen.extend(&ids);
            let mut logits = vec![0f32; ids.len() * 10];
            for (at, id) in ids.iter().enumerate() {
                logits[at * 10 + (*id as usize + 1) % 10] = 5.0;
            }
            Tensor::from_vec(logits, (1, ids.len(), 10), &Device::Cpu)
        }

        fn clear_kv_cache(&mut self) {
            self.seen.clear();
        }

        fn vocab(&self) -> usize {
            10
        }

        fn positions(&self) -> Option<usize> {
            Some(8)
        }

        fn device(&self) -> &Device {
            &Device::Cpu
        }

        fn dtype(&self) -> DType {
            DType::F32
        }
    }

    fn run(prompt: &[u32], tokens: usize, stop: &[u32]) -> Result<Vec<u32>> {
        let until = Until { tokens, stop: stop.to_vec() };
        let mut model = Counter { seen: vec![1, 2, 3] };
        generate(&mut model, prompt, &Sampling::default(), &until, |_| ControlFlow::Continue(()))
    }

    #[test]
    fn tokens_follow_until_an_end() -> Result<()> {
        assert_eq!(run(&[3, 4], 3, &[])?, [5, 6, 7]);
        assert_eq!(run(&[3, 4], 3, &[6])?, [5, 6]);
        assert_eq!(run(&[3, 4], 99, &[])?, [5, 6, 7, 8, 9, 0, 1], "the last of 8 positions gives one more");
        assert!(run(&[3, 4], 0, &[])?.is_empty());
        let mut told = Vec::new();
        let until = Until { tokens: 9, stop: Vec::new() };
        generate(&mut Counter { seen: Vec::new() }, &[0], &Sampling::default(), &until, |token| {
            told.push(token);
            if token == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        assert_eq!(told, [1, 2]);
        Ok(())
    }

    #[test]
    fn prompts_that_cannot_be_continued_are_refused() {
        let refused = |prompt: &[u32]| run(prompt, 1, &[]).expect_err("refused").to_string();
        assert!(refused(&[]).contains("the prompt is empty"));
        assert!(refused(&[10]).contains("the prompt has token 10, but the model has 10"));
    }

    #[test]
    fn samples_follow_the_distribution() -> Result<()> {
        let logits: Vec<f32> = [0.5f32, 0.3, 0.15, 0.05].iter().map(|p| p.ln()).collect();
        let shares = |sampling: Sampling| -> Result<Vec<f64>> {
            let mut sampler = Sampler::new(sampling)?;
            let mut counts = vec![0.0; 4];
            for _ in 0..20_000 {
                counts[sampler.next(&logits)? as usize] += 1.0 / 20_000.0;
            }
            Ok(counts)
        };
        let plain = Sampling { temperature: 1.0, seed: 7, ..Sampling::default() };
        let cases = [
            (plain.clone(), [0.5, 0.3, 0.15, 0.05]),
            (Sampling { top_k: Some(2), ..plain.clone() }, [0.625, 0.375, 0.0, 0.0]),
            (Sampling { top_p: Some(0.6), ..plain.clone() }, [0.625, 0.375, 0.0, 0.0]),
            (Sampling { top_p: Some(0.01), ..plain.clone() }, [1.0, 0.0, 0.0, 0.0]),
            (Sampling { temperature: 0.5, ..plain.clone() }, [0.25, 0.09, 0.0225, 0.0025].map(|p| p / 0.365)),
            (Sampling { temperature: 0.0, ..plain }, [1.0, 0.0, 0.0, 0.0]),
        ];
        for (sampling, expected) in cases {
            for (share, e) in shares(sampling.clone())?.iter().zip(expected) {
                assert!((share - e).abs() < 0.015, "{sampling:?}: {share} for {e}");
            }
        }
        Ok(())
    }

    #[test]
    fn seeds_repeat_and_differ() -> Result<()> {
        let logits: Vec<f32> = (0..50).map(|i| (i % 7) as f32 * 0.3).collect();
        let draw = |seed| -> Result<Vec<u32>> {
            let mut sampler = Sampler::new(Sampling { temperature: 1.0, seed, ..Sampling::default() })?;
            (0..40).map(|_| sampler.next(&logits)).collect()
        };
        assert_eq!(draw(1)?, draw(1)?);
        assert_ne!(draw(1)?, draw(2)?);
        Ok(())
    }

    #[test]
    fn infinite_logits_are_not_sampled() -> Result<()> {
        let (inf, never) = (f32::INFINITY, f32::NEG_INFINITY);
        for temperature in [0.0, 1.0] {
            let mut sampler = Sampler::new(Sampling { temperature, ..Sampling::default() })?;
            for logits in [[inf, 0.0], [0.0, inf], [never, never], [inf, inf]] {
                let error = sampler.next(&logits).expect_err("not finite").to_string();
                assert!(error.contains("the largest of the logits is"), "{error}");
            }
            for _ in 0..20 {
                assert_eq!(sampler.next(&[never, 0.0, never])?, 1);
            }
        }
        Ok(())
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let base = Sampling::default;
        for sampling in [
            Sampling { temperature: -1.0, ..base() },
            Sampling { temperature: f64::NAN, ..base() },
            Sampling { top_p: Some(0.0), ..base() },
            Sampling { top_p: Some(1.5), ..base() },
            Sampling { top_k: Some(0), ..base() },
        ] {
            assert!(Sampler::new(sampling.clone()).is_err(), "{sampling:?}");
        }
        let mut sampler = Sampler::new(base()).expect("greedy");
        assert!(sampler.next(&[]).is_err() && sampler.next(&[1.0, f32::NAN]).is_err());
    }
}
