# Release gate 1: 24 clients, transactions over two streams that take their transaction id early, 15 % rolled back (a third of those
# to a savepoint only), some prepared, one writer left open. Every committed event gets one position, without gaps, streams keep their
# order, and nothing stalls behind the open writer. ATP_LONG=1: for a minute.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

use constant CLIENTS => 24;
my $seconds = $ENV{ATP_LONG} ? 60 : 4;

my $node = PostgreSQL::Test::Cluster->new('gate1');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'atp'
max_connections = 60
max_prepared_transactions = 40
log_statement = none
shared_buffers = 128MB
atp.sequencer_slice_size = 500
CONF
$node->append_conf('postgresql.conf', 'fsync = off') unless $ENV{ATP_LONG};
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', q{SELECT atp.append_event('load-' || n, 'LoadAdded') FROM generate_series(1, 100) n});

my $dir = PostgreSQL::Test::Utils::tempdir();
append_to_file("$dir/two.pgbench", <<'SQL');
\set a random(1, 100)
\set b random(1, 100)
\set low least(:a, :b)
\set high greatest(:a, :b)
\set fate random(1, 100)
\set pause random(0, 3000)
BEGIN;
SELECT pg_current_xact_id();
\sleep :pause us
SELECT atp.append_event('load-' || :low, 'LoadAdded', '{"n": 1}');
\if :fate <= 5
SAVEPOINT s;
SELECT atp.append_event('load-' || :high, 'LoadAdded', '{"n": 2}');
ROLLBACK TO s;
\endif
SELECT atp.append_event('load-' || :high, 'LoadAdded', '{"n": 3}');
\if :fate <= 15 and :fate > 5
ROLLBACK;
\elif :fate = 16
PREPARE TRANSACTION 'load-:client_id';
COMMIT PREPARED 'load-:client_id';
\else
COMMIT;
\endif
SQL
append_to_file("$dir/batch.pgbench", "SELECT count(*) FROM (SELECT atp.append_event('batch-' || :client_id, 'LoadAdded') FROM generate_series(1, 1200)) b;\n");

my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe(q{SELECT atp.append_event('open-1', 'LoadAdded')});

my $out = '';
my $load = IPC::Run::start(
	[ 'pgbench', '-n', '-c', CLIENTS, '-j', 2, '-T', $seconds, '-f', "$dir/two.pgbench\@1000", '-f', "$dir/batch.pgbench\@1",
		'-h', $node->host, '-p', $node->port, '-U', $node->safe_psql('postgres', 'SELECT current_user'), 'postgres' ],
	'>', \$out, '2>&1');

# While it runs: the log follows, one writer open or not.
my @head;
my $until = time + $seconds - 1;
while (time < $until)
{
	push @head, $node->safe_psql('postgres', 'SELECT head FROM atp.sequencer_status');
	sleep 0.5;
}
$load->finish;
my ($done) = $out =~ /number of transactions actually processed: (\d+)/;
like($out, qr/number of failed transactions: 0/, "no transaction of the load failed ($done done)");
cmp_ok($head[-1], '>', $head[0] + 10, 'the log moves on while a writer is open');

my $unplaced = q{SELECT count(*) FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)};
my $begin = time;
ok($node->poll_query_until('postgres', $unplaced, '0'), 'every committed event is placed while a writer is open');
my $drain = time - $begin;
cmp_ok($drain, '<', $ENV{ATP_LONG} ? 15 : 5, sprintf('within %.1f s of the end of the load', $drain));
my $before = $node->safe_psql('postgres', 'SELECT head FROM atp.sequencer_status');
$writer->query_safe('COMMIT');
$writer->quit;
ok($node->poll_query_until('postgres', 'SELECT head FROM atp.sequencer_status', $before + 1), 'and the open one when it commits');

is($node->safe_psql('postgres', q{SELECT count(*) = max(log_position), min(log_position) = 1, count(DISTINCT event_id) = count(*),
	count(*) = (SELECT count(*) FROM atp_internal.event), count(*) FILTER (WHERE tick LIKE '%/%') > 0 FROM atp_internal.log}),
	't|t|t|t|t', 'the log is dense, each event has one position, and some windows took several slices');
is($node->safe_psql('postgres', q{SELECT count(*) FROM (
	SELECT e.stream_version - lag(e.stream_version, 1, 0::bigint) OVER (PARTITION BY e.stream ORDER BY l.log_position) AS step
	FROM atp_internal.log l JOIN atp_internal.event e USING (event_id)) s WHERE step <> 1}), '0', 'streams keep their order');
is($node->safe_psql('postgres', 'SELECT ok, fault FROM atp.verify_all()'), 't|', 'everything verifies');

$node->stop;
done_testing();
