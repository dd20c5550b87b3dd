"""What a contestant can do."""
import os
import subprocess

from harness import HERE, VARIANTS, run


class Contestant:
    """One way of storing an event. A subclass says how to install it and which statement appends one event."""

    name = title = append = None
    remark = None           # what a reader of the report must know about how it ran

    def __init__(self, server, suffix=''):
        self.server = server
        self.database = f"bench_{self.name.replace('-', '_')}{suffix}"
        self._variants = None

    @classmethod
    def missing(cls, server):
        """Why this contestant cannot take part, or None."""
        return None

    def install(self):
        """Makes the database with the test data's source; a subclass adds its schema."""
        self.server.psql('postgres', f'CREATE DATABASE {self.database}')
        with open(os.path.join(HERE, 'payload.sql'), encoding='utf-8') as file:
            self.server.psql(self.database, stdin=file.read())

    def variants(self):
        """Payloads and metadata for a load, as text."""
        if self._variants is None:
            self._variants = self.server.rows(self.database, 'SELECT bench.payload(i * 37), bench.metadata(i * 37)'
                                              f' FROM generate_series(1, {VARIANTS}) i')
        return self._variants

    def prefill(self, streams, categories):
        """Makes every stream of a load, one event each, so that all contestants are measured in their steady state."""

    def load(self, events):
        """Fills a store with so many events, one append each, in transactions of 5,000."""
        for first in range(1, events + 1, 5000):
            self.server.psql(self.database, 'SET synchronous_commit = off', self.load_slice(events, first, first + 4999))
            if first % 20000 == 1:
                self.server.psql(self.database, 'VACUUM')       # as autovacuum would: rows that are updated have dead versions
        self.note(events)
        self.settle()
        self.vacuum()

    def load_slice(self, events, first, last):
        """The statement that appends events first to last of a store of so many."""
        raise NotImplementedError

    def counted(self):
        """Events stored, for a contestant whose appends can fail without an error; None: every answered append counts."""

    def note(self, events):
        """Is told how many events a load wrote."""

    def settle(self):
        """Waits until work that an append left to others is done, so that its CPU falls into the right round."""

    def vacuum(self):
        """Autovacuum is off during the races, lest it work for one contestant in the round of another."""
        self.server.psql(self.database, 'VACUUM ANALYZE')


def npm_missing(package):
    """Installs the peers if need be; why they are absent, or None."""
    modules = os.path.join(HERE, 'node_modules')
    try:
        if not os.path.isdir(os.path.join(modules, package)):
            run(['npm', 'install', '--prefix', HERE, '--no-package-lock', '--no-audit', '--no-fund', '--loglevel=error'])
    except (OSError, subprocess.SubprocessError, Exception) as error:     # pylint: disable=broad-except
        return f'npm cannot install {package}: {str(error)[:120]}'
    return None
