# Release gate 5: the log on a streaming replica. Positions are data: it reads them, and waits for an event, but never places any. Promoted, it
# goes on where the primary stopped.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\nfsync = off\nlog_statement = none\nhot_standby_feedback = on");
$primary->start;
$primary->safe_psql('postgres', 'CREATE EXTENSION atp');
$primary->safe_psql('postgres', q{SELECT atp.append_event('before-' || n % 3, 'LoadAdded', jsonb_build_object('n', n)) FROM generate_series(1, 50) n});
$primary->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;

my $digest = q{SELECT count(*), md5(string_agg(l::text, ',' ORDER BY l.log_position)) FROM
	(SELECT log_position, event_id, stream, stream_version, payload::text FROM atp.read_log(0, NULL)) l};
my $event = $primary->safe_psql('postgres', q{SELECT event_id FROM atp.append_event('before-1', 'LoadAdded')});
my $position = $primary->safe_psql('postgres', "SELECT atp.wait_for_event('$event', '20 seconds')");
is($standby->safe_psql('postgres', "SELECT atp.wait_for_event('$event', '20 seconds')"), $position, 'the standby waits for an event and sees the same position');
$primary->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $digest), $primary->safe_psql('postgres', $digest), 'the log reads the same on both');
is($standby->safe_psql('postgres', 'SELECT head, fault, worker_alive FROM atp.sequencer_status'), "$position||f", 'the standby has no worker and no fault');

my ($ret, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT atp.tick();");
like($err, qr/25006: +cannot execute atp.tick\(\) during recovery/, 'no tick on a standby');
($ret, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT atp.resequence();");
like($err, qr/25006/, 'no resequence on a standby');
($ret, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT atp.append_event('before-1', 'LoadAdded');");
like($err, qr/25006/, 'no append on a standby');

# A writer that the primary's end cuts off, events that committed and may not be placed, then the promotion.
my $writer = $primary->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe(q{SELECT atp.append_event('cut-1', 'LoadAdded')});
$primary->safe_psql('postgres', q{SELECT atp.append_event('last-1', 'LoadAdded') FROM generate_series(1, 20)});
$primary->wait_for_catchup($standby);
$primary->stop('immediate');
eval { $writer->quit };
$standby->promote;

ok($standby->poll_query_until('postgres',
		q{SELECT count(*) FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id)}, '0'),
	'the promoted server places what the primary left');
is($standby->safe_psql('postgres', q{SELECT version FROM atp.get_stream('last-1')}), '20', 'nothing that was replicated is lost');
$event = $standby->safe_psql('postgres', q{SELECT event_id FROM atp.append_event('before-1', 'LoadAdded')});
cmp_ok($standby->safe_psql('postgres', "SELECT atp.wait_for_event('$event', '20 seconds')"), '>', $position + 20, 'it appends, and the log goes on');
is($standby->safe_psql('postgres', q{SELECT count(*) = max(log_position), count(DISTINCT event_id) = count(*),
	count(*) = (SELECT count(*) FROM atp_internal.event) FROM atp_internal.log}), 't|t|t', 'the log is dense');
is($standby->safe_psql('postgres', 'SELECT ok, fault FROM atp.verify_all()'), 't|', 'everything verifies');

$standby->stop;
done_testing();
