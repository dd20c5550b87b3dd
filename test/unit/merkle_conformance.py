#!/usr/bin/env python3
"""Runs the conformance vectors of $ATP_SHARED/conformance/merkle and crypto/ed25519.json.

    merkle_conformance.py sql          through the SQL functions (psql, environment PGHOST ...; atp installed)
    merkle_conformance.py core PROGRAM through core alone (the program made from evidence_vectors.c)

Prints each vector that is not as it should be and, last, "N passed, N failed".
"""
import base64
import json
import os
import subprocess
import sys

ROOT = os.path.join(os.environ.get("ATP_SHARED", "../shared"), "conformance")
BIGINT = 1 << 63


def load(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return json.load(file)


def unbase64(text):
    return base64.b64decode(text or "")


def vectors():
    """Yields (name, function, arguments, expected): bytes, int, str or list of bytes as arguments."""
    tree = load("merkle/tree.json")
    leaves = [bytes.fromhex(leaf) for leaf in tree["leaves_hex"]]
    for count, root in enumerate(tree["roots_hex"]):
        yield f"tree of {count}", "root", [leaves[:count]], root
    for v in load("merkle/inclusion.json"):
        proof = [unbase64(p) for p in v["proof"] or []]
        yield v["name"], "inclusion", [unbase64(v["leafHash"]), v["leafIdx"], v["treeSize"], proof, unbase64(v["root"])], not v["wantErr"]
    for v in load("merkle/consistency.json"):
        proof = [unbase64(p) for p in v["proof"] or []]
        yield v["name"], "consistency", [v["size1"], v["size2"], proof, unbase64(v["root1"]), unbase64(v["root2"])], not v["wantErr"]
    for v in load("merkle/notes.json"):
        yield v["name"], "note", [v["note"], v["vkey"]], v["valid"]
    for v in load("merkle/vkeys.json"):
        yield v["name"], "vkey", [v["vkey"]], v["valid"]
    for v in load("merkle/checkpoints.json"):
        parts = {k: v.get(k, "") for k in ("origin", "size", "root", "extension")} if v["valid"] else None
        yield v["name"], "checkpoint", [v["checkpoint"]], parts
    for v in load("crypto/ed25519.json"):
        yield "ed25519 " + v["name"], "ed25519", [bytes.fromhex(v[k]) for k in ("pk", "msg", "sig")], v["result"] == "valid"


SQL = {"root": "encode(atp.merkle_root(%s), 'hex')", "inclusion": "atp.merkle_verify_inclusion(%s)",
       "consistency": "atp.merkle_verify_consistency(%s)", "note": "atp.note_verify(%s)", "vkey": "atp.vkey_is_valid(%s)",
       "checkpoint": "atp.checkpoint_parse(%s)", "ed25519": "atp.ed25519_verify(%s)"}


def literal(value):
    if isinstance(value, list):
        return "ARRAY[" + ", ".join(map(literal, value)) + "]::bytea[]"
    if isinstance(value, bytes):
        return f"'\\x{value.hex()}'::bytea"
    if isinstance(value, str):
        return f"convert_from('\\x{value.encode().hex()}', 'UTF8')"
    return str(value)


def ask_sql(questions):
    """Answers in order; None for a question that SQL cannot be asked."""
    askable = [not any(isinstance(a, int) and a >= BIGINT for a in arguments) for _, arguments in questions]
    script = "SET standard_conforming_strings = on; SET client_encoding = 'UTF8';\n"
    for (function, arguments), ok in zip(questions, askable):
        if ok:
            script += "SELECT to_jsonb(%s);\n" % (SQL[function] % ", ".join(map(literal, arguments)))
    psql = subprocess.run(["psql", "-XAtq", "-P", "null=null", "-v", "ON_ERROR_STOP=1"], input=script,
                          capture_output=True, text=True, check=False)
    if psql.returncode != 0:
        sys.exit("psql: " + psql.stderr)
    answers = iter(psql.stdout.splitlines())
    return [json.loads(next(answers)) if ok else None for ok in askable], askable


def word(value):
    return "x" + (value.encode() if isinstance(value, str) else value).hex() if isinstance(value, (str, bytes)) else str(value)


def ask_core(program, questions):
    """The program's answers in the form of SQL's."""
    lines = []
    for function, arguments in questions:
        flat = [a for a in arguments if not isinstance(a, list)] + [p for a in arguments if isinstance(a, list) for p in a]
        lines.append(" ".join([function] + [word(a) for a in flat]))
    run = subprocess.run([program], input="\n".join(lines) + "\n", capture_output=True, text=True, check=True)
    answers = []
    for (function, arguments), line in zip(questions, run.stdout.splitlines(), strict=True):
        if function == "root":
            answers.append(line)
        elif function == "checkpoint" and line != "0":
            origin, size, root, extension = line[2:].split("|")
            answers.append({"origin": origin, "size": int(size), "root": root,
                            "extension": arguments[0][len(arguments[0]) - int(extension):]})
        else:
            answers.append(None if function == "checkpoint" else line == "1")
    return answers, [True] * len(questions)


def main():
    if not os.path.isdir(ROOT):
        print("0 passed, 0 failed, 1 skipped")
        return False
    every = list(vectors())
    questions = [(function, arguments) for _, function, arguments, _ in every]
    answers, asked = ask_sql(questions) if sys.argv[1] == "sql" else ask_core(sys.argv[2], questions)
    passed = failed = 0
    for (name, function, _, expected), answer, ok in zip(every, answers, asked):
        if not ok:
            continue
        if answer == expected:
            passed += 1
        else:
            failed += 1
            print(f"{function}: {name}: {answer!r}, should be {expected!r}")
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
