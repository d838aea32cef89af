"""What decides how gradients become updates, as frozen dataclasses."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class KfacConfig:
    """What only the optimizer "kfac" takes; see `scale_by_kfac`.

    Attributes:
      damping: weight of the identity that is added to the Fisher matrix.
      norm_constraint: largest squared length of a step in the Fisher metric; None: no limit.
      curvature_decay: of the averaged statistics, per step.
      inverse_period: steps between two inversions of them.
      burnin_steps: steps at the start that measure and change no parameter.
    """

    damping: float = 1e-3
    norm_constraint: float | None = 1e-3
    curvature_decay: float = 0.95
    inverse_period: int = 5
    burnin_steps: int = 5


@dataclasses.dataclass(frozen=True)
class SoapConfig:
    """What only the optimizer "soap" takes; see `scale_by_soap`.

    Attributes:
      preconditioner_decay: of the averages of G G^T and G^T G, per step.
      basis_period: steps between two refreshments of their eigenvectors.
      largest_side: rows or columns of a kernel, seen as a matrix, that are more than this are not
        rotated.
    """

    preconditioner_decay: float = 0.95
    basis_period: int = 10
    largest_side: int = 10000


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The update rule.

    Attributes:
      name: "sgd" (Nesterov), "adamw", "lamb", "muon", "kfac" (made for rates of about 3e-4) or
        "soap" (made for a `second_moment` of 0.95).
      learning_rate: peak of the schedule.
      momentum: of sgd, muon and kfac; first-moment decay b1 of adamw, lamb and soap.
      second_moment: b2 of adamw, lamb, soap, and of muon's parameters that are not matrices.
      weight_decay: added to the gradient for sgd and kfac, decoupled for the others.
      decay_pattern: regular expression; parameters whose name it finds decay.
      layer_decay: factor on the learning rate per block of distance from the head.
      keep_norms: regular expression; kernels whose name it finds keep, after every update, the norm
        that each of their filters has at the start. None leaves all norms free.
      clip_norm: largest global norm of the gradient; None does not clip.
      accumulate_steps: split each batch into this many parts and average their gradients.
    """

    name: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    second_moment: float = 0.999
    weight_decay: float = 0.0
    decay_pattern: str = r"kernel$"
    layer_decay: float = 1.0
    keep_norms: str | None = None
    clip_norm: float | None = None
    accumulate_steps: int = 1
    kfac: KfacConfig = KfacConfig()
    soap: SoapConfig = SoapConfig()


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    """Learning rate over the steps, as a fraction of `OptimizerConfig.learning_rate`.

    Attributes:
      name: "cosine", "step" or "constant".
      warmup_steps: steps of linear warm-up.
      warmup_fraction: the same as a fraction of all steps; give only one of the two.
      final_fraction: value at the end of "cosine".
      boundaries: fractions of all steps at which "step" multiplies by `factor`.
      factor: see `boundaries`.
    """

    name: str = "cosine"
    warmup_steps: int = 0
    warmup_fraction: float = 0.0
    final_fraction: float = 0.0
    boundaries: tuple[float, ...] = (0.5, 0.75)
    factor: float = 0.1
