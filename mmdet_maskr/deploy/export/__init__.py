"""Models as files of ONNX, TorchScript and OpenVINO."""
