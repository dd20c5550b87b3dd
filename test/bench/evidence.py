"""Figures of issue "Evidence", section 3; run inside a cluster by test/bench/evidence."""
import os
import resource
import subprocess
import tempfile
import time

BIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'bin')
EVENTS = int(os.environ['ATP_EVIDENCE_EVENTS'])
PROOFS = 500
ORIGIN = 'bench.example.com/atp'


def sql(text):
	return subprocess.run(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', text], capture_output=True, text=True, check=True).stdout.strip()


def cpu_of(stat):
	fields = stat.rsplit(')', 1)[1].split()
	return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def timed(text):
	"""Seconds of processor that the backend took: other load on the machine does not count."""
	stat = "SELECT pg_read_file('/proc/self/stat')"
	done = subprocess.run(['psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-c', stat, '-c', text, '-c', stat], capture_output=True, text=True, check=True)
	lines = done.stdout.strip().split('\n')
	return cpu_of(lines[-1]) - cpu_of(lines[0])


def row(what, figure, aim):
	print(f'| {what} | {figure} | {aim} |')


tmp = tempfile.TemporaryDirectory()
key, bundle = os.path.join(tmp.name, 'key'), os.path.join(tmp.name, 'bundle')
vkey = subprocess.run([os.path.join(BIN, 'atp-signer'), 'generate', key, 'bench.example.com'], capture_output=True, text=True, check=True).stdout.strip()
sql('CREATE EXTENSION atp')
sql(f"SELECT atp.set_origin('{ORIGIN}'); SELECT atp.add_signing_key('{vkey}')")
sql(f'''INSERT INTO atp.events (stream, event_type, payload, metadata)
	SELECT 'account-' || i % {max(EVENTS // 20, 1)}, 'BalanceAdjusted',
		jsonb_build_object('account', md5(i::text), 'amount', i * 1.25, 'text', repeat('lorem ipsum ', 30), 'n', i),
		jsonb_build_object('actor', 'user-' || i % 100, 'correlation_id', gen_random_uuid(), 'source', repeat('x', 80))
	FROM generate_series(1, {EVENTS}) i''')
sql('VACUUM ANALYZE')
tick = timed('SELECT atp.tick()')
grow = timed('SELECT atp.grow_trees()')
make = timed('SELECT atp.create_checkpoint()')
subprocess.run([os.path.join(BIN, 'atp-signer'), 'run', key, key + '.state'], capture_output=True, check=True)
sql('VACUUM ANALYZE')
verify = timed('SELECT atp.verify_all()')
trees = timed('SELECT atp.verify_trees()')
sql('CREATE TABLE picked AS SELECT event_id FROM atp_internal.event ORDER BY random() LIMIT %d' % PROOFS)
proof = timed('SELECT count(atp.prove_event(event_id)) FROM picked') / PROOFS
export = timed(rf"\copy (SELECT atp.export_bundle()) TO '{bundle}' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')")
begun = resource.getrusage(resource.RUSAGE_CHILDREN)
done = subprocess.run([os.path.join(BIN, 'atp-verify'), '--trust', vkey, '--origin', ORIGIN, bundle], capture_output=True, text=True, check=False)
ended = resource.getrusage(resource.RUSAGE_CHILDREN)
check = ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime
rss = ended.ru_maxrss
assert done.returncode == 0, done.stdout
size = int(sql("SELECT sum(pg_total_relation_size(c)) FROM unnest(ARRAY['atp_internal.tree', 'atp_internal.tree_edge', 'atp_internal.tree_tile']::regclass[]) c"))

print(f'{EVENTS:,} events of about {os.path.getsize(bundle) // EVENTS:,} bytes a bundle line; seconds are of processor time, so that a busy machine does not count\n')
print('| what | measured | aim |\n|---|---|---|')
row('leaves integrated', f'{EVENTS / grow:,.0f} a second, {grow / EVENTS * 1e6:.1f} µs each', '≥ 200,000 a second')
row('a checkpoint', f'{make * 1000:.1f} ms', '')
row('SQL verification of chains (verify_all)', f'{EVENTS / verify:,.0f} events a second', '≥ 150,000 a core')
row('SQL verification of trees (verify_trees)', f'{EVENTS / trees:,.0f} leaves a second', '')
row('one event proved (prove_event)', f'{proof * 1000:.2f} ms', '≤ 5 ms, whatever the size')
row('export', f'{EVENTS / export:,.0f} events a second', '≥ 100,000')
row('atp-verify', f'{EVENTS / check:,.0f} events a second', '≥ 250,000 a core')
row('memory of the largest child (psql, atp-signer, atp-verify)', f'{rss / 1024:,.0f} MB', 'constant')
row('bytes an event of trees and tiles', f'{size / EVENTS:.1f}', '')
row('sequencer beside it (tick)', f'{EVENTS / tick:,.0f} events a second', '')
