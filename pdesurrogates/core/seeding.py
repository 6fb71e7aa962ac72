"""Random numbers that depend on names, not on the order of calls."""

from __future__ import annotations

import numpy as np
import torch

__all__ = ["generator"]


def generator(seed: int, *keys: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for the stream named by `seed` and `keys`.

    The same name gives the same stream in every process, whatever was drawn before:
    trajectory 17 is the same alone, in a chunk of 8 or after a restart. Streams with different
    names are independent (NumPy `SeedSequence`).

    Args:
        seed: Seed of the run, not negative.
        keys: Integers that name the stream, e.g. the trajectory or the optimiser step.
        device: Where the numbers are drawn.

    Example:
        >>> a, b = generator(0, 3), generator(0, 3)
        >>> bool((torch.rand(2, generator=a) == torch.rand(2, generator=b)).all())
        True
    """
    if seed < 0 or any(key < 0 for key in keys):
        raise ValueError(
            f"generator: `seed` and `keys` must not be negative, got {(seed, *keys)}."
        )
    state = np.random.SeedSequence([seed, *keys]).generate_state(2, np.uint32)
    value = (int(state[0]) << 31) ^ int(state[1])
    return torch.Generator(device=device).manual_seed(value)
