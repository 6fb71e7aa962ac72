"""Shows the `Example:` of a docstring as code, for the reference pages."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ExampleSections(griffe.Extension):
    """Reads `Example:` as `Examples:`, the only name that makes code of it.

    As plain text, a list that follows a closing bracket would be taken for a link.
    """

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
