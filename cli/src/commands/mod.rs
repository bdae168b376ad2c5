//! One file per command; each writes its result to the streams it is given.

pub(crate) mod check;
pub(crate) mod convert;
pub(crate) mod expand;
pub(crate) mod explain;
pub(crate) mod fmt;
pub(crate) mod inspect;
#[cfg(feature = "candle")]
pub(crate) mod logits;
pub(crate) mod mappings;
pub(crate) mod plan;
#[cfg(feature = "candle")]
pub(crate) mod run;
pub(crate) mod verify;

#[cfg(feature = "candle")]
pub(crate) use logits::compare as compare_logits;
#[cfg(feature = "candle")]
pub(crate) use run::run as run_model;

/// What a build without models says of them.
#[cfg(not(feature = "candle"))]
mod without_models {
    use transship::Setting;

    use crate::args::{Run, Verify};
    use crate::commands::verify::Logits;
    use crate::pair::Loaded;
    use crate::{Failure, Streams};

    fn not_built() -> Failure {
        Failure::new("this build has no models; build it with `--features candle`")
    }

    pub(crate) fn run_model(_: &Run, _: &mut Streams<'_>) -> Result<(), Failure> {
        Err(not_built())
    }

    pub(crate) fn compare_logits(
        _: &Verify,
        _: &Loaded,
        _: &[Vec<Setting>; 2],
        _: &mut Streams<'_>,
    ) -> Result<Logits, Failure> {
        Err(not_built())
    }
}
#[cfg(not(feature = "candle"))]
pub(crate) use without_models::{compare_logits, run_model};
