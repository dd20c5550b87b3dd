"""Consuming: atp's subscriptions beside a plain SKIP LOCKED queue, PgQ and pg-boss, with and without a snapshot held open."""
import os
import statistics
import subprocess
import time

from contestant.base import npm_missing
from harness import HERE, Failure, run, say
from report import cell

STORE = 200000
EVENTS = {1: 20000, 10: 100000, 100: STORE, 1000: STORE}      # what a round has to consume; it ends earlier when its time is over
PGQ_EVENTS = {1: 3000, 10: 20000, 100: 100000, 1000: 200000}

COLUMNS = 'lease, event_id, event_type, payload, metadata'    # what a consumer needs; the queue's rows are id, payload and metadata

SETUP = """
CREATE TABLE queue (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload jsonb NOT NULL, metadata jsonb NOT NULL);
CREATE PROCEDURE fill_pgq(events integer, batch integer) LANGUAGE plpgsql AS $$
BEGIN
    -- a tick at every call: by itself PgQ would wait for 500 events or 3 seconds, and the batches would be its own
    PERFORM pgq.set_queue_config('bench', 'ticker_max_count', '1'), pgq.set_queue_config('bench', 'ticker_max_lag', '0');
    FOR i IN 1 .. events / batch LOOP
        PERFORM pgq.insert_event('bench', 'BalanceAdjusted', bench.payload(k)::text, bench.metadata(k)::text, NULL, NULL, NULL) FROM generate_series(1, batch) k;
        COMMIT;
        PERFORM pgq.ticker('bench');
        COMMIT;
    END LOOP;
END $$;
"""


class Consumers:
    """One database that holds all contestants' queues: nothing but the one that runs is busy."""

    def __init__(self, bench):
        self.server, self.bench = bench.server, bench
        self.atp = bench.fresh('atp', '_consumed')[0]
        self.atp.load(STORE)        # as many as the queues hold, so that all run for as long
        self.database = self.atp.database
        self.program = self.server.compile('consume')
        self.server.psql(self.database, stdin=SETUP)
        self.have = {'atp': True, 'plain': True, 'pgq': True, 'pg-boss': True}
        self.subscriptions = 0
        try:
            self.server.psql(self.database, 'CREATE EXTENSION pgq', "SELECT pgq.create_queue('bench')",
                             "SELECT pgq.register_consumer('bench', 'bench')")
        except Failure as failure:
            self.have['pgq'] = False
            bench.report.skip('PgQ', str(failure))
        why = npm_missing('pg-boss')
        if why:
            self.have['pg-boss'] = False
            bench.report.skip('pg-boss', why)

    def consume(self, mode, clients, seconds, statement):
        command = [self.program, self.server.conninfo(self.database, 'postgres'), mode, str(clients), str(seconds), statement]
        return self.rated(run(command).split())

    @staticmethod
    def rated(answer):
        events, _, seconds = int(answer[0]), int(answer[1]), float(answer[2])
        if not events:
            raise Failure('nothing was consumed')
        return events / max(seconds, 1e-6), events

    def wal(self):
        return int(self.server.psql(self.database, "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").split('.', maxsplit=1)[0])

    def run_atp(self, batch, clients, seconds):
        """A fresh subscription each time: all of the store is ahead of it."""
        self.subscriptions += 1
        name = f'b{self.subscriptions}'
        self.server.psql(self.database, f"SELECT atp.create_subscription('{name}', partitions => {max(clients, 1)})", 'CHECKPOINT')
        before = self.wal()
        rate, events = self.consume('lease', clients, seconds,
                                    f"SELECT {COLUMNS} FROM atp.claim_events('{name}', {batch}, 'c', $1::uuid)")
        self.wal_per_event = (self.wal() - before) / events
        self.server.psql(self.database, f"SELECT atp.drop_subscription('{name}')")
        return rate

    def run_plain(self, batch, clients, seconds):
        self.server.psql(self.database, 'TRUNCATE queue', 'INSERT INTO queue (payload, metadata) SELECT bench.payload(k)::jsonb, '
                         f'bench.metadata(k)::jsonb FROM generate_series(1, {EVENTS[batch]}) k', 'VACUUM ANALYZE queue', 'CHECKPOINT')
        return self.consume('plain', clients, seconds, 'DELETE FROM queue WHERE id IN (SELECT id FROM queue ORDER BY id '
                            f'FOR UPDATE SKIP LOCKED LIMIT {batch}) RETURNING *')[0]

    def run_pgq(self, batch, clients, seconds):
        # analyzed, as autovacuum would have: without figures PgQ reads its whole table for every batch
        self.server.psql(self.database, f'CALL fill_pgq({PGQ_EVENTS[batch]}, {batch})', 'VACUUM ANALYZE', 'CHECKPOINT')
        return self.consume('pgq', 1, seconds, 'bench')[0]

    def run_boss(self, batch, clients, seconds):
        connection = f"postgres://postgres@/{self.database}?host={os.environ['PGHOST']}&port={os.environ['PGPORT']}"
        program = ['node', os.path.join(HERE, 'pgboss.mjs'), connection]
        payload = self.server.psql(self.database, 'SELECT bench.payload(1)')
        run(program + ['fill', str(min(EVENTS[batch], 20000)), payload])
        return self.rated(run(program + ['take', str(clients), str(seconds), str(batch)]).split())[0]

    def round(self, batch, clients, seconds):
        """One rate of each contestant; PgQ has one consumer only."""
        runs = {'plain': self.run_plain, 'atp': self.run_atp, 'pgq': self.run_pgq if clients == 1 else None,
                'pg-boss': self.run_boss if batch in (100,) else None}
        rates = {}
        for name, one in runs.items():
            if one is None or not self.have[name]:
                continue
            try:
                rates[name] = one(batch, clients, seconds)
            except Failure as failure:
                self.bench.report.skip(f'{name}, batches of {batch}, {clients} consumers', str(failure))
        return rates


def ratio(rounds, name, other):
    pairs = [r[name] / r[other] for r in rounds if name in r and other in r]
    return statistics.median(pairs) if pairs else None


def median(rounds, name):
    rates = [r[name] for r in rounds if name in r]
    return statistics.median(rates) if rates else None


ASKED = {1: {'plain': (1.0, 1.2)}, 10: {}, 100: {'plain': (3.0, None), 'pgq': (1.0, None), 'pg-boss': (10.0, None)}, 1000: {'plain': (1.0, None), 'pgq': (0.8, None)}}


def consume(bench):
    consumers = Consumers(bench)
    rows, seconds = [], bench.options.seconds
    names = ('plain', 'pgq', 'pg-boss', 'atp')
    for clients in (1, 8):
        for batch in EVENTS:
            rounds = [consumers.round(batch, clients, seconds) for _ in range(bench.rounds)]
            rows.append([clients, batch] + [cell(median(rounds, name)) for name in names] +
                        [cell(ratio(rounds, 'atp', name), 2) for name in names[:3]] + [cell(consumers.wal_per_event, 1)])
            say(f'    {rows[-1]}')
            for other, limit in ASKED[batch].items():
                figure = ratio(rounds, 'atp', other)
                if figure is not None or clients == 1:
                    bench.aim(f'claim and ack, batches of {batch}, {clients} consumers, beside {other}', figure, at_least=limit)
            if batch == 1000 and clients == 1:
                bench.aim('claim and ack, batches of 1,000: WAL an event', consumers.wal_per_event, at_most=(5, None), unit='B')
    bench.report.table('Consuming: claim and ack', ['consumers', 'batch', 'SKIP LOCKED', 'PgQ', 'pg-boss', 'atp', 'atp / SKIP LOCKED', 'atp / PgQ',
                       'atp / pg-boss', 'atp: WAL bytes an event'], rows, 'Events a second. PgQ has one consumer of a queue; its batches are its ticks.')
    held_open(bench, consumers)
    skipping(bench, consumers)


def held_open(bench, consumers):
    """The same, while a transaction keeps its snapshot."""
    rows = []
    for batch in (1, 100):
        rates = {False: [], True: []}
        for number in range(2 * bench.rounds):
            held = number % 2 == 1
            holder = None
            if held:
                holder = subprocess.Popen(['psql', '-XAtq', '-U', 'postgres', '-d', consumers.database], stdin=subprocess.PIPE,
                                          stdout=subprocess.DEVNULL, text=True)
                holder.stdin.write('BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT count(*) FROM pg_class;\n')
                holder.stdin.flush()
                time.sleep(0.3)
            rates[held].append(consumers.run_atp(batch, 8, bench.options.seconds))
            if holder:
                holder.communicate('COMMIT;\n')
        held, free = statistics.median(rates[True]), statistics.median(rates[False])
        rows.append([batch, cell(free), cell(held), cell(held / free, 2)])
        bench.aim(f'claims with a snapshot held open, batches of {batch}', held / free, at_least=(0.9, None))
    bench.report.table('Consuming with a snapshot held open', ['batch', 'without', 'with', 'ratio'], rows, 'Events a second, 8 consumers.')


def skipping(bench, consumers):
    """A subscription that wants nothing of the store: log rows looked at a second."""
    consumers.server.psql(consumers.database, "SELECT atp.create_subscription('nothing', event_types => '{NothingHappened}', partitions => 1)")
    head = consumers.atp.head()
    seconds, _ = consumers.server.seconds(consumers.database, "SELECT count(*) FROM atp.claim_events('nothing', 100)")
    bench.aim('log rows skipped by a subscription', min(head, 1000000) / seconds, at_least=(500000, None), unit='rows/s')
