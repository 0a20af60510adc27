/* What training does most often on a processor, one pass over memory each where torch's operations take a dozen.

   Built where a C compiler is there when ranktag is installed (see setup.py); without it, torch's operations do the
   same. Arrays are given by their addresses and are contiguous; those "of numbers" are float32 or bfloat16.
   Python's lock is free meanwhile. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030A0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE__
#include <xmmintrin.h>
#endif

/* For processors with 512 and 256 bits a register, too; which it is, is looked up once. */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 12
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#elif defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && __GNUC__ >= 6
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
/* A copy for each value of the flags it is called with, in each of the functions for each processor. */
#define INLINE static inline __attribute__((always_inline))

/* name_float32 and name_bfloat16: name_rows for numbers of that type. */
#define FOR_BOTH_TYPES(name)                                                         \
    FOR_EACH_PROCESSOR                                                               \
    static void name##_float32(const void *x, int64_t row, int64_t end) {            \
        name##_rows(x, row, end, 0);                                                 \
    }                                                                                \
    FOR_EACH_PROCESSOR                                                               \
    static void name##_bfloat16(const void *x, int64_t row, int64_t end) {           \
        name##_rows(x, row, end, 1);                                                 \
    }

INLINE float get(const void *numbers, int64_t k, int bfloat16) {
    if (!bfloat16) return ((const float *)numbers)[k];
    uint32_t bits = (uint32_t)((const uint16_t *)numbers)[k] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE void put(void *numbers, int64_t k, float x, int bfloat16) {
    if (!bfloat16) {
        ((float *)numbers)[k] = x;
        return;
    }
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    /* To the nearest, of two to the even one, as torch does; what is no number stays none. */
    bits = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    ((uint16_t *)numbers)[k] = (uint16_t)(x == x ? bits : 0x7fc0);
}

/* e^x = 2^n e^r with |r| <= ln 2 / 2 and the Taylor series of e^r: within 2e-7 of it, relatively. */
INLINE float exponential(float x) {
    x = x > 80.0f ? 80.0f : x < -80.0f ? -80.0f : x;
    /* A sum with 1.5 2^23 has no bits after the point: n is a whole number. */
    float n = (x * 1.442695041f + 12582912.0f) - 12582912.0f;
    /* ln 2 in two parts, the first of so few bits that n times it is exact. */
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float sum = 1.0f / 5040;
    sum = sum * r + 1.0f / 720;
    sum = sum * r + 1.0f / 120;
    sum = sum * r + 1.0f / 24;
    sum = sum * r + 1.0f / 6;
    sum = sum * r + 1.0f / 2;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

/* Both within 2e-7 of the truth. */
INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }
INLINE float hyperbolic_tangent(float x) { return 2.0f / (1.0f + exponential(-2.0f * x)) - 1.0f; }

/* A step of an LSTM for some rows: see lstm_step.py. product and c are NULL where the sequences begin with zeros. */
typedef struct {
    long long rows, hidden;
    const void *gates, *image, *product; /* (rows, 4H) numbers */
    const float *c;                      /* (rows, H) */
    float *activated;                    /* (rows, 4H) */
    float *c_next;                       /* (rows, H) */
    void *output;                        /* (rows, H) numbers */
} Forward;

INLINE void forward_row(const Forward *x, int64_t row, int begins, int bfloat16) {
    const int64_t H = x->hidden, first = row * 4 * H;
#pragma GCC ivdep
    for (int64_t k = 0; k < H; k++) {
        float sums[4];
        for (int gate = 0; gate < 4; gate++) {
            int64_t at = first + gate * H + k;
            sums[gate] = get(x->gates, at, bfloat16) + get(x->image, at, bfloat16);
            if (!begins) sums[gate] += get(x->product, at, bfloat16);
        }
        float a[4] = {sigmoid(sums[0]), sigmoid(sums[1]), hyperbolic_tangent(sums[2]), sigmoid(sums[3])};
        for (int gate = 0; gate < 4; gate++) x->activated[first + gate * H + k] = a[gate];
        float c = a[0] * a[2];
        if (!begins) c += a[1] * x->c[row * H + k];
        x->c_next[row * H + k] = c;
        put(x->output, row * H + k, a[3] * hyperbolic_tangent(c), bfloat16);
    }
}

INLINE void forward_rows(const Forward *x, int64_t row, int64_t end, int bfloat16) {
    for (; row < end; row++) {
        if (x->c)
            forward_row(x, row, 0, bfloat16);
        else
            forward_row(x, row, 1, bfloat16);
    }
}

FOR_BOTH_TYPES(forward)

/* The gradient of such a step. d_c is changed to that of the step before. The first ``later`` rows go on to another
   step, from which d_h and d_c come; of the others both are zero, whatever is there. */
typedef struct {
    long long rows, hidden, later;
    const float *activated;     /* (rows, 4H) */
    const float *c, *c_next;    /* (rows, H) */
    const void *d_output, *d_h; /* (rows, H) numbers: of what the step gives, and through the next step */
    float *d_c;                 /* (rows, H) */
    void *d_gates;              /* (rows, 4H) numbers */
} Backward;

INLINE void backward_row(const Backward *x, int64_t row, int begins, int ends, int bfloat16) {
    const int64_t H = x->hidden, first = row * 4 * H;
#pragma GCC ivdep
    for (int64_t k = 0; k < H; k++) {
        const int64_t at = row * H + k;
        float a[4];
        for (int gate = 0; gate < 4; gate++) a[gate] = x->activated[first + gate * H + k];
        float i = a[0], f = a[1], g = a[2], o = a[3], tanh_c = hyperbolic_tangent(x->c_next[at]);
        float d_h = get(x->d_output, at, bfloat16);
        if (!ends) d_h += get(x->d_h, at, bfloat16);
        float d_c = d_h * o * (1.0f - tanh_c * tanh_c);
        if (!ends) d_c += x->d_c[at];
        float sums[4] = {
            d_c * g * i * (1.0f - i),
            begins ? 0.0f : d_c * x->c[at] * f * (1.0f - f),
            d_c * i * (1.0f - g * g),
            d_h * tanh_c * o * (1.0f - o),
        };
        for (int gate = 0; gate < 4; gate++) put(x->d_gates, first + gate * H + k, sums[gate], bfloat16);
        x->d_c[at] = d_c * f;
    }
}

INLINE void backward_rows(const Backward *x, int64_t row, int64_t end, int bfloat16) {
    for (; row < end; row++) {
        if (row < x->later) {
            if (x->c)
                backward_row(x, row, 0, 0, bfloat16);
            else
                backward_row(x, row, 1, 0, bfloat16);
        } else if (x->c) {
            backward_row(x, row, 0, 1, bfloat16);
        } else {
            backward_row(x, row, 1, 1, bfloat16);
        }
    }
}

FOR_BOTH_TYPES(backward)

/* A step of AdamW: see adamw.py. Of weights, mean and square it moves the rows ``used``, or where that is NULL all. */
typedef struct {
    long long rows, width;
    const int64_t *used;
    float *weights, *mean, *square;
    const void *gradient; /* (rows, width) numbers */
    uint16_t *rounded;    /* (rows, width) bfloat16: the weights as they are then; NULL: nowhere */
    /* What the gradient is divided by, the share of a weight that does not decay, the learning rate over the first
       bias, the betas, the root of the second bias. */
    double scale, kept, rate, beta1, beta2, root, epsilon;
} Adam;

INLINE void adamw_row(const Adam *x, int64_t row, int rounds, int bfloat16) {
    const int64_t width = x->width, first = (x->used ? x->used[row] : row) * width;
    const float scale = 1.0 / x->scale, kept = x->kept, rate = x->rate, root = 1.0 / x->root, epsilon = x->epsilon;
    const float new1 = 1.0 - x->beta1, old2 = x->beta2, new2 = 1.0 - x->beta2;
    float *weights = x->weights + first, *mean = x->mean + first, *square = x->square + first;
#pragma GCC ivdep
    for (int64_t k = 0; k < width; k++) {
        float g = get(x->gradient, row * width + k, bfloat16) * scale;
        float m = mean[k] + new1 * (g - mean[k]), v = old2 * square[k] + new2 * g * g;
        float w = weights[k] * kept - rate * m / (sqrtf(v) * root + epsilon);
        mean[k] = m, square[k] = v, weights[k] = w;
        if (rounds) put(x->rounded, row * width + k, w, 1);
    }
}

INLINE void adamw_rows(const Adam *x, int64_t row, int64_t end, int bfloat16) {
    for (; row < end; row++) {
        if (x->rounded)
            adamw_row(x, row, 1, bfloat16);
        else
            adamw_row(x, row, 0, bfloat16);
    }
}

FOR_BOTH_TYPES(adamw)

/* The sum of the squares of each row. */
typedef struct {
    long long rows, width;
    const void *gradient; /* (rows, width) numbers */
    float *sums;          /* (rows) */
} Squares;

INLINE void squares_rows(const Squares *x, int64_t row, int64_t end, int bfloat16) {
    const void *gradient = x->gradient;
    for (; row < end; row++) {
        float sum = 0.0f;
        /* The compiler may not decide by itself to add up in another order. */
#pragma omp simd reduction(+ : sum)
        for (int64_t at = row * x->width; at < (row + 1) * x->width; at++) {
            float g = get(gradient, at, bfloat16);
            sum += g * g;
        }
        x->sums[row] = sum;
    }
}

FOR_BOTH_TYPES(squares)

/* Dropout: see dropout.py. */
typedef struct {
    long long count, seed, dropped; /* dropped: of 65536 */
    double scale;
    const void *x; /* (count) numbers */
    void *y;       /* (count) numbers */
} Dropout;

/* So many counters of Philox one after the other; each gives eight numbers 16 bits. */
#define COUNTERS 128
#define NUMBERS (8 * COUNTERS)

/* Philox4x32 of a key, the seed, and a counter: no state, so the gradient finds the same bits again. With seven rounds
   it passes all tests of TestU01 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, table 2). */
INLINE void philox(uint64_t seed, uint64_t first, uint16_t *bits) {
    for (int k = 0; k < COUNTERS; k++) {
        uint32_t a = (uint32_t)(first + k), b = (uint32_t)((first + k) >> 32), c = 0, d = 0;
        uint32_t key0 = (uint32_t)seed, key1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 7
        for (int round = 0; round < 7; round++) {
            uint64_t of_a = (uint64_t)a * 0xD2511F53, of_c = (uint64_t)c * 0xCD9E8D57;
            a = (uint32_t)(of_c >> 32) ^ b ^ key0, b = (uint32_t)of_c;
            c = (uint32_t)(of_a >> 32) ^ d ^ key1, d = (uint32_t)of_a;
            key0 += 0x9E3779B9, key1 += 0xBB67AE85;
        }
        const uint32_t words[4] = {a, b, c, d};
        for (int word = 0; word < 4; word++) {
            bits[2 * word * COUNTERS + k] = (uint16_t)words[word];
            bits[(2 * word + 1) * COUNTERS + k] = (uint16_t)(words[word] >> 16);
        }
    }
}

/* A row: NUMBERS numbers; of the last, those that there are. */
INLINE void dropout_rows(const Dropout *x, int64_t row, int64_t end, int bfloat16) {
    const float scale = x->scale;
    const int dropped = x->dropped;
    uint16_t bits[NUMBERS];
    for (; row < end; row++) {
        const int64_t first = row * NUMBERS, left = x->count - first, count = left < NUMBERS ? left : NUMBERS;
        philox(x->seed, row * COUNTERS, bits);
#pragma GCC ivdep
        for (int64_t k = 0; k < count; k++) {
            const float y = get(x->x, first + k, bfloat16) * scale;
            put(x->y, first + k, bits[k] < dropped ? 0.0f : y, bfloat16);
        }
    }
}

FOR_BOTH_TYPES(dropout)

/* The cross-entropy of logits, and its gradient: see cross_entropy.py. */
typedef struct {
    long long rows, width;
    double smoothing, divisor;
    const void *logits;    /* (rows, width) numbers */
    const int64_t *target; /* (rows); of what is not counted, below 0 */
    float *losses;         /* (rows) */
    void *gradient;        /* (rows, width) numbers */
} CrossEntropy;

/* A whole number that is the larger the larger x is, and the way back. */
INLINE int32_t in_order(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits < 0 ? bits ^ 0x7fffffff : bits;
}

INLINE float out_of_order(int32_t bits) {
    float x;
    bits = bits < 0 ? bits ^ 0x7fffffff : bits;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE void cross_entropy_row(const CrossEntropy *x, int64_t row, int bfloat16) {
    const int64_t width = x->width, first = row * width, target = first + x->target[row];
    const float on_all = x->smoothing / width, on_target = 1.0 - x->smoothing, scale = 1.0 / x->divisor;
    const void *logits = x->logits; /* read once, or the sums are added up one by one */
    int32_t most = INT32_MIN;
    for (int64_t at = first; at < first + width; at++) {
        /* Of numbers with a point the compiler would look for the largest one by one. */
        int32_t z = in_order(get(logits, at, bfloat16));
        most = z > most ? z : most;
    }
    const float largest = out_of_order(most);
    float sum = 0.0f, distance = 0.0f;
    /* The compiler may not decide by itself to add up in another order. */
#pragma omp simd reduction(+ : sum, distance)
    for (int64_t at = first; at < first + width; at++) {
        float z = get(logits, at, bfloat16) - largest;
        sum += exponential(z);
        distance += z;
    }
    const float rest = logf(sum), of_target = get(logits, target, bfloat16) - largest;
    x->losses[row] = rest - on_target * of_target - on_all * distance;
#pragma GCC ivdep
    for (int64_t at = first; at < first + width; at++) {
        float p = exponential(get(logits, at, bfloat16) - largest - rest);
        put(x->gradient, at, (p - on_all) * scale, bfloat16);
    }
    put(x->gradient, target, (exponential(of_target - rest) - on_all - on_target) * scale, bfloat16);
}

INLINE void cross_entropy_rows(const CrossEntropy *x, int64_t row, int64_t end, int bfloat16) {
    for (; row < end; row++) {
        if (x->target[row] >= 0) {
            cross_entropy_row(x, row, bfloat16);
            continue;
        }
        x->losses[row] = 0.0f;
        for (int64_t k = 0; k < x->width; k++) put(x->gradient, row * x->width + k, 0.0f, bfloat16);
    }
}

FOR_BOTH_TYPES(cross_entropy)

/* Standardised features: see standardise.py. */
typedef struct {
    long long rows, width, kept;
    int float16;
    double factor;
    const void *features;      /* (rows, width) float16 or float32 */
    const int64_t *columns;    /* (kept) */
    const float *mean, *scale; /* (width) */
    void *standardised;        /* (rows, kept) numbers */
} Standardise;

INLINE float from_float16(uint16_t bits) {
    const uint32_t sign = (uint32_t)(bits & 0x8000) << 16, rest = bits & 0x7fff, bias = (uint32_t)(127 - 15) << 23;
    /* Below 2^-14 it is a multiple of 2^-24; infinite and not a number keep the largest exponent. */
    const float small = (float)(int32_t)rest * 0x1p-24f;
    uint32_t of_small;
    memcpy(&of_small, &small, sizeof small);
    uint32_t of_x = (rest < 0x400 ? of_small : (rest << 13) + bias + (rest < 0x7c00 ? 0 : bias)) | sign;
    float x;
    memcpy(&x, &of_x, sizeof x);
    return x;
}

/* So many columns at a time, whose mean and scale stay near. */
#define COLUMNS 256

INLINE void standardise_columns(const Standardise *x, int64_t row, int64_t end, int64_t first, int float16,
                                int bfloat16) {
    const int64_t left = x->kept - first, count = left < COLUMNS ? left : COLUMNS;
    const int64_t *columns = x->columns + first;
    float mean[COLUMNS], factor[COLUMNS], of_float32[COLUMNS];
    uint16_t of_float16[COLUMNS];
    for (int64_t k = 0; k < count; k++) {
        mean[k] = x->mean[columns[k]];
        factor[k] = (float)x->factor / x->scale[columns[k]];
    }
    for (; row < end; row++) {
        const int64_t from = row * x->width, to = row * x->kept + first;
        /* Fetched one by one, and then computed with many at once. */
        for (int64_t k = 0; k < count; k++)
            if (float16)
                of_float16[k] = ((const uint16_t *)x->features)[from + columns[k]];
            else
                of_float32[k] = ((const float *)x->features)[from + columns[k]];
#pragma GCC ivdep
        for (int64_t k = 0; k < count; k++) {
            float feature = float16 ? from_float16(of_float16[k]) : of_float32[k];
            put(x->standardised, to + k, (feature - mean[k]) * factor[k], bfloat16);
        }
    }
}

INLINE void standardise_rows(const Standardise *x, int64_t row, int64_t end, int bfloat16) {
    for (int64_t first = 0; first < x->kept; first += COLUMNS) {
        if (x->float16)
            standardise_columns(x, row, end, first, 1, bfloat16);
        else
            standardise_columns(x, row, end, first, 0, bfloat16);
    }
}

FOR_BOTH_TYPES(standardise)

/* The sum of each sequence's steps, of packed sequences: sizes[t] of the rows go through the t-th of the steps. */
typedef struct {
    long long rows, width, steps;
    const int64_t *sizes; /* (steps) */
    const void *packed;   /* (all of the sizes, width) numbers */
    void *sums;           /* (rows, width) numbers */
} Steps;

/* So many sums side by side. */
#define SUMS 64

INLINE void sum_steps_rows(const Steps *x, int64_t row, int64_t end, int bfloat16) {
    for (; row < end; row++)
        for (int64_t k = 0; k < x->width; k += SUMS) {
            const int64_t count = x->width - k < SUMS ? x->width - k : SUMS;
            float sums[SUMS] = {0.0f};
            int64_t first = row * x->width + k;
            for (int64_t t = 0; t < x->steps && row < x->sizes[t]; first += x->sizes[t++] * x->width)
                for (int64_t part = 0; part < count; part++) sums[part] += get(x->packed, first + part, bfloat16);
            for (int64_t part = 0; part < count; part++) put(x->sums, row * x->width + k + part, sums[part], bfloat16);
        }
}

FOR_BOTH_TYPES(sum_steps)

/* Rows of a table: see table_rows.py. */
typedef struct {
    long long rows, width;
    const int64_t *which; /* (rows) */
    float *table;         /* (.., width) */
    void *taken;          /* (rows, width) numbers */
} TableRows;

INLINE void take_rows(const TableRows *x, int64_t row, int64_t end, int bfloat16) {
    for (; row < end; row++) {
        const float *from = x->table + x->which[row] * x->width;
#pragma GCC ivdep
        for (int64_t k = 0; k < x->width; k++) put(x->taken, row * x->width + k, from[k], bfloat16);
    }
}

FOR_BOTH_TYPES(take)

/* To the table what is in the place of its rows: every row may come several times, so it is columns that are shared
   out, a cache line's together. */
#define A_LINE 16

INLINE void add_rows(const TableRows *x, int64_t line, int64_t end, int bfloat16) {
    const int64_t first = line * A_LINE, last = end * A_LINE < x->width ? end * A_LINE : x->width;
    for (int64_t row = 0; row < x->rows; row++) {
        float *to = x->table + x->which[row] * x->width;
#pragma GCC ivdep
        for (int64_t k = first; k < last; k++) to[k] += get(x->taken, row * x->width + k, bfloat16);
    }
}

FOR_BOTH_TYPES(add)

/* What bytes of three colours are in tables of 256 numbers, a row of pixels at a time: see pixel_table.py. */
typedef struct {
    long long rows, width; /* width: three times the pixels */
    const uint8_t *pixels; /* (rows, width) */
    const void *tables;    /* (3, 256) numbers */
    void *found;           /* (rows, width) numbers */
} LookUp;

#define LOOK_UP(name, number)                                                        \
    static void look_up_##name(const void *p, int64_t row, int64_t end) {            \
        const LookUp *x = p;                                                         \
        const number *tables = x->tables;                                            \
        number *found = x->found;                                                    \
        for (int64_t at = row * x->width; at < end * x->width; at += 3)              \
            for (int colour = 0; colour < 3; colour++)                               \
                found[at + colour] = tables[256 * colour + x->pixels[at + colour]];  \
    }

LOOK_UP(float32, uint32_t)
LOOK_UP(bfloat16, uint16_t)

/* The largest of every 2 x 2 numbers, none of which is negative; such are in the order of their bits as whole numbers,
   and what is no number comes last. A last row or column that is alone is left out. */
typedef struct {
    long long rows, height, width, channels; /* rows: of all pictures, height / 2 of each */
    const void *x;                           /* (B, height, width, channels) numbers */
    void *largest;                           /* (B, height / 2, width / 2, channels) numbers */
} Pool;

#define POOL(name, whole)                                                                                       \
    FOR_EACH_PROCESSOR                                                                                          \
    static void pool_##name(const void *p, int64_t row, int64_t end) {                                          \
        const Pool *x = p;                                                                                      \
        const int64_t half = x->height / 2, across = x->width / 2, n = x->channels;                             \
        for (; row < end; row++) {                                                                              \
            const int64_t above = row / half * x->height + row % half * 2;                                      \
            const whole *a = (const whole *)x->x + above * x->width * n, *b = a + x->width * n;                 \
            whole *to = (whole *)x->largest + row * across * n;                                                 \
            for (int64_t place = 0; place < across; place++, a += 2 * n, b += 2 * n, to += n)                   \
                for (int64_t k = 0; k < n; k++) {                                                               \
                    const whole one = a[k] > a[k + n] ? a[k] : a[k + n];                                        \
                    const whole other = b[k] > b[k + n] ? b[k] : b[k + n];                                      \
                    to[k] = one > other ? one : other;                                                          \
                }                                                                                               \
        }                                                                                                       \
    }

POOL(float32, int32_t)
POOL(bfloat16, int16_t)

typedef void (*RowsOf)(const void *, int64_t, int64_t);

/* Numbers below 1e-38 are taken for 0 meanwhile: where a tag is rare the moments of its weights fade to such, and they
   take ten times as long. */
static void without_tiny(RowsOf rows_of, const void *x, int64_t row, int64_t end) {
#ifdef __SSE__
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    rows_of(x, row, end);
    _mm_setcsr(before);
#else
    rows_of(x, row, end);
#endif
}

static PyObject *share_out(RowsOf rows_of, const void *x, int64_t rows, int threads) {
    Py_BEGIN_ALLOW_THREADS;
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
    for (int part = 0; part < threads; part++)
        without_tiny(rows_of, x, rows * part / threads, rows * (part + 1) / threads);
    Py_END_ALLOW_THREADS;
    Py_RETURN_NONE;
}

static PyObject *lstm_forward(PyObject *module, PyObject *arguments) {
    Forward x;
    int threads, bfloat16;
    unsigned long long p[7];
    if (!PyArg_ParseTuple(arguments, "iiLLKKKKKKK", &threads, &bfloat16, &x.rows, &x.hidden, p, p + 1, p + 2, p + 3,
                          p + 4, p + 5, p + 6))
        return NULL;
    x.gates = (void *)p[0], x.image = (void *)p[1], x.product = (void *)p[2], x.c = (void *)p[3];
    x.activated = (void *)p[4], x.c_next = (void *)p[5], x.output = (void *)p[6];
    return share_out(bfloat16 ? forward_bfloat16 : forward_float32, &x, x.rows, threads);
}

static PyObject *lstm_backward(PyObject *module, PyObject *arguments) {
    Backward x;
    int threads, bfloat16;
    unsigned long long p[7];
    if (!PyArg_ParseTuple(arguments, "iiLLLKKKKKKK", &threads, &bfloat16, &x.rows, &x.hidden, &x.later, p, p + 1, p + 2,
                          p + 3, p + 4, p + 5, p + 6))
        return NULL;
    x.activated = (void *)p[0], x.c = (void *)p[1], x.c_next = (void *)p[2], x.d_output = (void *)p[3];
    x.d_h = (void *)p[4], x.d_c = (void *)p[5], x.d_gates = (void *)p[6];
    return share_out(bfloat16 ? backward_bfloat16 : backward_float32, &x, x.rows, threads);
}

static PyObject *sum_steps(PyObject *module, PyObject *arguments) {
    Steps x;
    int threads, bfloat16;
    unsigned long long p[3];
    if (!PyArg_ParseTuple(arguments, "iiLLLKKK", &threads, &bfloat16, &x.rows, &x.width, &x.steps, p, p + 1, p + 2))
        return NULL;
    x.sizes = (void *)p[0], x.packed = (void *)p[1], x.sums = (void *)p[2];
    return share_out(bfloat16 ? sum_steps_bfloat16 : sum_steps_float32, &x, x.rows, threads);
}

static PyObject *adamw(PyObject *module, PyObject *arguments) {
    Adam x;
    int threads, bfloat16;
    double lr, decay, counted;
    unsigned long long p[7];
    if (!PyArg_ParseTuple(arguments, "iiLLdddddddKKKKKKK", &threads, &bfloat16, &x.rows, &x.width, &x.scale, &lr,
                          &decay, &x.beta1, &x.beta2, &x.epsilon, &counted, p, p + 1, p + 2, p + 3, p + 4, p + 5,
                          p + 6))
        return NULL;
    x.used = (void *)p[0], x.weights = (void *)p[1], x.mean = (void *)p[2], x.square = (void *)p[3];
    x.gradient = (void *)p[4], x.rounded = (void *)p[5];
    float *steps = (void *)p[6];
    *steps += (float)counted;
    x.kept = 1.0 - lr * decay;
    x.rate = lr / (1.0 - pow(x.beta1, *steps)), x.root = sqrt(1.0 - pow(x.beta2, *steps));
    return share_out(bfloat16 ? adamw_bfloat16 : adamw_float32, &x, x.rows, threads);
}

/* The sum of all rows'. */
static PyObject *squares(PyObject *module, PyObject *arguments) {
    Squares x;
    int threads, bfloat16;
    unsigned long long p[2];
    if (!PyArg_ParseTuple(arguments, "iiLLKK", &threads, &bfloat16, &x.rows, &x.width, p, p + 1)) return NULL;
    x.gradient = (void *)p[0], x.sums = (void *)p[1];
    Py_XDECREF(share_out(bfloat16 ? squares_bfloat16 : squares_float32, &x, x.rows, threads));
    double sum = 0.0;
    for (int64_t row = 0; row < x.rows; row++) sum += x.sums[row];
    return PyFloat_FromDouble(sum);
}

static PyObject *dropout(PyObject *module, PyObject *arguments) {
    Dropout x;
    int threads, bfloat16;
    unsigned long long p[2];
    if (!PyArg_ParseTuple(arguments, "iiLLLdKK", &threads, &bfloat16, &x.count, &x.seed, &x.dropped, &x.scale, p,
                          p + 1))
        return NULL;
    x.x = (void *)p[0], x.y = (void *)p[1];
    int64_t rows = (x.count + NUMBERS - 1) / NUMBERS;
    return share_out(bfloat16 ? dropout_bfloat16 : dropout_float32, &x, rows, threads);
}

/* The mean of the losses of what is counted. */
static PyObject *cross_entropy(PyObject *module, PyObject *arguments) {
    CrossEntropy x;
    int threads, bfloat16;
    unsigned long long p[4];
    if (!PyArg_ParseTuple(arguments, "iiLLddKKKK", &threads, &bfloat16, &x.rows, &x.width, &x.smoothing, &x.divisor, p,
                          p + 1, p + 2, p + 3))
        return NULL;
    x.logits = (void *)p[0], x.target = (void *)p[1], x.losses = (void *)p[2], x.gradient = (void *)p[3];
    Py_XDECREF(share_out(bfloat16 ? cross_entropy_bfloat16 : cross_entropy_float32, &x, x.rows, threads));
    double sum = 0.0, counted = 0.0;
    for (int64_t row = 0; row < x.rows; row++) sum += x.losses[row], counted += x.target[row] >= 0;
    return PyFloat_FromDouble(sum / counted);
}

static PyObject *standardise(PyObject *module, PyObject *arguments) {
    Standardise x;
    int threads, bfloat16;
    unsigned long long p[5];
    if (!PyArg_ParseTuple(arguments, "iiLLLidKKKKK", &threads, &bfloat16, &x.rows, &x.width, &x.kept, &x.float16,
                          &x.factor, p, p + 1, p + 2, p + 3, p + 4))
        return NULL;
    x.features = (void *)p[0], x.columns = (void *)p[1], x.mean = (void *)p[2], x.scale = (void *)p[3];
    x.standardised = (void *)p[4];
    return share_out(bfloat16 ? standardise_bfloat16 : standardise_float32, &x, x.rows, threads);
}

static int table_rows(PyObject *arguments, TableRows *x, int *threads, int *bfloat16) {
    unsigned long long p[3];
    if (!PyArg_ParseTuple(arguments, "iiLLKKK", threads, bfloat16, &x->rows, &x->width, p, p + 1, p + 2)) return 0;
    x->which = (void *)p[0], x->table = (void *)p[1], x->taken = (void *)p[2];
    return 1;
}

static PyObject *take_table_rows(PyObject *module, PyObject *arguments) {
    TableRows x;
    int threads, bfloat16;
    if (!table_rows(arguments, &x, &threads, &bfloat16)) return NULL;
    return share_out(bfloat16 ? take_bfloat16 : take_float32, &x, x.rows, threads);
}

static PyObject *add_table_rows(PyObject *module, PyObject *arguments) {
    TableRows x;
    int threads, bfloat16;
    if (!table_rows(arguments, &x, &threads, &bfloat16)) return NULL;
    return share_out(bfloat16 ? add_bfloat16 : add_float32, &x, (x.width + A_LINE - 1) / A_LINE, threads);
}

static PyObject *look_up(PyObject *module, PyObject *arguments) {
    LookUp x;
    int threads, bfloat16;
    unsigned long long p[3];
    if (!PyArg_ParseTuple(arguments, "iiLLKKK", &threads, &bfloat16, &x.rows, &x.width, p, p + 1, p + 2)) return NULL;
    x.pixels = (void *)p[0], x.tables = (void *)p[1], x.found = (void *)p[2];
    return share_out(bfloat16 ? look_up_bfloat16 : look_up_float32, &x, x.rows, threads);
}

static PyObject *pool(PyObject *module, PyObject *arguments) {
    Pool x;
    int threads, bfloat16;
    unsigned long long p[2];
    if (!PyArg_ParseTuple(arguments, "iiLLLLKK", &threads, &bfloat16, &x.rows, &x.height, &x.width, &x.channels, p,
                          p + 1))
        return NULL;
    x.x = (void *)p[0], x.largest = (void *)p[1];
    return share_out(bfloat16 ? pool_bfloat16 : pool_float32, &x, x.rows, threads);
}

static PyMethodDef functions[] = {
    {"lstm_forward", lstm_forward, METH_VARARGS, NULL},
    {"lstm_backward", lstm_backward, METH_VARARGS, NULL},
    {"sum_steps", sum_steps, METH_VARARGS, NULL},
    {"adamw", adamw, METH_VARARGS, NULL},
    {"squares", squares, METH_VARARGS, NULL},
    {"dropout", dropout, METH_VARARGS, NULL},
    {"cross_entropy", cross_entropy, METH_VARARGS, NULL},
    {"standardise", standardise, METH_VARARGS, NULL},
    {"take_table_rows", take_table_rows, METH_VARARGS, NULL},
    {"add_table_rows", add_table_rows, METH_VARARGS, NULL},
    {"look_up", look_up, METH_VARARGS, NULL},
    {"pool", pool, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef kernels = {PyModuleDef_HEAD_INIT, .m_name = "kernels", .m_size = -1, .m_methods = functions};

PyMODINIT_FUNC PyInit_kernels(void) { return PyModule_Create(&kernels); }
