"""Many events in one call: append_events of 50 under a slow flush, and 1,000 at a time beside COPY."""
import json
import os

from harness import Failure, Load, Round, Standings, run, say
from contestant.plain import COLUMNS, CONSTANT
from report import cell

MARK = '#' * 16         # bulk.c writes fresh digits here


def events_text(contestant, count):
    pairs = contestant.variants()
    return json.dumps([{'event_type': 'BalanceAdjusted', 'payload': json.loads(pairs[i % len(pairs)][0]),
                        'metadata': json.loads(pairs[i % len(pairs)][1])} for i in range(count)])


def fifties(bench):
    """append_events of 50 on one stream, with a flush 1 ms slower."""
    rows = []
    bench.server.configure(commit_delay=1000, commit_siblings=0)
    try:
        for atp in bench.take('atp'):
            extra = [('events', events_text(atp, 50))]
            statement = atp.append_batch.format(stream="'Batch-1'", events=':events') + ';'
            for clients in (1, 8):
                rates, cpus = [], []
                for _ in range(bench.rounds):
                    cpu = bench.server.cpu()
                    done, rate, _latency = Load(bench.server, atp, statement, clients, bench.options.seconds, extra=extra).start().finish()
                    atp.note(done * 50)
                    atp.settle()
                    rates.append(rate * 50)
                    cpus.append((bench.server.cpu() - cpu) / (done * 50) * 1e6)
                rows.append([clients, cell(sorted(rates)[len(rates) // 2]), cell(sorted(cpus)[len(cpus) // 2], 1)])
                say(f'    {clients} clients: {rows[-1][1]} events/s')
                bench.aim(f'append_events of 50 on one stream, flush 1 ms slower, {clients} clients', sorted(rates)[len(rates) // 2],
                          at_least=(20000, None), unit='events/s')
    finally:
        bench.server.configure(commit_delay=0, commit_siblings=5)
    if not rows:
        bench.aim('append_events of 50 on one stream, flush 1 ms slower', None, at_least=(20000, None), unit='events/s')
    bench.report.table('append_events of 50 on one stream, flush 1 ms slower', ['clients', 'events a second', 'CPU µs per event'], rows)


class Bulk:
    """Statements that carry 1,000 events each, with their data in files."""

    def __init__(self, bench):
        self.server = bench.server
        self.bench = bench
        self.ways = []

    def file(self, name, text):
        path = os.path.join(self.server.scratch, name)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        return path

    def add(self, label, contestant, sql, *files):
        self.ways.append((label, contestant, sql, files))

    def once(self, contestant, sql, files):
        program = self.server.compile('bulk')
        cpu = self.server.cpu()
        out = run([program, self.server.conninfo(contestant.database), str(self.bench.options.seconds), sql, *files])
        executions, seconds = out.split()
        events = int(executions) * 1000
        contestant.note(events)
        contestant.settle()
        return Round(events / float(seconds), (self.server.cpu() - cpu) / events * 1e6, 0, 0, 0)

    def race(self):
        standings = Standings()
        for number in range(self.bench.rounds):
            turn = number % len(self.ways)
            for label, contestant, sql, files in self.ways[turn:] + self.ways[:turn]:
                standings.add(label, self.once(contestant, sql, files))
        return standings


def quoted(items):
    """An array literal."""
    return '{' + ','.join('"' + i.replace('\\', '\\\\').replace('"', '\\"') + '"' for i in items) + '}'


def add_plain(bulk, plain):
    pairs = [plain.variants()[i % len(plain.variants())] for i in range(1000)]
    ident, hash32 = 'f' * 16 + MARK, '\\\\x' + '5a' * 32
    copy = ''.join(f'{ident}\t1\t{MARK}\t2025-01-01 00:00:00+00\t2025-01-01 00:00:00+00\t1\t1\t1\t1\t0\t{hash32}\t{hash32}\t{p}\t{m}\n'
                   for p, m in pairs)
    bulk.add('COPY into A', plain, f'COPY public.event ({COLUMNS}) FROM STDIN', bulk.file('copy.plain', copy))
    values = f"""INSERT INTO public.event ({COLUMNS})
        SELECT u.id, 1, u.version, now(), clock_timestamp(), pg_current_xact_id(), 1, 1, 1, 0, {CONSTANT}, {CONSTANT}, u.payload, u.metadata
        FROM unnest($1::uuid[], $2::bigint[], $3::json[], $4::json[]) u(id, version, payload, metadata)"""
    bulk.add('multi-row INSERT into A', plain, values, bulk.file('ids', quoted([ident] * 1000)),
             bulk.file('versions', '{' + ','.join([MARK] * 1000) + '}'), bulk.file('payloads', quoted([p for p, _ in pairs])),
             bulk.file('metadata', quoted([m for _, m in pairs])))


def add_emmett(bulk, emmett):
    pairs = [emmett.variants()[i % len(emmett.variants())] for i in range(1000)]
    bulk.add("Emmett's append of 1,000", emmett, emmett.append_batch, bulk.file('emmett.ids', quoted([MARK] * 1000)),
             bulk.file('emmett.data', quoted([p for p, _ in pairs])), bulk.file('emmett.meta', quoted([m for _, m in pairs])))


def add_atp(bulk, atp):
    pairs = [atp.variants()[i % len(atp.variants())] for i in range(1000)]
    bulk.add('append_events of 1,000', atp, atp.append_batch.format(stream="'Bulk-1'", events='$1'),
             bulk.file('events.json', events_text(atp, 1000)))
    copy = ''.join(f'Bulk-{{}}\tBalanceAdjusted\t{p}\t{m}\n' for p, m in pairs)
    sql = 'COPY atp.events (stream, event_type, payload, metadata) FROM STDIN'
    bulk.add('COPY into atp.events, one stream', atp, sql, bulk.file('copy.one', copy.replace('Bulk-{}', 'Bulk-2')))
    spread = ''.join(f'Bulk{i % 64}-{i}\tBalanceAdjusted\t{p}\t{m}\n' for i, (p, m) in enumerate(pairs))
    bulk.add('COPY into atp.events, 1,000 streams', atp, sql, bulk.file('copy.many', spread))


def thousands(bench):
    """One connection, 1,000 events at a time. A has a table of its own here: its ids come in order, as atp's do."""
    bulk = Bulk(bench)
    for plain in bench.fresh('plain', '_bulk'):
        add_plain(bulk, plain)
    for emmett in bench.take('emmett'):
        add_emmett(bulk, emmett)
    for atp in bench.take('atp'):
        add_atp(bulk, atp)
    if not bulk.ways:
        raise Failure('nobody to measure')
    standings = bulk.race()
    rows = [[label, cell(standings.median(label)), cell(standings.ratio(label, 'COPY into A'), 2), cell(standings.median(label, 'cpu'), 1)]
            for label, *_ in bulk.ways]
    for label, rate, ratio, cpu in rows:
        say(f'    {label}: {rate} events/s ({ratio}), {cpu} µs')
    bench.aim('append_events of 1,000 beside COPY into A', standings.ratio('append_events of 1,000', 'COPY into A'), 
              at_least=(0.8, 1.0))
    bench.aim('COPY into atp.events (one stream) beside COPY into A', standings.ratio('COPY into atp.events, one stream', 'COPY into A'),
              at_least=(0.5, None))
    bench.report.table('1,000 events at a time, one connection', ['way', 'events a second', 'beside COPY into A', 'CPU µs per event'], rows)
