"""Images: TIFF, OME-TIFF and ImageJ's hyperstacks, with their metadata."""

from ...aliases import names_of

__getattr__ = names_of(__name__)
