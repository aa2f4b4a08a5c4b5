//! NVIDIA's driver, found when the program runs: nothing of CUDA is needed to build it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::CString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{
    self, CUcontext, CUdevice_attribute_enum as Attribute, CUevent, CUfunction,
    CUfunction_attribute_enum as FunctionAttribute, CUresult, CUstream,
};

use super::cubins::Code;
use super::launcher::{Address, Arg, DeviceError, Done, Download, Launcher, Packed, THREADS};
use super::memory::Block;

/// Pinned memory that uploads go through.
const STAGING: usize = 32 << 20;
/// The most of it that one copy takes.
const PART: usize = 8 << 20;
/// Copies that may be under way.
const UNDER_WAY: usize = 64;
/// Shared memory that a kernel gets without being asked for more.
const USUAL_SHARED: u32 = 48 << 10;

/// A GPU as the driver describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Its number among those that CUDA_VISIBLE_DEVICES lets through.
    pub number: usize,
    /// As in `NVIDIA H100`.
    pub name: String,
    /// Bytes of memory.
    pub memory: usize,
    /// Compute capability.
    pub capability: (i32, i32),
    /// The newest CUDA version that the driver knows, as in `13.0`.
    pub driver: String,
    /// What it runs; nothing if it is too old.
    pub code: Option<Code>,
}

const NO_DRIVER: &str = "no NVIDIA driver was found: there is no libcuda.so on the library path";
const NO_GPU: &str = "the NVIDIA driver sees no GPU; CUDA_VISIBLE_DEVICES may hide it";
/// Why a GPU has no code.
pub const TOO_OLD: &str = "it is too old: compute capability 8.0 or later is needed";

/// The GPUs that CUDA_VISIBLE_DEVICES lets through, or one line that says why there are none.
///
/// # Errors
/// With that line.
pub fn gpus() -> Result<Vec<Gpu>, String> {
    // SAFETY: it opens the library and closes it again, nothing more.
    if !unsafe { sys::is_culib_present() } {
        return Err(NO_DRIVER.to_owned());
    }
    let said = |error: DeviceError| error.to_string();
    let none = || NO_GPU.to_owned();
    // SAFETY: the library is there; it may be initialised any number of times.
    let begun = unsafe { sys::cuInit(0) };
    if begun == CUresult::CUDA_ERROR_NO_DEVICE {
        return Err(none());
    }
    call("begin", || begun).map_err(said)?;
    let (mut count, mut version) = (0, 0);
    // SAFETY: both are written to places for an int.
    call("count the GPUs", || unsafe { sys::cuDeviceGetCount(&raw mut count) }).map_err(said)?;
    // SAFETY: as above.
    call("name its version", || unsafe {
        sys::cuDriverGetVersion(&raw mut version)
    })
    .map_err(said)?;
    if count == 0 {
        return Err(none());
    }
    let driver = format!("{}.{}", version / 1000, version % 1000 / 10);
    (0..count)
        .map(|number| describe(number, &driver).map_err(said))
        .collect()
}

fn describe(number: i32, driver: &str) -> Done<Gpu> {
    let (mut device, mut bytes, mut name) = (0, 0usize, [0u8; 256]);
    // SAFETY: each of these writes to a place of its type, the name at most as many bytes as there are, for a GPU that was counted.
    call("find a GPU", || unsafe { sys::cuDeviceGet(&raw mut device, number) })?;
    // SAFETY: as above.
    call("measure a GPU", || unsafe {
        sys::cuDeviceTotalMem_v2(&raw mut bytes, device)
    })?;
    // SAFETY: as above.
    call("name a GPU", || unsafe {
        sys::cuDeviceGetName(name.as_mut_ptr().cast(), 255, device)
    })?;
    let attribute = |attribute| {
        let mut value = 0;
        // SAFETY: as above.
        call("describe a GPU", || unsafe {
            sys::cuDeviceGetAttribute(&raw mut value, attribute, device)
        })?;
        Ok(value)
    };
    let capability = (
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    Ok(Gpu {
        number: number as usize,
        name: String::from_utf8_lossy(&name[..end]).into_owned(),
        memory: bytes,
        capability,
        driver: driver.to_owned(),
        code: Code::of(capability),
    })
}

/// Asks the driver for something.
fn call(what: &str, ask: impl FnOnce() -> CUresult) -> Done {
    let result = ask();
    if result == CUresult::CUDA_SUCCESS {
        return Ok(());
    }
    Err(DeviceError::Driver {
        what: what.to_owned(),
        code: format!("{result:?} ({})", result as u32),
    })
}

/// A handle of the driver's, which all threads may use.
#[derive(Clone, Copy, Debug)]
struct Handle<T>(T);

// SAFETY: contexts, streams, events, functions and pinned memory belong to the process; the driver locks what threads share.
unsafe impl<T> Send for Handle<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Handle<T> {}

/// One GPU, on which one thing is done after the other.
#[derive(Debug)]
pub struct Driver {
    gpu: Gpu,
    device: i32,
    context: Handle<CUcontext>,
    stream: Handle<CUstream>,
    module: Handle<sys::CUmodule>,
    functions: Mutex<HashMap<&'static str, Handle<CUfunction>>>,
    staging: Mutex<Staging>,
    for_downloads: Arc<PinnedMemory>,
}

/// Pinned memory, used in a ring: each part again when its copy is done.
#[derive(Debug)]
struct Staging {
    memory: Handle<*mut f32>,
    at: usize,
    /// Copies under way, the oldest first: the event behind each, and which bytes it reads.
    under_way: VecDeque<(Handle<CUevent>, std::ops::Range<usize>)>,
    events: Vec<Handle<CUevent>>,
}

impl Driver {
    /// Opens a GPU.
    ///
    /// # Errors
    /// If it is too old, or the driver cannot.
    pub fn open(gpu: &Gpu) -> Done<Self> {
        let code = gpu.code.ok_or_else(|| DeviceError::Driver {
            what: format!(
                "run on {} (compute capability {}.{})",
                gpu.name, gpu.capability.0, gpu.capability.1
            ),
            code: TOO_OLD.to_owned(),
        })?;
        let (mut device, mut context, mut stream, mut module) =
            (0, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut());
        let (mut pinned, image) = (std::ptr::null_mut(), code.image());
        // SAFETY: each of these writes a handle to a place for it; the GPU was counted.
        call("find a GPU", || unsafe {
            sys::cuDeviceGet(&raw mut device, gpu.number as i32)
        })?;
        // SAFETY: as above; it is released when this is dropped.
        call("open a GPU", || unsafe {
            sys::cuDevicePrimaryCtxRetain(&raw mut context, device)
        })?;
        // SAFETY: the context was just opened.
        call("use a GPU", || unsafe { sys::cuCtxSetCurrent(context) })?;
        // SAFETY: as above.
        call("make a stream", || unsafe {
            sys::cuStreamCreate(&raw mut stream, sys::CUstream_flags_enum::CU_STREAM_NON_BLOCKING as u32)
        })?;
        // SAFETY: the image is a whole cubin, or PTX that ends with a zero; the driver copies it.
        call(&format!("load its kernels ({code})"), || unsafe {
            sys::cuModuleLoadData(&raw mut module, image.as_ptr().cast())
        })?;
        // SAFETY: as above.
        call("allocate pinned memory", || unsafe {
            sys::cuMemHostAlloc(&raw mut pinned, STAGING, 0)
        })?;
        Ok(Self {
            gpu: gpu.clone(),
            device,
            context: Handle(context),
            stream: Handle(stream),
            module: Handle(module),
            functions: Mutex::default(),
            staging: Mutex::new(Staging {
                memory: Handle(pinned.cast()),
                at: 0,
                under_way: VecDeque::new(),
                events: Vec::new(),
            }),
            for_downloads: Arc::new(PinnedMemory {
                context: Handle(context),
                free: Mutex::default(),
            }),
        })
    }

    /// Which GPU it is.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Bytes of the GPU's memory that nobody uses.
    ///
    /// # Errors
    /// The driver's.
    pub fn free_memory(&self) -> Done<usize> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both are written to places for a size.
        call("measure its memory", || unsafe {
            sys::cuMemGetInfo_v2(&raw mut free, &raw mut total)
        })?;
        Ok(free)
    }

    /// Makes the GPU this thread's.
    fn enter(&self) -> Done {
        // SAFETY: the context lives as long as this.
        call("use a GPU", || unsafe { sys::cuCtxSetCurrent(self.context.0) })
    }

    fn function(&self, kernel: &'static str, shared: u32) -> Done<CUfunction> {
        let mut functions = lock(&self.functions);
        if let Some(function) = functions.get(kernel) {
            return Ok(function.0);
        }
        let name = CString::new(kernel).expect("BUG: a kernel's name has no zero");
        let mut function = std::ptr::null_mut();
        // SAFETY: the module is loaded, the name ends with a zero, the handle has its place.
        call(&format!("find kernel `{kernel}`"), || unsafe {
            sys::cuModuleGetFunction(&raw mut function, self.module.0, name.as_ptr())
        })?;
        if shared > USUAL_SHARED {
            let attribute = FunctionAttribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function was just found.
            let set = || unsafe { sys::cuFuncSetAttribute(function, attribute, shared as i32) };
            call(&format!("give kernel `{kernel}` {shared} bytes of shared memory"), set)?;
        }
        functions.insert(kernel, Handle(function));
        Ok(function)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn new_event() -> Done<Handle<CUevent>> {
    let mut event = std::ptr::null_mut();
    let flags = sys::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING as u32;
    // SAFETY: the handle has its place.
    call("make an event", || unsafe { sys::cuEventCreate(&raw mut event, flags) })?;
    Ok(Handle(event))
}

/// Pinned memory that values are copied to while the device goes on: what is not in use, by size.
#[derive(Debug)]
struct PinnedMemory {
    context: Handle<CUcontext>,
    free: Mutex<BTreeMap<usize, Vec<Pinned>>>,
}

/// A part of it, and the event behind the copy.
#[derive(Clone, Copy, Debug)]
struct Pinned {
    memory: Handle<*mut f32>,
    event: Handle<CUevent>,
}

impl PinnedMemory {
    /// Memory for so many bytes, on a thread that has the context.
    fn take(&self, bytes: usize) -> Done<Pinned> {
        if let Some(free) = lock(&self.free).get_mut(&bytes).and_then(Vec::pop) {
            return Ok(free);
        }
        let (event, mut memory) = (new_event()?, std::ptr::null_mut());
        // SAFETY: the address has its place.
        call("allocate pinned memory", || unsafe {
            sys::cuMemHostAlloc(&raw mut memory, bytes, 0)
        })?;
        let memory = Handle(memory.cast());
        Ok(Pinned { memory, event })
    }
}

/// A copy under way.
#[derive(Debug)]
struct PinnedDownload {
    to: Pinned,
    len: usize,
    for_downloads: Arc<PinnedMemory>,
}

impl Download for PinnedDownload {
    fn finish(self: Box<Self>, to: &mut [f32]) -> Done {
        assert_eq!(self.len, to.len(), "BUG: values do not fit their memory");
        // SAFETY: the context lives as long as the device, which whoever waits holds.
        call("use a GPU", || unsafe {
            sys::cuCtxSetCurrent(self.for_downloads.context.0)
        })?;
        // SAFETY: the event was recorded behind the copy.
        call("wait for a copy", || unsafe {
            sys::cuEventSynchronize(self.to.event.0)
        })?;
        // SAFETY: the pinned memory has as many values, which the copy has written and nothing else refers to.
        unsafe { std::ptr::copy_nonoverlapping(self.to.memory.0, to.as_mut_ptr(), self.len) };
        Ok(())
    }
}

impl Drop for PinnedDownload {
    fn drop(&mut self) {
        // The next copy to this memory comes behind this one, and is waited for by its own event.
        let mut free = lock(&self.for_downloads.free);
        free.entry(4 * self.len).or_default().push(self.to);
    }
}

impl Staging {
    /// Copies values into pinned memory that no copy reads any more; the event is to be recorded behind their copy.
    fn put(&mut self, from: &[f32]) -> Done<(*const f32, CUevent)> {
        let bytes = size_of_val(from);
        if self.at + bytes > STAGING {
            self.at = 0;
        }
        let range = self.at..self.at + bytes;
        let overlaps = |used: &std::ops::Range<usize>| used.start < range.end && range.start < used.end;
        while self.under_way.len() >= UNDER_WAY || self.under_way.iter().any(|(_, used)| overlaps(used)) {
            let Some((event, _)) = self.under_way.front() else {
                break;
            };
            // SAFETY: the event was recorded when the copy was asked for.
            call("wait for a copy", || unsafe { sys::cuEventSynchronize(event.0) })?;
            self.events.extend(self.under_way.pop_front().map(|(event, _)| event));
        }
        let event = match self.events.pop() {
            Some(event) => event,
            None => new_event()?,
        };
        // SAFETY: the range lies within the pinned memory, which nothing else refers to; no copy reads this part any more.
        let to = unsafe {
            let to = self.memory.0.byte_add(range.start);
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
            to
        };
        // Parts begin at whole cache lines.
        self.at = range.end.next_multiple_of(256);
        self.under_way.push_back((event, range));
        Ok((to, event.0))
    }
}

impl Launcher for Driver {
    fn allocate(&self, bytes: usize) -> Done<Option<Address>> {
        self.enter()?;
        let mut address = 0;
        // SAFETY: the address has its place.
        let result = unsafe { sys::cuMemAlloc_v2(&raw mut address, bytes) };
        if result == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
            return Ok(None);
        }
        call(&format!("allocate {bytes} bytes"), || result)?;
        Ok(Some(address))
    }

    fn free(&self, address: Address) {
        // SAFETY: it was allocated here, nothing refers to it, and the driver waits for what runs. A failure would be of something
        // before, which whoever waits for that sees.
        let _ = self
            .enter()
            .and_then(|()| call("free memory", || unsafe { sys::cuMemFree_v2(address) }));
    }

    fn upload(&self, from: &[f32], to: &Block) -> Done {
        assert_eq!(from.len(), to.len(), "BUG: values do not fit their memory");
        self.enter()?;
        let mut staging = lock(&self.staging);
        let part = PART / size_of::<f32>();
        for (i, values) in from.chunks(part).enumerate() {
            let (pinned, event) = staging.put(values)?;
            let address = to.address() + (i * PART) as u64;
            // SAFETY: the part lies within the block, and the pinned memory is not written before the event.
            call("upload values", || unsafe {
                sys::cuMemcpyHtoDAsync_v2(address, pinned.cast(), size_of_val(values), self.stream.0)
            })?;
            // SAFETY: event and stream live.
            call("mark a copy", || unsafe { sys::cuEventRecord(event, self.stream.0) })?;
        }
        Ok(())
    }

    fn download(&self, from: &Block, to: &mut [f32]) -> Done {
        assert_eq!(from.len(), to.len(), "BUG: values do not fit their memory");
        self.enter()?;
        // SAFETY: the block has as many values, and they are waited for before `to` is let go.
        call("download values", || unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from.address(), size_of_val(to), self.stream.0)
        })?;
        self.synchronise()
    }

    fn begin_download(&self, from: &Block) -> Done<Box<dyn Download>> {
        self.enter()?;
        let bytes = 4 * from.len();
        let to = self.for_downloads.take(bytes)?;
        let begun = PinnedDownload {
            to,
            len: from.len(),
            for_downloads: Arc::clone(&self.for_downloads),
        };
        // SAFETY: block and pinned memory have as many values, and this part of it is the copy's until that is dropped.
        call("download values", || unsafe {
            sys::cuMemcpyDtoHAsync_v2(to.memory.0.cast(), from.address(), bytes, self.stream.0)
        })?;
        // SAFETY: event and stream live.
        call("mark a copy", || unsafe {
            sys::cuEventRecord(to.event.0, self.stream.0)
        })?;
        Ok(Box::new(begun))
    }

    fn copy(&self, from: &Block, to: &Block) -> Done {
        assert_eq!(from.len(), to.len(), "BUG: values do not fit their memory");
        self.enter()?;
        // SAFETY: both blocks have as many values.
        call("copy values", || unsafe {
            sys::cuMemcpyDtoDAsync_v2(to.address(), from.address(), 4 * from.len(), self.stream.0)
        })
    }

    fn launch(&self, kernel: &'static str, [x, y, z]: [u32; 3], shared: u32, args: &[Arg<'_>]) -> Done {
        self.enter()?;
        let function = self.function(kernel, shared)?;
        let mut packed = Packed::new(args);
        let mut pointers = packed.pointers();
        // SAFETY: every pointer is to an argument of the type that the kernel has, which the driver copies before it returns. Memory
        // that is given back meanwhile is taken again only for what comes later in the same stream.
        call(&format!("run `{kernel}` on {x} x {y} x {z} blocks"), || unsafe {
            sys::cuLaunchKernel(
                function,
                x,
                y,
                z,
                THREADS,
                1,
                1,
                shared,
                self.stream.0,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        })
    }

    fn synchronise(&self) -> Done {
        self.enter()?;
        // SAFETY: the stream lives as long as this.
        call("finish its kernels", || unsafe {
            sys::cuStreamSynchronize(self.stream.0)
        })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // What fails here has failed before: there is nobody left to tell.
        let _ = self.synchronise();
        let staging = lock(&self.staging);
        for event in staging.under_way.iter().map(|(event, _)| event).chain(&staging.events) {
            // SAFETY: the event lives, and all copies are done.
            let _ = unsafe { sys::cuEventDestroy_v2(event.0) };
        }
        for pinned in lock(&self.for_downloads.free).values().flatten() {
            // SAFETY: both were made for this device, whose copies are done.
            unsafe {
                let _ = sys::cuEventDestroy_v2(pinned.event.0);
                let _ = sys::cuMemFreeHost(pinned.memory.0.cast());
            }
        }
        // SAFETY: all that ran is done, and nothing of this is used afterwards.
        unsafe {
            let _ = sys::cuMemFreeHost(staging.memory.0.cast());
            let _ = sys::cuModuleUnload(self.module.0);
            let _ = sys::cuStreamDestroy_v2(self.stream.0);
            let _ = sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_usable_gpu_is_told_why() {
        let gpu = Gpu {
            number: 0,
            name: "a card of 2017".to_owned(),
            memory: 16 << 30,
            capability: (7, 0),
            driver: "12.9".to_owned(),
            code: None,
        };
        let old = Driver::open(&gpu).err().map(|error| error.to_string());
        insta::assert_snapshot!([NO_DRIVER, NO_GPU, &old.unwrap_or_default()].join("\n"));
    }
}
