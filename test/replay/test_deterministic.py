# SPDX-License-Identifier: Apache-2.0
"""The deterministic replay: same bytes, golden files, exit codes, one line for what is wrong."""

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys

from bags import copy_bag, ROOT, string, write_strings
from checkout import with_checkout
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='messages are read as the classes of ROS')

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.chunks import plan_ends_ns, recorded_chunks, recorded_targets
from xvla_ros.bags.manifest import RECORDING_TOPIC
from xvla_ros.bags.message_types import header_stamp_ns, moved_stamp
from xvla_ros.replay.comparison import open_loop_error, Path3d
from xvla_ros.replay.results import read_table, Table
from xvla_ros.tools.cli import main


def replay(bag, out, *arguments):
    """Run the command; return its exit code."""
    return main(['replay', str(bag), '--deterministic', '--out', str(out), *arguments])


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    from xvla_ros.testing.miniature import write_small

    folder = tmp_path_factory.mktemp('checkpoint')
    return write_small(folder / 'small') or folder / 'small'


@pytest.fixture(scope='module')
def replayed(simulated, tmp_path_factory):
    """Return the results of a replay with the recorded chunks."""
    out = tmp_path_factory.mktemp('replayed')
    assert replay(simulated, out, '--no-model') == 0
    return out


def test_the_same_bag_gives_the_same_bytes(simulated, replayed, tmp_path):
    assert replay(simulated, tmp_path, '--no-model') == 0
    names = ['targets.csv', 'verdicts.jsonl', 'chunks.csv', 'summary.json']
    assert filecmp.cmpfiles(replayed, tmp_path, names, shallow=False) == (names, [], [])


def test_another_process_gives_the_same_bytes(simulated, replayed, tmp_path):
    command = [sys.executable, '-m', 'xvla_ros.tools.cli', 'replay', str(simulated)]
    subprocess.run(
        [*command, '--deterministic', '--no-model', '--out', str(tmp_path)],
        cwd=tmp_path, env=with_checkout(PYTHONHASHSEED='7'), check=True,
    )  # fmt: skip
    for name in ('targets.csv', 'verdicts.jsonl'):
        assert (replayed / name).read_bytes() == (tmp_path / name).read_bytes()


def test_results_hold_no_paths_and_no_wall_clock(replayed, simulated):
    for file in replayed.iterdir():
        text = file.read_text()
        assert str(simulated) not in text
        assert str(ROOT) not in text


def test_the_robot_is_told_what_it_was_told_live(simulated, replayed):
    """Answers were recorded when they were judged here, so the targets are the live ones."""
    table = read_table(replayed / 'targets.csv')
    again = dict(zip(table.stamps_ns.tolist(), table.values, strict=True))
    said = recorded_targets(open_bag(simulated))
    live = {target.stamp_ns: target.arms for target in said if target.arms is not None}
    both = sorted(set(live) & set(again))
    assert len(both) > 100
    apart = np.abs([live[stamp] - again[stamp] for stamp in both])
    assert apart.max() < 1e-6


def test_chunks_of_the_same_observations_are_the_live_ones(simulated, replayed):
    summary = json.loads((replayed / 'summary.json').read_text())['recorded_chunks']
    assert summary['matched'] == summary['recorded'] > 10
    assert summary['largest_difference'] < 1e-6


@pytest.mark.parametrize('ends_s', [(), (0.0, 0.55), (0.5,)])
def test_plans_are_compared_with_where_the_robot_went_until_they_are_dropped(ends_s):
    """A robot that moves 1 cm per second along x, and a plan that is 2 cm off in z."""
    times = np.arange(0, 3 * 10**9, 10**7)
    measured = np.zeros((len(times), 7))
    measured[:, 0], measured[:, 6] = times * 1e-11, 1.0
    due = np.arange(1, 31) * 10**8
    planned = np.zeros((30, 1, 8))
    planned[:, 0, 0], planned[:, 0, 2], planned[:, 0, 6] = due * 1e-11, 0.02, 1.0
    chunks = Table(
        arms=('arm',), stamps_ns=np.zeros(30, int), sequence=np.ones(30, int), third=due,
        values=planned,
    )  # fmt: skip
    ends_ns = (np.array(ends_s) * 1e9).astype(int)
    errors = open_loop_error(chunks, [Path3d(stamps_ns=times, poses=measured)], ends_ns)
    known = {
        'n': 1, 'left_out': 0,
        'position_mm_mean': 20.0, 'position_mm_p95': 20.0, 'rotation_deg_mean': 0.0,
    }  # fmt: skip
    dropped = {'n': 0, 'left_out': 1}
    assert errors['0.2 s'] == known
    assert errors['0.5 s'] == (dropped if 0.5 in ends_s else known)
    assert errors['1 s'] == (dropped if ends_s else known)


def test_what_the_next_task_dropped_is_no_error_of_the_plan(simulated, replayed):
    """The arm is put home at each task's begin: plans of the one before ended 34 cm off."""
    bag = open_bag(simulated)
    tasks = [raw.time_ns for raw in bag.messages({'/policy_node/task'})]
    assert set(tasks) <= set(plan_ends_ns(bag, 0).tolist())
    errors = json.loads((replayed / 'summary.json').read_text())['open_loop_error']
    assert errors['1 s']['left_out'] > 0
    counted = [each for each in errors.values() if each['n']]  # 2 s is as long as an episode
    assert len(counted) >= 3
    assert all(each['position_mm_p95'] < 80 for each in counted)


def test_a_model_answers_and_repeats(simulated, checkpoint, tmp_path):
    for out in ('a', 'b'):
        arguments = ('--checkpoint', str(checkpoint), '--latency-ms', '400')
        assert replay(simulated, tmp_path / out, *arguments) == 0
    for name in ('targets.csv', 'verdicts.jsonl', 'chunks.csv'):
        first, second = ((tmp_path / out / name).read_bytes() for out in ('a', 'b'))
        assert first == second
    assert len(read_table(tmp_path / 'a' / 'chunks.csv').stamps_ns)


def test_a_warm_start_in_one_step_stays_near_ten_steps_from_noise(simulated, tmp_path):
    """The demo policy: 0.04 mm at most; one step from noise is up to 7.3 mm off."""
    runs = {'ten': 'denoising_steps=10', 'one': 'denoising_steps=1', 'warm': 'warm_start_time=0.1'}
    tables = {}
    for name, setting in runs.items():
        steps = ['--set', 'policy.denoising_steps=1'] if name == 'warm' else []
        arguments = ('--checkpoint', str(ROOT / 'resource' / 'demo_policy'), *steps)
        assert replay(simulated, tmp_path / name, *arguments, '--set', f'policy.{setting}') == 0
        tables[name] = read_table(tmp_path / name / 'chunks.csv').values[:, 0, :3]
    warm, one = (
        np.linalg.norm(tables[name] - tables['ten'], axis=1).max() for name in ('warm', 'one')
    )
    assert 0 < warm < 0.001 < one


def test_the_golden_file_decides_the_exit_code(simulated, replayed, tmp_path, capsys):
    golden = tmp_path / 'golden.csv'
    shutil.copy(replayed / 'targets.csv', golden)
    assert replay(simulated, tmp_path / 'out', '--no-model', '--golden', str(golden)) == 0
    lines = golden.read_text().splitlines()
    fields = lines[-1].split(',')
    fields[3] = f'{float(fields[3]) + 0.001:.9f}'
    golden.write_text('\n'.join([*lines[:-1], ','.join(fields)]) + '\n')
    assert replay(simulated, tmp_path / 'out', '--no-model', '--golden', str(golden)) == 1
    assert 'arm.x_m is' in capsys.readouterr().out
    loose = ('--golden', str(golden), '--tolerance', '0.01')
    assert replay(simulated, tmp_path / 'out', '--no-model', *loose) == 0


def one_line(capsys):
    text = capsys.readouterr().err
    assert len(text.strip().splitlines()) == 1, text
    return text


def test_without_a_camera_there_is_no_observation(simulated, tmp_path, capsys):
    bag = copy_bag(simulated, tmp_path / 'bag', keep=lambda raw: 'wrist' not in raw.topic)
    assert replay(bag, tmp_path / 'out', '--no-model') == 2
    assert 'no complete observation: camera wrist: no topic' in one_line(capsys)


def test_a_topic_of_another_type_is_named(simulated, tmp_path, capsys):
    arguments = ('--no-model', '--set', 'cameras.main.compressed=false')
    assert replay(simulated, tmp_path / 'out', *arguments) == 2
    line = one_line(capsys)
    assert 'CompressedImage' in line
    assert 'camera main' in line


def test_images_that_are_none_are_named(simulated, tmp_path, capsys):
    def spoil(raw):
        return raw.data[:100] + bytes(len(raw.data) - 100) if 'camera' in raw.topic else raw.data

    bag = copy_bag(simulated, tmp_path / 'bag', change=spoil)
    assert replay(bag, tmp_path / 'out', '--no-model') == 2
    assert 'cannot decode the compressed image' in one_line(capsys)


def test_a_bag_without_observations_is_refused(tmp_path, capsys):
    bag = write_strings(tmp_path / 'bag')
    assert replay(bag, tmp_path / 'out', '--embodiment', 'franka') == 2
    assert 'no complete observation' in one_line(capsys)


def test_a_whole_number_is_taken_for_a_float_and_no_float_for_a_whole_number(
    simulated, tmp_path, capsys
):
    whole = ('--no-model', '--set', 'limits.following_lag_s=0')
    assert replay(simulated, tmp_path / 'out', *whole) == 0
    assert replay(simulated, tmp_path / 'out', '--no-model', '--set', 'policy.threads=1.0') == 2
    assert "'policy.threads' must be a whole number, got 1.0" in one_line(capsys)


@pytest.mark.parametrize(
    'arguments', [('--latency-ms', '-5'), ('--latency-ms', 'nan'), ('--set', 'policy.seed=[')]
)
def test_arguments_without_a_meaning_are_refused(simulated, tmp_path, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        replay(simulated, tmp_path / 'out', '--no-model', *arguments)
    assert ended.value.code == 2
    assert arguments[1].split('=')[0] in capsys.readouterr().err


def test_a_bag_of_unknown_origin_needs_its_robot(tmp_path, capsys):
    assert replay(write_strings(tmp_path / 'bag'), tmp_path / 'out') == 2
    assert 'give its robot by --embodiment' in one_line(capsys)


def foreign_copy(simulated, folder):
    """Copy a bag as another lab would have recorded it: other names, no word of ours."""
    return copy_bag(
        simulated, folder,
        keep=lambda raw: raw.topic != RECORDING_TOPIC and '/policy_node' not in raw.topic,
        rename={
            '/camera/main/image_raw/compressed': '/lab/cam0/color/compressed',
            '/camera/wrist/image_raw/compressed': '/lab/cam1/color/compressed',
            '/current_pose': '/fr3/current_pose',
            '/joint_states': '/fr3/joint_states',
        },
    )  # fmt: skip


MAPPED = (
    '--set', 'cameras.main.topic=/lab/cam0/color/compressed',
    '--set', 'cameras.main.compressed=true',
    '--set', 'cameras.wrist.topic=/lab/cam1/color/compressed',
    '--set', 'cameras.wrist.compressed=true',
)  # fmt: skip


def test_a_bag_from_elsewhere_needs_only_its_names(simulated, checkpoint, tmp_path):
    bag = foreign_copy(simulated, tmp_path / 'bag')
    arguments = ('--embodiment', str(ROOT / 'config' / 'franka_sim.yaml'), *MAPPED)
    told = ('--checkpoint', str(checkpoint), '--instruction', 'pick up the red block')
    assert replay(bag, tmp_path / 'out', *arguments, *told, '--latency-ms', '400') == 0
    assert len(read_table(tmp_path / 'out' / 'chunks.csv').stamps_ns)


def test_stamps_of_another_clock_are_found_out(simulated, replayed, tmp_path):
    day_ns = 86_400 * 10**9

    def move(raw):
        headed = 'camera' in raw.topic or raw.topic in ('/current_pose', '/joint_states')
        return moved_stamp(raw.data, header_stamp_ns(raw.data) - day_ns) if headed else raw.data

    bag = copy_bag(simulated, tmp_path / 'bag', change=move)
    arguments = ('--checkpoint', '/nowhere')
    from xvla_ros.bags.timeline import clock_offset_ns

    assert clock_offset_ns(open_bag(bag), ['/joint_states']) == pytest.approx(day_ns, abs=1e7)
    assert replay(bag, tmp_path / 'out', *arguments) == 2  # the checkpoint is what is missing


def test_a_truncated_bag_is_replayed_up_to_the_gap(simulated, tmp_path, capsys):
    bag = shutil.copytree(simulated, tmp_path / 'bag')
    (file,) = bag.glob('*.mcap')
    os.truncate(file, int(file.stat().st_size * 0.6))
    assert replay(bag, tmp_path / 'out', '--no-model') == 0
    assert 'ends early' in capsys.readouterr().err


def test_the_checkpoint_is_found_by_its_fingerprint(simulated, checkpoint, tmp_path, capsys):
    from dataclasses import replace

    from xvla_ros.bags.fingerprint import fingerprint
    from xvla_ros.bags.manifest import read_recording, recording_message

    def sign(raw):
        if raw.topic != RECORDING_TOPIC:
            return raw.data
        return recording_message(
            replace(read_recording(raw.data), fingerprint=print_, checkpoint='/elsewhere')
        )

    print_ = fingerprint(checkpoint)
    bag = copy_bag(simulated, tmp_path / 'bag', change=sign)
    assert replay(bag, tmp_path / 'out', '--latency-ms', '400') == 2
    assert 'is neither there, beside the bag nor bundled' in one_line(capsys)
    shutil.copytree(checkpoint, bag / 'policy')
    assert replay(bag, tmp_path / 'out', '--latency-ms', '400') == 0


def test_an_adapter_that_changed_since_the_recording_is_refused(
    simulated, checkpoint, tmp_path, capsys
):
    from dataclasses import replace

    from xvla_ros.bags.fingerprint import fingerprint
    from xvla_ros.bags.manifest import read_recording, recording_message

    adapter = tmp_path / 'adapter'
    adapter.mkdir()
    (adapter / 'adapter_config.json').write_text('{"r": 2, "lora_alpha": 2}')
    prints = {
        'fingerprint': fingerprint(checkpoint),
        'checkpoint': str(checkpoint),
        'adapter_fingerprint': fingerprint(adapter),
    }

    def sign(raw):
        if raw.topic != RECORDING_TOPIC:
            return raw.data
        return recording_message(replace(read_recording(raw.data), **prints))

    bag = copy_bag(simulated, tmp_path / 'bag', change=sign)
    options = ('--set', f'policy.adapter={adapter}')
    assert replay(bag, tmp_path / 'out', *options) == 2
    assert 'adapter_model.safetensors: missing' in one_line(capsys)
    (adapter / 'adapter_config.json').write_text('{"r": 2, "lora_alpha": 4}')
    assert replay(bag, tmp_path / 'out', *options) == 2
    assert 'differs from the one at' in one_line(capsys)
    assert replay(bag, tmp_path / 'out', *options, '--checkpoint', str(checkpoint)) == 0


def test_recorded_chunks_are_read_as_they_were(simulated):
    bag = open_bag(simulated)
    embodiment = bag.recording.load_embodiment('test', {})
    said = recorded_chunks(bag, embodiment)
    assert all(each.chunk.arms == 1 for each in said)
    assert all(len(each.rows) == 30 for each in said)
    assert string('x')


def test_a_part_of_a_bag_is_replayed_as_if_it_were_all(simulated, tmp_path):
    out = tmp_path / 'out'
    part = ('--no-model', '--start', '0.5', '--duration', '1.0')
    assert replay(simulated, out, *part) == 0
    table = read_table(out / 'targets.csv')
    start_ns = open_bag(simulated).start_ns
    assert start_ns + 0.5e9 < table.stamps_ns.min()
    assert table.stamps_ns.max() <= start_ns + 1.5e9
    assert (table.third == 0).any()  # the task that was latched before is followed
    again = tmp_path / 'again'
    assert replay(simulated, again, *part) == 0
    assert (out / 'targets.csv').read_bytes() == (again / 'targets.csv').read_bytes()


def test_a_summary_says_what_was_replayed_and_how(simulated, replayed, checkpoint, tmp_path):
    summary = json.loads((replayed / 'summary.json').read_text())
    assert summary['embodiment'] == 'franka'
    assert summary['version']
    assert summary['checkpoint'] == ''
    assert all('pick up the' in text for text in summary['instructions'])
    arguments = ('--checkpoint', str(checkpoint), '--latency-ms', '400', '--instruction', 'go')
    assert replay(simulated, tmp_path, *arguments, '--set', 'limits.following_lag_s=0.01') == 0
    summary = json.loads((tmp_path / 'summary.json').read_text())
    from xvla_ros.bags.fingerprint import fingerprint

    assert summary['checkpoint'] == checkpoint.name
    assert summary['checkpoint_sha256'] == fingerprint(checkpoint)
    assert summary['overrides'] == {'limits.following_lag_s': 0.01}
    assert summary['instructions'] == ['go']


def test_a_checkpoint_that_is_bundled_goes_by_its_name(simulated, tmp_path):
    arguments = ('--checkpoint', 'demo_policy', '--duration', '1.0', '--latency-ms', '400')
    assert replay(simulated, tmp_path, *arguments) == 0
    assert json.loads((tmp_path / 'summary.json').read_text())['checkpoint'] == 'demo_policy'


def test_one_message_that_cannot_be_read_does_not_end_everything(simulated, replayed, tmp_path):
    seen = []

    def spoil(raw):
        hit = raw.topic == '/current_pose' and len(seen) < 1
        seen.extend([raw] if hit else [])
        return raw.data[:10] if hit else raw.data

    bag = copy_bag(simulated, tmp_path / 'bag', change=spoil)
    assert replay(bag, tmp_path / 'out', '--no-model') == 0
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert summary['gaps'] == ['/current_pose: 1 messages cannot be read']
    whole = json.loads((replayed / 'summary.json').read_text())['counts']['chunks']
    assert summary['counts']['chunks'] >= whole - 2


def test_refusals_are_said_with_arm_and_size(simulated, tmp_path, capsys):
    slow = ('--set', 'limits.max_linear_speed_m_s=0.02')
    assert replay(simulated, tmp_path, '--no-model', *slow) == 0
    said = capsys.readouterr().out
    assert re.search(r'(clamped|rejected) \d+ x arm arm: 0\.\d+ m/s, limit 0\.02', said)


def test_topics_are_renamed_for_a_replay(simulated, replayed, tmp_path):
    bag = copy_bag(simulated, tmp_path / 'bag', rename={'/joint_states': '/lab/joints'})
    assert replay(bag, tmp_path / 'out', '--no-model') == 2
    remap = ('--remap', '/lab/joints:=/joint_states')
    assert replay(bag, tmp_path / 'out', '--no-model', *remap) == 0
    ours, theirs = (folder / 'targets.csv' for folder in (tmp_path / 'out', replayed))
    assert ours.read_bytes() == theirs.read_bytes()


def test_images_that_a_recorder_compressed_stand_for_the_raw_topic(simulated, tmp_path):
    """The embodiment names raw topics; the bag holds them as image_transport names them."""
    robot = ('--embodiment', str(ROOT / 'config' / 'franka_sim.yaml'))
    assert replay(simulated, tmp_path / 'out', '--no-model', *robot) == 0
