// Losses with their gradients: softmax cross-entropy, and what NT-Xent and InfoNCE are made of besides products. A warp for each row.
#include "prelude.h"

// u = z / sqrt(|z|^2 + 1e-24), and the root.
COOPERATIVE(unit_rows, int rows, int dim, const float* z, float* unit, float* norms) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    const float* from = z + (long long)row * dim;
    float sum = 0.0f;
    for (int i = lane; i < dim; i += 32) sum += from[i] * from[i];
    const float norm = sqrtf(warp_sum(sum) + 1e-24f);
    if (at >= rows) return;
    for (int i = lane; i < dim; i += 32) unit[(long long)row * dim + i] = from[i] / norm;
    if (lane == 0) norms[row] = norm;
}

// d = (d - u (u d)) / norm.
COOPERATIVE(unit_rows_backward, int rows, int dim, const float* unit, const float* norms, float* d) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    const float* u = unit + (long long)row * dim;
    float* to = d + (long long)row * dim;
    float along = 0.0f;
    for (int i = lane; i < dim; i += 32) along += u[i] * to[i];
    along = warp_sum(along);
    if (at >= rows) return;
    for (int i = lane; i < dim; i += 32) to[i] = (to[i] - u[i] * along) / norms[row];
}

// out[row step] = factor a b, row by row.
COOPERATIVE(row_products, int rows, int dim, float factor, const float* a, const float* b, int step, float* out) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    float sum = 0.0f;
    for (int i = lane; i < dim; i += 32) sum += a[(long long)row * dim + i] * b[(long long)row * dim + i];
    sum = warp_sum(sum);
    if (at < rows && lane == 0) out[(long long)row * step] = factor * sum;
}
// to += factors[row step] from, row by row.
POINTWISE(add_scaled_rows, long long len, int dim, int step, const float* factors, const float* from, float* to) {
    const long long i = flat_index();
    if (i < len) to[i] += factors[i / dim * step] * from[i];
}

// Scores [rows][columns] become `share` times the gradient of the sum of the rows' losses, log sum exp s - s[target]. The target of
// row i is column (i + shift) % rows if `pairs` (and column i does not count: NT-Xent), `shift` if not (InfoNCE).
COOPERATIVE(contrast_rows, int rows, int columns, int pairs, int shift, float share, float* scores, float* losses) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    const int target = pairs ? (row + shift) % rows : shift, masked = pairs ? row : -1;
    float* s = scores + (long long)row * columns;
    const float own = s[target];
    float most = -INFINITE, sum = 0.0f;
    for (int i = lane; i < columns; i += 32)
        if (i != masked) most = fmaxf(most, s[i]);
    most = warp_max(most);
    for (int i = lane; i < columns; i += 32)
        if (i != masked) sum += expf(s[i] - most);
    sum = warp_sum(sum);
    if (at >= rows) return;
    for (int i = lane; i < columns; i += 32) s[i] = i == masked ? 0.0f : share * (expf(s[i] - most) / sum - (i == target ? 1.0f : 0.0f));
    if (lane == 0) losses[row] = logf(sum) + most - own;
}

// Cross-entropy of logits with a distribution for each row: each row's loss, and the gradient of the mean.
COOPERATIVE(cross_entropy, int rows, int classes, const float* logits, const float* targets, float* gradient, float* losses) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    const float* x = logits + (long long)row * classes;
    const float* q = targets + (long long)row * classes;
    float most = -INFINITE, sum = 0.0f, mass = 0.0f, along = 0.0f;
    for (int i = lane; i < classes; i += 32) most = fmaxf(most, x[i]);
    most = warp_max(most);
    for (int i = lane; i < classes; i += 32) sum += expf(x[i] - most), mass += q[i], along += q[i] * (x[i] - most);
    sum = warp_sum(sum), mass = warp_sum(mass), along = warp_sum(along);
    if (at >= rows) return;
    for (int i = lane; i < classes; i += 32) gradient[(long long)row * classes + i] = (mass * expf(x[i] - most) / sum - q[i]) / rows;
    if (lane == 0) losses[row] = mass * logf(sum) - along;
}

// out[0] = factor times the sum of all, in f64; one block.
COOPERATIVE(sum_values, long long len, float factor, const float* from, float* out) {
    double sum = 0.0;
    for (long long i = threadIdx.x; i < len; i += THREADS) sum += from[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) out[0] = (float)(sum * factor);
}
