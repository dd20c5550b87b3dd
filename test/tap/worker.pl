# The worker's life: started by the first append or at boot, woken by commits, gone when idle and never while a commit counts on it,
# out of the way of DROP DATABASE, replaced by its readers where there is no slot for it.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = PostgreSQL::Test::Cluster->new('worker');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
max_prepared_transactions = 5
max_worker_processes = 8
autovacuum = off
atp.worker_idle_timeout = 1
CONF
$node->append_conf('postgresql.conf', 'fsync = off') unless $ENV{ATP_LONG};
$node->start;

my $alive = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'atp worker' AND datname = current_database()};
my $unplaced = q{SELECT count(*) FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)};

sub append
{
	my ($db, $stream) = @_;
	return $node->safe_psql($db, "SELECT event_id FROM atp.append_event('$stream', 'WorkerTested')");
}

# Waits without a transaction id and without asking atp for anything, so that nobody but the worker can have done it.
sub placed
{
	my ($db, $what) = @_;
	ok($node->poll_query_until($db, $unplaced, '0'), $what);
}

# No preload: the first append starts it, an idle one leaves, the next append starts another.
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
is($node->safe_psql('postgres', $alive), '0', 'no worker before the first append');
append('postgres', 'worker-1');
placed('postgres', 'the first append starts a worker, which places it');
is($node->safe_psql('postgres', $alive), '1', 'one worker');
is($node->safe_psql('postgres', 'SELECT worker_alive AND NOT worker_preloaded AND worker_pid IS NOT NULL FROM atp.sequencer_status'),
	't', 'the status says so');
ok($node->poll_query_until('postgres', $alive, '0'), 'an idle worker leaves');
append('postgres', 'worker-1');
placed('postgres', 'the next append starts another');

# It does not leave while a transaction that has counted on it is open, or prepared.
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe(q{SELECT atp.append_event('worker-2', 'WorkerTested')});
$node->safe_psql('postgres', q{BEGIN; SELECT atp.append_event('worker-3', 'WorkerTested'); PREPARE TRANSACTION 'worker'});
sleep 4;
is($node->safe_psql('postgres', $alive), '1', 'the worker stays for writers');
$writer->query_safe('COMMIT');
$writer->quit;
placed('postgres', 'a transaction open for longer than the idle timeout is placed');
sleep 4;
$node->safe_psql('postgres', q{COMMIT PREPARED 'worker'});
placed('postgres', 'a transaction prepared for longer than the idle timeout is placed');

# One NOTIFY per tick, by the worker.
my $listener = $node->background_psql('postgres');
$listener->query_safe('LISTEN atp');
my $event = append('postgres', 'worker-1');
my $position = $node->safe_psql('postgres', "SELECT atp.wait_for_event('$event')");
my $heard = '';
for (1 .. 50) { last if ($heard .= $listener->query('SELECT 1')) =~ /notification/; sleep 0.1; }
like($heard, qr/Asynchronous notification "atp" with payload "$position" received/, 'a listener hears the head position');
$listener->quit;

# Terminated: a successor serves at once.
my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'atp worker'});
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', qq{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'atp worker' AND pid <> $pid}, '1'),
	'a terminated worker starts its successor');
append('postgres', 'worker-1');
placed('postgres', 'which places events');

# An error is logged once, and the work goes on when its cause is gone.
my $system = $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()');
my $offset = -s $node->logfile;
$node->safe_psql('postgres', 'UPDATE atp_internal.sequencer SET system_identifier = 1');
append('postgres', 'worker-1') for 1 .. 5;
$node->wait_for_log(qr/ERROR:.*cannot be continued/, $offset);
sleep 2.5;
my @errors = slurp_file($node->logfile, $offset) =~ /ERROR:.*cannot be continued/g;
is(scalar(@errors), 1, 'an error that repeats itself is logged once');
$node->safe_psql('postgres', "UPDATE atp_internal.sequencer SET system_identifier = $system");
placed('postgres', 'the worker goes on when the cause is gone');

# DROP DATABASE, DROP EXTENSION.
$node->safe_psql('postgres', 'CREATE DATABASE dropped');
$node->safe_psql('dropped', 'CREATE EXTENSION atp');
append('dropped', 'worker-1');
placed('dropped', 'another database has its own worker');
my $begin = time;
$node->safe_psql('postgres', 'DROP DATABASE dropped');
cmp_ok(time - $begin, '<', 5, 'DROP DATABASE is not held up for long by a worker');
$node->safe_psql('postgres', 'CREATE DATABASE dropped');
$node->safe_psql('dropped', 'CREATE EXTENSION atp');
append('dropped', 'worker-1');
$node->safe_psql('dropped', <<'SQL');
CREATE FUNCTION nothing(jsonb) RETURNS void LANGUAGE sql AS '';
SELECT atp.create_subscription('handled', start_at => 'beginning'), atp.create_handler('nothing', 'handled', 'nothing(jsonb)');
SQL
append('dropped', 'worker-1');
ok($node->poll_query_until('dropped', "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'atp handlers'"), 'a runner of handlers is there');
$begin = time;
$node->safe_psql('postgres', 'DROP DATABASE dropped');
cmp_ok(time - $begin, '<', 5, 'nor by a runner of handlers');
$node->safe_psql('postgres', 'CREATE DATABASE dropped');
$node->safe_psql('dropped', 'CREATE EXTENSION atp');
append('dropped', 'worker-1');
$node->safe_psql('postgres', 'DROP DATABASE dropped WITH (FORCE)');
ok(1, 'DROP DATABASE WITH (FORCE) works at once');
append('postgres', 'worker-1');
$node->safe_psql('postgres', 'SET atp.allow_drop = on; DROP EXTENSION atp CASCADE');
ok($node->poll_query_until('postgres', $alive, '0'), 'the worker leaves when the extension is dropped');
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
append('postgres', 'worker-1');
placed('postgres', 'and serves the extension that is created again');

# Appends do not outrun it for ever: here a trigger makes every tick of at most fifty events take long.
$node->append_conf('postgresql.conf', "atp.guard = off\natp.sequencer_slice_size = 50\natp.worker_max_lag = 200");
$node->restart;
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.02); RETURN NULL; END';
GRANT EXECUTE ON FUNCTION slow() TO atp_owner;
CREATE TRIGGER slow AFTER INSERT ON atp_internal.log FOR EACH STATEMENT EXECUTE FUNCTION slow();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER slow;
SQL
my $script = PostgreSQL::Test::Utils::tempdir() . '/append.pgbench';
append_to_file($script, "SELECT atp.append_event('slow-' || :client_id, 'WorkerTested');\n");
my $load = '';
my $pgbench = IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', 7, '-P', 1, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ],
	'>', \$load, '2>&1');
ok($node->poll_query_until('postgres', 'SELECT behind FROM atp.sequencer_status'), 'a log that falls behind says so');
$pgbench->finish;
my @rate = sort { $a <=> $b } $load =~ /progress: .* s, ([\d.]+) tps/g;
cmp_ok($rate[0], '<', $rate[-1] / 2, "and slows appends down (from $rate[-1] a second to $rate[0])");
# A worker that fails while it is behind lets appends go: nothing that they wait for would come.
$node->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.02);
	IF (SELECT behind FROM atp_internal.worker_status()) THEN RAISE EXCEPTION USING MESSAGE = ''failed while behind''; END IF; RETURN NULL; END';
	GRANT EXECUTE ON FUNCTION atp_internal.worker_status() TO atp_owner});
$offset = -s $node->logfile;
for (1 .. 100)
{
	$node->safe_psql('postgres', q{SELECT count(atp.append_event('slow-1', 'WorkerTested')) FROM generate_series(1, 1000)});
	last if slurp_file($node->logfile, $offset) =~ /ERROR:.*failed while behind/;
}
ok($node->poll_query_until('postgres', 'SELECT NOT behind FROM atp.sequencer_status'), 'a worker that fails does not slow appends down');
$node->safe_psql('postgres', 'DROP TRIGGER slow ON atp_internal.log');
placed('postgres', 'it catches up');
$node->safe_psql('postgres', q{SELECT atp.append_event('slow-1', 'WorkerTested')});
ok($node->poll_query_until('postgres', 'SELECT NOT behind FROM atp.sequencer_status'), 'and lets them go');

# No slot: readers place events, but never in a transaction block, where they might hold the log up.
$node->append_conf('postgresql.conf', "max_worker_processes = 0\nmax_logical_replication_workers = 0\nmax_parallel_workers = 0");
$node->restart;
$event = append('postgres', 'worker-1');
cmp_ok($node->safe_psql('postgres', "SELECT atp.wait_for_event('$event')"), '>', 0, 'without a slot, who waits for an event places it');
append('postgres', 'worker-1');
$node->safe_psql('postgres', 'BEGIN; SELECT count(*) FROM atp.read_log(); SELECT count(*) FROM atp.read_log(); COMMIT');
is($node->safe_psql('postgres', $unplaced), '1', 'not in a transaction block');
$node->safe_psql('postgres', 'SELECT count(*) FROM atp.read_log()');
is($node->safe_psql('postgres', $unplaced), '0', 'who reads the log places events for its next read');
is($node->safe_psql('postgres', 'SELECT worker_alive FROM atp.sequencer_status'), 'f', 'the status shows that there is no worker');

# Preloaded: starts at boot, and places what was left over.
$node->append_conf('postgresql.conf', "max_worker_processes = 8\nshared_preload_libraries = 'atp'\natp.worker_enabled = off");
$node->restart;
append('postgres', 'worker-1');
sleep 1.5;
is($node->safe_psql('postgres', $alive), '0', 'atp.worker_enabled = off means none');
$node->append_conf('postgresql.conf', 'atp.worker_enabled = on');
$node->stop('immediate');
$node->start;
placed('postgres', 'a preloaded library starts a worker at boot, which places what a crash left');
is($node->safe_psql('postgres', 'SELECT ok FROM atp.verify_all()'), 't', 'everything verifies') if $node->safe_psql('postgres',
	q{SELECT count(*) FROM pg_proc WHERE proname = 'verify_all'});
ok($node->poll_query_until('postgres', $alive, '0'), 'and leaves when idle');

$node->stop;
done_testing();
