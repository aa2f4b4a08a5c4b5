//! Masked-token prediction (BERT, Devlin et al. 2018, 1810.04805): tell the words that were covered in a text.
//!
//! Of each text's words, `masked` are selected (15 %, at least one; never a special token). 80 % of those are replaced by the mask, 10 % by a
//! random word, 10 % stay, so that the network cannot know which words it is asked for. The loss is the cross-entropy of the selected words
//! only, `L = -1/m sum_i log softmax(g(h_i) E^T + b)_{w_i}`, with `g` a linear layer, GELU and layer norm, and `E` the network's own embedding
//! (appendix A of the reference, and its code). The head is left behind afterwards.
//!
//! A predictor that knows only how frequent each word is has the loss `unigram_loss`: a model that does not get below it has learnt nothing
//! from the words around.

use super::batch::{Batch, MethodConstraints, Setup};
use super::heads::{gradient, matrix};
use super::outcome::{MethodError, Metric, StepOutcome};
use super::{Method, Settings};
use crate::backbones::{Encoder, TextEncoder};
use crate::data::{Modality, Tokens};
use crate::layers::{
    Entry, FeatureMap, Gelu, Layer, LayerNorm, Layout, Linear, MapShape, Parameter, Pass, Role, Sequential, Tensors,
    join,
};
use crate::losses::{cross_entropy, value_and_grads, word_scores};
use crate::metrics::argmaxes;
use crate::rng::Stream;
use crate::settings::{PART, SHARE, settings};
use crate::text::{self, BYTES, MASK, SPECIAL, token};

settings! {
    /// Hyper-parameters, with BERT's values.
    pub struct MaskedTokenSettings {
        /// Share of a text's words that are selected, at least one of each text.
        masked: f32 = 0.15, in PART;
        /// Share of the selected words that the mask replaces.
        replaced_by_mask: f32 = 0.8, in SHARE;
        /// Share of the selected words that a random word replaces; the rest stay as they are.
        replaced_at_random: f32 = 0.1, in SHARE;
    }
}

impl Settings for MaskedTokenSettings {
    fn name(&self) -> &'static str {
        "masked-token"
    }

    fn takes(&self, modality: Modality) -> bool {
        modality.is_text()
    }

    fn views(&self) -> f64 {
        1.0
    }

    fn advice(&self) -> &'static str {
        "lower `lr` or raise `warmup_epochs`"
    }

    fn check(&self, _constraints: &MethodConstraints) -> Result<(), MethodError> {
        let replaced = self.replaced_by_mask + self.replaced_at_random;
        if replaced > 1.0 {
            let message = format!(
                "{} found, but with `replaced_by_mask` = {} it must be at most {:.3}",
                self.replaced_at_random,
                self.replaced_by_mask,
                1.0 - self.replaced_by_mask
            );
            return Err(MethodError::setting("replaced_at_random", message));
        }
        Ok(())
    }

    fn build(&self, setup: &mut Setup<'_>) -> Result<Box<dyn Method>, MethodError> {
        let network = encoder_of_texts(setup.encoder)?;
        let dim = network.dim();
        let Some(texts) = setup.images.texts() else {
            return Err(MethodError::setting("method", "BUG: it was given images"));
        };
        let mut stream = setup.stream.child("head");
        Ok(Box::new(MaskedToken {
            settings: self.clone(),
            unigram: unigram(texts)?,
            transform: Sequential::default()
                .with("dense", Linear::new(dim, dim, true, &mut stream))
                .with("", Gelu)
                .with("norm", LayerNorm::new(dim, LayerNorm::EPS)),
            bias: Parameter::constant(texts.vocabulary, 0.0),
        }))
    }
}

/// The network for texts inside an encoder.
fn encoder_of_texts(encoder: &mut Encoder) -> Result<&mut TextEncoder, MethodError> {
    let refused = || MethodError::setting("backbone", "BUG: it is not a transformer of texts");
    encoder.text().ok_or_else(refused)
}

/// `ln` of each token's share among all words of the texts.
fn unigram(texts: &Tokens) -> Result<Vec<f32>, MethodError> {
    let mut counts = vec![0u64; texts.vocabulary];
    for token in texts.ids.iter().map(|id| usize::from(*id)) {
        counts[token] += u64::from(token >= SPECIAL);
    }
    let total: u64 = counts.iter().sum();
    if total == 0 {
        let message = "no text has a word that the vocabulary knows: raise the data set's `vocabulary`";
        return Err(MethodError::setting("method", message));
    }
    let share = |count: &u64| (*count as f64 / total as f64).ln() as f32;
    Ok(counts.iter().map(share).collect())
}

struct MaskedToken {
    settings: MaskedTokenSettings,
    /// See [`unigram`].
    unigram: Vec<f32>,
    transform: Sequential,
    bias: Parameter,
}

/// Words that are to be predicted.
#[derive(Debug, Default, PartialEq)]
struct Selected {
    /// Rows of `[texts * tokens]`, ascending.
    rows: Vec<usize>,
    /// The word that stood at each.
    labels: Vec<usize>,
}

impl MaskedToken {
    /// Selects words in a batch of texts and covers them.
    fn cover(&self, texts: &mut FeatureMap, stream: &Stream) -> Selected {
        let (tokens, vocabulary) = (texts.shape.h, self.unigram.len());
        let MaskedTokenSettings {
            masked,
            replaced_by_mask,
            replaced_at_random,
        } = self.settings;
        let mut selected = Selected::default();
        for (i, text) in texts.data.chunks_exact_mut(tokens * BYTES).enumerate() {
            let mut stream = stream.index(i as u64);
            let mut words: Vec<usize> = (0..tokens).filter(|t| token(&text[t * BYTES..]) >= SPECIAL).collect();
            let count = ((masked * words.len() as f32).round() as usize).max(1).min(words.len());
            stream.shuffle(&mut words);
            words.truncate(count);
            words.sort_unstable();
            for word in words {
                let bytes = &mut text[word * BYTES..][..BYTES];
                selected.rows.push(i * tokens + word);
                selected.labels.push(token(bytes));
                // Both are drawn always, so that what follows does not depend on the outcome.
                let (chance, other) = (stream.uniform(), SPECIAL + stream.below(vocabulary - SPECIAL));
                if chance < replaced_by_mask {
                    text::set_token(bytes, MASK);
                } else if chance < replaced_by_mask + replaced_at_random {
                    text::set_token(bytes, other);
                }
            }
        }
        selected
    }

    fn metrics(&self, selected: &Selected, right: usize, words: usize) -> Vec<Metric> {
        let count = selected.rows.len();
        let unigram: f64 = selected.labels.iter().map(|word| -f64::from(self.unigram[*word])).sum();
        vec![
            Metric::accuracy(right, count),
            Metric::new("unigram_loss", (unigram / count.max(1) as f64) as f32),
            Metric::new("masked_share", count as f32 / words.max(1) as f32),
        ]
    }
}

impl Method for MaskedToken {
    fn step(&mut self, encoder: &mut Encoder, batch: &Batch<'_>, pass: &mut Pass) -> Result<StepOutcome, MethodError> {
        let mut texts = batch.view("texts", encoder, pass);
        let words = texts
            .data
            .chunks_exact(BYTES)
            .filter(|bytes| token(bytes) >= SPECIAL)
            .count();
        let selected = self.cover(&mut texts, &batch.stream.child("masks"));
        if selected.rows.is_empty() {
            let metrics = self.metrics(&selected, 0, words);
            return Ok(StepOutcome { loss: 0.0, metrics });
        }
        let network = encoder_of_texts(encoder)?;
        let tokens = network.tokens(texts, pass);
        let (n, shape) = (tokens.n, tokens.shape);
        let hidden = self.transform.forward(selected.gather(&tokens), pass);

        let (count, dim, vocabulary) = (hidden.n, shape.c, self.unigram.len());
        let inputs = [
            matrix(&hidden),
            (network.words().value.to_vec(), (vocabulary, dim)),
            (self.bias.value.to_vec(), (1, vocabulary)),
        ];
        let mut right = 0;
        let (loss, [dhidden, dwords, dbias]) = value_and_grads(inputs, |[hidden, words, bias]| {
            let scores = word_scores(hidden, words, bias)?;
            right = selected.right(&scores.as_vec(), vocabulary);
            cross_entropy(scores, &selected.labels, 0.0)
        })?;

        add(&mut self.bias.grad, &dbias);
        add(&mut network.words().grad, &dwords);
        if let Some(dchosen) = self.transform.backward(gradient(count, dhidden), pass, true) {
            network.tokens_backward(selected.scatter(&dchosen, n, shape, pass), pass);
        }
        let metrics = self.metrics(&selected, right, words);
        Ok(StepOutcome { loss, metrics })
    }
}

fn add(to: &mut [f32], values: &[f32]) {
    to.iter_mut().zip(values).for_each(|(t, v)| *t += v);
}

impl Selected {
    /// The selected rows of `[texts * tokens][dim]`.
    fn gather(&self, tokens: &FeatureMap) -> FeatureMap {
        let dim = tokens.shape.c;
        let rows = self.rows.iter().flat_map(|row| &tokens.data[row * dim..][..dim]);
        gradient(self.rows.len(), rows.copied().collect::<Vec<f32>>())
    }

    /// The gradient of all tokens from that of [`Selected::gather`]'s rows.
    fn scatter(&self, rows: &FeatureMap, n: usize, shape: MapShape, pass: &Pass) -> FeatureMap {
        let mut all = pass.map(n, shape);
        all.data.fill(0.0);
        for (place, row) in self.rows.iter().zip(rows.data.chunks_exact(shape.c)) {
            all.data[place * shape.c..][..shape.c].copy_from_slice(row);
        }
        all
    }

    /// How many of the words have the highest score.
    fn right(&self, scores: &[f32], vocabulary: usize) -> usize {
        let told = argmaxes(scores, vocabulary).zip(&self.labels);
        told.filter(|(told, word)| told == *word).count()
    }
}

impl Tensors for MaskedToken {
    fn entries<'a>(&'a mut self, prefix: &str, out: &mut Vec<Entry<'a>>) {
        self.transform.entries(&join(prefix, "transform"), out);
        out.push(Entry::parameter(
            join(prefix, "bias"),
            vec![self.bias.value.len()],
            Layout::Same,
            Role::Bias,
            &mut self.bias,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::{CLASS, PAD, UNKNOWN, Vocabulary};

    const VOCABULARY: usize = SPECIAL + 50;

    fn method(settings: MaskedTokenSettings) -> MaskedToken {
        MaskedToken {
            settings,
            unigram: vec![0.0; VOCABULARY],
            transform: Sequential::default(),
            bias: Parameter::constant(VOCABULARY, 0.0),
        }
    }

    /// 400 texts of 30 words among pads, unknown words and class tokens.
    fn texts() -> FeatureMap {
        let token = |i: usize| match i % 40 {
            0 => CLASS,
            1..4 => UNKNOWN,
            34.. => PAD,
            other => SPECIAL + (other * 7 + i / 40) % 50,
        };
        let mut data = vec![0.0; 400 * 40 * BYTES];
        for (i, bytes) in data.chunks_exact_mut(BYTES).enumerate() {
            text::set_token(bytes, token(i));
        }
        FeatureMap::new(400, MapShape { h: 40, w: 1, c: BYTES }, data)
    }

    #[test]
    fn words_are_selected_and_replaced_in_berts_shares_and_special_tokens_never() {
        let method = method(MaskedTokenSettings::default());
        let (before, mut after) = (texts(), texts());
        let selected = method.cover(&mut after, &Stream::new(1, "test"));
        let tokens = |map: &FeatureMap| map.data.chunks_exact(BYTES).map(token).collect::<Vec<_>>();
        let (before, after) = (tokens(&before), tokens(&after));
        // Of 30 words 15 % are 4.5, which is rounded to 5.
        assert_eq!(selected.rows.len(), 400 * 5);
        let (mut masked, mut other, mut kept) = (0, 0, 0);
        for (row, label) in selected.rows.iter().zip(&selected.labels) {
            assert_eq!(before[*row], *label);
            assert!(*label >= SPECIAL, "a special token was selected");
            match after[*row] {
                MASK => masked += 1,
                same if same == *label => kept += 1,
                _ => other += 1,
            }
        }
        // A random word is the same one once in 50 times. Deviations of 2000 draws: 18 and 13.
        assert!((1530..1670).contains(&masked), "{masked} masked");
        assert!((140..250).contains(&other), "{other} replaced");
        assert!((150..260).contains(&kept), "{kept} kept");
        let changed = (0..before.len()).filter(|i| before[*i] != after[*i]);
        assert!(
            changed.into_iter().all(|i| selected.rows.contains(&i)),
            "another token was changed"
        );
    }

    #[test]
    fn every_text_with_a_known_word_has_one_selected() {
        let vocabulary = Vocabulary::from_words((0..50).map(|i| format!("w{i}")).collect());
        let texts = vocabulary
            .encode(&["w3", "unheard", "w1 w2"], 4, vec![0; 3])
            .expect("three texts");
        let bytes = texts.ids.iter().flat_map(|id| id.to_le_bytes());
        let data: Vec<f32> = bytes.map(f32::from).collect();
        let mut map = FeatureMap::new(3, MapShape { h: 4, w: 1, c: BYTES }, data);
        let selected = method(MaskedTokenSettings::default()).cover(&mut map, &Stream::new(2, "test"));
        let texts: Vec<usize> = selected.rows.iter().map(|row| row / 4).collect();
        assert_eq!(texts, [0, 2]);
    }

    #[test]
    fn the_unigram_predictor_is_worth_the_entropy_of_the_words() {
        let vocabulary = Vocabulary::from_words(vec!["a".into(), "b".into()]);
        let texts = vocabulary
            .encode(&["a a a b", "a a a b zebra"], 8, vec![0, 0])
            .expect("two texts");
        let logs = unigram(&texts).expect("known words");
        assert_eq!(&logs[SPECIAL..], [0.75f32.ln(), 0.25f32.ln()]);
        let unknown = vocabulary.encode(&["zebra"], 8, vec![0]).expect("one text");
        assert!(unigram(&unknown).is_err());
    }
}
