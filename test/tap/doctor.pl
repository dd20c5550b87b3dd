# The doctor: a sound installation has no error and no warning; each fault that it knows is provoked, found, and gone when mended.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node;

sub sql { my ($sql, $database) = @_; return $node->safe_psql($database // 'store', $sql); }

# What the doctor says in a session that has run some SQL first: "check level" for all that is not ok.
sub says
{
	my ($before, $database) = @_;
	my ($rc, $out, $err) = $node->psql($database // 'store', ($before // '') . q{;
		SELECT DISTINCT 'said: ' || check_name || ' ' || level FROM atp.doctor() WHERE level <> 'ok' ORDER BY 1});
	return join ', ', grep { $_ ne 'scheduler note' } map { /^said: (.*)/ ? $1 : () } split /\n/, $out . "\n";
}

sub found
{
	my ($name, $expected, $provoke, $mend) = @_;
	sql($provoke);
	is(says(), $expected, "$name: found");
	sql($mend);
	is(says(), '', "$name: mended");
}

sub reload { $node->append_conf('postgresql.conf', "$_[0] = $_[1]\n"); $node->reload; sleep 1; }

# A sound installation.
$node = PostgreSQL::Test::Cluster->new('sound');
$node->init(extra => ['--data-checksums']);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\nmax_prepared_transactions = 5\nfsync = on\nwal_level = replica\n");
$node->start;
sql('CREATE DATABASE store', 'postgres');
sql('CREATE EXTENSION atp');
plan skip_all => 'the library carries no manifest for this major version of the server' if sql('SELECT atp_internal.manifest_baseline() IS NULL') eq 't';
is(says(), '', 'sound, empty: nothing to find');
sql(q{SELECT atp.append_event('Order-1', 'OrderPlaced', '{}')});
$node->poll_query_until('store', 'SELECT count(*) = 1 FROM atp_internal.log');
is(says(), '', 'sound, with an event: nothing to find');
is(sql(q{SELECT count(*) FROM atp.doctor() WHERE (level = 'ok') <> (remedy IS NULL)}), 0, 'whatever is not ok has a remedy');
is(sql(q{SELECT string_agg(check_name, ' ' ORDER BY check_name) FROM (SELECT DISTINCT check_name FROM atp.doctor()) c WHERE check_name IN
	('library', 'preload', 'guard', 'replication_role', 'triggers', 'event_triggers', 'manifest', 'roles', 'row_security', 'partitions', 'sequencer',
	'worker', 'scheduler', 'prepared_transactions', 'fsync', 'data_checksums', 'wal_level', 'autovacuum', 'server_encoding', 'tenants')}),
	'autovacuum data_checksums event_triggers fsync guard library manifest partitions preload prepared_transactions replication_role roles '
	  . 'row_security scheduler sequencer server_encoding tenants triggers wal_level worker', 'every check speaks, also when all is well');

# Sessions and settings.
is(says('SET session_replication_role = replica'), 'replication_role warning', 'session_replication_role: found');
is(says('SET atp.allow_drop = on'), 'allow_drop warning, manifest warning', 'atp.allow_drop: found');
is(says('SET synchronous_commit = off'), 'synchronous_commit warning', 'synchronous_commit: found');
found('a tenant suspended', 'tenants note', q{SELECT atp.onboard_tenant('acme'); SELECT atp.suspend_tenant('acme')}, q{SELECT atp.reactivate_tenant('acme')});
found('a setting of the database', 'overrides note', q{ALTER DATABASE store SET atp.tenant = 'acme'}, 'ALTER DATABASE store RESET atp.tenant');
found('autovacuum of a table', 'autovacuum warning', 'ALTER TABLE atp_internal.stream SET (autovacuum_enabled = off)',
	'ALTER TABLE atp_internal.stream RESET (autovacuum_enabled)');
is(sql(q{SELECT string_agg(level, ' ') FROM atp_internal.check_partitions(now() + interval '2 years')}), 'warning warning', 'partitions ahead: found');
sql(q{BEGIN; SELECT atp.append_event('Prepared-1', 'OrderPlaced', '{}'); PREPARE TRANSACTION 'left behind'});
like(sql(q{SELECT level || ': ' || remedy FROM atp_internal.check_prepared('0 s')}), qr/^warning: .*'left behind'/, 'a prepared transaction: found');
sql(q{ROLLBACK PREPARED 'left behind'});
is(sql(q{SELECT level FROM atp_internal.check_prepared('0 s')}), 'ok', 'a prepared transaction: mended');
foreach my $setting ([ 'fsync', 'error' ], [ 'full_page_writes', 'error' ], [ 'autovacuum', 'warning' ], [ 'track_counts', 'warning' ])
{
	reload($setting->[0], 'off');
	is(says(), "$setting->[0] $setting->[1]", "$setting->[0]: found");
	reload($setting->[0], 'on');
	is(says(), '', "$setting->[0]: mended");
}
sql(q{CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0}, 'postgres');
sql('CREATE EXTENSION atp', 'latin1');
is(says('', 'latin1'), 'server_encoding error', 'an encoding other than UTF8: found');
sql('DROP DATABASE latin1', 'postgres');
my $cron = sql(q{SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_cron'});
like(sql(q{SELECT level FROM atp.doctor() WHERE check_name = 'scheduler'}), qr/^note$/, 'no pg_cron: noted');

# Who may ask.
sql('CREATE ROLE auditor; GRANT atp_auditor TO auditor; CREATE ROLE writer; GRANT atp_writer TO writer');
is(sql(q{SET ROLE auditor; SELECT count(*) FROM atp.doctor() WHERE level IN ('error', 'warning')}), 0, 'an auditor gets the same answer');
my ($rc, $out, $err) = $node->psql('store', "SET ROLE writer;\n\\set VERBOSITY sqlstate\nSELECT * FROM atp.doctor()");
like($err, qr/42501/, 'a writer none');

# What the guard would refuse, with the guard down.
$node->append_conf('postgresql.conf', "atp.guard = off\n");
$node->restart;
sql(q{SELECT atp_internal.record_service_start()});
is(says(), 'guard error, manifest warning', 'atp.guard = off: found');
my $down = 'guard error, manifest warning';
sub found_down
{
	my ($name, $expected, $provoke, $mend) = @_;
	sql($provoke);
	is(says(), join(', ', sort('guard error', 'manifest warning', split(/, /, $expected))), "$name: found");
	sql($mend);
	is(says(), $down, "$name: mended");
}
my $leaf = sql(q{SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'atp_internal.event'::regclass ORDER BY 1 LIMIT 1});
found_down('a trigger of a partition off', 'triggers error', "ALTER TABLE $leaf DISABLE TRIGGER guard", "ALTER TABLE $leaf ENABLE ALWAYS TRIGGER guard");
found_down('a trigger of another table', 'triggers error', 'ALTER TABLE atp_internal.tenant ENABLE TRIGGER tenant_changed',
	'ALTER TABLE atp_internal.tenant ENABLE ALWAYS TRIGGER tenant_changed');
found_down('a rule', 'triggers error', 'CREATE RULE nothing AS ON INSERT TO atp_internal.log DO INSTEAD NOTHING', 'DROP RULE nothing ON atp_internal.log');
found_down('a trigger added to a partition', 'triggers error', "CREATE TRIGGER more BEFORE INSERT ON $leaf EXECUTE FUNCTION atp_internal.refuse_change()",
	"DROP TRIGGER more ON $leaf");
found_down('an event trigger off', 'event_triggers error', 'ALTER EVENT TRIGGER atp_guard_drop DISABLE', 'ALTER EVENT TRIGGER atp_guard_drop ENABLE ALWAYS');
found_down('row security not forced', 'row_security error, triggers error', "ALTER TABLE $leaf NO FORCE ROW LEVEL SECURITY",
	"ALTER TABLE $leaf FORCE ROW LEVEL SECURITY");
found_down('another policy', 'triggers error', "CREATE POLICY everything ON $leaf USING (true)", "DROP POLICY everything ON $leaf");
found_down('a stranger', 'manifest error', "CREATE FUNCTION atp.stranger() RETURNS int LANGUAGE sql RETURN 1", 'DROP FUNCTION atp.stranger()');
found_down('atp_owner with LOGIN', 'roles error', 'ALTER ROLE atp_owner LOGIN', 'ALTER ROLE atp_owner NOLOGIN');
found_down('a member of atp_owner', 'roles error', 'GRANT atp_owner TO writer', 'REVOKE atp_owner FROM writer');
found_down('a role missing', 'roles error', 'ALTER ROLE atp_auditor RENAME TO gone', 'ALTER ROLE gone RENAME TO atp_auditor');
found_down('an index of a partition missing', 'triggers error',
	"ALTER INDEX atp_internal." . sql("SELECT relname FROM pg_class WHERE relname LIKE 'event_p%_id' LIMIT 1") . " RENAME TO kept;
	UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'atp_internal.kept'::regclass",
	"UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'atp_internal.kept'::regclass");
found_down('versions that differ', 'library error, atp_internal.check_sequencer error, atp_internal.check_worker error', q{UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'atp'},
	q{UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'atp'});
sql(q{UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'atp'});
($rc, $out, $err) = $node->psql('store', "\\set VERBOSITY verbose\nSELECT atp.append_event('Order-1', 'OrderPlaced', '{}')");
like($err, qr/TP212.*library and SQL objects/s, 'versions that differ: an append is refused with TP212');
like($err, qr/DETAIL:.*1\.0.*0\.9/, 'and says which they are');
sql(q{UPDATE pg_extension SET extversion = '1.0' WHERE extname = 'atp'});

# The manifest: a difference shows as a line.
my $before = sql('SELECT atp.self_manifest()');
my $hash = sql('SELECT atp.self_manifest_hash()');
sql('ALTER FUNCTION atp.get_event(uuid, text) COST 17');
isnt(sql('SELECT atp.self_manifest_hash()'), $hash, 'a changed function changes the hash');
is( sql(q{SELECT count(*) FROM regexp_split_to_table(atp.self_manifest(), E'\n') AS l(line) WHERE line NOT IN (SELECT regexp_split_to_table($m$} . $before . q{$m$, E'\n'))}),
	1, 'in one line');
my $dir = PostgreSQL::Test::Utils::tempdir();
PostgreSQL::Test::Utils::append_to_file("$dir/$_->[0]", $_->[1]) foreach [ 'kept', $before ], [ 'same', $before ], [ 'present', sql('SELECT atp.self_manifest()') ];
my $verifier = "$ENV{ATP_TOP}/bin/atp-verify";
SKIP:
{
	skip 'atp-verify is not built', 2 unless -x $verifier;
	is(system("$verifier --manifest $dir/kept $dir/same >$dir/out") >> 8, 0, 'atp-verify: the manifest is the one that was kept');
	is(system("$verifier --manifest $dir/kept $dir/present >$dir/out") >> 8, 1, 'atp-verify: a manifest that differs is found');
}
sql('ALTER FUNCTION atp.get_event(uuid, text) COST 100');
is(sql('SELECT atp.self_manifest_hash()'), $hash, 'and back');
$node->stop;

# Nobody drives the log.
$node = PostgreSQL::Test::Cluster->new('alone');
$node->init;
$node->append_conf('postgresql.conf', "max_worker_processes = 0\nmax_logical_replication_workers = 0\nmax_parallel_workers = 0\nwal_level = minimal\nmax_wal_senders = 0\nfsync = on\n");
$node->start;
sql('CREATE DATABASE store', 'postgres');
sql(q{CREATE EXTENSION atp; SELECT atp.append_event('Order-1', 'OrderPlaced', '{}')});
sleep 6;
is(says(), 'data_checksums warning, preload warning, wal_level warning, worker warning', 'no worker slot, no checksums, no WAL for replicas, not preloaded: found');
like(sql(q{SELECT level FROM atp_internal.check_sequencer('1 s') WHERE level <> 'ok'}), qr/warning/, 'an event that waits for the log: found');
sql('SELECT atp.tick()');
is(says(), 'data_checksums warning, preload warning, wal_level warning', 'an event that waited: mended');
$node->append_conf('postgresql.conf', "atp.worker_enabled = off\natp.guard = off\n");
$node->restart;
like(says(q{LOAD 'atp'}), qr/worker warning/, 'the worker switched off: found');
sql(q{LOAD 'atp'; UPDATE atp_internal.sequencer SET restored = true});
like(says(), qr/sequencer error/, 'a log that has to be resequenced (TP110): found');
sql('SELECT atp.resequence()');
unlike(says(), qr/sequencer error/, 'a log that had to be resequenced: mended');
$node->stop;
done_testing();
