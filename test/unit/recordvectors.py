#!/usr/bin/env python3
"""Holds src/core against the independent implementation in record.py, without a server: canonical JSON in both profiles over
conformance data, random doubles, random and real documents; commitments, records and chain links over random events."""
import os
import random
import struct
import subprocess
import sys

import documents
import record

SEED = 20240517


class Tool:
    """Collects questions to the C code and what the answers must be."""

    def __init__(self):
        self.cases = []

    def ask(self, name, line, expected):
        self.cases.append((name, line, expected))

    def run(self):
        path = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'bin/coretool')
        lines = ''.join(line + '\n' for _, line, _ in self.cases)
        answers = subprocess.run([path], input=lines, capture_output=True, text=True, check=True).stdout.split('\n')[:-1]
        passed = failed = 0
        for (name, line, expected), answer in zip(self.cases, answers, strict=True):
            if answer == expected or (expected == 'error' and answer.startswith('error')):
                passed += 1
            else:
                failed += 1
                print('%s: %s\n  expected %s\n  got      %s' % (name, line[:300], expected[:300], answer[:300]))
        return passed, failed


def hexed(data):
    return (data.encode() if isinstance(data, str) else data).hex() or '-'


def ask_canonical(tool, name, text):
    for profile in (record.EXACT, record.RFC8785):
        try:
            expected = record.canonical(text, profile).encode().hex()
        except record.Refused:
            expected = 'error'
        tool.ask(name, 'canon %s %s' % (profile, hexed(text)), expected)


def ask_doubles(tool, rng):
    """Numbers of the shared file and random ones; 17 digits and the exact decimal must both come out as the shortest."""
    values = [(struct.unpack('>d', bytes.fromhex(bits.zfill(16)))[0], text)
              for bits, text in (line.split(',') for line in (documents.conformance('jcs/es6-numbers.txt') if documents.have_conformance() else []))]
    doubles = [struct.unpack('>d', rng.randbytes(8))[0] for _ in range(4000)]
    doubles += [2.0 ** e for e in range(-1074, 1024)] + [float('1e%d' % e) for e in range(-323, 309)]
    doubles += [struct.unpack('>d', struct.pack('>Q', rng.randrange(1 << 40)))[0] for _ in range(300)]
    values += [(value, record.number(repr(value), record.RFC8785)) for value in doubles if value - value == 0]
    for value, text in values:
        tool.ask('double', 'canon rfc8785 ' + hexed('%.16e' % value), text.encode().hex())
        if rng.random() < 0.2:
            tool.ask('double', 'canon rfc8785 ' + hexed('%.1100f' % value), text.encode().hex())
        tool.ask('shortest', 'canon exact ' + hexed(text), text.encode().hex())


def ask_records(tool, rng, count):
    def number(bits):
        return rng.choice([0, 1, (1 << bits) - 1, rng.randrange(1 << bits), rng.randrange(1 << rng.randrange(1, bits))])

    def text(size):
        return ''.join(rng.choice('aZ9./-é€😂 ') for _ in range(rng.randrange(size)))

    previous = record.ZEROS
    for _ in range(count):
        commitments = []
        for part in ('payload', 'metadata'):
            salt = rng.randbytes(16)
            skeleton = text(rng.choice([1, 30, 400])).encode()
            fields = []
            words = ''
            for pointer in sorted({('/' + text(12)).encode() for _ in range(rng.choice([0, 0, 1, 2, 20]))}):
                field_salt, value = rng.randbytes(16), text(40).encode()
                commitment = record.field_commitment(pointer, field_salt, value)
                tool.ask('field', 'field %s %s %s' % (hexed(pointer), hexed(field_salt), hexed(value)), commitment.hex())
                fields.append((pointer, commitment))
                words += ' %s %s' % (hexed(pointer), commitment.hex())
            commitments.append(record.part_commitment(part, salt, skeleton, fields))
            tool.ask('part', 'part %s %s %s%s' % (part, salt.hex(), hexed(skeleton), words), commitments[-1].hex())
        values = (rng.choice([1, 1, 2, 255]), rng.choice([0, 1, 255]), rng.randbytes(16), rng.randbytes(16), number(64), rng.randbytes(16),
                  text(60).encode(), number(32), number(64) - (1 << 63), number(63), *commitments, previous)
        previous = record.link(record.record_bytes(*values))
        tool.ask('record', 'record ' + ' '.join(str(x) if isinstance(x, int) else hexed(x) for x in values), previous.hex())


def main():
    rng = random.Random(SEED)
    tool = Tool()
    shared = documents.have_conformance()
    for vector in documents.conformance('jcs/vectors.json') if shared else []:
        tool.ask(vector['name'], 'canon rfc8785 ' + hexed(vector['input']), vector['output_hex'])
    ask_doubles(tool, rng)
    for text in documents.random_documents(SEED, 3000):
        ask_canonical(tool, 'random document', text)
    for text in documents.real_documents():
        ask_canonical(tool, 'real document', text)
    ask_records(tool, rng, 1500)
    passed, failed = tool.run()
    print('%d passed, %d failed%s' % (passed, failed, '' if shared else ', 1 skipped'))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
