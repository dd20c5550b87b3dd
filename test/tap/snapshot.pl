# Release gate 6: a snapshot held open keeps every dead row. The sequencer makes none: ticks and reads cost the same after thousands of
# ticks. Measured in buffers touched, which do not depend on how busy the machine is.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $ticks = $ENV{ATP_LONG} ? 20000 : 1500;
my $node = PostgreSQL::Test::Cluster->new('snapshot');
$node->init;
$node->append_conf('postgresql.conf', "fsync = off\nlog_statement = none\nautovacuum = off\natp.worker_enabled = off\nshared_buffers = 128MB");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', q{SELECT atp.append_event('held-1', 'LoadAdded')});
$node->safe_psql('postgres', 'SELECT atp.tick()');

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$holder->query_safe('SELECT count(*) FROM atp_internal.log');

# Shared buffers that a statement touches, in a session that has warmed its caches.
sub buffers
{
	my ($sql) = @_;
	my $plan = $node->safe_psql('postgres', "$sql;\n$sql;\nEXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF) $sql");
	my ($hit) = $plan =~ /Buffers: shared hit=(\d+)/;
	return $hit // 0;
}

# One event and one tick in each transaction.
sub run_ticks
{
	my ($count) = @_;
	$node->safe_psql('postgres', join '', map { "SELECT FROM atp.append_event('held-" . ($_ % 500) . "', 'LoadAdded');\nSELECT atp.tick();\n" } 1 .. $count);
}

run_ticks(50);
my $tick = buffers('SELECT atp.tick()');
my $read = buffers('SELECT count(*) FROM atp.read_log((SELECT head - 10 FROM atp.sequencer_status), 10)');
run_ticks($ticks);
my $tick_after = buffers('SELECT atp.tick()');
my $read_after = buffers('SELECT count(*) FROM atp.read_log((SELECT head - 10 FROM atp.sequencer_status), 10)');
my $head = $node->safe_psql('postgres', 'SELECT head FROM atp.sequencer_status');
cmp_ok($head, '>', $ticks, "$head events placed while a snapshot was held");
cmp_ok($tick, '>', 0, "a tick touches $tick buffers at first");
cmp_ok($tick_after, '<=', $tick + 6, "and $tick_after after $ticks ticks");
cmp_ok($read_after, '<=', $read + 40, "a read of ten events $read at first, $read_after after");
$node->safe_psql('postgres', 'SELECT pg_stat_force_next_flush()');
is($node->safe_psql('postgres', q{SELECT sum(n_tup_upd + n_tup_del + n_dead_tup) FROM pg_stat_all_tables
	WHERE relid IN ('atp_internal.log'::regclass, 'atp_internal.sequencer'::regclass)}), '0', 'no dead row in the tables of the sequencer');
note('dead rows of the stream heads, which every append updates: ' .
	$node->safe_psql('postgres', q{SELECT n_dead_tup FROM pg_stat_all_tables WHERE relid = 'atp_internal.stream'::regclass}));
$holder->query_safe('COMMIT');
$holder->quit;
$node->stop;
done_testing();
