# SPDX-License-Identifier: Apache-2.0
"""
Downloads the files of a model on the Hugging Face hub, checks them, and resumes downloads.

huggingface_hub finds and reads the files. It restarts a file after an interruption, so this module
stores a partial file under another name until it is complete.
"""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
import hashlib
from pathlib import Path
from urllib.parse import urlsplit

from huggingface_hub import get_hf_file_metadata, get_token, hf_hub_url, HfApi
from huggingface_hub.file_download import http_get

from xvla_ros.core.errors import CheckpointError

PARTIAL = '.partial'
CHUNK = 1 << 20


def listed(
    name: str, patterns: Sequence[str], revision: str | None, endpoint: str | None
) -> tuple[str, list[str]]:
    """Return the commit of a model, and its files that match a pattern."""
    told = HfApi(endpoint=endpoint).model_info(name, revision=revision)
    files = (sibling.rfilename for sibling in told.siblings or ())
    wanted = [file for file in files if any(fnmatch(file, pattern) for pattern in patterns)]
    return told.sha or revision or 'main', wanted


def bring(name: str, file: str, commit: str, folder: Path, endpoint: str | None) -> bool:
    """
    Download one file unless it is there; return whether it was downloaded.

    :raises CheckpointError: the file differs from its checksum on the hub.
    """
    url = hf_hub_url(name, file, revision=commit, endpoint=endpoint)
    facts = get_hf_file_metadata(url, endpoint=endpoint)
    target = folder / file
    if target.is_file() and is_whole(target, facts.etag, facts.size):
        return False
    partial = target.with_name(f'{target.name}.{(facts.etag or commit)[:12]}{PARTIAL}')
    partial.parent.mkdir(parents=True, exist_ok=True)
    with partial.open('ab') as stream:
        begun = stream.tell()
        http_get(
            facts.location,
            stream,
            resume_size=begun,
            headers=token_for(facts.location, url),
            expected_size=facts.size,
            displayed_filename=file,
        )
    if not is_whole(partial, facts.etag, facts.size):
        partial.unlink()
        raise CheckpointError(
            f'{name}: {file} came with other bytes than the hub has; they are thrown away'
        )
    partial.replace(target)
    return True


def token_for(location: str, hub: str) -> dict[str, str]:
    """Return the header with the user's token, but not for a file on another host."""
    token = get_token()
    same = urlsplit(location).netloc == urlsplit(hub).netloc
    return {'Authorization': f'Bearer {token}'} if token and same else {}


def is_whole(path: Path, etag: str | None, size: int | None) -> bool:
    """
    Say whether a file has the checksum of the hub.

    The tag is the SHA-256 of a large file, and git's SHA-1 of a small one.
    """
    found = path.stat().st_size
    if size is not None and found != size:
        return False
    if etag is None or len(etag) not in (40, 64):
        return size is not None
    if len(etag) == 64:
        digest = hashlib.sha256()
    else:  # git's name of a file
        digest = hashlib.sha1(b'blob %d\0' % found, usedforsecurity=False)
    for part in parts(path):
        digest.update(part)
    return digest.hexdigest() == etag


def parts(path: Path) -> Iterator[bytes]:
    """Yield a file in parts."""
    with path.open('rb') as stream:
        while part := stream.read(CHUNK):
            yield part
