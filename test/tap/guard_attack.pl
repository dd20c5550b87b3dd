# Attacks on the store, each by four kinds of attacker: whatever is not prevented is found by the doctor or by verification, and
# where nothing finds it, the test says so. The clean twin, the store that nobody attacked, passes before and after.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $leaf;		# a partition with events

# Runs SQL in a session of its own (which has not loaded the library unless that is preloaded); returns the SQLSTATE, '' for success.
sub attempt
{
	my ($node, $user, $sql) = @_;
	$sql =~ s/LEAF/$leaf/g;
	my ($rc, $out, $err) = $node->psql('store', "\\set VERBOSITY sqlstate\n$sql", extra_params => [ '-U', $user ], on_error_stop => 1);
	return $rc == 0 ? '' : $err =~ /ERROR:\s+(\w{5})/ ? $1 : "? $err";
}

sub levels    # what the doctor has to say under the checks named
{
	my ($node, @checks) = @_;
	my $names = join ',', map { "'$_'" } @checks;
	return $node->safe_psql('store', "SELECT string_agg(DISTINCT check_name || ' ' || level, ', ' ORDER BY check_name || ' ' || level)
		FROM atp.doctor() WHERE check_name IN ($names) AND level IN ('error', 'warning')");
}

# name, statement, then what is to happen: superuser with the library preloaded, superuser without, the database's owner, somebody who
# has become atp_owner by SET ROLE (the last two: preloaded/not, where that differs). A SQLSTATE: refused so. A check of the doctor: it succeeds, and that check reports it, until `undo`.
# '-' succeeds and changes nothing that matters.
my @attacks = (
	[ 'UPDATE',    "UPDATE atp_internal.event SET payload = '{}'", qw(TP107 TP107 42501 TP107) ],
	[ 'DELETE',    'DELETE FROM atp_internal.event',               qw(TP107 TP107 42501 TP107) ],
	[ 'TRUNCATE',  'TRUNCATE atp_internal.event',                  qw(TP107 TP107 42501 TP107) ],
	[ 'UPDATE of a head', 'UPDATE atp_internal.stream SET version = 1', qw(TP107 TP107 42501 TP107) ],
	[ 'UPDATE of a tenant', "UPDATE atp_internal.tenant SET name = 'other' WHERE name = 'default'", qw(TP107 TP107 42501 TP107) ],
	[ 'INSERT of a tenant', "INSERT INTO atp_internal.tenant (name) VALUES ('other')", qw(TP107 TP107 42501 TP107) ],
	[ 'DELETE of a tenant', "SET session_replication_role = replica; DELETE FROM atp_internal.tenant", qw(TP107 TP107 42501 42501) ],
	[ 'INSERT',    'INSERT INTO atp_internal.event SELECT * FROM atp_internal.event', qw(TP107 TP107 42501 TP107) ],
	[ 'INSERT into a partition', 'INSERT INTO LEAF SELECT * FROM LEAF', qw(TP107 TP107 42501 TP107) ],
	[ 'COPY FROM', "COPY LEAF FROM PROGRAM 'true'",                qw(TP107 TP107 42501 42501) ],
	[ 'MERGE', 'MERGE INTO atp_internal.stream s USING (SELECT 1 AS a) x ON true WHEN MATCHED THEN UPDATE SET version = 1', qw(TP107 TP107 42501 TP107) ],
	[ 'session_replication_role, DELETE', 'SET session_replication_role = replica; DELETE FROM LEAF', qw(TP107 TP107 42501 42501) ],
	[ 'session_replication_role, DROP', 'SET session_replication_role = replica; DROP TABLE LEAF', qw(TP108 TP108 42501 42501) ],
	[ 'DROP TABLE', 'DROP TABLE LEAF',                             qw(TP108 TP108 42501 TP108) ],
	[ 'DROP TABLE CASCADE', 'DROP TABLE atp_internal.event CASCADE', qw(TP108 TP108 42501 TP108) ],
	[ 'DROP SCHEMA', 'DROP SCHEMA atp_internal CASCADE',           qw(TP109 TP109 TP109 TP109) ],
	[ 'DROP EXTENSION', 'DROP EXTENSION atp CASCADE',              qw(TP109 TP109 TP109 TP109) ],
	[ 'DROP EXTENSION plpgsql', 'DROP EXTENSION plpgsql CASCADE',  qw(TP109 TP109 42501 42501) ],
	[ 'DROP OWNED', 'DROP OWNED BY atp_owner CASCADE',             qw(TP108 TP108 TP108 TP108) ],
	[ 'DROP ROLE', 'DROP ROLE atp_owner',                          qw(2BP01 2BP01 42501 42501) ],
	[ 'REASSIGN OWNED', 'REASSIGN OWNED BY atp_owner TO heir', qw(TP108 manifest TP108/42501 TP108/42501),
		'REASSIGN OWNED BY heir TO atp_owner' ],
	[ 'DISABLE TRIGGER', 'ALTER TABLE LEAF DISABLE TRIGGER ALL',   qw(TP108 TP108 42501 TP108) ],
	[ 'ENABLE TRIGGER (no longer ALWAYS)', 'ALTER TABLE LEAF ENABLE TRIGGER guard', qw(TP108 TP108 42501 TP108) ],
	[ 'DROP TRIGGER', 'DROP TRIGGER guard ON LEAF',                qw(TP108 TP108 42501 TP108) ],
	[ 'ALTER COLUMN TYPE', "ALTER TABLE atp_internal.event ALTER COLUMN payload TYPE json USING '{}'", qw(TP108 TP108 42501 TP108) ],
	[ 'SET UNLOGGED', 'ALTER TABLE LEAF SET UNLOGGED',             qw(TP108 TP108 42501 TP108) ],
	[ 'DETACH', 'ALTER TABLE atp_internal.event DETACH PARTITION LEAF', qw(TP108 TP108 42501 TP108) ],
	[ 'DETACH CONCURRENTLY', 'ALTER TABLE atp_internal.event DETACH PARTITION LEAF CONCURRENTLY', qw(TP108 TP108 42501 TP108) ],
	[ 'rename and copy', 'CREATE TABLE public.copy AS TABLE LEAF; ALTER TABLE LEAF RENAME TO old', qw(TP108 TP108 42501 42501) ],
	[ 'SET SCHEMA', 'ALTER TABLE LEAF SET SCHEMA public',          qw(TP108 TP108 42501 TP108) ],
	[ 'foreign leaf', "CREATE TABLE public.leaf PARTITION OF atp_internal.event FOR VALUES FROM (MINVALUE) TO ('00000000-0000-0000-0000-000000000001')",
		qw(TP108 TP108 42501 TP108) ],
	[ 'filled leaf attached', "CREATE TABLE atp_internal.forged AS TABLE LEAF; ALTER TABLE atp_internal.event ATTACH PARTITION atp_internal.forged
		FOR VALUES FROM (MINVALUE) TO ('00000000-0000-0000-0000-000000000001')", qw(TP108 TP108 42501 TP108) ],
	[ 'empty leaf attached', "CREATE TABLE atp_internal.trap (LIKE atp_internal.event); ALTER TABLE atp_internal.event ATTACH PARTITION atp_internal.trap
		FOR VALUES FROM (MINVALUE) TO ('00000000-0000-0000-0000-000000000001')", qw(TP108 TP108 42501 TP108) ],
	[ 'DO INSTEAD NOTHING', 'CREATE RULE nothing AS ON INSERT TO LEAF DO INSTEAD NOTHING', qw(TP108 TP108 42501 TP108) ],
	[ 'BEFORE trigger that returns NULL', "CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER a BEFORE INSERT ON atp_internal.log FOR EACH ROW EXECUTE FUNCTION pg_temp.f()", qw(TP108 TP108 42501 TP108) ],
	[ 'INSTEAD OF trigger', "CREATE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
		CREATE TRIGGER a INSTEAD OF INSERT ON atp.events FOR EACH ROW EXECUTE FUNCTION pg_temp.f()", qw(TP108 TP108 TP108 TP108) ],
	[ 'CREATE OR REPLACE FUNCTION', "CREATE OR REPLACE FUNCTION atp_internal.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
		qw(TP108 TP108 TP108 TP108) ],
	[ 'overload that catches appends', "CREATE FUNCTION atp.append_event(stream text, event_type text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
		qw(TP108 TP108 TP108 TP108) ],
	[ 'ALTER FUNCTION', 'ALTER FUNCTION atp.get_event(uuid, text) SECURITY INVOKER', qw(TP108 TP108 TP108 TP108) ],
	[ 'CREATE OR REPLACE VIEW', 'CREATE OR REPLACE VIEW atp.error_code AS SELECT 1 AS nothing', qw(TP108 TP108 TP108 TP108) ],
	[ 'ALTER EXTENSION DROP', 'ALTER EXTENSION atp DROP FUNCTION atp_internal.refuse_change()', qw(TP108 TP108 TP108 TP108) ],
	[ 'DEPENDS ON EXTENSION', 'ALTER FUNCTION atp_internal.refuse_change() DEPENDS ON EXTENSION plpgsql', qw(TP108 TP108 42501 TP108) ],
	[ 'a function of atp_owner', 'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1; ALTER FUNCTION pg_temp.f() OWNER TO atp_owner',
		qw(TP108 TP108 42501 TP108) ],
	[ 'row security off', 'ALTER TABLE LEAF NO FORCE ROW LEVEL SECURITY', qw(TP108 TP108 42501 TP108) ],
	[ 'a policy for all', 'CREATE POLICY everything ON LEAF USING (true)', qw(TP108 TP108 42501 TP108) ],
	[ 'GRANT ON a table', 'GRANT ALL ON LEAF TO PUBLIC',           qw(TP108 TP108 42501 TP108) ],
	[ 'GRANT ON the schema', 'GRANT ALL ON SCHEMA atp_internal TO PUBLIC', qw(TP108 TP108 TP108 TP108) ],
	[ 'default privileges', 'ALTER DEFAULT PRIVILEGES FOR ROLE atp_owner GRANT ALL ON TABLES TO PUBLIC', qw(TP108 TP108 TP108 TP108) ],
	[ 'TEMPORARY table of the name', 'CREATE TEMP TABLE event (a int); INSERT INTO event VALUES (1)', qw(- - - -) ],
	# What fires no trigger: the hooks refuse it when they are loaded.
	[ 'ALTER EVENT TRIGGER', 'ALTER EVENT TRIGGER atp_guard_drop DISABLE', qw(TP108 event_triggers TP108/42501 TP108/42501),
		'ALTER EVENT TRIGGER atp_guard_drop ENABLE ALWAYS' ],
	[ 'UPDATE pg_event_trigger', "UPDATE pg_event_trigger SET evtenabled = 'R'", qw(TP108 event_triggers 42501 42501),
		"UPDATE pg_event_trigger SET evtenabled = 'A'" ],
	[ 'UPDATE pg_trigger', "UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'guard'", qw(TP108 triggers 42501 42501),
		"UPDATE pg_trigger SET tgenabled = 'A' WHERE tgname = 'guard'" ],
	[ 'UPDATE pg_class', "UPDATE pg_class SET relforcerowsecurity = false WHERE oid = 'LEAF'::regclass", qw(TP108 row_security 42501 42501),
		"UPDATE pg_class SET relforcerowsecurity = true WHERE oid = 'LEAF'::regclass" ],
	[ 'UPDATE pg_proc', "UPDATE pg_proc SET prosrc = 'atp_tenant_changed' WHERE proname = 'refuse_change'", qw(TP108 manifest 42501 42501),
		"UPDATE pg_proc SET prosrc = 'atp_guard_refuse' WHERE proname = 'refuse_change'" ],
	[ 'UPDATE pg_rewrite', "UPDATE pg_rewrite SET ev_enabled = 'D' WHERE ev_class = 'atp.events'::regclass", qw(TP108 - 42501 42501),
		"UPDATE pg_rewrite SET ev_enabled = 'O' WHERE ev_class = 'atp.events'::regclass" ],
	[ 'UPDATE pg_policy', "UPDATE pg_policy SET polroles = '{10}' WHERE polrelid = 'atp_internal.log'::regclass", qw(TP108 manifest 42501 42501),
		"UPDATE pg_policy SET polroles = '{0}' WHERE polrelid = 'atp_internal.log'::regclass" ],
	[ 'GRANT atp_owner', 'GRANT atp_owner TO intruder', qw(TP108 roles TP108/42501 TP108/42501), 'REVOKE atp_owner FROM intruder' ],
	[ 'ALTER ROLE atp_owner', 'ALTER ROLE atp_owner LOGIN', qw(TP108 roles TP108/42501 TP108/42501), 'ALTER ROLE atp_owner NOLOGIN' ],
	[ 'CREATE ROLE IN ROLE atp_owner', 'CREATE ROLE second IN ROLE atp_owner', qw(TP108 roles TP108/42501 TP108/42501), 'DROP ROLE second' ],
	[ 'LOCK TABLE', 'LOCK TABLE LEAF', qw(TP108 - 42501 TP108/-) ],
	[ 'SET ROLE', 'SET ROLE atp_owner', qw(- - 42501 -) ],
	[ 'atp.guard', 'SET atp.guard = off; DROP TABLE LEAF', qw(55P02 TP108 55P02/42501 55P02/TP108) ],
	[ 'atp.allow_drop', 'SET atp.allow_drop = on; DROP TABLE LEAF', qw(TP108 TP108 42501/42501 42501/TP108) ],
);

sub prepare
{
	my ($name, @conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "$_\n") foreach 'atp.worker_enabled = off', @conf;
	$node->start;
	$node->safe_psql('postgres', 'CREATE ROLE intruder LOGIN; CREATE ROLE heir; CREATE ROLE application LOGIN; CREATE DATABASE store OWNER intruder');
	$node->safe_psql('store', q{CREATE EXTENSION atp; GRANT atp_writer, atp_reader TO application;
		SELECT atp.append_event('Order-' || i % 3, 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 30) AS i; SELECT atp.tick()});
	$leaf = $node->safe_psql('store', q{SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'atp_internal.event'::regclass LIMIT 1});
	return $node;
}

sub is_clean
{
	my ($node, $name) = @_;
	is( $node->safe_psql('store', q{SELECT string_agg(check_name || ': ' || finding, E'\n') FROM atp.doctor()
			WHERE level IN ('error', 'warning') AND check_name NOT IN ('fsync', 'data_checksums', 'worker', 'preload', 'wal_level')}),
		'', "$name: the doctor finds nothing");
	is( $node->safe_psql('store', q{SELECT count(*), bool_and(v.ok), sum(v.checked) FROM generate_series(0, 2) i, atp.verify_stream('Order-' || i) v}),
		'3|t|30', "$name: every event verifies");
}

sub attack
{
	my ($node, $who, $column, $user, $before) = @_;
	my $unloaded = $who =~ /not preloaded/ ? 1 : 0;
	foreach my $attack (@attacks)
	{
		my ($name, $sql, @rest) = @$attack;
		my @either = split m{/}, $rest[$column];
		my ($expected, $undo) = ($either[ @either > 1 ? $unloaded : 0 ], $rest[4]);
		my $state = attempt($node, $user, "BEGIN; $before$sql; COMMIT");
		if ($expected =~ /^[A-Z0-9]{5}$/)
		{
			is($state, $expected, "$who: $name is refused with $expected");
			next;
		}
		is($state, '', "$who: $name is not prevented");
	SKIP:
		{
			skip 'the library carries no manifest for this major version of the server', 1
				if $expected eq 'manifest' && $node->safe_psql('store', 'SELECT atp_internal.manifest_baseline() IS NULL') eq 't';
			like(levels($node, $expected), qr/^$expected (error|warning)/, "$who: $name: the doctor says so, check $expected") if $expected ne '-';
		}
		next unless $undo;
		is(attempt($node, 'postgres', $undo), '', "$who: $name is taken back");
	}
}

# The trigger of one partition put off, its first event's payload changed, the trigger put back: catalogs as before.
sub falsify
{
	my ($off, $on) = @_;
	return "$off; UPDATE LEAF SET payload = '{\"n\":31}' WHERE stream_version = 4
		AND stream = (SELECT stream FROM atp_internal.stream WHERE name = 'Order-1'); $on";
}
my @event_triggers = map { "ALTER EVENT TRIGGER atp_guard_$_" } qw(command_start command_end drop);
my $by_ddl = falsify(join('; ', map { "$_ DISABLE" } @event_triggers) . '; ALTER TABLE LEAF DISABLE TRIGGER guard',
	'ALTER TABLE LEAF ENABLE ALWAYS TRIGGER guard; ' . join('; ', map { "$_ ENABLE ALWAYS" } @event_triggers));
my $by_catalog = falsify("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = 'LEAF'::regclass",
	"UPDATE pg_trigger SET tgenabled = 'A' WHERE tgrelid = 'LEAF'::regclass");

sub verification
{
	my ($node) = @_;
	return $node->safe_psql('store', q{SELECT ok, first_fault_version FROM atp.verify_stream('Order-1')});
}

# With the library preloaded: everything is refused.
my $node = prepare('preloaded', "shared_preload_libraries = 'atp'");
is_clean($node, 'preloaded, before');
attack($node, 'superuser, preloaded', 0, 'postgres', '');
attack($node, 'database owner, preloaded', 2, 'intruder', '');
attack($node, 'atp_owner by SET ROLE, preloaded', 3, 'postgres', 'SET ROLE atp_owner; ');
is(attempt($node, 'postgres', $by_ddl), 'TP108', 'preloaded: the event trigger is not put off');
is(attempt($node, 'postgres', $by_catalog), 'TP108', 'preloaded: pg_trigger is not changed');
is_clean($node, 'preloaded, after');

# The escape needs a restart, and is on record.
is(attempt($node, 'postgres', q{LOAD 'atp'; ALTER SYSTEM SET atp.guard = off; SELECT pg_reload_conf(); SELECT pg_sleep(0.3)}), '', 'the setting is written');
is(attempt($node, 'postgres', "ALTER TABLE $leaf DISABLE TRIGGER guard"), 'TP108', 'but takes no effect on reload');
$node->restart;
is(levels($node, 'guard'), 'guard error', 'guard off: the doctor says so');
$node->safe_psql('store', 'SELECT atp_internal.record_service_start()');
is( $node->safe_psql('store', q{SELECT payload ->> 'Guard' FROM atp.events WHERE event_type = 'ServiceStarted' ORDER BY stream_version DESC LIMIT 1}),
	'off', 'guard off: the start is an event');
is(attempt($node, 'postgres', "UPDATE $leaf SET payload = '{}'"), 'TP107', 'guard off: the tables keep their triggers');
is(attempt($node, 'postgres', falsify('ALTER TABLE LEAF DISABLE TRIGGER guard', 'ALTER TABLE LEAF ENABLE ALWAYS TRIGGER guard')), '', 'guard off: a falsification is possible');
is(verification($node), 'f|4', 'guard off: and verification finds the event');
is(attempt($node, 'postgres', 'DROP EXTENSION atp CASCADE'), '', 'guard off: DROP EXTENSION is not refused');
$node->stop;

# Without: what fires no trigger succeeds, and is found while it stands.
$node = prepare('loaded');
is_clean($node, 'not preloaded, before');
like(levels($node, 'preload'), qr/preload warning/, 'not preloaded: the doctor says so');
attack($node, 'superuser, not preloaded', 1, 'postgres', '');
attack($node, 'database owner, not preloaded', 2, 'intruder', '');
attack($node, 'atp_owner by SET ROLE, not preloaded', 3, 'postgres', 'SET ROLE atp_owner; ');
is_clean($node, 'not preloaded, after');
is(attempt($node, 'postgres', "SELECT atp.ulid(); $by_catalog"), 'TP108', 'not preloaded: a session that has loaded the library is guarded by the hooks');
is(attempt($node, 'postgres', $by_catalog), '', 'not preloaded: pg_trigger is changed and changed back');
is(levels($node, qw(triggers event_triggers manifest)), '', 'not preloaded: the doctor cannot see what was put back');
is(verification($node), 'f|4', 'not preloaded: verification finds the event');
is(attempt($node, 'postgres', "SET atp.allow_drop = on; DROP EXTENSION atp"), '', 'atp.allow_drop lets a superuser drop the extension with its events');
$node->stop;

# The same by DDL, in a store of its own.
$node = prepare('by_ddl');
is(attempt($node, 'postgres', $by_ddl), '', 'not preloaded: with all event triggers put off, DDL passes');
is(levels($node, qw(triggers event_triggers manifest)), '', 'the doctor cannot see what was put back');
is(verification($node), 'f|4', 'verification finds the event');

# A reload is enough where the library is not preloaded.
is(attempt($node, 'postgres', q{LOAD 'atp'; ALTER SYSTEM SET atp.guard = off; SELECT pg_reload_conf(); SELECT pg_sleep(0.5)}), '', 'the setting is written');
is(levels($node, 'guard'), 'guard error', 'not preloaded: a reload puts the guard down, the doctor says so');
is( $node->safe_psql('store', 'SELECT atp_internal.record_service_start()'), 'f',
	'not preloaded: that is no start of the server, and not on record');
$node->restart;
is( $node->safe_psql('store', 'SELECT atp_internal.record_service_start(); SELECT atp_internal.record_service_start()'), "t\nf",
	'not preloaded: after a restart it is, once');
$node->stop;
done_testing();
