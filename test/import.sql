-- Bundles that whoever has the trusted key made by hand: they verify, and hold what cannot be kept.
SELECT plan(6);

CREATE FUNCTION pg_temp.forge(skey text, occurred_at bigint, version bigint DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	WITH made AS (SELECT '00000000-0000-4000-8000-000000000001'::uuid AS id, '{"$stream":"order-1"}'::text AS metadata, repeat('00', 32) AS zeros),
	leaf AS (SELECT *, sha256('\x00'::bytea || 'atp/event/v1'::bytea || '\x000100' || uuid_send(id) || uuid_send(id) || int8send(version) || uuid_send(id)
			|| int4send(1) || 'T'::bytea || int4send(0) || int8send(occurred_at) || int8send(0)
			|| sha256('atp/payload/v1'::bytea || '\x00' || decode(repeat('00', 16), 'hex') || int4send(2) || '{}'::bytea || int4send(0))
			|| sha256('atp/meta/v1'::bytea || '\x00' || decode(repeat('00', 16), 'hex') || int4send(length(metadata)) || metadata::bytea || int4send(0))
			|| decode(zeros, 'hex')) AS hash FROM made),
	head AS (SELECT *, sha256('\x00'::bytea || 'atp/tenant-head/v1'::bytea || '\x00' || uuid_send(id) || int8send(1) || hash) AS root FROM leaf)
	SELECT format('{"type":"manifest","format":"atp/bundle/v1","origin":"example.org/log","tenant":"t","log_uid":"%s","alg":1,"completeness":"proofs",'
			'"filter":{"stream_uid":null,"event_type":null,"recorded_from":null,"recorded_until":null},"tree_size":1,"from":0,"until":1,"checkpoint_size":1}', id)
		|| E'\n{"type":"checkpoint","note":' || to_json(atp.note_sign(E'example.org/log\n1\n' || encode(root, 'base64') || E'\n', skey))
		|| format(E'}\n{"type":"proof","kind":"head","leaf":0,"size":1,"root":"%s","hashes":[]}\n', encode(hash, 'hex'))
		|| format('{"type":"event","leaf":0,"state":"stored","stream":"order-1","record":{"flags":0,"stream_uid":"%s","stream_version":%s,"event_id":"%s",'
			'"event_type":"T","schema_version":0,"occurred_at":%s,"recorded_at":0,"previous_hash":"%s"},"salts":"%s","payload":"{}","metadata":%s,"proof":[]}',
			id, version, id, occurred_at, zeros, zeros, to_json(metadata)) || E'\n{"type":"end","events":1,"omitted":0,"leaves":1}\n'
	FROM head $$;

CREATE TEMP TABLE k AS SELECT 'example.org/log+1c66b9ea+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea' AS vkey,
	'PRIVATE+KEY+example.org/log+1c66b9ea+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g' AS skey;
SELECT is(event_count, 1::bigint, 'a forged bundle verifies') FROM k, atp.import_bundle(pg_temp.forge(skey, 0), vkey, 'example.org/log');
SELECT is(occurred_at, '1970-01-01Z'::timestamptz, '... and is read') FROM atp.imported_events;
SELECT throws_ok(format('SELECT atp.import_bundle(%L, %L, %L)', pg_temp.forge(skey, t), vkey, 'example.org/log'), 'TP507', NULL, 'a time that no timestamptz holds: ' || t)
	FROM k, (VALUES (-300000000000000000), (-9223372036854775807)) v (t);
SELECT is(count(occurred_at::text), 1::bigint, 'all that was imported can be read') FROM atp.imported_events;
SELECT throws_ok(format($$SELECT atp.import_bundle(%L, %L, %L)$$, pg_temp.forge(skey, 0, -1), vkey, 'example.org/log'), 'TP507', NULL, 'a negative version') FROM k;
SELECT * FROM finish();
