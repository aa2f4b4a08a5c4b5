// Convolution in groups of channels that do not mix, weights [kh][kw][in / groups][out]: a thread for each result.
#include "prelude.h"

struct GroupedConv {
    int images, height, width, inputs, outputs, kernel, stride, padding, out_height, out_width, groups;
};

POINTWISE(grouped_forward, GroupedConv s, const float* x, const float* weight, const float* bias, float* y) {
    const long long i = flat_index();
    if (i >= (long long)s.images * s.out_height * s.out_width * s.outputs) return;
    const int out = i % s.outputs, ox = i / s.outputs % s.out_width, oy = i / s.outputs / s.out_width % s.out_height;
    const int image = i / s.outputs / s.out_width / s.out_height, each = s.inputs / s.groups, in0 = out / (s.outputs / s.groups) * each;
    float sum = bias ? bias[out] : 0.0f;
    for (int ky = 0; ky < s.kernel; ky++) {
        const int iy = oy * s.stride - s.padding + ky;
        if (iy < 0 || iy >= s.height) continue;
        for (int kx = 0; kx < s.kernel; kx++) {
            const int ix = ox * s.stride - s.padding + kx;
            if (ix < 0 || ix >= s.width) continue;
            const float* from = x + ((long long)(image * s.height + iy) * s.width + ix) * s.inputs + in0;
            const float* w = weight + (long long)(ky * s.kernel + kx) * each * s.outputs + out;
            for (int c = 0; c < each; c++) sum += from[c] * w[(long long)c * s.outputs];
        }
    }
    y[i] = sum;
}

POINTWISE(grouped_backward_input, GroupedConv s, const float* dy, const float* weight, float* dx) {
    const long long i = flat_index();
    if (i >= (long long)s.images * s.height * s.width * s.inputs) return;
    const int in = i % s.inputs, ix = i / s.inputs % s.width, iy = i / s.inputs / s.width % s.height, image = i / s.inputs / s.width / s.height;
    const int each = s.inputs / s.groups, outs = s.outputs / s.groups, out0 = in / each * outs;
    float sum = 0.0f;
    for (int ky = 0; ky < s.kernel; ky++) {
        const int y = iy + s.padding - ky;
        if (y < 0 || y % s.stride != 0 || y / s.stride >= s.out_height) continue;
        for (int kx = 0; kx < s.kernel; kx++) {
            const int x = ix + s.padding - kx;
            if (x < 0 || x % s.stride != 0 || x / s.stride >= s.out_width) continue;
            const float* from = dy + ((long long)(image * s.out_height + y / s.stride) * s.out_width + x / s.stride) * s.outputs + out0;
            const float* w = weight + ((long long)(ky * s.kernel + kx) * each + in % each) * s.outputs + out0;
            for (int o = 0; o < outs; o++) sum += from[o] * w[o];
        }
    }
    dx[i] = sum;
}

// parts[split][tap][in / groups][out]: the sum over the images of a split.
POINTWISE(grouped_backward_weight, GroupedConv s, int per_split, const float* x, const float* dy, float* parts) {
    const int each = s.inputs / s.groups, len = s.kernel * s.kernel * each * s.outputs;
    const int i = (int)flat_index();
    if (i >= len) return;
    const int out = i % s.outputs, in = out / (s.outputs / s.groups) * each + i / s.outputs % each, tap = i / s.outputs / each;
    const int tap_y = tap / s.kernel - s.padding, tap_x = tap % s.kernel - s.padding;
    const int from = blockIdx.y * per_split, to = from + per_split < s.images ? from + per_split : s.images;
    float sum = 0.0f;
    for (int image = from; image < to; image++) {
        for (int oy = 0; oy < s.out_height; oy++) {
            const int iy = oy * s.stride + tap_y;
            if (iy < 0 || iy >= s.height) continue;
            for (int ox = 0; ox < s.out_width; ox++) {
                const int ix = ox * s.stride + tap_x;
                if (ix < 0 || ix >= s.width) continue;
                sum += x[((long long)(image * s.height + iy) * s.width + ix) * s.inputs + in] *
                       dy[((long long)(image * s.out_height + oy) * s.out_width + ox) * s.outputs + out];
            }
        }
    }
    parts[(long long)blockIdx.y * len + i] = sum;
}
