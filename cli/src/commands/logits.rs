//! The part of `transship verify` that runs models.

use transship::engine::splitmix64;
use transship::nn::{DType, Place, agreement, message};
use transship::{BindOptions, Setting};

use crate::args::Verify as Args;
use crate::commands::run::logits_of;
use crate::commands::verify::{Limits, Logits};
use crate::model::{self, Computing};
use crate::pair::Loaded;
use crate::{Failure, Streams};

/// Runs both checkpoints through the model of the mapping, one after the other, and compares their logits. Each is
/// loaded with `settings` of its own.
pub(crate) fn compare(
    args: &Args,
    loaded: &Loaded,
    settings: &[Vec<Setting>; 2],
    streams: &mut Streams<'_>,
) -> Result<Logits, Failure> {
    let Loaded { mapping, checkpoints, .. } = loaded;
    let place: Place = args.device.parse().map_err(Failure::new)?;
    let computing = Computing::new(place, args.compute_dtype, &checkpoints[0])?;
    let mut ids = args.ids.clone();
    let mut logits = Vec::new();
    for (checkpoint, settings) in checkpoints.iter().zip(settings) {
        let bind = BindOptions { settings: settings.clone(), ..BindOptions::default() };
        let mut model = model::load(mapping, checkpoint, &bind, &computing, streams)?;
        let count = args.random.min(model.positions().unwrap_or(usize::MAX)).max(1);
        let ids = ids.get_or_insert_with(|| random_tokens(args.seed, count, model.vocab()));
        let known = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < model.vocab());
        if let Some(unknown) = ids.iter().find(|id| !known(id)) {
            return Err(Failure::new(format_args!(
                "there is no token {unknown}: the model of {} has {}",
                checkpoint.file(),
                model.vocab()
            )));
        }
        logits.push(logits_of(&mut model, ids)?);
    }
    let found = agreement(&logits[0], &logits[1], args.top_k.get());
    let found = found
        .map_err(|error| Failure::new(format_args!("the logits cannot be compared: {}", message(&error))))?;
    let exact = computing.dtype == DType::F32;
    let limits = Limits {
        difference: args.max_difference.unwrap_or(if exact { 1e-4 } else { 2e-2 }),
        divergence: args.max_divergence.unwrap_or(if exact { 1e-4 } else { 1e-1 }),
        agreement: args.min_agreement.unwrap_or(if exact { 0.99 } else { 0.9 }),
    };
    Ok(Logits {
        tokens: found.tokens,
        difference: found.largest_difference,
        largest: found.largest_logit,
        mean_divergence: found.mean_divergence,
        divergence: found.largest_divergence,
        first_choice: found.first_choice,
        top_k: args.top_k.get(),
        agreement: found.top,
        limits,
    })
}

/// Tokens that are the same for a seed on every machine.
fn random_tokens(seed: u64, count: usize, vocab: usize) -> Vec<u32> {
    let vocab = u32::try_from(vocab).unwrap_or(u32::MAX).max(1);
    // The upper 32 bits as a fraction of the vocabulary.
    let token = |index| (((splitmix64(seed, index) >> 32) * u64::from(vocab)) >> 32) as u32;
    (0..).take(count).map(token).collect()
}

#[cfg(test)]
mod tests {
    use super::random_tokens;

    #[test]
    fn random_tokens_are_of_the_vocabulary_and_repeat() {
        let tokens = random_tokens(1, 1000, 7);
        assert_eq!(tokens, random_tokens(1, 1000, 7));
        assert_ne!(tokens, random_tokens(2, 1000, 7));
        assert!((0..7).all(|token| tokens.contains(&token)) && tokens.iter().all(|token| *token < 7));
        assert_eq!(random_tokens(0, 2, 1), [0, 0]);
    }
}
