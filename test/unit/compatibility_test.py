#!/usr/bin/env python3
"""The soundness of schema_compatibility, by counter-examples: seeded random pairs of schemas and instances.

    test/cluster run -- test/unit/compatibility_test.py [pairs] [seed]

* BACKWARD_STRICT true: no instance that old accepts is refused by new, with formats asserted or not.
* FORWARD_STRICT is BACKWARD_STRICT the other way round, FULL_STRICT both; what is compatible in the strict sense is so in the lenient one.
* BACKWARD true, of schemas without alternatives: the same as for BACKWARD_STRICT, of instances that have no members but those declared.
* A schema is compatible with itself.
* Where the answer is false and no kind is "undecided", a counter-example is usually found; how often is printed, not judged.

Each property would fail at once on a rule that is unsound: see `MUTANTS`, pairs that must be refused.
"""
import copy
import json
import os
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import database

NAMES = ["a", "b", "c", "x1", "x2"]
PATTERNS = ["^x", "1$", "^[ab]$", "^a"]
STRINGS = ["", "a", "b", "ab", "abc", "x1", "2020-01-01", "a@b.example"]
NUMBERS = [-2, -1, 0, 0.5, 1, 1.5, 2, 3, 4, 6]


class Generator:
    def __init__(self, rng, simple):
        self.rng = rng
        self.simple = simple

    def some(self, values, least=1, most=3):
        return self.rng.sample(values, min(len(values), self.rng.randint(least, most)))

    def scalar(self, schema, kind):
        rng = self.rng
        if kind in ("number", "integer"):
            for word in self.some(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"], 0, 2):
                schema[word] = rng.choice([0.5, 1, 2, 3]) if word == "multipleOf" else rng.choice(NUMBERS)
        elif kind == "string":
            for word in self.some(["minLength", "maxLength", "pattern", "format"], 0, 2):
                schema[word] = rng.choice(PATTERNS) if word == "pattern" else rng.choice(["date", "email"]) if word == "format" else rng.randint(0, 3)

    def object(self, schema, depth):
        rng = self.rng
        if rng.random() < 0.8:
            schema["properties"] = {name: self.schema(depth - 1) for name in self.some(NAMES)}
        if rng.random() < 0.4:
            schema["required"] = self.some(NAMES, 1, 2)
        if rng.random() < 0.4:
            schema["additionalProperties"] = rng.choice([False, True, self.schema(depth - 1)])
        if rng.random() < 0.25:
            schema["patternProperties"] = {p: self.schema(depth - 1) for p in self.some(PATTERNS, 1, 2)}
        for word in self.some(["minProperties", "maxProperties"], 0, 1) if rng.random() < 0.2 else []:
            schema[word] = rng.randint(0, 3)
        if rng.random() < 0.1:
            schema["propertyNames"] = rng.choice([{"pattern": rng.choice(PATTERNS)}, {"enum": self.some(NAMES)}, {"maxLength": 1}])
        if rng.random() < 0.1 and not self.simple:
            schema["dependentRequired"] = {rng.choice(NAMES): self.some(NAMES)}
        if rng.random() < 0.1 and not self.simple:
            schema["dependentSchemas"] = {rng.choice(NAMES): self.schema(depth - 1)}

    def array(self, schema, depth):
        rng = self.rng
        if rng.random() < 0.4:
            schema["prefixItems"] = [self.schema(depth - 1) for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.6:
            schema["items"] = rng.choice([False, self.schema(depth - 1), self.schema(depth - 1)])
        if rng.random() < 0.3:
            schema["contains"] = self.schema(depth - 1)
            for word in self.some(["minContains"] if self.simple else ["minContains", "maxContains"], 0, 2):
                schema[word] = rng.randint(0, 2)
        for word in self.some(["minItems", "maxItems", "uniqueItems"], 0, 2) if rng.random() < 0.4 else []:
            schema[word] = True if word == "uniqueItems" else rng.randint(0, 3)

    def applicator(self, schema, depth):
        rng = self.rng
        word = rng.choice(["allOf", "anyOf", "oneOf", "not", "if", "anyOf", "oneOf"])
        if word == "not":
            schema[word] = self.schema(depth - 1)
        elif word == "if":
            schema["if"] = self.schema(depth - 1)
            for part in self.some(["then", "else"]):
                schema[part] = self.schema(depth - 1)
        else:
            schema[word] = [self.schema(depth - 1) for _ in range(rng.randint(1, 3))]

    def schema(self, depth):
        rng = self.rng
        if rng.random() < 0.06:
            return rng.choice([True, False, {}])
        if rng.random() < 0.12:
            return {"$ref": "#/$defs/" + rng.choice("pq")}
        if rng.random() < 0.12:
            values = self.some([None, True, False, 0, 1, 1.5, "a", "ab", [], ["a"], {}, {"a": 1}, {"b": "a"}])
            return {"enum": values} if rng.random() < 0.6 else {"const": values[0]}
        kinds = ["null", "boolean", "integer", "number", "string"] + (["object"] * 4 + ["array"] * 2 if depth > 0 else [])
        kind = rng.choice(kinds)
        schema = {}
        if rng.random() < 0.85:
            schema["type"] = kind if rng.random() < 0.8 else sorted({kind, rng.choice(kinds)})
        self.scalar(schema, kind)
        if kind == "object":
            self.object(schema, depth)
        if kind == "array":
            self.array(schema, depth)
        if depth > 0 and not self.simple and rng.random() < 0.35:
            self.applicator(schema, depth)
        if depth > 0 and not self.simple and rng.random() < 0.05:
            schema[rng.choice(["unevaluatedProperties", "unevaluatedItems"])] = rng.choice([False, self.schema(0)])
        return schema

    def document(self):
        document = self.schema(3)
        if not isinstance(document, dict):
            document = {"allOf": [document]} if not self.simple else {}
        # a member or an item lies between a definition and its references, so that no loop is endless
        document["$defs"] = {"p": {"type": ["object", "null"], "properties": {"a": {"$ref": "#/$defs/" + self.rng.choice("pq")}, "b": self.schema(0)}},
                             "q": {"type": ["array", "string"], "items": {"$ref": "#/$defs/" + self.rng.choice("pq")}}}
        for name in "pq":
            if self.rng.random() < 0.3:
                document["$defs"][name]["type"] = self.rng.choice(["object", "array", "string"])
            if self.rng.random() < 0.3:
                document["$defs"][name]["required"] = self.some(NAMES, 1, 1)
        return document

    def places(self, value, found, path=()):
        found.append(path)
        if isinstance(value, dict):
            for key in value:
                self.places(value[key], found, path + (key,))
        elif isinstance(value, list):
            for i, item in enumerate(value):
                self.places(item, found, path + (i,))
        return found

    def mutate(self, document):
        """A copy with one to three small changes, so that pairs are near each other."""
        for _ in range(200):
            changed = copy.deepcopy(document)
            for _ in range(self.rng.randint(1, 3)):
                self.change(changed)
            if changed != document and well_formed(changed) and not (self.simple and "maxContains" in json.dumps(changed)):
                return changed
        return copy.deepcopy(document)

    def change(self, document):
        rng = self.rng
        at, key = None, None
        path = rng.choice(self.places(document, []))
        target = document
        for step in path:
            at, key, target = target, step, target[step]
        if rng.random() < 0.5 and isinstance(target, dict) and "$defs" not in path[-1:]:
            word = rng.random()
            if word < 0.3 and target:
                target.pop(rng.choice(list(target)))
            elif word < 0.6 and isinstance(target.get("properties"), dict):
                target["properties"][rng.choice(NAMES)] = self.schema(1)
            elif word < 0.8:
                target.update(rng.choice([{"required": self.some(NAMES)}, {"additionalProperties": rng.choice([False, True, {"type": "string"}])},
                                          {"minLength": 1}, {"maximum": rng.choice(NUMBERS)}, {"minimum": rng.choice(NUMBERS)}]))
            elif at is not None:
                at[key] = self.schema(1)
        elif isinstance(target, bool) and at is not None:
            at[key] = not target
        elif isinstance(target, (int, float)) and at is not None:
            at[key] = rng.choice(NUMBERS)
        elif isinstance(target, list) and target:
            if rng.random() < 0.5:
                target.pop(rng.randrange(len(target)))
            else:
                target.append(copy.deepcopy(rng.choice(target)))
        elif isinstance(target, str) and at is not None and key in ("type", "format", "pattern"):
            at[key] = rng.choice({"type": ["integer", "number", "string", "object"], "format": ["date", "email"], "pattern": PATTERNS}[key])

    # ---- instances ----

    def free(self, depth):
        rng = self.rng
        kind = rng.randrange(8 if depth > 0 else 5)
        if kind == 0:
            return None
        if kind == 1:
            return rng.random() < 0.5
        if kind == 2:
            return rng.choice(NUMBERS)
        if kind in (3, 4):
            return rng.choice(STRINGS)
        if kind == 5:
            return [self.free(depth - 1) for _ in range(rng.randint(0, 3))]
        return {name: self.free(depth - 1) for name in self.some(NAMES, 0, 3)}

    def instance(self, schema, root, depth):
        """An attempt at an instance that is valid."""
        rng = self.rng
        if not isinstance(schema, dict) or depth < 0 or rng.random() < 0.04:
            return self.free(1)
        if "$ref" in schema:
            return self.instance(root["$defs"][schema["$ref"][-1]], root, depth - 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return rng.choice(schema["enum"])
        for word in ("anyOf", "oneOf", "allOf"):
            if schema.get(word) and rng.random() < 0.7:
                branch = rng.choice(schema[word])
                merged = {k: v for k, v in schema.items() if k != word}
                if isinstance(branch, dict):
                    for k, v in branch.items():
                        merged[k] = {**merged[k], **v} if isinstance(v, dict) and isinstance(merged.get(k), dict) else v
                return self.instance(merged, root, depth - 1)
        if isinstance(schema.get("then"), dict) and rng.random() < 0.5:
            return self.instance({**schema, **schema["then"], "then": None}, root, depth - 1)
        kind = schema.get("type", rng.choice(["object", "object", "array", "string", "number"]))
        kind = rng.choice(kind) if isinstance(kind, list) and kind else kind
        if kind == "object":
            return self.members(schema, root, depth)
        if kind == "array":
            return self.items(schema, root, depth)
        if kind in ("integer", "number"):
            low = schema.get("minimum", schema.get("exclusiveMinimum", -2))
            return rng.choice([n for n in NUMBERS if n >= low and (kind == "number" or n == int(n))] or NUMBERS + [low, low + 1])
        if kind == "string":
            fit = [s for s in STRINGS if schema.get("minLength", 0) <= len(s) <= schema.get("maxLength", 99)]
            return rng.choice(fit or STRINGS)
        return None if kind == "null" else rng.random() < 0.5

    def members(self, schema, root, depth):
        rng = self.rng
        properties = schema.get("properties", {})
        names = {n for n in properties if rng.random() < 0.6} | set(schema.get("required", []))
        if schema.get("additionalProperties") is not False and rng.random() < 0.5:
            names |= set(self.some(NAMES))
        made = {}
        for name in sorted(names):
            rule = properties.get(name)
            if rule is None:
                rule = next((v for p, v in schema.get("patternProperties", {}).items() if name.startswith(p.strip("^$[ab]")[:1] or "?")),
                            schema.get("additionalProperties", True))
            made[name] = self.instance(rule, root, depth - 1)
        return made

    def items(self, schema, root, depth):
        prefix = schema.get("prefixItems", [])
        rest = schema.get("items", True)
        size = self.rng.randint(schema.get("minItems", 0), max(schema.get("minItems", 0), min(3, schema.get("maxItems", 3))))
        if rest is False:
            size = min(size, len(prefix))
        rules = [prefix[i] if i < len(prefix) else rest for i in range(size)]
        if "contains" in schema and rules and self.rng.random() < 0.7:
            rules[-1] = schema["contains"]
        return [self.instance(rule, root, depth - 1) for rule in rules]


WORDS = {"type", "properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties", "propertyNames",
         "dependentRequired", "dependentSchemas", "prefixItems", "items", "contains", "minContains", "maxContains", "minItems", "maxItems", "uniqueItems",
         "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "unevaluatedProperties", "unevaluatedItems", "minimum", "maximum", "exclusiveMinimum",
         "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern", "format", "enum", "const", "$ref", "$defs"}
MAPS = {"properties", "patternProperties", "dependentSchemas", "$defs"}
LISTS = {"allOf", "anyOf", "oneOf", "prefixItems"}
COUNTS = {"minProperties", "maxProperties", "minContains", "maxContains", "minItems", "maxItems", "minLength", "maxLength"}
KINDS = {"null", "boolean", "integer", "number", "string", "object", "array"}


def well_formed(schema, root=True):
    """Is it a schema still? (The database would say so too, but an error costs a pair.)"""
    if isinstance(schema, bool):
        return not root
    if not isinstance(schema, dict) or not set(schema) <= WORDS or (root and set(schema.get("$defs", {})) != {"p", "q"}):
        return False
    for word, value in schema.items():
        if word in MAPS:
            good = isinstance(value, dict) and all(well_formed(v, False) for v in value.values())
        elif word in LISTS:
            good = isinstance(value, list) and value and all(well_formed(v, False) for v in value)
        elif word in COUNTS:
            good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        elif word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            good = isinstance(value, (int, float)) and not isinstance(value, bool)
        elif word == "multipleOf":
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
        elif word == "type":
            good = value in KINDS if isinstance(value, str) else isinstance(value, list) and value and set(map(str, value)) <= KINDS and len(set(value)) == len(value)
        elif word == "required":
            good = isinstance(value, list) and all(isinstance(v, str) for v in value) and len(set(value)) == len(value)
        elif word == "dependentRequired":
            good = isinstance(value, dict) and all(isinstance(v, list) and all(isinstance(n, str) for n in v) and len(set(v)) == len(v) for v in value.values())
        elif word == "enum":
            good = isinstance(value, list) and value
        elif word == "uniqueItems":
            good = isinstance(value, bool)
        elif word in ("pattern", "format", "$ref"):
            good = isinstance(value, str)
        elif word == "const":
            good = True
        else:
            good = well_formed(value, False)
        if not good:
            return False
    return True


def closed(schema):
    """A schema without alternatives, all its open objects closed: what BACKWARD takes instances to be."""
    if schema is True:
        schema = {}
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema or "enum" in schema or "const" in schema:
        return {**schema, **({"$defs": {k: closed(v) for k, v in schema["$defs"].items()}} if "$defs" in schema else {})}
    made = {}
    for word, value in schema.items():
        if word in MAPS:
            made[word] = {k: closed(v) for k, v in value.items()}
        elif word in LISTS:
            made[word] = [closed(v) for v in value]
        elif word in ("items", "additionalProperties", "contains"):
            made[word] = closed(value)
        else:
            made[word] = value
    if schema.get("additionalProperties", True) in (True, {}):
        made["additionalProperties"] = False
        for name in schema.get("required", []):	# what is required is declared
            if name not in schema.get("properties", {}):
                made.setdefault("properties", {}).setdefault(name, True)
    return made


# Pairs that only an unsound rule would call compatible: old, new, an instance.
MUTANTS = [
    ({"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"minimum": 2}}}, {"a": 1}),
    ({"type": "integer", "exclusiveMinimum": 0}, {"minimum": 2}, 1),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, {"oneOf": [{"type": "string"}, {"minimum": 3}]}, "a"),
    ({"oneOf": [{"minimum": 1}, {"maximum": 2}]}, {"oneOf": [{"minimum": 1}, {"maximum": 3}]}, 3),
    ({"not": {"required": ["a", "b"]}}, {"not": {"required": ["a"]}}, {"a": 1}),
    ({"patternProperties": {"^x": {"type": "integer"}}}, {"patternProperties": {"1$": {"type": "integer"}}}, {"a1": "a"}),
    ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"patternProperties": {"^x": {"type": "integer"}, "1$": {"maximum": 1}}}, {"x1": 2}),
    ({"contains": {"type": "integer"}, "minContains": 0}, {"contains": {"type": "integer"}}, []),
    ({"properties": {"a": {}}, "unevaluatedProperties": False}, {"unevaluatedProperties": False}, {"a": 1}),
    ({"enum": ["x"], "not": {"format": "email"}}, False, "x"),
    ({"if": {"type": "integer"}, "then": {"minimum": 1}}, {"if": {"type": "number"}, "then": {"minimum": 1}}, 0.5),
    ({"dependentRequired": {"a": ["b"]}}, {"dependentRequired": {"c": ["b"]}}, {"c": 1}),
    ({"prefixItems": [{"type": "integer"}], "items": {"type": "string"}}, {"items": {"type": "string"}}, [1]),
    ({"type": "object", "propertyNames": {"maxLength": 3}}, {"propertyNames": {"maxLength": 2}}, {"abc": 1}),
    ({"$ref": "#/$defs/p", "$defs": {"p": {"properties": {"a": {"$ref": "#/$defs/p"}}, "type": ["object", "null"]}}},
     {"$ref": "#/$defs/p", "$defs": {"p": {"properties": {"a": {"$ref": "#/$defs/p"}}, "type": "object"}}}, {"a": {"a": None}}),
    ({"allOf": [{"properties": {"a": {"type": "integer"}}}, {"additionalProperties": {"type": "string"}}]}, {"additionalProperties": {"type": "integer"}}, {"b": "a"}),
]

# And those that no mode may call compatible: of the second, the members are declared; the third takes itself for granted.
REFUSED = [
    ({"not": {"type": "object", "properties": {"a": {"type": "integer"}}}}, {"not": {"type": "object"}}),
    ({"type": "object", "if": {"required": ["a"]}, "then": {"properties": {"b": {"type": "integer"}}}}, {"type": "object", "properties": {"a": {}}, "additionalProperties": False}),
    ({"type": ["string", "integer"]}, {"$ref": "#/$defs/p", "$defs": {"p": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/p"}]}}}),
    ({"type": "object", "additionalProperties": {"type": ["string", "integer"]}}, {"type": "object", "additionalProperties": False}),
    ({"type": "object", "required": ["a"]}, {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
]

EXPRESSION = """(SELECT jsonb_build_array(
    (SELECT jsonb_agg(m) FROM unnest(ARRAY['BACKWARD', 'BACKWARD_STRICT', 'FORWARD_STRICT', 'FULL_STRICT', 'FORWARD', 'FULL']) m
     WHERE atp.schema_compatibility(($1)[1]::jsonb, ($1)[2]::jsonb, m)),
    atp.schema_compatibility(($1)[1]::jsonb, ($1)[1]::jsonb, 'FULL_STRICT'),
    (SELECT jsonb_agg(DISTINCT d.kind) FROM atp.schema_differences(($1)[1]::jsonb, ($1)[2]::jsonb, 'BACKWARD_STRICT') d),
    (SELECT jsonb_agg(n) FROM jsonb_array_elements(($1)[3]::jsonb) WITH ORDINALITY i(v, n)
     WHERE atp.schema_is_valid(($1)[1]::jsonb, v) AND NOT atp.schema_is_valid(($1)[2]::jsonb, v)),
    (SELECT jsonb_agg(n) FROM jsonb_array_elements(($1)[3]::jsonb) WITH ORDINALITY i(v, n)
     WHERE atp.schema_is_valid(($1)[2]::jsonb, v) AND NOT atp.schema_is_valid(($1)[1]::jsonb, v)),
    (SELECT jsonb_agg(n) FROM jsonb_array_elements(($1)[3]::jsonb) WITH ORDINALITY i(v, n)
     WHERE atp.schema_is_valid(($1)[4]::jsonb, v) AND NOT atp.schema_is_valid(($1)[2]::jsonb, v)),
    (SELECT count(*) FROM jsonb_array_elements(($1)[3]::jsonb) v WHERE atp.schema_is_valid(($1)[1]::jsonb, v))))"""


def make_row(rng, simple):
    generator = Generator(rng, simple)
    old = generator.document()
    new = generator.mutate(old) if rng.random() < 0.85 else generator.document()
    if rng.random() < 0.5:
        old, new = new, old
    shut = closed(old) if simple else False
    instances = [generator.instance(s, s, 5) for s in (old, new, shut if simple else old, old) for _ in range(8)]
    return [json.dumps(old), json.dumps(new), json.dumps(instances), json.dumps(shut)]


def judge(score, row, answer, simple, formats, tally):
    where = f"formats {'on' if formats else 'off'}"
    if answer is None or answer.startswith("error"):
        # a loop that depends on the instance, or too many steps: no judgement, but it has to stay rare
        tally["errors"] += 1
        return
    modes, itself, kinds, backward, forward, lenient, valid = json.loads(answer)
    modes = set(modes or [])
    instances = json.loads(row[2])
    tally["pairs"] += 1
    tally["valid"] += valid
    tally["compatible"] += "BACKWARD_STRICT" in modes
    if "BACKWARD_STRICT" not in modes:
        tally["refuted" if backward else "undecided" if "undecided" in (kinds or []) else "unrefuted"] += 1

    def example(which):
        return json.dumps(instances[which[0] - 1]) if which else None
    score.check("BACKWARD_STRICT" not in modes or not backward, "BACKWARD_STRICT", where, row[0], row[1], example(backward))
    score.check("FORWARD_STRICT" not in modes or not forward, "FORWARD_STRICT", where, row[0], row[1], example(forward))
    score.check(("FULL_STRICT" in modes) == ({"BACKWARD_STRICT", "FORWARD_STRICT"} <= modes), "FULL is both", row[0], row[1], modes)
    score.check(("FULL" in modes) == ({"BACKWARD", "FORWARD"} <= modes), "FULL is both", row[0], row[1], modes)
    score.check(all(m in modes for m in ("BACKWARD", "FORWARD") if m + "_STRICT" in modes), "lenient is weaker", row[0], row[1], modes)
    score.check(itself, "with itself", row[0])
    score.check(("BACKWARD_STRICT" in modes) == (kinds is None), "differences are listed", row[0], row[1], kinds)
    if simple:
        score.check("BACKWARD" not in modes or not lenient, "BACKWARD", where, row[0], row[1], example(lenient))


def main():
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20000 if os.environ.get("ATP_LONG") else 1500
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 20201208
    rng = random.Random(seed)
    score = database.Score()
    tally = dict.fromkeys(["pairs", "valid", "compatible", "refuted", "undecided", "unrefuted", "errors"], 0)
    rows = [[json.dumps(old), json.dumps(new), json.dumps([instance]), "false"] for old, new, instance in MUTANTS]
    for row, answer in zip(rows, database.ask(EXPRESSION, rows, 4)):
        modes, _, _, backward, _, _, _ = json.loads(answer)
        score.check("BACKWARD_STRICT" not in (modes or []), "a pair with a counter-example", row[0], row[1])
        if "format" not in row[0]:
            score.check(backward == [1], "the counter-example is one", row[0], row[1], row[2], backward)
    rows = [[json.dumps(old), json.dumps(new)] for old, new in REFUSED]
    for row, answer in zip(rows, database.ask("atp.schema_compatibility(($1)[1]::jsonb, ($1)[2]::jsonb)", rows, 2)):
        score.check(answer == "false", "must be refused", row[0], row[1], answer)
    for simple in (False, True):
        rows = [make_row(rng, simple) for _ in range(pairs)]
        for formats in (False, True):
            expression = EXPRESSION if not formats else "(SELECT CASE WHEN set_config('atp.schema_format_assertion', 'on', true) = 'on' THEN %s END)" % EXPRESSION
            for row, answer in zip(rows, database.ask(expression, rows, 4)):
                judge(score, row, answer, simple, formats, tally)
    score.check(tally["errors"] < tally["pairs"] / 20, "errors are rare", tally)
    score.check(tally["compatible"] > tally["pairs"] / 10 and tally["refuted"] > tally["pairs"] / 10, "both answers are common", tally)
    print("#", ", ".join(f"{count} {what}" for what, count in tally.items()))
    sys.exit(score.finish())


if __name__ == "__main__":
    main()
