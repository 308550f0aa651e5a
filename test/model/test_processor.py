# SPDX-License-Identifier: Apache-2.0
"""Images become what Pillow's bicubic makes of them; instructions become a fixed row of ids."""

import numpy as np
from PIL import Image
import pytest
from tokenizers import Tokenizer

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.miniature import small_tokenizer
from xvla_ros.model.processor import (
    image_processor,
    ImageProcessor,
    load_tokenizer,
    TextProcessor,
)

GREY = 1 / 255 / 0.224  # one grey level, normalised, at the smallest standard deviation


def picture(height, width, seed=0):
    """Return an image with smooth shades, hard edges and noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 / width, y * 255 / height, 255.0 * ((x // 16 + y // 16) % 2)], -1)
    return np.clip(image + generator.normal(0, 20, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('size', [(480, 640), (720, 1280), (224, 224), (100, 80), (1080, 1920)])
def test_resizing_equals_pillows_bicubic_within_one_grey_level(size):
    image = picture(*size)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    small = np.asarray(Image.fromarray(image).resize((224, 224), Image.BICUBIC), np.float64)
    expected = ((small / 255 - mean) / std).transpose(2, 0, 1)
    actual = ImageProcessor()([image])[0].numpy()
    assert actual.shape == (3, 224, 224)
    assert np.abs(actual - expected).max() <= GREY * 1.001


def test_views_of_different_sizes_make_one_batch():
    pixels = ImageProcessor((40, 60))([picture(48, 64), picture(100, 20)])
    assert pixels.shape == (2, 3, 40, 60)


def test_letterboxing_pads_left_and_top_with_the_mean_as_lerobot_does():
    pixels = ImageProcessor((40, 40), letterbox=True)([picture(20, 40)])[0]
    assert (pixels[:, :20] == 0).all()
    assert (pixels[:, 20:] != 0).any()


@pytest.mark.parametrize(
    ('data', 'size'),
    [
        ({'size': {'height': 96, 'width': 128}}, (96, 128)),
        ({'size': 96}, (96, 96)),
        ({'size': [96, 128]}, (96, 128)),
        ({}, (224, 224)),
    ],
)
def test_the_image_size_comes_from_the_file(data, size):
    assert image_processor(data, 'x').size == size


@pytest.mark.parametrize(
    'data',
    [
        {'size': {'shortest_edge': 224}},
        {'size': None},
        {'resample': 2},
        {'image_mean': 'x'},
        {'image_std': [1.0, 1.0]},
    ],
)
def test_another_preprocessing_is_refused(data):
    with pytest.raises(CheckpointError):
        image_processor(data, 'preprocessor_config.json')


@pytest.mark.parametrize('text', ['', 'pick up the red block', 'block ' * 99])
def test_every_instruction_has_the_same_number_of_ids(text):
    ids = TextProcessor(small_tokenizer(), 8)(text)
    assert len(ids) == 8
    assert ids[0] == 0
    assert 2 in ids
    assert set(ids[ids.index(2) + 1 :]) <= {1}


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path):
    small_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    load_tokenizer(tmp_path / 'tokenizer.json', 8, 11)
    with pytest.raises(CheckpointError, match='11 tokens, but the embedding has 10 rows'):
        load_tokenizer(tmp_path / 'tokenizer.json', 8, 10)


def test_a_missing_or_broken_tokenizer_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='missing'):
        load_tokenizer(tmp_path / 'tokenizer.json', 8, 10)
    (tmp_path / 'tokenizer.json').write_text('{}')
    with pytest.raises(CheckpointError, match='not a tokenizer'):
        load_tokenizer(tmp_path / 'tokenizer.json', 8, 10)


def test_a_tokenizer_is_not_changed_for_the_caller(tmp_path):
    tokenizer = small_tokenizer()
    tokenizer.save(str(tmp_path / 'tokenizer.json'))
    assert Tokenizer.from_file(str(tmp_path / 'tokenizer.json')).padding is None
