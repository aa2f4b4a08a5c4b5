//! Every pre-training method learns: what it finds without labels serves a classifier better than random weights do.
//!
//! The ordinary tests train each method once, small. `just learns` trains each with three seeds and prints a table.

mod trial;
mod trials;

#[test]
#[ignore = "takes minutes: `just learns`"]
fn table() {
    let seeds: u64 = std::env::var("SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(3);
    let only = std::env::var("ONLY").unwrap_or_default();
    for trial in trials::all() {
        let name = trial.method.settings().name();
        if !only.is_empty() && !only.split(',').any(|o| o == name) {
            continue;
        }
        for seed in 0..seeds {
            let l = trial.run(seed);
            println!(
                "{name} {seed}: probe {:.3} random {:.3} raw {:.3}   knn {:.3} random {:.3} raw {:.3}  in {:.1} s",
                l.trained.probe, l.random.probe, l.raw.probe, l.trained.knn, l.random.knn, l.raw.knn, l.seconds
            );
            for h in l.history.iter().take(2).chain(l.history.last()) {
                println!("   {:.4} {:?}", h.loss, h.figures);
            }
        }
    }
}
