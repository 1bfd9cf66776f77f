"""Detections on a GeoTIFF as GeoJSON, in the coordinates of the image; needs ``rasterio``."""

from __future__ import annotations

import importlib.util
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask

from mmdet_maskr import run_sets
from mmdet_maskr.atomic_files import write_whole
from mmdet_maskr.errors import UserError


class Place(NamedTuple):
    """The position of an image on a map.

    Attributes:
        transform: rasterio's transform from pixels (column, row) to coordinates.
        system: name of the coordinate system, such as 'urn:ogc:def:crs:EPSG::32633'.
    """

    transform: Any
    system: str

    def coordinates(self, column: float, row: float) -> list[float]:
        """Coordinates x and y of a point in the image; (0, 0) is the corner of the first pixel."""
        t = self.transform
        return [t.a * column + t.b * row + t.c, t.d * column + t.e * row + t.f]


def check_rasterio() -> None:
    """Check that rasterio is installed.

    Raises:
        UserError: rasterio is not installed.
    """
    if importlib.util.find_spec("rasterio") is None:
        raise UserError("GeoJSON needs rasterio, which is not installed: `pip install rasterio`.")


def place_of(path: str | Path) -> Place:
    """Read the position of a GeoTIFF.

    Raises:
        UserError: the file has no coordinate system, one without an EPSG code, or cannot be read.
    """
    check_rasterio()
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                system, transform = file.crs, file.transform
    except RasterioError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: its coordinates cannot be read ({reason}).") from error
    if system is None or transform.is_identity:
        raise UserError(
            f"{path} has no coordinate system, so its detections cannot be placed on a map: "
            "GeoJSON needs a GeoTIFF. `gdal_translate -a_srs EPSG:... -a_ullr ...` adds a "
            "coordinate system."
        )
    code = system.to_epsg()
    if code is None:
        raise UserError(
            f"{path}: its coordinate system has no EPSG code, which GeoJSON needs: warp the "
            "image to one with a code (gdalwarp -t_srs EPSG:...)."
        )
    return Place(transform, f"urn:ogc:def:crs:EPSG::{code}")


def write_geojson(
    path: Path, image: str | Path, lists: Mapping[str, Any], classes: Sequence[str]
) -> None:
    """Write the detections of an image as a GeoJSON feature collection.

    Each feature has ``class``, ``score`` and the outline of the mask along pixel borders, or the
    box if there are no masks. Objects with an empty mask are left out. Coordinates are in the
    coordinate system of the image; ``crs`` has its name in the form that GDAL and QGIS read.

    Args:
        path: the file to write.
        image: path of the GeoTIFF.
        lists: its detections, the result of :func:`.predictions.as_lists`.
        classes: names of the model's classes.

    Raises:
        UserError: as from :func:`place_of`.
        OSError: the file cannot be written.
    """
    place = place_of(image)
    features = []
    for i, label in enumerate(lists["labels"]):
        if "masks" in lists:
            geometry = _outline(lists["masks"][i], place)
        else:
            geometry = _rectangle(lists["bboxes"][i], place)
        if geometry is None:
            continue
        properties = {"class": classes[label], "score": round(float(lists["scores"][i]), 4)}
        features.append(dict(type="Feature", properties=properties, geometry=geometry))
    content = dict(
        type="FeatureCollection",
        name=Path(image).stem,
        crs=dict(type="name", properties=dict(name=place.system)),
        features=features,
    )
    write_whole(path, json.dumps(content) + "\n", durable=False)


def _outline(rle: Mapping[str, Any], place: Place) -> dict[str, Any] | None:
    """A polygon, or several, around the pixels of an RLE; holes are rings within."""
    from rasterio.features import shapes

    x, y, width, height = (int(value) for value in pycocotools.mask.toBbox(rle))
    if not width or not height:
        return None
    crop = _crop(rle, x, y, width, height)
    t, (left, top) = place.transform, place.coordinates(x, y)
    moved = type(t)(t.a, t.b, left, t.d, t.e, top)
    parts = [part["coordinates"] for part, _ in shapes(crop, mask=crop > 0, transform=moved)]
    if len(parts) == 1:
        return dict(type="Polygon", coordinates=parts[0])
    return dict(type="MultiPolygon", coordinates=parts)


def _crop(rle: Mapping[str, Any], x: int, y: int, width: int, height: int) -> np.ndarray:
    """(height, width) uint8 of the mask's box; the image's other columns are not decoded."""
    rows = rle["size"][0]
    runs = run_sets.of_rle(rle) - x * rows
    steps = np.zeros(width * rows + 1, np.int8)
    steps[runs[0::2]] += 1
    steps[runs[1::2]] -= 1
    columns = np.cumsum(steps[:-1], dtype=np.int8).reshape(width, rows)
    return np.ascontiguousarray(columns[:, y : y + height].T).astype(np.uint8)


def _rectangle(box: Sequence[float], place: Place) -> dict[str, Any]:
    x1, y1, x2, y2 = box
    corners = ((x1, y1), (x1, y2), (x2, y2), (x2, y1), (x1, y1))
    ring = [place.coordinates(*corner) for corner in corners]
    return dict(type="Polygon", coordinates=[ring])
