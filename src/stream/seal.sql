-- Sealing of streams.
CREATE FUNCTION atp.seal_stream(stream text, reason text DEFAULT NULL, tenant text DEFAULT NULL,
		OUT event_id uuid, OUT final_event_count bigint, OUT merkle_root bytea, OUT sealed_at timestamptz)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10000 AS 'MODULE_PATHNAME', 'atp_seal_stream';
COMMENT ON FUNCTION atp.seal_stream(text, text, text) IS
'Seal a stream: the last event says how many came before, and their Merkle root.
The stream is verified first, and takes no events afterwards. Appends EventStreamSealed with StreamId, FinalEventCount (the events before it), MerkleRoot (RFC 6962 over their chain links in order, hexadecimal) and SealedAt; reason goes into its metadata. There is no unsealing. tenant NULL means that of the setting atp.tenant.
Raises: TP103 (no such stream, or an empty one), TP106 (sealed or archived already), TP201, TP202, TP203, TP504 (the stream does not verify), 22004, 25006, 42501.';
REVOKE ALL ON FUNCTION atp.seal_stream(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.seal_stream(text, text, text) TO atp_writer, atp_admin;
