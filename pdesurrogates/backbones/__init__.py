"""Which network? Backbones map channels to channels on a grid and know no physics."""

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.convolution import PaddedConv, TransposedConv
from pdesurrogates.backbones.coordinate import (
    MLP,
    SIREN,
    CoordinateNetwork,
    FourierFeatureMLP,
)
from pdesurrogates.backbones.coordinate_grid import MultiresolutionGrid
from pdesurrogates.backbones.deeponet import DeepONet
from pdesurrogates.backbones.embeddings import ConditionEmbedding, Modulation
from pdesurrogates.backbones.fno import FNO, FactorisedFNO
from pdesurrogates.backbones.graph import from_data, to_data
from pdesurrogates.backbones.layers import ChannelMLP, FactorisedSpectralConv, SpectralConv
from pdesurrogates.backbones.mesh_graph import (
    FREE_TYPES,
    MeshGraph,
    disjoint_union,
    graph_of_edges,
)
from pdesurrogates.backbones.message_passing import (
    DifferenceMessagePassing,
    MeshBackbone,
    MessagePassing,
)
from pdesurrogates.backbones.neighbours import (
    grid_graph,
    mesh_graph,
    nearest_graph,
    radius_graph,
)
from pdesurrogates.backbones.resnet import DilatedResNet
from pdesurrogates.backbones.slice_attention import SliceAttention
from pdesurrogates.backbones.slices import SliceTransformer
from pdesurrogates.backbones.transformer import OperatorTransformer
from pdesurrogates.backbones.unet import UNet
from pdesurrogates.backbones.windows import WindowAttention

__all__ = [
    "FNO",
    "FREE_TYPES",
    "MLP",
    "SIREN",
    "Backbone",
    "ChannelMLP",
    "ConditionEmbedding",
    "CoordinateNetwork",
    "DeepONet",
    "DifferenceMessagePassing",
    "DilatedResNet",
    "FactorisedFNO",
    "FactorisedSpectralConv",
    "FourierFeatureMLP",
    "MeshBackbone",
    "MeshGraph",
    "MessagePassing",
    "Modulation",
    "MultiresolutionGrid",
    "OperatorTransformer",
    "PaddedConv",
    "SliceAttention",
    "SliceTransformer",
    "SpectralConv",
    "TransposedConv",
    "UNet",
    "WindowAttention",
    "disjoint_union",
    "from_data",
    "graph_of_edges",
    "grid_graph",
    "mesh_graph",
    "nearest_graph",
    "radius_graph",
    "to_data",
]
