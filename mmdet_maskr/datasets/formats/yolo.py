"""YOLO's text files: masks, boxes or keypoints, a line for each object, in fractions."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from mmdet_maskr.data_files import read_text, read_yaml
from mmdet_maskr.datasets.formats.folder import Folder, is_readable
from mmdet_maskr.datasets.formats.images import size_of
from mmdet_maskr.datasets.formats.records import SPLITS, Collection, Object, Photo, split_of
from mmdet_maskr.errors import UserError

NAME = "YOLO"
_NAMES = ("classes.txt", "obj.names")
_NOT_LABELS = ("classes.txt", "train.txt", "val.txt", "test.txt", "readme.txt", "requirements.txt")


def find(folder: Folder) -> list[Path]:
    """Its text files of labels, and the file with the names."""
    names = [path for path in folder.of_kind(".yaml", ".yml") if _has_names(path)]
    names += [path for path in folder.files if path.name.lower() in _NAMES]
    texts = _label_files(folder)
    return [*names, *texts] if texts else []


def _has_names(path: Path) -> bool:
    try:
        content = read_yaml(path, "data file")
    except UserError:
        return False
    return isinstance(content, dict) and isinstance(content.get("names"), (list, dict))


def _label_files(folder: Folder) -> list[Path]:
    texts = [p for p in folder.of_kind(".txt") if p.name.lower() not in _NOT_LABELS]
    in_labels = [p for p in texts if any(part.lower() == "labels" for part in p.parts[-4:-1])]
    named = {image.stem for image in folder.images.images}
    return [path for path in in_labels or texts if _is_label_file(path, path.stem in named)]


def _is_label_file(path: Path, of_image: bool) -> bool:
    """Whether its first line is a class number and fractions; empty ones are photos of nothing.

    Args:
        path: of a text file.
        of_image: whether an image has its name, as without it an empty file means nothing.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(100_000).lstrip()
        words = text.partition("\n")[0].split()
        if not words:
            return of_image
        return len(words) >= 5 and words[0].isdecimal() and -2 < float(words[1]) < 3
    except (OSError, ValueError):
        return False


def read(folder: Folder, sources: list[Path]) -> Collection:
    """Read them. Images without a text file are photos of nothing."""
    found = Collection(NAME)
    yamls = [path for path in sources if path.suffix.lower() in (".yaml", ".yml")]
    data = _data_of(yamls)
    names = _names_of(data, [p for p in sources if p.name.lower() in _NAMES])
    joints, dims = _keypoint_shape(data)
    texts = {
        path.with_suffix("") for path in sources if path.suffix.lower() == ".txt"
    } - {path.with_suffix("") for path in sources if path.name.lower() in _NAMES}  # fmt: skip
    used: set[Path] = set()
    images = folder.images.images
    splits = splits_by_data(data, yamls[0].parent, images) if yamls else {}
    for image in images:
        text = _labels_for(image, texts)
        if not is_readable(found, image):
            if text is not None:
                used.add(text)
            continue
        width, height = size_of(image)
        photo = Photo(image, width=width, height=height)
        photo.split = splits.get(image) or split_of(image.relative_to(folder.root).parts[:-1])
        if text is not None:
            used.add(text)
            photo.objects = _objects(text.with_name(text.name + ".txt"), names, joints, dims,
                                     width, height, found)  # fmt: skip
        else:
            found.assumed["images without a text file, taken as without objects"] += 1
        found.photos.append(photo)
    if texts - used:
        found.assumed["annotated images that are not there, left out"] += len(texts - used)
    found.classes = list(names.values()) + [c for c in found.classes if c not in names.values()]
    if joints:
        labels = _joint_names(data, joints)
        found.keypoints = dict.fromkeys(found.classes, labels)
    return found


def _data_of(yamls: list[Path]) -> dict:
    """Values of data.yaml.

    Raises:
        UserError: there are two, with different names.
    """
    contents = [read_yaml(path, "data file") for path in yamls]
    if any(content["names"] != contents[0]["names"] for content in contents[1:]):
        raise UserError(f"{yamls[0]} and {yamls[1]} have different classes: remove one of them.")
    return contents[0] if contents else {}


def _names_of(data: dict, texts: list[Path]) -> dict[int, str]:
    names: Any = data.get("names")
    if names is None and texts:
        lines = read_text(texts[0], "class file").splitlines()
        names = [line.strip() for line in lines if line.strip()]
    if names is None:
        return {}
    pairs = names.items() if isinstance(names, dict) else enumerate(names)
    try:
        return {int(number): str(name) for number, name in pairs}
    except (TypeError, ValueError) as error:
        raise UserError(f"names in data.yaml must be a list or numbered: {error}.") from error


def _keypoint_shape(data: dict) -> tuple[int, int]:
    shape = data.get("kpt_shape")
    if shape is None:
        return 0, 0
    if not (isinstance(shape, list) and len(shape) == 2 and shape[1] in (2, 3)):
        raise UserError(f"kpt_shape in data.yaml is {shape!r}, but must be [number, 2 or 3].")
    return int(shape[0]), int(shape[1])


def _joint_names(data: dict, joints: int) -> list[str]:
    names = data.get("kpt_names")
    if isinstance(names, dict):
        names = next(iter(names.values()), None)
    if isinstance(names, list) and len(names) == joints:
        return [str(name) for name in names]
    return [f"keypoint_{i}" for i in range(joints)]


def _labels_for(image: Path, texts: set[Path]) -> Path | None:
    """The text file of an image: next to it, or in ``labels`` where the image is in ``images``."""
    bare = image.with_suffix("")
    places = [bare]
    for i, part in enumerate(bare.parts):
        if part.lower() in ("images", "image", "imgs"):
            for labels in ("labels", "label"):
                places.append(Path(*bare.parts[:i], labels, *bare.parts[i + 1 :]))
    for place in reversed(places):
        if place in texts:
            return place
    named = [text for text in texts if text.name == bare.name]
    same_split = [t for t in named if split_of(t.parts[:-1]) == split_of(bare.parts[:-1])]
    if len(same_split) > 1:
        raise UserError(f"image {image} can have the labels {same_split[0]}.txt or {same_split[1]}"
                        ".txt: put them into labels/ next to images/.")  # fmt: skip
    return same_split[0] if same_split else None


def _objects(
    path: Path,
    names: dict[int, str],
    joints: int,
    dims: int,
    width: int,
    height: int,
    found: Collection,
) -> list[Object]:
    made = []
    for number, line in enumerate(read_text(path, "label file").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        where = f"{path}, line {number}"
        try:
            label, values = int(float(words[0])), [float(word) for word in words[1:]]
        except ValueError as error:
            raise UserError(f"{where}: {error}.") from error
        if label not in names and names:
            raise UserError(
                f"{where}: class {label}, but the class names go from {min(names)} to {max(names)}."
            )
        item = Object(found.add_class(names.get(label, str(label))))
        if joints and len(values) == 4 + joints * dims:
            item.box = _box(values[:4], width, height)
            item.keypoints = _keypoints(values[4:], dims, width, height)
        elif len(values) in (4, 5):  # a fifth one is a confidence
            item.box = _box(values[:4], width, height)
        elif len(values) >= 6 and len(values) % 2 == 0:
            scaled = [v * (height if i % 2 else width) for i, v in enumerate(values)]
            item.polygons = [scaled]
        else:
            raise UserError(
                f"{where}: {len(values)} numbers are neither a box (4) nor a polygon (6, 8, "
                "...)" + (f", no box with {joints} keypoints." if joints else ".")
            )
        made.append(item)
    return made


def _box(values: list[float], width: int, height: int) -> list[float]:
    x, y, w, h = values
    return [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]


def _keypoints(values: list[float], dims: int, width: int, height: int) -> list[float]:
    flat: list[float] = []
    for i in range(0, len(values), dims):
        x, y = values[i] * width, values[i + 1] * height
        seen = values[i + 2] if dims == 3 else float(x > 0 or y > 0) * 2
        flat += [x, y, float(seen)] if seen else [0.0, 0.0, 0.0]
    return flat


def splits_by_data(data: dict, folder: Path, images: list[Path]) -> dict[Path, str]:
    """Split of each image by the lists and folders that data.yaml names."""
    found: dict[Path, str] = {}
    base = folder / str(data.get("path", "") or "")
    for split in SPLITS:
        entries = data.get(split, data.get("valid") if split == "val" else None) or []
        for entry in entries if isinstance(entries, list) else [entries]:
            parts = [p for p in PurePosixPath(str(entry).replace("\\", "/")).parts if p != ".."]
            for place in (base.joinpath(*parts), folder.joinpath(*parts)):
                if place.is_dir():
                    found |= {image: split for image in images if place in image.parents}
                elif place.suffix == ".txt" and place.is_file():
                    lines = read_text(place, "list of images").replace("\\", "/").splitlines()
                    listed = {PurePosixPath(line.strip()).name for line in lines}
                    found |= {image: split for image in images if image.name in listed}
    return found
