"""The messages that wait in a store that no service holds, and dropping one that no code can read: ``genesis messages``."""

import argparse
from typing import TYPE_CHECKING, Any

from genesis_trio.cli.checkpoints import Answer, add_order, answer, write_new

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genesis_trio.persistence.inspection import Inspector, SavedInbox

__all__ = ["add_messages", "carry_out"]


def add_messages(parser: argparse.ArgumentParser) -> None:
    """Add what stands after ``genesis messages``."""
    orders = parser.add_subparsers(dest="order", required=True, metavar="ORDER")
    add_order(orders, "list", "the messages that wait for each component").add_argument(
        "--component", help="only those for this component, as in desk/ledger"
    )
    drop = add_order(orders, "drop", "take one message out, after it was written to a file")
    drop.add_argument("component", help="for whom it waits, as in desk/ledger")
    drop.add_argument("sent_as", metavar="SENT-AS", help="which one, as in desk/feed@1.1#3")
    drop.add_argument("-o", "--output", required=True, help="a file that is not there yet, for the message")


def carry_out(arguments: argparse.Namespace) -> int:
    """Open the store, ask it, and print the answer; 1 if it is damaged."""
    return answer(arguments, _list if arguments.order == "list" else _drop)


def _messages(inbox: "SavedInbox") -> "Iterator[dict[str, Any]]":
    import json

    from genesis_trio.supervision._inbox import decode_inbox

    for mailbox, saved in decode_inbox(inbox.body).items():
        for position, topic, sent_as, text, (name, version, _, fields) in saved.entries:
            yield {
                "component": inbox.component,
                "mailbox": mailbox,
                "position": position,
                "topic": topic,
                "sent_as": sent_as,
                "schema": [name, version],
                "fields": fields,
                "message": json.loads(text),
            }


async def _list(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    import json

    found = [message for inbox in await inspector.inboxes(arguments.component) for message in _messages(inbox)]
    lines = [
        f"{each['component']}  {each['sent_as']}  {each['topic']}  {json.dumps(each['message'], ensure_ascii=False)}"
        for each in found
    ]
    return 0, found, lines or ["no message waits"]


async def _drop(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    import json

    from genesis_trio.errors import StoreError
    from genesis_trio.supervision._inbox import without_message

    component, sent_as = arguments.component, arguments.sent_as
    inboxes = await inspector.inboxes(component)
    found = [(inbox, each) for inbox in inboxes for each in _messages(inbox) if each["sent_as"] == sent_as]
    if not found:
        raise StoreError(
            f"no message sent as {sent_as!r} waits for {component!r}; `genesis messages list {arguments.store}` shows which do"
        )
    inbox, message = found[0]  # in two mailboxes with one topic it waits twice: once more takes out the other
    document = {"format": 1, "store": arguments.store, "checkpoint": inbox.checkpoint, **message}
    write_new(arguments.output, json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    info = await inspector.replace_inbox(inbox, without_message(inbox.body, message["mailbox"], message["position"]))
    lines = [
        f"{sent_as} no longer waits for {component}: {info.id} is the newest now, and the message is in {arguments.output}"
    ]
    return 0, {"dropped": message, "checkpoint": info.id, "output": arguments.output}, lines
