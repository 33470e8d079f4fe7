"""Serves a small model with llama.cpp, for as long as it is let: ``WEIGHTS PORT``.

Run by the Python of the counterpart's own environment, which has nothing of ours.
"""

import sys
import threading

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path = sys.argv[1]
parameters.port = int(sys.argv[2])
parameters.hostnames = ["127.0.0.1"]
parameters.n_ctx = 2048
parameters.endpoint_metrics = True
parameters.n_predict = 48  # tokens of an answer: enough for a sentence, a second on a busy machine
server = xllamacpp.Server(parameters)
threading.Event().wait()
