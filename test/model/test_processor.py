# SPDX-License-Identifier: Apache-2.0
"""Images become what Pillow's bicubic makes of them; instructions become a fixed row of ids."""

import json
import shutil

import numpy as np
from PIL import Image
import pytest
from tokenizers import Tokenizer
from tokenizers.implementations import ByteLevelBPETokenizer
from transformers import BartTokenizerFast

from xvla_ros.core.errors import CheckpointError
from xvla_ros.model.image_settings import image_processor, read_image_processor
from xvla_ros.model.processor import ImageProcessor
from xvla_ros.model.reading import read_config
from xvla_ros.model.tokenizer import load_tokenizer, TextProcessor
from xvla_ros.testing.miniature import small_tokenizer

GREY = 1 / 255 / 0.224  # one grey level, normalised, at the smallest standard deviation


def sample_image(height, width, seed=0):
    """Return an image with smooth shades, hard edges and noise."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 255 / width, y * 255 / height, 255.0 * ((x // 16 + y // 16) % 2)], -1)
    return np.clip(image + generator.normal(0, 20, image.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize('size', [(480, 640), (720, 1280), (224, 224), (100, 80), (1080, 1920)])
def test_resizing_equals_pillows_bicubic_within_one_grey_level(size):
    image = sample_image(*size)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    small = np.asarray(Image.fromarray(image).resize((224, 224), Image.BICUBIC), np.float64)
    expected = ((small / 255 - mean) / std).transpose(2, 0, 1)
    actual = ImageProcessor()([image])[0].numpy()
    assert actual.shape == (3, 224, 224)
    assert np.abs(actual - expected).max() <= GREY * 1.001


def test_views_of_different_sizes_make_one_batch():
    pixels = ImageProcessor((40, 60))([sample_image(48, 64), sample_image(100, 20)])
    assert pixels.shape == (2, 3, 40, 60)


def test_letterboxing_pads_left_and_top_with_the_mean_as_lerobot_does():
    pixels = ImageProcessor((40, 40), letterbox=True)([sample_image(20, 40)])[0]
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
        {'size': 224.5},
        {'size': [True, 224]},
        {'resample': 2},
        {'image_mean': 'x'},
        {'image_mean': [1.0, float('nan'), 1.0]},
        {'image_std': [1.0, 1.0]},
        {'image_std': [1.0, 0.0, 1.0]},
        {'do_resize': False},
        {'do_rescale': False},
        {'do_normalize': False},
        {'do_pad': True},
        {'do_something_new': True},
        {'rescale_factor': 1 / 127.5},
        {'do_center_crop': True, 'size': 256, 'crop_size': 224},
        {'size': 256, 'crop_size': 224},
    ],
    ids=str,
)
def test_another_preprocessing_is_refused(data):
    key = next(key for key in data if key != 'size' or len(data) == 1)
    with pytest.raises(
        CheckpointError, match=f'preprocessor_config.*({key}|do_center_crop).*expect'
    ):
        image_processor(data, 'preprocessor_config.json')


@pytest.mark.parametrize(
    'data',
    [
        {'resample': None, 'do_resize': None, 'crop_size': None, 'do_pad': None},
        {'size': 224.0, 'do_center_crop': True, 'crop_size': {'height': 224, 'width': 224}},
        {'crop_size': 196, 'do_center_crop': False},
        {'rescale_factor': 0.00392156862745098, 'do_convert_rgb': True, 'do_pad': False},
        {'image_processor_type': 'CLIPImageProcessorFast', 'data_format': 'channels_first'},
    ],
    ids=str,
)
def test_what_changes_nothing_is_accepted(data):
    assert image_processor(data, 'x').size == (224, 224)


def test_transformers_5_writes_the_image_settings_in_a_block(checkpoint, tmp_path):
    """It saves one processor_config.json, and no preprocessor_config.json."""
    folder = shutil.copytree(checkpoint, tmp_path / 'copy')
    settings = json.loads((folder / 'preprocessor_config.json').read_text())
    (folder / 'preprocessor_config.json').unlink()
    config = read_config(folder)
    with pytest.raises(CheckpointError, match='neither processor_config'):
        read_image_processor(folder, config)
    whole = {'processor_class': 'XVLAProcessor', 'image_processor': settings}
    (folder / 'processor_config.json').write_text(json.dumps(whole))
    assert read_image_processor(folder, config).size == (40, 40)
    settings['do_normalize'] = False
    (folder / 'processor_config.json').write_text(json.dumps(whole))
    with pytest.raises(CheckpointError, match=r'processor_config\.json: image_processor: do_norm'):
        read_image_processor(folder, config)
    (folder / 'processor_config.json').write_text('{}')
    with pytest.raises(CheckpointError, match='has no block image_processor'):
        read_image_processor(folder, config)


@pytest.mark.parametrize('text', ['', 'pick up the red block', 'block ' * 99])
def test_every_instruction_has_the_same_number_of_ids(text):
    ids = TextProcessor(small_tokenizer(), 8)(text)
    assert len(ids) == 8
    assert ids[0] == 0
    assert 2 in ids
    assert set(ids[ids.index(2) + 1 :]) <= {1}


def test_a_tokenizer_larger_than_the_embedding_is_refused(tmp_path):
    small_tokenizer().save(str(tmp_path / 'tokenizer.json'))
    load_tokenizer(tmp_path, 8, 11)
    with pytest.raises(CheckpointError, match='11 tokens, but the embedding has 10 rows'):
        load_tokenizer(tmp_path, 8, 10)


SENTENCES = (
    'pick up the red block, then put it down',
    '  Pick  UP\tthe "red" block!  ',
    'größe 日本 🤖',
    '',
    'block ' * 99,
    'pick <mask> up </s> it',
)


def slow_tokenizer(folder, special=('<s>', '<pad>', '</s>', '<unk>', '<mask>')):
    """Train a byte-level BPE, and save it as transformers' slow BartTokenizer is saved."""
    folder.mkdir(exist_ok=True)
    trained = ByteLevelBPETokenizer()
    corpus = [*SENTENCES, 'pick and place the blocks', 'put the cup down'] * 3
    trained.train_from_iterator(
        corpus, vocab_size=320, min_frequency=1, special_tokens=list(special)
    )
    trained.save_model(str(folder))
    return folder


def test_a_slow_tokenizer_gives_the_ids_that_transformers_gives(tmp_path):
    folder = slow_tokenizer(tmp_path)
    theirs = BartTokenizerFast.from_pretrained(folder, local_files_only=True)
    ours = load_tokenizer(folder, 24, 1000)
    for text in SENTENCES:
        expected = theirs(text, max_length=24, padding='max_length', truncation=True)
        assert ours(text) == tuple(expected['input_ids']), text


def test_added_tokens_get_the_ids_that_the_files_name(tmp_path):
    folder = slow_tokenizer(tmp_path)
    size = len(json.loads((folder / 'vocab.json').read_text()))
    (folder / 'added_tokens.json').write_text(json.dumps({'<loc_1>': size + 1, '<loc_0>': size}))
    theirs = BartTokenizerFast.from_pretrained(folder, local_files_only=True)
    theirs.add_tokens(['<loc_0>', '<loc_1>'], special_tokens=True)
    text = 'pick <loc_1> up<loc_0>'
    expected = tuple(theirs(text)['input_ids'])
    assert load_tokenizer(folder, len(expected), 1000)(text) == expected
    (folder / 'added_tokens.json').write_text(json.dumps({'<loc_0>': size + 5}))
    with pytest.raises(CheckpointError, match=f"'<loc_0>' gets id {size}, .* says {size + 5}"):
        load_tokenizer(folder, 24, 1000)


@pytest.mark.parametrize('name', ['vocab.json', 'merges.txt'])
def test_half_a_slow_tokenizer_is_refused_by_name(tmp_path, name):
    (slow_tokenizer(tmp_path) / name).unlink()
    with pytest.raises(CheckpointError, match=f'{name}: missing'):
        load_tokenizer(tmp_path, 24, 1000)


def test_a_slow_tokenizer_without_an_end_token_is_refused(tmp_path):
    folder = slow_tokenizer(tmp_path, special=('<s>', '<pad>'))
    with pytest.raises(CheckpointError, match='lacks <s> or </s>'):
        load_tokenizer(folder, 24, 1000)


def test_a_missing_or_broken_tokenizer_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match='missing'):
        load_tokenizer(tmp_path, 8, 10)
    (tmp_path / 'tokenizer.json').write_text('{}')
    with pytest.raises(CheckpointError, match='not a tokenizer'):
        load_tokenizer(tmp_path, 8, 10)


def test_a_tokenizer_is_not_changed_for_the_caller(tmp_path):
    tokenizer = small_tokenizer()
    tokenizer.save(str(tmp_path / 'tokenizer.json'))
    assert Tokenizer.from_file(str(tmp_path / 'tokenizer.json')).padding is None
