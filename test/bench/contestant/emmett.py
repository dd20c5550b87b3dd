"""Emmett's PostgreSQL event store: a plpgsql function over a stream table and a message table, both partitioned.

The SQL is taken from the package when the benchmark runs. Emmett's own client sends it as a simple query with literals; here it is
prepared, which is kinder to it. Without an expected version it reads the stream's position and then updates the row where it still
has that position: of two at once one writes nothing and says so in its answer, so only what was written is counted.
"""
import os

from contestant.base import Contestant, npm_missing
from harness import HERE, run

PACKAGE = '@event-driven-io/emmett-postgresql'
PARTITION = "'emt' || chr(58) || 'default'"     # pgbench would take :default for a variable, quoted or not


class Emmett(Contestant):
    name = 'emmett'
    title = "Emmett's SQL"
    append = f"""SELECT success FROM emt_append_to_stream(
        ARRAY[encode(int8send(:time_part) || int8send(:random_part), 'hex')], ARRAY[{{payload}}]::jsonb[], ARRAY[{{metadata}}]::jsonb[],
        ARRAY['1'], ARRAY['BalanceAdjusted'], ARRAY['E'], 'Account' || :category::text || '-' || :stream::text, 'Account', NULL,
        {PARTITION});"""
    append_batch = """SELECT success FROM emt_append_to_stream($1::text[], $2::jsonb[], $3::jsonb[],
        array_fill('1'::text, ARRAY[1000]), array_fill('BalanceAdjusted'::text, ARRAY[1000]), array_fill('E'::text, ARRAY[1000]),
        'Bulk-1', 'Bulk', NULL, 'emt:default')"""

    @classmethod
    def missing(cls, server):
        return npm_missing(PACKAGE)

    def install(self):
        super().install()
        schema = run(['node', os.path.join(HERE, 'emmett_schema.cjs')])
        self.server.psql(self.database, stdin=schema)
        self.server.psql(self.database, 'GRANT ALL ON ALL TABLES IN SCHEMA public TO bench',
                         'GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO bench')

    def _write(self, stream, first, last):
        return f"""SELECT count(*) FROM generate_series({first}::bigint, {last}) i, LATERAL emt_append_to_stream(
            ARRAY[gen_random_uuid()::text], ARRAY[bench.payload(i)], ARRAY[bench.metadata(i)], ARRAY['1'], ARRAY['BalanceAdjusted'],
            ARRAY['E'], {stream}, 'Account', NULL, 'emt:default')"""

    def prefill(self, streams, categories):
        self.server.psql(self.database, self._write(f"'Account' || i % {categories} || '-' || i", 1, streams))

    def load_slice(self, events, first, last):
        return self._write(f'bench.stream(i, {events})', first, last)

    def counted(self):
        return int(self.server.psql(self.database, 'SELECT coalesce(sum(stream_position), 0) FROM emt_streams'))
