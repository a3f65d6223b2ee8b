"""The queue of one listener."""

import trio

from genesis_trio.demo.exchange.streams import HEARTBEAT, Listener


async def test_listener_sign_of_life_does_not_overtake_a_message(autojump_clock):
    """There is a heartbeat only if there is nothing to say, also when both are due at the same moment."""
    for _ in range(50):  # which of the two comes first is a matter of chance
        listener = Listener()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def put(listener=listener):
                await trio.sleep(HEARTBEAT)
                listener.put("news")

            heard = await listener.get()
            assert heard == "news" or listener._receive.statistics().current_buffer_used == 0
