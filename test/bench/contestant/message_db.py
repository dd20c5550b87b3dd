"""message-db 1.3: plpgsql, one advisory lock per category held to the commit, jsonb columns, four indexes.

Installed by the package's own script. Its functions name each other and their table without a schema, so the database's search
path must begin with message_store; its role of that name is what its grants are for.
"""
import os

from contestant.base import Contestant, npm_missing
from harness import HERE, run

PACKAGE = '@eventide/message-db'
ID = "encode(int8send(:random_part) || int8send(:random_part), 'hex')"


class MessageDb(Contestant):
    name = 'message-db'
    title = 'message-db'
    append = f"""SELECT write_message({ID}, 'Account' || :category::text || '-' || :stream::text, 'BalanceAdjusted',
        {{payload}}::jsonb, {{metadata}}::jsonb);"""

    @classmethod
    def missing(cls, server):
        return npm_missing(PACKAGE)

    def install(self):
        super().install()
        database = os.path.join(HERE, 'node_modules', PACKAGE, 'database')
        environment = dict(os.environ, DATABASE_NAME=self.database, CREATE_DATABASE='off', PGOPTIONS='-c client_min_messages=warning')
        run(['bash', os.path.join(database, 'install.sh')], env=environment)
        self.server.psql(self.database, f'ALTER DATABASE {self.database} SET search_path = message_store, public',
                         'GRANT message_store TO bench')

    def _write(self, stream, first, last):
        return f"""SELECT count(write_message(gen_random_uuid()::text, {stream}, 'BalanceAdjusted', bench.payload(i),
            bench.metadata(i))) FROM generate_series({first}::bigint, {last}) i"""

    def prefill(self, streams, categories):
        self.server.psql(self.database, self._write(f"'Account' || i % {categories} || '-' || i", 1, streams))

    def load_slice(self, events, first, last):
        return self._write(f'bench.stream(i, {events})', first, last)
