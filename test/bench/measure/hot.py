"""All clients append to one stream."""
from harness import race
from measure.append import head, row


def one_stream(bench):
    rows, rates = [], {}
    for clients in bench.options.clients:
        standings = race(bench, bench.take('plain', 'message-db', 'emmett', 'atp'), clients, bench.options.seconds, streams=1)
        rates[clients] = standings.median('atp')
        rows.append(row(clients, standings) + [f'{100 * (standings.median("emmett", "failed") or 0):.0f} %'])
        if clients > 1:
            bench.aim(f"one hot stream, {clients} clients, beside message-db's", standings.ratio('atp', 'message-db'), 
                      at_least=(1.0, 1.3))
    kept = rates[32] / rates[8] if rates.get(32) and rates.get(8) else None
    bench.aim('one hot stream, rate at 32 clients beside the rate at 8', kept, at_least=(None, 0.85))
    bench.report.table('One hot stream', head(bench, 'clients') + ["Emmett's appends that failed"], rows,
                       'Events a second that were written (ratio to A, whose rows know no stream lock), CPU of the server per event.')
