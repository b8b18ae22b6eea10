// One tick of A3C and Individual on a CPU: rollout, gradient and update of every worker, in one call.
//
// The idea: training is bound by the memory that a step moves, so a seed is taken through its whole tick before the
// next begins. Then the snapshots of its workers (2.1 MB with a GRU of 128) are read from the cache 20 times, a worker's
// weights stay in the core's own cache through its backward pass, and clip, Adam and snapshot are one pass in which a
// block of parameters and moments stays in registers for all workers that push. In torch's operations that order would
// cost more than it saves: each works on five rows, and there are about 1,900 in a tick.
//
// The layout of parameters, of the tape and of the environment's state is that of lnlab.models.stacked,
// lnlab.models.actor_critic and lnlab.envs.offloading, in whose buffers this works; single precision, sums in another
// order than torch's. Hidden widths are multiples of 16. Checked against those modules in tests/test_native.py.
#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <vector>

#ifdef __AVX512F__
constexpr int W = 16, WIDE = 24, ROWS = 4, COLUMNS = 6;  // floats in a vector; accumulators that fit the registers
#else
constexpr int W = 8, WIDE = 12, ROWS = 2, COLUMNS = 4;
#endif
constexpr int OUT = 4;  // three logits and the value
constexpr int SLOTS = 20, OBSERVATION = 48, LOCAL = 0, OFFLOAD = 1;
typedef float V __attribute__((vector_size(4 * W)));
typedef float Unaligned __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t Bits __attribute__((vector_size(4 * W)));
typedef float Q __attribute__((vector_size(16), aligned(4), may_alias));

struct Job {  // lnlab.trainers.native reads these names and fills them in
    int64_t steps, rows, members, workers, size, inputs, hidden, recurrent, refilled, shared, averaged;
    // where in a row of parameters; −1: not there. A feedforward core is called core_input
    int64_t embed_weight, embed_bias, embed_norm_gain, embed_norm_bias;
    int64_t core_input_weight, core_input_bias, core_state_weight, core_state_bias, core_norm_gain, core_norm_bias;
    int64_t heads_norm_gain, heads_norm_bias, heads_weight, heads_bias, heads_time;
    int64_t heads_mean, heads_var;                                              // of returns, where values are scaled
    int64_t embed_scale, core_input_scale, core_state_scale, heads_scale;       // of normed weights
    int64_t embed_norm, core_norm, heads_norm;                                  // their kinds
    int64_t embed_norm_mean, embed_norm_var, core_norm_mean, core_norm_var, heads_norm_mean, heads_norm_var;
    int64_t layers, following, held;                                            // 0 layers: their steps are not looked at
    double gamma, value_cost, entropy_cost, value_huber, lr, beta1, beta2, eps, continues, divisor;
    float *obs, *state, *embed, *active, *gates, *sums, *core, *out;            // the tape, (T+1, N, …)
    float *parameters, *snapshot, *gradient, *exp_avg, *exp_avg_sq, *step;      // (L or N, size); step: (1,)
    float *effective;                                                           // (N, size): snapshots with normed weights
    float *reward, *draws, *dout, *returns, *totals, *last, *norm, *limits;     // (T, N, …), (4, N), (3, N), (N,), (L,)
    int64_t *action, *order, *clock, *places;                                   // (T, N), (members, L), (1,), (100, 2, N)
    float *stock, *pool, *slots, *due, *script, *shown, *scale, *to_good, *to_bad;  // OffloadingBatch's
    float *left, *shares, *lengths;                                             // (T+1,), (pushes, layers, L), (layers, L)
    float *seen;                                                                // (N, 3, 2, hidden): of norms over the batch
    int64_t *bounds;                                                            // (layers, 3): start, end of weights, end
    uint8_t *alive, *channel;                                                   // (L,), (N,)
};

static inline V load(const float *p) { return *(const Unaligned *)p; }
static inline void store(float *p, V v) { *(Unaligned *)p = v; }
static inline V all(float x) { return V{} + x; }
static inline V relu(V x) { return x < 0 ? V{} : x; }  // NaN stays
static inline Q quarter(V v) {
    Q parts[W / 4];
    store((float *)parts, v);
    return W == 16 ? (parts[0] + parts[1]) + (parts[2 % (W / 4)] + parts[3 % (W / 4)]) : parts[0] + parts[1];
}
static inline Q pairs(Q a, Q b) {
    typedef int32_t Order __attribute__((vector_size(16)));
    return __builtin_shuffle(a, b, Order{0, 2, 4, 6}) + __builtin_shuffle(a, b, Order{1, 3, 5, 7});
}
static inline Q sums(const V *v) {  // of four vectors
    return pairs(pairs(quarter(v[0]), quarter(v[1])), pairs(quarter(v[2]), quarter(v[3])));
}
static inline float sum(V v) {
    Q each = quarter(v);
    return (each[0] + each[1]) + (each[2] + each[3]);
}

static float length(const float *x, int64_t width) {
    V squares[4] = {};
    int64_t i = 0;
    for (; i + 4 * W <= width; i += 4 * W)
        for (int k = 0; k < 4; k++) squares[k] += load(x + i + k * W) * load(x + i + k * W);
    float total = sum((squares[0] + squares[1]) + (squares[2] + squares[3]));
    for (; i < width; i++) total += x[i] * x[i];
    return std::sqrt(total);
}

// e^x to 2e-7 (the polynomial of Cephes); NaN stays
static inline V exponential(V x) {
    x = x < -87.0f ? all(-87.0f) : x;
    x = x > 88.0f ? all(88.0f) : x;
    V shifted = x * 1.44269504f + 12582912.0f;  // its last bits are the whole number nearest to x / ln 2
    V whole = shifted - 12582912.0f;
    V r = x - whole * 0.693359375f + whole * 2.12194440e-4f;
    V p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return (V)((Bits)p + ((Bits)shifted << 23));
}
static inline V sigmoid(V x) { return 1.0f / (1.0f + exponential(-x)); }

// y += x W, W (inputs, outputs): B vectors of outputs stay in registers
template <int B>
static inline void columns(const float *w, const float *x, float *y, int inputs, int outputs) {
    V found[B];
#pragma GCC unroll 32
    for (int b = 0; b < B; b++) found[b] = load(y + b * W);
    for (int i = 0; i < inputs; i++) {
        V each = all(x[i]);
#pragma GCC unroll 32
        for (int b = 0; b < B; b++) found[b] += each * load(w + (int64_t)i * outputs + b * W);
    }
#pragma GCC unroll 32
    for (int b = 0; b < B; b++) store(y + b * W, found[b]);
}

static void affine(const float *w, const float *bias, const float *x, float *y, int inputs, int outputs) {
    std::copy(bias, bias + outputs, y);
    int j = 0;
    for (; j + WIDE * W <= outputs; j += WIDE * W) columns<WIDE>(w + j, x, y + j, inputs, outputs);
    for (; j + WIDE / 3 * W <= outputs; j += WIDE / 3 * W) columns<WIDE / 3>(w + j, x, y + j, inputs, outputs);
    for (; j < outputs; j += W) columns<1>(w + j, x, y + j, inputs, outputs);
}

// g = Σ over time of xᵀ d: A inputs and B vectors of outputs at a time
template <int A, int B>
static inline void outer_block(
    const float *x, int64_t apart, const float *d, int64_t wide, float *g, int steps, int outputs) {
    V found[A][B] = {};
    for (int t = 0; t < steps; t++) {
        V each[B];
#pragma GCC unroll 8
        for (int b = 0; b < B; b++) each[b] = load(d + t * wide + b * W);
#pragma GCC unroll 8
        for (int a = 0; a < A; a++)
#pragma GCC unroll 8
            for (int b = 0; b < B; b++) found[a][b] += x[t * apart + a] * each[b];
    }
#pragma GCC unroll 8
    for (int a = 0; a < A; a++)
#pragma GCC unroll 8
        for (int b = 0; b < B; b++) store(g + (int64_t)a * outputs + b * W, found[a][b]);
}

// Gradients of y = x W + b over a rollout; x of one row, `apart` floats between steps, d (T, outputs) without gaps
static void outer(
    const float *x, int64_t apart, const float *d, float *g, float *bias, int steps, int inputs, int outputs) {
    int j = 0;
    for (; j + COLUMNS * W <= outputs; j += COLUMNS * W)
        for (int i = 0; i < inputs; i += ROWS)
            outer_block<ROWS, COLUMNS>(x + i, apart, d + j, outputs, g + (int64_t)i * outputs + j, steps, outputs);
    for (; j + 2 * W <= outputs; j += 2 * W)
        for (int i = 0; i < inputs; i += ROWS)
            outer_block<ROWS, 2>(x + i, apart, d + j, outputs, g + (int64_t)i * outputs + j, steps, outputs);
    for (; j < outputs; j += W)
        for (int i = 0; i < inputs; i += ROWS)
            outer_block<ROWS, 1>(x + i, apart, d + j, outputs, g + (int64_t)i * outputs + j, steps, outputs);
    for (int k = 0; k < outputs; k += W) {
        V found = {};
        for (int t = 0; t < steps; t++) found += load(d + (int64_t)t * outputs + k);
        store(bias + k, found);
    }
}

// dx += d Wᵀ of A steps (d (T, outputs), dx (T, inputs)), B rows of W at a time. Inlined it is a fifth slower
template <int A, int B>
static __attribute__((noinline)) void back_steps(const float *d, const float *w, float *dx, int inputs, int outputs) {
    for (int i = 0; i < inputs; i += B) {
        V found[A][B] = {};
        for (int k = 0; k < outputs; k += W) {
            V each[A];
#pragma GCC unroll 8
            for (int a = 0; a < A; a++) each[a] = load(d + (int64_t)a * outputs + k);
#pragma GCC unroll 8
            for (int b = 0; b < B; b++) {
                V weight = load(w + (int64_t)(i + b) * outputs + k);
#pragma GCC unroll 8
                for (int a = 0; a < A; a++) found[a][b] += each[a] * weight;
            }
        }
#pragma GCC unroll 8
        for (int a = 0; a < A; a++)
#pragma GCC unroll 8
            for (int b = 0; b < B; b += 4) *(Q *)(dx + (int64_t)a * inputs + i + b) += sums(found[a] + b);
    }
}

static void back(const float *d, const float *w, float *dx, int steps, int inputs, int outputs) {
    int t = 0;
    for (; t + ROWS <= steps; t += ROWS)
        back_steps<ROWS, 4>(d + (int64_t)t * outputs, w, dx + (int64_t)t * inputs, inputs, outputs);
    for (; t < steps; t++) back_steps<1, 4>(d + (int64_t)t * outputs, w, dx + (int64_t)t * inputs, inputs, outputs);
}

enum { NONE, LAYER, RMS, UNIT, BATCH };  // lnlab.trainers.native gives the kinds these numbers
struct Norm {
    int64_t kind, gain, shift, mean, var;
};
static inline Norm embed_norm(const Job &j) {
    return {j.embed_norm, j.embed_norm_gain, j.embed_norm_bias, j.embed_norm_mean, j.embed_norm_var};
}
static inline Norm core_norm(const Job &j) {
    return {j.core_norm, j.core_norm_gain, j.core_norm_bias, j.core_norm_mean, j.core_norm_var};
}
static inline Norm heads_norm(const Job &j) {
    return {j.heads_norm, j.heads_norm_gain, j.heads_norm_bias, j.heads_norm_mean, j.heads_norm_var};
}

static inline V inverse_root(V x) {
    for (int k = 0; k < W; k++) x[k] = 1 / std::sqrt(x[k]);
    return x;
}

struct Moments {
    float mean, scale;
};
static Moments moments(int64_t kind, const float *x, int width) {
    V total = {}, squares = {};
    if (kind == LAYER)
        for (int i = 0; i < width; i += W) total += load(x + i);
    float mean = sum(total) / width;
    for (int i = 0; i < width; i += W) {
        V away = load(x + i) - mean;
        squares += away * away;
    }
    float square = sum(squares);
    return {mean, kind == UNIT ? 1 / std::max(std::sqrt(square), 1e-8f) : 1 / std::sqrt(square / width + 1e-5f)};
}

// The norm of x (or x itself without one) as it acts, rectified where `positive`
static void normed(const float *p, Norm norm, const float *x, float *y, int width, bool positive) {
    for (int i = 0; norm.kind == BATCH && i < width; i += W) {  // by the running statistics
        V factor = load(p + norm.gain + i) * inverse_root(load(p + norm.var + i) + 1e-5f);
        V v = (load(x + i) - load(p + norm.mean + i)) * factor + load(p + norm.shift + i);
        store(y + i, positive ? relu(v) : v);
    }
    if (norm.kind == BATCH) return;
    Moments found = norm.kind == NONE ? Moments{0, 1} : moments(norm.kind, x, width);
    for (int i = 0; i < width; i += W) {
        V v = (load(x + i) - found.mean) * found.scale;
        if (norm.shift >= 0) v = v * load(p + norm.gain + i) + load(p + norm.shift + i);
        else if (norm.gain >= 0) v *= load(p + norm.gain + i);
        store(y + i, positive ? relu(v) : v);
    }
}

struct Batch {
    V mean, square, scale;
};
// Of W features over a rollout: mean, sum of squares about it, and what brings the variance to 1
static inline Batch batch_moments(const float *x, int64_t apart, int steps) {
    V total = {}, square = {};
    for (int t = 0; t < steps; t++) total += load(x + t * apart);
    V mean = total / (float)steps;
    for (int t = 0; t < steps; t++) {
        V away = load(x + t * apart) - mean;
        square += away * away;
    }
    return {mean, square, inverse_root(square / (float)steps + 1e-5f)};
}

// The norm of a rollout as it is trained: one over the batch sees all of it, and notes its mean and variance in `seen`.
// x and y: `apart` and `gap` floats between steps
static void train_normed(const float *p, Norm norm, const float *x, int64_t apart, float *y, int64_t gap, int steps,
                         int width, bool positive, float *seen) {
    if (norm.kind != BATCH) {
        for (int t = 0; t < steps; t++) normed(p, norm, x + t * apart, y + t * gap, width, positive);
        return;
    }
    for (int i = 0; i < width; i += W) {
        const Batch found = batch_moments(x + i, apart, steps);
        store(seen + i, found.mean), store(seen + width + i, found.square / (float)(steps - 1));
        for (int t = 0; t < steps; t++) {
            V v = (load(x + t * apart + i) - found.mean) * found.scale * load(p + norm.gain + i) + load(p + norm.shift + i);
            store(y + t * gap + i, positive ? relu(v) : v);
        }
    }
}

static void batch_back(
    const float *p, float *g, Norm norm, const float *x, int64_t apart, float *d, int steps, int width) {
    for (int i = 0; i < width; i += W) {
        const Batch found = batch_moments(x + i, apart, steps);
        V total = {}, along = {}, factor = load(p + norm.gain + i) * found.scale;
        for (int t = 0; t < steps; t++) {
            V each = load(d + t * width + i);
            total += each;
            along += each * (load(x + t * apart + i) - found.mean) * found.scale;
        }
        store(g + norm.gain + i, along), store(g + norm.shift + i, total);
        store(g + norm.mean + i, V{}), store(g + norm.var + i, V{});  // they are no parameters
        for (int t = 0; t < steps; t++) {
            V unit = (load(x + t * apart + i) - found.mean) * found.scale;
            store(d + t * width + i, factor * (load(d + t * width + i) - (total + unit * along) / (float)steps));
        }
    }
}

// d (T, width) by the norm's output becomes that by its input; x: `apart` floats between steps
static void normed_back(
    const float *p, float *g, Norm norm, const float *x, int64_t apart, float *d, int steps, int width) {
    if (norm.kind == NONE) return;
    if (norm.kind == BATCH) return batch_back(p, g, norm, x, apart, d, steps, width);
    if (norm.gain >= 0) std::fill(g + norm.gain, g + norm.gain + width, 0.0f);
    if (norm.shift >= 0) std::fill(g + norm.shift, g + norm.shift + width, 0.0f);
    for (int t = 0; t < steps; t++, x += apart, d += width) {
        Moments found = moments(norm.kind, x, width);
        V along = {}, total = {};
        for (int i = 0; i < width; i += W) {
            V unit = (load(x + i) - found.mean) * found.scale, dy = load(d + i), inner = dy;
            if (norm.gain >= 0) {
                inner *= load(p + norm.gain + i);
                store(g + norm.gain + i, load(g + norm.gain + i) + dy * unit);
            }
            if (norm.shift >= 0) store(g + norm.shift + i, load(g + norm.shift + i) + dy);
            store(d + i, inner);
            along += inner * unit;
            total += inner;
        }
        float mean = norm.kind == LAYER ? sum(total) / width : 0, slope = sum(along) / (norm.kind == UNIT ? 1 : width);
        for (int i = 0; i < width; i += W) {
            V unit = (load(x + i) - found.mean) * found.scale;
            store(d + i, found.scale * (load(d + i) - mean - unit * slope));
        }
    }
}

// Weights V (inputs, outputs) that act as V · scale / |V|, a scale and a length for each output
struct Weights {
    int64_t at, scale, inputs, outputs;
};
static std::vector<Weights> normed_weights(const Job &j) {
    const int64_t h = j.hidden, wide = (j.recurrent ? 3 : 1) * h;
    std::vector<Weights> found;
    for (const Weights &each : {Weights{j.embed_weight, j.embed_scale, j.inputs, h},
                                Weights{j.core_input_weight, j.core_input_scale, h, wide},
                                Weights{j.core_state_weight, j.core_state_scale, h, wide},
                                Weights{j.heads_weight, j.heads_scale, h, OUT}})
        if (each.scale >= 0) found.push_back(each);
    return found;
}

static void lengths(const float *v, int64_t inputs, int64_t outputs, float *length) {
    std::fill(length, length + outputs, 0.0f);
    for (int64_t i = 0; i < inputs; i++)
        for (int64_t o = 0; o < outputs; o++) length[o] += v[i * outputs + o] * v[i * outputs + o];
    for (int64_t o = 0; o < outputs; o++) length[o] = std::sqrt(length[o]);
}

// Row n of what acts
static void take_effect(const Job &j, int64_t n) {
    if (j.effective == j.snapshot) return;
    const float *p = j.snapshot + n * j.size;
    float *w = j.effective + n * j.size;
    std::copy(p, p + j.size, w);
    for (const Weights &each : normed_weights(j)) {
        float length[each.outputs], factor[each.outputs];
        lengths(p + each.at, each.inputs, each.outputs, length);
        for (int64_t o = 0; o < each.outputs; o++) factor[o] = p[each.scale + o] / length[o];
        for (int64_t i = 0; i < each.inputs; i++)
            for (int64_t o = 0; o < each.outputs; o++) w[each.at + i * each.outputs + o] *= factor[o];
    }
}

// Gradient g of row n by the weights that act becomes that by V and scale
static void take_back(const Job &j, int64_t n, float *g) {
    if (j.effective == j.snapshot) return;
    const float *p = j.snapshot + n * j.size;
    for (const Weights &each : normed_weights(j)) {
        const float *v = p + each.at;
        float *dv = g + each.at, *along = g + each.scale, length[each.outputs], factor[each.outputs];
        lengths(v, each.inputs, each.outputs, length);
        std::fill(along, along + each.outputs, 0.0f);
        for (int64_t i = 0; i < each.inputs * each.outputs; i += each.outputs)
            for (int64_t o = 0; o < each.outputs; o++) along[o] += dv[i + o] * v[i + o] / length[o];
        for (int64_t o = 0; o < each.outputs; o++) factor[o] = p[each.scale + o] / length[o];
        for (int64_t i = 0; i < each.inputs * each.outputs; i += each.outputs)
            for (int64_t o = 0; o < each.outputs; o++) dv[i + o] = (dv[i + o] - v[i + o] / length[o] * along[o]) * factor[o];
    }
}

// The core of row n at step t, without its norm: `gates`, and of a GRU the next state. Returns what is normed
static float *core_step(const Job &j, const float *p, int64_t t, int64_t n) {
    const int h = j.hidden;
    const int64_t at = t * j.rows + n, wide = (j.recurrent ? 3 : 1) * h;
    float *gates = j.gates + at * wide;
    affine(p + j.core_input_weight, p + j.core_input_bias, j.active + at * h, gates, h, wide);
    if (!j.recurrent) return gates;
    float *before = j.state + at * h, *sums = j.sums + at * wide;
    float *after = t < j.steps ? before + j.rows * h : j.core + at * h;  // of the bootstrap the next state is not wanted
    affine(p + j.core_state_weight, p + j.core_state_bias, before, sums, h, wide);
    for (int i = 0; i < h; i += W) {
        V r = sigmoid(load(gates + i) + load(sums + i)), z = sigmoid(load(gates + h + i) + load(sums + h + i));
        V n = 2.0f * sigmoid(2.0f * (load(gates + 2 * h + i) + r * load(sums + 2 * h + i))) - 1.0f;
        store(gates + i, r);
        store(gates + h + i, z);
        store(gates + 2 * h + i, n);
        store(after + i, n + z * (load(before + i) - n));
    }
    return after;
}

// Of the returns that values are learned on, as lnlab.models.actor_critic.ReturnScale
static float deviation(const Job &j, const float *p) { return std::max(std::sqrt(p[j.heads_var]), 1e-4f); }

// Logits and value of row n at step t from x
static void heads_step(const Job &j, const float *p, int64_t t, int64_t n, const float *x) {
    const int64_t at = t * j.rows + n;
    Q found[4] = {*(const Q *)(p + j.heads_bias)};
    const Q *w = (const Q *)(p + j.heads_weight);
    for (int i = 0; i < j.hidden; i += 4)
        for (int k = 0; k < 4; k++) found[k] += x[i + k] * w[i + k];
    *(Q *)(j.out + at * OUT) = (found[0] + found[1]) + (found[2] + found[3]);
    if (j.heads_time >= 0)
        for (int i = 0; i < j.hidden; i++) j.out[at * OUT + OUT - 1] += p[j.heads_time + i] * j.left[t];
    if (j.heads_var >= 0) j.out[at * OUT + OUT - 1] = j.out[at * OUT + OUT - 1] * deviation(j, p) + p[j.heads_mean];
}

// The network of row n at step t, as ActorCritic.step
static void forward(const Job &j, int64_t t, int64_t n) {
    const int h = j.hidden;
    const float *p = j.effective + n * j.size;
    const int64_t at = t * j.rows + n;
    float *embed = j.embed + at * h, *core = j.core + at * h;
    affine(p + j.embed_weight, p + j.embed_bias, j.obs + at * j.inputs, embed, j.inputs, h);
    normed(p, embed_norm(j), embed, j.active + at * h, h, true);
    const float *found = core_step(j, p, t, n);
    normed(p, core_norm(j), found, core, h, !j.recurrent);
    float own[h], *into = core;
    if (j.heads_norm) normed(p, heads_norm(j), core, into = own, h, false);
    heads_step(j, p, t, n, into);
}

static bool over_batches(const Job &j) { return j.embed_norm == BATCH || j.core_norm == BATCH || j.heads_norm == BATCH; }

// Row n's rollout once more as it is trained, as ActorCritic.retrace
static void retrace(const Job &j, int64_t n) {
    const int h = j.hidden, steps = j.steps;
    const float *p = j.effective + n * j.size;
    const int64_t row = j.rows * h, wide = j.recurrent ? 3 * h : h;
    float *core = j.core + n * h, *active = j.active + n * h, *seen = j.seen + n * 6 * h;
    static thread_local std::vector<float> into;
    into.resize(steps * h);
    train_normed(p, embed_norm(j), j.embed + n * h, row, active, row, steps, h, true, seen);
    for (int t = 0; t < steps; t++) core_step(j, p, t, n);
    const float *found = j.recurrent ? j.state + row + n * h : j.gates + n * wide;
    train_normed(p, core_norm(j), found, j.recurrent ? row : j.rows * wide, core, row, steps, h, !j.recurrent, seen + 2 * h);
    train_normed(p, heads_norm(j), core, row, into.data(), h, steps, h, false, seen + 4 * h);
    for (int t = 0; t < steps; t++) heads_step(j, p, t, n, into.data() + t * h);
}

// Running statistics of a learner a tenth of the way to its members' mean
static void move_statistics(const Job &j, int64_t learner, float *p) {
    const int64_t h = j.hidden;
    const Norm norms[] = {embed_norm(j), core_norm(j), heads_norm(j)};
    for (int k = 0; k < 6; k++) {
        const Norm &norm = norms[k / 2];
        float *running = p + (k % 2 ? norm.var : norm.mean);
        for (int64_t i = 0; norm.kind == BATCH && i < h; i += W) {
            V total = {};
            for (int64_t n = learner * j.members; n < (learner + 1) * j.members; n++)
                total += load(j.seen + (n * 6 + k) * h + i);
            store(running + i, load(running + i) + 0.1f * (total / (float)j.members - load(running + i)));
        }
    }
}

// Gradient g of row n's rollout from dout, as ActorCritic.backward, and its norm
static void backward(const Job &j, int64_t n, float *g) {
    const int h = j.hidden, steps = j.steps, wide = (j.recurrent ? 3 : 1) * h;
    static thread_local std::vector<float> room;
    room.resize(steps * (3 * h + 2 * (int64_t)wide) + 2 * OUT * h + h);
    float *d = room.data(), *d_active = d + steps * h, *d_input = d_active + steps * h, *d_state = d_input + steps * wide;
    float *heads = d_state + steps * wide, *d_heads = heads + OUT * h, *carried = d_heads + OUT * h;
    float *into = carried + h, unwanted[2 * h];
    const float *p = j.effective + n * j.size;
    const int64_t row = j.rows * h, gap = j.rows * wide;
    const float *core = j.core + n * h, *gates = j.gates + n * wide;
    if (j.heads_var >= 0) {  // an error in reward becomes one in deviations
        for (int t = 0; t < steps; t++) j.dout[(t * j.rows + n) * OUT + OUT - 1] /= deviation(j, p);
        g[j.heads_mean] = g[j.heads_var] = 0;
    }
    std::fill(d_heads, d_heads + OUT * h, 0.0f);
    std::fill(g + j.heads_bias, g + j.heads_bias + OUT, 0.0f);
    for (int i = 0; i < h; i++)
        for (int a = 0; a < OUT; a++) heads[a * h + i] = p[j.heads_weight + i * OUT + a];
    if (j.heads_norm) train_normed(p, heads_norm(j), core, row, into, h, steps, h, false, unwanted);
    for (int t = 0; t < steps; t++) {
        const float *dout = j.dout + (t * j.rows + n) * OUT, *x = j.heads_norm ? into + t * h : core + t * row;
        for (int a = 0; a < OUT; a++) g[j.heads_bias + a] += dout[a];
        for (int i = 0; i < h; i += W) {
            V each = load(x + i), found = {};
            for (int a = 0; a < OUT; a++) {
                float *own = d_heads + a * h + i;
                store(own, load(own) + dout[a] * each);
                found += dout[a] * load(heads + a * h + i);
            }
            store(d + t * h + i, found);
        }
    }
    normed_back(p, g, heads_norm(j), core, row, d, steps, h);
    if (j.heads_time >= 0) {
        float along = 0;
        for (int t = 0; t < steps; t++) along += j.dout[(t * j.rows + n) * OUT + OUT - 1] * j.left[t];
        std::fill(g + j.heads_time, g + j.heads_time + h, along);
    }
    for (int i = 0; i < h; i++)
        for (int a = 0; a < OUT; a++) g[j.heads_weight + i * OUT + a] = d_heads[a * h + i];
    std::fill(d_active, d_active + steps * h, 0.0f);
    if (j.recurrent) {
        const float *state = j.state + n * h, *sums = j.sums + n * wide;
        normed_back(p, g, core_norm(j), state + row, row, d, steps, h);
        std::fill(carried, carried + h, 0.0f);
        for (int t = steps - 1; t >= 0; t--) {
            const float *gate = gates + t * gap, *sum = sums + t * gap, *before = state + t * row;
            float *into = d_input + t * wide, *from = d_state + t * wide;
            for (int i = 0; i < h; i += W) {
                V total = load(carried + i) + load(d + t * h + i);
                V r = load(gate + i), z = load(gate + h + i), n = load(gate + 2 * h + i);
                V fresh = total * (1.0f - z) * (1.0f - n * n);
                V reset = fresh * load(sum + 2 * h + i) * r * (1.0f - r);
                V update = total * (load(before + i) - n) * z * (1.0f - z);
                store(into + i, reset), store(into + h + i, update), store(into + 2 * h + i, fresh);
                store(from + i, reset), store(from + h + i, update), store(from + 2 * h + i, fresh * r);
                store(carried + i, total * z);
            }
            back(from, p + j.core_state_weight, carried, 1, h, wide);
        }
        outer(state, row, d_state, g + j.core_state_weight, g + j.core_state_bias, steps, h, wide);
        back(d_input, p + j.core_input_weight, d_active, steps, h, wide);
    } else {
        for (int t = 0; t < steps; t++)
            for (int i = 0; i < h; i += W) {
                V each = load(d + t * h + i);
                store(d + t * h + i, load(core + t * row + i) > 0 ? each : V{});
            }
        normed_back(p, g, core_norm(j), gates, gap, d, steps, h);
        std::copy(d, d + steps * h, d_input);
        back(d_input, p + j.core_input_weight, d_active, steps, h, wide);
    }
    const float *active = j.active + n * h;
    outer(active, row, d_input, g + j.core_input_weight, g + j.core_input_bias, steps, h, wide);
    for (int t = 0; t < steps; t++)
        for (int i = 0; i < h; i += W) {
            V each = load(d_active + t * h + i);
            store(d_active + t * h + i, load(active + t * row + i) > 0 ? each : V{});
        }
    normed_back(p, g, embed_norm(j), j.embed + n * h, row, d_active, steps, h);
    outer(j.obs + n * j.inputs, j.rows * j.inputs, d_active, g + j.embed_weight, g + j.embed_bias, steps, j.inputs, h);
    take_back(j, n, g);
    j.norm[n] = length(g, j.size);
}

// Statistics of a learner's returns a hundredth of the way to its members' newest; the heads are changed so that every
// value stays what it was
static void move_returns(const Job &j, int64_t learner, float *p) {
    const int64_t steps = j.steps, members = j.members;
    float mean[members], whole = 0, spread = 0;
    for (int64_t k = 0; k < members; k++) {
        mean[k] = 0;
        for (int64_t t = 0; t < steps; t++) mean[k] += j.returns[t * j.rows + learner * members + k];
        mean[k] /= steps, whole += mean[k];
    }
    whole /= members;
    for (int64_t k = 0; k < members; k++) {
        float var = 0;
        for (int64_t t = 0; t < steps; t++) {
            float away = j.returns[t * j.rows + learner * members + k] - mean[k];
            var += away * away;
        }
        spread += var / steps + (mean[k] - whole) * (mean[k] - whole);
    }
    const float rate = 0.01f, away = whole - p[j.heads_mean], before = deviation(j, p);
    p[j.heads_var] = (1 - rate) * (p[j.heads_var] + rate * away * away) + rate * (spread / members);
    p[j.heads_mean] += rate * away;
    const float after = deviation(j, p), factor = before / after;
    for (int64_t i = 0; i < j.hidden; i++) {
        p[j.heads_weight + i * OUT + OUT - 1] *= factor;
        if (j.heads_time >= 0) p[j.heads_time + i] *= factor;
    }
    float *bias = p + j.heads_bias + OUT - 1;
    *bias = *bias * factor - rate * away / after;
}

struct Push {
    const float *g;
    float *to, clip, rate, root;
};

// One push by itself: weights are scaled back to the length they are held at; the step of each layer in relation to its
// size is noted, or made what another noted
static void push_by_layer(const Job &j, int64_t learner, int64_t k, const Push &push, float *p, float *m, float *v) {
    const float keep = j.beta2, fresh1 = 1 - j.beta1, fresh2 = 1 - j.beta2, eps = j.eps;
    const int64_t learners = j.rows / j.members;
    static thread_local std::vector<float> moved, after;
    moved.resize(j.size);
    for (int64_t i = 0; i < j.size; i += W) {
        V each = load(push.g + i) * push.clip, root = {}, mean = load(m + i), square = load(v + i);
        mean += (each - mean) * fresh1;
        square = square * keep + fresh2 * each * each;
        for (int lane = 0; lane < W; lane++) root[lane] = std::sqrt(square[lane]);
        store(m + i, mean), store(v + i, square), store(moved.data() + i, push.rate * mean / (root * push.root + eps));
    }
    for (int64_t layer = 0; j.held && layer < j.layers; layer++) {
        const int64_t start = j.bounds[3 * layer], stop = j.bounds[3 * layer + 1];
        after.resize(stop - start);
        for (int64_t i = start; i < stop; i++) after[i - start] = p[i] - moved[i];
        const float now = std::max(length(after.data(), stop - start), FLT_MIN);
        const float factor = j.lengths[layer * learners + learner] / now;
        for (int64_t i = start; i < stop; i++) moved[i] = p[i] - after[i - start] * factor;
    }
    for (int64_t layer = 0; layer < j.layers; layer++) {
        const int64_t start = j.bounds[3 * layer], stop = j.bounds[3 * layer + 2];
        const float share = length(moved.data() + start, stop - start) / length(p + start, stop - start);
        float *noted = j.shares + (k * j.layers + layer) * learners + learner;
        if (!j.following) *noted = share;
        else if (share > 0)
            for (int64_t i = start; i < stop; i++) moved[i] *= *noted / share;
    }
    for (int64_t i = 0; i < j.size; i++) p[i] -= moved[i];
    if (push.to != p) std::copy(p, p + j.size, push.to);
}

// Clip, Adam and snapshot of a learner, its members one after the other, or their average at once; g: their gradients;
// `steps`: of Adam before
static void update(const Job &j, int64_t learner, float *g, int64_t steps) {
    const int64_t members = j.members, learners = j.rows / members, size = j.size, first = learner * members;
    float *p = j.parameters + learner * size, *m = j.exp_avg + learner * size, *v = j.exp_avg_sq + learner * size;
    const int64_t pushed = j.averaged ? 1 : members;
    if (j.averaged) {
        for (int64_t i = 0; i < size; i++) {
            for (int64_t k = 1; k < members; k++) g[i] += g[k * size + i];
            g[i] /= members;
        }
        std::fill(j.norm + first, j.norm + first + members, length(g, size));
    }
    for (int64_t n = first; n < first + members; n++) j.alive[learner] &= std::isfinite(j.norm[n]);
    if (!j.alive[learner]) {  // stops for good
        for (int64_t k = 0; !j.following && k < pushed * j.layers; k++) j.shares[k * learners + learner] = 0;
        std::fill(m, m + size, 0.0f);
        std::fill(v, v + size, 0.0f);
        for (int64_t n = first; n < first + members; n++) {
            if (std::isnan(j.norm[n])) j.norm[n] = INFINITY;
            if (j.snapshot != j.parameters) std::copy(p, p + size, j.snapshot + n * size);
        }
        return;
    }
    if (over_batches(j)) move_statistics(j, learner, p);
    if (j.heads_var >= 0) move_returns(j, learner, p);
    static thread_local std::vector<Push> pushes;
    pushes.clear();
    for (int64_t k = 0; k < pushed; k++) {
        int64_t n = pushed > 1 ? j.order[k * learners + learner] : first;
        double count = steps + k + 1, clip = std::min(1.0f, j.limits[learner] / (j.norm[n] + 1e-6f));
        pushes.push_back({g + (n - first) * size, pushed > 1 ? j.snapshot + n * size : p, (float)clip,
                          (float)(j.lr / (1 - std::pow(j.beta1, count))),
                          (float)(1 / std::sqrt(1 - std::pow(j.beta2, count)))});
        if (j.layers) push_by_layer(j, learner, k, pushes.back(), p, m, v);
    }
    for (int64_t n = first; j.averaged && j.layers && n < first + members; n++)
        std::copy(p, p + size, j.snapshot + n * size);
    if (j.layers) return;
    const float keep = j.beta2, fresh1 = 1 - j.beta1, fresh2 = 1 - j.beta2, eps = j.eps;
    for (int64_t i = 0; i < size; i += W) {
        V here = load(p + i), mean = load(m + i), square = load(v + i);
        for (const Push &push : pushes) {
            V each = load(push.g + i) * push.clip, root = {};
            mean += (each - mean) * fresh1;
            square = square * keep + fresh2 * each * each;
            for (int k = 0; k < W; k++) root[k] = std::sqrt(square[k]);
            here -= push.rate * mean / (root * push.root + eps);
            store(push.to + i, here);
        }
        store(p + i, here), store(m + i, mean), store(v + i, square);
        for (int64_t n = first; j.averaged && n < first + members; n++) store(j.snapshot + n * size + i, here);
    }
}

// One step of the vehicles of a group, from `first` on, as OffloadingBatch.step; `row`: of action, reward and tape
static void drive(const Job &j, int64_t first, int64_t time, int64_t row) {
    const int64_t e = j.rows, last = first + j.workers;
    const float *script = j.script + time * 7 * e, *due = j.due + time * 3 * e;
    const int64_t *places = j.places + time * 2 * e;
    float taken_cloud[j.workers];
    const int64_t group = first / j.workers, groups = e / j.workers;
    for (int64_t turn = 0; turn < j.workers; turn++) {  // the cloud serves one after the other
        int64_t n = j.shared && j.workers > 1 ? places[e + turn * groups + group] : first + turn;
        float *pool = j.pool + (j.shared ? group : n);
        bool asks = j.action[row * e + n] == OFFLOAD && j.stock[e + n] > 0 && j.channel[n];
        float units = asks ? script[e + n] : 0.0f, missed = asks ? script[n] : 0.0f;
        bool granted = units <= *pool;
        *pool += (j.refilled ? due[2 * e + n] : 0.0f) - (granted ? missed : 0.0f);
        taken_cloud[n - first] = granted ? units : 0.0f;
    }
    for (int64_t n = first; n < last; n++) {
        const int64_t choice = j.action[row * e + n], width = SLOTS + 2;
        float *units = j.slots + n * width, *left = j.slots + (e + n) * width, *shown = j.shown + n * OBSERVATION;
        bool local = choice == LOCAL && script[e + n] <= j.stock[n] && left[SLOTS] == 0;
        float taken[3] = {local ? script[e + n] : 0.0f, taken_cloud[n - first] > 0 ? 1.0f : 0.0f, taken_cloud[n - first]};
        if (choice == LOCAL) shown[44] = taken[0] > 0;
        if (choice == OFFLOAD) shown[45] = taken[1];
        j.channel[n] ^= script[3 * e + n] < (j.channel[n] ? j.to_bad[n] : j.to_good[n]);
        for (int k = 0; k < 3; k++) j.due[(places[n] * 3 + k) * e + n] += taken[k];
        for (int k = 0; k < 2; k++) j.stock[k * e + n] += due[k * e + n] - taken[k];
        j.reward[row * e + n] = (due[n] + due[2 * e + n]) / (float)j.divisor;
        units[SLOTS + 1] = taken[0];
        left[SLOTS + 1] = taken[0] > 0 ? script[2 * e + n] : 0.0f;
        int64_t kept = 1;
        for (int64_t slot = 1; slot < width; slot++)  // finished tasks are squeezed out, order kept
            if (left[slot] > 1) units[kept] = units[slot], left[kept++] = left[slot] - 1;
        for (; kept < width; kept++) units[kept] = left[kept] = 0;
        shown[0] = j.stock[n], shown[1] = script[4 * e + n];
        std::copy(units + 1, units + 1 + SLOTS, shown + 2);
        std::copy(left + 1, left + 1 + SLOTS, shown + 2 + SLOTS);
        shown[42] = script[5 * e + n], shown[43] = script[6 * e + n];
        float *obs = j.obs + ((row + 1) * e + n) * OBSERVATION;
        for (int k = 0; k < OBSERVATION; k++) obs[k] = shown[k] / j.scale[n * OBSERVATION + k];
    }
}

static void softmax(const float *logits, float *policy, float *logs) {
    float top = std::max(std::max(logits[0], logits[1]), logits[2]), total = 0;
    for (int a = 0; a < OUT - 1; a++) total += policy[a] = std::exp(logits[a] - top);
    for (int a = 0; a < OUT - 1; a++) policy[a] /= total;
    if (logs)
        for (int a = 0; a < OUT - 1; a++) logs[a] = logits[a] - top - std::log(total);
}

// Returns, losses and dout of row n's rollout, as lnlab.trainers.returns
static void judge(const Job &j, int64_t n) {
    const int steps = j.steps;
    float returns[steps], advantage[steps], mean = 0, square = 0, total[4] = {};
    float after = j.out[(steps * j.rows + n) * OUT + OUT - 1] * (float)j.continues;
    for (int t = steps - 1; t >= 0; t--)
        j.returns[t * j.rows + n] = returns[t] = after = j.reward[t * j.rows + n] + (float)j.gamma * after;
    for (int t = 0; t < steps; t++)
        mean += advantage[t] = returns[t] - j.out[(t * j.rows + n) * OUT + OUT - 1];
    for (int t = 0; t < steps; t++) {
        advantage[t] -= mean / steps;
        square += advantage[t] * advantage[t];
    }
    float deviation = steps > 1 ? std::sqrt(square / (steps - 1)) : 1.0f;
    if (deviation < 1e-8f) deviation = 1e-8f;
    for (int t = 0; t < steps; t++) {
        const int64_t at = t * j.rows + n, chosen = j.action[at];
        const float *out = j.out + at * OUT;
        float *dout = j.dout + at * OUT, policy[OUT - 1], logs[OUT - 1], entropy = 0, each = advantage[t] / deviation;
        softmax(out, policy, logs);
        for (int a = 0; a < OUT - 1; a++) entropy -= policy[a] * logs[a];
        for (int a = 0; a < OUT - 1; a++)
            dout[a] = (each * (policy[a] - (a == chosen)) + (float)j.entropy_cost * policy[a] * (logs[a] + entropy)) / steps;
        float error = out[OUT - 1] - returns[t], bound = j.value_huber;
        dout[OUT - 1] = (bound ? std::min(std::max(error, -bound), bound) : error) * (float)(2 * j.value_cost / steps);
        total[0] += j.reward[at], total[1] -= each * logs[chosen], total[2] += error * error, total[3] += entropy;
    }
    j.totals[n] += total[0], j.totals[j.rows + n] += total[2] / steps;
    for (int k = 0; k < 3; k++) j.last[k * j.rows + n] = total[1 + k] / steps;
}

extern "C" {
int64_t job_bytes() { return sizeof(Job); }

void native_step(const Job *j, int64_t t) {
    for (int64_t n = 0; n < j->rows; n++) {
        if (!t) take_effect(*j, n);
        forward(*j, t, n);
    }
}

void native_backward(const Job *j) {
    for (int64_t n = 0; n < j->rows; n++) backward(*j, n, j->gradient + n * j->size);
}

void native_update(const Job *j) {
    for (int64_t learner = 0; learner < j->rows / j->members; learner++)
        update(*j, learner, j->gradient + learner * j->members * j->size, (int64_t)*j->step);
    *j->step += j->averaged ? 1 : j->members;
}

// Rollout and gradients of the seed whose rows begin at `first`
void native_roll(const Job *job, int64_t first) {
    const Job &j = *job;
    const int64_t rows = j.rows, steps = j.steps, last = first + j.workers;
    for (int64_t n = first; n < last; n++) take_effect(j, n);
    for (int64_t t = 0; t < steps; t++) {
        for (int64_t n = first; n < last; n++) {
            float policy[OUT - 1], draw = j.draws[t * rows + n];
            forward(j, t, n);
            softmax(j.out + (t * rows + n) * OUT, policy, nullptr);
            j.action[t * rows + n] = (draw >= policy[0]) + (draw >= policy[0] + policy[1]);
        }
        drive(j, first, *j.clock + t, t);
    }
    for (int64_t n = first; n < last; n++) {
        forward(j, steps, n);
        float *end = j.state + (steps * rows + n) * j.hidden, acting_on[j.hidden];
        const bool again = over_batches(j), kept = again && j.recurrent;
        if (kept) std::copy(end, end + j.hidden, acting_on);
        if (again) retrace(j, n);
        judge(j, n);
        backward(j, n, j.gradient + (n - first) * j.size);  // all seeds use the same memory: it stays in the cache
        if (kept) std::copy(acting_on, acting_on + j.hidden, end);
    }
}

// Its update; after that of the last seed the clocks go on
void native_push(const Job *job, int64_t first) {
    const Job &j = *job;
    const int64_t rows = j.rows, steps = j.steps, last = first + j.workers;
    for (int64_t n = first; n < last; n += j.members)
        update(j, n / j.members, j.gradient + (n - first) * j.size, (int64_t)*j.step);
    for (int64_t n = first; n < last; n++) {
        j.totals[2 * rows + n] += j.norm[n];
        j.totals[3 * rows + n] += j.norm[n] > j.limits[n / j.members];
        std::copy(j.obs + (steps * rows + n) * j.inputs, j.obs + (steps * rows + n + 1) * j.inputs, j.obs + n * j.inputs);
        if (j.recurrent)
            std::copy(j.state + (steps * rows + n) * j.hidden, j.state + (steps * rows + n + 1) * j.hidden,
                      j.state + n * j.hidden);
    }
    if (last < rows) return;
    *j.step += j.averaged ? 1 : j.members;
    *j.clock += steps;
}

void native_tick(const Job *job) {
    for (int64_t first = 0; first < job->rows; first += job->workers) {
        native_roll(job, first);
        native_push(job, first);
    }
}
}
