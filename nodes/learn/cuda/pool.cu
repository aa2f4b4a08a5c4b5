// Pooling, channel-last. Every result, of a gradient too, is gathered by its own thread, in the host's order.
#include "prelude.h"

struct Pool {
    int images, height, width, channels, kernel, stride, padding, out_height, out_width;
};

// The part of a window that lies inside.
struct Window {
    int from, to;
    DEVICE Window(int at, int stride, int padding, int kernel, int length) {
        from = at * stride - padding, to = from + kernel;
        if (from < 0) from = 0;
        if (to > length) to = length;
    }
};
// The windows that an input pixel lies in: outputs `from` to `to`.
struct Meeting {
    int from, to;
    DEVICE Meeting(int at, int stride, int padding, int kernel, int outputs) {
        const int first = at + padding - kernel + 1;
        from = first <= 0 ? 0 : (first + stride - 1) / stride, to = (at + padding) / stride + 1;
        if (to > outputs) to = outputs;
    }
};

// `chosen` gets the input pixel of each maximum, the first of equal ones.
POINTWISE(max_pool, Pool s, const float* x, float* y, u32* chosen) {
    const long long i = flat_index();
    if (i >= (long long)s.images * s.out_height * s.out_width * s.channels) return;
    const int c = i % s.channels, ox = i / s.channels % s.out_width, oy = i / s.channels / s.out_width % s.out_height;
    const float* image = x + i / s.channels / s.out_width / s.out_height * s.height * s.width * s.channels;
    const Window rows(oy, s.stride, s.padding, s.kernel, s.height), columns(ox, s.stride, s.padding, s.kernel, s.width);
    float most = -INFINITE;
    u32 pixel = 0;
    for (int iy = rows.from; iy < rows.to; iy++)
        for (int ix = columns.from; ix < columns.to; ix++) {
            const float v = image[(long long)(iy * s.width + ix) * s.channels + c];
            if (v > most || v != v) most = v, pixel = iy * s.width + ix;
        }
    y[i] = most, chosen[i] = pixel;
}

POINTWISE(max_pool_backward, Pool s, const float* dy, const u32* chosen, float* dx) {
    const long long i = flat_index();
    if (i >= (long long)s.images * s.height * s.width * s.channels) return;
    const int c = i % s.channels, ix = i / s.channels % s.width, iy = i / s.channels / s.width % s.height;
    const long long image = i / s.channels / s.width / s.height * s.out_height * s.out_width * s.channels;
    const Meeting rows(iy, s.stride, s.padding, s.kernel, s.out_height), columns(ix, s.stride, s.padding, s.kernel, s.out_width);
    float sum = 0.0f;
    for (int oy = rows.from; oy < rows.to; oy++)
        for (int ox = columns.from; ox < columns.to; ox++) {
            const long long at = image + (long long)(oy * s.out_width + ox) * s.channels + c;
            if (chosen[at] == (u32)(iy * s.width + ix)) sum += dy[at];
        }
    dx[i] = sum;
}

// The window's full size divides, as PyTorch's default.
POINTWISE(average_pool, Pool s, const float* x, float* y) {
    const long long i = flat_index();
    if (i >= (long long)s.images * s.out_height * s.out_width * s.channels) return;
    const int c = i % s.channels, ox = i / s.channels % s.out_width, oy = i / s.channels / s.out_width % s.out_height;
    const float* image = x + i / s.channels / s.out_width / s.out_height * s.height * s.width * s.channels;
    const Window rows(oy, s.stride, s.padding, s.kernel, s.height), columns(ox, s.stride, s.padding, s.kernel, s.width);
    const float share = 1.0f / (s.kernel * s.kernel);
    float sum = 0.0f;
    for (int iy = rows.from; iy < rows.to; iy++)
        for (int ix = columns.from; ix < columns.to; ix++) sum += image[(long long)(iy * s.width + ix) * s.channels + c] * share;
    y[i] = sum;
}

POINTWISE(average_pool_backward, Pool s, const float* dy, float* dx) {
    const long long i = flat_index();
    if (i >= (long long)s.images * s.height * s.width * s.channels) return;
    const int c = i % s.channels, ix = i / s.channels % s.width, iy = i / s.channels / s.width % s.height;
    const long long image = i / s.channels / s.width / s.height * s.out_height * s.out_width * s.channels;
    const Meeting rows(iy, s.stride, s.padding, s.kernel, s.out_height), columns(ix, s.stride, s.padding, s.kernel, s.out_width);
    const float share = 1.0f / (s.kernel * s.kernel);
    float sum = 0.0f;
    for (int oy = rows.from; oy < rows.to; oy++)
        for (int ox = columns.from; ox < columns.to; ox++) sum += dy[image + (long long)(oy * s.out_width + ox) * s.channels + c] * share;
    dx[i] = sum;
}

// Cell i of a grid: from floor(i size / grid) to ceil((i + 1) size / grid).
DEVICE int cell_from(int i, int size, int grid) { return i * size / grid; }
DEVICE int cell_to(int i, int size, int grid) { return ((i + 1) * size + grid - 1) / grid; }

// The mean of each cell. A warp has 32 channels of a cell; one that has many pixels is shared by the block's 8 warps.
COOPERATIVE(grid_pool, int height, int width, int channels, int grid, const float* x, float* y) {
    float* shared = dynamic_shared;
    const int lane = threadIdx.x % 32, line = threadIdx.x / 32, c = blockIdx.y * 32 + lane;
    const int cell = blockIdx.x % (grid * grid), gy = cell / grid, gx = cell % grid;
    const long long image = blockIdx.x / (grid * grid);
    const int top = cell_from(gy, height, grid), left = cell_from(gx, width, grid), across = cell_to(gx, width, grid) - left;
    const int pixels = (cell_to(gy, height, grid) - top) * across;
    float sum = 0.0f;
    if (c < channels)
        for (int i = line; i < pixels; i += 8) sum += x[((image * height + top + i / across) * width + left + i % across) * channels + c];
    shared[threadIdx.x] = sum;
    __syncthreads();
    if (line != 0 || c >= channels) return;
    float total = 0.0f;
    for (int i = 0; i < 8; i++) total += shared[i * 32 + lane];
    y[(long long)blockIdx.x * channels + c] = total * (1.0f / pixels);
}

POINTWISE(grid_pool_backward, int images, int height, int width, int channels, int grid, const float* dy, float* dx) {
    const long long i = flat_index();
    if (i >= (long long)images * height * width * channels) return;
    const int c = i % channels, ix = i / channels % width, iy = i / channels / width % height;
    const long long image = i / channels / width / height;
    float sum = 0.0f;
    for (int gy = 0; gy < grid; gy++) {
        const int top = cell_from(gy, height, grid), bottom = cell_to(gy, height, grid);
        if (iy < top || iy >= bottom) continue;
        for (int gx = 0; gx < grid; gx++) {
            const int left = cell_from(gx, width, grid), right = cell_to(gx, width, grid);
            if (ix < left || ix >= right) continue;
            sum += dy[((image * grid + gy) * grid + gx) * channels + c] * (1.0f / ((bottom - top) * (right - left)));
        }
    }
    dx[i] = sum;
}
