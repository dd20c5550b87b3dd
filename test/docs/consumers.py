#!/usr/bin/env python3
"""Runs the sample consumers of docs/howto/consumers.md in the running cluster: Python, Node and Go, where language and driver are on the
machine; the C# one is compiled only. Each gets a database with a subscription and has to handle what is appended, be woken by a notification,
connect anew when its connection is ended by the server, and ack all of it. Prints TAP, one test a language.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

PAGE = 'docs/howto/consumers.md'
TOP = os.getcwd()


def sample(language):
    return re.search(r'^```%s\n(.*?)^```\n' % language, open(PAGE, encoding='utf-8').read(), re.M | re.S).group(1)


def psql(database, sql):
    return subprocess.run(['psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', database, '-c', sql], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def until(condition, seconds):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def fault_of(database, command, environment, folder):
    """Runs a consumer; returns what is wrong with it, or None."""
    psql('postgres', 'CREATE DATABASE %s' % database)
    psql(database, "CREATE EXTENSION atp; SELECT atp.create_subscription('billing', event_types => '{Order*}', lock_duration => '60 s')")
    out, errors = os.path.join(folder, database + '.out'), os.path.join(folder, database + '.err')
    appended = 0

    def append(count):
        nonlocal appended
        psql(database, "SELECT count((atp.append_event('order-1', 'OrderPlaced', jsonb_build_object('n', n))).hash) FROM generate_series(%d, %d) n"
             % (appended + 1, appended + count))
        appended += count

    def handled():
        return re.findall(r'^OrderPlaced .*?n\W+(\d+)', open(out, encoding='utf-8').read(), re.M)

    def all_handled():
        return handled() == [str(n) for n in range(1, appended + 1)]

    def all_acked():
        return psql(database, 'SELECT lag_events + in_flight + retries FROM atp.subscription_status') == '0'

    append(250)
    with open(out, 'w', encoding='utf-8') as to, open(errors, 'w', encoding='utf-8') as err:
        process = subprocess.Popen(command, stdout=to, stderr=err, cwd=folder, env={**os.environ, **environment, 'PGDATABASE': database})
    try:
        if not until(all_handled, 30):
            return 'of %d events it handled %s; %s' % (appended, handled()[-5:], open(errors, encoding='utf-8').read()[-500:])
        if not until(all_acked, 10):
            return 'what it handled is not acked'
        time.sleep(1)           # it waits by now
        began = time.monotonic()
        append(1)
        if not until(all_handled, 4):
            return 'no notification woke it within 4 s'
        woken = time.monotonic() - began
        if not until(all_acked, 10):
            return 'what it was woken for is not acked'
        psql(database, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s' AND pid <> pg_backend_pid() AND backend_type = 'client backend'" % database)
        append(1)
        if not until(all_handled, 15):
            return 'it did not connect anew: %s; %s' % (handled()[-3:], open(errors, encoding='utf-8').read()[-500:])
        if not until(all_acked, 10):
            return 'after it connected anew, nothing is acked'
        print('# %s: woken within %.0f ms' % (database, woken * 1000))
        return None
    finally:
        process.kill()
        process.wait()


def has(command, **options):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, **options).returncode == 0


def write(folder, name, text):
    path = os.path.join(folder, name)
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)
    return path


def python(folder):
    interpreter = next((p for p in (sys.executable, '/usr/bin/python3') if has([p, '-c', 'import psycopg2'])), None)
    if interpreter is None:
        return 'psycopg2 is not installed'
    return fault_of('consumer_python', [interpreter, write(folder, 'consume.py', sample('python'))], {}, folder)


def node(folder):
    modules = {'NODE_PATH': os.environ.get('NODE_PATH', os.path.join(TOP, 'test/bench/node_modules'))}
    if shutil.which('node') is None or not has(['node', '-e', "require('pg')"], env={**os.environ, **modules}):
        return 'Node or its package pg is not installed'
    return fault_of('consumer_node', ['node', write(folder, 'consume.js', sample('js'))], modules, folder)


def go(folder):
    path = os.environ.get('GOPATH', '/usr/share/gocode')
    if shutil.which('go') is None or not os.path.isdir(os.path.join(path, 'src/github.com/lib/pq')):
        return 'Go or its package github.com/lib/pq is not installed'
    environment = {'GO111MODULE': 'off', 'GOPATH': path, 'GOCACHE': os.path.join(folder, 'cache'), 'GOFLAGS': ''}
    built = subprocess.run(['go', 'build', '-o', 'consume', write(folder, 'consume.go', sample('go'))], cwd=folder, env={**os.environ, **environment},
                           text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return built.stdout if built.returncode else fault_of('consumer_go', [os.path.join(folder, 'consume')], {}, folder)


def csharp(folder):
    if shutil.which('mcs') is None:
        return 'no C# compiler is installed'
    built = subprocess.run(['mcs', '-warnaserror', '-out:' + os.path.join(folder, 'consume.exe'), write(folder, 'consume.cs', sample('csharp')),
                            os.path.join(TOP, 'test/docs/Npgsql.cs')], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return built.stdout if built.returncode else None


def main():
    failed = False
    languages = [python, node, go, csharp]
    print('1..%d' % len(languages))
    for language in languages:
        with tempfile.TemporaryDirectory() as folder:
            fault = language(folder)
        name = 'consumer in %s' % language.__name__
        if fault is None:
            print('ok - %s' % name)
        elif fault.endswith('not installed') or fault.endswith('is installed'):
            print('ok - %s # SKIP %s' % (name, fault))
        else:
            failed = True
            print('not ok - %s' % name)
            print(''.join('# %s\n' % line for line in fault.splitlines()), end='')
    return failed


if __name__ == '__main__':
    sys.exit(main())
