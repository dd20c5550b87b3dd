-- Making, changing, moving and removing subscriptions. Options may change at any time; whoever moves a cursor locks it first.
CREATE FUNCTION atp_internal.subscription_key(subscription text, tenant text) RETURNS int
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(subscription_key.tenant);
	found_key int;
BEGIN
	SELECT s.subscription INTO found_key FROM atp_internal.subscription s WHERE s.name = subscription_key.subscription AND s.tenant = opened;
	IF found_key IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'TP300', MESSAGE = format('subscription "%s" does not exist', subscription_key.subscription),
			HINT = 'Make it with atp.create_subscription; atp.list_subscriptions() shows those of the tenant.';
	END IF;
	RETURN found_key;
END $$;
COMMENT ON FUNCTION atp_internal.subscription_key(text, text) IS
'Return the surrogate key of a subscription.
Raises: TP202 (no such tenant), TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.subscription_key(text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.refuse_subscription(detail text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'TP306', MESSAGE = 'invalid option of a subscription', DETAIL = detail;
END $$;
COMMENT ON FUNCTION atp_internal.refuse_subscription(text) IS
'Raise that an option of a subscription is not allowed.
Raises: TP306.';
REVOKE ALL ON FUNCTION atp_internal.refuse_subscription(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_options(partitions int, lock_duration interval, max_attempts int, ordering text,
		time_to_live interval, max_in_flight int) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF partitions IS NULL OR partitions NOT BETWEEN 1 AND 64 THEN
		PERFORM atp_internal.refuse_subscription('partitions is not between 1 and 64.');
	ELSIF lock_duration IS NULL OR lock_duration <= interval '0' OR lock_duration > interval '1 day' THEN
		PERFORM atp_internal.refuse_subscription('lock_duration is not between 0 and a day.');
	ELSIF max_attempts IS NULL OR max_attempts NOT BETWEEN 1 AND 1000 THEN
		PERFORM atp_internal.refuse_subscription('max_attempts is not between 1 and 1000.');
	ELSIF ordering IS NULL OR ordering NOT IN ('key', 'none') THEN
		PERFORM atp_internal.refuse_subscription('ordering is neither key nor none.');
	ELSIF time_to_live <= interval '0' OR time_to_live > interval '1000 years' THEN
		PERFORM atp_internal.refuse_subscription('time_to_live is not between 0 and 1000 years.');
	ELSIF max_in_flight < 1 THEN
		PERFORM atp_internal.refuse_subscription('max_in_flight is less than 1.');
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_options(int, interval, int, text, interval, int) IS
'Refuse options that a subscription cannot have.
Raises: TP306.';
REVOKE ALL ON FUNCTION atp_internal.require_options(int, interval, int, text, interval, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_guards(tenant int, breaker text, rate_limit text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF require_guards.breaker IS NOT NULL AND NOT EXISTS (SELECT FROM atp_internal.breaker b
			WHERE b.breaker = require_guards.breaker AND b.tenant = require_guards.tenant) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP360', MESSAGE = format('circuit breaker "%s" does not exist', require_guards.breaker),
			HINT = 'Make it with atp.create_breaker.';
	ELSIF require_guards.rate_limit IS NOT NULL AND NOT EXISTS (SELECT FROM atp_internal.rate_limit r
			WHERE r.rate_limit = require_guards.rate_limit AND r.tenant = require_guards.tenant) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP364', MESSAGE = format('rate limit "%s" does not exist', require_guards.rate_limit),
			HINT = 'Make it with atp.create_rate_limit.';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_guards(int, text, text) IS
'Refuse a breaker or a rate limit that the tenant does not have.
Raises: TP360, TP364.';
REVOKE ALL ON FUNCTION atp_internal.require_guards(int, text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_stored_types(event_types text[]) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	rendered text;
BEGIN
	SELECT t INTO rendered FROM unnest(atp_internal.rendered_event_types()) t WHERE t = ANY (require_stored_types.event_types);
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP301', MESSAGE = 'invalid filter', DETAIL = format('%s is rendered from the log, not stored in it.', rendered),
			HINT = 'Subscribe to the events that it follows from; atp.read_platform_events renders it.';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_stored_types(text[]) IS
'Refuse an event type that is never in the log.
Raises: TP301.';
REVOKE ALL ON FUNCTION atp_internal.require_stored_types(text[]) FROM PUBLIC;

-- Placed events are numbered without gaps and in time, so a time is found by halving.
CREATE FUNCTION atp_internal.position_before(at timestamptz) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	low bigint := 0;
	high bigint;
	middle bigint;
	placed timestamptz;
	placed_position bigint;
BEGIN
	SELECT coalesce(max(l.log_position), 0) INTO high FROM atp_internal.log l;
	WHILE low < high LOOP
		middle := (low + high) / 2 + 1;
		SELECT l.log_position, l.published_at INTO placed_position, placed FROM atp_internal.log l
			WHERE l.log_position >= middle ORDER BY l.log_position LIMIT 1;
		IF placed < at THEN
			low := greatest(middle, placed_position);
		ELSE
			high := middle - 1;
		END IF;
	END LOOP;
	RETURN low;
END $$;
COMMENT ON FUNCTION atp_internal.position_before(timestamptz) IS
'Return the last log position placed before a time; 0 where there is none.';
REVOKE ALL ON FUNCTION atp_internal.position_before(timestamptz) FROM PUBLIC;

CREATE FUNCTION atp_internal.read_start(start_at text) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	head bigint;
BEGIN
	IF start_at IS NULL OR start_at = 'beginning' THEN
		RETURN 0;
	END IF;
	SELECT coalesce(max(l.log_position), 0) INTO head FROM atp_internal.log l;
	IF start_at = 'end' THEN
		RETURN head;
	ELSIF start_at ~ '^[0-9]{1,18}$' THEN
		RETURN least(start_at::bigint, head);
	END IF;
	RETURN atp_internal.position_before(start_at::timestamptz);
EXCEPTION WHEN data_exception THEN
	PERFORM atp_internal.refuse_subscription(format('"%s" is neither beginning nor end, nor a log position or a time.', start_at));
END $$;
COMMENT ON FUNCTION atp_internal.read_start(text) IS
'Return the log position that a subscription starts behind.
start_at is beginning, end, a position, or a time. Raises: TP306 (none of these).';
REVOKE ALL ON FUNCTION atp_internal.read_start(text) FROM PUBLIC;

CREATE FUNCTION atp.create_subscription(
	subscription text,
	event_types text[] DEFAULT NULL,
	categories text[] DEFAULT NULL,
	streams text[] DEFAULT NULL,
	filter text DEFAULT NULL,
	correlation jsonb DEFAULT NULL,
	order_key text DEFAULT 'stream',
	ordering text DEFAULT 'key',
	partitions int DEFAULT 8,
	start_at text DEFAULT 'beginning',
	lock_duration interval DEFAULT '30 seconds',
	max_attempts int DEFAULT 3,
	backoff jsonb DEFAULT '{"initial": 1, "maximum": 300, "factor": 2, "jitter": "full"}',
	time_to_live interval DEFAULT NULL,
	max_in_flight int DEFAULT NULL,
	notify boolean DEFAULT false,
	tenant text DEFAULT NULL,
	breaker text DEFAULT NULL,
	rate_limit text DEFAULT NULL
) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(create_subscription.tenant);
	start_position bigint := atp_internal.read_start(create_subscription.start_at);
	made int;
BEGIN
	IF create_subscription.subscription IS NULL OR create_subscription.subscription !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,57}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP201', MESSAGE = format('invalid subscription name "%s"', create_subscription.subscription),
			HINT = 'A subscription name has 1 to 58 letters, digits, dots, colons, underscores and hyphens, and begins with a letter or digit.';
	END IF;
	PERFORM atp_internal.require_options(create_subscription.partitions, create_subscription.lock_duration, create_subscription.max_attempts,
		create_subscription.ordering, create_subscription.time_to_live, create_subscription.max_in_flight);
	PERFORM atp_internal.check_subscription(create_subscription.event_types, create_subscription.categories, create_subscription.streams,
		create_subscription.filter, create_subscription.correlation, create_subscription.order_key, create_subscription.backoff);
	PERFORM atp_internal.require_stored_types(create_subscription.event_types);
	PERFORM atp_internal.require_guards(opened, create_subscription.breaker, create_subscription.rate_limit);
	INSERT INTO atp_internal.subscription AS s (tenant, name, event_types, categories, streams, filter, correlation, order_key, ordering,
			partitions, lock_duration, max_attempts, backoff, time_to_live, max_in_flight, notify, breaker, rate_limit)
		VALUES (opened, create_subscription.subscription, create_subscription.event_types, create_subscription.categories,
			create_subscription.streams, create_subscription.filter, create_subscription.correlation, create_subscription.order_key,
			create_subscription.ordering, create_subscription.partitions, create_subscription.lock_duration, create_subscription.max_attempts,
			coalesce(create_subscription.backoff, '{}'), create_subscription.time_to_live, create_subscription.max_in_flight,
			coalesce(create_subscription.notify, false), create_subscription.breaker, create_subscription.rate_limit)
		ON CONFLICT (name, tenant) DO NOTHING RETURNING s.subscription INTO made;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP305', MESSAGE = format('subscription "%s" exists', create_subscription.subscription);
	END IF;
	PERFORM atp_internal.make_cursors(made, opened, create_subscription.partitions, start_position, 0);
	RETURN start_position;
END $$;
COMMENT ON FUNCTION atp.create_subscription(text, text[], text[], text[], text, jsonb, text, text, int, text, interval, int, jsonb, interval, int, boolean, text, text, text) IS
'Create a subscription, a durable cursor over the log.
Returns the log position it starts behind. event_types, categories, streams: names, where * stands for any characters; NULL any. filter: a jsonpath over the CloudEvents form ($.data.amount > 100), or a CloudEvents filter ({"prefix": {"type": "Order"}}; dialects exact, prefix, suffix, all, any, not). correlation: values of members of envelope and metadata. All that is given has to hold. order_key: stream, none, or metadata.NAME. ordering: key, events of a key wait behind a failed one; none, they pass it. partitions: into how many parts the key is cut, one lease each, at most 64. start_at: beginning, end, a log position, or a time. lock_duration: of a lease. max_attempts, backoff {initial, maximum, factor, jitter}: retries. time_to_live: since recorded_at. max_in_flight: events leased at a time. notify: announce new events on the channel atp_<subscription>. breaker: claims give nothing while it is open and one event as a probe when it is half-open; acks report successes to it, nacks that are not permanent and leases that expire failures, which stay though their transactions roll back. rate_limit: each event claimed takes a token of it. Several subscriptions may share a breaker or a rate limit; limits of all deliveries of a tenant: atp.set_delivery_limits.
Raises: TP201 (name), TP202, TP301 (a rule does not parse), TP305 (it exists), TP306 (an option), TP360 (no such breaker), TP364 (no such rate limit).';

CREATE FUNCTION atp.alter_subscription(
	subscription text,
	event_types text[] DEFAULT NULL,
	categories text[] DEFAULT NULL,
	streams text[] DEFAULT NULL,
	filter text DEFAULT NULL,
	correlation jsonb DEFAULT NULL,
	ordering text DEFAULT NULL,
	partitions int DEFAULT NULL,
	lock_duration interval DEFAULT NULL,
	max_attempts int DEFAULT NULL,
	backoff jsonb DEFAULT NULL,
	time_to_live interval DEFAULT NULL,
	max_in_flight int DEFAULT NULL,
	notify boolean DEFAULT NULL,
	clear text[] DEFAULT '{}',
	tenant text DEFAULT NULL,
	order_key text DEFAULT NULL,
	breaker text DEFAULT NULL,
	rate_limit text DEFAULT NULL
) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	chosen int := atp_internal.subscription_key(alter_subscription.subscription, alter_subscription.tenant);
	old atp_internal.subscription;
	new atp_internal.subscription;
	unknown text;
BEGIN
	SELECT c INTO unknown FROM unnest(alter_subscription.clear) c
		WHERE c IS NULL OR c NOT IN ('event_types', 'categories', 'streams', 'filter', 'correlation', 'time_to_live', 'max_in_flight', 'breaker', 'rate_limit');
	IF FOUND THEN
		PERFORM atp_internal.refuse_subscription(format('"%s" is no option that can be cleared.', unknown));
	END IF;
	SELECT s.* INTO old FROM atp_internal.subscription s WHERE s.subscription = chosen FOR UPDATE;
	new := old;
	new := jsonb_populate_record(new, (SELECT coalesce(jsonb_object_agg(c, NULL), '{}') FROM unnest(alter_subscription.clear) c));
	new.event_types := coalesce(alter_subscription.event_types, new.event_types);
	new.categories := coalesce(alter_subscription.categories, new.categories);
	new.streams := coalesce(alter_subscription.streams, new.streams);
	new.filter := coalesce(alter_subscription.filter, new.filter);
	new.correlation := coalesce(alter_subscription.correlation, new.correlation);
	new.ordering := coalesce(alter_subscription.ordering, new.ordering);
	new.lock_duration := coalesce(alter_subscription.lock_duration, new.lock_duration);
	new.max_attempts := coalesce(alter_subscription.max_attempts, new.max_attempts);
	new.backoff := coalesce(alter_subscription.backoff, new.backoff);
	new.time_to_live := coalesce(alter_subscription.time_to_live, new.time_to_live);
	new.max_in_flight := coalesce(alter_subscription.max_in_flight, new.max_in_flight);
	new.notify := coalesce(alter_subscription.notify, new.notify);
	new.breaker := coalesce(alter_subscription.breaker, new.breaker);
	new.rate_limit := coalesce(alter_subscription.rate_limit, new.rate_limit);
	PERFORM atp_internal.require_stored_types(alter_subscription.event_types);
	PERFORM atp_internal.require_guards(new.tenant, new.breaker, new.rate_limit);
	PERFORM atp_internal.require_options(coalesce(alter_subscription.partitions, new.partitions), new.lock_duration, new.max_attempts, new.ordering,
		new.time_to_live, new.max_in_flight);
	PERFORM atp_internal.check_subscription(new.event_types, new.categories, new.streams, new.filter, new.correlation,
		coalesce(alter_subscription.order_key, new.order_key), new.backoff);
	IF alter_subscription.partitions IS NOT NULL OR alter_subscription.order_key IS NOT NULL THEN
		-- No partition may have looked beyond drain_to: from there on the new ones read. Until all stand there the old ones go on.
		PERFORM atp_internal.lock_cursors(chosen, new.partitions);
		new.next_partitions := coalesce(alter_subscription.partitions, new.next_partitions, new.partitions);
		new.next_order_key := nullif(coalesce(alter_subscription.order_key, new.next_order_key), new.order_key);
		new.drain_to := NULL;
		IF new.next_partitions = new.partitions AND new.next_order_key IS NULL THEN
			new.next_partitions := NULL;
		ELSE
			SELECT max(greatest(c.acked, c.scanned, c.lease_last)) INTO new.drain_to FROM atp_internal.subscription_cursor c
				WHERE c.subscription = chosen AND c.tenant = new.tenant;
		END IF;
	END IF;
	IF (new.event_types, new.categories, new.streams, new.filter, new.correlation) IS DISTINCT FROM
			(old.event_types, old.categories, old.streams, old.filter, old.correlation) THEN
		PERFORM atp_internal.hold_leases(old.name, (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = old.tenant));
	END IF;
	UPDATE atp_internal.subscription s SET event_types = new.event_types, categories = new.categories, streams = new.streams,
			filter = new.filter, correlation = new.correlation, ordering = new.ordering, lock_duration = new.lock_duration,
			max_attempts = new.max_attempts, backoff = new.backoff, time_to_live = new.time_to_live, max_in_flight = new.max_in_flight,
			notify = new.notify, breaker = new.breaker, rate_limit = new.rate_limit,
			next_partitions = new.next_partitions, next_order_key = new.next_order_key, drain_to = new.drain_to, changed_at = clock_timestamp()
		WHERE s.subscription = chosen;
	IF new.next_partitions IS NOT NULL THEN
		PERFORM atp_internal.finish_partitioning(chosen);
	END IF;
END $$;
COMMENT ON FUNCTION atp.alter_subscription(text, text[], text[], text[], text, jsonb, text, int, interval, int, jsonb, interval, int, boolean, text[], text, text, text, text) IS
'Change options of a subscription; those that are not given (NULL) stay.
clear names rules to take away: event_types, categories, streams, filter, correlation, time_to_live, max_in_flight, breaker, rate_limit. Leases stay valid, with the events that they hold. A change of rules holds for events claimed from now on, also those whose lease expires; what a lease has passed over stays passed over, and what waits to be tried again is tried. A change of partitions or of order_key takes place once every partition has reached the position up to which any of them had looked: keys, old and new, stay in order, and consumers go on meanwhile; events that wait to be tried again get their new key then. It and a change of rules wait for transactions that claim or ack.
Raises: TP202, TP300 (no such subscription), TP301 (a rule does not parse), TP306 (an option), TP360 (no such breaker), TP364 (no such rate limit).';

CREATE FUNCTION atp_internal.set_subscription_state(subscription text, tenant text, state text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	UPDATE atp_internal.subscription s SET state = set_subscription_state.state, changed_at = clock_timestamp()
		WHERE s.subscription = atp_internal.subscription_key(set_subscription_state.subscription, set_subscription_state.tenant);
END;
COMMENT ON FUNCTION atp_internal.set_subscription_state(text, text, text) IS
'Make a subscription active or paused.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.set_subscription_state(text, text, text) FROM PUBLIC;

CREATE FUNCTION atp.pause_subscription(subscription text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.set_subscription_state(pause_subscription.subscription, pause_subscription.tenant, 'paused');
END;
COMMENT ON FUNCTION atp.pause_subscription(text, text) IS
'Pause a subscription: claims that begin later find nothing.
Leases stay valid and can be acked. Pausing a paused one does nothing.
Raises: TP202, TP300 (no such subscription).';

CREATE FUNCTION atp.resume_subscription(subscription text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.set_subscription_state(resume_subscription.subscription, resume_subscription.tenant, 'active');
END;
COMMENT ON FUNCTION atp.resume_subscription(text, text) IS
'End the pause of a subscription: it goes on where it stood.
Raises: TP202, TP300 (no such subscription).';

CREATE FUNCTION atp.seek_subscription(subscription text, log_position bigint DEFAULT NULL, at timestamptz DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	chosen int := atp_internal.subscription_key(seek_subscription.subscription, seek_subscription.tenant);
	s atp_internal.subscription;
	target bigint;
BEGIN
	IF num_nonnulls(seek_subscription.log_position, seek_subscription.at) <> 1 OR seek_subscription.log_position < 0 THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'give either a log position, not negative, or a time';
	END IF;
	SELECT x.* INTO s FROM atp_internal.subscription x WHERE x.subscription = chosen FOR UPDATE;
	PERFORM atp_internal.lock_cursors(chosen, s.partitions);
	SELECT coalesce(max(l.log_position), 0) INTO target FROM atp_internal.log l;
	target := least(target, coalesce(seek_subscription.log_position, atp_internal.position_before(seek_subscription.at)));
	DELETE FROM atp_internal.retry r WHERE r.subscription = chosen AND r.tenant = s.tenant AND r.log_position > target;
	UPDATE atp_internal.retry r SET lease = NULL, lease_until = NULL WHERE r.subscription = chosen AND r.tenant = s.tenant AND r.lease IS NOT NULL;
	UPDATE atp_internal.subscription_cursor c SET writes = 0, generation = c.generation + 1, acked = target, scanned = target, lease_last = target,
			lease = NULL, lease_count = 0, leased_at = '-infinity', lease_until = '-infinity', consumer = NULL, settled = NULL, runs = NULL,
			held = NULL,
			retry_changes = c.retry_changes + 1,
			retries = (SELECT count(*) FROM atp_internal.retry r WHERE r.subscription = chosen AND r.tenant = s.tenant AND r.partition = c.partition),
			retry_due_at = coalesce((SELECT min(r.due_at) FROM atp_internal.retry r
				WHERE r.subscription = chosen AND r.tenant = s.tenant AND r.partition = c.partition), 'infinity')
		WHERE c.subscription = chosen AND c.tenant = s.tenant;
	UPDATE atp_internal.subscription x SET changed_at = clock_timestamp(), drain_to = CASE WHEN x.next_partitions IS NULL THEN NULL ELSE target END
		WHERE x.subscription = chosen;
	PERFORM atp_internal.finish_partitioning(chosen);
	RETURN target;
END $$;
COMMENT ON FUNCTION atp.seek_subscription(text, bigint, timestamptz, text) IS
'Move a subscription to a log position or a time, and return the position.
Events after the position, or placed at or after the time, are delivered next. Leases end: what they held comes again if it lies ahead, and their tokens are stale. Failed events up to the position stay due; those behind it are forgotten, they come again. Waits for transactions that claim or ack.
Raises: TP202, TP300 (no such subscription), 22023 (neither or both given).';

CREATE FUNCTION atp.drop_subscription(subscription text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	chosen int := atp_internal.subscription_key(drop_subscription.subscription, drop_subscription.tenant);
	s atp_internal.subscription;
BEGIN
	SELECT x.* INTO s FROM atp_internal.subscription x WHERE x.subscription = chosen FOR UPDATE;
	PERFORM atp_internal.lock_cursors(chosen, s.partitions);
	DELETE FROM atp_internal.retry r WHERE r.subscription = chosen AND r.tenant = s.tenant;
	DELETE FROM atp_internal.dead_letter d WHERE d.subscription = chosen AND d.tenant = s.tenant;
	DELETE FROM atp_internal.subscription_cursor c WHERE c.subscription = chosen AND c.tenant = s.tenant;
	DELETE FROM atp_internal.subscription x WHERE x.subscription = chosen AND x.tenant = s.tenant;
END $$;
COMMENT ON FUNCTION atp.drop_subscription(text, text) IS
'Remove a subscription with its cursors, retries and dead letters.
Its leases are void. The events stay. Waits for transactions that claim or ack.
Raises: TP202, TP300 (no such subscription).';

REVOKE ALL ON FUNCTION
	atp.create_subscription(text, text[], text[], text[], text, jsonb, text, text, int, text, interval, int, jsonb, interval, int, boolean, text, text, text),
	atp.alter_subscription(text, text[], text[], text[], text, jsonb, text, int, interval, int, jsonb, interval, int, boolean, text[], text, text, text, text), atp.pause_subscription(text, text), atp.resume_subscription(text, text),
	atp.seek_subscription(text, bigint, timestamptz, text), atp.drop_subscription(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	atp.create_subscription(text, text[], text[], text[], text, jsonb, text, text, int, text, interval, int, jsonb, interval, int, boolean, text, text, text),
	atp.alter_subscription(text, text[], text[], text[], text, jsonb, text, int, interval, int, jsonb, interval, int, boolean, text[], text, text, text, text), atp.pause_subscription(text, text), atp.resume_subscription(text, text),
	atp.seek_subscription(text, bigint, timestamptz, text), atp.drop_subscription(text, text) TO atp_admin;

CREATE VIEW atp.subscriptions AS
	SELECT t.name AS tenant, s.name AS subscription, s.state, s.event_types, s.categories, s.streams, s.filter, s.correlation, s.order_key,
		s.ordering, s.partitions, s.next_partitions, s.lock_duration, s.max_attempts, s.backoff, s.time_to_live, s.max_in_flight, s.notify,
		s.created_at, s.changed_at, s.breaker, s.rate_limit, s.next_order_key
	FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
	WHERE s.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.subscriptions IS 'List the subscriptions of the current tenant, with their options.';
COMMENT ON COLUMN atp.subscriptions.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.subscriptions.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp.subscriptions.state IS 'active or paused.';
COMMENT ON COLUMN atp.subscriptions.event_types IS 'Names of event types, * for any characters; NULL: any.';
COMMENT ON COLUMN atp.subscriptions.categories IS 'Categories of streams, * for any characters; NULL: any.';
COMMENT ON COLUMN atp.subscriptions.streams IS 'Names of streams, * for any characters; NULL: any.';
COMMENT ON COLUMN atp.subscriptions.filter IS 'A jsonpath over the CloudEvents form, or a CloudEvents filter; NULL: none.';
COMMENT ON COLUMN atp.subscriptions.correlation IS 'Values that members of envelope and metadata have to have; NULL: none.';
COMMENT ON COLUMN atp.subscriptions.order_key IS 'stream, none, or metadata. and the name of a member.';
COMMENT ON COLUMN atp.subscriptions.ordering IS 'key: events of a key wait behind a failed one; none: they pass it.';
COMMENT ON COLUMN atp.subscriptions.partitions IS 'Into how many partitions the order key is cut.';
COMMENT ON COLUMN atp.subscriptions.next_partitions IS 'How many there will be when a change under way is done; NULL: none is.';
COMMENT ON COLUMN atp.subscriptions.lock_duration IS 'For how long a lease is valid.';
COMMENT ON COLUMN atp.subscriptions.max_attempts IS 'After how many attempts an event becomes a dead letter.';
COMMENT ON COLUMN atp.subscriptions.backoff IS 'Delay between attempts: {initial, maximum, factor, jitter}.';
COMMENT ON COLUMN atp.subscriptions.time_to_live IS 'An event recorded longer ago becomes a dead letter; NULL: never.';
COMMENT ON COLUMN atp.subscriptions.max_in_flight IS 'How many events may be leased at a time; NULL: any number.';
COMMENT ON COLUMN atp.subscriptions.notify IS 'Whether new events are announced by NOTIFY on atp_<subscription>.';
COMMENT ON COLUMN atp.subscriptions.created_at IS 'When it was made.';
COMMENT ON COLUMN atp.subscriptions.changed_at IS 'When it was last changed.';
COMMENT ON COLUMN atp.subscriptions.breaker IS 'The circuit breaker that its claims honour; NULL: none.';
COMMENT ON COLUMN atp.subscriptions.rate_limit IS 'The rate limit that its claims honour; NULL: none.';
COMMENT ON COLUMN atp.subscriptions.next_order_key IS 'The order key when a change under way is done; NULL: it stays.';
GRANT SELECT ON atp.subscriptions TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_subscriptions(tenant text DEFAULT NULL) RETURNS SETOF atp.subscriptions
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 10 AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(list_subscriptions.tenant);
BEGIN
	RETURN QUERY SELECT t.name, s.name, s.state, s.event_types, s.categories, s.streams, s.filter, s.correlation, s.order_key, s.ordering,
			s.partitions, s.next_partitions, s.lock_duration, s.max_attempts, s.backoff, s.time_to_live, s.max_in_flight, s.notify,
			s.created_at, s.changed_at, s.breaker, s.rate_limit, s.next_order_key
		FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant WHERE s.tenant = opened ORDER BY s.name;
END $$;
COMMENT ON FUNCTION atp.list_subscriptions(text) IS
'List the subscriptions of a tenant, by name.
tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';

CREATE FUNCTION atp.get_subscription(subscription text, tenant text DEFAULT NULL) RETURNS atp.subscriptions
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT l.* FROM atp.list_subscriptions(get_subscription.tenant) l WHERE l.subscription = get_subscription.subscription;
END;
COMMENT ON FUNCTION atp.get_subscription(text, text) IS
'Return the options of a subscription; NULL where there is none of this name.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.list_subscriptions(text), atp.get_subscription(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_subscriptions(text), atp.get_subscription(text, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.explain_routing(
	event_id uuid,
	tenant text DEFAULT NULL,
	OUT subscription text,
	OUT matches boolean,
	OUT rule text,
	OUT reason text
) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'atp_manage_explain';
COMMENT ON FUNCTION atp.explain_routing(uuid, text) IS
'Say which subscriptions of the tenant match an event, by which rule, or why not.
rule: those that hold, where it matches; the first that does not, where it does not. reason adds partition and state, or what the filter raised.
Raises: TP308 (no such event in the log), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.explain_routing(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.explain_routing(uuid, text) TO atp_reader, atp_auditor, atp_admin;
