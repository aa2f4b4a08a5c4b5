//! One pass through a network: which statistics batch norm uses, and the tape of what backward needs.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use super::profile::Timing;
use super::{Buffer, BufferPool, FeatureMap, MapShape};
use crate::device::Device;
use crate::rng::Stream;

/// How layers that differ between training and use behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch norm uses and updates statistics of the batch.
    Train,
    /// Batch norm uses its running statistics.
    Eval,
}

/// The state of one forward pass and of the backward pass that follows.
pub struct Pass {
    /// How batch norm behaves.
    pub mode: Mode,
    tape: Option<Vec<Box<dyn Any + Send>>>,
    pool: Arc<BufferPool>,
    timings: Option<Vec<Timing>>,
    /// What noise is drawn from, and how often it was.
    noise: Option<(Stream, u64)>,
}

impl Pass {
    /// A pass that a backward pass follows.
    pub fn recording(mode: Mode, pool: &Arc<BufferPool>) -> Self {
        Self {
            mode,
            tape: Some(Vec::new()),
            pool: Arc::clone(pool),
            timings: None,
            noise: None,
        }
    }

    /// A pass for the output only: nothing is kept, running statistics are used.
    pub fn inference(pool: &Arc<BufferPool>) -> Self {
        Self {
            mode: Mode::Eval,
            tape: None,
            pool: Arc::clone(pool),
            timings: None,
            noise: None,
        }
    }

    /// The same pass, in which layers such as dropout draw from `stream`.
    #[must_use]
    pub fn noisy(mut self, stream: Stream) -> Self {
        self.noise = Some((stream.child("noise"), 0));
        self
    }

    /// What the next layer with noise draws from; nothing in a pass without.
    pub fn noise(&mut self) -> Option<Stream> {
        let (stream, drawn) = self.noise.as_mut()?;
        *drawn += 1;
        Some(stream.index(*drawn))
    }

    /// The same pass, with each layer's time taken.
    #[must_use]
    pub fn profiled(mut self) -> Self {
        self.timings = Some(Vec::new());
        self
    }

    /// What the layers took; empty unless [`Pass::profiled`].
    pub fn into_timings(self) -> Vec<Timing> {
        self.timings.unwrap_or_default()
    }

    /// Does a layer's `part` of the work of `flops` floating-point operations; takes the time if the pass is profiled.
    pub fn timed<R>(
        &mut self,
        part: &'static str,
        flops: f64,
        layer: impl FnOnce() -> String,
        work: impl FnOnce() -> R,
    ) -> R {
        let Some(timings) = &mut self.timings else {
            return work();
        };
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        timings.push(Timing {
            layer: layer(),
            part,
            flops,
            seconds,
        });
        result
    }

    /// A pass of the same mode that keeps nothing for a backward pass: for a network that takes no gradient, such as a teacher.
    #[must_use]
    pub fn no_grad(&self) -> Self {
        Self {
            mode: self.mode,
            tape: None,
            pool: Arc::clone(&self.pool),
            timings: None,
            noise: None,
        }
    }

    /// Where the layers run.
    pub fn device(&self) -> Arc<dyn Device> {
        Arc::clone(self.pool.device())
    }

    /// Whether layers must keep what backward needs.
    pub fn records(&self) -> bool {
        self.tape.is_some()
    }

    /// A feature map with unspecified contents, to be overwritten.
    pub fn map(&self, n: usize, shape: MapShape) -> FeatureMap {
        FeatureMap {
            n,
            shape,
            data: self.pool.take(n * shape.len()),
        }
    }

    /// A buffer with unspecified contents, to be overwritten.
    pub fn buffer(&self, len: usize) -> Buffer {
        self.pool.take(len)
    }

    /// Keeps `saved` for backward; drops it in a pass that does not record.
    pub fn push<T: Send + 'static>(&mut self, saved: T) {
        if let Some(tape) = &mut self.tape {
            tape.push(Box::new(saved));
        }
    }

    /// Takes back what was kept last.
    ///
    /// # Panics
    /// With `BUG:` if backward does not mirror forward.
    pub fn pop<T: 'static>(&mut self) -> T {
        let saved = self
            .tape
            .as_mut()
            .and_then(Vec::pop)
            .expect("BUG: backward without a recorded forward pass");
        *saved
            .downcast::<T>()
            .unwrap_or_else(|_| panic!("BUG: backward does not mirror forward"))
    }
}
