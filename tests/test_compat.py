"""timm can be imported whatever torch it meets, and the remedy stays out of the way where none is needed."""

import subprocess
import sys

import pytest
import torch

from wbcore import _compat


def test_timm_imports_and_makes_a_model():
    code = (
        "from wbcore._compat import declare_torchvision_operators, import_timm\n"
        "timm = import_timm()\n"
        "import torchvision.transforms.v2, timm.data, timm.optim\n"
        "model = timm.create_model('vit_tiny_patch16_224', depth=1, num_classes=3)\n"
        "print(sum(weight.numel() for weight in model.head.parameters()), declare_torchvision_operators())"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.split() == [str(192 * 3 + 3), "False"]  # a second call has nothing left to declare


@pytest.mark.parametrize("build", ["cuda", "hip"])
def test_gpu_builds_are_left_alone(monkeypatch, build):
    monkeypatch.setattr(_compat, "_declared", [])
    monkeypatch.setattr(torch.version, build, "13.0")
    monkeypatch.setattr(_compat, "_torchvision_loads", lambda: pytest.fail("looked at torchvision"))
    assert not _compat.declare_torchvision_operators()


def test_torchvision_that_loads_is_left_alone(monkeypatch):
    monkeypatch.setattr(_compat, "_declared", [])
    monkeypatch.setattr(_compat, "_torchvision_loads", lambda: True)
    assert not _compat.declare_torchvision_operators()
