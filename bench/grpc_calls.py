# SPDX-License-Identifier: Apache-2.0
"""gRPC calls per second against our server and against grpcio's, in pairs in one run; prints ratios.

Each server runs in a process of its own and answers the same echo. Two clients ask both: grpcio in this process, which
costs as much processor time as the servers do, and h2load (Debian: nghttp2-client), which costs next to nothing and so
shows what the servers can do.
Run ``python -m bench.grpc_calls [SECONDS]`` from the checkout: seconds for each figure of grpcio's, 2 by default.
"""

import functools
import multiprocessing
import re
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent import futures

import grpc
import trio
from google.protobuf.wrappers_pb2 import Int64Value, StringValue

from mezite.api.server import CallKind, GrpcServer, PeerInfo, RpcMethod

ECHO, COUNT = "/bench.Echo/Echo", "/bench.Echo/Count"
STREAM_LENGTH = 20_000
IN_FLIGHT = 32
ROUNDS = 3


async def echo(request, _context):
    return request


async def count(request, _context, responses):
    for number in range(request.value):
        await responses.send(Int64Value(value=number))


def run_ours(port):
    methods = [
        RpcMethod(
            path=ECHO,
            request_type=StringValue,
            response_type=StringValue,
            handler=echo,
            verb="v",
            resource="r",
        ),
        RpcMethod(
            path=COUNT,
            request_type=Int64Value,
            response_type=Int64Value,
            kind=CallKind.SERVER_STREAM,
            handler=count,
            verb="v",
            resource="r",
        ),
    ]

    async def allow(_identity, _method, _context):
        return

    async def know(_context):
        return "somebody"

    server = GrpcServer(methods, authenticate=know, authorize=allow)

    async def serve():
        async with trio.open_nursery() as nursery:

            async def accept(stream):
                await server.serve_connection(stream, PeerInfo(client_address="127.0.0.1:1"))

            serving = functools.partial(trio.serve_tcp, accept, 0, host="127.0.0.1")
            listeners = await nursery.start(serving)
            port.value = listeners[0].socket.getsockname()[1]

    trio.run(serve)


class Theirs(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == ECHO:
            return grpc.unary_unary_rpc_method_handler(
                lambda request, _context: request, StringValue.FromString, StringValue.SerializeToString
            )
        return grpc.unary_stream_rpc_method_handler(
            lambda request, _context: (Int64Value(value=number) for number in range(request.value)),
            Int64Value.FromString,
            Int64Value.SerializeToString,
        )


def run_theirs(port):
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Theirs()])
    bound = server.add_insecure_port("127.0.0.1:0")
    server.start()
    port.value = bound
    server.wait_for_termination()


def sequential(channel, seconds):
    call = channel.unary_unary(ECHO, StringValue.SerializeToString, StringValue.FromString)
    request, calls, started = StringValue(value="x" * 100), 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        call(request)
        calls += 1
    return calls / spent


def in_flight(channel, seconds):
    call = channel.unary_unary(ECHO, StringValue.SerializeToString, StringValue.FromString)
    request, calls, started = StringValue(value="x" * 100), 0, time.perf_counter()
    pending = {call.future(request) for _ in range(IN_FLIGHT)}
    while (spent := time.perf_counter() - started) < seconds:
        done, pending = futures_wait(pending)
        calls += len(done)
        pending |= {call.future(request) for _ in done}
    for future in pending:
        future.result()
    return calls / spent


def futures_wait(pending):
    next(iter(pending)).result()
    done = {future for future in pending if future.done()}
    return done, pending - done


def server_stream(channel, seconds):
    call = channel.unary_stream(COUNT, Int64Value.SerializeToString, Int64Value.FromString)
    messages, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds:
        messages += sum(1 for _ in call(Int64Value(value=STREAM_LENGTH)))
    return messages / spent


def h2load(port, path, message, calls, streams):
    """Calls a second; RuntimeError when one failed."""
    body = message.SerializeToString()
    with tempfile.NamedTemporaryFile() as framed:
        framed.write(b"\0" + len(body).to_bytes(4) + body)
        framed.flush()
        fields = [f"--header={field}" for field in ("content-type: application/grpc", "te: trailers")]
        asked = [f"--requests={calls}", "--clients=1", f"--max-concurrent-streams={streams}"]
        command = ["h2load", *asked, f"--data={framed.name}", *fields, f"http://127.0.0.1:{port}{path}"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if f"{calls} succeeded" not in said:
        raise RuntimeError(said)
    return float(re.search(r"([0-9.]+) req/s", said)[1])


def sequential_h2load(port, seconds):
    return h2load(port, ECHO, StringValue(value="x" * 100), int(1000 * seconds), 1)


def in_flight_h2load(port, seconds):
    return h2load(port, ECHO, StringValue(value="x" * 100), int(1500 * seconds), IN_FLIGHT)


def server_stream_h2load(port, seconds):
    streams = max(1, round(seconds))
    return STREAM_LENGTH * h2load(port, COUNT, Int64Value(value=STREAM_LENGTH), streams, 1)


def start(target):
    port = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=target, args=(port,), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.01)
    return process, port.value


def by_grpcio(measure):
    def measured(port, seconds):
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            return measure(channel, seconds)

    return measured


MEASURES = {
    "unary, one at a time": by_grpcio(sequential),
    f"unary, {IN_FLIGHT} in flight": by_grpcio(in_flight),
    "server stream, messages": by_grpcio(server_stream),
    "unary, one at a time, h2load": sequential_h2load,
    f"unary, {IN_FLIGHT} in flight, h2load": in_flight_h2load,
    "server stream, messages, h2load": server_stream_h2load,
}


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    multiprocessing.set_start_method("spawn")
    servers = {"ours": start(run_ours), "grpcio": start(run_theirs)}
    print(f"{'':34}{'ours/s':>10}{'grpcio/s':>10}{'ratio':>8}")
    for label, measure in MEASURES.items():
        rates = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, (_, port) in servers.items():
                rates[name].append(measure(port, seconds))
        ours, theirs = statistics.median(rates["ours"]), statistics.median(rates["grpcio"])
        print(f"{label:34}{ours:10.0f}{theirs:10.0f}{ours / theirs:8.2f}", flush=True)
    for process, _ in servers.values():
        process.terminate()


if __name__ == "__main__":
    main()
