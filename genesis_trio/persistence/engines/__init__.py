"""The engines that come with genesis_trio.  Each is imported when a URL names its scheme."""
