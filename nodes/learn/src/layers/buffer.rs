//! Values on the host, on a device or on both, that are carried when they are asked for.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::device::{Arriving, Cpu, Device, Memory};

/// The host's buffers that were given back, by length, and the device that layers run on. Fresh pages cost a fault each, which a
/// training step would pay for every activation.
#[derive(Debug)]
pub struct BufferPool {
    device: Arc<dyn Device>,
    free: Mutex<BTreeMap<usize, Vec<Vec<f32>>>>,
}

impl Default for BufferPool {
    fn default() -> Self {
        Self::on(Arc::new(Cpu))
    }
}

impl BufferPool {
    /// A pool for work on `device`.
    pub fn on(device: Arc<dyn Device>) -> Self {
        Self {
            device,
            free: Mutex::default(),
        }
    }

    /// Where layers run.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }

    /// A buffer of `len` values with unspecified contents, which gets its memory where it is first used.
    pub fn take(self: &Arc<Self>, len: usize) -> Buffer {
        Buffer(Arc::new(Values::new(len, Some(Arc::clone(self)))))
    }

    fn take_host(&self, len: usize) -> Vec<f32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let reused = free.get_mut(&len).and_then(Vec::pop);
        drop(free);
        reused.unwrap_or_else(|| vec![0.0; len])
    }
}

/// Values that lie on the host, on a device or on both, and go back to their pool when the last reference is dropped. Clones
/// share them until one is written to, which then gets a copy of its own where it is written to.
///
/// As a slice it is the host's: what only a device has is downloaded first, and what is written makes the device's copy void.
#[derive(Clone, Debug)]
pub struct Buffer(Arc<Values>);

/// Where both places have values they are the same; where none has, they are unspecified.
#[derive(Debug)]
struct Values {
    len: usize,
    host: OnceLock<Vec<f32>>,
    placed: OnceLock<Box<dyn Memory>>,
    /// What lies on the device, on its way here.
    arriving: Mutex<Option<Box<dyn Arriving>>>,
    pool: Option<Arc<BufferPool>>,
}

/// What a buffer's own copy of shared values must have.
enum Keep {
    Host,
    Placed,
    Nothing,
}

impl Values {
    fn new(len: usize, pool: Option<Arc<BufferPool>>) -> Self {
        Self {
            len,
            host: OnceLock::new(),
            placed: OnceLock::new(),
            arriving: Mutex::default(),
            pool,
        }
    }

    /// Memory of the host with unspecified contents.
    fn fresh(&self) -> Vec<f32> {
        match &self.pool {
            Some(pool) => pool.take_host(self.len),
            None => vec![0.0; self.len],
        }
    }

    fn downloaded(&self) -> Vec<f32> {
        let mut values = self.fresh();
        let arriving = self.arriving().take();
        match (arriving, self.placed.get()) {
            (Some(arriving), _) => arriving.arrive(&mut values),
            (None, Some(placed)) => placed.download(&mut values),
            (None, None) => (),
        }
        values
    }

    fn arriving(&self) -> MutexGuard<'_, Option<Box<dyn Arriving>>> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(&self) -> &[f32] {
        self.host.get_or_init(|| self.downloaded())
    }

    fn placed(&self, device: &dyn Device) -> &dyn Memory {
        let place = || {
            let mut memory = device.allocate(self.len);
            memory.upload(self.host());
            memory
        };
        self.placed.get_or_init(place).as_ref()
    }

    /// A copy with what is to be kept.
    fn copy(&self, keep: &Keep) -> Self {
        let copy = Self::new(self.len, self.pool.clone());
        match (keep, self.host.get(), self.placed.get()) {
            (Keep::Placed, _, Some(placed)) => {
                copy.placed.get_or_init(|| placed.duplicate());
            }
            (Keep::Nothing, ..) => (),
            (_, Some(host), _) => {
                let mut values = copy.fresh();
                values.copy_from_slice(host);
                copy.host.get_or_init(|| values);
            }
            (_, None, _) => {
                copy.host.get_or_init(|| self.downloaded());
            }
        }
        copy
    }

    /// Gives the host's memory back.
    fn drop_host(&mut self) {
        if let (Some(values), Some(pool)) = (self.host.take(), &self.pool) {
            let mut free = pool.free.lock().unwrap_or_else(PoisonError::into_inner);
            free.entry(self.len).or_default().push(values);
        }
    }
}

impl Buffer {
    /// A buffer of `len` values with unspecified contents, of no pool.
    pub fn unset(len: usize) -> Self {
        Self(Arc::new(Values::new(len, None)))
    }

    /// How many values there are. Nothing is carried for this.
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The host's values, to be overwritten: what they were is neither downloaded nor copied.
    pub fn overwrite(&mut self) -> &mut [f32] {
        self.host_mut(&Keep::Nothing)
    }

    /// Begins to bring the values here, if they lie on a device alone: so the device goes on with what it is asked for next, and they are
    /// waited for when the host looks at them.
    pub fn fetch_ahead(&self) {
        if self.is_empty() {
            return;
        }
        if let (None, Some(placed)) = (self.0.host.get(), self.0.placed.get()) {
            let mut arriving = self.0.arriving();
            if arriving.is_none() {
                *arriving = placed.begin_download();
            }
        }
    }

    /// The values in the device's memory, to be read.
    pub fn on(&self, device: &dyn Device) -> &dyn Memory {
        self.0.placed(device)
    }

    /// The values in the device's memory, to be changed.
    pub fn on_mut(&mut self, device: &dyn Device) -> &mut dyn Memory {
        let values = self.own(&Keep::Placed);
        values.placed(device);
        values.drop_host();
        values.arriving().take();
        values.placed.get_mut().expect("BUG: it was just placed").as_mut()
    }

    /// The device's memory, to be overwritten: nothing is uploaded.
    pub fn out_on(&mut self, device: &dyn Device) -> &mut dyn Memory {
        let values = self.own(&Keep::Nothing);
        values.drop_host();
        values.arriving().take();
        let len = values.len;
        values.placed.get_or_init(|| device.allocate(len));
        values.placed.get_mut().expect("BUG: it was just placed").as_mut()
    }

    /// The values, of which no other buffer has a share.
    fn own(&mut self, keep: &Keep) -> &mut Values {
        if Arc::get_mut(&mut self.0).is_none() {
            self.0 = Arc::new(self.0.copy(keep));
        }
        Arc::get_mut(&mut self.0).expect("BUG: values of one's own are shared")
    }

    fn host_mut(&mut self, keep: &Keep) -> &mut [f32] {
        let values = self.own(keep);
        if values.host.get().is_none() {
            let host = match keep {
                Keep::Nothing => values.fresh(),
                _ => values.downloaded(),
            };
            values.host.get_or_init(|| host);
        }
        values.arriving().take();
        values.placed.take();
        values.host.get_mut().expect("BUG: it was just made")
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(host: Vec<f32>) -> Self {
        let values = Values::new(host.len(), None);
        values.host.get_or_init(|| host);
        Self(Arc::new(values))
    }
}

impl Deref for Buffer {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        self.0.host()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.host_mut(&Keep::Host)
    }
}

impl Drop for Values {
    fn drop(&mut self) {
        self.drop_host();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Mock, Traffic};

    #[test]
    fn a_clone_shares_its_values_until_one_is_written_to() {
        let pool: Arc<BufferPool> = Arc::default();
        let mut first = pool.take(3);
        first.copy_from_slice(&[1.0, 2.0, 3.0]);
        let mut second = first.clone();
        assert_eq!(first.as_ptr(), second.as_ptr());
        second[0] = 9.0;
        assert_eq!((&first[..], &second[..]), (&[1.0, 2.0, 3.0][..], &[9.0, 2.0, 3.0][..]));
    }

    #[test]
    fn a_buffer_goes_back_when_its_last_holder_is_gone() {
        let pool: Arc<BufferPool> = Arc::default();
        let first = pool.take(4);
        let (second, place) = (first.clone(), first.as_ptr());
        drop(first);
        let other = pool.take(4);
        assert_ne!(other.as_ptr(), place, "it is still held");
        drop(second);
        assert_eq!(pool.take(4).as_ptr(), place);
    }

    #[test]
    fn values_are_carried_only_when_the_other_side_asks_for_them() {
        let device = Mock::default();
        let mut buffer = Buffer::from(vec![1.0, 2.0]);
        let carried = |up, down| Traffic {
            up,
            down,
            copies: (up + down) / 8,
        };
        device.relu(&mut buffer);
        device.add(&mut buffer, &Buffer::from(vec![1.0, 1.0]));
        assert_eq!(buffer.len(), 2);
        assert_eq!(device.take_traffic(), carried(16, 0), "each operand once");
        assert_eq!(buffer[..], [2.0, 3.0]);
        assert_eq!(buffer[1], 3.0);
        assert_eq!(device.read(&buffer), [2.0, 3.0]);
        assert_eq!(device.take_traffic(), carried(0, 8), "both sides have it now");
        buffer[0] = 5.0;
        assert_eq!(device.read(&buffer), [5.0, 3.0]);
        assert_eq!(device.take_traffic(), carried(8, 0), "the device's copy was void");
        device.fill(&mut buffer, 7.0);
        buffer.overwrite().fill(1.0);
        assert_eq!(
            device.take_traffic(),
            carried(0, 0),
            "what is overwritten is not carried"
        );
    }

    #[test]
    fn a_clone_on_the_device_is_copied_there() {
        let device = Mock::default();
        let mut first = Buffer::from(vec![1.0, -2.0]);
        device.fill(&mut first, -1.0);
        let second = first.clone();
        device.relu(&mut first);
        assert_eq!(device.take_traffic(), Traffic::default());
        assert_eq!((&first[..], &second[..]), (&[0.0, 0.0][..], &[-1.0, -1.0][..]));
    }
}
