"""Small real servers that speak Triton's protocol, so that the transports meet real sockets without Triton."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from deepscan_client import Progress, make_verdict


class Behaviour(SimpleNamespace):
    """What a server does next, and what it saw."""

    error: tuple[Any, str] | None
    delay: float
    queued: float
    seen: list[dict[str, Any]]
    cancelled: threading.Event


def behaviour() -> Behaviour:
    return Behaviour(
        error=None,
        delay=0.0,
        queued=0.0,
        seen=[],
        cancelled=threading.Event(),
        model_ready=True,
        ends_early=False,
        message=None,
    )


def _bytes(value: bytes) -> bytes:
    return bytes(serialize_byte_tensor(np.array([value], dtype=np.object_)).item())


def _verdict_for(options: bytes) -> bytes:
    request_id = json.loads(options).get("request_id", "")
    return make_verdict("fake", 0.75, request_id=request_id).to_json().encode()


class _Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    def __init__(self, does: Behaviour) -> None:
        self.does = does

    def ServerReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ServerReadyResponse(ready=True)

    def ModelReady(self, request: Any, context: Any) -> Any:
        return service_pb2.ModelReadyResponse(ready=self.does.model_ready)

    def ModelInfer(self, request: Any, context: Any) -> Any:
        inputs: dict[str, Any] = {
            tensor.name: (
                bytes(deserialize_bytes_tensor(raw)[0])
                if tensor.datatype == "BYTES"
                else np.frombuffer(raw, triton_to_np_dtype(tensor.datatype)).reshape(tuple(tensor.shape))
            )
            for tensor, raw in zip(request.inputs, request.raw_input_contents)
        }
        headers = {item.key: item.value for item in context.invocation_metadata()}
        self.does.seen.append({"inputs": inputs, "headers": headers, "id": request.id})

        def ended() -> None:
            if context.code() is None:  # nobody answered: the caller went away
                self.does.cancelled.set()

        context.add_callback(ended)
        until = time.monotonic() + self.does.delay
        while time.monotonic() < until and context.is_active():
            time.sleep(0.005)
        if self.does.error is not None:
            context.abort(*self.does.error)
        response = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
        if "X" in inputs:
            response.outputs.add(name="Y", datatype="FP32", shape=inputs["X"].shape)
            response.raw_output_contents.append((inputs["X"] * 2).tobytes())
        elif "CHUNK" in inputs:
            response.outputs.add(name="RECEIVED", datatype="INT64", shape=[1])
            response.raw_output_contents.append((inputs["OFFSET"] + len(inputs["CHUNK"])).tobytes())
        else:
            response.outputs.add(name="VERDICT", datatype="BYTES", shape=[1])
            response.raw_output_contents.append(_bytes(_verdict_for(inputs["OPTIONS"])))
        return response

    def ModelStreamInfer(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
        """Two messages of progress, then the verdict; or silence before or after them, or nothing more, as ``does``
        says."""
        for request in requests:
            raw = dict(zip((tensor.name for tensor in request.inputs), request.raw_input_contents))
            inputs = {name: bytes(deserialize_bytes_tensor(value)[0]) for name, value in raw.items()}
            headers = {item.key: item.value for item in context.invocation_metadata()}
            self.does.seen.append({"inputs": inputs, "headers": headers, "id": request.id})
            context.add_callback(self.does.cancelled.set)
            time.sleep(self.does.queued)
            for seconds in (30.0, 60.0):
                yield _message(request, progress=Progress(seconds, 70.0, 0.5).to_json().encode())
            until = time.monotonic() + self.does.delay
            while time.monotonic() < until and context.is_active():
                time.sleep(0.005)
            if self.does.message is not None:
                yield service_pb2.ModelStreamInferResponse(error_message=self.does.message)
                continue
            if self.does.error is not None:
                context.abort(*self.does.error)
            if not self.does.ends_early:
                yield _message(request, verdict=_verdict_for(inputs["OPTIONS"]))
            else:
                return


def _message(request: Any, progress: bytes = b"", verdict: bytes = b"") -> Any:
    response = service_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)
    for name, value in (("PROGRESS", progress), ("VERDICT", verdict)):
        response.outputs.add(name=name, datatype="BYTES", shape=[1])
        response.raw_output_contents.append(_bytes(value))
    return service_pb2.ModelStreamInferResponse(infer_response=response)


@pytest.fixture
def grpc_server() -> Iterator[Any]:
    """A gRPC server: ``url`` and what it does."""
    does = behaviour()
    server = grpc.server(
        ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
    )
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Service(does), server)
    does.url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield does
    server.stop(0).wait()


@pytest.fixture
def http_server() -> Iterator[Any]:
    """An HTTP server: ``url`` and what it does."""
    does = behaviour()
    does.connections = 0

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            does.connections += 1
            super().setup()

        def log_message(self, *args: Any) -> None:
            pass

        def answer(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            ok = does.model_ready or "models" not in self.path
            self.answer(200 if ok else 400, b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            size = int(self.headers["Inference-Header-Content-Length"])
            head, raw = json.loads(body[:size]), body[size:]
            inputs = {}
            for tensor in head["inputs"]:
                length = tensor["parameters"]["binary_data_size"]
                inputs[tensor["name"]] = bytes(deserialize_bytes_tensor(raw[:length])[0])
                raw = raw[length:]
            headers = {key.lower(): value for key, value in self.headers.items()}
            does.seen.append({"inputs": inputs, "headers": headers, "id": head.get("id")})
            time.sleep(does.delay)
            if does.error is not None:
                status, words = does.error
                if status == 0:  # the server dies in the middle of the request
                    self.close_connection = True
                    return
                self.answer(status, json.dumps({"error": words}).encode())
                return
            answer = _bytes(_verdict_for(inputs["OPTIONS"]))
            output = {
                "name": "VERDICT",
                "datatype": "BYTES",
                "shape": [1],
                "parameters": {"binary_data_size": len(answer)},
            }
            first = json.dumps({"model_name": "deepfake_image", "model_version": "1", "outputs": [output]}).encode()
            self.answer(200, first + answer, Inference_Header_Content_Length=str(len(first)))

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # a client that went away is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    does.url = f"http://127.0.0.1:{server.server_port}"
    yield does
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Runs code in a fresh interpreter with this one's paths and gives what it prints."""

    def run(code: str) -> str:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    return run
