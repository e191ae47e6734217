"""A port that cannot be had is named by its true reason."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from deepscan_client.errors import InstallationError
from serving.gateway import check_gateway_port
from serving.ports import Ports, check, is_free
from serving.serve import main


@pytest.mark.parametrize("option", ["--port", "--http-port", "--grpc-port", "--metrics-port"])
@pytest.mark.parametrize("text", ["99999", "0", "-1", "http", "²", "00000000080"])
def test_what_is_no_port_is_wrong_usage(option: str, text: str, capsys: Any) -> None:
    with pytest.raises(SystemExit) as caught:
        main([option, text])
    assert caught.value.code == 2
    assert "65535" in capsys.readouterr().err or text == "-1"


@pytest.mark.parametrize("host", ["999.1.1.1", "203.0.113.7", "x" * 300])
def test_an_address_that_is_not_here_is_not_a_port_in_use(host: str) -> None:
    with pytest.raises(InstallationError) as caught:
        check_gateway_port(host, 5099)
    assert "in use" not in caught.value.message
    assert host in caught.value.message
    assert "--host" in caught.value.remedy


def test_only_a_port_that_is_taken_is_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not is_free(port)
        with pytest.raises(InstallationError, match=f"port {port} for the gateway is in use"):
            check_gateway_port("127.0.0.1", port)
    assert is_free(port)


def test_a_port_that_is_given_twice_is_told_before_triton_starts() -> None:
    with pytest.raises(InstallationError, match="8101: one is there twice") as caught:
        check(Ports(8101, 8102, 8101))
    assert caught.value.remedy


def test_a_folder_without_models_is_not_served(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "photos").mkdir()
    assert main(["--models", str(tmp_path), "--no-gateway"]) == 1
    told = capsys.readouterr().err
    assert "holds no models" in told.replace("\n", " ")
    assert "card.yaml" in told
