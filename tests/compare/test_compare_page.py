"""The page in a real browser: what is drawn, what the controls do, how it fits, what it loads."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from page_cases import HEIGHT, WIDTH, above, count_alone, detection, make_content

from mmdet_maskr.compare import render

PHONE, DESKTOP = (390, 844), (1440, 900)
SIZES = pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
# Things that must not lie on one another; what scrolls by itself is taken as a whole.
BOXES = """() => [...document.querySelectorAll(
    "h1, #notes li, .bar .slider > *, .images > *, legend, #layers label, .differences select, " +
    ".differences span, .differences input, .differences output, .key span, .classes button, " +
    "figcaption > *, .stage, .strip, h2, .scroll, #remarks li")]
  .filter((e) => e.checkVisibility())
  .map((e) => [e.id || e.textContent.trim().slice(0, 20) || e.className,
               ...["left", "top", "right", "bottom"].map((k) => e.getBoundingClientRect()[k])])"""
LABELS = """() => [...document.querySelectorAll("figure")].map((figure) =>
  [...figure.querySelectorAll(".labels rect")].map((e) => {
    const { left, top, right, bottom } = e.getBoundingClientRect();
    return ["label", left, top, right, bottom];
  }))"""


@pytest.fixture
def show(open_page: Callable, tmp_path: Path) -> Callable:
    """Writes a content's page and opens the file."""

    def show(content: dict, *args):
        file = tmp_path / "compare.html"
        file.write_text(render(content), encoding="utf-8")
        return open_page(file.as_uri(), *args)

    return show


def set_slider(page, name: str, value: float) -> None:
    page.locator(f"#{name}").fill(str(value))


def count(page, panel: int | str, what: str = ".detection") -> int:
    return page.locator(f"#panel-{panel} :is({what})").count()


def state_of(page) -> dict:
    """What each panel shows: its text, and how many elements of each kind."""
    return page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("figure")].map((f) => [
        f.id.slice(6), { text: f.querySelector(".count").textContent,
        source: f.querySelector("img").src, ...Object.fromEntries(
        ["detection", "extra", "missing", "common", "box", "mask", "joint", "limb", "labels text"]
        .map((kind) => [kind, f.querySelectorAll("." + kind).length])) }]))"""
    )


def overlapping(boxes: list) -> list[tuple]:
    def apart(a: list, b: list) -> bool:
        return a[3] <= b[1] + 0.5 or b[3] <= a[1] + 0.5 or a[4] <= b[2] + 0.5 or b[4] <= a[2] + 0.5

    return [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if not apart(a, b)]


@SIZES
def test_slider_and_images(show: Callable, size: tuple[int, int]):
    """As many detections are drawn as the content has from the threshold on; so for each image."""
    content = make_content(models=3, images=3)
    page = show(content, size)
    for number, image in enumerate(content["images"]):
        for threshold in (0.5, 0.05, 0.73, 1.0):
            set_slider(page, "threshold", threshold)
            shown = state_of(page)
            for model, result in enumerate(image["results"]):
                expected = len(above(result["detections"], threshold))
                assert shown[str(model)]["detection"] == expected
                assert f"{expected} of 12 detections" in shown[str(model)]["text"]
                assert shown[str(model)]["source"] == image["source"]
            assert shown["truth"]["detection"] == 12
        assert page.locator("#image").input_value() == str(number)
        page.click("#next")
    assert page.locator("#image").input_value() == "0", "after the last comes the first"
    page.locator("#strip button").nth(2).click()
    assert page.locator("#image").input_value() == "2"


@SIZES
def test_layers(show: Callable, size: tuple[int, int]):
    page = show(make_content(), size)
    set_slider(page, "threshold", 0.05)
    kinds = dict(boxes="box", masks="mask", keypoints="joint", labels="labels text")
    for layer in kinds:
        page.uncheck(f"#layer-{layer}")
        shown = state_of(page)["0"]
        drawn = {name: shown[kind] for name, kind in kinds.items()}
        assert drawn == {**dict.fromkeys(kinds, 12), layer: 0}  # 4 rings of 3 keypoints
        page.check(f"#layer-{layer}")
    assert state_of(page)["0"]["limb"] == 16
    page.uncheck("#layer-truth")
    assert not page.is_visible("#panel-truth")
    page.check("#layer-truth")
    assert page.is_visible("#panel-truth")


def test_layers_of_boxes_alone(show: Callable):
    """No switch for what no model has."""
    content = make_content(truth=False)
    for result in (r for image in content["images"] for r in image["results"]):
        for entry in result["detections"]:
            entry.pop("mask")
            entry.pop("keypoints", None)
    page = show(content)
    names = page.locator("#layers label").all_inner_texts()
    assert [name.strip() for name in names] == ["Boxes", "Labels"]
    assert page.locator("#reference option").count() == 3


@SIZES
@pytest.mark.parametrize("reference", ["0", "truth"])
def test_differences(show: Callable, size: tuple[int, int], reference: str):
    """Matching agrees with a loop over pycocotools' IoUs; small pictures have the sums."""
    content = make_content(models=3, images=2, count=20, seed=3)
    page = show(content, size)
    page.select_option("#reference", reference)
    for threshold, least in ((0.5, 0.5), (0.3, 0.7), (0.05, 0.1)):
        set_slider(page, "threshold", threshold)
        set_slider(page, "overlap", least)
        sums = []
        for number, image in enumerate(content["images"]):
            page.select_option("#image", str(number))
            found = [above(result["detections"], threshold) for result in image["results"]]
            there = image["truth"] if reference == "truth" else found[0]
            sums.append(0)
            for model, shown in state_of(page).items():
                drawn = [shown[mark] for mark in ("extra", "missing", "common")]
                if model == reference:
                    assert drawn == [0, 0, 0]
                if model in (reference, "truth"):
                    continue
                extra, missing, common = count_alone(found[int(model)], there, least)
                assert drawn == [extra, missing, common]
                assert shown["text"] == f"+{extra}, −{missing}, {common} in common"
                sums[-1] += extra + missing
        assert page.locator("#strip span").all_inner_texts() == [str(value) for value in sums]
    page.select_option("#reference", "")
    assert not any(shown["extra"] + shown["missing"] for shown in state_of(page).values())


def test_crowds_are_no_differences(show: Callable):
    """What lies in a crowd is no mistake, and a crowd is not missing."""
    content = make_content(models=1, images=1)
    crowd = detection(0, [10, 10, 110, 110], crowd=True)
    content["images"][0]["truth"] = [crowd]
    content["images"][0]["results"][0]["detections"] = [
        detection(0, [20, 20, 40, 40], 0.9),
        detection(1, [20, 20, 40, 40], 0.9),
        detection(0, [150, 20, 180, 40], 0.9),
    ]
    page = show(content)
    page.select_option("#reference", "truth")
    assert page.inner_text("#panel-0 .count") == "+2, −0, 1 in common"


def test_classes_are_switched(show: Callable):
    page = show(make_content(images=1))
    set_slider(page, "threshold", 0.05)
    page.get_by_role("button", name="disc").click()
    assert count(page, 0) == 8 and count(page, "truth") == 8
    assert page.get_by_role("button", name="disc").get_attribute("aria-pressed") == "false"
    page.get_by_role("button", name="disc").click()
    assert count(page, 0) == 12


@SIZES
def test_drawn_where_it_is(show: Callable, size: tuple[int, int]):
    """A box lies on the pixels of the picture that it names, in its class's color."""
    content = make_content(models=1, images=1)
    box = [50, 30, 150, 90]
    content["images"][0]["results"][0]["detections"] = [detection(1, box, 0.9)]
    page = show(content, size)
    picture = page.locator("#panel-0 img").bounding_box()
    assert picture["width"] / picture["height"] == pytest.approx(WIDTH / HEIGHT, rel=0.01)
    drawn = page.evaluate(
        """() => { const e = document.querySelector("#panel-0 .box");
        const m = e.getScreenCTM(), b = e.getBBox();
        return [b.x * m.a + m.e, b.y * m.d + m.f, b.width * m.a, b.height * m.d]; }"""
    )
    scale = picture["width"] / WIDTH
    expected = [picture["x"] + 50 * scale, picture["y"] + 30 * scale, 100 * scale, 60 * scale]
    assert drawn == pytest.approx(expected, abs=1)
    assert page.get_attribute("#panel-0 .box", "stroke") == "#3c8ce6"
    assert page.get_attribute("#panel-0 .mask", "fill") == "#3c8ce6"


@SIZES
@pytest.mark.parametrize("models", [2, 4])
def test_nothing_overlaps(show: Callable, size: tuple[int, int], models: int):
    content = make_content(models=models, images=20)
    content["notes"] = ["broken.jpg could not be read and was left out. " * 3]
    content["models"][0]["name"] = "a model with a long name, and_with_parts_that_cannot_be_broken"
    page = show(content, size)
    for reference in ("", "truth"):
        page.select_option("#reference", reference)
        boxes = page.evaluate(BOXES)
        assert len(boxes) > 30
        assert overlapping(boxes) == []
        assert [b for b in boxes if b[1] < 0 or b[3] > size[0]] == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], "it scrolls sideways"


@SIZES
def test_labels_keep_clear(show: Callable, size: tuple[int, int]):
    content = make_content(models=1, images=1, truth=False)
    spread = [detection(i % 3, [5 + 65 * i, 40, 55 + 65 * i, 100], 0.9) for i in range(3)]
    nested = [detection(i % 3, [5, 20, 60 - i, 100], 0.7 - 0.1 * i) for i in range(6)]
    content["images"][0]["results"][0]["detections"] = spread + nested
    page = show(content, size)
    set_slider(page, "threshold", 0.1)
    labels = page.evaluate(LABELS)[0]
    assert len(labels) == 9 and overlapping(labels) == []
    heights = {round(label[4] - label[2]) for label in labels}
    assert heights == {17}, "as large on any screen"


@SIZES
def test_small_objects_of_one_class(show: Callable, size: tuple[int, int]):
    """No letters, no boxes around masks, a color for each; a large one has its score."""
    content = make_content(models=1, images=1, truth=False)
    content["classes"], content["by_instance"] = content["classes"][:1], True
    colors = ["#ff6347", "#40c8ff", "#ffd700"]
    boxes = [[10, 10, 14, 14], [20, 10, 24, 14], [60, 30, 190, 110]]
    content["images"][0]["results"][0]["detections"] = [
        detection(0, box, 0.9, color=color) for box, color in zip(boxes, colors, strict=True)
    ]
    page = show(content, size)
    fills = "nodes => nodes.map(n => n.getAttribute('fill'))"
    assert sorted(page.eval_on_selector_all("#panel-0 .mask", fills)) == sorted(colors)
    assert page.locator("#panel-0 .box").count() == 1
    assert page.locator("#panel-0 .labels text").all_text_contents() == ["0.90"]
    assert page.locator("#classes button svg").count() == 0


def test_narrower_window(show: Callable):
    """Lines and letters keep their size when the window changes."""
    page = show(make_content(models=2, images=1), DESKTOP)
    before = page.evaluate(LABELS)[1][0]
    page.set_viewport_size(dict(width=PHONE[0], height=PHONE[1]))
    page.wait_for_function(
        """(height) => Math.abs(document.querySelector("#panel-0 .labels rect")
        .getBoundingClientRect().height - height) < 0.5""",
        arg=before[4] - before[2],
    )


def test_keyboard(show: Callable):
    """All is reached by Tab; arrows move sliders where these have the focus, else the image."""
    content = make_content()
    page = show(content)
    page.keyboard.press("ArrowRight")
    assert page.locator("#image").input_value() == "1"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#image").input_value() == "1"
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#threshold-value") == "0.51"
    assert page.locator("#image").input_value() == "1"
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
        if reached[-1] == "layer-masks":
            page.keyboard.press("Space")
    assert {"previous", "image", "next", "layer-boxes", "layer-truth", "reference"} <= set(reached)
    assert count(page, 0, ".mask") == 0
    page.get_by_role("button", name="ring").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "ring", "the focus stays"


def test_names_for_screen_readers(show: Callable):
    page = show(make_content(images=2))
    for role, name in (("slider", "Score at least"), ("combobox", "Image"), ("checkbox", "Masks"),
                       ("combobox", "Differences from"), ("button", "Next image"),
                       ("button", "photo 1.png")):  # fmt: skip
        assert page.get_by_role(role, name=name, exact=True).count() == 1, name
    label = page.get_attribute("#panel-0 svg", "aria-label")
    assert re.fullmatch(r"model 0 on photo 0\.png: \d+ of 12 detections, 20 ms", label)
    assert page.get_attribute("html", "lang") == "en"
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, select, input")].filter((e) =>
        !e.textContent.trim() && !e.ariaLabel && !e.labels?.length).length"""
    )
    assert unnamed == 0


def test_light_and_dark(show: Callable):
    """Letters differ from the paper in both."""
    colors = {}
    for scheme in ("light", "dark"):
        page = show(make_content(), DESKTOP, scheme)
        style = "getComputedStyle(document.body)"
        colors[scheme] = [page.evaluate(f"{style}.{key}") for key in ("color", "backgroundColor")]
    light, dark = (
        [sum(map(int, re.findall(r"\d+", color)[:3])) for color in colors[scheme]]
        for scheme in ("light", "dark")
    )
    assert light[1] - light[0] > 450 and dark[0] - dark[1] > 450


def test_hostile_names(show: Callable):
    """Names are texts wherever they come from; no part of the content can end the JSON or run."""
    content = make_content(images=2)
    attack = "</script><script>document.title='taken'</script><img src=x onerror=alert(1)>{{style}}"
    content["classes"][0]["name"] = attack
    content["title"] = content["models"][0]["name"] = content["models"][1]["config"] = attack
    content["images"][0]["name"] = attack
    content["notes"] = [attack]
    page = show(content)
    assert page.title() == attack and page.inner_text("h1") == attack
    assert page.locator("script").count() == 2 and page.locator("img[src=x]").count() == 0
    assert page.inner_text("#panel-0 strong") == attack
    assert page.locator("#classes button").first.inner_text() == attack
    titles = page.locator("#panel-truth .detection title").all_text_contents()
    assert titles.count(attack) == 4
    assert page.locator("#rows td").last.inner_text().startswith(attack)


def test_table(show: Callable):
    content = make_content(models=3)
    content["models"][1] |= dict(operations=None, scores={})
    page = show(content)
    heads = [text.split("\n")[0] for text in page.locator("#columns th").all_inner_texts()]
    assert heads == ["Model", "Parameters", "GFLOPs", "ms an image", "box AP", "Config and weights"]
    rows = [row.split("\t")[:5] for row in page.locator("#rows tr").all_inner_texts()]
    assert rows == [
        ["model 0", "4.1 M", "22.0", "20", "50.0"],
        ["model 1", "4.1 M", "–", "21", "–"],
        ["model 2", "4.1 M", "22.0", "22", "52.0"],
    ]
    assert page.locator("td.best").all_inner_texts() == ["4.1 M", "20", "52.0"]
    assert "measured on 2 of these images with val.json" in page.inner_text("#remarks")


def test_table_on_a_phone(show: Callable):
    """A line for each number, with its name: nothing has to be moved to be seen."""
    page = show(make_content(models=2), PHONE)
    cell = page.locator("#rows td").nth(1)
    name = cell.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert name == '"GFLOPs (at 1280 × 800)"' and cell.inner_text() == "22.0"
    wide = page.locator(".scroll").evaluate("part => [part.scrollWidth, part.clientWidth]")
    assert wide[0] <= wide[1]
    boxes = [box.bounding_box() for box in page.locator("#rows th, #rows td").all()]
    for upper, lower in pairwise(boxes):
        assert upper["y"] + upper["height"] <= lower["y"] + 0.5


def test_published_scores_are_not_ranked(show: Callable):
    """They were got by others, on other images; the page says so."""
    content = make_content(models=2)
    content["models"][1] |= dict(scores=dict(box=38.2), scores_from="a zoo, R50-FPN 1x")
    page = show(content)
    assert page.locator("td.best", has_text="50.0").count() == 0
    assert "AP of model 1: published for its config by a zoo" in page.inner_text("#remarks")


def test_one_image_without_detections(show: Callable):
    content = make_content(images=1, truth=False)
    for result in content["images"][0]["results"]:
        result["detections"] = []
    page = show(content)
    assert page.inner_text("#panel-0 .count") == "0 of 0 detections, 20 ms"
    assert not page.is_visible("#images") and not page.is_visible("#strip")


def test_loads_nothing(show: Callable):
    """One file: no address in it, and a policy that forbids what is not its own."""
    text = render(make_content())
    addresses = set(re.findall(r"https?://[^\s\"'<]*", text))
    assert addresses == {"http://www.w3.org/2000/svg"}, "a name, not an address"
    assert not re.search(r"(src|href)=\"(?!data:)", text)
    page = show(make_content())
    assert "script-src 'sha256-" in page.locator("meta[http-equiv]").get_attribute("content")
