// NVIDIA's driver, as far as flow calls it, over the emulator: a `libcuda.so` for tests of the whole program without a GPU.
//
// What a stream is asked for is done as late as CUDA allows, when somebody waits for it: memory that is used again too early, on the host or on the
// device, is then seen in the results. A call is refused where the driver would: on a thread that has no context, for code of another
// architecture, for memory that was not allocated.
//
// The machine is told by environment variables: EMULATED_GPUS (1), EMULATED_MEMORY in bytes (16 GiB), EMULATED_CAPABILITY (9.0), and
// EMULATED_FAILURE, the number of the launch at which the GPU is lost (none).
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

extern "C" int flow_emulator_launch(const char* name, const uint32_t* grid, uint32_t threads, uint32_t shared, void** arguments, int no_barriers);
extern "C" int flow_emulator_arguments(const char* name, size_t* sizes, int most);

namespace {
enum Result { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, NO_BINARY = 209, NOT_FOUND = 500,
              ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719 };
typedef unsigned long long Address;

struct Stream {
    std::deque<std::function<void()>> todo;
    size_t asked = 0, done = 0;
};
struct Event {
    Stream* stream = nullptr;
    size_t behind = 0;
};
struct Function {
    std::string name;
    std::vector<size_t> sizes;
};

std::recursive_mutex everything;
std::vector<std::unique_ptr<Stream>> streams;
std::map<std::string, std::unique_ptr<Function>> functions;
std::map<Address, size_t> blocks;
size_t allocated = 0;
long launches = 0;
// The error that every later call is answered with, as after one of a kernel.
Result lost = SUCCESS;
thread_local void* current = nullptr;
int the_context;

long number(const char* variable, long otherwise) {
    const char* text = getenv(variable);
    return text && *text ? atol(text) : otherwise;
}
size_t memory() { return (size_t)number("EMULATED_MEMORY", 16L << 30); }
int capability() {
    const char* text = getenv("EMULATED_CAPABILITY");
    int major = 9, minor = 0;
    if (text) sscanf(text, "%d.%d", &major, &minor);
    return 10 * major + minor;
}
// The GPUs that CUDA_VISIBLE_DEVICES lets through, up to the first name that is none's. Of parts of GPUs a process sees the first alone.
int visible() {
    const int all = (int)number("EMULATED_GPUS", 1);
    const char* text = getenv("CUDA_VISIBLE_DEVICES");
    if (!text) return all;
    if (strncmp(text, "MIG-", 4) == 0) return 1;
    int count = 0;
    for (const char* at = text; *at;) {
        char* end;
        const long named = strtol(at, &end, 10);
        if (end == at || named < 0 || named >= all) break;
        count++;
        at = *end == ',' ? end + 1 : end;
    }
    return count;
}
void finish(Stream& stream, size_t until) {
    for (; stream.done < until; stream.done++) {
        auto work = std::move(stream.todo.front());
        stream.todo.pop_front();
        if (lost == SUCCESS) work();
    }
}
void finish_all() {
    for (auto& stream : streams) finish(*stream, stream->asked);
}
void ask(Stream* stream, std::function<void()> work) {
    stream->todo.push_back(std::move(work));
    stream->asked++;
}
bool allocated_there(Address address, size_t bytes) {
    auto next = blocks.upper_bound(address);
    if (next == blocks.begin()) return false;
    const auto& [first, length] = *std::prev(next);
    return address + bytes <= first + length;
}
// Whether a call can be made at all.
Result ready() { return lost != SUCCESS ? lost : current != &the_context ? INVALID_CONTEXT : SUCCESS; }
} // namespace

#define LOCKED std::lock_guard<std::recursive_mutex> lock(everything)
#define READY                                   \
    LOCKED;                                     \
    if (const Result r = ready(); r) return r

extern "C" {
int cuInit(unsigned) { return visible() == 0 ? NO_DEVICE : SUCCESS; }
int cuDriverGetVersion(int* version) { return *version = 13000, SUCCESS; }
int cuDeviceGetCount(int* count) { return *count = visible(), SUCCESS; }
int cuDeviceGet(int* device, int number) { return number < 0 || number >= visible() ? INVALID_DEVICE : (*device = number, SUCCESS); }
int cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = memory(), SUCCESS; }
int cuDeviceGetName(char* name, int length, int) { return snprintf(name, length, "Emulated GPU"), SUCCESS; }
int cuDeviceGetAttribute(int* value, int attribute, int) {
    if (attribute != 75 && attribute != 76) return INVALID_VALUE;
    return *value = attribute == 75 ? capability() / 10 : capability() % 10, SUCCESS;
}
int cuDevicePrimaryCtxRetain(void** context, int) { return *context = &the_context, SUCCESS; }
int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
int cuCtxSetCurrent(void* context) { return current = context, lost; }

int cuStreamCreate(Stream** stream, unsigned) {
    READY;
    streams.push_back(std::make_unique<Stream>());
    return *stream = streams.back().get(), SUCCESS;
}
int cuStreamSynchronize(Stream* stream) {
    READY;
    finish(*stream, stream->asked);
    return lost;
}
int cuStreamDestroy_v2(Stream*) { return SUCCESS; }

int cuModuleLoadData(void** module, const unsigned char* image) {
    READY;
    // A cubin names its architecture in the second byte of its flags; what is none is PTX, which is compiled.
    if (memcmp(image, "\x7f" "ELF", 4) == 0) {
        uint32_t flags;
        memcpy(&flags, image + 48, 4);
        const int built = flags >> 8 & 0xff;
        if (built / 10 != capability() / 10 || built > capability()) return NO_BINARY;
    }
    return *module = &the_context, SUCCESS;
}
int cuModuleUnload(void*) { return SUCCESS; }
int cuModuleGetFunction(Function** function, void*, const char* name) {
    READY;
    size_t sizes[64];
    const int count = flow_emulator_arguments(name, sizes, 64);
    if (count < 0) return NOT_FOUND;
    auto& known = functions[name];
    if (!known) known = std::make_unique<Function>(Function{name, {sizes, sizes + count}});
    return *function = known.get(), SUCCESS;
}
int cuFuncSetAttribute(Function*, int, int bytes) { return bytes > (227 << 10) ? INVALID_VALUE : SUCCESS; }

int cuMemAlloc_v2(Address* address, size_t bytes) {
    READY;
    if (bytes == 0) return INVALID_VALUE;
    if (allocated + bytes > memory()) return OUT_OF_MEMORY;
    void* block = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!block) return OUT_OF_MEMORY;
    memset(block, 0xff, bytes);
    *address = (Address)block;
    blocks[*address] = bytes, allocated += bytes;
    return SUCCESS;
}
int cuMemFree_v2(Address address) {
    READY;
    finish_all();
    auto found = blocks.find(address);
    if (found == blocks.end()) return INVALID_VALUE;
    allocated -= found->second;
    blocks.erase(found);
    free((void*)address);
    return lost;
}
int cuMemGetInfo_v2(size_t* free_bytes, size_t* total) {
    READY;
    return *total = memory(), *free_bytes = memory() - allocated, SUCCESS;
}
int cuMemHostAlloc(void** to, size_t bytes, unsigned) {
    READY;
    *to = aligned_alloc(256, (bytes + 255) / 256 * 256);
    return *to ? SUCCESS : OUT_OF_MEMORY;
}
int cuMemFreeHost(void* memory) {
    LOCKED;
    finish_all();
    free(memory);
    return SUCCESS;
}

int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, Stream* stream) {
    READY;
    if (!allocated_there(to, bytes)) return INVALID_VALUE;
    ask(stream, [=] { memcpy((void*)to, from, bytes); });
    return SUCCESS;
}
int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, Stream* stream) {
    READY;
    if (!allocated_there(from, bytes)) return INVALID_VALUE;
    ask(stream, [=] { memcpy(to, (const void*)from, bytes); });
    return SUCCESS;
}
int cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, Stream* stream) {
    READY;
    if (!allocated_there(to, bytes) || !allocated_there(from, bytes)) return INVALID_VALUE;
    ask(stream, [=] { memcpy((void*)to, (const void*)from, bytes); });
    return SUCCESS;
}

int cuEventCreate(Event** event, unsigned) { return *event = new Event, SUCCESS; }
int cuEventDestroy_v2(Event* event) { return delete event, SUCCESS; }
int cuEventRecord(Event* event, Stream* stream) {
    READY;
    return event->stream = stream, event->behind = stream->asked, SUCCESS;
}
int cuEventSynchronize(Event* event) {
    READY;
    if (event->stream) finish(*event->stream, event->behind);
    return lost;
}

int cuLaunchKernel(Function* function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned, unsigned shared, Stream* stream, void** arguments, void**) {
    READY;
    if (x == 0 || y == 0 || z == 0 || y > 65535 || z > 65535) return INVALID_VALUE;
    // Arguments are copied now, each to a place that is aligned for anything.
    std::vector<std::vector<uint64_t>> copies;
    for (size_t i = 0; i < function->sizes.size(); i++) {
        copies.emplace_back((function->sizes[i] + 7) / 8);
        memcpy(copies.back().data(), arguments[i], function->sizes[i]);
    }
    const long nth = ++launches;
    ask(stream, [=]() mutable {
        if (nth == number("EMULATED_FAILURE", 0)) {
            lost = ILLEGAL_ADDRESS;
            return;
        }
        std::vector<void*> pointers;
        for (auto& copy : copies) pointers.push_back(copy.data());
        const uint32_t grid[3] = {x, y, z};
        if (flow_emulator_launch(function->name.c_str(), grid, threads, shared, pointers.data(), 0) != 0) lost = LAUNCH_FAILED;
    });
    return SUCCESS;
}
}
