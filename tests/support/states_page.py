from emperor.runtime.law.state import Phase
EDGES: dict[tuple[Phase, Phase], tuple[str, ...]] = {}
