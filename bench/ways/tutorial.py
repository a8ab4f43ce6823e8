"""The tutorial's way: fastai's learner.predict inside an async Starlette handler. Run by serving.py."""

import os
from io import BytesIO

import torch
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from greenr_luigi.training.libraries import fv

torch.set_num_threads(1)
learn = fv.load_learner(os.environ["BENCH_PICKLE"])


async def predict(request):
    form = await request.form()
    data = await form["file"].read()
    with learn.no_bar():
        label, _, probabilities = learn.predict(fv.PILImage.create(BytesIO(data)))
    return JSONResponse({"label": str(label), "probabilities": probabilities.tolist()})


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
