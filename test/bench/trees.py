"""What the process that grows the trees costs appends, and how fast it is; run inside a cluster by test/bench/trees.

The race is one of the same build with and without: the process is stopped (SIGSTOP) between two of its transactions, so that it holds nothing
but the lock that keeps the worker from doing its work. Rounds alternate who begins. Before each round all that waits has become leaves.
"""
import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

STREAMS = 10000
PAYLOAD = '{"account": "4f1c", "amount": 17.25, "text": "' + 'lorem ipsum ' * 32 + '"}'
METADATA = '{"actor": "user-17", "source": "' + 'x' * 130 + '"}'
TICK = os.sysconf('SC_CLK_TCK')


def sql(text):
    return subprocess.run(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', text], capture_output=True, text=True, check=True).stdout.strip()


def cpu_of(pid):
    with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def catch_up():
    """Waits until the log grows no more, and all of it is leaves."""
    last = None
    while True:
        now = sql('SELECT max(log_position), max(log_position) = (SELECT log_position FROM atp_internal.leaf_state) FROM atp_internal.log')
        if now == last and now.endswith('t'):
            return
        last = now
        time.sleep(0.3)


def process():
    """The process, alive; an append brings it up."""
    while True:
        pid = sql("SELECT pid FROM atp_internal.aside_status()")
        if pid:
            return int(pid)
        sql("SELECT FROM atp.append_event('account-1', 'BalanceAdjusted')")
        time.sleep(0.2)


def stop(pid):
    while True:
        os.kill(pid, signal.SIGSTOP)
        if sql(f'SELECT backend_xid IS NULL AND backend_xmin IS NULL FROM pg_stat_activity WHERE pid = {pid}') == 't':
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.01)


def load(script, clients, seconds):
    """Appends a second."""
    done = subprocess.run(['pgbench', '-n', '-M', 'prepared', '-c', str(clients), '-j', '2', '-T', str(seconds), '-f', script], capture_output=True,
                          text=True, check=True)
    return float(re.search(r'tps = ([\d.]+)', done.stdout)[1])


def one_round(script, clients, seconds, with_trees):
    """Appends a second, CPU of the process a leaf in microseconds."""
    pid = process()
    catch_up()
    if not with_trees:
        stop(pid)
    before = cpu_of(pid), int(sql('SELECT coalesce(max(log_position), 0) FROM atp_internal.leaf_state'))
    rate = load(script, clients, seconds)
    after = cpu_of(pid), int(sql('SELECT coalesce(max(log_position), 0) FROM atp_internal.leaf_state'))
    os.kill(pid, signal.SIGCONT)
    return rate, (after[0] - before[0]) / max(after[1] - before[1], 1) * 1e6


def race(script, clients, seconds, rounds):
    ratios, rates, costs = [], {True: [], False: []}, []
    for number in range(rounds):
        result = {}
        for with_trees in (True, False) if number % 2 else (False, True):
            result[with_trees] = one_round(script, clients, seconds, with_trees)
            rates[with_trees].append(result[with_trees][0])
        ratios.append(result[True][0] / result[False][0])
        costs.append(result[True][1])
        print(f'    {clients} clients: {ratios[-1]:.3f}', file=sys.stderr, flush=True)
    print(f'| {clients} | {statistics.median(rates[False]):,.0f} | {statistics.median(rates[True]):,.0f} | {statistics.median(ratios):.3f} '
          f'({min(ratios):.2f} to {max(ratios):.2f}) | {statistics.median(costs):.1f} µs |')


def backlog(events):
    pid = process()
    catch_up()
    stop(pid)
    sql(f'''INSERT INTO atp.events (stream, event_type, payload, metadata) SELECT 'backlog-' || i % {max(events // 20, 1)}, 'BalanceAdjusted', '{PAYLOAD}', '{METADATA}'
        FROM generate_series(1, {events}) i''')
    while sql(f'SELECT max(log_position) - (SELECT log_position FROM atp_internal.leaf_state) >= {events} FROM atp_internal.log') != 't':
        time.sleep(0.2)
    head, state = int(sql('SELECT max(log_position) FROM atp_internal.log')), 'SELECT log_position FROM atp_internal.leaf_state'
    cpu, began = cpu_of(pid), time.monotonic()
    os.kill(pid, signal.SIGCONT)
    while int(sql(state)) < head:
        time.sleep(0.02)
    taken = time.monotonic() - began
    print(f'| {events:,} | {events / taken:,.0f} | {(cpu_of(pid) - cpu) / events * 1e6:.1f} µs |')


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--rounds', type=int, default=4)
    parser.add_argument('--seconds', type=int, default=4)
    parser.add_argument('--clients', default='8,32')
    parser.add_argument('--events', default='200000')
    arguments = parser.parse_args()
    sql('CREATE EXTENSION IF NOT EXISTS atp')
    with tempfile.NamedTemporaryFile('w', suffix='.sql') as script:
        script.write(f"\\set stream random(1, {STREAMS})\nSELECT FROM atp.append_event('account-' || :stream, 'BalanceAdjusted', '{PAYLOAD}', metadata => '{METADATA}');\n")
        script.flush()
        load(script.name, 8, 2)
        if arguments.rounds > 0:
            print('| clients | appends a second without | with | with / without | CPU of the process a leaf |\n|---|---|---|---|---|')
        for clients in arguments.clients.split(',') if arguments.rounds > 0 else []:
            race(script.name, int(clients), arguments.seconds, arguments.rounds)
    if arguments.events:
        print('\n| backlog | leaves a second | CPU of the process a leaf |\n|---|---|---|')
    for events in arguments.events.split(',') if arguments.events else []:
        backlog(int(events))


main()
