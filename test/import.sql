-- Bundles that whoever has the trusted key made by hand: they verify, and hold what cannot be kept.
SELECT plan(24);

CREATE FUNCTION pg_temp.forge(skey text, occurred_at bigint, version bigint DEFAULT 1, payload text DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	WITH made AS (SELECT '00000000-0000-4000-8000-000000000001'::uuid AS id, '{"$stream":"order-1"}'::text AS metadata, repeat('00', 32) AS zeros),
	leaf AS (SELECT *, sha256('\x00'::bytea || 'atp/event/v1'::bytea || '\x000100' || uuid_send(id) || uuid_send(id) || int8send(version) || uuid_send(id)
			|| int4send(1) || 'T'::bytea || int4send(0) || int8send(occurred_at) || int8send(0)
			|| sha256('atp/payload/v1'::bytea || '\x00' || decode(repeat('00', 16), 'hex') || int4send(octet_length(payload)) || convert_to(payload, 'UTF8') || int4send(0))
			|| sha256('atp/meta/v1'::bytea || '\x00' || decode(repeat('00', 16), 'hex') || int4send(length(metadata)) || metadata::bytea || int4send(0))
			|| decode(zeros, 'hex')) AS hash FROM made),
	head AS (SELECT *, sha256('\x00'::bytea || 'atp/tenant-head/v1'::bytea || '\x00' || uuid_send(id) || int8send(1) || hash) AS root FROM leaf)
	SELECT format('{"type":"manifest","format":"atp/bundle/v1","origin":"example.org/log","tenant":"t","log_uid":"%s","alg":1,"completeness":"proofs",'
			'"filter":{"stream_uid":null,"event_type":null,"recorded_from":null,"recorded_until":null},"tree_size":1,"from":0,"until":1,"checkpoint_size":1}', id)
		|| E'\n{"type":"checkpoint","note":' || to_json(atp.note_sign(E'example.org/log\n1\n' || encode(root, 'base64') || E'\n', skey))
		|| format(E'}\n{"type":"proof","kind":"head","leaf":0,"size":1,"root":"%s","hashes":[]}\n', encode(hash, 'hex'))
		|| format('{"type":"event","leaf":0,"state":"stored","stream":"order-1","record":{"flags":0,"stream_uid":"%s","stream_version":%s,"event_id":"%s",'
			'"event_type":"T","schema_version":0,"occurred_at":%s,"recorded_at":0,"previous_hash":"%s"},"salts":"%s","payload":%s,"metadata":%s,"proof":[]}',
			id, version, id, occurred_at, zeros, zeros, to_json(payload), to_json(metadata)) || E'\n{"type":"end","events":1,"omitted":0,"leaves":1}\n'
	FROM head $$;

CREATE TEMP TABLE k AS SELECT 'example.org/log+1c66b9ea+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea' AS vkey,
	'PRIVATE+KEY+example.org/log+1c66b9ea+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g' AS skey;
SELECT is(event_count, 1::bigint, 'a forged bundle verifies') FROM k, atp.import_bundle(pg_temp.forge(skey, 0), vkey, 'example.org/log');
SELECT is(occurred_at, '1970-01-01Z'::timestamptz, '... and is read') FROM atp.imported_events;
SELECT throws_ok(format('SELECT atp.import_bundle(%L, %L, %L)', pg_temp.forge(skey, t), vkey, 'example.org/log'), 'TP507', NULL, 'a time that no timestamptz holds: ' || t)
	FROM k, (VALUES (-300000000000000000), (-9223372036854775807)) v (t);
SELECT is(count(occurred_at::text), 1::bigint, 'all that was imported can be read') FROM atp.imported_events;
SELECT throws_ok(format($$SELECT atp.import_bundle(%L, %L, %L)$$, pg_temp.forge(skey, 0, -1), vkey, 'example.org/log'), 'TP507', NULL, 'a negative version') FROM k;

-- what jsonb cannot hold hides nothing else
SELECT is(event_count, 1::bigint, 'verified: ' || left(payload, 20)) FROM k, (VALUES ('{"a":1e+200000}'), ('{"a":1e-20000}'), ('{"a":7.' || repeat('7', 140000) || 'e+140000}')) v (payload),
	atp.import_bundle(pg_temp.forge(skey, 0, 1, payload), vkey, 'example.org/log');
SELECT results_eq('SELECT left(payload_text, 15), payload IS NULL FROM atp.imported_events ORDER BY import', $$VALUES ('{}', false), ('{"a":1e+200000}', true), ('{"a":1e-20000}', true), ('{"a":7.77777777', true)$$,
	'all are listed, with their text');

-- line by line
CREATE FUNCTION pg_temp.stream(bundle text, vkey text, origin text DEFAULT 'example.org/log') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE made bigint;
BEGIN
	PERFORM atp.begin_import(vkey, origin);
	INSERT INTO atp.import_lines SELECT line FROM regexp_split_to_table(rtrim(bundle, E'\n'), E'\n') WITH ORDINALITY l (line, n) ORDER BY n;
	SELECT f.event_count INTO made FROM atp.finish_import() f;
	RETURN made;
END $$;
CREATE TEMP TABLE b AS SELECT pg_temp.forge(skey, 0) AS bundle, vkey FROM k;
SELECT is(pg_temp.stream(bundle, vkey), 1::bigint, 'a bundle comes line by line') FROM b;
SELECT is((SELECT count(*) FROM atp.imported_events WHERE import = (SELECT max(import) FROM atp.imported_events)), 1::bigint, '... and is read');
SELECT is((SELECT to_jsonb(i) - 'import' - 'imported_at' FROM atp.imported_events i ORDER BY import DESC LIMIT 1), (SELECT to_jsonb(i) - 'import' - 'imported_at' FROM atp.imported_events i ORDER BY import LIMIT 1),
	'... as one that came whole is');
SELECT throws_ok(format('SELECT pg_temp.stream(%L, %L)', regexp_replace(bundle, '\n[^\n]*\n$', E'\n'), vkey), 'TP507', NULL, 'its end missing') FROM b;
SELECT throws_ok(format('SELECT pg_temp.stream(%L, %L)', replace(bundle, '"events":1', '"events":2'), vkey), 'TP507', NULL, 'another number in the end') FROM b;
SELECT throws_ok(format('SELECT pg_temp.stream(%L, %L)', replace(bundle, '"payload":"{}"', '"payload":"{ }"'), vkey), 'TP507', NULL, 'an edited event') FROM b;
SELECT throws_ok(format('SELECT pg_temp.stream(%L, %L)', bundle || E'x\n', vkey), 'TP507', NULL, 'something behind the end') FROM b;
SELECT throws_ok(format('SELECT pg_temp.stream(%L, %L, %L)', bundle, vkey, 'elsewhere'), 'TP507', NULL, 'another origin') FROM b;
SELECT throws_ok(format('SELECT pg_temp.stream(%L, %L)', bundle, 'a+b+c'), 'TP503', NULL, 'a malformed key') FROM b;
SELECT throws_ok($$INSERT INTO atp.import_lines VALUES ('{}')$$, '55000', NULL, 'a line without an import');
SELECT throws_ok('SELECT atp.finish_import()', '55000', NULL, 'an end without an import');
CREATE FUNCTION pg_temp.rolled_back(bundle text, vkey text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM atp.begin_import(vkey, 'example.org/log');
	BEGIN
		INSERT INTO atp.import_lines SELECT line FROM regexp_split_to_table(rtrim(bundle, E'\n'), E'\n') WITH ORDINALITY l (line, n) ORDER BY n;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN NULL;
	END;
	PERFORM atp.finish_import();
END $$;
SELECT throws_ok(format('SELECT pg_temp.rolled_back(%L, %L)', bundle, vkey), '55000', NULL, 'lines taken back by a savepoint end the import') FROM b;
BEGIN;
SELECT atp.begin_import(vkey, 'example.org/log') IS NOT NULL FROM k;
ROLLBACK;
SELECT throws_ok('SELECT atp.finish_import()', '55000', NULL, 'an import does not outlive its transaction');
SELECT is((SELECT count(*) FROM atp_internal.imported_event e WHERE NOT EXISTS (SELECT FROM atp_internal.imported_bundle b WHERE b.import = e.import)), 0::bigint, 'nothing is left of those that were refused');
SELECT * FROM finish();
