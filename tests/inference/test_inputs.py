"""What an inferencer may be called with, and what is said where it cannot be used."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmdet.models import DetDataPreprocessor
from torch import nn

from mmdet_maskr.apis.model_files import input_channels
from mmdet_maskr.errors import UserError
from mmdet_maskr.inference.inputs import check_names, expand, fetch, file_name
from mmdet_maskr.inference.video import VideoFrames, VideoSink


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """b.png, a.JPG and notes.txt; c.png in a folder below."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "more/c.png"):
        cv2.imwrite(str(root / name), np.full((8, 9, 3), 90, np.uint8))
    (root / "notes.txt").write_text("none")
    return root


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    """URL of a server of the folder on this machine."""

    class Silent(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder))
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}"
    httpd.shutdown()
    httpd.server_close()


def test_files_folders_patterns_and_lists(folder: Path, capfd: pytest.CaptureFixture):
    """In the order of names; a folder gives what is an image, and says what else there is."""
    a, b, c = (str(folder / name) for name in ("a.JPG", "b.png", "more/c.png"))
    assert expand(b) == expand(Path(b)) == expand(Path(b).as_uri()) == [b]
    assert expand(folder) == [a, b]
    output = capfd.readouterr()
    assert "1 files are not images and were skipped (.txt)" in output.out + output.err
    assert expand(f"{folder}/*.png") == [b]
    assert expand(f"{folder}/**/*.png") == [b, c]
    array = np.zeros((4, 5, 3), np.uint8)
    found = expand([folder / "more", array, f"{folder}/?.JPG"])
    assert found[0] == c and found[1] is array and found[2] == a


def test_a_name_that_looks_like_a_pattern(folder: Path):
    odd = folder / "photo[1].png"
    (folder / "b.png").rename(odd)
    assert expand(str(odd)) == [str(odd)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "image 0 is an empty string"),
        ("nowhere.png", r"there is no image .*nowhere\.png"),
        ("nothing*.png", r"no file matches the pattern nothing\*\.png"),
        ([], "the list is empty"),
        (5, "image 0 is of type int"),
        ([np.zeros((4, 5, 3))], "image 0 is an array of float64"),
        (np.zeros((4, 5, 4), np.uint8), r"shape \(4, 5, 4\)"),
        (np.zeros((0, 5, 3), np.uint8), r"shape \(0, 5, 3\)"),
        ("s3://bucket/a.png", "URLs must begin with http://"),
        ("file://server/a.png", "URLs must begin with http://"),
    ],
)
def test_bad_input(given: object, message: str):
    with pytest.raises(UserError, match=message):
        expand(given)


def test_folder_without_images(folder: Path):
    for image in folder.glob("*.[pJ]*"):
        image.unlink()
    with pytest.raises(UserError, match=r"no images in the folder .*other kinds \(\.txt\)"):
        expand(folder)


def test_urls(server: str, tmp_path: Path):
    path = fetch(f"{server}/b.png?size=large", tmp_path)
    assert path.name == "b.png" and cv2.imread(str(path)).shape == (8, 9, 3)
    assert fetch(f"{server}/notes.txt", tmp_path).name == "notes.txt.jpg"
    assert file_name("https://a.org/x%20y.jpg?z=1/2") == "x y.jpg"
    with pytest.raises(UserError, match=r"absent\.png cannot be downloaded \(HTTP 404"):
        fetch(f"{server}/absent.png", tmp_path)
    with pytest.raises(UserError, match=r"cannot be downloaded \(.*refused"):
        fetch("http://127.0.0.1:1/a.png", tmp_path)
    with pytest.raises(UserError, match="cannot be downloaded"):
        fetch("http://127.0.0.1:port/a.png", tmp_path)


def test_equal_names():
    check_names(["a/1.png", "a/2.png", np.zeros(1)], "names are keys")
    check_names(["a/1.png", "a/1.jpg"], "names are keys")
    with pytest.raises(UserError, match=r"2 images are named 1\.png, and names are keys"):
        check_names(["a/1.png", "b/1.png"], "names are keys")
    with pytest.raises(UserError, match="named 1, and"):
        check_names(["a/1.png", "a/1.jpg"], "names are keys", stems=True)


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_videos_there_and_back(tmp_path: Path, suffix: str):
    """Frames come back in their order, with their size; the file is there when it is whole."""
    path = tmp_path / "vis" / f"film{suffix}"
    sink = VideoSink(path, 12.0)
    for level in (40, 120, 200):
        sink.write(np.full((48, 64, 3), (level, 90, 0), np.uint8))
    assert not path.exists()
    sink.close(whole=True)
    frames = VideoFrames(path)
    assert (len(frames), frames.fps, frames.size) == (3, 12.0, (64, 48))
    for _ in range(2):
        reds = [frame[..., 2].mean() for frame in frames]
        assert np.allclose(reds, (40, 120, 200), atol=12)
    sink = VideoSink(tmp_path / f"half{suffix}", 12.0)
    sink.write(np.zeros((48, 64, 3), np.uint8))
    sink.close(whole=False)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["vis"]


def test_a_video_that_is_none(tmp_path: Path):
    (tmp_path / "film.mp4").write_bytes(b"no video")
    with pytest.raises(UserError, match=r"the video .*film\.mp4 cannot be read"):
        VideoFrames(tmp_path / "film.mp4")


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)])
def test_arrays_of_one_band(shape: tuple[int, ...]):
    """Gray arrays have three equal channels for a model of three, and stay for one of one."""
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    (color,) = expand(image)
    assert color.shape == (4, 5, 3) and color.dtype == np.uint8
    assert (color == (image if image.ndim == 3 else image[..., None])).all()
    if shape != (4, 5, 3):
        (gray,) = expand(image, channels=1)
        assert gray.shape == (4, 5, 1) and (gray.ravel() == image.ravel()).all()


@pytest.mark.parametrize("channels", [1, 3, 7])
def test_arrays_as_files_store_them(channels: int):
    """For a model that keeps the bits of files: of any type of number, and with as many bands."""
    image = np.zeros((4, 5, channels), np.uint16)
    (given,) = expand(image, channels, as_stored=True)
    assert given is image
    with pytest.raises(UserError, match=r"shape \(4, 5, 2\): it must be \(H, W"):
        expand(np.zeros((4, 5, 2), np.uint8), channels, as_stored=True)
    with pytest.raises(UserError, match=r"array of uint16: it must be uint8.*LoadBands"):
        expand(image, channels)


def test_gray_arrays_as_files_store_them():
    """One band is no color, as it is of no file."""
    image = np.zeros((4, 5), np.uint16)
    (given,) = expand(image, 1, as_stored=True)
    assert given.shape == (4, 5, 1) and given.dtype == np.uint16
    with pytest.raises(UserError, match=r"must be \(H, W, 3\)"):
        expand(image, 3, as_stored=True)


def test_channels_of_a_model():
    plain = nn.Module()
    assert input_channels(plain) == 3
    plain.backbone = nn.Sequential(nn.Conv2d(5, 8, 3))
    assert input_channels(plain) == 5
    plain.data_preprocessor = DetDataPreprocessor(mean=[1.0], std=[1.0])
    assert input_channels(plain) == 1
