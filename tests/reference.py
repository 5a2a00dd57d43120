"""An independent transcription of Mult-VAE and Mult-DAE into NumPy, from the paper's equations, dense and in float64.

Liang et al., "Variational Autoencoders for Collaborative Filtering", WWW 2018. Nothing here is shared with the package:
the gradients are written out by hand, the click matrix is dense, and the noise and the dropout mask are arguments.

``X`` [B, I] clicks, ``M`` [B, I] dropout mask (0 or 1), ``E`` [B, K] noise. A layer is a pair (W [d_in, d_out], b [d_out]).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Layer = tuple[np.ndarray, np.ndarray]
#: From the logits and the clicks, both [B, I], to the negative log-likelihood, the mean over users, and its gradient.
Likelihood = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def forward_mlp(h: np.ndarray, layers: list[Layer]) -> list[np.ndarray]:
    """The input of every layer, then the output: tanh between layers, none after the last."""
    inputs = [h]
    for n, (W, b) in enumerate(layers):
        a = inputs[-1] @ W + b
        inputs.append(np.tanh(a) if n < len(layers) - 1 else a)
    return inputs


def backward_mlp(d_out: np.ndarray, inputs: list[np.ndarray], layers: list[Layer]) -> tuple[np.ndarray, list[Layer]]:
    """The gradient of the input and of every layer, from the gradient of the output."""
    gradients: list[Layer] = []
    d = d_out
    for n in reversed(range(len(layers))):
        if n < len(layers) - 1:
            d = d * (1 - inputs[n + 1] ** 2)
        gradients.insert(0, (inputs[n].T @ d, d.sum(axis=0)))
        d = d @ layers[n][0].T
    return d, gradients


def normalise(X: np.ndarray) -> np.ndarray:
    """x_u / ||x_u||, and 0 where there is no click."""
    norm = np.sqrt((X**2).sum(axis=1, keepdims=True))
    return np.divide(X, norm, out=np.zeros_like(X), where=norm > 0)


def log_softmax(F: np.ndarray) -> np.ndarray:
    F = F - F.max(axis=1, keepdims=True)
    return F - np.log(np.exp(F).sum(axis=1, keepdims=True))


def multinomial(F: np.ndarray, X: np.ndarray) -> tuple[float, np.ndarray]:
    """Equation 2, negated, the mean over users; and its gradient with respect to the logits."""
    B = len(X)
    log_pi = log_softmax(F)
    return -(X * log_pi).sum() / B, (X.sum(axis=1, keepdims=True) * np.exp(log_pi) - X) / B


def gaussian(F: np.ndarray, X: np.ndarray, c1: float = 1.0, c0: float = 1.0) -> tuple[float, np.ndarray]:
    """Equation 3, negated, the mean over users: sum_i c_ui / 2 (x_ui - f_i)^2; and its gradient."""
    B, C = len(X), np.where(X == 1, c1, c0)
    return (C / 2 * (X - F) ** 2).sum() / B, C * (F - X) / B


def logistic(F: np.ndarray, X: np.ndarray) -> tuple[float, np.ndarray]:
    """The logistic log-likelihood, negated, the mean over users; and its gradient."""
    B, p = len(X), 1 / (1 + np.exp(-F))
    return -(X * np.log(p) + (1 - X) * np.log(1 - p)).sum() / B, (p - X) / B


def kl(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """KL(N(mu, sigma^2) || N(0, 1)) = log(1/sigma) + (sigma^2 + mu^2)/2 - 1/2, summed over K, [B]."""
    sigma = np.sqrt(np.exp(logvar))
    return (np.log(1 / sigma) + (sigma**2 + mu**2) / 2 - 0.5).sum(axis=1)


def beta(step: int, cap: float, total: int) -> float:
    """The KL weight of the update that comes after ``step`` others."""
    return cap if total == 0 or step / total > cap else step / total


def multvae(
    X: np.ndarray,
    M: np.ndarray,
    keep: float,
    E: np.ndarray,
    encoder: list[Layer],
    decoder: list[Layer],
    weight: float | np.ndarray,
    likelihood: Likelihood = multinomial,
) -> tuple[float, np.ndarray, list[Layer], list[Layer]]:
    """Equation 6, negated, the mean over users, with one ``weight`` of the KL term or one for each user, [B, 1].

    Returns the loss, the logits and the gradients of both networks.
    """
    B, K = len(X), E.shape[1]
    enc = forward_mlp(normalise(X) * M / keep, encoder)
    mu, logvar = enc[-1][:, :K], enc[-1][:, K:]
    sigma = np.exp(logvar / 2)
    dec = forward_mlp(mu + E * sigma, decoder)
    nll, d_logits = likelihood(dec[-1], X)
    dz, d_decoder = backward_mlp(d_logits, dec, decoder)
    d_mu = dz + weight * mu / B
    d_logvar = dz * E * sigma / 2 + weight * (sigma**2 - 1) / (2 * B)
    _, d_encoder = backward_mlp(np.hstack([d_mu, d_logvar]), enc, encoder)
    return nll + (weight * kl(mu, logvar)[:, None]).mean(), dec[-1], d_encoder, d_decoder


def multdae(
    X: np.ndarray,
    M: np.ndarray,
    keep: float,
    encoder: list[Layer],
    decoder: list[Layer],
    l2: float,
    likelihood: Likelihood = multinomial,
) -> tuple[float, np.ndarray, list[Layer], list[Layer]]:
    """The negative log-likelihood, the mean over users, plus l2 * ||W||^2. One network: tanh also on the latent layer."""
    layers = encoder + decoder
    net = forward_mlp(normalise(X) * M / keep, layers)
    nll, d_logits = likelihood(net[-1], X)
    _, gradients = backward_mlp(d_logits, net, layers)
    gradients = [(dW + 2 * l2 * W, db) for (dW, db), (W, _) in zip(gradients, layers, strict=True)]
    penalty = l2 * sum((W**2).sum() for W, _ in layers)
    return nll + penalty, net[-1], gradients[: len(encoder)], gradients[len(encoder) :]


def autorec(
    R: np.ndarray, observed: np.ndarray, encoder: Layer, decoder: Layer, lam: float
) -> tuple[float, np.ndarray, Layer, Layer]:
    """Sedhain et al., WWW 2015, equation 2 over B rows: squared error of what is ``observed``, plus lam / 2 ||W||^2.

    Returns the mean over the rows, the predictions, and the gradients.
    """
    B, (V, mu), (W, b) = len(R), encoder, decoder
    g = 1 / (1 + np.exp(-(R @ V + mu)))
    predicted = g @ W + b
    error = np.where(observed, predicted - R, 0)
    d_out = 2 * error / B
    d_hidden = d_out @ W.T * g * (1 - g)
    loss = (error**2).sum() / B + lam / 2 * ((V**2).sum() + (W**2).sum()) / B
    d_encoder = R.T @ d_hidden + lam * V / B, d_hidden.sum(axis=0)
    return loss, predicted, d_encoder, (g.T @ d_out + lam * W / B, d_out.sum(axis=0))


def edlae(X: np.ndarray, p: float, lam: float, a: float = 0) -> np.ndarray:
    """Steck, NeurIPS 2020: the similarities, one column after the other, from the objective itself.

    Item j is predicted from the others, sum_u w_u E (x_uj - sum_i d_i / (1 - p) x_ui b_i)^2 + lam ||b||^2 with b_j = 0 and
    d_i a draw that is 0 with the probability p: the variance of a dropped x_ui is p / (1 - p) x_ui^2. The weight w_u is
    n_u^-a up to a factor that leaves the sum over all clicks as it is.
    """
    items = X.shape[1]
    w = user_weights(X, a)
    B = np.zeros((items, items))
    for j in range(items):
        others = np.arange(items) != j
        A = X[:, others]
        penalty = np.diag(p / (1 - p) * (w[:, None] * A**2).sum(axis=0) + lam)
        B[others, j] = np.linalg.solve(A.T @ (w[:, None] * A) + penalty, A.T @ (w * X[:, j]))
    return B


def user_weights(X: np.ndarray, a: float) -> np.ndarray:
    """w_u in proportion to n_u^-a, 0 without clicks, and the sum of w_u n_u is that of n_u."""
    n = X.sum(axis=1)
    w = np.where(n > 0, np.maximum(n, 1.0) ** -a, 0)
    return w * n.sum() / (w * n).sum()


def sparse_edlae(X: np.ndarray, k: int, a: float, p: float, lam: float) -> np.ndarray:
    """EDLAE with the k nearest neighbours of each item and weighted users, one column after the other, from the objective.

    Item j is predicted from the k items i with the largest cosine of sqrt(w) x_i and sqrt(w) x_j, if it is above 0; the
    squared error of a user u counts w_u.
    """
    items, w = X.shape[1], user_weights(X, a)
    B = np.zeros((items, items))
    for j in range(items):
        shared = np.array([(w * X[:, i] * X[:, j]).sum() for i in range(items)])
        norms = np.sqrt([(w * X[:, i]).sum() for i in range(items)])
        candidates = [i for i in range(items) if i != j and shared[i] > 0]
        N = sorted(candidates, key=lambda i: -shared[i] / (norms[i] * norms[j]))[:k]
        A = X[:, N]
        penalty = np.diag(p / (1 - p) * (w[:, None] * A**2).sum(axis=0) + lam)
        B[N, j] = np.linalg.solve(A.T @ (w[:, None] * A) + penalty, A.T @ (w * X[:, j]))
    return B
