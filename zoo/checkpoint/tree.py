"""Any pytree of arrays as a flat list of named arrays, and the comparison of two such lists.

A name joins the parts of a leaf's path with "/": `params/stages.0.conv1.kernel`,
`opt_state/0/trace/head.bias`. New-style PRNG keys are stored as their uint32 words.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.checkpoint.errors import CheckpointError, CheckpointMismatchError, UnsupportedStateError

SEPARATOR = "/"
_KEY_IMPLEMENTATIONS = ("threefry2x32", "rbg", "unsafe_rbg")


@dataclasses.dataclass(frozen=True)
class ArraySpec:
    """Shape and dtype name of a stored array; `key<...>` is the dtype of PRNG keys."""

    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


def is_dtype(name: str) -> bool:
    """Whether `name` is the dtype of an array that can be stored."""
    if name.startswith("key<"):
        return True
    try:
        dtype = jnp.dtype(name)
    # NumPy takes more texts for dtypes than it can make sense of.
    except (TypeError, ValueError, SyntaxError):
        return False
    return _is_number(dtype) and str(dtype) == name


def flatten_named(tree: Any, *, abstract: bool = False) -> tuple[dict[str, Any], Any]:
    """Leaves of `tree` by unique name, in tree order, and the tree definition.

    Args:
      tree: any pytree of arrays.
      abstract: whether `jax.ShapeDtypeStruct` leaves are allowed too.

    Raises:
      UnsupportedStateError: the tree is empty, a path part is empty or holds "/", two leaves
        get the same name, or a leaf is no array or has no elements; all cases are listed.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(tree)
    named: dict[str, Any] = {}
    owners: dict[str, str] = {}
    problems = [] if leaves else ["the tree has no leaves, so there is nothing to store"]
    for path, leaf in leaves:
        where = jax.tree_util.keystr(path)
        parts = [_path_part(entry) for entry in path] or ["value"]
        name = SEPARATOR.join(parts)
        problem = _leaf_problem(parts, leaf, abstract)
        if name in owners:
            problem = f"has the same name, {name!r}, as {owners[name]}; rename one"
        if problem:
            problems.append(f"{where or 'the tree'} {problem}")
        named[name], owners[name] = leaf, where
    if problems:
        raise UnsupportedStateError("cannot store this state: " + "; ".join(problems))
    return named, treedef


def array_specs(named: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """Shape and dtype of every array, concrete or abstract."""
    return {name: ArraySpec(tuple(a.shape), str(a.dtype)) for name, a in named.items()}


def to_storage(named: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as they are written: PRNG keys become uint32 words, NumPy scalars arrays."""
    return {
        name: jax.random.key_data(a)
        if _is_key(a)
        else (a if isinstance(a, jax.Array) else np.asarray(a))
        for name, a in named.items()
    }


def storage_targets(
    wanted: Mapping[str, Any], stored: Mapping[str, ArraySpec]
) -> dict[str, jax.ShapeDtypeStruct]:
    """What to read from the disk for `wanted`: stored dtype, wanted sharding."""
    targets = {}
    for name, leaf in wanted.items():
        sharding = getattr(leaf, "sharding", None)
        if sharding is None:
            sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        if _is_key(leaf):
            words = jax.eval_shape(jax.random.key_data, _bare(leaf))
            targets[name] = jax.ShapeDtypeStruct(words.shape, words.dtype, sharding=sharding)
        else:
            dtype = jnp.dtype(stored[name].dtype)
            targets[name] = jax.ShapeDtypeStruct(leaf.shape, dtype, sharding=sharding)
    return targets


def from_storage(read: Mapping[str, jax.Array], wanted: Mapping[str, Any]) -> dict[str, jax.Array]:
    """Inverse of `to_storage`, casting floats to the wanted dtype.

    Raises:
      CheckpointError: a cast overflowed.
    """
    result, overflowed = {}, []
    for name, leaf in wanted.items():
        array = read[name]
        if _is_key(leaf):
            array = jax.random.wrap_key_data(array, impl=_key_implementation(leaf))
        elif array.dtype != leaf.dtype:
            cast = array.astype(leaf.dtype)
            if bool(jnp.any(jnp.isfinite(array) & ~jnp.isfinite(cast))):
                overflowed.append(f"{name} ({array.dtype} -> {leaf.dtype})")
            array = cast
        result[name] = array
    if overflowed:
        raise CheckpointError(
            f"values too large for the asked dtype in: {', '.join(overflowed)}; ask for bfloat16 "
            "or float32"
        )
    return result


def require_match(
    stored: Mapping[str, ArraySpec],
    wanted: Mapping[str, ArraySpec],
    *,
    where: str,
    cast: bool = False,
    partial: bool = False,
) -> None:
    """Compares names, shapes and dtypes before anything is read.

    Args:
      stored: the arrays of the checkpoint.
      wanted: the arrays asked for.
      where: the checkpoint, for the message.
      cast: whether a float may become another float.
      partial: whether the checkpoint may hold more than is asked for.

    Raises:
      CheckpointMismatchError: lists every difference.
    """
    lines = [f"missing in the checkpoint: {n} {wanted[n]}" for n in wanted if n not in stored]
    extra = [] if partial else [name for name in stored if name not in wanted]
    lines += [f"only in the checkpoint: {name} {stored[name]}" for name in extra]
    for name in wanted:
        if name not in stored or stored[name] == wanted[name]:
            continue
        have, want = stored[name], wanted[name]
        if have.shape != want.shape:
            lines.append(f"other shape: {name} is {have} in the checkpoint, {want} asked")
        elif not (cast and _is_float(have) and _is_float(want)):
            advice = "" if cast else "; cast=True allows float to float"
            lines.append(f"other dtype: {name} is {have} in the checkpoint, {want} asked{advice}")
    if lines:
        count = f"{len(lines)} difference{'s' * (len(lines) > 1)}"
        raise CheckpointMismatchError(
            f"{where} does not fit the model ({count}; build the model it was made for, or "
            "replace the head after loading): " + "; ".join(lines),
            lines,
        )


def non_finite(named: Mapping[str, Any]) -> list[str]:
    """Names of the float arrays that hold NaN or infinity."""
    floats = {n: array for n, array in named.items() if jnp.issubdtype(array.dtype, jnp.inexact)}
    return [name for name, finite in jax.device_get(_all_finite(floats)).items() if not finite]


# One program for all: of arrays split over processes each needs an answer from every process, and
# programs in flight at the same time may ask in another order on each.
@jax.jit
def _all_finite(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {name: jnp.isfinite(array).all() for name, array in arrays.items()}


def _path_part(entry: Any) -> str:
    for attribute in ("name", "key", "idx"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)


def _leaf_problem(parts: list[str], leaf: Any, abstract: bool) -> str | None:
    kinds = (jax.Array, np.ndarray, np.generic) + (jax.ShapeDtypeStruct,) * abstract
    if any(not part or SEPARATOR in part for part in parts):
        return f"has a path part that is empty or holds {SEPARATOR!r}; rename it"
    if not isinstance(leaf, kinds):
        return f"is a {type(leaf).__name__}; only arrays are stored, use jnp.asarray"
    if not _is_key(leaf) and not _is_number(leaf.dtype):
        return f"has dtype {leaf.dtype}; only bool, integer, float and key arrays are stored"
    if not _is_key(leaf) and jax.dtypes.canonicalize_dtype(leaf.dtype) != leaf.dtype:
        return f"has dtype {leaf.dtype}, which JAX would shorten; use a 32-bit one or enable x64"
    if 0 in leaf.shape:
        return f"has no elements (shape {tuple(leaf.shape)}); drop it"
    return None


def _is_number(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _is_float(spec: ArraySpec) -> bool:
    return not spec.dtype.startswith("key<") and jnp.issubdtype(spec.dtype, jnp.floating)


def _bare(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)


def _key_implementation(leaf: Any) -> str:
    for name in _KEY_IMPLEMENTATIONS:
        if jax.eval_shape(lambda name=name: jax.random.key(0, impl=name)).dtype == leaf.dtype:
            return name
    raise CheckpointError(
        f"unknown PRNG key type {leaf.dtype}; known: {', '.join(_KEY_IMPLEMENTATIONS)}"
    )
