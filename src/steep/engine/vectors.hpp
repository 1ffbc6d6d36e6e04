// What the kernels share: vectors as wide as the machine's, and blocking by rows. GCC and clang.

#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int ROWS = 8;   // 32 vector registers: 8 x 2 accumulators, 2 operands
constexpr int BLOCK = 4;  // 4 x 4 accumulators
#else
constexpr int ROWS = 4;
constexpr int BLOCK = 2;
#endif

// For the innermost loops: inlined into their callers they lose registers, and half their speed.
#define ALONE __attribute__((noinline))

template <class T>
struct Vector;
template <>
struct Vector<float> {
    typedef float type __attribute__((vector_size(BYTES)));
    typedef int32_t whole __attribute__((vector_size(BYTES)));
};
template <>
struct Vector<double> {
    typedef double type __attribute__((vector_size(BYTES)));
};
typedef Vector<float>::type F;
typedef Vector<float>::whole I;
typedef Vector<double>::type D;

template <class V, class T>
static inline V load(const T* from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
}
template <class V, class T>
static inline void store(T* to, V v) {
    std::memcpy(to, &v, sizeof v);
}

// body<R>(first row) over all rows, in blocks of ROWS, then of smaller powers of two.
template <int R, class Body>
static inline void by_rows(long rows, long first, Body body) {
    for (; first + R <= rows; first += R) body.template operator()<R>(first);
    if constexpr (R > 1) by_rows<R / 2>(rows, first, body);
}

// [a0 + a1, a2 + a3, ..., b0 + b1, ...]
template <class V, int... I>
static inline V neighbours(V a, V b, std::integer_sequence<int, I...>) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, (2 * I)...) + __builtin_shufflevector(a, b, (2 * I + 1)...);
#else
    typedef decltype(a < b) Lanes;
    return __builtin_shuffle(a, b, Lanes{(2 * I)...}) + __builtin_shuffle(a, b, Lanes{(2 * I + 1)...});
#endif
}

// sums[k] = the sum of vector[k], for a power of two of vectors, which it overwrites: by halves, all
// of them at once, because lane after lane each addition would wait for the one before.
template <class T, int COUNT>
static inline void totals(typename Vector<T>::type* vector, T* sums) {
    constexpr int lanes = BYTES / sizeof(T), group = COUNT < lanes ? COUNT : lanes;
    typedef typename Vector<T>::type V;
    for (int first = 0; first < COUNT; first += group) {
        V* v = vector + first;
        for (int count = group; count > 1; count /= 2)
            for (int k = 0; k < count / 2; k++)
                v[k] = neighbours(v[2 * k], v[2 * k + 1], std::make_integer_sequence<int, lanes>());
        for (int k = 0; k < group; k++) {
            sums[first + k] = v[0][k * (lanes / group)];
            for (int lane = 1; lane < lanes / group; lane++)
                sums[first + k] += v[0][k * (lanes / group) + lane];
        }
    }
}

template <class T>
static inline T total(typename Vector<T>::type v) {
    T sum;
    totals<T, 1>(&v, &sum);
    return sum;
}
