-- Ingestion: reports of who did what to which resource. What is sound becomes AuditEventReceived in the resource's stream; what is not
-- becomes AuditEventValidationFailed in quarantine, and nothing is raised for it.
CREATE TABLE atp_internal.ingest_batch (
	tenant int NOT NULL,
	batch_id uuid NOT NULL,
	event_count int NOT NULL,
	source text NOT NULL,
	digest bytea NOT NULL,
	started_at timestamptz NOT NULL,
	completed_at timestamptz,
	failed int[],
	event_ids uuid[],
	CONSTRAINT ingest_batch_pk PRIMARY KEY (batch_id, tenant)
);
COMMENT ON TABLE atp_internal.ingest_batch IS 'Batches that were ingested, and which event each item became. Inserting the row is the lock against the same batch.';
COMMENT ON COLUMN atp_internal.ingest_batch.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.ingest_batch.batch_id IS 'Identity of the batch: the caller''s, or derived from source and content.';
COMMENT ON COLUMN atp_internal.ingest_batch.event_count IS 'Items in it.';
COMMENT ON COLUMN atp_internal.ingest_batch.source IS 'Where the items came from, in the caller''s word.';
COMMENT ON COLUMN atp_internal.ingest_batch.digest IS 'SHA-256 of the canonical records: a repetition has to agree.';
COMMENT ON COLUMN atp_internal.ingest_batch.started_at IS 'When its ingestion began.';
COMMENT ON COLUMN atp_internal.ingest_batch.completed_at IS 'When it ended; NULL only inside the transaction.';
COMMENT ON COLUMN atp_internal.ingest_batch.failed IS 'Numbers, from 1, of the items that went into quarantine.';
COMMENT ON COLUMN atp_internal.ingest_batch.event_ids IS 'The event that each item became, in the order of the items.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.ingest_batch', '');
ALTER TABLE atp_internal.ingest_batch ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.ingest_batch FORCE ROW LEVEL SECURITY;
CREATE POLICY ingest_batch_tenant ON atp_internal.ingest_batch USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.quarantine (
	tenant int NOT NULL,
	event_id uuid NOT NULL,
	batch_id uuid,
	item int NOT NULL,
	attempts int NOT NULL DEFAULT 1,
	quarantined_at timestamptz NOT NULL,
	resolved_at timestamptz,
	resolved_by uuid,
	stream text NOT NULL,
	CONSTRAINT quarantine_pk PRIMARY KEY (event_id, tenant)
);
COMMENT ON TABLE atp_internal.quarantine IS 'Items that ingestion refused. The items themselves are events; this is the list of them, and what became of each.';
COMMENT ON COLUMN atp_internal.quarantine.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.quarantine.event_id IS 'The AuditEventValidationFailed that holds the item.';
COMMENT ON COLUMN atp_internal.quarantine.batch_id IS 'The batch that it came with; NULL: it came alone.';
COMMENT ON COLUMN atp_internal.quarantine.item IS 'Its number in the batch, from 1.';
COMMENT ON COLUMN atp_internal.quarantine.attempts IS 'How often it was refused.';
COMMENT ON COLUMN atp_internal.quarantine.quarantined_at IS 'When it was refused first.';
COMMENT ON COLUMN atp_internal.quarantine.resolved_at IS 'When it was re-ingested; NULL while it is open.';
COMMENT ON COLUMN atp_internal.quarantine.resolved_by IS 'The AuditEventReceived that it became.';
COMMENT ON COLUMN atp_internal.quarantine.stream IS 'The quarantine stream.';
CREATE INDEX quarantine_open ON atp_internal.quarantine (tenant, event_id) WHERE resolved_at IS NULL;
SELECT pg_catalog.pg_extension_config_dump('atp_internal.quarantine', '');
ALTER TABLE atp_internal.quarantine ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.quarantine FORCE ROW LEVEL SECURITY;
CREATE POLICY quarantine_tenant ON atp_internal.quarantine USING (atp_internal.tenant_is_visible(tenant));

CREATE TYPE atp.ingest_result AS (
	item int,
	accepted boolean,
	event_id uuid,
	stream text,
	stream_version bigint,
	hash bytea,
	recorded_at timestamptz,
	deduplicated boolean,
	errors jsonb,
	batch_id uuid
);
COMMENT ON TYPE atp.ingest_result IS 'What became of an item that was handed to ingestion.';
COMMENT ON COLUMN atp.ingest_result.item IS 'Number of the item in its batch, from 1.';
COMMENT ON COLUMN atp.ingest_result.accepted IS 'True: it was stored. False: it was put into quarantine.';
COMMENT ON COLUMN atp.ingest_result.event_id IS 'The event that it became: AuditEventReceived, or AuditEventValidationFailed.';
COMMENT ON COLUMN atp.ingest_result.stream IS 'The stream of that event: the resource''s, or the quarantine''s.';
COMMENT ON COLUMN atp.ingest_result.stream_version IS 'Its place in the stream.';
COMMENT ON COLUMN atp.ingest_result.hash IS 'Its chain link, SHA-256.';
COMMENT ON COLUMN atp.ingest_result.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp.ingest_result.deduplicated IS 'True when it was there already; the rest is the original result.';
COMMENT ON COLUMN atp.ingest_result.errors IS 'Array of {Code, Location, Keyword, Message}; NULL for an item that was accepted.';
COMMENT ON COLUMN atp.ingest_result.batch_id IS 'The batch; NULL for an item that came alone.';

CREATE FUNCTION atp.ingest_event(
	actor text,
	action text,
	resource text,
	payload jsonb DEFAULT '{}',
	occurred_at timestamptz DEFAULT NULL,
	event_id uuid DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	payload_type text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS atp.ingest_result
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_ingest_event';
COMMENT ON FUNCTION atp.ingest_event(text, text, text, jsonb, timestamptz, uuid, text, text, jsonb, text) IS
'Record who did what to which resource, or put the report into quarantine.
Stored as AuditEventReceived in the stream of the resource: the resource itself where it is a stream name {Type}-{Id}, otherwise Resource- and the resource, bytes that a name cannot have as %XX (or its SHA-256 where that is too long). payload_type: a registered event type whose active schema the payload has to meet. event_id or idempotency_key: the same one with the same content returns the original result. A report that is not valid raises nothing: it becomes AuditEventValidationFailed in a quarantine stream, and its errors are returned.
Raises: TP202, TP203 (tenant), 25006, 40001, 42501.';
REVOKE ALL ON FUNCTION atp.ingest_event(text, text, text, jsonb, timestamptz, uuid, text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.ingest_event(text, text, text, jsonb, timestamptz, uuid, text, text, jsonb, text) TO atp_writer;

CREATE FUNCTION atp_internal.ingest_items(tenant int, records jsonb, batch_id uuid, quarantine text, causation text) RETURNS SETOF atp.ingest_result
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'atp_ingest_items';
COMMENT ON FUNCTION atp_internal.ingest_items(int, jsonb, uuid, text, text) IS
'Ingest an array of items and return what became of each.
batch_id: its row says afterwards which event each item became. quarantine: the stream for what is refused; NULL: a new one, and the list of the quarantine gets it. causation goes into the metadata.
Raises: TP203 (tenant), 22023 (records is no array), 54000 (too many).';
REVOKE ALL ON FUNCTION atp_internal.ingest_items(int, jsonb, uuid, text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.ingest_digest(records jsonb) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_ingest_digest';
COMMENT ON FUNCTION atp_internal.ingest_digest(jsonb) IS 'Return the SHA-256 of the canonical form of a document.';
REVOKE ALL ON FUNCTION atp_internal.ingest_digest(jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.ingest_batch_id(source text, digest bytea) RETURNS uuid
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT pg_catalog.encode(pg_catalog.set_byte(pg_catalog.set_byte(d.h, 6, (pg_catalog.get_byte(d.h, 6) & 15) | 128), 8,
			(pg_catalog.get_byte(d.h, 8) & 63) | 128), 'hex')::uuid
		FROM (SELECT pg_catalog.substr(pg_catalog.sha256('\x6174702f62617463682f763100'::bytea
			|| pg_catalog.convert_to(ingest_batch_id.source, 'UTF8') || ingest_batch_id.digest), 1, 16)) AS d (h);
END;
COMMENT ON FUNCTION atp_internal.ingest_batch_id(text, bytea) IS 'Derive the identity of a batch: a version 8 UUID of source and digest.';
REVOKE ALL ON FUNCTION atp_internal.ingest_batch_id(text, bytea) FROM PUBLIC;

CREATE FUNCTION atp_internal.batch_results(tenant_key int, batch_id uuid) RETURNS SETOF atp.ingest_result
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100
BEGIN ATOMIC
	SELECT n.item::int, NOT n.item::int = ANY (b.failed), n.event_id, s.name, e.stream_version, e.hash, e.recorded_at, true,
			CASE WHEN n.item::int = ANY (b.failed) THEN e.payload::jsonb -> 'ValidationErrors' END, b.batch_id
		FROM atp_internal.ingest_batch b
			CROSS JOIN LATERAL pg_catalog.unnest(b.event_ids) WITH ORDINALITY AS n (event_id, item)
			LEFT JOIN atp_internal.event e ON e.event_id = n.event_id AND e.tenant = b.tenant
			LEFT JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant
		WHERE b.batch_id = batch_results.batch_id AND b.tenant = batch_results.tenant_key
		ORDER BY n.item;
END;
COMMENT ON FUNCTION atp_internal.batch_results(int, uuid) IS 'List what became of each item of a batch.';
REVOKE ALL ON FUNCTION atp_internal.batch_results(int, uuid) FROM PUBLIC;

CREATE FUNCTION atp.ingest_batch(records jsonb, source text, batch_id uuid DEFAULT NULL, tenant text DEFAULT NULL) RETURNS SETOF atp.ingest_result
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(ingest_batch.tenant);
	fingerprint bytea := atp_internal.ingest_digest(ingest_batch.records);
	id uuid := coalesce(ingest_batch.batch_id, atp_internal.ingest_batch_id(ingest_batch.source, fingerprint));
	tenant_name text := (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = opened);
	known atp_internal.ingest_batch;
	started timestamptz := clock_timestamp();
BEGIN
	IF ingest_batch.records IS NULL OR ingest_batch.source IS NULL THEN
		RAISE EXCEPTION 'records and source must not be null' USING ERRCODE = '22004';
	ELSIF jsonb_typeof(ingest_batch.records) <> 'array' THEN
		RAISE EXCEPTION 'records is not a JSON array' USING ERRCODE = '22023',
			HINT = 'For example [{"actor": "alice", "action": "document.updated", "resource": "document-42", "payload": {}}].';
	ELSIF length(ingest_batch.source) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'source must have 1 to 255 characters' USING ERRCODE = '22023';
	END IF;
	LOOP
		INSERT INTO atp_internal.ingest_batch (tenant, batch_id, event_count, source, digest, started_at)
			VALUES (opened, id, jsonb_array_length(ingest_batch.records), ingest_batch.source, fingerprint, started)
			ON CONFLICT (batch_id, tenant) DO NOTHING;
		EXIT WHEN FOUND;
		-- Locked against purge_ingestion; where that was faster the batch is new.
		SELECT b.* INTO known FROM atp_internal.ingest_batch b WHERE b.batch_id = id AND b.tenant = opened FOR KEY SHARE;
		CONTINUE WHEN NOT FOUND;
		IF known.digest <> fingerprint THEN
			RAISE EXCEPTION 'batch id was used before for other content' USING ERRCODE = 'TP104',
				DETAIL = format('Batch %s was ingested at %s from "%s".', id, known.started_at, known.source),
				HINT = 'Give another batch its own id, or none: it is derived then.';
		END IF;
		RETURN QUERY SELECT * FROM atp_internal.batch_results(opened, id);
		RETURN;
	END LOOP;
	PERFORM atp_internal.emit_event(opened, 'atp.Batch-' || id, 'BatchIngestionStarted', jsonb_build_object(
		'BatchId', id, 'TenantId', tenant_name, 'EventCount', jsonb_array_length(ingest_batch.records), 'Source', ingest_batch.source));
	RETURN QUERY SELECT * FROM atp_internal.ingest_items(opened, ingest_batch.records, id, NULL, NULL);
	UPDATE atp_internal.ingest_batch b SET completed_at = clock_timestamp() WHERE b.batch_id = id AND b.tenant = opened RETURNING b.* INTO known;
	PERFORM atp_internal.emit_event(opened, 'atp.Batch-' || id, 'BatchIngestionCompleted', jsonb_build_object(
		'BatchId', id, 'TenantId', tenant_name, 'SuccessCount', known.event_count - cardinality(known.failed),
		'FailureCount', cardinality(known.failed),
		'Duration', format('PT%sS', trim_scale(extract(epoch FROM known.completed_at - started)))));
END $$;
COMMENT ON FUNCTION atp.ingest_batch(jsonb, text, uuid, text) IS
'Ingest an array of items: keep the good, quarantine the bad, list each.
An item is an object with actor, action, resource, payload, and optionally occurred_at (RFC 3339), event_id (ULID or uuid), idempotency_key, payload_type and metadata, as the arguments of ingest_event; the names that AuditEventReceived has for them (Actor, Timestamp ...) are taken too. source says where they come from. The batch has a stream of its own, atp.Batch-<id>, with BatchIngestionStarted and BatchIngestionCompleted; what is refused goes to atp.Quarantine-<id>.
Repeating a batch returns the original results with deduplicated = true. It is the same batch when batch_id is the same, or, without one, when source and records are. An item that may come in several batches carries an event_id or idempotency_key of its own.
Raises: TP104 (batch_id used for other content), TP202, TP203 (tenant), 22004, 22023, 54000 (over a million items).';
REVOKE ALL ON FUNCTION atp.ingest_batch(jsonb, text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.ingest_batch(jsonb, text, uuid, text) TO atp_writer;

CREATE VIEW atp.ingest_batches AS
	SELECT b.batch_id, b.source, b.event_count, b.event_count - pg_catalog.cardinality(b.failed) AS success_count,
		pg_catalog.cardinality(b.failed) AS failure_count, b.started_at, b.completed_at
	FROM atp_internal.ingest_batch b
	WHERE b.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.ingest_batches IS 'List the batches that were ingested for the current tenant.';
COMMENT ON COLUMN atp.ingest_batches.batch_id IS 'Identity of the batch; atp.get_batch lists its items.';
COMMENT ON COLUMN atp.ingest_batches.source IS 'Where the items came from.';
COMMENT ON COLUMN atp.ingest_batches.event_count IS 'Items in it.';
COMMENT ON COLUMN atp.ingest_batches.success_count IS 'Items that are stored.';
COMMENT ON COLUMN atp.ingest_batches.failure_count IS 'Items that went into quarantine.';
COMMENT ON COLUMN atp.ingest_batches.started_at IS 'When its ingestion began.';
COMMENT ON COLUMN atp.ingest_batches.completed_at IS 'When it ended.';
GRANT SELECT ON atp.ingest_batches TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.get_batch(batch_id uuid, tenant text DEFAULT NULL) RETURNS SETOF atp.ingest_result
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT * FROM atp_internal.batch_results(atp_internal.open_tenant(get_batch.tenant), get_batch.batch_id);
END;
COMMENT ON FUNCTION atp.get_batch(uuid, text) IS
'List what became of each item of a batch, in the order of the items.
No row where there is no such batch. tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.get_batch(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_batch(uuid, text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_quarantine(max_count int DEFAULT 100, after_event_id uuid DEFAULT NULL, batch uuid DEFAULT NULL,
		include_resolved boolean DEFAULT false, tenant text DEFAULT NULL)
	RETURNS TABLE (event_id uuid, batch_id uuid, item int, attempts int, errors jsonb, original jsonb, quarantined_at timestamptz,
		resolved_at timestamptz, resolved_by uuid, stream text)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(list_quarantine.tenant);
BEGIN
	RETURN QUERY SELECT q.event_id, q.batch_id, q.item, q.attempts, e.payload::jsonb -> 'ValidationErrors', e.payload::jsonb -> 'OriginalPayload',
			q.quarantined_at, q.resolved_at, q.resolved_by, q.stream
		FROM (SELECT * FROM atp_internal.quarantine w
				WHERE w.tenant = opened AND (list_quarantine.include_resolved OR w.resolved_at IS NULL)
					AND (list_quarantine.after_event_id IS NULL OR w.event_id > list_quarantine.after_event_id)
					AND (list_quarantine.batch IS NULL OR w.batch_id = list_quarantine.batch)
				ORDER BY w.event_id LIMIT list_quarantine.max_count) q
			LEFT JOIN atp_internal.event e ON e.event_id = q.event_id AND e.tenant = q.tenant
		ORDER BY q.event_id;
END $$;
COMMENT ON FUNCTION atp.list_quarantine(int, uuid, uuid, boolean, text) IS
'List the items in quarantine, oldest first.
errors and original are those of the first refusal; attempts counts the refusals. after_event_id: only later ones, for the next page. batch: only those of a batch. include_resolved: those that were re-ingested too, with the event that they became.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.list_quarantine(int, uuid, uuid, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_quarantine(int, uuid, uuid, boolean, text) TO atp_auditor, atp_admin;

CREATE FUNCTION atp.reingest_event(event_id uuid, record jsonb DEFAULT NULL, tenant text DEFAULT NULL) RETURNS atp.ingest_result
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(reingest_event.tenant);
	known atp_internal.quarantine;
	answer atp.ingest_result;
BEGIN
	SELECT q.* INTO known FROM atp_internal.quarantine q WHERE q.event_id = reingest_event.event_id AND q.tenant = opened FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no item in quarantine has this event id' USING ERRCODE = 'TP253',
			DETAIL = format('It is %s.', reingest_event.event_id), HINT = 'atp.list_quarantine() lists them.';
	END IF;
	IF known.resolved_at IS NOT NULL THEN
		SELECT known.item, true, e.event_id, s.name, e.stream_version, e.hash, e.recorded_at, true, NULL, known.batch_id INTO answer
			FROM atp_internal.event e
				JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant
			WHERE e.event_id = known.resolved_by AND e.tenant = opened;
		RETURN answer;
	END IF;
	SELECT r.* INTO answer
		FROM atp_internal.ingest_items(opened, jsonb_build_array(coalesce(reingest_event.record,
			(SELECT e.payload::jsonb -> 'OriginalPayload' FROM atp_internal.event e WHERE e.event_id = known.event_id AND e.tenant = opened))),
			NULL, known.stream, atp.ulid_from_uuid(known.event_id)) r;
	IF answer.accepted THEN
		UPDATE atp_internal.quarantine q SET resolved_at = clock_timestamp(), resolved_by = answer.event_id
			WHERE q.event_id = known.event_id AND q.tenant = opened;
	ELSE
		UPDATE atp_internal.quarantine q SET attempts = q.attempts + 1 WHERE q.event_id = known.event_id AND q.tenant = opened;
	END IF;
	answer.item := known.item;
	answer.batch_id := known.batch_id;
	RETURN answer;
END $$;
COMMENT ON FUNCTION atp.reingest_event(uuid, jsonb, text) IS
'Ingest an item of the quarantine again, corrected or as it was.
event_id names the AuditEventValidationFailed; record is the corrected item, NULL: the original (a cause outside it has gone). Accepted, it names the failure as its causation_id, and the item is resolved: doing it again returns the same result with deduplicated = true. Refused, its quarantine stream gets a further AuditEventValidationFailed, and the item stays open.
Raises: TP253 (no such item), TP202, TP203 (tenant).';
REVOKE ALL ON FUNCTION atp.reingest_event(uuid, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.reingest_event(uuid, jsonb, text) TO atp_admin;

CREATE FUNCTION atp.purge_ingestion(older_than interval DEFAULT '90 days', tenant text DEFAULT NULL, OUT batches bigint, OUT items bigint)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(purge_ingestion.tenant);
	until timestamptz := clock_timestamp() - purge_ingestion.older_than;
BEGIN
	DELETE FROM atp_internal.ingest_batch b WHERE b.tenant = opened AND b.completed_at < until;
	GET DIAGNOSTICS batches = ROW_COUNT;
	DELETE FROM atp_internal.quarantine q WHERE q.tenant = opened AND q.resolved_at < until;
	GET DIAGNOSTICS items = ROW_COUNT;
END $$;
COMMENT ON FUNCTION atp.purge_ingestion(interval, text) IS
'Forget batches and resolved items of the quarantine that are older.
Returns how many. The events stay; what goes is by what a repeated batch is recognised, and the list of what became of each item. Open items of the quarantine stay.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.purge_ingestion(interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.purge_ingestion(interval, text) TO atp_admin;

-- COPY and INSERT: rows of text, so that not even one that is no JSON ends the statement.
CREATE VIEW atp.ingest AS
	SELECT NULL::text AS actor, NULL::text AS action, NULL::text AS resource, NULL::text AS payload, NULL::text AS occurred_at,
		NULL::text AS event_id, NULL::text AS idempotency_key, NULL::text AS payload_type, NULL::text AS metadata, NULL::text AS source,
		NULL::text AS tenant
	WHERE false;
COMMENT ON VIEW atp.ingest IS
'Take rows by COPY FROM or INSERT and ingest them in batches; has no rows of its own.
Rows of one statement are ingested at its end, or when atp.ingest_batch_size of one source and tenant have come together, as ingest_batch does it: what is not valid goes into quarantine, and the same file again is recognised batch by batch, provided that every row says when (occurred_at) or which (event_id, idempotency_key): rows that do not may be equal and yet two acts. Results: atp.ingest_batches, atp.get_batch, atp.list_quarantine.';
COMMENT ON COLUMN atp.ingest.actor IS 'Who acted.';
COMMENT ON COLUMN atp.ingest.action IS 'What was done.';
COMMENT ON COLUMN atp.ingest.resource IS 'What it was done to.';
COMMENT ON COLUMN atp.ingest.payload IS 'Details, text of a JSON object; NULL: none.';
COMMENT ON COLUMN atp.ingest.occurred_at IS 'When, RFC 3339 with offset; NULL: the time of ingestion.';
COMMENT ON COLUMN atp.ingest.event_id IS 'Id of the event, ULID or uuid; NULL: one is made.';
COMMENT ON COLUMN atp.ingest.idempotency_key IS 'Key by which a repetition is recognised within the resource.';
COMMENT ON COLUMN atp.ingest.payload_type IS 'Registered event type whose schema the payload has to meet.';
COMMENT ON COLUMN atp.ingest.metadata IS 'Text of a JSON object; NULL: none.';
COMMENT ON COLUMN atp.ingest.source IS 'Where the row comes from; NULL: copy.';
COMMENT ON COLUMN atp.ingest.tenant IS 'Name of the tenant; NULL: that of the setting atp.tenant.';
GRANT SELECT, INSERT ON atp.ingest TO atp_writer, atp_admin;

CREATE FUNCTION atp_internal.ingest_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_ingest_rows';
COMMENT ON FUNCTION atp_internal.ingest_rows() IS 'Gather the rows that a statement gives to the view atp.ingest, and ingest them.';
REVOKE ALL ON FUNCTION atp_internal.ingest_rows() FROM PUBLIC;
CREATE TRIGGER ingest_rows_begin BEFORE INSERT ON atp.ingest FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.ingest_rows();
CREATE TRIGGER ingest_rows INSTEAD OF INSERT ON atp.ingest FOR EACH ROW EXECUTE FUNCTION atp_internal.ingest_rows();
CREATE TRIGGER ingest_rows_end AFTER INSERT ON atp.ingest FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.ingest_rows();
