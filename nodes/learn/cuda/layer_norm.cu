// Layer normalisation of the rows of [rows][dim]: a warp for each row. The parameters' gradients are summed as batch norm's.
#include "prelude.h"

// `moments` gets each row's mean and 1 / sqrt(variance + eps), one after the other.
COOPERATIVE(layer_norm, int rows, int dim, float eps, const float* x, const float* weight, const float* bias, float* y, float* moments) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    const float* from = x + (long long)row * dim;
    float sum = 0.0f, squares = 0.0f;
    for (int i = lane; i < dim; i += 32) sum += from[i];
    const float mean = warp_sum(sum) / dim;
    for (int i = lane; i < dim; i += 32) squares += (from[i] - mean) * (from[i] - mean);
    const float inverse = 1.0f / sqrtf(warp_sum(squares) / dim + eps);
    if (at >= rows) return;
    for (int i = lane; i < dim; i += 32) y[(long long)row * dim + i] = inverse * (from[i] - mean) * weight[i] + bias[i];
    if (lane == 0) moments[2 * row] = mean, moments[2 * row + 1] = inverse;
}

// Sums of dy times the normalised row, and of dy: the gradients of weight and bias.
COOPERATIVE(layer_norm_parts, int rows, int dim, int per_split, const float* x, const float* moments, const float* dy, float* parts) {
    column_sums(rows, dim, per_split, parts, [&](long long at, int, int, float& first, float& second) {
        const long long row = at / dim;
        first += dy[at] * (x[at] - moments[2 * row]) * moments[2 * row + 1], second += dy[at];
    });
}

// With g = dy weight and z the normalised row: dx = (g - mean(g) - z mean(g z)) / deviation, over dy.
COOPERATIVE(layer_norm_backward, int rows, int dim, const float* x, const float* moments, const float* weight, float* dy) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    const float* from = x + (long long)row * dim;
    float* d = dy + (long long)row * dim;
    const float mean = moments[2 * row], inverse = moments[2 * row + 1];
    float sum = 0.0f, product = 0.0f;
    for (int i = lane; i < dim; i += 32) {
        const float g = d[i] * weight[i];
        sum += g, product += g * (inverse * (from[i] - mean));
    }
    sum = warp_sum(sum) / dim, product = warp_sum(product) / dim;
    if (at >= rows) return;
    for (int i = lane; i < dim; i += 32) d[i] = inverse * (d[i] * weight[i] - sum - product * (inverse * (from[i] - mean)));
}
