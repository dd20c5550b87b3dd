"""Collects aims and tables, and writes them as one Markdown page."""
import glob
import os
import platform
import re
import subprocess

from harness import HERE, run, say


def cell(value, digits=0):
    return '–' if value is None else f'{value:,.{digits}f}'


class Report:
    def __init__(self):
        self.aims = []
        self.sections = []
        self.conditions = []
        self.skipped = []

    def aim(self, what, figure, at_least=None, at_most=None, unit='×'):
        """One line of the first table. The limit is (asked, goal), floors or ceilings; either may be None."""
        asked, goal = at_least or at_most

        def reached(limit):
            return limit is not None and (figure >= limit if at_least else figure <= limit)

        digits = 0 if (asked or goal) >= 100 else 2
        shown = ['' if x is None else f"{'≥' if at_least else '≤'} {x:,.{digits}f} {unit}" for x in (asked, goal)]
        if figure is None:
            shown += ['not measured', '–']
        else:
            met = 'goal' if reached(goal) else 'yes' if reached(asked) else 'NO' if asked is not None else 'below the goal'
            shown += [f'{figure:,.{digits}f} {unit}', met]
        self.aims.append([what] + shown)
        say(f'    {what}: {shown[2]}; asked {shown[0] or "–"}, goal {shown[1] or "–"}: {shown[3]}')

    def table(self, title, head, rows, note=''):
        if rows:
            self.sections.append((title, head, rows, note))

    def skip(self, what, why):
        why = ' '.join(why.split())[:300]
        self.skipped.append((what, why))
        say(f'    skipped: {what}: {why}')

    def text(self):
        parts = ['# Benchmarks', '', 'Written by `make bench` (test/bench/run). Ratios are medians over rounds in which the contestants '
                 'alternate; only they may be compared between machines. CPU is that of all processes of the server.', '',
                 '## Conditions', '']
        parts += [f'* {line}' for line in self.conditions]
        parts += [f'* not measured: {what}: {why}' for what, why in self.skipped]
        parts += ['', '## Aims', ''] + markdown(['measured', 'asked', 'goal', 'figure', 'met'], self.aims)
        for title, head, rows, note in self.sections:
            parts += ['', f'## {title}', ''] + ([note, ''] if note else []) + markdown(head, rows)
        return '\n'.join(parts) + '\n'


def markdown(head, rows):
    lines = ['| ' + ' | '.join(head) + ' |', '|' + ' --- |' * len(head)]
    return lines + ['| ' + ' | '.join(str(c).replace('|', '\\|') for c in row) + ' |' for row in rows]


def flush_time(directory):
    """What pg_test_fsync says of fdatasync here; it is ended after the line that is wanted."""
    target = os.path.join(directory, 'fsync.probe')
    with subprocess.Popen(['pg_test_fsync', '-s', '1', '-f', target], stdout=subprocess.PIPE, text=True) as probe:
        for line in probe.stdout:
            if re.match(r'\s+fdatasync\s', line):
                probe.terminate()
                break
    if os.path.exists(target):
        os.unlink(target)
    return re.sub(r'\s+', ' ', line.strip())


def first(pattern, path):
    with open(path, encoding='utf-8') as file:
        found = re.search(pattern, file.read(), re.M)
    return found[1] if found else '?'


def conditions(server, options):
    """Everything that a figure depends on."""
    settings = ('shared_buffers', 'max_wal_size', 'checkpoint_timeout', 'autovacuum', 'fsync', 'synchronous_commit', 'wal_sync_method',
                'full_page_writes', 'wal_level', 'commit_delay', 'shared_preload_libraries', 'max_connections', 'jit')
    shown = ', '.join(f"{name} = {server.psql('postgres', 'SHOW ' + name) or chr(39) * 2}" for name in settings)
    own = server.rows('postgres', "SELECT name, setting FROM pg_settings WHERE name LIKE 'atp.%' AND source <> 'default'")
    commit = run(['git', '-C', HERE, '-c', 'safe.directory=*', 'log', '-1', '--format=%h of %cs']).strip()
    cores = len(glob.glob('/sys/devices/system/cpu/cpu[0-9]*')) or os.cpu_count()
    memory = int(first(r'MemTotal:\s+(\d+)', '/proc/meminfo')) // 1024
    device = run(['df', '--output=source,fstype', server.data]).split('\n')[1]
    with open('/proc/loadavg', encoding='ascii') as file:
        load = file.read().split()[0]
    return [
        f"{first(r'model name.*: (.*)', '/proc/cpuinfo')}, {cores} cores (clients and server share them), {memory:,} MB, {platform.platform()}",
        f'{server.psql("postgres", "SELECT version()").split(" (")[0]}; atp at {commit}',
        f'disk {" ".join(device.split())}; pg_test_fsync: {flush_time(server.data)}',
        f'load average when it began: {load}',
        f'settings: {shown}' + ''.join(f', {name} = {value}' for name, value in own),
        f'rounds: {options.rounds} of {options.seconds} s; `pgbench -M prepared`; 10,000 streams in 64 categories unless it says otherwise',
    ]
