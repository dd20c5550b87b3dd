-- The inbox: idempotent handlers. A handler asks before it acts, and stores its result; a repeated delivery gets that result.
--
-- Who begins holds a transaction-level advisory lock on (tenant, handler, event), so that a second one is told `busy` at once instead
-- of waiting for the row of the first. A handler that works over several transactions commits its beginning: then the row says
-- `busy` until lock_duration is over, whoever died meanwhile.
CREATE TABLE atp_internal.inbox (
	tenant int NOT NULL,
	event_id uuid NOT NULL,
	handler text NOT NULL,
	state "char" NOT NULL CONSTRAINT inbox_state_known CHECK (state IN ('b', 'd', 't', 'p', 'c')),
	attempt int NOT NULL,
	begun_at timestamptz NOT NULL,
	locked_until timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	fingerprint bytea,
	result jsonb,
	error text,
	CONSTRAINT inbox_pk PRIMARY KEY (event_id, handler, tenant)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX inbox_expires_at ON atp_internal.inbox USING brin (expires_at);
CREATE INDEX inbox_to_compensate ON atp_internal.inbox (handler, tenant) WHERE state = 'c';
COMMENT ON TABLE atp_internal.inbox IS 'What each handler has made of each event, for the handler''s window.';
COMMENT ON COLUMN atp_internal.inbox.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.inbox.event_id IS 'The event, or any id that the handler''s message carries.';
COMMENT ON COLUMN atp_internal.inbox.handler IS 'Name of the handler.';
COMMENT ON COLUMN atp_internal.inbox.state IS 'b begun, d done, t failed but may be tried again, p failed for good, c done and to be compensated.';
COMMENT ON COLUMN atp_internal.inbox.attempt IS 'How often the handling was begun.';
COMMENT ON COLUMN atp_internal.inbox.begun_at IS 'When the last attempt began.';
COMMENT ON COLUMN atp_internal.inbox.locked_until IS 'Until when a begun attempt that was committed keeps others away.';
COMMENT ON COLUMN atp_internal.inbox.expires_at IS 'When the row may be forgotten.';
COMMENT ON COLUMN atp_internal.inbox.fingerprint IS 'What the caller says identifies the content; NULL: nothing.';
COMMENT ON COLUMN atp_internal.inbox.result IS 'Result of a finished handling.';
COMMENT ON COLUMN atp_internal.inbox.error IS 'SQLSTATE and message of a failed one.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.inbox', '');
ALTER TABLE atp_internal.inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY inbox_tenant ON atp_internal.inbox USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.sqlstate_is_transient(state text) RETURNS boolean
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN pg_catalog.left(state, 2) IN ('08', '40', '53', '57', '58') OR state IN ('55P03', '55006', '25006', '55000', 'TP101', 'TP361', 'TP362', 'TP363');
COMMENT ON FUNCTION atp_internal.sqlstate_is_transient(text) IS
'Say whether a failure with this SQLSTATE may pass of itself.
True for classes 08 (connection), 40 (serialization, deadlock), 53 (resources), 57 (operator intervention), 58 (system), for 55P03 and 55006 (locked, in use), 55000, 25006 (read only, during a failover), TP101 (version conflict) and the refusals of breakers and limits. Everything else stays wrong however often it is tried.';
REVOKE ALL ON FUNCTION atp_internal.sqlstate_is_transient(text) FROM PUBLIC;

CREATE FUNCTION atp.begin_handling(handler text, event_id uuid, fingerprint bytea DEFAULT NULL, retention interval DEFAULT '7 days',
		lock_duration interval DEFAULT '5 minutes', tenant text DEFAULT NULL, OUT verdict text, OUT attempt int, OUT result jsonb, OUT error text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(begin_handling.tenant);
	moment timestamptz := clock_timestamp();
	known atp_internal.inbox;
BEGIN
	IF handler IS NULL OR handler = '' OR octet_length(handler) > 255 THEN
		RAISE EXCEPTION 'handler name has no characters or more than 255 bytes' USING ERRCODE = '22023';
	END IF;
	IF event_id IS NULL THEN
		RAISE EXCEPTION 'event_id must not be null' USING ERRCODE = '22004';
	END IF;
	IF NOT coalesce(retention > '0' AND lock_duration >= '0', false) THEN
		RAISE EXCEPTION 'retention must be positive and lock_duration not negative' USING ERRCODE = '22023';
	END IF;
	IF NOT pg_try_advisory_xact_lock(hashtextextended(handler || event_id::text, owner_key)) THEN
		verdict := 'busy';
		RETURN;
	END IF;
	SELECT * INTO known FROM atp_internal.inbox i
		WHERE i.event_id = begin_handling.event_id AND i.handler = begin_handling.handler AND i.tenant = owner_key;
	IF FOUND AND known.expires_at > moment THEN
		IF known.fingerprint IS NOT NULL AND fingerprint IS NOT NULL AND known.fingerprint <> fingerprint THEN
			RAISE EXCEPTION 'event % was handled before with other content', event_id USING ERRCODE = 'TP351',
				DETAIL = format('Handler "%s" knows it by another fingerprint.', handler),
				HINT = 'An event id stands for one content: give the changed event an id of its own.';
		END IF;
		CASE known.state
			WHEN 'd' THEN verdict := 'done';
			WHEN 'p' THEN verdict := 'failed';
			WHEN 'c' THEN verdict := 'busy';
			WHEN 'b' THEN verdict := CASE WHEN known.locked_until > moment THEN 'busy' END;
			ELSE NULL;
		END CASE;
		IF verdict IS NOT NULL THEN
			attempt := known.attempt;
			result := known.result;
			error := known.error;
			RETURN;
		END IF;
	END IF;
	INSERT INTO atp_internal.inbox AS i (tenant, event_id, handler, state, attempt, begun_at, locked_until, expires_at, fingerprint)
		VALUES (owner_key, event_id, handler, 'b', 1, moment, moment + lock_duration, moment + retention, fingerprint)
		ON CONFLICT ON CONSTRAINT inbox_pk DO UPDATE SET state = 'b', begun_at = excluded.begun_at, locked_until = excluded.locked_until,
			attempt = CASE WHEN i.expires_at > excluded.begun_at THEN i.attempt + 1 ELSE 1 END,
			expires_at = excluded.expires_at, fingerprint = coalesce(excluded.fingerprint, i.fingerprint), result = NULL
		RETURNING i.attempt INTO attempt;
	verdict := 'new';
END $$;
COMMENT ON FUNCTION atp.begin_handling(text, uuid, bytea, interval, interval, text) IS
'Begin to handle an event once, and say whether that is to be done.
verdict: new (handle it, then call finish_handling), done (result is that of the first handling), busy (somebody is at it), failed (fail_handling called it permanent; error says why). Begun, effect and finished in one transaction is exactly once for effects in this database: a rollback takes all of it back. Over several transactions, a committed beginning keeps others away for lock_duration; give attempt to finish_handling then. fingerprint NULL: contents are not compared. retention is how long the outcome is remembered. tenant NULL means that of the setting atp.tenant.
Raises: 22004, 22023, TP202, TP351 (same id, other fingerprint).';
REVOKE ALL ON FUNCTION atp.begin_handling(text, uuid, bytea, interval, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.begin_handling(text, uuid, bytea, interval, interval, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp_internal.refuse_handling(handler text, event_id uuid, tenant int, attempt int, otherwise text, hint text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	known int;
BEGIN
	SELECT i.attempt INTO known FROM atp_internal.inbox i
		WHERE i.event_id = refuse_handling.event_id AND i.handler = refuse_handling.handler AND i.tenant = refuse_handling.tenant;
	IF known > attempt THEN
		RAISE EXCEPTION 'handling of event % by "%" was begun anew', event_id, handler USING ERRCODE = 'TP352',
			DETAIL = format('Attempt %s has taken the place of attempt %s, whose lock_duration was over.', known, attempt),
			HINT = 'Nothing was changed. Undo what this attempt has done outside of the database, or give handlings a longer lock_duration.';
	END IF;
	RAISE EXCEPTION 'handling of event % by "%" %', event_id, handler, otherwise USING ERRCODE = 'TP350', HINT = refuse_handling.hint;
END $$;
COMMENT ON FUNCTION atp_internal.refuse_handling(text, uuid, int, int, text, text) IS
'Say why a handling cannot be ended by an attempt.
attempt NULL: the caller did not say which.
Raises: TP350, TP352.';
REVOKE ALL ON FUNCTION atp_internal.refuse_handling(text, uuid, int, int, text, text) FROM PUBLIC;

CREATE FUNCTION atp.finish_handling(handler text, event_id uuid, result jsonb DEFAULT NULL, tenant text DEFAULT NULL, attempt int DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(finish_handling.tenant);
BEGIN
	UPDATE atp_internal.inbox i SET state = 'd', result = finish_handling.result, error = NULL
		WHERE i.event_id = finish_handling.event_id AND i.handler = finish_handling.handler AND i.tenant = owner_key AND i.state = 'b'
			AND i.attempt = coalesce(finish_handling.attempt, i.attempt);
	IF NOT FOUND THEN
		PERFORM atp_internal.refuse_handling(handler, event_id, owner_key, attempt, 'was not begun',
			'Call begin_handling first, and finish only where it answered new.');
	END IF;
END $$;
COMMENT ON FUNCTION atp.finish_handling(text, uuid, jsonb, text, int) IS
'Finish the handling of an event and store its result.
begin_handling returns the result to whoever asks again, for the retention it was begun with. attempt is what begin_handling answered, and fences off an attempt that outlived its lock_duration: where another has begun since, this one is refused. NULL: any; enough where beginning and end are one transaction.
Raises: TP202, TP350 (not begun, or finished already), TP352 (begun anew by another).';
REVOKE ALL ON FUNCTION atp.finish_handling(text, uuid, jsonb, text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.finish_handling(text, uuid, jsonb, text, int) TO atp_reader, atp_admin;

CREATE FUNCTION atp.fail_handling(handler text, event_id uuid, sqlstate text, message text DEFAULT NULL, tenant text DEFAULT NULL,
		attempt int DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(fail_handling.tenant);
	moment timestamptz := clock_timestamp();
	transient boolean := coalesce(atp_internal.sqlstate_is_transient(fail_handling.sqlstate), false);
BEGIN
	IF fail_handling.sqlstate IS NULL OR fail_handling.sqlstate !~ '^[0-9A-Z]{5}$' THEN
		RAISE EXCEPTION 'a SQLSTATE has five digits and upper-case letters' USING ERRCODE = '22023';
	END IF;
	-- The beginning may have been rolled back with the work: then the failure is recorded by a row of its own.
	INSERT INTO atp_internal.inbox AS i (tenant, event_id, handler, state, attempt, begun_at, locked_until, expires_at, error)
		VALUES (owner_key, event_id, handler, CASE WHEN transient THEN 't' ELSE 'p' END, coalesce(attempt, 1), moment, moment, moment + interval '7 days',
			fail_handling.sqlstate || coalesce(': ' || left(message, 2000), ''))
		ON CONFLICT ON CONSTRAINT inbox_pk DO UPDATE SET state = excluded.state, locked_until = excluded.locked_until, error = excluded.error,
			attempt = coalesce(fail_handling.attempt, i.attempt + CASE WHEN i.state = 'b' THEN 0 ELSE 1 END)
			WHERE i.state IN ('b', 't') AND i.attempt <= coalesce(fail_handling.attempt, i.attempt);
	IF NOT FOUND THEN
		PERFORM atp_internal.refuse_handling(handler, event_id, owner_key, attempt, 'has ended already', 'A finished handling cannot fail.');
	END IF;
	RETURN CASE WHEN transient THEN 'transient' ELSE 'permanent' END;
END $$;
COMMENT ON FUNCTION atp.fail_handling(text, uuid, text, text, text, int) IS
'Record that the handling of an event failed, and say whether to try again.
Returns transient (begin_handling answers new again) or permanent (it answers failed), by the class of the SQLSTATE: connection, serialization, resources, intervention and locks pass of themselves; everything else does not. May be called after the transaction that began was rolled back. attempt is what begin_handling answered, as in atp.finish_handling.
Raises: 22023, TP202, TP350 (finished already), TP352 (begun anew by another).';
REVOKE ALL ON FUNCTION atp.fail_handling(text, uuid, text, text, text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.fail_handling(text, uuid, text, text, text, int) TO atp_reader, atp_admin;

CREATE FUNCTION atp.forget_handling(handler text, event_id uuid, tenant text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(forget_handling.tenant);
BEGIN
	DELETE FROM atp_internal.inbox i
		WHERE i.event_id = forget_handling.event_id AND i.handler = forget_handling.handler AND i.tenant = owner_key;
	RETURN FOUND;
END $$;
COMMENT ON FUNCTION atp.forget_handling(text, uuid, text) IS
'Forget what a handler made of an event, so that it is handled anew.
Returns false where nothing was known. For mending by hand after a permanent failure.
Raises: TP202.';
REVOKE ALL ON FUNCTION atp.forget_handling(text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.forget_handling(text, uuid, text) TO atp_admin;

CREATE FUNCTION atp.purge_handlings(max_count int DEFAULT 10000) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	purged bigint;
BEGIN
	DELETE FROM atp_internal.inbox i USING (SELECT j.ctid AS place FROM atp_internal.inbox j WHERE j.expires_at < clock_timestamp()
			LIMIT max_count FOR UPDATE SKIP LOCKED) old
		WHERE i.ctid = old.place;
	GET DIAGNOSTICS purged = ROW_COUNT;
	RETURN purged;
END $$;
COMMENT ON FUNCTION atp.purge_handlings(int) IS
'Purge outcomes of handlings whose retention is over.
Returns how many, at most max_count; of all tenants. The worker does this by itself.';
REVOKE ALL ON FUNCTION atp.purge_handlings(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.purge_handlings(int) TO atp_admin;
