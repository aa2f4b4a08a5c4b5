// Optimisers over all tensors in one launch. A block has CHUNK values of one tensor; `starts` says at which block each tensor begins.
#include "prelude.h"

struct Tensor {
    float* value;
    float* grad; // zero afterwards
    float* first;
    float* second;
    long long len;
    // SGD and LARS: rate, decay, whether it is adapted. Adam: rate, root of the second correction, penalty, what is kept.
    float constants[4];
};

constexpr int CHUNK = 4096;

DEVICE int tensor_of(int tensors, const u32* starts) {
    int from = 0, to = tensors;
    while (to - from > 1) {
        const int middle = (from + to) / 2;
        if (starts[middle] <= blockIdx.x) from = middle;
        else to = middle;
    }
    return from;
}
template <class F> DEVICE void each_value(const Tensor& t, u32 start, F f) {
    const long long from = (long long)(blockIdx.x - start) * CHUNK;
    for (int i = threadIdx.x; i < CHUNK && from + i < t.len; i += THREADS) f(from + i);
}

POINTWISE(sgd, int tensors, const Tensor* table, const u32* starts, float momentum, int nesterov) {
    const int which = tensor_of(tensors, starts);
    const Tensor t = table[which];
    each_value(t, starts[which], [&](long long i) {
        const float g = t.grad[i] + t.constants[1] * t.value[i], v = momentum * t.first[i] + g;
        t.first[i] = v, t.grad[i] = 0.0f;
        t.value[i] -= t.constants[0] * (nesterov ? g + momentum * v : v);
    });
}

POINTWISE(adam, int tensors, const Tensor* table, const u32* starts, float b1, float b2, float eps) {
    const int which = tensor_of(tensors, starts);
    const Tensor t = table[which];
    each_value(t, starts[which], [&](long long i) {
        const float w = t.value[i], g = t.grad[i] + t.constants[2] * w;
        const float m = b1 * t.first[i] + (1.0f - b1) * g, v = b2 * t.second[i] + (1.0f - b2) * g * g;
        t.first[i] = m, t.second[i] = v, t.grad[i] = 0.0f;
        t.value[i] = w * t.constants[3] - t.constants[0] * m / (sqrtf(v) / t.constants[1] + eps);
    });
}

// The sum over the block, in f64; every thread gets it.
DEVICE double block_sum(double v) {
    double* shared = reinterpret_cast<double*>(dynamic_shared);
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
    __syncthreads();
    double sum = 0.0;
    for (int i = 0; i < THREADS / 32; i++) sum += shared[i];
    __syncthreads();
    return sum;
}

// parts[block]: squares of the weights and of the decayed gradient.
COOPERATIVE(lars_parts, int tensors, const Tensor* table, const u32* starts, double* parts) {
    const int which = tensor_of(tensors, starts);
    const Tensor t = table[which];
    double weights = 0.0, gradient = 0.0;
    each_value(t, starts[which], [&](long long i) {
        const float g = t.grad[i] + t.constants[1] * t.value[i];
        weights += (double)t.value[i] * t.value[i], gradient += (double)g * g;
    });
    weights = block_sum(weights), gradient = block_sum(gradient);
    if (threadIdx.x == 0) parts[2 * blockIdx.x] = weights, parts[2 * blockIdx.x + 1] = gradient;
}

COOPERATIVE(lars, int tensors, const Tensor* table, const u32* starts, const double* parts, float momentum, float eta) {
    const int which = tensor_of(tensors, starts);
    const Tensor t = table[which];
    double weights = 0.0, gradient = 0.0;
    for (u32 i = starts[which] + threadIdx.x; i < starts[which + 1]; i += THREADS) weights += parts[2 * i], gradient += parts[2 * i + 1];
    weights = sqrt(block_sum(weights)), gradient = sqrt(block_sum(gradient));
    const bool adapted = t.constants[2] != 0.0f && weights > 0.0 && gradient > 0.0;
    const float rate = t.constants[0] * (adapted ? (float)(eta * weights / gradient) : 1.0f);
    each_value(t, starts[which], [&](long long i) {
        const float v = momentum * t.first[i] + rate * (t.grad[i] + t.constants[1] * t.value[i]);
        t.first[i] = v, t.grad[i] = 0.0f;
        t.value[i] -= v;
    });
}
