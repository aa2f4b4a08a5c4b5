//! Every pre-training method learns: what it finds without labels serves a classifier better than random weights do.
//!
//! The ordinary tests train each method once, small. `just learns` trains each with three seeds and prints a table.

mod trial;

use flow_learn::methods::*;
use trial::{Data, Judged, Learnt, Trial, raw_pixels};

fn fashion(method: MethodSettings) -> Trial {
    Trial {
        method,
        data: Data::Fashion,
        views: "simclr-gray",
        images: 1536,
        epochs: 8,
        batch: 128,
        lr: 0.003,
    }
}

/// Every method with the images and steps that suit it.
fn trials() -> Vec<Trial> {
    vec![
        fashion(MethodSettings::Simclr(SimclrSettings::default())),
        fashion(MethodSettings::SimclrV2(SimclrV2Settings::default())),
        fashion(MethodSettings::Moco(MocoSettings {
            queue: 1024,
            ..MocoSettings::default()
        })),
        fashion(MethodSettings::MocoV2(MocoV2Settings {
            queue: 1024,
            ..MocoV2Settings::default()
        })),
        fashion(MethodSettings::Simsiam(SimsiamSettings::default())),
        fashion(MethodSettings::Byol(ByolSettings::default())),
        fashion(MethodSettings::BarlowTwins(BarlowTwinsSettings::default())),
        fashion(MethodSettings::Vicreg(VicregSettings::default())),
        fashion(MethodSettings::Swav(SwavSettings::default())),
        fashion(MethodSettings::Dino(DinoSettings::default())),
        fashion(MethodSettings::Rotation(RotationSettings::default())),
    ]
}

#[test]
#[ignore = "takes minutes: `just learns`"]
fn table() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let only = std::env::var("ONLY").unwrap_or_default();
    println!("raw fashion {:?}", raw_pixels(Data::Fashion, 1536));
    println!("raw scenes {:?}", raw_pixels(Data::Scenes, 1536));
    for trial in trials() {
        let name = trial.method.settings().name();
        if !only.is_empty() && !only.split(',').any(|o| o == name) {
            continue;
        }
        for seed in 0..seeds {
            let began = std::time::Instant::now();
            let Learnt {
                trained,
                random,
                history,
            } = trial.run(seed);
            println!(
                "{name} {seed}: {:.3} {:.3} random {:.3} {:.3} in {:.1} s",
                trained.probe,
                trained.knn,
                random.probe,
                random.knn,
                began.elapsed().as_secs_f64()
            );
            if seed == 0 {
                for h in &history {
                    println!("   {:.4} {:?}", h.loss, h.figures);
                }
            }
        }
    }
    let _ = Judged::default();
}
