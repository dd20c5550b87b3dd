-- Calls each statement of calls.sql many times in one backend and compares its memory before and after: the contexts (what
-- palloc knows) and the private pages of the process (what OpenSSL, PCRE2 and malloc know too). A leak grows with calls; a
-- cache does not. Prints TAP. Variables: warmup, calls.
\set QUIET on
\pset tuples_only on
\pset format unaligned
\set ON_ERROR_STOP on
CREATE TEMP TABLE growth_call (n int GENERATED ALWAYS AS IDENTITY, label text, needs text, statement text, refusal text);
CREATE TEMP SEQUENCE growth_name;
CREATE TEMP TABLE growth_result (n int, contexts bigint, pages bigint, before_contexts bigint, before_pages bigint);
\ir calls.sql

CREATE FUNCTION pg_temp.private_pages() RETURNS bigint LANGUAGE sql AS
	$$ SELECT (regexp_match(pg_read_file('/proc/self/status'), 'RssAnon:\s+(\d+) kB'))[1]::bigint * 1024 $$;
CREATE FUNCTION pg_temp.context_bytes() RETURNS bigint LANGUAGE sql AS
	$$ SELECT sum(used_bytes)::bigint FROM pg_backend_memory_contexts $$;

-- A statement that refuses raises on purpose: the path of an error must not leak either.
CREATE PROCEDURE pg_temp.call_many(statement text, refusal text, calls int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. calls LOOP
		BEGIN
			EXECUTE statement;
		EXCEPTION WHEN OTHERS THEN
			IF sqlstate IS DISTINCT FROM refusal THEN
				RAISE;
			END IF;
		END;
		IF i % 100 = 0 THEN
			COMMIT;
		END IF;
	END LOOP;
END $$;

-- One statement a transaction from here on, as a client sends them: what a transaction holds is gone between them.
SELECT format($$
CALL pg_temp.call_many(%1$L, %3$L, :warmup);
INSERT INTO growth_result VALUES (%2$s, pg_temp.context_bytes(), pg_temp.private_pages());
DELETE FROM growth_result WHERE n = %2$s;
INSERT INTO growth_result VALUES (%2$s, pg_temp.context_bytes(), pg_temp.private_pages());
UPDATE growth_result SET contexts = NULL, before_contexts = contexts, pages = NULL, before_pages = pages WHERE n = %2$s;
CALL pg_temp.call_many(%1$L, %3$L, :calls);
\if :ERROR \else
UPDATE growth_result SET contexts = pg_temp.context_bytes() - before_contexts, pages = pg_temp.private_pages() - before_pages WHERE n = %2$s;
\endif
$$, statement, n, refusal) FROM growth_call WHERE needs IS NULL
	OR EXISTS (SELECT FROM pg_proc WHERE pronamespace = 'atp'::regnamespace AND proname = needs) ORDER BY n
\g :script
-- A statement that refuses otherwise than calls.sql says ends its row without a result.
\set ON_ERROR_STOP off
\i :script
\set ON_ERROR_STOP on

-- Allowed: eight bytes a call in the contexts, a hundred a call in pages (malloc and the pages of shared memory breathe).
SELECT CASE
	WHEN r.n IS NULL THEN format('ok %s - %s # SKIP %s does not exist', c.n, label, needs)
	WHEN r.contexts IS NULL THEN format('not ok %s - %s: its statement failed', c.n, label)
	ELSE format('%sok %s - %s: contexts %s bytes, pages %s bytes in %s calls',
		CASE WHEN (contexts > 16384 + 8 * :calls OR pages > 524288 + 100 * :calls) = (label = 'a leak on purpose') THEN '' ELSE 'not ' END, c.n, label, contexts, pages, :calls)
	END
FROM growth_call c LEFT JOIN growth_result r USING (n) ORDER BY c.n;
SELECT '1..' || count(*) FROM growth_call;
