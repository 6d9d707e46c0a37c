"""From the words of the command line to a finished checkpoint folder: the road behind train.py."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from infant_fer.errors import DatasetError
from infant_fer.training.artifacts import write_artifacts
from infant_fer.training.config import INFANT_FACE, changed, read_recipe, recipe_names
from infant_fer.training.experiment import ExperimentConfig, ExperimentResult, compare, run
from infant_fer.training.runtime import is_main_process, log

# Options of the other recipes.
OTHER_RECIPES_ONLY = (
    "base",
    "compare",
    "epochs",
    "set",
    "size",
    "split",
    "folds",
    "average_folds",
    "classes",
    "pictures",
)
OTHER_RECIPES_ONLY += ("whole_pictures", "drop_leaks", "allow_leakage", "size_curve", "teacher", "gallery")


def train(options: Namespace, command: str) -> None:
    """Run what was asked for and write it. Raises InfantFERError with one sentence."""
    if options.recipe not in recipe_names():
        raise DatasetError(f"There is no recipe {options.recipe!r}; there are {', '.join(recipe_names())}.")
    if options.gallery and options.push_to_hub:
        raise DatasetError(
            "--gallery shows private pictures in the report, which --push-to-hub would publish. Leave one away."
        )
    if options.recipe == INFANT_FACE:
        _ours(options, command)
    else:
        _fine_tuned(options, command)
    if options.push_to_hub and is_main_process():
        from infant_fer.checkpoints.hub import upload

        print(f"uploaded to {upload(options.output, options.push_to_hub)}")


def _fine_tuned(options: Namespace, command: str) -> None:
    if options.no_test:
        raise DatasetError(
            "--no-test is for the recipe infant_face; the others measure the test part with the checkpoint."
        )
    asked = experiment(options, command)
    log(f"recipe {options.recipe}: {asked.settings}")
    result, scores = compare(asked, options.compare, log) if options.compare else (run(asked, log), {})
    for base, score in scores.items():
        log(f"{base}: dev accuracy {score:.3f}")
    if is_main_process():
        _finish(result, asked, options.gallery, scores)


def experiment(options: Namespace, command: str) -> ExperimentConfig:
    """The recipe with what the command line changes of it. Raises DatasetError."""
    recipe = read_recipe(options.recipe)
    settings = changed(recipe.settings, options.set)
    if options.epochs is not None:
        settings = changed(settings, [f"epochs={options.epochs}"])
    folds = recipe.folds if options.folds is None else options.folds
    if options.average_folds and not folds:
        raise DatasetError("--average-folds needs --folds.")
    return ExperimentConfig(
        data=options.data,
        base=options.base or recipe.base,
        output=options.output,
        settings=settings,
        split=options.split or recipe.split,
        folds=folds,
        repeats=options.repeats,
        average_folds=bool(folds) and (recipe.average_folds or options.average_folds),
        classes=tuple(options.classes) if options.classes else None,
        pictures=tuple(options.pictures),
        size=options.size,
        teacher=options.teacher,
        whole_pictures=options.whole_pictures,
        drop_leaks=options.drop_leaks,
        allow_leakage=options.allow_leakage,
        size_curve=options.size_curve,
        resume=options.resume,
        seed=options.seed,
        cache=options.cache,
        recipe=options.recipe,
        command=command,
    )


def _finish(result: ExperimentResult, asked: ExperimentConfig, show_faces: bool, scores: dict[str, float]) -> None:
    result = replace(result, provenance={**result.provenance, "compared": scores} if scores else result.provenance)
    write_artifacts(result, asked.output, show_faces)
    for part, answers in {**result.answers, **result.further}.items():
        print(f"{part}: {answers.accuracy}")
    print(f"written to {asked.output}: the checkpoint, metrics.json and report.html")


def _ours(options: Namespace, command: str) -> None:
    asked = [name for name in OTHER_RECIPES_ONLY if getattr(options, name)]
    if asked:
        named = ", ".join("--" + name.replace("_", "-") for name in asked)
        raise DatasetError(
            f"The recipe infant_face takes no {named}: its settings stand in infant_fer/training/recipes/infant_face.toml."
        )
    from infant_fer.training.infant_face.run import RunConfig
    from infant_fer.training.infant_face.run import run as run_ours

    run_ours(
        RunConfig(
            data=Path(options.data),
            output=options.output,
            cache=options.cache,
            resume=options.resume,
            seed=options.seed,
            test=not options.no_test,
            command=command,
        )
    )
