#!/usr/bin/env python3
"""The two producers of canonical JSON, the jsonb walker and the text parser, and the independent implementation, over random and real
documents in a running database: all three must write the same bytes in both profiles, and canonical text must be its own canonical form."""
import sys

import database
import documents
import record

SEED = 8785


def main():
    score = database.Score()
    texts = documents.random_documents(SEED, 2000) + documents.real_documents()
    rows = [[text] for text in texts]
    for profile in (record.EXACT, record.RFC8785):
        walked = database.ask("atp.canonical_json(($1)[1]::jsonb, '%s')" % profile, rows, 1)
        parsed = database.ask("atp.canonical_json_text(($1)[1], '%s')" % profile, rows, 1)
        again = database.ask("atp.canonical_json(($1)[1]::jsonb, '%s')" % profile, [[text] for text in walked], 1)
        for text, *answers in zip(texts, walked, parsed, again):
            try:
                expected = record.canonical(text, profile)
            except record.Refused as error:
                expected = 'error TP208'
            if expected.startswith('error'):
                score.check(answers[:2] == [expected] * 2, profile, 'not refused', text, answers)
            else:
                score.check(answers == [expected] * 3, profile, text, 'expected', expected, 'got', *answers)
    return score.finish()


if __name__ == '__main__':
    sys.exit(main())
