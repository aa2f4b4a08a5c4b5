//! Working memory of kernels that is kept from call to call: fresh pages cost a fault each, which a training step would pay
//! again and again.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with `len` values of unspecified contents that belong to this thread. Calls may nest.
pub(super) fn with<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken out while in use: the thread pool may start another task of ours on this thread within `work`.
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    let result = work(&mut buffer[..len]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}

#[cfg(test)]
mod tests {
    #[test]
    fn nested_calls_have_memory_of_their_own() {
        super::with(8, |outer| {
            outer.fill(1.0);
            super::with(16, |inner| inner.fill(2.0));
            assert!(outer.iter().all(|v| *v == 1.0));
        });
    }
}
