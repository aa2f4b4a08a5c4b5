// What is done to each value by itself, four of them a thread.
#include "prelude.h"

template <class F> DEVICE void change(long long len, float* to, F f) {
    const long long at = 4 * flat_index();
    if (at >= len) return;
    float v[4];
    load4(to, at, len, v);
    for (int i = 0; i < 4; i++) v[i] = f(v[i]);
    store4(to, at, len, v);
}
template <class F> DEVICE void change_by(long long len, float* to, const float* other, F f) {
    const long long at = 4 * flat_index();
    if (at >= len) return;
    float v[4], o[4];
    load4(to, at, len, v);
    load4(other, at, len, o);
    for (int i = 0; i < 4; i++) v[i] = f(v[i], o[i]);
    store4(to, at, len, v);
}

POINTWISE(fill, long long len, float value, float* to) {
    const long long at = 4 * flat_index();
    const float v[4] = {value, value, value, value};
    if (at < len) store4(to, at, len, v);
}
POINTWISE(relu, long long len, float* to) {
    change(len, to, [](float v) { return v <= 0.0f ? 0.0f : v; });
}
POINTWISE(add, long long len, float* to, const float* other) {
    change_by(len, to, other, [](float v, float o) { return v + o; });
}
POINTWISE(add_relu, long long len, float* to, const float* other) {
    change_by(len, to, other, [](float v, float o) { return v + o <= 0.0f ? 0.0f : v + o; });
}
POINTWISE(multiply, long long len, float* to, const float* other) {
    change_by(len, to, other, [](float v, float o) { return v * o; });
}
POINTWISE(scale, long long len, float factor, float* to) {
    change(len, to, [=](float v) { return v * factor; });
}
// dy where the output y is above zero, slope dy elsewhere: behind ReLU (slope 0) and leaky ReLU.
POINTWISE(relu_backward, long long len, float slope, float* dy, const float* y) {
    change_by(len, dy, y, [=](float d, float y) { return !(y <= 0.0f) ? d : slope == 0.0f ? 0.0f : slope * d; });
}
POINTWISE(leaky_relu, long long len, float slope, float* to) {
    change(len, to, [=](float v) { return v < slope * v ? slope * v : v; });
}
// to += share (factor other - to): running averages and momentum encoders.
POINTWISE(follow, long long len, float factor, float share, float* to, const float* other) {
    change_by(len, to, other, [=](float v, float o) { return v + share * (o * factor - v); });
}
// Parts of `each` values are multiplied by their factor: dropout of values or of images.
POINTWISE(scale_parts, long long len, long long each, float* to, const float* factors) {
    const long long at = flat_index();
    if (at < len) to[at] *= factors[at / each];
}

// y = x Phi(x), Phi by Abramowitz & Stegun 7.1.26, as the host's; if asked, x becomes the derivative.
POINTWISE(gelu, long long len, int derivative, float* x, float* y) {
    const long long at = 4 * flat_index();
    if (at >= len) return;
    float v[4], out[4];
    load4(x, at, len, v);
    for (int i = 0; i < 4; i++) {
        const float value = v[i], size = fabsf(value), t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * size), bell = expf(-0.5f * value * value);
        const float series = t * (0.2548296f + t * (-0.28449674f + t * (1.4214137f + t * (-1.453152f + t * 1.0614054f)))), tail = 0.5f * series * bell;
        const float cumulative = value < 0.0f ? tail : 1.0f - tail;
        out[i] = value * cumulative;
        v[i] = cumulative + 0.3989423f * value * bell;
    }
    if (derivative) store4(x, at, len, v);
    store4(y, at, len, out);
}
