# SPDX-License-Identifier: Apache-2.0
"""Rows in and out, no rules: SQLite or PostgreSQL behind one `Database`.

`database.Database` runs plain functions `fn(conn, ...)`, each as one transaction in a worker thread; the
table modules beside it hold those functions and the frozen row types they return. Wall-clock times are
integers, milliseconds since the epoch, and always arguments (`database_clock.now` reads the database's own
clock where several hubs must agree).
"""
