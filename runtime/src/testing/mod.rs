//! Tests of a port in a line or two: checkpoints whose elements say where they were, snapshots, and differences told
//! in the words of a mapping.
//!
//! ```
//! # #[cfg(feature = "derive")] {
//! use transship::grammar::SideId;
//! use transship::mappings::{MegatronGpt2, megatron_gpt2};
//! use transship::testing::{conversion_snapshot, convert_fake, fake_checkpoint};
//!
//! let config: megatron_gpt2::Config = serde_json::from_value(serde_json::json!({
//!     "layers": 2, "seq_length": 4, "heads": 2, "head_dim": 3, "hidden": 6, "ffn": 5, "positions": 4, "vocab": 7,
//!     "epsilon": 1e-5, "version": 3, "bos": 0, "eos": 0, "activation": "gelu_new", "legacy_buffers": false,
//!     "divisor": 1, "pad": 0,
//! }))?;
//! let checkpoint = fake_checkpoint::<MegatronGpt2>(&config, SideId::Left);
//! assert_eq!(checkpoint.tensors().len(), 28);
//! assert!(conversion_snapshot::<MegatronGpt2>(&config, SideId::Left).contains("attn.c_attn.weight"));
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A conversion that another program made of the same checkpoint is compared with [`assert_converts_to`], which says
//! what differs: "layer 1: q and k are swapped".

mod explain;
mod fake;
mod fold;
mod orders;
mod places;
mod snapshot;

use transship_grammar as grammar;

use grammar::{Diagnostics, Mapping, SideId, Style, render};

pub use explain::explain;
pub use fake::{Codes, fake};
pub use snapshot::{conversion_text, plan_text};

use crate::bind::{BindOptions, Binding, Setting};
use crate::plan::{Plan, PlanOptions};
use crate::port::{Port, PortConfig, PortError, convert_side};
use crate::{Array, Checkpoint};

/// A checkpoint of one side of a port in memory, made from a config. Each element is another number, which says which
/// tensor it belongs to and where in it: see [`Codes`]. It has no documents; a binding needs the config's settings.
///
/// # Panics
/// Where the config contradicts the mapping, with the mapping's lines.
#[must_use]
pub fn fake_checkpoint<P: Port>(config: &P::Config, side: SideId) -> Checkpoint {
    fake(P::mapping(), &config.settings(), side).unwrap_or_else(|error| stop(&error))
}

/// What a port makes of the [`fake_checkpoint`] of side `from`: every parameter of the other side by its name in a
/// file.
///
/// # Panics
/// Where the config contradicts the mapping or cannot be converted, with the mapping's lines.
#[must_use]
pub fn convert_fake<P: Port>(config: &P::Config, from: SideId) -> Vec<(String, Array)> {
    let checkpoint = fake_checkpoint::<P>(config, from);
    convert_arrays(P::mapping(), &config.settings(), &checkpoint, from).unwrap_or_else(|error| match error {
        PortError::Diagnostics(diagnostics) => stop(&diagnostics),
        error => panic!("{error}"),
    })
}

/// What a mapping makes of a checkpoint of side `from`, in memory: every parameter of the other side by its name in a
/// file.
///
/// # Errors
/// Where mapping, settings and checkpoint do not go together.
pub fn convert_arrays(
    mapping: &Mapping,
    settings: &[Setting],
    checkpoint: &Checkpoint,
    from: SideId,
) -> Result<Vec<(String, Array)>, PortError> {
    let options = BindOptions { settings: settings.to_vec(), ..BindOptions::default() };
    convert_side(&Binding::new(mapping, checkpoint, from, &options)?)
}

/// What a port plans for the [`fake_checkpoint`] of side `from`, as text: see [`plan_text`].
///
/// # Panics
/// As [`convert_fake`].
#[must_use]
pub fn plan_snapshot<P: Port>(config: &P::Config, from: SideId) -> String {
    let checkpoint = fake_checkpoint::<P>(config, from);
    let options = BindOptions { settings: config.settings(), ..BindOptions::default() };
    let binding =
        Binding::new(P::mapping(), &checkpoint, from, &options).unwrap_or_else(|error| stop(&error));
    let plan = Plan::in_memory(&binding, &PlanOptions::default()).unwrap_or_else(|error| stop(&error));
    plan_text(&plan)
}

/// What a port makes of the [`fake_checkpoint`] of side `from`, as text: see [`conversion_text`].
///
/// # Panics
/// As [`convert_fake`].
#[must_use]
pub fn conversion_snapshot<P: Port>(config: &P::Config, from: SideId) -> String {
    let codes = Codes::of(&fake_checkpoint::<P>(config, from));
    conversion_text(&convert_fake::<P>(config, from), &codes)
}

/// Plan and conversion of a port's [`fake_checkpoint`] of side `from`: what `assert_port_snapshot!` keeps.
///
/// # Panics
/// As [`convert_fake`].
#[must_use]
pub fn port_snapshot<P: Port>(config: &P::Config, from: SideId) -> String {
    let [left, right] = P::SIDES;
    let (source, target) = if from == SideId::Left { (left, right) } else { (right, left) };
    format!(
        "{} : {source} => {target}\n\nplan\n{}\nconversion\n{}",
        P::NAME,
        plan_snapshot::<P>(config, from),
        conversion_snapshot::<P>(config, from)
    )
}

/// Checks a port against what another program makes of the same [`fake_checkpoint`] of side `from`.
///
/// `expected` holds every parameter of the other side by its name in a file.
///
/// # Panics
/// Where they differ, with what differs in the mapping's terms; and as [`convert_fake`].
pub fn assert_converts_to<P: Port>(config: &P::Config, from: SideId, expected: &[(String, Array)]) {
    let settings = config.settings();
    let got = convert_fake::<P>(config, from);
    let codes = Codes::of(&fake_checkpoint::<P>(config, from));
    match explain(P::mapping(), &settings, from.other(), &codes, expected, &got) {
        Ok(differences) if differences.is_empty() => {}
        Ok(differences) => panic!("the port `{}` does not make what is expected:\n{differences}", P::NAME),
        Err(error) => stop(&error),
    }
}

#[track_caller]
fn stop(diagnostics: &Diagnostics) -> ! {
    panic!("{}", render(diagnostics, Style::Full { colour: false }))
}

/// Snapshots what a port plans for and makes of a [`fake_checkpoint`](crate::testing::fake_checkpoint), with `insta`.
///
/// ```ignore
/// #[test]
/// fn the_port_stays_what_it_is() {
///     assert_port_snapshot!(MegatronGpt2, small_config(), SideId::Left);
/// }
/// ```
///
/// The name of the snapshot is that of the test, or a text given first.
#[macro_export]
macro_rules! assert_port_snapshot {
    ($port:ty, $config:expr, $from:expr $(,)?) => {
        $crate::__private::insta::with_settings!({ omit_expression => true }, {
            $crate::__private::insta::assert_snapshot!($crate::testing::port_snapshot::<$port>(&$config, $from));
        })
    };
    ($name:literal, $port:ty, $config:expr, $from:expr $(,)?) => {
        $crate::__private::insta::with_settings!({ omit_expression => true }, {
            $crate::__private::insta::assert_snapshot!(
                $name,
                $crate::testing::port_snapshot::<$port>(&$config, $from)
            );
        })
    };
}
