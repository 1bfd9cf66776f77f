"""The walk: order, batches, what is left out, and sinks that end whole or not."""

from __future__ import annotations

import json
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.sinks import Collected, JsonFile, JsonFiles, json_sink
from mmdet_maskr.inference.walk import Counter, Image, Sink, Unreadable, walk


class Found(NamedTuple):
    lists: dict[str, Any]


class Model:
    """Finds the number of pixels; large images are more than memory has, text is no image."""

    def __init__(self, most: float = float("inf")) -> None:
        self.most, self.batches = most, []

    def prepare(self, image: Image) -> int:
        if isinstance(image.content, str):
            content = Path(image.content).read_text()
            if not content.isdigit():
                raise Unreadable(image.content, "it is text")
            return int(content)
        return image.content.size

    def detect(self, prepared: list[int]) -> list[Found]:
        self.batches.append(list(prepared))
        if sum(prepared) > self.most:
            raise MemoryError
        return [Found(dict(pixels=pixels)) for pixels in prepared]


class Ends(Sink):
    """Notes how it ended; writes as often as it may."""

    place = Path("there")

    def __init__(self, writes: float = float("inf")) -> None:
        self.writes, self.ends, self.numbers = writes, [], []

    def add(self, image: Image, number: int, found: Found) -> None:
        self.numbers.append(number)
        if len(self.numbers) > self.writes:
            raise OSError(28, "No space left on device")

    def close(self, whole: bool) -> None:
        self.ends.append(whole)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Of 1, 2, 3 ... pixels; the third is no image."""
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for i, path in enumerate(paths):
        path.write_text("no image" if i == 2 else str(i + 1))
    return [str(path) for path in paths]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 10**30])
def test_one_that_cannot_be_read(files: list[str], batch_size: int, capsys):
    """It is left out, in any batch, and said at the end."""
    kept, model = Collected(), Model()
    report = walk(files, model, [kept], batch_size)
    good = [file for i, file in enumerate(files) if i != 2]
    assert report.images == good and report.failed == {files[2]: "it is text"}
    assert [lists["pixels"] for lists in kept.results] == [1, 2, 4, 5]
    assert len(model.batches[0]) == min(batch_size, 4)
    assert "1 of 5 images" in capsys.readouterr().out
    with pytest.raises(Unreadable) as error:
        walk([files[2]], Model(), [])
    assert error.value.reason == "it is text" and files[2] in str(error.value)
    with pytest.raises(UserError, match="none of the 2 images"):
        walk([files[2], files[2]], Model(), [])


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_one_without_memory(batch_size: int):
    """It costs itself alone; a batch that is too large is taken apart."""
    images = [np.zeros((1, size)) for size in (3, 9, 4, 4)]
    kept = Collected()
    report = walk(images, Model(most=8), [kept], batch_size)
    assert report.images == [0, 2, 3] and list(report.failed) == ["1"]
    assert [lists["pixels"] for lists in kept.results] == [3, 4, 4]
    with pytest.raises(UserError, match="image 0: there is not enough memory"):
        walk([np.zeros((1, 9))], Model(most=8), [])


def test_a_mistake_of_the_model_is_not_hidden():
    model = Model()
    model.detect = lambda prepared: [][0]
    with pytest.raises(IndexError):
        walk([np.zeros(1)] * 3, model, [], 2)


def test_numbers_go_on():
    counter, sink = Counter(), Ends()
    walk([np.zeros(1)] * 2, Model(), [sink], counter=counter)
    walk([np.zeros(1)] * 2, Model(), [sink], 2, counter)
    assert sink.numbers == [0, 1, 2, 3] and counter.done == 4 and sink.ends == [True, True]


def test_a_sink_that_cannot_write(files: list[str]):
    """Names its place; no sink is whole then."""
    sinks = [Ends(), Ends(writes=1)]
    with pytest.raises(UserError, match="there cannot be written: No space left"):
        walk(files, Model(), sinks)
    assert sinks[0].ends == sinks[1].ends == [False]
    assert len(sinks[0].numbers) == 2


def test_a_batch_is_not_held_while_the_next_is_read():
    alive: list[weakref.ref] = []

    class Data:
        pass

    class Holds(Model):
        def prepare(self, image: Image) -> Data:
            assert not [ref for ref in alive if ref() is not None]
            data = Data()
            alive.append(weakref.ref(data))
            return data

        def detect(self, prepared: list[Data]) -> list[Found]:
            return [Found({}) for _ in prepared]

    walk([np.zeros(1)] * 4, Holds(), [])
    assert len(alive) == 4


def test_json(tmp_path: Path):
    """A file for each image, under its name or number; maps of pixels as pictures."""
    images = [Image("folder/a.b.jpg", "x"), Image("http://a.org/c.png?d", "x"), Image(0, "x")]
    sink = JsonFiles(tmp_path / "preds")
    colors = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    for number, image in enumerate(images):
        sink.add(image, number, Found(dict(map=colors.copy(), labels=[number])))
    names = ["00000002", "a.b", "c"]
    assert sorted(p.name for p in (tmp_path / "preds").iterdir()) == sorted(
        [f"{name}.json" for name in names] + [f"{name}_map.png" for name in names]
    )
    content = json.loads((tmp_path / "preds" / "a.b.json").read_text())
    assert content == dict(labels=[0], map_path=str(tmp_path / "preds" / "a.b_map.png"))
    with pytest.raises(UserError, match="would overwrite one another"):
        json_sink(["a/1.png", "b/1.jpg"], tmp_path)
    film = JsonFile(tmp_path / "film.json")
    film.add(images[2], 5, Found(dict(labels=[7])))
    film.close(False)
    assert not (tmp_path / "film.json").exists()
    film.close(True)
    assert json.loads((tmp_path / "film.json").read_text()) == [dict(labels=[7])]
