// A block's tile of a matrix product: BM x BN results by 8 warps, BK deep at a time, STAGES tiles in flight. On tensor cores, or exact.
#pragma once
#include "prelude.h"

constexpr int BK = 16, STAGES = 4;

// What the factors are rounded to; sums are FP32 always.
enum Factors { FP32, TF32, BF16 };

// TF32 and BF16: a warp has WM x WN results, as fragments of 16 x 8. FP32: a thread has BM / 16 rows, 16 apart, of BN / 16 columns. TURNED: the
// left operand lies as [BK][BM], not [BM][BK]. Rows of shared memory are padded so that a warp's loads meet 32 different banks.
template <int M, int N, int WM, int WN, Factors FACTORS, bool LEFT_TURNED> struct Tile {
    static constexpr int BM = M, BN = N;
    static constexpr bool TENSOR = FACTORS != FP32, TURNED = LEFT_TURNED;
    static constexpr int LEFT_STEP = TURNED ? BM + 8 : BK + 4, LEFT_TILE = TURNED ? BK * LEFT_STEP : BM * LEFT_STEP;
    static constexpr int RIGHT_STEP = BN + 8, STAGE = LEFT_TILE + BK * RIGHT_STEP;
    static constexpr int WARPS_M = BM / WM, ROWS = WM / 16, COLUMNS = WN / 8, TALL = BM / 16, WIDE = BN / 16;
    static_assert(WARPS_M * (BN / WN) == THREADS / 32, "eight warps");
    float sums[BM * BN / THREADS];
    // Where this thread's part of a stage's operands begins: what it reads of them lies at steps known when this is compiled.
    int left_at, right_at;

    DEVICE void start() {
        const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
        const int row0 = warp % WARPS_M * WM, column0 = warp / WARPS_M * WN;
        if (!TENSOR) {
            left_at = threadIdx.x / 16 * (TURNED ? 1 : LEFT_STEP), right_at = threadIdx.x % 16 * WIDE;
        } else {
            left_at = TURNED ? t * LEFT_STEP + row0 + g : (row0 + lane % 16) * LEFT_STEP + lane / 16 * 4;
            right_at = t * RIGHT_STEP + column0 + g;
        }
#pragma unroll
        for (int i = 0; i < BM * BN / THREADS; i++) sums[i] = 0.0f;
    }

    // Adds the product of a stage's two operands, each from this thread's part on.
    DEVICE void multiply(const float* left, const float* right) {
        if constexpr (FACTORS == TF32)
            multiply_tf32(left, right);
        else if constexpr (FACTORS == BF16)
            multiply_bf16(left, right);
        else
            multiply_fp32(left, right);
    }

    // The fragments of eight steps from `depth` on, as `mma_tf32` takes them.
    DEVICE void load(const float* left, const float* right, int depth, u32 (&a)[ROWS][4], u32 (&b)[COLUMNS][2]) {
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            if constexpr (TURNED) {
                const float* from = left + depth * LEFT_STEP + i * 16;
                a[i][0] = as_bits(from[0]), a[i][1] = as_bits(from[8]);
                a[i][2] = as_bits(from[4 * LEFT_STEP]), a[i][3] = as_bits(from[4 * LEFT_STEP + 8]);
            } else {
                load_fragment(left + i * 16 * LEFT_STEP + depth, a[i]);
            }
        }
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            const float* from = right + depth * RIGHT_STEP + j * 8;
            b[j][0] = as_bits(from[0]), b[j][1] = as_bits(from[4 * RIGHT_STEP]);
        }
    }

    DEVICE void multiply_tf32(const float* left, const float* right) {
        u32 a[2][ROWS][4], b[2][COLUMNS][2];
        load(left, right, 0, a[0], b[0]);
#pragma unroll
        for (int step = 0; step < BK / 8; step++) {
            // The next step's fragments come while this one's are multiplied.
            if (step + 1 < BK / 8) load(left, right, 8 * (step + 1), a[(step + 1) % 2], b[(step + 1) % 2]);
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int k = 0; k < 4; k++) a[step % 2][i][k] = tf32(a[step % 2][i][k]);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++)
#pragma unroll
                for (int k = 0; k < 2; k++) b[step % 2][j][k] = tf32(b[step % 2][j][k]);
#pragma unroll
            for (int i = 0; i < ROWS; i++)
#pragma unroll
                for (int j = 0; j < COLUMNS; j++)
                    mma_tf32(*reinterpret_cast<float(*)[4]>(sums + (i * COLUMNS + j) * 4), a[step % 2][i], b[step % 2][j]);
        }
    }

    // All steps of a stage at once. A lane has steps t and t + 4 of each eight, and hands them on as neighbours: which place of the sum a step
    // has is the same for both operands, and else does not matter.
    DEVICE void multiply_bf16(const float* left, const float* right) {
        static_assert(BK == 16, "as deep as mma_bf16");
        u32 a[2][ROWS][4], b[2][COLUMNS][2];
        load(left, right, 0, a[0], b[0]);
        load(left, right, 8, a[1], b[1]);
        u32 columns[COLUMNS][2];
#pragma unroll
        for (int j = 0; j < COLUMNS; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) columns[j][half] = bf16_pair(b[half][j][0], b[half][j][1]);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            u32 rows[4];
#pragma unroll
            for (int k = 0; k < 4; k++) rows[k] = bf16_pair(a[k / 2][i][k % 2], a[k / 2][i][k % 2 + 2]);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) mma_bf16(*reinterpret_cast<float(*)[4]>(sums + (i * COLUMNS + j) * 4), rows, columns[j]);
        }
    }

    DEVICE void multiply_fp32(const float* left, const float* right) {
#pragma unroll
        for (int depth = 0; depth < BK; depth++) {
            float a[TALL], b[WIDE];
#pragma unroll
            for (int i = 0; i < TALL; i++) a[i] = TURNED ? left[depth * LEFT_STEP + 16 * i] : left[16 * i * LEFT_STEP + depth];
#pragma unroll
            for (int j = 0; j < WIDE; j++) b[j] = right[depth * RIGHT_STEP + j];
#pragma unroll
            for (int i = 0; i < TALL; i++)
#pragma unroll
                for (int j = 0; j < WIDE; j++) sums[i * WIDE + j] += a[i] * b[j];
        }
    }

    // Writes all that this thread has: `row_of(row)` says where a row's results go, null for none, `write(row's place, column, two
    // results beside each other)` puts them there.
    template <class Row, class Write> DEVICE void each(Row row_of, Write write) {
        if constexpr (TENSOR) {
            const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column0 = warp / WARPS_M * WN + lane % 4 * 2;
#pragma unroll
            for (int i = 0; i < 2 * ROWS; i++) {
                float* to = row_of(warp % WARPS_M * WM + i / 2 * 16 + lane / 4 + i % 2 * 8);
                if (!to) continue;
#pragma unroll
                for (int j = 0; j < COLUMNS; j++) {
                    const float* from = sums + (i / 2 * COLUMNS + j) * 4 + i % 2 * 2;
                    write(to, column0 + j * 8, from[0], from[1]);
                }
            }
        } else {
#pragma unroll
            for (int i = 0; i < TALL; i++) {
                float* to = row_of((int)threadIdx.x / 16 + 16 * i);
                if (!to) continue;
#pragma unroll
                for (int j = 0; j < WIDE; j += 2) write(to, (int)threadIdx.x % 16 * WIDE + j, sums[i * WIDE + j], sums[i * WIDE + j + 1]);
            }
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

// Runs a product's depth: `load(left, right)` begins to bring the next tile to its place in shared memory.
template <class T, class Load> DEVICE void pipeline(T& tile, int tiles, float* shared, Load load) {
    constexpr int LAST = (STAGES - 1) * T::STAGE;
    tile.start();
#pragma unroll 1
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < tiles) load(shared + i * T::STAGE, shared + i * T::STAGE + T::LEFT_TILE);
        copies_commit();
    }
    int read = 0, next = LAST;
#pragma unroll 1
    for (int i = 0; i < tiles; i++) {
        copies_wait<STAGES - 2>();
        __syncthreads();
        // The stage that is loaded now was read before the barrier.
        if (i + STAGES - 1 < tiles) load(shared + next, shared + next + T::LEFT_TILE);
        copies_commit();
        tile.multiply(shared + read + tile.left_at, shared + read + T::LEFT_TILE + tile.right_at);
        next = read;
        read = read == LAST ? 0 : read + T::STAGE;
    }
}

// A thread's part of the right operand: W columns of rows `first + i APART`, which end at `rows`, and BK further down with each stage.
template <class T, int W> struct RightRows {
    static constexpr int ACROSS = T::BN / W, COPIES = BK * ACROSS / THREADS, APART = THREADS / ACROSS;
    const float* at;
    int left, to;

    DEVICE void start(const float* from, int row, int rows, int column0, int columns) {
        const int column = threadIdx.x % ACROSS * W, first = threadIdx.x / ACROSS;
        at = from + (long long)(row + first) * columns + column0 + column;
        left = column0 + column < columns ? rows - row - first : 0;
        to = first * T::RIGHT_STEP + column;
    }

    // Begins to bring them to a stage.
    DEVICE void bring(float* right, int columns) {
#pragma unroll
        for (int i = 0; i < COPIES; i++) copy_async<W>(right + to + i * APART * T::RIGHT_STEP, at + i * APART * columns, i * APART < left);
        at += BK * columns, left -= BK;
    }
};
