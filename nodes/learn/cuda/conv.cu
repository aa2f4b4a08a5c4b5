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
    // Tap (i, j) is the weights' number first_tap + i tap_step_y + j tap_step_x.
    int first_tap, tap_step_y, tap_step_x;
    // Row (a, b) is the result's pixel (a out_step + out_y, b out_step + out_x).
    int out_height, out_width, out_step, out_y, out_x;
};

// A place in the depth: the channel and the tap.
struct Depth {
    int channel, y, x;
    DEVICE void start(const PixelProduct& s, int at) {
        const int tap = at / s.channels;
        channel = at % s.channels, y = tap / s.taps_x, x = tap % s.taps_x;
    }
    DEVICE void advance(const PixelProduct& s) {
        channel += BK;
        while (channel >= s.channels) {
            channel -= s.channels;
            if (++x == s.taps_x) x = 0, y++;
        }
    }
};

// `weight` is [taps][channels][columns]; W values are copied at a time.
template <int BN, bool TENSOR, int W>
DEVICE void pixel_product(const PixelProduct& s, const float* __restrict__ x, const float* __restrict__ weight, const float* __restrict__ bias, float* __restrict__ y) {
    typedef Tile<BN, TENSOR> T;
    const int thread = threadIdx.x, row0 = blockIdx.x * BM, column0 = blockIdx.y * BN;
    const int rows = s.images * s.rows_y * s.rows_x;
    float* shared = dynamic_shared;
    constexpr int ACROSS = BK / W, LEFT = BM * ACROSS / THREADS, RIGHT_ACROSS = BN / W, RIGHT = BK * RIGHT_ACROSS / THREADS;
    // This thread copies the same part of the depth of rows `thread / ACROSS + i THREADS / ACROSS`.
    int image[LEFT], top[LEFT], left_of[LEFT];
#pragma unroll
    for (int i = 0; i < LEFT; i++) {
        const int row = row0 + thread / ACROSS + i * (THREADS / ACROSS), pixel = row % (s.rows_y * s.rows_x);
        image[i] = row < rows ? row / (s.rows_y * s.rows_x) : -1;
        top[i] = pixel / s.rows_x * s.step + s.first_y, left_of[i] = pixel % s.rows_x * s.step + s.first_x;
    }
    const int taps = s.taps_y * s.taps_x, tiles = (taps * s.channels + BK - 1) / BK;
    const int own = thread % ACROSS * W;
    T tile;
    if (tiles > 0) {
        Depth at, right_at[RIGHT];
        at.start(s, own);
#pragma unroll
        for (int i = 0; i < RIGHT; i++) right_at[i].start(s, (thread + i * THREADS) / RIGHT_ACROSS);
        pipeline(tile, tiles, shared, LEFT_STEP, 1, [&](int stage) {
            float* left = shared + stage * (LEFT_TILE + T::RIGHT_TILE);
            float* right = left + LEFT_TILE;
#pragma unroll
            for (int i = 0; i < LEFT; i++) {
                const int iy = top[i] + s.turn * at.y, ix = left_of[i] + s.turn * at.x;
                const bool ok = at.y < s.taps_y && image[i] >= 0 && iy >= 0 && iy < s.height && ix >= 0 && ix < s.width;
                const float* from = ok ? x + ((long long)(image[i] * s.height + iy) * s.width + ix) * s.channels + at.channel : x;
                copy_async<W>(left + (thread / ACROSS + i * (THREADS / ACROSS)) * LEFT_STEP + own, from, ok);
            }
            at.advance(s);
#pragma unroll
            for (int i = 0; i < RIGHT; i++) {
                const int row = (thread + i * THREADS) / RIGHT_ACROSS, column = (thread + i * THREADS) % RIGHT_ACROSS * W;
                const bool ok = right_at[i].y < s.taps_y && column0 + column < s.columns;
                const int tap = s.first_tap + right_at[i].y * s.tap_step_y + right_at[i].x * s.tap_step_x;
                const float* from = ok ? weight + ((long long)tap * s.channels + right_at[i].channel) * s.columns + column0 + column : weight;
                copy_async<W>(right + row * T::RIGHT_STEP + column, from, ok);
                right_at[i].advance(s);
            }
        });
    } else {
        tile.clear();
    }
    tile.each([&](int row, int column, float first, float second) {
        row += row0, column += column0;
        if (row >= rows) return;
        const int pixel = row % (s.rows_y * s.rows_x), oy = pixel / s.rows_x * s.out_step + s.out_y, ox = pixel % s.rows_x * s.out_step + s.out_x;
        if (bias) first += column < s.columns ? bias[column] : 0.0f, second += column + 1 < s.columns ? bias[column + 1] : 0.0f;
        float* to = y + ((long long)(row / (s.rows_y * s.rows_x) * s.out_height + oy) * s.out_width + ox) * s.columns;
        store2<W == 4>(to, column, s.columns, first, second);
    });
}

#define PIXEL_PRODUCT(name, BN, TENSOR, W)                                                                                       \
    COOPERATIVE(name, PixelProduct s, const float* x, const float* weight, const float* bias, float* y) {                     \
        pixel_product<BN, TENSOR, W>(s, x, weight, bias, y);                                                                     \
    }
PIXEL_PRODUCT(conv_tf32_64, 64, true, 4)
PIXEL_PRODUCT(conv_tf32_128, 128, true, 4)
PIXEL_PRODUCT(conv_tf32_any, 64, true, 1)
PIXEL_PRODUCT(conv_fp32_64, 64, false, 4)
PIXEL_PRODUCT(conv_fp32_any, 64, false, 1)

// The forward pass's sizes.
struct ConvSizes {
    int images, height, width, inputs, outputs, kernel, stride, padding, out_height, out_width;
};

// parts[split][tap][in][out]: the sum over a split's pixels of x[pixel at tap][in] dy[pixel][out].
template <int BN, bool TENSOR, int W>
DEVICE void weight_product(const ConvSizes& s, int per_split, const float* __restrict__ x, const float* __restrict__ dy, float* __restrict__ parts) {
    typedef Tile<BN, TENSOR> T;
    const int thread = threadIdx.x, row0 = blockIdx.x * BM, column0 = blockIdx.y * BN, rows = s.kernel * s.kernel * s.inputs;
    const int pixels = s.images * s.out_height * s.out_width, from_pixel = blockIdx.z * per_split;
    const int to_pixel = from_pixel + per_split < pixels ? from_pixel + per_split : pixels;
    float* shared = dynamic_shared;
    constexpr int ACROSS = BM / W, LEFT = BK * ACROSS / THREADS, RIGHT_ACROSS = BN / W, RIGHT = BK * RIGHT_ACROSS / THREADS;
    // This thread copies the same weight's rows of pixels `thread / ACROSS + i THREADS / ACROSS`.
    const int own = thread % ACROSS * W, tap = (row0 + own) / s.inputs, channel = (row0 + own) % s.inputs;
    const int tap_y = tap / s.kernel - s.padding, tap_x = tap % s.kernel - s.padding;
    int image[LEFT], oy[LEFT], ox[LEFT], at[LEFT];
#pragma unroll
    for (int i = 0; i < LEFT; i++) {
        at[i] = from_pixel + thread / ACROSS + i * (THREADS / ACROSS);
        image[i] = at[i] / (s.out_height * s.out_width), oy[i] = at[i] / s.out_width % s.out_height, ox[i] = at[i] % s.out_width;
    }
    int right_at = from_pixel;
    T tile;
    pipeline(tile, (to_pixel - from_pixel + BK - 1) / BK, shared, 1, TURNED_STEP, [&](int stage) {
        float* left = shared + stage * (LEFT_TILE + T::RIGHT_TILE);
        float* right = left + LEFT_TILE;
#pragma unroll
        for (int i = 0; i < LEFT; i++) {
            const int iy = oy[i] * s.stride + tap_y, ix = ox[i] * s.stride + tap_x;
            const bool ok = at[i] < to_pixel && row0 + own < rows && iy >= 0 && iy < s.height && ix >= 0 && ix < s.width;
            const float* from = ok ? x + ((long long)(image[i] * s.height + iy) * s.width + ix) * s.inputs + channel : x;
            copy_async<W>(left + (thread / ACROSS + i * (THREADS / ACROSS)) * TURNED_STEP + own, from, ok);
            at[i] += BK, ox[i] += BK;
            while (ox[i] >= s.out_width) {
                ox[i] -= s.out_width;
                if (++oy[i] == s.out_height) oy[i] = 0, image[i]++;
            }
        }
#pragma unroll
        for (int i = 0; i < RIGHT; i++) {
            const int row = (thread + i * THREADS) / RIGHT_ACROSS, column = (thread + i * THREADS) % RIGHT_ACROSS * W;
            const bool ok = right_at + row < to_pixel && column0 + column < s.outputs;
            const float* from = ok ? dy + (long long)(right_at + row) * s.outputs + column0 + column : dy;
            copy_async<W>(right + row * T::RIGHT_STEP + column, from, ok);
        }
        right_at += BK;
    });
    float* to = parts + (long long)blockIdx.z * rows * s.outputs;
    tile.each([&](int row, int column, float first, float second) {
        if (row0 + row < rows) store2<W == 4>(to + (long long)(row0 + row) * s.outputs, column0 + column, s.outputs, first, second);
    });
}

#define WEIGHT_PRODUCT(name, BN, TENSOR, W)                                                                   \
    COOPERATIVE(name, ConvSizes s, int per_split, const float* x, const float* dy, float* parts) {            \
        weight_product<BN, TENSOR, W>(s, per_split, x, dy, parts);                                            \
    }
WEIGHT_PRODUCT(conv_weight_tf32_64, 64, true, 4)
WEIGHT_PRODUCT(conv_weight_tf32_128, 128, true, 4)
WEIGHT_PRODUCT(conv_weight_tf32_any, 64, true, 1)
WEIGHT_PRODUCT(conv_weight_fp32_64, 64, false, 4)
WEIGHT_PRODUCT(conv_weight_fp32_any, 64, false, 1)

// to[i] += the parts of all splits, in their order.
POINTWISE(add_parts, int len, int splits, const float* parts, float* to) {
    const int i = (int)flat_index();
    if (i >= len) return;
    float sum = 0.0f;
    for (int split = 0; split < splits; split++) sum += parts[(long long)split * len + i];
    to[i] += sum;
}

// [taps][in][out] to [taps][out][in]: what the input gradient multiplies with.
POINTWISE(turn_weight, int inputs, int outputs, int len, const float* weight, float* turned) {
    const int i = (int)flat_index();
    if (i >= len) return;
    const int in = i % inputs, out = i / inputs % outputs, tap = i / (inputs * outputs);
    turned[i] = weight[((long long)tap * inputs + in) * outputs + out];
}
