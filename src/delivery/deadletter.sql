-- Dead letters: looked at, delivered anew, purged. A dead letter never changes; that it was replayed is a row of its own, which makes
-- replaying idempotent.
CREATE TABLE atp_internal.replay (
	tenant int NOT NULL,
	dead_letter bigint NOT NULL,
	replayed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT replay_pk PRIMARY KEY (dead_letter, tenant)
);
COMMENT ON TABLE atp_internal.replay IS 'Which dead letters were delivered anew. Insert-only, but for purging.';
COMMENT ON COLUMN atp_internal.replay.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.replay.dead_letter IS 'Number of the dead letter.';
COMMENT ON COLUMN atp_internal.replay.replayed_at IS 'When it was replayed.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.replay', '');
ALTER TABLE atp_internal.replay ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.replay FORCE ROW LEVEL SECURITY;
CREATE POLICY replay_tenant ON atp_internal.replay USING (atp_internal.tenant_is_visible(tenant));

CREATE TRIGGER guard BEFORE UPDATE OR TRUNCATE ON atp_internal.dead_letter
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.dead_letter ENABLE ALWAYS TRIGGER guard;

CREATE VIEW atp_internal.dead_letter_reader AS
	SELECT d.tenant AS tenant_key, d.subscription AS subscription_key, t.name AS tenant, s.name AS subscription, d.dead_letter, d.log_position,
		d.event_id, st.name AS stream, y.name AS event_type, d.reason, d.last_error, d.attempts, d.consumer, d.failed_at, d.dead_at,
		d.redelivery_of, r.replayed_at
	FROM atp_internal.dead_letter d
		JOIN atp_internal.subscription s ON s.subscription = d.subscription AND s.tenant = d.tenant
		JOIN atp_internal.tenant t ON t.tenant = d.tenant
		LEFT JOIN atp_internal.log l ON l.log_position = d.log_position AND l.tenant = d.tenant
		LEFT JOIN atp_internal.stream st ON st.stream = l.stream AND st.tenant = l.tenant
		LEFT JOIN atp_internal.event_type y ON y.event_type = l.event_type
		LEFT JOIN atp_internal.replay r ON r.dead_letter = d.dead_letter AND r.tenant = d.tenant;
COMMENT ON VIEW atp_internal.dead_letter_reader IS 'Dead letters with names, of every tenant that may be seen; for the bodies of functions.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.tenant_key IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.subscription_key IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.dead_letter IS 'Number of the dead letter.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.log_position IS 'Position of the event in the log.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.event_id IS 'The event.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.stream IS 'Its stream.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.event_type IS 'Its type.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.reason IS 'Why it was given up.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.last_error IS 'What the consumer or the filter said last.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.attempts IS 'How often it was leased.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.consumer IS 'Who leased it last.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.failed_at IS 'When it first failed.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.dead_at IS 'When it was given up.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.redelivery_of IS 'The dead letter it was a replay of.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.replayed_at IS 'When it was replayed; NULL: not yet.';

CREATE VIEW atp.dead_letter AS
	SELECT d.tenant, d.subscription, d.dead_letter, d.log_position, d.event_id, d.stream, d.event_type, d.reason, d.last_error, d.attempts,
		d.consumer, d.failed_at, d.dead_at, d.redelivery_of, d.replayed_at
	FROM atp_internal.dead_letter_reader d WHERE d.tenant_key = atp_internal.current_tenant();
COMMENT ON VIEW atp.dead_letter IS 'List the dead letters of the current tenant: events that a subscription gave up.';
COMMENT ON COLUMN atp.dead_letter.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.dead_letter.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp.dead_letter.dead_letter IS 'Number of the dead letter.';
COMMENT ON COLUMN atp.dead_letter.log_position IS 'Position of the event in the log.';
COMMENT ON COLUMN atp.dead_letter.event_id IS 'The event.';
COMMENT ON COLUMN atp.dead_letter.stream IS 'Its stream.';
COMMENT ON COLUMN atp.dead_letter.event_type IS 'Its type.';
COMMENT ON COLUMN atp.dead_letter.reason IS 'MaxAttemptsExceeded, TimeToLiveExpired, PermanentFailure or FilterError.';
COMMENT ON COLUMN atp.dead_letter.last_error IS 'What the consumer or the filter said last.';
COMMENT ON COLUMN atp.dead_letter.attempts IS 'How often it was leased.';
COMMENT ON COLUMN atp.dead_letter.consumer IS 'Who leased it last.';
COMMENT ON COLUMN atp.dead_letter.failed_at IS 'When it first failed.';
COMMENT ON COLUMN atp.dead_letter.dead_at IS 'When it was given up.';
COMMENT ON COLUMN atp.dead_letter.redelivery_of IS 'The dead letter it was a replay of.';
COMMENT ON COLUMN atp.dead_letter.replayed_at IS 'When it was replayed; NULL: not yet.';
GRANT SELECT ON atp.dead_letter TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.match_dead_letters(filter jsonb, tenant text) RETURNS SETOF atp_internal.dead_letter_reader
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(match_dead_letters.tenant);
	f jsonb := coalesce(match_dead_letters.filter, '{}');
	unknown text;
	wanted_event uuid;
	wanted_replayed boolean;
	after_time timestamptz;
	before_time timestamptz;
BEGIN
	IF jsonb_typeof(f) <> 'object' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'filter is not a JSON object';
	END IF;
	SELECT k INTO unknown FROM jsonb_object_keys(f) k WHERE k NOT IN ('subscription', 'dead_letter', 'event_id', 'event_type', 'stream', 'reason',
		'dead_after', 'dead_before', 'replayed');
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('unknown member "%s" of the filter', unknown),
			HINT = 'There are subscription, dead_letter, event_id, event_type, stream, reason, dead_after, dead_before and replayed.';
	END IF;
	SELECT e.key INTO unknown FROM jsonb_each(f) e WHERE jsonb_typeof(e.value) <> ALL (CASE e.key WHEN 'replayed' THEN '{boolean,string}'
		WHEN 'dead_letter' THEN '{number,array}' ELSE '{string}' END::text[])
		OR jsonb_typeof(e.value) = 'array' AND jsonb_path_exists(e.value, 'strict $[*] ? (@.type() <> "number")');
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('invalid "%s" of the filter', unknown), DETAIL = format('It is %s.', f -> unknown);
	END IF;
	BEGIN
		wanted_event := f ->> 'event_id';
		wanted_replayed := f ->> 'replayed';
		after_time := f ->> 'dead_after';
		before_time := f ->> 'dead_before';
	EXCEPTION WHEN data_exception THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'invalid value in the filter', DETAIL = SQLERRM || '.';
	END;
	RETURN QUERY SELECT d.* FROM atp_internal.dead_letter_reader d
		WHERE d.tenant_key = opened
			AND (NOT f ? 'subscription' OR d.subscription = f ->> 'subscription')
			AND (NOT f ? 'dead_letter' OR to_jsonb(d.dead_letter) <@ (f -> 'dead_letter'))
			AND (NOT f ? 'event_id' OR d.event_id = wanted_event)
			AND (NOT f ? 'event_type' OR d.event_type = f ->> 'event_type')
			AND (NOT f ? 'stream' OR d.stream = f ->> 'stream')
			AND (NOT f ? 'reason' OR d.reason = f ->> 'reason')
			AND (NOT f ? 'dead_after' OR d.dead_at >= after_time)
			AND (NOT f ? 'dead_before' OR d.dead_at < before_time)
			AND (NOT f ? 'replayed' OR (d.replayed_at IS NOT NULL) = wanted_replayed)
		ORDER BY d.dead_letter;
END $$;
COMMENT ON FUNCTION atp_internal.match_dead_letters(jsonb, text) IS
'Return the dead letters of a tenant that a filter selects, by number.
Raises: TP202 (no such tenant), 22023 (the filter).';
REVOKE ALL ON FUNCTION atp_internal.match_dead_letters(jsonb, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_count(max_count int) RETURNS int
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF max_count < 0 THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'max_count has to be positive';
	END IF;
	RETURN max_count;
END $$;
COMMENT ON FUNCTION atp_internal.require_count(int) IS
'Return a number of rows, NULL for all, or refuse a negative one.
Raises: 22023.';
REVOKE ALL ON FUNCTION atp_internal.require_count(int) FROM PUBLIC;

CREATE FUNCTION atp.list_dead_letters(filter jsonb DEFAULT '{}', max_count int DEFAULT 100, tenant text DEFAULT NULL) RETURNS SETOF atp.dead_letter
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT d.tenant, d.subscription, d.dead_letter, d.log_position, d.event_id, d.stream, d.event_type, d.reason, d.last_error, d.attempts,
		d.consumer, d.failed_at, d.dead_at, d.redelivery_of, d.replayed_at
	FROM atp_internal.match_dead_letters(list_dead_letters.filter, list_dead_letters.tenant) d ORDER BY d.dead_letter
	LIMIT atp_internal.require_count(list_dead_letters.max_count);
END;
COMMENT ON FUNCTION atp.list_dead_letters(jsonb, int, text) IS
'List dead letters that a filter selects, by number.
At most max_count (NULL: all). filter is a JSON object; all of its members have to hold: subscription, dead_letter (a number or an array), event_id, event_type, stream, reason, dead_after, dead_before, replayed (true or false).
Raises: TP202 (no such tenant), 22023 (the filter, max_count).';

CREATE FUNCTION atp.count_dead_letters(filter jsonb DEFAULT '{}', tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT count(*) FROM atp_internal.match_dead_letters(count_dead_letters.filter, count_dead_letters.tenant) d;
END;
COMMENT ON FUNCTION atp.count_dead_letters(jsonb, text) IS
'Count the dead letters that a filter selects; see list_dead_letters.
Raises: TP202 (no such tenant), 22023 (the filter).';

CREATE FUNCTION atp_internal.redeliver(subscription text, tenant text, dead_letters bigint[], event_ids uuid[], due_at timestamptz[]) RETURNS bigint[]
	LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'atp_deadletter_redeliver';
COMMENT ON FUNCTION atp_internal.redeliver(text, text, bigint[], uuid[], timestamptz[]) IS
'Put dead letters of a subscription among its retry rows, and return which.
They have no attempts there. Those whose event is not stored any more, or is waiting already, are left out.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.redeliver(text, text, bigint[], uuid[], timestamptz[]) FROM PUBLIC;

CREATE FUNCTION atp.replay_dead_letters(
	filter jsonb DEFAULT '{}',
	max_count int DEFAULT 1000,
	dry_run boolean DEFAULT false,
	rate double precision DEFAULT NULL,
	tenant text DEFAULT NULL,
	OUT subscription text,
	OUT dead_letter bigint,
	OUT event_id uuid,
	OUT due_at timestamptz
) RETURNS SETOF record
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(replay_dead_letters.tenant);
	tenant_name text;
	started timestamptz := clock_timestamp();
	one record;
	done bigint[];
BEGIN
	IF replay_dead_letters.rate NOT BETWEEN 0.000001 AND 1000000 OR replay_dead_letters.max_count < 1 THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'rate and max_count have to be positive', DETAIL = 'A rate is between 0.000001 and 1000000 a second.';
	END IF;
	SELECT t.name INTO tenant_name FROM atp_internal.tenant t WHERE t.tenant = opened;
	FOR one IN
		SELECT p.subscription, array_agg(p.dead_letter ORDER BY p.dead_letter) AS letters, array_agg(p.event_id ORDER BY p.dead_letter) AS ids,
			array_agg(started + coalesce((p.place - 1) / replay_dead_letters.rate, 0) * interval '1 second' ORDER BY p.dead_letter) AS dues
		FROM (SELECT d.*, row_number() OVER (PARTITION BY d.subscription ORDER BY d.dead_letter) AS place
			FROM (SELECT m.* FROM atp_internal.match_dead_letters(replay_dead_letters.filter, tenant_name) m WHERE m.replayed_at IS NULL
				ORDER BY m.dead_letter LIMIT replay_dead_letters.max_count) d) p
		GROUP BY p.subscription ORDER BY p.subscription
	LOOP
		done := one.letters;
		IF NOT coalesce(replay_dead_letters.dry_run, false) THEN
			-- The key of atp_internal.replay lets one of two callers have each dead letter.
			WITH mine AS (INSERT INTO atp_internal.replay AS r (tenant, dead_letter) SELECT opened, l FROM unnest(one.letters) l
				ON CONFLICT (dead_letter, tenant) DO NOTHING RETURNING r.dead_letter)
			SELECT array_agg(u.l ORDER BY u.l), array_agg(u.e ORDER BY u.l), array_agg(u.d ORDER BY u.l) INTO one.letters, one.ids, one.dues
				FROM unnest(one.letters, one.ids, one.dues) AS u (l, e, d) JOIN mine ON mine.dead_letter = u.l;
			CONTINUE WHEN one.letters IS NULL;
			-- The partition of an event is known as long as the number of partitions and the order key stay.
			PERFORM FROM atp_internal.subscription s WHERE s.name = one.subscription AND s.tenant = opened FOR KEY SHARE;
			done := atp_internal.redeliver(one.subscription, tenant_name, one.letters, one.ids, one.dues);
		END IF;
		RETURN QUERY SELECT one.subscription::text, u.l, u.e, u.d FROM unnest(one.letters, one.ids, one.dues) AS u (l, e, d)
			WHERE u.l = ANY (done) ORDER BY u.l;
	END LOOP;
END $$;
COMMENT ON FUNCTION atp.replay_dead_letters(jsonb, int, boolean, double precision, text) IS
'Deliver dead letters anew, without attempts, and return which.
filter: see list_dead_letters. Each is replayed once, however often this is called; if it fails again it becomes another dead letter, whose redelivery_of names this one. Consumers see redelivery_of, too. rate is how many become due a second (NULL: all at once). dry_run returns what would be replayed and changes nothing. With ordering by key, later events of its key wait until the replayed one is done with.
Raises: TP202 (no such tenant), 22023 (filter, rate, max_count).';

CREATE FUNCTION atp.purge_dead_letters(older_than interval DEFAULT '30 days', filter jsonb DEFAULT '{}', max_count int DEFAULT NULL,
		tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	purged bigint;
BEGIN
	IF older_than IS NULL OR older_than < interval '0' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'older_than has to be a duration, not negative';
	END IF;
	WITH gone AS (
		DELETE FROM atp_internal.dead_letter d USING (
				SELECT m.tenant_key, m.subscription_key, m.dead_letter
				FROM atp_internal.match_dead_letters(purge_dead_letters.filter, purge_dead_letters.tenant) m
				WHERE m.dead_at <= clock_timestamp() - least(purge_dead_letters.older_than, interval '1000 years')
				ORDER BY m.dead_letter LIMIT atp_internal.require_count(purge_dead_letters.max_count)) m
			WHERE d.tenant = m.tenant_key AND d.subscription = m.subscription_key AND d.dead_letter = m.dead_letter
			RETURNING d.tenant, d.dead_letter),
		forgotten AS (
			DELETE FROM atp_internal.replay r USING gone g WHERE r.tenant = g.tenant AND r.dead_letter = g.dead_letter)
	SELECT count(*) INTO purged FROM gone;
	RETURN purged;
END $$;
COMMENT ON FUNCTION atp.purge_dead_letters(interval, jsonb, int, text) IS
'Remove dead letters that are older than a duration, and return how many.
filter: see list_dead_letters. max_count NULL removes all of them. The events stay in the store.
Raises: TP202 (no such tenant), 22023 (older_than, filter, max_count).';

REVOKE ALL ON FUNCTION atp.list_dead_letters(jsonb, int, text), atp.count_dead_letters(jsonb, text),
	atp.replay_dead_letters(jsonb, int, boolean, double precision, text), atp.purge_dead_letters(interval, jsonb, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_dead_letters(jsonb, int, text), atp.count_dead_letters(jsonb, text) TO atp_reader, atp_auditor, atp_admin;
GRANT EXECUTE ON FUNCTION atp.replay_dead_letters(jsonb, int, boolean, double precision, text), atp.purge_dead_letters(interval, jsonb, int, text) TO atp_admin;
