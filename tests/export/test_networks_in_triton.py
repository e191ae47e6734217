"""Networks of every kind of input, exported into a repository that the real server loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cards import ModelRepository
from deepscan_client import DeepScanClient
from export.networks import example_arrays
from export.onnx_export import export_model
from pipelines.infer import Call
from pipelines.onnx_infer import OnnxInfer
from pipelines.triton_infer import TritonInfer
from serving.supervisor import running_server
from training.models.registry import NETWORKS

NAMES = ("sequence_rnn", "hybrid", "anomaly_autoencoder")
"""One of each kind of input."""
OUTPUTS = ("LOGIT", "EMBEDDING", "CAM", "RECORD")


@pytest.mark.slow
@pytest.mark.triton
def test_triton_serves_crops_sequences_and_clips_as_the_process_does(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models = tmp_path / "models"
    shutil.copytree(ModelRepository().root, models)
    for name in NAMES:
        content = {"state": NETWORKS[name].empty().state_dict(), "network": name, "settings": json.dumps({})}
        torch.save(content, tmp_path / "model.pt")
        export_model(name, tmp_path / "model.pt", models, tmp_path / "none", int8=False)
    repository = ModelRepository(models)
    here = OnnxInfer(repository)
    arrays = {name: example_arrays(NETWORKS[name], NETWORKS[name].size, 3) for name in NAMES}
    with running_server(models, watch=False) as server, DeepScanClient(server.grpc_url) as client:
        remote = TritonInfer(client.transport)
        for name in NAMES:
            whole = here.run([Call(name, arrays[name], OUTPUTS)])[0]
            # One item each, at once: they may share a batch, and each must get its own answer.
            parts = [{key: value[i : i + 1] for key, value in arrays[name].items()} for i in range(3)]

            answers = remote.run([Call(name, part, OUTPUTS) for part in parts])
            for place, answer in enumerate(answers):
                for output in OUTPUTS:
                    np.testing.assert_allclose(answer[output][0], whole[output][place], rtol=1e-3, atol=1e-3)
        remote.close()
    here.close()
