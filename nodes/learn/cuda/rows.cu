// Rows of matrices that are gathered and scattered, and pixels that are repeated.
#include "prelude.h"

// to[i] = from[index[i]], rows of `dim`.
POINTWISE(gather_rows, long long len, int dim, const float* from, const u32* index, float* to) {
    const long long i = flat_index();
    if (i < len) to[i] = from[(long long)index[i / dim] * dim + i % dim];
}

// to[r] += the sum of the rows of `from` whose index is r, in their order: for each of the `rows` of `to`, `order[starts[r]..starts[r + 1]]`
// lists them.
POINTWISE(scatter_rows, long long len, int dim, const float* from, const u32* starts, const u32* order, float* to) {
    const long long i = flat_index();
    if (i >= len) return;
    const long long row = i / dim;
    float sum = to[i];
    for (u32 at = starts[row]; at < starts[row + 1]; at++) sum += from[(long long)order[at] * dim + i % dim];
    to[i] = sum;
}

// Each pixel becomes factor x factor equal ones.
POINTWISE(upsample, long long len, int height, int width, int channels, int factor, const float* x, float* y) {
    const long long i = flat_index();
    if (i >= len) return;
    const int c = i % channels, ox = i / channels % (width * factor), oy = i / channels / (width * factor) % (height * factor);
    const long long image = i / channels / (width * factor) / (height * factor);
    y[i] = x[((image * height + oy / factor) * width + ox / factor) * channels + c];
}
POINTWISE(upsample_backward, long long len, int height, int width, int channels, int factor, const float* dy, float* dx) {
    const long long i = flat_index();
    if (i >= len) return;
    const int c = i % channels, ix = i / channels % width, iy = i / channels / width % height;
    const long long image = i / channels / width / height;
    float sum = 0.0f;
    for (int y = 0; y < factor; y++)
        for (int x = 0; x < factor; x++)
            sum += dy[((image * height * factor + iy * factor + y) * width * factor + ix * factor + x) * channels + c];
    dx[i] = sum;
}
