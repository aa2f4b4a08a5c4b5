//! Every method with the images, views and steps that suit it.
//!
//! Tasks about layout and the GAN learn on scenes, colorization on scenes whose hues mostly go with the class, as those of things in photographs do; the
//! autoencoder on garments before noise, masked tokens on verses, the others on the Fashion-MNIST sample. Networks are conv3 of widths 16, 32, 64; MAE takes a vit.

use flow_learn::backbones::{BackboneSettings, Pool};
use flow_learn::methods::*;
use flow_learn::optim::OptimizerConfig;

use super::data::Data;
use super::trial::Trial;

fn backbone(widths: [usize; 3], grid: usize) -> BackboneSettings {
    BackboneSettings {
        widths: widths.to_vec(),
        grid,
        ..BackboneSettings::named("conv3")
    }
}

fn fashion(method: MethodSettings) -> Trial {
    Trial {
        method,
        data: Data::Fashion,
        views: "simclr-gray",
        images: 4000,
        labelled: 1000,
        judged: 2000,
        backbone: backbone([16, 32, 64], 2),
        optimizer: OptimizerConfig::Adam(Default::default()),
        lr: 0.003,
        warmup: 1,
        batch: 64,
        epochs: 14,
        after: None,
        transfers: false,
    }
}

/// Tasks about where things are keep a finer grid, and gentle views.
fn laid_out(method: MethodSettings) -> Trial {
    Trial {
        data: Data::Scenes,
        views: "weak",
        backbone: backbone([16, 32, 64], 3),
        ..fashion(method)
    }
}

fn simclr() -> Trial {
    fashion(MethodSettings::Simclr(Default::default()))
}

/// All of them, in the order of the table. Raw pixels keep where things are, and so does the grid that features are taken on.
pub(crate) fn all() -> Vec<Trial> {
    let finer = |trial: Trial| match trial.backbone.name.as_str() {
        "vit" => trial,
        _ => Trial {
            backbone: backbone([16, 32, 64], 3),
            ..trial
        },
    };
    let with_start = |trial: Trial| Trial {
        after: trial.after.clone().map(|before| Box::new(finer(*before))),
        ..finer(trial)
    };
    images().into_iter().map(with_start).chain([masked_tokens()]).collect()
}

/// Those on images.
fn images() -> Vec<Trial> {
    [pretexts(), contrasts(), clusters(), generators(), predictions()].concat()
}

/// Hand-crafted tasks.
fn pretexts() -> Vec<Trial> {
    vec![
        Trial {
            epochs: 16,
            lr: 0.001,
            ..laid_out(MethodSettings::ContextPrediction(ContextPredictionSettings {
                pairs: 8,
                ..Default::default()
            }))
        },
        Trial {
            epochs: 10,
            ..laid_out(MethodSettings::Jigsaw(JigsawSettings {
                grid: 2,
                permutations: 24,
                ..Default::default()
            }))
        },
        Trial {
            epochs: 8,
            ..laid_out(MethodSettings::Rotation(Default::default()))
        },
        Trial {
            data: Data::ColouredScenes,
            epochs: 16,
            ..laid_out(MethodSettings::Colorization(ColorizationSettings {
                bin: 30.0,
                width: 32,
                ..Default::default()
            }))
        },
        Trial {
            views: "none",
            images: 8000,
            epochs: 24,
            ..fashion(MethodSettings::Inpainting(InpaintingSettings {
                holes: 2,
                size: [0.4, 0.6],
                width: 8,
            }))
        },
    ]
}

fn contrasts() -> Vec<Trial> {
    vec![
        simclr(),
        fashion(MethodSettings::SimclrV2(Default::default())),
        Trial {
            images: 6000,
            ..fashion(MethodSettings::Moco(MocoSettings {
                temperature: 0.15,
                queue: 512,
                momentum: 0.97,
                ..Default::default()
            }))
        },
        fashion(MethodSettings::MocoV2(MocoV2Settings {
            queue: 1024,
            momentum: 0.97,
            ..Default::default()
        })),
        Trial {
            images: 8000,
            epochs: 40,
            lr: 0.001,
            ..fashion(MethodSettings::Pirl(PirlSettings {
                temperature: 0.1,
                negatives: 512,
                ..Default::default()
            }))
        },
    ]
}

fn clusters() -> Vec<Trial> {
    vec![
        Trial {
            images: 8000,
            epochs: 10,
            ..fashion(MethodSettings::DeepCluster(DeepClusterSettings {
                clusters: 50,
                ..Default::default()
            }))
        },
        Trial {
            epochs: 16,
            ..fashion(MethodSettings::Sela(SelaSettings {
                clusters: 32,
                ..Default::default()
            }))
        },
        Trial {
            after: Some(Box::new(simclr())),
            lr: 0.0001,
            epochs: 3,
            ..fashion(MethodSettings::Scan(ScanSettings {
                self_label_epochs: 1,
                threshold: 0.6,
                ..Default::default()
            }))
        },
        fashion(MethodSettings::Swav(Default::default())),
    ]
}

fn generators() -> Vec<Trial> {
    vec![
        Trial {
            data: Data::NoisyFashion,
            views: "none",
            images: 6000,
            epochs: 24,
            ..fashion(MethodSettings::Autoencoder(AutoencoderSettings {
                masked: 0.0,
                width: 8,
                ..Default::default()
            }))
        },
        Trial {
            epochs: 30,
            optimizer: dcgan(),
            lr: 0.002,
            ..laid_out(MethodSettings::Gan(GanSettings {
                label_smoothing: 0.2,
                width: 16,
                ..Default::default()
            }))
        },
        Trial {
            views: "none",
            images: 8000,
            backbone: vit(64, 3, 4),
            optimizer: OptimizerConfig::AdamW(Default::default()),
            epochs: 150,
            ..fashion(MethodSettings::Mae(MaeSettings {
                // Of sixteen patches.
                mask: 0.6,
                decoder_dim: 32,
                ..Default::default()
            }))
        },
    ]
}

/// The mean of its sixteen patches' tokens over each cell; MAE has no use for the class token.
fn vit(dim: usize, depth: usize, grid: usize) -> BackboneSettings {
    BackboneSettings {
        dim: Some(dim),
        depth: Some(depth),
        patch: Some(7),
        mlp_ratio: Some(2.0),
        pool: Some(Pool::Mean),
        grid,
        ..BackboneSettings::named("vit")
    }
}

/// Adam with the paper's first moment.
fn dcgan() -> OptimizerConfig {
    serde_json::from_value(serde_json::json!({ "name": "adam", "betas": [0.5, 0.999] })).expect("valid")
}

/// Of labels of other classes, and of the other view.
fn predictions() -> Vec<Trial> {
    vec![
        Trial {
            transfers: true,
            images: 4000,
            ..fashion(MethodSettings::Supervised(Default::default()))
        },
        fashion(MethodSettings::Simsiam(Default::default())),
        fashion(MethodSettings::Byol(ByolSettings {
            momentum: 0.97,
            ..Default::default()
        })),
        fashion(MethodSettings::BarlowTwins(Default::default())),
        fashion(MethodSettings::Vicreg(Default::default())),
        fashion(MethodSettings::Dino(DinoSettings {
            momentum: 0.97,
            ..Default::default()
        })),
    ]
}

/// The text analogue.
fn masked_tokens() -> Trial {
    Trial {
        data: Data::Verses,
        views: "none",
        images: 13_000,
        judged: 1050,
        backbone: transformer(96),
        optimizer: OptimizerConfig::AdamW(Default::default()),
        lr: 0.0015,
        warmup: 3,
        epochs: 60,
        ..fashion(MethodSettings::MaskedToken(Default::default()))
    }
}

fn transformer(dim: usize) -> BackboneSettings {
    BackboneSettings {
        dim: Some(dim),
        ..BackboneSettings::named("transformer")
    }
}

/// The same, so small that all of them together take seconds; those that learn slowly take more steps.
pub(crate) fn small() -> Vec<Trial> {
    // Images and epochs.
    let length = |method: &MethodSettings| match method {
        MethodSettings::Mae(_) => (640, 24),
        MethodSettings::Inpainting(_) | MethodSettings::Pirl(_) | MethodSettings::Autoencoder(_) => (640, 12),
        MethodSettings::Jigsaw(_) => (1600, 12),
        MethodSettings::Colorization(_) => (1200, 8),
        _ => (640, 6),
    };
    let shrink = |trial: Trial| {
        let (images, epochs) = length(&trial.method);
        Trial {
            images,
            labelled: 200,
            judged: 1000,
            backbone: match trial.backbone.name.as_str() {
                // The mean of all tokens shows soonest that it learns: random weights keep little there.
                "vit" => vit(32, 2, 1),
                _ => backbone([8, 16, 32], trial.backbone.grid),
            },
            batch: 32,
            epochs,
            ..trial
        }
    };
    let shrunk = |trial: Trial| Trial {
        after: trial.after.clone().map(|before| Box::new(shrink(*before))),
        ..shrink(trial)
    };
    let texts = Trial {
        images: 3200,
        backbone: BackboneSettings {
            mlp_ratio: Some(2.0),
            ..transformer(32)
        },
        lr: 0.004,
        warmup: 1,
        batch: 32,
        epochs: 15,
        ..masked_tokens()
    };
    images().into_iter().map(shrunk).chain([texts]).collect()
}
