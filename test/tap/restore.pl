# Release gate 4: pg_dump -Fc | pg_restore -e --single-transaction into a younger cluster, whose transaction ids are behind those of the
# events. The restored log reads and verifies, ticks are refused until atp.resequence() has run, then all goes on. And: a restore
# beside the original, a copied database, triggers on the log at a restore.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "log_statement = none\nfsync = off\nmax_prepared_transactions = 5\natp.guard = off\n";
my $old = PostgreSQL::Test::Cluster->new('old');
$old->init;
$old->append_conf('postgresql.conf', $conf);
$old->start;

my $unplaced = q{SELECT count(*) FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)};
my $dense = q{SELECT count(*) = max(log_position), min(log_position) = 1, count(DISTINCT event_id) = count(*),
	count(*) = (SELECT count(*) FROM atp_internal.event) FROM atp_internal.log};
my $order = q{SELECT count(*) FROM (
	SELECT e.stream_version - lag(e.stream_version, 1, 0::bigint) OVER (PARTITION BY e.stream ORDER BY l.log_position) AS step
	FROM atp_internal.log l JOIN atp_internal.event e USING (event_id)) s WHERE step <> 1};
my $digest = q{SELECT count(*), md5(string_agg(l::text, ',' ORDER BY l.log_position)) FROM
	(SELECT log_position, event_id, stream, stream_version, payload::text FROM atp.read_log(0, NULL)) l};

# The projections, as far as the events that are placed already go.
my $projected = q{SELECT (SELECT md5(string_agg(p::text, ',' ORDER BY log_position)) FROM atp_internal.audit_event_projection p),
	(SELECT md5(string_agg(p::text, ',' ORDER BY stream, tenant)) FROM atp_internal.event_stream_projection p),
	(SELECT count(*) FROM atp_internal.audit_event_projection) = (SELECT count(*) FROM atp_internal.log)};

# A trigger as read models have it: it counts what ticks place, and must do nothing at a restore, which brings its table along.
my $trigger = <<'SQL';
CREATE TRIGGER count_placed AFTER INSERT ON atp_internal.log REFERENCING NEW TABLE AS placed FOR EACH STATEMENT EXECUTE FUNCTION count_placed();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER count_placed;
SQL
my $reader = <<'SQL' . $trigger;
CREATE EXTENSION atp;
CREATE TABLE placed_events (events bigint);
GRANT ALL ON placed_events TO atp_owner;
CREATE FUNCTION count_placed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF atp_internal.sequencer_is_placing() THEN
		INSERT INTO public.placed_events SELECT count(*) FROM placed;
	END IF;
	RETURN NULL;
END $$;
GRANT EXECUTE ON FUNCTION count_placed() TO atp_owner;
SQL
$old->safe_psql('postgres', $reader);
$old->safe_psql('postgres', 'SELECT pg_current_xact_id();' x 3000);
$old->safe_psql('postgres', q{SELECT atp.append_event('restored-' || n % 7, 'LoadAdded', jsonb_build_object('n', n)) FROM generate_series(1, 500) n});
ok($old->poll_query_until('postgres', $unplaced, '0'), 'events of the old cluster are placed');
my $read = $old->safe_psql('postgres', $digest);
my $head = $old->safe_psql('postgres', 'SELECT head FROM atp.sequencer_status');
is($old->safe_psql('postgres', 'SELECT sum(events) FROM placed_events'), $head, 'a trigger on the log sees every event once');

# Some more that are not placed when the dump is taken.
$old->append_conf('postgresql.conf', 'atp.worker_enabled = off');
$old->restart;
$old->safe_psql('postgres', q{SELECT atp.append_event('restored-' || n % 7, 'LoadAdded', jsonb_build_object('n', n)) FROM generate_series(501, 600) n});
is($old->safe_psql('postgres', $unplaced), '100', 'some are waiting');
my $projections = $old->safe_psql('postgres', $projected);
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$old->command_ok([ 'pg_dump', '-Fc', '-f', $dump, '-d', $old->connstr('postgres') ], 'pg_dump -Fc');

sub check_restored
{
	my ($node, $db, $what) = @_;
	my ($ret, $out, $err);

	is($node->safe_psql($db, $digest), $read, "$what: the log reads as before");
	is($node->safe_psql($db, $projected), $projections, "$what: the projections are as before");
	$node->safe_psql($db, $trigger);	# an own trigger on a table of the extension is not part of a dump
	($ret, $out, $err) = $node->psql($db, '\set VERBOSITY verbose' . "\nSELECT atp.tick()");
	like($err, qr/TP110: +the log cannot be continued/, "$what: ticks are refused");
	like($node->safe_psql($db, 'SELECT fault FROM atp.sequencer_status'), qr/restored from a dump/, "$what: the status says why");
	is($node->safe_psql($db, q{SELECT stream_version FROM atp.append_event('restored-new', 'LoadAdded')}), '1', "$what: an append works");
	is($node->safe_psql($db, 'SELECT count(*) > 0 FROM atp.read_log()'), 't', "$what: a reader is not refused");
	# and what the platform has put on record meanwhile
	cmp_ok($node->safe_psql($db, 'SELECT atp.resequence()'), '>=', 101, "$what: atp.resequence() places what had no position");
	ok($node->poll_query_until($db, $unplaced, '0'), "$what: all of it");
	is($node->safe_psql($db, "$digest WHERE log_position <= $head"), $read, "$what: what was placed stays");
	my $event = $node->safe_psql($db, q{SELECT event_id FROM atp.append_event('restored-1', 'LoadAdded')});
	cmp_ok($node->safe_psql($db, "SELECT atp.wait_for_event('$event', '20 seconds')"), '>', 600, "$what: and the log goes on");
	is($node->safe_psql($db, $unplaced), '0', "$what: everything is placed");
	is($node->safe_psql($db, $dense), 't|t|t|t', "$what: the log is dense");
	is($node->safe_psql($db, $order), '0', "$what: streams keep their order");
	is($node->safe_psql($db, 'SELECT sum(events) = (SELECT count(*) FROM atp_internal.log) FROM placed_events'), 't', "$what: triggers run again");
	is($node->safe_psql($db, 'SELECT ok, fault FROM atp.verify_all()'), 't|', "$what: everything verifies");
	my $fed = $node->safe_psql($db, $projected);
	like($fed, qr/t$/, "$what: the projections have all of it");
	$node->safe_psql($db, q{SELECT atp.rebuild_projection('audit_event_projection'); SELECT atp.rebuild_projection('event_stream_projection')});
	is($node->safe_psql($db, $projected), $fed, "$what: and rebuilt they are the same");
}

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', $conf);
$new->start;
cmp_ok($new->safe_psql('postgres', 'SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint'), '<', 2000, 'the new cluster is younger');
$new->command_ok([ 'pg_restore', '-e', '--single-transaction', '-d', $new->connstr('postgres'), $dump ], 'pg_restore -e --single-transaction');
check_restored($new, 'postgres', 'younger cluster');

# Transaction ids that come to pass the foreign ones find nothing there to place a second time.
$new->safe_psql('postgres', 'SELECT pg_current_xact_id();' x 4000);
my $event = $new->safe_psql('postgres', q{SELECT event_id FROM atp.append_event('restored-1', 'LoadAdded')});
cmp_ok($new->safe_psql('postgres', "SELECT atp.wait_for_event('$event', '20 seconds')"), '>', 0, 'past the ids of the old cluster');
is($new->safe_psql('postgres', $dense), 't|t|t|t', 'the log is still dense');

# Beside the original in its own cluster.
$old->append_conf('postgresql.conf', 'atp.worker_enabled = on');
$old->reload;
$old->safe_psql('postgres', 'CREATE DATABASE beside');
$old->command_ok([ 'pg_restore', '-e', '--single-transaction', '-d', $old->connstr('beside'), $dump ], 'pg_restore into the same cluster');
check_restored($old, 'beside', 'same cluster');

# A trigger that is there while the rows of a dump come, as the extension's own are, does nothing.
$new->safe_psql('postgres', 'CREATE DATABASE loaded');
$new->safe_psql('loaded', $reader);
$new->safe_psql('loaded', "COPY atp_internal.log (log_position, event_id, stream, published_at, tenant, event_type) FROM STDIN;\n" .
	"1\t00000000-0000-0000-0000-000000000001\t1\t2026-01-01\t1\t1\n\\.\n");
is($new->safe_psql('loaded', 'SELECT count(*) FROM placed_events'), '0', 'a trigger on the log does nothing while a dump is loaded');

# A copied database is as good as the original: its snapshots are its cluster's.
$new->safe_psql('postgres', 'CREATE DATABASE copy_source TEMPLATE template1');
$new->safe_psql('copy_source', q{CREATE EXTENSION atp; SELECT atp.append_event('copied-1', 'LoadAdded')});
ok($new->poll_query_until('copy_source', $unplaced, '0'), 'placed in the template');
ok($new->poll_query_until('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE datname = 'copy_source' AND backend_type = 'client backend'}, '0'), 'nobody is in it');
$new->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE copy_source');
$event = $new->safe_psql('copied', q{SELECT event_id FROM atp.append_event('copied-1', 'LoadAdded')});
is($new->safe_psql('copied', "SELECT atp.wait_for_event('$event', '20 seconds')"), '2', 'a copied database goes on by itself');

$old->stop;
$new->stop;
done_testing();
