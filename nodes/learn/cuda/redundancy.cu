// What Barlow Twins and VICReg are made of besides moments and products: their matrices of dimensions become gradients. A warp for each row.
#include "prelude.h"

// The correlation C of two standardised views, [dim][dim], becomes the gradient by it of sum_i (1 - C_ii)^2 + lambda sum_{i != j} C_ij^2;
// each row's part of that.
COOPERATIVE(correlation_rows, int dim, float lambda, float* correlation, float* losses) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < dim ? at : dim - 1;
    float* c = correlation + (long long)row * dim;
    float sum = 0.0f;
    for (int i = lane; i < dim; i += 32) {
        const float off = i == row ? c[i] - 1.0f : c[i], weight = i == row ? 1.0f : lambda;
        sum += weight * off * off;
    }
    sum = warp_sum(sum);
    if (at >= dim) return;
    for (int i = lane; i < dim; i += 32) c[i] = i == row ? 2.0f * (c[i] - 1.0f) : 2.0f * lambda * c[i];
    if (lane == 0) losses[row] = sum;
}

// The covariance of the centred columns Z, [dim][dim] of n - 1 degrees, becomes the matrix M for which Z M is the gradient by Z of
// `variance` sum_i max(0, 1 - sqrt(C_ii + eps)) + `covariance` sum_{i != j} C_ij^2; each row's part of that.
COOPERATIVE(covariance_rows, int dim, float degrees, float variance, float covariance, float eps, float* matrix, float* losses) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < dim ? at : dim - 1;
    float* c = matrix + (long long)row * dim;
    const float deviation = sqrtf(c[row] + eps), lack = deviation < 1.0f ? 1.0f - deviation : 0.0f;
    float sum = 0.0f;
    for (int i = lane; i < dim; i += 32)
        if (i != row) sum += c[i] * c[i];
    sum = warp_sum(sum);
    if (at >= dim) return;
    for (int i = lane; i < dim; i += 32)
        if (i != row) c[i] *= 4.0f * covariance / degrees;
    if (lane == 0) {
        c[row] = lack > 0.0f ? -variance / (degrees * deviation) : 0.0f;
        losses[row] = variance * lack + covariance * sum;
    }
}

// `factor` times the squared distances of two views' rows, and the gradients of their sum.
COOPERATIVE(distance_rows, int rows, int dim, float factor, const float* a, const float* b, float* da, float* db, float* losses) {
    const int lane = threadIdx.x % 32, at = blockIdx.x * 8 + threadIdx.x / 32, row = at < rows ? at : rows - 1;
    float sum = 0.0f;
    for (int i = lane; i < dim; i += 32) {
        const long long place = (long long)row * dim + i;
        const float difference = a[place] - b[place];
        sum += difference * difference;
        if (at < rows) da[place] = 2.0f * factor * difference, db[place] = -2.0f * factor * difference;
    }
    sum = warp_sum(sum);
    if (at < rows && lane == 0) losses[row] = factor * sum;
}
