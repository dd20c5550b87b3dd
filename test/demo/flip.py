#!/usr/bin/env python3
"""Changes one byte of a stored event in a data file, behind the server's back; the server is not running.

    flip.py FILE EVENT_ID TEXT REPLACEMENT

Finds the row by its event id (16 bytes, as the page holds them) and TEXT after it, and writes REPLACEMENT, of the same length, over it.
"""
import sys
import uuid


def main():
    path, event_id, text, replacement = sys.argv[1:]
    with open(path, 'r+b') as file:
        content = file.read()
        row = content.find(uuid.UUID(event_id).bytes)
        at = content.find(text.encode(), row)
        assert row >= 0 and 0 < at - row < 2000 and len(text) == len(replacement), 'the event is not in this file'
        file.seek(at)
        file.write(replacement.encode())
    print('byte %d of %s: %s became %s' % (at, path.split('/data/')[-1], text, replacement))


if __name__ == '__main__':
    sys.exit(main())
