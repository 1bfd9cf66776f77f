"""What tests share: the repository's folder, a small shapes dataset; seeds and a random order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from local_server import Answer, Server
from mmengine.registry import init_default_scope
from mmengine.visualization import Visualizer

from mmdet_maskr.benchmark.pretended_gpu import Counts
from mmdet_maskr.benchmark.pretended_gpu import pretended_gpu as pretence
from mmdet_maskr.datasets import shapes

REPO = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shuffle",
        type=int,
        metavar="SEED",
        help="run files, and the tests of each, in an order that follows from SEED, as do the "
        "numbers that tests draw",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--shuffle")
    if seed is None:
        return
    draw = random.Random(seed)
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    groups = list(files.values())
    draw.shuffle(groups)
    for group in groups:
        draw.shuffle(group)
    items[:] = [item for group in groups for item in group]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The same random numbers for a test and its fixtures in any order of tests."""
    seed = item.config.getoption("--shuffle") or 0
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], Server]]:
    """Starts servers on this machine, which end with the test."""
    servers: list[Server] = []

    def start(answer: Answer) -> Server:
        servers.append(Server(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shapes dataset of 16 train and 4 val images of 96 pixels."""
    root = tmp_path_factory.mktemp("shapes")
    shapes.write_dataset(root, images=16, val_images=4, size=96, seed=0)
    return root


@pytest.fixture(scope="session")
def coco_mini() -> Path:
    """Real COCO photos, where the checkout has them next to it."""
    root = REPO.parent / "shared" / "data" / "coco_mini"
    if not root.is_dir():
        pytest.skip(f"needs the folder {root} with a small piece of COCO")
    return root


@pytest.fixture
def pretended_gpu() -> Iterator[Counts]:
    """A GPU that is not there: tensors go to ``cuda``, what it would have to do is counted."""
    with pretence() as counts:
        yield counts


@pytest.fixture(autouse=True)
def mmdet_scope() -> None:
    """Build by mmdet's names, as the Runner does for a config with default_scope='mmdet'."""
    init_default_scope("mmdet")


@pytest.fixture(autouse=True)
def no_visualizer_of_others() -> None:
    """MMEngine's hooks take the newest one of the process, even that of another test."""
    waiting: list[type] = [Visualizer]
    for cls in waiting:
        cls._instance_dict.clear()
        waiting += cls.__subclasses__()


@pytest.fixture(scope="session", autouse=True)
def annotation_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of annotations of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMDET_MASKR_CACHE", str(tmp_path_factory.mktemp("annotation_cache")))
        yield
