"""Hash values and code: the same in every process and on every host.

`encoder` encodes values: `plain_values`, `instances`, and those of other packages (`arrays`, `tables`,
`collections`).  `functions` analyses one function (`code_objects`), and `reach` all the code that it
refers to (`contents`).  `fingerprints` hashes code in values.  `changes` compares versions.
`calls` makes keys from the hashes; `storage`, `targets` and `runtime` verify data with them.
"""

from ..aliases import names_of
from .encoder import Encoder as Encoder
from .encoder import hash_value as hash_value
from .encoder import register as register

__getattr__ = names_of(__name__, "hashing.encoder")
