"""Seeded JSON texts for the differential tests: nasty on purpose, but all valid and within what jsonb holds."""
import glob
import json
import os
import random

SHARED = os.environ.get('ATP_SHARED', os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../shared'))

CHARACTERS = ['a', 'b', 'Z', '0', ' ', '/', '"', '\\', '\b', '\t', '\n', '\f', '\r', '\x01', '\x1f', '\x7f', '\x80', 'é', 'ÿ', '߿', 'ࠀ', '€',
              '\u2028', '\ud7ff', '\ue000', '\ufb33', '\ufffd', '\uffff', '\U00010000', '😂', '\U0010ffff', 'A\u030a']
NUMBERS = ['0', '-0', '1', '-1', '9999', '10000', '99999999', '100000000', '0.1', '0.5', '-0.5', '1.10', '1e2', '1E+2', '1e-2', '19.99', '0.00001',
           '0.000001', '0.0000001', '123456789012345', '1234567890123456', '12345678901234567890', '999999999999999999999', '1e21', '1e22',
           '1e23', '1.7976931348623157e308', '5e-324', '2.2250738585072014e-308', '9007199254740993', '0.1000000000000000055511151231257827',
           '5.9604644775390625e-8', '-1.5e300', '1e-300', '0.0e10', '10.0', '100000000000000000000000000.000000000000000000000001',
           '0.0001', '0.00010001', '9999.9999', '1.00000001', '123456.000']


def text_of_string(rng, value):
    """A JSON string of a value, any character written plain or escaped in any of its ways."""
    out = []
    for c in value:
        code = ord(c)
        short = {'"': '\\"', '\\': '\\\\', '/': '\\/', '\b': '\\b', '\t': '\\t', '\n': '\\n', '\f': '\\f', '\r': '\\r'}.get(c)
        ways = [] if code < 0x20 or c in '"\\' else [c] * 4
        if short:
            ways.append(short)
        if code < 0x10000:
            ways.append(rng.choice(['\\u%04x', '\\u%04X']) % code)
        else:
            ways.append('\\u%04x\\u%04X' % (0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code - 0x10000 & 0x3FF)))
        out.append(rng.choice(ways))
    return '"' + ''.join(out) + '"'


def random_string(rng):
    length = rng.choice([0, 1, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 40])
    return ''.join(rng.choice(CHARACTERS) if rng.random() < 0.4 else rng.choice('abcdefgh') for _ in range(length))


def random_number(rng):
    if rng.random() < 0.4:
        return rng.choice(NUMBERS)
    text = rng.choice(['', '-']) + (rng.choice('123456789') + ''.join(rng.choice('0123456789') for _ in range(rng.choice([0, 1, 3, 7, 15, 16, 30])))
                                    if rng.random() < 0.8 else '0')
    if rng.random() < 0.5:
        text += '.' + '0' * rng.choice([0, 0, 1, 5, 9]) + ''.join(rng.choice('0123456789') for _ in range(rng.choice([1, 2, 4, 9, 17])))
    if rng.random() < 0.3:
        text += rng.choice('eE') + rng.choice(['', '+', '-']) + str(rng.choice([0, 1, 5, 20, 21, 22, 100]))
    return text


def random_document(rng, depth=0):
    space = lambda: rng.choice(['', '', '', ' ', '\n\t', '\r'])
    kind = rng.random()
    if depth < 5 and kind < (0.6 if depth == 0 else 0.25):
        count = rng.choice([0, 1, 2, 3, 5, 8, 16, 17, 40]) if depth < rng.choice([1, 1, 1, 2]) else rng.choice([0, 1, 2, 3])
        names = list({random_string(rng) for _ in range(count)})
        rng.shuffle(names)
        return '{' + space() + (space() + ',' + space()).join(
            text_of_string(rng, name) + space() + ':' + space() + random_document(rng, depth + 1) for name in names) + space() + '}'
    if depth < 5 and kind < (0.9 if depth == 0 else 0.4):
        count = rng.choice([0, 1, 2, 3, 8, 31, 32, 33, 70]) if depth < rng.choice([1, 1, 1, 2]) else rng.choice([0, 1, 2, 3])
        return '[' + space() + ','.join(random_document(rng, depth + 1) + space() for _ in range(count)) + ']'
    if kind < 0.6:
        return text_of_string(rng, random_string(rng))
    if kind < 0.9:
        return random_number(rng)
    return rng.choice(['null', 'true', 'false'])


def random_documents(seed, count):
    rng = random.Random(seed)
    return [random_document(rng) for _ in range(count)]


def real_documents():
    """The real events of the shared data, each as its line has it."""
    documents = []
    for path in sorted(glob.glob(os.path.join(SHARED, 'conformance/events/*.jsonl'))):
        with open(path, encoding='utf-8') as file:
            documents += [line.rstrip('\n') for line in file]
    assert documents or not have_conformance(), 'no documents under %s' % SHARED
    return documents


def have_conformance():
    """Whether the shared data lies beside the tree; without it the tests that need it are skipped."""
    return os.path.isdir(os.path.join(SHARED, 'conformance'))


def conformance(path):
    with open(os.path.join(SHARED, 'conformance', path), encoding='utf-8') as file:
        return json.load(file) if path.endswith('.json') else file.read().splitlines()
