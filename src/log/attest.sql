-- Verification on record. The verify functions write nothing; who runs them for the record calls this.
CREATE FUNCTION atp.record_verification(deep boolean DEFAULT false) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	started timestamptz := clock_timestamp();
	found_fault record;
	faulty int;
	seconds text;
	one record;
	counted jsonb := (SELECT jsonb_object_agg(s.tenant, jsonb_build_object('StreamsChecked', s.streams, 'EventsChecked', s.events))
		FROM (SELECT tenant, count(*) AS streams, sum(atp_internal.pending_version(stream, version)) AS events FROM atp_internal.stream GROUP BY tenant) s);
BEGIN
	SELECT v.* INTO found_fault FROM atp.verify_all(record_verification.deep) v;
	seconds := format('PT%sS', trim_scale(extract(epoch FROM clock_timestamp() - started)));
	SELECT coalesce((SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = found_fault.first_fault_tenant),
		(SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = 'default')) INTO faulty WHERE NOT found_fault.ok;
	-- Streams are checked tenant by tenant: what comes before the fault is whole, and what comes behind it is not known.
	FOR one IN SELECT t.tenant, t.name, counted -> t.tenant::text AS counts FROM atp_internal.tenant t
			WHERE counted ? t.tenant::text AND (found_fault.ok OR t.tenant < faulty AND found_fault.first_fault_tenant IS NOT NULL) ORDER BY t.tenant LOOP
		PERFORM atp_internal.emit_event(one.tenant, 'atp.Integrity-chains', 'HashChainValidated', jsonb_build_object('TenantId', one.name,
			'Scope', 'all streams', 'Duration', seconds, 'ValidatedAt', atp_internal.event_time(clock_timestamp())) || one.counts);
	END LOOP;
	IF NOT found_fault.ok AND counted IS NOT NULL THEN
		PERFORM atp_internal.emit_event(faulty, 'atp.Integrity-chains', 'HashChainValidationFailed', jsonb_build_object(
			'TenantId', (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = faulty),
			'Scope', CASE WHEN found_fault.first_fault_stream IS NULL AND found_fault.first_fault_position IS NOT NULL THEN 'log' ELSE 'all streams' END,
			'StreamsChecked', coalesce((counted -> faulty::text ->> 'StreamsChecked')::bigint, 0), 'EventsChecked', found_fault.checked,
			'FirstFault', jsonb_build_object('StreamId', found_fault.first_fault_stream, 'SequenceNumber', found_fault.first_fault_version,
				'Fault', found_fault.fault), 'DetectedAt', atp_internal.event_time(clock_timestamp())));
	END IF;
	RETURN found_fault.ok;
END $$;
COMMENT ON FUNCTION atp.record_verification(boolean) IS
'Verify every chain and put the outcome on record; return whether all was well.
Runs verify_all (deep as there). Each tenant whose streams were found whole gets HashChainValidated in its stream atp.Integrity-chains; the one with the first fault, or the tenant default for a fault of the log, gets HashChainValidationFailed. An empty store gets nothing. Meant for the night: SELECT cron.schedule(''atp verification'', ''30 2 * * *'', ''SELECT atp.record_verification()'').';
REVOKE ALL ON FUNCTION atp.record_verification(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.record_verification(boolean) TO atp_auditor, atp_admin;
