"""Folders of annotated photos in the formats of annotation tools, read into one kind of record."""

from mmdet_maskr.datasets.formats.recognition import FORMATS, read_folder
from mmdet_maskr.datasets.formats.records import Collection, Crop, Object, Photo

__all__ = ["FORMATS", "Collection", "Crop", "Object", "Photo", "read_folder"]
