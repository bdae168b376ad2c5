//! `transship run`.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Instant;

use serde_json::json;
use tokenizers::Tokenizer;
use transship::grammar::escaped;
use transship::nn::{CausalLm, LanguageModel, Place, Sampling, Tensor, Until, generate, message};
use transship::{BindOptions, Binding, read_text_file};

use crate::args::{Format, Run as Args};
use crate::choose::Purpose;
use crate::load::{Chosen, base_config, choose, failed, open};
use crate::model::{self, Computing};
use crate::tokenizer::{self, decode, encode, step};
use crate::{Failure, Streams};

pub(crate) fn run(args: &Args, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let place: Place = args.device.parse().map_err(Failure::new)?;
    let checkpoint = open(&args.input, &args.choice)?;
    let base = base_config(args.config.as_deref())?;
    let bind = BindOptions { settings: args.set.clone(), base, ..BindOptions::default() };
    let Chosen { mapping, side, .. } =
        choose(&checkpoint, args.mapping.as_deref(), None, Purpose::Read, &bind, streams)?;
    let computing = Computing::new(place, args.dtype, &checkpoint)?;
    // What is wrong with the output or the prompt shows before the model is loaded.
    if let Some(file) = &args.logits {
        model::check_target(file, args.force)?;
    }
    let (tokenizer, prompt) = match (prompt_text(args)?, &args.ids) {
        (Some(text), _) => {
            let tokenizer = tokenizer::load(args.tokenizer.as_deref(), &args.input)?;
            let prompt = encode(&tokenizer, &text)?;
            (Some(tokenizer), prompt)
        }
        (None, ids) => (None, ids.clone().unwrap_or_default()),
    };
    let binding = Binding::new(&mapping, &checkpoint, side, &bind).map_err(|d| failed(&d, streams))?;
    if !args.quiet {
        for note in binding.notes().iter().chain(&binding.structural_defaults()) {
            writeln!(streams.err, "note: {}", escaped(note))?;
        }
        if args.temperature == 0.0 && (args.top_p.is_some() || args.top_k.is_some()) {
            let option = if args.top_p.is_some() { "--top-p" } else { "--top-k" };
            writeln!(
                streams.err,
                "warning: {option} has no effect with temperature 0, which always takes the most probable token; give --temperature"
            )?;
        }
    }
    let stop = if args.ignore_eos { Vec::new() } else { model::end_tokens(&binding, &checkpoint) };
    let start = Instant::now();
    let mut model = model::load(&mapping, &checkpoint, &bind, &computing, streams)?;
    if !args.quiet {
        writeln!(
            streams.err,
            "{}: {} ({} by `{}`), {} on {}, loaded in {:.1} s",
            checkpoint.file(),
            checkpoint.format(),
            mapping.side(side).name,
            mapping.name,
            computing.dtype.as_str(),
            computing.place,
            start.elapsed().as_secs_f64()
        )?;
    }
    let tokens = match &mut model {
        LanguageModel::Causal(model) => {
            continue_prompt(args, model.as_mut(), tokenizer.as_ref(), &prompt, stop, streams)?
        }
        LanguageModel::Masked(_) if args.logits.is_some() => Vec::new(),
        LanguageModel::Masked(_) => {
            return Err(Failure::new(format_args!(
                "the model of `{}` sees tokens on both sides and continues no text; --logits FILE writes its logits",
                mapping.name
            )));
        }
    };
    if let Some(file) = &args.logits {
        // The last token was chosen, and not given to the model.
        let given = tokens.split_last().map(|(_, given)| given).unwrap_or_default();
        let ids = [prompt.as_slice(), given].concat();
        let logits = logits_of(&mut model, &ids)?;
        let not_finite = model::write_logits(file, &ids, &logits, args.force)?;
        if not_finite > 0 {
            let all = logits.elem_count();
            writeln!(
                streams.err,
                "warning: {not_finite} of {all} logits are not finite; the weights hold infinities, NaN, or numbers too large for {}",
                computing.dtype.as_str()
            )?;
        }
        if !args.quiet {
            writeln!(streams.err, "wrote the logits of {} tokens to {}", ids.len(), file.display())?;
        }
    }
    Ok(())
}

/// Longest text to continue; no model has positions for more.
const MAX_PROMPT: u64 = 16 << 20;

/// The text to continue, if it is given as text.
fn prompt_text(args: &Args) -> Result<Option<String>, Failure> {
    let from = |name: &dyn std::fmt::Display, read: std::io::Result<Vec<u8>>| {
        let cannot = |what: &dyn std::fmt::Display| {
            Failure::new(format_args!("cannot read the prompt from {name}: {what}"))
        };
        let bytes = read.map_err(|error| cannot(&error))?;
        if bytes.len() as u64 > MAX_PROMPT {
            return Err(cannot(&"it is longer than 16 MiB"));
        }
        let mut text = String::from_utf8(bytes).map_err(|_| cannot(&"it is not UTF-8 text"))?;
        // What an editor or `echo` puts after the last line.
        if text.ends_with('\n') {
            text.pop();
        }
        Ok(Some(text))
    };
    if let Some(file) = &args.prompt_file {
        return from(&file.display(), read_text_file(file, MAX_PROMPT));
    }
    if args.prompt.as_deref() != Some("-") {
        return Ok(args.prompt.clone());
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(MAX_PROMPT + 1).read_to_end(&mut bytes);
    from(&"standard input", read.map(|_| bytes))
}

/// Logits `[1 seq vocab]`.
pub(crate) fn logits_of(model: &mut LanguageModel, ids: &[u32]) -> Result<Tensor, Failure> {
    let logits = Tensor::new(ids, model.device()).and_then(|ids| model.logits(&ids.unsqueeze(0)?));
    logits.map_err(|error| Failure::new(format_args!("the model cannot compute logits: {}", message(&error))))
}

/// Generates, and writes what comes: text where there is a tokenizer, tokens otherwise.
pub(crate) fn continue_prompt(
    args: &Args,
    model: &mut dyn CausalLm,
    tokenizer: Option<&Tokenizer>,
    prompt: &[u32],
    stop: Vec<u32>,
    streams: &mut Streams<'_>,
) -> Result<Vec<u32>, Failure> {
    let sampling =
        Sampling { temperature: args.temperature, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    let until = Until { tokens: args.max_tokens, stop };
    let start = Instant::now();
    let streamed = args.stream && args.format == Format::Text;
    let mut pieces = tokenizer.map(|tokenizer| tokenizer.decode_stream(true));
    let mut written = 0usize;
    let mut trouble: Option<Failure> = None;
    let tokens = generate(model, prompt, &sampling, &until, |token| {
        if !streamed {
            return ControlFlow::Continue(());
        }
        let piece = match &mut pieces {
            Some(pieces) => step(pieces, token),
            None if written == 0 => Ok(Some(token.to_string())),
            None => Ok(Some(format!(",{token}"))),
        };
        written += 1;
        let done = piece.and_then(|piece| {
            write!(streams.out, "{}", piece.unwrap_or_default())?;
            Ok(streams.out.flush()?)
        });
        match done {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                trouble = Some(failure);
                ControlFlow::Break(())
            }
        }
    });
    if let Some(failure) = trouble {
        return Err(failure);
    }
    let tokens = tokens.map_err(|error| {
        Failure::new(format_args!("the model cannot continue the prompt: {}", message(&error)))
    })?;
    write_result(args, &until, tokenizer, prompt, &tokens, streams)?;
    if !args.quiet
        && stopped(&until, &tokens) == POSITIONS
        && let Some(positions) = model.positions()
    {
        writeln!(streams.err, "note: stopped at the last of the model's {positions} positions")?;
    }
    if !args.quiet && !tokens.is_empty() {
        let seconds = start.elapsed().as_secs_f64();
        let rate = tokens.len() as f64 / seconds.max(1e-9);
        writeln!(streams.err, "{} tokens in {seconds:.2} s, {rate:.1} tokens per second", tokens.len())?;
    }
    Ok(tokens)
}

/// What the last word of generation was.
fn stopped(until: &Until, tokens: &[u32]) -> &'static str {
    match tokens.last() {
        Some(last) if until.stop.contains(last) => "end of text",
        _ if tokens.len() >= until.tokens => "max tokens",
        _ => POSITIONS,
    }
}

const POSITIONS: &str = "positions";

fn write_result(
    args: &Args,
    until: &Until,
    tokenizer: Option<&Tokenizer>,
    prompt: &[u32],
    tokens: &[u32],
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let text = tokenizer.map(|tokenizer| decode(tokenizer, tokens)).transpose()?;
    if args.format == Format::Json {
        let stopped = stopped(until, tokens);
        let result = json!({ "prompt": prompt, "tokens": tokens, "text": text, "stopped": stopped });
        writeln!(streams.out, "{result:#}")?;
    } else if args.stream {
        if !tokens.is_empty() {
            writeln!(streams.out)?;
        }
    } else {
        let ids = || tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        writeln!(streams.out, "{}", text.unwrap_or_else(ids))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use transship::nn::{CausalLm, DType, Device, Result, Tensor};

    use super::continue_prompt;
    use crate::args::{Arguments, Command};
    use crate::{Streams, Terminal};

    /// After token `t` comes `t + 1` of ten; each token is a letter of the tokenizer below.
    struct Counter;

    impl CausalLm for Counter {
        fn forward(&mut self, ids: &Tensor, _: usize) -> Result<Tensor> {
            let ids = ids.flatten_all()?.to_vec1::<u32>()?;
            let mut logits = vec![0f32; ids.len() * 10];
            for (at, id) in ids.iter().enumerate() {
                logits[at * 10 + (*id as usize + 1) % 10] = 5.0;
            }
            Tensor::from_vec(logits, (1, ids.len(), 10), &Device::Cpu)
        }

        fn clear_kv_cache(&mut self) {}

        fn vocab(&self) -> usize {
            10
        }

        fn positions(&self) -> Option<usize> {
            Some(6)
        }

        fn device(&self) -> &Device {
            &Device::Cpu
        }

        fn dtype(&self) -> DType {
            DType::F32
        }
    }

    #[test]
    fn stopping_at_the_last_position_is_told() {
        let line = ["transship", "run", "x", "--ids", "0"];
        let arguments = Arguments::try_parse_from(line).unwrap_or_else(|e| panic!("{e}"));
        let Command::Run(args) = arguments.command else { panic!("another command") };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams { out: &mut out, err: &mut err, terminal: Terminal::default() };
        let done = continue_prompt(&args, &mut Counter, None, &[3, 4], Vec::new(), &mut streams);
        assert!(done.is_ok());
        let told = String::from_utf8(err).expect("text");
        assert!(told.contains("stopped at the last of the model's 6 positions"), "{told}");
    }

    /// What is written for a command line that follows `transship run x`, and the message of a failure.
    fn says(options: &[&str], prompt: &[u32], stop: &[u32]) -> (String, String) {
        let line = [&["transship", "run", "x", "--quiet", "--ids", "0"], options].concat();
        let arguments = Arguments::try_parse_from(line).unwrap_or_else(|e| panic!("{e}"));
        let Command::Run(args) = arguments.command else { panic!("another command") };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut streams = Streams { out: &mut out, err: &mut err, terminal: Terminal::default() };
        let done = continue_prompt(&args, &mut Counter, None, prompt, stop.to_vec(), &mut streams);
        let failure = done.err().map(|f| f.message).unwrap_or_default();
        (String::from_utf8(out).expect("text"), failure)
    }

    #[test]
    fn tokens_come_one_by_one_or_at_the_end() {
        assert_eq!(says(&["--max-tokens", "4"], &[3], &[]).0, "4,5,6,7\n");
        assert_eq!(says(&["--max-tokens", "4", "--stream=false"], &[3], &[]).0, "4,5,6,7\n");
        assert_eq!(says(&[], &[3], &[6]).0, "4,5,6\n", "the end of a text ends it");
        assert_eq!(says(&[], &[3, 4], &[]).0, "5,6,7,8,9\n", "there are six positions");
        assert_eq!(says(&["--max-tokens", "0"], &[3], &[]).0, "");
    }

    #[test]
    fn json_says_why_it_ended() {
        let json = |options: &[&str], stop: &[u32]| -> serde_json::Value {
            let line = [&["--format", "json"], options].concat();
            serde_json::from_str(&says(&line, &[3], stop).0).expect("it is JSON")
        };
        let ended = json(&[], &[5]);
        assert_eq!(ended["stopped"], "end of text");
        assert_eq!(
            (&ended["prompt"], &ended["tokens"]),
            (&serde_json::json!([3]), &serde_json::json!([4, 5]))
        );
        assert_eq!(json(&["--max-tokens", "2"], &[])["stopped"], "max tokens");
        assert_eq!(json(&[], &[])["stopped"], "positions");
    }

    #[test]
    fn prompts_and_options_that_are_wrong_are_told() {
        assert!(says(&[], &[10], &[]).1.contains("the prompt has token 10, but the model has 10"));
        assert!(says(&[], &[], &[]).1.contains("the prompt is empty"));
        assert!(says(&["--temperature", "0.5", "--top-p", "2"], &[1], &[]).1.contains("top-p 2"));
    }
}
