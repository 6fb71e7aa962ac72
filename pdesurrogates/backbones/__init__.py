"""Which network? Backbones map channels to channels on a grid and know no physics."""

from pdesurrogates.backbones.base import Backbone
from pdesurrogates.backbones.embeddings import ConditionEmbedding, Modulation
from pdesurrogates.backbones.fno import FNO
from pdesurrogates.backbones.layers import ChannelMLP, SpectralConv

__all__ = ["FNO", "Backbone", "ChannelMLP", "ConditionEmbedding", "Modulation", "SpectralConv"]
