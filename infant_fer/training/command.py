"""How does a command line become a checkpoint? Checks everything first, then runs the recipe and writes the folder."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from infant_fer.errors import DatasetError
from infant_fer.files import check_output_folder
from infant_fer.training.config import (
    INFANT_FACE,
    RECIPE_ALIASES,
    DataConfig,
    ExperimentConfig,
    FoldsConfig,
    balanced,
    changed,
    consistent,
    read_recipe,
    recipe_names,
    with_auxiliary,
)
from infant_fer.training.experiment import run
from infant_fer.training.pretrained import RANDOM
from infant_fer.training.provenance import is_main_process, log
from infant_fer.training.reports.artifacts import OWN_FILES, write_artifacts
from infant_fer.training.variants import compare, variants

# Options that the recipe infant_face does not take: its settings are in its own file.
OTHER_RECIPES_ONLY = (
    *("compare", "vary", "keep", "balance", "aux", "crops", "epochs", "set", "size", "split"),
    *("folds", "repeats", "average_folds", "classes", "pictures", "whole_pictures"),
    *("drop_leaks", "allow_leakage", "size_curve", "gallery", "watch"),
)


def train(options: Namespace, command: str) -> None:
    """Run a recipe and write its checkpoint; `command` is what the card shows. Raises InfantFERError with one sentence."""
    recipe = RECIPE_ALIASES.get(options.recipe, options.recipe.replace("-", "_"))
    if recipe not in recipe_names():
        raise DatasetError(f"There is no recipe {recipe!r}; there are {', '.join(recipe_names())}.")
    for name in ("gallery", "watch"):
        if getattr(options, name) and options.push_to_hub:
            raise DatasetError(
                f"--{name} shows private pictures in the report, which --push-to-hub would publish. Leave one away."
            )
    if options.only_member is not None and options.push_to_hub:
        raise DatasetError("--only-member writes no checkpoint that --push-to-hub could upload. Leave one away.")
    output = options.output or Path("checkpoints") / recipe
    check_output_folder(output)
    if recipe == INFANT_FACE:
        _train_infant_face(options, output, command)
    else:
        _fine_tune(options, experiment_config(options, recipe, output, command))
    if options.push_to_hub and is_main_process():
        from infant_fer.checkpoints.hub import upload

        print(f"uploaded to {upload(output, options.push_to_hub, OWN_FILES)}")


def experiment_config(options: Namespace, recipe_name: str, output: Path, command: str) -> ExperimentConfig:
    """Return the recipe with the changes of the command line. Raises DatasetError."""
    recipe = read_recipe(recipe_name)
    twice = [
        name for name in ("base", "balance") if getattr(options, name) and (options.vary or "").startswith(f"{name}=")
    ]
    if options.vary and (options.compare or twice):
        also = "--compare" if options.compare else f"--{twice[0]}"
        raise DatasetError(f"--vary already says what is compared: leave out {also}.")
    changes = [f"{name}={getattr(options, name)}" for name in ("epochs", "keep") if getattr(options, name) is not None]
    folds = recipe.folds if options.folds is None else options.folds
    if options.average_folds and not folds:
        raise DatasetError("--average-folds needs --folds.")
    if options.watch and folds and (recipe.average_folds or options.average_folds):
        raise DatasetError("--watch follows one training; with averaged folds there are several. Leave one away.")
    varied = (options.vary or "").removeprefix("base=").split(",") if (options.vary or "").startswith("base=") else []
    bases = options.compare or varied or [options.base or recipe.base]
    if options.size is not None and not any(each.startswith(RANDOM) for each in bases):
        raise DatasetError(
            f"--size is for --base random:NAME; trained weights keep the size of their crops ({bases[0]})."
        )
    config = ExperimentConfig(
        data=DataConfig(
            source=options.data,
            classes=tuple(options.classes) if options.classes else None,
            pictures=tuple(options.pictures),
            split=options.split or recipe.split,
            crops=options.crops or recipe.crops,
            whole_pictures=options.whole_pictures,
            drop_leaks=options.drop_leaks,
            allow_leakage=options.allow_leakage,
            cache=options.cache,
        ),
        base=options.base or recipe.base,
        output=output,
        settings=recipe.settings,
        folds=FoldsConfig(
            folds,
            1 if options.repeats is None else options.repeats,
            bool(folds) and (recipe.average_folds or options.average_folds),
        ),
        size=recipe.size if options.size is None else options.size,
        teacher=options.teacher,
        size_curve=options.size_curve,
        watch=tuple(options.watch),
        resume=options.resume,
        seed=options.seed,
        recipe=recipe_name,
        command=command,
    )
    config = changed(config, [*options.set, *changes])
    config = balanced(config, options.balance) if options.balance else config
    return with_auxiliary(config, options.aux) if options.aux else consistent(config)


def _fine_tune(options: Namespace, config: ExperimentConfig) -> None:
    given = ["--" + name.replace("_", "-") for name in INFANT_FACE_ONLY if getattr(options, name) is not None]
    if given:
        raise DatasetError(f"{', '.join(given)}: only the recipe infant_face takes that.")
    if options.no_test:
        raise DatasetError("--no-test is for the recipe infant_face; the others always measure the test split.")
    log(f"recipe {config.recipe}: {config.settings}")
    if options.compare or options.vary:
        result, candidates = compare(variants(config, options.compare or (), options.vary), log)
        for each in candidates:
            log(f"{each.name}: {each.split} accuracy {each.accuracy}, loss {each.figures['loss']:.3f}")
    else:
        result = run(config, log)
    if not is_main_process():
        return
    write_artifacts(result, config.output, options.gallery)
    for split, predictions in {**result.predictions, **result.further}.items():
        print(f"{split}: {predictions.accuracy}")
    print(f"written to {config.output}: the checkpoint, metrics.json and report.html")


RANDOM_WEIGHTS = "random"  # as --base of the recipe infant-face
INFANT_FACE_ONLY = ("variant", "only_member", "start_from")


def _train_infant_face(options: Namespace, output: Path, command: str) -> None:
    given = ["--" + name.replace("_", "-") for name in OTHER_RECIPES_ONLY if getattr(options, name)]
    if given:
        raise DatasetError(
            f"The recipe infant_face takes no {', '.join(given)}: its settings are in infant_fer/training/recipes/infant_face.toml."
        )
    from infant_fer.training.infant_face.config import RunConfig, recipe, variants
    from infant_fer.training.infant_face.run import run as run_infant_face

    if options.variant not in (None, *variants()):
        raise DatasetError(f"There is no variant {options.variant!r}; there are {', '.join(variants())}.")
    run_infant_face(
        RunConfig(
            data=Path(options.data),
            output=output,
            cache=options.cache,
            resume=options.resume,
            seed=options.seed,
            test=not options.no_test,
            command=command,
            base=Path(options.base) if options.base not in (None, RANDOM_WEIGHTS) else None,
            random_weights=options.base == RANDOM_WEIGHTS,
            start_from=options.start_from,
            teacher=Path(options.teacher) if options.teacher else None,
            only_member=options.only_member,
            learning=recipe(options.variant),
        )
    )
