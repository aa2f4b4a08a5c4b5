// Many small matrix products at once, exact, of operands that lie anyhow: attention's, and the contrastive losses'.
#include "prelude.h"

struct BatchedProduct {
    int rows, columns, depth;
    // Product number z lies `z / inner` outer steps and `z % inner` inner steps from the first.
    int inner;
    int left_row, left_depth, left_outer, left_inner;
    int right_depth, right_column, right_outer, right_inner;
    int out_row, out_outer, out_inner;
    // Which of rows (1), columns (2) and depth (4) end at the product's valid length; results past it are zero.
    int limits;
    int accumulate;
};

constexpr int SIDE = 64, DEEP = 16, SIDE_STEP = SIDE + 4;

// out = factor left right, or that added to it.
COOPERATIVE(batched_product, BatchedProduct s, float factor, const float* left, const float* right, const u32* lengths, float* out) {
    float* a = dynamic_shared;
    float* b = a + DEEP * SIDE_STEP;
    const int thread = threadIdx.x, row0 = blockIdx.x * SIDE, column0 = blockIdx.y * SIDE;
    const int outer = blockIdx.z / s.inner, inner = blockIdx.z % s.inner;
    left += (long long)outer * s.left_outer + (long long)inner * s.left_inner;
    right += (long long)outer * s.right_outer + (long long)inner * s.right_inner;
    out += (long long)outer * s.out_outer + (long long)inner * s.out_inner;
    const int valid = lengths ? (int)lengths[outer] : 0x7fffffff;
    const int rows = (s.limits & 1) && valid < s.rows ? valid : s.rows, columns = (s.limits & 2) && valid < s.columns ? valid : s.columns;
    const int depth = (s.limits & 4) && valid < s.depth ? valid : s.depth;
    const int top = thread / 16 * 4, side = thread % 16 * 4;
    float sums[4][4] = {};
    for (int from = 0; from < depth; from += DEEP) {
        for (int i = thread; i < SIDE * DEEP; i += THREADS) {
            // Neighbouring threads read what lies side by side.
            const int ak = s.left_depth == 1 ? i % DEEP : i / SIDE, ar = s.left_depth == 1 ? i / DEEP : i % SIDE;
            a[ak * SIDE_STEP + ar] = row0 + ar < rows && from + ak < depth ? left[(long long)(row0 + ar) * s.left_row + (long long)(from + ak) * s.left_depth] : 0.0f;
            const int bk = s.right_depth == 1 ? i % DEEP : i / SIDE, bc = s.right_depth == 1 ? i / DEEP : i % SIDE;
            b[bk * SIDE_STEP + bc] =
                column0 + bc < columns && from + bk < depth ? right[(long long)(from + bk) * s.right_depth + (long long)(column0 + bc) * s.right_column] : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < DEEP; k++) {
            float x[4], y[4];
            load4(a, k * SIDE_STEP + top, DEEP * SIDE_STEP, x);
            load4(b, k * SIDE_STEP + side, DEEP * SIDE_STEP, y);
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) sums[i][j] += x[i] * y[j];
        }
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++)
            if (row0 + top + i < s.rows && column0 + side + j < s.columns) {
                float* to = out + (long long)(row0 + top + i) * s.out_row + column0 + side + j;
                *to = factor * sums[i][j] + (s.accumulate ? *to : 0.0f);
            }
}
