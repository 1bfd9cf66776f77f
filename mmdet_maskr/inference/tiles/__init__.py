"""Detection on images that are larger than a model can see: tiles of them, whose findings are
joined.

:mod:`.grid` lays the tiles, :mod:`.rasters` reads them, :mod:`.seams` joins what was found, and
:mod:`.model` does all this as a model of :func:`mmdet_maskr.inference.walk.walk`. Needs NumPy and
OpenCV alone; rasterio or tifffile, where they are installed, read windows of a TIFF.
"""
