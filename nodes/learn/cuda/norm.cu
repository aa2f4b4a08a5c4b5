// Batch normalisation over the rows of a channel-last matrix [rows][channels], ReLU fused in. A block sums 32 channels of a split of the
// rows, in f32 around the split's first row; a warp merges a channel's splits in f64 (Chan et al. 1983), always in the same order.
#include "prelude.h"

// Adds up the two terms of every row of the block's split: parts[split][2][channels].
template <class F> DEVICE void column_sums(int rows, int channels, int per_split, float* parts, F terms) {
    float* shared = dynamic_shared;
    const int lane = threadIdx.x % 32, line = threadIdx.x / 32, c = blockIdx.x * 32 + lane;
    const int from = blockIdx.y * per_split, to = from + per_split < rows ? from + per_split : rows;
    float first = 0.0f, second = 0.0f;
    if (c < channels) {
#pragma unroll 4
        for (int row = from + line; row < to; row += 8) terms((long long)row * channels + c, from, c, first, second);
    }
    shared[line * 64 + lane] = first, shared[line * 64 + 32 + lane] = second;
    __syncthreads();
    if (line < 2 && c < channels) {
        float sum = 0.0f;
        for (int i = 0; i < 8; i++) sum += shared[i * 64 + line * 32 + lane];
        parts[((long long)blockIdx.y * 2 + line) * channels + c] = sum;
    }
}

COOPERATIVE(moments_parts, int rows, int channels, int per_split, const float* x, float* parts) {
    column_sums(rows, channels, per_split, parts, [&](long long at, int from, int c, float& first, float& second) {
        const float d = x[at] - x[(long long)from * channels + c];
        first += d, second += d * d;
    });
}

// Mean of each channel, and 1 / sqrt(variance + eps) of its biased variance. Running statistics, if there are any, move by `share` towards mean and
// variance, this one times `unbiased`.
COOPERATIVE(moments_merge, int rows, int channels, int per_split, int splits, float eps, float share, float unbiased, const float* x, const float* parts, float* mean_of,
            float* inverse_of, float* running_mean, float* running_variance) {
    const int lane = threadIdx.x % 32, c = blockIdx.x * 8 + threadIdx.x / 32, column = c < channels ? c : channels - 1;
    double count = 0.0, mean = 0.0, squares = 0.0;
    auto merge = [&](double other, double other_mean, double other_squares) {
        const double total = count + other;
        if (other == 0.0) return;
        const double delta = other_mean - mean;
        mean += delta * other / total;
        squares += other_squares + delta * delta * count * other / total;
        count = total;
    };
    for (int split = lane; split < splits; split += 32) {
        const int from = split * per_split, n = rows - from < per_split ? rows - from : per_split;
        const double shift = (double)parts[(long long)split * 2 * channels + column] / n;
        const double second = parts[((long long)split * 2 + 1) * channels + column];
        merge(n, x[(long long)from * channels + column] + shift, second - shift * shift * n);
    }
    for (int mask = 16; mask > 0; mask /= 2) {
        const double n = shuffle_xor(count, mask), m = shuffle_xor(mean, mask), s = shuffle_xor(squares, mask);
        merge(n, m, s);
    }
    if (lane != 0 || c >= channels) return;
    const float variance = (float)((squares > 0.0 ? squares : 0.0) / (count > 0.0 ? count : 1.0));
    mean_of[c] = (float)mean;
    inverse_of[c] = 1.0f / sqrtf(variance + eps);
    if (!running_mean) return;
    running_mean[c] += share * ((float)mean - running_mean[c]);
    running_variance[c] += share * (variance * unbiased - running_variance[c]);
}

POINTWISE(inverse_deviation, int channels, float eps, const float* variance, float* inverse) {
    const int c = (int)flat_index();
    if (c < channels) inverse[c] = 1.0f / sqrtf(variance[c] + eps);
}

// y = (x - mean) inverse weight + bias, then ReLU if asked.
POINTWISE(normalise, long long len, int channels, int relu, const float* x, const float* mean, const float* inverse, const float* weight, const float* bias, float* y) {
    const long long at = 4 * flat_index();
    if (at >= len) return;
    float v[4];
    load4(x, at, len, v);
    int c = at % channels;
    for (int i = 0; i < 4; i++) {
        const float scale = weight[c] * inverse[c];
        v[i] = v[i] * scale + (bias[c] - mean[c] * scale);
        if (relu && v[i] <= 0.0f) v[i] = 0.0f;
        if (++c == channels) c = 0;
    }
    store4(y, at, len, v);
}

// The gradient behind ReLU, whose input is looked at again.
DEVICE float behind_relu(int relu, float dy, float x, float scale, float shift) { return relu && x * scale + shift <= 0.0f ? 0.0f : dy; }

COOPERATIVE(gradient_parts, int rows, int channels, int per_split, int relu, const float* x, const float* dy, const float* mean, const float* inverse, const float* weight,
            const float* bias, float* parts) {
    column_sums(rows, channels, per_split, parts, [&](long long at, int, int c, float& first, float& second) {
        const float scale = weight[c] * inverse[c], dz = behind_relu(relu, dy[at], x[at], scale, bias[c] - mean[c] * scale);
        first += dz, second += dz * (x[at] - mean[c]);
    });
}

// Adds to the parameters' gradients, and makes the two constants of each channel of the input's: see normalise_backward.
COOPERATIVE(gradient_merge, int rows, int channels, int splits, int batch_statistics, const float* parts, const float* mean, const float* inverse, const float* weight,
            float* dweight, float* dbias, float* constants) {
    const int lane = threadIdx.x % 32, c = blockIdx.x * 8 + threadIdx.x / 32, column = c < channels ? c : channels - 1;
    double sum = 0.0, product = 0.0;
    for (int split = lane; split < splits; split += 32) {
        sum += parts[(long long)split * 2 * channels + column];
        product += parts[((long long)split * 2 + 1) * channels + column];
    }
    sum = warp_sum(sum), product = warp_sum(product) * inverse[column];
    if (lane != 0 || c >= channels) return;
    dbias[c] += (float)sum;
    dweight[c] += (float)product;
    const double scale = (double)(weight[c] * inverse[c]), slope = batch_statistics ? scale * product / rows * inverse[c] : 0.0;
    constants[c] = (float)slope;
    constants[channels + c] = batch_statistics ? (float)(scale * sum / rows - slope * mean[c]) : 0.0f;
}

// dy = scale dz - x slope - offset: `dx = w s (dz - mean(dz) - x^ mean(dz x^))` (Ioffe & Szegedy 2015, section 3).
POINTWISE(normalise_backward, long long len, int channels, int relu, const float* x, const float* mean, const float* inverse, const float* weight, const float* bias,
          const float* constants, float* dy) {
    const long long at = 4 * flat_index();
    if (at >= len) return;
    float v[4], d[4];
    load4(x, at, len, v);
    load4(dy, at, len, d);
    int c = at % channels;
    for (int i = 0; i < 4; i++) {
        const float scale = weight[c] * inverse[c], dz = behind_relu(relu, d[i], v[i], scale, bias[c] - mean[c] * scale);
        d[i] = scale * dz - v[i] * constants[c] - constants[channels + c];
        if (++c == channels) c = 0;
    }
    store4(dy, at, len, d);
}

// The sums of a matrix's columns, as the first terms.
COOPERATIVE(column_parts, int rows, int channels, int per_split, const float* x, float* parts) {
    column_sums(rows, channels, per_split, parts, [&](long long at, int, int, float& first, float&) { first += x[at]; });
}

// first += the sums of a split's first terms, second (if there is one) of its second ones, in order.
COOPERATIVE(column_merge, int channels, int splits, const float* parts, float* first, float* second) {
    const int lane = threadIdx.x % 32, c = blockIdx.x * 8 + threadIdx.x / 32, column = c < channels ? c : channels - 1;
    double sum = 0.0, other = 0.0;
    for (int split = lane; split < splits; split += 32) {
        sum += parts[(long long)split * 2 * channels + column];
        other += parts[((long long)split * 2 + 1) * channels + column];
    }
    sum = warp_sum(sum), other = warp_sum(other);
    if (lane != 0 || c >= channels) return;
    first[c] += (float)sum;
    if (second) second[c] += (float)other;
}
