-- Keys that sign checkpoints: those of the log, and those of witnesses. Private halves are never here.
CREATE TABLE atp_internal.signing_key (
	vkey text NOT NULL CONSTRAINT signing_key_pk PRIMARY KEY,
	name text NOT NULL,
	purpose text NOT NULL CONSTRAINT signing_key_purpose_known CHECK (purpose IN ('log', 'witness')),
	state text NOT NULL CONSTRAINT signing_key_state_known CHECK (state IN ('active', 'retired', 'compromised')),
	until_size bigint,
	version int NOT NULL,
	added_at timestamptz NOT NULL,
	changed_at timestamptz NOT NULL,
	endorsement text,
	CONSTRAINT signing_key_retired_size CHECK (state <> 'retired' OR until_size IS NOT NULL)
);
COMMENT ON TABLE atp_internal.signing_key IS 'Verifier keys of those who sign checkpoints.';
COMMENT ON COLUMN atp_internal.signing_key.vkey IS 'C2SP verifier key: name+key id+base64.';
COMMENT ON COLUMN atp_internal.signing_key.name IS 'Name of the key, the first part of vkey.';
COMMENT ON COLUMN atp_internal.signing_key.purpose IS 'log: signs for this installation. witness: cosigns what it has seen.';
COMMENT ON COLUMN atp_internal.signing_key.state IS 'active; retired: what it signed up to until_size counts; compromised: nothing that only it signed counts.';
COMMENT ON COLUMN atp_internal.signing_key.until_size IS 'Size of the last checkpoint that a retired key may have signed.';
COMMENT ON COLUMN atp_internal.signing_key.version IS 'Counts the changes of the row, from 1.';
COMMENT ON COLUMN atp_internal.signing_key.added_at IS 'When the key was added.';
COMMENT ON COLUMN atp_internal.signing_key.changed_at IS 'When its state last changed.';
COMMENT ON COLUMN atp_internal.signing_key.endorsement IS 'Note by an older key that names this one, by which a verifier goes from the key it pinned to this one.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.signing_key', '');
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.signing_key
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.signing_key ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp_internal.emit_key_event(vkey text, event_type text, detail jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key_name text := regexp_replace(emit_key_event.vkey, '^([^+]*)[+]([0-9a-f]{8})[+].*$', '\1+\2');
BEGIN
	PERFORM atp_internal.emit_event((SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = 'default'),
		'atp.SigningKey-' || key_name, emit_key_event.event_type, jsonb_build_object('PolicyId', 'signing-key/' || key_name) || emit_key_event.detail);
END $$;
COMMENT ON FUNCTION atp_internal.emit_key_event(text, text, jsonb) IS 'Record what happens to a signing key as an event of the tenant default.';
REVOKE ALL ON FUNCTION atp_internal.emit_key_event(text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp.add_signing_key(vkey text, purpose text DEFAULT 'log', endorsement text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	signed_text text := regexp_replace(add_signing_key.endorsement, '\n\n.*$', E'\n');
BEGIN
	IF (atp.vkey_is_valid(add_signing_key.vkey)
		OR (add_signing_key.purpose = 'witness' AND atp.witness_vkey_is_valid(add_signing_key.vkey))) IS NOT TRUE THEN
		RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = 'the verifier key is malformed',
			HINT = 'A verifier key is <name>+<key id>+<base64>, of type Ed25519 or, for a witness, cosignature/v1.';
	END IF;
	IF add_signing_key.purpose IS NULL OR add_signing_key.purpose NOT IN ('log', 'witness') THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'purpose is neither log nor witness';
	END IF;
	IF add_signing_key.endorsement IS NOT NULL AND (signed_text IS DISTINCT FROM E'atp/key/v1\n' || add_signing_key.vkey || E'\n'
		OR NOT EXISTS (SELECT FROM atp_internal.signing_key k
			WHERE k.purpose = 'log' AND k.state = 'active' AND atp.note_verify(add_signing_key.endorsement, k.vkey))) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP502', MESSAGE = 'the endorsement is no note about this key by an active key of the log',
			HINT = 'Its text is the two lines atp/key/v1 and the verifier key; see atp-signer endorse.';
	END IF;
	INSERT INTO atp_internal.signing_key AS k (vkey, name, purpose, state, version, added_at, changed_at, endorsement)
		VALUES (add_signing_key.vkey, split_part(add_signing_key.vkey, '+', 1), add_signing_key.purpose, 'active', 1, clock_timestamp(),
			clock_timestamp(), add_signing_key.endorsement)
		ON CONFLICT (vkey) DO NOTHING;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = 'the verifier key is known already',
			HINT = 'A key that was retired or compromised does not come back; make a new one.';
	END IF;
	PERFORM atp_internal.emit_key_event(add_signing_key.vkey, 'PolicyCreated', jsonb_build_object('TenantId', 'default', 'PolicyType', 'SigningKey',
		'Rules', jsonb_build_object('VerifierKey', add_signing_key.vkey, 'Purpose', add_signing_key.purpose,
			'Endorsed', add_signing_key.endorsement IS NOT NULL)));
END $$;
COMMENT ON FUNCTION atp.add_signing_key(text, text, text) IS
'Add a key whose signatures on checkpoints count: the log''s or a witness''s.
Several keys of the log may be active at once: that is the overlap of a rotation. endorsement is a signed note by an older key of the log, not retired yet, with the two lines "atp/key/v1" and the new vkey; a verifier that pinned the older key follows it. Records PolicyCreated.
Raises: TP502 (endorsement), TP503 (malformed or known key), 22023.';
REVOKE ALL ON FUNCTION atp.add_signing_key(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.add_signing_key(text, text, text) TO atp_admin;

CREATE FUNCTION atp_internal.change_signing_key(vkey text, state text, until_size bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	present atp_internal.signing_key;
BEGIN
	SELECT k.* INTO present FROM atp_internal.signing_key k WHERE k.vkey = change_signing_key.vkey FOR UPDATE;
	IF NOT FOUND OR present.state = 'compromised' OR (present.state = 'retired' AND change_signing_key.state = 'retired') THEN
		RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = CASE WHEN present.vkey IS NULL THEN 'no such signing key'
			ELSE format('the signing key is %s', present.state) END;
	END IF;
	UPDATE atp_internal.signing_key k SET state = change_signing_key.state, until_size = change_signing_key.until_size,
			changed_at = clock_timestamp(), version = k.version + 1
		WHERE k.vkey = change_signing_key.vkey;
	PERFORM atp_internal.emit_key_event(change_signing_key.vkey, 'PolicyUpdated', jsonb_build_object(
		'Changes', jsonb_strip_nulls(jsonb_build_object('State', change_signing_key.state, 'UntilSize', change_signing_key.until_size)),
		'UpdatedBy', session_user, 'Version', present.version + 1));
END $$;
COMMENT ON FUNCTION atp_internal.change_signing_key(text, text, bigint) IS
'Change the state of a signing key and record PolicyUpdated.
Raises: TP503 (no such key, or its state does not allow it).';
REVOKE ALL ON FUNCTION atp_internal.change_signing_key(text, text, bigint) FROM PUBLIC;
