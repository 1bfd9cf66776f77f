"""The inferencer: detect on images in a few lines of Python, with masks and keypoints."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from mmdet.datasets.transforms import InferencerLoader
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import VISUALIZERS
from mmengine.visualization import Visualizer

from mmdet_maskr.adjustments import own_calls
from mmdet_maskr.apis import model_files, options, predictions
from mmdet_maskr.apis.coco_json import CocoResults
from mmdet_maskr.apis.detector import (
    Detector,
    FoundSample,
    Samples,
    Wanted,
    build_detector,
    is_as_stored,
    loader_of,
)
from mmdet_maskr.apis.pictures import Pictures
from mmdet_maskr.apis.predictions import Threshold
from mmdet_maskr.apis.tiled import tiled, tiling_of
from mmdet_maskr.engine.config_errors import explain
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import as_path, check_writable
from mmdet_maskr.inference.inputs import ImageInput, check_names, open_source
from mmdet_maskr.inference.overlap import depths_of
from mmdet_maskr.inference.sinks import CocoFile, Collected, JsonFiles, Printed, Tally, json_sink
from mmdet_maskr.inference.tiles.grid import OVERLAP
from mmdet_maskr.inference.tracking import Tracks
from mmdet_maskr.inference.video import Video, film_of
from mmdet_maskr.inference.walk import Counter, Image, Model, Sink, walk
from mmdet_maskr.inference.window import Window, check_display
from mmdet_maskr.zoo.resolve import resolve


class MaskRInferencer:
    """Detects boxes, masks and keypoints, with the interface of mmdet's DetInferencer. ::

        inferencer = MaskRInferencer('configs/maskr_keypoint_r50_fpn_90k.py', 'epoch_12.pth')
        person = inferencer('photo.jpg', out_dir='out', no_save_pred=False)['predictions'][0]
        inferencer('photos/', coco_json='found.json', ann_file='instances_val2017.json')

    Names, colors and skeleton come from the checkpoint (``meta['dataset_meta']``). If it lacks
    them, they come from the dataset in ``test_dataloader`` of the config. docs/inference.md has
    examples.

    Several threads may share an inferencer: their calls wait for one another.

    Args:
        model: path of a config, a config, a folder that ``maskr convert-weights`` wrote, the name
            of one of this package's configs or of a model in mmdet's index, or the path of a
            checkpoint. None takes the config from the checkpoint, or from ``config.py`` next to it.
        weights: path or URL of a checkpoint of the whole model. Without it, a model from a config
            has random weights.
        device: such as 'cpu' or 'cuda:1'; None for the first accelerator that supports mmcv's ops,
            or the CPU.
        scope: package in which to look up ``model`` if this package does not have the name.
        palette: colors to use instead of the dataset's: 'coco', 'voc', 'citys' or 'random'.
        show_progress: show a progress bar.
        visualizer: config of another visualizer than :class:`.InstanceVisualizer`.
        classes: class names that override those of checkpoint and config.
        optimize: use the faster form of the model, see :func:`mmdet_maskr.deploy.optimize`.

    Raises:
        UserError: a config, name, checkpoint or device does not exist; a name has no weights; the
            checkpoint does not fit the model, or contains no config and none is given; the number
            of classes differs from the number of names; an option is unknown or has the wrong type.
    """

    def __init__(
        self,
        model: str | Path | Config | dict | None = None,
        weights: str | Path | None = None,
        device: str | None = None,
        scope: str = "mmdet",
        palette: str = "none",
        show_progress: bool = True,
        visualizer: dict | None = None,
        classes: Sequence[str] | None = None,
        optimize: bool = False,
        **unknown: Any,
    ) -> None:
        given = dict(
            scope=scope,
            palette=palette,
            show_progress=show_progress,
            visualizer=visualizer,
            classes=classes,
            optimize=optimize,
        )
        options.check(options.CONSTRUCTOR, {**unknown, **given}, ("model", "weights", "device"))
        self.show_progress = show_progress
        detector = build_detector(model, weights, device, scope, palette, classes, optimize)
        self.model, self.cfg, self.pipeline, self.collate_fn, self._named = detector
        self.visualizer = build_visualizer(visualizer, self.model.dataset_meta)
        self._counter = Counter()
        self._lock = threading.RLock()

    @classmethod
    def from_pretrained(cls, reference: str | Path, **options: Any) -> MaskRInferencer:
        """Load a pretrained model by name; it is downloaded and converted once, then cached. ::

            MaskRInferencer.from_pretrained('mask_rcnn_R_50_FPN_3x')('photo.jpg')

        Args:
            reference: a name that ``maskr zoo --pretrained`` lists, a folder
                that ``maskr publish`` wrote, or ``hf://org/name[@revision]`` of the Hugging Face
                hub.
            **options: arguments of the constructor, except ``model`` and ``weights``.

        Raises:
            UserError: the model does not exist (the message has similar names), cannot be
                downloaded, or differs from the published file.
        """
        given = sorted({"model", "weights"} & set(options))
        if given:
            raise UserError(f"from_pretrained sets model and weights itself: leave out {given[0]}.")
        if not isinstance(reference, (str, Path)) or str(reference) in ("", "."):
            raise UserError(f"from_pretrained: {reference!r} is not the name of a model.")
        with own_calls():
            local = resolve(reference)
        print_log(local.title, logger="current")
        return cls(local.config, local.weights, **options)

    @property
    def num_predicted_imgs(self) -> int:
        """The number of images processed since the inferencer was built."""
        return self._counter.done

    @property
    def num_visualized_imgs(self) -> int:
        """The same number, under DetInferencer's second name."""
        return self._counter.done

    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput] | Video,
        batch_size: int = 1,
        return_vis: bool = False,
        show: bool = False,
        wait_time: float = 0,
        no_save_vis: bool = False,
        draw_pred: bool = True,
        pred_score_thr: Threshold = 0.3,
        return_datasamples: bool = False,
        print_result: bool = False,
        no_save_pred: bool = True,
        out_dir: str | Path = "",
        texts: None = None,
        stuff_texts: None = None,
        custom_entities: bool = False,
        tokens_positive: None = None,
        *,
        score_thr: Threshold = 0.0,
        outputs: Sequence[str] | None = None,
        coco_json: str | Path | None = None,
        ann_file: str | Path | None = None,
        tile: int | str | None = None,
        overlap: float | None = None,
        track: bool = False,
        film: str | Path | None = None,
        **unknown: Any,
    ) -> dict[str, Any]:
        """Detect on images, or on the frames of a video or camera.

        If one of several images cannot be read, it is skipped and reported at the end. Video frames
        are read and drawn in other threads while the model runs. Ctrl-C ends a video or a camera
        (:class:`.LiveFrames`); the files are then complete up to the last frame.

        Args:
            inputs: a path, folder, glob pattern ('photos/**/*.jpg'), URL (http, https, file), or
                array (H, W, 3) uint8 in BGR as ``cv2.imread`` returns it, (H, W) in gray, or (H, W,
                bands) of any dtype for a model that loads images with LoadBands; a list
                of these; or the path of a video, the address of a stream (rtsp://...), or
                ``LiveFrames(0)`` for a camera.
            batch_size: images per batch.
            return_vis: return the pictures.
            show: show each picture in a window; q ends a video.
            wait_time: seconds to show each image; 0 waits for a key.
            no_save_vis: do not write pictures.
            draw_pred: draw the detections, or only the images.
            pred_score_thr: score threshold for pictures only.
            return_datasamples: return mmdet's DetDataSample with dense masks (RLEs with ``tile``)
                instead of dictionaries.
            print_result: print the predictions.
            no_save_pred: do not write predictions.
            out_dir: folder for pictures (``vis/NAME``, for a video ``vis/NAME.mp4``) and
                predictions (``preds/NAME.json``). Files of arrays are numbered by the images since
                the inferencer was built.
            texts, stuff_texts, custom_entities, tokens_positive: DetInferencer's options for models
                with text input; an error here.
            score_thr: drop detections below this score from results, files and pictures; one number
                for all classes, or a number per class such as ``{'person': 0.7, 'default': 0.3}``.
            outputs: any of 'boxes', 'masks' and 'keypoints' to return; None for everything that the
                model predicts.
            coco_json: write all detections to this file as COCO results, see :class:`.CocoResults`.
            ann_file: COCO annotation file with the ids of images and classes for ``coco_json``.
            tile: detect on square tiles with this side length in pixels and merge the detections,
                for images that are much larger than the training images. 'auto' uses the size that
                the test pipeline resizes to. ``batch_size`` then counts tiles. See
                docs/large_images.md.
            overlap: overlap of neighboring tiles, as a fraction of ``tile``; None for 0.2. One of
                the tiles shows an object as a whole if it is smaller than the overlap.
            track: give the objects of a video ids (``track_ids``), see docs/video.md. Needs the
                package trackers.
            film: file for the drawn video, .mp4 or .avi, instead of the one in ``out_dir``.
            **unknown: any other option is an error.

        Returns:
            A dictionary with

            - ``predictions``: one dictionary per image, in order, with ``labels`` (D), ``scores``
              (D), ``bboxes`` (D x [x1, y1, x2, y2]) and, if the model predicts them, ``masks`` (D
              COCO RLEs with ``counts`` as a string), ``keypoints`` (D lists of K [x, y]; empty if
              the class has none) and ``keypoint_scores`` (D lists of K), for D detections in pixels
              of the image, highest score first. Keypoints have the continuous coordinates of boxes;
              COCO's files have 0.5 less;
            - ``images``: path or URL of each image; for an array or frame, its number;
            - ``failed``: images that could not be read: the reason by path or URL;
            - ``visualization``: pictures (H, W, 3) in RGB, with ``return_vis=True``;
            - ``labels``, for a camera, instead of ``predictions``: the number of detections of each
              label.

        Raises:
            UserError: an input does not exist, cannot be read (and is the only one) or cannot be
                downloaded; an array has a wrong shape or type; masks or keypoints are wanted but
                the model has none; an option is unknown, has a wrong type, or names unknown classes
                or images; a folder cannot be written. All options are checked before detecting.
        """
        # 1. options: each is checked before anything is read
        given = dict(
            batch_size=batch_size,
            return_vis=return_vis,
            show=show,
            wait_time=wait_time,
            no_save_vis=no_save_vis,
            draw_pred=draw_pred,
            return_datasamples=return_datasamples,
            print_result=print_result,
            no_save_pred=no_save_pred,
            texts=texts,
            stuff_texts=stuff_texts,
            custom_entities=custom_entities,
            tokens_positive=tokens_positive,
            track=track,
        )
        more = ("pred_score_thr", "out_dir", "score_thr", "outputs", "coco_json", "ann_file",
                "tile", "overlap", "film")  # fmt: skip
        options.check(options.CALL, {**unknown, **given}, more)
        if ann_file is not None and coco_json is None:
            raise UserError("ann_file has an effect only with coco_json: pass coco_json too.")
        if overlap is not None and tile is None:
            raise UserError(
                "overlap has an effect only with tile: pass tile=1024, for example, or leave "
                "out overlap."
            )
        named = out_dir is not None and not (isinstance(out_dir, str) and out_dir == "")
        folder = as_path(out_dir, "out_dir") if named else None
        vis = None if folder is None or no_save_vis else folder / "vis"
        preds = None if folder is None or no_save_pred else folder / "preds"
        with self._lock:
            # 2. the model: its outputs and thresholds; tiles around it
            classes = self.dataset_meta["classes"]
            least = predictions.thresholds_of_classes(score_thr, classes, "score_thr", 0.0)
            share = OVERLAP if overlap is None else overlap
            model = self._wanted(least, outputs, tile, share, batch_size)
            drawn = predictions.thresholds_of_classes(
                pred_score_thr, classes, "pred_score_thr", 0.3
            )
            # 3. the source, and the folders that will be written
            source = open_source(inputs, self._channels, is_as_stored(self._loader))
            video = source if isinstance(source, Video) else None
            images = None if isinstance(source, Video) else source
            if video is None and (track or film is not None):
                name = "track" if track else "film"
                raise UserError(f"{name} works only for a video or camera, not for images.")
            if video is not None and show:
                check_display()
            target = None if film is None else as_path(film, "film")
            if target is not None:
                vis = target.absolute().parent
            for place in (vis, preds):
                if place is not None:
                    check_writable(place, f"out_dir={str(out_dir)!r}")
            if images is not None and vis is not None:
                check_names(images, "their files in out_dir would overwrite one another")
            # 4. the sinks: each gets every image with what was found on it
            found = Samples() if return_datasamples else Collected()
            tally = Tally()
            written = None if video is None or vis is None else film_of(video, vis, target)
            pictures = Pictures(
                self.visualizer,
                self._loader,
                drawn,
                folder=vis if video is None else None,
                film=written,
                window=Window(video.stem) if video is not None and show else None,
                keep=bool(return_vis),
                show=bool(show) and video is None,
                wait_time=wait_time,
                draw_pred=bool(draw_pred),
            )
            sinks: list[Sink] = [Tracks(video)] if video is not None and track else []
            sinks.append(tally if video is not None and video.live else found)
            if preds is not None:
                sinks.append(json_sink(source, preds))
            if coco_json is not None:
                sinks.append(CocoFile(CocoResults(coco_json, classes, images, ann_file)))
            if print_result:
                sinks.append(Printed())
            if return_vis or show or vis is not None:
                sinks.append(pictures)  # the last: its window may end the video
            # 5. source -> model -> sinks
            at_once = batch_size if tile is None else 1
            as_rle = not return_datasamples or tile is not None
            with self._rle_masks(as_rle):
                report = walk(
                    source,
                    model,
                    sinks,
                    at_once,
                    self._counter,
                    bool(self.show_progress),
                    depths_of(source, show=bool(show)),
                )
        result = dict(
            predictions=found.results,
            visualization=pictures.results,
            images=report.images,
            failed=report.failed,
        )
        if video is not None and video.live:
            result["labels"] = dict(sorted(tally.labels.items()))
        return result

    def _wanted(
        self,
        least: Sequence[float],
        outputs: Sequence[str] | None,
        tile: int | str | None,
        overlap: float,
        batch_size: int,
    ) -> Model:
        """The model as a call wants it: with the scores, outputs and tiles of its options."""
        detector = Detector(self.model, self.cfg, self.pipeline, self.collate_fn, self._named)
        kept = predictions.check_outputs(outputs, self.model, self._named)
        wanted = Wanted(detector, least, kept)
        if tile is None:
            return wanted
        tiling = tiling_of(tile, overlap, self.model, self.pipeline)
        return tiled(wanted, tiling, batch_size, bool(self.show_progress))

    @property
    def dataset_meta(self) -> dict[str, Any]:
        """Names of classes and keypoints, colors, and the skeleton."""
        return self.model.dataset_meta

    @property
    def _channels(self) -> int:
        """How many bands an image has."""
        return model_files.input_channels(self.model)

    @property
    def _loader(self) -> InferencerLoader:
        """What reads images."""
        return loader_of(self.pipeline)

    def _rle_masks(self, enabled: bool) -> AbstractContextManager:
        """Within, the model gives masks as RLEs."""
        return predictions.rle_masks(self.model, enabled)

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str | Path = "") -> dict:
        """The predictions of an image as a dictionary; also written to a file if a folder is given.

        Args:
            data_sample: the model's output.
            pred_out_dir: folder for ``preds/NAME.json``; '' writes no file.

        Returns:
            A dictionary as in ``predictions`` of a call.
        """
        found = FoundSample(data_sample, len(self.model.dataset_meta["classes"]))
        if pred_out_dir != "":
            number = self._counter.done
            image = Image(data_sample.get("img_path", number), "")
            JsonFiles(Path(pred_out_dir) / "preds").add(image, number, found)
        return found.lists


def build_visualizer(config: dict | None, meta: dict[str, Any]) -> Visualizer:
    """A visualizer under a name of its own, as mmengine keeps one for each name.

    Raises:
        UserError: it cannot be built.
    """
    try:
        with own_calls():
            args = ConfigDict(config or dict(type="InstanceVisualizer"))
            now = str(datetime.timestamp(datetime.now()))
            name = args.get("name", now)
            args["name"] = f"{name}-{now}" if Visualizer.check_instance_created(name) else name
            visualizer = VISUALIZERS.build(args)
            visualizer.dataset_meta = meta
    except (UserError, MemoryError):
        raise
    except Exception as error:  # what a config may ask for has no end
        reason = explain(error) or f"{type(error).__name__}: {str(error)[:200]}"
        raise UserError(f"visualizer={str(config)[:100]} cannot be built: {reason}") from error
    return visualizer
