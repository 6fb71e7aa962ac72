"""Normalizer: known statistics, exact inverse, one pass."""

import pytest
import torch

from pdesurrogates.data import Normalizer


def test_statistics_do_not_depend_on_the_batches():
    u = torch.randn(64, 3, 8, 5) * torch.tensor([1.0, 10.0, 1e-3])[:, None, None] + 1e6
    normalizer = Normalizer.fit(u.split([1, 20, 3, 40]))
    assert torch.allclose(normalizer.mean, u.mean((0, 2, 3)), rtol=1e-14)
    assert torch.allclose(normalizer.std, u.std((0, 2, 3), correction=0), rtol=1e-6)
    v = normalizer.normalize(u)
    assert torch.allclose(v.std((0, 2, 3), correction=0), torch.ones(3), rtol=1e-6)
    assert torch.allclose(normalizer.denormalize(v), u, rtol=1e-14)
    assert torch.equal(normalizer(u), v)


def test_float32_states_with_a_large_mean():
    u = 1000 + torch.randn(1000, 1, 64).float()
    normalizer = Normalizer.fit([u])
    assert float(normalizer.std) == pytest.approx(float(u.double().std(correction=0)), rel=1e-9)
    assert normalizer.normalize(u).dtype == torch.float32


def test_identity_and_state_dict():
    u = torch.randn(2, 3, 4)
    identity = Normalizer.identity(3)
    assert torch.equal(identity.normalize(u), u) and torch.equal(identity.denormalize(u), u)
    identity.load_state_dict(Normalizer([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).state_dict())
    assert identity.std.tolist() == [4.0, 5.0, 6.0]


def test_constant_channel_warns():
    u = torch.randn(4, 2, 8)
    u[:, 1] = 0.1
    with pytest.warns(UserWarning, match=r"channels \[1\] never vary"):
        normalizer = Normalizer.fit([u, u])
    assert float(normalizer.std[1]) == 1.0
    assert torch.allclose(normalizer.normalize(u)[:, 1], torch.tensor(0.0), atol=1e-15)


def test_refusals():
    with pytest.raises(ValueError, match="at least one batch"):
        Normalizer.fit([])
    with pytest.raises(ValueError, match="must have 2 channels, got 3"):
        Normalizer.fit([torch.zeros(1, 2, 4), torch.zeros(1, 3, 4)])
    with pytest.raises(ValueError, match="got NaN or Inf"):
        Normalizer.fit([torch.full((1, 2, 4), torch.nan)])
    with pytest.raises(ValueError, match="`std` positive"):
        Normalizer([0.0], [0.0])
    with pytest.raises(
        ValueError,
        match=r"must have shape \(batch, 2, \*space\), got \(1, 3, "
        r"4\)",
    ):
        Normalizer.identity(2).normalize(torch.zeros(1, 3, 4))
