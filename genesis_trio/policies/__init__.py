"""One call to the outside: retry, breaker, timeouts, bulkhead, rate limit, hedge, fallback; `Guard` composes them.

The policies work alone too.  All of them ask one classifier what an error means (`_outcome`).
"""
