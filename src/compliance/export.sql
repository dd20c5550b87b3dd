-- Evidence bundles: what an auditor takes away, and verifies with atp-verify without this database.
CREATE FUNCTION atp.export_bundle(
	stream text DEFAULT NULL,
	event_type text DEFAULT NULL,
	recorded_from timestamptz DEFAULT NULL,
	recorded_until timestamptz DEFAULT NULL,
	completeness text DEFAULT 'records',
	first_leaf bigint DEFAULT 0,
	max_leaves bigint DEFAULT NULL,
	known_size bigint DEFAULT NULL,
	known_tree_size bigint DEFAULT NULL,
	export uuid DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS SETOF text
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100000 COST 1000 AS 'MODULE_PATHNAME', 'atp_export_bundle';
COMMENT ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) IS
'Export a tenant''s events under the newest signed checkpoint, as lines of JSON.
Without arguments the whole log. stream, event_type, recorded_from (inclusive) and recorded_until (exclusive) filter. completeness says what is told of events that the filter leaves out: records (their records without content, so that it can be seen that they do not match), hashes (their leaf hashes only), proofs (nothing: each event comes with a proof of its own; for one stream out of a large log). first_leaf and max_leaves export a part of the log. known_size and known_tree_size are sizes from a known head of atp-verify: the bundle then proves growth from there. export is an id of request_export. In a target list rows come as they are made, in constant memory: COPY (SELECT atp.export_bundle()) TO ... WITH (FORMAT csv, QUOTE E''\x01'', DELIMITER E''\x02'') writes them unchanged.
Records ExportRequested and ExportStarted before the first line leaves, in a transaction of its own: they stand where this one is rolled back or reads only. Records ExportCompleted with the last line, in this transaction, or ExportFailed: at once where the export raises, within seconds where it was not read to its end or its transaction ended without a commit. A standby records nothing.
Raises: TP103, TP202, TP506 (no signed checkpoint, or the stored tree is damaged), 22023, 42501.';
REVOKE ALL ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) TO atp_auditor, atp_admin;
