# SPDX-License-Identifier: Apache-2.0
"""`xvla check` finds what is planted and nothing else; the same stops `xvla adapt`."""

from dataclasses import replace
import json

from demonstrations import demonstration
import h5py
import numpy as np
import pytest
from stored_data import motion, write_group

from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.findings import OK, PROBLEM, WARNING
from xvla_ros.core.resources import shared_file
from xvla_ros.data.checks.asked import Asked
from xvla_ros.data.checks.engine import check_all, refuse_broken
from xvla_ros.data.errors import DataError
from xvla_ros.data.source import ArmKeys, CameraKeys, PoseKeys, Source
from xvla_ros.tools.cli import main

ROBOT = load_embodiment(shared_file('config', 'franka_sim.yaml'))
ASKED = Asked(embodiment=ROBOT)


UP = np.array([0.0, 0.0, 1.0])


def good(number=0):
    return demonstration(number)


def found(episodes, asked=ASKED):
    """Return the findings that are not ok, by name."""
    return {f.name: f for f in check_all(episodes, asked) if f.level != OK}


def test_good_data_has_no_finding():
    assert found([good(n) for n in range(4)], replace(ASKED, anchors=10)) == {}


def moved(episode, **changes):
    return replace(episode, **changes)


def at_frame(values, frame, change):
    made = values.copy()
    made[frame] = change(made[frame])
    return made


def gap(e):
    return moved(e, times_s=e.times_s + np.where(np.arange(len(e)) >= 9, 2.0, 0.0))


def jump(e):
    return moved(e, positions=at_frame(e.positions, 9, lambda p: p + np.array([0, 0.6, 0])))


def spin(e):
    return moved(e, quaternions=at_frame(e.quaternions, 9, lambda q: q[..., [1, 0, 3, 2]]))


def still(e):
    return moved(
        e, positions=np.repeat(e.positions[:1], len(e), axis=0), openings=0 * e.openings + 1
    )


def millimetres(e):
    return moved(e, positions=1e3 * e.positions)


def thousandths(e):
    return moved(e, positions=1e-3 * e.positions)


def reversed_gripper(e):
    return moved(e, openings=1 - e.openings)


def idle_gripper(e):
    return moved(e, openings=0 * e.openings + 1)


def speechless(e):
    return moved(e, instruction=' ')


def verbose(e):
    return moved(e, instruction='pick up ' + 50 * 'the very ' + 'red block')


def outside(e):
    return moved(e, positions=at_frame(e.positions, slice(9, None), lambda p: p + UP))


def frozen(e):
    image = e.look(0)
    return moved(e, look=lambda frame: image)


def black(e):
    return moved(e, look=lambda frame: (0 * e.look(0)[0], *e.look(frame)[1:]))


def unreadable(e):
    def look(frame):
        if frame > 20:
            raise e.error('cannot be decoded', frame, 'image')
        return e.look(frame)

    return moved(e, look=look)


def one_camera(e):
    return moved(e, look=lambda frame: e.look(frame)[:1])


def bimanual(e):
    both = {
        n: np.repeat(getattr(e, n), 2, axis=1) for n in ('positions', 'quaternions', 'openings')
    }
    return moved(e, **both)


@pytest.mark.parametrize(
    ('damage', 'name', 'level', 'frame'),
    [
        (gap, 'gaps', WARNING, 9),
        (jump, 'jumps', WARNING, 9),
        (spin, 'turns', WARNING, 9),
        (still, 'still', WARNING, 0),
        (millimetres, 'unit', PROBLEM, None),
        (thousandths, 'unit', PROBLEM, 0),
        (reversed_gripper, 'gripper', PROBLEM, 0),
        (idle_gripper, 'gripper', WARNING, None),
        (speechless, 'instruction', PROBLEM, None),
        (verbose, 'instruction', WARNING, None),
        (outside, 'workspace', WARNING, 9),
        (frozen, 'frozen', PROBLEM, None),
        (black, 'camera', WARNING, 0),
        (unreadable, 'image', PROBLEM, 23),
        (one_camera, 'cameras', WARNING, None),
        (bimanual, 'arms', PROBLEM, None),
    ],
)
def test_what_is_planted_is_found_with_its_place(damage, name, level, frame):
    finding = found([damage(good())])[name]
    assert finding.level == level
    if frame is not None:
        assert finding.frame == frame
    if name != 'gripper' or level == PROBLEM:
        assert finding.episode == 'test 0'
    if level == PROBLEM:
        with pytest.raises(DataError, match=r'episode test 0'):
            refuse_broken([damage(good()), good(1)] if name != 'gripper' else [damage(good())],
                          ASKED)  # fmt: skip


def test_a_gripper_may_begin_closed_where_the_source_says_so():
    episodes = [reversed_gripper(good(n)) for n in range(3)]
    for begin in ('closed', 'any'):
        assert 'gripper' not in found(episodes, replace(ASKED, grippers_begin=begin))
    assert 'gripper' not in found([*episodes[:1], good(1), good(2)]), 'one of three is no proof'


def test_anchors_of_another_length_are_a_problem():
    span_s = 30 * ROBOT.policy.anchor_period_s / ROBOT.policy.anchor_stride
    assert 'anchors' not in found([gap(gap(good()))], replace(ASKED, window_s=span_s))
    assert found([good()], replace(ASKED, window_s=2 * span_s))['anchors'].level == PROBLEM


def test_a_tokenizer_counts_where_there_is_one():
    asked = replace(ASKED, tokens=lambda text: 51)
    assert 'has 51 tokens' in found([good()], asked)['instruction'].found


def test_poses_are_compared_with_those_of_the_joints():
    from xvla_ros.control.arm_kinematics import arm_kinematics

    (arm,) = ROBOT.arms.values()
    joints = np.array(arm.home_rad) + 0.1 * np.sin(np.arange(24) / 9)[:, None]
    poses = [arm_kinematics(arm).forward(row) for row in joints]
    told = {
        'positions': np.array([[p] for p, _ in poses]),
        'quaternions': np.array([[q] for _, q in poses]),
        'joints': joints,
        'joint_names': arm.joint_names,
    }
    assert 'kinematics' not in found([moved(good(), **told)])
    told['positions'] = told['positions'] + [0.0, 0.0, 0.1034]  # the flange in place of the tool
    finding = found([moved(good(), **told)])['kinematics']
    assert '103 mm' in finding.found


SOURCE = Source(
    format='hdf5',
    fps=10.0,
    instruction_key='words',
    cameras={'main': CameraKeys(key='i/main')},
    arms={
        'arm': ArmKeys(
            state=PoseKeys(
                position='p', rotation='r', gripper='g', gripper_open=1.0, gripper_closed=0.0
            )
        )
    },
)
TEXT = """
format: hdf5
fps: 10.0
paths: ['*.hdf5']
instruction_key: words
cameras: {main: {key: i/main}}
arms:
  arm:
    state: {position: p, rotation: r, gripper: g, gripper_open: OPEN, gripper_closed: CLOSED}
"""


@pytest.fixture
def stored(tmp_path):
    """Return a source file of three stored episodes."""
    for number in range(3):
        with h5py.File(tmp_path / f'{number}.hdf5', 'w') as file:
            write_group(file, SOURCE, motion(1, number))
    path = tmp_path / 'mine.yaml'
    path.write_text(TEXT.replace('OPEN', '1.0').replace('CLOSED', '0.0'))
    return path


def check(capsys, *arguments):
    code = main(['check', *map(str, arguments)])
    return code, capsys.readouterr().out


def test_the_command_says_what_it_found(stored, tmp_path, capsys):
    page = tmp_path / 'out' / 'check.html'
    code, text = check(capsys, stored, '--page', page)
    assert code == 0
    assert 'episodes: 3 with 36 frames' in text
    html = page.read_text()
    assert html.count('<img') > 3 * 5
    assert 'red and blue swapped' in html
    with h5py.File(tmp_path / '1.hdf5', 'a') as file:
        file['p'][4, 1] = np.nan
    code, text = check(capsys, stored)
    assert code == 1
    assert '1.hdf5, episode 1, frame 4: positions is not a number' in text
    assert 'problems: 1' in text


def test_json_holds_every_finding(stored, tmp_path, capsys):
    with h5py.File(tmp_path / '2.hdf5', 'a') as file:
        del file['g']
    code, text = check(capsys, stored, '--json', '--checkpoint', 'demo_policy')
    told = json.loads(text)
    assert (code, told['problems']) == (1, 1)
    (problem,) = [f for f in told['findings'] if f['level'] == PROBLEM]
    assert (problem['name'], problem['episode'], problem['frame']) == ('missing', '2', None)
    assert problem['file'].endswith('2.hdf5')


def test_there_may_be_nothing_to_check(tmp_path, capsys):
    assert main(['check', str(tmp_path)]) == 2
    assert 'nothing says what its numbers mean' in capsys.readouterr().err


def adapt(capsys, stored):
    """Return what stops an adaptation to stored data."""
    words = ['adapt', '--source', str(stored), '--checkpoint', 'demo_policy', '--row', '3',
             '--embodiment', 'franka_sim.yaml', '--out', str(stored.parent / 'out')]  # fmt: skip
    assert main(words) == 2
    assert not (stored.parent / 'out').exists()
    return capsys.readouterr().err.splitlines()[-1]


def test_broken_data_stops_before_training(stored, tmp_path, capsys):
    with h5py.File(tmp_path / '1.hdf5', 'a') as file:
        file['r'][7] = [0.0, 0.0, 0.0, 3.0]
    assert "1.hdf5, episode 1, frame 7: 'r' is no quaternion" in adapt(capsys, stored)


def test_a_reversed_polarity_stops_before_training(stored, tmp_path, capsys):
    stored.write_text(TEXT.replace('OPEN', '0.0').replace('CLOSED', '1.0'))
    line = adapt(capsys, stored)
    assert '0.hdf5, episode 0, frame 0: gripper: does not begin open in 3 of 3' in line


def test_an_empty_episode_stops_before_training(stored, tmp_path, capsys):
    with h5py.File(tmp_path / '2.hdf5', 'a') as file:
        for key in ('p', 'r', 'g', 'i/main'):
            rows = file[key][:0]
            del file[key]
            file[key] = rows
    assert '2.hdf5, episode 2: has 0 frames' in adapt(capsys, stored)


def test_a_bag_is_checked_as_the_doctor_does(bag, capsys):
    code, text = check(capsys, bag)
    assert code == 0
    assert 'path of arm' in text
    assert 'episodes: 2 with' in text
