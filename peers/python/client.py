"""The grpcio client of the matrix: a closed loop of calls through pick_first or round_robin, counted by outcome.

It uses grpcio as its users do: no wait-for-ready, no retry policy, so that only what C-core heals by itself is healed.
The stubs are generated from the lab's .proto files by run.sh.
"""

import argparse
import asyncio
import collections
import itertools
import json
import secrets
import sys
import time

import grpc
import hello_pb2
import hello_pb2_grpc
import streams_pb2
import streams_pb2_grpc

PAYLOAD = b"sixteen bytes ok"


class WrongAnswer(Exception):
    """The call ended well and its answer is not what was asked for. Counted as DATA_LOSS."""


class Shapes:
    """One method per shape: makes a call, checks the answer, returns the call object."""

    def __init__(self, channel, items, interval):
        self.hello = hello_pb2_grpc.HelloServiceStub(channel)
        self.streams = streams_pb2_grpc.StreamServiceStub(channel)
        self.items = items
        self.interval = interval

    async def unary(self, **how):
        call = self.hello.Echo(hello_pb2.Request(message="hello"), **how)
        check((await call).message == "hello", "another message")
        return call

    async def server_stream(self, **how):
        request = streams_pb2.StreamRequest(count=self.items, interval_ms=int(self.interval * 1000), payload=PAYLOAD)
        call = self.streams.ServerStream(request, **how)
        sequences = [item.sequence async for item in call if item.payload == PAYLOAD]
        check(sequences == list(range(self.items)), f"items {sequences}")
        return call

    async def client_stream(self, **how):
        call = self.streams.ClientStream(self.paced_items(), **how)
        summary = await call
        check((summary.count, summary.bytes) == (self.items, self.items * len(PAYLOAD)), f"summary {summary}")
        return call

    async def bidi_stream(self, **how):
        call = self.streams.BidiStream(**how)
        async for sent in self.paced_items():
            await call.write(sent)
            check(await call.read() == sent, f"not item {sent.sequence}")
        await call.done_writing()
        check(await call.read() is grpc.aio.EOF, "an item after the last")
        return call

    async def paced_items(self):
        """The first item at once, the others an interval apart."""
        for sequence in range(self.items):
            if sequence > 0:
                await asyncio.sleep(self.interval)
            yield streams_pb2.StreamItem(sequence=sequence, payload=PAYLOAD)


class Tally:
    """The line that the client prints."""

    def __init__(self):
        self.ok = 0
        self.by_status = collections.Counter()
        self.backends = collections.Counter()

    async def note_ok(self, call):
        self.ok += 1
        self.backends[dict(await call.initial_metadata()).get("meshless-backend", "unnamed")] += 1

    def note_failed(self, status, details):
        if not self.by_status[status]:
            print(f"first {status}: {details}", file=sys.stderr)
        self.by_status[status] += 1

    def line(self):
        failed = sum(self.by_status.values())
        return {"ok": self.ok, "failed": failed, "by_status": self.by_status, "backends": self.backends}


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True, help="ipv4:host:port[,host:port…] or dns://[server]/name:port")
    parser.add_argument("--policy", default="pick_first", help="pick_first or round_robin")
    parser.add_argument("--calls", type=int, default=0, help="end after as many; 0: no limit")
    parser.add_argument("--seconds", type=float, default=0, help="end after as long; 0: no limit")
    parser.add_argument("--in-flight", type=int, default=10, help="calls open at a time")
    parser.add_argument("--deadline-ms", type=int, default=1000, help="of each call")
    parser.add_argument("--shape", default="unary", help="unary, server-stream, client-stream or bidi-stream")
    parser.add_argument("--items", type=int, default=5, help="of a stream")
    parser.add_argument("--interval-ms", type=int, default=20, help="between the items of a stream")
    options = parser.parse_args()
    if not options.calls and not options.seconds:
        parser.error("give --calls or --seconds")

    service_config = json.dumps({"loadBalancingConfig": [{options.policy: {}}]})
    channel_options = [("grpc.service_config", service_config), ("grpc.enable_http_proxy", 0)]
    if options.target.startswith("ipv4:"):
        # C-core makes the whole list the :authority, "127.0.0.1:1,127.0.0.1:2", which is none: servers that parse it
        # (h2, and so everything in Rust) reset each stream with PROTOCOL_ERROR. Found by this matrix.
        channel_options.append(("grpc.default_authority", "peers.test"))
    async with grpc.aio.insecure_channel(options.target, options=channel_options) as channel:
        shapes = Shapes(channel, options.items, options.interval_ms / 1000)
        shape = getattr(shapes, options.shape.replace("-", "_"))
        tally = Tally()
        end = time.monotonic() + options.seconds if options.seconds else float("inf")
        # 31 random bits over 32 that count, so that clients of one server do not share ids.
        ids = itertools.count(secrets.randbits(31) << 32)
        turns = iter(range(options.calls)) if options.calls else itertools.repeat(None)

        async def worker():
            for _ in turns:
                if time.monotonic() >= end:
                    return
                metadata = (("meshless-call-id", str(next(ids))),)
                try:
                    await tally.note_ok(await shape(timeout=options.deadline_ms / 1000, metadata=metadata))
                except grpc.RpcError as error:
                    tally.note_failed(error.code().name, error.details())
                except WrongAnswer as error:
                    tally.note_failed("DATA_LOSS", error)
                except asyncio.InvalidStateError as error:
                    # write() and read() of a call that has ended raise this instead of its status.
                    tally.note_failed("UNKNOWN", error)

        await asyncio.gather(*(worker() for _ in range(options.in_flight)))
    print(json.dumps(tally.line()), flush=True)


def check(holds, otherwise):
    if not holds:
        raise WrongAnswer(otherwise)


asyncio.run(main())
