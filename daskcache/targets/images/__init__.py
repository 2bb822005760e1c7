"""Images in TIFF, OME-TIFF and ImageJ's hyperstacks, with their metadata.

`target` and `source` have the public classes, and `options` checks their arguments.  `pixels` and `tiff`
prepare pixels and metadata for the file, and `whole` checks that it has all planes.  `metadata` and
`units` are independent of the format.  `ome_xml` reads OME-XML, and `ome_files` reads images in several
files.
"""

from ...aliases import names_of

__getattr__ = names_of(__name__, "targets.images.target")
