"""The grpcio client of the xDS checks: calls again and again, and prints a line for each.

A line is the time of the call's end in ms, how long it took, and the backend or an exclamation mark and the code.
"""

import argparse
import os
import sys
import threading
import time

import grpc

parser = argparse.ArgumentParser()
parser.add_argument("--target", required=True)
parser.add_argument("--workers", type=int, default=1)
parser.add_argument("--pause-ms", type=int, default=10)
options = parser.parse_args()

echo = grpc.insecure_channel(options.target).unary_unary("/hello.HelloService/Echo")
lock = threading.Lock()
# What ring_hash goes by, where it is in use.
SESSION = (("session", "one"),)


def work():
    while True:
        begun = time.time()
        try:
            _, call = echo.with_call(b"\x0a\x05hello", timeout=20, metadata=SESSION)
            result = dict(call.initial_metadata()).get("meshless-backend", "unnamed")
        except grpc.RpcError as error:
            result = "!" + error.code().name
            print(error.details(), file=sys.stderr, flush=True)
        ended = time.time()
        with lock:
            print(int(ended * 1000), int((ended - begun) * 1000), result, flush=True)
        time.sleep(options.pause_ms / 1000)


for _ in range(options.workers):
    threading.Thread(target=work, daemon=True).start()
# Its end is the end of whoever started this.
sys.stdin.read(1)
os._exit(0)
