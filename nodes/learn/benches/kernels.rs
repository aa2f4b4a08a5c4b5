//! Kernels one by one, on one thread. `cargo bench -p flow-learn --bench kernels`

use divan::Bencher;
use divan::counter::ItemsCount;
use flow_learn::kernels::conv::{self, ConvShape};
use flow_learn::kernels::{elementwise, norm};

fn main() {
    divan::main();
}

fn noise(n: usize) -> Vec<f32> {
    (0..n as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5)
        .collect()
}

/// Benches `work` in a pool of one thread.
fn on_one_thread(bencher: Bencher, counter: ItemsCount, mut work: impl FnMut() + Send) {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a pool");
    bencher.counter(counter).bench_local(|| one.install(&mut work));
}

/// Convolutions of the shipped backbones, `(channels in, channels out, kernel, stride, size)`; the counter is of multiply-adds.
const CONVS: [(usize, usize, usize, usize, usize); 6] = [
    (3, 32, 3, 1, 32),
    (32, 64, 3, 2, 32),
    (64, 64, 3, 1, 32),
    (128, 256, 3, 2, 8),
    (256, 256, 3, 1, 8),
    (64, 128, 1, 2, 32),
];

fn shape((c_in, c_out, kernel, stride, side): (usize, usize, usize, usize, usize)) -> ConvShape {
    let padding = kernel / 2;
    ConvShape {
        n: 32,
        h: side,
        w: side,
        c_in,
        c_out,
        kernel,
        stride,
        padding,
        groups: 1,
    }
}

fn products(shape: &ConvShape) -> ItemsCount {
    ItemsCount::new((shape.flops() / 2.0) as usize)
}

#[divan::bench(args = CONVS)]
fn conv_forward(bencher: Bencher, conv: (usize, usize, usize, usize, usize)) {
    let shape = shape(conv);
    let (x, y, weight) = shape.lengths();
    let (x, mut y, weight) = (noise(x), noise(y), noise(weight));
    on_one_thread(bencher, products(&shape), || {
        conv::forward(&shape, &x, &weight, None, &mut y);
    });
}

#[divan::bench(args = CONVS)]
fn conv_weight_gradient(bencher: Bencher, conv: (usize, usize, usize, usize, usize)) {
    let shape = shape(conv);
    let (x, y, weight) = shape.lengths();
    let (x, dy, mut dweight) = (noise(x), noise(y), noise(weight));
    on_one_thread(bencher, products(&shape), || {
        conv::backward_weight(&shape, &x, &dy, &mut dweight, None);
    });
}

#[divan::bench(args = CONVS)]
fn conv_input_gradient(bencher: Bencher, conv: (usize, usize, usize, usize, usize)) {
    let shape = shape(conv);
    let (x, y, weight) = shape.lengths();
    let (mut dx, dy, weight) = (noise(x), noise(y), noise(weight));
    on_one_thread(bencher, products(&shape), || {
        conv::backward_input(&shape, &dy, &weight, &mut dx);
    });
}

/// The counter is of values.
#[divan::bench(args = [32, 256])]
fn norm_moments(bencher: Bencher, channels: usize) {
    let x = noise(1 << 20);
    on_one_thread(bencher, ItemsCount::new(x.len()), || drop(norm::moments(&x, channels)));
}

#[divan::bench]
fn residual_sum(bencher: Bencher) {
    let (mut y, other) = (noise(1 << 20), noise(1 << 20));
    on_one_thread(bencher, ItemsCount::new(y.len()), || {
        elementwise::add_relu(&mut y, &other);
    });
}
