# What is recorded of an export: its beginning before a line leaves, its end with the transaction, and that it failed however it fails.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $bin = "$ENV{ATP_TOP}/bin";
my $dir = PostgreSQL::Test::Utils::tempdir();
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\natp.checkpoint_interval = 86400\natp.verification_interval = 0\nrestart_after_crash = on\n");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# The events of the youngest export, in order, once it has ended.
sub story
{
	my ($ended) = @_;
	my $last = q{SELECT s.name FROM atp_internal.stream s WHERE s.name LIKE 'atp.Export-%' ORDER BY s.created_at DESC LIMIT 1};
	$node->poll_query_until('postgres', qq{SELECT NOT EXISTS (SELECT FROM atp_internal.open_export) AND EXISTS (SELECT FROM atp.events e
		WHERE e.stream = ($last) AND e.event_type IN ('ExportCompleted', 'ExportFailed'))}) or diag('the export does not end');
	return sql("SELECT string_agg(event_type, ' ' ORDER BY stream_version) FROM atp.events WHERE stream = ($last)");
}

sub reason { return sql(q{SELECT payload ->> 'FailureReason' FROM atp.events WHERE event_type = 'ExportFailed' ORDER BY recorded_at DESC LIMIT 1}) }

my $failed = 'ExportRequested ExportStarted ExportFailed';
my $completed = 'ExportRequested ExportStarted ExportCompleted';

sql('CREATE EXTENSION atp');
sql('CREATE ROLE auditor LOGIN; GRANT atp_auditor TO auditor');
sql(q{SELECT count(*) FROM (SELECT atp.append_event('order-' || i % 5, 'OrderPlaced', jsonb_build_object('n', i, 'text', repeat('x', 300))) FROM generate_series(1, 20000) i) x});
sql('SELECT atp.tick(); SELECT atp.create_checkpoint()');

my ($rc, $out, $err) = $node->psql('postgres', 'SELECT atp.export_bundle()');
like($err, qr/no signed checkpoint/, 'nothing signed: refused');
is(story(), 'ExportRequested ExportFailed', '... and recorded at once');
like(reason(), qr/no signed checkpoint/, '... with the reason');

IPC::Run::run([ "$bin/atp-signer", 'generate', "$dir/key", 'audit.example.com' ], '>', \my $key);
chomp $key;
sql("SELECT atp.add_signing_key('$key')");
IPC::Run::run([ "$bin/atp-signer", 'run', "$dir/key", "$dir/state", $node->connstr('postgres') ], '>', \$out);

# what ends well
is(sql('SELECT count(*) > 20000 FROM (SELECT atp.export_bundle()) x'), 't', 'an export');
is(story(), $completed, '... is recorded');
sql(q{SET SESSION AUTHORIZATION auditor; SET atp.actor = 'the auditor'; SELECT count(*) FROM (SELECT atp.export_bundle()) x});
is(story(), $completed, 'by an auditor');
is( sql(q{SELECT string_agg(concat_ws(' ', e.event_type, e.metadata ->> 'session_user', e.metadata ->> 'actor', e.payload ->> 'RequestedBy'), ', ' ORDER BY e.stream_version) FROM atp.events e
		WHERE e.metadata ->> 'actor' = 'the auditor'}),
	'ExportRequested auditor the auditor auditor, ExportStarted auditor the auditor, ExportCompleted auditor the auditor', '... who is named in each event');
foreach my $mode ('READ ONLY', 'ISOLATION LEVEL REPEATABLE READ', 'ISOLATION LEVEL SERIALIZABLE, READ ONLY')
{
	sql("BEGIN $mode; SELECT count(*) FROM (SELECT atp.export_bundle()) x; COMMIT");
	is(story(), $completed, "in a transaction $mode");
}
my $asked = sql(q{SELECT atp.request_export('a court order')});
sql("SELECT count(*) FROM (SELECT atp.export_bundle(export => '$asked')) x");
is(story(), $completed, 'one that was requested before');
is(sql(qq{BEGIN; SELECT count(*) FROM (SELECT atp.export_bundle(export => atp.request_export('at once'))) x; COMMIT; SELECT 'done'}) =~ /done/, 1, 'one requested in the same transaction');
is(story(), $completed, '... whose lock is not waited for');

# what does not
my $before = sql(q{SELECT count(*) FROM atp.events WHERE event_type = 'ExportFailed'});
sql('BEGIN; SELECT count(*) FROM (SELECT atp.export_bundle()) x; ROLLBACK');
is(story(), $failed, 'read, and rolled back');
sql('SELECT atp.export_bundle() LIMIT 3');
is(story(), $failed, 'not read to its end');
sql('BEGIN; DECLARE c CURSOR FOR SELECT atp.export_bundle(); FETCH 3 FROM c; CLOSE c; COMMIT');
is(story(), $failed, 'nor through a cursor');
($rc, $out, $err) = $node->psql('postgres', q{COPY (SELECT atp.export_bundle()) TO '/dev/full'});
like($err, qr/No space left/, 'the disk is full');
is(story(), $failed, '... is recorded');
($rc, $out, $err) = $node->psql('postgres', q{SET statement_timeout = '60ms'; COPY (SELECT atp.export_bundle() FROM generate_series(1, 50)) TO '/dev/null'});
like($err, qr/statement timeout/, 'cancelled');
is(story(), $failed, '... is recorded');
($rc, $out, $err) = $node->psql('postgres', 'SELECT 1 / (CASE WHEN b LIKE \'%"end"%\' THEN 0 ELSE 1 END) FROM atp.export_bundle() b');
like($err, qr/division by zero/, 'an error of the query around it');
is(story(), $failed, '... is recorded');
sql(qq{BEGIN; SET LOCAL atp.actor = 'x'; SAVEPOINT a; SELECT count(*) FROM (SELECT atp.export_bundle()) x; ROLLBACK TO a; COMMIT});
is(story(), $failed, 'rolled back to a savepoint');

# sessions that end
sub stalled					# a client that asks and does not read
{
	my $psql = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'COPY (SELECT b FROM atp.export_bundle() b, generate_series(1, 20)) TO STDOUT' ],
		'|', [ 'sh', '-c', 'sleep 600' ]);
	$node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM atp_internal.open_export) AND EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'COPY%' AND wait_event = 'ClientWrite')})
		or die 'the export does not stall';
	return $psql;
}
my $psql = stalled();
is(sql(q{SELECT ok FROM atp.run_verification(); SELECT count(*) FROM atp_internal.open_export}), "t\n1", 'an export at work is not swept up');
sql(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND pid <> pg_backend_pid()});
is(story(), $failed, 'the session terminated');
$psql->kill_kill;
$psql = stalled();
$psql->kill_kill;
is(story(), $failed, 'the client gone');
$psql = stalled();
kill 'KILL', sql(q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%' AND pid <> pg_backend_pid()});
$psql->kill_kill;
sleep 1;
$node->poll_query_until('postgres', 'SELECT true', 't') or die 'no recovery';
is(story(), $failed, 'the server crashed');
is(reason(), 'It was not read to its end, or its transaction was not committed.', '... with what is known');
is(sql(q{SELECT count(*) FROM atp.events WHERE event_type = 'ExportFailed'}) - $before, 10, 'each of them once');

# attempts of one export
$asked = sql(q{SELECT atp.request_export('a court order')});
foreach my $attempt (1, 2)
{
	sql("SELECT atp.export_bundle(export => '$asked') LIMIT 1");
	$node->poll_query_until('postgres', 'SELECT NOT EXISTS (SELECT FROM atp_internal.open_export)');
	sql("SELECT atp.fail_export('$asked', 'told so')") if $attempt == 2;
}
sql("SELECT count(*) FROM (SELECT atp.export_bundle(export => '$asked')) x");
sql("SELECT atp.fail_export('$asked', 'the courier lost it')");
is( sql("SELECT string_agg(concat_ws(' ', event_type, payload ->> 'Attempt'), ', ' ORDER BY stream_version) FROM atp.events WHERE stream = 'atp.Export-$asked'"),
	'ExportRequested, ExportStarted, ExportFailed 1, ExportStarted, ExportFailed 2, ExportStarted, ExportCompleted, ExportFailed 3', 'attempts are counted, a failure is told once');

# no process is free: recorded in the export's own transaction
$node->append_conf('postgresql.conf', "max_worker_processes = 1\natp.worker_enabled = on\n");
$node->restart;
sql('SELECT count(*) FROM (SELECT atp.export_bundle()) x');
is(story(), $completed, 'no process is free: recorded all the same');
is(sql(q{SELECT level FROM atp_internal.check_exports()}), 'ok', 'the doctor is content');
sql(q{INSERT INTO atp_internal.open_export VALUES (1, gen_random_uuid(), now() - interval '1 hour', '99/99')});
is(sql(q{SELECT level FROM atp_internal.check_exports()}), 'warning', 'the doctor sees one that nobody records');
$node->stop;
done_testing();
