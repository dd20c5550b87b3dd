"""Single appends over many streams: the work of every day."""
from harness import race
from report import cell

HEAD_NAMES = ('plain', 'own', 'notify', 'message-db', 'emmett', 'atp')


def row(label, standings, beside='plain'):
    """Events a second, in brackets the ratio to limit A, CPU microseconds per event."""
    cells = [label]
    for name in HEAD_NAMES:
        ratio = standings.ratio(name, beside)
        shown = '' if ratio is None or name == beside else f' ({ratio:.2f})'
        cells.append('–' if name not in standings else f'{cell(standings.median(name))}{shown}, {cell(standings.median(name, "cpu"))} µs')
    return cells


def head(bench, label):
    return [label] + [bench.titles[name] for name in HEAD_NAMES]


def many_streams(bench):
    rows = []
    for clients in bench.options.clients:
        standings = race(bench, bench.take(*HEAD_NAMES), clients, bench.options.seconds)
        bench.standings['append', 0, clients] = standings
        rows.append(row(f'{clients}', standings))
        if clients == 1:
            continue
        bench.aim(f'append_event, many streams, {clients} clients, beside A', standings.ratio('atp', 'plain'),
                  at_least=(0.80 if clients == 32 else None, 0.90))
        bench.aim(f'… beside message-db, {clients} clients', standings.ratio('atp', 'message-db'),
                  at_least=(1.6, None) if clients == 32 else (None, 1.5))
        bench.aim(f"… beside Emmett's SQL, {clients} clients", standings.ratio('atp', 'emmett'), at_least=(None, 1.4))
    bench.report.table('Single appends, many streams', head(bench, 'clients'), rows,
                       'Events a second (ratio to A), CPU of the server per event.')


def slower_flush(bench):
    rows = []
    for delay in bench.options.delays:
        bench.server.configure(commit_delay=delay, commit_siblings=0)
        try:
            for clients in bench.options.clients:
                standings = race(bench, bench.take('plain', 'notify', 'message-db', 'emmett', 'atp'), clients, bench.options.seconds)
                rows.append(row(f'+{delay // 1000} ms, {clients}', standings))
                if delay == 5000 and clients == 32:
                    bench.aim('append_event, many streams, 32 clients, flush 5 ms slower, beside A', standings.ratio('atp', 'plain'),
                              at_least=(0.90, 0.95))
        finally:
            bench.server.configure(commit_delay=0, commit_siblings=5)
    bench.report.table('The same with a slower flush', head(bench, 'flush, clients'), rows,
                       '`commit_delay` with `commit_siblings = 0`: what real and replicated disks do. A lock that all appends share and '
                       'that is held through the flush shows here.')


def one_category(bench):
    """message-db locks the category: many streams of one category are its worst ordinary case."""
    rows = []
    contestants = bench.take('message-db', 'atp')
    for contestant in contestants:
        contestant.prefill(10000, 1)
    for clients in [c for c in bench.options.clients if c > 1]:
        standings = race(bench, contestants, clients, bench.options.seconds, categories=1)
        rows.append([clients, cell(standings.median('message-db')), cell(standings.median('atp')),
                     cell(standings.ratio('atp', 'message-db'), 2)])
        bench.aim(f'append_event, streams of one category, {clients} clients, beside message-db', standings.ratio('atp', 'message-db'),
                  at_least=(None, 3.0))
    bench.report.table('Single appends, 10,000 streams of one category', ['clients', 'message-db', 'atp', 'ratio'], rows, 'Events a second.')
