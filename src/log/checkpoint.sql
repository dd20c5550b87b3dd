-- The root log, whose leaves are heads of tenants' trees, and checkpoints over it.
CREATE TABLE atp_internal.checkpoint_state (
	singleton boolean NOT NULL DEFAULT true CONSTRAINT checkpoint_state_pk PRIMARY KEY CONSTRAINT checkpoint_state_one_row CHECK (singleton),
	made_at timestamptz,
	origin text NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE atp_internal.checkpoint_state IS 'Identity of the root log. Locking the row is the lock of who makes checkpoints.';
COMMENT ON COLUMN atp_internal.checkpoint_state.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN atp_internal.checkpoint_state.made_at IS 'When the last checkpoint was made.';
COMMENT ON COLUMN atp_internal.checkpoint_state.origin IS 'First line of every checkpoint: the name of the root log.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.checkpoint_state', '');
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.checkpoint_state
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.checkpoint_state ENABLE ALWAYS TRIGGER guard;

CREATE TABLE atp_internal.tenant_head (
	leaf bigint NOT NULL,
	tenant int NOT NULL,
	size bigint NOT NULL,
	root bytea NOT NULL,
	CONSTRAINT tenant_head_pk PRIMARY KEY (leaf, tenant)
);
CREATE INDEX tenant_head_tenant ON atp_internal.tenant_head (tenant, leaf);
COMMENT ON TABLE atp_internal.tenant_head IS 'Leaves of the root log: a tenant''s tree at the time of a checkpoint.';
COMMENT ON COLUMN atp_internal.tenant_head.leaf IS 'Index of the leaf in the root log, from 0.';
COMMENT ON COLUMN atp_internal.tenant_head.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.tenant_head.size IS 'Leaves of the tenant''s tree.';
COMMENT ON COLUMN atp_internal.tenant_head.root IS 'Root of the tenant''s tree.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tenant_head', '');
ALTER TABLE atp_internal.tenant_head ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.tenant_head FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_head_tenant ON atp_internal.tenant_head USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.tenant_head
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.tenant_head ENABLE ALWAYS TRIGGER guard;

CREATE TABLE atp_internal.checkpoint (
	size bigint NOT NULL CONSTRAINT checkpoint_pk PRIMARY KEY,
	made_at timestamptz NOT NULL,
	root bytea NOT NULL
);
COMMENT ON TABLE atp_internal.checkpoint IS 'Checkpoints: the root log at some sizes.';
COMMENT ON COLUMN atp_internal.checkpoint.size IS 'Leaves of the root log.';
COMMENT ON COLUMN atp_internal.checkpoint.made_at IS 'When it was made.';
COMMENT ON COLUMN atp_internal.checkpoint.root IS 'Root of the root log.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.checkpoint', '');
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.checkpoint
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.checkpoint ENABLE ALWAYS TRIGGER guard;

CREATE TABLE atp_internal.checkpoint_signature (
	size bigint NOT NULL,
	received_at timestamptz NOT NULL,
	vkey text NOT NULL,
	line text NOT NULL,
	CONSTRAINT checkpoint_signature_pk PRIMARY KEY (size, vkey)
);
COMMENT ON TABLE atp_internal.checkpoint_signature IS 'Signatures of checkpoints, each verified before it came here.';
COMMENT ON COLUMN atp_internal.checkpoint_signature.size IS 'Size of the checkpoint.';
COMMENT ON COLUMN atp_internal.checkpoint_signature.received_at IS 'When the signature came.';
COMMENT ON COLUMN atp_internal.checkpoint_signature.vkey IS 'The key that signed.';
COMMENT ON COLUMN atp_internal.checkpoint_signature.line IS 'The signature line of the note, with its new line.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.checkpoint_signature', '');
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.checkpoint_signature
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.checkpoint_signature ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp_internal.append_heads() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_checkpoint_append_heads';
COMMENT ON FUNCTION atp_internal.append_heads() IS
'Append the heads of the trees that have grown to the root log; return how many.
The caller holds the row lock of checkpoint_state.
Raises: TP504 (the stored root log does not hash to its root).';
REVOKE ALL ON FUNCTION atp_internal.append_heads() FROM PUBLIC;

CREATE FUNCTION atp_internal.sign_by_key_file(body text, OUT vkey text, OUT line text) RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_checkpoint_sign_by_key_file';
COMMENT ON FUNCTION atp_internal.sign_by_key_file(text) IS
'Sign a text with each key in the file of the setting atp.signing_key_file.
No row where the setting is empty. The file is read afresh each time: one PRIVATE+KEY+... a line. It must not lie in the data directory, and nobody but the server''s user may have any right on it.
Raises: TP503.';
REVOKE ALL ON FUNCTION atp_internal.sign_by_key_file(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.checkpoint_body(size bigint) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT s.origin || E'\n' || c.size || E'\n' || pg_catalog.encode(c.root, 'base64') || E'\n'
	FROM atp_internal.checkpoint c, atp_internal.checkpoint_state s WHERE c.size = checkpoint_body.size;
END;
COMMENT ON FUNCTION atp_internal.checkpoint_body(bigint) IS 'Return the text of a checkpoint: C2SP tlog-checkpoint, three lines.';
REVOKE ALL ON FUNCTION atp_internal.checkpoint_body(bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.lock_checkpoints() RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text;
BEGIN
	SELECT s.origin INTO name FROM atp_internal.checkpoint_state s FOR UPDATE;
	IF NOT FOUND THEN
		INSERT INTO atp_internal.checkpoint_state (origin) VALUES ('atp/' || gen_random_uuid()) ON CONFLICT DO NOTHING;
		SELECT s.origin INTO name FROM atp_internal.checkpoint_state s FOR UPDATE;
	END IF;
	RETURN name;
END $$;
COMMENT ON FUNCTION atp_internal.lock_checkpoints() IS 'Lock the root log to the end of the transaction and return its origin.
The first call makes the origin.';
REVOKE ALL ON FUNCTION atp_internal.lock_checkpoints() FROM PUBLIC;

CREATE FUNCTION atp.set_origin(origin text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF coalesce(set_origin.origin, '') !~ '^[!-~]+$' OR length(set_origin.origin) > 200 THEN
		RAISE EXCEPTION USING ERRCODE = 'TP502', MESSAGE = 'invalid origin',
			HINT = 'An origin has 1 to 200 visible ASCII characters, for example audit.example.com/atp.';
	END IF;
	PERFORM atp_internal.lock_checkpoints();
	IF EXISTS (SELECT FROM atp_internal.checkpoint_signature) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP505', MESSAGE = 'checkpoints are signed under the present origin',
			HINT = 'The origin is the identity of the root log; it stands for ever once a checkpoint is signed.';
	END IF;
	UPDATE atp_internal.checkpoint_state s SET origin = set_origin.origin;
END $$;
COMMENT ON FUNCTION atp.set_origin(text) IS
'Set the origin, the first line of every checkpoint, before one is signed.
Without it the origin is atp/ and a random uuid.
Raises: TP502 (malformed), TP505 (checkpoints are signed).';
REVOKE ALL ON FUNCTION atp.set_origin(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.set_origin(text) TO atp_admin;

CREATE FUNCTION atp_internal.store_signature(size bigint, vkey text, line text) RETURNS boolean
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	INSERT INTO atp_internal.checkpoint_signature (size, received_at, vkey, line)
		VALUES (store_signature.size, pg_catalog.clock_timestamp(), store_signature.vkey, store_signature.line)
		ON CONFLICT ON CONSTRAINT checkpoint_signature_pk DO NOTHING
		RETURNING true;
END;
COMMENT ON FUNCTION atp_internal.store_signature(bigint, text, text) IS 'Store a signature that has been verified; NULL where there is one by this key.';
REVOKE ALL ON FUNCTION atp_internal.store_signature(bigint, text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.sign_checkpoint(size bigint) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	signed record;
	stored int := 0;
BEGIN
	FOR signed IN SELECT * FROM atp_internal.sign_by_key_file(atp_internal.checkpoint_body(sign_checkpoint.size)) LOOP
		IF NOT EXISTS (SELECT FROM atp_internal.signing_key k WHERE k.vkey = signed.vkey) THEN
			PERFORM atp.add_signing_key(signed.vkey);
		END IF;
		IF EXISTS (SELECT FROM atp_internal.signing_key k WHERE k.vkey = signed.vkey AND k.state = 'active') THEN
			stored := stored + coalesce(atp_internal.store_signature(sign_checkpoint.size, signed.vkey, signed.line), false)::int;
		END IF;
	END LOOP;
	RETURN stored;
END $$;
COMMENT ON FUNCTION atp_internal.sign_checkpoint(bigint) IS 'Sign a checkpoint with the keys of atp.signing_key_file; return how many did.';
REVOKE ALL ON FUNCTION atp_internal.sign_checkpoint(bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.make_checkpoint() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	grown bigint;
	made bigint;
BEGIN
	PERFORM atp_internal.lock_checkpoints();
	grown := atp_internal.append_heads();
	IF grown > 0 THEN
		INSERT INTO atp_internal.checkpoint (size, made_at, root)
			SELECT r.size, clock_timestamp(), r.root FROM atp_internal.tree r WHERE r.tenant = 0
			RETURNING checkpoint.size INTO made;
		UPDATE atp_internal.checkpoint_state s SET made_at = clock_timestamp();
	ELSE
		SELECT max(c.size) INTO made FROM atp_internal.checkpoint c;
	END IF;
	IF made IS NOT NULL THEN
		PERFORM atp_internal.sign_checkpoint(made);
	END IF;
	RETURN made;
END $$;
COMMENT ON FUNCTION atp_internal.make_checkpoint() IS
'Make a checkpoint if a tree has grown, and sign it where there is a key file.
Returns the size of the newest checkpoint; NULL where there is nothing to check.';
REVOKE ALL ON FUNCTION atp_internal.make_checkpoint() FROM PUBLIC;

CREATE FUNCTION atp.create_checkpoint() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM atp.grow_trees();
	RETURN atp_internal.make_checkpoint();
END $$;
COMMENT ON FUNCTION atp.create_checkpoint() IS
'Bring the trees up to the log, make a checkpoint, and return its size.
The worker does this every atp.checkpoint_interval. It is signed at once where atp.signing_key_file is set, otherwise by atp-signer. Returns the size of the newest checkpoint where nothing is new, NULL where there is none.
Raises: 25001, 25006, TP503 (the key file is unusable), TP504.';
REVOKE ALL ON FUNCTION atp.create_checkpoint() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_checkpoint() TO atp_admin;

CREATE FUNCTION atp_internal.newest_signed() RETURNS bigint
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT g.size FROM atp_internal.checkpoint_signature g JOIN atp_internal.signing_key k ON k.vkey = g.vkey
	WHERE k.purpose = 'log' AND (k.state = 'active' OR (k.state = 'retired' AND g.size <= k.until_size))
	ORDER BY g.size DESC FETCH FIRST ROW ONLY;
END;
COMMENT ON FUNCTION atp_internal.newest_signed() IS 'Return the size of the newest checkpoint that the log has signed; NULL: none.';
REVOKE ALL ON FUNCTION atp_internal.newest_signed() FROM PUBLIC;

CREATE FUNCTION atp.get_checkpoint(size bigint DEFAULT NULL) RETURNS text
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.checkpoint_body(g.size) || E'\n' || pg_catalog.string_agg(g.line, '' ORDER BY k.purpose, g.vkey COLLATE "C")
	FROM atp_internal.checkpoint_signature g JOIN atp_internal.signing_key k ON k.vkey = g.vkey
	WHERE g.size = coalesce(get_checkpoint.size, atp_internal.newest_signed())
		AND (k.state = 'active' OR (k.state = 'retired' AND g.size <= k.until_size))
	GROUP BY g.size
	HAVING pg_catalog.bool_or(k.purpose = 'log');
END;
COMMENT ON FUNCTION atp.get_checkpoint(bigint) IS
'Return a signed checkpoint as a note: the newest one, or that of a size.
C2SP tlog-checkpoint in a signed-note, with the signatures of the log and of witnesses. Signatures by compromised keys, and those that retired keys made after their time, are left out. NULL where there is none signed by a key of the log.';
REVOKE ALL ON FUNCTION atp.get_checkpoint(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_checkpoint(bigint) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_checkpoints(OUT size bigint, OUT root bytea, OUT made_at timestamptz, OUT signatures bigint, OUT witnesses bigint) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT c.size, c.root, c.made_at, pg_catalog.count(*) FILTER (WHERE k.purpose = 'log'), pg_catalog.count(*) FILTER (WHERE k.purpose = 'witness')
	FROM atp_internal.checkpoint c
		LEFT JOIN atp_internal.checkpoint_signature g ON g.size = c.size
		LEFT JOIN atp_internal.signing_key k ON k.vkey = g.vkey AND k.state <> 'compromised'
	GROUP BY c.size, c.root, c.made_at
	ORDER BY c.size DESC;
END;
COMMENT ON FUNCTION atp.list_checkpoints() IS 'List the checkpoints, newest first, and how many have signed.
signatures counts keys of the log, witnesses those of witnesses; compromised keys count as neither.';
REVOKE ALL ON FUNCTION atp.list_checkpoints() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_checkpoints() TO atp_auditor, atp_admin;

CREATE FUNCTION atp.list_signing_keys(OUT vkey text, OUT purpose text, OUT state text, OUT until_size bigint, OUT added_at timestamptz,
		OUT changed_at timestamptz, OUT endorsement text) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT k.vkey, k.purpose, k.state, k.until_size, k.added_at, k.changed_at, k.endorsement FROM atp_internal.signing_key k ORDER BY k.added_at, k.vkey;
END;
COMMENT ON FUNCTION atp.list_signing_keys() IS 'List the keys that sign checkpoints, in the order in which they were added.';
REVOKE ALL ON FUNCTION atp.list_signing_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_signing_keys() TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.retire_signing_key(vkey text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.change_signing_key(retire_signing_key.vkey, 'retired',
		(SELECT coalesce(pg_catalog.max(c.size), 0) FROM atp_internal.checkpoint c));
END;
COMMENT ON FUNCTION atp.retire_signing_key(text) IS
'Retire a signing key: what it has signed so far counts, what comes does not.
Records PolicyUpdated.
Raises: TP503 (no such key, or it is retired or compromised).';
REVOKE ALL ON FUNCTION atp.retire_signing_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.retire_signing_key(text) TO atp_admin;

CREATE FUNCTION atp.disown_signing_key(vkey text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.change_signing_key(disown_signing_key.vkey, 'compromised', NULL);
END;
COMMENT ON FUNCTION atp.disown_signing_key(text) IS
'Declare a signing key compromised: what only it has signed counts no more.
That holds for the past too: whoever holds the key can date a signature back, so that earlier checkpoints stand only by other signatures: of another key of the log, of a witness, or by a head that was kept outside. Records PolicyUpdated.
Raises: TP503 (no such key, or it is compromised already).';
REVOKE ALL ON FUNCTION atp.disown_signing_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.disown_signing_key(text) TO atp_admin;

CREATE FUNCTION atp.get_pending_checkpoint(vkey text, OUT size bigint, OUT body text)
	LANGUAGE sql STABLE PARALLEL RESTRICTED STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT c.size, atp_internal.checkpoint_body(c.size) FROM (SELECT pg_catalog.max(k.size) AS size FROM atp_internal.checkpoint k) c
	WHERE c.size IS NOT NULL AND NOT EXISTS (SELECT FROM atp_internal.checkpoint_signature g WHERE g.size = c.size AND g.vkey = get_pending_checkpoint.vkey);
END;
COMMENT ON FUNCTION atp.get_pending_checkpoint(text) IS
'Return the newest checkpoint, unsigned, unless the key has signed it.
What an outside signer asks for. NULLs where nothing is to be signed.';
REVOKE ALL ON FUNCTION atp.get_pending_checkpoint(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_pending_checkpoint(text) TO atp_auditor, atp_admin;

CREATE FUNCTION atp.submit_checkpoint(note text) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	-- A note has at most 1,000,000 bytes, and what is longer is not searched.
	body text := CASE WHEN octet_length(submit_checkpoint.note) <= 1000000 THEN regexp_replace(submit_checkpoint.note, '\n\n(?!.*\n\n).*$', E'\n') END;
	parsed jsonb := atp.checkpoint_parse(body);
	at_size bigint;
	key record;
	stored int := 0;
	known int := 0;
	mine text;
BEGIN
	IF parsed IS NULL OR submit_checkpoint.note !~ '\n\n' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP502', MESSAGE = 'the text is not a signed checkpoint';
	END IF;
	SELECT c.size INTO at_size FROM atp_internal.checkpoint c WHERE c.size::numeric = (parsed ->> 'size')::numeric;
	IF NOT FOUND OR body <> atp_internal.checkpoint_body(at_size) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP505', MESSAGE = 'the note is not about a checkpoint of this log',
			DETAIL = format('Origin %s, size %s, root %s.', parsed ->> 'origin', parsed ->> 'size', parsed ->> 'root');
	END IF;
	FOR key IN
		SELECT k.vkey, k.purpose, k.state, k.until_size, line.line || E'\n' AS line
		FROM regexp_split_to_table(substr(submit_checkpoint.note, length(body) + 2), '\n') line
			JOIN atp_internal.signing_key k ON split_part(line.line, ' ', 2) = k.name
	LOOP
		mine := body || E'\n' || key.line;
		IF NOT atp.note_has_key(mine, key.vkey) THEN
			CONTINUE;
		END IF;
		known := known + 1;
		IF NOT atp.note_verify(mine, key.vkey) AND atp.cosignature_verify(mine, key.vkey) IS NULL THEN
			RAISE EXCEPTION USING ERRCODE = 'TP502', MESSAGE = format('the signature by %s is wrong', split_part(key.vkey, '+', 1));
		END IF;
		IF key.state = 'compromised' OR (key.state = 'retired' AND at_size > key.until_size) THEN
			RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = format('the key %s is %s', split_part(key.vkey, '+', 1), key.state);
		END IF;
		stored := stored + coalesce(atp_internal.store_signature(at_size, key.vkey, key.line), false)::int;
	END LOOP;
	IF known = 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = 'no signature of the note is by a key that is known here',
			HINT = 'Add the key with atp.add_signing_key().';
	END IF;
	RETURN stored;
END $$;
COMMENT ON FUNCTION atp.submit_checkpoint(text) IS
'Take signatures on a checkpoint, and return how many are new.
They come from atp-signer or a witness. note is a signed note whose text is one of this log''s checkpoints, byte for byte. Every line by a key that was added with add_signing_key is verified; lines by others are ignored.
Raises: TP502 (no signed checkpoint, or a wrong signature), TP503 (no known key, or one that is retired or compromised), TP505 (another checkpoint).';
REVOKE ALL ON FUNCTION atp.submit_checkpoint(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.submit_checkpoint(text) TO atp_auditor, atp_admin;
