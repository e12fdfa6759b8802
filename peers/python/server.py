"""The grpcio server of the matrix: both services of the lab behind connections that C-core itself ages.

It prints one JSON line when it listens and one when it ends (SIGTERM, SIGINT, or its stdin closes).
The stubs are generated from the lab's .proto files by run.sh.
"""

import argparse
import asyncio
import collections
import json
import signal
import sys

import grpc
import hello_pb2
import hello_pb2_grpc
import streams_pb2
import streams_pb2_grpc


class Ledger:
    """What was executed, from a handler's begin, whether or not its answer arrived anywhere."""

    def __init__(self, name):
        self.name = name
        self.executions = collections.Counter()
        self.connections = set()
        self.ids_missing = 0

    async def begin(self, context):
        self.connections.add(context.peer())
        call_id = dict(context.invocation_metadata()).get("meshless-call-id")
        if call_id is None:
            self.ids_missing += 1
        else:
            self.executions[call_id] += 1
        await context.send_initial_metadata((("meshless-backend", self.name),))

    def summary(self):
        """Counts in `connections` those that carried at least one call."""
        with_id = sum(self.executions.values())
        return {
            "executed": with_id + self.ids_missing,
            "duplicates": with_id - len(self.executions),
            "ids_missing": self.ids_missing,
            "connections": len(self.connections),
        }


class Echo(hello_pb2_grpc.HelloServiceServicer):
    def __init__(self, ledger, service_time):
        self.ledger = ledger
        self.service_time = service_time

    async def Echo(self, request, context):
        await self.ledger.begin(context)
        await asyncio.sleep(self.service_time)
        return hello_pb2.Response(message=request.message)


class Streams(streams_pb2_grpc.StreamServiceServicer):
    def __init__(self, ledger):
        self.ledger = ledger

    async def ServerStream(self, request, context):
        await self.ledger.begin(context)
        for sequence in range(request.count):
            if sequence > 0:
                await asyncio.sleep(request.interval_ms / 1000)
            yield streams_pb2.StreamItem(sequence=sequence, payload=request.payload)

    async def ClientStream(self, requests, context):
        await self.ledger.begin(context)
        summary = streams_pb2.StreamSummary()
        async for item in requests:
            summary.count += 1
            summary.bytes += len(item.payload)
        return summary

    async def BidiStream(self, requests, context):
        await self.ledger.begin(context)
        async for item in requests:
            yield item


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", help="address; port 0 takes a free one")
    parser.add_argument("--name", default="grpcio", help="what the response header meshless-backend says")
    parser.add_argument("--service-time-ms", type=int, default=10, help="how long a unary call works")
    parser.add_argument("--max-connection-age-ms", type=int, default=0, help="0: connections do not age")
    parser.add_argument("--max-connection-age-grace-ms", type=int, default=0, help="0: no limit")
    options = parser.parse_args()

    # SO_REUSEPORT is C-core's default: a second server on the same port would silently share it.
    channel_options = [("grpc.so_reuseport", 0)]
    if options.max_connection_age_ms:
        channel_options.append(("grpc.max_connection_age_ms", options.max_connection_age_ms))
    if options.max_connection_age_grace_ms:
        channel_options.append(("grpc.max_connection_age_grace_ms", options.max_connection_age_grace_ms))
    server = grpc.aio.server(options=channel_options)
    ledger = Ledger(options.name)
    hello_pb2_grpc.add_HelloServiceServicer_to_server(Echo(ledger, options.service_time_ms / 1000), server)
    streams_pb2_grpc.add_StreamServiceServicer_to_server(Streams(ledger), server)
    port = server.add_insecure_port(options.listen)
    await server.start()
    print(json.dumps({"listening": f"{options.listen.rpartition(':')[0]}:{port}"}), flush=True)

    await told_to_end()
    await server.stop(grace=1)
    print(json.dumps(ledger.summary()), flush=True)


async def told_to_end():
    """Returns when the process is told to end. A parent that dies closes our stdin, so none is left behind."""
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, end.set)

    def on_input():
        if not sys.stdin.buffer.raw.read(4096):
            loop.remove_reader(sys.stdin)
            end.set()

    try:
        loop.add_reader(sys.stdin, on_input)
    except PermissionError:  # A file or /dev/null, which epoll refuses: nobody is there to close it.
        pass
    await end.wait()


asyncio.run(main())
