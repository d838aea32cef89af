"""Writes soap.json: updates by SOAP as its paper writes them, for `test_soap.py` to repeat.

Algorithms 3 and 4 of arXiv 2409.11321 in NumPy and float64, one matrix at a time, with what the
authors' implementation (nikhilvyas/SOAP, soap.py) adds: the first update is left out, columns are
sorted by falling eigenvalue before a power iteration, and Adam's averages are corrected.

Made by `python tests/training/golden/soap_steps.py`.
"""

import json
from pathlib import Path

import numpy as np

UPDATES = 7
SETTINGS = {
    "b1": 0.9,
    "b2": 0.95,
    "preconditioner_decay": 0.8,
    "basis_period": 2,
    "largest_side": 8,
}
SHAPES = {
    "square.kernel": (8, 8),
    "conv.kernel": (3, 1, 2, 6),  # 6 patch values by 6 outputs
    "wide.kernel": (3, 9),  # 9 columns are more than the largest side
    "bias": (5,),
}


class Soap:
    """SOAP on one matrix."""

    def __init__(self, shape):
        self.M, self.V = np.zeros(shape), np.zeros(shape)
        self.L, self.R = np.zeros((shape[0],) * 2), np.zeros((shape[1],) * 2)
        self.Q_L, self.Q_R = np.eye(shape[0]), np.eye(shape[1])
        self.rotates = [side <= SETTINGS["largest_side"] for side in shape]

    def update(self, G, t):
        if t > 0:
            G_rotated = self.Q_L.T @ G @ self.Q_R
            self.M = SETTINGS["b1"] * self.M + (1 - SETTINGS["b1"]) * G
            M_rotated = self.Q_L.T @ self.M @ self.Q_R
            self.V = SETTINGS["b2"] * self.V + (1 - SETTINGS["b2"]) * G_rotated**2
            N_rotated = M_rotated / (np.sqrt(self.V) + 1e-8)
            N = self.Q_L @ N_rotated @ self.Q_R.T
            N = N * np.sqrt(1 - SETTINGS["b2"] ** t) / (1 - SETTINGS["b1"] ** t)
        else:
            N = np.zeros_like(G)
        decay = SETTINGS["preconditioner_decay"]
        self.L = decay * self.L + (1 - decay) * G @ G.T
        self.R = decay * self.R + (1 - decay) * G.T @ G
        if t == 0:
            if self.rotates[0]:
                self.Q_L = np.linalg.eigh(self.L)[1][:, ::-1]
            if self.rotates[1]:
                self.Q_R = np.linalg.eigh(self.R)[1][:, ::-1]
        elif t % SETTINGS["basis_period"] == 0:
            if self.rotates[0]:
                order = by_eigenvalue(self.L, self.Q_L)
                self.Q_L, self.V = eigenvectors(self.L, self.Q_L[:, order]), self.V[order]
            if self.rotates[1]:
                order = by_eigenvalue(self.R, self.Q_R)
                self.Q_R, self.V = eigenvectors(self.R, self.Q_R[:, order]), self.V[:, order]
        return N


class Adam:
    """Adam on a vector, corrected as of its t-th update."""

    def __init__(self, shape):
        self.m, self.v = np.zeros(shape), np.zeros(shape)

    def update(self, g, t):
        if t == 0:
            return np.zeros_like(g)
        self.m = SETTINGS["b1"] * self.m + (1 - SETTINGS["b1"]) * g
        self.v = SETTINGS["b2"] * self.v + (1 - SETTINGS["b2"]) * g**2
        scale = np.sqrt(1 - SETTINGS["b2"] ** t) / (1 - SETTINGS["b1"] ** t)
        return scale * self.m / (np.sqrt(self.v) + 1e-8)


def by_eigenvalue(P, Q):
    return np.argsort(-np.diag(Q.T @ P @ Q))


def eigenvectors(P, Q):
    return np.linalg.qr(P @ Q)[0]


def well_conditioned(G):
    """With singular values from 3 to 1, so that float32 knows the eigenvectors of G G^T."""
    U, s, V = np.linalg.svd(G.reshape(-1, G.shape[-1]), full_matrices=False)
    return (U * np.linspace(3, 1, len(s)) @ V).reshape(G.shape)


def main():
    draw = np.random.default_rng(0)
    gradients, directions = {}, {}
    for name, shape in SHAPES.items():
        given = draw.normal(size=(UPDATES, *shape))
        if len(shape) > 1:
            given[0] = well_conditioned(given[0])  # the only one whose eigenvectors are computed
        given = given.round(3)
        rule = Adam(shape) if len(shape) == 1 else Soap((int(np.prod(shape[:-1])), shape[-1]))
        found = [
            rule.update(g if g.ndim == 1 else g.reshape(-1, shape[-1]), t)
            for t, g in enumerate(given)
        ]
        gradients[name] = given.tolist()
        directions[name] = [[float(f"{x:.9g}") for x in one.ravel()] for one in found]
    golden = {"settings": SETTINGS, "gradients": gradients, "directions": directions}
    Path(__file__).with_name("soap.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    main()
