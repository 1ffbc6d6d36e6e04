// Small convolutional networks, a whole one in a call, the batch innermost: [C][H * W + 1][N].
// (The pixel that nobody reads keeps the channels off each other's cache lines: planes of a multiple
// of 4096 bytes made the gradient of a convolution three times slower.)
//
// With few channels and small images neither fills a vector register; the batch does. A vector is
// 16 images (AVX-512), a weight is one number for all of them, and nothing is padded but the batch,
// to a multiple of the vector length. Padded images are zero everywhere: norm writes zeros there,
// convolutions of zeros are zero, so no sum needs to know about them.
//
// A network is a list of operations over buffers in one block of memory (image_kernel.py makes it).
// Their gradients lie in another, which is smaller: a place is used again when it has been read.
// Plain C functions, loaded with ctypes. One thread; the same call gives the same bits.

#include <cmath>

#include "vectors.hpp"

static inline long plane_of(long pixels, long n) { return (pixels + 1) * n; }

// Where one output pixel reads: offset in the source plane, and which number of the kernel.
struct Tap {
    long from, weight;
};

// A convolution as its inner loop sees it. Steps of the weight: to the next channel written, and to
// the next one read; they alone tell a convolution from its transpose.
template <class T>
struct Product {
    const T *x, *weight;
    T* y;
    long plane, y_plane, inner, write_step, read_step;
    bool add;
};

// R output channels, C vectors of images, one pixel.
template <class T, int R, int C>
ALONE static void tile(const Product<T>& p, long channel, long x_at, long y_at, const Tap* taps,
                       int count) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    const T *x = p.x + x_at, *weight = p.weight + channel * p.write_step;
    const long plane = p.plane, inner = p.inner, step = p.write_step, read_step = p.read_step;
    V sum[R][C];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) sum[r][c] = V{};
    for (long i = 0; i < inner; i++, x += plane, weight += read_step)
        for (int t = 0; t < count; t++) {
            V v[C];
            for (int c = 0; c < C; c++) v[c] = load<V>(x + taps[t].from + c * lanes);
            const T* w = weight + taps[t].weight;
            for (int r = 0; r < R; r++)
                for (int c = 0; c < C; c++) sum[r][c] += w[r * step] * v[c];
        }
    T* y = p.y + channel * p.y_plane + y_at;
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) {
            T* to = y + r * p.y_plane + c * lanes;
            store(to, p.add ? load<V>(to) + sum[r][c] : sum[r][c]);
        }
}

template <class T, int C>
struct Tile {
    const Product<T>& product;
    long x_at, y_at;
    const Tap* taps;
    int count;
    template <int R>
    void operator()(long channel) const {
        tile<T, R, C>(product, channel, x_at, y_at, taps, count);
    }
};

// y [outer][ho * wo + 1][n] from x [inner][hi * wi + 1][n], added or not. ``back``: the transposed
// convolution, which is the gradient of the input: there a tap exists only where the stride divides.
// weight [outer][inner][kernel][kernel], or with ``back`` [inner][outer][kernel][kernel].
template <class T>
static void convolve(long inner, long outer, long hi, long wi, long ho, long wo, long n,
                     long kernel, long stride, bool back, bool add, const T* x, const T* weight,
                     T* y) {
    constexpr long lanes = BYTES / sizeof(T);
    const long pad = kernel / 2, all = kernel * kernel;
    const Product<T> product{x, weight, y, plane_of(hi * wi, n), plane_of(ho * wo, n), inner,
                             back ? all : inner * all, back ? outer * all : all, add};
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
                        taps[count++] = {(p * wi + q) * n, a * kernel + b};
                    }
                long to = (h * wo + w) * n + first;
                if (step == 2 * lanes)
                    by_rows<ROWS>(outer, 0, Tile<T, 2>{product, first, to, taps, count});
                else
                    by_rows<ROWS>(outer, 0, Tile<T, 1>{product, first, to, taps, count});
            }
        first += step;
    }
}

// A block of output pixels and the input pixels that one tap takes to them, as steps in elements.
struct Area {
    long rows, pixels, n;
    long dy_row, x_row, x_step, dy_plane, x_plane, sum_row, sum_step;
};

// sum[r][c] += dy[channel r] * x[channel c] over an area and all images.
template <class T, int R, int C>
ALONE static void patch(const T* dy, const T* x, T* sum, const Area& area) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    V total[R * C];
    for (int k = 0; k < R * C; k++) total[k] = V{};
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
                    for (int c = 0; c < C; c++) total[r * C + c] += d * v[c];
                }
            }
    }
    T sums[R * C];
    totals<T, R * C>(total, sums);
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) sum[r * area.sum_row + c * area.sum_step] += sums[r * C + c];
}

template <class T, int R>
struct PatchRow {
    const T *dy, *x;
    T* sum;
    const Area& area;
    template <int C>
    void operator()(long channel) const {
        patch<T, R, C>(dy, x + channel * area.x_plane, sum + channel * area.sum_step, area);
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

// d_weight [outer][inner][kernel][kernel], to which it adds.
// As many rows at a time as leave what a block of channels reads in the first cache.
template <class T>
static void weights(long inner, long outer, long hi, long wi, long ho, long wo, long n,
                    long kernel, long stride, const T* x, const T* dy, T* d_weight) {
    constexpr long cache = 40 << 10;
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
                          inner * all,
                          all};
                by_rows<BLOCK>(outer, 0,
                               Patch<T>{dy + (top * wo + low) * n, x + (p * wi + q) * n,
                                        d_weight + a * kernel + b, area, inner});
            }
        }
}

// Ones for the images that exist, zeros for the padding, in the last vector of a pixel.
template <class T>
static typename Vector<T>::type real(long n, long valid) {
    typename Vector<T>::type mask{};
    constexpr long lanes = BYTES / sizeof(T);
    for (long lane = 0; lane < lanes; lane++) mask[lane] = n - lanes + lane < valid;
    return mask;
}

// y = [relu] (gamma (x - mean) / sqrt(variance + eps) + beta [+ residual]), per channel.
// training: mean and variance of the batch, and the running ones (unbiased) moved toward them.
template <class T>
static void norm_forward(long channels, long area, long n, long valid, bool training, bool relu,
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
            T center = T(total<T>(sum[0] + sum[1]) / count);
            V square[2] = {V{}, V{}};
            for (long p = 0; p < area * n; p += n)
                for (long i = p; i < p + n; i += lanes) {
                    V off = load<V>(from + i) - center;
                    if (i + lanes == p + n) off *= mask;
                    square[i / lanes % 2] += off * off;
                }
            double variance = total<T>(square[0] + square[1]) / count;
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

// Gradients of a training norm_forward. y: its result where it ended in a relu, else null. add_...:
// dx, d_residual already hold what comes from elsewhere.
template <class T>
static void norm_backward(long channels, long area, long n, long valid, bool add_input,
                          bool add_residual, const T* x, const T* y, const T* dy, const T* gamma,
                          const T* mean, const T* inverse, T* dx, T* d_residual, T* d_gamma,
                          T* d_beta) {
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
        d_beta[c] = total<T>(sum[0] + sum[1]);
        d_gamma[c] = total<T>(product[0] + product[1]) * inverse[c];
        const T scale = gamma[c] * inverse[c];
        const T slope = T(-scale * inverse[c] * d_gamma[c] / count);
        const T level = T(-scale * d_beta[c] / count) - slope * mean[c];
        for (long p = 0; p < area * n; p += n)
            for (long i = p; i < p + n; i += lanes) {
                V g = load<V>(dy + base + i);
                if (y) g = load<V>(y + base + i) > 0 ? g : V{};
                if (d_residual) {
                    T* to = d_residual + base + i;
                    store(to, add_residual ? load<V>(to) + g : g);
                }
                V d = scale * g + slope * load<V>(x + base + i) + level;
                if (i + lanes == p + n) d *= mask;
                store(dx + base + i, add_input ? load<V>(dx + base + i) + d : d);
            }
    }
}

// y [channels][n] = the mean over the pixels of x; ``back``: each pixel of x = y / pixels.
template <class T>
static void pool(long channels, long area, long n, bool back, T* x, T* y) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    const T share = T(1) / area;
    for (long c = 0; c < channels; c++, x += plane_of(area, n), y += n)
        for (long i = 0; i < n; i += lanes) {
            V sum = back ? load<V>(y + i) * share : V{};
            for (long p = 0; p < area * n; p += n)
                if (back)
                    store(x + p + i, sum);
                else
                    sum += load<V>(x + p + i);
            if (!back) store(y + i, sum * share);
        }
}

// ---------------------------------------------------------------- networks

enum Kind : int64_t { CONVOLVE, NORM, POOL };

// One operation. Buffers are places in units of n elements, -1 for none; ``parameter`` is the first
// of its tensors in the table: the weight, or gamma, beta, running mean, running variance.
struct Op {
    int64_t kind, input, output, residual, parameter, inner, outer, hi, wi, ho, wo, kernel, stride,
        relu, statistics;
    // Backward: whether the gradient of the input is wanted; places of gradients, where that of a
    // norm's input may be that of its output; whether those of input and residual already hold what
    // later operations left there.
    int64_t wanted, d_input, d_output, d_residual, add_input, add_residual;
};

// buffers: the images at 0, then every operation's output. statistics: mean and 1 / sd of every norm.
template <class T>
static void forward(const Op* ops, long count, long n, long valid, bool training, double momentum,
                    double eps, T* const* table, T* statistics, T* buffers) {
    for (const Op* op = ops; op < ops + count; op++) {
        T *x = buffers + op->input * n, *y = buffers + op->output * n;
        T* const* parameters = table + op->parameter;
        const long area = op->hi * op->wi;
        if (op->kind == CONVOLVE) {
            convolve(op->inner, op->outer, op->hi, op->wi, op->ho, op->wo, n, op->kernel,
                     op->stride, false, false, x, parameters[0], y);
        } else if (op->kind == NORM) {
            T* mean = statistics + op->statistics;
            norm_forward(op->inner, area, n, valid, training, op->relu, momentum, eps, x,
                         op->residual < 0 ? nullptr : buffers + op->residual * n, parameters[0],
                         parameters[1], mean, mean + op->inner, parameters[2], parameters[3], y);
        } else {
            pool(op->inner, area, n, false, x, y);
        }
    }
}

// gradients: where the last buffer's is given. results: one of each parameter in the
// table (none for running statistics), those of weights zero at the start.
template <class T>
static void backward(const Op* ops, long count, long n, long valid, T* const* table,
                     T* const* results, T* statistics, T* buffers, T* gradients) {
    for (const Op* op = ops + count; op-- > ops;) {
        T *x = buffers + op->input * n, *dx = gradients + op->d_input * n;
        T *y = buffers + op->output * n, *dy = gradients + op->d_output * n;
        T *const *parameters = table + op->parameter, *const *found = results + op->parameter;
        const long area = op->hi * op->wi;
        if (op->kind == CONVOLVE) {
            if (op->wanted)
                convolve(op->outer, op->inner, op->ho, op->wo, op->hi, op->wi, n, op->kernel,
                         op->stride, true, op->add_input, dy, parameters[0], dx);
            weights(op->inner, op->outer, op->hi, op->wi, op->ho, op->wo, n, op->kernel,
                    op->stride, x, dy, found[0]);
        } else if (op->kind == NORM) {
            T* mean = statistics + op->statistics;
            norm_backward(op->inner, area, n, valid, op->add_input, op->add_residual, x,
                          op->relu ? y : nullptr, dy, parameters[0], mean, mean + op->inner, dx,
                          op->residual < 0 ? nullptr : gradients + op->d_residual * n, found[0],
                          found[1]);
        } else {
            pool(op->inner, area, n, true, dx, dy);
        }
    }
}

#define EXPORT(T, NAME)                                                                          \
    extern "C" void image_forward_##NAME(const Op* ops, long count, long n, long valid,          \
                                         long training, double momentum, double eps,             \
                                         T* const* table, T* statistics, T* buffers) {           \
        forward(ops, count, n, valid, training, momentum, eps, table, statistics, buffers);      \
    }                                                                                            \
    extern "C" void image_backward_##NAME(const Op* ops, long count, long n, long valid,         \
                                          T* const* table, T* const* results, T* statistics,     \
                                          T* buffers, T* gradients) {                            \
        backward(ops, count, n, valid, table, results, statistics, buffers, gradients);          \
    }
EXPORT(float, float32)
EXPORT(double, float64)
extern "C" long image_vector_bytes() { return BYTES; }
