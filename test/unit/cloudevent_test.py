"""Every document that get_cloudevent makes is valid under the CloudEvents project's own JSON Schema, formats asserted: events of all
kinds of metadata, types and times, seeded; and what append_cloudevent takes comes out as it went in."""
import json
import os
import random
import sys

import subprocess

SHARED = os.environ.get('ATP_SHARED', '../shared')


def ask(sql):
    done = subprocess.run(['psql', '-XqAt', '-v', 'ON_ERROR_STOP=1'], input=sql, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit('psql failed: ' + done.stderr)
    return done.stdout.splitlines()


def literal(value):
    return "'" + json.dumps(value).replace("'", "''") + "'::jsonb"


def random_value(rng):
    return rng.choice([True, False, rng.randrange(-2**31, 2**31), rng.random(), 'text', 'é😀', '', {'a': 1}, [1], 2**40, None])


def random_event(rng, number):
    """An append in the store's own terms: metadata of any kind, times at the ends of what RFC 3339 can say and beyond."""
    metadata = {rng.choice('abcxyz_') + ''.join(rng.choice('abcXYZ019_.:-') for _ in range(rng.randrange(12))): random_value(rng)
                for _ in range(rng.randrange(6))}
    for name, values in (('actor', ['alice', 'é']), ('correlation_id', ['c-1']), ('id', ['mine', 5]), ('data', [{'x': 1}]), ('source', ['not / a URI']),
                         ('time', ['never']), ('traceparent', ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'])):
        if rng.random() < 0.3:
            metadata[name] = rng.choice(values)
    occurred_at = rng.choice(['NULL', "'2026-01-01 00:00:00.123456+05:30'", "'0001-01-01 00:00:00Z'", "'9999-12-31 23:59:59.999999Z'",
                              "'0044-03-15 12:00:00Z BC'", "'20000-01-01 00:00:00Z'"])
    payload = {'n': number, 'v': random_value(rng)}
    return 'atp.append_event(%s, %s, %s, metadata => %s, occurred_at => %s)' % (
        "'%s-%s'" % (rng.choice(['Order', 'a.b:c_d']), rng.choice(['1', 'é#?%', 'x-y'])), "'%s'" % rng.choice(['OrderPlaced', 'OrderPlacedV2']),
        literal(payload), literal(metadata), occurred_at)


def random_document(rng, number):
    document = {'specversion': '1.0', 'id': 'id-%d-é' % number, 'source': rng.choice(['/a', 'urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66', 'https://x.y/z?q#f']),
                'type': rng.choice(['com.example.trip.made', 'TripMade'])}
    optional = {'subject': 'file.jpg', 'time': '2026-02-03T04:05:06.070809Z', 'datacontenttype': rng.choice(['application/json', 'text/xml']),
                'dataschema': 'https://example.com/s', 'data': random_value(rng), 'extone': True, 'exttwo': -5, 'ext3': 'x', 'traceparent':
                '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01', 'correlationid': 'c', 'causationid': 'd', 'actor': 'e'}
    for name, value in optional.items():
        if rng.random() < 0.5:
            document[name] = value
    if 'data' not in document and rng.random() < 0.5:
        document['data_base64'] = 'AAECAw=='
    return document


def main():
    rng = random.Random(int(os.environ.get('ATP_SEED', '1')))
    with open(SHARED + '/conformance/cloudevents/cloudevents.schema.json', encoding='utf-8') as file:
        schema = literal(json.load(file))
    documents = [random_document(rng, n) for n in range(150)]
    passed = failed = 0
    rows = ask('SET atp.schema_format_assertion = on;\n' + '\n'.join(
        "SELECT event_id FROM %s \\gset\nSELECT atp.schema_is_valid(%s, d), (SELECT left(string_agg(e::text, ' '), 300) FROM atp.schema_errors(%s, d) AS e), d FROM atp.get_cloudevent(:'event_id') AS d;"
        % (call, schema, schema)
        for call in [random_event(rng, n) for n in range(150)] +
        ["atp.append_cloudevent(%s, 'trip-%d')" % (literal(document), n % 7) for n, document in enumerate(documents)]))
    for number, row in enumerate(rows):
        valid, _, rest = row.partition('|')
        errors, _, text = rest.partition('|{')
        document = json.loads('{' + text)
        good = valid == 't'
        if number >= 150:
            given = documents[number - 150]
            good = good and {k: v for k, v in document.items() if k not in ('tenant', 'streamversion', 'recordedtime')} == given
        passed, failed = passed + good, failed + (not good)
        if not good:
            print('failed:', errors[:300], json.dumps(document)[:600], json.dumps(documents[number - 150])[:600] if number >= 150 else '')
    if len(rows) != 300:
        failed += 1
        print('failed: %d documents' % len(rows))
    print('%d passed, %d failed' % (passed, failed))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
