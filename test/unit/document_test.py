#!/usr/bin/env python3
"""Generated documents before their judges: @asyncapi/parser, @eventcatalog/linter, avsc, protoc, and the validator itself.

    test/cluster run -- sh -c 'psql -Xqc "CREATE EXTENSION atp" && test/unit/document_test.py'

The platform's own event types, and applications' types made to be difficult: odd names, nested objects, references, several versions. A judge
that is not to be had here (no npm, no network, no protoc) is skipped, with a count. ATP_NODE_MODULES names a folder that has the packages.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

PACKAGES = ["@asyncapi/parser@3", "@eventcatalog/linter@1", "avsc@5"]
passed = failed = skipped = 0

SETUP = r"""
SELECT atp.register_event_type('ShopOrderPlaced', 'A "customer" placed an order <b>{now}</b> | soon.');
SELECT atp.register_schema('ShopOrderPlaced', '{"type": "object", "properties": {
    "order-id": {"type": "string", "description": "Id | of the {order} <x>."}, "orderId": {"type": ["string", "null"]}, "OrderId": {"type": "string"},
    "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}, "matrix": {"type": "array", "items": {"type": "array"}}, "tree": {"$ref": "#/$defs/tree"},
    "1x": {"type": "integer"}, "any": true, "number": {"type": "number"}, "flag": {"type": "boolean"}, "free": {"type": "object"}, "of": {"enum": ["a", "b"]}},
  "required": ["order-id", "lines"], "$defs": {
    "line": {"type": "object", "properties": {"sku": {"type": "string"}, "qty": {"type": "integer"}}, "required": ["sku"]},
    "tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}, "a/b~c": {"type": "string"}}}}}');
SELECT atp.document_event_type('ShopOrderPlaced', '{"kind": "integration", "category": "sales", "producers": ["shop \"online\""], "consumers": ["billing", "<stock>"],
  "rules": ["An order has {one} customer."], "retry": {"max_attempts": 5}, "example": {"order-id": "1", "lines": [{"sku": "a"}]}}');
SELECT atp.register_schema('ShopOrderPlaced', '{"type": "object", "properties": {"aaa": {"type": "string"}, "order-id": {"type": "string"},
  "lines": {"type": "array", "items": {"type": "object", "properties": {"added": {"type": "string"}, "sku": {"type": "string"}}}}}, "required": ["order-id"]}', 'NONE');
SELECT atp.register_event_type('ShopNoticeSent', NULL, owner => 'Team Café & Co');
SELECT atp.register_schema('ShopTruthTold', 'true');
"""

JUDGES = r"""
const fs = require('fs');
const dir = process.argv[2];
const say = (ok, what, why) => console.log(JSON.stringify([ok, what, why || '']));
(async () => {
  const { Parser } = require('@asyncapi/parser');
  const { document, diagnostics } = await new Parser().parse(fs.readFileSync(dir + '/asyncapi.json', 'utf8'));
  const errors = diagnostics.filter(d => d.severity === 0);
  say(document !== undefined && errors.length === 0, 'AsyncAPI: the parser accepts the document', errors.slice(0, 5).map(d => d.path.join('/') + ': ' + d.message).join('; '));
  say(document !== undefined && document.messages().length >= 39, 'AsyncAPI: a message for each type');
  const avro = require('avsc');
  let bad = [];
  const schemas = JSON.parse(fs.readFileSync(dir + '/avro.json', 'utf8'));
  for (const [name, schema] of Object.entries(schemas)) {
    try { avro.Type.forSchema(schema); } catch (e) { bad.push(name + ': ' + e.message); }
  }
  say(bad.length === 0 && Object.keys(schemas).length >= 39, 'Avro: avsc takes each schema', bad.join('; '));
  const order = avro.Type.forSchema(schemas.ShopOrderPlaced);
  const value = { f_order_id: '1', lines: [{ added: null, sku: 'a' }], aaa: null };
  say(order.isValid(value), 'Avro: a value of a user type fits', JSON.stringify(schemas.ShopOrderPlaced));
})().catch(e => say(false, 'judges run', e.stack));
"""


def check(ok, what, why=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    print(f"{'ok' if ok else 'not ok'} - {what}" + ("" if ok else f"\n# {why}"))


def skip(what):
    global skipped
    skipped += 1
    print(f"ok - {what} # SKIP")


def psql(sql):
    run = subprocess.run(["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-"], input=sql, text=True, capture_output=True)
    if run.returncode:
        sys.exit(f"psql failed: {run.stderr[:3000]}")
    return run.stdout


def modules(folder):
    """A folder of node modules that has the judges; None where there is none."""
    if os.environ.get("ATP_NODE_MODULES"):
        return os.environ["ATP_NODE_MODULES"]
    if shutil.which("npm") is None or shutil.which("node") is None:
        return None
    run = subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *PACKAGES], capture_output=True)
    return folder / "node_modules" if run.returncode == 0 else None


def protobuf(folder):
    text = psql("SELECT atp.generate_protobuf();")
    (folder / "atp.proto").write_text(text)
    check("  string f_order_id = 1 [" in text, "Protocol Buffers: a field keeps its number in a later version", text)
    check("reserved 3, 4, 5, 6, 7, 8, 9, 10, 11, 12;" in text, "Protocol Buffers: numbers of fields that are gone are reserved", text[text.find("message ShopOrderPlaced"):][:800])
    check("  optional string aaa = 13 [" in text and "    optional string added = 3 [" in text, "Protocol Buffers: a new field gets a new number, inside too")
    if shutil.which("protoc") is None:
        skip("Protocol Buffers: no protoc")
        return
    run = subprocess.run(["protoc", f"--proto_path={folder}", "--descriptor_set_out=/dev/null", "atp.proto"], capture_output=True, text=True)
    check(run.returncode == 0, "Protocol Buffers: protoc parses the file", run.stderr[:1000])
    for name in ("AuditEventReceived", "HashChainValidationFailed"):
        (folder / "one.proto").write_text(psql(f"SELECT atp.generate_protobuf('{name}');"))
        run = subprocess.run(["protoc", f"--proto_path={folder}", "--descriptor_set_out=/dev/null", "one.proto"], capture_output=True, text=True)
        check(run.returncode == 0, f"Protocol Buffers: and that of {name} alone", run.stderr[:1000])


def write(folder, function):
    for path, content in json.loads(psql(f"SELECT jsonb_agg(jsonb_build_array(path, content)) FROM {function};")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)


def pages(folder):
    write(folder / "reference", "atp.generate_reference()")
    index = (folder / "reference" / "index.md").read_text()
    names = psql("SELECT event_type FROM atp.event_type_catalog;").split()
    check(all(f"[`{n}`](" in index for n in names), "reference: the index lists every type")
    text = "".join(p.read_text() for p in (folder / "reference").glob("*.md"))
    check(all(f"\n## {n}\n" in text for n in names) and text.count("```mermaid") == len(names), "reference: a section and a flow for each type")
    broken = [line for line in text.splitlines() if line.startswith("| `") and line.replace("\\|", "").count("|") not in (4, 5, 6)]
    check(not broken, "reference: tables keep their columns", broken[:3])


def bundle():
    check(psql("SELECT count(*) FROM atp.schema_errors('{\"$ref\": \"https://json-schema.org/draft/2020-12/schema\"}', atp.generate_json_schema());").strip() == "0",
          "JSON Schema: the bundle is a schema")
    wrong = psql("""SELECT c.event_type FROM atp.event_type_catalog c WHERE c.example IS NOT NULL AND NOT atp.schema_is_valid(
        atp.generate_json_schema() || jsonb_build_object('$ref', '#/$defs/' || c.event_type), c.example);""").split()
    check(not wrong, "JSON Schema: each example is valid against its part of the bundle", wrong)
    refused = psql("""SELECT count(*) FROM atp.event_type_catalog c WHERE c.builtin AND NOT atp.schema_is_valid(
        atp.generate_json_schema() || jsonb_build_object('$ref', '#/$defs/' || c.event_type), '{}');""").strip()
    check(refused == "38", "JSON Schema: and an empty payload is not", refused)


def main():
    psql(SETUP)
    bundle()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        protobuf(folder)
        pages(folder)
        (folder / "asyncapi.json").write_text(psql("SELECT atp.generate_asyncapi();"))
        (folder / "avro.json").write_text(psql("SELECT jsonb_object_agg(event_type, atp.generate_avro(event_type)) FROM atp.event_type_catalog WHERE schema IS NOT NULL;"))
        write(folder / "eventcatalog", "atp.generate_eventcatalog()")
        node = modules(folder)
        if node is None:
            for what in ("AsyncAPI", "AsyncAPI", "Avro", "Avro", "EventCatalog"):
                skip(f"{what}: no judges from npm")
        else:
            (folder / "judges.js").write_text(JUDGES)
            run = subprocess.run(["node", str(folder / "judges.js"), str(folder)], env={**os.environ, "NODE_PATH": str(node)}, capture_output=True, text=True)
            lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("[")]
            for ok, what, why in lines:
                check(ok, what, why)
            check(len(lines) == 4, "all judges spoke", run.stderr[:1000])
            lint = subprocess.run(["node", str(pathlib.Path(node) / "@eventcatalog/linter/dist/cli/index.js"), "--fail-on-warning", str(folder / "eventcatalog")],
                                  capture_output=True, text=True)
            check(lint.returncode == 0, "EventCatalog: the linter has nothing to say", (lint.stdout + lint.stderr)[:1500])
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(failed > 0)


main()
