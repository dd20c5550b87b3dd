# Attacks on what is stored, by a superuser with the guard switched off, and who notices: SQL verification of chains, of trees, and
# atp-verify over a bundle exported after the attack. Each is staged in a transaction that is rolled back; the clean twin is what
# stands before and after.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $bin = "$ENV{ATP_TOP}/bin";
my $dir = PostgreSQL::Test::Utils::tempdir();
my $origin = 'audit.example.com/atp';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "atp.guard = off\natp.checkpoint_interval = 86400\natp.verification_interval = 0\natp.worker_enabled = off\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub tool
{
	my ($name, @arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ "$bin/$name", @arguments ], '>', \$out, '2>', \$err);
	return ($? >> 8, $out . $err);
}

sub sign
{
	my ($of) = @_;
	my ($status, $said) = tool('atp-signer', 'run', "$dir/key", "$dir/state", ($of // $node)->connstr('postgres'));
	return $status;
}

sub verify
{
	my ($file, @more) = @_;
	our $key;
	my ($status, $said) = tool('atp-verify', '--trust', $key, '--origin', $origin, @more, $file);
	our $said_last = $said;
	return $status;
}

sub export
{
	my ($of, $file, $arguments) = @_;
	open my $out, '>', $file or die $!;
	print $out $of->safe_psql('postgres', "SELECT atp.export_bundle($arguments)"), "\n";
	close $out;
	return $file;
}

our ($key, $said_last);
(undef, $key) = tool('atp-signer', 'generate', "$dir/key", 'audit.example.com');
chomp $key;
sql('CREATE EXTENSION atp');
sql("SELECT atp.set_origin('$origin'); SELECT atp.add_signing_key('$key'); SELECT atp.onboard_tenant('acme')");
sql(q{SELECT count(*) FROM (SELECT atp.append_event('order-' || i % 5, 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 600) i) x});
sql(q{SELECT count(*) FROM (SELECT atp.append_event('order-' || i % 5, 'OrderPlaced', jsonb_build_object('n', i), tenant => 'acme') FROM generate_series(1, 50) i) x});
sql(q{SELECT atp.append_event('big-1', 'OrderPlaced', jsonb_build_object('text', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 2000) i)))});
sql(q{SELECT atp.append_event('order-0', 'OrderPlaced', '{"last": true}')});
sql(q{SELECT atp.append_event('closed-1', 'OrderPlaced'); SELECT atp.seal_stream('closed-1')});
sql('SELECT atp.tick(); SELECT atp.create_checkpoint()');
is(sign(), 0, 'the signer signs');
is(verify(export($node, "$dir/clean", ''), '--known-head', "$dir/known"), 0, 'clean: verified, and the head is kept');

# Switches off the triggers of tables; the event triggers and hooks stand aside already.
my $disarm = q{
DO $$ DECLARE t regclass; n name; BEGIN
	FOR t, n IN SELECT tgrelid::regclass, tgname FROM pg_trigger WHERE tgfoid::regproc::text ~ 'refuse|fixed' AND tgname !~ '^events_' LOOP EXECUTE format('ALTER TABLE %s DISABLE TRIGGER %I', t, n); END LOOP;
END $$;
CREATE FUNCTION pg_temp.flip(b bytea, i int) RETURNS bytea LANGUAGE sql RETURN set_byte(b, i, get_byte(b, i) # 1);
CREATE FUNCTION pg_temp.key(name text) RETURNS bigint LANGUAGE sql RETURN (SELECT stream FROM atp_internal.stream s WHERE s.name = key.name AND s.tenant = 1);
};

# attack NAME, SQL, what verify_all says, what verify_trees says, exit status of atp-verify (undef: nothing can be exported)
sub attack
{
	my ($name, $attack, $chains, $trees, $status) = @_;
	my $file = "$dir/attacked";
	my $out = sql(qq{BEGIN; $disarm $attack;
		SELECT 'chains ' || ok || ' ' || coalesce(first_fault_stream || ' ' || first_fault_version, '') || ' ' || coalesce(fault, '') FROM atp.verify_all();
		SELECT 'trees ' || ok || ' ' || coalesce(first_fault_tenant, '') || ' ' || coalesce(fault, '') FROM atp.verify_trees();
		@{[defined $status ? 'SELECT atp.export_bundle();' : '']}
		ROLLBACK});
	my ($says_chains) = $out =~ /^chains (.*)$/m;
	my ($says_trees) = $out =~ /^trees (.*)$/m;
	like($says_chains, $chains, "$name: chains");
	like($says_trees, $trees, "$name: trees");
	return unless defined $status;
	open my $bundle, '>', $file or die $!;
	print $bundle map { "$_\n" } grep { /^\{/ } split /\n/, $out;
	close $bundle;
	is(verify($file), $status, "$name: atp-verify") or diag($said_last);
	return;
}

my $fine = qr/^true/;
my $at = q{WHERE stream = pg_temp.key('order-3') AND stream_version = 7};
attack('nothing', 'SELECT 1', $fine, $fine, 0);
attack('payload', qq{UPDATE atp_internal.event SET payload = '{"n":1}' $at}, qr/^false order-3 7 hash does not match/, qr/^false default hash/, 1);
attack('metadata', qq{UPDATE atp_internal.event SET metadata = '{"actor":"somebody else"}' $at}, qr/^false order-3 7/, qr/^false default/, 1);
attack('salt', qq{UPDATE atp_internal.event SET salts = pg_temp.flip(salts, 3) $at}, qr/^false order-3 7/, qr/^false default/, 1);
attack('time', qq{UPDATE atp_internal.event SET occurred_at = occurred_at + interval '1 microsecond' $at}, qr/^false order-3 7/, qr/^false default/, 1);
attack('type', qq{UPDATE atp_internal.event SET event_type = (SELECT event_type FROM atp_internal.event_type WHERE name = 'PolicyUpdated') $at},
	qr/^false order-3 7/, qr/^false default/, 1);
attack('hash', qq{UPDATE atp_internal.event SET hash = pg_temp.flip(hash, 0) $at}, qr/^false order-3 7/, qr/^false default/, 1);
attack('TOAST', q{UPDATE atp_internal.event SET payload = replace(payload::text, md5('1000'), md5('1001'))::json WHERE stream = pg_temp.key('big-1')},
	qr/^false big-1 1/, qr/^false default/, 1);
attack('name of a type', q{UPDATE atp_internal.event_type SET name = 'OrderCancelled' WHERE name = 'OrderPlaced'}, qr/^false/, qr/^false/, 1);
attack('identity of a stream', q{UPDATE atp_internal.stream SET stream_uid = gen_random_uuid() WHERE stream = pg_temp.key('order-3')},
	qr/^false order-3 1/, qr/^false default/, 1);
attack('identity of a log', q{UPDATE atp_internal.tenant SET log_uid = gen_random_uuid() WHERE name = 'default'}, qr/^false/, qr/^false/, 1);

attack('two events swapped', q{UPDATE atp_internal.event e SET payload = o.payload, metadata = o.metadata, salts = o.salts FROM atp_internal.event o
	WHERE e.stream = pg_temp.key('order-3') AND e.stream_version IN (7, 8) AND o.stream = e.stream AND o.stream_version = 15 - e.stream_version},
	qr/^false order-3 7/, qr/^false default/, 1);
attack('versions renumbered', q{UPDATE atp_internal.event SET stream_version = 1000000 WHERE stream = pg_temp.key('order-3') AND stream_version = 7;
	UPDATE atp_internal.event SET stream_version = 7 WHERE stream = pg_temp.key('order-3') AND stream_version = 8;
	UPDATE atp_internal.event SET stream_version = 8 WHERE stream = pg_temp.key('order-3') AND stream_version = 1000000},
	qr/^false order-3 7/, qr/^false default/, 1);
attack('the last event deleted', q{DELETE FROM atp_internal.event WHERE stream = pg_temp.key('order-0') AND stream_version =
	(SELECT version FROM atp_internal.stream WHERE stream = pg_temp.key('order-0'))}, qr/^false order-0/, qr/^false default event is missing/, 2);
attack('an event in the middle deleted', qq{DELETE FROM atp_internal.event $at}, qr/^false order-3 7 event is missing/, qr/^false default/, 2);
attack('an event and its place deleted', qq{DELETE FROM atp_internal.log WHERE event_id = (SELECT event_id FROM atp_internal.event $at); DELETE FROM atp_internal.event $at},
	qr/^false order-3 7/, qr/^false default/, 2);
attack('a stream deleted', q{DELETE FROM atp_internal.log WHERE stream = pg_temp.key('order-3'); DELETE FROM atp_internal.event WHERE stream = pg_temp.key('order-3');
	DELETE FROM atp_internal.stream WHERE name = 'order-3' AND tenant = 1}, qr/^false/, qr/^false default/, 2);
attack('a tenant deleted', q{DELETE FROM atp_internal.log WHERE tenant = 2; DELETE FROM atp_internal.event WHERE tenant = 2; DELETE FROM atp_internal.stream WHERE tenant = 2;
	DELETE FROM atp_internal.tree WHERE tenant = 2; DELETE FROM atp_internal.tree_edge WHERE tenant = 2; DELETE FROM atp_internal.tenant_head WHERE tenant = 2},
	qr/^false/, qr/^false  the root log has more leaves than heads/, 0);
attack('copied to another stream', q{INSERT INTO atp_internal.event SELECT atp.create_event_id(), pg_temp.key('order-4'), (SELECT version + 1 FROM atp_internal.stream WHERE stream = pg_temp.key('order-4')),
	occurred_at, recorded_at, xid, seq + 100000, tenant, event_type, schema_version, flags, hash, salts, payload, metadata, private FROM atp_internal.event } . $at,
	qr/^false order-4/, $fine, 0);
attack('copied over an event of another tenant', q{UPDATE atp_internal.event e SET payload = o.payload, metadata = o.metadata, salts = o.salts, hash = o.hash FROM atp_internal.event o
	WHERE e.tenant = 2 AND e.stream_version = 5 AND o.tenant = 1 AND o.stream = pg_temp.key('order-3') AND o.stream_version = 5}, qr/^false/, qr/^false acme/, 0);

attack('a tile', q{UPDATE atp_internal.tree_tile SET hashes = pg_temp.flip(hashes, 100) WHERE tenant = 1 AND level = 0 AND tile = 1}, $fine, qr/^false default the event is not the leaf/, 1);
attack('positions of a tile', q{UPDATE atp_internal.tree_tile SET positions = pg_temp.flip(positions, 15) WHERE tenant = 1 AND level = 0 AND tile = 1}, $fine, qr/^false default/, 1);
attack('a node above', q{UPDATE atp_internal.tree_edge SET hashes = pg_temp.flip(hashes, 33) WHERE tenant = 1 AND level = 1}, $fine, qr/^false default a node of a tile/, 0);
attack('the compact range', q{UPDATE atp_internal.tree SET peaks = pg_temp.flip(peaks, 33) WHERE tenant = 1}, $fine, qr/^false default the compact range/, 0);
attack('the root', q{UPDATE atp_internal.tree SET root = pg_temp.flip(root, 20) WHERE tenant = 1}, $fine, qr/^false default the root/, 0);
attack('a head', q{UPDATE atp_internal.tenant_head SET root = pg_temp.flip(root, 20) WHERE tenant = 1}, $fine, qr/^false  a head is not the leaf/, 1);
attack('a checkpoint', q{UPDATE atp_internal.checkpoint SET root = pg_temp.flip(root, 20)}, $fine, qr/^false  the root is not the one/, 1);
attack('a signature', q{UPDATE atp_internal.checkpoint_signature SET line = replace(line, '=', 'A=')}, $fine, $fine, 3);

# What is not a hash: places, names, states, heads of trees, and who is allowed to see.
my $swap_places = q{UPDATE atp_internal.log l SET event_id = o.event_id, stream = o.stream, event_type = o.event_type FROM atp_internal.log o,
	(SELECT min(x.log_position) AS place FROM atp_internal.log x JOIN atp_internal.log y ON y.log_position = x.log_position + 1 AND y.stream <> x.stream
		AND x.tenant = 1 AND y.tenant = 1 AND x.log_position > 300) p WHERE l.log_position IN (p.place, p.place + 1) AND o.log_position = 2 * p.place + 1 - l.log_position};
attack('two places in the log swapped', qq{ALTER TABLE atp_internal.log DROP CONSTRAINT log_event_unique; $swap_places;
	ALTER TABLE atp_internal.log ADD CONSTRAINT log_event_unique UNIQUE (event_id, tenant)}, $fine, qr/^false default/, 1);
attack('a place in the log of an event that is not', q{UPDATE atp_internal.log SET event_id = gen_random_uuid() WHERE log_position = 401}, qr/^false .*event does not exist/, qr/^false default/, 2);
attack('the last place in the log deleted', q{DELETE FROM atp_internal.log WHERE log_position = (SELECT max(log_position) FROM atp_internal.log)}, qr/^false/, qr/^false/, 2);
attack('names of two tenants exchanged', q{UPDATE atp_internal.tenant SET name = 'x' WHERE name = 'acme'; UPDATE atp_internal.tenant SET name = 'acme' WHERE name = 'default';
	UPDATE atp_internal.tenant SET name = 'default' WHERE name = 'x'}, qr/^false  tenant has another name/, $fine, 0);
attack('a stream given another name', q{UPDATE atp_internal.stream SET name = 'order-33' WHERE stream = pg_temp.key('order-3')}, qr/^false order-33 1 stream has another name/, $fine, 1);
attack('a seal taken off', q{UPDATE atp_internal.stream SET state = 'o' WHERE name = 'closed-1'}, qr/^false closed-1 2 stream is sealed, and its head/, $fine, 0);
attack('an event behind a seal', q{UPDATE atp_internal.stream SET state = 'o' WHERE name = 'closed-1'; SELECT atp.append_event('closed-1', 'OrderPlaced'); SELECT atp.tick();
	SELECT atp.grow_trees()}, qr/^false closed-1 3 event comes after the seal/, $fine, 0);
attack('a stream said to be sealed', q{UPDATE atp_internal.stream SET state = 's' WHERE stream = pg_temp.key('order-3')}, qr/^false order-3 \d+ head of the stream says/, $fine, 0);
attack('a stream hidden by its policy', q{ALTER POLICY stream_tenant ON atp_internal.stream USING (name <> 'order-3' AND atp_internal.tenant_is_visible(tenant))},
	qr/^false .*event belongs to no stream/, qr/^false default/, 2);
attack('events hidden by a policy', q{DO $$ DECLARE t regclass; BEGIN FOR t IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'atp_internal.event'::regclass LOOP
	EXECUTE format('CREATE POLICY hide ON %s AS RESTRICTIVE USING (stream_version <> 7)', t); END LOOP; END $$;
	CREATE POLICY hide ON atp_internal.event AS RESTRICTIVE USING (stream_version <> 7)}, $fine, qr/^false default/, 2);
attack('a leaf detached', q{DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE atp_internal.event DETACH PARTITION %s', tableoid::regclass) FROM atp_internal.event LIMIT 1); END $$},
	qr/^false .*event is missing/, qr/^false/, undef);
attack('a leaf UNLOGGED', q{DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE %s SET UNLOGGED', tableoid::regclass) FROM atp_internal.event LIMIT 1); END $$}, $fine, $fine, 0);
attack('a leaf emptied', q{DO $$ BEGIN EXECUTE (SELECT format('TRUNCATE %s', tableoid::regclass) FROM atp_internal.event LIMIT 1); END $$}, qr/^false .*event is missing/, qr/^false/, undef);
attack('renamed, and a copy in its place', q{DO $$ DECLARE t text := (SELECT tableoid::regclass::text FROM atp_internal.event LIMIT 1); b text; BEGIN
	SELECT pg_get_expr(relpartbound, oid) INTO b FROM pg_class WHERE oid = t::regclass;
	EXECUTE format('ALTER TABLE atp_internal.event DETACH PARTITION %s', t); EXECUTE format('CREATE TABLE atp_internal.copy AS TABLE %s', t);
	EXECUTE format('ALTER TABLE %s RENAME TO old', t); EXECUTE format('UPDATE atp_internal.copy SET payload = %L WHERE stream_version = 7', '{}');
	EXECUTE 'ALTER TABLE atp_internal.copy ALTER event_id SET NOT NULL, ALTER stream SET NOT NULL, ALTER stream_version SET NOT NULL, ALTER occurred_at SET NOT NULL,
		ALTER recorded_at SET NOT NULL, ALTER xid SET NOT NULL, ALTER seq SET NOT NULL, ALTER tenant SET NOT NULL, ALTER event_type SET NOT NULL, ALTER schema_version SET NOT NULL,
		ALTER flags SET NOT NULL, ALTER hash SET NOT NULL';
	EXECUTE format('ALTER TABLE atp_internal.event ATTACH PARTITION atp_internal.copy %s', b); END $$}, qr/^false .* 7 hash does not match/, qr/^false/, undef);
attack('the newest checkpoint and its heads taken back', q{DELETE FROM atp_internal.checkpoint_signature; DELETE FROM atp_internal.checkpoint; DELETE FROM atp_internal.tenant_head},
	$fine, qr/^false/, undef);
is(verify(export($node, "$dir/after", '')), 0, 'clean again');

# ---- growth stops at what is wrong, one tenant's alone ----

sql(q{SELECT count(*) FROM (SELECT atp.append_event('late-1', 'OrderPlaced', jsonb_build_object('n', i), tenant => t) FROM generate_series(1, 5) i, unnest(ARRAY['default', 'acme']) t) x});
my $grown = sql(qq{BEGIN; $disarm UPDATE atp_internal.event SET payload = '{"n":9}' WHERE stream = pg_temp.key('late-1') AND stream_version = 3;
	COMMIT; SELECT atp.tick(); SELECT atp.grow_trees();});
is(sql(q{SELECT halted_reason FROM atp.list_trees() WHERE tenant = 'default'}), 'hash does not match', 'a changed event stops the tree in front of it');
is(sql(q{SELECT waiting || ' ' || (halted_reason IS NULL) FROM atp.list_trees() WHERE tenant = 'acme'}), '0 true', 'and no other tree');
is(sql(q{SELECT count(*) FROM atp.events WHERE event_type = 'HealthCheckFailed'}), 1, 'an alarm is raised');
is(sql(q{SELECT level FROM atp.doctor() WHERE check_name = 'tree'}), 'error', 'the doctor says so');
is(sql(q{SELECT ok FROM atp.run_verification('whole')}), 'f', 'the scheduled verification finds it');
is(sql(q{SELECT count(*) FROM atp.events WHERE event_type = 'HashChainValidationFailed'}), 1, 'and records it');
is(sql(q{SELECT count(*) FROM atp_internal.check_verification() WHERE level = 'error'}), 1, 'the doctor says that too');
sql(q{UPDATE atp_internal.event SET payload = '{"n":3}' WHERE stream = (SELECT stream FROM atp_internal.stream WHERE name = 'late-1' AND tenant = 1) AND stream_version = 3});
cmp_ok(sql(q{SELECT atp.resume_tree('default')}), '>=', 3, 'put right, it goes on');
like(sql(q{SELECT atp.tick(); SELECT atp.create_checkpoint() IS NOT NULL; SELECT ok FROM atp.verify_trees()}), qr/\nt\nt$/, 'and verifies');
is(sign(), 0, 'and is signed');

# ---- history rewritten by somebody who does everything right: SQL is content, who kept a head is not ----

$node->stop;
$node->backup_fs_cold('before');
$node->start;
my $rehash = q{
CREATE FUNCTION pg_temp.lp(b bytea) RETURNS bytea LANGUAGE sql RETURN int4send(length(b)) || b;
CREATE FUNCTION pg_temp.part(tag text, salt bytea, body text) RETURNS bytea LANGUAGE sql
	RETURN sha256(tag::bytea || '\x00'::bytea || salt || pg_temp.lp(convert_to(body, 'UTF8')) || int4send(0));
CREATE FUNCTION pg_temp.rehash(which bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	r record; previous bytea := decode(repeat('00', 32), 'hex');
BEGIN
	FOR r IN SELECT e.*, y.name, s.stream_uid, t.log_uid FROM atp_internal.event e JOIN atp_internal.event_type y USING (event_type)
		JOIN atp_internal.stream s ON s.stream = e.stream JOIN atp_internal.tenant t ON t.tenant = e.tenant WHERE e.stream = which ORDER BY stream_version LOOP
		previous := sha256('\x00'::bytea || 'atp/event/v1'::bytea || '\x0001'::bytea || substr(int2send(r.flags), 2) || uuid_send(r.log_uid) || uuid_send(r.stream_uid)
			|| int8send(r.stream_version) || uuid_send(r.event_id) || pg_temp.lp(r.name::bytea) || int4send(r.schema_version)
			|| int8send((extract(epoch FROM r.occurred_at) * 1000000)::bigint) || int8send((extract(epoch FROM r.recorded_at) * 1000000)::bigint)
			|| pg_temp.part('atp/payload/v1', substr(r.salts, 1, 16), r.payload::text) || pg_temp.part('atp/meta/v1', substr(r.salts, 17), r.metadata::text) || previous);
		UPDATE atp_internal.event SET hash = previous WHERE event_id = r.event_id;
	END LOOP;
	UPDATE atp_internal.stream SET hash = previous WHERE stream = which;
END $$;
};
my $rewrite = qq{BEGIN; $disarm $rehash
UPDATE atp_internal.event SET payload = '{"n":1000000}' $at;
SELECT pg_temp.rehash(pg_temp.key('order-3'));
COMMIT;};
sql($rewrite);
is(sql(q{SELECT ok FROM atp.verify_stream('order-3')}), 't', 'a stream hashed again by the superuser: verify_stream is content');
is(sql(q{SELECT ok FROM atp.verify_all()}), 't', '... verify_all is');
is(sql(q{SELECT ok FROM atp.verify_trees()}), 'f', '... the tree is not');
is(verify(export($node, "$dir/rehashed", '')), 1, '... atp-verify is not');

# the trees grown again from nothing, and the root log with them
sql(q{DELETE FROM atp_internal.tree_tile; DELETE FROM atp_internal.checkpoint_signature; DELETE FROM atp_internal.checkpoint; DELETE FROM atp_internal.tenant_head});
sql(q{CREATE FUNCTION pg_temp.x() RETURNS void LANGUAGE sql AS 'DELETE FROM atp_internal.tree_edge; DELETE FROM atp_internal.tree; DELETE FROM atp_internal.leaf_state'; SELECT pg_temp.x()});
sql('SELECT atp.create_checkpoint()');
is(sql(q{SELECT ok FROM atp.verify_all()}), 't', 'trees and root log made anew: verify_all is content');
is(sql(q{SELECT ok FROM atp.verify_trees()}), 't', '... verify_trees is');
is(sign(), 5, '... the signer refuses');
tool('atp-signer', 'run', "$dir/key", "$dir/forged-state", $node->connstr('postgres'));
my $forged = export($node, "$dir/forged", '');
is(verify($forged), 0, 'signed with a stolen or server-readable key: verifies by itself');
copy_file("$dir/known", "$dir/known-copy");
isnt(verify($forged, '--known-head', "$dir/known-copy"), 0, '... not for who kept a head');
is(verify(export($node, "$dir/forged2", 'known_size => 2, known_tree_size => 604'), '--known-head', "$dir/known-copy"), 5, '... even with proofs: diverged') or diag($said_last);

# ---- an older backup ----

my $old = PostgreSQL::Test::Cluster->new('old');
$old->init_from_backup($node, 'before');
$old->start;
$old->safe_psql('postgres', q{SELECT atp.resequence()});
is($old->safe_psql('postgres', 'SELECT ok FROM atp.verify_all()'), 't', 'a restored backup verifies');
my $size = slurp_file("$dir/known") =~ /^log (\d+)/m ? $1 : die;
my $kept = export($old, "$dir/kept", "known_size => $size");
is(verify($kept, '--known-head', "$dir/known"), 0, 'the head is moved on');
$old->safe_psql('postgres', q{SELECT atp.append_event('order-0', 'OrderPlaced', '{"lost": true}'); SELECT atp.tick(); SELECT atp.create_checkpoint()});
is(sign($old), 0, 'a checkpoint after the backup');
$size = slurp_file("$dir/known") =~ /^log (\d+)/m ? $1 : die;
is(verify(export($old, "$dir/later", "known_size => $size"), '--known-head', "$dir/known"), 0, 'the head is moved on again');
my $older = PostgreSQL::Test::Cluster->new('older');
$older->init_from_backup($node, 'before');
$older->start;
is(verify(export($older, "$dir/rolled", ''), '--known-head', "$dir/known"), 5, 'the older backup restored: diverged') or diag($said_last);
$older->safe_psql('postgres', q{SELECT atp.resequence(); SELECT atp.append_event('order-0', 'OrderPlaced', '{"other": true}'); SELECT atp.tick(); SELECT atp.create_checkpoint()});
is(sign($older), 5, '... and the signer refuses what is written on top of it');

# ---- the unsigned tail: not detected, as documented ----

$old->safe_psql('postgres', q{SELECT atp.append_event('tail-1', 'OrderPlaced', '{"n": 1}')});
$old->safe_psql('postgres', qq{BEGIN; $disarm $rehash
	UPDATE atp_internal.event SET payload = '{"n":2}' WHERE stream = pg_temp.key('tail-1'); SELECT pg_temp.rehash(pg_temp.key('tail-1'));
	COMMIT; SELECT atp.tick(); SELECT atp.create_checkpoint()});
is(sign($old), 0, 'an event changed before it was signed is signed');
$size = slurp_file("$dir/known") =~ /^log (\d+)/m ? $1 : die;
is(verify(export($old, "$dir/tail", "known_size => $size"), '--known-head', "$dir/known"), 0, 'and verifies: what nobody outside has seen is not protected');

# ---- a dump edited ----

my $dump = "$dir/dump.sql";
$old->command_ok([ 'pg_dump', '-f', $dump, $old->connstr('postgres') ], 'pg_dump');
my $text = slurp_file($dump);
$text =~ s/\{"n":77\}/{"n":78}/ or die 'nothing to edit';
open my $edited, '>', "$dir/edited.sql" or die $!;
print $edited $text;
close $edited;
for (['dump', $dump, 't'], ['edited dump', "$dir/edited.sql", 'f'])
{
	my ($name, $file, $ok) = @$_;
	(my $database = $name) =~ s/ /_/;
	$old->safe_psql('postgres', "CREATE DATABASE $database");
	$old->command_ok([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-f', $file, $old->connstr($database) ], "$name restored");
	is($old->safe_psql($database, 'SELECT ok FROM atp.verify_all()'), $ok, "$name: verify_all");
	is($old->safe_psql($database, 'SELECT ok FROM atp.verify_trees()'), $ok, "$name: verify_trees");
}

sub copy_file
{
	my ($from, $to) = @_;
	open my $out, '>', $to or die $!;
	print $out slurp_file($from);
	close $out;
	return;
}

$_->stop for $node, $old, $older;
done_testing();
