"""The solution is a network: fields, and solvers that advance their weights in time."""

__all__ = []
