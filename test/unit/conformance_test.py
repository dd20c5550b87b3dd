#!/usr/bin/env python3
"""The shared conformance data of jcs, ulid and trace-context against the functions of a running database (PGHOST and so on)."""
import json
import struct
import sys

import database
import documents

MS = "(extract(epoch FROM %s) * 1000)::bigint"


def jcs(score):
    vectors = documents.conformance('jcs/vectors.json')
    for function in ("atp.canonical_json(($1)[1]::jsonb, 'rfc8785')", "atp.canonical_json_text(($1)[1], 'rfc8785')"):
        for vector, answer in zip(vectors, database.ask(function, [[v['input']] for v in vectors], 1)):
            score.check(answer == bytes.fromhex(vector['output_hex']).decode(), 'jcs', vector['name'], answer)
    numbers = [line.split(',') for line in documents.conformance('jcs/es6-numbers.txt')]
    doubles = [struct.unpack('>d', bytes.fromhex(bits.zfill(16)))[0] for bits, _ in numbers]
    for how, texts in (('17 digits', ['%.16e' % x for x in doubles]), ('exact', ['%.1100f' % x for x in doubles[::7]]),
                       ('shortest', [text for _, text in numbers])):
        expected = [text for _, text in (numbers[::7] if how == 'exact' else numbers)]
        profile = 'exact' if how == 'shortest' else 'rfc8785'
        for text, answer, input in zip(expected, database.ask("atp.canonical_json(($1)[1]::jsonb, '%s')" % profile, [[t] for t in texts], 1), texts):
            score.check(answer == text, 'jcs number', how, input, 'expected', text, 'got', answer)


def ulid(score):
    vectors = documents.conformance('ulid/ulids.json')
    rows = [[v['ulid']] for v in vectors]
    columns = [database.ask(expression, rows, 1) for expression in (
        'atp.ulid_is_valid(($1)[1])', 'atp.ulid_to_uuid(($1)[1])', MS % 'atp.ulid_time(($1)[1])',
        'atp.ulid_from_uuid(atp.ulid_to_uuid(($1)[1]))')]
    for vector, *answers in zip(vectors, *columns):
        if vector['valid']:
            expected = ['true', vector['uuid'], str(vector['time_ms']), vector['canonical']]
        else:
            expected = ['false'] + ['error TP209'] * 3
        score.check(answers == expected, 'ulid', vector['name'], 'expected', expected, 'got', answers)
    vectors = documents.conformance('ulid/ulid_next.json')
    answers = database.ask("atp.ulid_next(($1)[1], timestamptz 'epoch' + ($1)[2]::bigint * interval '1 ms')",
                           [[v['previous'], str(v['time_ms'])] for v in vectors], 2)
    for vector, answer in zip(vectors, answers):
        score.check(answer == vector['next'], 'ulid_next', vector['name'], 'got', answer)


def trace_context(score):
    vectors = documents.conformance('trace-context/traceparent.json')
    for vector, answer in zip(vectors, database.ask('atp.traceparent_parse(($1)[1])', [[v['traceparent']] for v in vectors], 1)):
        expected = {name: vector[name] for name in ('version', 'trace_id', 'parent_id', 'flags')} if vector['valid'] else None
        score.check((answer and json.loads(answer)) == expected, 'traceparent', vector['name'], 'got', answer)
    vectors = documents.conformance('trace-context/tracestate.json')
    for vector, answer in zip(vectors, database.ask('atp.tracestate_parse(($1)[1])', [[v['tracestate']] for v in vectors], 1)):
        readings = vector.get('members_any_of') or [vector['members'] if vector['valid'] else None]
        score.check((answer and json.loads(answer)) in readings, 'tracestate', vector['name'], 'got', answer)


def main():
    score = database.Score()
    for test in (jcs, ulid, trace_context):
        if documents.have_conformance():
            test(score)
        else:
            score.skip(test.__name__, 'no data under', documents.SHARED)
    return score.finish()


if __name__ == '__main__':
    sys.exit(main())
