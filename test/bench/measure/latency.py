"""From an append to the wake-up of a listener, idle and at half load, beside a bare INSERT + NOTIFY."""
import bisect
import time

from harness import Load, run, say
from report import cell

IDLE_RATE = 50          # a second


def probe(bench, contestant, channel, sql, resolve, seconds):
    """Latencies in ms from sending the append, and from its acknowledgement, to the notification that covers it."""
    payload, metadata = contestant.variants()[0]
    sql = sql.format(payload=f"'{payload}'", metadata=f"'{metadata}'")
    for variable in ('time_part', 'random_part', 'version'):
        sql = sql.replace(f':{variable}', {'time_part': '(extract(epoch FROM clock_timestamp()) * 65536000)::bigint',
                                           'random_part': '(random() * 9e18)::bigint',
                                           'version': '(extract(epoch FROM clock_timestamp()) * 1e6)::bigint'}[variable])
    sql = sql.replace(':stream', '0')
    out = run([bench.server.compile('latency'), bench.server.conninfo(contestant.database), channel, str(IDLE_RATE), str(seconds), sql])
    appends, notes = [], []
    for kind, key, *times in (line.split() for line in out.splitlines()):
        (appends if kind == 'append' else notes).append((key, *map(int, times)))
    return match(appends, notes, resolve(contestant, [a[0] for a in appends]) if resolve else None)


def match(appends, notes, positions):
    """Which notification answers which append: the one with its key, or the first with a head at or beyond its position."""
    found = []
    if positions is None:
        received = dict(notes)
        found = [(sent, acknowledged, received.get(key)) for key, sent, acknowledged in appends]
    else:
        heads, times = [], []
        for payload, at in notes:
            if not heads or int(payload) > heads[-1]:
                heads.append(int(payload))
                times.append(at)
        for key, sent, acknowledged in appends:
            at = bisect.bisect_left(heads, positions[key]) if key in positions else len(heads)
            found.append((sent, acknowledged, times[at] if at < len(heads) else None))
    answered = [(s, a, r) for s, a, r in found if r is not None]
    return ([(r - s) / 1000 for s, a, r in answered], [(r - a) / 1000 for s, a, r in answered], len(found) - len(answered))


def positions_of(atp, keys):
    """Where the sampled events stand in the log, asked in one go when the clock has stopped."""
    atp.note(len(keys))
    text = '{' + ','.join(keys) + '}'
    rows = atp.server.rows(atp.database, f"SELECT event_id, log_position FROM atp_internal.log WHERE event_id = ANY ('{text}'::uuid[])")
    return {key: int(position) for key, position in rows}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def wake_up(bench):
    rows, results = [], {}
    for name, channel, resolve in (('notify', 'bench', None), ('atp', 'atp', positions_of)):
        for contestant in bench.take(name):
            saturated = bench.saturated(contestant)
            for load in ('idle', 'half'):
                results[name, load] = one(bench, contestant, channel, resolve, None if load == 'idle' else saturated / 2)
                sent, acknowledged, lost = results[name, load]
                rows.append([contestant.title, 'idle' if load == 'idle' else f'half ({saturated / 2:,.0f} events/s)', len(sent), lost]
                            + [cell(percentile(v, p), 2) for v in (sent, acknowledged) for p in (0.5, 0.99)])
                say('    ' + ' '.join(map(str, rows[-1])))
    aims(bench, results)
    bench.report.table('From append to the wake-up of a listener', ['contestant', 'load', 'samples', 'never woken', 'p50 from sending', 'p99',
                                                                    'p50 from the acknowledgement', 'p99'], rows,
                       'Milliseconds, libpq, one listener; half load is half of what 8 clients reach. From the acknowledgement can be '
                       'negative: the listener may be woken before the appending client has its answer.')


def one(bench, contestant, channel, resolve, rate):
    seconds = bench.options.latency
    sql = contestant.key
    load = Load(bench.server, contestant, contestant.append, 8, seconds + 4, rate=rate).start() if rate else None
    if load:
        time.sleep(1)
    try:
        result = probe(bench, contestant, channel, sql, resolve, seconds)
    finally:
        if load:
            done, _rate, _latency = load.finish()
            contestant.note(done)
    contestant.settle()
    return result


def aims(bench, results):
    def at(name, load, share):
        return percentile(results[name, load][0], share) if (name, load) in results else None
    atp, bare = at('atp', 'idle', 0.5), at('notify', 'idle', 0.5)
    bench.aim('append → listener, idle, p50 beside INSERT + NOTIFY', atp / bare if atp and bare else None, at_most=(3.0, None))
    bench.aim('append → listener, idle, p50', atp, at_most=(None, 0.7), unit='ms')
    bench.aim('append → listener, idle, p99', at('atp', 'idle', 0.99), at_most=(None, 1.5), unit='ms')
    bench.aim('append → listener, half load, p99', at('atp', 'half', 0.99), at_most=(10, 3), unit='ms')
