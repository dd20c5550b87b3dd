"""Figures of verification, issue "Evidence", section 3; run inside a cluster by test/bench/verification."""
import os
import re
import subprocess
import tempfile
import time

BIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bin')
EVENTS = int(os.environ['ATP_VERIFICATION_EVENTS'])
ROUNDS = 3
ORIGIN = 'bench.example.com/atp'


def sql(*texts):
	arguments = [argument for text in texts for argument in ('-c', text)]
	return subprocess.run(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', *arguments], capture_output=True, text=True, check=True).stdout.strip()


def seconds(question):
	"""The best of some rounds in one session, by the server's clock; the first, which fills caches, does not count."""
	ask = f"SELECT clock_timestamp() AS begun \\gset\n{question} \\gset\nSELECT extract(epoch FROM clock_timestamp() - :'begun'), :'ok';\n"
	done = subprocess.run(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1'], input=ask * (ROUNDS + 1), capture_output=True, text=True, check=True)
	answers = [line.split('|') for line in done.stdout.split()]
	assert all(ok == 't' for _, ok in answers), done.stdout
	return min(float(took) for took, _ in answers[1:])


def check_bundle(path, vkey):
	"""Seconds of processor and peak memory of atp-verify, by /usr/bin/time's way: the child's own usage."""
	child = subprocess.Popen([os.path.join(BIN, 'atp-verify'), '--trust', vkey, '--origin', ORIGIN, path], stdout=subprocess.PIPE, text=True)
	said = child.stdout.read()
	_, status, usage = os.wait4(child.pid, 0)
	assert status == 0, said
	return int(re.search(r'checked: (\d+)', said).group(1)), usage.ru_utime + usage.ru_stime, usage.ru_maxrss


with tempfile.TemporaryDirectory() as tmp:
	key, bundle = os.path.join(tmp, 'key'), os.path.join(tmp, 'bundle')
	vkey = subprocess.run([os.path.join(BIN, 'atp-signer'), 'generate', key, 'bench.example.com'], capture_output=True, text=True, check=True).stdout.strip()
	sql('CREATE EXTENSION atp', f"SELECT atp.set_origin('{ORIGIN}'); SELECT atp.add_signing_key('{vkey}')")
	sql(f'''INSERT INTO atp.events (stream, event_type, payload, metadata)
		SELECT 'account-' || i % {max(EVENTS // 20, 1)}, 'BalanceAdjusted',
			jsonb_build_object('account', md5(i::text), 'amount', i * 1.25, 'text', repeat('lorem ipsum ', 30), 'n', i),
			jsonb_build_object('actor', 'user-' || i % 100, 'correlation_id', gen_random_uuid(), 'source', repeat('x', 80))
		FROM generate_series(1, {EVENTS}) i''', 'SELECT atp.tick()', 'VACUUM ANALYZE')
	print(f'{EVENTS:,} events in {max(EVENTS // 20, 1):,} streams, {os.cpu_count()} processors\n')
	print('| what | events a second | µs an event | beside one process |\n|---|---|---|---|')
	alone = None
	for workers in (0, 1, 2):
		took = seconds(f'SELECT ok FROM atp.verify_all(workers => {workers})')
		alone = alone or took
		print(f'| verify_all, {workers} workers | {EVENTS / took:,.0f} | {took / EVENTS * 1e6:.2f} | {alone / took:.2f} |')
	took = seconds('SELECT ok FROM atp.verify_all(true, 0)')
	print(f'| verify_all, deep, 0 workers | {EVENTS / took:,.0f} | {took / EVENTS * 1e6:.2f} | |')
	begun = time.monotonic()
	sql('SELECT atp.grow_trees()', 'SELECT atp.create_checkpoint()')
	print(f'| leaves integrated, with a checkpoint | {EVENTS / (time.monotonic() - begun):,.0f} | | |')
	subprocess.run([os.path.join(BIN, 'atp-signer'), 'run', key, key + '.state'], capture_output=True, check=True)
	for part in (EVENTS // 10, EVENTS):
		sql(rf"\copy (SELECT atp.export_bundle(max_leaves => {part})) TO '{bundle}' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')")
		count, took, memory = check_bundle(bundle, vkey)
		print(f'| atp-verify, {count:,} events, {memory / 1024:,.0f} MB of memory | {count / took:,.0f} | {took / count * 1e6:.2f} | |')
