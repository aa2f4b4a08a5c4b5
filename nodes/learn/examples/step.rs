use flow_learn::measure::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let task = if a[4] == "simclr" {
        Task::Simclr
    } else {
        Task::Supervised
    };
    let spec = StepSpec {
        backbone: a[1].clone(),
        image: a[3].parse().unwrap(),
        batch: a[2].parse().unwrap(),
        task,
    };
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let peak = peak_gflops(1024);
            let mut s = TrainStep::new(&spec).unwrap();
            let t = s.time(spec.batch, if a[1] == "conv4" { 15 } else { 5 }).unwrap();
            println!("threads {threads} peak {peak:.0} {t:?}");
            let p = s.profiled_step().unwrap();
            let mut sum = 0.0;
            for t in &p.timings {
                sum += t.seconds;
                println!(
                    "{:45} {:16} {:8.2} ms {:6.0} GF/s",
                    t.layer,
                    t.part,
                    t.seconds * 1e3,
                    t.flops / t.seconds / 1e9
                );
            }
            println!("layers {:.1} total {:.1}", sum * 1e3, p.total_seconds * 1e3);
        });
    }
}
