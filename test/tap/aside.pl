# The process that grows the trees and makes checkpoints, apart from the worker: its start, its ends, and who does its work where it cannot be had.
use strict;
use warnings;

use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $node = PostgreSQL::Test::Cluster->new('aside');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
max_worker_processes = 8
max_parallel_workers = 0
autovacuum = off
atp.worker_idle_timeout = 1
atp.checkpoint_interval = 1
atp.verification_interval = 0
restart_after_crash = on
CONF
$node->append_conf('postgresql.conf', 'fsync = off') unless $ENV{ATP_LONG};
$node->start;

sub pid_of { my ($type, $db) = @_; return $node->safe_psql($db // 'postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type = '$type' AND datname = current_database()"); }
sub append { my ($db, $number) = @_; return $node->safe_psql($db // 'postgres', 'SELECT count(atp.append_event(\'aside-\' || i % 7, \'AsideTested\')) FROM generate_series(1, ' . ($number // 1) . ') i'); }

# Nobody but the process, or the worker in its place, can have done it: the query asks atp for nothing.
my $undone = q{SELECT (SELECT count(*) FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)),
	(SELECT count(*) FROM atp_internal.log l WHERE l.log_position > coalesce((SELECT log_position FROM atp_internal.leaf_state), 0)),
	(SELECT count(*) FROM atp_internal.tree r WHERE r.tenant <> 0 AND r.size > coalesce((SELECT max(h.size) FROM atp_internal.tenant_head h WHERE h.tenant = r.tenant), 0))};
sub done { my ($what, $db) = @_; return ok($node->poll_query_until($db // 'postgres', $undone, '0|0|0'), $what); }
sub whole
{
	my ($what) = @_;
	return is($node->safe_psql('postgres', q{SELECT (SELECT sum(size) FROM atp.list_trees()) = (SELECT max(log_position) FROM atp_internal.log), ok FROM atp.verify_trees()}),
		't|t', "$what: every row of the log is a leaf, once, and the trees verify");
}
my $gone = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'atp %' AND datname = current_database()};
my $doctor = q{SELECT level || ': ' || finding FROM atp.doctor() WHERE check_name = 'trees_process'};

$node->safe_psql('postgres', 'CREATE EXTENSION atp');
like($node->safe_psql('postgres', $doctor), qr/^ok: No process/, 'before the first event there is none, and that is well');
append();
done('an event becomes a leaf, and its tree part of a checkpoint');
my ($worker, $trees) = (pid_of('atp worker'), pid_of('atp trees'));
ok($trees && $worker && $trees != $worker, 'by a process that is not the worker');
is($node->safe_psql('postgres', $doctor), "ok: Process $trees grows the trees and makes checkpoints.", 'the doctor names it');
is($node->safe_psql('postgres', 'SELECT worker_alive, worker_pid FROM atp.sequencer_status'), "t|$worker", 'and the status the worker');
ok($node->poll_query_until('postgres', $gone, '0'), 'idle, both leave');

# Ended.
append(undef, 20);
ok($node->poll_query_until('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'atp trees'}, '1'), 'the next event brings it back');
$trees = pid_of('atp trees');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($trees)") if $trees;
append();
done('terminated, it is started again');
isnt(pid_of('atp trees'), $trees, '... another one');
whole('terminated');

my $script = PostgreSQL::Test::Utils::tempdir() . '/append.pgbench';
append_to_file($script, "SELECT atp.append_event('aside-' || (random() * 100)::int, 'AsideTested');\n");
sub load { my ($seconds) = @_; return IPC::Run::start([ 'pgbench', '-n', '-c', 4, '-T', $seconds, '-f', $script, '-h', $node->host, '-p', $node->port, 'postgres' ], '>', \my $out, '2>', \my $err); }
my $load = load(4);
for (1 .. 6)
{
	sleep 0.5;
	my $pid = pid_of('atp trees');
	$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)") if $pid;
}
$load->finish;
done('terminated again and again under load, it catches up');
whole('under load');

$load = load(3);
$node->poll_query_until('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'atp trees'}, '1') or die 'no process';
sleep 1;
kill 'KILL', pid_of('atp trees') || die 'no process';
$load->finish;
sleep 1;
$node->poll_query_until('postgres', 'SELECT true', 't') or die 'no recovery';
append();
done('killed, it takes the server along, which comes back with it');
whole('killed');

# An error of its own holds nobody up: here the state is held by a session. The sequencer goes on.
my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN');
$holder->query_safe('SELECT atp.grow_trees()');
append();
ok($node->poll_query_until('postgres', q{SELECT count(*) FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)}, '0'),
	'while a session holds the trees, the log goes on');
$holder->query_safe('COMMIT');
$holder->quit;
done('... and the trees follow');

# In nobody's way. A database of its own each, with work to do.
sub database
{
	my ($rows) = @_;
	$node->safe_psql('postgres', 'CREATE DATABASE other');
	$node->safe_psql('other', 'CREATE EXTENSION atp');
	append('other', $rows);
	return $node->poll_query_until('other', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'atp trees' AND datname = 'other'}, '1');
}
ok(database(50_000), 'it works in another database');
my $begin = time;
$node->safe_psql('postgres', 'CREATE DATABASE twin TEMPLATE other');
cmp_ok(time - $begin, '<', 8, 'CREATE DATABASE ... TEMPLATE is not held up for long');
append('twin');
done('and the copy has trees of its own', 'twin');
$node->safe_psql('postgres', 'DROP DATABASE twin');
append('other', 20_000);
$begin = time;
$node->safe_psql('postgres', 'DROP DATABASE other');
cmp_ok(time - $begin, '<', 5, 'nor DROP DATABASE');
ok(database(20_000), 'again');
$node->safe_psql('other', 'SET atp.allow_drop = on; DROP EXTENSION atp CASCADE');
ok($node->poll_query_until('other', $gone, '0'), 'both leave when the extension is dropped while they work');
$node->safe_psql('other', 'CREATE EXTENSION atp');
append('other', 10);
done('and serve the one that is created again', 'other');
$node->safe_psql('postgres', 'DROP DATABASE other');

# One slot: the worker has it, and does the work itself. Another slot: a process takes over.
$node->append_conf('postgresql.conf', "max_worker_processes = 1\nmax_logical_replication_workers = 0");
$node->restart;
append(undef, 3000);
done('without a slot the worker does the work itself');
is(pid_of('atp trees'), '', 'there is no other process');
whole('without a slot');
append();
ok($node->poll_query_until('postgres', q{SELECT active AND pid IS NULL FROM atp_internal.aside_status()}), 'the worker says that it does');
my $long = $node->background_psql('postgres');
$long->query_safe('BEGIN');
$long->query_safe('SELECT atp.grow_trees()');
append();
sleep 1;
like($node->safe_psql('postgres', $doctor), qr/^note: The background worker itself/, 'the doctor says so');
$long->query_safe('COMMIT');
$long->quit;
$node->append_conf('postgresql.conf', "max_worker_processes = 8\natp.worker_enabled = off");
$node->restart;
append();
sleep 1.5;
is($node->safe_psql('postgres', $gone), '0', 'atp.worker_enabled = off means neither');
cmp_ok($node->safe_psql('postgres', q{SELECT atp.tick() + atp.grow_trees()}), '>', 0, 'then they grow on demand');

$node->stop;
done_testing();
