// Small convolutional networks: convolution and batch norm, the batch innermost: [C][H * W + 1][N].
// (The pixel that nobody reads keeps the channels off each other's cache lines: planes of a multiple
// of 4096 bytes made the gradient of a convolution three times slower.)
//
// With few channels and small images neither fills a vector register; the batch does. A vector is
// 16 images (AVX-512), a weight is one number for all of them, and nothing is padded but the batch,
// to a multiple of the vector length. Padded images are zero everywhere: norm writes zeros there,
// convolutions of zeros are zero, so no sum needs to know about them.
//
// Plain C functions, loaded with ctypes. One thread; the same call gives the same bits.

#include <cmath>

#include "vectors.hpp"

static inline long plane_of(long pixels, long n) { return (pixels + 1) * n; }

// Where one output pixel reads: offset in the source plane, and of the tap in a weight row.
struct Tap {
    long from, weight;
};

// R output channels, C vectors of images, one pixel. weight: [inner][taps][outer].
template <class T, int R, int C>
ALONE static void tile(const T* x, long plane, long inner, const Tap* taps, int count, const T* weight,
                 long weight_row, T* y, long y_plane) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    V sum[R][C];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) sum[r][c] = V{};
    for (long i = 0; i < inner; i++, x += plane, weight += weight_row)
        for (int t = 0; t < count; t++) {
            V v[C];
            for (int c = 0; c < C; c++) v[c] = load<V>(x + taps[t].from + c * lanes);
            const T* w = weight + taps[t].weight;
            for (int r = 0; r < R; r++)
                for (int c = 0; c < C; c++) sum[r][c] += w[r] * v[c];
        }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) store(y + r * y_plane + c * lanes, sum[r][c]);
}

template <class T, int C>
struct Tile {
    const T* x;
    const T* weight;
    T* y;
    const Tap* taps;
    long plane, inner, weight_row, y_plane;
    int count;
    template <int R>
    void operator()(long channel) const {
        tile<T, R, C>(x, plane, inner, taps, count, weight + channel, weight_row,
                      y + channel * y_plane, y_plane);
    }
};

// y [outer][ho * wo + 1][n] from x [inner][hi * wi + 1][n]. ``back``: the transposed convolution, which is
// the gradient of the input: there a tap exists only where the stride divides.
template <class T>
static void convolve(long inner, long outer, long hi, long wi, long ho, long wo, long n,
                     long kernel, long stride, long back, const T* x, const T* weight, T* y) {
    constexpr long lanes = BYTES / sizeof(T);
    const long pad = kernel / 2, plane = plane_of(hi * wi, n), y_plane = plane_of(ho * wo, n);
    Tap taps[64];
    for (long first = 0; first < n;) {
        long step = first + 2 * lanes <= n ? 2 * lanes : lanes;
        for (long h = 0; h < ho; h++)
            for (long w = 0; w < wo; w++) {
                int count = 0;
                for (long a = 0; a < kernel; a++)
                    for (long b = 0; b < kernel; b++) {
                        long p = back ? h + pad - a : h * stride + a - pad;
                        long q = back ? w + pad - b : w * stride + b - pad;
                        if (p < 0 || q < 0) continue;
                        if (back && (p % stride || q % stride)) continue;
                        if (back) p /= stride, q /= stride;
                        if (p >= hi || q >= wi) continue;
                        taps[count++] = {(p * wi + q) * n, (a * kernel + b) * outer};
                    }
                const T* from = x + first;
                T* to = y + (h * wo + w) * n + first;
                long row = kernel * kernel * outer;
                if (step == 2 * lanes)
                    by_rows<ROWS>(outer, 0, Tile<T, 2>{from, weight, to, taps, plane, inner, row,
                                                       y_plane, count});
                else
                    by_rows<ROWS>(outer, 0, Tile<T, 1>{from, weight, to, taps, plane, inner, row,
                                                       y_plane, count});
            }
        first += step;
    }
}

// A block of output pixels and the input pixels that one tap takes to them, as steps in elements.
struct Area {
    long rows, pixels, n;
    long dy_row, x_row, x_step, dy_plane, x_plane, sum_row;
};

// sum[r][c] (vectors) += dy[channel r] * x[channel c] over an area and all images.
template <class T, int R, int C>
ALONE static void patch(const T* dy, const T* x, T* sum, const Area& area) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    V total[R][C];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) total[r][c] = load<V>(sum + r * area.sum_row + c * lanes);
    // Copies: the compiler keeps what it need not read again in registers.
    const long n = area.n, pixels = area.pixels, x_step = area.x_step;
    const long x_plane = area.x_plane, dy_plane = area.dy_plane;
    for (long h = 0; h < area.rows; h++) {
        const T *from = x + h * area.x_row, *to = dy + h * area.dy_row;
        for (long p = 0; p < pixels; p++, from += x_step, to += n)
            for (long i = 0; i < n; i += lanes) {
                V v[C];
                for (int c = 0; c < C; c++) v[c] = load<V>(from + c * x_plane + i);
                for (int r = 0; r < R; r++) {
                    V d = load<V>(to + r * dy_plane + i);
                    for (int c = 0; c < C; c++) total[r][c] += d * v[c];
                }
            }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) store(sum + r * area.sum_row + c * lanes, total[r][c]);
}

template <class T, int R>
struct PatchRow {
    const T *dy, *x;
    T* sum;
    const Area& area;
    template <int C>
    void operator()(long channel) const {
        patch<T, R, C>(dy, x + channel * area.x_plane, sum + channel * (BYTES / sizeof(T)), area);
    }
};

template <class T>
struct Patch {
    const T *dy, *x;
    T* sum;
    const Area& area;
    long inner;
    template <int R>
    void operator()(long channel) const {
        by_rows<BLOCK>(inner, 0, PatchRow<T, R>{dy + channel * area.dy_plane, x,
                                                sum + channel * area.sum_row, area});
    }
};

// The sum of a vector in memory, by halves: a chain of additions would wait for each.
template <class T>
static T folded(const T* from) {
    constexpr long lanes = BYTES / sizeof(T);
    T part[lanes];
    std::memcpy(part, from, sizeof part);
    for (long half = lanes / 2; half > 0; half /= 2)
        for (long lane = 0; lane < half; lane++) part[lane] += part[lane + half];
    return part[0];
}

// d_weight [outer][inner][kernel][kernel]; sums: scratch, [taps][outer][inner][lanes], zeroed.
// As many rows at a time as leave what a block of channels reads in the first cache.
template <class T>
static void weights(long inner, long outer, long hi, long wi, long ho, long wo, long n,
                    long kernel, long stride, const T* x, const T* dy, T* sums, T* d_weight) {
    constexpr long lanes = BYTES / sizeof(T), cache = 40 << 10;
    const long pad = kernel / 2, all = kernel * kernel;
    const long row_bytes = 2 * BLOCK * wo * n * long(sizeof(T));
    const long step = cache > row_bytes ? cache / row_bytes : 1;
    for (long first = 0; first < ho; first += step)
        for (long a = 0; a < kernel; a++) {
            long top = a < pad ? (pad - a + stride - 1) / stride : 0;
            long bottom = (hi - 1 + pad - a) / stride + 1;
            if (top < first) top = first;
            if (bottom > ho) bottom = ho;
            if (bottom > first + step) bottom = first + step;
            if (bottom <= top) continue;
            for (long b = 0; b < kernel; b++) {
                long low = b < pad ? (pad - b + stride - 1) / stride : 0;
                long high = (wi - 1 + pad - b) / stride + 1;
                if (high > wo) high = wo;
                long p = top * stride + a - pad, q = low * stride + b - pad;
                Area area{bottom - top,
                          high - low,
                          n,
                          wo * n,
                          stride * wi * n,
                          stride * n,
                          plane_of(ho * wo, n),
                          plane_of(hi * wi, n),
                          inner * lanes};
                by_rows<BLOCK>(outer, 0,
                               Patch<T>{dy + (top * wo + low) * n, x + (p * wi + q) * n,
                                        sums + (a * kernel + b) * outer * inner * lanes, area,
                                        inner});
            }
        }
    for (long t = 0; t < all; t++)
        for (long i = 0; i < outer * inner; i++)
            d_weight[i * all + t] = folded(sums + (t * outer * inner + i) * lanes);
}

// Ones for the images that exist, zeros for the padding, in the last vector of a pixel.
template <class T>
static typename Vector<T>::type real(long n, long valid) {
    typename Vector<T>::type mask{};
    constexpr long lanes = BYTES / sizeof(T);
    for (long lane = 0; lane < lanes; lane++) mask[lane] = n - lanes + lane < valid;
    return mask;
}

template <class V>
static auto total(V v) {
    auto sum = v[0];
    for (unsigned lane = 1; lane < sizeof v / sizeof v[0]; lane++) sum += v[lane];
    return sum;
}

// y = [relu] (gamma (x - mean) / sqrt(variance + eps) + beta [+ residual]), per channel.
// training: mean and variance of the batch, and the running ones (unbiased) moved toward them.
template <class T>
static void norm_forward(long channels, long area, long n, long valid, long training, long relu,
                         double momentum, double eps, const T* x, const T* residual,
                         const T* gamma, const T* beta, T* mean, T* inverse, T* running_mean,
                         T* running_variance, T* y) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    const V mask = real<T>(n, valid);
    const double count = double(area) * valid;
    for (long c = 0; c < channels; c++) {
        const T* from = x + c * plane_of(area, n);
        if (training) {
            V sum[2] = {V{}, V{}};
            for (long i = 0; i < area * n; i += lanes) sum[i / lanes % 2] += load<V>(from + i);
            T center = T(total(sum[0] + sum[1]) / count);
            V square[2] = {V{}, V{}};
            for (long p = 0; p < area * n; p += n)
                for (long i = p; i < p + n; i += lanes) {
                    V off = load<V>(from + i) - center;
                    if (i + lanes == p + n) off *= mask;
                    square[i / lanes % 2] += off * off;
                }
            double variance = total(square[0] + square[1]) / count;
            mean[c] = center;
            inverse[c] = T(1 / std::sqrt(variance + eps));
            double unbiased = count > 1 ? variance * count / (count - 1) : variance;
            running_mean[c] += T(momentum * (center - running_mean[c]));
            running_variance[c] += T(momentum * (unbiased - running_variance[c]));
        } else {
            mean[c] = running_mean[c];
            inverse[c] = T(1 / std::sqrt(double(running_variance[c]) + eps));
        }
        const T scale = gamma[c] * inverse[c], shift = beta[c] - mean[c] * scale;
        for (long p = 0; p < area * n; p += n)
            for (long i = p; i < p + n; i += lanes) {
                V v = load<V>(from + i) * scale + shift;
                if (residual) v += load<V>(residual + c * plane_of(area, n) + i);
                if (relu) v = v < 0 ? V{} : v;  // keeps NaN
                if (i + lanes == p + n) v *= mask;
                store(y + c * plane_of(area, n) + i, v);
            }
    }
}

// Gradients of a training norm_forward. y: its result where it ended in a relu, else null.
template <class T>
static void norm_backward(long channels, long area, long n, long valid, const T* x, const T* y,
                          const T* dy, const T* gamma, const T* mean, const T* inverse, T* dx,
                          T* d_residual, T* d_gamma, T* d_beta) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    const V mask = real<T>(n, valid);
    const double count = double(area) * valid;
    for (long c = 0; c < channels; c++) {
        const long base = c * plane_of(area, n);
        V sum[2] = {V{}, V{}}, product[2] = {V{}, V{}};
        for (long i = 0; i < area * n; i += lanes) {
            V g = load<V>(dy + base + i);
            if (y) g = load<V>(y + base + i) > 0 ? g : V{};
            sum[i / lanes % 2] += g;
            product[i / lanes % 2] += g * (load<V>(x + base + i) - mean[c]);
        }
        d_beta[c] = total(sum[0] + sum[1]);
        d_gamma[c] = total(product[0] + product[1]) * inverse[c];
        const T scale = gamma[c] * inverse[c];
        const T slope = T(-scale * inverse[c] * d_gamma[c] / count);
        const T level = T(-scale * d_beta[c] / count) - slope * mean[c];
        for (long p = 0; p < area * n; p += n)
            for (long i = p; i < p + n; i += lanes) {
                V g = load<V>(dy + base + i);
                if (y) g = load<V>(y + base + i) > 0 ? g : V{};
                if (d_residual) store(d_residual + base + i, g);
                V d = scale * g + slope * load<V>(x + base + i) + level;
                if (i + lanes == p + n) d *= mask;
                store(dx + base + i, d);
            }
    }
}

#define EXPORT(T, NAME)                                                                          \
    extern "C" void image_convolve_##NAME(long inner, long outer, long hi, long wi, long ho,     \
                                          long wo, long n, long kernel, long stride, long back,  \
                                          const T* x, const T* weight, T* y) {                   \
        convolve(inner, outer, hi, wi, ho, wo, n, kernel, stride, back, x, weight, y);           \
    }                                                                                            \
    extern "C" void image_weights_##NAME(long inner, long outer, long hi, long wi, long ho,      \
                                         long wo, long n, long kernel, long stride, const T* x,  \
                                         const T* dy, T* sums, T* d_weight) {                    \
        weights(inner, outer, hi, wi, ho, wo, n, kernel, stride, x, dy, sums, d_weight);         \
    }                                                                                            \
    extern "C" void image_norm_forward_##NAME(                                                   \
        long channels, long area, long n, long valid, long training, long relu, double momentum, \
        double eps, const T* x, const T* residual, const T* gamma, const T* beta, T* mean,       \
        T* inverse, T* running_mean, T* running_variance, T* y) {                                \
        norm_forward(channels, area, n, valid, training, relu, momentum, eps, x, residual,       \
                     gamma, beta, mean, inverse, running_mean, running_variance, y);             \
    }                                                                                            \
    extern "C" void image_norm_backward_##NAME(                                                  \
        long channels, long area, long n, long valid, const T* x, const T* y, const T* dy,       \
        const T* gamma, const T* mean, const T* inverse, T* dx, T* d_residual, T* d_gamma,       \
        T* d_beta) {                                                                             \
        norm_backward(channels, area, n, valid, x, y, dy, gamma, mean, inverse, dx, d_residual,  \
                      d_gamma, d_beta);                                                          \
    }
EXPORT(float, float32)
EXPORT(double, float64)
extern "C" long image_vector_bytes() { return BYTES; }
