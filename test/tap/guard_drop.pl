# What the guard lets through: an unused extension goes, one with events only on demand, also where the events commit while the command waits; a
# database goes at any time; an update script and every way of restoring pass.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('drop');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\nmax_prepared_transactions = 5\n");
$node->start;

sub sqlstate
{
	my ($database, $sql) = @_;
	my ($rc, $out, $err) = $node->psql($database, "\\set VERBOSITY sqlstate\n$sql");
	return $err =~ /ERROR:\s+(\w{5})/ ? $1 : $rc == 0 ? '' : $err;
}

foreach my $command ('DROP EXTENSION atp', 'DROP SCHEMA atp CASCADE', 'DROP EXTENSION plpgsql CASCADE; CREATE EXTENSION plpgsql')
{
	$node->safe_psql('postgres', 'CREATE EXTENSION atp');
	is(sqlstate('postgres', $command), '', "unused: $command");
	is( $node->safe_psql('postgres', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'atp_internal'}), 0, 'nothing is left');
}

# What is made at run time and is no member goes along; whoever may not drop the extension drops nothing.
my $guards = q{SELECT atp.create_breaker('mail', minimum_throughput => 2); SELECT atp.create_rate_limit('calls', 0.001, burst => 3)};
my $cells = q{SELECT count(*) FROM pg_class WHERE relkind = 'S' AND relname ~ '^(breaker|rate_limit)_[0-9]'};
$node->safe_psql('postgres', "CREATE EXTENSION atp; $guards; CREATE ROLE nobody");
is($node->safe_psql('postgres', $cells), 4, 'four sequences');
is(sqlstate('postgres', 'SET ROLE nobody; DROP EXTENSION atp'), '42501', 'DROP EXTENSION by somebody else');
is(sqlstate('postgres', 'DROP EXTENSION IF EXISTS nothing_such'), '', 'another extension');
is(sqlstate('postgres', 'BEGIN; DROP EXTENSION atp; ROLLBACK'), '', 'taken back');
is(sqlstate('postgres', q{CREATE VIEW mine AS SELECT * FROM atp.breaker_status; DROP EXTENSION atp}), '2BP01', 'something of the user depends on it');
is($node->safe_psql('postgres', "$cells; SELECT atp.acquire_permit('mail')"), "4\nclosed", 'they are there');
is(sqlstate('postgres', 'DROP VIEW mine; DROP EXTENSION atp'), '', 'with a breaker and a rate limit: DROP EXTENSION atp');
is($node->safe_psql('postgres', $cells), 0, 'nothing is left of them');

# The events commit while DROP EXTENSION waits for their transaction.
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', q{BEGIN; SELECT atp.append_event('Order-1', 'OrderPlaced', '{}'); PREPARE TRANSACTION 'order'});
my ($out, $err) = ('', '');
my $drop = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-v', 'VERBOSITY=sqlstate', '-c', 'DROP EXTENSION atp' ], '>', \$out, '2>', \$err);
$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM pg_stat_activity WHERE query = 'DROP EXTENSION atp' AND wait_event_type = 'Lock'});
$node->safe_psql('postgres', q{COMMIT PREPARED 'order'});
$drop->finish;
like($err, qr/TP109/, 'an event that commits while DROP EXTENSION waits stops it');
is($node->safe_psql('postgres', 'SELECT count(*) FROM atp.events'), 1, 'and is there');
is(sqlstate('postgres', 'DROP EXTENSION atp'), 'TP109', 'as it does afterwards');
is(sqlstate('postgres', 'BEGIN; SET LOCAL atp.allow_drop = on; DROP EXTENSION atp; ROLLBACK'), '', 'allowed, and taken back');
is($node->safe_psql('postgres', 'SELECT count(*) FROM atp.events'), 1, 'the event is there');
is(sqlstate('postgres', 'DROP EXTENSION atp'), 'TP109', 'and guarded');
is(sqlstate('postgres', 'SET atp.allow_drop = on; DROP EXTENSION atp'), '', 'allowed');

# A database with a worker that idles.
$node->safe_psql('postgres', 'CREATE DATABASE gone');
$node->safe_psql('gone', q{CREATE EXTENSION atp; SELECT atp.append_event('Order-1', 'OrderPlaced', '{}')});
$node->poll_query_until('gone', 'SELECT count(*) = 1 FROM atp_internal.log');
is(sqlstate('postgres', 'DROP DATABASE gone'), '', 'DROP DATABASE passes, events, guard and idle worker notwithstanding');

# Restoring, in every way.
$node->safe_psql('postgres', 'CREATE DATABASE store');
$node->safe_psql('store', q{CREATE EXTENSION atp; SELECT atp.onboard_tenant('acme');
	SELECT atp.append_event('Order-' || i % 3, 'OrderPlaced', jsonb_build_object('n', i), tenant => CASE i % 2 WHEN 0 THEN 'acme' END) FROM generate_series(1, 30) AS i});
$node->poll_query_until('store', 'SELECT count(*) >= 30 FROM atp_internal.log');
$node->safe_psql('store', "$guards; SELECT atp.isolate_breaker('mail'); SELECT atp.acquire_tokens('calls', 3)");
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $node->connstr('store') ], 'a dump');
my $manifest = $node->safe_psql('store', 'SELECT atp.self_manifest_hash()');
my $n = 0;
foreach my $way ([ '--single-transaction' ], [], [ '--no-owner', '--single-transaction' ])
{
	my $name = 'restored' . $n++;
	my $label = join(' ', 'pg_restore -e', @$way);
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->command_ok([ 'pg_restore', '-e', @$way, '-d', $node->connstr($name), $dump ], $label);
	next if ($way->[0] // '') eq '--no-owner';
	is( $node->safe_psql($name, q{SELECT count(*), bool_and(v.ok) FROM generate_series(0, 2) i, (VALUES ('default'), ('acme')) t(name), atp.verify_stream('Order-' || i, t.name) v}),
		'6|t', "$label: every stream verifies");
	is( $node->safe_psql($name, q{SELECT string_agg(finding, E'\n') FROM atp.doctor() WHERE check_name IN ('triggers', 'event_triggers', 'row_security', 'roles')
			AND level <> 'ok'}), '', "$label: the guard stands as before");
	is($node->safe_psql($name, 'SELECT atp.self_manifest_hash()'), $manifest, "$label: and everything is as it was");
	is(sqlstate($name, 'DROP EXTENSION atp'), 'TP109', "$label: and guards");
	is($node->safe_psql($name, q{SELECT state FROM atp.breaker_status}), 'isolated', "$label: a breaker keeps its state");
	is(sqlstate($name, q{SELECT atp.acquire_tokens('calls')}), 'TP362', "$label: a rate limit, too");
	is(sqlstate($name, q{SELECT atp.close_breaker('mail'); SELECT atp.acquire_permit('mail')}), '', "$label: and they go on");
	is(sqlstate($name, q{BEGIN; SET LOCAL atp.allow_drop = on; DROP EXTENSION atp; ROLLBACK}), '', "$label: the extension can be dropped");
	$node->safe_psql($name, 'SELECT atp.resequence()');
	is( $node->safe_psql($name, q{SELECT (atp.append_event('Order-1', 'OrderPaid', '{}')).stream_version}), 6, "$label: appending goes on");
}
$node->stop;
done_testing();
