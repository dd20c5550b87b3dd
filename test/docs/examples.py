#!/usr/bin/env python3
"""Runs the examples of Markdown pages in the running cluster and compares what they print with what the page shows.

A page is one session in a database of its own. Fenced blocks marked sql go to psql, blocks marked sh to bash, with PGDATABASE set to
the database, in the order of the page. A block marked text that follows is what they print: a line of dots or an ellipsis stands for any
lines, an ellipsis in a line for anything. Where nothing is shown the example only has to run without an error. Other
blocks (console, mermaid, none) are read, not run. Prints TAP, one test an example.
"""
import os
import re
import subprocess
import sys
import tempfile

FENCE = re.compile(r'^```(\w*)[^\n]*\n(.*?)^```\n', re.M | re.S)
MARK = '=== example %d ==='


def examples(text):
    """Yields [kind, line, body, shown]; shown is None where the page shows nothing."""
    found = []
    blocks = list(FENCE.finditer(text))
    for block in blocks:
        kind, body = block.group(1), block.group(2)
        line = text.count('\n', 0, block.start()) + 2
        if kind in ('sql', 'sh'):
            found.append([kind, line, body, None])
        elif kind == 'text' and found and found[-1][3] is None:
            found[-1][3] = body
    return found


def normal(line):
    return re.sub(r'\s+', ' ', line).strip()


def pattern_of(shown):
    """The regular expression that output has to match as a whole, line by line with single spaces."""
    parts = []
    for line in shown.split('\n'):
        line = normal(line)
        if line in ('…', '...'):
            parts.append(r'(?:[^\n]*\n)*?')
        elif line:
            parts.append('.*?'.join(re.escape(piece) for piece in re.sub(r'-{3,}', '---', line).split('…')) + r'\n')
    return ''.join(parts)


def agrees(shown, output):
    lines = [re.sub(r'-{3,}', '---', normal(line)) for line in output.split('\n')]
    return re.fullmatch(pattern_of(shown), ''.join(line + '\n' for line in lines if line)) is not None


def run(page, database):
    found = examples(open(page, encoding='utf-8').read())
    subprocess.run(['psql', '-Xqc', 'CREATE DATABASE "%s"' % database], check=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        script = []
        for n, (kind, _, body, _) in enumerate(found):
            script.append('\\echo %s' % MARK % n)
            if kind == 'sh':
                path = os.path.join(folder, '%d.sh' % n)
                open(path, 'w', encoding='utf-8').write(body)
                script.append('\\! bash -e %s 2>&1' % path)
            else:
                script.append(body)
        script.append('\\echo %s' % MARK % len(found))
        done = subprocess.run(['stdbuf', '-oL', 'psql', '-Xq', '-d', database], input='\n'.join(script) + '\n', text=True, encoding='utf-8',
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env={**os.environ, 'PGDATABASE': database, 'PGTZ': 'UTC', 'PGCLIENTENCODING': 'UTF8', 'LANG': 'C.UTF-8'})
    outputs = re.split(r'^=== example \d+ ===\n', done.stdout, flags=re.M)[1:-1]
    results = []
    for n, (kind, line, body, shown) in enumerate(found):
        output = outputs[n] if n < len(outputs) else 'the session ended before this example'
        good = n < len(outputs) and (agrees(shown, output) if shown is not None else not re.search(r'^(psql:.*)?(ERROR|FATAL|PANIC):|: error:', output, re.M))
        results.append((good, '%s:%d' % (page, line), output, shown))
    return results


def main():
    results = []
    for n, page in enumerate(sys.argv[1:]):
        results += run(page, 'page_%d' % n)
    for good, where, output, shown in results:
        print('%sok - %s' % ('' if good else 'not ', where))
        if not good:
            print(''.join('# printed: %s\n' % line for line in output.rstrip('\n').split('\n')), end='')
            if shown is not None:
                print(''.join('# shown:   %s\n' % line for line in shown.rstrip('\n').split('\n')), end='')
    print('1..%d' % len(results))
    return not all(good for good, *_ in results)


if __name__ == '__main__':
    sys.exit(main())
