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

// A thread's part of the left operand: W values of the depth, of rows `thread / ACROSS + i APART`, and BK further on with each stage.
template <class T, int W> struct PixelRows {
    static constexpr int ACROSS = BK / W, COPIES = T::BM * ACROSS / THREADS, APART = THREADS / ACROSS;
    // Of each row: where its pixels begin, and the place of the first one's values.
    int top[COPIES], left[COPIES], first[COPIES];
    // The place in the depth.
    int channel, y, x;
    // Of its tap: how far from `first` its values lie, and which rows have a pixel there, a bit each.
    int by;
    u32 inside;
    int to;

    DEVICE void start(const PixelProduct& s) {
        const int rows = s.images * s.rows_y * s.rows_x;
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int row = blockIdx.x * T::BM + threadIdx.x / ACROSS + i * APART, image = row / (s.rows_y * s.rows_x), pixel = row % (s.rows_y * s.rows_x);
            // A row past the end is far above its image.
            top[i] = row < rows ? pixel / s.rows_x * s.step + s.first_y : -0x40000000;
            left[i] = pixel % s.rows_x * s.step + s.first_x;
            first[i] = row < rows ? ((image * s.height + top[i]) * s.width + left[i]) * s.channels : 0;
        }
        channel = threadIdx.x % ACROSS * W, y = 0, x = 0;
        to = threadIdx.x / ACROSS * T::LEFT_STEP + channel;
        look(s);
    }

    // Finds the tap that the channel has come to.
    DEVICE void look(const PixelProduct& s) {
        while (channel >= s.channels) {
            channel -= s.channels;
            if (++x == s.taps_x) x = 0, y++;
        }
        const int dy = s.turn * y, dx = s.turn * x;
        by = (dy * s.width + dx) * s.channels + channel;
        inside = 0;
#pragma unroll
        for (int i = 0; i < COPIES; i++)
            if (y < s.taps_y && (u32)(top[i] + dy) < (u32)s.height && (u32)(left[i] + dx) < (u32)s.width) inside |= 1u << i;
    }

    // Begins to bring them to a stage.
    DEVICE void bring(float* to_left, const PixelProduct& s, const float* x) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) copy_async<W>(to_left + to + i * APART * T::LEFT_STEP, x + (first[i] + by), inside >> i & 1);
        by += BK, channel += BK;
        if (channel >= s.channels) look(s);
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
    const int depth = s.taps_y * s.taps_x * s.channels;
    PixelRows<T, W> pixels;
    RightRows<T, W> weights;
    pixels.start(s);
    weights.start(weight, 0, depth, blockIdx.y * T::BN, s.columns);
    T tile;
    pipeline(tile, (depth + BK - 1) / BK, dynamic_shared, [&](float* left, float* right) {
        pixels.bring(left, s, x);
        weights.bring(right, s.columns);
    });
    write_pixels<W == 4>(tile, s, bias, y);
}

// A kernel for each tile: of few results, of few columns, of many, and of any number of channels. kernels/conv.rs chooses.
#define EACH_TENSOR_TILE(PRODUCT, name, FACTORS)      \
    PRODUCT(name##_small, 4, 64, 64, 32, 16, FACTORS) \
    PRODUCT(name##_64, 4, 128, 64, 32, 32, FACTORS)   \
    PRODUCT(name##_128, 4, 128, 128, 64, 32, FACTORS) \
    PRODUCT(name##_any, 1, 128, 64, 32, 32, FACTORS)
#define EACH_TILE(PRODUCT, name)                      \
    EACH_TENSOR_TILE(PRODUCT, name##_tf32, TF32)      \
    EACH_TENSOR_TILE(PRODUCT, name##_bf16, BF16)      \
    PRODUCT(name##_fp32_64, 4, 128, 64, 32, 32, FP32) \
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

// A thread's part of the left operand: the values that W weights meet at pixels `thread / ACROSS + i APART`, and BK pixels on with each stage.
template <class T, int W> struct MetPixels {
    static constexpr int ACROSS = T::BM / W, COPIES = BK * ACROSS / THREADS, APART = THREADS / ACROSS;
    // Of the weights: where their tap lies from an output pixel, and the channel.
    int tap_y, tap_x, channel;
    // The output pixels.
    int image[COPIES], oy[COPIES], ox[COPIES];
    // What BK pixels are: so many images, rows and columns.
    int images, rows, columns;
    int left, to;

    DEVICE void start(const ConvSizes& s, int from_pixel, int to_pixel) {
        const int first = threadIdx.x / ACROSS, own = threadIdx.x % ACROSS * W, weight = blockIdx.x * T::BM + own, tap = weight / s.inputs;
        // A weight past the end is far above the images.
        tap_y = tap < s.kernel * s.kernel ? tap / s.kernel - s.padding : -0x40000000, tap_x = tap % s.kernel - s.padding, channel = weight % s.inputs;
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int pixel = from_pixel + first + i * APART;
            image[i] = pixel / (s.out_height * s.out_width), oy[i] = pixel / s.out_width % s.out_height, ox[i] = pixel % s.out_width;
        }
        images = BK / (s.out_height * s.out_width), rows = BK / s.out_width % s.out_height, columns = BK % s.out_width;
        left = to_pixel - from_pixel - first;
        to = first * T::LEFT_STEP + own;
    }

    // Begins to bring them to a stage.
    DEVICE void bring(float* to_left, const ConvSizes& s, const float* x) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) {
            const int iy = oy[i] * s.stride + tap_y, ix = ox[i] * s.stride + tap_x;
            const bool ok = i * APART < left && (u32)iy < (u32)s.height && (u32)ix < (u32)s.width;
            copy_async<W>(to_left + to + i * APART * T::LEFT_STEP, x + (((image[i] * s.height + iy) * s.width + ix) * s.inputs + channel), ok);
            ox[i] += columns, oy[i] += rows, image[i] += images;
            if (ox[i] >= s.out_width) ox[i] -= s.out_width, oy[i]++;
            if (oy[i] >= s.out_height) oy[i] -= s.out_height, image[i]++;
        }
        left -= BK;
    }
};

// parts[split][tap][in][out]: the sum over a split's pixels of x[pixel at tap][in] dy[pixel][out].
template <class T, int W>
DEVICE void weight_product(const ConvSizes& s, int per_split, const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ parts) {
    const int row0 = blockIdx.x * T::BM, column0 = blockIdx.y * T::BN, rows = s.kernel * s.kernel * s.inputs;
    const int pixels = s.images * s.out_height * s.out_width, from_pixel = blockIdx.z * per_split;
    const int to_pixel = from_pixel + per_split < pixels ? from_pixel + per_split : pixels;
    MetPixels<T, W> met;
    RightRows<T, W> results;
    met.start(s, from_pixel, to_pixel);
    results.start(dy, from_pixel, to_pixel, column0, s.outputs);
    T tile;
    pipeline(tile, (to_pixel - from_pixel + BK - 1) / BK, dynamic_shared, [&](float* left, float* right) {
        met.bring(left, s, x);
        results.bring(right, s.outputs);
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

// The weights as the input's gradient multiplies with them, [taps][in][out] to [taps][out][in]. The taps that one class of input pixels meets lie
// behind each other: in each dimension those of remainder 0 by the stride, then those of remainder 1, and so on.
POINTWISE(turn_weight, int inputs, int outputs, int len, int kernel, int stride, const float* weight, float* turned) {
    const int i = (int)flat_index();
    if (i >= len) return;
    const int in = i % inputs, out = i / inputs % outputs;
    // Which remainder and which of its taps, first among rows of taps, then among the columns of that remainder's rows.
    auto find = [=](int nth, int of, int& tap, int& before, int& count) {
        int remainder = 0;
        before = 0, count = (kernel + stride - 1) / stride;
        while (nth >= (before + count) * of) before += count, remainder++, count = (kernel - remainder + stride - 1) / stride;
        tap = remainder;
    };
    const int nth = i / (inputs * outputs);
    int y, x, rows_before, rows, columns_before, columns;
    find(nth, kernel, y, rows_before, rows);
    const int within = nth - rows_before * kernel;
    find(within, rows, x, columns_before, columns);
    const int place = within - columns_before * rows;
    y += place / columns * stride, x += place % columns * stride;
    turned[i] = weight[((long long)(y * kernel + x) * inputs + in) * outputs + out];
}
