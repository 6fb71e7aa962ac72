"""accelerate: the same surrogate, run differently; other grids."""

import copy
import warnings

import pytest
import torch
from torch import nn

from pdesurrogates.backbones import FNO, DilatedResNet
from pdesurrogates.core import Grid
from pdesurrogates.equations import KuramotoSivashinsky
from pdesurrogates.steppers import ETDRK, RK4, rollout
from pdesurrogates.surrogates import (
    DerivativeSurrogate,
    HybridSurrogate,
    PDERefiner,
    ResidualSurrogate,
    accelerate,
    load_surrogate,
    save_surrogate,
)

GRID = Grid((16,), (6.0,))
TIMES = [0.0, 0.1, 0.2]


def network(in_channels=1, num_conditions=0):
    return FNO(in_channels, num_modes=(4,), width=8, depth=2, num_conditions=num_conditions)


def residual():
    return ResidualSurrogate(network(), 0.1, grid=GRID)


def derivative():
    return DerivativeSurrogate(network(), RK4(), 0.1, grid=GRID)


def hybrid():
    return HybridSurrogate(network(), KuramotoSivashinsky(), ETDRK(2), 0.1, grid=GRID)


def refiner():
    return PDERefiner(network(2, 1), 0.1, num_refinement_steps=1, sigma_min=0.1, grid=GRID)


def told():
    return ResidualSurrogate(network(2), 0.1, grid=GRID, parameter_names=("viscosity",))


KINDS = [residual, derivative, hybrid, refiner]


def make(kind):
    surrogate = kind().float().eval()
    surrogate.state_normalizer.std.fill_(2.0)
    return surrogate


def states(batch=3):
    return torch.randn(batch, 1, 16, generator=torch.Generator().manual_seed(1))


def distance(a, b):
    return float((a - b).double().norm() / b.double().norm())


@pytest.mark.parametrize("kind", KINDS)
def test_low_precision_is_close_and_keeps_the_state(kind):
    surrogate, u0 = make(kind), states()
    with torch.no_grad():
        exact = rollout(surrogate, u0, TIMES)
        low = rollout(accelerate(surrogate, dtype=torch.bfloat16), u0, TIMES)
    assert low.dtype == u0.dtype == torch.float64
    change = distance(low[:, 1] - low[:, 0], exact[:, 1] - exact[:, 0])
    assert 1e-6 < change < 0.02  # rounded, by bfloat16's 0.4 % per layer
    assert torch.equal(rollout(surrogate, u0, TIMES), exact)


def test_float16_is_closer_than_bfloat16():
    surrogate, u0 = make(residual), states()
    with torch.no_grad():
        exact = surrogate(0.0, u0, 0.1)
        errors = [
            distance(accelerate(surrogate, dtype=dtype)(0.0, u0, 0.1), exact)
            for dtype in (torch.bfloat16, torch.float16)
        ]
    assert errors[1] < errors[0] / 3


def test_the_network_alone_is_lowered():
    surrogate, seen = make(residual), []
    fast = accelerate(surrogate, dtype=torch.bfloat16)
    lift = surrogate.backbone.lift.expand
    lift.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        fast(0.0, states(), 0.1)
    ((z, lifted),) = seen
    assert z.dtype == torch.float32 and lifted.dtype == torch.bfloat16
    # The state enters standardised in float32: only the output of the layer is rounded.
    torch.testing.assert_close(z.movedim(-1, 1).double(), states() / 2, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, told])
def test_compiled_equals_eager(kind):
    surrogate = kind().eval()  # float64
    u0 = states()
    bound = {} if kind is not told else {"parameters": torch.randn(3, 1)}
    with torch.no_grad():
        exact = rollout(surrogate.bind(**bound), u0, TIMES)
        fast = rollout(accelerate(surrogate, compile=True).bind(**bound), u0, TIMES)
    torch.testing.assert_close(fast, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_compiled_in_low_precision():
    surrogate, u0 = make(residual), states()
    with torch.no_grad():
        eager = accelerate(surrogate, dtype=torch.bfloat16)(0.0, u0, 0.1)
        fast = accelerate(surrogate, dtype=torch.bfloat16, compile=True)(0.0, u0, 0.1)
    torch.testing.assert_close(fast, eager, rtol=2e-2, atol=2e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_cuda_graphs_equal_eager(kind):
    surrogate, u0 = make(kind).to("cuda"), states().to("cuda")
    with torch.no_grad():
        exact = rollout(surrogate, u0, TIMES)
        fast = rollout(accelerate(surrogate, cuda_graphs=True), u0, TIMES)
    torch.testing.assert_close(fast, exact, rtol=1e-4, atol=1e-4)


def test_a_view_shares_everything_and_can_be_undone():
    surrogate = make(residual)
    fast = accelerate(surrogate, dtype=torch.bfloat16)
    assert type(fast) is type(surrogate)
    assert fast.state_dict().keys() == surrogate.state_dict().keys()
    with torch.no_grad():
        surrogate.backbone.project.contract.bias.add_(1.0)
        u0 = states()
        assert distance(fast(0.0, u0, 0.1), surrogate(0.0, u0, 0.1)) < 0.02
        plain = accelerate(fast)
        assert torch.equal(plain(0.0, u0, 0.1), surrogate(0.0, u0, 0.1))


def test_a_copy_of_a_view_runs_its_own_network():
    fast = accelerate(make(residual), dtype=torch.bfloat16)
    other = copy.deepcopy(fast)
    with torch.no_grad():
        before = fast(0.0, states(), 0.1)
        for weight in other.parameters():
            weight.zero_()
        assert torch.equal(fast(0.0, states(), 0.1), before)
        assert torch.equal(other(0.0, states(), 0.1), states())


def test_saving_a_view_saves_the_surrogate(tmp_path):
    surrogate = make(refiner)
    save_surrogate(accelerate(surrogate, dtype=torch.float16, compile=True), tmp_path / "view")
    loaded, u0 = load_surrogate(tmp_path / "view"), states()
    with torch.no_grad():
        assert torch.equal(loaded(0.0, u0, 0.1), surrogate(0.0, u0, 0.1))


def test_a_network_from_elsewhere_is_lowered():
    surrogate = ResidualSurrogate(nn.Conv1d(1, 1, 3, padding=1), 0.1).float()
    u_next = accelerate(surrogate, dtype=torch.bfloat16)(0.0, states().float(), 0.1)
    assert u_next.dtype == torch.float32


def test_what_cannot_be_done_is_refused():
    surrogate = make(residual)
    with pytest.raises(ValueError, match=r"on a CUDA device, got one on cpu; move it first"):
        accelerate(surrogate, cuda_graphs=True)
    with pytest.raises(ValueError, match=r"must be torch.bfloat16, torch.float16 or None"):
        accelerate(surrogate, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"a network in float32, got one in torch.float64"):
        accelerate(residual(), dtype=torch.bfloat16)


def test_noise_that_rounding_hides_is_refused():
    surrogate = PDERefiner(network(2, 1), 0.1, sigma_min=0.02).float()
    with pytest.raises(ValueError, match=r"at least 3.1e-02 for a network in torch.bfloat16"):
        accelerate(surrogate, dtype=torch.bfloat16)
    accelerate(surrogate, dtype=torch.float16)


# --- other resolutions ----------------------------------------------------------------------


def smooth(num_points):
    x = Grid((num_points,), GRID.extent).coordinates()[0] * (2 * torch.pi / GRID.extent[0])
    return (torch.sin(x) + 0.3 * torch.cos(2 * x))[None, None]


def test_an_fno_is_the_same_map_on_another_grid():
    torch.manual_seed(0)
    surrogate = DerivativeSurrogate(network(), RK4(), 0.1, grid=Grid((64,), GRID.extent))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        coarse, fine = (rollout(surrogate, smooth(n), TIMES) for n in (64, 128))
    assert distance(fine[..., ::2], coarse) < 1e-6
    assert distance(coarse[:, 2], coarse[:, 0]) > 1e-3


@pytest.mark.parametrize("is_drawn", [False, True])
def test_what_is_tied_to_the_grid_says_so(is_drawn):
    convolution = DilatedResNet(1, 1, dim=1, width=4, depth=1)
    surrogate = refiner() if is_drawn else ResidualSurrogate(convolution, 0.1, grid=GRID)
    with pytest.warns(UserWarning, match=r"has \(32,\) points.*spacing of the grid \(16,\)"):
        rollout(surrogate, smooth(32), TIMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollout(surrogate, smooth(16), TIMES)
