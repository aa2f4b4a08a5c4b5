// Convolution as an implicit matrix product, channel-last, weights [kh][kw][in][out]: nothing is unfolded in memory. One group.
#include "tile.h"

// Rows are pixels, the depth is taps and channels: the forward pass, or the input gradient of the input pixels that the same taps
// meet (with stride 1 all of them, with stride s one of s x s classes).
struct PixelProduct {
    // The map that is read: images, height, width, channels.
    int images, height, width, channels;
    int columns;
    // The rows: of each image, pixels (a, b); tap (i, j) reads pixel (a step + first_y + turn i, b step + first_x + turn j).
    int rows_y, rows_x, step, first_y, first_x, turn;
    int taps_y, taps_x;
    // Row (a, b) is the result's pixel (a out_step + out_y, b out_step + out_x).
    int out_height, out_width, out_step, out_y, out_x;
};

// A place in the depth: the channel and the tap.
struct Depth {
    int channel, y, x;
    DEVICE void advance(const PixelProduct& s, int by) {
        channel += by;
        while (channel >= s.channels) {
            channel -= s.channels;
            if (++x == s.taps_x) x = 0, y++;
        }
    }
};

// A thread's part of the left operand: the same part of the depth of rows `thread / ACROSS + i THREADS / ACROSS`.
template <int BM, int W> struct PixelRows {
    static constexpr int ACROSS = BK / W, COPIES = BM * ACROSS / THREADS;
    int top[COPIES], left[COPIES], first[COPIES], own, at, depth;
    Depth place;

    DEVICE void start(const PixelProduct& s) {
        const int rows = s.images * s.rows_y * s.rows_x;
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int row = blockIdx.x * BM + row_of(i), image = row / (s.rows_y * s.rows_x), pixel = row % (s.rows_y * s.rows_x);
            // A row past the end is far above its image.
            top[i] = row < rows ? pixel / s.rows_x * s.step + s.first_y : -0x40000000;
            left[i] = pixel % s.rows_x * s.step + s.first_x;
            first[i] = row < rows ? ((image * s.height + top[i]) * s.width + left[i]) * s.channels : 0;
        }
        own = threadIdx.x % ACROSS * W, at = 0, depth = s.taps_y * s.taps_x * s.channels;
        place = {own, 0, 0};
        if (depth > 0) place.advance(s, 0);
    }
    DEVICE static int row_of(int i) { return threadIdx.x / ACROSS + i * (THREADS / ACROSS); }

    // Calls copy(row, where its part of the depth is, whether it is in the image), and goes on.
    template <class F> DEVICE void each(const PixelProduct& s, const float* x, F copy) {
        const int dy = s.turn * place.y, dx = s.turn * place.x, by = (dy * s.width + dx) * s.channels + place.channel;
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const bool ok = at + own < depth && (u32)(top[i] + dy) < (u32)s.height && (u32)(left[i] + dx) < (u32)s.width;
            copy(row_of(i), ok ? x + (first[i] + by) : x, ok);
        }
        at += BK;
        place.advance(s, BK);
    }
};

// Writes a tile's results, with the bias.
template <bool EVEN, class T> DEVICE void write_pixels(T& tile, const PixelProduct& s, const float* __restrict__ bias, float* __restrict__ y) {
    const int row0 = blockIdx.x * T::BM, column0 = blockIdx.y * T::BN, rows = s.images * s.rows_y * s.rows_x;
    auto row_of = [&](int row) -> float* {
        row += row0;
        if (row >= rows) return nullptr;
        const int image = row / (s.rows_y * s.rows_x), pixel = row - image * s.rows_y * s.rows_x, a = pixel / s.rows_x, b = pixel - a * s.rows_x;
        return y + ((long long)(image * s.out_height + a * s.out_step + s.out_y) * s.out_width + b * s.out_step + s.out_x) * s.columns;
    };
    tile.each(row_of, [&](float* to, int column, float first, float second) {
        column += column0;
        if (bias) first += column < s.columns ? bias[column] : 0.0f, second += column + 1 < s.columns ? bias[column + 1] : 0.0f;
        store2<EVEN>(to, column, s.columns, first, second);
    });
}

// `weight` is [taps][channels][columns], in the order of the depth; W values are copied at a time.
template <class T, int W>
DEVICE void pixel_product(const PixelProduct& s, const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias, float* __restrict__ y) {
    PixelRows<T::BM, W> pixels;
    pixels.start(s);
    T tile;
    pipeline(tile, (pixels.depth + BK - 1) / BK, dynamic_shared, [&](float* left, float* right) {
        load_right<T, W>(right, weight, pixels.at, pixels.depth, blockIdx.y * T::BN, s.columns);
        pixels.each(s, x, [&](int row, const float* from, bool ok) { copy_async<W>(left + row * T::LEFT_STEP + pixels.own, from, ok); });
    });
    write_pixels<W == 4>(tile, s, bias, y);
}

// A kernel for each tile: of few columns, of many, and of any size; kernels/conv.rs chooses.
#define EACH_TILE(PRODUCT, name)                       \
    PRODUCT(name##_tf32_64, 4, 128, 64, 32, 32, TF32)   \
    PRODUCT(name##_tf32_128, 4, 128, 128, 64, 32, TF32) \
    PRODUCT(name##_tf32_any, 1, 128, 64, 32, 32, TF32)  \
    PRODUCT(name##_bf16_64, 4, 128, 64, 32, 32, BF16)   \
    PRODUCT(name##_bf16_128, 4, 128, 128, 64, 32, BF16) \
    PRODUCT(name##_bf16_any, 1, 128, 64, 32, 32, BF16)  \
    PRODUCT(name##_fp32_64, 4, 128, 64, 32, 32, FP32)   \
    PRODUCT(name##_fp32_any, 1, 128, 64, 32, 32, FP32)

#define PIXEL_PRODUCT(name, W, ...)                                                                       \
    COOPERATIVE(name, PixelProduct s, const float* x, const float* weight, const float* bias, float* y) { \
        pixel_product<Tile<__VA_ARGS__, false>, W>(s, x, weight, bias, y);                                \
    }
EACH_TILE(PIXEL_PRODUCT, conv)

// The forward pass's sizes.
struct ConvSizes {
    int images, height, width, inputs, outputs, kernel, stride, padding, out_height, out_width;
};

// parts[split][tap][in][out]: the sum over a split's pixels of x[pixel at tap][in] dy[pixel][out].
template <class T, int W>
DEVICE void weight_product(const ConvSizes& s, int per_split, const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ parts) {
    const int thread = threadIdx.x, row0 = blockIdx.x * T::BM, column0 = blockIdx.y * T::BN, rows = s.kernel * s.kernel * s.inputs;
    const int pixels = s.images * s.out_height * s.out_width, from_pixel = blockIdx.z * per_split;
    const int to_pixel = from_pixel + per_split < pixels ? from_pixel + per_split : pixels;
    constexpr int ACROSS = T::BM / W, COPIES = BK * ACROSS / THREADS;
    // This thread copies the same weight's rows of pixels `thread / ACROSS + i THREADS / ACROSS`.
    const int own = thread % ACROSS * W, tap = (row0 + own) / s.inputs, channel = (row0 + own) % s.inputs;
    const int tap_y = row0 + own < rows ? tap / s.kernel - s.padding : -0x40000000, tap_x = tap % s.kernel - s.padding;
    int oy[COPIES], ox[COPIES], image[COPIES];
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
        const int pixel = from_pixel + thread / ACROSS + i * (THREADS / ACROSS);
        image[i] = pixel / (s.out_height * s.out_width), oy[i] = pixel / s.out_width % s.out_height, ox[i] = pixel % s.out_width;
    }
    int at = from_pixel;
    T tile;
    pipeline(tile, (to_pixel - from_pixel + BK - 1) / BK, dynamic_shared, [&](float* left, float* right) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int row = thread / ACROSS + i * (THREADS / ACROSS), iy = oy[i] * s.stride + tap_y, ix = ox[i] * s.stride + tap_x;
            const bool ok = at + row < to_pixel && (u32)iy < (u32)s.height && (u32)ix < (u32)s.width;
            copy_async<W>(left + row * T::LEFT_STEP + own, ok ? x + (((image[i] * s.height + iy) * s.width + ix) * s.inputs + channel) : x, ok);
            ox[i] += BK;
            while (ox[i] >= s.out_width) {
                ox[i] -= s.out_width;
                if (++oy[i] == s.out_height) oy[i] = 0, image[i]++;
            }
        }
        load_right<T, W>(right, dy, at, to_pixel, column0, s.outputs);
        at += BK;
    });
    float* to = parts + (long long)blockIdx.z * rows * s.outputs;
    auto row_of = [&](int row) -> float* { return row0 + row < rows ? to + (long long)(row0 + row) * s.outputs : nullptr; };
    tile.each(row_of, [&](float* row, int column, float first, float second) { store2<W == 4>(row, column0 + column, s.outputs, first, second); });
}

#define WEIGHT_PRODUCT(name, W, ...)                                                           \
    COOPERATIVE(name, ConvSizes s, int per_split, const float* x, const float* dy, float* parts) { \
        weight_product<Tile<__VA_ARGS__, true>, W>(s, per_split, x, dy, parts);                    \
    }
EACH_TILE(WEIGHT_PRODUCT, conv_weight)

// to[i] += the parts of all splits, in their order.
POINTWISE(add_parts, int len, int splits, const float* parts, float* to) {
    const int i = (int)flat_index();
    if (i >= len) return;
    float sum = 0.0f;
    for (int split = 0; split < splits; split++) sum += parts[(long long)split * len + i];
    to[i] += sum;
}

// The weights that a class of input pixels meets, [taps][in][out] to [taps_y][taps_x][out][in]: what its gradient multiplies with. Tap
// (i, j) is number first + i step_y + j step_x.
POINTWISE(turn_weight, int inputs, int outputs, int len, int taps_x, int first, int step_y, int step_x, const float* weight, float* turned) {
    const int i = (int)flat_index();
    if (i >= len) return;
    const int in = i % inputs, out = i / inputs % outputs, nth = i / (inputs * outputs), tap = first + nth / taps_x * step_y + nth % taps_x * step_x;
    turned[i] = weight[((long long)tap * inputs + in) * outputs + out];
}
