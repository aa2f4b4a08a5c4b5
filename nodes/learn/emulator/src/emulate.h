// CUDA's model of execution on one thread of the host: the emulator's half of `prelude.h`. For tests alone.
//
// Pointwise kernels are loops. In cooperative ones each CUDA thread is a fiber: a warp's fibers run until all of them wait, and warps
// take turns in an order that changes all the time, as nobody may rely on one. Shared memory begins as NaN, and a copy in the
// background is made no earlier than the wait for it.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <utility>
#include <vector>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

typedef uint32_t u32;
#define DEVICE inline
#define __restrict__ __restrict
#define INFINITE INFINITY

struct alignas(16) float4 {
    float x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
struct alignas(8) float2 {
    float x, y;
};
static inline float2 make_float2(float x, float y) { return {x, y}; }

namespace emu {
struct Index {
    u32 x, y, z;
};

// --- fibers -------------------------------------------------------------------------------------------------------------------
#if defined(__x86_64__)
typedef void* Context;
// Keeps the registers that a call must keep on the old stack and takes those of the new one.
extern "C" void flow_emulator_switch(Context* from, Context to);
asm(R"(
.text
.type flow_emulator_switch,@function
flow_emulator_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size flow_emulator_switch,.-flow_emulator_switch
)");
static inline void switch_to(Context& from, Context& to) { flow_emulator_switch(&from, to); }
static inline void prepare(Context& context, std::vector<char>& stack, void (*entry)()) {
    auto top = (uintptr_t)(stack.data() + stack.size()) & ~(uintptr_t)15;
    void** at = (void**)top;
    *--at = nullptr;        // Where a return address would be: the entry does not return.
    *--at = (void*)entry;
    for (int i = 0; i < 6; i++) *--at = nullptr;
    context = at;
}
#else
typedef ucontext_t Context;
static inline void switch_to(Context& from, Context& to) { swapcontext(&from, &to); }
static inline void prepare(Context& context, std::vector<char>& stack, void (*entry)()) {
    getcontext(&context);
    context.uc_stack.ss_sp = stack.data();
    context.uc_stack.ss_size = stack.size();
    context.uc_link = nullptr;
    makecontext(&context, entry, 0);
}
#endif

enum Waiting { FOR_NOTHING, FOR_WARP, FOR_BLOCK, FOR_EVER };
struct Copy {
    float* to;
    const float* from;
    int width;
    int group;
};
struct Fiber {
    Context context;
    std::vector<char> stack;
    Waiting waiting;
    // What it brings to the warp's common operation; the last one to come does it for all.
    void* brought;
    std::vector<Copy> copies;
    int groups;
};
typedef void (*Common)(void** brought);

static thread_local Index thread_at, block_at, block_dim, grid_dim;
static thread_local std::vector<Fiber> fibers;
static thread_local u32 current, seed = 1;
static thread_local Context scheduler;
static thread_local void (*body)(void*, void**);
static thread_local void* body_kernel;
static thread_local void** body_arguments;
static thread_local std::vector<float> shared;
// The negative control: barriers of a block that nobody waits at.
static thread_local bool no_barriers = false;

static inline void wait(Waiting waiting) {
    Fiber& me = fibers[current];
    me.waiting = waiting;
    switch_to(me.context, scheduler);
}
static inline void entry() {
    body(body_kernel, body_arguments);
    wait(FOR_EVER);
}
static inline void in_common(void* brought, Common common) {
    constexpr u32 LANES = 32;
    const u32 first = current / LANES * LANES;
    fibers[current].brought = brought;
    for (u32 i = first; i < first + LANES; i++)
        if (i != current && fibers[i].waiting != FOR_WARP) return wait(FOR_WARP);
    void* all[LANES];
    for (u32 i = 0; i < LANES; i++) all[i] = fibers[first + i].brought, fibers[first + i].waiting = FOR_NOTHING;
    common(all);
}

// Whether every thread came to its end; not if lanes wait for one that is there no more.
static inline bool run_block(u32 threads) {
    fibers.resize(threads);
    for (u32 i = 0; i < threads; i++) {
        Fiber& fiber = fibers[i];
        if (fiber.stack.empty()) fiber.stack.resize(32 << 10);
        prepare(fiber.context, fiber.stack, entry);
        fiber.waiting = FOR_NOTHING;
        fiber.copies.clear();
        fiber.groups = 0;
    }
    const u32 warps = threads / 32;
    for (;;) {
        seed = seed * 1664525u + 1013904223u;
        for (u32 turn = 0; turn < warps; turn++) {
            const u32 warp = (turn + (seed >> 8)) % warps;
            for (bool ran = true; ran;) {
                ran = false;
                for (u32 i = warp * 32; i < warp * 32 + 32; i++) {
                    if (fibers[i].waiting != FOR_NOTHING) continue;
                    current = i;
                    thread_at = {i, 0, 0};
                    switch_to(scheduler, fibers[i].context);
                    ran = true;
                }
            }
        }
        u32 waiting[4] = {};
        for (const Fiber& fiber : fibers) waiting[fiber.waiting]++;
        if (waiting[FOR_EVER] == threads) return true;
        if (waiting[FOR_NOTHING] > 0) continue;
        // A barrier lets go when all that are left have come.
        if (waiting[FOR_WARP] > 0) return false;
        for (Fiber& fiber : fibers)
            if (fiber.waiting == FOR_BLOCK) fiber.waiting = FOR_NOTHING;
    }
}

// --- kernels by name ----------------------------------------------------------------------------------------------------------
struct Kernel {
    void (*run)(void*, void**);
    void* function;
    bool cooperative;
    std::vector<size_t> sizes; // of its arguments
};
static inline std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}
template <class... A, size_t... I> void call(void (*f)(A...), void** arguments, std::index_sequence<I...>) {
    f(*(std::remove_const_t<A>*)arguments[I]...);
}
template <class... A> struct Register {
    Register(const char* name, void (*f)(A...), bool cooperative) {
        auto run = [](void* f, void** arguments) { call((void (*)(A...))f, arguments, std::index_sequence_for<A...>()); };
        kernels()[name] = {run, (void*)f, cooperative, {sizeof(A)...}};
    }
};
} // namespace emu

#define POINTWISE(name, ...)                                   \
    static void name(__VA_ARGS__);                             \
    static emu::Register registered_##name(#name, name, false); \
    static void name(__VA_ARGS__)
#define COOPERATIVE(name, ...)                                \
    static void name(__VA_ARGS__);                            \
    static emu::Register registered_##name(#name, name, true); \
    static void name(__VA_ARGS__)
#define threadIdx emu::thread_at
#define blockIdx emu::block_at
#define blockDim emu::block_dim
#define gridDim emu::grid_dim
#define dynamic_shared (emu::shared.data())

static inline void __syncthreads() {
    if (!emu::no_barriers) emu::wait(emu::FOR_BLOCK);
}
static inline void __syncwarp() {
    emu::in_common(nullptr, [](void**) {});
}
template <class T> T exchange(T v, int mask) {
    struct Brought {
        T value, result;
        int mask;
    } mine{v, v, mask};
    emu::in_common(&mine, [](void** all) {
        for (int i = 0; i < 32; i++) {
            auto* me = (Brought*)all[i];
            me->result = ((Brought*)all[i ^ me->mask])->value;
        }
    });
    return mine.result;
}
static inline float shuffle_xor(float v, int mask) { return exchange(v, mask); }
static inline double shuffle_xor(double v, int mask) { return exchange(v, mask); }

static inline float as_float(u32 v) {
    float f;
    memcpy(&f, &v, 4);
    return f;
}
static inline u32 as_bits(float v) {
    u32 bits;
    memcpy(&bits, &v, 4);
    return bits;
}
// Lane 8 m + r names row r of matrix m; lane 4 r + c gets value c of row r of each.
static inline void load_fragment(const float* row, u32 (&a)[4]) {
    struct Brought {
        const float* row;
        u32* a;
    } mine{row, a};
    emu::in_common(&mine, [](void** all) {
        for (int lane = 0; lane < 32; lane++)
            for (int m = 0; m < 4; m++) ((Brought*)all[lane])->a[m] = as_bits(((Brought*)all[8 * m + lane / 4])->row[lane % 4]);
    });
}
// What a lane brings to a product of fragments.
struct Brought {
    float* d;
    const u32 *a, *b;
};
template <int DEPTH> static inline void multiply_add(void** all, const float (&left)[16][DEPTH], const float (&right)[DEPTH][8]) {
    for (int lane = 0; lane < 32; lane++) {
        auto* one = (Brought*)all[lane];
        for (int i = 0; i < 4; i++) {
            const int row = lane / 4 + i / 2 * 8, col = lane % 4 * 2 + i % 2;
            float sum = one->d[i];
            for (int k = 0; k < DEPTH; k++) sum += left[row][k] * right[k][col];
            one->d[i] = sum;
        }
    }
}
static inline void mma_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    Brought mine{d, a, b};
    emu::in_common(&mine, [](void** all) {
        float left[16][8], right[8][8];
        for (int lane = 0; lane < 32; lane++) {
            const auto* one = (const Brought*)all[lane];
            const int g = lane / 4, t = lane % 4;
            for (int i = 0; i < 4; i++) left[g + i % 2 * 8][t + i / 2 * 4] = as_float(one->a[i] & ~0x1fffu);
            for (int i = 0; i < 2; i++) right[t + i * 4][g] = as_float(one->b[i] & ~0x1fffu);
        }
        multiply_add<8>(all, left, right);
    });
}

static inline u32 bf16(u32 bits) {
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
    return (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
static inline u32 bf16_pair(u32 low, u32 high) { return bf16(low) | bf16(high) << 16; }
static inline void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    Brought mine{d, a, b};
    emu::in_common(&mine, [](void** all) {
        float left[16][16], right[16][8];
        for (int lane = 0; lane < 32; lane++) {
            const auto* one = (const Brought*)all[lane];
            const int g = lane / 4, t = lane % 4;
            for (int half = 0; half < 2; half++) {
                auto value = [&](u32 pair) { return as_float(half ? pair & 0xffff0000u : pair << 16); };
                for (int i = 0; i < 4; i++) left[g + i % 2 * 8][2 * t + half + i / 2 * 8] = value(one->a[i]);
                for (int i = 0; i < 2; i++) right[2 * t + half + i * 8][g] = value(one->b[i]);
            }
        }
        multiply_add<16>(all, left, right);
    });
}

template <int W> static inline void copy_async(float* to, const float* from, bool ok) {
    emu::Fiber& me = emu::fibers[emu::current];
    me.copies.push_back({to, ok ? from : nullptr, W, me.groups});
}
static inline void copies_commit() { emu::fibers[emu::current].groups++; }
template <int N> static inline void copies_wait() {
    emu::Fiber& me = emu::fibers[emu::current];
    size_t done = 0;
    for (; done < me.copies.size() && me.copies[done].group < me.groups - N; done++) {
        const emu::Copy& copy = me.copies[done];
        for (int i = 0; i < copy.width; i++) copy.to[i] = copy.from ? copy.from[i] : 0.0f;
    }
    me.copies.erase(me.copies.begin(), me.copies.begin() + done);
}
