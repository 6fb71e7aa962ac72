"""Where do I look? Points for residuals: given, drawn, or moved to where the residual is large."""

__all__ = []
