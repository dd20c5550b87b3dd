# Every way to restore a dump: owners left out, from a directory, plain SQL. Cursors, leases, failures, inbox, session
# state, breakers, limits, handlers and scheduled events go on where they were.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "shared_preload_libraries = 'atp'\nmax_worker_processes = 32\nfsync = off\n";
my $old = PostgreSQL::Test::Cluster->new('old');
$old->init;
$old->append_conf('postgresql.conf', $conf);
$old->start;
$old->safe_psql('postgres', <<'S');
CREATE EXTENSION atp;
CREATE TABLE seen (n int);
CREATE FUNCTION see(event jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.seen VALUES ((event #>> '{payload,n}')::int) $$;
SELECT atp.onboard_tenant('other');
SELECT atp.create_breaker('door'), atp.create_rate_limit('tap', 1000000);
SELECT atp.set_delivery_limits(500, 'tap');
SELECT atp.create_subscription('s', categories => '{order}', partitions => 1, max_attempts => 5, backoff => '{"initial": 3600, "maximum": 3600, "jitter": 0}',
	breaker => 'door', rate_limit => 'tap');
SELECT atp.create_subscription('spread', categories => '{order}', partitions => 4, order_key => 'none');
SELECT atp.create_subscription('handled', categories => '{late}', partitions => 2);
SELECT atp.create_handler('see', 'handled', 'public.see(jsonb)');
SELECT count(atp.append_event('order-' || i % 10, 'OrderPlaced', jsonb_build_object('n', i))) FROM generate_series(1, 100) i;
S
$old->poll_query_until('postgres', 'SELECT max(log_position) >= 100 FROM atp_internal.log') or die;
$old->safe_psql('postgres', q{SELECT atp.ack_events('s', lease) FROM (SELECT DISTINCT lease FROM atp.claim_events('s', 40)) l});
$old->safe_psql('postgres', q{SELECT atp.ack_events('spread', lease) FROM (SELECT DISTINCT lease FROM atp.claim_events('spread', 30)) l});
$old->safe_psql('postgres', q{CREATE TABLE leased AS SELECT * FROM atp.claim_events('s', 10)});
$old->safe_psql('postgres', q{SELECT atp.nack_event('s', lease, event_id, 'no', permanent => payload ->> 'n' = '42') FROM leased WHERE payload ->> 'n' IN ('41', '42')});
$old->safe_psql('postgres', q{SELECT atp.defer_event('s', lease, event_id) FROM leased WHERE payload ->> 'n' = '43'});
$old->safe_psql('postgres', q{SELECT atp.begin_handling('mine', event_id), atp.finish_handling('mine', event_id, '{"done": 1}') FROM leased WHERE payload ->> 'n' = '44'});
$old->safe_psql('postgres', q{SELECT atp.set_session_state('s', 'order-4', '{"sum": 4}')});
$old->safe_psql('postgres', q{SELECT atp.schedule_event('2199-01-01', 'late-1', 'OrderPlaced', '{"n": 1}')});

# What has to be the same afterwards.
my $state = q{SELECT (SELECT string_agg(concat_ws(' ', s.subscription, s.state, s.acked, s.lag_events, s.in_flight, s.retries, s.dead_letters), ', ' ORDER BY s.subscription) FROM atp.subscription_status s),
	(SELECT string_agg(c::text, ', ' ORDER BY c.subscription, c.partition) FROM atp_internal.subscription_cursor c),
	(SELECT string_agg(r::text, ', ' ORDER BY r.subscription, r.log_position) FROM atp_internal.retry r),
	(SELECT string_agg(d::text, ', ' ORDER BY d.dead_letter) FROM atp_internal.dead_letter d),
	(SELECT string_agg(i::text, ', ' ORDER BY i.event_id) FROM atp_internal.inbox i),
	(SELECT string_agg(s::text, ', ' ORDER BY s.subscription) FROM atp_internal.subscription s),
	(SELECT string_agg(h::text, ', ' ORDER BY h.handler) FROM atp_internal.handler h),
	(SELECT string_agg(e::text, ', ') FROM atp_internal.scheduled_event e),
	(SELECT string_agg(l::text, ', ') FROM atp_internal.tenant_limit l),
	atp.get_session_state('s', 'order-4')};
my $before = $old->safe_psql('postgres', $state);
my $claim = q{SELECT string_agg(payload ->> 'n', ' ' ORDER BY log_position) FROM atp.claim_events('s', 1000)};
my $all = join(' ', grep { $_ % 10 != 1 && $_ != 43 } 44 .. 100);	# the stream of event 41 waits behind it, 43 is deferred

my $dir = $old->backup_dir;
mkdir $dir;
my $source = $old->connstr('postgres');
command_ok([ 'pg_dump', '-Fd', '-j2', '-f', "$dir/jobs", $source ], 'dump: directory');
command_ok([ 'pg_dump', '-Fc', '-f', "$dir/whole", $source ], 'dump: custom');
command_ok([ 'pg_dump', '-f', "$dir/plain.sql", $source ], 'dump: plain');
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', $conf);
$new->start;

sub restored
{
	my ($db, $what, @commands) = @_;
	$new->safe_psql('postgres', "CREATE DATABASE $db");
	my $to = $new->connstr($db);
	for my $command (@commands)
	{
		command_ok([ map { $_ eq 'TO' ? $to : $_ } @$command ], "$what: $command->[0]");
	}
	is($new->safe_psql($db, $state), $before, "$what: everything is as it was");
	$new->safe_psql($db, 'SELECT atp.resequence()');
	is($new->safe_psql($db, $claim), '', "$what: the lease still stands");
	$new->safe_psql($db, q{UPDATE atp_internal.subscription_cursor SET lease_until = now() - interval '1 s' WHERE lease IS NOT NULL});
	is($new->safe_psql($db, $claim), $all, "$what: it goes on where it was");
	is($new->safe_psql($db, q{SELECT verdict || result::text FROM leased l, atp.begin_handling('mine', l.event_id) WHERE payload ->> 'n' = '44'}),
		'done{"done": 1}', "$what: what was handled is known");
	is($new->safe_psql($db, q{SELECT string_agg(payload ->> 'n', '') FROM atp.claim_deferred_events('s', (SELECT array_agg(log_position) FROM leased))}),
		'43', "$what: the deferred event can be had");
	is($new->safe_psql($db, q{SELECT count(*) FROM atp.replay_dead_letters()}), '1', "$what: the dead letter can be replayed");
	$new->safe_psql($db, q{SELECT atp.create_subscription('fresh'), atp.create_breaker('fresh'), atp.create_rate_limit('fresh', 1),
		atp.schedule_event('2199-01-01', 'late-1', 'OrderPlaced')});
	is($new->safe_psql($db, q{SELECT count(DISTINCT subscription) = count(*) FROM atp_internal.subscription}), 't', "$what: numbers go on");
	$new->safe_psql($db, q{SELECT atp.append_event('late-2', 'OrderPlaced', '{"n": 2}')});
	ok($new->poll_query_until($db, 'SELECT count(*) = 1 FROM seen'), "$what: handlers run");
	is($new->safe_psql($db, 'SELECT ok, fault FROM atp.verify_all()'), 't|', "$what: everything verifies");
	return;
}

restored('owner', 'no owner', [ 'pg_restore', '-e', '--no-owner', '-d', 'TO', "$dir/whole" ]);
restored('jobs', 'a directory', [ 'pg_restore', '-e', '-d', 'TO', "$dir/jobs" ]);
restored('plain', 'plain SQL', [ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-o', '/dev/null', '-d', 'TO', '-f', "$dir/plain.sql" ]);
$new->stop;
done_testing();
