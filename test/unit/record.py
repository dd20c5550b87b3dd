"""The hashed bytes of an event, written a second time from the specification and nothing else.

Canonical JSON (both profiles), commitments, record, chain link; no line is shared with src/core. Run as a program it reads events as
JSON lines, recomputes every hash and link, and prints "N passed, N failed":

    psql -qAt -c "SELECT json_build_object('log_uid', ..., ...) FROM ..." | test/unit/record.py

Fields of a line: log_uid, stream_uid, event_id (uuid text), stream_version, event_type, schema_version, flags, alg, occurred_at_us,
recorded_at_us (microseconds since 1970), payload and metadata (the stored text), payload_salt and metadata_salt (hex) or salts (hex: both, in this
order), hash (hex), previous_hash (hex; may be left out). Optional: payload_fields and metadata_fields, a list of {pointer, salt, value}
(value: canonical text) or {pointer, commitment}; payload_commitment, metadata_commitment (hex) in the place of an erased part.
"""
import hashlib
import json
import sys
import uuid

EXACT, RFC8785 = 'exact', 'rfc8785'
sys.set_int_max_str_digits(0)


class Refused(ValueError):
    pass


# ---- canonical JSON ------------------------------------------------------------------------------------------------------

def lay_out(negative, digits, point):
    """ECMA-262 Number::toString: digits without zeros at the ends, value 0.digits * 10**point."""
    k, n = len(digits), point
    if k <= n <= 21:
        text = digits + '0' * (n - k)
    elif 0 < n <= 21:
        text = digits[:n] + '.' + digits[n:]
    elif -6 < n <= 0:
        text = '0.' + '0' * -n + digits
    else:
        text = digits[0] + ('.' + digits[1:] if k > 1 else '') + 'e%+d' % (n - 1)
    return '-' + text if negative else text


def take_apart(text):
    mantissa, _, exponent = text.lower().partition('e')
    negative = mantissa.startswith('-')
    whole, _, fraction = mantissa.lstrip('-').partition('.')
    digits = whole + fraction
    point = len(whole) + int(exponent or '0')
    point -= len(digits) - len(digits.lstrip('0'))
    digits = digits.strip('0')
    return negative, digits, point


def number(text, profile):
    if profile == RFC8785:
        value = float(text)
        if value in (float('inf'), float('-inf')):
            raise Refused('range')
        text = repr(value)
    negative, digits, point = take_apart(text)
    return lay_out(negative, digits, point) if digits else '0'


ESCAPES = {'"': '\\"', '\\': '\\\\', '\b': '\\b', '\t': '\\t', '\n': '\\n', '\f': '\\f', '\r': '\\r'}


def string(value):
    if any('\ud800' <= c <= '\udfff' for c in value):
        raise Refused('surrogate')
    return '"' + ''.join(ESCAPES.get(c) or ('\\u%04x' % ord(c) if c < ' ' else c) for c in value) + '"'


class Number(str):
    pass


def pairs_of(pairs):
    keys = [key for key, _ in pairs]
    if len(set(keys)) != len(keys):
        raise Refused('duplicate key')
    return dict(pairs)


def constant(name):
    raise Refused(name)


def load(text):
    """JSON text to Python values with numbers as they are written; refuses what the strict parser refuses."""
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=constant, object_pairs_hook=pairs_of)


def dump(value, profile=EXACT):
    if value is None or value is True or value is False:
        return {None: 'null', True: 'true', False: 'false'}[value]
    if isinstance(value, Number):
        return number(value, profile)
    if isinstance(value, str):
        return string(value)
    if isinstance(value, list):
        return '[' + ','.join(dump(item, profile) for item in value) + ']'
    members = sorted(value.items(), key=lambda item: item[0].encode('utf-16-be', 'surrogatepass'))
    return '{' + ','.join(string(key) + ':' + dump(item, profile) for key, item in members) + '}'


def canonical(text, profile=EXACT):
    return dump(load(text), profile)


# ---- the hashed bytes ----------------------------------------------------------------------------------------------------

ZEROS = bytes(32)


def sha256(*parts):
    return hashlib.sha256(b''.join(parts)).digest()


def u32(value):
    return value.to_bytes(4, 'big')


def u64(value):
    return value.to_bytes(8, 'big')


def i64(value):
    return value.to_bytes(8, 'big', signed=True)


def lp(value):
    return u32(len(value)) + value


def field_commitment(pointer, salt, value):
    assert len(salt) == 16
    return sha256(b'atp/field/v1\0', lp(pointer), salt, lp(value))


def part_commitment(part, salt, skeleton, fields=()):
    """fields: (pointer, commitment), in the order of the pointers' bytes"""
    assert len(salt) == 16
    tag = {'payload': b'atp/payload/v1\0', 'metadata': b'atp/meta/v1\0'}[part]
    return sha256(tag, salt, lp(skeleton), u32(len(fields)), *[lp(pointer) + commitment for pointer, commitment in fields])


def record_bytes(alg, flags, log_uid, stream_uid, stream_version, event_id, event_type, schema_version, occurred_at, recorded_at,
                 payload_commitment, metadata_commitment, previous_hash):
    assert all(len(x) == 16 for x in (log_uid, stream_uid, event_id))
    assert all(len(x) == 32 for x in (payload_commitment, metadata_commitment, previous_hash))
    return b''.join((b'atp/event/v1\0', bytes((alg, flags)), log_uid, stream_uid, u64(stream_version), event_id, lp(event_type),
                     u32(schema_version), i64(occurred_at), i64(recorded_at), payload_commitment, metadata_commitment, previous_hash))


def link(record):
    return sha256(b'\0', record)


# ---- events exported from a database -------------------------------------------------------------------------------------

def commitment_of(event, part):
    if event.get(part) is None:
        return bytes.fromhex(event[part + '_commitment'])
    text = event[part]
    if canonical(text) != text:
        raise Refused(part + ' is not canonical')
    salt = event.get(part + '_salt')
    if salt is None:
        salt = event['salts'][:32] if part == 'payload' else event['salts'][32:64]
    fields = []
    for field in event.get(part + '_fields') or []:
        pointer = field['pointer'].encode()
        if 'commitment' in field:
            fields.append((pointer, bytes.fromhex(field['commitment'])))
        else:
            fields.append((pointer, field_commitment(pointer, bytes.fromhex(field['salt']), field['value'].encode())))
    return part_commitment(part, bytes.fromhex(salt), text.encode(), sorted(fields))


def event_hash(event, previous):
    return link(record_bytes(
        event['alg'], event['flags'], uuid.UUID(event['log_uid']).bytes, uuid.UUID(event['stream_uid']).bytes, event['stream_version'],
        uuid.UUID(event['event_id']).bytes, event['event_type'].encode(), event['schema_version'], event['occurred_at_us'],
        event['recorded_at_us'], commitment_of(event, 'payload'), commitment_of(event, 'metadata'), previous))


def check_events(lines):
    """Yields (event, fault or None), stream by stream. A stream may begin after version 1 if its first line tells previous_hash."""
    streams = {}
    for line in lines:
        event = json.loads(line)
        streams.setdefault(event['stream_uid'], []).append(event)
    for events in streams.values():
        events.sort(key=lambda event: event['stream_version'])
        version, previous = None, ZEROS
        for event in events:
            stated = event.get('previous_hash')
            fault = None
            if version is None and event['stream_version'] > 1 and stated:
                previous = bytes.fromhex(stated)
            elif event['stream_version'] != (version or 0) + 1:
                fault = 'version %d follows %s' % (event['stream_version'], version)
            if stated and bytes.fromhex(stated) != previous:
                fault = fault or 'previous_hash is not the hash before'
            try:
                computed = event_hash(event, previous)
                if computed.hex() != event['hash']:
                    fault = fault or 'hash is %s, recomputed %s' % (event['hash'], computed.hex())
            except (Refused, ValueError, AssertionError) as error:
                fault = fault or repr(error)
            version, previous = event['stream_version'], bytes.fromhex(event['hash'])
            yield event, fault


def main():
    passed = failed = 0
    for event, fault in check_events(line for line in sys.stdin if line.strip()):
        if fault is None:
            passed += 1
        else:
            failed += 1
            print('%s %d: %s' % (event['stream_uid'], event['stream_version'], fault))
    if passed + failed == 0:
        print('no event')
        failed = 1
    print('%d passed, %d failed' % (passed, failed))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
