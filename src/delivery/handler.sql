-- In-database handlers: functions that the worker's helpers run for the events of a subscription. Several handlers of one
-- subscription are steps: an event goes through them in order, and what is done is done once (delivery/inbox). When a step gives up,
-- the compensations of the steps before it run, the last one first.
CREATE TABLE atp_internal.handler (
	tenant int NOT NULL,
	subscription int NOT NULL,
	step int NOT NULL CONSTRAINT handler_step_range CHECK (step BETWEEN 1 AND 1000),
	handler text NOT NULL CONSTRAINT handler_name_sized CHECK (pg_catalog.octet_length(handler) BETWEEN 1 AND 200),
	function text NOT NULL,
	compensation text,
	run_as text NOT NULL,
	timeout interval NOT NULL CONSTRAINT handler_timeout_range CHECK (timeout BETWEEN '1 ms' AND '1 hour'),
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT handler_pk PRIMARY KEY (subscription, step, tenant),
	CONSTRAINT handler_name_unique UNIQUE (handler, tenant),
	CONSTRAINT handler_subscription FOREIGN KEY (subscription, tenant) REFERENCES atp_internal.subscription (subscription, tenant) ON DELETE CASCADE
);
COMMENT ON TABLE atp_internal.handler IS 'Functions that are run for the events of subscriptions.';
COMMENT ON COLUMN atp_internal.handler.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.handler.subscription IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.handler.step IS 'Place among the handlers of the subscription.';
COMMENT ON COLUMN atp_internal.handler.handler IS 'Name.';
COMMENT ON COLUMN atp_internal.handler.function IS 'The function with its argument, as type regprocedure writes it: looked up at each batch, so that one that is dropped is a failure of its events.';
COMMENT ON COLUMN atp_internal.handler.compensation IS 'Function that undoes the step; NULL: nothing does.';
COMMENT ON COLUMN atp_internal.handler.run_as IS 'Role that the functions run as.';
COMMENT ON COLUMN atp_internal.handler.timeout IS 'How long one call may take.';
COMMENT ON COLUMN atp_internal.handler.created_at IS 'When it was made.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.handler', '');
ALTER TABLE atp_internal.handler ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.handler FORCE ROW LEVEL SECURITY;
CREATE POLICY handler_tenant ON atp_internal.handler USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.handler_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_handler_changed';
COMMENT ON FUNCTION atp_internal.handler_changed() IS 'Tell every backend that the handlers changed.';
REVOKE ALL ON FUNCTION atp_internal.handler_changed() FROM PUBLIC;
CREATE TRIGGER handler_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.handler
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.handler_changed();
ALTER TABLE atp_internal.handler ENABLE ALWAYS TRIGGER handler_changed;

CREATE FUNCTION atp_internal.undo_step(tenant int, handler text, event jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	step record;
	failure text;
	handled uuid := (event ->> 'event_id')::uuid;
BEGIN
	SELECT h.compensation, h.timeout, h.run_as, t.name AS tenant_name INTO step
		FROM atp_internal.handler h JOIN atp_internal.tenant t ON t.tenant = h.tenant
		WHERE h.handler = undo_step.handler AND h.tenant = undo_step.tenant;
	IF step.compensation IS NOT NULL THEN
		SELECT c.failure INTO failure FROM atp_internal.call_handler(step.compensation, event || jsonb_build_object('handler', handler),
			(extract(epoch FROM step.timeout) * 1000)::int, step.run_as) c;
	END IF;
	IF failure IS NOT NULL THEN
		RAISE WARNING 'compensation of handler "%" for event % failed', handler, handled USING DETAIL = failure;
		UPDATE atp_internal.inbox i SET state = 'p', error = 'compensation failed: ' || failure
			WHERE i.event_id = handled AND i.handler = 'handler/' || undo_step.handler AND i.tenant = undo_step.tenant;
	ELSE
		PERFORM atp.forget_handling('handler/' || handler, handled, step.tenant_name);
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.undo_step(int, text, jsonb) IS
'Run the compensation of a step that was done for an event.
The step is forgotten, so that a replay of the dead letter runs it again. A compensation that fails is a warning, and stays in the inbox as failed: a replay becomes a dead letter at once until forget_handling is called.';
REVOKE ALL ON FUNCTION atp_internal.undo_step(int, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.compensate(subscription int, tenant int, failed_step int, event jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	done text;
BEGIN
	FOR done IN
		SELECT h.handler FROM atp_internal.handler h
			JOIN atp_internal.inbox i ON i.event_id = (event ->> 'event_id')::uuid AND i.handler = 'handler/' || h.handler AND i.tenant = h.tenant
				AND i.state = 'd'
		WHERE h.subscription = compensate.subscription AND h.tenant = compensate.tenant AND h.step < failed_step
		ORDER BY h.step DESC
	LOOP
		PERFORM atp_internal.undo_step(tenant, done, event);
	END LOOP;
END $$;
COMMENT ON FUNCTION atp_internal.compensate(int, int, int, jsonb) IS
'Run the compensations of the steps before one that gave up, the last first.';
REVOKE ALL ON FUNCTION atp_internal.compensate(int, int, int, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.mark_given_up(subscription int, tenant int, event_id uuid) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	UPDATE atp_internal.inbox i SET state = 'c'
		FROM atp_internal.handler h
		WHERE h.subscription = mark_given_up.subscription AND h.tenant = mark_given_up.tenant
			AND i.event_id = mark_given_up.event_id AND i.handler = 'handler/' || h.handler AND i.tenant = h.tenant AND i.state = 'd';
END;
COMMENT ON FUNCTION atp_internal.mark_given_up(int, int, uuid) IS
'Mark the steps of an event that no handler gave up for compensation.
Its lease expired too often, or its time to live is over, or its handler was ended with its process.';
REVOKE ALL ON FUNCTION atp_internal.mark_given_up(int, int, uuid) FROM PUBLIC;

CREATE FUNCTION atp_internal.next_compensation(subscription int, tenant int, OUT handler text, OUT event jsonb)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	step record;
BEGIN
	SELECT h.handler, i.event_id, t.name AS tenant_name INTO step
		FROM atp_internal.handler h
			JOIN atp_internal.inbox i ON i.handler = 'handler/' || h.handler AND i.tenant = h.tenant AND i.state = 'c'
			JOIN atp_internal.tenant t ON t.tenant = h.tenant
		WHERE h.subscription = next_compensation.subscription AND h.tenant = next_compensation.tenant
		ORDER BY i.event_id, h.step DESC LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	UPDATE atp_internal.inbox i SET state = 'p', error = 'compensation was cut off'
		WHERE i.event_id = step.event_id AND i.handler = 'handler/' || step.handler AND i.tenant = next_compensation.tenant;
	handler := step.handler;
	event := to_jsonb(atp.get_event(step.event_id, step.tenant_name)) - '{hash}'::text[] || (
		SELECT jsonb_build_object('log_position', d.log_position, 'attempt', d.attempts) FROM atp_internal.dead_letter d
			WHERE d.subscription = next_compensation.subscription AND d.tenant = next_compensation.tenant AND d.event_id = step.event_id
			ORDER BY d.dead_letter DESC LIMIT 1);
END $$;
COMMENT ON FUNCTION atp_internal.next_compensation(int, int) IS
'Take the next step that is to be compensated.
The last one of an event comes first; NULLs where there is none. It stands as failed from here on, so that a compensation that ends its process is not run without end.';
REVOKE ALL ON FUNCTION atp_internal.next_compensation(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.handle_event(subscription int, tenant int, event jsonb, OUT failed_step int, OUT failure text,
		OUT is_final boolean)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	step record;
	begun record;
	known text;
	event_id uuid := (event ->> 'event_id')::uuid;
BEGIN
	FOR step IN
		SELECT h.step, h.handler, h.function, h.timeout, h.run_as, t.name AS tenant_name, count(*) OVER () > 1 AS several
		FROM atp_internal.handler h JOIN atp_internal.tenant t ON t.tenant = h.tenant
		WHERE h.subscription = handle_event.subscription AND h.tenant = handle_event.tenant ORDER BY h.step
	LOOP
		IF step.several THEN
			known := 'handler/' || step.handler;
			SELECT * INTO begun FROM atp.begin_handling(known, event_id, lock_duration => '0', tenant => step.tenant_name);
			CONTINUE WHEN begun.verdict = 'done';
			IF begun.verdict <> 'new' THEN	-- failed: its compensation did; busy: somebody has the inbox row under this name
				failed_step := step.step;
				failure := coalesce(begun.error, 'the inbox says ' || begun.verdict);
				is_final := begun.verdict = 'failed';
				RETURN;
			END IF;
		END IF;
		SELECT c.failure INTO failure FROM atp_internal.call_handler(step.function,
			event || jsonb_build_object('handler', step.handler, 'tenant', step.tenant_name),
			(extract(epoch FROM step.timeout) * 1000)::int, step.run_as) c;
		IF failure IS NOT NULL THEN
			failed_step := step.step;
			is_final := failure LIKE 'TP344: %' AND step.function = 'atp_internal.run_route(jsonb)';
			IF step.several THEN
				PERFORM atp.fail_handling(known, event_id, '40001', failure, step.tenant_name);	-- to be tried again, as the subscription says
			END IF;
			RETURN;
		END IF;
		IF step.several THEN
			PERFORM atp.finish_handling(known, event_id, NULL, step.tenant_name);
		END IF;
	END LOOP;
END $$;
COMMENT ON FUNCTION atp_internal.handle_event(int, int, jsonb) IS
'Take an event through the steps of a subscription.
Returns the step that failed and how, or NULLs; is_final: no other attempt can succeed. Steps that were done by an earlier attempt are passed over.';
REVOKE ALL ON FUNCTION atp_internal.handle_event(int, int, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.handle_events(subscription int, tenant int, lease uuid, events jsonb, until timestamptz) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	event jsonb;
	outcome record;
	back atp.given_back;
	withdrawn uuid[] := '{}';
	names record;
	acked bigint;
	is_cut boolean := false;
	rest jsonb;
BEGIN
	SELECT s.name AS subscription, t.name AS tenant, s.breaker INTO names
		FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
		WHERE s.subscription = handle_events.subscription AND s.tenant = handle_events.tenant;
	FOR i IN 0 .. jsonb_array_length(events) - 1 LOOP
		event := events -> i;
		CONTINUE WHEN (event ->> 'event_id')::uuid = ANY (withdrawn);
		IF is_cut OR i > 0 AND clock_timestamp() > until THEN
			SELECT jsonb_agg(r.one ORDER BY r.place) INTO rest FROM jsonb_array_elements(events) WITH ORDINALITY AS r (one, place)
				WHERE r.place > i AND NOT (r.one ->> 'event_id')::uuid = ANY (withdrawn);
			EXIT;
		END IF;
		SELECT * INTO outcome FROM atp_internal.handle_event(subscription, tenant, event);
		IF outcome.failed_step IS NULL THEN
			acked := (event ->> 'log_position')::bigint;
			CONTINUE;
		END IF;
		IF names.breaker IS NOT NULL AND acked IS NOT NULL THEN	-- so that it knows of the successes before the failure
			PERFORM atp.ack_events(names.subscription, lease, acked, names.tenant);
			acked := NULL;
		END IF;
		back := atp.nack_event(names.subscription, lease, (event ->> 'event_id')::uuid, outcome.failure, outcome.is_final, names.tenant);
		withdrawn := withdrawn || back.withdrawn;
		is_cut := outcome.failure LIKE '53200: %';	-- out of memory: the others get a process of their own
		IF back.outcome = 'dead letter' THEN
			PERFORM atp_internal.compensate(subscription, tenant, outcome.failed_step, event);
		END IF;
		IF names.breaker IS NOT NULL AND (SELECT b.state <> 'closed' FROM atp_internal.read_breaker(tenant, names.breaker) b) THEN
			PERFORM atp.release_lease(names.subscription, lease, names.tenant) WHERE atp_internal.lease_is_held(subscription, tenant, lease);
			RETURN NULL;
		END IF;
	END LOOP;
	IF acked IS NOT NULL THEN
		PERFORM atp.ack_events(names.subscription, lease, acked, names.tenant);
	END IF;
	RETURN rest;
END $$;
COMMENT ON FUNCTION atp_internal.handle_events(int, int, uuid, jsonb, timestamptz) IS
'Handle leased events, ack or nack each.
Returns those that are left when until has passed: the lease has to be renewed first; or when one ran out of memory: the process has to be replaced. NULL: none are; after a failure that opened the breaker what is left was released. Effects and acks are one transaction.';
REVOKE ALL ON FUNCTION atp_internal.handle_events(int, int, uuid, jsonb, timestamptz) FROM PUBLIC;

CREATE FUNCTION atp_internal.lease_of_handlers(subscription int, tenant int) RETURNS interval
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT greatest(s.lock_duration, least(2 * (SELECT coalesce(sum(h.timeout + interval '3 seconds'), '0') FROM atp_internal.handler h
			WHERE h.subscription = s.subscription AND h.tenant = s.tenant), interval '1 day'))
	FROM atp_internal.subscription s WHERE s.subscription = lease_of_handlers.subscription AND s.tenant = lease_of_handlers.tenant;
END;
COMMENT ON FUNCTION atp_internal.lease_of_handlers(int, int) IS
'Return how long a lease of a subscription''s handlers lasts.
So long that the steps of one event, with the grace after their timeouts, fit into half of it; no less than the subscription says.';
REVOKE ALL ON FUNCTION atp_internal.lease_of_handlers(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.claim_for_handlers(subscription int, tenant int, OUT lease uuid, OUT events jsonb, OUT until timestamptz)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	names record;
	last bigint;
BEGIN
	SELECT s.name AS subscription, t.name AS tenant, s.lock_duration, atp_internal.lease_of_handlers(subscription, tenant) AS duration INTO names
		FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
		WHERE s.subscription = claim_for_handlers.subscription AND s.tenant = claim_for_handlers.tenant
			AND EXISTS (SELECT FROM atp_internal.handler h WHERE h.subscription = s.subscription AND h.tenant = s.tenant);
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT coalesce(max(d.dead_letter), 0) INTO last FROM atp_internal.dead_letter d
		WHERE d.subscription = claim_for_handlers.subscription AND d.tenant = claim_for_handlers.tenant;
	-- max() would need an ordering of uuid: all rows carry one lease
	SELECT (array_agg(c.lease))[1], jsonb_agg(to_jsonb(c) - '{lease,lease_until,redelivered,redelivery_of}'::text[] ORDER BY c.log_position)
		INTO lease, events
		FROM atp.claim_events(names.subscription, 100, 'handlers', tenant => names.tenant) c;
	PERFORM atp_internal.mark_given_up(subscription, tenant, d.event_id) FROM atp_internal.dead_letter d
		WHERE d.subscription = claim_for_handlers.subscription AND d.tenant = claim_for_handlers.tenant AND d.dead_letter > last;
	IF names.duration > names.lock_duration AND lease IS NOT NULL THEN
		PERFORM atp.renew_lease(names.subscription, lease, names.duration, names.tenant);
	END IF;
	until := clock_timestamp() + names.duration / 2;
END $$;
COMMENT ON FUNCTION atp_internal.claim_for_handlers(int, int) IS
'Claim events for the handlers of a subscription; NULLs where there are none.
until is when half of the lease is over.';
REVOKE ALL ON FUNCTION atp_internal.claim_for_handlers(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.renew_for_handlers(subscription int, tenant int, lease uuid) RETURNS timestamptz
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT pg_catalog.clock_timestamp() + (atp.renew_lease(s.name, renew_for_handlers.lease,
		atp_internal.lease_of_handlers(s.subscription, s.tenant), t.name) - pg_catalog.clock_timestamp()) / 2
	FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
	WHERE s.subscription = renew_for_handlers.subscription AND s.tenant = renew_for_handlers.tenant;
END;
COMMENT ON FUNCTION atp_internal.renew_for_handlers(int, int, uuid) IS 'Renew a lease of the handlers; returns when half of it is over.';
REVOKE ALL ON FUNCTION atp_internal.renew_for_handlers(int, int, uuid) FROM PUBLIC;

CREATE FUNCTION atp_internal.leave_events(subscription int, tenant int, lease uuid, failed_event text, reason text) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	names record;
	back atp.given_back;
	released int := 0;
BEGIN
	SELECT s.name AS subscription, t.name AS tenant INTO names
		FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
		WHERE s.subscription = leave_events.subscription AND s.tenant = leave_events.tenant;
	IF failed_event <> '' AND atp_internal.lease_is_held(subscription, tenant, lease) THEN
		back := atp.nack_event(names.subscription, lease, failed_event::uuid, reason, tenant => names.tenant);
		IF back.outcome = 'dead letter' THEN
			PERFORM atp_internal.mark_given_up(subscription, tenant, failed_event::uuid);
		END IF;
	END IF;
	IF atp_internal.lease_is_held(subscription, tenant, lease) THEN
		released := atp.release_lease(names.subscription, lease, names.tenant);
	END IF;
	RETURN released;
END $$;
COMMENT ON FUNCTION atp_internal.leave_events(int, int, uuid, text, text) IS
'Give back the events that a runner leaves unhandled.
failed_event (empty: none) is the one whose handler ended the runner: its attempt counts. Returns how many others there are.';
REVOKE ALL ON FUNCTION atp_internal.leave_events(int, int, uuid, text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.is_left_by_handlers(subscription int, tenant int) RETURNS boolean
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT EXISTS (SELECT FROM atp_internal.subscription_cursor c WHERE c.subscription = is_left_by_handlers.subscription
			AND c.tenant = is_left_by_handlers.tenant AND c.lease IS NOT NULL AND c.consumer = 'handlers')
		OR EXISTS (SELECT FROM atp_internal.retry r WHERE r.subscription = is_left_by_handlers.subscription
			AND r.tenant = is_left_by_handlers.tenant AND r.lease IS NOT NULL AND r.consumer = 'handlers')
		OR EXISTS (SELECT FROM atp_internal.handler h JOIN atp_internal.inbox i ON i.handler = 'handler/' || h.handler AND i.tenant = h.tenant
			AND i.state = 'c' WHERE h.subscription = is_left_by_handlers.subscription AND h.tenant = is_left_by_handlers.tenant);
END;
COMMENT ON FUNCTION atp_internal.is_left_by_handlers(int, int) IS
'Say whether a runner has leases of a subscription, or compensations to run.
It may have been killed: then the next runner takes them over.';
REVOKE ALL ON FUNCTION atp_internal.is_left_by_handlers(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.take_over_from_handlers(subscription int, tenant int) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	found int;
BEGIN
	IF NOT atp_internal.is_left_by_handlers(subscription, tenant) THEN
		RETURN 0;
	END IF;
	PERFORM atp_internal.lock_cursors(subscription, (SELECT max(c.partition) + 1 FROM atp_internal.subscription_cursor c
		WHERE c.subscription = take_over_from_handlers.subscription AND c.tenant = take_over_from_handlers.tenant));
	UPDATE atp_internal.subscription_cursor c SET retry_changes = c.retry_changes + 1,
			lease_until = CASE WHEN c.lease IS NOT NULL AND c.consumer = 'handlers' THEN clock_timestamp() ELSE c.lease_until END,
			retry_due_at = CASE WHEN c.retries > 0 THEN least(c.retry_due_at, clock_timestamp()) ELSE c.retry_due_at END
		WHERE c.subscription = take_over_from_handlers.subscription AND c.tenant = take_over_from_handlers.tenant;
	UPDATE atp_internal.retry r SET lease_until = clock_timestamp()
		WHERE r.subscription = take_over_from_handlers.subscription AND r.tenant = take_over_from_handlers.tenant
			AND r.lease IS NOT NULL AND r.consumer = 'handlers';
	GET DIAGNOSTICS found = ROW_COUNT;
	RETURN found;
END $$;
COMMENT ON FUNCTION atp_internal.take_over_from_handlers(int, int) IS
'End the leases of a runner that was killed.
The caller is the only runner of the subscription. The attempts count, as those of any lease that expires.';
REVOKE ALL ON FUNCTION atp_internal.take_over_from_handlers(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.handled_subscriptions(OUT subscription int, OUT tenant int, OUT is_ready boolean, OUT is_pending boolean)
	RETURNS SETOF record LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT s.subscription, s.tenant, atp.wait_for_events(s.name, '0', t.name) OR atp_internal.is_left_by_handlers(s.subscription, s.tenant),
		EXISTS (SELECT FROM atp_internal.retry r WHERE r.subscription = s.subscription AND r.tenant = s.tenant AND r.due_at < 'infinity')
	FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
	WHERE t.status = 'active' AND EXISTS (SELECT FROM atp_internal.handler h WHERE h.subscription = s.subscription AND h.tenant = s.tenant)
	ORDER BY s.subscription;
END;
COMMENT ON FUNCTION atp_internal.handled_subscriptions() IS
'List the subscriptions that have handlers, and whether they have work.
In the order of their keys. is_ready: a claim would find events, or a runner has some, dead or alive. is_pending: events are due later.';
REVOKE ALL ON FUNCTION atp_internal.handled_subscriptions() FROM PUBLIC;

CREATE FUNCTION atp_internal.require_handler_function(function regprocedure, run_as name) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	IF NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = function AND p.pronargs = 1 AND p.proargtypes[0] = 'jsonb'::regtype
			AND p.prokind = 'f' AND NOT p.proretset) THEN
		RAISE EXCEPTION '% cannot handle events', function USING ERRCODE = 'TP341',
			HINT = 'A handler is a function of one argument of type jsonb that returns one value, void for example.';
	END IF;
	IF NOT has_function_privilege(run_as, function::oid, 'EXECUTE') THEN
		RAISE EXCEPTION 'role "%" may not execute %', run_as, function USING ERRCODE = '42501';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_handler_function(regprocedure, name) IS
'Refuse a function that cannot be a handler, or that the role may not execute.
Raises: TP341, 42501.';
REVOKE ALL ON FUNCTION atp_internal.require_handler_function(regprocedure, name) FROM PUBLIC;

CREATE FUNCTION atp_internal.add_handler(tenant int, subscription int, step int, handler text, function text, compensation text, run_as name,
		timeout interval) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	INSERT INTO atp_internal.handler (tenant, subscription, step, handler, function, compensation, run_as, timeout)
		VALUES (tenant, subscription, step, handler, function, compensation, run_as, timeout)
		ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'handler "%" exists, or step % of its subscription is taken', handler, step USING ERRCODE = '42710';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.add_handler(int, int, int, text, text, text, name, interval) IS
'Enter a handler.
Raises: 42710 (name or step taken), 23514, 23502.';
REVOKE ALL ON FUNCTION atp_internal.add_handler(int, int, int, text, text, text, name, interval) FROM PUBLIC;

CREATE FUNCTION atp.create_handler(handler text, subscription text, function regprocedure, step int DEFAULT 1,
		compensation regprocedure DEFAULT NULL, timeout interval DEFAULT '30 seconds', run_as name DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_handler.tenant);
	subscription_key int := atp_internal.subscription_key(create_handler.subscription, create_handler.tenant);
	runner name := coalesce(run_as, session_user);
BEGIN
	IF function IS NULL THEN
		RAISE EXCEPTION 'function must not be null' USING ERRCODE = '22004';
	END IF;
	IF NOT pg_has_role(session_user, runner, 'MEMBER') OR pg_has_role(runner, 'atp_owner', 'USAGE') AND NOT
			(SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) THEN
		RAISE EXCEPTION 'permission denied to run a handler as role "%"', runner USING ERRCODE = '42501',
			DETAIL = 'The session''s user has to be a member of it.';
	END IF;
	PERFORM atp_internal.require_handler_function(function, runner);
	IF compensation IS NOT NULL THEN
		PERFORM atp_internal.require_handler_function(compensation, runner);
	END IF;
	PERFORM atp_internal.add_handler(owner_key, subscription_key, step, handler, function::text, compensation::text, runner, timeout);
END $$;
COMMENT ON FUNCTION atp.create_handler(text, text, regprocedure, int, regprocedure, interval, name, text) IS
'Create a handler: a function that is run for each event of a subscription.
function takes the event as jsonb (event_id, stream, stream_version, event_type, schema_version, occurred_at, payload, metadata, log_position, attempt, handler, tenant); what it returns is ignored. Its search_path is pg_catalog, pg_temp unless it has one of its own (CREATE FUNCTION … SET search_path). It runs in a worker process of the subscription, as run_as (NULL: the session''s user), up to timeout per call; effects and acks of a batch are one transaction, so that effects in this database happen exactly once. An error, the timeout, or more memory than atp.handler_max_memory, is a failed delivery: tried again and given up as the subscription says. Handlers of one subscription are steps, run in order; what an earlier step has done is not repeated when a later one is tried again. When a step gives up, compensation of the steps before it is called with the event, the last first. Events that it appends are like any others: when its own subscription takes them, it goes on without end. Do not claim from such a subscription elsewhere.
Raises: TP202, TP300 (no such subscription), TP341 (not such a function), 42501, 42710 (name or step taken), 42704 (no such role), 22004, 23514, 23502 (step, timeout, name).';
REVOKE ALL ON FUNCTION atp.create_handler(text, text, regprocedure, int, regprocedure, interval, name, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_handler(text, text, regprocedure, int, regprocedure, interval, name, text) TO atp_admin;

CREATE FUNCTION atp.drop_handler(handler text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(drop_handler.tenant);
BEGIN
	DELETE FROM atp_internal.handler h WHERE h.handler = drop_handler.handler AND h.tenant = owner_key;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'handler "%" does not exist', handler USING ERRCODE = 'TP340';
	END IF;
END $$;
COMMENT ON FUNCTION atp.drop_handler(text, text) IS
'Drop a handler.
A batch in work ends first, or is handled by the steps that remain.
Raises: TP202, TP340 (no such handler).';
REVOKE ALL ON FUNCTION atp.drop_handler(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.drop_handler(text, text) TO atp_admin;

CREATE VIEW atp.handlers WITH (security_barrier) AS
	SELECT t.name AS tenant, h.handler, s.name AS subscription, h.step, h.function, h.compensation, h.run_as, h.timeout, h.created_at
	FROM atp_internal.handler h
		JOIN atp_internal.tenant t ON t.tenant = h.tenant
		JOIN atp_internal.subscription s ON s.subscription = h.subscription AND s.tenant = h.tenant;
COMMENT ON VIEW atp.handlers IS 'List the in-database handlers.';
COMMENT ON COLUMN atp.handlers.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.handlers.handler IS 'Name.';
COMMENT ON COLUMN atp.handlers.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp.handlers.step IS 'Place among the handlers of the subscription.';
COMMENT ON COLUMN atp.handlers.function IS 'The function.';
COMMENT ON COLUMN atp.handlers.compensation IS 'What undoes the step; NULL: nothing does.';
COMMENT ON COLUMN atp.handlers.run_as IS 'Role that the functions run as.';
COMMENT ON COLUMN atp.handlers.timeout IS 'How long one call may take.';
COMMENT ON COLUMN atp.handlers.created_at IS 'When it was made.';
GRANT SELECT ON atp.handlers TO atp_reader, atp_auditor, atp_admin;
