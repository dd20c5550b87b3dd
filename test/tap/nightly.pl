# Scheduled verification as pg_cron runs it: a run comes by itself and is recorded, a fault raises the alarms, a run that is missing is a
# fault for the doctor; where pg_cron does not come, the worker does; and what cannot be read is a fault, not a run that never was.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $cron = -e '/usr/share/postgresql/' . ($ENV{PGV} // 15) . '/extension/pg_cron.control';
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(extra => ['--data-checksums']);
$node->append_conf('postgresql.conf', 'shared_preload_libraries = \'' . ($cron ? 'pg_cron,' : '') . "atp'\nmax_worker_processes = 16\natp.guard = off\n"
	  . "atp.checkpoint_interval = 86400\natp.verification_interval = 0\n" . ($cron ? "cron.database_name = 'postgres'\ncron.use_background_workers = on\n" : ''));
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }
sub doctor { return sql(q{SELECT string_agg(check_name || ' ' || level, ', ' ORDER BY check_name) FROM atp_internal.check_verification()}) }

# Moves everything into the past, as if so many days had gone by.
sub days_later
{
	my ($days) = @_;
	return sql(qq{ALTER TABLE atp_internal.verification DISABLE TRIGGER guard; ALTER TABLE atp_internal.log DISABLE TRIGGER guard;
		UPDATE atp_internal.verification SET started_at = started_at - interval '$days days', finished_at = finished_at - interval '$days days';
		UPDATE atp_internal.log SET published_at = published_at - interval '$days days';
		ALTER TABLE atp_internal.verification ENABLE ALWAYS TRIGGER guard; ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER guard});
}

sql('CREATE EXTENSION atp');
sql(q{CREATE ROLE operator LOGIN; GRANT atp_admin TO operator;
	CREATE SCHEMA cron; CREATE FUNCTION cron.schedule(text, text, text) RETURNS bigint LANGUAGE sql AS 'SELECT 1/0'; CREATE TABLE cron.job (command text, active bool, database name)});
sql(q{INSERT INTO cron.job VALUES ('SELECT atp.run_verification()', true, 'postgres')});
is(sql('SET ROLE operator; SELECT atp.schedule_verification()'), 'f', 'a schema that is called cron is not taken for pg_cron');
sql('DROP SCHEMA cron CASCADE');
sql(q{SELECT count(*) FROM (SELECT atp.append_event('order-' || i % 5, 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 500) i) x});
sql('SELECT atp.tick(); SELECT atp.create_checkpoint()');
is(doctor(), 'verification_runs ok', 'a young store misses no run');
days_later(3);
is(doctor(), 'verification_runs error', 'none within two days: a fault for the doctor');

SKIP:
{
	skip 'pg_cron is not installed', 10 unless $cron;
	sql('CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO operator');
	is(sql('SET SESSION AUTHORIZATION operator; SELECT atp.schedule_verification()'), 't', 'an administrator schedules the verification');
	is(sql(q{SELECT string_agg(concat_ws('|', schedule, command, username, active), ' ' ORDER BY jobid) FROM cron.job}),
		q{17 2 * * 1-6|SELECT atp.run_verification()|operator|t 17 2 * * 0|SELECT atp.run_verification('whole')|operator|t}, 'nightly, and whole on Sundays');
	sql(q{SET SESSION AUTHORIZATION operator; SELECT cron.schedule('atp verification', '* * * * *', 'SELECT atp.run_verification()')});
	ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM atp.list_verifications()'), 'a run comes by itself');
	$node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM cron.job_run_details WHERE status = 'succeeded'});
	is(sql(q{SELECT status FROM cron.job_run_details WHERE command ~ 'atp' ORDER BY runid LIMIT 1}), 'succeeded', 'pg_cron has run it');
	is(sql(q{SELECT ok, checked >= 500, scope FROM atp.list_verifications() LIMIT 1}), 't|t|incremental', 'and it has looked at every event');
	is(sql(q{SELECT payload ->> 'Scope', metadata ->> 'session_user' FROM atp.events WHERE event_type = 'HashChainValidated' LIMIT 1}), 'incremental|operator', 'HashChainValidated is recorded');
	is(doctor(), 'verification ok, verification_runs ok', 'the doctor is content');

	# a fault
	sql(q{SELECT count(*) FROM (SELECT atp.append_event('late-1', 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 5) i) x});
	sql('SELECT atp.tick(); SELECT atp.grow_trees()');
	sql(q{DO $$ DECLARE t regclass; BEGIN SELECT tableoid::regclass INTO t FROM atp_internal.event LIMIT 1; EXECUTE format('ALTER TABLE %s DISABLE TRIGGER guard', t);
		EXECUTE format('UPDATE %s SET payload = %L WHERE stream = (SELECT stream FROM atp_internal.stream WHERE name = %L) AND stream_version = 3', t, '{"n":9}', 'late-1');
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard', t); END $$});
	my $listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', 'LISTEN atp_alert', map { ('-c', 'SELECT pg_sleep(1)') } 1 .. 75 ], '>', \my $heard);
	ok($node->poll_query_until('postgres', 'SELECT count(*) > 0 FROM atp.list_verifications() WHERE NOT ok'), 'the next run finds the fault');
	sleep 2;
	$listener->pump_nb;
	like($heard, qr/notification "atp_alert".*verification.*hash does not match/, 'NOTIFY atp_alert');
	$listener->kill_kill;
	is(sql(q{SELECT string_agg(event_type || ' ' || stream, ', ' ORDER BY recorded_at) FROM atp.events WHERE event_type ~ 'Failed$' AND stream <> 'atp.Health-merge-delay'}),
		'HashChainValidationFailed atp.Verification-incremental, HealthCheckFailed atp.Health-verification', 'ValidationFailed and HealthCheckFailed are recorded');
	is(doctor(), 'verification error, verification_runs ok', 'the doctor tells it');
	sql(q{SET SESSION AUTHORIZATION operator; SELECT cron.unschedule(jobid) FROM cron.job});
	sql(q{DO $$ DECLARE t regclass; BEGIN SELECT tableoid::regclass INTO t FROM atp_internal.event LIMIT 1; EXECUTE format('ALTER TABLE %s DISABLE TRIGGER guard', t);
		EXECUTE format('UPDATE %s SET payload = %L WHERE stream = (SELECT stream FROM atp_internal.stream WHERE name = %L) AND stream_version = 3', t, '{"n":3}', 'late-1');
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER guard', t); END $$});
	is(sql(q{SELECT ok FROM atp.run_verification('whole')}), 't', 'put right, all is well');

	# pg_cron is there and does not come: seen after so many tenths of the time since the last run
	sleep 10;
	my $due = sub { sql(qq{SELECT atp_internal.due_verification(round(extract(epoch FROM clock_timestamp() - started_at) * $_[0])::int) FROM atp.list_verifications() LIMIT 1}) };
	is($due->(0.9), '', 'when a run is due the worker leaves it to pg_cron');
	is($due->(0.7), 'incremental', 'a quarter of the interval later it comes in');
}
sql(q{SELECT atp.run_verification('whole')});
days_later(8);
sql(q{SELECT atp.run_verification()});
is(doctor(), 'verification ok, verification_runs ok', 'eight days after the last whole run');
days_later(1);
sql(q{SELECT atp.run_verification()});
is(doctor(), 'verification ok, verification_runs error', 'nine days: missing');
like(sql(q{SELECT finding FROM atp_internal.check_verification() WHERE level = 'error'}), qr/none of everything within the last 9 days/, '... and the doctor says which');

# at start, by the worker
sql(q{SELECT atp.append_event('order-1', 'OrderPlaced')});
$node->append_conf('postgresql.conf', "atp.verification_interval = 86400\n");
my $runs = sql('SELECT count(*) FROM atp.list_verifications()');
$node->restart;
ok($node->poll_query_until('postgres', "SELECT count(*) > $runs FROM atp.list_verifications()"), 'after a start the worker has it verified');
$node->append_conf('postgresql.conf', "atp.verification_interval = 0\n");
$node->reload;

# a page that cannot be read
my $file = $node->data_dir . '/' . sql(q{SELECT pg_relation_filepath(tableoid) FROM atp_internal.event LIMIT 1});
$node->stop;
open my $fh, '+<:raw', $file or die "$file: $!";
seek $fh, 2 * 8192 + 5000, 0;
print $fh 'X' x 16;
close $fh;
$node->start;
is(sql(q{SELECT ok, fault FROM atp.run_verification('whole')}) =~ /^f\|.*invalid page in block 2/, 1, 'a page that cannot be read is a fault that is recorded');
is(sql(q{SELECT ok FROM atp.list_verifications() LIMIT 1}), 'f', '... in the list of runs');
is(sql(q{SELECT payload ->> 'Detail' ~ 'invalid page' FROM atp.read_stream('atp.Health-verification', direction => 'backward', max_count => 1)}), 't', '... and with an alarm');
is(doctor(), 'verification error, verification_runs ok', '... and by the doctor') or diag(sql('SELECT * FROM atp_internal.check_verification()'));
is(sql(q{SELECT ok FROM atp.run_verification()}), 't', 'an incremental run does not come by there');
is(doctor(), 'verification error, verification_runs ok', '... and does not make the doctor forget');
$node->stop;
done_testing();
