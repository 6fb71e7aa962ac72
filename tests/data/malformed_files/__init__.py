"""Files that no reader may believe: each made from a sound one, by a name that says what is wrong.

`CASES` holds them all. A case writes to an empty folder and returns the file and the options that
would open the sound one. `names` is what the error must name beside the file: the data set, group
or attribute to blame, as a regular expression.
"""

from . import axes, bits, cuts, links, mixed, others, sizes, sound, types
from .core import CASES, Malformed, flipped

__all__ = ["CASES", "Malformed", "axes", "bits", "cuts", "flipped", "links", "mixed", "others",
           "sizes", "sound", "types"]  # fmt: skip
