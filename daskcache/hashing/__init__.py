"""Values and code to hashes: the same in every process and on every host.

`encoder` encodes Python's values, `arrays`, `tables` and `collections` those of other packages.
`functions` tells what one function does, `reach` what it refers to, `changes` how two versions differ.
"""

from ..aliases import names_of
from .encoder import Encoder as Encoder
from .encoder import hash_value as hash_value
from .encoder import register as register

__getattr__ = names_of(__name__)
