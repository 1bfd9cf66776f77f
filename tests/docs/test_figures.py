"""The figures can be drawn again, and say what the ops, the config and the page say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mmdet_maskr.catalogue.published import numbers

REPO = Path(__file__).resolve().parents[2]
FIGURES = sorted((REPO / "docs" / "figures").glob("*.py"))


def load(name: str) -> ModuleType:
    path = REPO / "docs" / "figures" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"figure_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [path.stem for path in FIGURES])
def test_figure_can_be_drawn(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    module = load(name)
    out = tmp_path / module.OUT.name
    monkeypatch.setattr(sys, "argv", [name, "--out", str(out)])
    module.main()
    assert out.read_text(encoding="utf-8").rstrip().endswith("</svg>")
    assert module.OUT.is_file()
    pages = "".join(page.read_text(encoding="utf-8") for page in (REPO / "docs").glob("*.md"))
    assert f"pictures/{module.OUT.name}" in pages and f"docs/figures/{name}.py" in pages
    if name == "scaling":
        for block in capsys.readouterr().out.strip().split("\n\n")[1:]:
            assert block in pages  # the table


def test_sampling_points_are_those_of_the_paper():
    """Where He et al. and Dai et al. put them, by a direct formula."""
    module = load("roi_layers")
    x1, y1, x2, y2 = (value / module.STRIDE for value in module.BOX)
    n = module.BINS * module.SAMPLES
    boxes = {
        "RoIAlign": (x1, y1, x2, y2),
        "RoIWarp": (1, 2, 8, 6),  # 1.3, 1.5, 6.9, 5.3 rounded, the last pixel included
    }
    for layer, (left, top, right, bottom) in boxes.items():
        points = module.sample_points(layer)
        for row in range(n):
            for column in range(n):
                x = left + (column + 0.5) * (right - left) / n
                y = top + (row + 0.5) * (bottom - top) / n
                assert points[row, column].tolist() == pytest.approx([x, y], abs=1e-4)
        assert module.used_box(layer) == pytest.approx((left, top, right, bottom), abs=1e-3)
    assert module.used_box("RoIPool") == boxes["RoIWarp"]


def test_shares_of_a_bin_add_up():
    module = load("roi_layers")
    for layer in ("RoIAlign", "RoIWarp"):
        total = module.shares(layer).sum((2, 3)).flatten().tolist()
        assert total == pytest.approx([1] * module.BINS**2, abs=1e-5)


class TestCostModel:
    """Against hand-made sums."""

    @pytest.fixture
    def module(self) -> ModuleType:
        return load("scaling")

    @pytest.fixture
    def cluster(self, module: ModuleType):
        return module.Cluster(
            step=0.25, images=2, hidden=0.5, node=8, inside=1e11, between=1e9, latency=1e-5
        )

    def test_ring(self, module: ModuleType, cluster):
        mib_50 = 50 * 2**20  # two buckets
        whole, last = module.all_reduce_seconds(mib_50, 16, cluster)
        assert whole == pytest.approx(2 * 15 / 16 * mib_50 / 1e9 + 2 * 30 * 1e-5)
        assert last == pytest.approx(2 * 15 / 16 * mib_50 / 2 / 1e9 + 30 * 1e-5)
        assert module.all_reduce_seconds(mib_50, 1, cluster) == (0, 0)
        inside, _ = module.all_reduce_seconds(mib_50, 8, cluster)
        assert inside == pytest.approx(2 * 7 / 8 * mib_50 / 1e11 + 2 * 14 * 1e-5)

    def test_images_per_second(self, module: ModuleType, cluster):
        assert module.images_per_second(10**8, 1, cluster) == pytest.approx(8)
        whole, _ = module.all_reduce_seconds(10**8, 16, cluster)  # 0.19 s, of which 0.125 hidden
        expected = 32 / (0.25 + whole - 0.125)
        assert module.images_per_second(10**8, 16, cluster) == pytest.approx(expected)

    def test_gradients(self, module: ModuleType):
        """Of R50-FPN: 44.4 million parameters, less the frozen stem and first stage."""
        count, size = module.gradient_bytes("maskr_r50_fpn_1x")
        frozen = 9408 + 128 + 215808  # conv1, bn1, layer1 of ResNet-50
        assert count == 44396336 - frozen and size == 4 * count

    def test_step_time_is_the_published_one(self, module: ModuleType):
        assert numbers()["zoo"][module.PUBLISHED][0] == 0.261
