#!/usr/bin/env python3
"""Validation: how fast, beside ajv in the same run; what it adds to an append; the 344-definition schema.

    test/cluster run --preload -- test/bench/validate.py [seconds]

The database's figures are CPU time of the backend, so that other work on the machine disturbs little; ajv's are CPU time of node. ajv is
skipped where npm has none. Rounds alternate, medians are printed.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
EVENTS = pathlib.Path(os.environ.get("ATP_SHARED") or TOP.parent / "shared") / "conformance" / "events"
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 3
ROUNDS = 5

SCHEMA = {
    "type": "object",
    "required": ["order_id", "customer", "status", "placed_at", "total", "currency", "lines"],
    "properties": {
        "order_id": {"type": "string", "pattern": "^ord_[0-9a-z]{12}$"},
        "status": {"enum": ["new", "paid", "packed", "shipped", "returned"]},
        "placed_at": {"type": "string", "format": "date-time"},
        "total": {"type": "number", "minimum": 0},
        "currency": {"type": "string", "minLength": 3, "maxLength": 3},
        "express": {"type": "boolean"},
        "note": {"type": ["string", "null"], "maxLength": 200},
        "customer": {"type": "object", "required": ["id", "email"], "properties": {"id": {"type": "integer"}, "email": {"type": "string"}}},
        "lines": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["sku", "count"], "properties": {
            "sku": {"type": "string"}, "count": {"type": "integer", "minimum": 1}}}},
    },
    "additionalProperties": False,
}
PAYLOAD = {"order_id": "ord_0a1b2c3d4e5f", "status": "paid", "placed_at": "2026-11-25T02:15:05.123Z", "total": 129.9, "currency": "EUR", "express": False,
           "note": "Leave it at the door, please.", "customer": {"id": 4711, "email": "someone@mail.example"},
           "lines": [{"sku": "SKU-1", "count": 2}, {"sku": "SKU-22", "count": 1}]}

AJV = """
const Ajv = require('ajv'), fs = require('fs'), addFormats = require('ajv-formats');
const input = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
function rate(f, seconds) {
	let n = 0, end = process.hrtime.bigint() + BigInt(seconds * 1e9), start = process.cpuUsage();
	while (process.hrtime.bigint() < end) { for (let i = 0; i < 1000; i++) f(); n += 1000; }
	return process.cpuUsage(start).user / n;
}
const out = {};
for (const [name, options] of [['annotated', {validateFormats: false}], ['asserted', {}]]) {
	const ajv = new Ajv({strict: false, logger: false, ...options});
	if (name == 'asserted') addFormats(ajv);
	const validate = ajv.compile(input.schema);
	if (!validate(input.payload)) throw JSON.stringify(validate.errors);
	rate(() => validate(input.payload), 0.5);
	out[name] = rate(() => validate(input.payload), input.seconds);
	const text = JSON.stringify(input.payload);
	out[name + '_from_text'] = rate(() => validate(JSON.parse(text)), input.seconds);
}
const ajv = new Ajv({strict: false, logger: false, validateFormats: false});
let start = process.cpuUsage();
const validate = ajv.compile(JSON.parse(fs.readFileSync(input.github_schema, 'utf8')));
validate({});
out.github_compile = process.cpuUsage(start).user / 1000;
const payloads = fs.readFileSync(input.github, 'utf8').split('\\n').filter(l => l).map(l => JSON.parse(l).payload);
for (const p of payloads) validate(p);
start = process.cpuUsage();
for (let i = 0; i < 5; i++) for (const p of payloads) validate(p);
out.github = process.cpuUsage(start).user / 5 / payloads.length;
console.log(JSON.stringify(out));
"""


def psql(script):
    run = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1"], input=script, text=True, capture_output=True)
    if run.returncode:
        sys.exit(run.stderr[:2000])
    return run.stdout.split("\n")[:-1]


def quote(value):
    return "'" + json.dumps(value).replace("'", "''") + "'"


CPU = """
SET jit = off; SET max_parallel_workers_per_gather = 0; SET synchronous_commit = off;
-- microseconds on the CPU of this backend so far: steady where other work shares the machine
CREATE FUNCTION pg_temp.cpu() RETURNS float LANGUAGE sql VOLATILE AS $$SELECT split_part(pg_read_file('/proc/self/schedstat'), ' ', 1)::float / 1000$$;
CREATE FUNCTION pg_temp.cost(q text) RETURNS float LANGUAGE plpgsql AS $$DECLARE s float := pg_temp.cpu(); n bigint;
	BEGIN EXECUTE q INTO n; RETURN pg_temp.cpu() - s; END$$;
"""


def cost(query):
    return "SELECT pg_temp.cost($q$%s$q$);" % query


def calls(setting):
    """Microseconds a call of schema_is_valid, the loop's own cost taken off."""
    count = 100000
    script = [CPU, setting, f"CREATE TEMP TABLE i AS SELECT {quote(PAYLOAD)}::jsonb AS p FROM generate_series(1, {count}); SELECT count(*) FROM i;"]
    for _ in range(ROUNDS):
        script += [cost("SELECT count(*) FROM i WHERE jsonb_typeof(p) = 'object'"),
                   cost(f"SELECT count(*) FROM i WHERE atp.schema_is_valid({quote(SCHEMA)}, p)")]
    costs = list(map(float, psql("\n".join(script))[1:]))
    return (statistics.median(costs[1::2]) - statistics.median(costs[::2])) / count


def appends():
    """Microseconds of CPU an append in a session, ten a transaction, without a schema and with, alternating."""
    count = 3000
    script = [CPU, f"SELECT atp.register_event_type('BenchPlaced'); SELECT atp.register_schema('BenchOrdered', {quote(SCHEMA)}::jsonb, 'NONE');",
              "CREATE TABLE IF NOT EXISTS cost (event_type text, us float);",
              "CREATE OR REPLACE PROCEDURE append(t text, n int) LANGUAGE plpgsql AS $$DECLARE p jsonb := %s; s float := pg_temp.cpu(); BEGIN "
              "FOR i IN 1..n LOOP PERFORM atp.append_event('bench-' || i, t, p); IF i %% 10 = 0 THEN COMMIT; END IF; END LOOP; "
              "INSERT INTO cost VALUES (t, (pg_temp.cpu() - s) / n); END$$;" % quote(PAYLOAD), f"CALL append('BenchPlaced', {count}); DELETE FROM cost;"]
    script += [f"CALL append('BenchPlaced', {count}); CALL append('BenchOrdered', {count});"] * (2 * ROUNDS)
    script += ["SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY us) FROM cost GROUP BY event_type ORDER BY event_type DESC; DROP TABLE cost; DROP PROCEDURE append;"]
    return list(map(float, psql("\n".join(script))[-2:]))


def github():
    schema = (EVENTS / "github-webhooks.schema.json").read_text().replace("'", "''")
    rows = [json.dumps(json.loads(line)["payload"]).replace("'", "''") for line in (EVENTS / "github-webhooks.jsonl").open()]
    script = [CPU, "CREATE TEMP TABLE p (p jsonb); ALTER TABLE p ALTER p SET STORAGE EXTERNAL;"] + [f"INSERT INTO p VALUES ('{row}');" for row in rows]
    # the schema is a constant of the query, as a registered one is: a schema out of a table is fetched and compared at every call
    script += [cost(f"SELECT atp.schema_is_valid('{schema}', '{{}}')::int")]
    script += [cost(f"SELECT count(*) FROM p, generate_series(1, 5) WHERE atp.schema_is_valid('{schema}', p)")] * ROUNDS
    script += ["SELECT compilations FROM atp.get_schema_cache();"]
    out = psql("\n".join(script))
    return float(out[0]) / 1000, statistics.median(map(float, out[1:-1])) / 5 / len(rows), int(out[-1])


def ajv():
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        modules = os.environ.get("ATP_NODE_MODULES")
        if modules is None:
            modules = folder / "node_modules"
            try:
                subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), "ajv@8", "ajv-formats@3"], capture_output=True, check=True, timeout=120)
            except (OSError, subprocess.SubprocessError):
                return None
        (folder / "input").write_text(json.dumps({"schema": SCHEMA, "payload": PAYLOAD, "seconds": SECONDS, "github": str(EVENTS / "github-webhooks.jsonl"),
                                                  "github_schema": str(EVENTS / "github-webhooks.schema.json")}))
        (folder / "ajv.js").write_text(AJV)
        run = subprocess.run(["node", str(folder / "ajv.js"), str(folder / "input")], env={**os.environ, "NODE_PATH": str(modules)}, text=True, capture_output=True)
        return json.loads(run.stdout) if run.returncode == 0 else sys.exit(run.stderr[:1000])


def main():
    psql("CREATE EXTENSION IF NOT EXISTS atp;")
    start = time.time()
    annotated = calls("")
    asserted = calls("SET atp.schema_format_assertion = on;")
    compiling, payload, compilations = github()
    plain, judged = appends()
    other = ajv()

    def line(what, ours, key=None, form="8.2f"):
        beside = "" if key is None else "skipped: no ajv" if other is None else f"{other[key]:{form}}   x {other[key] / ours:.1f}"
        print(f"{what:58} {ours:{form}}  {beside}")
    print(f"{'microseconds of CPU':58} {'atp':>8}  {'ajv':>8}")
    line("12-property schema, a call, formats annotate", annotated, "annotated")
    line("12-property schema, a call, formats assert", asserted, "asserted")
    line("   beside ajv from text (JSON.parse)", asserted, "asserted_from_text")
    line("344-definition schema, to compile (ms)", compiling, "github_compile", "8.1f")
    line("344-definition schema, a payload", payload, "github", "8.1f")
    line("   compilations in that session, meta-schemas included", compilations, form="8d")
    line("an append without a schema", plain)
    line("an append with the 12-property schema", judged)
    print(f"{'   of that':58} {judged / plain:8.2f}")
    print(f"({time.time() - start:.0f} s)")


if __name__ == "__main__":
    main()
