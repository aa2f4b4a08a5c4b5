// The softmax of attention, forwards and backwards: a warp for each row of [n][heads][tokens][tokens].
#include "prelude.h"

// Products of queries and keys become weights; those of a row's padding, and padding's own rows, become zero.
COOPERATIVE(attention_softmax, int rows, int tokens, int heads, float factor, const u32* lengths, float* weights) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    const int all = lengths ? (int)lengths[row / tokens / heads] : tokens, valid = row % tokens < all ? all : 0;
    float* w = weights + (long long)row * tokens;
    float most = -INFINITE, sum = 0.0f;
    for (int i = lane; i < valid; i += 32) most = fmaxf(most, w[i]);
    most = warp_max(most);
    for (int i = lane; i < valid; i += 32) sum += expf(factor * (w[i] - most));
    sum = warp_sum(sum);
    if (at >= rows) return;
    for (int i = lane; i < tokens; i += 32) w[i] = i < valid ? expf(factor * (w[i] - most)) / sum : 0.0f;
}

// The gradients of weights become those of the products: w (dw - sum(w dw)) factor.
COOPERATIVE(attention_softmax_backward, int rows, int tokens, int heads, float factor, const u32* lengths, const float* weights, float* gradient) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    const int all = lengths ? (int)lengths[row / tokens / heads] : tokens, valid = row % tokens < all ? all : 0;
    const float* w = weights + (long long)row * tokens;
    float* d = gradient + (long long)row * tokens;
    float along = 0.0f;
    for (int i = lane; i < valid; i += 32) along += w[i] * d[i];
    along = warp_sum(along);
    if (at >= rows) return;
    for (int i = lane; i < tokens; i += 32) d[i] = i < valid ? factor * w[i] * (d[i] - along) : 0.0f;
}
