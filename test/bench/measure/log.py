"""The sequencer: how fast it works off a backlog, and whether the log keeps up with appends that saturate the machine."""
import re

from harness import Failure, Load, SETTLE_SECONDS, say
from report import cell


def backlog(bench):
    """One transaction is a backlog that needs no paused worker: nothing of it can be sequenced before it commits."""
    events = bench.options.events_backlog
    rows = []
    for atp in bench.fresh('atp', '_backlog'):
        atp.prefill(10000, 64)
        atp.settle()
        bench.server.psql(atp.database, f"""INSERT INTO atp.events (stream, event_type, payload, metadata)
            SELECT 'Account' || i % 64 || '-' || i % 10000, 'BalanceAdjusted', bench.payload(i), bench.metadata(i)
            FROM generate_series(1::bigint, {events}) i""")
        atp.note(events)
        cpu = bench.server.cpu()
        begun, seconds = atp.drain(4 * SETTLE_SECONDS)
        drained = atp.expected - begun
        if drained < events / 10:
            raise Failure(f'only {drained:,} of {events:,} events were not yet in the log when the clock started')
        per_event = (bench.server.cpu() - cpu) / drained * 1e6
        rows.append([cell(events), cell(drained), cell(seconds, 2), cell(drained / seconds), cell(per_event, 1)])
        bench.aim('the sequencer on a backlog, projections on', drained / seconds, at_least=(60000, 100000), unit='events/s')
        bench.aim('… CPU of it', per_event, at_most=(None, 10), unit='µs an event')
    if not rows:
        bench.aim('the sequencer on a backlog, projections on', None, at_least=(60000, 100000), unit='events/s')
    bench.report.table('The sequencer on a backlog', ['events of one transaction', 'not yet in the log when the clock started', 'seconds',
                                                      'events a second', 'CPU µs per event'], rows)


def saturation(bench):
    """32 clients as fast as they can; each second, how far the log's head is behind what has been appended."""
    seconds = bench.options.saturation
    rows = []
    for atp in bench.take('atp'):
        start = atp.head()
        load = Load(bench.server, atp, atp.append, 32, seconds).start(progress=True)
        appended, behind = 0.0, []
        for line in load.process.stderr:
            found = re.match(r'progress: ([\d.]+) s, ([\d.]+) tps', line)
            if not found:
                continue
            appended += float(found[2])
            behind.append(max(0, appended - (atp.head() - start)))
            rows.append([found[1], cell(appended), cell(behind[-1])])
        done, rate, _latency = load.finish()
        atp.note(done)
        _begun, drain = atp.drain()
        rows.append(['end', cell(done), f'drained in {drain:.2f} s'])
        say(f'    {rate:,.0f} events/s, behind by {[int(b) for b in behind]}, then {drain:.2f} s')
        bench.aim('the log behind a saturated append side, seconds to drain after the last append', drain, at_most=(None, 1.0), unit='s')
    if not rows:
        bench.aim('the log behind a saturated append side, seconds to drain after the last append', None, at_most=(None, 1.0), unit='s')
    bench.report.table('Does the log keep up with 32 clients', ['second', 'appended', 'events behind'], rows)
