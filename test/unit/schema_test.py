#!/usr/bin/env python3
"""Runs the official JSON Schema suite and the GitHub payloads through schema_is_valid.

    test/cluster run -- test/unit/schema_test.py [-v]

The cases are read where they lie: $ATP_SHARED/conformance (default ../shared beside the clone). Each suite is one psql session. Fails when
a required test disagrees, when more optional or format tests disagree than the best of ajv, cfworker and hyperjump leave open (in proportion,
the suite here being a part; such disagreements count as skipped), or when a GitHub payload is judged otherwise than by ajv (skipped, with a count, where npm has no ajv).
"""
import glob
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("ATP_SHARED") or TOP.parent / "shared") / "conformance"
SUITE = SHARED / "json-schema"
VERBOSE = "-v" in sys.argv[1:]
ALLOWED = {"optional": 7 / 162, "format": 7 / 764}


def quote(text):
    return "'" + text.replace("'", "''") + "'"


def psql(statements):
    """One session; returns the last column of every row, in order."""
    run = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"], input="\n".join(statements), text=True, capture_output=True)
    if run.returncode:
        sys.exit(f"psql failed: {run.stderr[:2000]}")
    return run.stdout.splitlines()


def raw_groups(path):
    """The groups of a file with numbers kept as they are written."""
    return json.loads(path.read_text(), parse_float=Number, parse_int=Number)


class Number(str):
    """A JSON number by its text."""


def dump(value):
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(json.dumps(k) + ":" + dump(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(dump, value)) + "]"
    return json.dumps(value)


def applies(text):
    """jsonb holds no \\u0000 and no lone surrogate."""
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return "\\u0000" not in text


HELPER = """
CREATE OR REPLACE FUNCTION pg_temp.verdict(schema text, instance text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN CASE WHEN atp.schema_is_valid(schema::jsonb, instance::jsonb) THEN 'true' ELSE 'false' END;
EXCEPTION WHEN OTHERS THEN
	RETURN 'error ' || SQLSTATE || ' ' || SQLERRM;
END $$;"""


def verdicts(cases, assertion):
    statements = [HELPER, f"SET atp.schema_format_assertion = {'on' if assertion else 'off'};"]
    statements += [f"SELECT pg_temp.verdict({quote(schema)}, {quote(instance)});" for schema, instance in cases]
    return psql(statements)


def register_remotes():
    statements = ["CREATE EXTENSION IF NOT EXISTS atp;"]
    for path in sorted((SUITE / "remotes").rglob("*.json")):
        uri = "http://localhost:1234/" + path.relative_to(SUITE / "remotes").as_posix()
        statements.append(f"SELECT atp.add_schema_document({quote(uri)}, {quote(path.read_text())}::jsonb);")
    psql(statements)
    return len(statements) - 1


def run_suite():
    totals = {kind: [0, 0, 0] for kind in ("required", "optional", "format")}
    batches = {kind: [] for kind in totals}
    for path in sorted((SUITE / "tests").rglob("*.json")):
        kind = "format" if path.parent.name == "format" else "optional" if path.parent.name == "optional" else "required"
        draft = path.relative_to(SUITE / "tests").parts[0]
        for group in raw_groups(path):
            if isinstance(group["schema"], dict) and "$schema" not in group["schema"] and draft == "draft7":
                group["schema"]["$schema"] = "http://json-schema.org/draft-07/schema#"
            for test in group["tests"]:
                schema, data = dump(group["schema"]), dump(test["data"])
                if not (applies(schema) and applies(data)):
                    totals[kind][2] += 1
                    continue
                name = f"{path.relative_to(SUITE / 'tests')}: {group['description']}: {test['description']}"
                batches[kind].append((name, schema, data, "true" if test["valid"] else "false"))
    passed = failed = left = 0
    for kind, batch in batches.items():
        for (name, schema, data, expected), got in zip(batch, verdicts([b[1:3] for b in batch], kind == "format"), strict=True):
            totals[kind][0] += 1
            if got != expected:
                totals[kind][1] += 1
                print(f"# {kind}: {name}: expected {expected}, got {got}")
                if VERBOSE:
                    print(f"#   schema {schema}\n#   data {data}")
        count, bad, skipped = totals[kind]
        print(f"{kind}: {count - bad} of {count} agree, {skipped} do not apply to jsonb")
        within = bad <= ALLOWED.get(kind, 0) * count
        passed, failed, left = passed + count - bad, failed + (0 if within else bad), left + skipped + (bad if within else 0)
    return passed, failed, left


def damage(payload, rng):
    """A copy with one thing wrong or missing somewhere."""
    payload = json.loads(json.dumps(payload))
    at = payload
    while True:
        key = rng.choice(list(at) if isinstance(at, dict) else range(len(at)))
        if isinstance(at[key], (dict, list)) and at[key] and rng.random() < 0.7:
            at = at[key]
            continue
        change = rng.randrange(3)
        if change == 0 and isinstance(at, dict):
            del at[key]
        elif change == 1 and isinstance(at, dict):
            at["unexpected"] = at[key]
        else:
            at[key] = [] if isinstance(at[key], (str, int, type(None))) else "damaged"
        return payload


AJV = """
const Ajv = require('ajv'), fs = require('fs');
const ajv = new Ajv({strict: false, allErrors: false, validateFormats: false, logger: false});
const validate = ajv.compile(JSON.parse(fs.readFileSync(process.argv[2], 'utf8')));
for (const line of fs.readFileSync(process.argv[3], 'utf8').split('\\n')) if (line) console.log(validate(JSON.parse(line)));
"""


def run_github():
    events = SHARED / "events"
    schema = (events / "github-webhooks.schema.json").read_text()
    rng = random.Random(20201208)
    payloads = [json.loads(line)["payload"] for line in (events / "github-webhooks.jsonl").open()]
    payloads += [damage(p, rng) for p in payloads for _ in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        modules = os.environ.get("ATP_NODE_MODULES")
        if modules is None:
            modules = folder / "node_modules"
            install = subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), "ajv@8"], capture_output=True) \
                if subprocess.run(["sh", "-c", "command -v npm"], capture_output=True).returncode == 0 else None
            if install is None or install.returncode:
                print(f"github: {len(payloads)} payloads skipped: no ajv")
                return 0, 0, len(payloads)
        (folder / "payloads").write_text("\n".join(map(json.dumps, payloads)))
        (folder / "ajv.js").write_text(AJV)
        expected = subprocess.run(["node", str(folder / "ajv.js"), str(events / "github-webhooks.schema.json"), str(folder / "payloads")],
                                  env={**os.environ, "NODE_PATH": str(modules)}, text=True, capture_output=True, check=True).stdout.split()
    statements = ["\\timing off", f"CREATE TEMP TABLE s AS SELECT {quote(schema)}::jsonb AS schema;", "CREATE TEMP TABLE p (n int, payload jsonb);"]
    statements += [f"INSERT INTO p VALUES ({n}, {quote(json.dumps(p))});" for n, p in enumerate(payloads)]
    statements += ["SELECT CASE WHEN atp.schema_is_valid(schema, payload) THEN 'true' ELSE 'false' END FROM s, p ORDER BY n;"]
    got = psql(statements)
    differ = [n for n, (e, g) in enumerate(zip(expected, got, strict=True)) if e != g]
    for n in differ:
        print(f"# github: payload {n}: ajv says {expected[n]}, we say {got[n]}")
    print(f"github: {len(got) - len(differ)} of {len(got)} agree with ajv, {expected.count('true')} of them valid")
    return len(got) - len(differ), len(differ), 0


if __name__ == "__main__":
    if not (SUITE / "tests").is_dir():
        print(f"no suite at {SUITE}\n0 passed, 0 failed, 1 skipped")
        sys.exit()
    print(f"{register_remotes()} remote documents registered")
    passed, failed, left = map(sum, zip(run_suite(), run_github()))
    print(f"{passed} passed, {failed} failed, {left} skipped")
    sys.exit(failed > 0 or passed == 0)
