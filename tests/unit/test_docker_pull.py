# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an engine's lines say of an image that is pulled: harp.proxy.deploy.docker.pull."""

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harp.proxy.deploy.docker.pull import MOST_LAYERS, Layers, image_of
from harp.proxy.deploy.steps import Progress


def lines(*said: Mapping[str, object]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\r\n" for line in said)


def fetched(layer: str, current: int, total: int) -> dict[str, object]:
    detail = {"current": current, "total": total}
    return {"status": "Downloading", "progressDetail": detail, "progress": "[=>  ]", "id": layer}


# In the words of Docker 20.10 and 27: the tag's line has an id too, and is no layer.
BEGUN = (
    {"status": "Pulling from library/app", "id": "latest"},
    {"status": "Already exists", "progressDetail": {}, "id": "c0"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "a1"},
    {"status": "Pulling fs layer", "progressDetail": {}, "id": "b2"},
    {"status": "Waiting", "progressDetail": {}, "id": "b2"},
)


def test_layers_and_bytes_are_counted() -> None:
    layers = Layers()
    layers.take(lines(*BEGUN))
    assert layers.progress == Progress(layers=3, layers_done=1, size_bytes=0, done_bytes=0)
    layers.take(lines(fetched("a1", 40, 100), fetched("b2", 5, 10)))
    assert layers.progress == Progress(layers=3, layers_done=1, size_bytes=110, done_bytes=45)
    layers.take(lines({"status": "Verifying Checksum", "id": "a1"}, {"status": "Download complete", "id": "a1"}))
    assert layers.progress == Progress(layers=3, layers_done=1, size_bytes=110, done_bytes=105)
    unpacking = {"status": "Extracting", "progressDetail": {"current": 1, "total": 100}, "id": "a1"}
    layers.take(lines(unpacking, {"status": "Pull complete", "id": "a1"}, {"status": "Pull complete", "id": "b2"}))
    assert layers.progress == Progress(layers=3, layers_done=3, size_bytes=110, done_bytes=110)
    layers.take(lines({"status": "Digest: sha256:00"}, {"status": "Status: Downloaded newer image for app:latest"}))
    assert (layers.progress.layers, layers.fault) == (3, "")


def test_what_failed_is_kept_in_one_line() -> None:
    layers = Layers()
    layers.take(lines({"errorDetail": {"message": "x"}, "error": "no space\nleft \x1b[2J on device"}))
    assert layers.fault == "no space left �[2J on device"


@given(st.lists(st.integers(1, 60)))
def test_lines_may_be_torn_anywhere(cuts: list[int]) -> None:
    whole = lines(*BEGUN, fetched("a1", 40, 100))
    layers, at = Layers(), 0
    for cut in cuts:
        layers.take(whole[at : at + cut])
        at += cut
    layers.take(whole[at:])
    assert layers.progress == Progress(layers=3, layers_done=1, size_bytes=100, done_bytes=40)


@pytest.mark.parametrize(
    "piece",
    [
        b"<html>\n\n[1]\n{\n\xff\xfe\n",
        lines({"id": 5, "status": "Pulling fs layer"}, {"id": "a", "status": []}),
        lines(fetched("unknown", 1, 2)),
        lines({"status": "Pull complete", "id": "latest"}),
    ],
)
def test_what_is_no_line_of_an_engine_is_passed_over(piece: bytes) -> None:
    layers = Layers()
    layers.take(piece)
    assert (layers.progress, layers.fault) == (Progress(layers=0, layers_done=0, size_bytes=0, done_bytes=0), "")


@pytest.mark.parametrize("detail", [None, [], {}, {"current": "1", "total": 2}, {"current": 3, "total": 2}])
def test_sizes_that_cannot_be_change_nothing(detail: object) -> None:
    layers = Layers()
    layers.take(lines(*BEGUN, fetched("a1", 1, 2), {"status": "Downloading", "progressDetail": detail, "id": "a1"}))
    assert (layers.progress.done_bytes, layers.progress.size_bytes) == (1, 2)


def test_an_engine_without_end_fills_no_memory() -> None:
    layers = Layers()
    layers.take(lines(*({"status": "Pulling fs layer", "id": str(number)} for number in range(2 * MOST_LAYERS))))
    assert layers.progress.layers == MOST_LAYERS
    layers.take(b"x" * 300_000)
    assert len(layers._rest) <= 65_536


def test_the_image_has_its_tag_in_either_place() -> None:
    assert image_of({"fromImage": "ghcr.io/a/b:1"}) == "ghcr.io/a/b:1"
    assert image_of({"fromImage": "a", "tag": "1"}) == "a:1"
    assert image_of({}) == ""
