// A block's tile of a matrix product: BM x BN results by 8 warps, BK deep at a time, STAGES tiles in flight. TF32 on tensor cores, or exact.
#pragma once
#include "prelude.h"

constexpr int BM = 128, BK = 16, STAGES = 4;
// Rows of shared memory are padded so that a warp's loads meet 32 different banks.
constexpr int LEFT_STEP = BK + 4, TURNED_STEP = BM + 8, LEFT_TILE = BM * LEFT_STEP;

template <int BN, bool TENSOR> struct Tile {
    static constexpr int RIGHT_STEP = BN + 8, RIGHT_TILE = BK * RIGHT_STEP;
    // Tensor cores: a warp has ROWS x COLUMNS fragments of 16 x 8. Exact: a thread has 8 rows, 16 apart, of BN / 16 columns.
    static constexpr int WARPS_M = BN >= 128 ? 2 : 4, WARPS_N = 8 / WARPS_M;
    static constexpr int ROWS = BM / WARPS_M / 16, COLUMNS = BN / WARPS_N / 8, EACH = BN / 16;
    float sums[ROWS * COLUMNS * 4];

    DEVICE void clear() {
#pragma unroll
        for (int i = 0; i < ROWS * COLUMNS * 4; i++) sums[i] = 0.0f;
    }

    // Adds `left` `right`. A step of a row of `left` is `row_step`, of a column `depth_step`; `right` is [BK][RIGHT_STEP].
    DEVICE void multiply(const float* left, int row_step, int depth_step, const float* right) {
        if constexpr (TENSOR)
            multiply_tensor(left, row_step, depth_step, right);
        else
            multiply_exact(left, row_step, depth_step, right);
    }

    DEVICE void multiply_tensor(const float* left, int row_step, int depth_step, const float* right) {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
        const int row0 = warp % WARPS_M * ROWS * 16 + g, column0 = warp / WARPS_M * COLUMNS * 8 + g;
#pragma unroll
        for (int depth = 0; depth < BK; depth += 8) {
            u32 a[ROWS][4], b[COLUMNS][2];
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                const float* from = left + (row0 + i * 16) * row_step + (depth + t) * depth_step;
                a[i][0] = tf32(from[0]);
                a[i][1] = tf32(from[8 * row_step]);
                a[i][2] = tf32(from[4 * depth_step]);
                a[i][3] = tf32(from[8 * row_step + 4 * depth_step]);
            }
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                const float* from = right + (depth + t) * RIGHT_STEP + column0 + j * 8;
                b[j][0] = tf32(from[0]);
                b[j][1] = tf32(from[4 * RIGHT_STEP]);
            }
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int j = 0; j < COLUMNS; j++) mma_tf32(*reinterpret_cast<float(*)[4]>(sums + (i * COLUMNS + j) * 4), a[i], b[j]);
        }
    }

    DEVICE void multiply_exact(const float* left, int row_step, int depth_step, const float* right) {
        const int row0 = threadIdx.x / 16, column0 = threadIdx.x % 16 * EACH;
#pragma unroll
        for (int depth = 0; depth < BK; depth++) {
            float a[8], b[EACH];
#pragma unroll
            for (int i = 0; i < 8; i++) a[i] = left[(row0 + 16 * i) * row_step + depth * depth_step];
#pragma unroll
            for (int j = 0; j < EACH; j++) b[j] = right[depth * RIGHT_STEP + column0 + j];
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < EACH; j++) sums[i * EACH + j] += a[i] * b[j];
        }
    }

    // Calls f(row, column, two results beside each other) for all that this thread has.
    template <class F> DEVICE void each(F f) {
        if constexpr (TENSOR) {
            const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int half = 0; half < 2; half++)
#pragma unroll
                    for (int j = 0; j < COLUMNS; j++)
                        f((warp % WARPS_M * ROWS + i) * 16 + g + 8 * half, (warp / WARPS_M * COLUMNS + j) * 8 + 2 * t, sums[(i * COLUMNS + j) * 4 + 2 * half],
                          sums[(i * COLUMNS + j) * 4 + 2 * half + 1]);
        } else {
#pragma unroll
            for (int i = 0; i < 8; i++)
#pragma unroll
                for (int j = 0; j < EACH; j += 2)
                    f((int)threadIdx.x / 16 + 16 * i, (int)threadIdx.x % 16 * EACH + j, sums[i * EACH + j], sums[i * EACH + j + 1]);
        }
    }
};

// Two results beside each other, as far as there are columns; in one access if the number of columns is even.
template <bool EVEN> DEVICE void store2(float* row, int column, int columns, float first, float second) {
    if (EVEN) {
        if (column < columns) *reinterpret_cast<float2*>(row + column) = make_float2(first, second);
    } else {
        if (column < columns) row[column] = first;
        if (column + 1 < columns) row[column + 1] = second;
    }
}

// Runs a product's depth: `load(stage, tile)` begins to bring a tile, `left(stage)` and `right(stage)` say where it lies.
template <class T, class Load> DEVICE void pipeline(T& tile, int tiles, float* shared, int row_step, int depth_step, Load load) {
    tile.clear();
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < tiles) load(i);
        copies_commit();
    }
    for (int i = 0; i < tiles; i++) {
        copies_wait<STAGES - 2>();
        __syncthreads();
        // The stage that is loaded now was read before the barrier.
        if (i + STAGES - 1 < tiles) load((i + STAGES - 1) % STAGES);
        copies_commit();
        const float* left = shared + i % STAGES * (LEFT_TILE + T::RIGHT_TILE);
        tile.multiply(left, row_step, depth_step, left + LEFT_TILE);
    }
}
