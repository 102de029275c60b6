//! How the next token is chosen from the logits.
//!
//! llama.cpp's samplers in llama.cpp's usual order: logit bias, penalties, top-k, top-p, min-p, temperature, and a
//! draw with the request's seed. Temperature 0 takes the most likely token after bias and penalties.
//!
//! Two windows, because two conventions meet. Frequency and presence penalties are OpenAI's: they count tokens of the
//! answer, all of it, and never of the prompt. The repeat penalty is llama.cpp's: the last 64 tokens, of which the
//! prompt's end is a part at first.

use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::data::LlamaTokenData;
use llama_cpp_2::token::data_array::LlamaTokenDataArray;
use llama_cpp_2::token::LlamaToken;

use super::llama::Token;
use crate::error::{Code, Error, Result};
use crate::lane::Sampling;

/// llama.cpp's default `penalty_last_n`.
const REPEAT_WINDOW: usize = 64;
/// Below this a temperature would divide logits into infinities, and the draw is certain anyway.
const GREEDY_BELOW: f32 = 1e-4;
/// llama.cpp takes this seed for "draw one"; a client that sends it wants it like any other.
const RESERVED_SEED: u32 = u32::MAX;

/// Candidates, kept between calls to save an allocation of the vocabulary's size.
pub type Scratch = LlamaTokenDataArray;

/// An empty [`Scratch`].
pub fn scratch() -> Scratch {
    LlamaTokenDataArray::new(Vec::new(), false)
}

/// The state of one request's sampling.
pub struct Sampler {
    bias: Vec<(usize, f32)>,
    penalties: Vec<LlamaSampler>,
    /// `None`: greedy.
    draw: Option<LlamaSampler>,
}

impl Sampler {
    /// `answer` is the most tokens that will be sampled; `seed` is used if the request has none.
    ///
    /// `ends` are the tokens that end a generation.
    pub fn new(
        sampling: &Sampling,
        n_vocab: u32,
        ends: &[Token],
        prompt: &[Token],
        answer: u32,
        seed: u32,
    ) -> Result<Sampler> {
        let bad = |what: &str, at: &str| Error::new(Code::InvalidRequest, what).at(at);
        let mut bias = Vec::with_capacity(sampling.logit_bias.len());
        for &(token, value) in &sampling.logit_bias {
            let index = usize::try_from(token).ok().filter(|&i| i < n_vocab as usize);
            let index = index.ok_or_else(|| {
                bad(&format!("token {token} is not in the vocabulary (0 to {})", n_vocab - 1), "logit_bias")
            })?;
            if !value.is_finite() {
                return Err(bad("a logit bias must be a finite number", "logit_bias"));
            }
            bias.push((index, value));
        }
        if sampling.ignore_eos {
            bias.extend(ends.iter().filter_map(|&t| Some((usize::try_from(t).ok()?, f32::NEG_INFINITY))));
        }
        let (frequency, presence, repeat) =
            (sampling.frequency_penalty, sampling.presence_penalty, sampling.repeat_penalty);
        if !(frequency.is_finite() && presence.is_finite() && repeat.is_finite() && repeat > 0.0) {
            return Err(bad("penalties must be finite, and the repeat penalty above 0", "repeat_penalty"));
        }
        let vocab = i32::try_from(n_vocab).unwrap_or(i32::MAX);
        let mut penalties = Vec::new();
        if repeat != 1.0 {
            let mut sampler = LlamaSampler::penalties(vocab, REPEAT_WINDOW as i32, repeat, 0.0, 0.0);
            for &token in &prompt[prompt.len().saturating_sub(REPEAT_WINDOW)..] {
                accept(&mut sampler, token)?;
            }
            penalties.push(sampler);
        }
        if frequency != 0.0 || presence != 0.0 {
            let window = i32::try_from(answer.max(1)).unwrap_or(i32::MAX);
            penalties.push(LlamaSampler::penalties(vocab, window, 1.0, frequency, presence));
        }
        if !sampling.temperature.is_finite() || sampling.temperature < 0.0 {
            return Err(bad("the temperature must be 0 or more", "temperature"));
        }
        let draw = (sampling.temperature >= GREEDY_BELOW).then(|| {
            let mut stages = Vec::new();
            stages.extend(sampling.top_k.map(|k| LlamaSampler::top_k(i32::try_from(k).unwrap_or(i32::MAX))));
            stages.extend(sampling.top_p.filter(|p| *p < 1.0).map(|p| LlamaSampler::top_p(p, 1)));
            stages.extend(sampling.min_p.filter(|p| *p > 0.0).map(|p| LlamaSampler::min_p(p, 1)));
            stages.push(LlamaSampler::temp(sampling.temperature));
            stages.push(LlamaSampler::dist(match sampling.seed.unwrap_or(seed) {
                RESERVED_SEED => RESERVED_SEED - 1,
                seed => seed,
            }));
            LlamaSampler::chain(stages, true)
        });
        Ok(Sampler { bias, penalties, draw })
    }

    /// Chooses the next token, and remembers it. The bias is added to `logits` in place.
    pub fn sample(&mut self, logits: &mut [f32], scratch: &mut Scratch) -> Result<Token> {
        for &(i, bias) in &self.bias {
            if let Some(logit) = logits.get_mut(i) {
                *logit += bias;
            }
        }
        // llama.cpp's draw has no answer to a NaN or an infinity, and nothing good comes after one.
        let Some(best) = largest(logits) else {
            return Err(Error::new(
                Code::EngineFailed,
                "the model computed no usable logits (NaN): its file or these kernels are broken; try another variant",
            ));
        };
        if self.draw.is_none() && self.penalties.is_empty() {
            return Ok(best as Token);
        }
        scratch.data.clear();
        scratch.data.extend(logits.iter().zip(0..).map(|(&l, i)| LlamaTokenData::new(LlamaToken(i), l, 0.0)));
        scratch.selected = None;
        scratch.sorted = false;
        for penalty in &mut self.penalties {
            scratch.apply_sampler(penalty);
        }
        let token = match &mut self.draw {
            None => {
                logits.iter_mut().zip(&scratch.data).for_each(|(logit, penalised)| *logit = penalised.logit());
                // Finite before, and penalties are.
                largest(logits).unwrap_or(best) as Token
            }
            Some(chain) => {
                scratch.apply_sampler(chain);
                let token = scratch.selected_token();
                let LlamaToken(token) =
                    token.ok_or_else(|| Error::new(Code::EngineFailed, "the sampler selected no token"))?;
                accept(chain, token)?;
                token
            }
        };
        for penalty in &mut self.penalties {
            accept(penalty, token)?;
        }
        Ok(token)
    }
}

/// `try_accept` reports what `accept` would end the process for.
fn accept(sampler: &mut LlamaSampler, token: Token) -> Result<()> {
    sampler
        .try_accept(LlamaToken(token))
        .map_err(|e| Error::new(Code::EngineFailed, format!("the sampler did not accept token {token}: {e}")))
}

/// Logits looked at together: short enough to search once more, long enough to be worth the vector instructions.
const BLOCK: usize = 256;

/// The index of the first of the largest. `None` if any is NaN, or the largest is not finite.
///
/// A vocabulary has up to 256k entries and this runs for every token: one pass, without branches inside a block.
fn largest(logits: &[f32]) -> Option<usize> {
    let (mut best, mut at, mut sound) = (f32::NEG_INFINITY, 0, true);
    for (i, block) in logits.chunks(BLOCK).enumerate() {
        let (mut lanes, mut whole) = ([f32::NEG_INFINITY; 16], [true; 16]);
        let rows = block.chunks_exact(16);
        let rest = rows.remainder();
        for row in rows {
            for ((lane, ok), &l) in lanes.iter_mut().zip(&mut whole).zip(row) {
                *lane = if l > *lane { l } else { *lane };
                *ok &= !l.is_nan();
            }
        }
        let most = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        sound &= whole.iter().all(|&ok| ok) && rest.iter().all(|l| !l.is_nan());
        if most > best {
            (best, at) = (most, i * BLOCK);
        }
    }
    let within = logits.get(at..)?.iter().position(|&l| l == best)?;
    (sound && best.is_finite()).then_some(at + within)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 1.0, 3.0, 2.0, -1.0];

    fn sampling() -> Sampling {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    fn draw(sampling: &Sampling, prompt: &[Token], n: usize) -> Vec<Token> {
        let mut sampler = Sampler::new(sampling, 5, &[4], prompt, n as u32, 7).unwrap();
        let mut scratch = scratch();
        (0..n)
            .map(|_| {
                let mut logits = LOGITS;
                sampler.sample(&mut logits, &mut scratch).unwrap()
            })
            .collect()
    }

    #[test]
    fn greedy_is_the_largest_after_bias() {
        assert_eq!(draw(&sampling(), &[], 3), [2, 2, 2]);
        let biased = Sampling { logit_bias: vec![(2, -100.0), (4, 6.5)], ..sampling() };
        assert_eq!(draw(&biased, &[], 1), [4]);
        let endless = Sampling { ignore_eos: true, ..biased };
        assert_eq!(draw(&endless, &[], 1), [3]);
    }

    #[test]
    fn frequency_counts_and_presence_does_not() {
        // 3.0, then 3.0 - 0.6 = 2.4, then 3.0 - 1.2 = 1.8 < 2.0.
        let frequency = Sampling { frequency_penalty: 0.6, ..sampling() };
        assert_eq!(draw(&frequency, &[2, 2, 2], 4), [2, 2, 3, 2]);
        let presence = Sampling { presence_penalty: 0.6, ..sampling() };
        assert_eq!(draw(&presence, &[], 4), [2, 2, 2, 2]);
    }

    #[test]
    fn the_repeat_penalty_sees_the_end_of_the_prompt() {
        let repeat = Sampling { repeat_penalty: 2.0, ..sampling() };
        assert_eq!(draw(&repeat, &[2], 1), [3]);
        let long: Vec<Token> = std::iter::once(2).chain(std::iter::repeat_n(0, REPEAT_WINDOW)).collect();
        assert_eq!(draw(&repeat, &long, 1), [2]);
    }

    #[test]
    fn a_seed_repeats_and_seeds_differ() {
        let with = |seed| Sampling { seed: Some(seed), ..Sampling::default() };
        assert_eq!(draw(&with(1), &[], 50), draw(&with(1), &[], 50));
        assert_ne!(draw(&with(1), &[], 50), draw(&with(2), &[], 50));
        assert_eq!(draw(&with(u32::MAX), &[], 50), draw(&with(u32::MAX), &[], 50));
        // Without a seed, the one that was drawn.
        assert_eq!(draw(&Sampling::default(), &[], 50), draw(&with(7), &[], 50));
    }

    #[test]
    fn truncation_leaves_only_the_likely() {
        for narrow in [
            Sampling { top_k: Some(1), ..Sampling::default() },
            Sampling { top_p: Some(0.01), ..Sampling::default() },
            Sampling { min_p: Some(1.0), ..Sampling::default() },
            Sampling { temperature: 0.001, ..Sampling::default() },
        ] {
            assert_eq!(draw(&narrow, &[], 20), [2; 20], "{narrow:?}");
        }
    }

    #[test]
    fn broken_logits_are_an_error_and_no_abort() {
        let mut scratch = scratch();
        for sampling in [sampling(), Sampling::default()] {
            let mut sampler = Sampler::new(&sampling, 3, &[], &[], 8, 7).unwrap();
            for mut logits in [[f32::NAN, 1.0, 2.0], [f32::NEG_INFINITY; 3], [1.0, 2.0, f32::INFINITY]] {
                assert_eq!(sampler.sample(&mut logits, &mut scratch).unwrap_err().code, Code::EngineFailed);
            }
        }
    }

    #[test]
    fn the_largest_is_found_wherever_it_lies() {
        for n in [1, 15, 16, 17, 255, 256, 257, 1000] {
            let flat = vec![-3.5f32; n];
            assert_eq!(largest(&flat), Some(0), "of equals the first");
            for at in [0, n / 3, n / 2, n - 1] {
                let mut logits = flat.clone();
                logits[at..].fill(2.0);
                assert_eq!(largest(&logits), Some(at));
                logits[n - 1 - at] = f32::NEG_INFINITY;
                let expected = (at != n - 1 - at).then_some(at).or((at + 1 < n).then_some(at + 1));
                assert_eq!(largest(&logits), expected.or((n > 1).then_some(0)), "{at} of {n}");
                logits[n - 1 - at] = f32::NAN;
                assert_eq!(largest(&logits), None);
            }
        }
        assert_eq!(largest(&[]), None);
    }

    #[test]
    fn bad_parameters_name_their_field() {
        for (sampling, field) in [
            (Sampling { logit_bias: vec![(5, 1.0)], ..sampling() }, "logit_bias"),
            (Sampling { logit_bias: vec![(-1, 1.0)], ..sampling() }, "logit_bias"),
            (Sampling { logit_bias: vec![(1, f32::NAN)], ..sampling() }, "logit_bias"),
            (Sampling { repeat_penalty: 0.0, ..sampling() }, "repeat_penalty"),
            (Sampling { temperature: f32::NAN, ..sampling() }, "temperature"),
        ] {
            let e = Sampler::new(&sampling, 5, &[], &[], 8, 7).err().unwrap();
            assert_eq!((e.code, e.param.as_deref()), (Code::InvalidRequest, Some(field)));
        }
    }
}
