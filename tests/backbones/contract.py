"""What every backbone must do; each test file of a backbone runs these checks on its networks."""

import copy

import pytest
import torch

from pdesurrogates.surrogates import StateSurrogate, load_surrogate, save_surrogate

__all__ = ["check_compiled", "check_conditions", "check_contract", "randomized"]


def randomized(model, scale=0.1):
    """The same network with every parameter drawn anew: what starts at zero hides nothing."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return model


def condition_for(model, batch):
    return torch.randn(batch, model.num_conditions) if model.num_conditions else None


def check_contract(model, space, tmp_path):
    """Shape, precision, gradients, independent samples, train = eval, save = load.

    Give networks with as many channels out as in somewhere: only they are saved.
    """
    model = randomized(model)
    dtype = next(model.parameters()).dtype
    u = torch.randn(3, model.in_channels, *space, dtype=dtype)
    condition = condition_for(model, 3)
    output = model(u, condition)
    assert output.shape == (3, model.out_channels, *space)
    assert output.dtype == dtype and output.is_contiguous()

    output.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name

    with torch.no_grad():
        tolerance = {"rtol": 0, "atol": 1e-11 if dtype == torch.float64 else 1e-5}
        assert torch.equal(model.eval()(u, condition), output)
        one = model(u[1:2], None if condition is None else condition[1:2])
        torch.testing.assert_close(one, output[1:2], **tolerance)
        other = torch.float32 if dtype == torch.float64 else torch.float64
        assert model(u.to(other), condition).dtype == other
        assert copy.deepcopy(model).to(other)(u, condition).dtype == dtype

    if model.in_channels != model.out_channels:
        return
    names = tuple(f"c{n}" for n in range(model.num_conditions))
    surrogate = StateSurrogate(model, 0.1, parameter_names=names)
    loaded = load_surrogate(save_surrogate(surrogate, tmp_path / "saved")).backbone
    assert type(loaded) is type(model)
    assert torch.equal(loaded(u, condition), output)


def check_conditions(model, space):
    """Conditions matter per sample; a missing, unexpected or misshapen one is refused."""
    model = randomized(model)
    u = torch.randn(2, model.in_channels, *space)
    if not model.num_conditions:
        with pytest.raises(ValueError, match="takes no `condition`"):
            model(u, torch.zeros(2, 1))
        return
    number = model.num_conditions
    condition = torch.zeros(2, number)
    base = model(u, condition)
    for n in range(number):
        changed = condition.clone()
        changed[1, n] = 0.5
        output = model(u, changed)
        assert not torch.allclose(output[1], base[1])
        torch.testing.assert_close(output[0], base[0], rtol=0, atol=1e-11)
    with pytest.raises(ValueError, match=rf"needs `condition` of shape \(batch, {number}\)"):
        model(u)
    with pytest.raises(ValueError, match=rf"must have shape \(batch, {number}\)"):
        model(u, torch.zeros(2, number + 1))


def check_compiled(model, space, *, tolerance=1e-5, gradient_tolerance=1e-4):
    """One graph for the compiler, and the same output and gradients in float32."""
    torch.compiler.reset()
    model = randomized(model).float()
    compiled = torch.compile(model, fullgraph=True)
    u = torch.randn(2, model.in_channels, *space, dtype=torch.float32)
    condition = condition_for(model, 2)
    eager, output = model(u, condition), compiled(u, condition)
    assert float((output - eager).norm() / eager.norm()) < tolerance
    parameters = list(model.parameters())
    expected = torch.autograd.grad(eager.square().sum(), parameters)
    found = torch.autograd.grad(output.square().sum(), parameters)
    scale = max(float(g.norm()) for g in expected)
    for a, b in zip(found, expected, strict=True):
        assert float((a - b).norm()) < gradient_tolerance * max(float(b.norm()), 1e-3 * scale)
