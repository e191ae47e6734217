"""The shipped networks of every family, on the real server, although no verdict asks them."""

from __future__ import annotations

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from cards import ModelRepository
from deepscan_client import DeepScanClient
from export.networks import example_arrays
from pipelines.infer import Call, digest_hex
from pipelines.onnx_infer import OnnxInfer
from pipelines.triton_infer import TritonInfer
from serving.supervisor import running_server
from training.models.registry import NETWORKS

NAMES = (
    "deepscan_cnn",
    "denoising_autoencoder",
    "variational_autoencoder",
    "anomaly_autoencoder",
    "sequence_rnn",
    "sequence_gru",
    "hybrid",
)
OUTPUTS = ("LOGIT", "EMBEDDING", "CAM", "RECORD")


@pytest.mark.slow
@pytest.mark.triton
def test_triton_serves_crops_sequences_and_clips_as_the_process_does() -> None:
    repository = ModelRepository()
    here = OnnxInfer(repository)
    arrays = {name: example_arrays(NETWORKS[name], NETWORKS[name].size, 3) for name in NAMES}
    with (
        running_server(watch=False) as server,
        DeepScanClient(server.grpc_url) as client,
        InferenceServerClient(server.grpc_url) as admin,
    ):
        remote = TritonInfer(client.transport)
        for name in NAMES:
            assert not admin.is_model_ready(name), "no verdict needs it: it takes no memory until somebody asks"
            admin.load_model(name)
            whole = here.run([Call(name, arrays[name], OUTPUTS)])[0]
            # One item each, at once: they may share a batch, and each must get its own answer.
            parts = [{key: value[i : i + 1] for key, value in arrays[name].items()} for i in range(3)]

            answers = remote.run([Call(name, part, OUTPUTS) for part in parts])
            for place, answer in enumerate(answers):
                assert digest_hex(answer["RECORD"][0]) == repository.record(name).weights_sha256
                for output in OUTPUTS:
                    np.testing.assert_allclose(answer[output][0], whole[output][place], rtol=1e-3, atol=1e-3)
        remote.close()
    here.close()
