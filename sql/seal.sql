-- Sealing of streams: the last event says how many came before and their Merkle root; nothing comes after.
\set VERBOSITY default
SET ROLE atp_writer;
SELECT count(*) FROM (SELECT atp.append_event('sealed-1', 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 5) i) appended;
SELECT event_id IS NOT NULL AS id, final_event_count, length(merkle_root) FROM atp.seal_stream('sealed-1', 'closed by the auditor');
RESET ROLE;
SELECT stream_version, event_type, payload - 'SealedAt' - 'MerkleRoot' AS payload, metadata ->> 'reason' AS reason
	FROM atp.events WHERE stream = 'sealed-1' AND event_type = 'EventStreamSealed';
SELECT state, version FROM atp.streams WHERE stream = 'sealed-1';
SELECT ok, checked FROM atp.verify_stream('sealed-1');

-- The root is that of RFC 6962 over the chain links before the seal.
CREATE FUNCTION pg_temp.root(links bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	split int := 1;
BEGIN
	IF cardinality(links) = 1 THEN
		RETURN links[1];
	END IF;
	WHILE split * 2 < cardinality(links) LOOP
		split := split * 2;
	END LOOP;
	RETURN sha256('\x01'::bytea || pg_temp.root(links[:split]) || pg_temp.root(links[split + 1:]));
END $$;
SELECT s.payload ->> 'MerkleRoot' = encode(pg_temp.root(array_agg(e.hash ORDER BY e.stream_version)), 'hex') AS root
	FROM atp.events e, atp.events s
	WHERE e.stream = 'sealed-1' AND e.stream_version <= 5 AND s.stream = 'sealed-1' AND s.stream_version = 6
	GROUP BY s.payload;

-- Refused afterwards, by every door, also in the transaction that seals.
SET ROLE atp_writer;
SELECT atp.append_event('sealed-1', 'OrderPlaced');
SELECT atp.append_events('sealed-1', '[{"event_type": "OrderPlaced"}]');
INSERT INTO atp.events (stream, event_type, payload) VALUES ('sealed-1', 'OrderPlaced', '{}');
SELECT atp.seal_stream('sealed-1');
BEGIN;
SELECT stream_version FROM atp.append_event('sealed-2', 'OrderPlaced');
SELECT final_event_count FROM atp.seal_stream('sealed-2');
SELECT atp.append_event('sealed-2', 'OrderPlaced');
ROLLBACK;
SELECT stream_version FROM atp.append_event('sealed-2', 'OrderPlaced');

-- What a savepoint takes back is open again.
BEGIN;
SAVEPOINT a;
SELECT final_event_count FROM atp.seal_stream('sealed-2');
ROLLBACK TO a;
SELECT stream_version FROM atp.append_event('sealed-2', 'OrderPlaced');
COMMIT;

SELECT atp.seal_stream('sealed-3');
SELECT atp.seal_stream(NULL);
SELECT atp.seal_stream('sealed-2', tenant => 'nobody');
RESET ROLE;
SET ROLE atp_reader;
SELECT atp.seal_stream('sealed-2');
RESET ROLE;
