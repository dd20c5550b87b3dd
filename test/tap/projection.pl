# A transaction left open for long keeps every version of a stream's row in its projection: what a tick costs stays flat all the same.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('projection');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'atp'\natp.worker_enabled = off\nfsync = off\nautovacuum = off\nmax_prepared_transactions = 2");
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION atp; CREATE TABLE held (n int); SELECT atp.append_event('Hot-1', 'ThingHeld'); SELECT atp.tick()");
$node->safe_psql('postgres', "BEGIN; INSERT INTO held VALUES (1); PREPARE TRANSACTION 'left open'");

# Pages that a tick of one event visits, after so many ticks in the same backend.
my $visit = q{SELECT count(atp.append_event('Hot-1', 'ThingHeld')); EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF) SELECT atp.tick();};
my $answer = $node->safe_psql('postgres', $visit x 3000);
my @pages = $answer =~ /Buffers: shared hit=(\d+)/g;
cmp_ok(scalar @pages, '>=', 3000, 'ticks were measured');
my ($first, $last) = (0, 0);
$first += $_ for @pages[1000 .. 1049];
$last += $_ for @pages[-50 .. -1];
cmp_ok($last, '<', 1.2 * $first, 'a tick visits no more pages after 3,000 ticks than after 1,000') or diag("$first, then $last for 50");

# The hint is one: after a roll-back, a rebuild and another backend's tick the row is found all the same.
$node->safe_psql('postgres', q{
	SELECT atp.append_event('Hot-1', 'ThingHeld');
	BEGIN; SELECT atp.tick(); ROLLBACK;
	SELECT atp.tick();
	SELECT atp.append_event('Hot-1', 'ThingHeld');
	SELECT atp.rebuild_projection('event_stream_projection');
	SELECT atp.tick()});
is( $node->safe_psql('postgres', q{SELECT event_count = version, version = (SELECT version FROM atp.streams WHERE stream = 'Hot-1')
		FROM atp.event_stream_projection WHERE stream = 'Hot-1'}), 't|t', 'the row counts every event once');
$node->safe_psql('postgres', "COMMIT PREPARED 'left open'");
$node->stop;
done_testing();
