# SPDX-License-Identifier: Apache-2.0
"""Counts as server-sent events, one number for each request of /next."""

import http.server
import queue
import sys

numbers = queue.Queue(maxsize=100)


class Counter(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/next":
            numbers.put(None)
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        seen = 0
        while True:
            numbers.get()
            seen += 1
            self.wfile.write(b"id: %d\ndata: %d\n\n" % (seen, seen))
            self.wfile.flush()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Counter)
print("counting", file=sys.stderr, flush=True)
server.serve_forever()
