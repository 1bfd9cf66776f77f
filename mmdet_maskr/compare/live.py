"""The live form: drop an image, and see it through all models. Made with gradio, works offline."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from mmdet_maskr.compare.comparison import Comparison
from mmdet_maskr.compare.page import render
from mmdet_maskr.errors import UserError

OLDEST = 6  # where the style of a form is an option of launch
INSTALL = f"pip install 'gradio>={OLDEST}'"
HOST = "127.0.0.1"  # this machine alone
KEPT = (600, 3600)  # every ten minutes, uploads older than an hour are deleted
LARGEST_FILE = "50mb"
FONTS = ("system-ui", "sans-serif")  # gradio's own would be asked for at Google
STYLE = """
.gradio-container .fillable { padding: 12px clamp(12px, 2vw, 28px) !important; }
.html-container { padding: 0 !important; }
.compare { display: block; width: 100%; min-height: 400px; border: 0; }
"""
EMPTY = '<p class="empty">The pictures appear here.</p>'


def import_gradio() -> ModuleType:
    """Gradio, which is optional, without its telemetry.

    Raises:
        UserError: it is not installed, or too old.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise UserError(
            f"--serve needs gradio, which cannot be imported ({error}): {INSTALL}."
        ) from error
    if int(gradio.__version__.split(".")[0]) < OLDEST:
        raise UserError(f"--serve needs a newer gradio than {gradio.__version__}: {INSTALL}.")
    return gradio


def frame(content: dict) -> str:
    """The page of :func:`.render` as a frame, apart from gradio's styles and scripts."""
    page = html.escape(render(content))
    title = html.escape(content["title"])
    return f'<iframe class="compare" title="{title}" srcdoc="{page}"></iframe>'


def build_form(comparison: Comparison, images: Sequence[Path] = ()) -> Any:
    """The form as gradio's Blocks.

    Args:
        comparison: the models.
        images: shown at the beginning.
    """
    gradio = import_gradio()

    def compare(files: list[str] | None) -> str:
        if not files:
            return EMPTY
        try:
            return frame(comparison.run([Path(file) for file in files]))
        except UserError as error:
            raise gradio.Error(html.escape(str(error)), print_exception=False) from error

    names = ", ".join(model.source.name for model in comparison.models)
    with gradio.Blocks(
        title="Side by side", analytics_enabled=False, fill_width=True, delete_cache=KEPT
    ) as form:
        gradio.Markdown("# Side by side")
        gradio.HTML(f"<p>{html.escape(names)}</p>")
        files = gradio.File(
            label="Images", file_count="multiple", file_types=["image"], elem_id="images"
        )
        value = frame(comparison.run(images)) if images else EMPTY
        page = gradio.HTML(value, elem_id="page", js_on_load=None)
        # one at a time: several would share the processor, and the times shown would be wrong
        files.change(compare, files, page, concurrency_limit=1, api_visibility="private")
    return form


def serve(
    comparison: Comparison,
    images: Sequence[Path] = (),
    host: str = HOST,
    port: int | None = None,
    block: bool = True,
) -> str:
    """Serve the form until the process is interrupted.

    Args:
        comparison: the models.
        images: shown at the beginning.
        host: address to listen at; '0.0.0.0' lets other machines in.
        port: None takes the first free one from 7860 on.
        block: False returns while the form is served.

    Returns:
        The form's address.

    Raises:
        UserError: gradio is not installed, or the port is in use.
    """
    form = build_form(comparison, images)
    gradio = import_gradio()
    try:
        _, address, _ = form.launch(
            server_name=host,
            server_port=port,
            share=False,
            ssr_mode=False,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=LARGEST_FILE,
            footer_links=[],
            theme=gradio.themes.Base(font=FONTS, font_mono=FONTS),
            css=STYLE,
        )
    except OSError as error:
        raise UserError(f"--host {host} --port {port}: cannot listen on this address.") from error
    print(f"serving {address} (Ctrl-C ends it)", flush=True)
    if block:
        form.block_thread()
    return address
