"""The generated files: ``model-index.yml``, metafile, guide, tables of the zoo."""

from __future__ import annotations

from pathlib import Path

import yaml

from mmdet_maskr.catalogue.describe import ConfigSummary
from mmdet_maskr.catalogue.files import configs_dir
from mmdet_maskr.catalogue.guide import guide
from mmdet_maskr.catalogue.published import counterparts, published
from mmdet_maskr.catalogue.zoo_page import sections

HEADER = "# Written by python tools/make_model_index.py: do not edit.\n"
GUIDE = "configs/README.md"
GUIDE_HEADER = "<!-- Written by python tools/make_model_index.py: do not edit. -->\n\n"
COLLECTION = dict(
    Name="Mask R-CNN (mmdet_maskr)",
    Paper=dict(URL="https://arxiv.org/abs/1703.06870", Title="Mask R-CNN"),
    README="README.md",
)


def entry(row: ConfigSummary) -> dict:
    """A model of the metafile. It has no results of ours until a checkpoint is published."""
    found = published(row.name)
    metadata = {
        "Training Data": row.dataset,
        "Schedule": row.schedule,
        "Architecture": [row.backbone, row.heads],
        "Parameters": row.parameters,
    }
    if row.operations is not None:
        metadata["FLOPs"] = row.operations
        metadata["Image"] = list(row.image)
    model = {
        "Name": row.name.replace("/", "_"),
        "In Collection": COLLECTION["Name"],
        "Config": f"configs/{row.name}.py",
        "Metadata": metadata,
        "Results": [],
    }
    if found is not None:
        model["Published By Others"] = dict(Source=found.source, Row=found.row, Scores=found.scores)
    others = [other.name for other in counterparts(row.name)]
    if others:
        model["Pretrained"] = others  # MaskRInferencer.from_pretrained(NAME)
    return model


def contents(rows: list[ConfigSummary]) -> dict[str, str]:
    """The files by their path in the repository."""
    models = [entry(row) for row in rows]
    metafile = dict(Collections=[COLLECTION], Models=models)
    index = dict(Import=["configs/metafile.yml"])
    texts = {
        path: HEADER + yaml.safe_dump(content, sort_keys=False, width=100)
        for path, content in (("model-index.yml", index), ("configs/metafile.yml", metafile))
    }
    return {**texts, GUIDE: GUIDE_HEADER + guide(models), **sections(configs_dir().parent)}


def outdated(root: Path, rows: list[ConfigSummary]) -> list[str]:
    """Paths of the files that are not what the configs give."""
    return [
        path
        for path, text in contents(rows).items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]
