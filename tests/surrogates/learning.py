"""A short training on an autoregressive process, and what was learned."""

import torch
import torch.nn.functional as F
from torch import nn

from pdesurrogates.data import TrajectoryWindows, from_arrays
from pdesurrogates.steppers import rollout


class Pointwise(nn.Module):
    """A small network that treats each point alone."""

    in_channels, out_channels, num_conditions = 2, 1, 1

    def __init__(self, width=48):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(3, width, 1), nn.SiLU(), nn.Conv1d(width, width, 1), nn.SiLU(),
            nn.Conv1d(width, 1, 1),
        )  # fmt: skip

    def forward(self, fields, condition):
        level = condition[:, :, None].expand(-1, -1, fields.shape[-1])
        return self.layers(torch.cat((fields, level), dim=1))


def learned_process(make, process, num_updates=1800):
    """Decay, kick and stationary deviation of the trained surrogate.

    The process runs at each of 32 points by itself.
    """
    source = torch.Generator().manual_seed(0)
    states = [process.stationary * torch.randn(64, 32, generator=source)]
    for _ in range(20):
        kick = process.kick * torch.randn(64, 32, generator=source)
        states.append(process.decay * states[-1] + kick)
    file = from_arrays(
        torch.stack(states, 1).float(), axes="trajectory time x", dt=0.1, extent=1.0
    )
    windows = TrajectoryWindows(file)
    surrogate = make(Pointwise().float())
    surrogate.fit_normalizers(windows)
    everything = windows.__getitems__(list(range(len(windows))))
    optimizer = torch.optim.Adam(surrogate.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_updates)
    for update in range(num_updates):
        rows = torch.randint(len(windows), (128,), generator=source)
        batch = {name: everything[name][rows] for name in ("history", "future", "dt")}
        loss = F.mse_loss(*surrogate.regression({**batch, "stream": (0, update)}))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        u0 = process.stationary * torch.randn(200, 1, 64, generator=source)
        states = rollout(surrogate, u0, [0.1 * n for n in range(16)])
    u, after = states[:, 0].flatten(), states[:, 1].flatten()
    decay = float((u @ after) / (u @ u))
    return decay, float((after - decay * u).std()), float(states[:, -1].std())
