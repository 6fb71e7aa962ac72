"""How do I solve for unknowns? Least squares; linear systems."""

__all__ = []
