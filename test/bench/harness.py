"""What every measurement uses: the server, its load, its CPU, and fair races between contestants.

A race alternates its contestants within each round and rotates who begins, because absolute rates on one machine drift by a factor
of two within the hour; only ratios between neighbours of one round mean anything. The steadiest figure is the CPU of the server's
processes per event, read from /proc: the postmaster's own times hold those of the backends that have ended.
"""
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
STREAMS = 10000
CATEGORIES = 64
VARIANTS = 16           # different payloads in the load, so that an index over them is a real one
SETTLE_SECONDS = 60

PRELUDE = r"""
\set n :n + 1
\set stream random(1, :streams)
\set category mod(:stream, :categories)
\set time_part :epoch + :n * 6553
\set random_part random(1, 9000000000000000000)
\set version :base + :n * 1000 + :client_id
"""

Round = namedtuple('Round', 'rate cpu failed lag latency')


def say(text):
    print(text, file=sys.stderr, flush=True)


class Failure(Exception):
    """A measurement that could not be made; the text says why."""


def run(command, **options):
    """Runs a program; its output, or a Failure with what it said."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise Failure(f'{command[0]}: {(done.stderr or done.stdout).strip()[-800:]}')
    return done.stdout


class Server:
    """The throw-away cluster that test/cluster made for us."""

    def __init__(self):
        self.data = os.environ['ATP_DATA']
        self.scratch = tempfile.mkdtemp(prefix='atp-bench.')
        with open(os.path.join(self.data, 'postmaster.pid'), encoding='ascii') as file:
            self.postmaster = int(file.readline())
        self.tick = os.sysconf('SC_CLK_TCK')

    def close(self):
        shutil.rmtree(self.scratch, ignore_errors=True)

    def psql(self, database, *statements, user='postgres', stdin=None):
        command = ['psql', '-XAtq', '-F', '\t', '-v', 'ON_ERROR_STOP=1', '-U', user, '-d', database]
        for statement in statements:
            command += ['-c', statement]
        return run(command, input=stdin).strip()

    def rows(self, database, query):
        text = self.psql(database, query)
        return [line.split('\t') for line in text.split('\n')] if text else []

    def seconds(self, database, statement, user='postgres'):
        """How long one statement took (as psql saw it), and what it returned."""
        command = ['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-U', user, '-d', database, '-c', r'\timing on', '-c', statement]
        text = run(command)
        taken = re.findall(r'^Time: ([\d.]+) ms', text, re.M)[-1]
        return float(taken) / 1000, re.sub(r'^Time: .*\n?', '', text, flags=re.M).strip()

    def configure(self, **settings):
        for name, value in settings.items():
            self.psql('postgres', f"ALTER SYSTEM SET {name} = '{value}'")
        self.psql('postgres', 'SELECT pg_reload_conf()')
        time.sleep(0.3)

    def cpu(self):
        """CPU seconds of all processes of the server since it started."""
        time.sleep(0.1)         # backends that were left are ending
        total = sum(self._times(self.postmaster, 'whole')) / self.tick
        for pid in self._children():
            total += sum(self._times(pid, 'own')) / self.tick
        return total

    def _children(self):
        with open(f'/proc/{self.postmaster}/task/{self.postmaster}/children', encoding='ascii') as file:
            return [int(pid) for pid in file.read().split()]

    @staticmethod
    def _times(pid, which):
        try:
            with open(f'/proc/{pid}/stat', encoding='ascii', errors='replace') as file:
                fields = file.read().rsplit(')', 1)[1].split()
        except FileNotFoundError:
            return [0]
        return [int(x) for x in fields[11:(15 if which == 'whole' else 13)]]

    def compile(self, name):
        """Builds one of the small libpq programs beside this file; its path."""
        target = os.path.join(self.scratch, name)
        if not os.path.exists(target):
            run(['cc', '-O2', '-std=c11', '-D_GNU_SOURCE', '-I/usr/include/postgresql', '-o', target, os.path.join(HERE, name + '.c'), '-lpq'])
        return target

    def conninfo(self, database, user='bench'):
        return f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user={user} dbname={database}"


class Load:
    """One run of pgbench on one contestant. The statement may name {payload}, {metadata} and the variables of PRELUDE."""

    def __init__(self, server, contestant, statement, clients, seconds, streams=STREAMS, categories=CATEGORIES, rate=None, extra=()):
        # pylint: disable=too-many-arguments
        variants = contestant.variants() if '{payload}' in statement else [(None, None)]
        now = time.time()
        defines = {'n': 0, 'streams': streams, 'categories': categories, 'epoch': int(now * 1000) << 16, 'base': int(now * 1000) * 10 ** 6}
        scripts = []
        for k, (payload, metadata) in enumerate(variants):
            path = os.path.join(server.scratch, f'{contestant.database}-{k}.sql')
            with open(path, 'w', encoding='utf-8') as file:
                file.write(PRELUDE + statement.format(payload=f':payload{k}', metadata=f':metadata{k}') + '\n')
            scripts += ['-f', path]
            if payload:
                defines[f'payload{k}'], defines[f'metadata{k}'] = payload, metadata
        command = ['pgbench', '-n', '-M', 'prepared', '-c', str(clients), '-j', str(min(clients, 2)), '-T', str(seconds), '-U', 'bench']
        for name, value in list(defines.items()) + list(extra):
            command += ['-D', f'{name}={value}']
        command += ['--rate', str(rate)] if rate else []
        self.command = command + scripts + [contestant.database]
        self.what = f'{contestant.name}, {clients} clients'
        self.process = None

    def start(self, progress=False):
        if progress:
            self.command[1:1] = ['--progress', '1']
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return self

    def finish(self):
        """Transactions done, transactions a second, average latency in ms."""
        out, err = self.process.communicate()
        done = re.search(r'actually processed: (\d+)', out)
        rate = re.search(r'tps = ([\d.]+)', out)
        latency = re.search(r'latency average = ([\d.]+)', out)
        if self.process.returncode != 0 or 'aborted' in err or not (done and rate):
            raise Failure(f'pgbench ({self.what}): {err.strip()[-600:]}')
        return int(done[1]), float(rate[1]), float(latency[1])


class Standings:
    """The rounds of one race."""

    def __init__(self):
        self.rounds = {}

    def add(self, name, result):
        self.rounds.setdefault(name, []).append(result)

    def __contains__(self, name):
        return name in self.rounds

    def median(self, name, field='rate'):
        return statistics.median(getattr(r, field) for r in self.rounds[name]) if name in self.rounds else None

    def worst(self, name, field):
        return max(getattr(r, field) for r in self.rounds[name]) if name in self.rounds else None

    def ratio(self, name, other, field='rate'):
        """The median of the ratios of each round, or None if one of them did not run."""
        if name not in self.rounds or other not in self.rounds:
            return None
        pairs = zip(self.rounds[name], self.rounds[other])
        return statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs if getattr(b, field))


def one_round(server, contestant, statement, clients, seconds, reads=False, **load):
    """Runs one contestant once; rate is in events that were really written (in statements, if it reads), CPU in microseconds each."""
    before, cpu = None if reads else contestant.counted(), server.cpu()
    done, rate, latency = Load(server, contestant, statement, clients, seconds, **load).start().finish()
    started = time.monotonic()
    if not reads:
        contestant.note(done)
        contestant.settle()
    lag = time.monotonic() - started
    written = done if before is None else contestant.counted() - before
    done, cpu = max(done, 1), (server.cpu() - cpu) / max(written, 1) * 1e6
    return Round(rate * written / done, cpu, 1 - written / done, lag, latency)


def race(bench, contestants, clients, seconds, statement=lambda c: c.append, **load):
    """Alternates the contestants, rotated each round. Who fails is named in the report and leaves the race."""
    standings, running = Standings(), list(contestants)
    for number in range(bench.rounds):
        turn = number % max(len(running), 1)
        for contestant in running[turn:] + running[:turn]:
            try:
                standings.add(contestant.name, one_round(bench.server, contestant, statement(contestant), clients, seconds, **load))
            except Failure as failure:
                bench.report.skip(f'{contestant.title}, {clients} clients', str(failure))
                standings.rounds.pop(contestant.name, None)
                running.remove(contestant)
    for contestant in contestants:
        contestant.vacuum()
    line = '  '.join(f'{c.name} {standings.median(c.name):,.0f}' for c in running)
    say(f'    {clients:>2} clients: {line}')
    return standings
