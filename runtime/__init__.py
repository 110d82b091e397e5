"""Plans in, running vassals out: a pure core and a thin rim of asyncio around it."""
