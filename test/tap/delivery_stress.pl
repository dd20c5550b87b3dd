# Delivery under fire: 24 consumers of one subscription, 64 subscriptions of one log, writers, poison; consumers, backends, the worker and
# the server are killed (kill -9) at seeded moments, and options are changed meanwhile: the number of partitions, pauses, durations of leases.
# Afterwards every event must have been handled once or be a dead letter, per key in order, with no attempt over the maximum and
# nothing stuck. ATP_SEED repeats a run; ATP_LONG makes it long.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use POSIX ();

my $seed = $ENV{ATP_SEED} // 20261125;
my $seconds = $ENV{ATP_LONG} ? 120 : 14;
srand($seed);
note "seed $seed";

my $node = PostgreSQL::Test::Cluster->new('delivery_stress');
$node->init;
$node->append_conf('postgresql.conf', <<'C');
shared_preload_libraries = 'atp'
fsync = on
max_connections = 80
restart_after_crash = on
log_min_messages = fatal
log_statement = none
C
$node->start;
$node->safe_psql('postgres', <<'S');
CREATE EXTENSION atp;
CREATE TABLE effect (id bigserial, subscription text, event_id uuid, stream text, stream_version bigint, PRIMARY KEY (subscription, event_id));
CREATE TABLE attempt (subscription text, event_id uuid, attempt int);
CREATE TABLE shape AS SELECT * FROM atp.claim_events('many') WITH NO DATA;
-- What is handled is written by the transaction that acks it: exactly once. Failures, slowness and death come by chance.
CREATE PROCEDURE consume(who text, names text[], seed float8, until timestamptz, faults boolean) LANGUAGE plpgsql AS $$
DECLARE
	name text;
	events shape[];
	one shape;
	l uuid;
	gone uuid[];
	back atp.given_back;
	luck float8;
	idle boolean;
BEGIN
	PERFORM setseed(seed);
	WHILE clock_timestamp() < until LOOP
		idle := true;
		FOREACH name IN ARRAY names LOOP
			SELECT array_agg(ROW(c.*)::shape ORDER BY c.log_position), min(c.lease::text)::uuid INTO events, l
				FROM atp.claim_events(name, 1 + floor(random() * 25)::int, who) c;
			IF l IS NULL THEN
				COMMIT;
				CONTINUE;
			END IF;
			idle := false;
			INSERT INTO attempt SELECT name, u.event_id, u.attempt FROM unnest(events) AS u;
			COMMIT;
			luck := random();
			IF faults AND luck < 0.01 THEN
				RETURN;				-- dies with its lease
			ELSIF faults AND luck < 0.02 THEN
				PERFORM pg_sleep(1.2);	-- outlives its lease
			END IF;
			BEGIN
				gone := '{}';
				FOR one IN SELECT * FROM unnest(events) AS u LOOP
					CONTINUE WHEN one.event_id = ANY (gone);
					IF one.event_type = 'PoisonAdded' OR (faults AND random() < 0.01) THEN
						back := atp.nack_event(name, l, one.event_id, 'no luck');
						gone := gone || back.withdrawn;
					ELSE
						INSERT INTO effect (subscription, event_id, stream, stream_version) VALUES (name, one.event_id, one.stream, one.stream_version);
					END IF;
				END LOOP;
				BEGIN
					PERFORM atp.ack_events(name, l);
				EXCEPTION WHEN SQLSTATE 'TP302' THEN
					-- given back to the last event is ended, too; anything else means that another has these events
					IF EXISTS (SELECT FROM effect e WHERE e.subscription = name AND e.event_id IN (SELECT u.event_id FROM unnest(events) AS u))
					THEN
						RAISE;
					END IF;
				END;
			EXCEPTION WHEN SQLSTATE 'TP302' OR SQLSTATE 'TP304' THEN
				NULL;				-- too late: the effects are taken back
			END;
			COMMIT;
		END LOOP;
		IF idle THEN
			PERFORM pg_sleep(0.02);
			COMMIT;
		END IF;
	END LOOP;
END $$;
CREATE PROCEDURE produce(seed float8, until timestamptz) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM setseed(seed);
	WHILE clock_timestamp() < until LOOP
		PERFORM atp.append_event('Account' || floor(random() * 4)::int || '-' || floor(random() * 40)::int,
			CASE WHEN random() < 0.004 THEN 'PoisonAdded' ELSE 'AmountAdded' END, '{}');
		IF random() < 0.1 THEN
			ROLLBACK;
		ELSE
			COMMIT;
		END IF;
		PERFORM pg_sleep(0.002);
	END LOOP;
END $$;
SELECT atp.create_subscription('many', partitions => 32, lock_duration => '1 s', max_attempts => 5,
	backoff => '{"initial": 0.05, "maximum": 0.5, "jitter": "full"}');
SELECT count(atp.create_subscription('s' || i, partitions => 1 + i % 4, lock_duration => '1 s', max_attempts => 5,
	categories => CASE i % 4 WHEN 0 THEN NULL ELSE ARRAY['Account' || i % 4] END,
	filter => CASE i % 8 WHEN 5 THEN '{"prefix": {"subject": "Account1-1"}}' WHEN 6 THEN '$.streamversion % 2 == 0' END,
	backoff => '{"initial": 0.05, "maximum": 0.5, "jitter": "full"}')) FROM generate_series(1, 63) i;
S
is($node->safe_psql('postgres', 'SELECT count(*) FROM atp.subscriptions'), 64, '64 subscriptions');

my $end = time() + $seconds;
my %children;

# A process that calls a procedure again and again until the time is over, whatever happens to its connection.
sub run_again
{
	my ($what, $until, $sql) = @_;
	my $pid = fork // die "fork: $!";
	if ($pid == 0)
	{
		srand($seed + $$);
		while (time() < $until)
		{
			my $left = $until - time();
			my $span = 1 + rand(2);
			$span = $left if $span > $left;
			my $call = $sql->(sprintf("clock_timestamp() + interval '%.3f s'", $span), sprintf('%.6f', rand()));
			system('psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $call, '-o', '/dev/null') == 0 or sleep 0.1;
		}
		POSIX::_exit(0);
	}
	$children{$pid} = $what;
}

# Diagnostics of killed connections are not the test's output.
open my $stderr, '>&', \*STDERR or die;
open STDERR, '>', '/dev/null' or die;

sub start_consumers
{
	my ($until, $faults) = @_;
	for my $n (1 .. 24)
	{
		run_again("consumer $n", $until, sub { "CALL consume('c$n', '{many}', $_[1], $_[0], $faults)" });
	}
	for my $n (1 .. 4)
	{
		my $names = join(',', map { "s$_" } grep { $_ % 4 == $n % 4 } 1 .. 63);
		run_again("server $n", $until, sub { "CALL consume('x$n', '{$names}', $_[1], $_[0], $faults)" });
	}
}
run_again("producer $_", $end, sub { "CALL produce($_[1], $_[0])" }) for 1 .. 3;
start_consumers($end, 'true');

# The killer: clients, backends, the worker, the whole server. In between somebody changes the subscriptions.
my %killed;
my @victims = qw(client options backend client worker options client server);
for (my $turn = int rand @victims; time() < $end - 1; $turn++)
{
	my $victim = $victims[ $turn % @victims ];
	sleep 0.3 + rand(0.8);
	if ($victim eq 'client')
	{
		my @clients = split /\s+/, `pgrep -P @{[join(',', keys %children)]} psql`;
		kill 'KILL', $clients[ rand @clients ] if @clients;
	}
	elsif ($victim eq 'options')
	{
		my ($partitions, $other, $lock) = (1 + int rand 40, 1 + int rand 63, 0.5 + rand);
		my $rc = $node->psql('postgres', qq{SET statement_timeout = '3 s';
			SELECT atp.alter_subscription('many', partitions => $partitions);
			SELECT atp.alter_subscription('s$other', partitions => 1 + $partitions % 5, lock_duration => '$lock s');
			SELECT atp.pause_subscription('s$other'); SELECT pg_sleep(0.2); SELECT atp.resume_subscription('s$other')}, on_error_stop => 0);
		next if $rc != 0;
	}
	elsif ($victim eq 'server')
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $which = $victim eq 'backend' ? "backend_type = 'client backend' AND pid <> pg_backend_pid()" : "backend_type LIKE 'atp%'";
		# no connection can be had while the server recovers from the victim before
		my $out = eval { $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE $which ORDER BY random() LIMIT 1") } // '';
		next if $out !~ /^(\d+)$/;
		kill 'KILL', $out;
		sleep 0.3;
	}
	$killed{$victim}++;
}
while ((my $pid = wait) > 0) { delete $children{$pid} }
sleep 1;
$node->poll_query_until('postgres', 'SELECT true');

# Quiet: whatever is left is delivered, for as long as that makes progress. A pause may have lost the connection that was to end it.
$node->safe_psql('postgres', q{SELECT atp.resume_subscription(subscription) FROM atp.subscriptions WHERE state = 'paused'});
my ($left, $least, $idle) = ('unknown', undef, 0);
while ($left ne '0' && $idle < 8)
{
	start_consumers(time() + 4, 'false');
	while ((my $pid = wait) > 0) { delete $children{$pid} }
	$left = $node->safe_psql('postgres', 'SELECT sum(lag_events + retries) FROM atp.subscription_status');
	$idle = defined $least && $left >= $least ? $idle + 1 : 0;
	$least = $left if $idle == 0;
}
open STDERR, '>&', $stderr or die;
note 'killed: ' . join(', ', map { "$_ $killed{$_}" } sort keys %killed);

my $events = $node->safe_psql('postgres', 'SELECT count(*) FROM atp_internal.event');
note "$events events";
cmp_ok($events, '>', 200, 'there was something to do');
is($left, '0', 'nothing is left: no event lost, none stuck');
is( $node->safe_psql('postgres', 'SELECT count(*) FROM atp_internal.event e LEFT JOIN atp_internal.log l USING (event_id, tenant) WHERE l.event_id IS NULL'),
	'0', 'every event is in the log');

# What each subscription was to get, by the rules that made it.
$node->safe_psql('postgres', <<'S');
CREATE TABLE wanted AS
	SELECT s.subscription, e.event_id, e.stream, e.stream_version, e.event_type FROM atp.subscriptions s, atp.events e
	WHERE s.subscription = 'many'
		OR ((substr(s.subscription, 2)::int % 4 = 0 OR e.stream LIKE 'Account' || substr(s.subscription, 2)::int % 4 || '-%')
			AND (substr(s.subscription, 2)::int % 8 <> 5 OR e.stream LIKE 'Account1-1%')
			AND (substr(s.subscription, 2)::int % 8 <> 6 OR e.stream_version % 2 = 0));
S
is( $node->safe_psql('postgres', <<'S'), '0', 'every event wanted was handled once, or is a dead letter');
SELECT count(*) FROM wanted w LEFT JOIN effect f USING (subscription, event_id) LEFT JOIN atp.dead_letter d USING (subscription, event_id)
	WHERE (f.event_id IS NULL) = (d.event_id IS NULL)
S
is( $node->safe_psql('postgres', 'SELECT count(*) FROM (SELECT subscription, event_id FROM effect UNION SELECT subscription, event_id FROM atp.dead_letter EXCEPT SELECT subscription, event_id FROM wanted) x'),
	'0', 'nothing else was delivered');
is( $node->safe_psql('postgres', <<'S'), '0', 'per key in order');
SELECT count(*) FROM (SELECT stream_version < lag(stream_version) OVER (PARTITION BY subscription, stream ORDER BY id) AS wrong FROM effect) x WHERE wrong
S
is($node->safe_psql('postgres', 'SELECT count(*) FROM attempt WHERE attempt > 5'), '0', 'no attempt over the maximum');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM wanted w JOIN effect USING (subscription, event_id) WHERE w.event_type = 'PoisonAdded'}),
	'0', 'poison was never handled');
is( $node->safe_psql('postgres', <<'S'), '0', 'poison stopped only itself');
SELECT count(*) FROM wanted p WHERE p.event_type = 'PoisonAdded' AND EXISTS (SELECT FROM wanted w LEFT JOIN effect f USING (subscription, event_id)
	LEFT JOIN atp.dead_letter d USING (subscription, event_id)
	WHERE w.subscription = p.subscription AND w.stream = p.stream AND w.stream_version > p.stream_version AND f.event_id IS NULL AND d.event_id IS NULL)
S
note 'dead letters: ' . $node->safe_psql('postgres', q{SELECT string_agg(reason || ' ' || n, ', ') FROM (SELECT reason, count(*) AS n FROM atp.dead_letter GROUP BY 1) x});
$node->stop;
done_testing();
