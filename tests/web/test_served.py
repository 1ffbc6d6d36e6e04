"""``steep watch`` over a real connection: where it listens, whom it answers, and what it costs the
driver of the study that it watches."""

from __future__ import annotations

import http.client
import re
import socket
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from web.conftest import served

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import watch

TABLE = "samples,error\n1000,0.30\n2000,0.243\n4000,0.198\n8000,0.161\n16000,0.131\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "results.csv"
    path.write_text(TABLE)
    return path


def get(port: int, path: str = "/", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}


def test_it_listens_on_this_machine_alone(table: Path) -> None:
    with served(table) as place:
        port = urlsplit(place.url).port
        assert port is not None
        assert urlsplit(place.url).hostname == "127.0.0.1"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=10)
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        local = re.findall(rf"\s([0-9A-F]+):{port:04X} [0-9A-F:]+ 0A ", listening)
        assert local == ["0100007F"]  # 127.0.0.1, and no other address
        assert get(port)[0] == 200
        assert place.stop() == 0


def test_who_is_refused_over_a_real_connection(table: Path) -> None:
    with served(table) as place:
        port = urlsplit(place.url).port
        assert port is not None
        assert get(port, Host="evil.example")[0] == 403
        assert get(port, Origin="http://evil.example")[0] == 403
        assert get(port, "/../../../../etc/passwd")[0] == 404
        assert get(port, "/..%2f..%2f..%2fetc%2fpasswd")[0] == 404
        status, _, headers = get(port)
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_beyond_this_machine_a_token_is_printed_and_needed(table: Path) -> None:
    with served(table, "--host", "0.0.0.0", "--port", str(free_port())) as place:
        address = urlsplit(place.url)
        assert address.port is not None
        token = address.query.removeprefix("token=")
        assert len(token) >= 32
        assert get(address.port)[0] == 401
        assert get(address.port, f"/?token={token[:-1]}x")[0] == 401
        status, _, headers = get(address.port, f"/?token={token}")
        assert status == 303
        cookie = headers["set-cookie"].partition(";")[0]
        assert get(address.port, headers["location"], Cookie=cookie)[0] == 200
        assert get(address.port, Cookie=cookie, Host="evil.example")[0] == 403


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_a_port_that_is_taken_is_a_sentence(table: Path) -> None:
    import subprocess

    with served(table) as place:
        command = [sys.executable, "-m", "steep", "watch", str(table)]
        port = str(urlsplit(place.url).port)
        done = subprocess.run([*command, "--port", port], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith(f"steep: 127.0.0.1 port {port} cannot be listened on")


def test_the_driver_of_a_watched_study_does_not_wait(tmp_path: Path) -> None:
    """A third of what ``benchmarks/watch.py`` does, which tells less: its figure is in the docs."""
    found = watch.measure(600, 300, tmp_path / "study")
    assert found.trials >= 600
    assert found.requests >= 300
    assert found.failed == 0
    assert found.problems == []  # "database is locked" would be one
    ratio, error = found.ratio()
    # of blocks side by side, on a machine that does other work too: not above 2 % beyond doubt
    assert ratio - 2 * error < 1.02, f"{ratio:.4f} +- {error:.4f}"
    assert error < 0.2, f"too noisy to tell: {ratio:.4f} +- {error:.4f}"
