// One prelude for both compilers: NVRTC makes the device's code, g++ what the emulator runs.
//
// POINTWISE kernels have no barrier, no shuffle and no shared memory; COOPERATIVE ones may have all three. A block has 256 threads.
#pragma once
#define THREADS 256
#ifdef __CUDACC_RTC__
typedef unsigned int u32;
#define POINTWISE(name, ...) extern "C" __global__ void __launch_bounds__(THREADS) name(__VA_ARGS__)
#define COOPERATIVE(name, ...) extern "C" __global__ void __launch_bounds__(THREADS) name(__VA_ARGS__)
#define DEVICE __device__ __forceinline__
extern __shared__ __align__(16) float dynamic_shared[];

DEVICE u32 as_bits(float v) { return __float_as_uint(v); }
DEVICE float as_float(u32 bits) { return __uint_as_float(bits); }

// A 16 x 8 fragment of a matrix's rows, of which each lane names one half's beginning.
DEVICE void load_fragment(const float* row, u32 (&a)[4]) {
    const u32 shared = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3]) : "r"(shared) : "memory");
}

// d += a b of a 16 x 8 and an 8 x 8 matrix, spread over a warp as PTX's "Matrix Fragments for mma.m16n8k8" says.
DEVICE void mma_tf32(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The nearest BF16 of two numbers, ties to even, the first in the lower half.
DEVICE u32 bf16_pair(u32 low, u32 high) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(as_float(high)), "f"(as_float(low)));
    return r;
}

// d += a b of a 16 x 16 and a 16 x 8 matrix, spread over a warp as PTX's "Matrix Fragments for mma.m16n8k16" says.
DEVICE void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Copies W values (4, aligned to 16 bytes, or 1) from global to shared memory in the background; zeros where not `ok`.
template <int W> DEVICE void copy_async(float* to, const float* from, bool ok) {
    const u32 shared = (u32)__cvta_generic_to_shared(to);
    const int bytes = ok ? 4 * W : 0;
    if constexpr (W == 4)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(bytes));
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared), "l"(from), "r"(bytes));
}
DEVICE void copies_commit() { asm volatile("cp.async.commit_group;"); }
// Waits until at most N of this thread's groups of copies are under way.
template <int N> DEVICE void copies_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N)); }
DEVICE float shuffle_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE double shuffle_xor(double v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
#define INFINITE __int_as_float(0x7f800000)
#else
#include "emulate.h"
#endif

// What tensor cores take for the nearest TF32: they leave out the lowest 13 bits, so about half of a TF32's last place is added first. This
// product with 1 + 2^-11 / (2 ln 2) is one instruction (an exact rounding is two, of a slower kind). It has no bias over numbers of all sizes,
// leaves what is a TF32 already as it is, and what is not a number too.
DEVICE u32 tf32(u32 bits) { return as_bits(as_float(bits) * 1.00035222f); }

DEVICE long long flat_index() { return (long long)blockIdx.x * THREADS + threadIdx.x; }

// The sum over a warp, the same bits in every lane.
template <class T> DEVICE T warp_sum(T v) {
    for (int mask = 16; mask > 0; mask /= 2) v += shuffle_xor(v, mask);
    return v;
}
DEVICE float warp_max(float v) {
    for (int mask = 16; mask > 0; mask /= 2) v = fmaxf(v, shuffle_xor(v, mask));
    return v;
}

// Four values from `at` on, as far as there are any: one access of 16 bytes where all four are there.
DEVICE void load4(const float* from, long long at, long long len, float (&v)[4]) {
    if (at + 4 <= len) {
        const float4 all = *reinterpret_cast<const float4*>(from + at);
        v[0] = all.x, v[1] = all.y, v[2] = all.z, v[3] = all.w;
    } else {
        for (int i = 0; i < 4; i++) v[i] = at + i < len ? from[at + i] : 0.0f;
    }
}
DEVICE void store4(float* to, long long at, long long len, const float (&v)[4]) {
    if (at + 4 <= len)
        *reinterpret_cast<float4*>(to + at) = make_float4(v[0], v[1], v[2], v[3]);
    else
        for (int i = 0; i < 4; i++)
            if (at + i < len) to[at + i] = v[i];
}
