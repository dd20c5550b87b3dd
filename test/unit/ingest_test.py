#!/usr/bin/env python3
"""Real audit records through ingestion: CloudTrail, audit samples of 91 sources, GitHub webhooks; sound, damaged, repeated, judged by a schema.

Skipped without the shared data ($ATP_SHARED/conformance). The mapping from each source's form to an item is what a collector would do.
"""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import documents

passed = failed = 0


def check(ok, what, why=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(f"{'ok' if ok else 'not ok'} - {what}" + ("" if ok else f"\n# {str(why)[:1500]}"))


def quote(value):
    return "'" + json.dumps(value).replace("'", "''") + "'"


def psql(sql):
    run = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"], input="SET standard_conforming_strings = on;\n" + sql, text=True, capture_output=True)
    if run.returncode:
        sys.exit(f"psql failed: {run.stderr[:3000]}")
    return run.stdout.strip()


def cloudtrail(record):
    who = record.get("userIdentity") or {}
    what = (record.get("resources") or [{}])[0].get("ARN") or record["eventSource"]
    return {"actor": who.get("arn") or who.get("invokedBy") or who.get("type") or "unknown", "action": record["eventSource"].split(".")[0] + ":" + record["eventName"],
            "resource": what, "occurred_at": record["eventTime"], "idempotency_key": record["eventID"], "payload": record}


def sample(record):
    event = record["event"] if isinstance(record["event"], dict) else {"event": record["event"]}
    actor = event.get("actor") or event.get("user") or event.get("userIdentity") or "unknown"
    return {"actor": json.dumps(actor)[:1024], "action": record["log_type"], "resource": record["log_type"], "payload": event}


def webhook(record):
    body = record["payload"]
    return {"actor": (body.get("sender") or {}).get("login") or "unknown", "action": record["event"] + "." + str(body.get("action", "sent")),
            "resource": "github-" + ((body.get("repository") or {}).get("full_name") or "none"), "payload": body}


def ingest(items, source):
    rows = psql(f"SELECT json_build_array(item, accepted, deduplicated, stream, errors) FROM atp.ingest_batch({quote(items)}::jsonb, '{source}') ORDER BY item;")
    return [json.loads(row) for row in rows.splitlines()]


def kept(items, source):
    """How many of the items' payloads are not, value for value, what is stored for them."""
    return psql(f"""WITH given AS (SELECT i.value, i.ordinality FROM jsonb_array_elements({quote(items)}::jsonb) WITH ORDINALITY i),
        told AS (SELECT g.item, e.payload::jsonb AS payload FROM atp.ingest_batches b, atp.get_batch(b.batch_id) g JOIN atp_internal.event e USING (event_id)
            WHERE b.source = '{source}')
        SELECT count(*) FROM given g JOIN told t ON t.item = g.ordinality
        WHERE coalesce(t.payload -> 'Payload' = g.value -> 'payload', t.payload -> 'OriginalPayload' = g.value, false)""")


def main():
    if not documents.have_conformance():
        print("0 passed, 0 failed, 1 skipped")
        return
    records = {name: [json.loads(line) for line in documents.conformance(f"events/{name}.jsonl")] for name in ("cloudtrail", "audit-samples", "github-webhooks")}
    batches = {"cloudtrail": [cloudtrail(r) for r in records["cloudtrail"]], "audit-samples": [sample(r) for r in records["audit-samples"]],
               "github-webhooks": [webhook(r) for r in records["github-webhooks"]]}
    for name, items in batches.items():
        result = ingest(items, name)
        bad = [r for r in result if not r[1]]
        check(len(result) == len(items) and not bad, f"{name}: {len(items)} records are taken", bad[:3])
        check(kept(items, name) == str(len(items)), f"{name}: each is stored as it was", kept(items, name))
        check(all(r[2] for r in ingest(items, name)), f"{name}: again, and nothing is new")

    result = ingest(batches["cloudtrail"][100:900], "cloudtrail, another cut")
    check(len(result) == 800 and all(r[1] and r[2] for r in result), "cloudtrail: another cut of the file is recognised item by item", [r for r in result if not r[2]][:3])

    damaged = [dict(item) for item in batches["audit-samples"]]
    expected = set()
    for n, item in enumerate(damaged):
        if n % 10 == 3:
            item.pop("actor"); expected.add(n + 1)
        elif n % 10 == 7:
            item["payload"] = [item["payload"]]; expected.add(n + 1)
        elif n % 100 == 11:
            item["occurred_at"] = "01/02/2026"; expected.add(n + 1)
    result = ingest(damaged, "damaged")
    check({r[0] for r in result if not r[1]} == expected, f"damaged: {len(expected)} of {len(damaged)} are refused, and no other")
    check(kept(damaged, "damaged") == str(len(damaged)), "damaged: what is refused is kept as it was, too", kept(damaged, "damaged"))

    with open(os.path.join(documents.SHARED, "conformance/events/github-webhooks.schema.json"), encoding="utf-8") as file:
        schema = json.load(file)
    psql(f"SELECT atp.register_schema('GithubWebhookReceived', {quote(schema)}::jsonb);")
    judged = [dict(item, payload_type="GithubWebhookReceived") for item in batches["github-webhooks"]]
    valid = psql(f"SELECT jsonb_agg(atp.schema_is_valid({quote(schema)}::jsonb, i -> 'payload') ORDER BY n) FROM jsonb_array_elements({quote(judged)}::jsonb) WITH ORDINALITY x (i, n);")
    result = ingest(judged, "judged")
    check([r[1] for r in result] == json.loads(valid), "github-webhooks: judged by their schema as the validator judges them")
    check(0 < sum(r[1] for r in result) < len(result) and all(e["Code"] == "SCHEMA" and e["Location"].startswith("/payload") for r in result if not r[1] for e in r[4]),
          "github-webhooks: what is refused says where", [r[4] for r in result if not r[1]][:1])
    check(psql("SELECT count(*) FROM atp.streams s, atp.verify_stream(s.stream) v WHERE NOT v.ok;") == "0", "every chain holds")
    check(psql("""SELECT count(*) FROM atp.events e, atp.get_schema(e.event_type) s, atp.schema_errors(s.schema, e.payload) x
        WHERE e.event_type ~ '^(AuditEvent|Batch)'""") == "0", "every event is what its schema says")
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
