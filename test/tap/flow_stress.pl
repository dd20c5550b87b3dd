# What the worker does by itself, under fire: handlers in steps with compensation, a route that translates, one that hands on, scheduled
# events, cancelled ones. Runners, the worker, backends and the server are killed (kill -9) at seeded moments; handlers fail and outlive
# their leases by chance; partitions change. Afterwards everything has happened once. ATP_SEED repeats a run; ATP_LONG makes it long.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use POSIX ();

my $seed = $ENV{ATP_SEED} // 20261125;
my $seconds = $ENV{ATP_LONG} ? 120 : 12;
srand($seed);
note "seed $seed";

my $node = PostgreSQL::Test::Cluster->new('flow_stress');
$node->init;
$node->append_conf('postgresql.conf', <<'C');
shared_preload_libraries = 'atp'
max_worker_processes = 32
atp.handler_max_runners = 8
restart_after_crash = on
log_min_messages = fatal
log_statement = none
C
$node->start;
$node->safe_psql('postgres', <<'S');
CREATE EXTENSION atp;
CREATE TABLE effect (step text, event_id uuid);
CREATE TABLE scheduled (k text PRIMARY KEY, number bigint);
CREATE TABLE cancelled (k text PRIMARY KEY);
CREATE FUNCTION note_step(event jsonb) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO public.effect VALUES (event ->> 'handler', (event ->> 'event_id')::uuid) $$;
CREATE FUNCTION undo_step(event jsonb) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO public.effect VALUES ('undo ' || (event ->> 'handler'), (event ->> 'event_id')::uuid) $$;
CREATE FUNCTION second_step(event jsonb) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	luck float8 := random();
BEGIN
	IF luck < 0.15 THEN
		RAISE EXCEPTION 'no luck';
	ELSIF luck < 0.16 THEN
		PERFORM pg_sleep(1.2);	-- outlives its lease
	END IF;
	PERFORM public.note_step(event);
END $$;
SELECT atp.create_subscription('flow', categories => '{Account}', partitions => 4, lock_duration => '1 s', max_attempts => 3,
	backoff => '{"initial": 0.02, "maximum": 0.2, "jitter": "full"}');
SELECT atp.create_handler('one', 'flow', 'note_step(jsonb)', 1, compensation => 'undo_step(jsonb)');
SELECT atp.create_handler('two', 'flow', 'second_step(jsonb)', 2);
SELECT atp.create_subscription('routing', categories => '{Account}', partitions => 2, lock_duration => '1 s', max_attempts => 50);
SELECT atp.create_route('copy', 'routing', 'CopyMade', 'Copy-{$.data.s}', '{"n": "$.data.n"}');
SELECT atp.create_subscription('target', categories => '{Nothing}', partitions => 2, lock_duration => '1 s', max_attempts => 50);
SELECT atp.create_handler('three', 'target', 'note_step(jsonb)');
SELECT atp.create_subscription('handing', categories => '{Account}', partitions => 2, lock_duration => '1 s', max_attempts => 50);
SELECT atp.create_route('hand', 'handing', target_subscription => 'target');
CREATE PROCEDURE produce(seed float8, until timestamptz) LANGUAGE plpgsql AS $$
DECLARE
	key text;
	s text;
	old record;
BEGIN
	PERFORM setseed(seed);
	WHILE clock_timestamp() < until LOOP
		s := floor(random() * 20)::text;
		PERFORM atp.append_event('Account-' || s, 'AmountAdded', jsonb_build_object('n', floor(random() * 1000), 's', s));
		IF random() < 0.3 THEN
			key := gen_random_uuid();
			INSERT INTO scheduled SELECT key, atp.schedule_event(clock_timestamp() + random() * interval '2 s', 'Due-' || s, 'DueCame', jsonb_build_object('k', key));
		END IF;
		IF random() < 0.1 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
		IF random() < 0.05 THEN
			SELECT * INTO old FROM scheduled c WHERE NOT EXISTS (SELECT FROM cancelled x WHERE x.k = c.k) ORDER BY random() LIMIT 1;
			IF FOUND AND atp.cancel_scheduled_event(old.number) THEN
				INSERT INTO cancelled VALUES (old.k);
			END IF;
			COMMIT;
		END IF;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;
S

my $end = time() + $seconds;
my %children;
open my $stderr, '>&', \*STDERR or die;
open STDERR, '>', '/dev/null' or die;
for my $n (1 .. 3)
{
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		srand($seed + $n);
		while (time() < $end)
		{
			my $left = $end - time();
			my $call = sprintf("CALL produce(%.6f, clock_timestamp() + interval '%.3f s')", rand(), $left < 2 ? $left : 2);
			system('psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $call, '-o', '/dev/null') == 0 or sleep 0.1;
		}
		POSIX::_exit(0);
	}
	$children{$pid} = 1;
}

my %killed;
my @victims = qw(runner options worker backend runner worker server);
for (my $turn = int rand @victims; time() < $end - 1; $turn++)
{
	my $victim = $victims[ $turn % @victims ];
	sleep 0.3 + rand(1);
	if ($victim eq 'server')
	{
		$node->stop('immediate');
		$node->start;
	}
	elsif ($victim eq 'options')
	{
		my ($which, $partitions) = (qw(flow routing target handing))[ rand 4 ], 1 + int rand 8;
		my $rc = $node->psql('postgres', qq{SET statement_timeout = '3 s'; SELECT atp.alter_subscription('$which', partitions => $partitions)}, on_error_stop => 0);
		next if $rc != 0;
	}
	else
	{
		my %which = (runner => "backend_type = 'atp handlers'", worker => "backend_type LIKE 'atp%' AND backend_type <> 'atp handlers'",
			backend => "backend_type = 'client backend' AND pid <> pg_backend_pid()");
		my $out = eval { $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $which{$victim} ORDER BY random() LIMIT 1") } // '';
		next if $out !~ /^(\d+)$/;
		kill 'KILL', $out;
	}
	$killed{$victim}++;
}
while ((my $pid = wait) > 0) { delete $children{$pid} }
sleep 1;
$node->poll_query_until('postgres', 'SELECT true');

# Quiet: for as long as there is progress.
my ($left, $least, $idle) = ('unknown', undef, 0);
while ($left ne '0' && $idle < 40)
{
	sleep 0.5;
	$left = $node->safe_psql('postgres', q{SELECT (SELECT sum(lag_events + retries) FROM atp.subscription_status) + (SELECT count(*) FROM atp_internal.scheduled_event)
		+ (SELECT count(*) FROM atp_internal.event) - (SELECT count(*) FROM atp_internal.log)});
	$idle = defined $least && $left >= $least ? $idle + 1 : 0;
	$least = $left if $idle == 0;
}
open STDERR, '>&', $stderr or die;
note 'killed: ' . join(', ', map { "$_ $killed{$_}" } sort keys %killed);
note 'dead letters: ' . $node->safe_psql('postgres', q{SELECT string_agg(concat_ws(' ', subscription, reason, coalesce(last_error, '')) || ' ' || n, ', ') FROM (SELECT subscription, reason, last_error, count(*) AS n FROM atp.dead_letter GROUP BY 1, 2, 3) x});

my $source = q{(SELECT e.event_id FROM atp.events e WHERE e.stream LIKE 'Account-%')};
my $events = $node->safe_psql('postgres', "SELECT count(*) FROM $source e");
note "$events events";
cmp_ok($events, '>', 100, 'there was something to do');
is($left, '0', 'nothing is left');
sub none
{
	my ($what, $sql) = @_;
	is($node->safe_psql('postgres', "SELECT count(*) FROM ($sql) x"), '0', $what);
	return;
}
my $steps = qq{SELECT e.event_id, count(f.*) FILTER (WHERE f.step = 'one') AS one, count(f.*) FILTER (WHERE f.step = 'two') AS two,
	count(f.*) FILTER (WHERE f.step = 'undo one') AS undone, count(f.*) FILTER (WHERE f.step = 'three') AS three,
	EXISTS (SELECT FROM atp.dead_letter d WHERE d.event_id = e.event_id AND d.subscription = 'flow') AS dead
	FROM $source e LEFT JOIN effect f USING (event_id) GROUP BY e.event_id};
none('each event went through both steps once', "SELECT FROM ($steps) s WHERE NOT dead AND (one, two, undone) IS DISTINCT FROM (1, 1, 0)");
none('what was given up was undone', "SELECT FROM ($steps) s WHERE dead AND (one <> undone OR one > 1 OR two > 0)");
none('each event was handed on once', "SELECT FROM ($steps) s WHERE three <> 1");
none('each event was translated once', qq{SELECT e.event_id FROM $source e LEFT JOIN atp.events c
	ON c.stream LIKE 'Copy-%' AND c.metadata ->> 'causation_id' = atp.ulid_from_uuid(e.event_id) GROUP BY e.event_id HAVING count(c.event_id) <> 1});
none('each scheduled event came once, and none that was cancelled', q{SELECT s.k FROM scheduled s LEFT JOIN cancelled c USING (k)
	LEFT JOIN atp.events e ON e.stream LIKE 'Due-%' AND e.payload ->> 'k' = s.k GROUP BY s.k, c.k HAVING count(e.event_id) <> CASE WHEN c.k IS NULL THEN 1 ELSE 0 END});
none('and nothing else', q{SELECT FROM atp.events e WHERE e.stream LIKE 'Due-%' AND NOT EXISTS (SELECT FROM scheduled s WHERE s.k = e.payload ->> 'k')});
$node->stop;
done_testing();
