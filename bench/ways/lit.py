"""LitServe's way. Run by serving.py."""

import os
import sys

import common
import litserve
from fastapi import UploadFile


class Classifier(litserve.LitAPI):
    def setup(self, device):
        self.session = common.session()

    def decode_request(self, request: UploadFile):
        return common.pixels(request.file)

    def predict(self, batch):
        return common.answer(self.session, batch)

    def encode_response(self, output):
        return output


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(api_path="/predict"), accelerator="cpu", workers_per_device=2)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        num_api_servers=int(os.environ.get("BENCH_API_SERVERS", "1")),
    )
