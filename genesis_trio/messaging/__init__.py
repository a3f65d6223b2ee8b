"""Topics, mailboxes that outlive their reader, and requests.

One `Bus` serves a tree.  A mailbox belongs to the supervisor and is known by its child and
topics, so that a crash of the reader loses nothing that waits in it, nor the message in hand.
"""
