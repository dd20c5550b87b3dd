#!/usr/bin/env python3
"""What a database stored, recomputed by the independent implementation in record.py: real and random events go through every way in
(append_event, append_events, INSERT and COPY), then each hash and link is computed again from the stored columns, and compared with the
receipt and the head of the stream. That the judge can say no is shown on damaged copies."""
import json
import random
import subprocess
import sys

import database
import documents
import record

SEED = 6962
# in hexadecimal: psql does not print every character as it is
EXPORT = """
SELECT encode(convert_to(json_build_object('stream', s.name, 'log_uid', t.log_uid, 'stream_uid', s.stream_uid, 'event_id', e.event_id,
	'stream_version', e.stream_version, 'event_type', y.name, 'schema_version', e.schema_version, 'flags', e.flags, 'alg', t.alg,
	'occurred_at_us', (extract(epoch FROM e.occurred_at) * 1000000)::bigint, 'recorded_at_us', (extract(epoch FROM e.recorded_at) * 1000000)::bigint,
	'payload', e.payload::text, 'metadata', e.metadata::text, 'salts', encode(e.salts, 'hex'), 'hash', encode(e.hash, 'hex'),
	'head_version', s.version, 'head_hash', encode(s.hash, 'hex'), 'input', i.payload, 'receipt', r.hash)::text, 'UTF8'), 'hex')
FROM atp_internal.event e JOIN atp_internal.stream s USING (stream, tenant) JOIN atp_internal.tenant t USING (tenant)
	JOIN atp_internal.event_type y USING (event_type) LEFT JOIN receipt r USING (event_id) LEFT JOIN input i USING (n)
WHERE s.name LIKE 'stored-%';
"""
WAYS = {
    'append_event': """INSERT INTO receipt SELECT i.n, r.event_id, encode(r.hash, 'hex') FROM
        (SELECT * FROM input WHERE way = 'append_event' ORDER BY n) i, LATERAL atp.append_event(i.stream, 'ThingStored', i.payload::jsonb,
        metadata => i.metadata::jsonb, occurred_at => i.occurred_at) r;""",
    'append_events': """INSERT INTO receipt SELECT NULL, r.event_id, encode(r.hash, 'hex') FROM
        (SELECT stream, jsonb_agg(jsonb_build_object('event_type', 'ThingStoredV2', 'payload', payload::jsonb, 'metadata', metadata::jsonb) ORDER BY n) AS events
        FROM input WHERE way = 'append_events' GROUP BY stream) i, LATERAL atp.append_events(i.stream, i.events) r;""",
    'insert': """INSERT INTO atp.events (stream, event_type, payload, metadata, occurred_at)
        SELECT stream, 'ThingStored', payload::jsonb, metadata::jsonb, occurred_at FROM input WHERE way = 'insert' ORDER BY n;""",
    'copy': None,
}


def inputs():
    rng = random.Random(SEED)
    texts = documents.real_documents() + ['{"v":%s}' % text for text in documents.random_documents(SEED, 600)]
    rows = []
    for n, text in enumerate(texts):
        if len(text.encode()) > 60000:
            continue
        metadata = {'actor': rng.choice(['user:é', 'service "x"', '😂']), 'n': n} if rng.random() < 0.5 else {}
        occurred = rng.choice(['2001-02-03 04:05:06.789012+00', '1969-12-31 23:59:59.999999+00', '2026-01-01 00:00:00+02'])
        rows.append([str(n), rng.choice(list(WAYS)), 'stored-%d' % rng.randrange(40), text, json.dumps(metadata), occurred])
    return rows


def script(rows):
    copied = [row for row in rows if row[1] == 'copy']
    return '\n'.join(
        ['\\set ON_ERROR_STOP 1', 'SET client_encoding = utf8;',
         'CREATE TEMP TABLE input (n int, way text, stream text, payload text, metadata text, occurred_at timestamptz);',
         'CREATE TEMP TABLE receipt (n int, event_id uuid, hash text);', 'COPY input FROM stdin;'] +
        ['\t'.join(map(database.literal, row)) for row in rows] + ['\\.'] +
        [statement for statement in WAYS.values() if statement] +
        ['COPY atp.events (stream, event_type, payload, metadata, occurred_at) FROM stdin;'] +
        ['\t'.join(map(database.literal, [row[2], 'ThingCopied'] + row[3:])) for row in copied] + ['\\.', EXPORT]) + '\n'


def damaged(line, rng):
    """The same event with one thing about it changed."""
    event = json.loads(line)
    name = rng.choice(['log_uid', 'stream_uid', 'event_id', 'event_type', 'schema_version', 'flags', 'occurred_at_us', 'recorded_at_us',
                       'payload', 'metadata', 'salts', 'hash'])
    value = event[name]
    if name in ('payload', 'metadata'):
        event[name] = value[:-1] + (',' if len(value) > 2 else '') + '"\uffff":1}'
    elif isinstance(value, int):
        event[name] = value + 1
    elif name == 'event_type':
        event[name] = value + 'V9'
    else:
        event[name] = value[:-1] + ('0' if value[-1] != '0' else '1')
    return name, json.dumps(event)


def main():
    score = database.Score()
    rows = inputs()
    done = subprocess.run(['psql', '-XqAt'], input=script(rows), capture_output=True, text=True, encoding='utf-8')
    score.check(done.returncode == 0, 'psql', done.stderr)
    lines = [bytes.fromhex(line).decode() for line in done.stdout.split()]
    score.check(len(lines) == len(rows), len(rows), 'events went in,', len(lines), 'are stored')
    for event, fault in record.check_events(lines):
        score.check(fault is None, event['stream'], event['stream_version'], fault)
        if event['receipt']:
            score.check(event['receipt'] == event['hash'], 'receipt', event['stream'], event['stream_version'])
        if event['input']:
            score.check(record.canonical(event['input']) == event['payload'], 'stored text', event['input'], event['payload'])
        if event['stream_version'] == event['head_version']:
            score.check(event['head_hash'] == event['hash'], 'head', event['stream'])
    rng = random.Random(SEED)
    for line in rng.sample(lines, 200):
        name, changed = damaged(line, rng)
        others = [other for other in lines if other is not line and json.loads(other)['stream_uid'] == json.loads(line)['stream_uid']]
        score.check(any(fault for _, fault in record.check_events(others + [changed])), 'a changed', name, 'was not found')
    if not documents.have_conformance():
        score.skip('real events: no data under', documents.SHARED)
    return score.finish()


if __name__ == '__main__':
    sys.exit(main())
