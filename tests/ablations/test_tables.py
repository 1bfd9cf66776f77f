"""The tables: the paper's numbers, a config for every row at both scales, and their metrics."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from mmdet_maskr.ablations import TABLES, Table, TableRow
from mmdet_maskr.ablations.cost import gpu_hours, training_images
from mmdet_maskr.ablations.jobs import Settings, jobs_of
from mmdet_maskr.ablations.tables import SCALES, select_rows, select_tables
from mmdet_maskr.catalogue.published import PAPER_ROWS
from mmdet_maskr.errors import UserError

ROWS = [(table, row) for table in TABLES.values() for row in table.rows]
NAMES = [f"{table.name}-{row.name}" for table, row in ROWS]


def test_paper_numbers(repo: Path):
    """Titles, columns and numbers are those of the reference, and so are the training times."""
    file = repo.parent / "shared" / "reference" / "paper_tables.json"
    if not file.is_file():
        pytest.skip(f"needs {file}")
    reference = json.loads(file.read_text())
    for table in TABLES.values():
        expected = reference["tables"][table.name.replace("class-agnostic", "class_specific")]
        assert list(table.columns) == expected["columns"]
        assert table.title == expected["title"]
        assert [row.name for row in table.rows if not row.extra] == list(expected["rows"])
        for row in table.rows:
            found = [table.paper.get(row.name, {}).get(column) for column in table.columns]
            assert found == expected["rows"].get(row.name, [None] * len(table.columns))
            if not row.cost_factor > 1:
                assert row.cost in reference["zoo"]


def test_catalogue_agrees():
    """What the catalogue says was published for a row's config is that row of the paper."""
    coco = {row.coco.removesuffix(".py"): (table, row) for table, row in reversed(ROWS)}
    for config, (name, row) in PAPER_ROWS.items():
        if config in coco and coco[config][0].name == name:
            assert coco[config][1].name == row
    own = {c for c, (_, row) in coco.items() if c.startswith("ablations") and not row.extra}
    assert own <= set(PAPER_ROWS)


def test_extra_rows_have_their_own_baseline():
    """RoIPool on a pyramid is compared with RoIAlign on it: 1.5 mask AP less (section 4.2)."""
    table = TABLES["2d"]
    assert table.against(table.row("RoIPool, FPN")) == "RoIAlign, FPN"
    assert table.against(table.row("RoIAlign, FPN")) is None
    assert table.paper_difference(table.row("RoIPool, FPN"), "mask AP") == -1.5


def test_metric_names():
    """Columns name the metrics of the COCO metric."""
    assert TABLES["2c"].columns == {"AP": "segm_mAP", "AP50": "segm_mAP_50", "AP75": "segm_mAP_75"}
    assert TABLES["5"].columns["box AP"] == "bbox_mAP"
    assert TABLES["4"].columns["APm"] == "keypoints_mAP_m"


def test_paper_differences():
    """Differences are to the baseline row: RoIPool loses 3.4 AP and 5.1 AP75 in Table 2c."""
    table = TABLES["2c"]
    pool = table.row("RoIPool max")
    assert table.paper_difference(pool, "AP") == -3.4
    assert table.paper_difference(pool, "AP75") == -5.1
    assert table.paper_difference(table.row("RoIAlign ave"), "AP") is None
    assert TABLES["5"].paper_difference(TABLES["5"].row("mask-only"), "keypoint AP") is None


def scored(evaluator: dict | list) -> set[str]:
    """'bbox', 'segm', ... that evaluators score."""
    if isinstance(evaluator, list):
        return set().union(*map(scored, evaluator))
    metric = evaluator.get("metric", [])
    return {metric} if isinstance(metric, str) else set(metric)


@pytest.mark.parametrize(("table", "row"), ROWS, ids=NAMES)
@pytest.mark.parametrize("scale", SCALES)
def test_row_gives_its_metrics(repo: Path, table: Table, row: TableRow, scale: str):
    """The row's config is there, and its metric scores what the table's columns want."""
    cfg = Config.fromfile(repo / "configs" / row.config(scale))
    branches = {key.split("_")[0] for key in table.columns.values() if key is not None}
    missing = branches - scored(cfg.test_evaluator)
    if table.name == "5":  # rows without a branch leave its column empty
        paper = table.paper[row.name]
        missing -= {table.columns[c].split("_")[0] for c in table.columns if c not in paper}
    assert not missing
    assert table.against(row) is None or table.against(row) in [r.name for r in table.rows]


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_miniature_is_fair(repo: Path, table: Table):
    """In miniature a row has the data of the one it is compared with, and all have one schedule."""
    schedule = ("train_cfg", "optim_wrapper", "param_scheduler")
    data = ("train_dataloader", "test_dataloader")
    configs = {row.name: Config.fromfile(repo / "configs" / row.mini) for row in table.rows}
    first = configs[table.rows[0].name]
    for row in table.rows:
        assert all(configs[row.name][part] == first[part] for part in schedule)
        base = configs[table.against(row) or row.name]
        assert all(configs[row.name][part] == base[part] for part in data)


def test_same_training_is_one_job(repo: Path, tmp_path: Path):
    """Sigmoid of 2b, class-specific and RoIAlign ave of 2c are trained once."""
    rows = [
        (TABLES[name], TABLES[name].row(row))
        for name, row in (
            ("2b", "sigmoid"),
            ("class-agnostic", "class-specific"),
            ("2c", "RoIAlign ave"),
            ("2c", "RoIAlign max"),
        )
    ]
    for scale in SCALES:
        jobs = jobs_of(rows, [0, 1], Settings(repo, scale, tmp_path))
        assert [len(job.rows) for job in jobs] == [3, 1, 3, 1]
        assert len({job.folder for job in jobs}) == 4
    base = TABLES["2c"].row("RoIAlign ave").mini
    assert base == "mini/ablation_c4.py"


def test_commands(repo: Path, tmp_path: Path):
    """Training on several GPUs by dist_train.py, resumed only where there is a checkpoint."""
    row = (TABLES["4"], TABLES["4"].row("keypoint-only"))
    settings = Settings(repo, "coco", tmp_path, "data/coco", "pytorch", 8)
    (job,) = jobs_of([row], [2], settings)
    config = str(repo / "configs" / "maskr_keypoint_r50_fpn_90k.py")
    train = job.train_command()
    assert train[:4] == [sys.executable, str(repo / "tools" / "dist_train.py"), config, "8"]
    assert "randomness.seed=2" in train and "--auto-scale-lr" in train
    assert "--resume" not in train
    assert job.test_command()[3:5] == [str(job.folder / "train" / "iter_90000.pth"), "8"]
    (job.folder / "train").mkdir(parents=True)
    (job.folder / "train" / "last_checkpoint").write_text("iter_10000.pth")
    assert "--resume" in job.train_command()


def test_weights_of_another_run(repo: Path, tmp_path: Path):
    """Fine + COCO starts from the same seed's run on all images, which is a job before it."""
    row = (TABLES["7"], TABLES["7"].row("fine + COCO"))
    first, job = jobs_of([row], [1], Settings(repo, "mini", tmp_path))
    assert (first.config, first.seed, first.rows) == ("mini/ablation_fpn.py", 1, [])
    assert f"load_from={first.last_checkpoint}" in job.train_command()
    (coco,) = jobs_of([row], [1], Settings(repo, "coco", tmp_path))
    assert coco.cfg.load_from.startswith("https://") and "--resume" not in coco.train_command()


def test_gpu_hours(repo: Path):
    """Hours are the zoo's seconds an iteration, times the iterations, times 8 GPUs."""
    row = TABLES["4"].row("keypoint-only")
    cfg = Config.fromfile(repo / "configs" / row.coco)
    assert gpu_hours(row, cfg, 8) == pytest.approx(0.315 * 90000 * 8 / 3600)
    row = TABLES["2b"].row("sigmoid")
    cfg = Config.fromfile(repo / "configs" / row.coco)
    assert training_images(cfg, 8) == 160000 * 16
    assert gpu_hours(row, cfg, 8) == pytest.approx(0.584 * 160000 * 8 / 3600)


@pytest.mark.parametrize("name", ["1", "2a", "2b", "class-agnostic", "2c", "2d", "2e", "3"])
def test_rows_for_coco_have_the_papers_recipe(repo: Path, name: str):
    """160k iterations of 16 images, a tenth of the learning rate at 120k, fixed norms."""
    for row in TABLES[name].rows:
        cfg = Config.fromfile(repo / "configs" / row.coco)
        assert cfg.train_cfg.max_iters == 160000
        assert cfg.param_scheduler[1].milestones == [120000]
        images = cfg.train_dataloader.batch_size * 8
        assert cfg.optim_wrapper.optimizer.lr == 0.02 * images / 16
        parts = [cfg.model.backbone, cfg.model.roi_head.get("shared_head") or {}]
        assert not any(p.norm_cfg.requires_grad for p in parts if p)


def test_one_model_is_one_job_for_coco(repo: Path, tmp_path: Path):
    """ResNet-50-C4 of 2a is the baseline of 2b and 2c, ResNet-50-FPN that of 2e."""
    models = [
        [("2a", "ResNet-50-C4"), ("2b", "sigmoid"), ("2c", "RoIAlign ave")],
        [("2a", "ResNet-50-FPN"), ("2d", "RoIAlign, FPN"), ("2e", "FCN conv 256x4-80")],
    ]
    rows = [(TABLES[table], TABLES[table].row(row)) for model in models for table, row in model]
    jobs = jobs_of(rows, [0], Settings(repo, "coco", tmp_path))
    assert [job.rows for job in jobs] == models


def test_selection():
    assert [table.name for table in select_tables(["6", "2c"])] == ["6", "2c"]
    assert len(select_tables(["2b", "all"])) == len(TABLES)
    assert [row.name for row in select_rows(TABLES["2c"], ["warp"])] == [
        "RoIWarp max",
        "RoIWarp ave",
    ]
    assert [row.name for row in select_rows(TABLES["7"], ["FINE"])] == ["fine"]
    assert len(select_rows(TABLES["7"], ["FIN"])) == 2
    with pytest.raises(UserError, match=r"no table '2f': they are .*2c"):
        select_tables(["2f"])
