"""Where each byte goes: a loaded store, relation by relation, divided by its events."""
from report import cell

SMALL = 1.0             # bytes an event below which a relation goes into one line with the others


def bytes_per_event(bench):
    totals = {}
    for name in ('plain', 'message-db', 'emmett', 'atp'):
        for store in bench.loaded(name):
            sizes = [(relation, part, float(size) / bench.options.events)
                     for relation, part, size in bench.server.rows(store.database, 'TABLE bench.size ORDER BY bytes DESC')]
            apart = [s for s in sizes if 'projection' in s[0] and name == 'atp']
            totals[name] = sum(s[2] for s in sizes) - sum(s[2] for s in apart)
            rows = [[relation, part, cell(size, 1)] for relation, part, size in sizes if size >= SMALL and (relation, part, size) not in apart]
            rows.append(['everything else', '', cell(totals[name] - sum(s[2] for s in sizes if s[2] >= SMALL and s not in apart), 1)])
            rows.append(['**together**', '', f'**{cell(totals[name], 1)}**'])
            rows += [[relation, part + ', projection: apart', cell(size, 1)] for relation, part, size in apart if size >= SMALL]
            bench.report.table(f'Bytes an event: {store.title}', ['relation', 'part', 'bytes an event'], rows,
                               f'{bench.options.events:,} events, half of them in streams of 2,000, appended one by one.')
    atp, peer = totals.get('atp'), totals.get('message-db')
    bench.aim("bytes an event with indexes and log, beside message-db's", atp / peer if atp and peer else None, at_most=(1.0, None))
    bench.aim('bytes an event with indexes and log', atp, at_most=(None, 1000), unit='bytes')
