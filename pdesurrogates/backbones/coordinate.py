"""Networks of coordinates: a point goes in, the values of a field there come out."""

from __future__ import annotations

import math
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["MLP", "SIREN", "CoordinateNetwork", "FourierFeatureMLP"]

Activation = Literal["tanh", "sin", "silu", "gelu", "softplus"]

_FUNCTIONS = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "silu": F.silu,
    "gelu": F.gelu,
    "softplus": F.softplus,
}


class CoordinateNetwork(nn.Module):
    """A network from coordinates to field values, point by point.

    It uses only functions that have Taylor rules, so it may be called with tensors or with jets
    (`pdesurrogates.operators.JetDerivatives`). Coordinates of order one are expected: a
    `NeuralField` scales those of its domain.

    Args:
        in_channels: Coordinates of a point, time included.
        out_channels: Channels of the field.
        width: Units per hidden layer.
        depth: Number of hidden layers.

    Shape:
        x: (*any, in_channels) -> (*any, out_channels)

    Raises:
        ValueError: If a number is not a positive integer.
    """

    def __init__(self, in_channels: int, out_channels: int, *, width: int, depth: int) -> None:
        super().__init__()
        counts = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "width": width,
            "depth": depth,
        }
        for name, count in counts.items():
            if not isinstance(count, int) or isinstance(count, bool) or count < 1:
                raise ValueError(
                    f"{type(self).__name__}: `{name}` must be a positive integer, got {count!r}."
                )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.width = width
        self.depth = depth

    def _build(self, in_features: int) -> None:
        sizes = [in_features, *(self.width,) * self.depth]
        self.hidden = nn.ModuleList(
            nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.head = nn.Linear(self.width, self.out_channels)

    @property
    def layers(self) -> tuple[nn.Linear, ...]:
        """All linear layers, from the coordinates to the field."""
        return (*(cast(nn.Linear, layer) for layer in self.hidden), self.head)

    def _check(self, x: Tensor) -> None:
        if x.shape[-1] != self.in_channels:
            raise ValueError(
                f"{type(self).__name__}: expected points with {self.in_channels} coordinates "
                f"(..., {self.in_channels}), got {tuple(x.shape)}; time is the last coordinate."
            )


class MLP(CoordinateNetwork):
    """Multilayer perceptron with a smooth activation s:

        v_0 = x,   v_{l+1} = s(W_l v_l + b_l),   u = W v_depth + b

    Weights are Glorot normal and biases zero, as usual for physics-informed networks, but for the
    biases of the first layer, which are uniform on +-`bias_spread`: a spread of about 1 puts the
    bends of the units all over the domain, which sharp solutions need.

    Args:
        in_channels: Coordinates of a point, time included.
        out_channels: Channels of the field.
        width: Units per hidden layer.
        depth: Number of hidden layers.
        activation: s, smooth: "tanh", "sin", "silu", "gelu" or "softplus".
        bias_spread: Largest first-layer bias.

    Shape:
        x: (*any, in_channels) -> (*any, out_channels)

    Example:
        >>> MLP(2, 1, width=8, depth=2)(torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 50,
        depth: int = 4,
        activation: Activation = "tanh",
        bias_spread: float = 0.0,
    ) -> None:
        super().__init__(in_channels, out_channels, width=width, depth=depth)
        if activation not in _FUNCTIONS:
            raise ValueError(
                f"MLP: `activation` must be one of {tuple(_FUNCTIONS)}, got {activation!r}; a "
                "piecewise linear one has no second derivative."
            )
        self.activation: Activation = activation
        self.bias_spread = bias_spread
        self._build(in_channels)
        for layer in self.layers:
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.uniform_(self.layers[0].bias, -bias_spread, bias_spread)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        function = _FUNCTIONS[self.activation]
        for layer in self.hidden:
            x = function(layer(x))
        return self.head(x)


class SIREN(CoordinateNetwork):
    """Sinusoidal representation network:

        v_0 = x,   v_{l+1} = sin(omega0 (W_l v_l + b_l)),   u = W v_depth + b

    First-layer weights are uniform on +-1/in_channels, the others on +-sqrt(6/width)/omega0, which
    keeps the distribution of activations the same in every layer.

    Warning:
        With omega0 = 30 on coordinates in [-1, 1] the first layer sees up to about ten waves. On
        a longer domain the bandwidth grows with it: scale the coordinates.

    Reference:
        Implicit Neural Representations with Periodic Activation Functions (Sitzmann et al.,
        2020), Section 3.2 and Theorem 1.8. https://arxiv.org/abs/2006.09661

    Args:
        in_channels: Coordinates of a point, time included.
        out_channels: Channels of the field.
        width: Units per hidden layer.
        depth: Number of sine layers.
        omega0: Frequency of every sine layer.

    Shape:
        x: (*any, in_channels) -> (*any, out_channels)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 20,
        depth: int = 3,
        omega0: float = 30.0,
    ) -> None:
        super().__init__(in_channels, out_channels, width=width, depth=depth)
        if not (math.isfinite(omega0) and omega0 > 0):
            raise ValueError(f"SIREN: `omega0` must be positive, got {omega0}.")
        self.omega0 = omega0
        self._build(in_channels)
        for n, layer in enumerate(self.layers):
            bound = 1 / in_channels if n == 0 else math.sqrt(6 / width) / omega0
            nn.init.uniform_(layer.weight, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        for layer in self.hidden:
            x = torch.sin(layer(x) * self.omega0)
        return self.head(x)


class FourierFeatureMLP(CoordinateNetwork):
    """Multilayer perceptron on random Fourier features of the coordinates:

        v_0 = (cos B x, sin B x),   B_ij ~ 2 pi frequency_scale N(0, 1), fixed

    Args:
        in_channels: Coordinates of a point, time included.
        out_channels: Channels of the field.
        width: Units per hidden layer.
        depth: Number of hidden layers.
        num_frequencies: Rows of B.
        frequency_scale: Standard deviation of the frequencies [waves per unit of the scaled
            coordinates].
        activation: See `MLP`.

    Shape:
        x: (*any, in_channels) -> (*any, out_channels)

    Reference:
        Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains
        (Tancik et al., 2020), Section 4. https://arxiv.org/abs/2006.10739
    """

    frequencies: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int = 50,
        depth: int = 2,
        num_frequencies: int = 32,
        frequency_scale: float = 1.0,
        activation: Activation = "tanh",
    ) -> None:
        super().__init__(in_channels, out_channels, width=width, depth=depth)
        self.num_frequencies = num_frequencies
        self.frequency_scale = frequency_scale
        self.activation: Activation = activation
        frequencies = 2 * math.pi * frequency_scale * torch.randn(num_frequencies, in_channels)
        self.register_buffer("frequencies", frequencies)
        self.mlp = MLP(
            2 * num_frequencies, out_channels, width=width, depth=depth, activation=activation
        )

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        phase = F.linear(x, self.frequencies)
        return self.mlp(torch.cat((torch.cos(phase), torch.sin(phase)), dim=-1))
