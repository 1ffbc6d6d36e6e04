// Recurrent highway network, one layer: all time steps and sublayers in one call, no allocation.
//
//   a, b = halves of s R_l + offset      (offset: the input product at l = 0, the bias after it)
//   h = tanh(a), g = sigmoid(b), s <- s + g (h - s)
//
// Plain C functions, loaded with ctypes: no header of torch or Python, two seconds to compile.
// Rows are padded to P, a multiple of the vector length; padded columns stay zero throughout.
// The same call gives the same bits; another number of rows may round the last one differently.

#include <cmath>

#include "vectors.hpp"

// exp to 1 ulp (Cephes): 2^n times a polynomial on [-ln2/2, ln2/2]. NaN stays NaN.
static inline F exponential(F x) {
    x = x > 88.0f ? F{} + 88.0f : x;
    x = x < -87.0f ? F{} - 87.0f : x;
    const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    F n = (x * 1.44269504f + shift) - shift;
    F r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    F p = r * 1.9875691500e-4f + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    I bits = (__builtin_convertvector(n, I) + 127) << 23;
    F scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}
static inline F sigmoid(F x) { return 1.0f / (1.0f + exponential(-x)); }
static inline F hyperbolic(F x) {
    F z = x * x;
    F p = z * -5.70498872745e-3f + 2.06390887954e-2f;  // Cephes, for |x| < 0.625
    p = p * z + -5.37397155531e-2f;
    p = p * z + 1.33314422036e-1f;
    p = p * z + -3.33332819422e-1f;
    F near = x + x * z * p;
    F far = 1.0f - 2.0f / (1.0f + exponential(2.0f * x));
    return z < 0.390625f ? near : far;
}

// Double precision is there for the tests of the gradient, not for speed.
static inline D sigmoid(D x) {
    for (unsigned i = 0; i < sizeof(D) / sizeof(double); i++) x[i] = 1 / (1 + std::exp(-x[i]));
    return x;
}
static inline D hyperbolic(D x) {
    for (unsigned i = 0; i < sizeof(D) / sizeof(double); i++) x[i] = std::tanh(x[i]);
    return x;
}

// R rows and one vector of columns of one sublayer. weight: [width][2][lanes].
template <class T, int R>
ALONE static void cells(const T* s, long padded, long width, const T* weight, const T* offset,
                  long offset_row, long column, T* next, T* tanhs, T* gates) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    V a[R], b[R];
    for (int r = 0; r < R; r++) {
        a[r] = load<V>(offset + r * offset_row + column);
        b[r] = load<V>(offset + r * offset_row + padded + column);
    }
    for (long k = 0; k < width; k++, weight += 2 * lanes) {
        V wa = load<V>(weight), wb = load<V>(weight + lanes);
        for (int r = 0; r < R; r++) {
            T value = s[r * padded + k];
            a[r] += value * wa;
            b[r] += value * wb;
        }
    }
    for (int r = 0; r < R; r++) {
        long at = r * padded + column;
        V h = hyperbolic(a[r]), g = sigmoid(b[r]), old = load<V>(s + at);
        store(next + at, old + g * (h - old));
        if (tanhs) {
            store(tanhs + at, h);
            store(gates + at, g);
        }
    }
}

// into[R rows][C vectors] += dz[R rows][inner] * weight, panels of one vector: [inner][lanes].
template <class T, int R, int C>
ALONE static void product(const T* dz, long inner, const T* weight, T* into, long padded) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    V sum[R][C];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) sum[r][c] = load<V>(into + r * padded + c * lanes);
    for (long k = 0; k < inner; k++) {
        V w[C];
        for (int c = 0; c < C; c++) w[c] = load<V>(weight + (c * inner + k) * lanes);
        for (int r = 0; r < R; r++)
            for (int c = 0; c < C; c++) sum[r][c] += dz[r * inner + k] * w[c];
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < C; c++) store(into + r * padded + c * lanes, sum[r][c]);
}

// sum[k][j] += s[n][k] * dz[n][j] over ``count`` rows n: R values of k, two vectors of j.
template <class T, int R>
ALONE static void outer(const T* s, const T* dz, long count, long padded, T* sum) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    V total[R][2];
    for (int r = 0; r < R; r++)
        for (int c = 0; c < 2; c++) total[r][c] = load<V>(sum + r * 2 * padded + c * lanes);
    for (long n = 0; n < count; n++, s += padded, dz += 2 * padded) {
        V one = load<V>(dz), two = load<V>(dz + lanes);
        for (int r = 0; r < R; r++) {
            total[r][0] += s[r] * one;
            total[r][1] += s[r] * two;
        }
    }
    for (int r = 0; r < R; r++)
        for (int c = 0; c < 2; c++) store(sum + r * 2 * padded + c * lanes, total[r][c]);
}

template <class T>
struct Forward {
    const T *s, *weight, *offset;
    T *next, *tanhs, *gates;
    long padded, width, offset_row, column;
    template <int R>
    void operator()(long row) const {
        long at = row * padded;
        cells<T, R>(s + at, padded, width, weight + column * 2 * width, offset + row * offset_row,
                    offset_row, column, next + at, tanhs ? tanhs + at : nullptr,
                    gates ? gates + at : nullptr);
    }
};

template <class T, int C>
struct Backward {
    const T *dz, *weight;
    T* ds;
    long padded, column;
    template <int R>
    void operator()(long row) const {
        long inner = 2 * padded;
        product<T, R, C>(dz + row * inner, inner, weight + column * inner,
                         ds + row * padded + column, padded);
    }
};

template <class T>
struct Weights {
    const T *s, *dz;
    T* sum;
    long count, padded;
    template <int R>
    void operator()(long k) const {
        outer<T, R>(s + k, dz, count, padded, sum + k * 2 * padded);
    }
};

// offset x: [time][rows][2][padded]; bias: [depth][2][padded] (its first unused).
// weight: [depth][padded / lanes][width][2][lanes].
// states: [depth][time + 1][rows][padded], states[0][0] given: the input of each sublayer.
// tanhs, gates: [depth][time][rows][padded]; or null, and states is then [time + 1][rows][padded]
// with ``scratch`` [2][rows][padded] for the sublayers between.
template <class T>
static void forward(long time, long rows, long width, long padded, long depth, const T* x,
                    const T* weight, const T* bias, T* states, T* tanhs, T* gates, T* scratch) {
    constexpr long lanes = BYTES / sizeof(T);
    long block = rows * padded;
    for (long t = 0; t < time; t++)
        for (long l = 0; l < depth; l++) {
            const T* from;
            T* to;
            if (tanhs) {
                from = states + (l * (time + 1) + t) * block;
                to = l + 1 < depth ? states + ((l + 1) * (time + 1) + t) * block
                                   : states + (t + 1) * block;
            } else {
                from = l == 0 ? states + t * block : scratch + (l % 2) * block;
                to = l + 1 < depth ? scratch + ((l + 1) % 2) * block : states + (t + 1) * block;
            }
            long kept = (l * time + t) * block;
            Forward<T> body{from,
                            weight + l * 2 * padded * width,
                            l == 0 ? x + t * 2 * block : bias + l * 2 * padded,
                            to,
                            tanhs ? tanhs + kept : nullptr,
                            tanhs ? gates + kept : nullptr,
                            padded,
                            width,
                            l == 0 ? 2 * padded : 0,
                            0};
            // Columns outside: a panel of weights stays in the first cache for all the rows.
            for (; body.column < padded; body.column += lanes) by_rows<ROWS>(rows, 0, body);
        }
}

// weight: [depth][padded / lanes][2 * padded][lanes], the transpose. d_states: [time][rows][padded],
// the gradient of states[0][1:]. ds: [rows][padded], that of the last state; becomes that of the
// first. dz: [depth][time][rows][2][padded], out: the gradient of each sublayer's a and b.
template <class T>
static void backward(long time, long rows, long padded, long depth, const T* weight,
                     const T* states, const T* tanhs, const T* gates, const T* d_states, T* ds,
                     T* dz) {
    typedef typename Vector<T>::type V;
    constexpr long lanes = BYTES / sizeof(T);
    long block = rows * padded;
    for (long t = time - 1; t >= 0; t--) {
        for (long i = 0; i < block; i++) ds[i] += d_states[t * block + i];
        for (long l = depth - 1; l >= 0; l--) {
            const T* s = states + (l * (time + 1) + t) * block;
            long kept = (l * time + t) * block;
            T* d = dz + 2 * kept;
            for (long row = 0; row < rows; row++)
                for (long c = 0; c < padded; c += lanes) {
                    long at = row * padded + c, to = row * 2 * padded + c;
                    V h = load<V>(tanhs + kept + at), g = load<V>(gates + kept + at);
                    V grad = load<V>(ds + at), old = load<V>(s + at);
                    V gg = grad * g;
                    store(d + to, gg * (1 - h * h));
                    store(d + to + padded, gg * (h - old) * (1 - g));
                    store(ds + at, grad - gg);
                }
            const T* panel = weight + l * 2 * padded * padded;
            long c = 0;
            for (; c + 2 * lanes <= padded; c += 2 * lanes)
                by_rows<ROWS>(rows, 0, Backward<T, 2>{d, panel, ds, padded, c});
            for (; c < padded; c += lanes)
                by_rows<ROWS>(rows, 0, Backward<T, 1>{d, panel, ds, padded, c});
        }
    }
}

// d_weight: [depth][width][2][padded], d_bias: [depth][2][padded]; both zero on entry.
// Rows in blocks whose dz stays in the first cache for all k.
template <class T>
static void weights(long time, long rows, long width, long padded, long depth, const T* states,
                    const T* dz, T* d_weight, T* d_bias) {
    constexpr long lanes = BYTES / sizeof(T), block = 128;
    long all = time * rows;
    for (long l = 0; l < depth; l++) {
        const T* s = states + l * (time + 1) * rows * padded;
        const T* d = dz + l * all * 2 * padded;
        T* bias = d_bias + l * 2 * padded;
        for (long first = 0; first < all; first += block) {
            long count = all - first < block ? all - first : block;
            for (long j = 0; j < 2 * padded; j += 2 * lanes) {
                const T* part = d + first * 2 * padded + j;
                by_rows<ROWS>(width, 0,
                              Weights<T>{s + first * padded, part,
                                         d_weight + l * width * 2 * padded + j, count, padded});
                for (long n = 0; l > 0 && n < count; n++)  // the first bias is part of x
                    for (long c = 0; c < 2 * lanes; c++) bias[j + c] += part[n * 2 * padded + c];
            }
        }
    }
}

#define EXPORT(T, NAME)                                                                          \
    extern "C" void rhn_forward_##NAME(long time, long rows, long width, long padded,            \
                                       long depth, const T* x, const T* weight, const T* bias,   \
                                       T* states, T* tanhs, T* gates, T* scratch) {              \
        forward(time, rows, width, padded, depth, x, weight, bias, states, tanhs, gates,         \
                scratch);                                                                        \
    }                                                                                            \
    extern "C" void rhn_weights_##NAME(long time, long rows, long width, long padded,            \
                                       long depth, const T* states, const T* dz, T* d_weight,    \
                                       T* d_bias) {                                              \
        weights(time, rows, width, padded, depth, states, dz, d_weight, d_bias);                 \
    }                                                                                            \
    extern "C" void rhn_backward_##NAME(long time, long rows, long padded, long depth,           \
                                        const T* weight, const T* states, const T* tanhs,        \
                                        const T* gates, const T* d_states, T* ds, T* dz) {       \
        backward(time, rows, padded, depth, weight, states, tanhs, gates, d_states, ds, dz);     \
    }
EXPORT(float, float32)
EXPORT(double, float64)
extern "C" long rhn_vector_bytes() { return BYTES; }
