"""Appends and their consumers together: what subscriptions cost who appends, and how soon a consumer has an event."""
import statistics
import time

from harness import Load, one_round, run, say
from measure.latency import percentile
from report import cell

SUBSCRIPTIONS = 64
RATE = 50           # sampled appends a second


def create(atp, options):
    atp.server.psql(atp.database, f"SELECT count(atp.create_subscription('fan' || i, start_at => 'end'{options})) FROM generate_series(1, {SUBSCRIPTIONS}) i")


def drop(atp):
    atp.server.psql(atp.database, f"SELECT count(*) FROM (SELECT atp.drop_subscription('fan' || i) FROM generate_series(1, {SUBSCRIPTIONS}) i) d")


def subscriptions(bench):
    """Appends with and without subscriptions on their log, in turns."""
    rows = []
    for atp in bench.take('atp'):
        for label, options in (('64 subscriptions', ''), ("64 subscriptions that are announced (notify => true)", ', notify => true')):
            without, having = [], []
            one_round(bench.server, atp, atp.append, 8, 1)
            for number in range(2 * max(bench.rounds, 2)):
                pair = (False, True) if number % 2 == 0 else (True, False)
                for present in pair:
                    if present:
                        create(atp, options)
                    (having if present else without).append(one_round(bench.server, atp, atp.append, 8, bench.options.seconds).rate)
                    if present:
                        drop(atp)
            ratio = statistics.median(h / w for h, w in zip(having, without))
            rows.append([label, cell(statistics.median(without)), cell(statistics.median(having)), cell(ratio, 3)])
            say(f'    {rows[-1]}')
            if not options:
                bench.aim('appends with 64 subscriptions on the log, beside none', ratio, at_least=(0.97, None))
    bench.report.table('Appends with subscriptions on the log', ['', 'none', 'with', 'ratio'], rows,
                       'Events a second, 8 clients, in turns; nobody consumes. The median of the ratios of neighbouring rounds.')


def to_consumer(bench):
    """From an append to the consumer that has the event."""
    rows = []
    for atp in bench.take('atp'):
        half = bench.saturated(atp) / 2
        for mode, said in (('listen', 'LISTEN'), ('wait', 'wait_for_events')):
            for rate in (None, half):
                sent, acknowledged, lost = one(bench, atp, mode, rate)
                rows.append([said, 'idle' if rate is None else f'half ({rate:,.0f} events/s)', len(sent), lost] +
                            [cell(percentile(v, p), 2) for v in (sent, acknowledged) for p in (0.5, 0.99)])
                say('    ' + ' '.join(map(str, rows[-1])))
                if rate:
                    bench.aim(f'append commit → consumer has the event, half load, {said}, p99', percentile(acknowledged, 0.99), at_most=(10, None), unit='ms')
                if lost:
                    bench.report.skip(f'{said}', f'{lost} events did not arrive')
    bench.report.table('From append to the consumer', ['consumer waits by', 'load', 'samples', 'lost', 'p50 from sending', 'p99',
                                                       'p50 from the acknowledgement', 'p99'], rows,
                       'Milliseconds. One consumer takes all events of the log, 100 at a time, and acks with the next claim.')


def one(bench, atp, mode, rate):
    payload, metadata = atp.variants()[0]
    sql = atp.key.format(payload=f"'{payload}'", metadata=f"'{metadata}'")
    seconds = bench.options.latency
    atp.server.psql(atp.database, "SELECT atp.create_subscription('consumed', start_at => 'end', partitions => 4)")
    load = Load(bench.server, atp, atp.append, 8, seconds + 4, rate=rate).start() if rate else None
    if load:
        time.sleep(1)
    try:
        out = run([bench.server.compile('deliver'), bench.server.conninfo(atp.database, 'postgres'), str(RATE), str(seconds), sql, 'consumed', mode])
    finally:
        if load:
            atp.note(load.finish()[0])
    appends, received = [], {}
    for kind, key, *times in (line.split() for line in out.splitlines()):
        if kind == 'append':
            appends.append((key, *map(int, times)))
        else:
            received[key] = int(times[0])
    atp.note(len(appends))
    atp.settle()
    atp.server.psql(atp.database, "SELECT atp.drop_subscription('consumed')")
    found = [(s, a, received[key]) for key, s, a in appends if key in received]
    return [(r - s) / 1000 for s, a, r in found], [(r - a) / 1000 for s, a, r in found], len(appends) - len(found)
