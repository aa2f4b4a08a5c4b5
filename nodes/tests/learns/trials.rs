//! Every method with the images, views and steps that suit it.
//!
//! Methods of hand-crafted tasks about layout and colour learn on scenes, the others on the Fashion-MNIST sample. Networks are small:
//! conv3 of widths 16, 32, 64 with a 2x2 grid in its features.

use flow_learn::backbones::{BackboneSettings, Stem};
use flow_learn::methods::*;
use flow_learn::optim::OptimizerConfig;

use super::trial::{Data, Trial};

fn backbone(widths: [usize; 3]) -> BackboneSettings {
    BackboneSettings {
        name: "conv3".into(),
        widths: widths.to_vec(),
        grid: 2,
        stem: Stem::Small,
    }
}

fn fashion(method: MethodSettings) -> Trial {
    Trial {
        method,
        data: Data::Fashion,
        views: "simclr-gray",
        images: 2000,
        backbone: backbone([16, 32, 64]),
        optimizer: OptimizerConfig::Adam(Default::default()),
        lr: 0.003,
        batch: 128,
        epochs: 15,
        after: None,
        transfers: false,
    }
}

fn scenes(method: MethodSettings) -> Trial {
    Trial {
        data: Data::Scenes { side: 32 },
        views: "simclr",
        ..fashion(method)
    }
}

fn simclr() -> Trial {
    fashion(MethodSettings::Simclr(Default::default()))
}

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Trial> {
    vec![
        // Hand-crafted tasks.
        Trial {
            views: "weak",
            ..scenes(MethodSettings::ContextPrediction(Default::default()))
        },
        Trial {
            views: "weak",
            ..scenes(MethodSettings::Jigsaw(Default::default()))
        },
        Trial {
            views: "weak",
            ..fashion(MethodSettings::Rotation(Default::default()))
        },
        Trial {
            views: "weak",
            ..scenes(MethodSettings::Colorization(Default::default()))
        },
        Trial {
            views: "weak",
            ..scenes(MethodSettings::Inpainting(Default::default()))
        },
        // Contrast.
        simclr(),
        fashion(MethodSettings::SimclrV2(Default::default())),
        fashion(MethodSettings::Moco(MocoSettings {
            queue: 1024,
            ..Default::default()
        })),
        fashion(MethodSettings::MocoV2(MocoV2Settings {
            queue: 1024,
            ..Default::default()
        })),
        fashion(MethodSettings::Pirl(Default::default())),
        // Clusters.
        fashion(MethodSettings::DeepCluster(Default::default())),
        fashion(MethodSettings::Sela(Default::default())),
        Trial {
            after: Some(Box::new(simclr())),
            ..fashion(MethodSettings::Scan(Default::default()))
        },
        fashion(MethodSettings::Swav(Default::default())),
        // Generation.
        Trial {
            views: "weak",
            ..fashion(MethodSettings::Autoencoder(Default::default()))
        },
        Trial {
            views: "none",
            ..fashion(MethodSettings::Gan(Default::default()))
        },
        // Labels.
        Trial {
            transfers: true,
            ..fashion(MethodSettings::Supervised(Default::default()))
        },
        // Two views without negatives.
        fashion(MethodSettings::Simsiam(Default::default())),
        fashion(MethodSettings::Byol(Default::default())),
        fashion(MethodSettings::BarlowTwins(Default::default())),
        fashion(MethodSettings::Vicreg(Default::default())),
        fashion(MethodSettings::Dino(Default::default())),
    ]
}
