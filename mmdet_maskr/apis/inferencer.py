"""Detect on images in a few lines of Python, with masks and keypoints in what is returned."""

from __future__ import annotations

import copy
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import numpy as np
from mmcv.transforms import Compose
from mmdet.apis import DetInferencer
from mmdet.datasets.transforms import InferencerLoader
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.fileio import dump
from mmengine.logging import print_log
from mmengine.registry import FUNCTIONS
from torch import nn

from mmdet_maskr.apis import models as sources
from mmdet_maskr.apis import options as arguments
from mmdet_maskr.apis import predictions
from mmdet_maskr.apis.call import Call, Counted, is_out_of_memory, sink_of
from mmdet_maskr.apis.coco_json import CocoResults
from mmdet_maskr.apis.pictures import as_seen
from mmdet_maskr.datasets import wrappers
from mmdet_maskr.datasets.unreadable import why_unreadable
from mmdet_maskr.deploy.optimization import optimize as fast_form
from mmdet_maskr.engine.config_errors import explain
from mmdet_maskr.engine.config_reading import read_config
from mmdet_maskr.engine.unwrap import predicting_part, without_wrappers
from mmdet_maskr.errors import UserError
from mmdet_maskr.folders import as_path, check_writable
from mmdet_maskr.inference import inputs as images_of
from mmdet_maskr.inference.inputs import ImageInput
from mmdet_maskr.inference.video import VideoFrames
from mmdet_maskr.visualization.draw import shown

SHOWN_FAILURES = 20
# The call that a thread is at, and the inferencer that it calls.
_CALL: ContextVar[tuple[object, Call] | None] = ContextVar("call", default=None)


class MaskRInferencer(DetInferencer):
    """mmdet's DetInferencer for boxes, masks and keypoints. ::

        inferencer = MaskRInferencer('configs/maskr_keypoint_r50_fpn_90k.py', 'epoch_12.pth')
        person = inferencer('photo.jpg', out_dir='out', no_save_pred=False)['predictions'][0]
        inferencer('photos/', coco_json='found.json', ann_file='instances_val2017.json')

    Names, colours and skeleton are the checkpoint's own (``meta['dataset_meta']``); what it lacks
    comes from the data set of the config's ``test_dataloader``. docs/inference.md has examples.

    Threads may share one: their calls wait for one another.

    Args:
        model: path of a config, a config, a folder that tools/convert_weights.py wrote, the name of
            one of this package's configs or of a model in mmdet's index, or the path of a
            checkpoint. None takes the config from the checkpoint, or from ``config.py`` beside it.
        weights: path or URL of a checkpoint of the whole model; without one, a config's is random.
        device: None takes the first accelerator that mmcv's ops run on, or the CPU.
        scope: where ``model`` is looked up if it is a name that this package has not.
        palette: colours instead of the data set's: 'coco', 'voc', 'citys' or 'random'.
        show_progress: show a progress bar.
        visualizer: config of another visualizer than :class:`.InstanceVisualizer`.
        classes: names instead of those that checkpoint or config have.
        optimize: detect with a fast form of the model, :func:`mmdet_maskr.deploy.optimize`.

    Raises:
        UserError: no such config, name, checkpoint or device; a name without weights; a checkpoint
            that does not fit the model, or without a config where none is given; a model with more
            or fewer classes than its names; an unknown option, or one of another type.
    """

    model: nn.Module  # this and the numbers below are DetInferencer's
    num_predicted_imgs: int
    num_visualized_imgs: int

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
        **unknown,
    ) -> None:
        given = dict(
            scope=scope,
            palette=palette,
            show_progress=show_progress,
            visualizer=visualizer,
            classes=classes,
            optimize=optimize,
        )
        arguments.check(arguments.CONSTRUCTOR, {**unknown, **given}, ("model", "weights", "device"))
        self._visualizer_cfg = ConfigDict(visualizer or dict(type="InstanceVisualizer"))
        self._classes = None if classes is None else tuple(classes)
        self._lock = threading.RLock()
        model, weights = sources.find_model(model, weights, scope)
        self._named = model if isinstance(model, str) else weights or "the given config"
        device = sources.check_device(device)
        try:
            if isinstance(model, str) and Path(model).is_file():
                model = read_config(model)
            super().__init__(
                model=model,
                weights=weights,
                device=device,
                scope=scope,
                palette=palette,
                show_progress=show_progress,
            )
            if optimize:
                self.model = fast_form(self.model, inplace=True)
        except (UserError, MemoryError):
            raise
        except Exception as error:  # what a config or a checkpoint may ask for has no end
            raise self._unbuilt(error, model) from error

    def _unbuilt(self, error: Exception, model: object) -> UserError:
        reason = explain(error, model if isinstance(model, Config) else None)
        if reason is None:
            lines = str(error).splitlines() or [""]
            reason = f"{type(error).__name__}: {lines[0][:200]}"
        return UserError(
            f"no detector can be made of {self._named}: {reason} (MMDET_MASKR_TRACEBACK=1 shows "
            "where)."
        )

    @property
    def _call(self) -> Call | None:
        """What the call wants that this thread is at."""
        found = _CALL.get()
        return found[1] if found is not None and found[0] is self else None

    # ------------------------------------------------------------------------------------- model
    def _init_model(self, cfg: Config | ConfigDict, weights: str | None, device: str) -> nn.Module:
        self._weights = weights
        try:
            return super()._init_model(cfg, weights, device)
        except UserError as error:
            if cfg or str(weights) in str(error):
                raise
            raise UserError(f"checkpoint {weights}: {error}") from error
        except (AssertionError, ValueError, TypeError, KeyError, AttributeError) as error:
            if cfg or explain(error):  # a given one is not looked for
                raise
            raise UserError(
                f"checkpoint {weights} holds no config: name the one that it was trained with, "
                "MaskRInferencer('config.py', weights)."
            ) from error

    def _load_weights_to_model(
        self, model: nn.Module, checkpoint: dict | None, cfg: Config | ConfigDict
    ) -> None:
        """Load the weights, and join what the checkpoint and the config say about the data set."""
        inner = without_wrappers(model)
        sources.check_weights(inner, checkpoint, self._weights, self._named)
        if checkpoint is not None:  # DetInferencer's own would take COCO's classes
            super(DetInferencer, self)._load_weights_to_model(inner, checkpoint, cfg)
        of_config = wrappers.metainfo_of(copy.deepcopy(cfg.test_dataloader.dataset))
        given = sources.checkpoint_meta(checkpoint)
        if "classes" not in of_config:
            if "classes" not in given:
                raise UserError(
                    f"neither {self._weights or 'a checkpoint'} nor {self._named} names classes: "
                    "set test_dataloader.dataset.metainfo=dict(classes=(...)) in the config."
                )
            of_config = {**of_config, "classes": given["classes"]}
        meta = sources.join_meta(given, of_config)
        if self._classes is not None:
            meta["classes"] = self._classes
        if self.palette != "none":
            meta["palette"] = self.palette
        roi_head = getattr(predicting_part(model), "roi_head", None)
        bbox_head = getattr(roi_head, "bbox_head", None)
        expected = getattr(bbox_head, "num_classes", len(meta["classes"]))
        sources.check_classes(meta, given, self._classes, expected, self._weights)
        model.dataset_meta = meta

    def _init_pipeline(self, cfg: Config | ConfigDict) -> Compose:
        """The test pipeline, that of the data sets within where they are wrapped."""
        found = wrappers.the_pipeline(cfg.test_dataloader.dataset, "an inferencer")
        one = dict(test_dataloader=dict(dataset=dict(pipeline=copy.deepcopy(found))))
        pipeline = super()._init_pipeline(ConfigDict(one))
        sources.check_augmentation(self.model, pipeline)
        return pipeline

    def _init_collate(self, cfg: Config | ConfigDict) -> Callable:
        """The config's, from mmengine's registry: mmdet has none, of which its own would warn."""
        collate_fn = cfg.test_dataloader.get("collate_fn", "pseudo_collate")
        args = dict(collate_fn) if isinstance(collate_fn, dict) else dict(type=collate_fn)
        function = args.pop("type")
        return partial(FUNCTIONS.get(function) if isinstance(function, str) else function, **args)

    def _init_visualizer(self, cfg: Config | ConfigDict):
        cfg.visualizer = copy.deepcopy(self._visualizer_cfg)
        return super()._init_visualizer(cfg)

    # -------------------------------------------------------------------------------------- call
    def __call__(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        batch_size: int = 1,
        *,
        score_thr: predictions.Threshold = 0.0,
        pred_score_thr: predictions.Threshold = 0.3,
        outputs: Sequence[str] | None = None,
        coco_json: str | Path | None = None,
        ann_file: str | Path | None = None,
        out_dir: str | Path = "",
        no_save_vis: bool = False,
        no_save_pred: bool = True,
        return_datasamples: bool = False,
        **options,
    ) -> dict:
        """Detect on images, or on the frames of a video.

        An image of several that cannot be read is left out and reported at the end.

        Args:
            inputs: path, folder, pattern ('photos/**/*.jpg'), URL (http, https, file), array
                (H, W, 3) uint8 in BGR order as ``cv2.imread`` gives it, or (H, W) in grey, a list
                of these; or the path of a video.
            batch_size: how many images the model sees at once.
            score_thr: leave out detections below this score, from all that comes back and is
                written; of each class, as in ``{'person': 0.7, 'default': 0.3}``, or one for all.
            pred_score_thr: the same for pictures alone.
            outputs: what comes back of 'boxes', 'masks' and 'keypoints'; None for all that the
                model gives.
            coco_json: write all detections as one file of COCO's results, see
                :class:`.CocoResults`.
            ann_file: COCO annotation file, for the ids of images and classes in ``coco_json``.
            out_dir: folder for pictures (``vis/NAME``, of a video ``vis/NAME.mp4``) and
                predictions (``preds/NAME.json``). Files of an array have a running number, that of
                the image since the inferencer was built.
            no_save_vis: write no pictures.
            no_save_pred: write no predictions.
            return_datasamples: give mmdet's DetDataSample, with dense masks, and not dictionaries.
            **options: ``return_vis``, ``show``, ``wait_time``, ``draw_pred``, ``print_result``, as
                DetInferencer has them.

        Returns:
            A dictionary with

            - ``predictions``: of each image that was read, in order, ``labels`` (D), ``scores``
              (D), ``bboxes`` (D x [x1, y1, x2, y2]), and where the model has them ``masks``, D RLEs
              of COCO with ``counts`` as a string, ``keypoints``, D lists of K [x, y] in the boxes'
              continuous coordinates (COCO's files have 0.5 less), empty where a detection's class
              has none, and ``keypoint_scores``, D lists of K; in pixels of the image, for D
              detections, highest score first;
            - ``images``: path or URL of each of them; the number of an array or frame;
            - ``failed``: why an image could not be read, by path or URL;
            - ``visualization``: pictures (H, W, 3) in RGB, with ``return_vis=True``.

        Raises:
            UserError: no such image, folder or video, an unreadable one where there is no other,
                a URL that cannot be fetched, an array of another shape or type; masks or keypoints
                are wanted of a model without; unknown classes or images in an option; an unknown
                option, or one of another type; a folder that cannot be written, before detecting.
        """
        flags = dict(
            no_save_vis=no_save_vis,
            no_save_pred=no_save_pred,
            return_datasamples=return_datasamples,
        )
        more = ("batch_size", "score_thr", "pred_score_thr", "outputs", "coco_json", "ann_file")
        arguments.check(arguments.CALL, {**flags, **options}, (*more, "out_dir"))
        with self._lock:
            return self._detect(
                inputs,
                batch_size,
                score_thr,
                pred_score_thr,
                outputs,
                coco_json,
                ann_file,
                out_dir,
                **flags,
                **options,
            )

    def _detect(
        self,
        inputs: ImageInput | Sequence[ImageInput],
        batch_size: int,
        score_thr: predictions.Threshold,
        pred_score_thr: predictions.Threshold,
        outputs: Sequence[str] | None,
        coco_json: str | Path | None,
        ann_file: str | Path | None,
        out_dir: str | Path,
        no_save_vis: bool,
        no_save_pred: bool,
        return_datasamples: bool,
        **options,
    ) -> dict:
        classes = self.model.dataset_meta["classes"]
        named = out_dir is not None and not (isinstance(out_dir, str) and out_dir == "")
        out_dir = as_path(out_dir, "out_dir") if named else ""
        images = self._inputs_to_list(inputs)
        saves = bool(out_dir) and not (no_save_vis and no_save_pred)
        video = images if isinstance(images, VideoFrames) else None
        files = None if isinstance(images, VideoFrames) else images
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size={batch_size!r}: it must be 1 or more.")
        if saves:
            for name, wanted in (("vis", not no_save_vis), ("preds", not no_save_pred)):
                if wanted:
                    check_writable(Path(out_dir) / name, f"out_dir={str(out_dir)!r}")
        if saves and files is not None:
            purpose = "their files in out_dir would overwrite one another"
            images_of.check_names(files, purpose, stems=not no_save_pred)
        with tempfile.TemporaryDirectory(prefix="mmdet_maskr_") as folder:
            thresholds = predictions.thresholds_of_classes
            call = Call(
                score_thr=thresholds(score_thr, classes, "score_thr", 0.0),
                drawn_thr=thresholds(pred_score_thr, classes, "pred_score_thr", 0.3),
                outputs=predictions.check_outputs(outputs, self.model, self._named),
                folder=Path(folder),
                single=files is not None and len(files) == 1,
                is_video=video is not None,
            )
            if coco_json is not None:
                call.coco = CocoResults(coco_json, classes, files, ann_file)
            elif ann_file is not None:
                raise UserError("ann_file has the ids for coco_json, which is not given.")
            if video is not None and out_dir and not no_save_vis:
                call.sink = sink_of(video, Path(out_dir))
            token = _CALL.set((self, call))
            try:
                with predictions.rle_masks(self.model, enabled=not return_datasamples):
                    results = super().__call__(
                        images,
                        batch_size=batch_size,
                        pred_score_thr=pred_score_thr,
                        out_dir=str(out_dir),
                        no_save_vis=no_save_vis,
                        no_save_pred=no_save_pred or call.is_video,
                        return_datasamples=return_datasamples,
                        **options,
                    )
                self._finish(call, results, images)
                if video is not None and saves and not (no_save_pred or return_datasamples):
                    path = Path(out_dir) / "preds" / f"{video.path.stem}.json"
                    dump(results["predictions"], str(path))
            except BaseException as error:
                if call.sink is not None:
                    call.sink.close(whole=False)
                if isinstance(error, OSError):
                    place = error.filename or out_dir or coco_json
                    raise UserError(f"{place} cannot be written: {error.strerror}.") from error
                raise
            finally:
                _CALL.reset(token)
        return results

    def _finish(self, call: Call, results: dict, images: Sequence | VideoFrames) -> None:
        """Write what is written at the end, and report what could not be read."""
        results.update(images=call.images, failed=call.failed)
        if not call.images and call.failed:
            path, reason = next(iter(call.failed.items()))
            raise UserError(f"none of the {len(images)} images can be read; {path}: {reason}.")
        if call.coco is not None:
            call.coco.write()
        if call.sink is not None:
            call.sink.close(whole=True)
        if call.failed:
            shown = list(call.failed.items())[:SHOWN_FAILURES]
            lines = [f"\n  {path}: {reason}" for path, reason in shown]
            more = len(call.failed) - len(shown)
            lines += [f"\n  ... and {more} more, in the result's 'failed'"] if more else []
            print_log(
                f"{len(call.failed)} of {len(images)} images could not be read and are left out; "
                f"the others are done:{''.join(lines)}"
            )

    # ------------------------------------------------------------------------------------ images
    def _inputs_to_list(
        self, inputs: ImageInput | Sequence[ImageInput] | VideoFrames
    ) -> list[str | np.ndarray] | VideoFrames:
        """The images, a folder's in the order of their names; or the frames of a video."""
        if isinstance(inputs, VideoFrames):
            return inputs
        images = images_of.expand(inputs, sources.input_channels(self.model))
        videos = [image for image in images if images_of.is_video(image)]
        if not videos:
            return images
        if len(images) > 1 or images_of.is_url(videos[0]):
            raise UserError(
                f"{videos[0]} is a video: give one at a time, as a file and without other images."
            )
        return VideoFrames(videos[0])

    def preprocess(self, inputs: list | VideoFrames, batch_size: int = 1, **kwargs) -> Iterable:
        """DetInferencer's batches, of a number that is known, for the progress bar."""
        batches = super().preprocess(inputs, batch_size, **kwargs)
        return Counted(batches, -(-len(inputs) // batch_size))

    def _get_chunk_data(self, inputs: Iterable, chunk_size: int) -> Iterator[list[tuple]]:
        """Batches of (file or array, what the pipeline makes of it), without the unreadable."""
        call, chunk = self._call, []
        if call is None:
            raise UserError("preprocess() is a step of a call: call the inferencer on the images.")
        for number, image in enumerate(inputs):
            file = self._file_of(image, call)
            if file is None:
                continue
            data = self._through_pipeline(image, file, call, number)
            if data is None:
                continue
            call.images.append(image if isinstance(image, str) else number)
            chunk.append((file, data))
            if len(chunk) == chunk_size:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _file_of(self, image: str | np.ndarray, call: Call) -> str | np.ndarray | None:
        """A downloaded file for a URL; None where it cannot be fetched."""
        if not images_of.is_url(image):
            return image
        folder = call.folder / f"{len(call.images)}_{len(call.failed)}"
        folder.mkdir()
        try:
            return str(images_of.fetch(image, folder))
        except UserError as error:
            call.fail(image, str(error), error)
            return None

    def _through_pipeline(
        self, image: str | np.ndarray, file: str | np.ndarray, call: Call, number: int
    ) -> dict | None:
        try:
            return self.pipeline(file)
        except Exception as error:
            if is_out_of_memory(error):
                call.images.append(image if isinstance(image, str) else number)
                call.fail_for_memory(-1, error)
                return None
            reason = why_unreadable(file) if isinstance(file, str) else None
            if reason is None or not isinstance(image, str):  # the pipeline's own mistake
                raise
            call.fail(image, reason, error)
            return None

    # ------------------------------------------------------------------------------- predictions
    def forward(self, inputs: dict | tuple, **kwargs) -> list[DetDataSample]:
        """The model's predictions, as far as they are wanted.

        Images for which there is not enough memory are left out, one by one.
        """
        call = self._call
        if call is None:
            return super().forward(inputs, **kwargs)
        call.kept = None
        samples, failure = self._try_forward(inputs, kwargs)
        if failure is not None:
            samples = self._one_by_one(inputs, kwargs, call, failure)
        for sample in samples:
            chosen = predictions.above(sample.pred_instances, call.score_thr)
            sample.pred_instances = predictions.only(chosen, call.outputs)
        return samples

    def _try_forward(
        self, inputs: dict | tuple, kwargs: dict
    ) -> tuple[list[DetDataSample], Exception | None]:
        try:
            return super().forward(inputs, **kwargs), None
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return [], error.with_traceback(None)  # its frames hold what takes the memory

    def _one_by_one(
        self, inputs: dict | tuple, kwargs: dict, call: Call, failure: Exception
    ) -> list[DetDataSample]:
        values = inputs.values() if isinstance(inputs, dict) else ()
        count = len(call.images) - call.done  # of the batch
        if values and all(isinstance(v, (list, tuple)) and len(v) == count for v in values):
            singles = [{key: value[i : i + 1] for key, value in inputs.items()}  # type: ignore[union-attr]
                       for i in range(count)]  # fmt: skip
        else:
            singles = []
        samples, call.kept, place = [], [], call.done
        for i in range(count):
            found, error = ([], failure) if count == 1 or not singles else self._try_forward(
                singles[i], kwargs
            )  # fmt: skip
            call.kept.append(error is None)
            if error is None:
                samples += found
                place += 1
            else:
                call.fail_for_memory(place, error)
        return samples

    def visualize(
        self,
        inputs: list,
        preds: list[DetDataSample],
        return_vis: bool = False,
        no_save_vis: bool = False,
        img_out_dir: str = "",
        **options,
    ) -> list[np.ndarray] | None:
        """DetInferencer's; it takes arrays for RGB here, although the model takes them for BGR."""
        call, drawn = self._call, preds
        if call is not None and call.kept is not None:
            inputs = [i for i, kept in zip(inputs, call.kept, strict=True) if kept]
        images = [shown(i) if isinstance(i, np.ndarray) else i for i in inputs]
        if call is not None:
            loader = next(t for t in self.pipeline.transforms if isinstance(t, InferencerLoader))
            if return_vis or options.get("show") or (img_out_dir and not no_save_vis):
                images = [as_seen(image, loader, call.folder) for image in images]
            options["pred_score_thr"] = -1.0  # it has been applied
            chosen = [predictions.above(p.pred_instances, call.drawn_thr) for p in preds]
            drawn = [DetDataSample(pred_instances=c, metainfo=p.metainfo)
                     for c, p in zip(chosen, preds, strict=True)]  # fmt: skip
        if call is None or not call.is_video:
            where = dict(no_save_vis=no_save_vis, img_out_dir=img_out_dir)
            return super().visualize(images, drawn, return_vis=return_vis, **where, **options)
        wanted = return_vis or call.sink is not None
        pictures = super().visualize(images, drawn, return_vis=wanted, **options)
        if call.sink is not None:
            for picture in pictures:
                call.sink.write(picture)
        return pictures if return_vis else None

    def postprocess(
        self, preds: list[DetDataSample], *args, return_datasamples: bool = False, **kwargs
    ) -> dict:
        """DetInferencer's; the picture and the JSON file of an image then have the same number."""
        call = self._call
        done = self.num_predicted_imgs + len(preds)
        names = [] if call is None else call.images[call.done : call.done + len(preds)]
        for name, sample in zip(names, preds, strict=False):
            if images_of.is_url(name):
                sample.set_metainfo(dict(img_path=name))
        results = super().postprocess(preds, *args, return_datasamples=return_datasamples, **kwargs)
        self.num_predicted_imgs = self.num_visualized_imgs = done
        if call is not None:
            call.done += len(preds)
            if call.coco is not None:
                found = results["predictions"]
                dicts = map(predictions.as_lists, found) if return_datasamples else found
                for name, prediction in zip(names, dicts, strict=True):
                    call.coco.add(name, prediction)
        return results

    def pred2dict(self, data_sample: DetDataSample, pred_out_dir: str = "") -> dict:
        """The predictions of an image as lists, and as a JSON file where a folder is given.

        Args:
            data_sample: with ``pred_instances``.
            pred_out_dir: the file is ``preds/NAME.json`` in it; '' for none.

        Returns:
            What :func:`mmdet_maskr.apis.predictions.as_lists` gives.
        """
        result = predictions.as_lists(data_sample)
        path = data_sample.get("img_path")
        number = f"{self.num_predicted_imgs:08d}"
        name = number if path is None else Path(images_of.file_name(path)).stem
        self.num_predicted_imgs += 1
        if pred_out_dir != "":
            dump(result, str(Path(pred_out_dir) / "preds" / f"{name}.json"))
        return result
