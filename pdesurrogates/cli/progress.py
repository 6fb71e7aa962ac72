"""Progress bars from (done, total) reports."""

from __future__ import annotations

from types import TracebackType

from tqdm import tqdm

__all__ = ["Bar"]


class Bar:
    """Called with (done, total); shows a bar that disappears when the work is done.

    Args:
        unit: What is counted.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self._bar: tqdm | None = None

    def __call__(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = tqdm(total=total, unit=self.unit, leave=False, delay=0.5)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> Bar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
