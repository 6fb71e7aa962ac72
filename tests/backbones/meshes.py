"""Small meshes and states on them, for tests."""

import numpy as np
import torch
from scipy.spatial import Delaunay

from pdesurrogates.backbones import mesh_graph

__all__ = ["delaunay", "random_mesh"]


def delaunay(num_nodes, dim=2, seed=0):
    """Random points and their Delaunay cells."""
    points = np.random.default_rng(seed).random((num_nodes, dim))
    return torch.from_numpy(points), torch.from_numpy(Delaunay(points).simplices).long()


def random_mesh(num_nodes=17, dim=2, seed=0, **kinds):
    if dim == 1:
        points = torch.from_numpy(np.random.default_rng(seed).random((num_nodes, 1)))
        order = points[:, 0].argsort()
        return mesh_graph(points, torch.stack((order[:-1], order[1:]), dim=1), **kinds)
    return mesh_graph(*delaunay(num_nodes, dim, seed), **kinds)
