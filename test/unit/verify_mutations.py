"""Bundles, whole and mutated, and what atp-verify must say of each. Run inside a cluster by test/unit/verify_run."""
import base64
import hashlib
import json
import os
import re
import subprocess
import tempfile

BIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bin')
ORIGIN = 'audit.example.com/atp'
OK, TAMPERED, INCOMPLETE, BAD, UNTRUSTED, DIVERGED = range(6)
passed = failed = 0
tmp = tempfile.TemporaryDirectory()


def path(name):
	return os.path.join(tmp.name, name)


def check(label, got, wanted):
	global passed, failed
	if got in (wanted if isinstance(wanted, (set, tuple, list)) else (wanted,)):
		passed += 1
	else:
		failed += 1
		print(f'not ok - {label}: got {got}, wanted {wanted}')


def sql(text):
	done = subprocess.run(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', text], capture_output=True, text=True)
	if done.returncode != 0:
		raise SystemExit(f'{text}: {done.stderr}')
	return done.stdout.rstrip('\n')


def tool(name, *arguments, data=None):
	done = subprocess.run([os.path.join(BIN, name), *arguments], capture_output=True, input=data)
	if done.returncode < 0 or b'Sanitizer' in done.stderr:
		raise SystemExit(f'{name} {arguments}: crashed: {done.stderr.decode()}')
	return done.returncode, done.stdout.decode(), done.stderr.decode()


def verify(bundle, key, *more, origin=ORIGIN):
	return tool('atp-verify', '--trust', key, '--origin', origin, *more, '-', data=bundle)[0]


def export(arguments=''):
	return (sql(f'SELECT atp.export_bundle({arguments})') + '\n').encode()


def sign(name='key'):
	return tool('atp-signer', 'run', path(name), path(name + '.state'), '--anchor-file', path('anchors'))


def append(stream, count, tenant='default'):
	sql(f"SELECT count(*) FROM (SELECT atp.append_event('{stream}', 'OrderPlaced', jsonb_build_object('n', i, 'text', E'a\"b\\\\\\\\c\\u00e9', "
		f"'price', 1.10, 'big', 123456789012345678901234567890), tenant => '{tenant}') FROM generate_series(1, {count}) i) x")


def checkpoint():
	sql('SELECT atp.tick(); SELECT atp.create_checkpoint()')


# ---- a store, a signer, bundles of every kind: the clean twins ----

sql('CREATE EXTENSION IF NOT EXISTS atp')
key = tool('atp-signer', 'generate', path('key'), 'audit.example.com')[1].strip()
other = tool('atp-signer', 'generate', path('other'), 'audit.example.com')[1].strip()
check('a key file is not overwritten', tool('atp-signer', 'generate', path('key'), 'x')[0], 3)
sql(f"SELECT atp.set_origin('{ORIGIN}'); SELECT atp.add_signing_key('{key}')")
sql("SELECT atp.onboard_tenant('acme')")
for i in range(3):
	append(f'order-{i}', 9)
	append(f'order-{i}', 5, 'acme')
sql("SELECT atp.seal_stream('order-1')")
checkpoint()
check('the signer signs', sign()[0], 0)
check('the signer has nothing to do', sign()[1], '')
check('the anchor file has the checkpoint', sql('SELECT atp.get_checkpoint()') in open(path('anchors')).read(), True)

bundles = {
	'whole': export(),
	'stream with proofs': export("stream => 'order-1', completeness => 'proofs'"),
	'stream with records': export("stream => 'order-1'"),
	'range with hashes': export("stream => 'order-2', completeness => 'hashes', first_leaf => 3, max_leaves => 20"),
	'type of a tenant': export("event_type => 'OrderPlaced', tenant => 'acme', first_leaf => 1"),
	'time': export("recorded_from => now() - interval '1 day', recorded_until => now()"),
}
for name, bundle in bundles.items():
	check(name, verify(bundle, key), OK)
	check(name + ', other key', verify(bundle, other), UNTRUSTED)
	check(name + ', other origin', verify(bundle, key, origin='elsewhere'), UNTRUSTED)
check('two keys, one of them right', verify(bundles['whole'], other, '--trust', key), OK)
report = json.loads(tool('atp-verify', '--trust', key, '--origin', ORIGIN, '--json', '-', data=bundles['stream with proofs'])[1])
check('report', (report['verdict'], report['events'], report['seals'], report['signatures']), [('verified', 10, 1, 1)])


def commitment(tag, salt, text):
	return hashlib.sha256(tag + b'\0' + bytes.fromhex(salt) + len(text.encode()).to_bytes(4, 'big') + text.encode() + bytes(4)).hexdigest()


def leaf_hash(log_uid, event):
	"""The leaf of an event line, by hashlib alone."""
	record = event['record']
	return hashlib.sha256(b'\0atp/event/v1\0\1' + bytes([record['flags']]) + bytes.fromhex(log_uid.replace('-', '')) +
		bytes.fromhex(record['stream_uid'].replace('-', '')) + record['stream_version'].to_bytes(8, 'big') +
		bytes.fromhex(record['event_id'].replace('-', '')) + len(record['event_type']).to_bytes(4, 'big') + record['event_type'].encode() +
		record['schema_version'].to_bytes(4, 'big') + record['occurred_at'].to_bytes(8, 'big', signed=True) +
		record['recorded_at'].to_bytes(8, 'big', signed=True) +
		bytes.fromhex(commitment(b'atp/payload/v1', event['salts'][:32], event['payload'])) +
		bytes.fromhex(commitment(b'atp/meta/v1', event['salts'][32:], event['metadata'])) + bytes.fromhex(record['previous_hash'])).hexdigest()


parsed = [json.loads(line) for line in bundles['whole'].split(b'\n')[:-1]]
leaves = ''.join(line['hashes'] for line in parsed if line['type'] == 'log_range')
for event in parsed:
	if event['type'] == 'event':
		check('a leaf by an independent implementation', leaf_hash(parsed[0]['log_uid'], event), leaves[64 * event['leaf']:64 * event['leaf'] + 64])

# ---- every line of every bundle: cut off, left out, twice, swapped, edited ----

# Names that are not proved; and the times of a filter, which are a claim: another claim can be true as well.
UNPROVED = re.compile(rb'"(?:tenant|stream)":"(?:[^"\\]|\\.)*"|"recorded_(?:from|until)":-?[0-9]+')


def edits(line):
	"""The line with a character changed, at places all over it; names that are not proved are left alone."""
	free = [m.span() for m in UNPROVED.finditer(line)]
	for at in sorted(set(range(0, len(line), 23)) | set(range(max(0, len(line) - 20), len(line)))):
		if any(a <= at < b for a, b in free):
			continue
		for new in (bytes([line[at] ^ 1]), b''):
			yield line[:at] + new + line[at + 1:]


for name, bundle in bundles.items():
	lines = bundle.split(b'\n')[:-1]
	for i, line in enumerate(lines):
		rest = lines[:i] + lines[i + 1:]
		label = f'{name}, line {i + 1} ({line[9:20].decode()})'
		check(f'{label}: cut in front of it', verify(b''.join(l + b'\n' for l in lines[:i]), key), INCOMPLETE)
		check(f'{label}: cut inside it', verify(b''.join(l + b'\n' for l in lines[:i]) + line[:len(line) // 2], key), INCOMPLETE)
		if not line.startswith(b'{"type":"key"'):
			check(f'{label}: left out', verify(b'\n'.join(rest) + b'\n', key), (TAMPERED, INCOMPLETE, BAD))
			check(f'{label}: twice', verify(b'\n'.join(lines[:i + 1] + lines[i:]) + b'\n', key), (TAMPERED, INCOMPLETE, BAD))
		if i + 1 < len(lines) and not (name == 'stream with proofs' and line.startswith(b'{"type":"event"') and lines[i + 1].startswith(b'{"type":"end"')):
			swapped = lines[:i] + [lines[i + 1], line] + lines[i + 2:]
			check(f'{label}: swapped with the next', verify(b'\n'.join(swapped) + b'\n', key), (TAMPERED, INCOMPLETE, BAD))
	# edits: every fifth event line is enough
	for i, line in enumerate(lines):
		if b'"type":"event"' in line[:20] and i % 5 or b'"type":"omitted"' in line[:20] and i % 7:
			continue
		for edited in edits(line):
			check(f'{name}, line {i + 1} edited: {edited[:90]}', verify(b'\n'.join(lines[:i] + [edited] + lines[i + 1:]) + b'\n', key),
				(TAMPERED, INCOMPLETE, BAD, UNTRUSTED))

# ---- what a bundle may not be ----

whole = bundles['whole']
lines = whole.split(b'\n')[:-1]
at = next(i for i, l in enumerate(lines) if l.startswith(b'{"type":"event"') and b'OrderPlaced' in l)


def with_line(i, line, base=None):
	base = lines if base is None else base
	return b'\n'.join(base[:i] + [line] + base[i + 1:]) + b'\n'


check('empty', verify(b'', key), INCOMPLETE)
check('one new line', verify(b'\n', key), BAD)
check('byte order mark', verify(b'\xef\xbb\xbf' + whole, key), BAD)
check('CRLF', verify(whole.replace(b'\n', b'\r\n'), key), BAD)
check('white space', verify(with_line(at, lines[at].replace(b'":', b'": ', 1)), key), BAD)
check('a line behind the end', verify(whole + lines[at] + b'\n', key), BAD)
check('duplicate key', verify(with_line(at, lines[at].replace(b'"leaf":', b'"leaf":0,"leaf":')), key), BAD)
check('duplicate key at the end', verify(with_line(at, lines[at][:-1] + b',"payload":"{}"}'), key), BAD)
check('NaN', verify(with_line(at, re.sub(rb'"occurred_at":[0-9]+', b'"occurred_at":NaN', lines[at])), key), BAD)
check('30 digits', verify(with_line(at, re.sub(rb'"occurred_at":[0-9]+', b'"occurred_at":' + b'9' * 30, lines[at])), key), BAD)
check('2^64 leaves', verify(with_line(0, re.sub(rb'"tree_size":[0-9]+', b'"tree_size":18446744073709551616', lines[0])), key), BAD)
check('exponent', verify(with_line(at, re.sub(rb'"leaf":[0-9]+', b'"leaf":1e0', lines[at])), key), BAD)
check('leading zero', verify(with_line(at, re.sub(rb'"leaf":', b'"leaf":0', lines[at])), key), BAD)
check('lone surrogate', verify(with_line(at, lines[at].replace(b'"payload":"', b'"payload":"\\ud800')), key), BAD)
check('escaped solidus', verify(with_line(at, lines[at].replace(b'"payload":"', b'"payload":"\\/')), key), BAD)
check('invalid UTF-8', verify(with_line(at, lines[at].replace(b'"payload":"', b'"payload":"\xff')), key), BAD)
check('zero byte', verify(with_line(at, lines[at].replace(b'"payload":"', b'"payload":"\x00')), key), BAD)
check('depth bomb', verify(with_line(at, re.sub(rb'"payload":"(?:[^"\\]|\\.)*"', b'"payload":"' + b'[' * 1000000 + b'"', lines[at])), key), (TAMPERED, BAD))
check('a long line', verify(with_line(at, b'{"type":"event"' + b' ' * (70 << 20)), key), BAD)
note = next(i for i, l in enumerate(lines) if l.startswith(b'{"type":"checkpoint"'))
signature = lines[note].split(b'\\n\\n')[1][:-2]
check('a million signatures', verify(with_line(note, lines[note].replace(signature, signature * 1000000)), key), BAD)
check('two manifests', verify(lines[0] + b'\n' + whole, key), BAD)
check('size 0', verify(with_line(0, re.sub(rb'"tree_size":[0-9]+,"from":0,"until":[0-9]+', b'"tree_size":0,"from":0,"until":0', lines[0])), key), (TAMPERED, BAD))
check('nothing', verify(b'\n'.join([re.sub(rb'"until":[0-9]+', b'"until":0', lines[0])] + lines[1:note + 2] +
	[b'{"type":"end","events":0,"omitted":0,"leaves":0}']) + b'\n', key), INCOMPLETE)

# ---- proofs: one node more, one less, zeros, an index outside, a node in the place of a leaf ----

proved = bundles['stream with proofs'].split(b'\n')[:-1]
head = next(i for i, l in enumerate(proved) if b'"kind":"head"' in l)
event = next(i for i, l in enumerate(proved) if l.startswith(b'{"type":"event"'))
zeros = b'"' + b'0' * 64 + b'"'
for i, name in ((head, 'head'), (event, 'event')):
	begin, nodes = re.match(rb'(.*"(?:hashes|proof)":)(\[.*\])\}$', proved[i]).groups()
	nodes = json.loads(nodes)
	for label, changed in (('one more', nodes + [zeros.decode().strip('"')]), ('one less', nodes[:-1]), ('none', []), ('the first left out', nodes[1:]),
		('zeros', ['0' * 64] * len(nodes)), ('the wrong way round', nodes[::-1] if len(nodes) > 1 else []), ('66', ['0' * 64] * 66)):
		text = begin + json.dumps(changed, separators=(',', ':')).encode() + b'}'
		check(f'proof of the {name}: {label}', verify(with_line(i, text, proved), key), (TAMPERED, BAD))
	check(f'proof of the {name}: an index outside', verify(with_line(i, re.sub(rb'"leaf":[0-9]+', b'"leaf":100000', proved[i]), proved), key), TAMPERED)
chunk = next(i for i, l in enumerate(lines) if l.startswith(b'{"type":"log_range"'))
hashes = json.loads(lines[chunk])['hashes']
a, b = bytes.fromhex(hashes[:64]), bytes.fromhex(hashes[64:128])
node = hashlib.sha256(b'\1' + a + b).hexdigest()
check('a node in the place of two leaves', verify(with_line(chunk, lines[chunk].replace(hashes[:128].encode(), node.encode())), key), (TAMPERED, INCOMPLETE))
check('two leaves swapped', verify(with_line(chunk, lines[chunk].replace(hashes[:128].encode(), (hashes[64:128] + hashes[:64]).encode())), key), TAMPERED)

# ---- the filter: what matches and is passed off as left out, or the other way round ----

filtered = bundles['stream with records'].split(b'\n')[:-1]
shown = next(i for i, l in enumerate(filtered) if l.startswith(b'{"type":"event"'))
record = json.loads(filtered[shown])

hidden = {'type': 'omitted', 'leaf': record['leaf'], 'record': dict(record['record'],
	payload_commitment=commitment(b'atp/payload/v1', record['salts'][:32], record['payload']),
	metadata_commitment=commitment(b'atp/meta/v1', record['salts'][32:], record['metadata']))}
check('an event of the stream passed off as left out', verify(with_line(shown, json.dumps(hidden, separators=(',', ':')).encode(), filtered), key), INCOMPLETE)

# ---- the known head ----

known = path('known')
check('first seen', verify(whole, key, '--known-head', known), OK)
check('seen again', verify(whole, key, '--known-head', known), OK)
kept = open(known).read()
root_size = int(re.search(r'^log (\d+)', kept, re.M).group(1))
tree_size = int(re.search(r'^tenant \S+ (\d+)', kept, re.M).group(1))
append('order-0', 3)
checkpoint()
sign()
newer = export()
check('newer, the root log not proved to have grown', verify(newer, key, '--known-head', known), INCOMPLETE)
check('... and the known head stays', open(known).read(), kept)
proving = export(f'known_size => {root_size}')
check('newer, proved, the whole tree in the bundle', verify(proving, key, '--known-head', known), OK)
check('... and the known head has moved on', open(known).read() != kept, True)
check('the older bundle after that: a restored backup', verify(whole, key, '--known-head', known), DIVERGED)
open(known, 'w').write(kept)
partial = export(f'known_size => {root_size}, first_leaf => {tree_size + 1}')
check('a part behind the known tree, not proved', verify(partial, key, '--known-head', known), INCOMPLETE)
partial = export(f'known_size => {root_size}, known_tree_size => {tree_size}, first_leaf => {tree_size + 1}')
check('a part behind the known tree, proved', verify(partial, key, '--known-head', known), OK)
for name, forged in (('root log', re.sub(r'(?m)^(log \d+ )(.)', lambda m: m.group(1) + ('1' if m.group(2) == '0' else '0'), kept)),
	('tree', re.sub(r'(?m)^(tenant \S+ \d+ )(.)', lambda m: m.group(1) + ('1' if m.group(2) == '0' else '0'), kept))):
	open(known, 'w').write(forged)
	check(f'another known {name}', verify(proving, key, '--known-head', known), DIVERGED)
	check(f'another known {name} of the same size', verify(whole, key, '--known-head', known), DIVERGED)
open(known, 'w').write(kept.replace(ORIGIN, 'elsewhere'))
check('a known head of another origin', verify(whole, key, '--known-head', known), BAD)
open(known, 'w').write('nonsense')
check('no known head', verify(whole, key, '--known-head', known), BAD)

# ---- the signer refuses what does not continue ----

state = open(path('key.state')).read()
append('order-0', 1)
checkpoint()
for name, bent in (('range', re.sub(r'(?m)^(log \d+ )(.)', lambda m: m.group(1) + ('1' if m.group(2) == '0' else '0'), state)),
	('head', re.sub(r'(?m)^(tenant \S+ \d+ )(.)', lambda m: m.group(1) + ('1' if m.group(2) == '0' else '0'), state)),
	('origin', state.replace(ORIGIN, 'elsewhere'))):
	open(path('bent.state'), 'w').write(bent)
	check(f'the signer knows another {name}', tool('atp-signer', 'run', path('key'), path('bent.state'))[0], 5)
bigger = re.sub(r'(?m)^log \d+ .*$', 'log 1048576 ' + '0' * 64, state)
open(path('bent.state'), 'w').write(bigger)
check('the log is smaller than what was signed', tool('atp-signer', 'run', path('key'), path('bent.state'))[0], 5)
check('none of that was signed', sql(f"SELECT size IS NOT NULL FROM atp.get_pending_checkpoint('{key}')"), 't')
check('the true state goes on', sign()[0], 0)
check('a fresh state, the whole log recomputed', tool('atp-signer', 'run', path('other'), path('fresh.state'))[0], 3)	# the key is not known to the log

# ---- rotation: endorsed, overlapping, retired, compromised ----

next_key = tool('atp-signer', 'generate', path('next'), 'audit.example.com')[1].strip()
endorsement = tool('atp-signer', 'endorse', path('key'), next_key)[1]
sql(f"SELECT atp.add_signing_key('{next_key}', 'log', $note${endorsement}$note$)")
append('order-0', 1)
checkpoint()
sign()
check('the next key signs from its own state', sign('next')[0], 0)
both = export()
check('overlap: old key', verify(both, key), OK)
check('overlap: next key', verify(both, next_key), OK)
sql(f"SELECT atp.retire_signing_key('{key}')")
check('signed before it retired', verify(export(), key), OK)
append('order-0', 1)
checkpoint()
late = tool('atp-signer', 'generate', path('late'), 'audit.example.com')[1].strip()
note = tool('atp-signer', 'endorse', path('key'), late)[1]
check('a retired key endorses no more', subprocess.run(['psql', '-Xq', '-v', 'VERBOSITY=sqlstate', '-c',
	f"SELECT atp.add_signing_key('{late}', 'log', $note${note}$note$)"], capture_output=True, text=True).stderr.split()[-1], 'TP502')
check('a retired key signs no more', tool('atp-signer', 'run', path('key'), path('key.state'))[0], 3)
check('the next key does', sign('next')[0], 0)
after = export()
check('pinned the old key, follows the endorsement', verify(after, key), OK)
check('pinned a stranger', verify(after, other), UNTRUSTED)
stripped = re.sub(rb'"endorsement":"(?:[^"\\]|\\.)*"', b'"endorsement":null', after)
check('without the endorsement', verify(stripped, key), UNTRUSTED)
check('the endorsement is another key\'s', verify(after.replace(next_key.encode(), other.encode()), key), (UNTRUSTED, BAD))
sql(f"SELECT atp.disown_signing_key('{next_key}')")
check('signed by a compromised key only: nothing to export', sql('SELECT atp.get_checkpoint() IS NOT NULL'), 't')
disowned = re.sub(rb'(' + re.escape(next_key.encode()) + rb'","purpose":"log","state":)"active"', rb'\1"compromised"', after)
check('a bundle that says so', verify(disowned, next_key), UNTRUSTED)
check('... also of the past', verify(re.sub(rb'(' + re.escape(next_key.encode()) + rb'","purpose":"log","state":)"active"', rb'\1"compromised"', both), next_key), UNTRUSTED)
check('events of the keys', sql("SELECT string_agg(event_type, ' ' ORDER BY recorded_at) FROM atp.events WHERE stream LIKE 'atp.SigningKey-%'"),
	'PolicyCreated PolicyCreated PolicyUpdated PolicyUpdated')

# ---- a witness, by an implementation that is not ours (openssl) ----

pem = path('witness.pem')
subprocess.run(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', pem], check=True)
public = subprocess.run(['openssl', 'pkey', '-in', pem, '-pubout', '-outform', 'DER'], check=True, capture_output=True).stdout[-32:]
name = 'witness.example.org'
key_id = hashlib.sha256(name.encode() + b'\n\x04' + public).digest()[:4]
witness = f'{name}+{key_id.hex()}+{base64.b64encode(bytes([4]) + public).decode()}'
third = tool('atp-signer', 'generate', path('third'), 'audit.example.com')[1].strip()
sql(f"SELECT atp.add_signing_key('{third}'); SELECT atp.add_signing_key('{witness}', 'witness')")
append('order-0', 1)
checkpoint()
check('third key', sign('third')[0], 0)
signed = sql('SELECT atp.get_checkpoint()') + '\n'
body = signed[:signed.index('\n\n') + 1]
seconds = 1764000000


def cosign(text, at=seconds):
	open(path('message'), 'w').write(f'cosignature/v1\ntime {at}\n{text}')
	made = subprocess.run(['openssl', 'pkeyutl', '-sign', '-rawin', '-inkey', pem, '-in', path('message')], check=True, capture_output=True).stdout
	return f'\u2014 {name} {base64.b64encode(key_id + seconds.to_bytes(8, "big") + made).decode()}\n'


def submit(text):
	done = subprocess.run(['psql', '-XAtq', '-v', 'VERBOSITY=sqlstate', '-c', f'SELECT atp.submit_checkpoint($note${text}$note$)'], capture_output=True, text=True)
	return done.stdout.strip() or done.stderr.strip().split()[-1]


check('before the witness', verify(export(), third, '--witness', witness), UNTRUSTED)
check('a cosignature at another time', submit(body + '\n' + cosign(body, seconds + 1)), 'TP502')
check('a cosignature on another text', submit(body + '\n' + cosign(body + 'x\n')), 'TP502')
check('another checkpoint', submit(body.replace('\n', 'x\n', 1) + '\n' + cosign(body)), 'TP505')
check('a stranger', submit(body + '\n' + cosign(body).replace(name, 'nobody.example.org')), 'TP503')
check('a cosignature', submit(body + '\n' + cosign(body)), '1')
check('once more', submit(body + '\n' + cosign(body)), '0')
check('its time', sql(f"SELECT extract(epoch FROM atp.cosignature_verify(atp.get_checkpoint(), '{witness}'))::bigint"), str(seconds))
check('with the witness', verify(export(), third, '--witness', witness), OK)
check('with the witness, an edited cosignature', verify(re.sub(rb'(witness.example.org )(.)(.)', lambda m: m.group(1) + (b'B' if m.group(2) == b'A' else b'A') + m.group(3),
	export()), third, '--witness', witness), (TAMPERED, UNTRUSTED, BAD))

# ---- a log that was made to lie from the start: right hashes, right signatures, wrong content ----

seed = base64.b64decode(open(path('other')).read().strip().split('+', 4)[4])[1:]
open(path('other.der'), 'wb').write(bytes.fromhex('302e020100300506032b657004220420') + seed)


def root_of(hashes):
	if len(hashes) == 1:
		return hashes[0]
	split = 1
	while split * 2 < len(hashes):
		split *= 2
	return hashlib.sha256(b'\1' + root_of(hashes[:split]) + root_of(hashes[split:])).digest()


def line(value):
	return json.dumps(value, separators=(',', ':'), ensure_ascii=False).encode() + b'\n'


def forge(change):
	"""The whole bundle with its events changed, hashed, linked and signed anew by the key `other`. `change` gets the events and may say not to link."""
	log_uid = parsed[0]['log_uid']
	events = [json.loads(json.dumps(event)) for event in parsed if event['type'] == 'event']
	keep_links = change(events) or set()
	last, leaves_of = {}, []
	for number, event in enumerate(events):
		event['leaf'] = number
		stream = event['record']['stream_uid']
		if number not in keep_links:
			event['record']['previous_hash'] = last.get(stream, '0' * 64)
		last[stream] = leaf_hash(log_uid, event)
		leaves_of.append(bytes.fromhex(last[stream]))
	root = root_of(leaves_of)
	head = hashlib.sha256(b'\0atp/tenant-head/v1\0' + bytes.fromhex(log_uid.replace('-', '')) + len(events).to_bytes(8, 'big') + root).digest()
	body = f'{ORIGIN}\n1\n{base64.b64encode(head).decode()}\n'
	open(path('message'), 'w').write(body)
	made = subprocess.run(['openssl', 'pkeyutl', '-sign', '-rawin', '-keyform', 'DER', '-inkey', path('other.der'), '-in', path('message')], check=True, capture_output=True).stdout
	name, key_id = other.split('+')[:2]
	note = f'{body}\n\u2014 {name} {base64.b64encode(bytes.fromhex(key_id) + made).decode()}\n'
	out = line(dict(parsed[0], tree_size=len(events), until=len(events), checkpoint_size=1)) + line({'type': 'checkpoint', 'note': note})
	out += line({'type': 'proof', 'kind': 'head', 'leaf': 0, 'size': len(events), 'root': root.hex(), 'hashes': []})
	for begin in range(0, len(events), 256):
		out += line({'type': 'log_range', 'from': begin, 'hashes': b''.join(leaves_of[begin:begin + 256]).hex()})
		out += b''.join(line(event) for event in events[begin:begin + 256])
	return out + line({'type': 'end', 'events': len(events), 'omitted': 0, 'leaves': len(events)})


def first_of(events, version, kind='OrderPlaced'):
	return next(i for i, event in enumerate(events) if event['record']['stream_version'] == version and event['record']['event_type'] == kind)


def set_payload(text):
	def change(events):
		events[first_of(events, 2)]['payload'] = text
	return change


def break_link(events):
	i = first_of(events, 3)
	events[i]['record']['previous_hash'] = 'ab' * 32
	return {i}


def no_link(events):
	i = first_of(events, 3)
	events[i]['record']['previous_hash'] = '0' * 64
	return {i}


def leave_out(events):
	del events[first_of(events, 3)]


def twice(events):
	i = first_of(events, 3)
	events.insert(i + 1, json.loads(json.dumps(events[i])))


def behind_seal(events):
	i = next(i for i, event in enumerate(events) if event['record']['event_type'] == 'EventStreamSealed')
	again = json.loads(json.dumps(events[i]))
	again['record']['stream_version'] += 1
	events.insert(i + 1, again)


forged = forge(lambda events: None)
check('forged, nothing changed', verify(forged, other), OK)
for name, text, wanted in (('30 digits in their layout', '{"a":1.2345678901234567890123456789e+29}', OK), ('30 digits in another', '{"a":123456789012345678901234567890}', TAMPERED), ('1.0', '{"a":1.0}', TAMPERED), ('white space', '{"a": 1}', TAMPERED),
	('keys out of order', '{"b":1,"a":2}', TAMPERED), ('duplicate keys', '{"a":1,"a":2}', TAMPERED), ('NaN', '{"a":NaN}', TAMPERED), ('an escape too many', '{"a":"\\u0041"}', TAMPERED),
	('a lone surrogate', '{"a":"\\ud800"}', TAMPERED), ('a depth bomb', '[' * 5000 + ']' * 5000, TAMPERED), ('deep, but not too deep', '[' * 900 + ']' * 900, OK),
	('nothing', '', TAMPERED), ('two documents', '{}{}', TAMPERED), ('-0', '{"a":-0}', TAMPERED), ('1e400', '{"a":1e400}', TAMPERED)):
	check(f'forged, a payload with {name}', verify(forge(set_payload(text)), other), wanted)
for name, change, wanted in (('a wrong link', break_link, TAMPERED), ('no link', no_link, TAMPERED), ('a version left out', leave_out, INCOMPLETE), ('a version twice', twice, TAMPERED),
	('an event behind a seal', behind_seal, TAMPERED)):
	check(f'forged, {name}', verify(forge(change), other), wanted)

# the same by a verifier that holds three streams at a time: it goes over the bundle once for each class
small = path('atp-verify-small')
subprocess.run(f"cc -std=gnu11 -O1 -DATP_BUNDLE_STREAMS=4 -Isrc -fsanitize=address,undefined -fno-sanitize-recover=undefined -o {small} "
	"src/cli/atp-verify.c src/core/*.c -lcrypto -ljson-c -lm", shell=True, check=True)
for name, bundle, wanted in (('nothing changed', forged, OK), ('a wrong link', forge(break_link), TAMPERED), ('a version left out', forge(leave_out), INCOMPLETE),
	('an event behind a seal', forge(behind_seal), TAMPERED)):
	open(path('bundle'), 'wb').write(bundle)
	check(f'in classes, {name}', subprocess.run([small, '--trust', other, '--origin', ORIGIN, path('bundle')], capture_output=True, check=False).returncode, wanted)
check('in classes, from a pipe', subprocess.run([small, '--trust', other, '--origin', ORIGIN, '-'], input=forged, capture_output=True, check=False).returncode, INCOMPLETE)
for name, bundle in bundles.items():
	open(path('bundle'), 'wb').write(bundle)
	check(f'in classes, under sanitizers: {name}', subprocess.run([small, '--trust', key, '--origin', ORIGIN, path('bundle')], capture_output=True, check=False).returncode, OK)

# ---- arguments and files ----

check('no arguments', tool('atp-verify')[0], 3)
check('no key', tool('atp-verify', '--origin', ORIGIN, '-', data=whole)[0], 3)
check('no such file', tool('atp-verify', '--trust', key, '--origin', ORIGIN, path('nothing'))[0], 3)
check('a malformed key', tool('atp-verify', '--trust', 'a+b+c', '--origin', ORIGIN, '-', data=whole)[0], 3)
open(path('manifest'), 'w').write('a\nb\n')
open(path('manifest2'), 'w').write('a\nc\n')
check('manifest, the same', tool('atp-verify', '--manifest', path('manifest'), path('manifest'))[0], 0)
check('manifest, another', tool('atp-verify', '--manifest', path('manifest'), path('manifest2'))[0], 1)
os.chmod(path('key'), 0o644)
check('a key file that others can read', tool('atp-signer', 'vkey', path('key'))[0], 3)

os.chmod(path('key'), 0o600)
os.symlink(path('key'), path('link'))
check('a key file by way of a link', tool('atp-signer', 'vkey', path('link'))[1].strip(), key)
os.mkfifo(path('fifo'), 0o600)
check('a FIFO in the place of a key: no waiting', subprocess.run([os.path.join(BIN, 'atp-signer'), 'vkey', path('fifo')], timeout=10, capture_output=True).returncode, 3)
check('a directory in the place of a key', tool('atp-signer', 'vkey', tmp.name)[0], 3)
check('a FIFO in the place of a state', subprocess.run([os.path.join(BIN, 'atp-signer'), 'run', path('key'), path('fifo')], timeout=10, capture_output=True).returncode, 3)
os.chmod(path('third.state'), 0o666)
check('a state that others can write', tool('atp-signer', 'run', path('third'), path('third.state'))[0], 3)
os.chmod(path('third.state'), 0o600)
if os.geteuid() == 0:
	os.chown(path('key'), 65534, -1)
	check('a key file of somebody else', tool('atp-signer', 'vkey', path('key'))[0], 3)
	os.chown(path('key'), 0, -1)
for wrong in ('x', '0', '-1', '5s', ''):
	check(f'--every {wrong!r}', tool('atp-signer', 'run', path('third'), path('third.state'), '--every', wrong)[0], 3)

# ---- the signer killed between state and signature: it signs the same, and nothing else ----

append('order-0', 1)
checkpoint()
before = open(path('third.state')).read()
killed = subprocess.run([os.path.join(BIN, 'atp-signer'), 'run', path('third'), path('third.state'), '--anchor-command', f'cat >{path("handed")}; kill -9 $PPID'], capture_output=True)
check('killed while it hands out', killed.returncode, -9)
after_crash = open(path('third.state')).read()
check('... the state is on disk before the signature leaves', after_crash != before and os.path.exists(path('handed')), True)
check('... nothing was handed in', sql(f"SELECT size IS NOT NULL FROM atp.get_pending_checkpoint('{third}')"), 't')
open(path('third.state.new'), 'w').write('torn')
check('started again, a torn file beside the state', sign('third')[0], 0)
check('... it has signed what it signed before', sql('SELECT atp.get_checkpoint()').strip().split('\n')[:3], [open(path('handed')).read().strip().split('\n')[:3]])
check('... from the same state', open(path('third.state')).read(), after_crash)
check('an anchor command that fails does not keep the signature', (append('order-0', 1), checkpoint(),
	tool('atp-signer', 'run', path('third'), path('third.state'), '--anchor-command', 'exit 1')[0])[2], 0)
check('an anchor file that cannot be written does', (append('order-0', 1), checkpoint(),
	tool('atp-signer', 'run', path('third'), path('third.state'), '--anchor-file', '/dev/full')[0])[2], 3)
check('... until it can', sign('third')[0], 0)
anchored = open(path('anchors')).read()
check('the anchor file only grows', anchored.count('\n\n') >= 5 and sql('SELECT atp.get_checkpoint()') in anchored, True)

# ---- many tenants: each head is found among all, and each is proved to have grown ----

sql("SELECT count(*) FROM (SELECT atp.onboard_tenant('many-' || i) FROM generate_series(1, 300) i) x")
checkpoint()
check('300 tenants more', sign('third')[0], 0)
sql("SELECT count(*) FROM (SELECT atp.append_event('order-1', 'OrderPlaced', tenant => 'many-' || i) FROM generate_series(1, 300) i) x")
checkpoint()
check('all of them grow', sign('third')[0], 0)
state = open(path('third.state')).read()
check('each is in the state once', len(set(re.findall(r'(?m)^tenant (\S+)', state))), state.count('\ntenant '))
open(path('bent.state'), 'w').write(state + re.search(r'(?m)^tenant .*\n', state).group(0))
check('a state with a tenant twice', tool('atp-signer', 'run', path('third'), path('bent.state'))[0], 3)

print(f'{passed} passed, {failed} failed')
raise SystemExit(failed > 0)
