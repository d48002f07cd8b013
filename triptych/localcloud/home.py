"""The home folder: where everything the local cloud knows lives, and how its databases are opened."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class HomeUnusable(Exception):
    """The home folder cannot be created or written to."""


class Home:
    """Paths below one home folder (``.triptych/`` unless ``TRIPTYCH_HOME`` says otherwise).

    ``s3/`` objects as files, ``state/`` one SQLite database a service, ``scratch/`` running jobs' folders,
    ``code/`` unpacked archives by content hash, ``gateway.json`` who serves this home, ``gateway.port`` where
    it was served last, ``router.port`` where its inference router was.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root).absolute()
        self.s3 = self.root / "s3"
        self.state = self.root / "state"
        self.scratch = self.root / "scratch"
        self.code = self.root / "code"
        self.gateway_file = self.root / "gateway.json"
        self.port_file = self.root / "gateway.port"
        self.router_port_file = self.root / "router.port"
        self.lock_file = self.root / "gateway.lock"
        self.log_file = self.root / "gateway.log"

    def create(self) -> None:
        """Make the folders; raises HomeUnusable where the place cannot be written."""
        try:
            for folder in (self.root, self.s3, self.state, self.scratch, self.code):
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.state) as probe:
                probe.write(b"probe")
                probe.flush()
        except OSError as error:
            raise HomeUnusable(
                f"home folder {self.root} cannot be written: {error.strerror or error}. "
                "Choose another with --home or TRIPTYCH_HOME, or free some space."
            ) from error

    def database(self, name: str, schema: str) -> Database:
        """The database ``state/<name>.sqlite``, with ``schema`` (idempotent DDL) applied."""
        return Database(self.state / f"{name}.sqlite", schema)


class Database:
    """A SQLite file in WAL mode: one connection a thread, writes in immediate transactions.

    A committed transaction survives ``kill -9`` of the process (WAL with ``synchronous=NORMAL``).
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._local = threading.local()
        self._write_lock = threading.RLock()
        with self.write() as connection:
            for statement in schema.split(";"):
                if statement.strip():
                    connection.execute(statement)

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection, in autocommit mode; rows are ``sqlite3.Row``."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = sqlite3.connect(self.path, isolation_level=None, timeout=30, check_same_thread=False)
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            self._local.connection = connection
        return connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One write transaction; commits at the end, rolls back on an exception. Reentrant in a thread."""
        with self._write_lock:
            connection = self.connection
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                # A full disk ends the transaction by itself, or leaves it open when the COMMIT is what failed.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, "connection", None)
        if connection is not None:
            connection.close()
            self._local.connection = None
