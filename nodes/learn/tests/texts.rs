//! What masked-token prediction on texts promises: it beats a predictor that knows the words' frequencies only, and an interrupted
//! training ends with the same bits as one that was not, whatever the number of threads.

mod common;

use std::ops::ControlFlow;

use flow_learn::augment::Augmenter;
use flow_learn::backbones::BackboneSettings;
use flow_learn::data::{Modality, Samples, Tokens};
use flow_learn::methods::*;
use flow_learn::optim::OptimizerConfig;
use flow_learn::rng::Stream;
use flow_learn::text::Vocabulary;
use flow_learn::train::{EpochOutcome, Length, PretrainSettings, Pretraining};

const LENGTH: usize = 10;

/// 256 texts of two topics: an animal or a tool, then words that go with it. Which word stands where follows from its neighbours.
fn texts() -> (Samples, Modality) {
    let mut stream = Stream::new(3, "texts");
    let mut lines = Vec::new();
    for i in 0..256 {
        let topic = if i % 2 == 0 { "cow" } else { "saw" };
        let words = (0..4 + stream.below(5)).map(|_| format!("{topic}{}", stream.below(4)));
        lines.push(format!("the {topic} {}", words.collect::<Vec<_>>().join(" ")));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let vocabulary = Vocabulary::learn(lines.iter().copied(), 100);
    let labels = (0..256).map(|i| i % 2).collect();
    let texts = vocabulary.encode(&lines, LENGTH, labels).expect("a label each");
    (texts.into(), vocabulary.modality())
}

fn settings(method: MethodSettings, backbone: BackboneSettings) -> PretrainSettings {
    PretrainSettings {
        backbone,
        method,
        optimizer: OptimizerConfig::AdamW(Default::default()),
        lr: 0.005,
        warmup_epochs: 1,
        length: Length::Epochs(6),
        batch: 16,
        monitor: 64,
        seed: 5,
    }
}

fn transformer() -> BackboneSettings {
    BackboneSettings {
        dim: Some(16),
        depth: Some(2),
        heads: Some(2),
        ..BackboneSettings::named("transformer")
    }
}

/// Everything that is kept after the last epoch; if `resumed`, through a checkpoint in the middle of each epoch.
fn trained(threads: usize, resumed: bool) -> (Vec<u8>, Vec<EpochOutcome>) {
    let (images, modality) = texts();
    let augmenter = Augmenter::texts(LENGTH, modality);
    let settings = settings(
        MethodSettings::MaskedToken(MaskedTokenSettings::default()),
        transformer(),
    );
    let start = || {
        let training = Pretraining::new(settings.clone(), &images, &augmenter, None);
        training.expect("valid settings").on(common::device())
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .expect("a pool");
    pool.install(|| {
        let mut training = start();
        while !training.is_done() {
            let stop = |step| match resumed && step == 6 {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            let ended = training.run_epoch(|step, _| stop(step));
            assert_eq!(ended.is_err(), resumed && training.steps_begun() > 0, "{ended:?}");
            if resumed {
                let checkpoint = training.checkpoint().expect("the device works");
                training = start();
                training.resume(&checkpoint).expect("own checkpoint");
            }
        }
        (
            training.checkpoint().expect("the device works"),
            training.history().to_vec(),
        )
    })
}

#[test]
fn masked_tokens_are_told_from_the_words_around_and_training_resumes_to_the_bit() {
    let (whole, history) = trained(1, false);
    let last = &history[5];
    assert!(last.loss < history[1].loss, "the loss does not fall: {history:?}");
    assert!(
        last.loss < last.metrics["unigram_loss"] - 0.3,
        "no better than the words' frequencies: {last:?}"
    );
    assert!((0.12..0.25).contains(&last.metrics["masked_share"]), "{last:?}");
    assert!(
        whole == trained(2, true).0,
        "an interrupted training with two threads has other bits"
    );
}

#[test]
fn methods_and_backbones_refuse_what_they_are_not_for() {
    let (known, modality) = texts();
    // Texts of none of the vocabulary's words.
    let Samples::Texts(tokens) = &known else {
        panic!("they are texts");
    };
    let unknown = Tokens::new(LENGTH, tokens.vocabulary, vec![1; tokens.ids.len()], vec![0_u16; 256]);
    let unknown = Samples::Texts(unknown.expect("they fit"));
    let conv = || BackboneSettings::named("conv3");
    let masked = |masked, replaced_by_mask, replaced_at_random| {
        MethodSettings::MaskedToken(MaskedTokenSettings {
            masked,
            replaced_by_mask,
            replaced_at_random,
        })
    };
    let usual = || MethodSettings::MaskedToken(Default::default());
    let simclr = MethodSettings::Simclr(Default::default());
    let said = [
        (simclr, transformer(), modality, &known),
        (usual(), transformer(), Modality::Images, &known),
        (usual(), conv(), modality, &known),
        (masked(0.0, 0.8, 0.1), transformer(), modality, &known),
        (masked(0.15, 0.9, 0.2), transformer(), modality, &known),
        (usual(), transformer(), modality, &unknown),
    ]
    .map(|(method, backbone, modality, texts)| {
        let augmenter = Augmenter::texts(LENGTH, modality);
        let error = Pretraining::new(settings(method, backbone), texts, &augmenter, None).err();
        error.map(|error| error.to_string()).unwrap_or_default()
    });
    insta::assert_snapshot!(said.join("\n"));
}
