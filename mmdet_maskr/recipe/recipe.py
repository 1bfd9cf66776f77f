"""The config for a folder, with a reason for each chosen value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmdet_maskr.catalogue import configs_dir
from mmdet_maskr.datasets.formats.prepared import Prepared, Reading
from mmdet_maskr.recipe import data, model
from mmdet_maskr.recipe.facts import Facts
from mmdet_maskr.recipe.lines import Choice, Code, set_value, text_of
from mmdet_maskr.recipe.machine import Machine
from mmdet_maskr.recipe.plan import EVALUATIONS, Plan, Wishes
from mmdet_maskr.recipe.starting import Start

RATE = 0.001  # of the small model, for 4 images an iteration
TUNED = 3e-4  # of weights that are there, for 16 images an iteration (mayaku)
TUNED_LIMITS = (5e-5, 1.5e-3)  # (mayaku)
FEW_EVALUATIONS = 6  # below, early stopping would know too little


def config_text(
    facts: Facts,
    plan: Plan,
    machine: Machine,
    wishes: Wishes,
    start: Start,
    prepared: Prepared,
    reading: Reading,
    data_root: str,
    work_dir: Path,
    base_file: Path,
    options: Mapping[str, Any],
) -> str:
    """Return the text of the config.

    Args:
        facts: of the data.
        plan: the numbers.
        machine: the machine of the training.
        wishes: options of the user.
        start: initial weights.
        prepared: the folder.
        reading: options for reading the folder.
        data_root: the folder's path.
        work_dir: work dir of the training.
        base_file: file with the model, if ``start`` comes with one.
        options: ``--cfg-options``; they override all other values.
    """
    name, why_base = model.base_of(facts, plan)
    folder = configs_dir() / "_base_"
    base = folder / "models" / f"{name}.py"
    if start.config is not None:
        base, why_base = base_file, "the model that the weights are of"
    bases = [str(base), str(folder / "iteration_runtime.py")]
    tree: dict[str, Any] = dict(_base_=Choice(bases, why_base))
    tree["data_root"] = data_root
    tree["work_dir"] = str(work_dir)
    tree["metainfo"] = dict(classes=Choice(tuple(facts.classes), "in any order; a subset is fine"))
    tree["scale"] = Choice((plan.long, plan.short), plan.why_scale)
    tree["load_from"] = Choice(start.load_from, f"initial weights: {start.reason}")
    tree["model"] = model.model_of(facts, plan)
    if start.load_from is not None and start.config is not None:
        nothing = Choice(None, "load_from has all weights")
        tree["model"].setdefault("backbone", {})["init_cfg"] = nothing
    if start.backbone is not None:
        backbone = Choice(dict(type="Pretrained", checkpoint=start.backbone), start.reason)
        tree["model"].setdefault("backbone", {})["init_cfg"] = backbone
    tree |= data.train_pipelines(facts, plan, wishes)
    tree["test_pipeline"] = data.test_pipeline(facts)
    tree |= data.loaders_of(facts, plan, machine, wishes, reading, list(prepared.files))
    tree |= _schedule(plan)
    tree |= _runtime(facts, plan, start, stops=wishes.minutes is None)
    tree["randomness"] = dict(seed=Choice(wishes.seed, "the same seed repeats the training"))
    for path, value in options.items():
        set_value(tree, path, value, "--cfg-options")
    return text_of(tree, _header(facts, prepared, machine, data_root))


def _header(facts: Facts, prepared: Prepared, machine: Machine, data_root: str) -> str:
    classes = ", ".join(f"{name} {count}" for name, count in list(facts.counts.items())[:20])
    lines = [
        f"Written by `maskr train {data_root}`. You can change it and train the result:",
        "`maskr train` accepts this file too.",
        "",
        f"{prepared.summary['format']}; {facts.images} training photos "
        f"({facts.negatives} without objects), {facts.val_images} validation photos.",
        f"Training objects: {classes}.",
        f"Machine: {machine}.",
    ]
    return "\n".join(lines)


def _schedule(plan: Plan) -> dict[str, Any]:
    total = plan.iterations
    warm = min(max(total // 10, 1), 50 if plan.small else 200)
    if plan.small:
        rate = RATE * math.sqrt(plan.batch / 4)
        why = f"suits the small model with {plan.batch} images per iteration"
    else:
        rate = min(max(TUNED * math.sqrt(plan.batch / 16), TUNED_LIMITS[0]), TUNED_LIMITS[1])
        why = f"3e-4 for 16 images, scaled to {plan.batch}"
    optimizer = dict(
        type=Choice("AdamW", "converges in fewer iterations than SGD"),
        lr=Choice(round(rate, 6), why),
        weight_decay=Choice(0.01 if plan.small else 0.05, "against overfitting"),
    )
    return dict(
        train_cfg=dict(
            type="IterBasedTrainLoop",
            max_iters=Choice(total, plan.why_iterations),
            val_interval=Choice(plan.interval, f"{plan.evaluations} validations in all"),
        ),
        val_cfg=dict(type="ValLoop"),
        test_cfg=dict(type="TestLoop"),
        param_scheduler=[
            dict(
                type="LinearLR", by_epoch=False, begin=0,
                start_factor=Choice(0.01, "warm-up: gradients of new heads are large at first"),
                end=Choice(warm, "at most a tenth of the iterations"),
            ),
            dict(
                type="CosineAnnealingLR", by_epoch=False, begin=0, eta_min_ratio=0.01,
                end=Choice(total, "the learning rate decreases until the end"), T_max=total,
            ),
        ],
        optim_wrapper=dict(
            type="OptimWrapper",
            optimizer=optimizer,
            clip_grad=dict(max_norm=Choice(10, "limits the effect of a single unusual batch")),
        ),
    )  # fmt: skip


def _runtime(facts: Facts, plan: Plan, start: Start, stops: bool) -> dict[str, Any]:
    """Hooks; ``stops`` lets the training end early, which has all the time that it needs."""
    best = data.best_of(facts)
    hooks, why = ["dict(type='PreviewHook')"], ["preview.html shows the progress"]
    if start.load_from is not None:
        # least_shared=0: most folders have no class of COCO's
        hooks.append("dict(type='ClassTransferHook', least_shared=0)")
        why.append(
            "classes with the same name keep their weights, others start from random weights"
        )
    # from scratch the score is 0 for long
    if stops and not plan.small and plan.evaluations >= FEW_EVALUATIONS:
        patience = max(3, EVALUATIONS // 3)
        hooks.append(
            f"dict(type='EarlyStoppingHook', monitor={best!r}, rule='greater', "
            f"patience={patience}, min_delta=0.001)"
        )
        why.append("stops when validation no longer improves")
    tree: dict[str, Any] = dict(
        default_hooks=dict(
            logger=dict(interval=Choice(10, "log one line every 10 iterations")),
            checkpoint=dict(
                interval=Choice(plan.interval, "save at each validation"),
                save_best=Choice(best, "also keep the best checkpoint"),
                rule="greater",
                max_keep_ckpts=Choice(1, "keep only the newest checkpoint"),
            ),
        ),
        log_processor=dict(window_size=10),
    )
    listed = Code(f"[*_base_.custom_hooks, {', '.join(hooks)}]")
    tree["custom_hooks"] = Choice(listed, "; ".join(why))
    return tree
