"""Which network? Backbones map channels to channels on a grid and know no physics."""

from pdesurrogates.backbones.fno import FNO
from pdesurrogates.backbones.layers import ChannelMLP, SpectralConv

__all__ = ["FNO", "ChannelMLP", "SpectralConv"]
