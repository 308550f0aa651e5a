# SPDX-License-Identifier: Apache-2.0
"""Host lists are expanded as `scontrol show hostnames` does."""

import json
import socket

import pytest

from xvla_ros.core.errors import ConfigError
from xvla_ros.serve.slurm import expand_hostlist, job_info, write_info


@pytest.mark.parametrize(
    ('text', 'names'),
    [
        ('', []),
        ('login', ['login']),
        ('a,b', ['a', 'b']),
        ('node[1-3]', ['node1', 'node2', 'node3']),
        ('node[08-10]', ['node08', 'node09', 'node10']),
        ('node[001-002,7]', ['node001', 'node002', 'node7']),
        ('n[1-2]-ib,login', ['n1-ib', 'n2-ib', 'login']),
        ('r[1-2]n[08-09]', ['r1n08', 'r1n09', 'r2n08', 'r2n09']),
        ('HOST-10-140-60-[1,5]', ['HOST-10-140-60-1', 'HOST-10-140-60-5']),
        ('gpu[3]', ['gpu3']),
        ('n[9-11]', ['n9', 'n10', 'n11']),
    ],
)
def test_host_lists_expand(text, names):
    assert expand_hostlist(text) == names


@pytest.mark.parametrize('text', ['n[1-', 'n]1[', 'n[3-1]', 'n[a-b]', 'n[]', 'n[0-999999999]'])
def test_a_broken_host_list_is_refused(text):
    with pytest.raises(ConfigError, match='host list'):
        expand_hostlist(text)


def test_the_host_is_the_schedulers_own_name():
    job = {'SLURM_JOB_ID': '9', 'SLURM_JOB_NODELIST': 'n[1-2]', 'SLURMD_NODENAME': 'n2'}
    assert job_info(80, job)['host'] == 'n2'
    assert job_info(80, {'SLURM_NODELIST': 'n7'}) == {
        'host': 'n7', 'port': 80, 'job_id': 'none', 'node_list': ['n7'],
    }  # fmt: skip
    several = {'SLURM_JOB_ID': '9', 'SLURM_JOB_NODELIST': 'n[1-2]'}
    assert job_info(80, several)['host'] == socket.gethostname()


def test_outside_a_job_there_is_nothing_to_say():
    with pytest.raises(ConfigError, match='no SLURM job'):
        job_info(80, {})


def test_another_servers_file_is_not_replaced(tmp_path):
    path = tmp_path / 'run' / 'info.json'
    write_info(path, {'port': 1})
    with pytest.raises(ConfigError, match='exists'):
        write_info(path, {'port': 2})
    assert json.loads(path.read_text()) == {'port': 1}
    assert [p.name for p in path.parent.iterdir()] == ['info.json']
