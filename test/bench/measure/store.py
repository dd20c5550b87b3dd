"""What is done with a loaded store: reading a stream, reading the log, verifying everything."""
import statistics

from harness import Failure, race, say
from report import cell

READS = {
    'message-db': {
        'stream': r"""\set from random(0, 4) * 100
            SELECT * FROM get_stream_messages('Reading-1', :from, 1000);""",
        'log': r"""\set from random(0, :half - 2000)
            SELECT * FROM get_category_messages('Reading', :from, 1000);""",
    },
    'atp': {
        'stream': r"""\set from random(0, 4) * 100
            SELECT * FROM atp.read_stream(stream => 'Reading-1', from_version => :from, max_count => 1000);""",
        'log': r"""\set from random(0, :half - 2000)
            SELECT * FROM atp.read_log(after_position => :from, max_count => 1000);""",
    },
}


def read(bench):
    """Streams hold 2,000 events here, so that a read of 1,000 from any of the first 500 is full."""
    rows = []
    stores = [store for name in ('message-db', 'atp') for store in bench.loaded(name)]
    half = bench.options.events // 2
    for what, label in (('stream', 'read_stream beside get_stream_messages'), ('log', 'read_log beside get_category_messages')):
        standings = race(bench, stores, 1, bench.options.seconds, reads=True,
                         statement=lambda c, w=what: READS[c.name][w].replace(':half', str(half)))
        events = {name: standings.median(name) * 1000 for name in ('message-db', 'atp') if name in standings}
        rows.append([label, cell(events.get('message-db')), cell(events.get('atp')), cell(standings.ratio('atp', 'message-db'), 2)])
        bench.aim(f'{label}, 1,000 events', standings.ratio('atp', 'message-db'), at_least=(1.0, None))
    bench.report.table('Reading 1,000 events at a time, one client', ['read', 'message-db', 'atp', 'ratio'], rows, 'Events a second.')


def verify(bench):
    rows = []
    for atp in bench.loaded('atp'):
        events, taken = atp.stored(), []
        for _ in range(bench.rounds):
            cpu = bench.server.cpu()
            seconds, result = bench.server.seconds(atp.database, 'SELECT * FROM atp.verify_all()')
            taken.append((seconds, bench.server.cpu() - cpu))
        if '|f|' in f'|{result}|':
            raise Failure(f'verify_all found a fault: {result[:200]}')
        seconds, cpu = (statistics.median(t[k] for t in taken) for k in (0, 1))
        rows.append([cell(events), cell(seconds, 2), cell(events / seconds), cell(cpu / events * 1e6, 2), result.replace('\n', '; ')])
        say(f'    {rows[-1]}')
        bench.aim('verify_all, one core', events / seconds, at_least=(150000, 600000), unit='events/s')
    if not rows:
        bench.aim('verify_all, one core', None, at_least=(150000, 600000), unit='events/s')
    bench.report.table('verify_all', ['events', 'seconds', 'events a second', 'CPU µs per event', 'answer'], rows)
