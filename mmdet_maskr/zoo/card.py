"""The model card of a release: Markdown, with the head that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

SHOWN = 20  # classes that the card names


def text(facts: Mapping[str, Any]) -> str:
    """The card.

    Args:
        facts: of ``release.json``.
    """
    classes = facts["classes"]
    head = dict(
        library_name="mmdet_maskr",
        pipeline_tag="image-segmentation" if "mask" in str(facts["scores"]) else "object-detection",
        license=_license_id(facts["license"]),
        tags=["instance-segmentation", "mask-rcnn", "mmdetection"],
    )
    names = ", ".join(classes[:SHOWN]) + (", ..." if len(classes) > SHOWN else "")
    lines = [
        "---", yaml.safe_dump(head, sort_keys=False).rstrip(), "---", "",
        f"# {facts['name']}", "",
        f"{facts['model']} with {facts['backbone']}, {facts['parameters'] / 1e6:.1f} million "
        f"parameters. {facts['origin']}", "",
        "```python", "from mmdet_maskr.apis import MaskRInferencer", "",
        "inferencer = MaskRInferencer.from_pretrained('FOLDER')  # or 'hf://org/name'",
        "inferencer('photo.jpg')['predictions'][0]", "```", "",
    ]  # fmt: skip
    if facts["scores"]:
        lines += ["| score | percent |", "|---|---|"]
        lines += [f"| {name} | {value:.1f} |" for name, value in facts["scores"].items()]
    else:
        lines.append("No scores were given.")
    lines += ["", f"**{len(classes)} classes:** {names}", ""]
    if facts["keypoints"]:
        points = facts["keypoints"]
        shown = points if isinstance(points, list) else list(points)
        lines += [f"**{len(shown)} keypoints:** {', '.join(map(str, shown))}", ""]
    lines += [
        f"**License:** {facts['license']}", "",
        "| file | SHA-256 |", "|---|---|",
        *(f"| `{name}` | `{digest}` |" for name, digest in facts["sha256"].items()), "",
        f"Published by mmdet_maskr {facts['mmdet_maskr']} (`maskr publish`). Loading runs no "
        "code of this folder: weights and config are read as data.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _license_id(license: str) -> str:
    """The hub's name of a license; 'other' where it has none."""
    known = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
             "cc-by-nc-4.0", "cc0-1.0", "gpl-3.0", "agpl-3.0")  # fmt: skip
    name = license.lower().replace(" ", "-")
    return name if name in known else "other"
