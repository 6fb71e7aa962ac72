"""Gaussian answers, for which the best estimate, the flow and every moment are known."""

import math

import torch
from torch import nn

from pdesurrogates.steppers import rollout
from pdesurrogates.surrogates import NoiseLevels


class Gaussian:
    """Data N(mean, deviation^2) and their noisings alpha y + sigma eps."""

    def __init__(self, mean=0.3, deviation=0.7):
        self.mean, self.deviation = mean, deviation

    def estimate(self, x, alpha, sigma):
        """E[y | x]."""
        size = (alpha * self.deviation) ** 2 + sigma**2
        return self.mean + alpha * self.deviation**2 / size * (x - alpha * self.mean)

    def flow(self, x, start, end):
        """Where the equation without noise carries x from one node to another."""
        (a, s), (b, r) = start, end
        ratio = math.hypot(b * self.deviation, r) / math.hypot(a * self.deviation, s)
        return b * self.mean + ratio * (x - a * self.mean)


def uniform_levels(num_nodes, low=-2.0, high=3.0):
    """Nodes at equal distances of log(alpha / sigma), alpha^2 + sigma^2 = 1."""
    logs = [low + (high - low) * n / (num_nodes - 1) for n in range(num_nodes)]
    alphas = tuple(1 / math.sqrt(1 + math.exp(-2 * value)) for value in logs)
    sigmas = tuple(1 / math.sqrt(1 + math.exp(2 * value)) for value in logs)
    return NoiseLevels(alphas, sigmas)


def moments(sampler, denoise, levels, num_draws=200):
    """Mean and variance of a sampler that is affine in its draws, without sampling error."""
    unit = torch.eye(num_draws + 1)[:, :num_draws]
    asked = set()

    def draw(k):
        asked.add(k)
        return unit[:, k].clone()

    found = sampler.sample(denoise, levels, draw)
    assert max(asked) < num_draws
    return float(found[-1]), float((found[:-1] - found[-1]).square().sum())


class ExactNetwork(nn.Module):
    """The answer of a perfectly trained network: `answer(z, noised, level)` of each entry."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.calls, self.in_channels, self.out_channels = answer, 0, 2, 1
        self.num_conditions = 1

    def forward(self, fields, condition):
        self.calls += 1
        level = condition.reshape(-1, 1, *(1,) * (fields.ndim - 2))
        return self.answer(fields[:, :1], fields[:, 1:], level)


class Autoregressive:
    """u_{n+1} = decay u_n + kick z for every entry: the change given the state is Gaussian.

    In standardised terms the change y has mean `slope` z and deviation `spread`.
    """

    def __init__(self, decay=0.7, kick=0.5):
        self.decay, self.kick = decay, kick
        self.stationary = self.kick / math.sqrt(1 - self.decay**2)
        self.change = math.hypot((1 - self.decay) * self.stationary, self.kick)
        self.slope = (self.decay - 1) * self.stationary / self.change
        self.spread = self.kick / self.change

    def prepare(self, surrogate):
        """Give a surrogate the statistics of the process."""
        surrogate.state_normalizer.std.fill_(self.stationary)
        surrogate.target_normalizer.std.fill_(self.change)
        return surrogate

    def v(self, z, x, alpha, sigma):
        """The mean of alpha eps - sigma y, given the state and x = alpha y + sigma eps."""
        mean, size = self.slope * z, (alpha * self.spread) ** 2 + sigma**2
        y = mean + alpha * self.spread**2 / size * (x - alpha * mean)
        return (alpha * x - y) / sigma

    def velocity(self, z, x, s):
        """The mean of y - eps, given the state and x = (1 - s) eps + s y."""
        mean, size = self.slope * z, (1 - s) ** 2 + (s * self.spread) ** 2
        return mean + (s * self.spread**2 - (1 - s)) / size * (x - s * mean)

    def drift(self, z, x, s, amplitude):
        """The mean of y - a sqrt(s) eps, given the state and x = s y + a (1 - s) sqrt(s) eps."""
        mean, size = self.slope * z, s * self.spread**2 + (amplitude * (1 - s)) ** 2
        return mean + (self.spread**2 - amplitude**2 * (1 - s)) / size * (x - s * mean)

    def rolled_out(self, surrogate, num_steps=10, num_points=16000):
        """Mean and deviation after a rollout from 1, and what they should be."""
        u0 = torch.ones(1, 1, num_points)
        times = [surrogate.dt * n for n in range(num_steps + 1)]
        end = rollout(surrogate.bind(seeds=1), u0, times)[:, -1]
        left = self.decay**num_steps
        expected = (left, self.stationary * math.sqrt(1 - left**2))
        return (float(end.mean()), float(end.std())), expected
