"""The contestants: who stores the same event, each in a database of its own, so that sizes can be told apart."""
from contestant.base import Contestant
from contestant.plain import Plain, OwnTable, PlainNotify
from contestant.message_db import MessageDb
from contestant.emmett import Emmett
from contestant.atp import Atp

ALL = [Plain, OwnTable, PlainNotify, MessageDb, Emmett, Atp]
__all__ = [c.__name__ for c in ALL] + ['ALL', 'Contestant']
