"""The loss is the PDE: physics-informed networks, in fixed and in moving coordinates."""

__all__ = []
