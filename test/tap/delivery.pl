# Delivery across a crash, a dump and a promotion: cursors go on where they were. New events are announced by the sequencer, due events
# are appended by the worker, and a snapshot held open does not make claims read more.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use JSON::PP;

my $node = PostgreSQL::Test::Cluster->new('delivery');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'");
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION atp');
$node->safe_psql('postgres', q{SELECT count(atp.append_event('order-' || i % 10, 'OrderPlaced', jsonb_build_object('n', i))) FROM generate_series(1, 100) i});

$node->poll_query_until('postgres', 'SELECT max(log_position) = 100 FROM atp_internal.log');

# One subscription in the middle of everything: acked, leased, failed, dead.
$node->safe_psql('postgres', q{SELECT atp.create_subscription('s', categories => '{order}', partitions => 1, max_attempts => 5, backoff => '{"initial": 3600, "maximum": 3600, "jitter": 0}')});
$node->safe_psql('postgres', q{SELECT atp.ack_events('s', lease) FROM (SELECT DISTINCT lease FROM atp.claim_events('s', 40)) l});
$node->safe_psql('postgres', q{CREATE TABLE leased AS SELECT * FROM atp.claim_events('s', 10)});
$node->safe_psql('postgres', q{SELECT atp.nack_event('s', lease, event_id, 'no', permanent => payload ->> 'n' = '42') FROM leased WHERE payload ->> 'n' IN ('41', '42')});
my $stands = q{SELECT string_agg(log_position::text, ' ' ORDER BY log_position) FROM atp.claim_events('s', 1000)};
my $rest = join(' ', 43 .. 50);
my $all = join(' ', grep { $_ % 10 != 1 } 43 .. 100);	# the stream of event 41 waits behind it
my $ended = q{UPDATE atp_internal.subscription_cursor SET lease_until = now() - interval '1 s'};

# kill -9 of everything
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', $stands), '', 'after a crash the lease still stands');
is($node->safe_psql('postgres', q{SELECT retries || ' ' || dead_letters || ' ' || in_flight FROM atp.subscription_status}), '1 1 8', 'failures outlive a crash');

# dump and restore
my $dump = $node->backup_dir . '/dump';
mkdir $node->backup_dir;
command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('postgres') ], 'dump');
my $other = PostgreSQL::Test::Cluster->new('delivery_restored');
$other->init;
$other->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'");
$other->start;
command_ok([ 'pg_restore', '-e', '--single-transaction', '-d', $other->connstr('postgres'), $dump ], 'restore');
$other->safe_psql('postgres', 'SELECT atp.resequence()');
is($other->safe_psql('postgres', $stands), '', 'restored: the lease still stands');
$other->safe_psql('postgres', $ended);
is($other->safe_psql('postgres', $stands), $all, 'restored: it goes on where it was');
my $new = $other->safe_psql('postgres', q{SELECT event_id FROM atp.append_event('order-2', 'OrderPlaced')});
$new = $other->safe_psql('postgres', "SELECT atp.wait_for_event('$new', '60 s')");
$other->safe_psql('postgres', q{SELECT atp.ack_events('s', lease) FROM atp_internal.subscription_cursor WHERE lease IS NOT NULL});
is($other->safe_psql('postgres', $stands), $new, 'restored: and with what is new');
is($other->safe_psql('postgres', q{SELECT count(*) FROM atp.replay_dead_letters()}), '1', 'restored: dead letters can be replayed');
$other->safe_psql('postgres', q{SELECT atp.create_subscription('fresh')});
is($other->safe_psql('postgres', q{SELECT count(*) FROM atp.subscriptions}), '2', 'restored: a new subscription gets a key of its own');
$other->stop;

# promotion
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('delivery_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->safe_psql('postgres', $ended);
my $last = $node->safe_psql('postgres', q{SELECT max(log_position) FROM (SELECT log_position FROM atp.claim_events('s', 5)) c});
$node->safe_psql('postgres', q{SELECT atp.ack_events('s', lease) FROM atp_internal.subscription_cursor WHERE lease IS NOT NULL});
$node->wait_for_catchup($standby);
$node->stop('immediate');
$standby->promote;
is( $standby->safe_psql('postgres', $stands), join(' ', grep { $_ % 10 != 1 && $_ > $last } 43 .. 100), 'promoted: it goes on where it was');

# announced once for many events, by the process that places them
my ($out, $err) = ('', '');
my $listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $standby->connstr('postgres'), '-f', '-' ], '<', \my $in, '>', \$out, '2>', \$err);
$in = "SELECT atp.create_subscription('news', categories => '{news}', start_at => 'end', notify => true);\nLISTEN atp_news;\n\\echo ready\n";
$listener->pump until $out =~ /ready/;
$standby->safe_psql('postgres', q{SELECT atp.append_event('other-1', 'NewsMade')});
$standby->safe_psql('postgres', q{SELECT count(atp.append_event('news-' || i, 'NewsMade')) FROM generate_series(1, 50) i});
$standby->poll_query_until('postgres', q{SELECT count(*) = 50 FROM atp_internal.log l JOIN atp_internal.stream s USING (stream) WHERE s.name LIKE 'news-%'});
for my $turn (1 .. 100)
{
	$in .= "SELECT pg_sleep(0.05);\n\\echo heard $turn\n";
	$listener->pump until $out =~ /heard $turn\n/;
	last if $out =~ /Asynchronous/;
}
my @heard = $out =~ /Asynchronous notification "atp_news"/g;
cmp_ok(scalar @heard, '>=', 1, 'new events are announced');
cmp_ok(scalar @heard, '<', 10, 'not one by one');
$in .= "\\q\n";
$listener->finish;

# due events are appended by the worker
$standby->safe_psql('postgres', q{SELECT atp.schedule_event(clock_timestamp() + interval '300 ms', 'due-1', 'ThingDone', '{"n": 1}')});
ok($standby->poll_query_until('postgres', q{SELECT count(*) = 1 FROM atp.events WHERE stream = 'due-1'}), 'a due event is appended by the worker');

# a snapshot held open
$standby->safe_psql('postgres', q{SELECT atp.create_subscription('held', partitions => 1)});
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $standby->connstr('postgres'), '-f', '-' ], '<', \my $hold, '>', \my $held, '2>', \$err);
$hold = "BEGIN ISOLATION LEVEL REPEATABLE READ;\nSELECT 'holding', count(*) FROM atp_internal.log;\n";
$holder->pump until defined $held && $held =~ /holding/;
sub buffers
{
	my $plan = decode_json($standby->safe_psql('postgres', q{EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM atp.claim_events('held', 1)}));
	$standby->safe_psql('postgres', q{SELECT atp.ack_events('held', lease) FROM atp_internal.subscription_cursor JOIN atp_internal.subscription USING (subscription) WHERE name = 'held' AND lease IS NOT NULL});
	return $plan->[0]{Plan}{'Shared Hit Blocks'} + $plan->[0]{Plan}{'Shared Read Blocks'};
}
my $before = buffers();
$standby->safe_psql('postgres', <<'S');
DO $$
DECLARE
	l uuid;
BEGIN
	FOR i IN 1 .. 2000 LOOP
		PERFORM atp.seek_subscription('held', 0);
		FOR k IN 1 .. 3 LOOP
			SELECT lease INTO l FROM atp.claim_events('held', 1, ack_lease => l);
			COMMIT;
		END LOOP;
		l := NULL;
	END LOOP;
END $$;
S
my $after = buffers();
note "buffers of a claim: $before, and $after after 8,000 versions that cannot be pruned";
cmp_ok($after, '<=', $before + 60, 'a snapshot held open does not make claims read more');
$hold .= "COMMIT;\n\\q\n";
$holder->finish;
$standby->stop;
done_testing();
