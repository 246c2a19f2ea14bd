#!/usr/bin/env python3
"""optim_reference.py: trajectories of optimizers, computed in float64 straight from the papers' formulas.

    python3 scripts/optim_reference.py            writes test/golden/optim/<case>.json for the CASES below
    python3 scripts/optim_reference.py --check    compares those files with a fresh computation

It needs the standard library alone and shares nothing with the C code, whose tests follow these numbers.

A method is a generator: given the first weights and its settings, it takes one gradient after another and
gives back the weights of after the step. Its state is in its local variables, so it reads like the
pseudo-code it was written from; t counts steps from 1. Where a paper and its authors' code differ, a
setting chooses between them (`first_previous`, `decay_last`, ...), and there is a case of each.

Matrices are decomposed exactly (Jacobi), so a polar factor here is the limit of Newton-Schulz, not five
steps of it.
"""

import inspect
import json
import math
import operator
import struct
import sys
from itertools import count, islice
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent.parent / "test/golden/optim"
STEPS = 25
RECORDED = (1, 2, 10, 20, STEPS)


# ---- arrays --------------------------------------------------------------------------------------------


class Array:
    """Numbers with a shape. + - * / work entry by entry, @ multiplies matrices, .T transposes."""

    def __init__(self, x, shape):
        self.x, self.shape = x, shape

    def map(self, f):
        return Array([f(a) for a in self.x], self.shape)

    def _with(self, f, other):
        if not isinstance(other, Array):
            return Array([f(a, other) for a in self.x], self.shape)
        assert self.shape == other.shape
        return Array([f(a, b) for a, b in zip(self.x, other.x)], self.shape)

    def __add__(self, other):
        return self._with(operator.add, other)

    def __sub__(self, other):
        return self._with(operator.sub, other)

    def __mul__(self, other):
        return self._with(operator.mul, other)

    def __truediv__(self, other):
        return self._with(operator.truediv, other)

    __radd__, __rmul__ = __add__, __mul__

    def __matmul__(self, other):
        columns = other.T.rows()
        return from_rows([[sum(map(operator.mul, row, c)) for c in columns] for row in self.rows()])

    def rows(self):
        n = self.shape[-1]
        return [self.x[i : i + n] for i in range(0, len(self.x), n)]

    @property
    def T(self):
        return from_rows(list(zip(*self.rows())))


def from_rows(rows):
    return Array([a for row in rows for a in row], [len(rows), len(rows[0])])


def identity(n):
    return from_rows([[float(i == j) for j in range(n)] for i in range(n)])


def sqrt(a):
    return a.map(math.sqrt)


def sign(a):
    return a.map(lambda y: float(y > 0) - float(y < 0))


def clamp(a, bound):
    return a.map(lambda y: max(-bound, min(bound, y)))


def dot(a, b):
    return math.fsum(map(operator.mul, a.x, b.x))


def norm(a):
    return math.sqrt(dot(a, a))


def rms(a):
    return norm(a) / math.sqrt(len(a.x))


# ---- matrices ------------------------------------------------------------------------------------------


def jacobi(A):
    """Rotates columns of A (rows >= cols) until they are orthogonal: A V = U diag(s). Returns the columns
    of A V, their lengths s, and the columns of V (Hestenes 1958)."""
    columns, V = [list(c) for c in A.T.rows()], identity(A.shape[1]).rows()
    for _ in range(60):
        settled = True
        for p in range(len(columns)):
            for q in range(p + 1, len(columns)):
                x, y = columns[p], columns[q]
                a, b, c = sum(u * u for u in x), sum(v * v for v in y), sum(map(operator.mul, x, y))
                if abs(c) <= 1e-15 * math.sqrt(a * b):
                    continue
                settled = False
                zeta = (b - a) / (2 * c)
                tangent = math.copysign(1, zeta) / (abs(zeta) + math.hypot(1, zeta))
                cosine = 1 / math.hypot(1, tangent)
                for pair in (columns, V):
                    x, y = pair[p], pair[q]
                    pair[p] = [cosine * (u - tangent * v) for u, v in zip(x, y)]
                    pair[q] = [cosine * (v + tangent * u) for u, v in zip(x, y)]
        if settled:
            break
    return columns, [math.sqrt(sum(u * u for u in c)) for c in columns], V


def spectral(f, M):
    """P diag(s) Q^T -> P diag(f(s)) Q^T; a singular value of zero stays zero."""
    if M.shape[0] < M.shape[1]:
        return spectral(f, M.T).T
    columns, s, V = jacobi(M)
    scaled = [[f(s_k) / s_k * u if s_k else 0.0 for u in c] for c, s_k in zip(columns, s)]
    return from_rows(scaled).T @ from_rows(V)


def singular_values(M):
    return jacobi(M if M.shape[0] >= M.shape[1] else M.T)[1]


def polar(M):
    return spectral(lambda s: 1.0, M)


def eigenvectors(A):
    """Of a symmetric positive semidefinite matrix, as columns, by decreasing eigenvalue."""
    _, s, V = jacobi(A)
    return from_rows([V[k] for k in decreasing(s)]).T


def decreasing(values):
    return sorted(range(len(values)), key=lambda k: -values[k])


def orthonormal(A):
    """Q of A = QR, by Gram-Schmidt, each column twice."""
    done = []
    for column in A.T.rows():
        for q in done + done:
            c = sum(map(operator.mul, q, column))
            column = [u - c * v for u, v in zip(column, q)]
        length = math.sqrt(sum(u * u for u in column))
        done.append([u / length for u in column])
    return from_rows(done).T


# ---- the temperature schedule of SoftSignum (arXiv 2605.31371) -----------------------------------------

MAPS = {
    "tanh": math.tanh,
    "algebraic": lambda y: y / math.hypot(1, y),
    "clip": lambda y: max(-1.0, min(1.0, y)),
    "linear": lambda y: y,
    "sign": lambda y: float(y > 0) - float(y < 0),
}
CONJUGATES = {
    "tanh": lambda y: abs(y) + math.log1p(math.exp(-2 * abs(y))) - math.log(2),  # ln cosh y
    "algebraic": lambda y: math.hypot(1, y) - 1,
    "clip": lambda y: y * y / 2 if abs(y) <= 1 else abs(y) - 0.5,
    "linear": lambda y: y * y / 2,
    "sign": abs,
}


def saturation(name, eps):
    """c with map(c) = 1 - eps."""
    y = 1 - eps
    return {"tanh": math.atanh(y), "algebraic": y / math.sqrt(1 - y * y), "clip": y}[name]


def lower_median(values):
    return sorted(values)[(len(values) - 1) // 2]


def schedule(values, soft_steps, map, eps, tau_max, newton_iters=10):
    """tau of each soft step: clamp(c / q(k / N), 1, tau_max), q the quantile of |Cauchy(median, MAD)|,
    found as in the authors' softsignum.py."""
    mu = lower_median(values)
    mad = lower_median([abs(x - mu) for x in values])
    cdf = lambda z: math.atan(z / (mad + 1e-8)) / math.pi + 0.5
    density = lambda z: 1 / (math.pi * (1 + (z / (mad + 1e-8)) ** 2)) / mad
    taus = []
    for k in range(soft_steps):
        p = k / soft_steps
        q = mad * math.tan(math.pi * p / 2) + abs(mu)
        for _ in range(newton_iters):
            q = max(0.0, q - (cdf(q - mu) - cdf(-q - mu) - p) / (density(q - mu) + density(-q - mu)))
        c = saturation(map, eps)
        taus.append(tau_max if q * tau_max <= c else max(1.0, c / q))
    return taus


# ---- gradient methods ----------------------------------------------------------------------------------


def sgd(W, lr, weight_decay=0.0, momentum=0.9, nesterov=False):
    """torch.optim.SGD: L2 coupled, the buffer a sum that starts as the first gradient."""
    buffer = None
    while True:
        g = yield W
        g = g + weight_decay * W
        buffer = g if buffer is None else momentum * buffer + g
        W = W - lr * (g + momentum * buffer if nesterov else buffer)


def signum(W, lr, weight_decay=0.0, momentum=0.9, nesterov=False):
    """Bernstein et al., arXiv 1802.04434; decoupled decay."""
    m = 0 * W
    while True:
        g = yield W
        m = momentum * m + (1 - momentum) * g
        n = momentum * m + (1 - momentum) * g if nesterov else m
        W = (1 - lr * weight_decay) * W - lr * sign(n)


def adamw(W, lr, weight_decay=0.0, beta1=0.9, beta2=0.95, eps=1e-8):
    """Loshchilov and Hutter, arXiv 1711.05101; decay times the learning rate, as in every
    implementation."""
    m = v = 0 * W
    for t in count(1):
        g = yield W
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        r = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
        W = (1 - lr * weight_decay) * W - lr * r


def ademamix(
    W, lr, weight_decay=0.0, beta1=0.9, beta2=0.999, beta3=0.9999, alpha=8.0, eps=1e-8, warmup_frac=1.0
):
    """Pagliardini et al., arXiv 2409.03137, algorithm 1: a second, slow momentum, not bias-corrected.
    alpha rises linearly and beta3 from beta1, in the logarithm's harmonic way, over T_warm steps."""
    m1 = m2 = v = 0 * W
    T_warm, ln1, ln3 = warmup_frac * STEPS, math.log(beta1), math.log(beta3)
    for t in count(1):
        g = yield W
        a = t / T_warm if t < T_warm else 1.0
        slow = math.exp(ln1 * ln3 / ((1 - a) * ln3 + a * ln1))
        m1 = beta1 * m1 + (1 - beta1) * g
        m2 = slow * m2 + (1 - slow) * g
        v = beta2 * v + (1 - beta2) * g * g
        U = (m1 / (1 - beta1**t) + a * alpha * m2) / (sqrt(v / (1 - beta2**t)) + eps)
        W = (1 - lr * weight_decay) * W - lr * U


def adopt(W, lr, weight_decay=0.0, beta1=0.9, beta2=0.9999, eps=1e-6, clip=True):
    """Taniguchi et al., arXiv 2411.02853, algorithm 2: normalised by the v of before the gradient. The
    first gradient only sets v; decoupled decay as in the authors' code."""
    g = yield W
    m, v = 0 * W, g * g
    for t in count(1):
        g = yield W
        n = g / sqrt(v).map(lambda root: max(root, eps))
        if clip:
            n = clamp(n, t**0.25)
        m = beta1 * m + (1 - beta1) * n
        W = (1 - lr * weight_decay) * W - lr * m
        v = beta2 * v + (1 - beta2) * g * g


def sf_adamw(
    W, lr, weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8, r=0.0, weight_lr_power=2.0,
    bias_correction="v", warmup_steps=0
):
    """Defazio et al., arXiv 2405.15682, algorithm 1: z steps, x averages z, gradients are taken at y
    between them. The paper puts Adam's bias correction into the learning rate ("rate"), so also into decay
    and averaging weights; the authors' code corrects "v". Gives y, to train, and x, to evaluate.
    warmup_steps stands for a schedule."""
    x = y = z = W
    v, largest, total = 0 * W, 0.0, 0.0
    for t in count(1):
        g = yield y, x
        v = beta2 * v + (1 - beta2) * g * g
        correction = math.sqrt(1 - beta2**t)
        rate = lr * min(1.0, t / warmup_steps if warmup_steps else 1.0)
        root = sqrt(v) / correction
        if bias_correction == "rate":
            rate, root = rate * correction, sqrt(v)
        direction = g / (root + eps)
        z = z - rate * weight_decay * y - rate * direction
        largest = max(largest, rate)
        weight = t**r * largest**weight_lr_power
        total += weight
        c = weight / total
        x = (1 - c) * x + c * z
        y = (1 - beta1) * z + beta1 * x


def mars(W, lr, weight_decay=0.0, gamma=0.025, beta1=0.95, beta2=0.99, eps=1e-8, first_previous="zero"):
    """Yuan et al., arXiv 2411.10438, MARS-AdamW in its approximate form: the previous gradient is that of
    the previous batch. The official code takes zero for the gradient before the first; in the paper x_0 =
    x_1, so the first difference is zero ("same")."""
    m = v = previous = 0 * W
    for t in count(1):
        g = yield W
        if t == 1 and first_previous == "same":
            previous = g
        c = g + gamma * beta1 / (1 - beta1) * (g - previous)
        c = c / max(1.0, norm(c))
        previous = g
        m = beta1 * m + (1 - beta1) * c
        v = beta2 * v + (1 - beta2) * c * c
        U = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
        W = (1 - lr * weight_decay) * W - lr * U


def prodigy(
    W, lr=1.0, weight_decay=0.0, beta1=0.9, beta2=0.999, eps=1e-8, beta3=0.0, d0=1e-6, d_coef=1.0,
    growth_rate=0.0, bias_correction=False, safeguard_warmup=False, eps_d="new"
):
    """Mishchenko and Defazio, arXiv 2306.06101, algorithm 4 and the authors' prodigyopt. d estimates the
    distance from the first weights to the solution, over all tensors together. eps is scaled by the old d
    in the paper, by the new one in the code. beta3 0 = sqrt(beta2); growth_rate 0 = unlimited."""
    beta3, growth = beta3 or math.sqrt(beta2), growth_rate or math.inf
    m = v = s = 0 * W
    W0, r, d, d_max = W, 0.0, d0, d0
    for t in count(1):
        g = yield W, d
        rate = d * lr * (math.sqrt(1 - beta2**t) / (1 - beta1**t) if bias_correction else 1.0)
        r = beta3 * r + d / d0 * rate * dot(g, W0 - W)
        m = beta1 * m + (1 - beta1) * d * g
        v = beta2 * v + (1 - beta2) * d * d * g * g
        s = beta3 * s + d / d0 * (d if safeguard_warmup else rate) * g
        d_hat = d_coef * r / math.fsum(map(abs, s.x))
        old = d
        d = max(d, d_hat) if d == d0 else d
        d_max = max(d_max, d_hat)
        d = min(d_max, d * growth)
        W = (1 - rate * weight_decay) * W - rate * m / (sqrt(v) + eps * (d if eps_d == "new" else old))


def soft_adam(
    W, lr, weight_decay=0.0, beta1=0.9, beta2=0.95, adam_eps=1e-8, alpha_sign=0.6, map="tanh",
    eps=1e-4, tau_max=1e9
):
    """Ours: the soft sign of SoftSignum around Adam's normalised momentum, its temperature fitted to
    that."""
    m = v = 0 * W
    hard, taus = round(alpha_sign * STEPS), None
    for t in count(1):
        g = yield W
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        r = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + adam_eps)
        if t > hard:
            taus = taus or schedule(r.x, STEPS - hard, map, eps, tau_max)
            U = (taus[t - hard - 1] * r).map(MAPS[map])
        else:
            U = sign(r)
        W = (1 - lr * weight_decay) * W - lr * U


def softsignum_official(
    W, lr, weight_decay=0.0, momentum=0.9, dampening=0.0, nesterov=False, normalized=False,
    sign_norm=False, alpha_sign=0.6, eps=1e-4, tau_max=20.0
):
    """brain-lab-research/softsign softsignum.py: the buffer starts as g and is a sum; `normalized`
    divides the step's learning rate by the norm of what is mapped, over all tensors, `sign_norm`
    multiplies; decay sees the plain one."""
    buffer, hard, taus = None, round(alpha_sign * STEPS), None
    for t in count(1):
        g = yield W
        buffer = g if buffer is None else momentum * buffer + (1 - dampening) * g
        n = g + momentum * buffer if nesterov else buffer
        if t > hard:
            taus = taus or schedule(n.x, STEPS - hard, "tanh", eps, tau_max)
            U = (taus[t - hard - 1] * n).map(math.tanh)
        else:
            U = sign(n)
        rate = lr / norm(n) if normalized else lr * norm(n) if sign_norm else lr
        W = (1 - lr * weight_decay) * W - rate * U


# ---- matrix methods ------------------------------------------------------------------------------------


def shape_scale(scale, rows, cols):
    return {
        "tall": math.sqrt(max(1, rows / cols)),
        "aspect": math.sqrt(rows / cols),
        "rms": 0.2 * math.sqrt(max(rows, cols)),
        "none": 1.0,
    }[scale]


def muon(W, lr, weight_decay=0.0, momentum=0.95, nesterov=True, scale="tall"):
    """Jordan 2024, github.com/KellerJordan/Muon, with the exact polar factor."""
    M = 0 * W
    while True:
        g = yield W
        M = momentum * M + (1 - momentum) * g
        X = momentum * M + (1 - momentum) * g if nesterov else M
        W = (1 - lr * weight_decay) * W - lr * shape_scale(scale, *W.shape) * polar(X)


def hard_switch_muon(
    W, lr, weight_decay=0.0, momentum=0.95, nesterov=False, scale="tall", alpha_sign=0.6, sgd_lr_ratio=10.0
):
    """Ours: the baseline of arXiv 2605.31371 on matrices. Muon, then SGD with the same momentum and the
    same shape scale, which is the linear map where SoftMuon has a soft one."""
    M, hard = 0 * W, round(alpha_sign * STEPS)
    for t in count(1):
        g = yield W
        M = momentum * M + (1 - momentum) * g
        X = momentum * M + (1 - momentum) * g if nesterov else M
        U = polar(X) if t <= hard else sgd_lr_ratio * X
        W = (1 - lr * weight_decay) * W - lr * shape_scale(scale, *W.shape) * U


def normuon(W, lr, weight_decay=0.0, momentum=0.95, beta2=0.95, eps=1e-10, form="paper", nesterov=False):
    """Li et al., arXiv 2510.05491, algorithm 1: rows of the polar factor normalised by their second
    moment, then the whole to a root mean square of 0.2 (paper), or back to its norm and times Muon's tall
    scale (official)."""
    M, v = 0 * W, [0.0] * W.shape[0]
    while True:
        g = yield W
        M = momentum * M + (1 - momentum) * g
        O = polar(momentum * M + (1 - momentum) * g if nesterov else M)
        power = [sum(o * o for o in row) / len(row) for row in O.rows()]
        v = [beta2 * a + (1 - beta2) * b for a, b in zip(v, power)]
        U = from_rows([[o / (math.sqrt(a) + eps) for o in row] for row, a in zip(O.rows(), v)])
        if form == "paper":
            U = 0.2 / rms(U) * U
        else:
            U = shape_scale("tall", *W.shape) * norm(O) / (norm(U) + 1e-10) * U
        W = (1 - lr * weight_decay) * W - lr * U


def scion(W, lr, weight_decay=1.0, momentum=0.9, hidden_radius=50.0, outer_radius=3000.0, role="matrix"):
    """Pethick et al., arXiv 2502.07529: the linear minimisation oracle of a norm ball chosen by role, as
    in the authors' scion.py and GPT example. weight_decay 1 = constrained to the ball, 0 =
    unconstrained."""
    m = 0 * W
    while True:
        g = yield W
        m = momentum * m + (1 - momentum) * g
        if role == "matrix":
            U = hidden_radius * shape_scale("aspect", *W.shape) * polar(m)
        elif role == "vector":
            U = hidden_radius * m / (rms(m) + 1e-8)
        else:
            U = outer_radius / W.shape[1] * sign(m)
        W = (1 - lr * weight_decay) * W - lr * U


def soap(
    W, lr, weight_decay=0.0, beta1=0.95, beta2=0.95, shampoo_beta=-1.0, eps=1e-8, frequency=10,
    max_dim=10000, normalize=False, decay_last=True
):
    """Vyas et al., arXiv 2409.11321, algorithm 3 and the authors' soap.py: Adam in the eigenbasis of
    Shampoo's two statistics. The first gradient only makes the bases; later they follow by one step of
    power iteration and QR, columns sorted by their estimated eigenvalue. A side longer than max_dim, and
    a vector, has no basis. decay_last: W <- (1 - lr wd) (W - lr U), as in
    the code; else W <- (1 - lr wd) W - lr U."""
    kept = beta2 if shampoo_beta < 0 else shampoo_beta
    shape, flat = W.shape, len(W.shape) == 1
    W = Array(W.x, [1, len(W.x)]) if flat else W
    sides = [not flat and n <= max_dim for n in W.shape]
    outer = lambda g: [g @ g.T if sides[0] else None, g.T @ g if sides[1] else None]
    product = lambda A, B: A @ B if A and B else A or B
    rotate = lambda Q, g: product(product(Q[0] and Q[0].T, g), Q[1])

    g = yield W
    g = Array(g.x, W.shape)
    S = [o and (1 - kept) * o for o in outer(g)]
    Q = [s and eigenvectors(s) for s in S]
    M = V = 0 * W
    for t in count(1):
        g = yield Array(W.x, shape)
        g = Array(g.x, W.shape)
        M = beta1 * M + (1 - beta1) * g
        V = beta2 * V + (1 - beta2) * rotate(Q, g).map(lambda a: a * a)
        U = rotate([q and q.T for q in Q], rotate(Q, M) / (sqrt(V) + eps))
        U = U / (1e-30 + rms(U)) if normalize else U
        rate = lr * math.sqrt(1 - beta2**t) / (1 - beta1**t)
        if decay_last:
            W = (1 - lr * weight_decay) * (W - rate * U)
        else:
            W = (1 - lr * weight_decay) * W - rate * U
        S = [o and kept * s + (1 - kept) * o for s, o in zip(S, outer(g))]
        if t % frequency == 0:
            Q, V = refreshed(S, Q, V)


def refreshed(S, Q, V):
    """SOAP's bases after one step of orthogonal iteration, and the second moments in their new order."""
    bases = []
    for s, q in zip(S, Q):
        V = V.T  # so that the side at hand is the columns', and both sides have been after two turns
        if q:
            order = decreasing([(q.T @ s @ q).rows()[k][k] for k in range(len(q.rows()))])
            V = from_rows([[row[k] for k in order] for row in V.rows()])
            q = orthonormal(s @ from_rows([q.T.rows()[k] for k in order]).T)
        bases.append(q)
    return bases, V


def family(W, lr, weight_decay=0.0, momentum=0.9, geometry="vector", map="tanh", tau=30.0):
    """Geometry relaxation at a fixed temperature (arXiv 2605.31371): U = map(tau m), on entries or on
    singular values. Also gives its measure V*(tau m) / tau."""
    m, f, conjugate = 0 * W, MAPS[map], CONJUGATES[map]
    dual = 0.0
    while True:
        g = yield W, dual
        m = momentum * m + (1 - momentum) * g
        U = spectral(f, tau * m) if geometry == "spectral" else (tau * m).map(f)
        values = singular_values(m) if geometry == "spectral" else m.x
        dual = math.fsum(conjugate(tau * s) for s in values) / tau
        W = (1 - lr * weight_decay) * W - lr * U


# ---- inputs --------------------------------------------------------------------------------------------


def splitmix64(seed):
    """Uniform numbers in (0, 1) (Steele et al. 2014)."""
    while True:
        seed = (seed + 0x9E3779B97F4A7C15) % 2**64
        z = (seed ^ seed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield ((z ^ z >> 31) >> 11) * 2.0**-53 + 2.0**-54


def normals(uniform):
    """Box and Muller, one of each pair."""
    while True:
        yield math.sqrt(-2 * math.log(next(uniform))) * math.cos(2 * math.pi * next(uniform))


def written(x):
    """Four digits: short in the file."""
    return float(f"{x:.3e}")


def read(x):
    """What a float32 program gets of a number in the file."""
    return struct.unpack("f", struct.pack("f", x))[0]


def inputs(shapes, decades, start, seed=1):
    """First weights, of size `start`, and gradients: every entry has a size of its own, spread over so
    many decades, and a drift; every step has a size, over 1.5 decades. Exact zeros: here and there, in
    the third entry of each tensor for four steps, in all of `b` at step 7."""
    uniform = splitmix64(seed)
    normal = normals(uniform)
    draw = lambda shape, f: Array([f() for _ in range(math.prod(shape))], shape)
    draws = lambda f: {name: draw(shape, f) for name, shape in shapes.items()}
    params0 = draws(lambda: written(start * next(normal)))
    size, drift = draws(lambda: 10 ** (-decades * next(uniform))), draws(lambda: next(normal))
    grads = []
    for t in range(1, STEPS + 1):
        step_size, grads_t = 10 ** (0.5 - 1.5 * next(uniform)), {}
        for name, shape in shapes.items():
            g = step_size * size[name] * (draw(shape, lambda: next(normal)) + drift[name])
            for k in range(len(g.x)):
                if (7 * t + 3 * k) % 17 == 0 or (k == 2 and t <= 4) or (name == "b" and t == 7):
                    g.x[k] = 0.0
            grads_t[name] = g.map(written)
        grads.append(grads_t)
    return params0, grads


# ---- cases ---------------------------------------------------------------------------------------------

MIXED = {"a": [7], "b": [5, 3], "c": [4, 4], "d": [3, 6]}
MATRICES = {"b": [5, 3], "c": [4, 4], "d": [3, 6]}
NEAR_SQUARE = {"a": [7], "b": [5, 4], "c": [4, 4], "d": [5, 6]}  # a null space of one dimension at most
ONE_SIDED = {"b": [6, 3], "c": [4, 4], "d": [3, 7]}
ROLES = {"a": "vector", "b": "matrix", "c": "head", "d": "matrix"}

WHOLE = (prodigy, soft_adam, softsignum_official)  # see all tensors at once, as one array
NOTES = {sf_adamw: "eval_params_after_step", family: "dual_progress_after_step", prodigy: "d_after_step"}


class Case:
    def __init__(self, method, shapes=MIXED, decades=3.0, roles=None, start=0.1, **settings):
        self.method, self.shapes, self.decades = method, shapes, decades
        self.roles, self.start = roles, start
        known = inspect.signature(method).parameters.values()
        self.config = {p.name: p.default for p in known if p.default is not p.empty and p.name != "role"}
        self.config |= settings


CASES = {
    "sgd_coupled_l2": Case(sgd, lr=0.01, weight_decay=0.1),
    "sgd_coupled_l2_nesterov": Case(sgd, lr=0.01, weight_decay=0.1, nesterov=True),
    "signum_nesterov": Case(signum, lr=0.01, weight_decay=0.1, nesterov=True),
    "adamw_formula": Case(adamw, lr=0.01, weight_decay=0.1),
    "adamw_eps": Case(adamw, lr=0.01, weight_decay=0.1, beta2=0.999, eps=1e-2),
    "ademamix": Case(ademamix, lr=0.01, weight_decay=0.1),
    "ademamix_flat": Case(ademamix, lr=0.01, weight_decay=0.1, warmup_frac=0.0),
    "ademamix_early": Case(ademamix, lr=0.01, weight_decay=0.1, warmup_frac=0.4, beta3=0.99, alpha=2.0),
    "ademamix_eps": Case(ademamix, lr=0.01, weight_decay=0.1, eps=1e-2),
    "adopt": Case(adopt, lr=0.01, weight_decay=0.1),
    "adopt_unclipped": Case(adopt, lr=0.01, weight_decay=0.1, beta2=0.99, clip=False),
    "adopt_eps": Case(adopt, lr=0.01, weight_decay=0.1, eps=1e-2),
    "sf_adamw_official": Case(sf_adamw, lr=0.01, weight_decay=0.1),
    "sf_adamw_paper": Case(sf_adamw, lr=0.01, weight_decay=0.1, bias_correction="rate"),
    "sf_adamw_warmup": Case(sf_adamw, lr=0.01, weight_decay=0.1, beta1=0.95, r=1.0, warmup_steps=8),
    "sf_adamw_eps": Case(sf_adamw, lr=0.01, weight_decay=0.1, eps=1e-2),
    "mars_official": Case(mars, lr=0.01, weight_decay=0.1),
    "mars_paper": Case(mars, lr=0.01, weight_decay=0.1, first_previous="same"),
    "mars_without_correction": Case(mars, lr=0.01, weight_decay=0.1, gamma=0.0),
    "mars_eps": Case(mars, lr=0.01, weight_decay=0.1, eps=1e-2),
    "prodigy_official": Case(prodigy, start=0.0, weight_decay=0.1),
    "prodigy_paper": Case(prodigy, start=0.0, weight_decay=0.1, eps_d="old"),
    "prodigy_decay": Case(prodigy, weight_decay=1.0, beta2=0.99, d0=1e-3),
    "prodigy_eps": Case(prodigy, weight_decay=0.1, beta2=0.99, d0=1e-3, eps=1e-2),
    "prodigy_options": Case(
        prodigy, start=0.01, lr=0.8, weight_decay=0.1, beta3=0.95, d0=1e-3, d_coef=4.0, growth_rate=1.15,
        bias_correction=True, safeguard_warmup=True
    ),
    "soft_adam_tanh": Case(soft_adam, lr=0.01, weight_decay=0.1),
    "soft_adam_algebraic": Case(
        soft_adam, lr=0.01, weight_decay=0.1, map="algebraic", alpha_sign=0.3, tau_max=20.0
    ),
    "soft_adam_clip": Case(soft_adam, lr=0.01, weight_decay=0.1, map="clip"),
    "soft_adam_eps": Case(soft_adam, lr=0.01, weight_decay=0.1, adam_eps=1e-2),
    "softsignum_sum": Case(softsignum_official, lr=0.01, weight_decay=0.1),
    "softsignum_normalized": Case(softsignum_official, lr=0.01, weight_decay=0.1, normalized=True),
    "softsignum_sign_norm": Case(
        softsignum_official, lr=0.01, weight_decay=0.1, sign_norm=True, nesterov=True
    ),
    "muon_polar": Case(muon, MATRICES, 1.0, lr=0.01, weight_decay=0.1),
    "muon_polar_aspect": Case(
        muon, MATRICES, 1.0, lr=0.01, weight_decay=0.1, scale="aspect", nesterov=False
    ),
    "muon_polar_rms": Case(muon, MATRICES, 1.0, lr=0.01, weight_decay=0.1, scale="rms"),
    "hard_switch_muon": Case(hard_switch_muon, MATRICES, 1.0, lr=0.01, weight_decay=0.1),
    "hard_switch_muon_nesterov": Case(
        hard_switch_muon, MATRICES, 1.0, lr=0.01, weight_decay=0.1, nesterov=True
    ),
    "normuon_paper": Case(normuon, MATRICES, 1.0, lr=0.01, weight_decay=0.1),
    "normuon_official": Case(
        normuon, MATRICES, 1.0, lr=0.01, weight_decay=0.1, form="official", nesterov=True
    ),
    "normuon_eps": Case(normuon, MATRICES, 1.0, lr=0.01, weight_decay=0.1, eps=1e-1),
    "scion_constrained": Case(scion, MIXED, 1.0, ROLES, lr=0.000244140625),
    "scion_unconstrained": Case(
        scion, MIXED, 1.0, ROLES, lr=0.01, weight_decay=0.0, momentum=0.5, hidden_radius=2.0,
        outer_radius=3.0
    ),
    "soap": Case(soap, NEAR_SQUARE, 0.5, lr=0.01, weight_decay=0.1, frequency=4),
    "soap_decay_first": Case(
        soap, NEAR_SQUARE, 0.5, lr=0.01, weight_decay=0.1, frequency=4, decay_last=False
    ),
    "soap_one_sided": Case(soap, ONE_SIDED, 0.5, lr=0.01, weight_decay=0.1, frequency=3, max_dim=4),
    "soap_eps": Case(soap, NEAR_SQUARE, 0.5, lr=0.01, weight_decay=0.1, frequency=4, eps=1e-1),
    "soap_normalized": Case(
        soap, NEAR_SQUARE, 0.5, lr=0.01, frequency=5, normalize=True, shampoo_beta=0.9, beta1=0.9
    ),
}
for _map in MAPS:
    CASES[f"family_vector_{_map}"] = Case(family, MIXED, lr=0.01, weight_decay=0.1, map=_map)
    CASES[f"family_spectral_{_map}"] = Case(
        family, MATRICES, 1.0, lr=0.01, weight_decay=0.1, map=_map, geometry="spectral", tau=5.0
    )


# ---- running and writing -------------------------------------------------------------------------------


def joined(tensors):
    return Array([x for tensor in tensors.values() for x in tensor.x], None)


def parted(array, shapes):
    x = iter(array.x)
    return {name: Array(list(islice(x, math.prod(shape))), shape) for name, shape in shapes.items()}


def run(case, params0, grads):
    """The weights after each step, {name: Array}, and by name what the method has to say beside."""
    if case.method in WHOLE:
        runs = {None: case.method(joined(params0), **case.config)}
        give = lambda tensors: {None: joined(tensors)}
    else:
        role = lambda name: {"role": case.roles[name]} if case.roles else {}
        runs = {name: case.method(params0[name], **role(name), **case.config) for name in case.shapes}
        give = lambda tensors: tensors
    for each in runs.values():
        next(each)
    for grads_t in grads:
        answers = {name: runs[name].send(g) for name, g in give(grads_t).items()}
        notes = {name: a[1] for name, a in answers.items() if isinstance(a, tuple)}
        weights = {name: a[0] if isinstance(a, tuple) else a for name, a in answers.items()}
        yield parted(weights[None], case.shapes) if None in weights else weights, notes


def listed(tensors):
    return {name: [float(f"{x:.12g}") for x in tensor.x] for name, tensor in tensors.items()}


def computed(name, case):
    params0, grads = inputs(case.shapes, case.decades, case.start)
    as_read = lambda tensors: {name: tensor.map(read) for name, tensor in tensors.items()}
    source = "scripts/optim_reference.py: " + " ".join(case.method.__doc__.split())
    out = {"case": name, "optimizer": case.method.__name__, "config": case.config, "source": source}
    out |= {"shapes": case.shapes} | ({"roles": case.roles} if case.roles else {}) | {"steps": STEPS}
    out |= {"params0": listed(params0), "grads": [listed(g) for g in grads], "params_after_step": {}}
    for t, (weights, notes) in enumerate(run(case, as_read(params0), [as_read(g) for g in grads]), 1):
        if t in RECORDED:
            out["params_after_step"][str(t)] = listed(weights)
            if notes:
                values = list(notes.values())
                value = listed(notes) if isinstance(values[0], Array) else math.fsum(values)
                out.setdefault(NOTES[case.method], {})[str(t)] = value
    return out


def same(a, b):
    """Equal but for what another machine's libm may change in the last digits."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return math.isclose(a, b, rel_tol=1e-8, abs_tol=1e-12) if isinstance(a, float) else a == b


def main():
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        sys.exit(__doc__)
    stale = []
    for name, case in CASES.items():
        path, result = GOLDEN / f"{name}.json", computed(name, case)
        if not check:
            path.write_text(json.dumps(result, separators=(",", ":")) + "\n")
        elif not path.exists() or not same(result, json.loads(path.read_text())):
            stale.append(name)
    if stale:
        sys.exit("differ from a fresh computation: " + " ".join(stale))
    print(len(CASES), "cases", "as computed" if check else "written")


if __name__ == "__main__":
    main()
