# Handlers that harm their process: one that catches its cancellation and goes on, a shutdown in the middle of a batch. Leases last an hour,
# so that nothing here is due to one that expires.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('handlers');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'atp'\natp.handler_max_runners = 1\nrestart_after_crash = on\nlog_min_messages = info");
$node->start;
$node->safe_psql('postgres', <<'S');
CREATE EXTENSION atp;
CREATE TABLE done (subscription text, n int, attempt int);
CREATE SEQUENCE calls;
CREATE FUNCTION note(event jsonb) RETURNS void LANGUAGE sql SET search_path = public AS
	$$ INSERT INTO done VALUES (event ->> 'handler', (event #>> '{payload,n}')::int, (event ->> 'attempt')::int) $$;
CREATE FUNCTION stubborn(event jsonb) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
	PERFORM note(event);
	WHILE event #>> '{payload,n}' = '3' LOOP
		BEGIN
			PERFORM pg_sleep(10);
		EXCEPTION WHEN query_canceled OR OTHERS THEN
			PERFORM nextval('calls');
		END;
	END LOOP;
END $$;
CREATE FUNCTION sleepy(event jsonb) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
	PERFORM note(event);
	IF event #>> '{payload,n}' = '4' AND nextval('calls') < 3 THEN
		PERFORM pg_sleep(100);
	END IF;
END $$;
S
sub subscribe
{
	my ($name, $function, $timeout) = @_;
	$node->safe_psql('postgres', qq{SELECT atp.create_subscription('$name', categories => '{$name}', start_at => 'end', order_key => 'none',
			ordering => 'none', partitions => 1, lock_duration => '1 h', max_attempts => 2, backoff => '{"initial": 0.05, "maximum": 0.1, "jitter": "none"}');
		SELECT atp.create_handler('$name', '$name', '$function(jsonb)', timeout => '$timeout')});
	return;
}

sub append
{
	my ($name, $count) = @_;
	$node->safe_psql('postgres', qq{SELECT count((atp.append_event('$name-' || n, 'ThingDone', jsonb_build_object('n', n))).hash) FROM generate_series(1, $count) n});
	return;
}

sub done
{
	my ($name) = @_;
	return $node->safe_psql('postgres', qq{SELECT string_agg(n || ':' || attempt, ' ' ORDER BY n) FROM done WHERE subscription = '$name'});
}

# catches its cancellation: its process ends, its event is given up, the others of the batch lose nothing
my $offset = -s $node->logfile;
subscribe('stubborn', 'stubborn', '200 ms');
append('stubborn', 5);
ok($node->poll_query_until('postgres', q{SELECT last_value >= 1 AND is_called FROM calls}), 'a handler catches its cancellation');
subscribe('other', 'note', '10 s');
append('other', 3);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM atp_internal.dead_letter}), 'what it goes on with becomes a dead letter');
is($node->safe_psql('postgres', q{SELECT e.stream || ' ' || reason || ' ' || attempts || ' ' || last_error FROM atp_internal.dead_letter JOIN atp.events e USING (event_id)}),
	'stubborn-3 MaxAttemptsExceeded 2 57014: it went on after its timeout of 200 ms, and was ended with its process', 'after as many attempts as it has');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 7 FROM done}), 'everything else goes on');
is(done('stubborn'), '1:1 2:1 4:1 5:1', 'others of its batch are handled once, and no attempt of theirs was counted');
is(done('other'), '1:1 2:1 3:1', 'another subscription gets the only runner');
my @ends = slurp_file($node->logfile, $offset) =~ /handler function public\.stubborn\(jsonb\), which went on after its timeout of 200 ms/g;
is(scalar @ends, 2, 'the log says why the process ended');

# a slow handler with a long backlog holds the only runner for a slice, no longer
$node->safe_psql('postgres', q{CREATE FUNCTION slow(event jsonb) RETURNS void LANGUAGE sql SET search_path = public AS
	$$ SELECT pg_sleep(0.5); INSERT INTO done VALUES (event ->> 'handler', (event #>> '{payload,n}')::int, (event ->> 'attempt')::int) $$});
$node->safe_psql('postgres', q{SELECT atp.drop_handler('stubborn'), atp.drop_handler('other'); TRUNCATE done});
subscribe('slow', 'slow', '10 s');
append('slow', 60);
ok($node->poll_query_until('postgres', q{SELECT count(*) > 0 FROM done}), 'a slow handler has the runner');
subscribe('quick', 'note', '10 s');
append('quick', 2);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 2 FROM done WHERE subscription = 'quick'}), 'another subscription gets its turn');
cmp_ok($node->safe_psql('postgres', q{SELECT count(*) FROM done WHERE subscription = 'slow'}), '<', 60, 'before the backlog of the slow one is done');
$node->safe_psql('postgres', q{CREATE OR REPLACE FUNCTION slow(event jsonb) RETURNS void LANGUAGE sql SET search_path = public AS
	$$ INSERT INTO done VALUES (event ->> 'handler', (event #>> '{payload,n}')::int, (event ->> 'attempt')::int) $$});
ok($node->poll_query_until('postgres', q{SELECT count(*) = 60 FROM done WHERE subscription = 'slow'}), 'which goes on');
is($node->safe_psql('postgres', q{SELECT count(DISTINCT n) || ' ' || max(attempt) FROM done WHERE subscription = 'slow'}), '60 1', 'each once, no attempt lost with the turn');

# a shutdown in the middle of a batch
$node->safe_psql('postgres', q{ALTER SEQUENCE calls RESTART; SELECT nextval('calls')});
subscribe('sleepy', 'sleepy', '1 h');
append('sleepy', 5);
ok($node->poll_query_until('postgres', q{SELECT last_value = 2 FROM calls}), 'a handler sleeps');
$node->stop('fast'); $node->start;
ok($node->poll_query_until('postgres', q{SELECT count(*) = 5 FROM done WHERE subscription = 'sleepy'}), 'after a restart its batch comes again at once');
is(done('sleepy'), '1:1 2:1 3:1 4:1 5:1', 'and no attempt was counted');
is($node->safe_psql('postgres', q{SELECT count(*) FROM atp_internal.dead_letter}), '1', 'nothing else was given up');

# a runner that is killed: the next one does not wait for the lease
$node->safe_psql('postgres', q{ALTER SEQUENCE calls RESTART; SELECT nextval('calls')});
$node->safe_psql('postgres', q{SELECT atp.drop_handler('sleepy')});
subscribe('killed', 'sleepy', '1 h');
append('killed', 5);
ok($node->poll_query_until('postgres', q{SELECT last_value >= 2 FROM calls}), 'a handler sleeps');
kill 'KILL', $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'atp handlers' AND wait_event = 'PgSleep'});
my $up;
for (1 .. 600) { last if $up = eval { $node->safe_psql('postgres', 'SELECT 1') }; select undef, undef, undef, 0.1 }
ok($up, 'the server has recovered');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 5 FROM done WHERE subscription = 'killed'}), 'its batch comes again, long before the lease is over');
is(done('killed'), '1:2 2:2 3:2 4:2 5:2', 'and the attempt was counted');

# a step that ends its process every time is given up, and the step before it undone; so is one whose compensation does that: once
$node->safe_psql('postgres', q{SELECT atp.drop_handler('killed'), atp.drop_handler('slow'), atp.drop_handler('quick')});
$node->safe_psql('postgres', q{CREATE FUNCTION undo(event jsonb) RETURNS void LANGUAGE sql SET search_path = public AS
	$$ INSERT INTO done VALUES ('undo ' || (event ->> 'handler'), (event #>> '{payload,n}')::int, (event ->> 'attempt')::int) $$});
$node->safe_psql('postgres', <<'S');
CREATE FUNCTION fail_then_hang(event jsonb) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
	IF event #>> '{payload,n}' = '3' AND event ->> 'attempt' = '1' THEN
		RAISE 'not yet';
	END IF;
	PERFORM stubborn(event);
END $$;
S
subscribe('steps', 'note', '1 h');
$node->safe_psql('postgres', q{SELECT atp.drop_handler('steps');
	SELECT atp.create_handler('first', 'steps', 'note(jsonb)', 1, compensation => 'undo(jsonb)'), atp.create_handler('second', 'steps', 'note(jsonb)', 2, compensation => 'stubborn(jsonb)', timeout => '200 ms'),
		atp.create_handler('third', 'steps', 'fail_then_hang(jsonb)', 3, timeout => '200 ms')});
append('steps', 5);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM done WHERE subscription = 'undo first'}), 'the step before one that ends its process is undone');
is(done('undo first'), '3:2', 'for its event');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM done WHERE subscription = 'third'}), 'the others go on');
is(done('first'), '1:1 2:1 3:1 4:1 5:1', 'each step once');
is($node->safe_psql('postgres', q{SELECT concat_ws(' ', handler, state, error) FROM atp_internal.inbox WHERE state NOT IN ('d', 't')}),
	'handler/second p compensation was cut off', 'and a compensation that ends its process stays as failed');

# allocates without end, in ways that last: it fails, its process is replaced, the others of its batch have all the memory
$node->append_conf('postgresql.conf', 'atp.handler_max_memory = 96MB');
$node->reload;
$node->safe_psql('postgres', <<'S');
CREATE FUNCTION greedy(event jsonb) RETURNS void LANGUAGE plpgsql SET search_path = public SET work_mem = '2GB' AS $$
DECLARE
	grown text[];
	n int := (event #>> '{payload,n}')::int;
BEGIN
	IF n = 2 THEN
		LOOP
			grown := grown || repeat('x', 1000000);
		END LOOP;
	ELSIF n = 3 THEN
		FOR i IN 1 .. 1000000 LOOP
			EXECUTE format('PREPARE kept%s AS SELECT %L', i, repeat('y', 20000));
		END LOOP;
	ELSIF n = 4 THEN
		PERFORM repeat('z', 900000000);
	ELSIF n = 5 THEN
		PERFORM count(*) FROM (SELECT md5(g::text) FROM generate_series(1, 10000000) g GROUP BY 1) x;
	END IF;
	PERFORM length(repeat('a', 20000000) || 'b');
	PERFORM note(event);
END $$;
S
my $witness = $node->background_psql('postgres');
$witness->query_safe('CREATE TEMP TABLE alive (n int)');
subscribe('greedy', 'greedy', '1 h');
append('greedy', 8);
ok($node->poll_query_until('postgres', q{SELECT count(*) = 6 FROM atp_internal.dead_letter}), 'handlers that allocate without end fail');
is($node->safe_psql('postgres', q{SELECT string_agg(e.stream || ' ' || attempts || ' ' || last_error, ', ' ORDER BY e.stream) FROM atp_internal.dead_letter JOIN atp.events e USING (event_id) WHERE e.stream LIKE 'greedy-%'}),
	join(', ', map { "greedy-$_ 2 53200: out of memory" } 2 .. 5), 'with 53200, and become dead letters');
ok($node->poll_query_until('postgres', q{SELECT count(*) = 4 FROM done WHERE subscription = 'greedy'}), 'the others are handled');
is(done('greedy'), '1:1 6:1 7:1 8:1', 'once, and no attempt of theirs was counted');
is($witness->query_safe('SELECT count(*) FROM alive'), '0', 'other sessions live');
$witness->quit;

# a failure that opens the breaker ends the batch
$node->safe_psql('postgres', q{ALTER SEQUENCE calls RESTART;
	CREATE FUNCTION refuse(event jsonb) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$ BEGIN PERFORM nextval('calls'); RAISE 'nobody there'; END $$;
	SELECT atp.create_breaker('endpoint', failure_ratio => 0.5, minimum_throughput => 3, break_duration => '1 h')});
subscribe('calling', 'note', '10 s');
$node->safe_psql('postgres', q{SELECT atp.drop_handler('calling');
	SELECT atp.alter_subscription('calling', breaker => 'endpoint', max_attempts => 100, backoff => '{"initial": 3600, "maximum": 3600, "jitter": "none"}'), atp.create_handler('calling', 'calling', 'refuse(jsonb)')});
append('calling', 20);
ok($node->poll_query_until('postgres', q{SELECT state = 'open' FROM atp.breaker_status WHERE breaker = 'endpoint'}), 'failures open the breaker');
ok($node->poll_query_until('postgres', q{SELECT sum(lease_count) = 0 FROM atp_internal.subscription_cursor JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'calling'}),
	'what is left of the batch is given back');
is($node->safe_psql('postgres', q{SELECT last_value || ' ' || (SELECT count(*) FROM atp_internal.retry JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'calling') FROM calls}),
	'3 3', 'without being tried');

# it knows of a batch's successes when it hears of its failures
$node->safe_psql('postgres', q{CREATE FUNCTION refuse_some(event jsonb) RETURNS void LANGUAGE plpgsql SET search_path = public AS $$
	BEGIN IF (event #>> '{payload,n}')::int % 7 = 0 THEN RAISE 'not this one'; END IF; PERFORM note(event); END $$;
	SELECT atp.create_breaker('good', failure_ratio => 0.5, minimum_throughput => 2, break_duration => '1 h')});
subscribe('mostly', 'note', '10 s');
$node->safe_psql('postgres', q{SELECT atp.drop_handler('mostly');
	SELECT atp.alter_subscription('mostly', breaker => 'good', backoff => '{"initial": 3600, "maximum": 3600, "jitter": "none"}'), atp.create_handler('mostly', 'mostly', 'refuse_some(jsonb)')});
append('mostly', 30);
$node->poll_query_until('postgres', q{SELECT count(*) = 26 OR (SELECT state <> 'closed' FROM atp.breaker_status WHERE breaker = 'good') FROM done WHERE subscription = 'mostly'});
is($node->safe_psql('postgres', q{SELECT state FROM atp.breaker_status WHERE breaker = 'good'}), 'closed', 'a few failures among many successes leave the breaker closed');

# the lease is long enough for the handler's timeout, whatever the subscription says
is($node->safe_psql('postgres', q{SELECT atp.alter_subscription('greedy', lock_duration => '1 s');
	SELECT atp_internal.lease_of_handlers(subscription, tenant) FROM atp_internal.subscription WHERE name = 'greedy'}) =~ s/^\s*//r, '02:00:06', 'a lease outlasts a call');

$node->stop;
done_testing();
