"""Settings of a training: which numbers each may have."""

from dataclasses import fields

import pytest

from infant_fer.errors import DatasetError
from infant_fer.training.config import RANGES, TrainingConfig, with_changes


def test_every_setting_that_is_a_number_has_a_range():
    numbers = {each.name for each in fields(TrainingConfig) if type(each.default) in (int, float)}
    assert set(RANGES) == numbers


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("batch=0", "batch must be at least 1; 0 was given."),
        ("head_epochs=-1", "head_epochs must be at least 0; -1 was given."),
        ("early_stopping=-1", "early_stopping must be at least 0; -1 was given."),
        ("weight_decay=inf", "weight_decay must be at least 0; inf was given."),
        ("learning_rate=nan", "learning_rate must be above 0; nan was given."),
        ("learning_rate=0", "learning_rate must be above 0; 0.0 was given."),
        ("layer_decay=1.5", "layer_decay must be above 0 and at most 1; 1.5 was given."),
        ("label_smoothing=5", "label_smoothing must be at least 0 and below 1; 5.0 was given."),
        ("warmup=2", "warmup must be at least 0 and below 1; 2.0 was given."),
        ("warmup=1", "warmup must be at least 0 and below 1; 1.0 was given."),
        ("ema=-0.1", "ema must be at least 0 and below 1; -0.1 was given."),
    ],
)
def test_a_number_out_of_its_range_is_refused_with_name_value_and_range(change, message):
    with pytest.raises(DatasetError) as refused:
        with_changes(TrainingConfig(), [change])
    assert str(refused.value) == message


def test_the_ends_that_a_range_includes_are_taken():
    changes = ["epochs=1", "head_epochs=0", "weight_decay=0", "layer_decay=1", "warmup=0", "ema=0"]
    assert with_changes(TrainingConfig(), changes).layer_decay == 1
